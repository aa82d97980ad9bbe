//! One core: a pinned `may` worker, its gate, and the coroutines that share its work.
//!
//! One coroutine *leads*: it takes events from the gate and serves the connections they belong to.
//! A request that is answered at once is served from `recv` to `send`. One that waits leaves a record
//! with its connection, and the leader goes on; when its answer is there, the core is
//! [told](Core::tell), and the leader comes back to the connection when its turn comes. So nothing is
//! held while a request waits but that record.
//!
//! Architecture invariant: what a [`Core`] owns is touched by its own worker thread only. Other
//! threads reach it through its mailbox or through atomics that [`Engine`] holds. No borrow of a
//! core's state may live across a suspension.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Instant;

use crossbeam_utils::CachePadded;
use may::coroutine;
use rustls::ServerConfig;

use super::addresses::Addresses;
use super::connection::table::{Connections, Entry};
use super::counts::Counts;
use super::gate::{Gate, Token};
use super::handover::Handover;
use super::handshakes::Handshakes;
use super::listeners::Listeners;
use super::mailbox::Mailbox;
use super::origin::Origin;
use super::places::Places;
use super::settings::{Front, Limits, Settings};
use super::tls::Tls;
use crate::clock::Clock;
use crate::engine::http::{Head, HttpDate};
use crate::limits::{
    OUT_BUFFER_BYTES, OUT_BUFFER_BYTES_MAX, READ_BUFFER_BYTES, RECORDS_BUFFER_BYTES,
};
use crate::slab::Slab;

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
    /// The worker of `may` that is its first core; the others follow.
    pub first_worker: usize,
    /// Its bounds and deadlines.
    pub limits: Limits,
    /// Who stood in front at the start.
    front: Arc<Front>,
    /// Connections open now that have a place.
    pub connections: Places,
    /// Who has those of them that come from an address that counts.
    pub addresses: Addresses,
    /// Connections open now that have none and are being told so.
    pub refused: Places,
    /// Set when the server is about to end: see [`Engine::leave`].
    leaving: AtomicBool,
    /// Set when another process accepts from the listening sockets.
    pub succeeded: AtomicBool,
    /// The drain (no new connection, no further request), and accepted connections that are on their
    /// way to another core.
    pub handover: Handover,
    /// What each core counts.
    pub counts: Box<[Arc<Counts>]>,
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
            first_worker: settings.first_worker,
            limits: Limits::new(&settings),
            front: Arc::new(settings.front),
            connections: Places::default(),
            addresses: Addresses::default(),
            refused: Places::default(),
            leaving: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
            handover: Handover::default(),
            counts: (0..cores).map(|_| Arc::default()).collect(),
            ticks: (0..cores).map(|_| CachePadded::default()).collect(),
            mailboxes: (0..cores).map(|_| Mailbox::new()).collect::<io::Result<_>>()?,
            report: Box::new(report),
        })
    }

    /// Number of cores.
    pub fn cores(&self) -> usize {
        self.mailboxes.len()
    }

    /// The server is about to end: it is not ready, and closes each connection after its next answer,
    /// but still takes new ones. That stays so when it drains. Gives whether it was so before.
    pub fn leave(&self) -> bool {
        let before = self.leaving.swap(true, Ordering::SeqCst);
        if !before {
            for mailbox in &self.mailboxes {
                mailbox.send(Box::new(Core::leave));
            }
        }
        before
    }

    /// Whether the server is about to end. Each core hears of it in its own time.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// New connections speak TLS with these settings from now on, where the listener wants it.
    pub fn set_tls(&self, config: &Arc<ServerConfig>) {
        for mailbox in &self.mailboxes {
            let config = config.clone();
            mailbox.send(Box::new(|core| _ = core.tls.replace(Some(config))));
        }
    }

    /// Has it go by other settings from now on, all but its first worker. What was counted or given time
    /// by the old ones stays so.
    pub fn change(&self, settings: &Settings) {
        self.limits.set(settings);
        let front = Arc::new(settings.front.clone());
        for mailbox in &self.mailboxes {
            let front = front.clone();
            mailbox.send(Box::new(|core| _ = core.front.replace(front)));
        }
    }

    /// Tells whoever started the engine.
    pub fn report(&self, event: Event) {
        (self.report)(event);
    }
}

/// Answers the requests of one core. Everything is called on the core's own thread. What there is
/// beside [`serve`](Self::serve) is for services whose requests may wait, or that gather what they ask.
pub trait Service: 'static {
    /// What is kept of a request that waits.
    type Waiting: 'static;

    /// Whether it wants to know from where a request comes: see [`Core::peer`].
    const WANTS_PEER: bool = false;

    /// Serves one request, as far as that goes without waiting. If it waits, `asker` is to be
    /// [told](Core::tell) when it may go on.
    fn serve(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Self::Waiting>;

    /// Goes on with a request that was told of: answers it, or has it wait on.
    fn go_on(
        &self,
        core: &'static Core,
        asker: Token,
        waiting: Self::Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Self::Waiting>;

    /// The client of a request that waits is gone.
    fn give_up(&self, waiting: Self::Waiting) {
        drop(waiting);
    }

    /// Sends what waits to be sent, if it may be sent now; whether that has woken anybody.
    fn send(&self) -> bool {
        false
    }

    /// A round of events is over: sends what waits to be sent. `true`: the next round must begin at
    /// once.
    fn end_round(&self) -> bool {
        false
    }

    /// What is done at regular times.
    fn tick(&self) {}

    /// The server drains, and this core has no connection left.
    fn finish(&self) {}
}

/// What became of a request.
pub enum Action<W> {
    /// Its answer is in the out-buffer.
    Answered,
    /// It waits.
    Wait(W),
}

/// One core's state. See the module's header.
pub struct Core {
    /// Number of the core within its engine, from 0.
    pub index: usize,
    /// What all cores share.
    pub engine: Arc<Engine>,
    /// What it counts.
    pub(super) counts: Arc<Counts>,
    /// Its clock.
    pub clock: Rc<Clock>,
    /// Its descriptors.
    pub gate: Gate,
    /// The current date, as a header value.
    pub date: RefCell<HttpDate>,
    /// From where what is served at the moment comes, for a service that wants to know.
    pub peer: Cell<Option<SocketAddr>>,
    /// Its listening sockets.
    pub listeners: Listeners,
    /// Its connections.
    pub(super) connections: RefCell<Connections>,
    /// Whose answers are there and who have yet to go on.
    pub(super) told: Told,
    /// Events since the last look at what must not wait, and when that was.
    pub(super) events_served: Cell<u32>,
    pub(super) looked_at: Cell<Instant>,
    /// For answers, and for input.
    buffers: RefCell<Vec<Vec<u8>>>,
    inputs: RefCell<Vec<Vec<u8>>>,
    /// For what has come over TLS and has yet to be opened: one, unless a handler panicked.
    records: RefCell<Vec<u8>>,
    /// Who stands in front.
    pub(super) front: RefCell<Arc<Front>>,
    /// The settings of TLS, if anybody speaks it here.
    tls: RefCell<Option<Arc<ServerConfig>>>,
    /// Who has yet to begin his handshake.
    pub(super) handshakes: Handshakes,
    leaving: Cell<bool>,
    thread: ThreadId,
}

/// Those who were told that they may go on, in the order in which they do.
#[derive(Default)]
pub(super) struct Told {
    /// Before all others.
    first: RefCell<VecDeque<Token>>,
    rest: RefCell<VecDeque<Token>>,
}

impl Told {
    /// Who goes on before all others.
    pub(super) fn next_first(&self) -> Option<Token> {
        self.first.borrow_mut().pop_front()
    }

    /// Who is next.
    pub(super) fn next(&self) -> Option<Token> {
        self.next_first().or_else(|| self.rest.borrow_mut().pop_front())
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.first.borrow().len() + self.rest.borrow().len()
    }
}

/// Sizes of buffers that are kept for reuse; others are given back to the allocator.
const KEPT_BYTES: RangeInclusive<usize> = OUT_BUFFER_BYTES..=2 * OUT_BUFFER_BYTES_MAX;
/// Buffers a core keeps for reuse.
const SPARE_BUFFERS: usize = 32;

impl Core {
    /// Makes the core of the calling worker thread.
    pub(super) fn new(index: usize, engine: Arc<Engine>, clock: Rc<Clock>) -> io::Result<Self> {
        Ok(Self {
            index,
            counts: engine.counts[index].clone(),
            gate: Gate::new(engine.first_worker + index, may::config().get_workers())?,
            front: RefCell::new(engine.front.clone()),
            engine,
            clock,
            date: RefCell::new(HttpDate::new(0)),
            peer: Cell::default(),
            listeners: Listeners::default(),
            connections: RefCell::default(),
            told: Told::default(),
            events_served: Cell::new(0),
            looked_at: Cell::new(Instant::now()),
            buffers: RefCell::default(),
            inputs: RefCell::default(),
            records: RefCell::default(),
            tls: RefCell::default(),
            handshakes: Handshakes::default(),
            leaving: Cell::default(),
            thread: thread::current().id(),
        })
    }

    /// A request may go on, which it does when its turn comes; `first`: before all others.
    pub fn tell(&self, asker: Token, first: bool) {
        self.assert_here();
        if self.told.count() == 0 {
            self.gate.hurry();
        }
        let told = if first { &self.told.first } else { &self.told.rest };
        told.borrow_mut().push_back(asker);
    }

    /// How many were told so and have yet to go on.
    pub fn untold(&self) -> usize {
        self.told.count()
    }

    /// From where the connection of a request comes.
    pub fn origin(&self, asker: Token) -> Origin {
        match self.connections.borrow_mut().entry_mut(asker).copied() {
            Some(Entry::Admitted(Some(address))) => Origin::Client(address),
            Some(Entry::Admitted(None)) => Origin::Proxy,
            Some(Entry::Refused(_)) | None => Origin::Gone,
        }
    }

    /// Whether the answer to a request is the last one on its connection: the server ends soon. It is
    /// the core's own, so an answer says that its connection closes exactly if that is then closed.
    pub fn leaving(&self) -> bool {
        self.leaving.get()
    }

    /// From now on it is: see [`Engine::leave`].
    pub fn leave(&self) {
        self.leaving.set(true);
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

    /// An empty buffer for answers.
    pub fn take_buffer(&self) -> Vec<u8> {
        let spare = self.buffers.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(OUT_BUFFER_BYTES))
    }

    /// An empty buffer for input.
    pub(super) fn take_input(&self) -> Vec<u8> {
        let spare = self.inputs.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Gives it back. One that has grown, for a body, is not kept.
    pub(super) fn give_input(&self, mut input: Vec<u8>) {
        let mut inputs = self.inputs.borrow_mut();
        if inputs.len() < SPARE_BUFFERS && input.capacity() == READ_BUFFER_BYTES {
            input.clear();
            inputs.push(input);
        }
    }

    /// An empty buffer for records.
    pub(super) fn take_records(&self) -> Vec<u8> {
        let mut records = self.records.take();
        records.clear();
        records.reserve_exact(RECORDS_BUFFER_BYTES);
        records
    }

    /// Gives it back.
    pub(super) fn give_records(&self, records: Vec<u8>) {
        self.records.replace(records);
    }

    /// TLS for a new connection. `None`: there are no settings for it.
    pub(super) fn begin_tls(&self) -> Option<Box<Tls>> {
        Tls::new(self.tls.borrow().clone()?)
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
        // `may` panics when a stack can't be mapped; whoever asked decides what becomes of that.
        let spawned = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the coroutine starts on this worker thread and, as `may` is built without
            // work stealing and is only ever unparked from this thread, never leaves it. Its stack
            // has a guard page, and what runs on it is bounded (no recursion).
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
}

/// Carries what belongs to one thread into a coroutine of that same thread.
struct OnThisCore<T>(T);

// SAFETY: made and taken apart on one thread only: see `Core::spawn_here`.
unsafe impl<T> Send for OnThisCore<T> {}

/// The leading coroutine of a core: serves its connections.
pub(super) struct Leader<S: Service> {
    /// Its core.
    pub(super) core: &'static Core,
    /// Who answers.
    pub(super) service: &'static S,
    /// What is kept of requests that wait.
    pub(super) waiting: RefCell<Slab<S::Waiting>>,
}

impl<S: Service> Leader<S> {
    /// Keeps a request that waits. Gives the number of its record.
    pub(super) fn keep(&self, waiting: S::Waiting) -> u32 {
        self.waiting.borrow_mut().insert(waiting).index
    }

    /// Takes a record.
    pub(super) fn take(&self, record: u32) -> Option<S::Waiting> {
        self.waiting.borrow_mut().remove_at(record)
    }

    /// The client of a request that waits is gone.
    pub(super) fn give_up(&self, record: u32) {
        if let Some(waiting) = self.take(record) {
            self.service.give_up(waiting);
        }
    }
}
