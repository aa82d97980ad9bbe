//! Seats: which ones a reservation gets and gives back. A sale without seats does nothing of this.

use std::borrow::Cow;

use super::Machine;
use crate::sale::command::{Outcome, Reserve};
use crate::sale::details::Details;
use crate::sale::row::Row;
use crate::sale::seats::{
    Asked, Journey, Kind, Legs, Place, Plan, Pool, Ride, Seat, SeatRefusal, Seats, choose,
};

/// Seats on the legs of a journey.
pub(super) struct Seating {
    pub(super) places: Vec<Place>,
    pub(super) legs: Legs,
}

impl Machine {
    /// The fault of a request about seats, independent of which are sold. The lines of the request
    /// have been checked.
    pub(super) fn wrong_ride(&self, reserve: &Reserve) -> Option<Outcome> {
        let refusal = match (&self.spec.plan, reserve.ride()) {
            (None, None) => None,
            (None, Some(_)) => Some(SeatRefusal::Unexpected),
            (Some(plan), ride) => self.wrong_for(plan, ride, reserve),
        };
        refusal.map(Outcome::NoSeats)
    }

    fn wrong_for(
        &self,
        plan: &Plan,
        ride: Option<&Ride>,
        reserve: &Reserve,
    ) -> Option<SeatRefusal> {
        let journey = ride.and_then(|ride| ride.journey.as_ref());
        let legs = match legs(plan, journey) {
            Ok(legs) => legs,
            Err(refusal) => return Some(refusal),
        };
        let one = reserve.lines().filter(|lines| lines.iter().len() == 1);
        let Some((class, _)) = one.and_then(|lines| lines.iter().next()) else {
            return Some(SeatRefusal::OneClassOnly);
        };
        match ride.map(|ride| &ride.asked.kind) {
            Some(Kind::Named(seats)) => {
                let is_unknown =
                    |seat: &Seat| plan.block_of(*seat).is_none_or(|block| block.class != *class);
                if let Some(seat) = seats.iter().find(is_unknown) {
                    return Some(SeatRefusal::UnknownSeat(seat));
                }
            }
            Some(Kind::TogetherOrNone) => {
                let row_max = plan.width_max(class);
                if reserve.quantity > row_max {
                    return Some(SeatRefusal::GroupTooLarge { row_max });
                }
            }
            _ => {}
        }
        let from = journey.map(|journey| &journey.from);
        from.filter(|_| plan.has_departed(legs, self.now_ms)).cloned().map(SeatRefusal::Departed)
    }

    /// The seats that a request gets, `None` in a sale without seats. The request has no other
    /// fault.
    pub(super) fn seats_for(
        &self,
        reserve: &Reserve,
        pool: Pool,
    ) -> Result<Option<Seating>, Outcome> {
        let (Some(plan), Some(map)) = (&self.spec.plan, &self.seats) else { return Ok(None) };
        if self.free() == 0 && pool == Pool::Free {
            return Err(Outcome::SoldOut { free: 0 });
        }
        let ride = reserve.ride();
        let legs = legs(plan, ride.and_then(|ride| ride.journey.as_ref()));
        let legs = legs.map_err(Outcome::NoSeats)?;
        let class = reserve.lines().and_then(|lines| lines.iter().next());
        let class = class.and_then(|(name, _)| plan.classes().position(name)).unwrap_or(usize::MAX);
        let any = Asked::default();
        let asked = ride.map_or(&any, |ride| &ride.asked);
        choose(plan, map, pool, legs, class, reserve.quantity, asked)
            .map(|places| Some(Seating { places, legs }))
            .map_err(Outcome::NoSeats)
    }

    /// The names of these seats.
    pub(super) fn names(&self, places: &[Place]) -> Option<Seats> {
        let plan = self.spec.plan.as_ref()?;
        let name = |place: &Place| plan.columns().seat_at(plan.blocks(), *place);
        Seats::new(places.iter().map(name)).ok()
    }

    /// The seats that a row has or had last. `None` in a sale without seats.
    pub(super) fn seating_of(&self, row: &Row) -> Option<Seating> {
        let plan = self.spec.plan.as_ref()?;
        let ride = row.details()?.ride?;
        let legs = legs(plan, ride.journey.as_ref()).ok()?;
        let place = |seat| plan.columns().place_of(plan.blocks(), seat);
        let places = ride.seats?.iter().map(place).collect::<Option<Vec<_>>>()?;
        Some(Seating { places, legs })
    }

    /// The units of a row: seats times legs, in a sale with seats.
    pub(super) fn units_of(&self, row: &Row) -> u64 {
        match &self.spec.plan {
            None => u64::from(row.quantity),
            Some(_) => u64::from(row.quantity) * u64::from(self.legs_of(row)),
        }
    }

    /// The number of legs that a row's units count for: 1 in a sale without seats.
    pub(super) fn legs_of(&self, row: &Row) -> u32 {
        let Some(plan) = &self.spec.plan else { return 1 };
        let ride = row.details().and_then(|details| details.ride);
        let journey = ride.as_ref().and_then(|ride| ride.journey.as_ref());
        legs(plan, journey).map_or(0, Legs::count)
    }

    /// The details of a new row: those of its request, and the seats that it gets.
    pub(super) fn details_with<'a>(
        &self,
        reserve: &'a Reserve,
        seating: Option<&Seating>,
    ) -> Option<Cow<'a, Details>> {
        let asked = reserve.details.as_deref();
        let Some(seating) = seating else { return asked.map(Cow::Borrowed) };
        let mut details = asked.cloned().unwrap_or_default();
        details.ride.get_or_insert_default().seats = self.names(&seating.places);
        Some(Cow::Owned(details))
    }

    /// Writes which seats a row has.
    pub(super) fn set_seats(&mut self, row: usize, seating: &Seating) {
        let names = self.names(&seating.places);
        self.rows.change(row, |row| {
            if let Some(mut details) = row.details() {
                details.ride.get_or_insert_default().seats = names;
                row.set_details(*details);
            }
        });
    }

    /// Sells these seats.
    pub(super) fn take_seats(&mut self, seating: &Seating) {
        if let Some(map) = &mut self.seats {
            map.sell(&seating.places, seating.legs);
        }
    }

    /// Gives a row's seats back: all of them, or all but these.
    pub(super) fn give_seats_back(&mut self, row: usize, kept: Option<&Seats>) {
        let Some(mut seating) = self.seating_of(&self.rows[row]) else { return };
        let (Some(plan), Some(map)) = (&self.spec.plan, &mut self.seats) else { return };
        let name = |place: &Place| plan.columns().seat_at(plan.blocks(), *place);
        seating.places.retain(|place| kept.is_none_or(|kept| !kept.has(name(place))));
        let is_withdrawn = |block: u8| plan.blocks()[usize::from(block)].is_withdrawn;
        let given =
            map.give_back(plan.columns(), is_withdrawn, &seating.places, seating.legs, false);
        assert_eq!(given, Ok(()), "seats given back that were not sold");
        // What comes back in a withdrawn coach leaves the sale.
        let is_gone = |place: &&Place| is_withdrawn(plan.columns().block_at(**place));
        let gone = seating.places.iter().filter(is_gone).count() as u64;
        self.spec.total -= gone * u64::from(seating.legs.count());
    }

    /// The seats with which an expired reservation can be confirmed: those that it had, or others if
    /// they will do.
    pub(super) fn seats_again(&self, row: usize, elsewhere: bool) -> Option<Seating> {
        let (plan, map) = (self.spec.plan.as_ref()?, self.seats.as_ref()?);
        let had = self.seating_of(&self.rows[row])?;
        if plan.has_departed(had.legs, self.now_ms) {
            return None;
        }
        if had.places.iter().all(|place| map.has(Pool::Free, *place, had.legs)) {
            return Some(had);
        }
        if !elsewhere {
            return None;
        }
        let lines = self.rows[row].details()?.lines?;
        let class = plan.classes().position(lines.iter().next()?.0)?;
        let asked = Asked { kind: Kind::Together, ..Asked::default() };
        let quantity = self.rows[row].quantity;
        let places = choose(plan, map, Pool::Free, had.legs, class, quantity, &asked).ok()?;
        Some(Seating { places, legs: had.legs })
    }

    /// Whether the map has exactly the seats of the reservations, by looking at all of them.
    pub fn seats_agree(&self) -> bool {
        let (Some(plan), Some(map)) = (&self.spec.plan, &self.seats) else { return true };
        let mut counted = crate::sale::seats::SeatMap::new(plan);
        for row in 0..self.rows.len() {
            let row = &self.rows[row];
            if !row.status.has_units() {
                continue;
            }
            let Some(seating) = self.seating_of(row) else { return false };
            let is_whole = seating.places.len() == row.quantity as usize;
            if !is_whole || !counted.try_sell(plan, &seating.places, seating.legs) {
                return false;
            }
        }
        counted.has_sold_the_same(map)
    }
}

/// The legs of a request.
fn legs(plan: &Plan, journey: Option<&Journey>) -> Result<Legs, SeatRefusal> {
    match journey {
        None if plan.stops().is_empty() => Ok(Legs { from: 0, to: 1 }),
        None => Err(SeatRefusal::JourneyRequired),
        Some(_) if plan.stops().is_empty() => Err(SeatRefusal::JourneyUnexpected),
        Some(journey) => plan.legs_of(journey).ok_or_else(|| {
            let unknown = [&journey.from, &journey.to];
            let unknown = unknown.into_iter().find(|stop| plan.stop_position(stop).is_none());
            match unknown {
                Some(stop) => SeatRefusal::UnknownStop(stop.clone()),
                None => SeatRefusal::WrongWay(Box::new(journey.clone())),
            }
        }),
    }
}

#[cfg(test)]
#[path = "seats_tests.rs"]
mod tests;
