//! One life of the ledger: the real store and the real turns of its thread, in a coroutine, from
//! the opening of the data folder to its end.
//!
//! Each call to the disk may suspend it, and the compaction beside it, for the time that the call
//! takes. So whatever happens to the machine may happen between any two calls.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use may::coroutine::{self, Coroutine};
use stampede::clock::SteadyClock;
use stampede::ledger::embedded::simulation::{
    Background, Witness, by_hand, set_background, set_hook,
};
use stampede::ledger::embedded::{Job, OpenError, Options, Store};
use stampede::ledger::{Batch, BatchReply, Group, LedgerError};
use stampede::sale::{Machine as Sale, SaleId};

use super::hook::{Calls, Machine};
use super::link::Way;
use crate::oracle::{Committed, Counts, Returned};
use crate::task::{Ctx, Task, Turns};
use crate::time::{Clocks, MS, Us};

/// The clocks of the ledger's machine.
#[derive(Default)]
pub struct Times {
    wall_ms: AtomicU64,
    boot_ms: AtomicU64,
    /// The ledger's time plus this is the time since the machine started.
    ahead_ms: AtomicI64,
    is_frozen: std::sync::atomic::AtomicBool,
}

impl Times {
    /// Sets both clocks.
    pub fn set(&self, now: Us, clocks: &Clocks) {
        if !self.is_frozen.load(Ordering::Relaxed) {
            self.wall_ms.store(clocks.wall_ms(now), Ordering::Relaxed);
            self.boot_ms.store(now / MS, Ordering::Relaxed);
        }
    }

    /// From now on no time passes.
    pub fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
    }

    /// The time of the ledger, as of the last [`set`](Self::set).
    pub fn ledger_now_ms(&self) -> u64 {
        let boot_ms = self.boot_ms.load(Ordering::Relaxed);
        boot_ms.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed))
    }
}

/// A ledger that has opened its folder.
pub struct Opened {
    /// The number of its last record.
    pub version: u64,
    /// Its sales.
    pub sales: BTreeMap<SaleId, Sale>,
    /// The way to it.
    pub way: Way,
}

/// What a ledger did, in order.
pub enum Deed {
    /// A commit.
    Committed(Committed),
    /// An expiry.
    Returned(Returned),
}

/// What the coroutine and the world share.
#[derive(Default)]
struct Shared {
    opened: RefCell<Option<Result<Opened, OpenError>>>,
    deeds: RefCell<Vec<Deed>>,
    /// It is to take a turn.
    is_due: Cell<bool>,
    /// It is to close the folder.
    closes: Cell<bool>,
    /// It waits for its turn.
    is_idle: Cell<bool>,
    /// How long it would wait for a message.
    waits: Cell<Us>,
    has_failed: Cell<bool>,
}

/// See the module's header.
pub struct Process {
    task: Task,
    calls: Rc<Calls>,
    shared: Rc<Shared>,
    turns: Turns,
    /// The way to it, once it has opened the folder.
    pub way: Option<Way>,
}

impl Process {
    /// Starts to open the folder.
    pub fn start(
        machine: &Rc<Machine>,
        turns: &Turns,
        times: &Arc<Times>,
        compaction_changes_min: u64,
    ) -> Self {
        let calls = Rc::new(Calls::new(machine.clone(), turns.clone()));
        set_hook(Some(calls.clone()));
        set_background(Some(Rc::new(Folds { turns: turns.clone(), waits: Rc::default() })));
        let shared = Rc::<Shared>::default();
        let life = Life {
            machine: machine.clone(),
            calls: calls.clone(),
            shared: shared.clone(),
            times: times.clone(),
            options: Options { compaction_changes_min },
        };
        let task = Task::spawn(turns, move |ctx| life.live(ctx));
        Self { task, calls, shared, turns: turns.clone(), way: None }
    }

    /// Its calls to the disk.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What came of opening the folder, once.
    pub fn take_opened(&self) -> Option<Result<Opened, OpenError>> {
        self.shared.opened.borrow_mut().take()
    }

    /// Takes what it did since the last time.
    pub fn take_deeds(&self) -> Vec<Deed> {
        std::mem::take(&mut *self.shared.deeds.borrow_mut())
    }

    /// Lets it take a turn, when the driver settles, if it waits for one. Returns whether it does.
    pub fn take_turn(&self) -> bool {
        let is_idle = self.shared.is_idle.get();
        if is_idle {
            self.shared.is_due.set(true);
            self.task.wake();
        }
        is_idle
    }

    /// How long it waits for a message, if it waits.
    pub fn waits(&self) -> Option<Us> {
        (self.shared.is_idle.get() && !self.shared.closes.get()).then(|| self.shared.waits.get())
    }

    /// Whether it commits nothing any more.
    pub fn has_failed(&self) -> bool {
        self.shared.has_failed.get()
    }

    /// Lets it close the folder, when the driver settles.
    pub fn close(&self) {
        self.shared.closes.set(true);
        self.task.wake();
    }

    /// Whether it is closing the folder.
    pub fn is_closing(&self) -> bool {
        self.shared.closes.get()
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.has_ended()
    }

    /// Ends it: its process is killed. Returns whether it has ended.
    pub fn kill(&self) -> bool {
        self.calls.kill();
        self.task.end();
        for _ in 0..1_000 {
            if self.has_ended() {
                break;
            }
            self.turns.settle();
        }
        self.has_ended()
    }
}

/// What the coroutine has.
struct Life {
    machine: Rc<Machine>,
    calls: Rc<Calls>,
    shared: Rc<Shared>,
    times: Arc<Times>,
    options: Options,
}

impl Life {
    fn live(self, ctx: &Ctx) {
        let Self { machine, calls, shared, times, options } = self;
        let folder = machine.disk.borrow().data_folder();
        let store = match Store::open(&folder, options) {
            Ok(store) => store,
            Err(error) => {
                *shared.opened.borrow_mut() = Some(Err(error));
                return;
            }
        };
        let sales = store.machines().map(|(id, sale)| (id.clone(), sale.clone())).collect();
        let (version, last_ms) = (store.version(), store.now_ms());
        let (wall, boot) = (times.clone(), times.clone());
        let clock = SteadyClock::with(
            last_ms,
            move || wall.wall_ms.load(Ordering::Relaxed),
            move || boot.boot_ms.load(Ordering::Relaxed),
        );
        let start_ms = last_ms.max(times.wall_ms.load(Ordering::Relaxed));
        let ahead_ms = start_ms as i64 - times.boot_ms.load(Ordering::Relaxed) as i64;
        times.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        let recorder = Recorder {
            machine: machine.clone(),
            calls: calls.clone(),
            shared: shared.clone(),
            times,
            version,
            was_compacting: false,
        };
        let (handle, mut stepped) = by_hand(store, clock, Box::new(recorder));
        let way = Way { handle, answered: Arc::default() };
        *shared.opened.borrow_mut() = Some(Ok(Opened { version, sales, way }));
        loop {
            shared.waits.set(stepped.wait().as_micros() as Us);
            shared.has_failed.set(stepped.has_failed());
            shared.is_idle.set(true);
            let waited = ctx.wait(|| (shared.is_due.take() || shared.closes.get()).then_some(()));
            shared.is_idle.set(false);
            if waited.is_err() || calls.is_dead() {
                return stepped.abandon();
            }
            stepped.turn();
            if calls.is_dead() {
                return stepped.abandon();
            }
            if shared.closes.get() {
                return stepped.close();
            }
        }
    }
}

/// Notes what the ledger did, before it answers.
struct Recorder {
    machine: Rc<Machine>,
    calls: Rc<Calls>,
    shared: Rc<Shared>,
    times: Arc<Times>,
    /// The number of the last record.
    version: u64,
    was_compacting: bool,
}

impl Recorder {
    /// The number of the record that was written, or that may have been. `None`: there was none.
    fn record(&mut self, store: &Store, is_lost: bool) -> Option<u64> {
        let before = std::mem::replace(&mut self.version, store.version());
        if is_lost {
            return Some(store.version() + 1);
        }
        (store.version() > before).then_some(store.version())
    }

    fn note_compaction(&mut self, store: &Store) {
        let is_compacting = store.is_compacting();
        if is_compacting && !self.was_compacting {
            self.machine.count("compaction");
        }
        self.was_compacting = is_compacting;
    }
}

impl Witness for Recorder {
    fn committed(
        &mut self,
        store: &Store,
        batches: &[Batch],
        result: Result<&[BatchReply], &LedgerError>,
    ) {
        self.note_compaction(store);
        let is_dead = self.calls.is_dead();
        if matches!(result, Err(LedgerError::Refused(_))) {
            self.machine.count("refused commit");
            return;
        }
        let record = self.record(store, result.is_err());
        if result.is_err() {
            self.machine.count("lost commit");
        }
        if is_dead && record.is_none() {
            return;
        }
        let groups: Vec<Group> = batches.iter().flat_map(|batch| &batch.groups).cloned().collect();
        let replies = match result {
            Ok(replies) if !is_dead => Some(replies.iter().flatten().cloned().collect()),
            _ => None,
        };
        let counts = groups.iter().map(|group| counts_of(&group.sale, store)).collect();
        let is_durable = self.machine.disk.borrow().journal_is_durable();
        self.shared.deeds.borrow_mut().push(Deed::Committed(Committed {
            now_ms: store.now_ms(),
            clock_ms: self.times.ledger_now_ms(),
            record,
            groups,
            replies,
            counts,
            is_durable,
        }));
    }

    fn expired(&mut self, store: &Store, result: Result<(), &LedgerError>) {
        self.note_compaction(store);
        let is_refused = matches!(result, Err(LedgerError::Refused(_)));
        let record = match is_refused {
            true => None,
            false => self.record(store, result.is_err()),
        };
        let is_heard = result.is_ok() && !self.calls.is_dead();
        let counts = match record {
            Some(_) => store.machines().map(|(id, _)| counts_of(id, store)).collect(),
            None => Vec::new(),
        };
        self.shared.deeds.borrow_mut().push(Deed::Returned(Returned {
            now_ms: store.now_ms(),
            clock_ms: self.times.ledger_now_ms(),
            record,
            is_heard,
            is_durable: self.machine.disk.borrow().journal_is_durable(),
            counts,
        }));
    }
}

fn counts_of(id: &SaleId, store: &Store) -> Counts {
    let units = store.machine(id).map(|machine| {
        let view = machine.view();
        (view.spec.total, view.held, view.confirmed)
    });
    Counts { sale: id.clone(), units }
}

/// Runs compactions, each in a coroutine.
struct Folds {
    turns: Turns,
    /// The coroutine that waits for one to end.
    waits: Rc<RefCell<Option<Coroutine>>>,
}

impl Background for Folds {
    fn start(&self, work: Box<dyn FnOnce()>) {
        let waits = self.waits.clone();
        Task::spawn(&self.turns, move |_| {
            work();
            if let Some(coroutine) = waits.take() {
                coroutine.unpark();
            }
        });
    }

    fn wait(&self, is_finished: &dyn Fn() -> bool) {
        while !is_finished() {
            *self.waits.borrow_mut() = Some(coroutine::current());
            coroutine::park();
            self.turns.note();
        }
    }
}

/// A batch whose answer nobody reads.
pub fn unread(groups: Vec<Group>) -> Job {
    Job::new(Batch { groups }, Box::new(|_| ()))
}
