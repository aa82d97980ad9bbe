//! Which sales are refused, and for how long.

use super::refused::RefusedSales;
use crate::limits::{REFUSED_REASON_BYTES_MAX, REFUSED_SALES_MAX};
use crate::sale::SaleId;

fn sale(id: &str) -> SaleId {
    SaleId::from_ledger(id).unwrap()
}

#[test]
fn a_sale_is_refused_until_the_ledger_answers_about_it() {
    let refused = RefusedSales::default();
    assert_eq!(refused.list(9), (vec![], 0));
    refused.note(&sale("a"), "counts");
    refused.note(&sale("b~1of2"), "a key");
    assert_eq!(refused.reason(&sale("a")).as_deref(), Some("counts"));
    assert!(refused.contains(&sale("b")) && !refused.contains(&sale("c")));
    let (shown, count) = refused.list(1);
    assert_eq!((shown, count), (vec![("a".to_owned(), "counts".to_owned())], 2));
    refused.clear(&sale("b~2of2"));
    assert!(refused.contains(&sale("b")), "it is another part that is well");
    refused.clear(&sale("a"));
    refused.clear(&sale("b~1of2"));
    assert_eq!(refused.list(9), (vec![], 0));
}

#[test]
fn refused_sales_and_reasons_are_bounded() {
    let refused = RefusedSales::default();
    for n in 0..REFUSED_SALES_MAX + 9 {
        refused.note(&sale(&format!("s{n}")), &"é".repeat(REFUSED_REASON_BYTES_MAX));
    }
    let (shown, count) = refused.list(1);
    assert_eq!(count, REFUSED_SALES_MAX);
    assert!(shown[0].1.len() <= REFUSED_REASON_BYTES_MAX);
    (0..REFUSED_SALES_MAX).for_each(|n| refused.clear(&sale(&format!("s{n}"))));
    refused.note(&sale("another"), "x");
    assert_eq!(refused.list(9).1, 1, "those that are over make room");
}
