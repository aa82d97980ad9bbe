//! A core's gate: the one place where its descriptors are watched.
//!
//! Every descriptor of a core is in the core's own epoll instance, edge triggered, and that
//! instance is the only descriptor that `may` watches for the core. So an idle connection costs an
//! entry in a table and no coroutine, no stack and no buffer; a core's descriptors may have any
//! number (only the gate's own must belong to the core's worker); and one call brings in a whole
//! round of events, which the leading coroutine then handles in order.
//!
//! Two kinds of things are watched: connections, by [`Token`], and [`Source`]s, each with one
//! coroutine that waits for it (a listener, the ledger's socket, the tick, the mailbox). Sources that
//! must not wait until a long round is over (the ledger's above all) are in a second epoll instance,
//! which the first one watches: [`Gate::look_at_urgent`] looks there alone. Connections that have not
//! shaken hands yet are in a third: a few of them have their turn in each round, behind the others, so
//! that no crowd of newcomers stands before those who are in.
//!
//! Architecture invariant: the gate knows nothing of HTTP, sales or ledgers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use may::coroutine::{self, Coroutine};
use may::io::{CoIo, WaitIo, WaitIoWaker};
use rustix::event::epoll::{self, Event, EventData, EventFlags};

/// Events taken in one round.
const EVENTS_MAX: usize = 512;
/// What is told of a connection.
const CONNECTION_FLAGS: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);
/// The bit of an event's data that tells a source from a connection.
const SOURCE_BIT: u64 = 1 << 63;
/// The data of an event that tells of the urgent sources.
const URGENT: u64 = u64::MAX;
/// The data of an event that tells of newcomers.
const NEWCOMERS: u64 = u64::MAX - 1;
/// Events of newcomers taken in one round.
const NEWCOMER_EVENTS_MAX: usize = 8;
/// Events of urgent sources taken at once: a core has a few, and with a Cluster one per node.
const URGENT_EVENTS_MAX: usize = 16;
/// What is told of a source.
const SOURCE_FLAGS: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Names one connection of a core for as long as it lives: its place in the core's table, and how
/// often that place was used before, so that a late event can't reach a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Place in the table.
    pub index: u32,
    /// How often the place was used before. 31 bits.
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

/// What happened to a connection; none of it: there is room to write again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readiness {
    /// There is something to read.
    pub readable: bool,
    /// The other side will send no more.
    pub hung_up: bool,
    /// The connection is broken in both directions.
    pub broken: bool,
    /// Nothing: it is the connection's turn again, after [`Gate::defer`].
    pub turn: bool,
}

/// A descriptor with one coroutine that waits for it.
pub struct Source {
    index: usize,
    ready: Cell<bool>,
    waiter: RefCell<Option<Coroutine>>,
    deadline_ms: Cell<u64>,
}

/// The wait ended because its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut;

impl Source {
    /// Suspends the calling coroutine until the descriptor may be ready or the deadline (in the
    /// core's milliseconds, as told by `now_ms`) has passed. "May be": the caller tries, and waits
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

    /// Lets the waiter go on, as an event of the descriptor would.
    pub fn notify(&self) {
        self.ready.set(true);
        self.wake();
    }

    /// Its place in the gate: see [`Gate::notify`].
    pub fn place(&self) -> usize {
        self.index
    }

    /// Whether something happened that nobody has waited for yet.
    pub fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Has the calling coroutine woken by the next event, without waiting for it here.
    pub fn attend(&self) {
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
pub struct Gate {
    epoll: CoIo<Descriptor>,
    /// Watches the urgent sources, and is watched by `epoll`.
    urgent: OwnedFd,
    /// Watches connections that have not shaken hands yet, and is watched by `epoll`.
    newcomers: OwnedFd,
    waker: WaitIoWaker,
    round: RefCell<Round>,
    /// Connections to be looked at without an event.
    unwatched: RefCell<VecDeque<Token>>,
    /// Connections that have had their turn and have more to do.
    deferred: RefCell<VecDeque<Token>>,
    /// Connections that have had their turn and have no other before the next tick.
    resting: RefCell<Vec<Token>>,
    /// Sources whose waiters go on in the next round, as if something had happened.
    again: RefCell<Vec<Rc<Source>>>,
    sources: RefCell<Vec<Option<Rc<Source>>>>,
}

struct Round {
    events: Box<[MaybeUninit<Event>]>,
    count: usize,
    next: usize,
    newcomers: Newcomers,
    /// How many of the unwatched connections belong to this round.
    unwatched: usize,
    /// Whether one that was deferred does.
    deferred: bool,
}

/// Whether something may have happened to newcomers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Newcomers {
    Idle,
    /// Yes, and it is their turn once nothing else is left of this round.
    Due,
    /// They have had it, and there may be more of them, or of the others, in the next round.
    Later,
}

impl Gate {
    /// Makes the gate of worker `worker` of `workers`.
    pub fn new(worker: usize, workers: usize) -> io::Result<Self> {
        let epoll = place(epoll::create(epoll::CreateFlags::CLOEXEC)?, worker, workers)?;
        let urgent = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN.union(EventFlags::ET);
        epoll::add(&epoll, &urgent, EventData::new_u64(URGENT), flags)?;
        let newcomers = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &newcomers, EventData::new_u64(NEWCOMERS), flags)?;
        let epoll = CoIo::new(Descriptor(epoll))?;
        Ok(Self {
            waker: epoll.waker(),
            epoll,
            urgent,
            newcomers,
            round: RefCell::new(Round {
                events: Box::new_uninit_slice(EVENTS_MAX),
                count: 0,
                next: 0,
                newcomers: Newcomers::Idle,
                unwatched: 0,
                deferred: false,
            }),
            unwatched: RefCell::default(),
            deferred: RefCell::default(),
            resting: RefCell::default(),
            again: RefCell::default(),
            sources: RefCell::new(Vec::new()),
        })
    }

    /// Has a connection that is not watched looked at in the next round, as if something had come
    /// for it.
    pub fn look_at(&self, token: Token) {
        self.unwatched.borrow_mut().push_back(token);
        self.hurry();
    }

    /// Has a connection's turn come again, behind everything that happens to others meanwhile: one that
    /// was deferred has its turn at the end of each round.
    pub fn defer(&self, token: Token) {
        self.deferred.borrow_mut().push_back(token);
        self.hurry();
    }

    /// The same, but not before the next tick: for what may be slow.
    pub fn rest(&self, token: Token) {
        self.resting.borrow_mut().push(token);
    }

    /// A tick: those that rest have their turn again.
    pub fn wake_resting(&self) {
        let mut resting = self.resting.borrow_mut();
        if !resting.is_empty() {
            self.deferred.borrow_mut().extend(resting.drain(..));
            self.hurry();
        }
    }

    /// Suspends the calling coroutine, which waits for this source, until the next round has begun.
    /// Who has more to do than is fair at a time must not only yield: a coroutine that stays runnable
    /// shuts out the leader and all that the worker watches.
    pub fn wait_a_round(&self, source: &Rc<Source>, now_ms: impl Fn() -> u64) {
        self.again.borrow_mut().push(source.clone());
        self.hurry();
        // Nothing but an event or the next round ends it.
        let _ = source.wait(now_ms, u64::MAX);
    }

    /// Watches a connection, once and for all: input, room to write, and its end.
    pub fn watch_connection(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.to_number());
        Ok(epoll::add(&self.epoll.inner().0, descriptor, data, CONNECTION_FLAGS)?)
    }

    /// The same of a connection that has not shaken hands yet.
    pub fn watch_newcomer(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.to_number());
        Ok(epoll::add(&self.newcomers, descriptor, data, CONNECTION_FLAGS)?)
    }

    /// It has shaken hands, and is to be watched like the others.
    pub fn forget_newcomer(&self, descriptor: impl AsFd) {
        // It fails only for one that is not there.
        let _ = epoll::delete(&self.newcomers, descriptor);
    }

    /// Watches a descriptor that one coroutine will wait for.
    pub fn watch_source(&self, descriptor: impl AsFd) -> io::Result<Rc<Source>> {
        self.watch_in(&self.epoll.inner().0, descriptor)
    }

    /// The same for one whose events must not wait for the end of a long round.
    pub fn watch_urgent(&self, descriptor: impl AsFd) -> io::Result<Rc<Source>> {
        self.watch_in(&self.urgent, descriptor)
    }

    fn watch_in(&self, epoll: &OwnedFd, descriptor: impl AsFd) -> io::Result<Rc<Source>> {
        let source = self.signal();
        let data = EventData::new_u64(SOURCE_BIT | source.index as u64);
        epoll::add(epoll, descriptor, data, SOURCE_FLAGS).inspect_err(|_| {
            self.forget_source(&source);
        })?;
        source.ready.set(true);
        Ok(source)
    }

    /// Wakes the coroutines of urgent sources to which something has happened; whether there are any.
    pub fn look_at_urgent(&self) -> bool {
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut any = false;
        loop {
            let mut events = [const { MaybeUninit::uninit() }; URGENT_EVENTS_MAX];
            // EINTR: the next look asks again.
            let Ok((events, _)) = epoll::wait(&self.urgent, &mut events, Some(&zero)) else {
                return any;
            };
            any |= !events.is_empty();
            events.iter().for_each(|event| {
                self.notify((event.data.u64() & !SOURCE_BIT) as usize);
            });
            if events.len() < URGENT_EVENTS_MAX {
                return any;
            }
        }
    }

    /// A source without a descriptor: something of this core's own that one coroutine waits for.
    pub fn signal(&self) -> Rc<Source> {
        let mut sources = self.sources.borrow_mut();
        let index = match sources.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                sources.push(None);
                sources.len() - 1
            }
        };
        let source = Rc::new(Source {
            index,
            ready: Cell::new(false),
            waiter: RefCell::new(None),
            deadline_ms: Cell::new(u64::MAX),
        });
        sources[index] = Some(source.clone());
        source
    }

    /// Lets the waiter of the source at this place go on. If that is another by now, it finds nothing
    /// and waits again.
    pub fn notify(&self, place: usize) {
        if let Some(Some(source)) = self.sources.borrow().get(place) {
            source.notify();
        }
    }

    /// Forgets a source. Its descriptor, if it has one, must be closed by the caller afterwards.
    pub fn forget_source(&self, source: &Source) {
        self.sources.borrow_mut()[source.index] = None;
    }

    /// The next event of this round that concerns a connection. Events of sources wake the
    /// coroutine that waits for them and are not returned.
    pub fn next_event(&self) -> Option<(Token, Readiness)> {
        let mut round = self.round.borrow_mut();
        loop {
            if round.next >= round.count
                && !(round.newcomers == Newcomers::Due && self.take_newcomers(&mut round))
            {
                break;
            }
            // SAFETY: the kernel has written the first `count` events, and `next` is below it. Events
            // are plain data.
            let event = unsafe { round.events[round.next].assume_init_read() };
            round.next += 1;
            let (data, flags) = (event.data, event.flags);
            if data.u64() & SOURCE_BIT == 0 {
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
                    self.look_at_urgent();
                }
                NEWCOMERS => round.newcomers = Newcomers::Due,
                source => self.notify((source & !SOURCE_BIT) as usize),
            }
        }
        if let Some(left) = round.unwatched.checked_sub(1) {
            round.unwatched = left;
            let token = self.unwatched.borrow_mut().pop_front()?;
            return Some((token, Readiness { readable: true, ..Readiness::default() }));
        }
        if !std::mem::take(&mut round.deferred) {
            return None;
        }
        let token = self.deferred.borrow_mut().pop_front()?;
        Some((token, Readiness { turn: true, ..Readiness::default() }))
    }

    /// Once in a round, when all other events are done with: takes those of a few newcomers. Whether
    /// there are any.
    #[cold]
    fn take_newcomers(&self, round: &mut Round) -> bool {
        let full = round.count == EVENTS_MAX;
        round.newcomers = Newcomers::Later;
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let room = &mut round.events[..NEWCOMER_EVENTS_MAX];
        round.count = match epoll::wait(&self.newcomers, room, Some(&zero)) {
            Ok((events, _)) => events.len(),
            Err(_) => return false, // EINTR: the next round asks again
        };
        round.next = 0;
        // Of what comes after less than there was room for, a new edge will tell.
        if !full && round.count < NEWCOMER_EVENTS_MAX {
            round.newcomers = Newcomers::Idle;
        }
        round.count > 0
    }

    /// Begins the next round: suspends the calling coroutine until there is an event (or, `at_once`,
    /// for no longer than that takes), so that whatever else is runnable on this core runs first.
    pub fn refill(&self, at_once: bool) {
        if self.end_round() || at_once {
            coroutine::yield_now();
        } else {
            self.epoll.wait_io();
        }
        self.begin_round();
    }

    /// Whether something is left for the next round, for which no event will come.
    fn end_round(&self) -> bool {
        let mut round = self.round.borrow_mut();
        debug_assert_eq!(round.next, round.count, "events dropped");
        let mut full = round.count == EVENTS_MAX;
        if round.newcomers != Newcomers::Idle {
            round.newcomers = Newcomers::Due;
            full = true;
        }
        full || !self.unwatched.borrow().is_empty()
            || !self.again.borrow().is_empty()
            || !self.deferred.borrow().is_empty()
    }

    /// Takes the events that are there, and what else belongs to a round.
    fn begin_round(&self) {
        let mut round = self.round.borrow_mut();
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        round.count = match epoll::wait(&self.epoll.inner().0, &mut *round.events, Some(&zero)) {
            Ok((events, _)) => events.len(),
            Err(_) => 0, // EINTR: the next round asks again
        };
        round.next = 0;
        round.unwatched = self.unwatched.borrow().len().min(EVENTS_MAX);
        round.deferred = !self.deferred.borrow().is_empty();
        drop(round);
        self.again.take().iter().for_each(|source| source.notify());
    }

    /// Has the next round begin without waiting for an event, after what is runnable now.
    pub fn hurry(&self) {
        self.waker.wakeup();
    }

    /// Has every coroutine that waits for a source look again, as if something had happened.
    pub fn notify_all(&self) {
        self.sources.borrow().iter().flatten().for_each(|source| source.notify());
    }

    /// Wakes every coroutine whose wait has passed its deadline.
    pub fn wake_overdue(&self, now_ms: u64) {
        for source in self.sources.borrow().iter().flatten() {
            if source.deadline_ms.get() <= now_ms {
                source.wake();
            }
        }
    }
}

/// `may` watches a descriptor on the worker that its number names, so the gate's must have a number
/// that belongs to its core's worker.
fn place(descriptor: OwnedFd, worker: usize, workers: usize) -> io::Result<OwnedFd> {
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
