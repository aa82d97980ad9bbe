//! Further commands of the shop about a reservation: extending its hold, and taking back a part of
//! it.

use super::Machine;
use crate::limits::TIME_MS_MAX;
use crate::sale::command::Outcome;
use crate::sale::id::ReservationId;
use crate::sale::remaining::Remaining;
use crate::sale::reservation::Status;
use crate::sale::seats::{SeatRefusal, Seats};
use crate::sale::types::Lines;

impl Machine {
    /// A reservation past its deadline whose units have not been returned yet can be extended, as
    /// it can be confirmed. The bound counts from the original deadline, so repeated extensions
    /// come to an end.
    pub(super) fn extend(&mut self, id: ReservationId, hold_ms: Option<u64>) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Confirmed => return Outcome::AlreadyConfirmed,
            Status::Expired => return Outcome::Expired,
            Status::Cancelled => return Outcome::AlreadyCancelled,
            Status::Refunded => return Outcome::AlreadyRefunded,
            Status::Held => {}
        }
        let stands = self.rows[row].to_reservation();
        let until_ms = (self.now_ms + hold_ms.unwrap_or(self.spec.hold_ms)).min(TIME_MS_MAX);
        if until_ms <= stands.expires_at_ms {
            return Outcome::Reservation(Box::new(stands));
        }
        let first_ms = stands.first_expires_at_ms();
        let expires_at_ms_max =
            first_ms.saturating_add(self.spec.rules.extend_max_ms).min(TIME_MS_MAX);
        if until_ms > expires_at_ms_max {
            return Outcome::ExtensionLimit { expires_at_ms_max };
        }
        let mut details = stands.details.map(|details| *details).unwrap_or_default();
        details.first_expires_at_ms = Some(first_ms);
        self.deadlines.remove(row as u32, stands.expires_at_ms);
        self.change(row, |row| {
            row.expires_at_ms = until_ms;
            row.set_details(details);
        });
        self.deadlines.add(row as u32, until_ms);
        Outcome::Reservation(self.rows[row].boxed())
    }

    /// Units that the reservation no longer has are not given back again, so a repeated or late
    /// request does no harm.
    pub(super) fn cancel_to(&mut self, id: ReservationId, remaining: &Remaining) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Confirmed => Outcome::AlreadyConfirmed,
            Status::Expired => Outcome::Expired,
            Status::Refunded => Outcome::AlreadyRefunded,
            Status::Cancelled if remaining.is_none() => {
                Outcome::Reservation(self.rows[row].boxed())
            }
            Status::Cancelled => Outcome::AlreadyCancelled,
            Status::Held if remaining.is_none() => self.cancel(id),
            Status::Held => self.reduce(row, remaining),
        }
    }

    /// The same for a confirmed reservation.
    pub(super) fn refund_to(&mut self, id: ReservationId, remaining: &Remaining) -> Outcome {
        let Some(row) = self.find(id) else { return Outcome::UnknownReservation };
        match self.rows[row].status {
            Status::Held => Outcome::NotConfirmed,
            Status::Expired => Outcome::Expired,
            Status::Cancelled => Outcome::AlreadyCancelled,
            Status::Refunded if remaining.is_none() => Outcome::Reservation(self.rows[row].boxed()),
            Status::Refunded => Outcome::AlreadyRefunded,
            Status::Confirmed if remaining.is_none() => self.refund(id),
            Status::Confirmed => self.reduce(row, remaining),
        }
    }

    /// Of each type it keeps the number that is to remain, or what it still has, if that is less.
    fn reduce(&mut self, row: usize, remaining: &Remaining) -> Outcome {
        let stands = self.rows[row].to_reservation();
        let (quantity, asked) = (stands.quantity, stands.asked());
        let seats = stands.ride().and_then(|ride| ride.seats.as_ref());
        let kept = match (remaining, stands.lines(), stands.asked_lines()) {
            (Remaining::Seats(remaining), Some(lines), _) if let Some(seats) = seats => {
                if let Some(seat) = remaining.iter().find(|seat| !seats.has(*seat)) {
                    return Outcome::NoSeats(SeatRefusal::UnknownSeat(seat));
                }
                let kept = seats.iter().filter(|seat| remaining.has(*seat));
                let units = remaining.count();
                let class = lines.iter().map(|(name, _)| (name.clone(), units));
                Kept { units, lines: Lines::new(class).ok(), seats: Seats::new(kept).ok() }
            }
            (Remaining::Seats(_), ..) => return Outcome::NoSeats(SeatRefusal::Unexpected),
            _ if seats.is_some() => return Outcome::NoSeats(SeatRefusal::SeatsRequired),
            (Remaining::Units(units), None, _) => {
                if *units > asked {
                    return Outcome::RemainingTooLarge { quantity };
                }
                Kept { units: (*units).min(quantity), lines: None, seats: None }
            }
            (Remaining::Lines(lines), Some(has), Some(had)) => {
                if !lines.are_within(had) {
                    return Outcome::RemainingTooLarge { quantity };
                }
                let kept = has.at_most(lines);
                Kept { units: kept.units(), lines: Some(kept), seats: None }
            }
            (Remaining::Units(_), Some(_), _) => return Outcome::LinesRequired,
            (Remaining::Lines(_), _, _) => return Outcome::LinesUnexpected,
        };
        if kept.units == quantity {
            return Outcome::Reservation(Box::new(stands));
        }
        // All types that are to remain were given back before.
        if kept.units == 0 {
            return match stands.status {
                Status::Held => self.cancel(stands.id),
                _ => self.refund(stands.id),
            };
        }
        let fewer = quantity - kept.units;
        let fewer_units = u64::from(fewer) * u64::from(self.legs_of(&self.rows[row]));
        let asked_lines = stands.asked_lines().cloned();
        let mut details = stands.details.map(|details| *details).unwrap_or_default();
        details.asked = Some(asked);
        (details.asked_lines, details.lines) = (asked_lines, kept.lines);
        match stands.status {
            Status::Held => {
                self.held -= fewer_units;
                self.count_types_of(row, |units, quantity| units.held -= quantity);
            }
            _ => {
                self.confirmed -= fewer_units;
                self.count_types_of(row, |units, quantity| units.confirmed -= quantity);
            }
        }
        self.take_user_units(row, fewer);
        if kept.seats.is_some() {
            self.give_seats_back(row, kept.seats.as_ref());
        }
        if let Some(ride) = &mut details.ride {
            ride.seats = kept.seats;
        }
        self.change(row, |row| {
            row.quantity = kept.units;
            row.set_details(details);
        });
        match stands.status {
            Status::Held => self.count_types_of(row, |units, quantity| units.held += quantity),
            _ => self.count_types_of(row, |units, quantity| units.confirmed += quantity),
        }
        Outcome::Reservation(self.rows[row].boxed())
    }
}

/// The units that a reservation keeps.
struct Kept {
    units: u32,
    lines: Option<Lines>,
    seats: Option<Seats>,
}
