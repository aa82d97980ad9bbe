//! One core: a pinned `may` worker, its gate, and the coroutines that share its work.
//!
//! The workers of a core are stackful coroutines of which one *leads*: it takes events from the
//! gate and serves the connections they belong to. A request that is answered at once is served from
//! read to write without a switch. A request that waits suspends its coroutine; the lead then passes
//! to a spare one, so the core goes on. The suspended one finishes its connection when its answer is
//! there and becomes a spare again. So a coroutine's stack is held only while a request waits, and an
//! idle connection has none.
//!
//! Architecture invariant: what a [`Core`] owns is touched by its own worker thread only. Other
//! threads reach it through its mailbox or through atomics that [`Engine`] holds. No borrow of a
//! core's state may live across a suspension.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Instant;

use crossbeam_utils::CachePadded;
use ipnet::IpNet;
use may::coroutine::{self, Coroutine};

use super::addresses::Addresses;
use super::connection::table::Connections;
use super::gate::Gate;
use super::handover::Handover;
use super::listeners::Listeners;
use super::mailbox::Mailbox;
use super::places::Places;
use crate::clock::Clock;
use crate::engine::http::{Head, HttpDate};
use crate::limits::{
    OUT_BUFFER_BYTES_MAX, READ_BUFFER_BYTES, SPARE_COROUTINES, SPARES_DISMISSED_MAX, STACK_BYTES,
};

/// What an engine may be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The worker of `may` that is its first core; the others follow.
    pub first_worker: usize,
    /// Connections that may be open, over all cores.
    pub connections_max: usize,
    /// Connections beyond that which are told so; of those beyond even this, nothing is read.
    pub refused_max: usize,
    /// Worker coroutines that one core may have.
    pub workers_max: usize,
    /// Connections that one address may have. 0: as many as there are places.
    pub connections_per_address: u32,
    /// Networks of clients whose connections never give way and are not counted: proxies, behind
    /// which there is a crowd.
    pub trusted: Vec<IpNet>,
    /// Time for a connection between two requests, in ms.
    pub idle_timeout_ms: u64,
    /// Time for a head, in ms.
    pub head_timeout_ms: u64,
    /// Time for a body, in ms.
    pub body_timeout_ms: u64,
    /// Time after which is looked how much of its answers a client has taken, in ms.
    pub write_timeout_ms: u64,
}

/// What an engine tells of itself.
pub enum Event {
    /// A core can't go on.
    Failed(io::Error),
    /// A core that drains has no connection left.
    Drained,
}

/// What the cores of an engine share: settings, and counters that each core writes on a cache line
/// of its own.
pub struct Engine {
    /// What it was told.
    pub settings: Settings,
    /// Connections open now that have a place.
    pub connections: Places,
    /// Who has those of them that come from an address that counts.
    pub addresses: Addresses,
    /// Connections open now that have none and are being told so.
    pub refused: Places,
    /// Set when the server is about to end: it is not ready, and closes each connection after its
    /// next answer, but still takes new ones. It stays set when it drains.
    pub leaving: AtomicBool,
    /// The drain (no new connection, no further request), and accepted connections that are on their
    /// way to another core.
    pub handover: Handover,
    /// Ticks by core: a core whose number stands still is stuck.
    pub ticks: Box<[CachePadded<AtomicU64>]>,
    /// One mailbox a core.
    pub mailboxes: Box<[Mailbox<Core>]>,
    report: Box<dyn Fn(Event) + Send + Sync>,
}

impl Engine {
    /// What so many cores share. `report` hears what happens to them.
    ///
    /// # Errors
    /// No descriptors are left for the mailboxes.
    pub fn new(
        cores: usize,
        settings: Settings,
        report: impl Fn(Event) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Ok(Self {
            settings,
            connections: Places::default(),
            addresses: Addresses::default(),
            refused: Places::default(),
            leaving: AtomicBool::new(false),
            handover: Handover::default(),
            ticks: (0..cores).map(|_| CachePadded::default()).collect(),
            mailboxes: (0..cores).map(|_| Mailbox::new()).collect::<io::Result<_>>()?,
            report: Box::new(report),
        })
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.mailboxes.len()
    }

    /// Tells whoever started the engine.
    pub fn report(&self, event: Event) {
        (self.report)(event);
    }
}

/// Answers the requests of one core. Everything is called on the core's own thread. What there is
/// beside [`serve`](Self::serve) is for services that gather what they ask and tell.
pub trait Service {
    /// Serves one request, as far as that goes without waiting.
    fn serve(&self, core: &'static Core, head: &Head<'_>, body: &[u8], out: &mut Vec<u8>)
    -> Action;

    /// Sends what waits to be sent, if it may be sent now; whether that has woken anybody.
    fn send(&self) -> bool {
        false
    }

    /// Lets one of the requests go on whose answers are there. Called within a round of events.
    fn tell_one(&self) {}

    /// A round of events is over: lets the next few requests go on, and sends what waits to be sent.
    /// `true`: the next round must begin at once.
    fn end_round(&self) -> bool {
        false
    }

    /// What is done at regular times. `true`: there are answers left to tell.
    fn tick(&self) -> bool {
        false
    }

    /// The server drains, and this core has no connection left.
    fn finish(&self) {}
}

/// What became of a request.
pub enum Action {
    /// Its answer is in the out-buffer.
    Answered,
    /// It waits. In a box: refusals, which are many, move it about empty.
    Wait(Box<dyn Pending>),
}

/// A request that waits, with all its answer needs.
pub trait Pending {
    /// Suspends until the answer is there, and writes it. The worker has passed on its lead.
    fn wait(self: Box<Self>, core: &'static Core, out: &mut Vec<u8>);
}

/// One core's state. See the module's header.
pub struct Core {
    /// Number of the core within its engine, from 0.
    pub index: usize,
    /// What all cores share.
    pub engine: Arc<Engine>,
    /// Its clock.
    pub clock: Rc<Clock>,
    /// Its descriptors.
    pub gate: Gate,
    /// The current date, as a header value.
    pub date: RefCell<HttpDate>,
    /// Its listening sockets.
    pub listeners: Listeners,
    /// Its connections.
    pub(super) connections: RefCell<Connections>,
    pub(super) turns: Turns,
    buffers: RefCell<Vec<Vec<u8>>>,
    thread: ThreadId,
}

/// Whose turn it is among the workers of a core.
pub(super) struct Turns {
    /// The life of one of them, by its number.
    life: Box<dyn Fn(&'static Core, u64)>,
    leader: Cell<u64>,
    made: Cell<u64>,
    pub(super) count: Cell<usize>,
    short_until_ms: Cell<u64>,
    pub(super) spares: RefCell<Vec<(u64, Coroutine)>>,
    /// Fewest spares there were since the last tick.
    spares_idle: Cell<usize>,
    /// The spares that are to end, by their numbers.
    pub(super) dismissed: RefCell<Vec<u64>>,
    /// Events since the last look at what must not wait, and when that was.
    pub(super) events_served: Cell<u32>,
    pub(super) looked_at: Cell<Instant>,
}

/// Sizes of buffers that are kept for reuse; others are given back to the allocator.
const KEPT_BYTES: RangeInclusive<usize> = READ_BUFFER_BYTES..=2 * OUT_BUFFER_BYTES_MAX;
/// Pause after a coroutine could not be started, in which no other is tried: to fail is dear, and
/// is logged each time.
const MEMORY_PAUSE_MS: u64 = 50;
/// Buffers a core keeps for reuse.
const SPARE_BUFFERS: usize = 32;

impl Core {
    /// Makes the core of the calling worker thread. `life` is what its workers do.
    pub(super) fn new(
        index: usize,
        engine: Arc<Engine>,
        clock: Rc<Clock>,
        life: Box<dyn Fn(&'static Self, u64)>,
    ) -> io::Result<Self> {
        Ok(Self {
            index,
            gate: Gate::new(engine.settings.first_worker + index, may::config().get_workers())?,
            engine,
            clock,
            date: RefCell::new(HttpDate::new(0)),
            listeners: Listeners::default(),
            connections: RefCell::default(),
            turns: Turns {
                life,
                leader: Cell::new(0),
                made: Cell::new(0),
                count: Cell::new(0),
                short_until_ms: Cell::new(0),
                spares: RefCell::default(),
                spares_idle: Cell::new(0),
                dismissed: RefCell::default(),
                events_served: Cell::new(0),
                looked_at: Cell::new(Instant::now()),
            },
            buffers: RefCell::default(),
            thread: thread::current().id(),
        })
    }

    /// Whether the answer to a request is the last one on its connection: the server ends soon.
    pub fn leaving(&self) -> bool {
        self.engine.leaving.load(Ordering::Relaxed)
    }

    /// Whether the server drains.
    pub fn draining(&self) -> bool {
        self.engine.handover.is_draining()
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
    pub(super) fn refresh_clock(&self) {
        self.clock.refresh();
        self.date.borrow_mut().update(self.clock.wall_ms() / 1000);
    }

    /// Makes sure that a coroutine is there to take the lead, so that the caller may suspend.
    /// `false`: there is no memory for one; the caller must answer without waiting.
    #[inline]
    pub fn ensure_spare(&'static self) -> bool {
        !self.turns.spares.borrow().is_empty() || self.start_worker()
    }

    /// Starts one more worker coroutine, as a spare. `false`: there may be no more, or no memory for
    /// its stack.
    #[cold]
    fn start_worker(&'static self) -> bool {
        let now_ms = self.clock.now_ms();
        if self.turns.count.get() >= self.engine.settings.workers_max
            || now_ms < self.turns.short_until_ms.get()
        {
            return false;
        }
        let number = self.turns.made.get() + 1;
        self.turns.made.set(number);
        self.turns.count.set(self.turns.count.get() + 1);
        let started = self.spawn_here("worker", STACK_BYTES, move |core| {
            (core.turns.life)(core, number);
        });
        if !started {
            self.turns.count.set(self.turns.count.get() - 1);
            tracing::warn!(core = self.index, "no memory for a coroutine: shedding load");
            self.turns.short_until_ms.set(now_ms + MEMORY_PAUSE_MS);
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
                        core.engine.report(Event::Failed(error));
                    }
                })
            }
        }));
        matches!(spawned, Ok(Ok(_)))
    }

    /// Ends a few of the spares that were not needed since the last call, so that a burst does not
    /// keep its stacks for ever. To be called at every tick.
    pub(super) fn dismiss_spares(&self) {
        let mut spares = self.turns.spares.borrow_mut();
        let idle = self.turns.spares_idle.get();
        let count = idle.saturating_sub(SPARE_COROUTINES).min(SPARES_DISMISSED_MAX);
        // Those that were used longest ago: the last is the next to be used.
        for (number, coroutine) in spares.drain(..count) {
            self.turns.dismissed.borrow_mut().push(number);
            coroutine.unpark();
        }
        self.turns.spares_idle.set(spares.len());
    }

    /// Hands the lead to a spare.
    pub(super) fn pass_lead(&'static self) {
        let spare = self.turns.spares.borrow_mut().pop();
        let (number, coroutine) = spare.expect("ensure_spare comes before every suspension");
        self.turns
            .spares_idle
            .set(self.turns.spares_idle.get().min(self.turns.spares.borrow().len()));
        self.turns.leader.set(number);
        coroutine.unpark();
    }
}

/// Carries what belongs to one thread into a coroutine of that same thread.
struct OnThisCore<T>(T);

// SAFETY: made and taken apart on one thread only: see `Core::spawn_here`.
unsafe impl<T> Send for OnThisCore<T> {}

/// One of the coroutines that serve a core's connections.
pub(super) struct Worker<S: 'static> {
    /// Its core.
    pub(super) core: &'static Core,
    /// Who answers.
    pub(super) service: &'static S,
    pub(super) number: u64,
}

impl<S: Service> Worker<S> {
    /// To be called before this worker waits, after [`Core::ensure_spare`]: passes the lead on if it
    /// has it. One that has not must see to it itself that what it left to be sent is sent; the leader
    /// does so at the end of its round.
    pub(super) fn release_lead(&self) {
        if self.leads() {
            self.core.pass_lead();
        } else {
            self.service.send();
        }
    }

    /// Whether it takes the core's events.
    pub(super) fn leads(&self) -> bool {
        self.core.turns.leader.get() == self.number
    }
}
