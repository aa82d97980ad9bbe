//! Decides what a buyer of the crowd does: which step follows which answer.
//!
//! Pure and repeatable: the behaviour of a buyer depends on the buyer's number alone.

/// A request that a buyer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Asks for a ticket. Each attempt has its own idempotency key; a retry of an attempt whose outcome is
    /// unknown has the same key.
    Ask { buyer: u64, attempt: u32 },
    /// Pays for the reservation.
    Pay { buyer: u64, id: String },
    /// Gives the reservation back.
    GiveBack { buyer: u64, id: String },
    /// Looks up a reservation that the buyer did not pay for.
    Look { buyer: u64, id: String },
}

/// The answer to a step, as far as it matters to a buyer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The ticket is held.
    Held { id: String },
    /// The reservation has this status.
    Is(Status),
    /// Nothing is left.
    SoldOut,
    /// The sale is not open yet.
    NotOpen,
    /// The outcome is unknown, or the server was busy. The buyer repeats the step after this time.
    Again { after_ms: u64 },
    /// Any other answer, described.
    Unexpected(String),
}

/// The status of a reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Held,
    Confirmed,
    GivenBack,
    Expired,
}

/// What follows an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Another step, after this time in ms.
    After(u64, Step),
    /// Nothing: the buyer is done.
    Done,
}

/// Percentage of the buyers who pay, among those who get a ticket at their first attempt.
const PAY: u64 = 75;
/// Percentage of the same buyers who give the ticket back. The others let the hold expire.
const GIVE_BACK: u64 = 10;
/// Longest time until a buyer pays or gives back. With a short hold it is half of the hold.
const DECIDES_WITHIN_MS: u64 = 6_000;
/// Shortest time until a refused buyer asks again, after the first refusal and after later ones. The longest
/// time is twice as long.
const COMES_AGAIN_MS: u64 = 3_000;
const COMES_AGAIN_LATER_MS: u64 = 6_000;
/// Time from the end of a hold until the buyer looks. The ledger expires reservations within a second.
const LOOKS_AFTER_MS: u64 = 1_200;
const LOOKS_AGAIN_MS: u64 = 300;
/// Time until a buyer who came before the opening asks again.
const NOT_OPEN_MS: u64 = 50;

impl Step {
    /// The number of the buyer.
    pub fn buyer(&self) -> u64 {
        match self {
            Self::Ask { buyer, .. }
            | Self::Pay { buyer, .. }
            | Self::GiveBack { buyer, .. }
            | Self::Look { buyer, .. } => *buyer,
        }
    }

    /// Whether the buyer was refused before.
    pub fn was_refused(&self) -> bool {
        matches!(self, Self::Ask { attempt: 2.., .. })
    }

    /// The step that follows an answer, in a sale with this hold time.
    pub fn next(self, answer: &Answer, hold_ms: u64) -> Next {
        match (self, answer) {
            (step, Answer::Again { after_ms }) => Next::After(*after_ms, step),
            (step @ Self::Ask { .. }, Answer::NotOpen) => Next::After(NOT_OPEN_MS, step),
            (Self::Ask { buyer, attempt }, Answer::SoldOut) => {
                let about = if attempt == 1 { COMES_AGAIN_MS } else { COMES_AGAIN_LATER_MS };
                let pause_ms = about + chance(buyer, attempt.into(), about);
                Next::After(pause_ms, Self::Ask { buyer, attempt: attempt + 1 })
            }
            (Self::Ask { buyer, attempt }, Answer::Held { id }) => {
                let id = id.clone();
                let decides_ms = 1 + chance(buyer, 0, DECIDES_WITHIN_MS.min(hold_ms / 2));
                match chance(buyer, 1, 100) {
                    // A buyer who came back pays.
                    share if attempt > 1 || share < PAY => {
                        Next::After(decides_ms, Self::Pay { buyer, id })
                    }
                    share if share < PAY + GIVE_BACK => {
                        Next::After(decides_ms, Self::GiveBack { buyer, id })
                    }
                    _ => Next::After(hold_ms + LOOKS_AFTER_MS, Self::Look { buyer, id }),
                }
            }
            (step @ Self::Look { .. }, Answer::Is(Status::Held)) => {
                Next::After(LOOKS_AGAIN_MS, step)
            }
            _ => Next::Done,
        }
    }
}

/// A number below `below`, always the same for this buyer and question. 0 if `below` is 0.
fn chance(buyer: u64, question: u64, below: u64) -> u64 {
    // SplitMix64.
    let mut bits = buyer.wrapping_mul(0x1000_0001).wrapping_add(question);
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)).checked_rem(below).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD_MS: u64 = 30_000;

    fn held() -> Answer {
        Answer::Held { id: "ticket~1".to_owned() }
    }

    #[test]
    fn buyers_pay_cancel_or_let_expire_in_the_set_shares() {
        let (mut pays, mut gives_back, mut waits) = (0, 0, 0);
        for buyer in 0..10_000 {
            match (Step::Ask { buyer, attempt: 1 }).next(&held(), HOLD_MS) {
                Next::After(ms, Step::Pay { .. }) if ms < HOLD_MS => pays += 1,
                Next::After(ms, Step::GiveBack { .. }) if ms < HOLD_MS => gives_back += 1,
                Next::After(ms, Step::Look { .. }) if ms > HOLD_MS => waits += 1,
                other => panic!("{buyer}: {other:?}"),
            }
        }
        let about = |count: i32, share: u64| (count - share as i32 * 100).abs() < 200;
        assert!(about(pays, PAY) && about(gives_back, GIVE_BACK), "{pays} {gives_back} {waits}");
        assert!(about(waits, 100 - PAY - GIVE_BACK), "{pays} {gives_back} {waits}");
    }

    #[test]
    fn a_refused_buyer_retries_with_another_key_and_pays() {
        for buyer in 0..1_000 {
            let first = Step::Ask { buyer, attempt: 1 };
            assert!(!first.was_refused());
            let Next::After(_, again) = first.next(&Answer::SoldOut, HOLD_MS) else { panic!() };
            assert_eq!(again, Step::Ask { buyer, attempt: 2 });
            assert!(again.was_refused());
            assert!(matches!(again.next(&held(), HOLD_MS), Next::After(_, Step::Pay { .. })));
        }
    }

    #[test]
    fn an_undecided_answer_repeats_the_same_step() {
        let id = "ticket~1".to_owned();
        for step in [
            Step::Ask { buyer: 1, attempt: 3 },
            Step::Pay { buyer: 1, id: id.clone() },
            Step::GiveBack { buyer: 1, id: id.clone() },
            Step::Look { buyer: 1, id },
        ] {
            let next = step.clone().next(&Answer::Again { after_ms: 7 }, HOLD_MS);
            assert_eq!(next, Next::After(7, step));
        }
    }

    #[test]
    fn a_final_answer_ends_the_steps_of_a_buyer() {
        let id = || "ticket~1".to_owned();
        for (step, answer) in [
            (Step::Pay { buyer: 1, id: id() }, Answer::Is(Status::Confirmed)),
            (Step::Pay { buyer: 1, id: id() }, Answer::Is(Status::Expired)),
            (Step::GiveBack { buyer: 1, id: id() }, Answer::Is(Status::GivenBack)),
            (Step::Look { buyer: 1, id: id() }, Answer::Is(Status::Expired)),
            (Step::Ask { buyer: 1, attempt: 1 }, Answer::Unexpected("closed".to_owned())),
        ] {
            assert_eq!(step.next(&answer, HOLD_MS), Next::Done);
        }
        let look = Step::Look { buyer: 1, id: id() };
        assert!(matches!(look.next(&Answer::Is(Status::Held), HOLD_MS), Next::After(..)));
    }

    #[test]
    fn buyers_act_within_a_short_hold() {
        for buyer in 0..1_000 {
            let next = (Step::Ask { buyer, attempt: 2 }).next(&held(), 1_000);
            assert!(matches!(next, Next::After(ms, _) if ms <= 500), "{next:?}");
        }
    }
}
