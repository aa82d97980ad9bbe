//! The sales that the ledger refuses because of their stored data: counts that contradict each
//! other, a key of another type. Nobody can buy until an operator repairs them, so they are listed
//! in the log, in the banner and by `/readyz`. Cores and the sweep report both the refusal and its
//! end.
//!
//! Architecture invariant: knows no core and no kind of ledger.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::{REFUSED_REASON_BYTES_MAX, REFUSED_SALE_LOG_INTERVAL_MS, REFUSED_SALES_MAX};
use crate::sale::SaleId;
use crate::sync::{AtomicBool, Mutex, Ordering, lock};

/// See the module's header.
#[derive(Default)]
pub struct RefusedSales {
    /// By place: each part of a split sale has its own entry.
    sales: Mutex<BTreeMap<SaleId, Refused>>,
    /// Whether there may be any: cores check at every answer.
    any: AtomicBool,
}

struct Refused {
    reason: String,
    /// It is refused now. Otherwise the entry only keeps when it was logged.
    now: bool,
    logged: Instant,
    /// The last log line says that it is refused.
    log_says_so: bool,
}

impl RefusedSales {
    /// Notes that the ledger refuses a sale.
    pub fn note(&self, sale: &SaleId, reason: &str) {
        let mut sales = lock(&self.sales);
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

    /// Notes that the ledger has answered about a sale.
    pub fn clear(&self, sale: &SaleId) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut sales = lock(&self.sales);
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

    /// Why a sale or a part of it is refused now.
    pub fn reason(&self, sale: &SaleId) -> Option<String> {
        let whole = sale.whole_str();
        let is_of = |place: &SaleId, refused: &Refused| refused.now && place.whole_str() == whole;
        self.read(|sales| {
            let mut all = sales.iter().filter(|(place, refused)| is_of(place, refused));
            all.next().map(|(_, refused)| refused.reason.clone())
        })
    }

    /// Whether a sale or a part of it is refused now.
    pub fn contains(&self, sale: &SaleId) -> bool {
        self.reason(sale).is_some()
    }

    /// At most `max` of the sales that are refused now, with the reasons, and their total number.
    pub fn list(&self, max: usize) -> (Vec<(String, String)>, usize) {
        self.read(|sales| {
            let now = || sales.iter().filter(|(_, refused)| refused.now);
            let shown = now().take(max).map(|(sale, r)| (sale.to_string(), r.reason.clone()));
            Some((shown.collect(), now().count()))
        })
        .unwrap_or_default()
    }

    /// Reads the list, if it can have entries.
    fn read<T>(&self, of: impl FnOnce(&BTreeMap<SaleId, Refused>) -> Option<T>) -> Option<T> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        of(&lock(&self.sales))
    }
}
