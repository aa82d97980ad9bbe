//! The embedded ledger on a simulated machine: the real journal, snapshots, compaction, recovery,
//! turns and links, on a disk that may lose, tear and refuse what is written.

mod disk;
mod hook;
mod link;
mod plan;
mod process;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::chance::Chance;
use crate::task::Turns;
use crate::time::Us;

pub use self::disk::{Disk, remove_of};
pub use self::hook::{CALLS, Death, Machine};
pub use self::link::{Link, Way};
pub use self::plan::{DOWN_MAX, DOWN_MIN, EmbeddedPlan};
pub use self::process::{Deed, Opened, Process, Times, unread};

/// The ledger of a run, over all lives of its server.
pub struct Embedded {
    /// Its machine.
    pub machine: Rc<Machine>,
    /// The clocks of that.
    pub times: Arc<Times>,
    /// Its present life.
    pub process: Option<Process>,
    /// How often it has begun to open the folder.
    pub life: u32,
    /// Something was sent to it since its last turn.
    pub has_mail: bool,
    /// When its next turn is. `Us::MAX`: none is scheduled.
    pub next_turn: Us,
    /// Somebody will end it, since it has failed.
    pub is_doomed: bool,
    /// Errors that the disk had before this life.
    pub errors_before: u64,
    plan: EmbeddedPlan,
    /// The state of the stream from which its random numbers are drawn.
    pub stream: u64,
}

impl Embedded {
    /// A machine without a ledger.
    ///
    /// # Panics
    /// There is no place for its disk.
    pub fn new(seed: u64, plan: EmbeddedPlan) -> Self {
        let disk =
            Disk::new(seed, plan.disk.sector_bytes).expect("a folder for the simulated disk");
        Self {
            machine: Rc::new(Machine::new(seed, disk, plan.disk)),
            times: Arc::default(),
            process: None,
            life: 0,
            has_mail: false,
            next_turn: Us::MAX,
            is_doomed: false,
            errors_before: 0,
            plan,
            stream: Chance::of(seed, "ledger").next(),
        }
    }

    /// Begins to open the folder.
    pub fn start(&mut self, turns: &Turns) {
        self.life += 1;
        (self.has_mail, self.next_turn, self.is_doomed) = (false, Us::MAX, false);
        self.errors_before = self.machine.errors();
        self.machine.choose_death();
        let changes = self.plan.compaction_changes_min;
        self.process = Some(Process::start(&self.machine, turns, &self.times, changes));
    }

    /// What it has counted.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = self.machine.counts.borrow().clone();
        counts.insert("fault torn write".to_owned(), self.machine.disk.borrow().torn);
        counts
    }
}
