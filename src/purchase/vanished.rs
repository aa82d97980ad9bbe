//! Logs a sale that the ledger no longer knows: either somebody removed it, or the ledger has lost
//! data. Buyers get the same answer in both cases, so the log keeps them apart.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::slot::SaleSlot;
use crate::limits::{SALES_MAX, VANISHED_LOG_INTERVAL_MS};
use crate::sale::SaleState;
use crate::sync::lock;

/// When each sale was last logged, by any core.
static LOGGED: Mutex<Option<HashMap<String, Instant>>> = Mutex::new(None);

fn is_due(id: &str) -> bool {
    let interval = Duration::from_millis(VANISHED_LOG_INTERVAL_MS);
    let mut logged = lock(&LOGGED);
    let logged = logged.get_or_insert_default();
    logged.retain(|_, at| at.elapsed() < interval);
    if logged.contains_key(id) || logged.len() >= SALES_MAX {
        return false;
    }
    logged.insert(id.to_owned(), Instant::now());
    true
}

/// Logs that a sale is gone, unless it was logged recently.
pub(super) fn log(slot: &SaleSlot) {
    if !is_due(slot.id().as_str()) {
        return;
    }
    let ended = slot.last_view().is_some_and(|seen| seen.view.state() == SaleState::Closed);
    if ended || slot.latch.borrow().is_over() {
        tracing::info!(sale = %slot.id(), "closed sale is gone from the ledger");
    } else {
        // If nobody removed it, the ledger has lost data, and perhaps that of other sales.
        tracing::error!(sale = %slot.id(), "open sale is gone from the ledger");
    }
}
