//! What a core knows of a sale's ticket types: which the ledger has said are sold out.
//!
//! Each has a latch like the sale's own, and is kept true by the same views.

use super::latch::{Latch, Refusal, Word};
use crate::sale::{Lines, SaleView, TypeName};

/// The types of one sale of which the ledger has said that they are sold out, on one core.
#[derive(Debug, Default)]
pub struct TypeLatches(Vec<(TypeName, Latch)>);

/// What they let a core say to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum TypeWord {
    /// The ledger said a moment ago that nothing is left of this type.
    Refuse(TypeName),
    /// It said so the last time, but that is too long ago.
    Doubt,
    /// Nothing speaks against it.
    Ask,
}

impl TypeLatches {
    /// What to say to a request for these lines that comes now. `asked_at_ms`: when the question was asked
    /// that the ledger has still to answer, if there is one.
    pub fn check(&self, lines: &Lines, now_ms: u64, asked_at_ms: Option<u64>) -> TypeWord {
        self.word(lines, |latch| latch.check(now_ms, asked_at_ms))
    }

    /// The same for a request that came at `came_ms` and has waited for the ledger's view of the sale.
    pub fn check_after_view(&self, lines: &Lines, now_ms: u64, came_ms: u64) -> TypeWord {
        self.word(lines, |latch| latch.check_after_view(now_ms, came_ms))
    }

    fn word(&self, lines: &Lines, check: impl Fn(&Latch) -> Word) -> TypeWord {
        let mut word = TypeWord::Ask;
        for (name, latch) in self.0.iter().filter(|(name, _)| lines.of(name) > 0) {
            match check(latch) {
                Word::Refuse(_) => return TypeWord::Refuse(name.clone()),
                Word::Doubt => word = TypeWord::Doubt,
                Word::Ask => {}
            }
        }
        word
    }

    /// Whether the last that the ledger said was that one of them is sold out.
    pub fn are_closed(&self) -> bool {
        self.0.iter().any(|(_, latch)| latch.is_closed())
    }

    /// The ledger refused a purchase since nothing is left of this type, asked at `asked_at_ms`. A sale
    /// has few types, so there are few of these.
    pub fn close(&mut self, name: &TypeName, asked_at_ms: u64, ledger_now_ms: u64) {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.clone(), Latch::default()));
            self.0.len() - 1
        });
        self.0[at].1.close(Refusal::SoldOut, asked_at_ms, ledger_now_ms);
    }

    /// The ledger has shown the sale, asked at `asked_at_ms`.
    pub fn shown(&mut self, view: &SaleView, asked_at_ms: u64) {
        self.0.clear();
        for (name, ..) in view.types().filter(|(_, cap, units, _)| units.sold() >= *cap) {
            self.close(name, asked_at_ms, view.now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Command, Machine, ReservationId, Reserve, SaleSpec, Types};

    fn lines(text: &str) -> Lines {
        Lines::from_text(text).unwrap()
    }

    fn view(adults: u32) -> SaleView {
        let types = Types::from_text("adult:2,child:2").unwrap();
        let mut machine = Machine::new(SaleSpec { types, ..SaleSpec::with_total(9) });
        let details = crate::sale::Details { lines: Some(lines("adult:1")), ..Default::default() };
        for n in 0..adults {
            let (id, details) = (ReservationId(n.into()), details.clone().boxed());
            let (user, key, trace) = (None, None, None);
            let reserve = Reserve { id, quantity: 1, user, key, details, trace };
            machine.apply(1, &Command::Reserve(reserve));
        }
        machine.view()
    }

    #[test]
    fn only_what_names_a_type_that_is_gone_is_refused_and_only_for_a_while() {
        let adult = TypeName::new("adult").unwrap();
        let mut latches = TypeLatches::default();
        assert_eq!(latches.check(&lines("adult:1"), 0, None), TypeWord::Ask);
        latches.close(&adult, 1_000, 1);
        assert!(latches.are_closed());
        assert_eq!(latches.check(&lines("child:1"), 1_001, None), TypeWord::Ask);
        let both = lines("adult:1,child:1");
        assert_eq!(latches.check(&both, 1_001, None), TypeWord::Refuse(adult.clone()));
        assert_eq!(latches.check(&both, 2_000, None), TypeWord::Doubt);
        assert_eq!(latches.check_after_view(&both, 2_000, 999), TypeWord::Refuse(adult));
    }

    #[test]
    fn a_view_says_which_are_gone_and_which_are_back() {
        let mut latches = TypeLatches::default();
        latches.shown(&view(2), 50);
        let adult = TypeName::new("adult").unwrap();
        assert_eq!(latches.check(&lines("adult:1"), 60, None), TypeWord::Refuse(adult));
        assert_eq!(latches.check(&lines("child:2"), 60, None), TypeWord::Ask);
        latches.shown(&view(1), 70);
        assert_eq!(latches.check(&lines("adult:2"), 80, None), TypeWord::Ask, "the ledger decides");
    }
}
