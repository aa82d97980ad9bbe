//! Many sales that are bought from at the same time: their names, and how a server is told of them.

use std::fmt::Write;

use crate::load::fields::SALE_DIGITS;

/// Tickets of each: more than any run can sell.
pub const TOTAL: u64 = 10_000_000;
/// Where orders are posted to, as the load generator has it.
pub const TARGET: &str = "POST /v1/sales/hot-{sale}/reservations";

/// The id of one of them.
pub fn id(number: u32) -> String {
    format!("hot-{number:0SALE_DIGITS$}")
}

/// A configuration file that defines so many. Each has these settings beside its total.
pub fn definitions(sales: u32, total: u64, more: &str) -> String {
    let mut out = String::new();
    for number in 0..sales {
        // Writing to a String can't fail.
        let _ = write!(out, "[[sale]]\nid = \"{}\"\ntotal = {total}\n{more}\n", id(number));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::request::SALE;

    #[test]
    fn the_load_generator_names_them_alike() {
        let target = TARGET.replace(SALE, &id(42)[4..]);
        assert_eq!(target, "POST /v1/sales/hot-0042/reservations");
        assert_eq!(definitions(3, 5, "splits = 4").matches("total = 5\nsplits = 4\n").count(), 3);
    }
}
