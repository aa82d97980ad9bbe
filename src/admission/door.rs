//! A core's door: admits whom a token admits, and bounds what checking costs.
//!
//! A check of an EdDSA signature costs as much as a hundred refusals, so a core spends no more than a
//! part of each tick on checks. Who floods it with forged tokens takes that from honest newcomers; so
//! each address has only a small part of it for signatures that turn out to be wrong. Verified tokens
//! are cached and go on whatever the flood.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use super::cache::Cache;
use super::pass::{Denied, Pass};
use super::token::Admission;
use crate::limits::{
    ADMISSION_CHECKS_PER_TICK_US, ADMISSION_FORGED_COUNTERS, ADMISSION_FORGED_PER_ADDRESS_US,
};

/// Who shows a token.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// The number of the client's address, if it is known whose the request is.
    pub address: Option<u64>,
    /// The time, in ms since 1970.
    pub now_ms: u64,
}

/// See the module's header.
pub struct Door {
    admission: Arc<Admission>,
    cache: Cache,
    /// What may still be spent in this tick, in microseconds.
    left_us: u32,
    hasher: RandomState,
    /// What was spent in this tick on forged signatures, in microseconds, by address.
    forged_us: Box<[u32]>,
    /// Some of it is not 0.
    is_forged: bool,
    /// Signatures that were checked, and not told yet.
    checks: u64,
}

impl Door {
    /// A door that takes tokens of these keys.
    pub fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            cache: Cache::new(),
            left_us: ADMISSION_CHECKS_PER_TICK_US,
            hasher: RandomState::new(),
            forged_us: vec![0; ADMISSION_FORGED_COUNTERS].into(),
            is_forged: false,
            checks: 0,
        }
    }

    /// A new tick begins. If the keys are others from now on, no token of before is known any more.
    pub fn tick(&mut self, admission: &Arc<Admission>) {
        if !Arc::ptr_eq(&self.admission, admission) {
            if self.admission != *admission {
                self.cache.clear();
            }
            self.admission = admission.clone();
        }
        self.left_us = ADMISSION_CHECKS_PER_TICK_US;
        if std::mem::take(&mut self.is_forged) {
            self.forged_us.fill(0);
        }
    }

    /// Whom this token admits, at this time.
    ///
    /// # Errors
    /// Says why it admits nobody, or that it can't be checked now.
    pub fn admit(&mut self, token: &[u8], visitor: Visitor) -> Result<Rc<Pass>, Denied> {
        let hash = self.cache.hash(token);
        if let Some(pass) = self.cache.find(hash, token) {
            pass.check_time(visitor.now_ms)?;
            return Ok(pass);
        }
        let pass = Rc::new(self.check(token, visitor)?);
        pass.check_time(visitor.now_ms)?;
        self.cache.keep(hash, token, &pass);
        Ok(pass)
    }

    /// Signatures that were checked since this was asked last.
    pub fn take_checks(&mut self) -> u64 {
        std::mem::take(&mut self.checks)
    }

    /// Which of the counters an address has.
    fn counter(&self, address: u64) -> usize {
        self.hasher.hash_one(address) as usize % ADMISSION_FORGED_COUNTERS
    }

    fn check(&mut self, token: &[u8], visitor: Visitor) -> Result<Pass, Denied> {
        let checked = self.admission.read(token)?;
        let cost_us = checked.cost_us();
        let counter = visitor.address.map(|address| self.counter(address));
        let forged_us = counter.map_or(0, |at| self.forged_us[at]);
        if self.left_us < cost_us || forged_us + cost_us > ADMISSION_FORGED_PER_ADDRESS_US {
            return Err(Denied::Busy);
        }
        self.left_us -= cost_us;
        self.checks += 1;
        let verified = checked.verify();
        if let (Err(Denied::Signature), Some(at)) = (&verified, counter) {
            self.forged_us[at] = forged_us + cost_us;
            self.is_forged = true;
        }
        verified
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
