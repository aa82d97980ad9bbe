//! What stands before a purchase: how often an address and a user may buy, and whose token admits them.
//!
//! The limits are shared by the cores. Each core has a [`Turnstile`] of its own with the tokens that it
//! has verified; it takes new keys over at its next tick. While neither limits nor admission are set, a
//! purchase asks one question of it ([`Turnstile::is_on`]) and no more.
//!
//! Architecture invariant: knows no HTTP and no ledger. It says who may pass; whoever asks it answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::admission::{Admission, Denied, Door, Pass, Visitor};
use crate::config::Config;
use crate::count::Counter;
use crate::engine::addresses::Address;
use crate::limiter::{Limited, Limiter};
use crate::renewed::{Copy, Renewed};
use crate::sale::User;

/// What all cores share of it.
pub struct SharedTurnstile {
    admission: Arc<Renewed<Option<Arc<Admission>>>>,
    addresses: Limiter,
    users: Limiter,
    /// What each core counts.
    pub counts: Box<[Arc<TurnstileCounts>]>,
}

/// What one core counts of those who want to pass.
#[derive(Debug, Default)]
pub struct TurnstileCounts {
    /// Purchases that came too soon from their address.
    pub limited_addresses: Counter,
    /// Purchases that came too soon for their user.
    pub limited_users: Counter,
    /// Addresses that were forgotten for others before their time.
    pub forgotten_addresses: Counter,
    /// The same of users.
    pub forgotten_users: Counter,
    /// Tokens that admitted somebody.
    pub admitted: Counter,
    /// Tokens that admitted nobody, by [`Denied::index`].
    pub denied: [Counter; Denied::NAMES.len()],
    /// Signatures that were checked.
    pub checks: Counter,
}

impl SharedTurnstile {
    /// As these settings say.
    pub fn of(config: &Config) -> Self {
        let shared = Self::open(config.cores.len());
        shared.change(config);
        shared
    }

    /// For so many cores, with nothing that stops anybody.
    pub fn open(cores: usize) -> Self {
        Self {
            admission: Arc::new(Renewed::new(None)),
            addresses: Limiter::default(),
            users: Limiter::default(),
            counts: (0..cores).map(|_| Arc::default()).collect(),
        }
    }

    /// From now on as these settings say.
    pub fn change(&self, config: &Config) {
        self.addresses.set(config.rate_per_address);
        self.users.set(config.rate_per_user);
        self.admission.set(config.admission.as_ref().map(|setting| setting.admission.clone()));
    }
}

/// What one core has of it.
pub struct Turnstile {
    shared: Arc<SharedTurnstile>,
    counts: Arc<TurnstileCounts>,
    admission: Copy<Option<Arc<Admission>>>,
    door: RefCell<Option<Door>>,
    is_on: Cell<bool>,
}

impl Turnstile {
    /// That of the core of this number.
    pub fn new(core: usize, shared: Arc<SharedTurnstile>) -> Self {
        let turnstile = Self {
            counts: shared.counts[core].clone(),
            admission: Copy::of(shared.admission.clone()),
            door: RefCell::default(),
            is_on: Cell::new(false),
            shared,
        };
        turnstile.tick();
        turnstile
    }

    /// Whether anything is asked of those who buy.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.is_on.get()
    }

    /// Whether buyers need a token.
    pub fn has_admission(&self) -> bool {
        self.door.borrow().is_some()
    }

    /// What is done at regular times: takes over what has changed.
    pub fn tick(&self) {
        let mut door = self.door.borrow_mut();
        let admission = self.admission.get();
        match (&mut *door, &*admission) {
            (None, None) => {}
            (Some(_), None) => *door = None,
            (None, Some(admission)) => *door = Some(Door::new(admission.clone())),
            (Some(door), Some(admission)) => door.tick(admission),
        }
        let shared = &self.shared;
        let is_limited = shared.addresses.rate().is_some() || shared.users.rate().is_some();
        self.is_on.set(door.is_some() || is_limited);
    }

    /// A purchase from this address, at this time of the core's clock.
    ///
    /// # Errors
    /// It comes too soon.
    pub fn pass_address(&self, address: Address, now_ms: u64) -> Result<(), Limited> {
        match self.shared.addresses.take(address, now_ms) {
            Ok(forgot) => self.counts.forgotten_addresses.add(forgot.into()),
            Err(limited) => {
                self.counts.limited_addresses.add(1);
                return Err(limited);
            }
        }
        Ok(())
    }

    /// A purchase of this user, at this time of the core's clock.
    ///
    /// # Errors
    /// It comes too soon.
    pub fn pass_user(&self, user: &User, now_ms: u64) -> Result<(), Limited> {
        match self.shared.users.take(user, now_ms) {
            Ok(forgot) => self.counts.forgotten_users.add(forgot.into()),
            Err(limited) => {
                self.counts.limited_users.add(1);
                return Err(limited);
            }
        }
        Ok(())
    }

    /// Whom a token admits. `None`: no token is needed.
    ///
    /// # Errors
    /// It admits nobody.
    pub fn admit(
        &self,
        token: Result<&[u8], Denied>,
        visitor: Visitor,
        is_good: impl FnOnce(&Pass) -> Result<(), Denied>,
    ) -> Result<Option<Rc<Pass>>, Denied> {
        let mut door = self.door.borrow_mut();
        let Some(door) = &mut *door else { return Ok(None) };
        let admitted = token.and_then(|token| door.admit(token, visitor)).and_then(|pass| {
            is_good(&pass)?;
            Ok(pass)
        });
        self.counts.checks.add(door.take_checks());
        match &admitted {
            Ok(_) => self.counts.admitted.add(1),
            Err(denied) => self.note_denied(*denied),
        }
        admitted.map(Some)
    }

    /// A token admits nobody to what was asked.
    pub fn note_denied(&self, denied: Denied) {
        self.counts.denied[denied.index()].add(1);
    }
}
