//! One core's link to a Cluster: gives every command to the [`Lane`] of its node, and sees to those
//! that come back because they belong elsewhere or because now is not the time.
//!
//! Each lane has its own batch under way, so sales of one node never wait for another node. What a
//! node turned down (a slot that is on its way, a node that is away while its replica takes over) is
//! tried again at every tick, within the time in which any batch must be answered; but not if its
//! sale has been turned down for that long already: then it is `unavailable` at once, or the core
//! would fill up with those who wait in vain.
//!
//! A sale that is met for the first time is looked for and added to the index before a unit of it is
//! held (see `index`), as by the link to a single Redis; here each of these steps is a work of its
//! own, as the index is on a node of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::slice;
use std::sync::Arc;

use hashbrown::HashMap;
use redis::Value;

use super::super::codec::runs;
use super::super::decode_error::{DecodeError, classify};
use super::super::hash_slot::slot_of;
use super::super::index::{self, Registered};
use super::super::replicas;
use super::super::reply::decode;
use super::super::settings::Endpoint;
use super::super::shared::RedisLedger;
use super::discover::Cluster;
use super::lane::{Dispatcher, Lane};
use super::slots::Redirection;
use super::work::{Run, What, Work};
use crate::engine::core::Core;
use crate::ledger::flight::Flight;
use crate::ledger::link::{LinkState, Site};
use crate::ledger::{Failure, Group, GroupReply, LedgerError};
use crate::limits::{
    CLUSTER_LANE_IDLE_MS, CLUSTER_LANES_MAX, CLUSTER_REDIRECTS_MAX, HANDSHAKE_STACK_BYTES,
    REFUSAL_LOG_INTERVAL_MS, SALES_MAX, STACK_BYTES, TICK_INTERVAL_MS,
};
use crate::sale::{Command, Outcome, SaleId};

/// See the module's header.
pub(super) struct Link {
    site: &'static Site,
    ledger: Arc<RedisLedger>,
    cluster: Arc<Cluster>,
    index_slot: u16,
    lanes: RefCell<Vec<Rc<Lane>>>,
    registered: RefCell<Registered>,
    /// What waits for its sale to be found and added to the index.
    meeting: RefCell<HashMap<SaleId, Vec<Work>>>,
    /// What is tried again at the next tick.
    later: RefCell<Vec<Work>>,
    /// Sales whose commands are turned down.
    troubled: RefCell<HashMap<SaleId, Trouble>>,
    reported: RefCell<Option<LinkState>>,
    refusal_logged_ms: Cell<Option<u64>>,
}

/// Since when, and when last, a sale's commands were turned down.
struct Trouble {
    since_ms: u64,
    last_ms: u64,
}

/// The life of a core's link to a Cluster.
pub(crate) fn run(site: &'static Site, ledger: &Arc<RedisLedger>, cluster: &Arc<Cluster>) {
    let core = site.core;
    let link = Rc::new(Link {
        site,
        ledger: ledger.clone(),
        cluster: cluster.clone(),
        index_slot: slot_of(ledger.codec.keys().index().as_bytes()),
        lanes: RefCell::default(),
        registered: RefCell::default(),
        meeting: RefCell::default(),
        later: RefCell::default(),
        troubled: RefCell::default(),
        reported: RefCell::default(),
        refusal_logged_ms: Cell::new(None),
    });
    let ticking = link.clone();
    if !core.spawn_here("redis-again", STACK_BYTES, move |_| ticking.tick_on()) {
        let reason = "no memory for a coroutine".to_owned();
        return site.report(LinkState::Away { reason, fatal: true });
    }
    let now_ms = || core.clock.now_ms();
    while let Some(flight) = site.batcher.next_batch(now_ms, || false) {
        link.take(flight);
        if site.batcher.has_more() {
            core.gate.hurry();
        }
    }
}

impl Link {
    /// Gives each part of a batch to its lane.
    fn take(self: &Rc<Self>, flight: Flight) {
        let now_ms = self.site.core.clock.now_ms();
        let groups: Vec<&Group> = flight.groups().iter().collect();
        let aged: Vec<SaleId> =
            self.registered.borrow_mut().aged(&groups, now_ms).into_iter().cloned().collect();
        if !aged.is_empty() {
            self.add_to_index(aged, self.until_ms());
        }
        for flight in flight.parts() {
            self.take_group(flight);
        }
    }

    /// Each run of a group goes on its own: one may be carried out and the next one be redirected.
    fn take_group(self: &Rc<Self>, mut flight: Flight) {
        let first = |group: &Group| runs(&group.commands).next().map_or(0, <[Command]>::len);
        let Some(group) = flight.groups().first() else { return };
        let slot = self.ledger.codec.keys().of(&group.sale).slot();
        let known = self.registered.borrow().contains(&group.sale);
        loop {
            let Some(group) = flight.groups().first() else { return };
            let length = first(group);
            let more = length < group.commands.len();
            let rest = more.then(|| flight.split_off(length));
            let creates = !known && flight.groups().first().is_some_and(index::creates);
            let run = What::Run(Run { flight, creates });
            let work = Self::work(run, slot, self.until_ms());
            if known {
                self.dispatch(work)
            } else {
                self.meet(work)
            }
            match rest {
                Some(next) => flight = next,
                None => return,
            }
        }
    }

    /// Until when something that comes now may wait to be sent.
    fn until_ms(&self) -> u64 {
        self.site.core.clock.now_ms() + self.site.batcher.answer_deadline_ms()
    }

    fn work(what: What, slot: u16, until_ms: u64) -> Work {
        Work { what, slot, asking: false, redirects: 0, until_ms }
    }

    fn add_to_index(self: &Rc<Self>, sales: Vec<SaleId>, until_ms: u64) {
        self.dispatch(Self::work(What::Index(sales), self.index_slot, until_ms));
    }

    /// Something for a sale that may not be in the index: it waits until the sale is. No step towards
    /// that takes longer than it may wait.
    fn meet(self: &Rc<Self>, work: Work) {
        let What::Run(run) = &work.what else { return };
        let (slot, until_ms) = (work.slot, work.until_ms);
        let (sale, creates) = (run.group().sale.clone(), run.creates);
        let mut meeting = self.meeting.borrow_mut();
        let waiting = meeting.entry(sale.clone()).or_default();
        waiting.push(work);
        let first = waiting.len() == 1;
        drop(meeting);
        match (first, creates) {
            (false, _) => {}
            (true, true) => self.add_to_index(vec![sale], until_ms),
            (true, false) => self.dispatch(Self::work(What::Exists(sale), slot, until_ms)),
        }
    }

    /// Whether a sale that is met is there.
    fn found(
        self: &Rc<Self>,
        sale: SaleId,
        found: Result<(bool, u64), DecodeError>,
        until_ms: u64,
    ) {
        let creates = |work: &Work| matches!(&work.what, What::Run(Run { creates: true, .. }));
        let wanted = self.meeting.borrow().get(&sale).is_some_and(|all| all.iter().any(creates));
        match found {
            Ok((there, _)) if there || wanted => self.add_to_index(vec![sale], until_ms),
            Ok((_, now_ms)) => {
                let waiting = self.meeting.borrow_mut().remove(&sale);
                for work in waiting.into_iter().flatten() {
                    let What::Run(run) = work.what else { continue };
                    let outcomes = vec![Outcome::UnknownSale; run.group().commands.len()];
                    let reply = GroupReply { outcomes, free: None, now_ms };
                    self.site.batcher.complete(run.flight, vec![Ok(reply)]);
                }
            }
            Err(error) => {
                self.log_refusal(&error.to_string());
                let waiting = self.meeting.borrow_mut().remove(&sale);
                // Whatever the question failed for, none of these was sent.
                let all = waiting.into_iter().flatten();
                all.for_each(|work| self.fail(work, Failure::Unavailable));
            }
        }
    }

    /// Whether sales are in the index now.
    fn indexed(self: &Rc<Self>, sales: &[SaleId], added: Result<(), DecodeError>) {
        let now_ms = self.site.core.clock.now_ms();
        match &added {
            Ok(()) => {
                self.registered.borrow_mut().note(&sales.iter().collect::<Vec<_>>(), now_ms);
            }
            Err(error) => self.log_refusal(&error.to_string()),
        }
        for sale in sales {
            let waiting = self.meeting.borrow_mut().remove(sale);
            for work in waiting.into_iter().flatten() {
                let holds = matches!(&work.what, What::Run(run) if index::holds(run.group()));
                match &added {
                    Err(error) if holds => {
                        self.fail(work, Failure::from(&LedgerError::from(error.clone())));
                    }
                    _ => self.dispatch(work),
                }
            }
        }
    }

    /// Gives something to the lane of its node.
    fn dispatch(self: &Rc<Self>, work: Work) {
        match self.cluster.slots.node(work.slot) {
            Some(node) => self.send(work, &node),
            None => {
                self.cluster.want();
                self.try_later(work);
            }
        }
    }

    fn send(self: &Rc<Self>, work: Work, node: &Arc<Endpoint>) {
        match self.lane(node) {
            None => self.fail(work, Failure::Unavailable),
            Some(lane) if lane.is_away() => {
                self.cluster.want();
                self.try_later(work);
            }
            Some(lane) => lane.push(work, self.site.core.clock.now_ms()),
        }
    }

    /// A node's lane, which is started if there is none. `None`: there are too many, or no memory.
    fn lane(self: &Rc<Self>, node: &Arc<Endpoint>) -> Option<Rc<Lane>> {
        let there = self.lanes.borrow().iter().find(|lane| lane.node == *node).cloned();
        if there.is_some() {
            return there;
        }
        if self.lanes.borrow().len() >= CLUSTER_LANES_MAX {
            self.log_refusal("the Cluster has more nodes than a core connects to");
            return None;
        }
        let lane = Rc::new(Lane::new(node.clone(), self.site.core.clock.now_ms()));
        self.lanes.borrow_mut().push(lane.clone());
        let (theirs, link) = (lane.clone(), self.clone());
        let body = move |_: &'static Core| theirs.run(&link);
        if self.site.core.spawn_here("redis-node", HANDSHAKE_STACK_BYTES, body) {
            return Some(lane);
        }
        self.end(&lane);
        None
    }

    fn settle_run(self: &Rc<Self>, run: Run, done: Result<GroupReply, DecodeError>) {
        let sale = &run.group().sale;
        if let Ok(reply) = &done {
            let mut registered = self.registered.borrow_mut();
            if reply.free.is_none() {
                registered.forget(sale);
            } else if registered.holds_otherwise(sale, reply) {
                self.ledger.tell_sweep(sale);
            }
        }
        let noted = self.ledger.note_group(run.group(), &done);
        if run.creates {
            // Somebody may have removed it from the index meanwhile.
            self.add_to_index(vec![sale.clone()], self.until_ms());
        }
        if done.as_ref().is_ok_and(|reply| index::is_news(run.group(), reply)) {
            let made = What::Made(sale.clone());
            self.dispatch(Self::work(made, self.index_slot, self.until_ms()));
        }
        let result = done.map_err(|error| {
            if !noted {
                self.log_refusal(&error.to_string());
            }
            Failure::from(&LedgerError::from(error))
        });
        self.site.batcher.complete(run.flight, vec![result]);
    }

    fn redirect(self: &Rc<Self>, mut work: Work, redirection: Redirection) {
        work.redirects += 1;
        let at_once = work.redirects <= CLUSTER_REDIRECTS_MAX;
        match redirection {
            Redirection::Moved(slot, node) => {
                self.cluster.slots.moved(slot, node);
                self.cluster.want();
                if at_once { self.dispatch(work) } else { self.try_later(work) }
            }
            // One of several commands would be asked, and the others not.
            Redirection::Ask(node) if at_once && !work.is_look() => {
                work.asking = true;
                self.send(work, &Arc::new(node));
            }
            Redirection::Ask(_) | Redirection::Later => self.try_later(work),
        }
    }

    /// At every tick: tries again what was turned down, and looks after the lanes.
    fn tick_on(self: &Rc<Self>) {
        let pause = self.site.core.gate.signal();
        loop {
            self.tick();
            let until_ms = self.site.core.clock.now_ms() + TICK_INTERVAL_MS / 2;
            let _ = pause.wait(|| self.site.core.clock.now_ms(), until_ms);
            self.site.core.assert_here();
        }
    }

    fn tick(self: &Rc<Self>) {
        // The thread that asks is started by whoever is first.
        Cluster::watch(&self.cluster);
        match self.cluster.slots.node(self.index_slot) {
            Some(node) => _ = self.lane(&node),
            None => self.cluster.want(),
        }
        for work in self.later.take() {
            self.dispatch(work);
        }
        let now_ms = self.site.core.clock.now_ms();
        let lanes = self.lanes.borrow().clone();
        for lane in lanes {
            if now_ms > lane.used_ms() + CLUSTER_LANE_IDLE_MS && !self.cluster.slots.has(&lane.node)
            {
                lane.retire();
            }
        }
        self.note_state();
    }

    /// `None`: it is on its way.
    fn state(&self) -> Option<LinkState> {
        let lanes = self.lanes.borrow();
        if lanes.iter().any(|lane| lane.is_up()) {
            return Some(LinkState::Up);
        }
        let failure = lanes.iter().find_map(|lane| lane.failure());
        let (reason, fatal) = failure.or_else(|| self.cluster.failure())?;
        Some(LinkState::Away { reason, fatal })
    }

    /// Now and then: every purchase is refused until somebody puts right what is wrong.
    fn log_refusal(&self, why: &str) {
        let now_ms = self.site.core.clock.now_ms();
        let last = self.refusal_logged_ms.get();
        if last.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS) {
            self.refusal_logged_ms.set(Some(now_ms));
            tracing::warn!(core = self.site.core.index, error = why, "the Cluster refused a batch");
        }
    }
}

impl Dispatcher for Link {
    fn core(&self) -> &'static Core {
        self.site.core
    }

    fn answer_deadline_ms(&self) -> u64 {
        self.site.batcher.answer_deadline_ms()
    }

    fn ledger(&self) -> &RedisLedger {
        &self.ledger
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn settle(
        self: &Rc<Self>,
        node: &Endpoint,
        mut work: Work,
        mut values: Vec<Value>,
        waited: Option<&Value>,
    ) -> Option<Work> {
        if std::mem::take(&mut work.asking) && values.len() > 1 {
            values.remove(0);
        }
        let turned_down = values.iter().find_map(|value| match value {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        if let Some(error) = turned_down
            && let Some(redirection) = Redirection::of(error, node)
        {
            self.redirect(work, redirection);
            return None;
        }
        if let Some(sale) = work.sale()
            && !self.troubled.borrow().is_empty()
        {
            self.troubled.borrow_mut().remove(sale);
        }
        let keys = self.ledger.codec.keys();
        match work.what {
            What::Run(run) => match decode(run.group(), &values) {
                Err(DecodeError::NoScript) => return Some(Work { what: What::Run(run), ..work }),
                mut done => {
                    if let Some(answer) = waited {
                        let wanted = self.ledger.settings.replicas;
                        replicas::judge(wanted, answer, [run.group()], slice::from_mut(&mut done));
                    }
                    self.settle_run(run, done);
                }
            },
            What::Exists(sale) => {
                let there = match &values[0] {
                    Value::ServerError(error) => Err(classify(error)),
                    reply => Ok(*reply != Value::Int(0)),
                };
                let found = there.and_then(|there| Ok((there, index::time_ms(values.pop())?)));
                self.found(sale, found, work.until_ms);
            }
            What::Index(sales) => self.indexed(&sales, index::judge(keys, &values[0])),
            // A hint: who may not give it goes without.
            What::Made(_) => {}
        }
        None
    }

    fn go_on(self: &Rc<Self>, mut work: Work) {
        work.redirects += 1;
        if work.redirects <= CLUSTER_REDIRECTS_MAX {
            self.dispatch(work);
        } else {
            self.try_later(work);
        }
    }

    fn try_later(self: &Rc<Self>, mut work: Work) {
        let now_ms = self.site.core.clock.now_ms();
        let patience_ms = self.site.batcher.answer_deadline_ms();
        let since_ms = work.sale().map_or(now_ms, |sale| {
            let mut troubled = self.troubled.borrow_mut();
            if troubled.len() >= SALES_MAX {
                troubled.clear();
            }
            let fresh = Trouble { since_ms: now_ms, last_ms: now_ms };
            let trouble = troubled.entry(sale.clone()).or_insert(fresh);
            if now_ms > trouble.last_ms + patience_ms {
                // Another one: nobody had asked for the sale meanwhile.
                trouble.since_ms = now_ms;
            }
            trouble.last_ms = now_ms;
            trouble.since_ms
        });
        if now_ms >= work.until_ms || now_ms - since_ms >= patience_ms {
            self.log_refusal("a sale's node is away, or its slot is on its way");
            return self.fail(work, Failure::Unavailable);
        }
        (work.asking, work.redirects) = (false, 0);
        self.later.borrow_mut().push(work);
    }

    fn lose(self: &Rc<Self>, work: Work) {
        match work.what {
            What::Run(_) => self.fail(work, Failure::Unknown),
            // May be done twice.
            What::Exists(_) | What::Index(_) => self.try_later(work),
            What::Made(_) => {}
        }
    }

    fn fail(self: &Rc<Self>, work: Work, failure: Failure) {
        let refused = || DecodeError::Refused("the node of the index is away".to_owned());
        match work.what {
            What::Run(run) => self.site.batcher.fail(run.flight, failure),
            What::Exists(sale) => {
                let waiting = self.meeting.borrow_mut().remove(&sale);
                waiting.into_iter().flatten().for_each(|work| self.fail(work, failure));
            }
            What::Index(sales) => self.indexed(&sales, Err(refused())),
            What::Made(_) => {}
        }
    }

    fn still_wanted(&self, mut work: Work) -> Option<Work> {
        if let What::Run(run) = &mut work.what {
            self.site.batcher.drop_given_up(&mut run.flight);
            if run.group().commands.is_empty() {
                return None;
            }
        }
        Some(work)
    }

    fn note_state(&self) {
        let was_up = *self.reported.borrow() == Some(LinkState::Up);
        let nothing = || LinkState::Away { reason: "no node is connected".into(), fatal: false };
        let Some(state) = self.state().or_else(|| was_up.then(nothing)) else { return };
        if self.reported.borrow().as_ref() == Some(&state) {
            return;
        }
        match state {
            LinkState::Up => self.site.batcher.set_available(),
            LinkState::Away { .. } => self.site.batcher.set_unavailable(),
        }
        self.reported.replace(Some(state.clone()));
        self.site.report(state);
    }

    fn end(&self, lane: &Lane) {
        self.lanes.borrow_mut().retain(|other| !std::ptr::eq(&**other, lane));
        self.note_state();
    }
}
