//! What becomes of each call of the ledger to its disk: how long it takes, whether it fails, and
//! whether the machine dies at it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use may::coroutine::{self, Coroutine};
use stampede::ledger::embedded::simulation::{Call, Errno, Fate, Hook};

use super::disk::Disk;
use super::plan::DiskFaults;
use crate::chance::Chance;
use crate::task::Turns;
use crate::time::{MS, SECOND, Us};

/// The time of a call that is not a sync is below this.
const CALL_US_MAX: Us = 40;
/// One call in so many that is not a sync takes any time: others run meanwhile.
const CALL_TAKES_ONE_IN: u64 = 4;
/// The time of a sync that hangs.
const HANG_MIN: Us = 20 * MS;
/// See [`HANG_MIN`].
const HANG_MAX: Us = 3 * SECOND;

/// How a machine dies at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Its process is killed.
    Process,
    /// It loses power.
    Machine,
}

/// A call that takes time.
struct Sleeper {
    coroutine: Coroutine,
    /// Whether its time is over.
    is_over: Rc<Cell<bool>>,
}

/// What the world is to do for a call.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    /// The number of the call.
    pub ticket: u64,
    /// How long it takes.
    pub takes: Us,
}

/// What the disk and its faults share over all lives of a server.
pub struct Machine {
    /// What is durable.
    pub disk: RefCell<Disk>,
    /// Counts of calls and faults, by name.
    pub counts: RefCell<BTreeMap<String, u64>>,
    chance: RefCell<Chance>,
    faults: Cell<DiskFaults>,
    /// Calls until the machine dies. 0: it does not.
    dies_in: Cell<u64>,
    /// Calls so far.
    calls: Cell<u64>,
    /// Whether there is no space left.
    pub is_full: Cell<bool>,
}

impl Machine {
    /// A machine with an empty disk.
    pub fn new(seed: u64, disk: Disk, faults: DiskFaults) -> Self {
        let machine = Self {
            disk: RefCell::new(disk),
            counts: RefCell::default(),
            chance: RefCell::new(Chance::of(seed, "disk calls")),
            faults: Cell::new(faults),
            dies_in: Cell::new(0),
            calls: Cell::new(0),
            is_full: Cell::new(false),
        };
        machine.choose_death();
        machine
    }

    /// Nothing goes wrong from now on.
    pub fn heal(&self) {
        let faults = self.faults.get();
        self.faults.set(DiskFaults { sync: faults.sync, ..DiskFaults::default() });
        self.dies_in.set(0);
        self.is_full.set(false);
    }

    /// Chooses at which call the machine dies, if it is to die at one.
    pub fn choose_death(&self) {
        let mean = self.faults.get().dies_in_calls;
        if mean > 0 {
            let chance = &mut *self.chance.borrow_mut();
            // Often soon: in the recovery.
            let max = if chance.one_in(2) { 40 } else { 2 * mean };
            self.dies_in.set(chance.between(1, max));
        }
    }

    /// Counts something.
    pub fn count(&self, name: &str) {
        let mut counts = self.counts.borrow_mut();
        match counts.get_mut(name) {
            Some(count) => *count += 1,
            None => _ = counts.insert(name.to_owned(), 1),
        }
    }

    /// Errors that calls had by injection.
    pub fn errors(&self) -> u64 {
        self.counts.borrow().get("fault disk error").copied().unwrap_or(0)
            + self.counts.borrow().get("fault no space").copied().unwrap_or(0)
    }

    /// Decides a call: its fate, its time, and whether the machine dies before (`Some(true)`) or
    /// after it.
    fn decide(&self, call: &Call<'_>) -> (Fate, Us, Option<bool>) {
        self.calls.set(self.calls.get() + 1);
        self.count(name_of(call));
        let (chance, faults) = (&mut *self.chance.borrow_mut(), self.faults.get());
        let dies = match self.dies_in.get() {
            0 => None,
            1 => {
                self.dies_in.set(0);
                Some(chance.one_in(2))
            }
            left => {
                self.dies_in.set(left - 1);
                None
            }
        };
        let (low, high) = faults.sync;
        let takes = match call {
            Call::SyncData(_) | Call::Sync(_) | Call::SyncFolder(_) => {
                let hangs = faults.hang_one_in > 0 && chance.one_in(faults.hang_one_in);
                match hangs {
                    true => chance.spread(HANG_MIN, HANG_MAX),
                    false => chance.spread(low, high),
                }
            }
            _ if chance.one_in(CALL_TAKES_ONE_IN) => chance.below(CALL_US_MAX),
            _ => 0,
        };
        (self.fate(chance, faults, call), takes, dies)
    }

    fn fate(&self, chance: &mut Chance, faults: DiskFaults, call: &Call<'_>) -> Fate {
        let needs_space = match call {
            Call::Create(_) | Call::Allocate(..) | Call::Mkdir(_) => true,
            // The journal writes into space that it has, which helps on most file systems.
            Call::Write { file, .. } => {
                file.metadata().is_ok_and(|file| file.len() == 0) || chance.one_in(8)
            }
            _ => false,
        };
        if needs_space && self.is_full.get() {
            self.count("fault no space");
            return Fate::Fail(Errno::NOSPC);
        }
        if faults.fail_one_in > 0 && chance.one_in(faults.fail_one_in) {
            self.count("fault disk error");
            let errno = match call {
                Call::Write { .. } | Call::Allocate(..) if chance.one_in(3) => Errno::NOSPC,
                _ => Errno::IO,
            };
            let is_sync = matches!(call, Call::SyncData(_) | Call::Sync(_));
            if is_sync {
                self.count("fault failed sync");
            }
            return match chance.one_in(3) {
                true => Fate::DoAndFail(errno),
                false => Fate::Fail(errno),
            };
        }
        if let Call::Write { bytes, .. } = call
            && bytes.len() > 1
            && faults.short_one_in > 0
            && chance.one_in(faults.short_one_in)
        {
            self.count("fault short write");
            return Fate::Short(chance.between(1, bytes.len() as u64 - 1) as usize);
        }
        Fate::Do
    }
}

/// The calls of one process to its disk.
pub struct Calls {
    machine: Rc<Machine>,
    turns: Turns,
    is_dead: Cell<bool>,
    /// How it wants to die.
    death: Cell<Option<Death>>,
    tickets: Cell<u64>,
    sleepers: RefCell<BTreeMap<u64, Sleeper>>,
    timers: RefCell<Vec<Timer>>,
}

impl Calls {
    /// Those of a process that begins.
    pub fn new(machine: Rc<Machine>, turns: Turns) -> Self {
        Self {
            machine,
            turns,
            is_dead: Cell::new(false),
            death: Cell::new(None),
            tickets: Cell::new(0),
            sleepers: RefCell::default(),
            timers: RefCell::default(),
        }
    }

    /// The process has ended: nothing that it does reaches the disk any more.
    pub fn kill(&self) {
        self.is_dead.set(true);
        for sleeper in std::mem::take(&mut *self.sleepers.borrow_mut()).into_values() {
            sleeper.is_over.set(true);
            sleeper.coroutine.unpark();
        }
    }

    /// Whether it has ended.
    pub fn is_dead(&self) -> bool {
        self.is_dead.get()
    }

    /// How the machine dies, if it does at a call that was made.
    pub fn take_death(&self) -> Option<Death> {
        self.death.take()
    }

    /// Takes the calls that have begun to take time.
    pub fn take_timers(&self) -> Vec<Timer> {
        std::mem::take(&mut *self.timers.borrow_mut())
    }

    /// The time of a call is over. It goes on when the driver settles.
    pub fn time_is_over(&self, ticket: u64) {
        if let Some(sleeper) = self.sleepers.borrow_mut().remove(&ticket) {
            sleeper.is_over.set(true);
            sleeper.coroutine.unpark();
        }
    }

    /// Suspends the calling coroutine for this time, or until the process has ended.
    fn sleep(&self, takes: Option<Us>) {
        let ticket = self.tickets.get() + 1;
        self.tickets.set(ticket);
        let is_over = Rc::new(Cell::new(false));
        let sleeper = Sleeper { coroutine: coroutine::current(), is_over: is_over.clone() };
        self.sleepers.borrow_mut().insert(ticket, sleeper);
        if let Some(takes) = takes {
            self.timers.borrow_mut().push(Timer { ticket, takes });
        }
        while !is_over.get() {
            coroutine::park();
            self.turns.note();
        }
    }

    /// The machine dies here.
    fn die(&self) {
        let death = match self.machine.chance.borrow_mut().one_in(2) {
            true => Death::Process,
            false => Death::Machine,
        };
        self.death.set(Some(death));
        self.sleep(None);
    }
}

thread_local! {
    /// Whether the machine dies after the call that is being made.
    static DIES_AFTER: Cell<bool> = const { Cell::new(false) };
}

impl Hook for Calls {
    fn call(&self, call: &Call<'_>) -> Fate {
        const DEAD: Fate = Fate::Fail(Errno::IO);
        if self.is_dead() {
            return DEAD;
        }
        let (fate, takes, dies) = self.machine.decide(call);
        if takes > 0 {
            self.sleep(Some(takes));
        }
        if dies == Some(true) && !self.is_dead() {
            self.die();
        }
        if self.is_dead() {
            return DEAD;
        }
        DIES_AFTER.set(dies == Some(false));
        if let Fate::Fail(_) = fate {
            self.machine.disk.borrow_mut().failed(call);
        }
        fate
    }

    fn done(&self, call: &Call<'_>) {
        self.machine.disk.borrow_mut().done(call);
        if DIES_AFTER.take() {
            self.die();
        }
    }
}

/// The name under which a call is counted.
fn name_of(call: &Call<'_>) -> &'static str {
    match call {
        Call::Mkdir(_) => "disk mkdir",
        Call::Create(_) => "disk create",
        Call::OpenLock(_) => "disk open lock",
        Call::Write { .. } => "disk write",
        Call::SyncData(_) => "disk sync data",
        Call::Sync(_) => "disk sync",
        Call::SyncFolder(_) => "disk sync folder",
        Call::Rename(..) => "disk rename",
        Call::Rmdir(_) => "disk rmdir",
        Call::Unlink(_) => "disk unlink",
        Call::Truncate(..) => "disk truncate",
        Call::Allocate(..) => "disk allocate",
        Call::Chmod(_) => "disk chmod",
    }
}

/// The names of the calls that a server makes. Only a backup removes folders.
pub const CALLS: [&str; 12] = [
    "disk mkdir",
    "disk create",
    "disk open lock",
    "disk write",
    "disk sync data",
    "disk sync",
    "disk sync folder",
    "disk rename",
    "disk unlink",
    "disk truncate",
    "disk allocate",
    "disk chmod",
];
