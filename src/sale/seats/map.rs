//! Which seats are sold, and which are set aside, on each leg.

use super::column::{Columns, Place};
use super::plan::Plan;
use super::stop::Legs;

/// What a choice may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// What is for sale: neither sold nor set aside.
    Free,
    /// What is not sold, for the waiting list.
    Unsold,
}

/// A seat is to be given back that is not sold on all of these legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSold(pub Place);

/// The seats of a sale on each leg. A bit that is no seat counts as sold, and so does a seat of a
/// withdrawn coach.
#[derive(Clone)]
pub struct SeatMap {
    columns: usize,
    /// The seats that are sold or set aside: the word of a column on a leg is at
    /// `leg * columns + column`. So the words of one leg are next to each other, and the compiler
    /// combines those of a journey several at a time.
    busy: Box<[u32]>,
    /// The seats that are set aside, in the same order. Empty until any is.
    aside: Box<[u32]>,
    /// Seat-legs that are set aside.
    aside_units: u64,
}

impl SeatMap {
    /// The map of a plan of which nothing is sold.
    pub fn new(plan: &Plan) -> Self {
        let columns = plan.columns();
        let is_withdrawn = |block: u8| plan.blocks()[usize::from(block)].is_withdrawn;
        let unsold = |column: &super::column::Column| match is_withdrawn(column.block) {
            true => u32::MAX,
            false => !column.seats,
        };
        let leg: Vec<u32> = columns.iter().map(unsold).collect();
        let busy = leg.repeat(usize::from(plan.legs())).into();
        Self { columns: leg.len(), busy, aside: Box::default(), aside_units: 0 }
    }

    /// The seats of a column that this pool lacks on a leg.
    pub(super) fn taken(&self, pool: Pool, leg: usize, column: u16) -> u32 {
        let at = leg * self.columns + usize::from(column);
        match pool {
            Pool::Unsold if !self.aside.is_empty() => self.busy[at] & !self.aside[at],
            _ => self.busy[at],
        }
    }

    /// Adds the seats that this pool lacks on any of these legs to one word per column.
    pub(super) fn taken_on_any(&self, pool: Pool, legs: Legs, words: &mut [u32]) {
        for leg in legs.range() {
            let range = leg * self.columns..(leg + 1) * self.columns;
            let busy = self.busy[range.clone()].iter();
            if pool == Pool::Unsold && !self.aside.is_empty() {
                let both = busy.zip(&self.aside[range]);
                words.iter_mut().zip(both).for_each(|(word, (busy, aside))| *word |= busy & !aside);
            } else {
                words.iter_mut().zip(busy).for_each(|(word, busy)| *word |= busy);
            }
        }
    }

    /// Whether a seat is in the pool on all of these legs.
    pub fn has(&self, pool: Pool, place: Place, legs: Legs) -> bool {
        let bit = 1 << place.bit;
        legs.range().all(|leg| self.taken(pool, leg, place.column) & bit == 0)
    }

    /// Sells seats that are in the pool. What was set aside of them no longer is.
    pub fn sell(&mut self, places: &[Place], legs: Legs) {
        for place in places {
            debug_assert!(self.has(Pool::Unsold, *place, legs), "sold twice: {place:?}");
            let bit = 1 << place.bit;
            for leg in legs.range() {
                let at = leg * self.columns + usize::from(place.column);
                self.busy[at] |= bit;
                if self.aside_units > 0 && self.aside[at] & bit != 0 {
                    self.aside[at] &= !bit;
                    self.aside_units -= 1;
                }
            }
        }
    }

    /// Gives sold seats back: for sale, or set aside. Those of withdrawn coaches count as sold all
    /// the same.
    ///
    /// # Errors
    /// The first seat that is not sold on all of these legs; nothing changed.
    pub fn give_back(
        &mut self,
        columns: &Columns,
        is_withdrawn: impl Fn(u8) -> bool,
        places: &[Place],
        legs: Legs,
        sets_aside: bool,
    ) -> Result<(), NotSold> {
        let is_sold = |place: &&Place| {
            let bit = 1 << place.bit;
            legs.range().all(|leg| self.taken(Pool::Unsold, leg, place.column) & bit != 0)
        };
        if let Some(place) = places.iter().find(|place| !is_sold(place)) {
            return Err(NotSold(*place));
        }
        if sets_aside && self.aside.is_empty() {
            self.aside = vec![0; self.busy.len()].into();
        }
        for place in places.iter().filter(|place| !is_withdrawn(columns.get(place.column).block)) {
            let bit = 1 << place.bit;
            for leg in legs.range() {
                let at = leg * self.columns + usize::from(place.column);
                if sets_aside {
                    self.aside[at] |= bit;
                    self.aside_units += 1;
                } else {
                    self.busy[at] &= !bit;
                }
            }
        }
        Ok(())
    }

    /// Sells the seats of a reservation that is known to have them, also in a withdrawn coach. Returns
    /// false if one of them is sold already.
    pub fn try_sell(&mut self, plan: &Plan, places: &[Place], legs: Legs) -> bool {
        let is_withdrawn = |place: &Place| {
            plan.blocks()[usize::from(plan.columns().block_at(*place))].is_withdrawn
        };
        let is_free = |place: &&Place| is_withdrawn(place) || self.has(Pool::Unsold, **place, legs);
        let all = places.iter().filter(is_free).count() == places.len();
        if all {
            let there: Vec<Place> = places.iter().copied().filter(|p| !is_withdrawn(p)).collect();
            self.sell(&there, legs);
        }
        all
    }

    /// Whether two maps of a plan have the same sold seats.
    pub fn has_sold_the_same(&self, other: &Self) -> bool {
        let words = |map: &Self| -> Vec<u32> {
            let aside = |at: usize| map.aside.get(at).copied().unwrap_or(0);
            map.busy.iter().enumerate().map(|(at, busy)| busy & !aside(at)).collect()
        };
        words(self) == words(other)
    }

    /// Seat-legs that are set aside.
    pub fn aside_units(&self) -> u64 {
        self.aside_units
    }

    /// Puts everything that is set aside up for sale.
    pub fn release_aside(&mut self) {
        if self.aside_units > 0 {
            let both = self.busy.iter_mut().zip(&mut self.aside);
            both.for_each(|(busy, aside)| *busy &= !std::mem::take(aside));
            self.aside_units = 0;
        }
    }

    /// The number of seats of a class that the pool has on all of these legs.
    pub fn count(&self, plan: &Plan, pool: Pool, legs: Legs, class: usize) -> u32 {
        let mut taken = [0; crate::limits::COLUMNS_MAX];
        self.taken_on_any(pool, legs, &mut taken[..self.columns]);
        let columns = plan.columns().of_class(class).iter();
        columns.map(|column| (!taken[usize::from(*column)]).count_ones()).sum()
    }
}
