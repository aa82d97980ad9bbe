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
//! which the first one watches: [`Gate::look_at_urgent`] looks there alone.
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
    /// How many of the unwatched connections belong to this round.
    unwatched: usize,
    /// Whether one that was deferred does.
    deferred: bool,
}

impl Gate {
    /// Makes the gate of worker `worker` of `workers`.
    pub fn new(worker: usize, workers: usize) -> io::Result<Self> {
        let epoll = place(epoll::create(epoll::CreateFlags::CLOEXEC)?, worker, workers)?;
        let urgent = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN.union(EventFlags::ET);
        epoll::add(&epoll, &urgent, EventData::new_u64(URGENT), flags)?;
        let epoll = CoIo::new(Descriptor(epoll))?;
        Ok(Self {
            waker: epoll.waker(),
            epoll,
            urgent,
            round: RefCell::new(Round {
                events: Box::new_uninit_slice(EVENTS_MAX),
                count: 0,
                next: 0,
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
        while round.next < round.count {
            // SAFETY: `refill` had the kernel write the first `count` events, and `next` is below
            // it. Events are plain data.
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
            if data.u64() == URGENT {
                self.look_at_urgent();
            } else {
                self.notify((data.u64() & !SOURCE_BIT) as usize);
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

    /// Begins the next round: suspends the calling coroutine until there is an event (or, `at_once`,
    /// for no longer than that takes), so that whatever else is runnable on this core runs first.
    pub fn refill(&self, at_once: bool) {
        let mut round = self.round.borrow_mut();
        debug_assert_eq!(round.next, round.count, "events dropped");
        // A full round may have left events behind, for which no new edge will come.
        let full = round.count == EVENTS_MAX;
        let more = !self.unwatched.borrow().is_empty()
            || !self.again.borrow().is_empty()
            || !self.deferred.borrow().is_empty();
        round.count = 0;
        round.next = 0;
        drop(round);
        if full || at_once || more {
            coroutine::yield_now();
        } else {
            self.epoll.wait_io();
        }
        self.begin_round();
    }

    /// Takes the events that are there, and what else belongs to a round.
    fn begin_round(&self) {
        let mut round = self.round.borrow_mut();
        let zero = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        round.count = match epoll::wait(&self.epoll.inner().0, &mut *round.events, Some(&zero)) {
            Ok((events, _)) => events.len(),
            Err(_) => 0, // EINTR: the next round asks again
        };
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
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in
            [Token { index: 0, generation: 0 }, Token { index: u32::MAX, generation: 0x7fff_ffff }]
        {
            assert_eq!(token.to_number() & SOURCE_BIT, 0);
            assert_eq!(Token::from_number(token.to_number()), token);
        }
    }

    #[test]
    fn who_has_had_a_turn_comes_after_the_others_once_a_round() {
        let gate = Gate::new(0, may::config().get_workers()).unwrap();
        let token = |index| Token { index, generation: 0 };
        let round = || {
            gate.begin_round();
            let events = std::iter::from_fn(|| gate.next_event());
            events.map(|(token, readiness)| (token.index, readiness.turn)).collect::<Vec<_>>()
        };
        (1..=3).for_each(|index| gate.defer(token(index)));
        gate.unwatched.borrow_mut().push_back(token(10));
        assert_eq!(round(), [(10, false), (1, true)]);
        gate.defer(token(1));
        assert_eq!(round(), [(2, true)]);
        let descriptor = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        gate.watch_connection(&descriptor, token(20)).unwrap();
        assert_eq!(round(), [(20, false), (3, true)]);
        assert_eq!(round(), [(1, true)]);
        assert_eq!(round(), []);
    }

    #[test]
    fn who_rests_has_a_turn_after_the_tick() {
        let gate = Gate::new(0, may::config().get_workers()).unwrap();
        let token = Token { index: 7, generation: 0 };
        let next = || {
            gate.begin_round();
            gate.next_event().map(|(token, readiness)| (token.index, readiness.turn))
        };
        gate.rest(token);
        assert_eq!(next(), None);
        gate.wake_resting();
        assert_eq!(next(), Some((7, true)));
        gate.wake_resting();
        assert_eq!(next(), None);
    }

    #[test]
    fn a_round_has_no_more_of_the_unwatched_than_it_has_events() {
        let gate = Gate::new(0, may::config().get_workers()).unwrap();
        let tokens = || (0..EVENTS_MAX as u32 + 3).map(|index| Token { index, generation: 0 });
        gate.unwatched.borrow_mut().extend(tokens());
        assert!(gate.next_event().is_none(), "they belong to the next round");
        let mut seen = Vec::new();
        while seen.len() < EVENTS_MAX + 3 {
            gate.begin_round();
            let round: Vec<_> =
                std::iter::from_fn(|| gate.next_event()).map(|(token, _)| token).collect();
            assert!((1..=EVENTS_MAX).contains(&round.len()));
            seen.extend(round);
        }
        assert!(seen.into_iter().eq(tokens()));
    }

    #[test]
    fn a_descriptor_finds_its_worker() {
        for worker in 0..3 {
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let placed = place(epoll, worker, 3).unwrap();
            assert_eq!(placed.as_raw_fd() as usize % 3, worker);
        }
    }
}
