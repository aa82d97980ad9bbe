//! What a core knows of a sale's ticket types: which ones the ledger has reported as sold out.
//!
//! Each type has a latch like that of the sale, updated by the same views.

use super::latch::{Latch, LatchDecision, LatchReason};
use crate::sale::{Lines, SaleView, TypeName};

/// The types of one sale that are sold out, as one core knows it.
#[derive(Debug, Default)]
pub struct TypeLatches(Vec<(TypeName, Latch)>);

/// How a core handles a request that names ticket types.
#[derive(Debug, PartialEq, Eq)]
pub enum TypeDecision {
    /// Refuse: the ledger reported recently that nothing is left of this type.
    Refuse(TypeName),
    /// The ledger's last answer refused a type, but that is too long ago.
    Stale,
    /// Nothing is known against the request.
    AskLedger,
}

impl TypeLatches {
    /// Decides a request for these lines that arrives now. `asked_at_ms`: when the query was sent
    /// that is still unanswered, if there is one.
    pub fn check(&self, lines: &Lines, now_ms: u64, asked_at_ms: Option<u64>) -> TypeDecision {
        self.decide(lines, |latch| latch.check(now_ms, asked_at_ms))
    }

    /// The same for a request that arrived at `came_ms` and has waited for the ledger's view of the
    /// sale.
    pub fn check_after_view(&self, lines: &Lines, now_ms: u64, came_ms: u64) -> TypeDecision {
        self.decide(lines, |latch| latch.check_after_view(now_ms, came_ms))
    }

    fn decide(&self, lines: &Lines, check: impl Fn(&Latch) -> LatchDecision) -> TypeDecision {
        let mut decision = TypeDecision::AskLedger;
        for (name, latch) in self.0.iter().filter(|(name, _)| lines.of(name) > 0) {
            match check(latch) {
                LatchDecision::Refuse(_) => return TypeDecision::Refuse(name.clone()),
                LatchDecision::Stale => decision = TypeDecision::Stale,
                LatchDecision::AskLedger => {}
            }
        }
        decision
    }

    /// Whether the last answers refuse any of the types.
    pub fn are_closed(&self) -> bool {
        self.0.iter().any(|(_, latch)| latch.is_closed())
    }

    /// The ledger refused a purchase that was sent at `asked_at_ms`, since nothing is left of this
    /// type. A sale has few types, so the list is short.
    pub fn close(&mut self, name: &TypeName, asked_at_ms: u64, ledger_now_ms: u64) {
        let at = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.clone(), Latch::default()));
            self.0.len() - 1
        });
        self.0[at].1.close(LatchReason::SoldOut, asked_at_ms, ledger_now_ms);
    }

    /// The ledger sent a view that was requested at `asked_at_ms`.
    pub fn on_view(&mut self, view: &SaleView, asked_at_ms: u64) {
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
    fn a_sold_out_type_is_refused_only_for_a_while() {
        let adult = TypeName::new("adult").unwrap();
        let mut latches = TypeLatches::default();
        assert_eq!(latches.check(&lines("adult:1"), 0, None), TypeDecision::AskLedger);
        latches.close(&adult, 1_000, 1);
        assert!(latches.are_closed());
        assert_eq!(latches.check(&lines("child:1"), 1_001, None), TypeDecision::AskLedger);
        let both = lines("adult:1,child:1");
        assert_eq!(latches.check(&both, 1_001, None), TypeDecision::Refuse(adult.clone()));
        assert_eq!(latches.check(&both, 2_000, None), TypeDecision::Stale);
        assert_eq!(latches.check_after_view(&both, 2_000, 999), TypeDecision::Refuse(adult));
    }

    #[test]
    fn a_view_closes_and_reopens_ticket_types() {
        let mut latches = TypeLatches::default();
        latches.on_view(&view(2), 50);
        let adult = TypeName::new("adult").unwrap();
        assert_eq!(latches.check(&lines("adult:1"), 60, None), TypeDecision::Refuse(adult));
        assert_eq!(latches.check(&lines("child:2"), 60, None), TypeDecision::AskLedger);
        latches.on_view(&view(1), 70);
        assert_eq!(
            latches.check(&lines("adult:2"), 80, None),
            TypeDecision::AskLedger,
            "the ledger decides"
        );
    }
}
