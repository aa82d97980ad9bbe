//! Many hot sales: their ids, and the server's configuration of them.

use std::fmt::Write;

use crate::load::fields::SALE_DIGITS;

/// Tickets per sale: more than any run can sell.
pub const TOTAL: u64 = 10_000_000;
/// Target of orders, in the load generator's form.
pub const TARGET: &str = "POST /v1/sales/hot-{sale}/reservations";

/// The id of one of them.
pub fn id(number: u32) -> String {
    format!("hot-{number:0SALE_DIGITS$}")
}

/// A configuration file that defines this number of sales. Each has these settings beside its total.
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
    fn hot_sale_ids_match_the_load_generator() {
        let target = TARGET.replace(SALE, &id(42)[4..]);
        assert_eq!(target, "POST /v1/sales/hot-0042/reservations");
        assert_eq!(definitions(3, 5, "splits = 4").matches("total = 5\nsplits = 4\n").count(), 3);
    }
}
