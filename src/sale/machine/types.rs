//! The sold units of each ticket type, and the checks of a request's lines.

use super::Machine;
use crate::sale::command::{Outcome, Reserve};
use crate::sale::row::Row;
use crate::sale::types::{Lines, TypeUnits};

impl Machine {
    /// The fault of a request's lines, independent of the stock.
    pub(super) fn wrong_lines(&self, reserve: &Reserve) -> Option<Outcome> {
        let types = &self.spec.types;
        match reserve.lines() {
            None if types.is_empty() => None,
            None => Some(Outcome::LinesRequired),
            Some(_) if types.is_empty() => Some(Outcome::LinesUnexpected),
            Some(lines) => {
                debug_assert_eq!(lines.units(), reserve.quantity, "lines of another quantity");
                let unknown = lines.iter().find(|(name, _)| types.position(name).is_none());
                unknown.map(|(name, _)| Outcome::UnknownType { name: name.clone() })
            }
        }
    }

    /// The first type of which fewer units are left than requested, if the sale has any units left:
    /// otherwise every request is rejected alike.
    pub(super) fn short_type(&self, reserve: &Reserve) -> Option<Outcome> {
        // In a sale with seats, the seats decide.
        let bounds = self.free() > 0 && self.spec.plan.is_none();
        let lines = reserve.lines().filter(|_| bounds)?;
        lines.iter().find_map(|(name, quantity)| {
            let free = self.free_of(self.spec.types.position(name)?);
            let is_short = u64::from(quantity) > free;
            is_short.then(|| Outcome::TypeSoldOut { name: name.clone(), free })
        })
    }

    /// Whether the units that this row had are available again.
    pub(super) fn types_have_room(&self, row: usize) -> bool {
        let has_room = |lines: &Lines| {
            lines.iter().all(|(name, quantity)| {
                let at = self.spec.types.position(name);
                at.is_some_and(|at| u64::from(quantity) <= self.free_of(at))
            })
        };
        self.spec.types.is_empty()
            || self.spec.plan.is_some()
            || lines_of(&self.rows[row]).as_ref().is_some_and(has_room)
    }

    pub(super) fn types_are_within(&self) -> bool {
        self.spec.types.iter().zip(&self.by_type).all(|((_, cap), units)| units.sold() <= cap)
    }

    /// Counts a row's units of each type. Does nothing in a sale without types.
    pub(super) fn count_types_of(&mut self, row: usize, count: impl Fn(&mut TypeUnits, u64)) {
        if !self.by_type.is_empty()
            && let Some(lines) = lines_of(&self.rows[row])
        {
            self.count_lines(&lines, self.legs_of(&self.rows[row]), count);
        }
    }

    /// The same for a row that is not in the machine yet.
    pub(super) fn count_types(&mut self, row: &Row, count: impl Fn(&mut TypeUnits, u64)) {
        if !self.by_type.is_empty()
            && let Some(lines) = lines_of(row)
        {
            self.count_lines(&lines, self.legs_of(row), count);
        }
    }

    fn count_lines(&mut self, lines: &Lines, legs: u32, count: impl Fn(&mut TypeUnits, u64)) {
        for (name, quantity) in lines.iter() {
            if let Some(at) = self.spec.types.position(name) {
                count(&mut self.by_type[at], u64::from(quantity) * u64::from(legs));
            }
        }
    }

    /// Units of a type that are left by its cap alone.
    fn free_of(&self, at: usize) -> u64 {
        let cap = self.spec.types.iter().nth(at).map_or(0, |(_, cap)| cap);
        cap.saturating_sub(self.by_type[at].sold())
    }
}

fn lines_of(row: &Row) -> Option<Lines> {
    row.details()?.lines
}

#[cfg(test)]
#[path = "types_tests.rs"]
mod tests;
