//! The checks before a purchase: rate limits per address and per user, and admission by token.
//!
//! The cores share the rate limits. Each core has a [`Gatekeeper`] with its own cache of verified
//! tokens; it takes over new keys at its next tick. While neither limits nor admission are set, a
//! purchase costs one check ([`Gatekeeper::is_on`]) and no more.
//!
//! Architecture invariant: knows no HTTP and no ledger. It decides; the caller writes the answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::admission::{Admission, Denied, Pass, TokenVerifier, VerifyContext};
use crate::config::Config;
use crate::count::Counter;
use crate::engine::addresses::Address;
use crate::limiter::{Limited, Limiter};
use crate::reloadable::{Cached, Reloadable};
use crate::sale::User;

/// The part that all cores share.
pub struct SharedGatekeeper {
    admission: Arc<Reloadable<Option<Arc<Admission>>>>,
    addresses: Limiter,
    users: Limiter,
    /// Counters per core.
    pub counts: Box<[Arc<GatekeeperCounts>]>,
}

/// Counters of one core.
#[derive(Debug, Default)]
pub struct GatekeeperCounts {
    /// Purchases over the rate limit of their address.
    pub limited_addresses: Counter,
    /// Purchases over the rate limit of their user.
    pub limited_users: Counter,
    /// Addresses that were evicted from the table before their burst was free again.
    pub forgotten_addresses: Counter,
    /// The same for users.
    pub forgotten_users: Counter,
    /// Admitted tokens.
    pub admitted: Counter,
    /// Denied tokens, by [`Denied::index`].
    pub denied: [Counter; Denied::NAMES.len()],
    /// Verified signatures.
    pub checks: Counter,
}

impl SharedGatekeeper {
    /// With these settings.
    pub fn of(config: &Config) -> Self {
        let shared = Self::open(config.cores.len());
        shared.change(config);
        shared
    }

    /// For this number of cores, with no limits and no admission.
    pub fn open(cores: usize) -> Self {
        Self {
            admission: Arc::new(Reloadable::new(None)),
            addresses: Limiter::default(),
            users: Limiter::default(),
            counts: (0..cores).map(|_| Arc::default()).collect(),
        }
    }

    /// Applies new settings.
    pub fn change(&self, config: &Config) {
        self.addresses.set(config.rate_per_address);
        self.users.set(config.rate_per_user);
        self.admission.set(config.admission.as_ref().map(|setting| setting.admission.clone()));
    }
}

/// The part of one core.
pub struct Gatekeeper {
    shared: Arc<SharedGatekeeper>,
    counts: Arc<GatekeeperCounts>,
    admission: Cached<Option<Arc<Admission>>>,
    verifier: RefCell<Option<TokenVerifier>>,
    is_on: Cell<bool>,
}

impl Gatekeeper {
    /// The gatekeeper of the core with this index.
    pub fn new(core: usize, shared: Arc<SharedGatekeeper>) -> Self {
        let gatekeeper = Self {
            counts: shared.counts[core].clone(),
            admission: Cached::of(shared.admission.clone()),
            verifier: RefCell::default(),
            is_on: Cell::new(false),
            shared,
        };
        gatekeeper.tick();
        gatekeeper
    }

    /// Whether any check is set.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// Whether buyers need a token.
    pub fn has_admission(&self) -> bool {
        self.verifier.borrow().is_some()
    }

    /// Periodic work: takes over new settings.
    pub fn tick(&self) {
        let mut verifier = self.verifier.borrow_mut();
        let admission = self.admission.get();
        match (&mut *verifier, &*admission) {
            (None, None) => {}
            (Some(_), None) => *verifier = None,
            (None, Some(admission)) => *verifier = Some(TokenVerifier::new(admission.clone())),
            (Some(verifier), Some(admission)) => verifier.tick(admission),
        }
        let shared = &self.shared;
        let is_limited = shared.addresses.rate().is_some() || shared.users.rate().is_some();
        self.is_on.set(verifier.is_some() || is_limited);
    }

    /// Takes one purchase from this address, at this time of the core's clock.
    ///
    /// # Errors
    /// It exceeds the rate.
    pub fn check_address(&self, address: Address, now_ms: u64) -> Result<(), Limited> {
        match self.shared.addresses.take(address, now_ms) {
            Ok(forgot) => self.counts.forgotten_addresses.add(forgot.into()),
            Err(limited) => {
                self.counts.limited_addresses.add(1);
                return Err(limited);
            }
        }
        Ok(())
    }

    /// Takes one purchase of this user, at this time of the core's clock.
    ///
    /// # Errors
    /// It exceeds the rate.
    pub fn check_user(&self, user: &User, now_ms: u64) -> Result<(), Limited> {
        match self.shared.users.take(user, now_ms) {
            Ok(forgot) => self.counts.forgotten_users.add(forgot.into()),
            Err(limited) => {
                self.counts.limited_users.add(1);
                return Err(limited);
            }
        }
        Ok(())
    }

    /// Verifies a token. `None`: no token is needed.
    ///
    /// # Errors
    /// The reason why it is denied.
    pub fn admit(
        &self,
        token: Result<&[u8], Denied>,
        context: VerifyContext,
        is_good: impl FnOnce(&Pass) -> Result<(), Denied>,
    ) -> Result<Option<Rc<Pass>>, Denied> {
        let mut verifier = self.verifier.borrow_mut();
        let Some(verifier) = &mut *verifier else { return Ok(None) };
        let admitted = token.and_then(|token| verifier.admit(token, context)).and_then(|pass| {
            is_good(&pass)?;
            Ok(pass)
        });
        self.counts.checks.add(verifier.take_checks());
        match &admitted {
            Ok(_) => self.counts.admitted.add(1),
            Err(denied) => self.note_denied(*denied),
        }
        admitted.map(Some)
    }

    /// Counts a token that was denied for this request.
    pub fn note_denied(&self, denied: Denied) {
        self.counts.denied[denied.index()].add(1);
    }
}
