//! What is to happen, and when. Two things at the same time happen in an order that the seed
//! determines.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};

use stampede::sale::SaleId;

use crate::call::{Call, CallId, Told};
use crate::chance::Chance;
use crate::names::{CoreId, Line, Sender};
use crate::redis::{Ask, Reply};
use crate::time::Us;
use crate::trace::Digest;

/// A request of a client on its way to a core.
#[derive(Debug)]
pub struct Request {
    /// The core.
    pub core: CoreId,
    /// The attempt.
    pub call: CallId,
    /// What is asked.
    pub what: Call,
}

/// An answer on its way to a client.
#[derive(Debug)]
pub struct Answer {
    /// The attempt.
    pub call: CallId,
    /// What is told.
    pub told: Told,
    /// For a purchase: the sale, or the part of it, that has produced the answer.
    pub place: Option<SaleId>,
}

/// Something that happens. One is one step of a run: a message is delivered, or a timer has run
/// off.
#[derive(Debug)]
pub enum Event {
    /// A client does its next thing.
    Think(usize),
    /// An answer reaches its client.
    Answer(Box<Answer>),
    /// A client notices that the connection of this attempt has ended.
    Disconnected(CallId),
    /// A client has waited long enough for the answer to this attempt.
    GiveUp(CallId),

    /// A request reaches its core.
    Request(Box<Request>),
    /// A core notices that the connection of this attempt has ended.
    Reset(CoreId, CallId),
    /// A core begins a round of events.
    Round(CoreId),
    /// The periodic work of a core is due.
    Tick(CoreId),
    /// The core of this number, of the server of this number, gets no processor until this time.
    Stall(usize, usize, Us),

    /// A message reaches the ledger.
    AtNode(Line, Box<Ask>),
    /// The ledger carries out something of what has come over this connection.
    NodeTurn(Line),
    /// A message of the ledger reaches the sender at this connection.
    AtSender(Line, Box<Reply>),
    /// A sender notices that its connection to the ledger has ended.
    LineEnded(Line),

    /// A sweep or an operator has waited long enough.
    Wake(Sender),
    /// An operator creates the sale of this number in the plan.
    Create(usize),
    /// An operator does something.
    Operate,

    /// A server starts.
    Start(usize),
    /// A server crashes.
    Crash(usize),
    /// A server cannot reach the ledger until this time.
    Cut(usize, Us),
    /// Somebody sets the clock of the ledger's machine, or of a server's.
    ClockJump(Option<usize>, i64),

    /// There are no more faults, and the clients only find out what they do not know yet.
    Quiet,
    /// Everything is answered. A buyer takes all that is left.
    Probe,
    /// The run is over.
    End,

    /// The thread of the embedded ledger, in this life of it, takes the turn of this time.
    LedgerTurn(u32, Us),
    /// The call of this number to the disk is over, in this life of the embedded ledger.
    DiskDone(u32, u64),
    /// The machine of a server loses power.
    PowerLoss(usize),
    /// The disk of the embedded ledger is full until this time, or is not any more.
    DiskFull(Us),
    /// Somebody stops a server in good order.
    Stop(usize),

    /// The replica becomes the primary.
    Failover,
    /// What was the primary before this epoch becomes a replica.
    Demote(u64),
    /// A server hears from the Sentinels of this epoch.
    Hear(usize, u64),
}

impl Event {
    /// All names of events.
    pub const NAMES: [&'static str; 31] = [
        "think",
        "answer",
        "disconnected",
        "give up",
        "request",
        "reset",
        "round",
        "tick",
        "stall",
        "at node",
        "node turn",
        "at sender",
        "line ended",
        "wake",
        "operate",
        "start",
        "crash",
        "cut",
        "clock jump",
        "quiet",
        "probe",
        "end",
        "ledger turn",
        "disk done",
        "power loss",
        "disk full",
        "stop",
        "failover",
        "demote",
        "hear",
        "create",
    ];

    /// The number of its name.
    pub fn kind(&self) -> usize {
        match self {
            Self::Think(_) => 0,
            Self::Answer(_) => 1,
            Self::Disconnected(_) => 2,
            Self::GiveUp(_) => 3,
            Self::Request(_) => 4,
            Self::Reset(..) => 5,
            Self::Round(_) => 6,
            Self::Tick(_) => 7,
            Self::Stall(..) => 8,
            Self::AtNode(..) => 9,
            Self::NodeTurn(_) => 10,
            Self::AtSender(..) => 11,
            Self::LineEnded(_) => 12,
            Self::Wake(_) => 13,
            Self::Operate => 14,
            Self::Start(_) => 15,
            Self::Crash(_) => 16,
            Self::Cut(..) => 17,
            Self::ClockJump(..) => 18,
            Self::Quiet => 19,
            Self::Probe => 20,
            Self::End => 21,
            Self::LedgerTurn(..) => 22,
            Self::DiskDone(..) => 23,
            Self::PowerLoss(_) => 24,
            Self::DiskFull(_) => 25,
            Self::Stop(_) => 26,
            Self::Failover => 27,
            Self::Demote(_) => 28,
            Self::Hear(..) => 29,
            Self::Create(_) => 30,
        }
    }

    /// Adds it to the digest of the run.
    pub fn fold(&self, digest: &mut Digest) {
        digest.write_usize(self.kind());
        match self {
            Self::Think(number)
            | Self::Start(number)
            | Self::Crash(number)
            | Self::PowerLoss(number)
            | Self::Create(number)
            | Self::Stop(number) => {
                digest.write_usize(*number);
            }
            Self::Answer(answer) => answer.call.hash(digest),
            Self::Disconnected(call) | Self::GiveUp(call) => call.hash(digest),
            Self::Request(request) => (request.core, request.call).hash(digest),
            Self::Reset(core, call) => (core, call).hash(digest),
            Self::Round(core) | Self::Tick(core) => core.hash(digest),
            Self::Stall(server, core, until) => (server, core, until).hash(digest),
            Self::AtNode(line, _)
            | Self::NodeTurn(line)
            | Self::AtSender(line, _)
            | Self::LineEnded(line) => line.hash(digest),
            Self::Wake(sender) => sender.hash(digest),
            Self::Cut(server, until) => (server, until).hash(digest),
            Self::ClockJump(server, ms) => (server, ms).hash(digest),
            Self::LedgerTurn(life, at) => (life, at).hash(digest),
            Self::DiskDone(life, ticket) => (life, ticket).hash(digest),
            Self::DiskFull(until) => until.hash(digest),
            Self::Demote(epoch) => epoch.hash(digest),
            Self::Hear(server, epoch) => (server, epoch).hash(digest),
            Self::Failover | Self::Operate | Self::Quiet | Self::Probe | Self::End => {}
        }
    }
}

struct Entry {
    at: Us,
    tie: u64,
    sequence: u64,
    event: Event,
}

impl Entry {
    fn key(&self) -> (Us, u64, u64) {
        (self.at, self.tie, self.sequence)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// See the module's header.
pub struct Schedule {
    now: Us,
    sequence: u64,
    ties: Chance,
    entries: BinaryHeap<Reverse<Entry>>,
}

impl Schedule {
    /// An empty schedule at time 0.
    pub fn new(seed: u64) -> Self {
        Self { now: 0, sequence: 0, ties: Chance::of(seed, "ties"), entries: BinaryHeap::new() }
    }

    /// The true time.
    pub fn now(&self) -> Us {
        self.now
    }

    /// Something happens at this time, or now if the time has passed.
    pub fn at(&mut self, at: Us, event: Event) {
        self.sequence += 1;
        let (at, tie) = (at.max(self.now), self.ties.next());
        self.entries.push(Reverse(Entry { at, tie, sequence: self.sequence, event }));
    }

    /// Something happens after this time.
    pub fn after(&mut self, delay: Us, event: Event) {
        self.at(self.now + delay, event);
    }

    /// The next event. Its time is the present from now on.
    pub fn pop(&mut self) -> Option<Event> {
        let Reverse(entry) = self.entries.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_in_the_order_of_their_times() {
        let mut schedule = Schedule::new(1);
        for at in [5, 3, 9, 3] {
            schedule.at(at, Event::Think(at as usize));
        }
        let times = std::iter::from_fn(|| schedule.pop().map(|_| schedule.now()));
        assert_eq!(times.collect::<Vec<_>>(), [3, 3, 5, 9]);
        schedule.at(1, Event::End);
        assert!(schedule.pop().is_some() && schedule.now() == 9, "no event is in the past");
    }

    #[test]
    fn the_seed_decides_between_events_at_the_same_time() {
        let order = |seed| {
            let mut schedule = Schedule::new(seed);
            (0..8).for_each(|client| schedule.at(1, Event::Think(client)));
            let next = || match schedule.pop() {
                Some(Event::Think(client)) => Some(client),
                _ => None,
            };
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
    }
}
