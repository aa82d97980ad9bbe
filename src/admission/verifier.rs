//! A core's token verifier: caches verified tokens, and bounds the cost of verifying others.
//!
//! Verifying an EdDSA signature costs as much as many refusals, so a core spends only a part of
//! each tick on it. A flood of forged tokens takes that time from new honest buyers. Therefore each
//! address has only a small part of a tick for signatures that turn out to be wrong, and all
//! addresses with recent wrong signatures share a quarter. Cached tokens are accepted whatever the
//! flood.

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

/// The circumstances of a verification.
#[derive(Debug, Clone, Copy)]
pub struct VerifyContext {
    /// The number of the client's address, if it is known.
    pub address: Option<u64>,
    /// The time, in ms since 1970.
    pub now_ms: u64,
}

/// Recent wrong signatures of an address.
#[derive(Clone, Copy, Default)]
struct FailedChecks {
    /// The last tick with a wrong signature.
    tick: u32,
    /// Time that they took in that tick, in microseconds. 0: none so far.
    us: u32,
}

/// See the module's header.
pub struct TokenVerifier {
    admission: Arc<Admission>,
    cache: Cache,
    known: KnownHeader,
    /// The number of the current tick.
    tick: u32,
    /// Time left for verifying in it, in microseconds.
    left_us: u32,
    /// The part of it that is left for addresses with recent wrong signatures.
    suspects_left_us: u32,
    hasher: RandomState,
    /// Wrong signatures, by address.
    failed_checks: Box<[FailedChecks]>,
    /// Signatures verified and not reported yet.
    checks: u64,
}

impl TokenVerifier {
    /// A verifier for these keys.
    pub fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            cache: Cache::new(),
            known: KnownHeader::default(),
            tick: 0,
            left_us: ADMISSION_CHECKS_PER_TICK_US,
            suspects_left_us: ADMISSION_SUSPECTS_PER_TICK_US,
            hasher: RandomState::new(),
            failed_checks: vec![FailedChecks::default(); ADMISSION_FORGED_COUNTERS].into(),
            checks: 0,
        }
    }

    /// Begins a new tick. If the keys have changed, all cached tokens are dropped.
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

    /// Verifies a token at this time.
    ///
    /// # Errors
    /// The reason why it is denied, or that it can't be verified now.
    pub fn admit(&mut self, token: &[u8], context: VerifyContext) -> Result<Rc<Pass>, Denied> {
        let hash = self.cache.hash(token);
        if let Some(pass) = self.cache.find(hash, token) {
            pass.check_time(context.now_ms)?;
            return Ok(pass);
        }
        let pass = Rc::new(self.check(token, context)?);
        pass.check_time(context.now_ms)?;
        self.cache.keep(hash, token, &pass);
        Ok(pass)
    }

    /// Number of signatures verified since the last call.
    pub fn take_checks(&mut self) -> u64 {
        std::mem::take(&mut self.checks)
    }

    /// The index of an address' counter.
    fn counter(&self, address: u64) -> usize {
        self.hasher.hash_one(address) as usize % ADMISSION_FORGED_COUNTERS
    }

    fn check(&mut self, token: &[u8], context: VerifyContext) -> Result<Pass, Denied> {
        let checked = self.admission.read(token, &self.known)?;
        let cost_us = checked.cost_us();
        let counter = context.address.map(|address| self.counter(address));
        let forged = counter.map(|at| self.failed_checks[at]).unwrap_or_default();
        let past_ticks = self.tick.wrapping_sub(forged.tick);
        let is_suspect = forged.us > 0 && past_ticks <= ADMISSION_SUSPECT_TICKS;
        let forged_us = if past_ticks == 0 { forged.us } else { 0 };
        let left_us =
            if is_suspect { self.suspects_left_us.min(self.left_us) } else { self.left_us };
        if left_us < cost_us || forged_us + cost_us > ADMISSION_FORGED_PER_ADDRESS_US {
            if let Some(at) = counter.filter(|_| is_suspect) {
                // Another wrong signature keeps the address under suspicion.
                self.failed_checks[at] = FailedChecks { tick: self.tick, us: forged_us.max(1) };
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
            self.failed_checks[at] = FailedChecks { tick: self.tick, us: forged_us + cost_us };
        }
        verified
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
