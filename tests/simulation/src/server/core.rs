//! A core: the real purchase layer, and what the engine does around it.
//!
//! The order of what happens in a round is that of `engine/event_loop.rs` and `engine/tick.rs`,
//! which cannot run here, since they wait for descriptors. Whoever changes them changes this file
//! too.
//!
//! A round is one step of a run. What it does, it does at the end of the time that it takes: so the
//! core's clock, which is read when a round begins, is as old as its round.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use stampede::clock::Clock;
use stampede::handler::simulation::{PendingAction, ReservationAction};
use stampede::ledger::batch::{Batcher, WaiterId, Waker};
use stampede::limits::RESUMED_AT_ONCE_MAX;
use stampede::purchase::{
    self, Completed, PendingPurchase, PendingView, Progress, PurchaseOutcome, PurchaseRequest,
    SaleCacheUpdater, Seller, Selling, ViewProgress,
};
use stampede::queue_limits::QueueLimits;
use stampede::random;
use stampede::sale::{Key, ReservationId, SaleId, User};
use stampede::trace::Trace as RequestTrace;

use super::client::Notified;
use super::link::Link;
use super::redis;
use crate::call::{Call, CallId, Told};
use crate::chance::Chance;
use crate::embedded::{self, Way};
use crate::names::CoreId;
use crate::oracle::{Oracle, Waiters};
use crate::schedule::Answer;
use crate::task::{self, Turns};
use crate::time::{Clocks, MS, SECOND, Us};
use crate::trace::Trace;

/// Events per round.
const EVENTS_MAX: usize = 512;
/// Events that are served per woken request that is resumed within a round.
const EVENTS_PER_ANSWER: usize = 2;
/// Events after which the time is read, to decide whether to poll the urgent events.
const EVENTS_PER_CLOCK_READ: usize = 4;
/// In one of so many cases that decision is that it is time.
const LOOK_ONE_IN: u64 = 4;
/// The time of an ordinary round is below this.
const ROUND_US: Us = 300;
/// With stalls, one round in so many takes long.
const LONG_ROUND_ONE_IN: u64 = 500;
/// The time of a long round.
const LONG_ROUND_MIN: Us = 5 * MS;
/// See [`LONG_ROUND_MIN`].
const LONG_ROUND_MAX: Us = SECOND;
/// Times that the coroutines of a crashed server get to end.
const END_TURNS_MAX: usize = 10_000;

/// What a core needs of the world in one step.
pub struct Step<'a> {
    /// The true time.
    pub now: Us,
    /// The clocks of the core's machine.
    pub clocks: &'a Clocks,
    /// The coroutines.
    pub turns: &'a Turns,
    /// Hears what is asked and answered.
    pub oracle: &'a mut Oracle,
    /// The story of the run.
    pub trace: &'a mut Trace,
    /// Gets the answers.
    pub answers: &'a mut Vec<Answer>,
    /// Whether a round may take long.
    pub long_rounds: bool,
}

/// Woken requests, in the order in which they are resumed: `engine/core.rs` has the same.
#[derive(Default)]
struct WakeQueue {
    /// Resumed before all others.
    first: RefCell<VecDeque<WaiterId>>,
    rest: RefCell<VecDeque<WaiterId>>,
}

impl WakeQueue {
    fn next_first(&self) -> Option<WaiterId> {
        self.first.borrow_mut().pop_front()
    }

    fn next(&self) -> Option<WaiterId> {
        self.next_first().or_else(|| self.rest.borrow_mut().pop_front())
    }

    fn count(&self) -> usize {
        self.first.borrow().len() + self.rest.borrow().len()
    }
}

struct CoreWaker(Rc<WakeQueue>);

impl Waker for CoreWaker {
    fn wake(&self, waiter: WaiterId, first: bool) {
        let queue = if first { &self.0.first } else { &self.0.rest };
        queue.borrow_mut().push_back(waiter);
    }

    fn pending(&self) -> usize {
        self.0.count()
    }
}

/// A seller that is dropped when its server has crashed. In a server it lives for ever, so the
/// purchase layer and the link want a reference to it that does.
struct OwnedSeller(*mut Seller);

impl OwnedSeller {
    fn new(seller: Seller) -> Self {
        Self(Box::into_raw(Box::new(seller)))
    }

    fn get(&self) -> &'static Seller {
        // SAFETY: the pointer is valid until `free`, whose caller has ended everything that has
        // such a reference.
        unsafe { &*self.0 }
    }

    /// Drops the seller.
    ///
    /// # Safety No reference to it is used any more: its link and its flows have ended, and no
    /// request waits.
    unsafe fn free(self) {
        // SAFETY: the pointer comes from a box, and `self` is gone after this.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// A request that waits for the ledger.
enum Waiting {
    Purchase(PendingPurchase),
    View(PendingView),
    Action(PendingAction),
}

/// A request after one step.
enum Progressed {
    Told(Told, Option<SaleId>),
    Waits(Waiting),
}

impl From<Progress> for Progressed {
    fn from(progress: Progress) -> Self {
        match progress {
            Progress::Done(Completed { outcome, target }) => {
                Self::Told(Told::Purchase(outcome.into()), Some(target.id().detached()))
            }
            Progress::Waits(pending) => Self::Waits(Waiting::Purchase(pending)),
        }
    }
}

impl From<ViewProgress> for Progressed {
    fn from(progress: ViewProgress) -> Self {
        match progress {
            ViewProgress::Done(_, Ok(seen)) => {
                Self::Told(Told::View(seen.map(|seen| Box::new(seen.view.clone()))), None)
            }
            ViewProgress::Done(_, Err(failure)) => Self::Told(Told::Failed(failure), None),
            ViewProgress::Waits(pending) => Self::Waits(Waiting::View(pending)),
        }
    }
}

/// What has come over the network.
enum Incoming {
    Request(CallId, Call),
    Reset(CallId),
}

/// What the cores of a server share.
#[derive(Clone)]
pub struct Shared {
    /// Settings and counters of selling.
    pub selling: Arc<Selling>,
    /// The limits of the queues.
    pub queue_limits: Arc<QueueLimits>,
    /// The way to the embedded ledger, if there is one.
    pub way: Option<Way>,
    /// What the sweep is asked.
    pub notified: Rc<Notified>,
}

/// See the module's header.
pub struct Core {
    /// Its name.
    pub id: CoreId,
    /// Its link to the ledger.
    pub link: Link,
    /// Whether a round is scheduled.
    pub round_is_due: bool,
    /// It gets no processor until this time.
    pub stalled_until: Us,
    seller: OwnedSeller,
    clock: Rc<Clock>,
    woken: Rc<WakeQueue>,
    inbox: VecDeque<Incoming>,
    waiting: BTreeMap<CallId, Waiting>,
    /// Its name as text.
    name: String,
    chance: Chance,
    /// The state of the stream from which its ids are drawn.
    ids: u64,
}

impl Core {
    /// Starts a core.
    pub fn start(
        seed: u64,
        id: CoreId,
        shared: Shared,
        now: Us,
        clocks: &Clocks,
        turns: &Turns,
    ) -> Self {
        let Shared { selling, queue_limits, way, notified } = shared;
        let clock = Rc::new(Clock::default());
        clock.set_times(clocks.monotonic_ms(now), clocks.wall_ms(now));
        let batcher = Batcher::new(queue_limits);
        let owned = OwnedSeller::new(Seller::new(id.core, selling, clock.clone(), batcher, None));
        let seller = owned.get();
        seller.batcher.set_observer(Box::new(SaleCacheUpdater(seller)));
        let woken = Rc::<WakeQueue>::default();
        seller.batcher.set_waker(Box::new(CoreWaker(woken.clone())));
        seller.flows.set_spawn(Box::new(task::spawn_flow));
        let link = match way {
            None => Link::Redis(redis::Link::start(turns, seller, clock.clone(), notified)),
            Some(way) => {
                let place = (id.core, way);
                Link::Embedded(embedded::Link::start(turns, place, seller, clock.clone()))
            }
        };
        let stream = |what: &str| {
            let CoreId { server, start, core } = id;
            Chance::of(seed, &format!("{what} {server}.{start}.{core}"))
        };
        Self {
            id,
            link,
            round_is_due: false,
            stalled_until: 0,
            seller: owned,
            clock,
            woken,
            inbox: VecDeque::new(),
            waiting: BTreeMap::new(),
            name: id.to_string(),
            chance: stream("core"),
            ids: stream("ids").next(),
        }
    }

    /// A request has come.
    pub fn receive(&mut self, call: CallId, what: Call) {
        self.inbox.push_back(Incoming::Request(call, what));
    }

    /// The client of a request is gone.
    pub fn reset(&mut self, call: CallId) {
        self.inbox.push_back(Incoming::Reset(call));
    }

    /// Runs one round of events. Returns whether the next one begins at once.
    pub fn round(&mut self, step: &mut Step<'_>) -> bool {
        self.round_is_due = false;
        self.with_own_ids(|core| core.run_round(step))
    }

    /// Does the periodic work. Returns whether a round begins at once.
    pub fn tick(&mut self, step: &mut Step<'_>) -> bool {
        self.with_own_ids(|core| {
            core.read_clock(step, 0);
            core.link.wake_if_overdue(core.clock.now_ms());
            core.seller.get().tick();
            step.turns.settle();
            core.has_work()
        })
    }

    /// Which requests still wait, although nothing delays their answers. `None`: none does. What
    /// the core asks by itself to renew its views does not count.
    pub fn unanswered(&self) -> Option<String> {
        let seller = self.seller.get();
        let (waiting, tickets) = (self.waiting.len(), seller.batcher.waiting());
        let flows = seller.flows.running();
        (waiting + tickets + flows > 0).then(|| {
            format!("{}: {waiting} requests wait, {tickets} tickets, {flows} flows", self.id)
        })
    }

    /// Ends the core: its process has crashed. Nothing that happens now reaches anybody. Returns
    /// what has not ended.
    pub fn crash(mut self, step: &mut Step<'_>) -> Option<String> {
        for call in self.waiting.keys() {
            step.oracle.told(step.now, *call, &Told::Nothing);
        }
        self.waiting.clear();
        self.link.end();
        let seller = self.seller.get();
        for _ in 0..END_TURNS_MAX {
            step.turns.settle();
            if self.link.has_ended() && seller.flows.running() == 0 {
                break;
            }
        }
        let (has_ended, flows) = (self.link.has_ended(), seller.flows.running());
        if !has_ended || flows > 0 {
            // The seller stays, since they still use it.
            return Some(format!("{}: link ended: {has_ended}, {flows} flows run", self.id));
        }
        // SAFETY: its link and its flows have ended, and its waiting requests were dropped. The
        // observer of its batcher goes with it.
        unsafe { self.seller.free() };
        None
    }

    /// Runs something with the stream of ids of this core.
    fn with_own_ids<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> T {
        let others = random::set_stream(self.ids);
        let result = run(self);
        self.ids = random::set_stream(others);
        result
    }

    fn run_round(&mut self, step: &mut Step<'_>) -> bool {
        let is_long = step.long_rounds && self.chance.one_in(LONG_ROUND_ONE_IN);
        let takes = match is_long {
            true => self.chance.spread(LONG_ROUND_MIN, LONG_ROUND_MAX),
            false => self.chance.below(ROUND_US),
        };
        self.read_clock(step, takes);
        self.resume_first(step);
        for served in 1..=self.inbox.len().min(EVENTS_MAX) {
            let Some(incoming) = self.inbox.pop_front() else { break };
            self.serve(step, incoming);
            // The oracle hears how old the clock was when a request was served, but not for one
            // that was resumed.
            if !is_long {
                self.look_up(step, served);
            }
        }
        if is_long {
            self.read_clock(step, 0);
        }
        for _ in 0..RESUMED_AT_ONCE_MAX {
            let Some(waiter) = self.woken.next() else { break };
            self.resume(step, waiter);
        }
        let at_once = self.seller.get().batcher.end_of_round();
        self.link.wake_if_ready();
        step.turns.settle();
        while let Some(taken) = self.link.take_taken() {
            step.oracle.taken(step.now, &self.name, taken);
        }
        self.show_waiters(step);
        at_once || self.has_work()
    }

    /// Shows the oracle who waits. What waits for a flow cannot be counted from here.
    fn show_waiters(&self, step: &mut Step<'_>) {
        let seller = self.seller.get();
        if seller.flows.running() > 0 {
            return;
        }
        let (waiting, pending) = (seller.batcher.waiting() as u64, self.waiting.len() as u64);
        let waiters = Waiters { waiting, pending, ..Waiters::default() };
        step.oracle.waiters(step.now, &self.name, &waiters);
    }

    /// Runs between two events of a round.
    fn look_up(&mut self, step: &mut Step<'_>, served: usize) {
        if served.is_multiple_of(EVENTS_PER_ANSWER)
            && let Some(waiter) = self.woken.next()
        {
            self.resume(step, waiter);
        }
        if !served.is_multiple_of(EVENTS_PER_CLOCK_READ) || !self.chance.one_in(LOOK_ONE_IN) {
            return;
        }
        self.read_clock(step, 0);
        let woken = self.link.wake_if_ready();
        let sent = self.seller.get().batcher.wake_link();
        if woken || sent {
            step.turns.settle();
            self.resume_first(step);
        }
    }

    fn has_work(&self) -> bool {
        self.woken.count() > 0 || !self.inbox.is_empty()
    }

    /// The clock was read this long ago.
    fn read_clock(&self, step: &Step<'_>, ago: Us) {
        let at = step.now.saturating_sub(ago);
        let now_ms = step.clocks.monotonic_ms(at).max(self.clock.now_ms());
        self.clock.set_times(now_ms, step.clocks.wall_ms(at));
    }

    fn resume_first(&mut self, step: &mut Step<'_>) {
        while let Some(waiter) = self.woken.next_first() {
            self.resume(step, waiter);
        }
    }

    fn serve(&mut self, step: &mut Step<'_>, incoming: Incoming) {
        match incoming {
            Incoming::Request(call, what) => {
                let read_at = step.clocks.true_time_of(self.clock.now_ms());
                let clock_age_us = step.now.saturating_sub(read_at);
                step.oracle.asked(step.now, clock_age_us, call, &what);
                let progressed = begin(self.seller.get(), call, &what);
                self.note(step, call, progressed);
            }
            Incoming::Reset(call) => {
                let Some(waiting) = self.waiting.remove(&call) else { return };
                let seller = self.seller.get();
                match waiting {
                    Waiting::Purchase(pending) => pending.give_up(seller),
                    Waiting::View(pending) => pending.give_up(seller),
                    Waiting::Action(pending) => pending.cancel(seller),
                }
                step.trace.note(step.now, || format!("{}: {call} is given up", self.id));
                step.oracle.told(step.now, call, &Told::Nothing);
            }
        }
    }

    fn resume(&mut self, step: &mut Step<'_>, waiter: WaiterId) {
        let call = CallId(waiter.0);
        // Its client may be gone.
        let Some(waiting) = self.waiting.remove(&call) else { return };
        let progressed = proceed(self.seller.get(), waiting, waiter);
        self.note(step, call, progressed);
    }

    fn note(&mut self, step: &mut Step<'_>, call: CallId, progressed: Progressed) {
        match progressed {
            Progressed::Waits(waiting) => _ = self.waiting.insert(call, waiting),
            Progressed::Told(told, place) => {
                step.trace.note(step.now, || format!("{}: {call} is told {told:?}", self.id));
                step.oracle.told(step.now, call, &told);
                step.answers.push(Answer { call, told, place });
            }
        }
    }
}

/// The first step of a request. A request is named by the number of its attempt.
fn begin(seller: &'static Seller, call: CallId, what: &Call) -> Progressed {
    let waiter = WaiterId(call.0);
    let act =
        |sale: &SaleId, id: ReservationId, action: ReservationAction| match PendingAction::begin(
            seller,
            waiter,
            sale.clone(),
            id,
            action,
        ) {
            Ok(pending) => Progressed::Waits(Waiting::Action(pending)),
            Err(failure) => Progressed::Told(Told::Failed(failure), None),
        };
    match what {
        Call::Buy { sale, user, key, quantity } => {
            let slot = match seller.sale_to_buy(sale.as_str()) {
                Ok(slot) => slot,
                Err(outcome) => {
                    return Progressed::Told(Told::Purchase(outcome.into()), Some(sale.clone()));
                }
            };
            let trace = RequestTrace::from_texts(&call.tag(), "").map(Arc::new);
            let request = || PurchaseRequest {
                quantity: *quantity,
                user: user.as_deref().and_then(|user| User::new(user).ok()),
                key: key.as_deref().and_then(|key| Key::new(key).ok()),
                details: None,
                trace: trace.clone(),
            };
            let has_key = key.is_some();
            purchase::begin(seller, &slot, (has_key, trace.as_ref()), request, waiter).into()
        }
        Call::Show { sale, id } => act(sale, *id, ReservationAction::Show),
        Call::Confirm { sale, id } => act(sale, *id, ReservationAction::Confirm),
        Call::Cancel { sale, id } => act(sale, *id, ReservationAction::Cancel),
        Call::View { sale } => {
            let slot = match seller.sale(sale.as_str()) {
                Ok(slot) => slot,
                Err(PurchaseOutcome::Failed(failure)) => {
                    return Progressed::Told(Told::Failed(failure), None);
                }
                Err(_) => return Progressed::Told(Told::View(None), None),
            };
            purchase::view(seller, slot, waiter).into()
        }
    }
}

/// The next step of a request that was woken.
fn proceed(seller: &'static Seller, waiting: Waiting, waiter: WaiterId) -> Progressed {
    match waiting {
        Waiting::Purchase(pending) => pending.resume(seller, waiter).into(),
        Waiting::View(pending) => pending.resume(seller, waiter).into(),
        Waiting::Action(pending) => match pending.poll(seller, waiter) {
            Ok(completed) => Progressed::Told(
                match completed.answer() {
                    Ok(outcome) => Told::Reservation(outcome.clone()),
                    Err(failure) => Told::Failed(*failure),
                },
                None,
            ),
            Err(pending) => Progressed::Waits(Waiting::Action(pending)),
        },
    }
}
