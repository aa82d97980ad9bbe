//! What a core knows of a sale that lets it refuse without asking.
//!
//! The ledger's word closes a latch: sold out, not open yet, closed. While it is closed the core
//! keeps asking in the background; the answers keep the latch fresh or open it. A latch that has
//! not been confirmed for a while is no knowledge any more, and the next request goes to the
//! ledger: so a sale that came back is never refused for long, and a ledger that is away is never
//! reported as sold out.

use crate::sale::{SaleView, State};

/// Age at which a latch that nobody confirmed stops being knowledge.
const LATCH_AGE_MS_MAX: u64 = 400;
/// Time between two questions in the background.
const REFRESH_INTERVAL_MS: u64 = 100;

/// What a closed latch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing is left.
    SoldOut,
    /// It opens then (ledger's time, ms since 1970).
    NotOpen {
        /// In ms since 1970.
        opens_at_ms: u64,
    },
    /// It is over.
    Closed,
}

/// One core's latch of one sale. Times are the core's milliseconds unless they say otherwise.
#[derive(Debug, Clone, Default)]
pub struct Latch {
    refusal: Option<Refusal>,
    confirmed_at_ms: u64,
    asked_at_ms: u64,
    used: bool,
    /// The ledger's clock less the core's.
    ledger_ahead_ms: u64,
}

impl Latch {
    /// The refusal to give at once, if there is one.
    pub fn check(&mut self, now_ms: u64) -> Option<Refusal> {
        let refusal = self.refusal?;
        self.used = true;
        if now_ms > self.confirmed_at_ms + LATCH_AGE_MS_MAX {
            return None;
        }
        if let Refusal::NotOpen { opens_at_ms } = refusal
            && now_ms + self.ledger_ahead_ms >= opens_at_ms
        {
            return None;
        }
        Some(refusal)
    }

    /// The ledger refused a purchase for this reason.
    pub fn close(&mut self, refusal: Refusal, now_ms: u64, ledger_now_ms: u64) {
        self.refusal = Some(refusal);
        self.confirm(now_ms, ledger_now_ms);
    }

    /// The ledger granted a purchase, or said that units are left.
    pub fn open(&mut self) {
        self.refusal = None;
    }

    /// The ledger said, in passing, that units are left.
    pub fn stock_is_back(&mut self) {
        if self.refusal == Some(Refusal::SoldOut) {
            self.refusal = None;
        }
    }

    /// The ledger has shown the sale.
    pub fn shown(&mut self, view: &SaleView, now_ms: u64) {
        self.refusal = match view.state() {
            State::Scheduled => Some(Refusal::NotOpen { opens_at_ms: view.spec.opens_at_ms }),
            State::Closed => Some(Refusal::Closed),
            State::Open if view.free() == 0 => Some(Refusal::SoldOut),
            State::Open => None,
        };
        self.confirm(now_ms, view.now_ms);
    }

    /// Whether to ask the ledger again in the background now: the latch is closed, requests met it
    /// since the last question, and that was a while ago.
    pub fn wants_refresh(&mut self, now_ms: u64) -> bool {
        if self.refusal.is_none() || !self.used || now_ms < self.asked_at_ms + REFRESH_INTERVAL_MS {
            return false;
        }
        self.asked_at_ms = now_ms;
        self.used = false;
        true
    }

    fn confirm(&mut self, now_ms: u64, ledger_now_ms: u64) {
        self.confirmed_at_ms = now_ms;
        self.ledger_ahead_ms = ledger_now_ms.saturating_sub(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::SaleSpec;

    fn view(total: u64, now_ms: u64) -> SaleView {
        SaleView { spec: SaleSpec::with_total(total), held: 0, confirmed: 0, now_ms }
    }

    #[test]
    fn refuses_while_fresh_and_asks_when_stale() {
        let mut latch = Latch::default();
        assert_eq!(latch.check(0), None);
        latch.close(Refusal::SoldOut, 1000, 5000);
        assert_eq!(latch.check(1000 + LATCH_AGE_MS_MAX), Some(Refusal::SoldOut));
        assert_eq!(latch.check(1001 + LATCH_AGE_MS_MAX), None);
    }

    #[test]
    fn opens_when_stock_is_back() {
        let mut latch = Latch::default();
        latch.close(Refusal::SoldOut, 0, 0);
        latch.shown(&view(0, 10), 10);
        assert_eq!(latch.check(11), Some(Refusal::SoldOut));
        latch.shown(&view(1, 20), 20);
        assert_eq!(latch.check(21), None);
    }

    #[test]
    fn opens_at_the_opening_by_the_ledgers_clock() {
        let mut latch = Latch::default();
        let refusal = Refusal::NotOpen { opens_at_ms: 9_000 };
        latch.close(refusal, 100, 8_900);
        assert_eq!(latch.check(199), Some(refusal));
        assert_eq!(latch.check(200), None);
    }

    #[test]
    fn asks_in_the_background_only_while_somebody_meets_it() {
        let mut latch = Latch::default();
        latch.close(Refusal::Closed, 1000, 0);
        assert!(!latch.wants_refresh(2000));
        latch.check(2000);
        assert!(latch.wants_refresh(2000));
        latch.check(2001);
        assert!(!latch.wants_refresh(2001));
        assert!(latch.wants_refresh(2000 + REFRESH_INTERVAL_MS));
        assert!(!latch.wants_refresh(9000));
    }
}
