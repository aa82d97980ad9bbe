//! The link of a core to Redis: a coroutine that takes batches and sends them, as
//! `ledger/redis/link.rs` does, to the node of the simulation.
//!
//! What it keeps of that: a sale is in the index before a unit of it is held; one deadline for all
//! round trips of a batch; groups that were not sent are `unavailable`, groups without a reply are
//! `unknown`; an idle connection that ends is replaced silently; pauses that grow.
//!
//! With Sentinels, a session begins in a term and stamps the epoch of that term, and it ends when its
//! server hears of a later one, or when a sale refuses it as one from before a failover.
//!
//! Waiting for replicas after the groups is not here yet. Its place is [`Session::exchange`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use stampede::clock::Clock;
use stampede::ledger::in_flight::InFlightBatch;
use stampede::ledger::redis::simulation::{Registered, creates, holds, is_news};
use stampede::ledger::redis::{Codec, KeyTemplates};
use stampede::ledger::{Failure, Group, GroupReply, LedgerError};
use stampede::limits::{IDLE_CLOSE_MS_MIN, RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN};
use stampede::purchase::Seller;
use stampede::sale::{Outcome, SaleId};

use crate::oracle::TakenBatch;
use crate::redis::{Ask, Pipeline, PipelineReply, Reply, is_fenced};
use crate::server::client::Notified;
use crate::server::wire::{Incoming, Outgoing, Wire, owned};
use crate::task::{Ctx, Ended, Task, Turns};

/// What a link and the world share.
#[derive(Default)]
struct Shared {
    wire: Wire,
    connects: Cell<u64>,
    /// The batches that were taken, until the oracle hears of them.
    taken: RefCell<VecDeque<TakenBatch>>,
    /// Where the sweep of the server hears which sales to look at.
    notified: Rc<Notified>,
}

/// A link, as its core has it.
pub struct Link {
    task: Task,
    shared: Rc<Shared>,
}

impl Link {
    /// Starts a link. It runs until it waits for the first time.
    pub fn start(
        turns: &Turns,
        seller: &'static Seller,
        clock: Rc<Clock>,
        notified: Rc<Notified>,
    ) -> Self {
        let shared = Rc::new(Shared { notified, ..Shared::default() });
        let theirs = shared.clone();
        let task = Task::spawn(turns, move |ctx| run(ctx, seller, &clock, &theirs));
        Self { task, shared }
    }

    /// Something has come in a session.
    pub fn receive(&self, session: u32, incoming: Incoming) {
        self.shared.wire.push(session, incoming);
    }

    /// A session was opened in this term.
    pub fn opened(&self, session: u32, term: u64) {
        self.shared.wire.opened(session, term);
    }

    /// The server has heard of a later term: nothing of the present one counts any more. Returns
    /// whether there was a session.
    pub fn term_ended(&self) -> bool {
        self.shared.wire.term_ended()
    }

    /// Lets it run, when the driver settles, if something has come. Returns whether it does.
    pub fn wake_if_ready(&self) -> bool {
        let is_ready = self.shared.wire.is_ready();
        if is_ready {
            self.task.wake();
        }
        is_ready
    }

    /// Lets it run, when the driver settles, if its deadline has passed.
    pub fn wake_if_overdue(&self, now_ms: u64) {
        let deadline_ms = self.shared.wire.deadline_ms();
        if deadline_ms > 0 && deadline_ms <= now_ms {
            self.task.wake();
        }
    }

    /// Takes the next of what it sends.
    pub fn take_outgoing(&self) -> Option<Outgoing> {
        self.shared.wire.take_outgoing()
    }

    /// The next of the batches that were taken.
    pub fn take_taken(&self) -> Option<TakenBatch> {
        self.shared.taken.borrow_mut().pop_front()
    }

    /// How often it has tried to connect.
    pub fn connects(&self) -> u64 {
        self.shared.connects.get()
    }

    /// Tells it to end, when the driver settles.
    pub fn end(&self) {
        self.task.end();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.has_ended()
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The link must end.
    Ended,
    /// The connection has ended, or an answer did not come in time.
    Broken {
        /// Nothing was outstanding.
        was_idle: bool,
    },
}

const BROKEN: Stop = Stop::Broken { was_idle: false };

/// Runs a link until it must end.
fn run(ctx: &Ctx, seller: &'static Seller, clock: &Clock, shared: &Shared) {
    let batcher = &seller.batcher;
    let mut backoff_ms = RECONNECT_BACKOFF_MS_MIN;
    let mut number = 0;
    loop {
        number += 1;
        let mut session = Session::new(ctx, seller, clock, shared, number);
        let mut stop = session.open();
        if stop.is_ok() {
            backoff_ms = RECONNECT_BACKOFF_MS_MIN;
            batcher.set_available();
            let until_ms = clock.now_ms() + IDLE_CLOSE_MS_MIN;
            let end = session.serve();
            session.close();
            if end == (Stop::Broken { was_idle: true }) && clock.now_ms() >= until_ms {
                continue;
            }
            stop = Err(end);
        } else {
            session.close();
        }
        batcher.set_unavailable();
        if stop == Err(Stop::Ended) || session.sleep(backoff_ms).is_err() {
            return;
        }
        backoff_ms = (backoff_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
    }
}

/// A connection that carries batches.
struct Session<'a> {
    ctx: &'a Ctx,
    seller: &'static Seller,
    clock: &'a Clock,
    shared: &'a Shared,
    number: u32,
    /// Stamps the epoch of this session.
    codec: Codec,
    registered: Registered,
    /// When the batch under way must be answered.
    deadline_ms: u64,
    /// Why the connection carries nothing any more.
    broken: Option<Stop>,
}

impl<'a> Session<'a> {
    fn new(
        ctx: &'a Ctx,
        seller: &'static Seller,
        clock: &'a Clock,
        shared: &'a Shared,
        number: u32,
    ) -> Self {
        Self {
            ctx,
            seller,
            clock,
            shared,
            number,
            codec: Codec::new(KeyTemplates::default()),
            registered: Registered::default(),
            deadline_ms: 0,
            broken: None,
        }
    }

    fn open(&mut self) -> Result<(), Stop> {
        self.shared.connects.set(self.shared.connects.get() + 1);
        self.set_deadline();
        self.shared.wire.open(self.number);
        match self.receive()? {
            Reply::Welcome => {
                self.codec = self.codec.in_epoch(self.shared.wire.term());
                Ok(())
            }
            Reply::Pipeline(_) => Err(BROKEN),
        }
    }

    fn close(&self) {
        self.shared.wire.close();
    }

    fn set_deadline(&mut self) {
        self.deadline_ms = self.clock.now_ms() + self.seller.batcher.answer_deadline_ms();
    }

    /// Waits for this time. Only the end of the link ends it sooner.
    fn sleep(&self, ms: u64) -> Result<(), Stop> {
        let (until_ms, now_ms) = (self.clock.now_ms() + ms, || self.clock.now_ms());
        let waited = self.shared.wire.wait_until(self.ctx, now_ms, until_ms, || None::<()>);
        waited.map(drop).map_err(|Ended| Stop::Ended)
    }

    /// Waits for the next message of this session.
    fn receive(&self) -> Result<Reply, Stop> {
        let now_ms = || self.clock.now_ms();
        match self.shared.wire.receive(self.ctx, now_ms, self.deadline_ms) {
            Ok(Some(Incoming::Reply(reply))) => Ok(reply),
            Ok(Some(Incoming::End) | None) => Err(BROKEN),
            Err(Ended) => Err(Stop::Ended),
        }
    }

    /// Carries batches until something fails.
    fn serve(&mut self) -> Stop {
        let (ctx, clock, batcher) = (self.ctx, self.clock, &self.seller.batcher);
        let wire = &self.shared.wire;
        loop {
            let interrupted = || {
                ctx.note_turn();
                ctx.must_end() || wire.is_ready()
            };
            let Some(flight) = batcher.next_batch(|| clock.now_ms(), interrupted) else {
                if ctx.must_end() {
                    return Stop::Ended;
                }
                // Nothing is outstanding: it can only be the end of the connection.
                return Stop::Broken { was_idle: true };
            };
            self.note_taken(&flight);
            ctx.note_turn();
            if ctx.must_end() {
                batcher.fail(flight, Failure::Unavailable);
                return Stop::Ended;
            }
            if let Some(stop) = self.carry(flight) {
                return stop;
            }
        }
    }

    /// Notes what was taken and what was left, for the oracle.
    fn note_taken(&self, flight: &InFlightBatch) {
        let left = self.seller.batcher.queued();
        let changes = |group: &&Group| group.commands.iter().any(|ask| !ask.may_overtake());
        let served = flight.groups().iter().filter(changes).map(|group| group.sale.detached());
        let in_turn = left.iter().filter(|waiting| waiting.is_in_turn);
        self.shared.taken.borrow_mut().push_back(TakenBatch {
            served: served.collect(),
            left: in_turn.map(|waiting| waiting.sale.detached()).collect(),
        });
    }

    /// Sends a batch and hands out its replies. Returns why the session ends, if it does.
    fn carry(&mut self, flight: InFlightBatch) -> Option<Stop> {
        self.set_deadline();
        let groups: Vec<&Group> = flight.groups().iter().collect();
        let replies = if groups.iter().all(|group| self.registered.contains(&group.sale)) {
            self.round_trip(&groups, Extra::default()).0
        } else {
            self.check_index(&groups)
        };
        let failure = |error: LedgerError| Failure::from(&error);
        let results = replies.into_iter().map(|reply| reply.map_err(failure)).collect();
        self.seller.batcher.complete(flight, results);
        self.broken
    }

    /// The same for a batch with sales that this session has not seen in the index.
    fn check_index(&mut self, groups: &[&Group]) -> Vec<GroupResult> {
        let is_known: Vec<bool> =
            groups.iter().map(|group| self.registered.contains(&group.sale)).collect();
        let those = |wanted: bool| {
            let all = groups.iter().zip(&is_known).filter(move |(_, known)| **known == wanted);
            all.map(|(group, _)| *group)
        };
        let known: Vec<&Group> = those(true).collect();
        let created: Vec<&SaleId> =
            those(false).filter(|group| creates(group)).map(|group| &group.sale).collect();
        let asked: Vec<&SaleId> =
            those(false).filter(|group| !creates(group)).map(|group| &group.sale).collect();

        let questions = Extra { exists: owned(&asked), ..Extra::default() };
        let (known_replies, answers) = self.round_trip(&known, questions);
        let mut known_replies = known_replies.into_iter();
        let Some(Answers { found, now_ms }) = answers else {
            // The questions had no effect, and nothing else was sent about these sales.
            let mut reply = |known: &bool| known.then(|| known_replies.next()).flatten();
            return is_known.iter().map(|k| reply(k).unwrap_or_else(|| Err(unsent()))).collect();
        };
        let exist = asked.iter().zip(found).filter(|(_, found)| *found).map(|(sale, _)| *sale);
        let there: Vec<&SaleId> = exist.chain(created.iter().copied()).collect();
        let is_registered = self.register(&there);

        let may_go =
            |group: &Group| there.contains(&&group.sale) && (is_registered || !holds(group));
        let fresh: Vec<&Group> = those(false).filter(|group| may_go(group)).collect();
        let again = if is_registered { owned(&created) } else { Vec::new() };
        let (fresh_replies, _) = self.round_trip(&fresh, Extra { add: again, ..Extra::default() });
        let made = fresh
            .iter()
            .zip(&fresh_replies)
            .filter(|(group, reply)| reply.as_ref().is_ok_and(|reply| is_news(group, reply)));
        let made: Vec<SaleId> = made.map(|(group, _)| group.sale.clone()).collect();
        if !made.is_empty() {
            self.round_trip(&[], Extra { announce: made, ..Extra::default() });
        }
        let mut fresh_replies = fresh_replies.into_iter();
        let replies = groups.iter().zip(&is_known).map(|(group, &known)| {
            let reply = if known {
                known_replies.next()
            } else if may_go(group) {
                fresh_replies.next()
            } else if there.contains(&&group.sale) {
                Some(Err(unsent()))
            } else {
                let outcomes = vec![Outcome::UnknownSale; group.commands.len()];
                Some(Ok(GroupReply { outcomes, free: None, now_ms }))
            };
            reply.expect("a reply for every group that was sent")
        });
        replies.collect()
    }

    /// Adds sales to the index. Returns whether they are in it.
    fn register(&mut self, sales: &[&SaleId]) -> bool {
        if sales.is_empty() {
            return true;
        }
        let (_, answers) = self.round_trip(&[], Extra { add: owned(sales), ..Extra::default() });
        if answers.is_some() {
            self.registered.note(sales, self.clock.now_ms());
        }
        answers.is_some()
    }

    /// Sends groups and further commands and receives their replies. If the further commands get no
    /// answer, the connection is broken.
    fn round_trip(
        &mut self,
        groups: &[&Group],
        mut extra: Extra,
    ) -> (Vec<GroupResult>, Option<Answers>) {
        if self.broken.is_some() {
            return (vec![Err(unsent()); groups.len()], None);
        }
        extra.add.extend(owned(&self.registered.aged(groups, self.clock.now_ms())));
        let (replies, answers) = self.exchange(groups, extra);
        if replies.iter().any(|reply| reply.as_ref().is_err_and(is_fenced)) {
            self.broken = self.broken.or(Some(BROKEN));
        }
        for (group, reply) in groups.iter().zip(&replies) {
            let Ok(reply) = reply else { continue };
            if reply.free.is_none() {
                self.registered.forget(&group.sale);
            } else if self.registered.holds_otherwise(&group.sale, reply) {
                self.shared.notified.note(&group.sale);
            }
        }
        (replies, answers)
    }

    /// Sends and receives. If that fails half way, the connection is broken: groups whose replies
    /// have come keep them, the others are lost, and the further commands have no answers.
    ///
    /// With replicas, `WAIT` follows the groups, and `replicas::judge` withdraws what too few have.
    fn exchange(&mut self, groups: &[&Group], extra: Extra) -> (Vec<GroupResult>, Option<Answers>) {
        let Extra { exists, add, announce } = extra;
        let pipeline = Pipeline {
            epoch: self.codec.epoch(),
            groups: groups.iter().map(|group| (*group).clone()).collect(),
            exists,
            add,
            announce,
            ..Pipeline::default()
        };
        if pipeline.is_empty() {
            return (Vec::new(), Some(Answers::default()));
        }
        self.shared.wire.send(Ask::Pipeline(pipeline));
        let (mut replies, answers) = match self.receive() {
            Ok(Reply::Pipeline(PipelineReply { groups, found, now_ms, is_cut: false, .. })) => {
                (groups, Some(Answers { found, now_ms }))
            }
            Ok(Reply::Pipeline(PipelineReply { groups, .. })) => {
                self.broken = Some(BROKEN);
                (groups, None)
            }
            Ok(Reply::Welcome) => {
                self.broken = Some(BROKEN);
                (Vec::new(), None)
            }
            Err(stop) => {
                self.broken = Some(stop);
                (Vec::new(), None)
            }
        };
        let lost = || LedgerError::Lost("the connection ended".to_owned());
        replies.resize_with(groups.len(), || Err(lost()));
        (replies, answers)
    }
}

type GroupResult = Result<GroupReply, LedgerError>;

/// Commands that go out after the groups of a batch.
#[derive(Default)]
struct Extra {
    exists: Vec<SaleId>,
    add: Vec<SaleId>,
    announce: Vec<SaleId>,
}

/// The answers to them.
#[derive(Default)]
struct Answers {
    found: Vec<bool>,
    now_ms: u64,
}

/// The error of what was not sent.
fn unsent() -> LedgerError {
    LedgerError::Refused("the connection had ended".to_owned())
}
