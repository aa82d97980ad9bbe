//! The histories of small sales, through the search of tests/linear: is there an order of all
//! requests in which each answer is true?
//!
//! That search knows one unit per purchase, and no time. So a sale is left out if it is split, has
//! ticket types or rules, opens, closes or changes its terms, or if a reservation expires,
//! is extended or given back in part; and so is one with too many operations.

// As tests/linear has them.
#[allow(dead_code)]
#[path = "../../../linear/history.rs"]
mod history;
#[allow(dead_code)]
#[path = "../../../linear/checker.rs"]
mod checker;

use std::collections::BTreeMap;

use stampede::ledger::Failure;
use stampede::limits::TIME_MS_MAX;
use stampede::purchase::RejectReason;
use stampede::sale::{Command, Outcome, Reservation, SaleId, SaleSpec, Split, Status};

use self::checker::{Rules, Wrong, check};
use self::history::{Call as Operated, NEVER, Operation, Said};
use super::Findings;
use super::once::Open;
use crate::call::{Call, Purchase, Told};
use crate::chance::plain as chance;
use crate::time::{MS, Us};

/// Nanoseconds in a microsecond: the search counts in them.
const NS: u64 = 1_000;

/// What happened to one creation of a sale.
#[derive(Debug)]
struct History {
    rules: Rules,
    operations: Vec<Operation>,
    /// Why it is not checked.
    unfit: Option<&'static str>,
}

/// The histories of all sales, each by its name and how often it had begun anew.
#[derive(Debug)]
pub struct Histories {
    by_sale: BTreeMap<(SaleId, u64), History>,
    operations_max: usize,
}

/// How many histories were checked, and how many not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Those in which the search found an order.
    pub right: u64,
    /// Those in which it found none, and could not exclude one.
    pub undecided: u64,
    /// Those left out.
    pub left_out: u64,
}

/// What an answer is in a history.
enum Entry {
    /// This answer.
    Is(Said),
    /// It is unknown whether it happened, or when.
    Unknown,
    /// It did not happen, or says nothing.
    Nothing,
    /// An answer that the search does not know.
    Unfit,
}

impl Histories {
    /// Of sales with at most this many operations.
    pub fn new(operations_max: usize) -> Self {
        Self { by_sale: BTreeMap::new(), operations_max }
    }

    /// A sale begins.
    pub fn begin(&mut self, id: &SaleId, generation: u64, spec: &SaleSpec, now_ms: u64) {
        let is_plain = spec.split == Split::Whole
            && spec.types.is_empty()
            && spec.rules == stampede::sale::Rules::default()
            && spec.opens_at_ms <= now_ms
            && spec.closes_at_ms == TIME_MS_MAX;
        let limit_per_user = match spec.limit_per_user {
            0 => u64::MAX,
            limit => limit.into(),
        };
        let rules = Rules { total: spec.total, limit_per_user, hearsay: 0, is_split: false };
        let unfit = (!is_plain).then_some("its definition");
        let history = History { rules, operations: Vec::new(), unfit };
        self.by_sale.insert((id.clone(), generation), history);
    }

    /// The sale can't be checked any more.
    pub fn leave_out(&mut self, id: &SaleId, generation: u64, why: &'static str) {
        if let Some(history) = self.by_sale.get_mut(&(id.whole(), generation)) {
            history.unfit = history.unfit.or(Some(why));
            history.operations = Vec::new();
        }
    }

    /// A command was executed. `is_asked`: a client asked for it, who tells its own story.
    pub fn note_command(
        &mut self,
        at: Us,
        (id, generation): (&SaleId, u64),
        (command, outcome): (&Command, &Outcome),
        is_asked: bool,
    ) {
        let (call, said) = match (command, outcome) {
            (Command::AddStock(units), Outcome::Sale(_)) => {
                (Operated::AddStock(*units), Said::Added)
            }
            (Command::TakeStock { units, .. }, Outcome::StockTaken { units: taken, .. }) => {
                (Operated::TakeStock(*units), Said::Taken(*taken))
            }
            (Command::Refund(id), Outcome::Reservation(row)) => {
                (Operated::Refund(id.to_string()), said_of(row, None))
            }
            (Command::Expire { .. }, Outcome::Released { units: 1.., .. }) => {
                return self.leave_out(id, generation, "reservations expired");
            }
            (Command::Reserve(_), Outcome::Granted { .. })
            | (Command::Confirm(_) | Command::Cancel(_), Outcome::Reservation(_))
                if !is_asked =>
            {
                return self.leave_out(id, generation, "somebody else changed a reservation");
            }
            (
                Command::CancelTo(..)
                | Command::RefundTo(..)
                | Command::Extend(..)
                | Command::ChangeTerms(_)
                | Command::Open
                | Command::Close
                | Command::Reset { .. },
                _,
            ) => return self.leave_out(id, generation, "an operator changed it"),
            _ => return,
        };
        let now = at * NS;
        self.push(id, generation, Operation { began: now, ended: now, call, said: Some(said) });
    }

    /// A client was told. `None`: it never was.
    pub fn note_told(&mut self, at: Us, (open, generation): (&Open, u64), told: Option<&Told>) {
        let id = open.call.sale().whole();
        let call = match &open.call {
            Call::Buy { quantity: 1, user, key, .. } => {
                Operated::Buy { user: user.clone().unwrap_or_default(), key: key.clone() }
            }
            Call::Buy { .. } => {
                return self.leave_out(&id, open.generation, "several units at once");
            }
            Call::Show { id, .. } => Operated::Show(id.to_string()),
            Call::Confirm { id, .. } => Operated::Confirm(id.to_string()),
            Call::Cancel { id, .. } => Operated::Cancel(id.to_string()),
            Call::View { .. } => return,
        };
        let (ended, said) = match told.map_or(Entry::Unknown, |told| entry(&call, told)) {
            Entry::Is(said) => (at * NS, Some(said)),
            // A question that was not answered asked nothing.
            Entry::Unknown if matches!(call, Operated::Show(_)) => return,
            Entry::Unknown => (NEVER, None),
            Entry::Nothing => return,
            Entry::Unfit => {
                return self.leave_out(&id, open.generation, "an answer of another kind");
            }
        };
        if open.generation != generation {
            self.leave_out(&id, generation, "it began anew meanwhile");
            return self.leave_out(&id, open.generation, "it began anew meanwhile");
        }
        let began = open.asked * NS;
        self.push(&id, generation, Operation { began, ended, call, said });
    }

    fn push(&mut self, id: &SaleId, generation: u64, operation: Operation) {
        let Some(history) = self.by_sale.get_mut(&(id.whole(), generation)) else { return };
        if history.unfit.is_some() {
            return;
        }
        if history.operations.len() == self.operations_max {
            return self.leave_out(id, generation, "too many operations");
        }
        history.operations.push(operation);
    }

    /// Searches all histories. `hearsay_us`: how old the answer may be by which a core refuses.
    pub fn check(&self, at: Us, hearsay_us: Us, findings: &mut Findings) -> Checked {
        let mut checked = Checked::default();
        for ((id, generation), history) in &self.by_sale {
            if history.unfit.is_some() || history.operations.is_empty() {
                checked.left_out += 1;
                continue;
            }
            // A core's clock shows whole milliseconds.
            let rules = Rules { hearsay: (hearsay_us + MS) * NS, ..history.rules };
            match check(&rules, &history.operations) {
                Ok(()) => checked.right += 1,
                Err(Wrong::Undecided(_)) => checked.undecided += 1,
                Err(wrong) => {
                    let text = format!("{id}, creation {generation}: {wrong}");
                    findings.add(at, "L linear order", text);
                }
            }
        }
        checked
    }
}

fn said_of(row: &Reservation, is_new: Option<bool>) -> Said {
    Said::Reservation { id: row.id.to_string(), is_new, status: Some(row.status) }
}

fn entry(call: &Operated, told: &Told) -> Entry {
    match told {
        Told::Purchase(Purchase::Granted(row)) => {
            let (id, is_new) = (row.id.to_string(), Some(true));
            Entry::Is(Said::Reservation { id, is_new, status: Some(Status::Held) })
        }
        Told::Purchase(Purchase::Replayed(row)) => Entry::Is(said_of(row, Some(false))),
        Told::Purchase(Purchase::Rejected(RejectReason::SoldOut { .. })) => {
            Entry::Is(Said::SoldOut)
        }
        Told::Purchase(Purchase::Rejected(RejectReason::LimitReached { .. })) => {
            Entry::Is(Said::LimitReached)
        }
        Told::Purchase(Purchase::Rejected(RejectReason::AllowanceExhausted)) => Entry::Nothing,
        Told::Purchase(Purchase::Failed(Failure::Unknown))
        | Told::Failed(Failure::Unknown)
        | Told::Nothing => Entry::Unknown,
        Told::Purchase(Purchase::Failed(_)) | Told::Failed(_) => Entry::Nothing,
        Told::Purchase(Purchase::Rejected(_) | Purchase::Lines(_)) => Entry::Unfit,
        Told::Reservation(outcome) => match outcome {
            Outcome::Reservation(row) => Entry::Is(said_of(row, None)),
            Outcome::AlreadyCancelled => Entry::Is(Said::AlreadyCancelled),
            Outcome::AlreadyConfirmed => Entry::Is(Said::AlreadyConfirmed),
            Outcome::AlreadyRefunded => Entry::Is(Said::AlreadyRefunded),
            // A question about a reservation that does not exist says nothing.
            Outcome::UnknownReservation if matches!(call, Operated::Show(_)) => Entry::Nothing,
            _ => Entry::Unfit,
        },
        Told::View(_) => Entry::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Stage, ask_tagged, buy, granted};
    use stampede::sale::{ReservationId, Terms};

    fn sold_out() -> Told {
        Told::Purchase(Purchase::Rejected(RejectReason::SoldOut { free: 0 }))
    }

    /// A sale of one unit, which ann has bought and cancelled again at 20 ms.
    fn stage() -> Stage {
        let mut stage = Stage::begin(SaleSpec::with_total(1));
        stage.ask(0, 1, buy("ann", "k", 1));
        let bought = stage.run(5, &ask_tagged(1, 7, 1, "ann", "k"));
        stage.tell(10, 1, granted(7, 1, "ann", &bought));
        let id = ReservationId(7);
        stage.ask(20, 2, Call::Cancel { sale: stage.sale.clone(), id });
        let cancelled = stage.run(20, &Command::Cancel(id));
        stage.tell(20, 2, Told::Reservation(cancelled));
        stage
    }

    fn found(stage: &Stage, hearsay_us: Us) -> (Vec<&'static str>, Checked) {
        let mut findings = Findings::new(9);
        let checked = stage.oracle.histories.check(99, hearsay_us, &mut findings);
        (findings.names(), checked)
    }

    #[test]
    fn a_history_with_an_order_is_right() {
        let mut stage = stage();
        stage.ask(12, 3, buy("bob", "", 1));
        stage.tell(15, 3, sold_out());
        let right = Checked { right: 1, ..Checked::default() };
        assert_eq!(found(&stage, 0), (vec![], right));
    }

    #[test]
    fn a_sold_out_that_nothing_explains_is_found() {
        let mut stage = stage();
        stage.ask(40, 3, buy("bob", "", 1));
        stage.oracle.histories.note_told(
            50_000,
            (&stage.oracle.once.close(crate::call::CallId(3)).unwrap(), 1),
            Some(&sold_out()),
        );
        assert_eq!(found(&stage, 0).0, ["L linear order"]);
        let right = Checked { right: 1, ..Checked::default() };
        assert_eq!(found(&stage, 30 * MS), (vec![], right), "hearsay");
    }

    #[test]
    fn a_sale_that_the_search_does_not_know_is_left_out() {
        let mut stage = stage();
        let terms = Terms { hold_ms: Some(7), ..Terms::default() };
        stage.run(30, &Command::ChangeTerms(terms));
        let left_out = Checked { left_out: 1, ..Checked::default() };
        assert_eq!(found(&stage, 0), (vec![], left_out));
        let mut stage = Stage::begin(SaleSpec { hold_ms: 5, ..SaleSpec::with_total(1) });
        stage.run(1, &ask_tagged(1, 7, 1, "ann", "k"));
        stage.run(9, &Command::Expire { batch_max: 9 });
        assert_eq!(found(&stage, 0), (vec![], left_out));
    }

    #[test]
    fn a_purchase_that_was_given_up_before_its_sale_began_anew_explains_a_sold_out() {
        let mut stage = Stage::begin(SaleSpec::with_total(1));
        stage.ask(0, 1, buy("ann", "", 1));
        stage.tell(5, 1, Told::Nothing);
        let create = Command::Create(SaleSpec::with_total(1));
        for command in [Command::Close, Command::Remove, create] {
            stage.run(6, &command);
        }
        stage.run(7, &ask_tagged(1, 7, 1, "ann", ""));
        stage.ask(20, 2, buy("bob", "", 1));
        stage.run(20, &ask_tagged(2, 8, 1, "bob", ""));
        stage.tell(25, 2, sold_out());
        let both = Checked { left_out: 2, ..Checked::default() };
        assert_eq!(found(&stage, 0), (vec![], both));
    }
}
