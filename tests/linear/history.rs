//! What clients did to one sale, their answers, and the times.

use std::collections::BTreeMap;

pub use stampede::sale::Status;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// One unit for a user.
    Buy {
        /// The user.
        user: String,
        /// The idempotency key, if there is one.
        key: Option<String>,
    },
    /// Give a reservation back.
    Cancel(String),
    /// Pay.
    Confirm(String),
    /// Refund, at the control port.
    Refund(String),
    /// Show a reservation.
    Show(String),
    /// Add units.
    AddStock(u64),
    /// Take back this number of units, or as many as are free.
    TakeStock(u64),
    /// The sale's counts.
    Look,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A reservation.
    Reservation {
        /// Its id.
        id: String,
        /// Whether this purchase made it. `None`: the answer does not say.
        is_new: Option<bool>,
        /// Its state. `None`: held or confirmed.
        status: Option<Status>,
    },
    /// No unit is left.
    SoldOut,
    /// The user has all units that the sale allows per user.
    LimitReached,
    /// It was cancelled before.
    AlreadyCancelled,
    /// It is paid.
    AlreadyConfirmed,
    /// It was refunded.
    AlreadyRefunded,
    /// It is not paid.
    NotConfirmed,
    /// Units were added.
    Added,
    /// This number of units was taken back.
    Taken(u64),
    /// The counts of the sale.
    Counts {
        /// All units.
        total: u64,
        /// Those held.
        held: u64,
        /// Those paid.
        confirmed: u64,
    },
}

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// When its first byte was sent, in nanoseconds of one clock.
    pub began: u64,
    /// When its answer had been read. [`NEVER`]: it is unknown whether it happened, or when.
    pub ended: u64,
    /// The request.
    pub call: Call,
    /// The answer. `None`: there was none, or it was `unknown`.
    pub said: Option<Said>,
}

/// Later than any time.
pub const NEVER: u64 = u64::MAX;

/// A sale that takes one step at a time: [`stampede::sale::Machine`] without time, seats and
/// quantities, small enough to be copied at each step of a search. `checker_tests.rs` compares it
/// with the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State<'a> {
    total: u64,
    limit_per_user: u64,
    held: u64,
    confirmed: u64,
    units: BTreeMap<&'a str, u64>,
    /// Reservation by user and key.
    claims: BTreeMap<(&'a str, &'a str), &'a str>,
    /// Status and user by reservation.
    reservations: BTreeMap<&'a str, (Status, &'a str)>,
}

/// The effect of an answer on the state in which it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<'a> {
    /// A sale in this state does not give this answer.
    Impossible,
    /// It does, and does not change.
    None,
    /// It does, and this reservation is made.
    Granted { id: &'a str, user: &'a str, key: Option<&'a str> },
    /// It does, and this reservation becomes this.
    Becomes(&'a str, Status),
    /// It does, and there are more units.
    Added(u64),
    /// It does, and there are fewer.
    Removed(u64),
}

impl<'a> State<'a> {
    /// A sale that has sold nothing.
    pub fn new(total: u64, limit_per_user: u64) -> Self {
        Self {
            total,
            limit_per_user,
            held: 0,
            confirmed: 0,
            units: BTreeMap::new(),
            claims: BTreeMap::new(),
            reservations: BTreeMap::new(),
        }
    }

    /// Units left.
    pub fn free(&self) -> u64 {
        self.total - self.held - self.confirmed
    }

    fn is_at_limit(&self, user: &str) -> bool {
        self.units.get(user).copied().unwrap_or(0) >= self.limit_per_user
    }

    /// The effect if the call is answered so now. `slack`: with this number of free units the
    /// answer may still be that none is left.
    pub fn effect(&self, call: &'a Call, said: &'a Said, slack: u64) -> Effect<'a> {
        let only_if = |is_so: bool| if is_so { Effect::None } else { Effect::Impossible };
        let status = |id: &str| self.reservations.get(id).map(|(status, _)| *status);
        match (call, said) {
            (Call::Buy { user, key }, said) => self.bought(user, key.as_deref(), said, slack),
            (
                Call::Cancel(id),
                Said::Reservation { id: told, status: Some(Status::Cancelled), .. },
            ) => match status(id) {
                Some(Status::Held) if told == id => Effect::Becomes(id, Status::Cancelled),
                _ => Effect::Impossible,
            },
            (Call::Cancel(id), Said::AlreadyConfirmed) => {
                only_if(status(id) == Some(Status::Confirmed))
            }
            (
                Call::Confirm(id),
                Said::Reservation { id: told, status: Some(Status::Confirmed), .. },
            ) => match status(id) {
                Some(Status::Held) if told == id => Effect::Becomes(id, Status::Confirmed),
                Some(Status::Confirmed) if told == id => Effect::None,
                _ => Effect::Impossible,
            },
            (
                Call::Refund(id),
                Said::Reservation { id: told, status: Some(Status::Refunded), .. },
            ) => match status(id) {
                Some(Status::Confirmed) if told == id => Effect::Becomes(id, Status::Refunded),
                Some(Status::Refunded) if told == id => Effect::None,
                _ => Effect::Impossible,
            },
            (Call::Refund(id), Said::NotConfirmed) => only_if(status(id) == Some(Status::Held)),
            (Call::Cancel(id) | Call::Confirm(id), Said::AlreadyRefunded) => {
                only_if(status(id) == Some(Status::Refunded))
            }
            (Call::Cancel(id) | Call::Confirm(id) | Call::Refund(id), Said::AlreadyCancelled) => {
                only_if(status(id) == Some(Status::Cancelled))
            }
            (Call::Show(id), Said::Reservation { id: told, status: shown, .. }) => {
                only_if(told == id && status(id) == *shown)
            }
            (Call::AddStock(units), Said::Added) => Effect::Added(*units),
            (Call::TakeStock(_), Said::Taken(0)) => Effect::None,
            (Call::TakeStock(asked), Said::Taken(units))
                if units <= asked && *units <= self.free() =>
            {
                Effect::Removed(*units)
            }
            (Call::Look, Said::Counts { total, held, confirmed }) => {
                let counts = (self.total, self.held, self.confirmed);
                only_if(counts == (*total, *held, *confirmed))
            }
            _ => Effect::Impossible,
        }
    }

    fn bought(
        &self,
        user: &'a str,
        key: Option<&'a str>,
        said: &'a Said,
        slack: u64,
    ) -> Effect<'a> {
        let claim = key.and_then(|key| self.claims.get(&(user, key)));
        let is_so = match (claim, said) {
            (Some(claim), Said::Reservation { id, is_new, status }) => {
                let stands = self.reservations[claim].0;
                let is_shown = match status {
                    Some(status) => *status == stands,
                    None => matches!(stands, Status::Held | Status::Confirmed),
                };
                *is_new != Some(true) && claim == id && is_shown
            }
            (None, Said::Reservation { id, is_new, status }) => {
                let is_granted = *is_new != Some(false)
                    && status.is_none_or(|status| status == Status::Held)
                    && !self.reservations.contains_key(&**id)
                    && !self.is_at_limit(user)
                    && self.free() > 0;
                if is_granted {
                    return Effect::Granted { id, user, key };
                }
                false
            }
            (None, Said::LimitReached) => self.is_at_limit(user),
            // A look for a claim at a sold-out sale is answered by that, whatever the user has.
            (None, Said::SoldOut) => self.free() <= slack,
            _ => false,
        };
        if is_so { Effect::None } else { Effect::Impossible }
    }

    /// Whether an answer that is not true yet gets further from being true.
    pub fn harms(&self, effect: Effect<'a>, call: &Call, said: &Said) -> bool {
        match (effect, call, said) {
            (
                Effect::Added(_) | Effect::Becomes(_, Status::Cancelled | Status::Refunded),
                _,
                Said::SoldOut,
            ) => true,
            (Effect::Removed(_), Call::Buy { .. }, Said::Reservation { is_new, .. }) => {
                *is_new != Some(false)
            }
            (
                Effect::Becomes(id, Status::Cancelled | Status::Refunded),
                Call::Buy { user, .. },
                Said::LimitReached,
            ) => self.reservations[id].1 == user,
            _ => false,
        }
    }

    /// Takes the step.
    pub fn take(&mut self, effect: Effect<'a>) {
        match effect {
            Effect::Impossible | Effect::None => {}
            Effect::Granted { id, user, key } => {
                self.held += 1;
                *self.units.entry(user).or_default() += 1;
                self.reservations.insert(id, (Status::Held, user));
                key.map(|key| self.claims.insert((user, key), id));
            }
            Effect::Becomes(id, status) => {
                let reservation = self.reservations.get_mut(id).expect("one that there is");
                match std::mem::replace(&mut reservation.0, status) {
                    Status::Confirmed => self.confirmed -= 1,
                    _ => self.held -= 1,
                }
                if status == Status::Confirmed {
                    self.confirmed += 1;
                } else {
                    *self.units.get_mut(reservation.1).expect("its user") -= 1;
                }
            }
            Effect::Added(units) => self.total += units,
            Effect::Removed(units) => self.total -= units,
        }
    }
}
