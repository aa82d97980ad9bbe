//! A sale, or one place of a split sale, in the book: its definition, its rows, and their counts.
//!
//! Nothing is ever added to a count: a changed row is taken out of all counts and counted anew.

use std::collections::{BTreeMap, BTreeSet};

use stampede::sale::{
    Creation, Lines, Machine, ReservationId, Reserve, SaleSpec, SaleView, Split, Status, Transfers,
    TypeName, TypeUnits,
};

use super::row::{Deadline, Request, Row};

/// What is counted of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Tally {
    held: u64,
    confirmed: u64,
    /// Reservations that have no units any more.
    returned: u64,
    held_by_type: BTreeMap<TypeName, u64>,
    confirmed_by_type: BTreeMap<TypeName, u64>,
    units_by_user: BTreeMap<String, u64>,
    made_by_user: BTreeMap<String, u64>,
    /// Of held rows.
    deadlines: BTreeSet<Deadline>,
}

/// Adds to an entry, or takes from it. An entry of 0 is dropped.
fn shift<K: Ord + Clone>(map: &mut BTreeMap<K, u64>, key: &K, by: u64, is_added: bool) {
    let number = map.entry(key.clone()).or_default();
    *number = if is_added { *number + by } else { *number - by };
    if *number == 0 {
        map.remove(key);
    }
}

impl Tally {
    /// Counts a row, or takes it out.
    fn count(&mut self, row: &Row, is_added: bool) {
        let units = u64::from(row.quantity);
        let (number, by) = match row.status {
            Status::Held => (&mut self.held, units),
            Status::Confirmed => (&mut self.confirmed, units),
            Status::Cancelled | Status::Expired | Status::Refunded => (&mut self.returned, 1),
        };
        *number = if is_added { *number + by } else { *number - by };
        match (row.status, is_added) {
            (Status::Held, true) => _ = self.deadlines.insert(row.deadline()),
            (Status::Held, false) => _ = self.deadlines.remove(&row.deadline()),
            _ => {}
        }
        let by_type = match row.status {
            Status::Held => &mut self.held_by_type,
            _ => &mut self.confirmed_by_type,
        };
        for (name, units) in row.lines.iter().filter(|_| row.has_units()).flat_map(Lines::iter) {
            shift(by_type, name, units.into(), is_added);
        }
        if !row.request.user.is_empty() {
            shift(&mut self.made_by_user, &row.request.user, 1, is_added);
            if row.has_units() {
                shift(&mut self.units_by_user, &row.request.user, units, is_added);
            }
        }
    }
}

/// A sale without its reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its present definition.
    pub spec: SaleSpec,
    /// The number of its creation.
    pub creation: Creation,
    /// Units that it sent to and received from other places.
    pub transfers: Transfers,
    /// The latest term in which a script ran on it. 0: terms do not matter.
    pub term: u64,
    /// Units that scripts which died half way have counted and given to nobody.
    pub leaked: u64,
}

impl Header {
    /// A sale that begins.
    pub fn of(spec: &SaleSpec, creation: Creation) -> Self {
        let stock = matches!(spec.split, Split::Head { .. }).then_some(spec.total);
        let transfers = Transfers { stock, ..Transfers::none(spec.split) };
        Self { spec: spec.clone(), creation, transfers, term: 0, leaked: 0 }
    }
}

/// A sale, or one place of a split sale.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its definition and transfers.
    pub header: Header,
    /// The ledger's time at the last command.
    pub now_ms: u64,
    /// The ledger's time at the last command that changed something.
    pub written_ms: u64,
    rows: BTreeMap<ReservationId, Row>,
    /// By user, then by key.
    claims: BTreeMap<String, BTreeMap<String, ReservationId>>,
    tally: Tally,
}

impl Place {
    /// One that begins.
    pub fn new(header: Header, now_ms: u64) -> Self {
        Self {
            header,
            now_ms,
            written_ms: now_ms,
            rows: BTreeMap::new(),
            claims: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    /// Units held.
    pub fn held(&self) -> u64 {
        self.tally.held
    }

    /// Units confirmed.
    pub fn confirmed(&self) -> u64 {
        self.tally.confirmed
    }

    /// Units left.
    pub fn free(&self) -> u64 {
        self.header.spec.total.saturating_sub(self.tally.held + self.tally.confirmed)
    }

    /// Reservations that have no units any more.
    pub fn returned(&self) -> u64 {
        self.tally.returned
    }

    /// Every reservation.
    pub fn rows(&self) -> &BTreeMap<ReservationId, Row> {
        &self.rows
    }

    /// The reservation that has the key of a request.
    pub fn claim_of(&self, reserve: &Reserve) -> Option<&Row> {
        let key = reserve.key.as_ref()?;
        let id = self.claims.get(reserve.user_text())?.get(key.as_str())?;
        self.rows.get(id)
    }

    /// Units that a user has, held and confirmed.
    pub fn units_of(&self, user: &str) -> u64 {
        self.tally.units_by_user.get(user).copied().unwrap_or(0)
    }

    /// Reservations that were ever made for a user.
    pub fn made_for(&self, user: &str) -> u64 {
        self.tally.made_by_user.get(user).copied().unwrap_or(0)
    }

    /// Units of a ticket type.
    pub fn units_of_type(&self, name: &TypeName) -> TypeUnits {
        let of = |map: &BTreeMap<TypeName, u64>| map.get(name).copied().unwrap_or(0);
        let Tally { held_by_type, confirmed_by_type, .. } = &self.tally;
        TypeUnits { held: of(held_by_type), confirmed: of(confirmed_by_type) }
    }

    /// Units of a ticket type that its cap leaves. `None`: the sale has no such type.
    pub fn free_of_type(&self, name: &TypeName) -> Option<u64> {
        let (_, cap) = self.header.spec.types.iter().find(|(found, _)| *found == name)?;
        let units = self.units_of_type(name);
        Some(cap.saturating_sub(units.held + units.confirmed))
    }

    /// The deadlines of held reservations, in the order in which they expire.
    pub fn deadlines(&self) -> &BTreeSet<Deadline> {
        &self.tally.deadlines
    }

    /// As a ledger shows it.
    pub fn view(&self) -> SaleView {
        let types = self.header.spec.types.iter();
        SaleView {
            spec: self.header.spec.clone(),
            held: self.tally.held,
            confirmed: self.tally.confirmed,
            by_type: types.map(|(name, _)| self.units_of_type(name)).collect(),
            now_ms: self.now_ms,
            transfers: self.header.transfers.clone(),
            creation: self.header.creation,
        }
    }

    /// Puts a row, or takes it away. Returns the one before.
    pub fn set(&mut self, id: ReservationId, row: Option<Row>) -> Option<Row> {
        let before = self.rows.remove(&id);
        if let Some(before) = &before {
            self.tally.count(before, false);
            self.claim(&before.request, false);
        }
        if let Some(row) = row {
            self.tally.count(&row, true);
            self.claim(&row.request, true);
            self.rows.insert(id, row);
        }
        before
    }

    /// Notes which reservation has a key, or that none has it.
    fn claim(&mut self, request: &Request, is_made: bool) {
        if request.key.is_empty() {
            return;
        }
        let of_user = self.claims.entry(request.user.clone()).or_default();
        if is_made {
            of_user.insert(request.key.clone(), request.id);
        } else {
            of_user.remove(&request.key);
            if of_user.is_empty() {
                self.claims.remove(&request.user);
            }
        }
    }

    /// Counts all rows again. `false`: the counts were wrong.
    pub fn is_counted_right(&self) -> bool {
        let mut again = Tally::default();
        self.rows.values().for_each(|row| again.count(row, true));
        again == self.tally
    }

    /// Whether two copies are the same, apart from the time.
    #[cfg(test)]
    pub fn is_like(&self, other: &Self) -> bool {
        self.header == other.header
            && self.rows == other.rows
            && self.claims == other.claims
            && self.tally == other.tally
    }

    /// Whether it is what a ledger has, apart from the time.
    pub fn is_same_as(&self, machine: &Machine) -> bool {
        let (ours, theirs) = (self.view(), machine.view());
        let counts = |view: &SaleView| (view.held, view.confirmed, view.by_type.clone());
        let rows = machine.rows();
        ours.spec == theirs.spec
            && ours.transfers == theirs.transfers
            && counts(&ours) == counts(&theirs)
            && rows.len() == self.rows.len()
            && rows.iter().enumerate().all(|(number, row)| {
                self.rows.get(&row.id).is_some_and(|ours| {
                    ours.request.number == number as u64
                        && ours.request.key == row.key()
                        && ours.shown() == row.to_reservation()
                })
            })
    }
}

/// The counts of a place that make up those of its whole sale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Whether the place exists. Otherwise all is 0.
    pub exists: bool,
    /// All units that it has.
    pub total: u64,
    /// Those held.
    pub held: u64,
    /// Those confirmed.
    pub confirmed: u64,
    /// Those left.
    pub free: u64,
    /// Units ever sent to other places.
    pub sent: u64,
    /// Units ever received from other places.
    pub received: u64,
    /// Units that nobody has.
    pub leaked: u64,
}

impl Share {
    /// The counts of this place.
    pub fn of(place: Option<&Place>) -> Self {
        let Some(place) = place else { return Self::default() };
        let Header { spec, transfers, leaked, .. } = &place.header;
        Self {
            exists: true,
            total: spec.total,
            held: place.held(),
            confirmed: place.confirmed(),
            free: place.free(),
            sent: transfers.sent.iter().sum(),
            received: transfers.received.iter().sum(),
            leaked: *leaked,
        }
    }
}
