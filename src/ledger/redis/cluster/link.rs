//! One core's link to a Cluster: passes every command to the [`Lane`] of its node, and handles
//! commands that come back because they belong to another node or must wait.
//!
//! Each lane has its own batch in flight, so sales of one node never wait for another node. A
//! command that a node turned down (its slot is moving, or its replica takes over) is retried at
//! every tick, within the deadline of a batch. If its sale has been turned down for that long
//! already, it fails at once as `unavailable`: waiting requests must not fill the core.
//!
//! A sale that is new to the core is looked up and indexed before a unit of it is held (see
//! `index`), each step as its own work.

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
use super::work::{Run, Work, WorkKind};
use crate::engine::core::Core;
use crate::ledger::in_flight::InFlightBatch;
use crate::ledger::link::{LinkState, Site};
use crate::ledger::{Failure, Group, GroupReply, LedgerError};
use crate::limits::{
    CLUSTER_LANE_IDLE_MS, CLUSTER_LANES_MAX, CLUSTER_REDIRECTS_MAX, HANDSHAKE_STACK_BYTES,
    REFUSAL_LOG_INTERVAL_MS, SALES_MAX, STACK_BYTES, TICK_INTERVAL_MS,
};
use crate::sale::{Command, Outcome, SaleId};

pub(super) struct ClusterLink {
    site: &'static Site,
    ledger: Arc<RedisLedger>,
    cluster: Arc<Cluster>,
    index_slot: u16,
    lanes: RefCell<Vec<Rc<Lane>>>,
    registered: RefCell<Registered>,
    /// Work that waits until its sale was found and added to the index.
    registering: RefCell<HashMap<SaleId, Vec<Work>>>,
    /// Work that is retried at the next tick.
    retry_queue: RefCell<Vec<Work>>,
    /// Sales whose commands are turned down.
    backing_off: RefCell<HashMap<SaleId, Rejections>>,
    reported: RefCell<Option<LinkState>>,
    refusal_logged_ms: Cell<Option<u64>>,
}

/// Since when, and when last, a sale's commands were turned down.
struct Rejections {
    since_ms: u64,
    last_ms: u64,
}

/// Runs a core's link to a Cluster.
pub(crate) fn run(site: &'static Site, ledger: &Arc<RedisLedger>, cluster: &Arc<Cluster>) {
    let core = site.core;
    let link = Rc::new(ClusterLink {
        site,
        ledger: ledger.clone(),
        cluster: cluster.clone(),
        index_slot: slot_of(ledger.codec.keys().index().as_bytes()),
        lanes: RefCell::default(),
        registered: RefCell::default(),
        registering: RefCell::default(),
        retry_queue: RefCell::default(),
        backing_off: RefCell::default(),
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
            core.reactor.wake_leader();
        }
    }
}

impl ClusterLink {
    /// Passes each part of a batch to its lane.
    fn take(self: &Rc<Self>, flight: InFlightBatch) {
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

    /// Passes each run of a group on its own: one may be carried out and the next one redirected.
    fn take_group(self: &Rc<Self>, mut flight: InFlightBatch) {
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
            let run = WorkKind::Run(Run { flight, creates });
            let work = Self::work(run, slot, self.until_ms());
            if known {
                self.dispatch(work)
            } else {
                self.register_then_run(work)
            }
            match rest {
                Some(next) => flight = next,
                None => return,
            }
        }
    }

    /// Until when work that arrives now may wait to be sent.
    fn until_ms(&self) -> u64 {
        self.site.core.clock.now_ms() + self.site.batcher.answer_deadline_ms()
    }

    fn work(what: WorkKind, slot: u16, until_ms: u64) -> Work {
        Work { kind: what, slot, asking: false, redirects: 0, until_ms }
    }

    fn add_to_index(self: &Rc<Self>, sales: Vec<SaleId>, until_ms: u64) {
        self.dispatch(Self::work(WorkKind::Index(sales), self.index_slot, until_ms));
    }

    /// Queues work for a sale that may not be in the index until it is. No step towards that takes
    /// longer than the work may wait.
    fn register_then_run(self: &Rc<Self>, work: Work) {
        let WorkKind::Run(run) = &work.kind else { return };
        let (slot, until_ms) = (work.slot, work.until_ms);
        let (sale, creates) = (run.group().sale.clone(), run.creates);
        let mut meeting = self.registering.borrow_mut();
        let waiting = meeting.entry(sale.clone()).or_default();
        waiting.push(work);
        let first = waiting.len() == 1;
        drop(meeting);
        match (first, creates) {
            (false, _) => {}
            (true, true) => self.add_to_index(vec![sale], until_ms),
            (true, false) => self.dispatch(Self::work(WorkKind::Exists(sale), slot, until_ms)),
        }
    }

    /// Handles the answer whether a sale exists.
    fn on_exists(
        self: &Rc<Self>,
        sale: SaleId,
        found: Result<(bool, u64), DecodeError>,
        until_ms: u64,
    ) {
        let creates = |work: &Work| matches!(&work.kind, WorkKind::Run(Run { creates: true, .. }));
        let wanted =
            self.registering.borrow().get(&sale).is_some_and(|all| all.iter().any(creates));
        match found {
            Ok((there, _)) if there || wanted => self.add_to_index(vec![sale], until_ms),
            Ok((_, now_ms)) => {
                let waiting = self.registering.borrow_mut().remove(&sale);
                for work in waiting.into_iter().flatten() {
                    let WorkKind::Run(run) = work.kind else { continue };
                    let outcomes = vec![Outcome::UnknownSale; run.group().commands.len()];
                    let reply = GroupReply { outcomes, free: None, now_ms };
                    self.site.batcher.complete(run.flight, vec![Ok(reply)]);
                }
            }
            Err(error) => {
                self.log_refusal(&error.to_string());
                let waiting = self.registering.borrow_mut().remove(&sale);
                // None of these was sent, whatever the query failed for.
                let all = waiting.into_iter().flatten();
                all.for_each(|work| self.fail(work, Failure::Unavailable));
            }
        }
    }

    /// Handles the answer whether sales are in the index now.
    fn on_indexed(self: &Rc<Self>, sales: &[SaleId], added: Result<(), DecodeError>) {
        let now_ms = self.site.core.clock.now_ms();
        match &added {
            Ok(()) => {
                self.registered.borrow_mut().note(&sales.iter().collect::<Vec<_>>(), now_ms);
            }
            Err(error) => self.log_refusal(&error.to_string()),
        }
        for sale in sales {
            let waiting = self.registering.borrow_mut().remove(sale);
            for work in waiting.into_iter().flatten() {
                let holds = matches!(&work.kind, WorkKind::Run(run) if index::holds(run.group()));
                match &added {
                    Err(error) if holds => {
                        self.fail(work, Failure::from(&LedgerError::from(error.clone())));
                    }
                    _ => self.dispatch(work),
                }
            }
        }
    }

    /// Passes work to the lane of its node.
    fn dispatch(self: &Rc<Self>, work: Work) {
        match self.cluster.slots.node(work.slot) {
            Some(node) => self.send(work, &node),
            None => {
                self.cluster.request_refresh();
                self.retry_or_fail(work);
            }
        }
    }

    fn send(self: &Rc<Self>, work: Work, node: &Arc<Endpoint>) {
        match self.lane(node) {
            None => self.fail(work, Failure::Unavailable),
            Some(lane) if lane.is_away() => {
                self.cluster.request_refresh();
                self.retry_or_fail(work);
            }
            Some(lane) => lane.push(work, self.site.core.clock.now_ms()),
        }
    }

    /// A node's lane, started if there is none. `None`: there are too many lanes, or no memory.
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
        self.on_lane_end(&lane);
        None
    }

    fn complete_run(self: &Rc<Self>, run: Run, done: Result<GroupReply, DecodeError>) {
        let sale = &run.group().sale;
        if let Ok(reply) = &done {
            let mut registered = self.registered.borrow_mut();
            if reply.free.is_none() {
                registered.forget(sale);
            } else if registered.holds_otherwise(sale, reply) {
                self.ledger.notify_sweep(sale);
            }
        }
        let noted = self.ledger.note_group(run.group(), &done);
        if run.creates {
            // Somebody may have removed it from the index meanwhile.
            self.add_to_index(vec![sale.clone()], self.until_ms());
        }
        if done.as_ref().is_ok_and(|reply| index::is_news(run.group(), reply)) {
            let made = WorkKind::Made(sale.clone());
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
                self.cluster.request_refresh();
                if at_once { self.dispatch(work) } else { self.retry_or_fail(work) }
            }
            // `ASKING` would apply to the first of several commands only.
            Redirection::Ask(node) if at_once && !work.is_read() => {
                work.asking = true;
                self.send(work, &Arc::new(node));
            }
            Redirection::Ask(_) | Redirection::Later => self.retry_or_fail(work),
        }
    }

    /// At every tick: retries what was turned down, and closes unused lanes.
    fn tick_on(self: &Rc<Self>) {
        let pause = self.site.core.reactor.new_notify();
        loop {
            self.tick();
            let until_ms = self.site.core.clock.now_ms() + TICK_INTERVAL_MS / 2;
            let _ = pause.wait(|| self.site.core.clock.now_ms(), until_ms);
            self.site.core.assert_here();
        }
    }

    fn tick(self: &Rc<Self>) {
        // The first core starts the thread that queries the nodes.
        Cluster::watch(&self.cluster);
        match self.cluster.slots.node(self.index_slot) {
            Some(node) => _ = self.lane(&node),
            None => self.cluster.request_refresh(),
        }
        for work in self.retry_queue.take() {
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
        self.report_state();
    }

    /// `None`: the link is being opened.
    fn state(&self) -> Option<LinkState> {
        let lanes = self.lanes.borrow();
        if lanes.iter().any(|lane| lane.is_up()) {
            return Some(LinkState::Up);
        }
        let failure = lanes.iter().find_map(|lane| lane.failure());
        let (reason, fatal) = failure.or_else(|| self.cluster.failure())?;
        Some(LinkState::Away { reason, fatal })
    }

    /// Logged once in a while: every purchase is refused until an operator repairs the cause.
    fn log_refusal(&self, why: &str) {
        let now_ms = self.site.core.clock.now_ms();
        let last = self.refusal_logged_ms.get();
        if last.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS) {
            self.refusal_logged_ms.set(Some(now_ms));
            tracing::warn!(core = self.site.core.index, error = why, "the Cluster refused a batch");
        }
    }
}

impl Dispatcher for ClusterLink {
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

    fn on_reply(
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
            && !self.backing_off.borrow().is_empty()
        {
            self.backing_off.borrow_mut().remove(sale);
        }
        let keys = self.ledger.codec.keys();
        match work.kind {
            WorkKind::Run(run) => match decode(run.group(), &values) {
                Err(DecodeError::NoScript) => {
                    return Some(Work { kind: WorkKind::Run(run), ..work });
                }
                mut done => {
                    if let Some(answer) = waited {
                        let wanted = self.ledger.settings.replicas;
                        replicas::judge(wanted, answer, [run.group()], slice::from_mut(&mut done));
                    }
                    self.complete_run(run, done);
                }
            },
            WorkKind::Exists(sale) => {
                let there = match &values[0] {
                    Value::ServerError(error) => Err(classify(error)),
                    reply => Ok(*reply != Value::Int(0)),
                };
                let found = there.and_then(|there| Ok((there, index::time_ms(values.pop())?)));
                self.on_exists(sale, found, work.until_ms);
            }
            WorkKind::Index(sales) => self.on_indexed(&sales, index::judge(keys, &values[0])),
            // Only a hint: the sweep finds the sale anyway.
            WorkKind::Made(_) => {}
        }
        None
    }

    fn redispatch(self: &Rc<Self>, mut work: Work) {
        work.redirects += 1;
        if work.redirects <= CLUSTER_REDIRECTS_MAX {
            self.dispatch(work);
        } else {
            self.retry_or_fail(work);
        }
    }

    fn retry_or_fail(self: &Rc<Self>, mut work: Work) {
        let now_ms = self.site.core.clock.now_ms();
        let patience_ms = self.site.batcher.answer_deadline_ms();
        let since_ms = work.sale().map_or(now_ms, |sale| {
            let mut troubled = self.backing_off.borrow_mut();
            if troubled.len() >= SALES_MAX {
                troubled.clear();
            }
            let fresh = Rejections { since_ms: now_ms, last_ms: now_ms };
            let trouble = troubled.entry(sale.clone()).or_insert(fresh);
            if now_ms > trouble.last_ms + patience_ms {
                // A new outage: nothing was sent to the sale meanwhile.
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
        self.retry_queue.borrow_mut().push(work);
    }

    fn mark_unknown(self: &Rc<Self>, work: Work) {
        match work.kind {
            WorkKind::Run(_) => self.fail(work, Failure::Unknown),
            // May be done twice.
            WorkKind::Exists(_) | WorkKind::Index(_) => self.retry_or_fail(work),
            WorkKind::Made(_) => {}
        }
    }

    fn fail(self: &Rc<Self>, work: Work, failure: Failure) {
        let refused = || DecodeError::Refused("the node of the index is away".to_owned());
        match work.kind {
            WorkKind::Run(run) => self.site.batcher.fail(run.flight, failure),
            WorkKind::Exists(sale) => {
                let waiting = self.registering.borrow_mut().remove(&sale);
                waiting.into_iter().flatten().for_each(|work| self.fail(work, failure));
            }
            WorkKind::Index(sales) => self.on_indexed(&sales, Err(refused())),
            WorkKind::Made(_) => {}
        }
    }

    fn still_wanted(&self, mut work: Work) -> Option<Work> {
        if let WorkKind::Run(run) = &mut work.kind {
            self.site.batcher.drop_given_up(&mut run.flight);
            if run.group().commands.is_empty() {
                return None;
            }
        }
        Some(work)
    }

    fn report_state(&self) {
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

    fn on_lane_end(&self, lane: &Lane) {
        self.lanes.borrow_mut().retain(|other| !std::ptr::eq(&**other, lane));
        self.report_state();
    }
}
