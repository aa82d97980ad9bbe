//! Sales and places of split sales that begin anew, and units that move between places.

use super::Machine;
use crate::limits::{MOVED_MAX, TOTAL_MAX};
use crate::sale::command::Outcome;
use crate::sale::spec::{Creation, SaleSpec};
use crate::sale::split::Split;

impl Machine {
    /// What an earlier making of the sale left, and nobody ever gave anything, becomes part of this one.
    pub(super) fn create_part(&mut self, spec: &SaleSpec, creation: Creation) -> Outcome {
        let moved = self.moves.gave.iter().chain(&self.moves.took).any(|&units| units > 0);
        let is_touched = moved || self.spec.total > 0 || !self.rows.is_empty();
        if self.spec.split == Split::Whole || is_touched || creation <= self.creation {
            return Outcome::Sale(Box::new(self.view()));
        }
        let now_ms = self.now_ms;
        *self = Self { now_ms, ..Self::of_making(spec.clone(), creation) };
        Outcome::Created(Box::new(self.view()))
    }

    pub(super) fn reset(&mut self, total: Option<u64>, force: bool) -> Outcome {
        let (held, confirmed) = (self.held, self.confirmed);
        if !force && held + confirmed > 0 {
            return Outcome::HasSold { held, confirmed };
        }
        if self.spec.split != Split::Whole {
            return Outcome::Removed;
        }
        let spec = SaleSpec { total: total.unwrap_or(self.spec.total), ..self.spec.clone() };
        *self = Self { creation: self.creation, ..Self::restore(spec, self.now_ms) };
        Outcome::Sale(Box::new(self.view()))
    }

    /// What is free may leave, and is then nobody's until the other place takes it.
    pub(super) fn give(&mut self, to: u32, gave: u64, units: u64) -> Outcome {
        let free = self.free();
        let Some(given) = self.moves.gave.get_mut(to as usize) else { return Outcome::NotSplit };
        if *given == gave {
            let units = units.min(free).min(MOVED_MAX - *given);
            *given += units;
            self.spec.total -= units;
        }
        Outcome::Gave { gave: *given }
    }

    /// Whatever the other gave that has not been taken, once.
    pub(super) fn take(&mut self, from: u32, gave: u64) -> Outcome {
        let Some(taken) = self.moves.took.get_mut(from as usize) else { return Outcome::NotSplit };
        let units = gave.min(MOVED_MAX).saturating_sub(*taken);
        if units > TOTAL_MAX - self.spec.total {
            return Outcome::TotalTooLarge;
        }
        *taken += units;
        self.spec.total += units;
        Outcome::Took { units }
    }
}
