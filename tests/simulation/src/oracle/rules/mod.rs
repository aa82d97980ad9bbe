//! The rules of a sale: what a ledger must answer to a command, and what the command changes.
//!
//! They are written from docs/http-api.md, docs/operate.md and docs/internals, each kind of sale in
//! a file of its own. A rule reads a place and changes nothing: it returns [changes](Change).
//!
//! Three things are the ledger's choice, and the rules take them from its answer if it is a legal
//! one: the number of a creation, how many due reservations one expiry returns, and whether a
//! cheap look at a sale can tell.

mod changes;
mod limits;
mod operator;
mod parts;
mod plain;
mod types;

pub use parts::home;
pub use types::oversold;

use stampede::sale::{Command, Creation, Outcome, ReservationId, Reserve, SaleSpec, Split};

use super::Ledger;
use super::place::{Header, Place};
use super::row::Row;

/// What a rule knows.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The place. `None`: it does not exist.
    pub place: Option<&'a Place>,
    /// The ledger's time, which never goes back.
    pub now_ms: u64,
    /// The ledger.
    pub ledger: Ledger,
    /// What the ledger answered. `None`: nobody knows.
    pub told: Option<&'a Outcome>,
}

/// What a command must be answered, and what it changes.
#[derive(Debug)]
pub struct Verdict {
    /// The answer.
    pub says: Says,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// An answer.
#[derive(Debug)]
pub enum Says {
    /// This.
    This(Outcome),
    /// The sale as it is after the changes.
    Sale,
    /// The same, of a sale that was created.
    Created,
    /// These units were taken out, with the sale as it is then.
    StockTaken(u64),
}

impl Says {
    /// The answer, from the place as it is after the changes.
    pub fn outcome(self, place: Option<&Place>) -> Outcome {
        let view = place.map(|place| Box::new(place.view()));
        match (self, view) {
            (Self::This(outcome), _) => outcome,
            (Self::Sale, Some(view)) => Outcome::Sale(view),
            (Self::Created, Some(view)) => Outcome::Created(view),
            (Self::StockTaken(units), Some(view)) => Outcome::StockTaken { units, view },
            (_, None) => Outcome::UnknownSale,
        }
    }
}

/// One change of a place.
#[derive(Debug)]
pub enum Change {
    /// A row is made, or becomes this.
    Row(Row),
    /// The sale is defined like this.
    Header(Box<Header>),
    /// A sale begins, without reservations.
    Begin(Box<Header>),
    /// The sale is removed with all its reservations.
    Gone,
}

impl Change {
    /// The id of the changed row.
    pub fn row_id(&self) -> Option<ReservationId> {
        match self {
            Self::Row(row) => Some(row.id()),
            Self::Header(_) | Self::Begin(_) | Self::Gone => None,
        }
    }
}

impl Verdict {
    /// An answer, and nothing changes.
    fn only(outcome: Outcome) -> Self {
        Self { says: Says::This(outcome), changes: Vec::new() }
    }

    /// The sale is defined differently.
    fn redefined(header: Header) -> Self {
        Self { says: Says::Sale, changes: vec![Change::Header(Box::new(header))] }
    }

    /// A reservation becomes this, and is shown.
    fn becomes(row: Row) -> Self {
        let shown = Outcome::Reservation(Box::new(row.shown()));
        Self { says: Says::This(shown), changes: vec![Change::Row(row)] }
    }

    /// A reservation stays, and is shown.
    fn stays(row: &Row) -> Self {
        Self::only(Outcome::Reservation(Box::new(row.shown())))
    }
}

/// Decides a command.
pub fn decide(situation: &Situation<'_>, command: &Command) -> Verdict {
    let Some(place) = situation.place else { return decide_without_sale(situation, command) };
    let Situation { now_ms, ledger, told, .. } = *situation;
    if ledger == Ledger::Embedded
        && matches!(command, Command::CreatePart { .. } | Command::Reset { .. })
    {
        // It has no parts, and begins a sale anew by removing and creating it.
        return Verdict::only(Outcome::UnknownSale);
    }
    match command {
        Command::Reserve(reserve) => decide_purchase(place, now_ms, reserve),
        Command::FindClaim(reserve, creation) => {
            plain::find_claim(place, now_ms, reserve, *creation)
        }
        // No sale here has seats.
        Command::Confirm(id) | Command::ConfirmElsewhere(id) => {
            changes::of(place, *id, |row| changes::confirm(place, row))
        }
        Command::Cancel(id) => changes::of(place, *id, changes::cancel),
        Command::Refund(id) => changes::of(place, *id, changes::refund),
        Command::Extend(id, hold_ms) => {
            changes::of(place, *id, |row| changes::extend(place, now_ms, row, *hold_ms))
        }
        Command::CancelTo(id, remaining) => {
            changes::of(place, *id, |row| changes::cancel_to(row, remaining))
        }
        Command::RefundTo(id, remaining) => {
            changes::of(place, *id, |row| changes::refund_to(row, remaining))
        }
        Command::ShowReservation(id) => changes::of(place, *id, Verdict::stays),
        Command::Expire { batch_max } => plain::expire(place, now_ms, *batch_max, told),
        Command::AddStock(units) => operator::add_stock(place, *units),
        Command::TakeStock { units, at_most } => operator::take_stock(place, *units, *at_most),
        Command::ChangeTerms(terms) => operator::change_terms(place, terms),
        Command::Open => operator::open(place, now_ms),
        Command::Close => operator::close(place, now_ms),
        Command::Remove => operator::remove(place, now_ms),
        Command::Reset { total, force } => operator::reset(place, *total, *force, told),
        Command::Create(_) | Command::Show => Verdict { says: Says::Sale, changes: Vec::new() },
        Command::Peek { parts } => peek(place, *parts, ledger, told),
        Command::CreatePart { spec, creation } => parts::create(place, spec, *creation),
        Command::TransferOut { to, gave, units } => parts::transfer_out(place, *to, *gave, *units),
        Command::TransferIn { from, gave } => parts::transfer_in(place, *from, *gave),
    }
}

/// A reason to refuse a purchase.
type Check = fn(&Place, u64, &Reserve) -> Option<Outcome>;

/// All reasons. The first one that applies is the answer: a repeated key, then the state of the
/// sale, then faults of the request, then the user's limits, then the stock.
const CHECKS: [Check; 10] = [
    parts::sells_nothing,
    plain::known_key,
    plain::not_on_sale,
    types::wrong_lines,
    plain::wrong_quantity,
    limits::too_many_units,
    limits::too_many_for_user,
    limits::too_many_in_all,
    types::too_few_of_type,
    plain::too_few,
];

fn decide_purchase(place: &Place, now_ms: u64, reserve: &Reserve) -> Verdict {
    if let Some(refusal) = CHECKS.iter().find_map(|check| check(place, now_ms, reserve)) {
        return Verdict::only(refusal);
    }
    let expires_at_ms = now_ms + place.header.spec.hold_ms;
    let row = Row::granted(place.rows().len() as u64, reserve, expires_at_ms);
    Verdict {
        says: Says::This(Outcome::Granted { expires_at_ms }),
        changes: vec![Change::Row(row)],
    }
}

/// A sale that does not exist can only be created.
fn decide_without_sale(situation: &Situation<'_>, command: &Command) -> Verdict {
    let is_embedded = situation.ledger == Ledger::Embedded;
    match command {
        Command::Create(spec) => match wrong_definition(spec).filter(|_| is_embedded) {
            Some(refusal) => Verdict::only(refusal),
            None => begin(spec, creation_in(situation.told).unwrap_or_default()),
        },
        Command::CreatePart { spec, creation } if !is_embedded => begin(spec, *creation),
        // It asks about one creation, and there is none.
        Command::FindClaim(_, creation) if *creation != Creation::UNKNOWN && !is_embedded => {
            Verdict::only(Outcome::NotClaimed)
        }
        _ => Verdict::only(Outcome::UnknownSale),
    }
}

fn begin(spec: &SaleSpec, creation: Creation) -> Verdict {
    let header = Box::new(Header::of(spec, creation));
    Verdict { says: Says::Created, changes: vec![Change::Begin(header)] }
}

/// What the embedded ledger checks again.
fn wrong_definition(spec: &SaleSpec) -> Option<Outcome> {
    if spec.total > stampede::limits::TOTAL_MAX {
        Some(Outcome::TotalTooLarge)
    } else if spec.check().is_err() {
        Some(Outcome::UnknownSale)
    } else if spec.split != Split::Whole {
        Some(Outcome::NotSplit)
    } else {
        None
    }
}

/// The number that the ledger gave to a creation.
fn creation_in(told: Option<&Outcome>) -> Option<Creation> {
    match told {
        Some(Outcome::Created(view) | Outcome::Sale(view)) => Some(view.creation),
        _ => None,
    }
}

/// A cheap look can't tell if the core knows another number of parts, or if the sale has rules or
/// types. In Redis, it may always be unable to tell.
fn peek(place: &Place, parts: u32, ledger: Ledger, told: Option<&Outcome>) -> Verdict {
    let spec = &place.header.spec;
    let has_parts = match spec.split {
        Split::Whole => 0,
        Split::Head { parts } | Split::Part { of: parts } => parts,
    };
    let is_plain = spec.types.is_empty() && spec.rules == stampede::sale::Rules::default();
    let may_fail = ledger == Ledger::Redis && told == Some(&Outcome::Unclear);
    if parts == has_parts && is_plain && !may_fail {
        Verdict { says: Says::Sale, changes: Vec::new() }
    } else {
        Verdict::only(Outcome::Unclear)
    }
}
