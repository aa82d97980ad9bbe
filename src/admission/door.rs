//! A core's door: admits whom a token admits, and bounds what checking costs.
//!
//! A check of an EdDSA signature costs as much as many refusals, so a core spends no more than a
//! part of each tick on checks. Who floods it with forged tokens takes that from honest newcomers. So
//! each address has only a small part of a tick for signatures that turn out to be wrong, and all
//! addresses that have lately shown one share a quarter. Verified tokens are cached and go on whatever
//! the flood.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;

use super::cache::Cache;
use super::pass::{Denied, Pass};
use super::token::{Admission, KnownHeader};
use crate::limits::{
    ADMISSION_CHECKS_PER_TICK_US, ADMISSION_FORGED_COUNTERS, ADMISSION_FORGED_PER_ADDRESS_US,
    ADMISSION_SUSPECT_TICKS, ADMISSION_SUSPECTS_PER_TICK_US,
};

/// Who shows a token.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// The number of the client's address, if it is known whose the request is.
    pub address: Option<u64>,
    /// The time, in ms since 1970.
    pub now_ms: u64,
}

/// What is known of forged signatures from an address.
#[derive(Clone, Copy, Default)]
struct Forged {
    /// The last tick in which there were some.
    tick: u32,
    /// What they took in it, in microseconds. 0: there were none yet.
    us: u32,
}

/// See the module's header.
pub struct Door {
    admission: Arc<Admission>,
    cache: Cache,
    known: KnownHeader,
    /// The number of this tick.
    tick: u32,
    /// What may still be spent in it, in microseconds.
    left_us: u32,
    /// What of that may be spent on those who have forged lately.
    suspects_left_us: u32,
    hasher: RandomState,
    /// Forged signatures, by address.
    forged: Box<[Forged]>,
    /// Signatures that were checked, and not told yet.
    checks: u64,
}

impl Door {
    /// A door that takes tokens of these keys.
    pub fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            cache: Cache::new(),
            known: KnownHeader::default(),
            tick: 0,
            left_us: ADMISSION_CHECKS_PER_TICK_US,
            suspects_left_us: ADMISSION_SUSPECTS_PER_TICK_US,
            hasher: RandomState::new(),
            forged: vec![Forged::default(); ADMISSION_FORGED_COUNTERS].into(),
            checks: 0,
        }
    }

    /// A new tick begins. If the keys are others from now on, no token of before is known any more.
    pub fn tick(&mut self, admission: &Arc<Admission>) {
        if !Arc::ptr_eq(&self.admission, admission) {
            if self.admission != *admission {
                self.cache.clear();
                self.known = KnownHeader::default();
            }
            self.admission = admission.clone();
        }
        self.tick = self.tick.wrapping_add(1);
        self.left_us = ADMISSION_CHECKS_PER_TICK_US;
        self.suspects_left_us = ADMISSION_SUSPECTS_PER_TICK_US;
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
        let checked = self.admission.read(token, &self.known)?;
        let cost_us = checked.cost_us();
        let counter = visitor.address.map(|address| self.counter(address));
        let forged = counter.map(|at| self.forged[at]).unwrap_or_default();
        let past_ticks = self.tick.wrapping_sub(forged.tick);
        let is_suspect = forged.us > 0 && past_ticks <= ADMISSION_SUSPECT_TICKS;
        let forged_us = if past_ticks == 0 { forged.us } else { 0 };
        let left_us =
            if is_suspect { self.suspects_left_us.min(self.left_us) } else { self.left_us };
        if left_us < cost_us || forged_us + cost_us > ADMISSION_FORGED_PER_ADDRESS_US {
            if let Some(at) = counter.filter(|_| is_suspect) {
                // Who goes on stays what he is.
                self.forged[at] = Forged { tick: self.tick, us: forged_us.max(1) };
            }
            return Err(Denied::Busy);
        }
        self.left_us -= cost_us;
        if is_suspect {
            self.suspects_left_us -= cost_us;
        }
        self.checks += 1;
        let verified = checked.verify();
        if verified.is_ok() {
            self.known.keep(&checked);
        }
        if let (Err(Denied::Signature), Some(at)) = (&verified, counter) {
            self.forged[at] = Forged { tick: self.tick, us: forged_us + cost_us };
        }
        verified
    }
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
