//! What a core knows of a sale that lets it refuse without asking.
//!
//! The ledger's word closes a latch: sold out, not open yet, closed. While requests meet a closed
//! latch, and for a while after, the core asks in the background at every tick; the answers keep the
//! latch fresh or open it. A latch that has not been confirmed for a while is no knowledge any more:
//! requests wait for the answer to one question about the sale, so a sale that came back is never
//! refused for long, a ledger that is away is never reported as sold out, and one that is slow is
//! not flooded.

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

/// What a latch lets a core say to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The ledger said so a moment ago.
    Refuse(Refusal),
    /// The ledger said no the last time, but that is too long ago: ask it how the sale stands.
    Doubt,
    /// Nothing speaks against a purchase.
    Ask,
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
    /// What to say to a request that comes now. `asked_at_ms`: when the question was asked that the
    /// ledger has still to answer, if there is one.
    pub fn check(&self, now_ms: u64, asked_at_ms: Option<u64>) -> Word {
        let in_time_ms = self.confirmed_at_ms + ASK_AGE_MS_MAX;
        let age_ms_max = match asked_at_ms {
            Some(asked_at_ms) if asked_at_ms <= in_time_ms => LATCH_AGE_MS_MAX,
            _ => FRESH_MS,
        };
        self.word(now_ms, self.confirmed_at_ms + age_ms_max)
    }

    /// What to say to a request that came at `came_ms` and has waited for the ledger's view of the
    /// sale: an answer to a question that was asked after it came counts, however late it is.
    pub fn check_after_view(&self, now_ms: u64, came_ms: u64) -> Word {
        let until_ms = match self.confirmed_at_ms >= came_ms {
            true => u64::MAX,
            false => self.confirmed_at_ms + FRESH_MS,
        };
        self.word(now_ms, until_ms)
    }

    fn word(&self, now_ms: u64, fresh_until_ms: u64) -> Word {
        match self.refusal {
            None => Word::Ask,
            // That it opens then is known, however long ago it was said.
            Some(Refusal::NotOpen { opens_at_ms })
                if now_ms + self.ledger_ahead_ms >= opens_at_ms =>
            {
                Word::Ask
            }
            Some(_) if now_ms > fresh_until_ms => Word::Doubt,
            Some(refusal) => Word::Refuse(refusal),
        }
    }

    /// Whether the last that the ledger said was a refusal, however long ago.
    pub fn is_closed(&self) -> bool {
        self.refusal.is_some()
    }

    /// For how long the ledger has not confirmed what a closed latch says. `None`: it is open.
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        self.refusal.map(|_| now_ms.saturating_sub(self.confirmed_at_ms))
    }

    /// Whether the last that the ledger said was that the sale is over, however long ago.
    pub fn is_over(&self) -> bool {
        self.refusal == Some(Refusal::Closed)
    }

    /// The ledger refused a purchase for this reason, asked at `asked_at_ms`: what it said was true
    /// no earlier.
    pub fn close(&mut self, refusal: Refusal, asked_at_ms: u64, ledger_now_ms: u64) {
        self.refusal = Some(refusal);
        self.confirm(asked_at_ms, ledger_now_ms);
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

    fn confirm(&mut self, asked_at_ms: u64, ledger_now_ms: u64) {
        self.confirmed_at_ms = self.confirmed_at_ms.max(asked_at_ms);
        self.ledger_ahead_ms = ledger_now_ms.saturating_sub(asked_at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Creation, Moves, SaleSpec};

    fn view(total: u64, now_ms: u64) -> SaleView {
        let (spec, moves) = (SaleSpec::with_total(total), Moves::default());
        let by_type = Vec::new();
        let creation = Creation::UNKNOWN;
        SaleView { spec, held: 0, confirmed: 0, by_type, now_ms, moves, creation }
    }

    #[test]
    fn refuses_while_fresh_and_asks_when_stale() {
        let mut latch = Latch::default();
        assert_eq!(latch.check(0, None), Word::Ask);
        assert_eq!(latch.age_ms(1000), None);
        latch.close(Refusal::SoldOut, 1000, 5000);
        assert_eq!(latch.age_ms(1030), Some(30));
        assert_eq!(latch.check(1000 + FRESH_MS, None), Word::Refuse(Refusal::SoldOut));
        assert_eq!(latch.check(1001 + FRESH_MS, None), Word::Doubt);
    }

    #[test]
    fn a_slow_ledger_is_waited_for_but_not_for_long() {
        let mut latch = Latch::default();
        latch.close(Refusal::SoldOut, 1000, 5000);
        let asked_in_time = Some(1000 + ASK_AGE_MS_MAX);
        assert_eq!(latch.check(1001 + FRESH_MS, asked_in_time), Word::Refuse(Refusal::SoldOut));
        assert_eq!(
            latch.check(1000 + LATCH_AGE_MS_MAX, asked_in_time),
            Word::Refuse(Refusal::SoldOut)
        );
        assert_eq!(latch.check(1001 + LATCH_AGE_MS_MAX, asked_in_time), Word::Doubt);
        // Nobody had met it for a while: its refusal was no knowledge when the question was asked.
        let asked_late = Some(1001 + ASK_AGE_MS_MAX);
        assert_eq!(latch.check(1001 + ASK_AGE_MS_MAX, asked_late), Word::Doubt);
    }

    #[test]
    fn opens_when_stock_is_back() {
        let mut latch = Latch::default();
        latch.close(Refusal::SoldOut, 0, 0);
        latch.shown(&view(0, 10), 10);
        assert_eq!(latch.check(11, None), Word::Refuse(Refusal::SoldOut));
        latch.shown(&view(1, 20), 20);
        assert_eq!(latch.check(21, None), Word::Ask);
    }

    #[test]
    fn opens_at_the_opening_by_the_ledgers_clock() {
        let mut latch = Latch::default();
        let refusal = Refusal::NotOpen { opens_at_ms: 9_000 };
        latch.close(refusal, 100, 8_950);
        assert_eq!(latch.check(149, None), Word::Refuse(refusal));
        assert_eq!(latch.check(150, None), Word::Ask);
    }

    #[test]
    fn a_late_answer_counts_from_when_it_was_asked() {
        let mut latch = Latch::default();
        // Asked at 1000, answered at 2900: stock may have come back meanwhile.
        latch.close(Refusal::SoldOut, 1000, 5000);
        assert_eq!(latch.check(2900, None), Word::Doubt);
    }

    #[test]
    fn a_view_that_was_asked_for_after_a_request_came_decides_it_however_late() {
        let mut latch = Latch::default();
        latch.shown(&view(0, 10), 1000);
        assert_eq!(latch.check_after_view(3000, 1000), Word::Refuse(Refusal::SoldOut));
        assert_eq!(latch.check_after_view(3000, 1001), Word::Doubt);
        assert_eq!(latch.check_after_view(1000 + FRESH_MS, 1001), Word::Refuse(Refusal::SoldOut));
        latch.shown(&view(1, 20), 1500);
        assert_eq!(latch.check_after_view(3000, 1501), Word::Ask);
    }
}
