//! The plan of a seat sale: its stops, its classes and its seats.

use std::fmt;

use super::block::Block;
use super::column::Columns;
use super::plan_error::PlanError;
use super::seat::Seat;
use super::stop::{Journey, Legs, StopName};
use crate::limits::{BLOCKS_MAX, CLASSES_MAX, COLUMNS_MAX, SEATS_MAX, STOPS_MAX, TIME_MS_MAX};
use crate::sale::types::{TypeName, Types};

/// A plan. Two plans are equal if they have the same stops, departures and blocks.
#[derive(Clone)]
pub struct Plan {
    stops: Box<[StopName]>,
    departs_ms: Box<[u64]>,
    blocks: Box<[Block]>,
    classes: Types,
    columns: Columns,
}

impl PartialEq for Plan {
    fn eq(&self, other: &Self) -> bool {
        (&self.stops, &self.departs_ms, &self.blocks)
            == (&other.stops, &other.departs_ms, &other.blocks)
    }
}

impl Eq for Plan {}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({:?})", self.to_text())
    }
}

impl Plan {
    /// Validates a plan. `departs_ms` is empty, or has the departure from every stop but the last, in
    /// ms since 1970. The blocks are in the order in which their seats are sold.
    pub fn new(
        stops: Vec<StopName>,
        departs_ms: Vec<u64>,
        blocks: Vec<Block>,
    ) -> Result<Self, PlanError> {
        if stops.len() == 1 || stops.len() > STOPS_MAX {
            return Err(PlanError::Stops(stops.len()));
        }
        let is_repeated = |(at, stop): &(usize, &StopName)| stops[..*at].contains(stop);
        if let Some((_, stop)) = stops.iter().enumerate().find(is_repeated) {
            return Err(PlanError::StopTwice(stop.clone()));
        }
        if !departs_ms.is_empty() && departs_ms.len() + 1 != stops.len() {
            return Err(PlanError::Departures { given: departs_ms.len(), stops: stops.len() });
        }
        let is_late = |at: usize| {
            departs_ms[at] > TIME_MS_MAX || at > 0 && departs_ms[at] < departs_ms[at - 1]
        };
        if let Some(at) = (0..departs_ms.len()).find(|at| is_late(*at)) {
            return Err(PlanError::DepartureOrder(stops[at].clone()));
        }
        if blocks.is_empty() || blocks.len() > BLOCKS_MAX {
            return Err(PlanError::Blocks(blocks.len()));
        }
        blocks.iter().try_for_each(Block::check)?;
        if let Some((coach, row)) = repeated_row(&blocks) {
            return Err(PlanError::RowTwice { coach, row });
        }
        let seats = blocks.iter().map(Block::seats).sum();
        if seats > SEATS_MAX {
            return Err(PlanError::Seats(seats));
        }
        let legs = stops.len().max(2) - 1;
        let classes = classes(&blocks, legs)?;
        let columns = Columns::of(&blocks, &classes);
        if columns.len() > COLUMNS_MAX {
            return Err(PlanError::Columns(columns.len()));
        }
        let (stops, blocks) = (stops.into(), blocks.into());
        Ok(Self { stops, departs_ms: departs_ms.into(), blocks, classes, columns })
    }

    /// The stops in order. Empty: the sale has one leg.
    pub fn stops(&self) -> &[StopName] {
        &self.stops
    }

    /// The departure from every stop but the last, in ms since 1970. Empty: none is known.
    pub fn departs_ms(&self) -> &[u64] {
        &self.departs_ms
    }

    /// The blocks, in the order in which their seats are sold.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The classes as ticket types. The cap of each is the number of its seats times the number of
    /// legs, those of withdrawn coaches included.
    pub fn classes(&self) -> &Types {
        &self.classes
    }

    /// Where each seat is kept.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// The number of legs.
    pub fn legs(&self) -> u8 {
        self.stops.len().max(2) as u8 - 1
    }

    /// The number of seats.
    pub fn seats(&self) -> usize {
        self.blocks.iter().map(Block::seats).sum()
    }

    /// The units of all seats on all legs.
    pub fn units(&self) -> u64 {
        self.seats() as u64 * u64::from(self.legs())
    }

    /// The place of a stop in the order of the ride.
    pub fn stop_position(&self, name: &StopName) -> Option<u8> {
        self.stops.iter().position(|stop| stop == name).map(|at| at as u8)
    }

    /// The legs of a journey. `None`: a stop is unknown, or the journey goes nowhere or backwards.
    pub fn legs_of(&self, journey: &Journey) -> Option<Legs> {
        let (from, to) = (self.stop_position(&journey.from)?, self.stop_position(&journey.to)?);
        (from < to).then_some(Legs { from, to })
    }

    /// Whether the train has left the stop at which these legs begin.
    pub fn has_departed(&self, legs: Legs, now_ms: u64) -> bool {
        self.departs_ms.get(usize::from(legs.from)).is_some_and(|departs_ms| now_ms >= *departs_ms)
    }

    /// The block of a seat. `None`: there is no such seat.
    pub fn block_of(&self, seat: Seat) -> Option<&Block> {
        let place = self.columns.place_of(&self.blocks, seat)?;
        Some(&self.blocks[usize::from(self.columns.get(place.column).block)])
    }

    /// The longest row of a class.
    pub fn width_max(&self, class: &TypeName) -> u32 {
        let rows = self.blocks.iter().filter(|block| block.class == *class);
        rows.map(|block| block.letters.width() as u32).max().unwrap_or(0)
    }
}

/// The first row that two blocks of a coach have.
fn repeated_row(blocks: &[Block]) -> Option<(u8, u8)> {
    blocks.iter().enumerate().find_map(|(at, block)| {
        let same = blocks[..at].iter().filter(|other| other.coach == block.coach);
        same.map(|other| (block.first_row.max(other.first_row), block.last_row.min(other.last_row)))
            .find(|(first, last)| first <= last)
            .map(|(first, _)| (block.coach, first))
    })
}

fn classes(blocks: &[Block], legs: usize) -> Result<Types, PlanError> {
    let mut caps: Vec<(TypeName, u64)> = Vec::new();
    for block in blocks {
        let units = (block.seats() * legs) as u64;
        match caps.iter_mut().find(|(name, _)| *name == block.class) {
            Some((_, cap)) => *cap += units,
            None => caps.push((block.class.clone(), units)),
        }
    }
    if caps.len() > CLASSES_MAX {
        return Err(PlanError::Classes(caps.len()));
    }
    Types::new(caps).map_err(PlanError::Class)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
