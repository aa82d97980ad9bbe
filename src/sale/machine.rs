//! One sale's state machine: the reference for every ledger.
//!
//! Reservations are rows in the order in which they were granted. Two hash tables of row numbers
//! find them by id and by (user, key), so that ten million of them fit in memory: a row is 64
//! bytes, an index entry 4. `deadlines` has the rows whose deadline is still to come.

mod by_user;
mod changes;
mod deadlines;
mod parts;
mod places;
mod restore;
mod seats;
mod types;
mod users;

use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

use self::by_user::ByUser;
use self::deadlines::Deadlines;
use super::command::{Command, Outcome, Reserve, SaleView};
use super::id::ReservationId;
use super::reservation::Status;
use super::row::{Row, joined};
use super::rows::{Rows, Table};
use super::rules::Rules;
use super::seats::{Pool, SeatMap};
use super::spec::{Creation, SaleSpec, SaleState};
use super::split::{Split, Transfers};
use super::types::TypeUnits;
use crate::planted::{self, Bug};

/// Capacity that is kept for the numbers of changed rows.
const CHANGED_KEPT: usize = 64;

/// One sale: its definition, its counts and all its reservations.
#[cfg_attr(feature = "simulation", derive(Clone))]
pub struct Machine {
    spec: SaleSpec,
    held: u64,
    confirmed: u64,
    /// Reservations that have no units any more.
    returned: u64,
    /// The sold units by ticket type, in the order of the definition's.
    by_type: Vec<TypeUnits>,
    /// The sold seats, in a sale with seats.
    seats: Option<Box<SeatMap>>,
    now_ms: u64,
    version: u64,
    transfers: Transfers,
    creation: Creation,
    /// Rows that the last command changed.
    changed: Vec<u32>,
    rows: Rows,
    by_id: Table<u32>,
    by_claim: Table<u32>,
    units_by_user: ByUser,
    made_by_user: ByUser,
    deadlines: Deadlines,
    hasher: DefaultHashBuilder,
}

impl Machine {
    /// A sale that has sold nothing. The definition must have passed [`check`](SaleSpec::check).
    pub fn new(spec: SaleSpec) -> Self {
        debug_assert!(spec.check().is_ok(), "unchecked definition: {spec:?}");
        let mut machine = Self::restore(spec, 0);
        if let Split::Head { .. } = machine.spec.split {
            machine.transfers.stock = Some(machine.spec.total);
        }
        machine
    }

    /// The same with the number of this creation.
    pub fn of_making(spec: SaleSpec, creation: Creation) -> Self {
        // A part may be created after its sale was closed, even before the opening.
        Self { creation, ..Self::restore(spec, 0) }
    }

    /// Sets the version of all rows that change from now on. The owner of the machine increases it.
    pub fn set_version(&mut self, version: u64) {
        debug_assert!(version >= self.version, "versions only grow");
        self.version = version;
    }

    /// The numbers of the rows that the last command changed.
    pub fn changed(&self) -> &[u32] {
        &self.changed
    }

    /// Whether there is a reservation with this id.
    pub fn has(&self, id: ReservationId) -> bool {
        self.find(id).is_some()
    }

    /// Whether its id and its claim lead to this row.
    pub fn is_findable(&self, row: usize) -> bool {
        let found = &self.rows[row];
        self.find(found.id) == Some(row)
            && (found.key().is_empty() || self.find_claim(found.user(), found.key()) == Some(row))
    }

    /// The rows that expiry will visit, in no order.
    pub fn deadlines(&self) -> impl Iterator<Item = u32> {
        self.deadlines.iter(&self.rows)
    }

    /// The number of those rows.
    pub fn deadline_count(&self) -> usize {
        self.deadlines.len()
    }

    /// Every reservation, in the order in which they were granted.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// The sale at the time of the last command.
    pub fn view(&self) -> SaleView {
        SaleView {
            spec: self.spec.clone(),
            held: self.held,
            confirmed: self.confirmed,
            by_type: self.by_type.clone(),
            now_ms: self.now_ms,
            transfers: self.transfers.clone(),
            creation: self.creation,
        }
    }

    /// Units left.
    pub fn free(&self) -> u64 {
        self.spec.total - self.held - self.confirmed
    }

    /// Applies one command at a time in ms since 1970. A time before that of an earlier command
    /// counts as that one.
    pub fn apply(&mut self, now_ms: u64, command: &Command) -> Outcome {
        self.now_ms = self.now_ms.max(now_ms);
        self.changed.clear();
        self.changed.shrink_to(CHANGED_KEPT);
        let outcome = match command {
            Command::Reserve(reserve) => self.reserve(reserve),
            Command::FindClaim(reserve, made) => self.find_claim_of(reserve, *made),
            Command::Confirm(id) => self.confirm(*id, false),
            Command::ConfirmElsewhere(id) => self.confirm(*id, true),
            Command::Cancel(id) => self.cancel(*id),
            Command::Refund(id) => self.refund(*id),
            Command::Extend(id, hold_ms) => self.extend(*id, *hold_ms),
            Command::CancelTo(id, remaining) => self.cancel_to(*id, remaining),
            Command::RefundTo(id, remaining) => self.refund_to(*id, remaining),
            Command::Expire { batch_max } => self.expire(*batch_max),
            Command::AddStock(units) => self.add_stock(*units),
            Command::TakeStock { units, at_most } => self.take_stock(*units, *at_most),
            Command::ChangeTerms(terms) => self.change_terms(terms),
            Command::Open => self.open(),
            Command::Close => self.close(),
            Command::Remove => self.may_be_removed(),
            Command::Create(_) | Command::Show => Outcome::Sale(Box::new(self.view())),
            Command::Peek { parts }
                if *parts != self.spec.split.known_parts() || !self.spec.is_plain() =>
            {
                Outcome::Unclear
            }
            Command::Peek { .. } => Outcome::Sale(Box::new(self.view())),
            Command::ShowReservation(id) => match self.find(*id) {
                Some(row) => Outcome::Reservation(self.rows[row].boxed()),
                None => Outcome::UnknownReservation,
            },
            Command::TransferOut { to, gave, units } => self.transfer_out(*to, *gave, *units),
            Command::TransferIn { from, gave } => self.transfer_in(*from, *gave),
            Command::CreatePart { spec, creation } => self.create_part(spec, *creation),
            Command::Reset { total, force } => self.reset(*total, *force),
        };
        assert!(self.held + self.confirmed <= self.spec.total, "oversold by {command:?}");
        assert!(self.types_are_within(), "a type oversold by {command:?}");
        outcome
    }

    /// The order of the checks is the contract: first a repeated key (which must find its
    /// reservation even when the sale is over), then the state of the sale, then faults of the
    /// request, then the stock.
    fn reserve(&mut self, reserve: &Reserve) -> Outcome {
        if let Split::Head { parts } = self.spec.split {
            return Outcome::Split { parts };
        }
        if let Some(row) = self.claimed_by(reserve) {
            return match self.rows[row].to_reservation() {
                first if first.was_asked_by(reserve.quantity, reserve.lines(), reserve.ride()) => {
                    Outcome::Replayed(Box::new(first))
                }
                _ => Outcome::KeyReused,
            };
        }
        if let Some(outcome) = self.rejection_by_state() {
            return outcome;
        }
        if let Some(outcome) = self.wrong_lines(reserve) {
            return outcome;
        }
        if let Some(outcome) = self.wrong_ride(reserve) {
            return outcome;
        }
        let (user, key) = (reserve.user_text(), reserve.key_text());
        if reserve.quantity > self.spec.quantity_max {
            return Outcome::QuantityTooLarge { quantity_max: self.spec.quantity_max };
        }
        let Rules { quantity_min, reservations_max, .. } = self.spec.rules;
        if reserve.quantity < quantity_min {
            return Outcome::QuantityTooSmall { quantity_min };
        }
        if let Some(outcome) = self.limit_breach(user, reserve.quantity) {
            return outcome;
        }
        if let Some(outcome) = self.user_exhausted(user) {
            return outcome;
        }
        let (made, made_max) = (self.rows.len() as u64, reservations_max.filter(|max| *max > 0));
        if let Some(reservations_max) = made_max.filter(|max| made >= *max) {
            return Outcome::ReservationsExhausted { reservations_max };
        }
        let returned_max = self.spec.returned_max();
        if let Some(reservations_max) = returned_max.filter(|max| self.returned >= *max) {
            return Outcome::ReservationsExhausted { reservations_max };
        }
        if let Some(outcome) = self.short_type(reserve) {
            return outcome;
        }
        let seating = match self.seats_for(reserve, Pool::Free) {
            Ok(seating) => seating,
            Err(outcome) => return outcome,
        };
        let legs = seating.as_ref().map_or(1, |seating| seating.legs.count());
        let units = u64::from(reserve.quantity) * u64::from(legs);
        let or_equal = u64::from(planted::is(Bug::GreaterOrEqual));
        if units + or_equal > self.free() {
            return Outcome::SoldOut { free: self.free() };
        }
        assert!(reserve.quantity > 0, "a reservation of nothing");
        assert!(self.find(reserve.id).is_none(), "reservation id used twice: {:?}", reserve.id);

        let expires_at_ms = self.now_ms + self.spec.hold_ms;
        let details = self.details_with(reserve, seating.as_ref());
        let owner = joined(user, key, details.as_deref());
        let (user_bytes, key_bytes) = (user.len() as u8, key.len() as u8);
        self.add_user_units(user_bytes, &owner, reserve.quantity);
        self.add_user_reservation(user_bytes, &owner);
        self.held += units;
        self.deadlines.push(self.rows.len() as u32, expires_at_ms);
        self.changed.push(self.rows.len() as u32);
        let row = Row {
            id: reserve.id,
            owner,
            user_bytes,
            key_bytes,
            is_extended: false,
            status: Status::Held,
            quantity: reserve.quantity,
            expires_at_ms,
            version: self.version,
            changed_at_ms: self.now_ms,
        };
        self.count_types(&row, |units, quantity| units.held += quantity);
        let seated = seating.map(|seating| {
            self.take_seats(&seating);
            Outcome::Seated(row.boxed())
        });
        self.insert_row(row);
        seated.unwrap_or(Outcome::Granted { expires_at_ms })
    }

    /// The rejection of every request while the sale is not open.
    fn rejection_by_state(&self) -> Option<Outcome> {
        match self.spec.state(self.now_ms) {
            SaleState::Scheduled => Some(Outcome::NotOpen { opens_at_ms: self.spec.opens_at_ms }),
            SaleState::Closed => Some(Outcome::Closed),
            SaleState::Open => None,
        }
    }

    /// The reservation that a request has already.
    fn claimed_by(&self, reserve: &Reserve) -> Option<usize> {
        reserve.key.as_ref().and_then(|key| self.find_claim(reserve.user_text(), key.as_str()))
    }

    /// The first checks of [`reserve`](Self::reserve), and the stock.
    fn find_claim_of(&self, reserve: &Reserve, made: Creation) -> Outcome {
        let is_known = made != Creation::UNKNOWN;
        if is_known && made != self.creation {
            return Outcome::NotClaimed;
        }
        if let Split::Head { parts } = self.spec.split
            && !is_known
        {
            return Outcome::Split { parts };
        }
        if let Some(row) = self.claimed_by(reserve) {
            return Outcome::Claimed(self.rows[row].id);
        }
        match self.rejection_by_state() {
            Some(gate) if gate == Outcome::Closed || !is_known => gate,
            _ if self.free() == 0 => Outcome::SoldOut { free: 0 },
            _ => Outcome::NotClaimed,
        }
    }

    /// Confirms a held reservation, also one past its deadline whose units have not been returned
    /// yet. An expired one takes its units again if they are left.
    ///
    /// In a sale with seats it takes the same seats again, or, with `elsewhere`, others.
    fn confirm(&mut self, id: ReservationId, elsewhere: bool) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        let (quantity, units) = (self.rows[row].quantity, self.units_of(&self.rows[row]));
        match self.rows[row].status {
            Status::Confirmed => return Outcome::Reservation(self.rows[row].boxed()),
            Status::Cancelled => return Outcome::AlreadyCancelled,
            Status::Refunded => return Outcome::AlreadyRefunded,
            Status::Held => {
                self.held -= units;
                self.confirmed += units;
                self.count_types_of(row, |units, quantity| {
                    units.held -= quantity;
                    units.confirmed += quantity;
                });
            }
            Status::Expired => {
                if units > self.free() || !self.types_have_room(row) {
                    return Outcome::Expired;
                }
                let seating = self.seats_again(row, elsewhere);
                if seating.is_none() && self.seats.is_some() {
                    return Outcome::Expired;
                }
                let owner = self.rows[row].owner.clone();
                let user_bytes = self.rows[row].user_bytes;
                if let Some(outcome) = self.limit_breach(&owner[..user_bytes as usize], quantity) {
                    return outcome;
                }
                self.add_user_units(user_bytes, &owner, quantity);
                self.confirmed += units;
                self.count_types_of(row, |units, quantity| units.confirmed += quantity);
                if let Some(seating) = seating {
                    self.take_seats(&seating);
                    self.set_seats(row, &seating);
                }
            }
        }
        self.set_status(row, Status::Confirmed);
        Outcome::Reservation(self.rows[row].boxed())
    }

    fn cancel(&mut self, id: ReservationId) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Confirmed => return Outcome::AlreadyConfirmed,
            Status::Expired => return Outcome::Expired,
            Status::Cancelled => return Outcome::AlreadyCancelled,
            Status::Refunded => return Outcome::AlreadyRefunded,
            Status::Held => self.release(row, Status::Cancelled),
        }
        Outcome::Reservation(self.rows[row].boxed())
    }

    /// Returns the units of a confirmed reservation to stock. A repeated refund changes nothing.
    fn refund(&mut self, id: ReservationId) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Held => return Outcome::NotConfirmed,
            Status::Expired => return Outcome::Expired,
            Status::Cancelled => return Outcome::AlreadyCancelled,
            Status::Refunded => {}
            Status::Confirmed => {
                self.confirmed -= self.units_of(&self.rows[row]);
                self.give_seats_back(row, None);
                self.count_types_of(row, |units, quantity| units.confirmed -= quantity);
                self.set_status(row, Status::Refunded);
                self.take_user_units(row, self.rows[row].quantity);
            }
        }
        Outcome::Reservation(self.rows[row].boxed())
    }

    fn expire(&mut self, batch_max: u32) -> Outcome {
        let mut units = 0;
        let mut looked_at = 0;
        while looked_at < batch_max
            && let Some(row) = self.next_due()
        {
            looked_at += 1;
            self.deadlines.pop(row as u32);
            if self.rows[row].status == Status::Held {
                units += self.units_of(&self.rows[row]);
                self.release(row, Status::Expired);
            }
        }
        let next_due_ms = self.next_due_ms();
        Outcome::Released { units, more: self.next_due().is_some(), next_due_ms }
    }

    fn next_due(&mut self) -> Option<usize> {
        let row = self.deadlines.first(&self.rows)? as usize;
        (self.rows[row].expires_at_ms <= self.now_ms).then_some(row)
    }

    /// The earliest deadline of all held reservations.
    pub fn next_due_ms(&mut self) -> Option<u64> {
        while let Some(first) = self.deadlines.first(&self.rows) {
            let row = &self.rows[first as usize];
            if row.status == Status::Held {
                return Some(row.expires_at_ms);
            }
            self.deadlines.pop(first);
        }
        None
    }

    /// The earliest deadline of reservations that end before an earlier one, since the hold time was
    /// shortened. A caller that knows an older [deadline](Self::next_due_ms) checks this one too.
    pub fn earlier_due_ms(&self) -> Option<u64> {
        self.deadlines.first_apart_ms()
    }

    /// Returns a held reservation's units to stock.
    fn release(&mut self, row: usize, status: Status) {
        let (quantity, units) = (self.rows[row].quantity, self.units_of(&self.rows[row]));
        assert_eq!(self.rows[row].status, Status::Held, "released twice");
        self.give_seats_back(row, None);
        self.set_status(row, status);
        self.held -= units;
        if planted::is(Bug::GivenBackTwice) && self.held >= u64::from(quantity) {
            self.held -= u64::from(quantity);
        }
        self.count_types_of(row, |units, quantity| units.held -= quantity);
        self.take_user_units(row, quantity);
    }

    fn set_status(&mut self, row: usize, status: Status) {
        match (self.rows[row].status.has_units(), status.has_units()) {
            (true, false) => self.returned += 1,
            (false, true) => self.returned -= 1,
            _ => {}
        }
        self.change(row, |found| found.status = status);
    }

    fn change(&mut self, row: usize, change: impl FnOnce(&mut Row)) {
        self.rows.change(row, |found| {
            change(found);
            found.version = self.version;
            found.changed_at_ms = self.now_ms;
        });
        self.changed.push(row as u32);
    }

    fn find(&self, id: ReservationId) -> Option<usize> {
        let hash = self.hasher.hash_one(id);
        self.by_id.find(hash, |&row| self.rows[row as usize].id == id).map(|&row| row as usize)
    }

    fn find_claim(&self, user: &str, key: &str) -> Option<usize> {
        let hash = self.hasher.hash_one((user, key));
        let same = |&row: &u32| {
            let row = &self.rows[row as usize];
            row.user() == user && row.key() == key
        };
        self.by_claim.find(hash, same).map(|&row| row as usize)
    }

    fn insert_row(&mut self, row: Row) {
        let number = u32::try_from(self.rows.len()).expect("fewer than 2^32 reservations a sale");
        let (rows, hasher) = (&mut self.rows, &self.hasher);
        let id_hash = hasher.hash_one(row.id);
        let claim_hash = (!row.key().is_empty()).then(|| hasher.hash_one((row.user(), row.key())));
        rows.push(row);
        self.by_id.insert(id_hash, number, |&row| hasher.hash_one(rows[row as usize].id));
        if let Some(hash) = claim_hash {
            self.by_claim.insert(hash, number, |&row| {
                let row = &rows[row as usize];
                hasher.hash_one((row.user(), row.key()))
            });
        }
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
