//! What a client was told: whether a ledger made it so, or it was true at an instant not too long
//! ago.
//!
//! A grant, a replay and all limits come from the ledger's answer to a command of the same attempt.
//! That the sale is sold out, over or not open yet, a core may know from before.

use stampede::ledger::Failure;
use stampede::purchase::{LinesReason, RejectReason};
use stampede::sale::{Outcome, Reservation, SaleView, Status};

use super::once::{Deed, Open};
use super::truth::Window;
use super::{Oracle, Settings};
use crate::call::{Call, CallId, Purchase};
use crate::time::{MS, Us};

/// The outcome of the ledger from which a refusal comes. `None`: it does not come from one.
fn outcome_of(reason: RejectReason) -> Option<Outcome> {
    Some(match reason {
        RejectReason::SoldOut { free } => Outcome::SoldOut { free },
        RejectReason::NotOpen { opens_at_ms } => Outcome::NotOpen { opens_at_ms },
        RejectReason::Closed => Outcome::Closed,
        RejectReason::LimitReached { limit_per_user } => Outcome::LimitReached { limit_per_user },
        RejectReason::UserRequired => Outcome::UserRequired,
        RejectReason::QuantityTooLarge { quantity_max } => {
            Outcome::QuantityTooLarge { quantity_max }
        }
        RejectReason::QuantityTooSmall { quantity_min } => {
            Outcome::QuantityTooSmall { quantity_min }
        }
        RejectReason::ReservationsExhausted { reservations_max } => {
            Outcome::ReservationsExhausted { reservations_max }
        }
        RejectReason::UserReservationsExhausted { reservations_per_user_max } => {
            Outcome::UserReservationsExhausted { reservations_per_user_max }
        }
        RejectReason::KeyReused => Outcome::KeyReused,
        RejectReason::UnknownSale => Outcome::UnknownSale,
        RejectReason::Damaged | RejectReason::AllowanceExhausted => return None,
    })
}

impl Oracle {
    /// Judges the outcome of a purchase.
    pub(super) fn judge_purchase(
        &mut self,
        at: Us,
        call: CallId,
        open: &Open,
        purchase: &Purchase,
    ) {
        let window = Window { from: open.asked, to: at };
        let (name, wrong) = match purchase {
            Purchase::Granted(row) => {
                self.answers.note(row.id, window, Status::Held, Some(row.quantity));
                ("I4 exactly once", self.wrong_grant(call, row))
            }
            Purchase::Replayed(row) => {
                self.answers.note(row.id, window, row.status, Some(row.quantity));
                ("I4 exactly once", self.wrong_replay(open, window, row))
            }
            Purchase::Rejected(reason) => ("I6 truth", self.wrong_refusal(open, at, *reason)),
            Purchase::Lines(reason) => ("I6 truth", self.wrong_lines(open, at, reason)),
            Purchase::Failed(Failure::Busy) => ("I6 truth", self.once.set_void(call, "busy")),
            Purchase::Failed(Failure::Unavailable) => {
                ("I6 truth", self.once.set_void(call, "unavailable"))
            }
            Purchase::Failed(Failure::Unknown) => return,
        };
        if let Err(text) = wrong {
            self.findings.add(at, name, format!("{call}, {:?}: {text}", open.call));
        }
    }

    fn wrong_grant(&mut self, call: CallId, row: &Reservation) -> Result<(), String> {
        let known = self.once.known(row.id);
        let is_right = known.is_some_and(|known| {
            let user = row.user.as_ref().map_or("", |user| user.as_str());
            known.request.user == user
                && known.request.quantity == row.quantity
                && known.first_expires_at_ms == row.expires_at_ms
                && row.status == Status::Held
        });
        if self.once.granted_to(call) != Some(row.id) || !is_right {
            return Err(format!("was told of the grant {row:?}, which the ledger did not make"));
        }
        self.once.tell_owner(row.id)
    }

    fn wrong_replay(
        &mut self,
        open: &Open,
        window: Window,
        row: &Reservation,
    ) -> Result<(), String> {
        let Call::Buy { user, key, quantity, .. } = &open.call else {
            return Err(format!("was told {row:?}"));
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let is_own = self.once.known(row.id).is_some_and(|known| {
            known.request.user == text(user)
                && known.request.key == text(key)
                && known.request.quantity == *quantity
        });
        if !is_own {
            return Err(format!("was told {row:?}, which is not that of its key"));
        }
        let boxed = Box::new(row.clone());
        let is_seen = open.got_anywhere(&Outcome::Replayed(boxed.clone()))
            || open.claimed() == Some(row.id)
                && self.once.was_answered(row.id, window, Deed::Show, &Outcome::Reservation(boxed));
        if !is_seen {
            return Err(format!("was told {row:?}, which it never was meanwhile"));
        }
        self.once.tell_owner(row.id)
    }

    /// The instants at which a refusal may have been true.
    fn window_of(&self, open: &Open, at: Us) -> Window {
        let (has_key, sale) = match &open.call {
            Call::Buy { key, sale, .. } => (key.is_some(), sale),
            call => (false, call.sale()),
        };
        let clock_us = open.clock_age_us + MS;
        let search_us = self.settings.search_age_ms * MS;
        let from = match (has_key, self.truth.is_split(sale)) {
            // It is asked after the request arrived, and at the sale itself.
            (true, false) => open.asked,
            (true, true) => {
                let age_us = self.settings.view_age_ms * MS + search_us + clock_us;
                open.asked.saturating_sub(age_us)
            }
            (false, is_split) => {
                let age_us = self.settings.hearsay_ms * MS + if is_split { search_us } else { 0 };
                open.asked.min(at.saturating_sub(age_us)).saturating_sub(clock_us)
            }
        };
        Window { from, to: at }
    }

    fn wrong_refusal(&self, open: &Open, at: Us, reason: RejectReason) -> Result<(), String> {
        let Call::Buy { sale, quantity, .. } = &open.call else {
            return Err(format!("was told {reason:?}"));
        };
        let (window, truth) = (self.window_of(open, at), &self.truth);
        let outcome = outcome_of(reason);
        let got = || outcome.as_ref().is_some_and(|outcome| open.got(outcome));
        let got_anywhere = || outcome.as_ref().is_some_and(|outcome| open.got_anywhere(outcome));
        let is_true = match reason {
            RejectReason::SoldOut { free: 0 } => got() || truth.was_short(sale, window, 1),
            RejectReason::SoldOut { free } => {
                free < u64::from(*quantity) && (got() || truth.was_free(sale, window, free))
            }
            RejectReason::NotOpen { opens_at_ms } => {
                got_anywhere() || truth.was_early(sale, window, opens_at_ms)
            }
            RejectReason::Closed => got_anywhere() || truth.was_over(sale, window),
            RejectReason::UnknownSale => got() || truth.was_missing(sale, window),
            RejectReason::KeyReused => got_anywhere() || self.is_other_request(open, *quantity),
            RejectReason::AllowanceExhausted => self.settings.stock.is_some(),
            // Two answers of the ledger contradict each other: only if it lost something.
            RejectReason::Damaged => truth.was_broken(sale, window),
            RejectReason::LimitReached { .. }
            | RejectReason::UserRequired
            | RejectReason::QuantityTooLarge { .. }
            | RejectReason::QuantityTooSmall { .. }
            | RejectReason::ReservationsExhausted { .. }
            | RejectReason::UserReservationsExhausted { .. } => got_anywhere(),
        };
        if is_true {
            return Ok(());
        }
        let sums = self.families.sums(sale);
        Err(format!("was told {reason:?}, which was at no instant of {window:?}; now {sums:?}"))
    }

    /// Whether its key was found to have a reservation of another request.
    fn is_other_request(&self, open: &Open, quantity: u32) -> bool {
        let known = open.claimed().and_then(|id| self.once.known(id));
        known.is_some_and(|known| {
            known.request.quantity != quantity || known.request.lines.is_some()
        })
    }

    fn wrong_lines(&self, open: &Open, at: Us, reason: &LinesReason) -> Result<(), String> {
        let (sale, mut window) = (open.call.sale(), self.window_of(open, at));
        // A type's latch refuses a key, too, once the ledger knows no reservation for it.
        let age_us = self.settings.hearsay_ms * MS + open.clock_age_us + MS;
        window.from = window.from.min(at.saturating_sub(age_us));
        let (outcome, is_known) = match reason {
            LinesReason::SoldOut { name, free } => {
                let is_known = *free == 0 && self.truth.was_type_short(sale, window, name);
                (Outcome::TypeSoldOut { name: name.clone(), free: *free }, is_known)
            }
            LinesReason::Required => (Outcome::LinesRequired, false),
            LinesReason::Unexpected => (Outcome::LinesUnexpected, false),
            LinesReason::Unknown { name } => (Outcome::UnknownType { name: name.clone() }, false),
        };
        if is_known || open.got_anywhere(&outcome) {
            return Ok(());
        }
        Err(format!("was told {reason:?}, which was at no instant of {window:?}"))
    }

    /// Judges the answer to a call about a reservation.
    pub(super) fn judge_reservation(
        &mut self,
        at: Us,
        call: CallId,
        open: &Open,
        outcome: &Outcome,
    ) {
        let (sale, id, deed) = match &open.call {
            Call::Show { sale, id } => (sale, *id, Deed::Show),
            Call::Confirm { sale, id } => (sale, *id, Deed::Confirm),
            Call::Cancel { sale, id } => (sale, *id, Deed::Cancel),
            Call::Buy { .. } | Call::View { .. } => {
                let text = format!("{call}, {:?}, was told {outcome:?}", open.call);
                return self.findings.add(at, "I6 truth", text);
            }
        };
        let window = Window { from: open.asked, to: at };
        let status = match outcome {
            Outcome::Reservation(row) => Some((row.status, Some(row.quantity))),
            Outcome::AlreadyConfirmed => Some((Status::Confirmed, None)),
            Outcome::AlreadyCancelled => Some((Status::Cancelled, None)),
            Outcome::AlreadyRefunded => Some((Status::Refunded, None)),
            Outcome::Expired | Outcome::LimitReached { .. } | Outcome::UserRequired => {
                Some((Status::Expired, None))
            }
            _ => None,
        };
        if let Some((status, quantity)) = status {
            self.answers.note(id, window, status, quantity);
        }
        let (is_late, once) = (deed == Deed::Confirm && sale.is_part(), &self.once);
        let is_true = match outcome {
            // No place may have the units.
            Outcome::Expired if is_late => {
                let quantity = once.known(id).map_or(0, |known| known.quantity);
                let age_us = self.settings.search_age_ms * MS;
                let window = Window { from: window.from.saturating_sub(age_us), ..window };
                once.was_answered(id, window, deed, outcome)
                    && self.truth.was_short(&sale.whole(), window, quantity)
            }
            Outcome::UnknownReservation | Outcome::UnknownSale if once.known(id).is_none() => true,
            // The link may have asked only whether there is such a sale.
            Outcome::UnknownSale if self.truth.was_missing(sale, window) => true,
            _ => {
                once.was_answered(id, window, deed, outcome)
                    || is_late && once.was_answered(id, window, Deed::Show, outcome)
            }
        };
        if !is_true {
            let name = if deed == Deed::Confirm { "I7 pay late" } else { "I6 truth" };
            let text = format!(
                "{call}, {:?}, was told {outcome:?}, which was at no instant of {window:?}",
                open.call
            );
            self.findings.add(at, name, text);
        }
    }

    /// Judges a sale as it was shown.
    pub(super) fn judge_view(
        &mut self,
        at: Us,
        call: CallId,
        open: &Open,
        view: Option<&SaleView>,
    ) {
        let sale = open.call.sale();
        let Settings { view_age_ms, search_age_ms, .. } = self.settings;
        let search_ms = if self.truth.is_split(sale) { search_age_ms } else { 0 };
        let age_us = (view_age_ms + search_ms) * MS;
        // Whoever waits shares a query that was sent no longer before.
        let from = open.asked.saturating_sub(age_us + open.clock_age_us + MS);
        let window = Window { from, to: at };
        let is_true = match view {
            Some(view) => self.truth.was_seen(sale, window, view),
            None => self.truth.was_missing(sale, window),
        };
        if !is_true {
            let text = format!("{call} was told {view:?}, which was at no instant of {window:?}");
            self.findings.add(at, "I6 truth", text);
        }
    }
}
