//! Sales and places of split sales that begin anew, and units that move between places.

use super::Machine;
use crate::limits::{MOVED_MAX, TOTAL_MAX};
use crate::planted::{self, Bug};
use crate::sale::command::Outcome;
use crate::sale::spec::{Creation, SaleSpec};
use crate::sale::split::Split;

impl Machine {
    /// A whole sale or the head of a split one, as [`new`](Self::new) makes it, with the number of
    /// this creation.
    #[cfg(feature = "simulation")]
    pub fn created(spec: SaleSpec, creation: Creation) -> Self {
        Self { creation, ..Self::new(spec) }
    }

    /// Data of an earlier creation that was never sent units becomes part of this creation.
    pub(super) fn create_part(&mut self, spec: &SaleSpec, creation: Creation) -> Outcome {
        let moved =
            self.transfers.sent.iter().chain(&self.transfers.received).any(|&units| units > 0);
        let is_touched = moved || self.spec.total > 0 || !self.rows.is_empty();
        let may_begin = !is_touched && creation > self.creation;
        if self.spec.split == Split::Whole || !(may_begin || planted::is(Bug::PartAdoptedTwice)) {
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

    /// Only free units are sent; they belong to no place until the other one receives them.
    pub(super) fn transfer_out(&mut self, to: u32, gave: u64, units: u64) -> Outcome {
        let free = self.free();
        let Some(given) = self.transfers.sent.get_mut(to as usize) else {
            return Outcome::NotSplit;
        };
        if *given == gave {
            let units = units.min(free).min(MOVED_MAX - *given);
            *given += units;
            self.spec.total -= units;
        }
        Outcome::Sent { gave: *given }
    }

    /// Receives the units that the other has sent and that were not received yet.
    pub(super) fn transfer_in(&mut self, from: u32, gave: u64) -> Outcome {
        let Some(taken) = self.transfers.received.get_mut(from as usize) else {
            return Outcome::NotSplit;
        };
        let units = gave.min(MOVED_MAX).saturating_sub(*taken);
        if units > TOTAL_MAX - self.spec.total {
            return Outcome::TotalTooLarge;
        }
        *taken += units;
        self.spec.total += units;
        Outcome::Received { units }
    }
}
