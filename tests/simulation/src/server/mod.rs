//! A server: its cores, and when they run. Its sweep is beside it, as operators are.
//!
//! Not here yet: the keeper of the lease.

mod client;
mod core;
mod link;
mod redis;
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use stampede::limits::STOCK_BUFFER_PERCENT;
use stampede::purchase::Selling;
use stampede::queue_limits::QueueLimits;

pub use self::client::{Client, Notified};
pub use self::core::{Core, Shared, Step};
pub use self::link::Link;
pub use self::wire::{Incoming, Outgoing};
use crate::embedded::Way;
use crate::names::CoreId;
use crate::plan::Plan;
use crate::task::Turns;
use crate::time::{Clocks, Us};

/// A server, running or not.
pub struct Server {
    /// Its number, from 0.
    pub number: usize,
    /// How often it has started.
    pub start: u32,
    /// The clocks of its machine.
    pub clocks: Clocks,
    /// Its cores. Empty: it is not running.
    pub cores: Vec<Core>,
    /// What the cores ask its sweep.
    pub notified: Rc<Notified>,
}

impl Server {
    /// A server that is not running yet.
    pub fn new(number: usize) -> Self {
        Self {
            number,
            start: 0,
            clocks: Clocks::new(0),
            cores: Vec::new(),
            notified: Rc::default(),
        }
    }

    /// Whether it is running.
    pub fn is_up(&self) -> bool {
        !self.cores.is_empty()
    }

    /// The core of this name, if that start of the server is running.
    pub fn core(&mut self, id: CoreId) -> Option<&mut Core> {
        if id.start == self.start { self.cores.get_mut(id.core) } else { None }
    }

    /// Starts it. `way`: to the embedded ledger, if there is one.
    pub fn start(&mut self, seed: u64, plan: &Plan, now: Us, turns: &Turns, way: Option<Way>) {
        assert!(!self.is_up(), "server {} is running", self.number);
        self.start += 1;
        self.clocks.begin_process(now);
        self.notified = Rc::default();
        let selling =
            Arc::new(Selling::new(plan.cores, plan.stock, STOCK_BUFFER_PERCENT, Arc::default()));
        // What the leases of the others would tell it.
        selling.fleet.set_cores((plan.servers * plan.cores) as u64);
        let queue_limits = Arc::new(QueueLimits::new(plan.waiting_max, plan.deadline_ms));
        for core in 0..plan.cores {
            let id = CoreId { server: self.number, start: self.start, core };
            let shared = Shared {
                selling: selling.clone(),
                queue_limits: queue_limits.clone(),
                way: way.clone(),
                notified: self.notified.clone(),
            };
            self.cores.push(Core::start(seed, id, shared, now, &self.clocks, turns));
        }
    }

    /// Takes its cores: it has crashed, and they are to be [ended](Core::crash).
    pub fn crash(&mut self) -> Vec<Core> {
        std::mem::take(&mut self.cores)
    }
}
