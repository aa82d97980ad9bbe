//! A core's reactor: the one place where its descriptors are watched.
//!
//! Every descriptor of a core is in the core's own epoll instance, edge triggered. That instance is
//! the only descriptor that `may` watches for the core. So an idle connection costs an entry in a
//! table and no coroutine, stack or buffer. A core's descriptors may have any number (only the
//! reactor's own must belong to the core's worker). One call brings a whole round of events, which
//! the leading coroutine then handles in order.
//!
//! Two kinds of things are watched: connections, by [`Token`], and a [`Notify`] for each other
//! descriptor (a listener, the ledger's socket, the tick, the mailbox) with the one coroutine that
//! waits for it.
//!
//! There are two more epoll instances, which the first one watches. The second has the urgent
//! descriptors (above all the ledger's), which must not wait until a long round is over:
//! [`Reactor::poll_urgent`] polls them alone. The third has connections before and in their TLS
//! handshake. Each round takes a few of their events, after all others, so that a crowd of new
//! connections does not delay the established ones.
//!
//! Architecture invariant: the reactor knows nothing of HTTP, sales or ledgers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use may::coroutine::{self, Coroutine};
use may::io::{CoIo, WaitIo, WaitIoWaker};
use rustix::event::epoll::{self, Event, EventData, EventFlags};

/// Events taken per round.
const EVENTS_MAX: usize = 512;
/// Events that are watched for on a connection.
const CONNECTION_FLAGS: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
/// The bit of an event's data that distinguishes a notify from a connection.
const NOTIFY_BIT: u64 = 1 << 63;
/// Event data: an urgent descriptor has events.
const URGENT: u64 = u64::MAX;
/// Event data: a handshaking connection has events.
const HANDSHAKING: u64 = u64::MAX - 1;
/// Events of handshaking connections taken per round.
const HANDSHAKING_EVENTS_MAX: usize = 8;
/// Events of urgent descriptors taken per poll: a core has a few, and with a Cluster one per node.
const URGENT_EVENTS_MAX: usize = 16;
/// Events that are watched for on the descriptor of a notify.
const NOTIFY_FLAGS: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Names one connection of a core for its lifetime: its slot in the core's table, and the number of
/// earlier uses of that slot, so that a late event can't reach a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Slot in the table.
    pub index: u32,
    /// Number of earlier uses of the slot. 31 bits.
    pub generation: u32,
}

impl Token {
    /// As a number, below 2^63.
    pub fn to_number(self) -> u64 {
        u64::from(self.generation & 0x7fff_ffff) << 32 | u64::from(self.index)
    }

    /// The token that has this number.
    pub fn from_number(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// What happened to a connection. If no flag is set, there is room to write again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readiness {
    /// There is input to read.
    pub readable: bool,
    /// The peer will send no more.
    pub hung_up: bool,
    /// The connection is broken in both directions.
    pub broken: bool,
    /// No event: it is the connection's turn again, after [`Reactor::defer`].
    pub turn: bool,
}

/// Wakes the one coroutine that waits for a descriptor, or for a call of [`notify`](Self::notify).
pub struct Notify {
    index: usize,
    ready: Cell<bool>,
    waiter: RefCell<Option<Coroutine>>,
    deadline_ms: Cell<u64>,
}

/// The wait ended because its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl Notify {
    /// Suspends the calling coroutine until the descriptor may be ready, or until the deadline (in
    /// the core's milliseconds, as returned by `now_ms`). "May be": the caller tries, and waits
    /// again if there is nothing.
    pub fn wait(&self, now_ms: impl Fn() -> u64, deadline_ms: u64) -> Result<(), TimedOut> {
        self.deadline_ms.set(deadline_ms);
        loop {
            if self.ready.replace(false) {
                self.deadline_ms.set(u64::MAX);
                return Ok(());
            }
            if now_ms() >= deadline_ms {
                self.deadline_ms.set(u64::MAX);
                return Err(TimedOut);
            }
            *self.waiter.borrow_mut() = Some(coroutine::current());
            coroutine::park();
        }
    }

    /// Wakes the waiter, as an event of the descriptor would.
    pub fn notify(&self) {
        self.ready.set(true);
        self.wake();
    }

    /// Its id in the reactor: see [`Reactor::notify`].
    pub fn id(&self) -> usize {
        self.index
    }

    /// Whether there was an event for which no coroutine has waited yet.
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Registers the calling coroutine to be woken by the next event, without suspending it.
    pub fn wake_me(&self) {
        *self.waiter.borrow_mut() = Some(coroutine::current());
    }

    fn wake(&self) {
        if let Some(waiter) = self.waiter.borrow_mut().take() {
            waiter.unpark();
        }
    }
}

struct Descriptor(OwnedFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// See the module's header.
pub struct Reactor {
    epoll: CoIo<Descriptor>,
    /// Watches the urgent descriptors, and is watched by `epoll`.
    urgent: OwnedFd,
    /// Watches handshaking connections, and is watched by `epoll`.
    handshaking: OwnedFd,
    waker: WaitIoWaker,
    round: RefCell<Round>,
    /// New connections that are read once before they are watched.
    first_reads: RefCell<VecDeque<Token>>,
    /// Connections that have had their turn and have more to do.
    deferred: RefCell<VecDeque<Token>>,
    /// Connections that have had their turn and get no other before the next tick.
    until_tick: RefCell<Vec<Token>>,
    /// Notifies that wake their waiters in the next round, without an event.
    next_round: RefCell<Vec<Rc<Notify>>>,
    notifies: RefCell<Vec<Option<Rc<Notify>>>>,
}

struct Round {
    events: Box<[MaybeUninit<Event>]>,
    count: usize,
    next: usize,
    handshaking: Handshaking,
    /// Number of first reads that belong to this round.
    first_reads: usize,
    /// Whether one deferred connection belongs to this round.
    deferred: bool,
}

/// Whether handshaking connections may have events.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Handshaking {
    Idle,
    /// Yes, and they are next once this round has nothing else left.
    Due,
    /// They have had their share of this round; the next round may have more of them.
    Later,
}

impl Reactor {
    /// Creates the reactor of worker `worker` of `workers`.
    pub fn new(worker: usize, workers: usize) -> io::Result<Self> {
        let epoll = dup_onto_worker(epoll::create(epoll::CreateFlags::CLOEXEC)?, worker, workers)?;
        let urgent = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN.union(EventFlags::ET);
        epoll::add(&epoll, &urgent, EventData::new_u64(URGENT), flags)?;
        let handshaking = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &handshaking, EventData::new_u64(HANDSHAKING), flags)?;
        let epoll = CoIo::new(Descriptor(epoll))?;
        Ok(Self {
            waker: epoll.waker(),
            epoll,
            urgent,
            handshaking,
            round: RefCell::new(Round {
                events: Box::new_uninit_slice(EVENTS_MAX),
                count: 0,
                next: 0,
                handshaking: Handshaking::Idle,
                first_reads: 0,
                deferred: false,
            }),
            first_reads: RefCell::default(),
            deferred: RefCell::default(),
            until_tick: RefCell::default(),
            next_round: RefCell::default(),
            notifies: RefCell::new(Vec::new()),
        })
    }

    /// Queues a connection that is not watched yet, to be read in the next round.
    pub fn queue_first_read(&self, token: Token) {
        self.first_reads.borrow_mut().push_back(token);
        self.wake_leader();
    }

    /// Queues another turn for a connection, after the events of all others: each round ends with
    /// the turn of one deferred connection.
    pub fn defer(&self, token: Token) {
        self.deferred.borrow_mut().push_back(token);
        self.wake_leader();
    }

    /// Queues another turn after the next tick, for a connection that may be slow.
    pub fn defer_until_tick(&self, token: Token) {
        self.until_tick.borrow_mut().push(token);
    }

    /// Called at a tick: queues the turns that waited for it.
    pub fn end_tick_wait(&self) {
        let mut until_tick = self.until_tick.borrow_mut();
        if !until_tick.is_empty() {
            self.deferred.borrow_mut().extend(until_tick.drain(..));
            self.wake_leader();
        }
    }

    /// Suspends the calling coroutine, which waits for this notify, until the next round has begun.
    ///
    /// Do not call `yield_now` here: a coroutine that stays runnable starves the leader and
    /// everything that the worker watches.
    pub fn wait_for_next_round(&self, notify: &Rc<Notify>, now_ms: impl Fn() -> u64) {
        self.next_round.borrow_mut().push(notify.clone());
        self.wake_leader();
        // Only an event or the next round ends this wait.
        let _ = notify.wait(now_ms, u64::MAX);
    }

    /// Watches a connection for its lifetime: input, room to write, and its end.
    pub fn watch_connection(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.to_number());
        Ok(epoll::add(&self.epoll.inner().0, descriptor, data, CONNECTION_FLAGS)?)
    }

    /// Watches a connection that has not completed its handshake.
    pub fn watch_handshaking(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.to_number());
        Ok(epoll::add(&self.handshaking, descriptor, data, CONNECTION_FLAGS)?)
    }

    /// Stops watching a connection among the handshaking ones, so that it can be watched like the
    /// others.
    pub fn forget_handshaking(&self, descriptor: impl AsFd) {
        // Fails only for a connection that is not watched there.
        let _ = epoll::delete(&self.handshaking, descriptor);
    }

    /// Watches a descriptor for which one coroutine will wait.
    pub fn watch(&self, descriptor: impl AsFd) -> io::Result<Rc<Notify>> {
        self.watch_in(&self.epoll.inner().0, descriptor)
    }

    /// Watches a descriptor whose events must not wait for the end of a long round.
    pub fn watch_urgent(&self, descriptor: impl AsFd) -> io::Result<Rc<Notify>> {
        self.watch_in(&self.urgent, descriptor)
    }

    fn watch_in(&self, epoll: &OwnedFd, descriptor: impl AsFd) -> io::Result<Rc<Notify>> {
        let notify = self.new_notify();
        let data = EventData::new_u64(NOTIFY_BIT | notify.index as u64);
        epoll::add(epoll, descriptor, data, NOTIFY_FLAGS).inspect_err(|_| {
            self.forget(&notify);
        })?;
        notify.ready.set(true);
        Ok(notify)
    }

    /// Wakes the coroutines of urgent descriptors that have events. Returns whether there were any.
    pub fn poll_urgent(&self) -> bool {
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut any = false;
        loop {
            let mut events = [const { MaybeUninit::uninit() }; URGENT_EVENTS_MAX];
            // EINTR: the next poll gets them.
            let Ok((events, _)) = epoll::wait(&self.urgent, &mut events, Some(&zero)) else {
                return any;
            };
            any |= !events.is_empty();
            events.iter().for_each(|event| {
                self.notify((event.data.u64() & !NOTIFY_BIT) as usize);
            });
            if events.len() < URGENT_EVENTS_MAX {
                return any;
            }
        }
    }

    /// Creates a notify without a descriptor, for an event within this core.
    pub fn new_notify(&self) -> Rc<Notify> {
        let mut notifies = self.notifies.borrow_mut();
        let index = match notifies.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                notifies.push(None);
                notifies.len() - 1
            }
        };
        let notify = Rc::new(Notify {
            index,
            ready: Cell::new(false),
            waiter: RefCell::new(None),
            deadline_ms: Cell::new(u64::MAX),
        });
        notifies[index] = Some(notify.clone());
        notify
    }

    /// Wakes the waiter of the notify with this id. If the id belongs to another notify by now,
    /// that waiter finds nothing and waits again.
    pub fn notify(&self, id: usize) {
        if let Some(Some(notify)) = self.notifies.borrow().get(id) {
            notify.notify();
        }
    }

    /// Forgets a notify. The caller must close its descriptor, if any, afterwards.
    pub fn forget(&self, notify: &Notify) {
        self.notifies.borrow_mut()[notify.index] = None;
    }

    /// The next event of this round that concerns a connection. Events of a notify wake its waiter
    /// and are not returned.
    pub fn next_event(&self) -> Option<(Token, Readiness)> {
        let mut round = self.round.borrow_mut();
        loop {
            if round.next >= round.count
                && !(round.handshaking == Handshaking::Due && self.take_handshaking(&mut round))
            {
                break;
            }
            // SAFETY: the kernel has written the first `count` events, and `next` is below it. Events
            // are plain data.
            let event = unsafe { round.events[round.next].assume_init_read() };
            round.next += 1;
            let (data, flags) = (event.data, event.flags);
            if data.u64() & NOTIFY_BIT == 0 {
                let readiness = Readiness {
                    readable: flags.contains(EventFlags::IN),
                    hung_up: flags.contains(EventFlags::RDHUP),
                    broken: flags.intersects(EventFlags::ERR | EventFlags::HUP),
                    turn: false,
                };
                return Some((Token::from_number(data.u64()), readiness));
            }
            match data.u64() {
                URGENT => {
                    self.poll_urgent();
                }
                HANDSHAKING => round.handshaking = Handshaking::Due,
                notify => self.notify((notify & !NOTIFY_BIT) as usize),
            }
        }
        if let Some(left) = round.first_reads.checked_sub(1) {
            round.first_reads = left;
            let token = self.first_reads.borrow_mut().pop_front()?;
            return Some((token, Readiness { readable: true, ..Readiness::default() }));
        }
        if !std::mem::take(&mut round.deferred) {
            return None;
        }
        let token = self.deferred.borrow_mut().pop_front()?;
        Some((token, Readiness { turn: true, ..Readiness::default() }))
    }

    /// Takes a few events of handshaking connections, once per round, after all other events.
    /// Returns whether there are any.
    #[cold]
    fn take_handshaking(&self, round: &mut Round) -> bool {
        let full = round.count == EVENTS_MAX;
        round.handshaking = Handshaking::Later;
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let room = &mut round.events[..HANDSHAKING_EVENTS_MAX];
        round.count = match epoll::wait(&self.handshaking, room, Some(&zero)) {
            Ok((events, _)) => events.len(),
            Err(_) => return false, // EINTR: the next round asks again
        };
        round.next = 0;
        // Fewer events than there was room for: a new edge will report what follows.
        if !full && round.count < HANDSHAKING_EVENTS_MAX {
            round.handshaking = Handshaking::Idle;
        }
        round.count > 0
    }

    /// Begins the next round. Suspends the calling coroutine until there is an event, so that other
    /// runnable coroutines of this core run first. `at_once`: does not wait for an event.
    pub fn refill(&self, at_once: bool) {
        if self.end_round() || at_once {
            coroutine::yield_now();
        } else {
            self.epoll.wait_io();
        }
        self.begin_round();
    }

    /// Whether something is left for the next round that no event will report.
    fn end_round(&self) -> bool {
        let mut round = self.round.borrow_mut();
        debug_assert_eq!(round.next, round.count, "events dropped");
        let mut full = round.count == EVENTS_MAX;
        if round.handshaking != Handshaking::Idle {
            round.handshaking = Handshaking::Due;
            full = true;
        }
        full || !self.first_reads.borrow().is_empty()
            || !self.next_round.borrow().is_empty()
            || !self.deferred.borrow().is_empty()
    }

    /// Takes the available events, and what else belongs to this round.
    fn begin_round(&self) {
        let mut round = self.round.borrow_mut();
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        round.count = match epoll::wait(&self.epoll.inner().0, &mut *round.events, Some(&zero)) {
            Ok((events, _)) => events.len(),
            Err(_) => 0, // EINTR: the next round asks again
        };
        round.next = 0;
        round.first_reads = self.first_reads.borrow().len().min(EVENTS_MAX);
        round.deferred = !self.deferred.borrow().is_empty();
        drop(round);
        self.next_round.take().iter().for_each(|notify| notify.notify());
    }

    /// Begins the next round without waiting for an event, after what is runnable now.
    pub fn wake_leader(&self) {
        self.waker.wakeup();
    }

    /// Wakes every waiting coroutine, without an event.
    pub fn notify_all(&self) {
        self.notifies.borrow().iter().flatten().for_each(|notify| notify.notify());
    }

    /// Wakes every coroutine whose deadline has passed.
    pub fn wake_overdue(&self, now_ms: u64) {
        for notify in self.notifies.borrow().iter().flatten() {
            if notify.deadline_ms.get() <= now_ms {
                notify.wake();
            }
        }
    }
}

/// Duplicates a descriptor until its number belongs to this worker. `may` watches a descriptor on
/// the worker that its number selects (modulo the number of workers), so the reactor's own must
/// have a number of its core's worker.
fn dup_onto_worker(descriptor: OwnedFd, worker: usize, workers: usize) -> io::Result<OwnedFd> {
    let mut wrong = Vec::new();
    let mut candidate = descriptor;
    while candidate.as_raw_fd() as usize % workers != worker {
        let at_least = candidate.as_raw_fd() + 1;
        let next = rustix::io::fcntl_dupfd_cloexec(&candidate, at_least)?;
        wrong.push(candidate);
        candidate = next;
    }
    Ok(candidate)
}

#[cfg(test)]
mod tests;
