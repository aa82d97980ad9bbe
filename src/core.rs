//! One core: a pinned `may` worker, its gate, and the coroutines that share its work.
//!
//! The workers of a core are stackful coroutines of which one *leads*: it takes events from the
//! gate and serves the connections they belong to. A request that needs no answer from the ledger
//! is served from read to write without a switch. A request that does suspends its coroutine; the
//! lead then passes to a spare one, so the core goes on. The suspended one finishes its connection
//! when its answer is back and becomes a spare again. So a coroutine's stack is held only while a
//! request waits, and an idle connection has none.
//!
//! Architecture invariant: what a [`Core`] owns is touched by its own worker thread only. Other
//! threads reach it through its [`Mailbox`] or through atomics that [`Shared`] holds. No borrow of
//! a core's state may live across a suspension.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crossbeam_utils::CachePadded;
use may::coroutine::{self, Coroutine};
use rustix::event::{EventfdFlags, eventfd};

use crate::clock::Clock;
use crate::config::Config;
use crate::connection::{self, Connections};
use crate::gate::{Gate, Source};
use crate::handler::Responses;
use crate::http::HttpDate;
use crate::ledger::batch::Batcher;
use crate::ledger::refused::RefusedSales;
use crate::ledger::{BatchReply, LedgerError};
use crate::limits::{
    LEDGER_LOOK_INTERVAL_US, OUT_BUFFER_BYTES_MAX, READ_BUFFER_BYTES, SPARE_COROUTINES, STACK_BYTES,
};
use crate::listener::Listeners;
use crate::purchase::{IdSource, Sales, Settler};
use crate::server::{Event, LinkState};
use crate::stat_log::StatLogBuffer;
use crate::stock::{Fleet, Shards};

/// What the cores of an instance share: settings, and counters that each core writes on a cache
/// line of its own.
pub struct Shared {
    /// The validated configuration.
    pub config: Config,
    /// Connections the instance may have open, over all cores.
    pub connections_max: usize,
    /// Worker coroutines that one core may have.
    pub workers_max: usize,
    /// Connections open now that have a place.
    pub connections: CachePadded<AtomicUsize>,
    /// Connections open now that have none and are being told so.
    pub refused: CachePadded<AtomicUsize>,
    /// Set when the server is about to end: it is not ready, and closes each connection after its
    /// next answer, but still takes new ones. It stays set when it drains.
    pub leaving: AtomicBool,
    /// Set when the server drains: no new connection, no further request.
    pub draining: AtomicBool,
    /// Cores whose link to the ledger carries batches.
    pub ledger_up: Box<[AtomicBool]>,
    /// Accepted connections that are on their way to another core.
    pub handed: CachePadded<AtomicUsize>,
    /// Grants by core, for `stat.log`.
    pub grants: Box<[CachePadded<AtomicU64>]>,
    /// Ticks by core: a core whose number stands still is stuck.
    pub ticks: Box<[CachePadded<AtomicU64>]>,
    /// The allowances of the sales, by sale id.
    pub allowances: Mutex<hashbrown::HashMap<String, Arc<Shards>>>,
    /// What the allowances are shares of.
    pub fleet: Arc<Fleet>,
    /// The sales that the ledger refuses for what is stored of them.
    pub refused_sales: Arc<RefusedSales>,
    /// One mailbox a core.
    pub mailboxes: Box<[Mailbox]>,
    /// What the main thread hears.
    pub events: Sender<Event>,
}

impl Shared {
    /// Grants of this instance so far.
    pub fn grants_total(&self) -> u64 {
        self.grants.iter().map(|grants| grants.load(Ordering::Relaxed)).sum()
    }

    /// What this instance may still ask for, over all sales that it was asked for.
    pub fn allowance_left(&self) -> u64 {
        lock(&self.allowances).values().map(|shards| shards.left()).sum()
    }

    /// Whether any core reaches the ledger.
    pub fn ledger_is_up(&self) -> bool {
        self.ledger_up.iter().any(|up| up.load(Ordering::Relaxed))
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.mailboxes.len()
    }

    /// Where a connection is counted: one that waits for its refusal takes nobody's place.
    pub fn counter(&self, admitted: bool) -> &AtomicUsize {
        if admitted { &self.connections } else { &self.refused }
    }
}

/// A message to a core from another thread.
pub type Message = Box<dyn FnOnce(&'static Core) + Send>;

/// How other threads reach a core: a list of messages and a descriptor that wakes the core.
pub struct Mailbox {
    messages: Mutex<Vec<Message>>,
    /// Watched by the core.
    pub wakeup: OwnedFd,
}

impl Mailbox {
    /// An empty mailbox.
    pub fn new() -> io::Result<Self> {
        let wakeup = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { messages: Mutex::default(), wakeup })
    }

    /// Leaves a message and wakes the core. The messages are bounded: the ledger (one answer for the
    /// one batch in flight), the server (drain), a primary that was replaced, and connections that have
    /// their place already.
    pub fn send(&self, message: Message) {
        lock(&self.messages).push(message);
        // A full counter means that the core has been woken already.
        let _ = rustix::io::write(&self.wakeup, &1u64.to_ne_bytes());
    }

    /// Takes the messages.
    pub fn take(&self) -> Vec<Message> {
        let _ = rustix::io::read(&self.wakeup, &mut [0u8; 8]);
        std::mem::take(&mut lock(&self.messages))
    }
}

/// Locks what is always left in order, also by a thread that panicked while holding it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One core's state. See the module's header.
pub struct Core {
    /// Number of the core within this instance, from 0.
    pub index: usize,
    /// What all cores share.
    pub shared: Arc<Shared>,
    /// Its clock.
    pub clock: Clock,
    /// Its descriptors.
    pub gate: Gate,
    /// Its connections.
    pub connections: RefCell<Connections>,
    /// Its ledger queue.
    pub batcher: Batcher,
    /// What it knows of the sales.
    pub sales: Sales,
    /// The current date, as a header value.
    pub date: RefCell<HttpDate>,
    /// Makes reservation ids.
    pub ids: RefCell<IdSource>,
    /// Lines for `stat.log`, if there is one.
    pub stat_log: RefCell<Option<StatLogBuffer>>,
    /// Its listening sockets.
    pub listeners: Listeners,
    /// Responses that are the same for everybody.
    pub responses: Responses,
    /// Wakes the link when what it waits for has come by mail.
    pub ledger_signal: Rc<Source>,
    /// The embedded ledger's answer to the batch in flight.
    pub ledger_answer: RefCell<Option<Result<BatchReply, LedgerError>>>,
    buffers: RefCell<Vec<Vec<u8>>>,
    leader: Cell<u64>,
    workers_made: Cell<u64>,
    workers: Cell<usize>,
    short_until_ms: Cell<u64>,
    spares: RefCell<Vec<(u64, Coroutine)>>,
    /// Fewest spares there were since the last tick.
    spares_idle: Cell<usize>,
    /// The spare that is to end, by its number. 0: none.
    dismissed: Cell<u64>,
    thread: ThreadId,
    /// Events since the last look at the ledger, and when that was.
    events_served: Cell<u32>,
    looked_at: Cell<Instant>,
}

/// Events that are served for each answered request that goes on within a round.
const EVENTS_PER_ANSWER: u32 = 2;
/// Events after which the time is read, to see whether the ledger is to be looked at.
const EVENTS_PER_CLOCK_READ: u32 = 4;
/// Time after which it is.
const LOOK_INTERVAL: Duration = Duration::from_micros(LEDGER_LOOK_INTERVAL_US);

/// Sizes of buffers that are kept for reuse; others are given back to the allocator.
const KEPT_BYTES: RangeInclusive<usize> = READ_BUFFER_BYTES..=2 * OUT_BUFFER_BYTES_MAX;
/// Pause after a coroutine could not be started, in which no other is tried: to fail is dear, and
/// is logged each time.
const MEMORY_PAUSE_MS: u64 = 50;
/// Buffers a core keeps for reuse.
const SPARE_BUFFERS: usize = 32;

impl Core {
    /// Makes the core of the calling worker thread.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        stat_log: Option<StatLogBuffer>,
    ) -> io::Result<Self> {
        let config = &shared.config;
        let gate = Gate::new(index, shared.cores())?;
        Ok(Self {
            index,
            clock: Clock::default(),
            ledger_signal: gate.signal(),
            ledger_answer: RefCell::default(),
            gate,
            listeners: Listeners::default(),
            responses: Responses::default(),
            connections: RefCell::default(),
            batcher: Batcher::new(config.waiting_max, config.ledger_timeout_ms),
            sales: Sales::default(),
            date: RefCell::new(HttpDate::new(0)),
            ids: RefCell::default(),
            stat_log: RefCell::new(stat_log),
            buffers: RefCell::default(),
            leader: Cell::new(0),
            workers_made: Cell::new(0),
            workers: Cell::new(0),
            short_until_ms: Cell::new(0),
            spares: RefCell::default(),
            spares_idle: Cell::new(0),
            dismissed: Cell::new(0),
            thread: thread::current().id(),
            events_served: Cell::new(0),
            looked_at: Cell::new(Instant::now()),
            shared,
        })
    }

    /// Whether the answer to a request is the last one on its connection: the server ends soon.
    pub fn leaving(&self) -> bool {
        self.shared.leaving.load(Ordering::Relaxed)
    }

    /// Whether the server drains.
    pub fn draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// In debug builds: fails unless called on this core's own thread.
    pub fn assert_here(&self) {
        debug_assert_eq!(
            thread::current().id(),
            self.thread,
            "core {} left its thread",
            self.index
        );
    }

    /// An empty buffer that one read can fill.
    pub fn take_buffer(&self) -> Vec<u8> {
        let spare = self.buffers.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Gives a buffer back.
    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE_BUFFERS && KEPT_BYTES.contains(&buffer.capacity()) {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Reads the clocks, and what follows from them.
    pub fn refresh_clock(&self) {
        self.clock.refresh();
        self.date.borrow_mut().update(self.clock.wall_ms() / 1000);
    }

    /// To be called between two events of a round. A round of hundreds takes milliseconds: now and
    /// then the ledger's answers are taken in meanwhile, and what waits for it is sent.
    fn look_at_ledger(&self) {
        let served = self.events_served.get().wrapping_add(1);
        self.events_served.set(served);
        if served.is_multiple_of(EVENTS_PER_ANSWER) {
            self.batcher.wake_one();
        }
        if !served.is_multiple_of(EVENTS_PER_CLOCK_READ) {
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.looked_at.get()) < LOOK_INTERVAL {
            return;
        }
        self.looked_at.set(now);
        self.refresh_clock();
        let woken = self.gate.look_at_urgent();
        let kicked = self.batcher.kick();
        if woken || kicked {
            // Once for who was woken (the mailbox, maybe), and once for the link that it has woken.
            coroutine::yield_now();
            coroutine::yield_now();
            self.assert_here();
        }
    }

    /// Makes sure that a coroutine is there to take the lead, so that the caller may suspend.
    /// `false`: there is no memory for one; the caller must answer without waiting.
    pub fn ensure_spare(&'static self) -> bool {
        !self.spares.borrow().is_empty() || self.start_worker()
    }

    /// Starts one more worker coroutine, as a spare. `false`: there may be no more, or no memory for
    /// its stack.
    pub fn start_worker(&'static self) -> bool {
        let now_ms = self.clock.now_ms();
        if self.workers.get() >= self.shared.workers_max || now_ms < self.short_until_ms.get() {
            return false;
        }
        let number = self.workers_made.get() + 1;
        self.workers_made.set(number);
        self.workers.set(self.workers.get() + 1);
        let started =
            self.spawn_here("worker", STACK_BYTES, move |core| Worker { core, number }.run());
        if !started {
            self.workers.set(self.workers.get() - 1);
            tracing::warn!(core = self.index, "no memory for a coroutine: shedding load");
            self.short_until_ms.set(now_ms + MEMORY_PAUSE_MS);
        }
        started
    }

    /// Runs `body` as a coroutine of this core, at once and until it first suspends. `false`: no
    /// memory (or no memory map) for its stack.
    pub fn spawn_here(
        &'static self,
        name: &str,
        stack_bytes: usize,
        body: impl FnOnce(&'static Self) + 'static,
    ) -> bool {
        self.assert_here();
        let body = OnThisCore((self, body));
        let words = stack_bytes / size_of::<usize>();
        let builder = coroutine::Builder::new().name(name.to_owned()).stack_size(words);
        // `may` panics when a stack can't be mapped; that must shed one request, not the server.
        let spawned = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the coroutine starts on this worker thread and, as `may` is built without
            // work stealing and is only ever unparked from this thread, never leaves it. Its stack
            // is STACK_BYTES deep with a guard page; what runs on it is bounded (no recursion).
            unsafe {
                builder.spawn_local(move || {
                    let OnThisCore((core, body)) = { body };
                    if catch_unwind(AssertUnwindSafe(|| body(core))).is_err() {
                        // A core without one of its parts would hang: better to be started anew.
                        let error = io::Error::other(format!("core {} panicked", core.index));
                        let _ = core.shared.events.send(Event::Failed(error));
                    }
                })
            }
        }));
        matches!(spawned, Ok(Ok(_)))
    }

    /// Has every answer of the ledger noted in what this core knows of the sales.
    pub fn start_settling(&'static self) {
        self.batcher.set_settle(Box::new(Settler(self)));
    }

    /// Tells the main thread how the link to the ledger stands.
    pub fn report(&self, state: LinkState) {
        let is_up = state == LinkState::Up;
        self.shared.ledger_up[self.index].store(is_up, Ordering::Relaxed);
        let _ = self.shared.events.send(Event::Link(self.index, state));
    }

    /// Ends one of the spares that were not needed since the last call, so that a burst does not
    /// keep its stacks for ever. To be called at every tick.
    pub fn dismiss_spare(&self) {
        let idle = self.spares_idle.replace(self.spares.borrow().len());
        if idle > SPARE_COROUTINES && self.dismissed.get() == 0 {
            // The one that was used longest ago: the last is the next to be used.
            let (number, coroutine) = self.spares.borrow_mut().remove(0);
            self.dismissed.set(number);
            coroutine.unpark();
        }
    }

    /// Hands the lead to a spare.
    fn pass_lead(&'static self) {
        let spare = self.spares.borrow_mut().pop();
        let (number, coroutine) = spare.expect("ensure_spare comes before every suspension");
        self.spares_idle.set(self.spares_idle.get().min(self.spares.borrow().len()));
        self.leader.set(number);
        coroutine.unpark();
    }
}

/// Carries what belongs to one thread into a coroutine of that same thread.
struct OnThisCore<T>(T);

// SAFETY: made and taken apart on one thread only: see `Core::spawn_here`.
unsafe impl<T> Send for OnThisCore<T> {}

/// One of the coroutines that serve a core's connections.
#[derive(Clone, Copy)]
pub struct Worker {
    /// Its core.
    pub core: &'static Core,
    number: u64,
}

impl Worker {
    /// To be called before this worker waits for the ledger, after [`Core::ensure_spare`]: passes
    /// the lead on if it has it. One that has not must see to it itself that what it put into the
    /// queue is sent; the leader does so at the end of its round.
    pub fn release_lead(&self) {
        if self.leads() {
            self.core.pass_lead();
        } else {
            self.core.batcher.kick();
        }
    }

    fn leads(&self) -> bool {
        self.core.leader.get() == self.number
    }

    /// The life of a worker: a spare until it gets the lead, then leading until it has to wait.
    fn run(self) {
        let core = self.core;
        loop {
            core.spares.borrow_mut().push((self.number, coroutine::current()));
            while !self.leads() {
                coroutine::park();
                core.assert_here();
                if core.dismissed.get() == self.number {
                    core.dismissed.set(0);
                    core.workers.set(core.workers.get() - 1);
                    return;
                }
            }
            while self.leads() {
                self.next_event();
            }
        }
    }

    fn next_event(&self) {
        let core = self.core;
        match core.gate.next_event() {
            Some((token, readiness)) => {
                let served = catch_unwind(AssertUnwindSafe(|| {
                    connection::on_event(self, token, readiness);
                }));
                if served.is_err() {
                    tracing::error!(core = core.index, "a connection's handler panicked");
                    connection::close(core, token);
                }
                core.look_at_ledger();
            }
            None => {
                let answered = core.batcher.wake_more();
                let at_once = core.batcher.kick_or_wait();
                core.gate.refill(at_once || answered);
                core.assert_here();
                core.looked_at.set(Instant::now());
                core.refresh_clock();
            }
        }
    }
}

/// Starts the first worker of a core and gives it the lead.
pub fn start(core: &'static Core) -> io::Result<()> {
    core.refresh_clock();
    if !core.ensure_spare() {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            "no memory for a coroutine's stack",
        ));
    }
    core.pass_lead();
    Ok(())
}
