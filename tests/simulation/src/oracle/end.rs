//! The end of a run: what clients were told of each reservation, against each other and against
//! what became of it.
//!
//! A reservation goes one way: held, then cancelled; or held, expired, confirmed, refunded, of
//! which it may leave out some. So there is a linear order of all answers about it if, and only if,
//! no answer is behind one that had ended before it began.

use std::collections::BTreeMap;

use stampede::sale::{ReservationId, Status};

use super::Findings;
use super::once::{Known, Once};
use super::truth::Window;
use crate::time::Us;

/// An answer about one reservation.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// From the request to its answer.
    window: Window,
    status: Status,
    /// Its units, if the answer says so.
    quantity: Option<u32>,
}

/// All answers about reservations.
#[derive(Debug, Default)]
pub struct Answers(BTreeMap<ReservationId, Vec<Answer>>);

/// Whether a reservation may come from one status to another, or stay.
fn leads_to(from: Status, to: Status) -> bool {
    let rank = |status| match status {
        Status::Held => 0,
        Status::Expired => 1,
        Status::Confirmed => 2,
        Status::Refunded => 3,
        Status::Cancelled => 4,
    };
    match (from, to) {
        (Status::Held | Status::Cancelled, Status::Cancelled) => true,
        (Status::Cancelled, _) | (_, Status::Cancelled) => false,
        _ => rank(from) <= rank(to),
    }
}

impl Answers {
    /// A client was told that a reservation has this status.
    pub fn note(
        &mut self,
        id: ReservationId,
        window: Window,
        status: Status,
        quantity: Option<u32>,
    ) {
        self.0.entry(id).or_default().push(Answer { window, status, quantity });
    }

    /// Checks all answers.
    pub fn check(&self, at: Us, once: &Once, findings: &mut Findings) {
        for (id, answers) in &self.0 {
            match once.known(*id) {
                None => {
                    let text = format!("{id} was told of, and the ledger never made it");
                    findings.add(at, "I3 durable", text);
                }
                Some(known) if known.is_excused => {}
                Some(known) if known.is_lost => {
                    let text = format!("{id} of {} was told of, and is lost", known.place);
                    findings.add(at, "I3 durable", text);
                }
                Some(known) => {
                    if let Err(text) = order(answers, known) {
                        let text = format!("{id} of {}: {text}", known.place);
                        findings.add(at, "O order of answers", text);
                    }
                }
            }
        }
    }
}

/// Looks for two answers of which no order is true. What became of the reservation at last counts
/// as an answer after all others.
fn order(answers: &[Answer], known: &Known) -> Result<(), String> {
    let window = Window { from: Us::MAX, to: Us::MAX };
    let last = Answer { window, status: known.status, quantity: Some(known.quantity) };
    let all: Vec<_> = answers.iter().chain([&last]).collect();
    for one in &all {
        for other in &all {
            let is_before = one.window.to < other.window.from;
            let goes_on = leads_to(one.status, other.status);
            let quantities = (one.quantity, other.quantity);
            let grows = matches!(quantities, (Some(one), Some(other)) if one < other);
            let is_possible = goes_on || !is_before && leads_to(other.status, one.status);
            if !is_possible || is_before && grows {
                return Err(format!("{one:?}, and {other:?}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Stage, ask_tagged};
    use stampede::sale::{Command, SaleSpec};

    /// The findings after these answers (from, to, status, units) about a reservation of two units
    /// that was confirmed at last.
    fn found(answers: &[(Us, Us, Status, u32)]) -> Vec<&'static str> {
        let mut stage = Stage::begin(SaleSpec::with_total(5));
        stage.run(1, &ask_tagged(1, 7, 2, "ann", "k"));
        stage.run(1, &Command::Confirm(ReservationId(7)));
        let (mut all, mut findings) = (Answers::default(), Findings::new(9));
        for (from, to, status, quantity) in answers {
            let window = Window { from: *from, to: *to };
            all.note(ReservationId(7), window, *status, Some(*quantity));
        }
        all.check(99, &stage.oracle.once, &mut findings);
        findings.names()
    }

    #[test]
    fn answers_that_overlap_may_come_in_any_order() {
        let (held, confirmed) = (Status::Held, Status::Confirmed);
        assert_eq!(found(&[(1, 5, confirmed, 2), (2, 6, held, 2), (7, 8, confirmed, 2)]), [""; 0]);
        assert_eq!(found(&[(1, 2, held, 2), (3, 4, Status::Expired, 2)]), [""; 0], "paid late");
    }

    #[test]
    fn an_answer_from_the_past_is_found() {
        let wrong = ["O order of answers"];
        assert_eq!(found(&[(1, 2, Status::Confirmed, 2), (3, 4, Status::Held, 2)]), wrong);
        assert_eq!(found(&[(1, 2, Status::Held, 1), (3, 4, Status::Held, 2)]), wrong);
    }

    #[test]
    fn an_answer_that_did_not_last_is_found() {
        for status in [Status::Cancelled, Status::Refunded] {
            assert_eq!(found(&[(1, 2, status, 2)]), ["O order of answers"]);
        }
        assert_eq!(found(&[(1, 2, Status::Held, 1)]), ["O order of answers"], "it has more units");
    }

    #[test]
    fn two_ends_of_a_reservation_are_found_even_if_they_overlap() {
        let ends = [(1, 5, Status::Cancelled, 2), (1, 5, Status::Confirmed, 2)];
        assert_eq!(found(&ends), ["O order of answers"]);
    }

    #[test]
    fn a_reservation_that_was_told_of_and_never_made_is_found() {
        let (mut all, mut findings) = (Answers::default(), Findings::new(9));
        all.note(ReservationId(1), Window { from: 1, to: 2 }, Status::Held, None);
        all.check(9, &Once::default(), &mut findings);
        assert_eq!(findings.names(), ["I3 durable"]);
    }
}
