//! What a core knows of a sale that lets it refuse without asking.
//!
//! The ledger's word closes a latch: sold out, not open yet, closed. While requests meet a closed
//! latch, and for a while after, the core asks in the background at every tick; the answers keep the
//! latch fresh or open it. A latch that has not been confirmed for a while is no knowledge any more, and the next
//! request goes to the ledger: so a sale that came back is never refused for long, and a ledger
//! that is away is never reported as sold out.

use crate::limits::TICK_INTERVAL_MS;
use crate::sale::{SaleView, State};

/// Age at which a latch that nobody confirmed stops being knowledge: stock that came back is for
/// sale on every core within this time, whether requests met the latch meanwhile or not.
const FRESH_MS: u64 = 100;
/// The same while the ledger owes the answer to a question that was asked in time. A ledger that is
/// slow for a moment is not helped by everybody's asking it at once.
const LATCH_AGE_MS_MAX: u64 = 400;
/// Age of a latch at which a question about it no longer counts as asked in time.
const ASK_AGE_MS_MAX: u64 = 200;

const _: () = assert!(TICK_INTERVAL_MS < FRESH_MS);
const _: () = assert!(FRESH_MS < ASK_AGE_MS_MAX && ASK_AGE_MS_MAX < LATCH_AGE_MS_MAX);

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
    /// The ledger's clock less the core's.
    ledger_ahead_ms: u64,
}

impl Latch {
    /// The refusal to give at once, if there is one. `asked_at_ms`: when the question was asked
    /// that the ledger has still to answer, if there is one.
    pub fn check(&self, now_ms: u64, asked_at_ms: Option<u64>) -> Option<Refusal> {
        let refusal = self.refusal?;
        let in_time_ms = self.confirmed_at_ms + ASK_AGE_MS_MAX;
        let age_ms_max = match asked_at_ms {
            Some(asked_at_ms) if asked_at_ms <= in_time_ms => LATCH_AGE_MS_MAX,
            _ => FRESH_MS,
        };
        if now_ms > self.confirmed_at_ms + age_ms_max {
            return None;
        }
        if let Refusal::NotOpen { opens_at_ms } = refusal
            && now_ms + self.ledger_ahead_ms >= opens_at_ms
        {
            return None;
        }
        Some(refusal)
    }

    /// Whether the last that the ledger said was a refusal, however long ago.
    pub fn is_closed(&self) -> bool {
        self.refusal.is_some()
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

    /// The ledger has shown the sale, asked at `asked_at_ms`: what it said was true no earlier.
    pub fn shown(&mut self, view: &SaleView, asked_at_ms: u64) {
        self.refusal = match view.state() {
            State::Scheduled => Some(Refusal::NotOpen { opens_at_ms: view.spec.opens_at_ms }),
            State::Closed => Some(Refusal::Closed),
            State::Open if view.free() == 0 => Some(Refusal::SoldOut),
            State::Open => None,
        };
        self.confirm(asked_at_ms, view.now_ms);
    }

    fn confirm(&mut self, now_ms: u64, ledger_now_ms: u64) {
        self.confirmed_at_ms = self.confirmed_at_ms.max(now_ms);
        self.ledger_ahead_ms = ledger_now_ms.saturating_sub(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Creation, Moves, SaleSpec};

    fn view(total: u64, now_ms: u64) -> SaleView {
        let (spec, moves) = (SaleSpec::with_total(total), Moves::default());
        SaleView { spec, held: 0, confirmed: 0, now_ms, moves, creation: Creation::UNKNOWN }
    }

    #[test]
    fn refuses_while_fresh_and_asks_when_stale() {
        let mut latch = Latch::default();
        assert_eq!(latch.check(0, None), None);
        latch.close(Refusal::SoldOut, 1000, 5000);
        assert_eq!(latch.check(1000 + FRESH_MS, None), Some(Refusal::SoldOut));
        assert_eq!(latch.check(1001 + FRESH_MS, None), None);
    }

    #[test]
    fn a_slow_ledger_is_waited_for_but_not_for_long() {
        let mut latch = Latch::default();
        latch.close(Refusal::SoldOut, 1000, 5000);
        let asked_in_time = Some(1000 + ASK_AGE_MS_MAX);
        assert_eq!(latch.check(1001 + FRESH_MS, asked_in_time), Some(Refusal::SoldOut));
        assert_eq!(latch.check(1000 + LATCH_AGE_MS_MAX, asked_in_time), Some(Refusal::SoldOut));
        assert_eq!(latch.check(1001 + LATCH_AGE_MS_MAX, asked_in_time), None);
        // Nobody had met it for a while: its refusal was no knowledge when the question was asked.
        let asked_late = Some(1001 + ASK_AGE_MS_MAX);
        assert_eq!(latch.check(1001 + ASK_AGE_MS_MAX, asked_late), None);
    }

    #[test]
    fn opens_when_stock_is_back() {
        let mut latch = Latch::default();
        latch.close(Refusal::SoldOut, 0, 0);
        latch.shown(&view(0, 10), 10);
        assert_eq!(latch.check(11, None), Some(Refusal::SoldOut));
        latch.shown(&view(1, 20), 20);
        assert_eq!(latch.check(21, None), None);
    }

    #[test]
    fn opens_at_the_opening_by_the_ledgers_clock() {
        let mut latch = Latch::default();
        let refusal = Refusal::NotOpen { opens_at_ms: 9_000 };
        latch.close(refusal, 100, 8_950);
        assert_eq!(latch.check(149, None), Some(refusal));
        assert_eq!(latch.check(150, None), None);
    }
}
