//! One core: a pinned `may` worker, its reactor, and the coroutines that share its work.
//!
//! One coroutine *leads*: it takes events from the reactor and serves the connections they belong
//! to. A request that is answered at once is served from `recv` to `send`. A request that waits
//! leaves a record with its connection, and the leader continues. When the answer is there, the
//! core is [woken](Core::wake) for that connection, and the leader resumes the request in its turn.
//! The record is all that a waiting request holds.
//!
//! Architecture invariant: only a core's own worker thread touches what a [`Core`] owns. Other
//! threads reach a core through its mailbox, or through the atomics in [`Engine`]. No borrow of a
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
use super::connection::table::{Acceptance, Connections};
use super::counts::Counts;
use super::handover::Handover;
use super::handshakes::Handshakes;
use super::listeners::Listeners;
use super::mailbox::Mailbox;
use super::peer::Peer;
use super::permits::Permits;
use super::reactor::{Reactor, Token};
use super::settings::{Limits, Settings, TrustedProxies};
use super::tls::Tls;
use crate::clock::Clock;
use crate::engine::http::{Head, HttpDate};
use crate::limits::{
    OUT_BUFFER_BYTES, OUT_BUFFER_BYTES_MAX, READ_BUFFER_BYTES, RECORDS_BUFFER_BYTES,
};
use crate::slab::Slab;

/// What an engine reports to the code that started it.
pub enum Event {
    /// A core failed and can't continue.
    Failed(io::Error),
    /// A draining core has no connection left.
    Drained,
}

/// State shared by the cores of an engine: settings, and counters that each core writes on a cache
/// line of its own.
pub struct Engine {
    /// Index of the `may` worker that is the first core; the other cores follow.
    pub first_worker: usize,
    /// Bounds and deadlines.
    pub limits: Limits,
    /// Trusted proxies, as set at the start.
    proxies: Arc<TrustedProxies>,
    /// Permits of admitted connections that are open now.
    pub connections: Permits,
    /// Number of admitted connections per client address.
    pub addresses: Addresses,
    /// Permits of connections that are over the limit and are open only to receive their refusal.
    pub refused: Permits,
    /// Set when the server is about to end: see [`Engine::leave`].
    leaving: AtomicBool,
    /// Set when another process accepts from the listening sockets.
    pub succeeded: AtomicBool,
    /// The drain (no new connection, no further request), and the accepted connections that are on
    /// their way to another core.
    pub handover: Handover,
    /// Counters per core.
    pub counts: Box<[Arc<Counts>]>,
    /// Ticks per core. A core whose number does not change is stuck.
    pub ticks: Box<[CachePadded<AtomicU64>]>,
    /// One mailbox per core.
    pub mailboxes: Box<[Mailbox<Core>]>,
    report: Box<dyn Fn(Event) + Send + Sync>,
}

impl Engine {
    /// Creates the shared state for this number of cores. `report` receives the engine's events.
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
            proxies: Arc::new(settings.proxies),
            connections: Permits::default(),
            addresses: Addresses::default(),
            refused: Permits::default(),
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

    /// Marks the server as about to end: it is not ready, and closes each connection after its next
    /// answer, but still accepts new connections. The mark stays during a drain. Returns whether it
    /// was set before.
    pub fn leave(&self) -> bool {
        let before = self.leaving.swap(true, Ordering::SeqCst);
        if !before {
            for mailbox in &self.mailboxes {
                mailbox.send(Box::new(Core::leave));
            }
        }
        before
    }

    /// Whether the server is about to end. Each core learns of it when it reads its mailbox.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Sets the TLS settings for new connections on listeners that use TLS.
    pub fn set_tls(&self, config: &Arc<ServerConfig>) {
        for mailbox in &self.mailboxes {
            let config = config.clone();
            mailbox.send(Box::new(|core| _ = core.tls.replace(Some(config))));
        }
    }

    /// Applies new settings, except the first worker. Counts and deadlines that were set under the
    /// old settings stay.
    pub fn change(&self, settings: &Settings) {
        self.limits.set(settings);
        let proxies = Arc::new(settings.proxies.clone());
        for mailbox in &self.mailboxes {
            let proxies = proxies.clone();
            mailbox.send(Box::new(|core| _ = core.proxies.replace(proxies)));
        }
    }

    /// Reports an event to the code that started the engine.
    pub fn report(&self, event: Event) {
        (self.report)(event);
    }
}

/// Answers the requests of one core. All methods are called on the core's own thread. The methods
/// other than [`serve`](Self::serve) are for services whose requests may wait, or that batch
/// queries.
pub trait Service: 'static {
    /// State of a waiting request.
    type Waiting: 'static;

    /// Whether the service reads [`Core::peer_address`].
    const WANTS_PEER_ADDRESS: bool = false;

    /// Serves one request as far as possible without waiting. If the request waits, the service
    /// must [wake](Core::wake) `asker` when the request can continue.
    fn serve(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Self::Waiting>;

    /// Resumes a request that was woken: answers it, or lets it wait again.
    fn resume(
        &self,
        core: &'static Core,
        asker: Token,
        waiting: Self::Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Self::Waiting>;

    /// Called when the client of a waiting request is gone.
    fn cancel(&self, waiting: Self::Waiting) {
        drop(waiting);
    }

    /// Sends pending queries if they may be sent now. Returns whether that has woken a coroutine.
    fn send(&self) -> bool {
        false
    }

    /// Called at the end of a round of events: sends pending queries. `true`: the next round must
    /// begin at once.
    fn end_round(&self) -> bool {
        false
    }

    /// Periodic work, once per tick.
    fn tick(&self) {}

    /// Called when the server drains and this core has no connection left.
    fn finish(&self) {}
}

/// The result of serving a request.
pub enum Action<W> {
    /// The answer is in the out-buffer.
    Answered,
    /// The request waits.
    Wait(W),
}

/// The state of one core. See the module's header.
pub struct Core {
    /// Index of the core within its engine, from 0.
    pub index: usize,
    /// State shared by all cores.
    pub engine: Arc<Engine>,
    /// Counters of this core.
    pub(super) counts: Arc<Counts>,
    /// The core's clock.
    pub clock: Rc<Clock>,
    /// Watches the core's descriptors.
    pub reactor: Reactor,
    /// The current date, as a header value.
    pub date: RefCell<HttpDate>,
    /// Address of the peer that is being served, for a service that asked for it.
    pub peer_address: Cell<Option<SocketAddr>>,
    /// Open listening sockets.
    pub listeners: Listeners,
    /// The table of connections.
    pub(super) connections: RefCell<Connections>,
    /// Waiting requests that were woken and not resumed yet.
    pub(super) woken: WakeQueue,
    /// Number of events served since the last poll of the urgent events, and the time of that poll.
    pub(super) events_served: Cell<u32>,
    pub(super) looked_at: Cell<Instant>,
    /// Buffers for answers and for input, kept for reuse.
    buffers: RefCell<Vec<Vec<u8>>>,
    inputs: RefCell<Vec<Vec<u8>>>,
    /// Buffer for TLS records that were received and not decrypted yet. There is one, unless a
    /// handler panicked.
    records: RefCell<Vec<u8>>,
    /// Trusted proxies.
    pub(super) proxies: RefCell<Arc<TrustedProxies>>,
    /// TLS settings, if a listener uses TLS.
    tls: RefCell<Option<Arc<ServerConfig>>>,
    /// Connections whose TLS handshake has not begun.
    pub(super) handshakes: Handshakes,
    leaving: Cell<bool>,
    thread: ThreadId,
}

/// Woken requests, in the order in which they are resumed.
#[derive(Default)]
pub(super) struct WakeQueue {
    /// Resumed before all others.
    first: RefCell<VecDeque<Token>>,
    rest: RefCell<VecDeque<Token>>,
}

impl WakeQueue {
    /// The next request of those that are resumed before all others.
    pub(super) fn next_first(&self) -> Option<Token> {
        self.first.borrow_mut().pop_front()
    }

    /// The next request to resume.
    pub(super) fn next(&self) -> Option<Token> {
        self.next_first().or_else(|| self.rest.borrow_mut().pop_front())
    }

    /// Number of woken requests.
    pub(super) fn count(&self) -> usize {
        self.first.borrow().len() + self.rest.borrow().len()
    }
}

/// Capacities of buffers that are kept for reuse; other buffers are freed.
const KEPT_BYTES: RangeInclusive<usize> = OUT_BUFFER_BYTES..=2 * OUT_BUFFER_BYTES_MAX;
/// Number of buffers that a core keeps for reuse.
const SPARE_BUFFERS: usize = 32;

impl Core {
    /// Creates the core of the calling worker thread.
    pub(super) fn new(index: usize, engine: Arc<Engine>, clock: Rc<Clock>) -> io::Result<Self> {
        Ok(Self {
            index,
            counts: engine.counts[index].clone(),
            reactor: Reactor::new(engine.first_worker + index, may::config().get_workers())?,
            proxies: RefCell::new(engine.proxies.clone()),
            engine,
            clock,
            date: RefCell::new(HttpDate::new(0)),
            peer_address: Cell::default(),
            listeners: Listeners::default(),
            connections: RefCell::default(),
            woken: WakeQueue::default(),
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

    /// Lets the leader resume a waiting request in its turn. `first`: before all others.
    pub fn wake(&self, asker: Token, first: bool) {
        self.assert_here();
        if self.woken.count() == 0 {
            self.reactor.wake_leader();
        }
        let queue = if first { &self.woken.first } else { &self.woken.rest };
        queue.borrow_mut().push_back(asker);
    }

    /// Number of requests that were woken and not resumed yet.
    pub fn woken_count(&self) -> usize {
        self.woken.count()
    }

    /// Where the connection of a request comes from.
    pub fn peer(&self, asker: Token) -> Peer {
        match self.connections.borrow_mut().acceptance_mut(asker).copied() {
            Some(Acceptance::Admitted(Some(address))) => Peer::Client(address),
            Some(Acceptance::Admitted(None)) => Peer::Proxy,
            Some(Acceptance::Refused(_)) | None => Peer::Gone,
        }
    }

    /// Whether the server is about to end, as this core knows it. An answer then carries
    /// `Connection: close`. Since the flag is the core's own, an answer says so exactly if the
    /// connection is then closed.
    pub fn leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Sets that flag: see [`Engine::leave`].
    pub fn leave(&self) {
        self.leaving.set(true);
    }

    /// Whether the server drains.
    pub fn draining(&self) -> bool {
        self.engine.handover.is_draining()
    }

    /// Asserts in debug builds that the caller runs on this core's own thread.
    pub fn assert_here(&self) {
        debug_assert_eq!(
            thread::current().id(),
            self.thread,
            "core {} left its thread",
            self.index
        );
    }

    /// Takes an empty buffer for answers.
    pub fn take_buffer(&self) -> Vec<u8> {
        let spare = self.buffers.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(OUT_BUFFER_BYTES))
    }

    /// Takes an empty buffer for input.
    pub(super) fn take_input(&self) -> Vec<u8> {
        let spare = self.inputs.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Returns an input buffer. A buffer that has grown, for a body, is not kept.
    pub(super) fn give_input(&self, mut input: Vec<u8>) {
        let mut inputs = self.inputs.borrow_mut();
        if inputs.len() < SPARE_BUFFERS && input.capacity() == READ_BUFFER_BYTES {
            input.clear();
            inputs.push(input);
        }
    }

    /// Takes the empty buffer for TLS records.
    pub(super) fn take_records(&self) -> Vec<u8> {
        let mut records = self.records.take();
        records.clear();
        records.reserve_exact(RECORDS_BUFFER_BYTES);
        records
    }

    /// Returns the buffer for TLS records.
    pub(super) fn give_records(&self, records: Vec<u8>) {
        self.records.replace(records);
    }

    /// Creates the TLS state of a new connection. `None`: there are no TLS settings.
    pub(super) fn begin_tls(&self) -> Option<Box<Tls>> {
        Tls::new(self.tls.borrow().clone()?)
    }

    /// Returns a buffer for answers.
    pub fn give_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < SPARE_BUFFERS && KEPT_BYTES.contains(&buffer.capacity()) {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// Reads the clocks and updates the `Date` header.
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
        // `may` panics when a stack can't be mapped; the caller decides what follows from that.
        let spawned = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the coroutine starts on this worker thread and, as `may` is built without
            // work stealing and is only ever unparked from this thread, never leaves it. Its stack
            // has a guard page, and what runs on it is bounded (no recursion).
            unsafe {
                builder.spawn_local(move || {
                    let OnThisCore((core, body)) = { body };
                    if catch_unwind(AssertUnwindSafe(|| body(core))).is_err() {
                        // A core without one of its coroutines would hang: better to report a
                        // failure.
                        let error = io::Error::other(format!("core {} panicked", core.index));
                        core.engine.report(Event::Failed(error));
                    }
                })
            }
        }));
        matches!(spawned, Ok(Ok(_)))
    }
}

/// Carries a value that belongs to one thread into a coroutine of the same thread.
struct OnThisCore<T>(T);

// SAFETY: created and taken apart on one thread only: see `Core::spawn_here`.
unsafe impl<T> Send for OnThisCore<T> {}

/// State of the leading coroutine of a core, which serves the core's connections.
pub(super) struct Leader<S: Service> {
    /// The core.
    pub(super) core: &'static Core,
    /// The service that answers.
    pub(super) service: &'static S,
    /// Records of waiting requests.
    pub(super) waiting: RefCell<Slab<S::Waiting>>,
}

impl<S: Service> Leader<S> {
    /// Keeps the record of a waiting request. Returns its index.
    pub(super) fn keep(&self, waiting: S::Waiting) -> u32 {
        self.waiting.borrow_mut().insert(waiting).index
    }

    /// Takes a record out.
    pub(super) fn take(&self, record: u32) -> Option<S::Waiting> {
        self.waiting.borrow_mut().remove_at(record)
    }

    /// Cancels a waiting request whose client is gone.
    pub(super) fn cancel(&self, record: u32) {
        if let Some(waiting) = self.take(record) {
            self.service.cancel(waiting);
        }
    }
}
