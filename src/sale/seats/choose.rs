//! Which seats a purchase gets: the rules of `docs/internals/seats.md`.

use super::column::{Column, Place};
use super::map::{Pool, SeatMap};
use super::plan::Plan;
use super::refusal::SeatRefusal;
use super::ride::{Asked, Kind, Wish};
use super::stop::Legs;
use crate::limits::{COLUMNS_MAX, NEAR_COLUMNS};

/// The greatest value of a candidate: fit 2, wished.
const BEST: u32 = 5;

/// Chooses seats of a class, a position in the plan's classes. Returns them in the order of their
/// places.
///
/// # Errors
/// There are none. Nothing is changed in any case.
pub fn choose(
    plan: &Plan,
    map: &SeatMap,
    pool: Pool,
    legs: Legs,
    class: usize,
    quantity: u32,
    asked: &Asked,
) -> Result<Vec<Place>, SeatRefusal> {
    let mut search = Search::new(plan, map, pool, legs, class, asked.wish);
    let mut places = match &asked.kind {
        Kind::Named(seats) => {
            let place = |seat| {
                let place = plan.columns().place_of(plan.blocks(), seat);
                let place =
                    place.filter(|p| usize::from(plan.columns().get(p.column).class) == class);
                let place = place.ok_or(SeatRefusal::UnknownSeat(seat))?;
                if search.is_free(place) { Ok(place) } else { Err(SeatRefusal::Taken(seat)) }
            };
            seats.iter().map(place).collect::<Result<Vec<_>, _>>()?
        }
        Kind::Together | Kind::TogetherOrNone if quantity > 1 => {
            match (search.run(quantity), &asked.kind) {
                (Some(run), _) => run,
                (None, Kind::Together) => match search.coach(quantity) {
                    Some(places) => places,
                    None => search.each(search.columns(), quantity)?,
                },
                (None, _) => {
                    let free = search.free();
                    return Err(if free < quantity {
                        SeatRefusal::TooFew { free }
                    } else {
                        SeatRefusal::Apart
                    });
                }
            }
        }
        _ => search.each(search.columns(), quantity)?,
    };
    places.sort_unstable();
    Ok(places)
}

/// The free seats for one journey and class, as a choice uses them up.
struct Search<'a> {
    plan: &'a Plan,
    map: &'a SeatMap,
    pool: Pool,
    legs: Legs,
    class: usize,
    wish: Wish,
    /// Per column the seats that are taken on any leg of the journey.
    taken: [u32; COLUMNS_MAX],
}

impl<'a> Search<'a> {
    fn new(
        plan: &'a Plan,
        map: &'a SeatMap,
        pool: Pool,
        legs: Legs,
        class: usize,
        wish: Wish,
    ) -> Self {
        let mut taken = [0; COLUMNS_MAX];
        map.taken_on_any(pool, legs, &mut taken[..plan.columns().len()]);
        Self { plan, map, pool, legs, class, wish, taken }
    }

    fn columns(&self) -> &'a [u16] {
        self.plan.columns().of_class(self.class)
    }

    fn is_free(&self, place: Place) -> bool {
        self.taken[usize::from(place.column)] & 1 << place.bit == 0
    }

    fn free_in(&self, column: u16) -> u32 {
        (!self.taken[usize::from(column)]).count_ones()
    }

    fn free(&self) -> u32 {
        self.columns().iter().map(|column| self.free_in(*column)).sum()
    }

    /// Chooses seats one at a time among these columns.
    fn each(&mut self, columns: &[u16], quantity: u32) -> Result<Vec<Place>, SeatRefusal> {
        let mut places = Vec::with_capacity(quantity as usize);
        for free in 0..quantity {
            let place = self.best(columns, 1).ok_or(SeatRefusal::TooFew { free })?;
            self.taken[usize::from(place.column)] |= 1 << place.bit;
            places.push(place);
        }
        Ok(places)
    }

    fn run(&self, quantity: u32) -> Option<Vec<Place>> {
        let first = self.best(self.columns(), quantity)?;
        let place = |at| Place { bit: first.bit + at, ..first };
        Some((0..quantity as u8).map(place).collect())
    }

    /// Chooses seats in the first coach that has enough.
    fn coach(&mut self, quantity: u32) -> Option<Vec<Place>> {
        let coach_of = |column: &u16| self.plan.columns().get(*column).coach;
        let columns = self.columns();
        let of = |coach: u8| columns.iter().filter(move |column| coach_of(column) == coach);
        let mut seen = 0u128;
        let coach = columns.iter().map(coach_of).find(|&coach| {
            let is_new = seen & 1 << coach == 0;
            seen |= 1 << coach;
            is_new && of(coach).map(|column| self.free_in(*column)).sum::<u32>() >= quantity
        })?;
        let columns: Vec<u16> = of(coach).copied().collect();
        self.each(&columns, quantity).ok()
    }

    /// The first seat of the best run of this length among the first columns that have one. A single
    /// seat is a run of one.
    fn best(&self, columns: &[u16], length: u32) -> Option<Place> {
        let mut best: Option<(u32, Place)> = None;
        let mut seen = 0;
        for &number in columns {
            let free = !self.taken[usize::from(number)];
            let column = self.plan.columns().get(number);
            if free == 0 {
                continue;
            }
            let starts = column.run_starts(length);
            let all = run(free, length) & starts;
            if all == 0 {
                continue;
            }
            let (value, runs) = self.most_valuable(number, column, free, all, length, starts);
            if best.is_none_or(|(best, _)| value > best) {
                best = Some((value, Place { column: number, bit: runs.trailing_zeros() as u8 }));
            }
            seen += 1;
            if value == BEST || seen == NEAR_COLUMNS {
                break;
            }
        }
        best.map(|(_, place)| place)
    }

    /// The greatest value of a column's candidates, and those that have it.
    fn most_valuable(
        &self,
        number: u16,
        column: &Column,
        free: u32,
        all: u32,
        length: u32,
        starts: u32,
    ) -> (u32, u32) {
        let is_end =
            |leg: Option<usize>| leg.map_or(u32::MAX, |leg| self.map.taken(self.pool, leg, number));
        let before = is_end(usize::from(self.legs.from).checked_sub(1));
        let after = is_end(
            Some(usize::from(self.legs.to)).filter(|to| *to < usize::from(self.plan.legs())),
        );
        let wished = match self.wish {
            Wish::Any => u32::MAX,
            Wish::Window => (0..length).fold(0, |mask, at| mask | column.windows >> at),
            Wish::Aisle => (0..length).fold(0, |mask, at| mask | column.aisles >> at),
        };
        let fits = [(2, free & before & after), (1, free & (before | after))];
        let fits = fits.map(|(fit, seats)| (fit, run(seats, length) & starts));
        for (fit, runs) in fits.into_iter().chain([(0, all)]) {
            if runs & wished != 0 {
                return (2 * fit + 1, runs & wished);
            }
            if runs != 0 {
                return (2 * fit, runs);
            }
        }
        unreachable!("a column with candidates has one of the greatest value")
    }
}

/// The bits at which a run of set bits of this length begins.
fn run(bits: u32, length: u32) -> u32 {
    (1..length).fold(bits, |runs, at| runs & bits >> at)
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
