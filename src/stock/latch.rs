//! What a core knows of a sale that lets it refuse without a query.
//!
//! An answer of the ledger closes a latch: sold out, not open yet, closed. While requests meet a
//! closed latch, and for a while after, the core queries the sale in the background at every tick.
//! The answers keep the latch fresh or open it.
//!
//! A latch that was not confirmed for a while is stale: requests then wait for the answer to one
//! query about the sale. So a sale whose stock came back is never refused for long, a ledger that
//! is away is never reported as sold out, and a slow ledger is not flooded.

use crate::limits::TICK_INTERVAL_MS;
use crate::planted::{self, Bug};
use crate::sale::{SaleState, SaleView};

/// Age at which an unconfirmed latch becomes stale: units that came back are for sale on every core
/// within this time, whether requests met the latch meanwhile or not.
const FRESH_MS: u64 = 100;
/// The same while a query that was sent in time is unanswered. If the ledger is slow for a moment,
/// a query by every request does not help it.
const LATCH_AGE_MS_MAX: u64 = 400;
/// Age of a latch after which a new query no longer counts as sent in time.
const ASK_AGE_MS_MAX: u64 = 200;

const _: () = assert!(TICK_INTERVAL_MS < FRESH_MS);
const _: () = assert!(FRESH_MS < ASK_AGE_MS_MAX && ASK_AGE_MS_MAX < LATCH_AGE_MS_MAX);

/// Why a closed latch refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatchReason {
    /// Nothing is left.
    SoldOut,
    /// The sale is not open yet.
    NotOpen {
        /// When it opens, in ms since 1970 on the ledger's clock.
        opens_at_ms: u64,
    },
    /// The sale is over.
    Closed,
}

/// How a core handles a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatchDecision {
    /// Refuse: the ledger's answer is recent.
    Refuse(LatchReason),
    /// The ledger's last answer refused, but that is too long ago: query the sale.
    Stale,
    /// Nothing is known against a purchase: send it to the ledger.
    AskLedger,
}

/// One core's latch of one sale. Times are milliseconds on the core's clock unless stated
/// otherwise.
#[derive(Debug, Clone, Default)]
pub struct Latch {
    reason: Option<LatchReason>,
    confirmed_at_ms: u64,
    /// The ledger's clock minus the core's.
    ledger_ahead_ms: u64,
}

impl Latch {
    /// Decides a request that arrives now. `asked_at_ms`: when the query was sent that is still
    /// unanswered, if there is one.
    pub fn check(&self, now_ms: u64, asked_at_ms: Option<u64>) -> LatchDecision {
        let in_time_ms = self.confirmed_at_ms + ASK_AGE_MS_MAX;
        let age_ms_max = match asked_at_ms {
            Some(asked_at_ms) if asked_at_ms <= in_time_ms => LATCH_AGE_MS_MAX,
            _ => FRESH_MS,
        };
        self.decide(now_ms, self.confirmed_at_ms + age_ms_max)
    }

    /// Decides a request that arrived at `came_ms` and has waited for the ledger's view of the
    /// sale. The answer to a query that was sent after the request arrived counts, however late it
    /// is.
    pub fn check_after_view(&self, now_ms: u64, came_ms: u64) -> LatchDecision {
        let until_ms = match self.confirmed_at_ms >= came_ms {
            true => u64::MAX,
            false => self.confirmed_at_ms + FRESH_MS,
        };
        self.decide(now_ms, until_ms)
    }

    fn decide(&self, now_ms: u64, fresh_until_ms: u64) -> LatchDecision {
        match self.reason {
            None => LatchDecision::AskLedger,
            // The time of the opening stays known, however old the answer is.
            Some(LatchReason::NotOpen { opens_at_ms })
                if now_ms + self.ledger_ahead_ms >= opens_at_ms =>
            {
                LatchDecision::AskLedger
            }
            Some(_) if now_ms > fresh_until_ms => LatchDecision::Stale,
            Some(reason) => LatchDecision::Refuse(reason),
        }
    }

    /// Why the last answer was a refusal, if it was, however old.
    #[cfg(feature = "simulation")]
    pub fn reason(&self) -> Option<LatchReason> {
        self.reason
    }

    /// Whether the last answer was a refusal, however old.
    pub fn is_closed(&self) -> bool {
        self.reason.is_some()
    }

    /// Milliseconds since the ledger confirmed the refusal. `None`: the latch is open.
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        self.reason.map(|_| now_ms.saturating_sub(self.confirmed_at_ms))
    }

    /// Whether the last answer was that the sale is over, however old.
    pub fn is_over(&self) -> bool {
        self.reason == Some(LatchReason::Closed)
    }

    /// The ledger refused a purchase that was sent at `asked_at_ms`: its answer was true no earlier
    /// than that.
    pub fn close(&mut self, reason: LatchReason, asked_at_ms: u64, ledger_now_ms: u64) {
        if self.confirm(asked_at_ms, ledger_now_ms) {
            self.reason = Some(reason);
        }
    }

    /// The ledger granted a purchase, or answered that units are left.
    pub fn open(&mut self) {
        self.reason = None;
    }

    /// The ledger mentioned in another answer that units are left.
    pub fn stock_is_back(&mut self) {
        if self.reason == Some(LatchReason::SoldOut) && !planted::is(Bug::LatchStaysClosed) {
            self.reason = None;
        }
    }

    /// The ledger sent a view that was requested at `asked_at_ms`: it was true no earlier than
    /// that.
    pub fn on_view(&mut self, view: &SaleView, asked_at_ms: u64) {
        if !self.confirm(asked_at_ms, view.now_ms) {
            return;
        }
        self.reason = match view.state() {
            SaleState::Scheduled => {
                Some(LatchReason::NotOpen { opens_at_ms: view.spec.opens_at_ms })
            }
            SaleState::Closed => Some(LatchReason::Closed),
            SaleState::Open if view.free() == 0 => Some(LatchReason::SoldOut),
            SaleState::Open if planted::is(Bug::LatchStaysClosed) => self.reason,
            SaleState::Open => None,
        };
    }

    /// Returns `false` for an answer that is older than one that came before it: nothing follows
    /// from it.
    fn confirm(&mut self, asked_at_ms: u64, ledger_now_ms: u64) -> bool {
        if asked_at_ms < self.confirmed_at_ms {
            return false;
        }
        self.confirmed_at_ms = asked_at_ms;
        self.ledger_ahead_ms = ledger_now_ms.saturating_sub(asked_at_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Creation, SaleSpec, Transfers};

    fn view(total: u64, now_ms: u64) -> SaleView {
        let (spec, moves) = (SaleSpec::with_total(total), Transfers::default());
        let by_type = Vec::new();
        let creation = Creation::UNKNOWN;
        SaleView { spec, held: 0, confirmed: 0, by_type, now_ms, transfers: moves, creation }
    }

    #[test]
    fn a_fresh_latch_refuses_and_a_stale_one_asks() {
        let mut latch = Latch::default();
        assert_eq!(latch.check(0, None), LatchDecision::AskLedger);
        assert_eq!(latch.age_ms(1000), None);
        latch.close(LatchReason::SoldOut, 1000, 5000);
        assert_eq!(latch.age_ms(1030), Some(30));
        assert_eq!(latch.check(1000 + FRESH_MS, None), LatchDecision::Refuse(LatchReason::SoldOut));
        assert_eq!(latch.check(1001 + FRESH_MS, None), LatchDecision::Stale);
    }

    #[test]
    fn an_answer_that_is_older_than_an_earlier_one_changes_nothing() {
        let mut latch = Latch::default();
        latch.on_view(&view(1, 5000), 1000);
        latch.on_view(&view(0, 4900), 900);
        latch.close(LatchReason::SoldOut, 999, 4999);
        assert_eq!(latch.check(1001, None), LatchDecision::AskLedger);
        latch.close(LatchReason::SoldOut, 1000, 5000);
        latch.on_view(&view(1, 4900), 900);
        assert_eq!(latch.check(1001, None), LatchDecision::Refuse(LatchReason::SoldOut));
    }

    #[test]
    fn a_slow_ledger_extends_a_latch_for_a_bounded_time() {
        let mut latch = Latch::default();
        latch.close(LatchReason::SoldOut, 1000, 5000);
        let asked_in_time = Some(1000 + ASK_AGE_MS_MAX);
        assert_eq!(
            latch.check(1001 + FRESH_MS, asked_in_time),
            LatchDecision::Refuse(LatchReason::SoldOut)
        );
        assert_eq!(
            latch.check(1000 + LATCH_AGE_MS_MAX, asked_in_time),
            LatchDecision::Refuse(LatchReason::SoldOut)
        );
        assert_eq!(latch.check(1001 + LATCH_AGE_MS_MAX, asked_in_time), LatchDecision::Stale);
        // The question was asked when the latch was older than ASK_AGE_MS_MAX.
        let asked_late = Some(1001 + ASK_AGE_MS_MAX);
        assert_eq!(latch.check(1001 + ASK_AGE_MS_MAX, asked_late), LatchDecision::Stale);
    }

    #[test]
    fn a_latch_opens_when_stock_is_back() {
        let mut latch = Latch::default();
        latch.close(LatchReason::SoldOut, 0, 0);
        latch.on_view(&view(0, 10), 10);
        assert_eq!(latch.check(11, None), LatchDecision::Refuse(LatchReason::SoldOut));
        latch.on_view(&view(1, 20), 20);
        assert_eq!(latch.check(21, None), LatchDecision::AskLedger);
    }

    #[test]
    fn a_latch_opens_at_the_opening_by_the_ledgers_clock() {
        let mut latch = Latch::default();
        let reason = LatchReason::NotOpen { opens_at_ms: 9_000 };
        latch.close(reason, 100, 8_950);
        assert_eq!(latch.check(149, None), LatchDecision::Refuse(reason));
        assert_eq!(latch.check(150, None), LatchDecision::AskLedger);
    }

    #[test]
    fn a_late_answer_is_as_old_as_its_question() {
        let mut latch = Latch::default();
        // Asked at 1000, answered at 2900: stock may have come back meanwhile.
        latch.close(LatchReason::SoldOut, 1000, 5000);
        assert_eq!(latch.check(2900, None), LatchDecision::Stale);
    }

    #[test]
    fn a_view_asked_for_after_a_request_decides_it() {
        let mut latch = Latch::default();
        latch.on_view(&view(0, 10), 1000);
        assert_eq!(latch.check_after_view(3000, 1000), LatchDecision::Refuse(LatchReason::SoldOut));
        assert_eq!(latch.check_after_view(3000, 1001), LatchDecision::Stale);
        assert_eq!(
            latch.check_after_view(1000 + FRESH_MS, 1001),
            LatchDecision::Refuse(LatchReason::SoldOut)
        );
        latch.on_view(&view(1, 20), 1500);
        assert_eq!(latch.check_after_view(3000, 1501), LatchDecision::AskLedger);
    }
}
