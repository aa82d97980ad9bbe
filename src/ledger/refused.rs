//! The sales that the ledger refuses for what is stored of them: counts that contradict each other, a
//! key of another type. Nobody can buy until somebody repairs them, so they are named to whoever can:
//! in the log, in the banner and by `/readyz`. Cores and the sweep note them, and that they are over.
//!
//! Architecture invariant: knows no core and no kind of ledger.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{REFUSED_REASON_BYTES_MAX, REFUSED_SALE_LOG_INTERVAL_MS, REFUSED_SALES_MAX};
use crate::sale::SaleId;

/// See the module's header.
#[derive(Default)]
pub struct RefusedSales {
    /// By place: the parts of a split sale each have an entry.
    sales: Mutex<BTreeMap<SaleId, Refused>>,
    /// Whether there may be any: cores look at every answer.
    any: AtomicBool,
}

struct Refused {
    reason: String,
    /// It is refused now. If not, the entry only keeps when it was logged.
    now: bool,
    logged: Instant,
    /// The log's last word is that it is refused.
    log_says_so: bool,
}

impl RefusedSales {
    /// The ledger refuses a sale.
    pub fn note(&self, sale: &SaleId, reason: &str) {
        let mut sales = self.lock();
        self.any.store(true, Ordering::Relaxed);
        let mut reason = reason.to_owned();
        reason.truncate(reason.floor_char_boundary(REFUSED_REASON_BYTES_MAX));
        let interval = Duration::from_millis(REFUSED_SALE_LOG_INTERVAL_MS);
        let log = match sales.get_mut(sale) {
            Some(refused) => {
                let log = refused.reason != reason || refused.logged.elapsed() >= interval;
                (refused.reason, refused.now) = (reason.clone(), true);
                if log {
                    (refused.logged, refused.log_says_so) = (Instant::now(), true);
                }
                log
            }
            None => {
                if sales.len() >= REFUSED_SALES_MAX {
                    sales.retain(|_, refused| refused.now);
                }
                let room = sales.len() < REFUSED_SALES_MAX;
                if room {
                    let (reason, logged) = (reason.clone(), Instant::now());
                    let refused = Refused { reason, now: true, logged, log_says_so: true };
                    sales.insert(sale.detached(), refused);
                }
                room
            }
        };
        drop(sales);
        if log {
            tracing::error!(%sale, %reason, "the ledger refuses the sale: nobody can buy");
        }
    }

    /// The ledger has answered about a sale.
    pub fn clear(&self, sale: &SaleId) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut sales = self.lock();
        let said = sales.get_mut(sale).is_some_and(|refused| {
            refused.now = false;
            std::mem::take(&mut refused.log_says_so)
        });
        let any = sales.values().any(|refused| refused.now);
        self.any.store(any, Ordering::Relaxed);
        drop(sales);
        if said {
            tracing::info!(%sale, "the ledger no longer refuses the sale");
        }
    }

    /// Why a sale, or a part of it, is refused now.
    pub fn reason(&self, sale: &SaleId) -> Option<String> {
        let whole = sale.whole_str();
        let is_of = |place: &SaleId, refused: &Refused| refused.now && place.whole_str() == whole;
        self.read(|sales| {
            let mut all = sales.iter().filter(|(place, refused)| is_of(place, refused));
            all.next().map(|(_, refused)| refused.reason.clone())
        })
    }

    /// Whether a sale, or a part of it, is refused now.
    pub fn contains(&self, sale: &SaleId) -> bool {
        self.reason(sale).is_some()
    }

    /// Up to so many of those that are refused now, with the reasons, and how many there are.
    pub fn list(&self, max: usize) -> (Vec<(String, String)>, usize) {
        self.read(|sales| {
            let now = || sales.iter().filter(|(_, refused)| refused.now);
            let shown = now().take(max).map(|(sale, r)| (sale.to_string(), r.reason.clone()));
            Some((shown.collect(), now().count()))
        })
        .unwrap_or_default()
    }

    /// Looks at them, if there can be any.
    fn read<T>(&self, of: impl FnOnce(&BTreeMap<SaleId, Refused>) -> Option<T>) -> Option<T> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        of(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SaleId, Refused>> {
        self.sales.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_kept_is_bounded() {
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
}
