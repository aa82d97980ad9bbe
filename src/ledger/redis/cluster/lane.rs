//! One core's connection to one node of the Cluster. Like the link to a single Redis it has one
//! batch in flight, and sends work that arrived meanwhile with the next one. So a node that is slow
//! or away only delays the sales that it has.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use redis::Value;

use super::super::handshake::{handshake, load_scripts};
use super::super::handshake_error::HandshakeError;
use super::super::reading::Reader;
use super::super::replicas;
use super::super::settings::Endpoint;
use super::super::shared::RedisLedger;
use super::super::socket::Socket;
use super::super::transport::Transport;
use super::discover::Cluster;
use super::work::{Work, WorkKind, WorkQueue};
use crate::engine::core::Core;
use crate::engine::reactor::Notify;
use crate::ledger::Failure;
use crate::limits::{
    BATCH_MAX, BATCH_SCRIPTS_MAX, IDLE_CLOSE_MS_MIN, RECONNECT_BACKOFF_MS_MAX,
    RECONNECT_BACKOFF_MS_MIN,
};

/// One core's connection to one node.
pub(super) struct Lane {
    pub(super) node: Arc<Endpoint>,
    queue: RefCell<WorkQueue>,
    /// Wakes its coroutine while it is idle.
    idle: RefCell<Option<Rc<Notify>>>,
    state: RefCell<LaneState>,
    used_ms: Cell<u64>,
    retired: Cell<bool>,
}

/// What a lane needs of the link that dispatches work to it and takes work back.
pub(super) trait Dispatcher {
    fn core(&self) -> &'static Core;
    /// The time that an answer may take, in ms.
    fn answer_deadline_ms(&self) -> u64;
    fn ledger(&self) -> &RedisLedger;
    fn cluster(&self) -> &Cluster;

    /// Handles a node's replies to some work, and to the `WAIT` after it. Returns the work if it
    /// was not carried out because the scripts were missing.
    fn on_reply(
        self: &Rc<Self>,
        node: &Endpoint,
        work: Work,
        values: Vec<Value>,
        waited: Option<&Value>,
    ) -> Option<Work>;

    /// Dispatches work again that a lane took but that was not carried out.
    fn redispatch(self: &Rc<Self>, work: Work);

    /// Keeps work that was not carried out for the next tick, if there is time.
    fn retry_or_fail(self: &Rc<Self>, work: Work);

    /// Handles work that was sent and not answered.
    fn mark_unknown(self: &Rc<Self>, work: Work);

    /// Fails work that will not be done.
    fn fail(self: &Rc<Self>, work: Work, failure: Failure);

    /// Removes the commands of the work that nobody waits for any more. `None`: no command is left.
    fn still_wanted(&self, work: Work) -> Option<Work>;

    /// Reports the state of the link if it has changed. The link is up as long as one node is
    /// reachable, since sales of other nodes fail on their own.
    fn report_state(&self);

    /// Removes a lane that has ended.
    fn on_lane_end(&self, lane: &Lane);
}

/// The state of a lane.
pub(super) enum LaneState {
    /// It connects for the first time.
    Opening,
    Up,
    /// It reconnects once in a while.
    Away {
        reason: String,
        fatal: bool,
    },
}

impl Lane {
    pub(super) fn new(node: Arc<Endpoint>, now_ms: u64) -> Self {
        Self {
            node,
            queue: RefCell::default(),
            idle: RefCell::default(),
            state: RefCell::new(LaneState::Opening),
            used_ms: Cell::new(now_ms),
            retired: Cell::new(false),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), LaneState::Up)
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(*self.state.borrow(), LaneState::Away { .. })
    }

    /// Why it is away, if it is, and whether only an operator can help.
    pub(super) fn failure(&self) -> Option<(String, bool)> {
        match &*self.state.borrow() {
            LaneState::Away { reason, fatal } => Some((format!("{}: {reason}", self.node), *fatal)),
            LaneState::Opening | LaneState::Up => None,
        }
    }

    /// When work was last pushed.
    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms.get()
    }

    /// Ends the lane as soon as nothing is in flight.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.wake();
    }

    /// Adds work.
    pub(super) fn push(&self, work: Work, now_ms: u64) {
        self.used_ms.set(now_ms);
        self.queue.borrow_mut().push(work);
        self.wake();
    }

    fn wake(&self) {
        if let Some(source) = &*self.idle.borrow() {
            source.notify();
        }
    }

    /// Runs the lane, on a coroutine of its own, until the node has no slots any more.
    pub(super) fn run(&self, link: &Rc<impl Dispatcher>) {
        let core = link.core();
        let pause = core.reactor.new_notify();
        let mut backoff_ms = RECONNECT_BACKOFF_MS_MIN;
        loop {
            let error = match Connection::open(link, &self.node) {
                Ok(mut connection) => {
                    backoff_ms = RECONNECT_BACKOFF_MS_MIN;
                    self.state.replace(LaneState::Up);
                    link.report_state();
                    let until_ms = core.clock.now_ms() + IDLE_CLOSE_MS_MIN;
                    let (error, was_idle) = self.serve(link, &mut connection);
                    let stays = !self.retired.get() && link.cluster().slots.has(&self.node);
                    if was_idle && stays && core.clock.now_ms() >= until_ms {
                        // The node closes idle connections, if it is configured so.
                        tracing::debug!(core = core.index, node = %self.node, %error,
                            "an idle connection to Redis ended");
                        continue;
                    }
                    HandshakeError::Io(error)
                }
                Err(error) => error,
            };
            let away = LaneState::Away { reason: error.to_string(), fatal: error.is_fatal() };
            self.state.replace(away);
            if !self.retired.get() {
                tracing::debug!(core = core.index, node = %self.node, %error, "node of the Cluster unreachable");
                link.cluster().request_refresh();
            }
            // None of this was sent.
            while let Some(work) = self.pop_within(usize::MAX) {
                link.retry_or_fail(work);
            }
            if self.retired.get() || !link.cluster().slots.has(&self.node) {
                break;
            }
            link.report_state();
            let until_ms = core.clock.now_ms() + backoff_ms;
            let _ = pause.wait(|| core.clock.now_ms(), until_ms);
            backoff_ms = (backoff_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
        }
        core.reactor.forget(&pause);
        link.on_lane_end(self);
    }

    /// Carries work until something fails. Returns the error, and whether nothing was outstanding.
    fn serve(&self, link: &Rc<impl Dispatcher>, connection: &mut Connection) -> (io::Error, bool) {
        loop {
            match self.wait_for_work(link, connection) {
                Ok(true) => {}
                Ok(false) => return (io::Error::other("it has no slots any more"), false),
                Err(error) => return (error, true),
            }
            let mut works = self.take(link);
            if let Err(error) = self.carry(link, connection, &mut works) {
                works.into_iter().for_each(|work| link.mark_unknown(work));
                return (error, false);
            }
            link.core().reactor.wake_leader();
        }
    }

    /// Waits for work. Returns `false` if the lane is to end.
    fn wait_for_work(
        &self,
        link: &Rc<impl Dispatcher>,
        connection: &Connection,
    ) -> io::Result<bool> {
        let socket = connection.stream.socket();
        while self.queue.borrow().is_empty() {
            if self.retired.get() {
                return Ok(false);
            }
            self.idle.replace(Some(socket.source.clone()));
            let _ = socket.source.wait(|| link.core().clock.now_ms(), u64::MAX);
            self.idle.replace(None);
            link.core().assert_here();
            if self.queue.borrow().is_empty() && !self.retired.get() {
                // Nothing is outstanding: an event can only be the end of the connection.
                socket.probe()?;
            }
        }
        Ok(true)
    }

    /// The next work in turn, if it has at most this many commands.
    fn pop_within(&self, commands: usize) -> Option<Work> {
        let mut queue = self.queue.borrow_mut();
        queue.next_commands().filter(|next| *next <= commands)?;
        queue.pop()
    }

    /// Takes up to a batch of work, from all sales in turn, and fails work that has waited too
    /// long.
    fn take(&self, link: &Rc<impl Dispatcher>) -> VecDeque<Work> {
        let now_ms = link.core().clock.now_ms();
        let (mut works, mut room) = (VecDeque::new(), BATCH_MAX);
        while works.len() < BATCH_SCRIPTS_MAX
            && let Some(work) = self.pop_within(room)
        {
            if work.until_ms < now_ms {
                link.fail(work, Failure::Busy);
                continue;
            }
            let Some(work) = link.still_wanted(work) else { continue };
            room -= work.commands();
            works.push_back(work);
        }
        works
    }

    /// Sends work and handles each reply as it arrives. On an error, the answers to the work left
    /// in `works` are lost.
    fn carry(
        &self,
        link: &Rc<impl Dispatcher>,
        connection: &mut Connection,
        works: &mut VecDeque<Work>,
    ) -> io::Result<()> {
        let core = link.core();
        let deadline_ms = core.clock.now_ms() + link.answer_deadline_ms();
        connection.stream.socket().deadline_ms.set(deadline_ms);
        let mut again = Vec::new();
        let read = self.exchange(link, connection, works, &mut again);
        if again.is_empty() {
            return read;
        }
        // Redis was restarted or flushed, or a replica took over. Calls of unknown scripts had no
        // effect, whatever became of the others.
        let loaded = read.and_then(|()| {
            load_scripts(&mut connection.stream, link.ledger().codec.scripts())
                .map_err(io::Error::other)
        });
        again.into_iter().for_each(|work| link.redispatch(work));
        loaded
    }

    /// The same, but adds work that was not carried out because the scripts were missing to
    /// `again`, also if there is an error.
    fn exchange(
        &self,
        link: &Rc<impl Dispatcher>,
        connection: &mut Connection,
        works: &mut VecDeque<Work>,
        again: &mut Vec<Work>,
    ) -> io::Result<()> {
        let waits = waits(link.ledger(), works);
        let counts = connection.send(link, works, waits)?;
        if waits {
            // The answer about the replicas follows all replies.
            let all: io::Result<Vec<_>> =
                counts.into_iter().map(|count| connection.values(count)).collect();
            let (all, answer) = (all?, connection.values(1)?.swap_remove(0));
            for (work, values) in works.drain(..).zip(all) {
                again.extend(link.on_reply(&self.node, work, values, Some(&answer)));
            }
        } else {
            for count in counts {
                let values = connection.values(count)?;
                let Some(work) = works.pop_front() else { break };
                again.extend(link.on_reply(&self.node, work, values, None));
            }
        }
        Ok(())
    }
}

/// Whether replicas must have the results of this work before they are returned.
fn waits(ledger: &RedisLedger, works: &VecDeque<Work>) -> bool {
    let groups = works.iter().filter_map(|work| match &work.kind {
        WorkKind::Run(run) => Some(run.group()),
        WorkKind::Exists(_) | WorkKind::Index(_) | WorkKind::Made(_) => None,
    });
    ledger.settings.replicas > 0 && replicas::are_needed(groups)
}

/// A connection on which no reply is outstanding.
struct Connection {
    stream: Transport<Socket>,
    reader: Reader,
    out: Vec<u8>,
}

impl Connection {
    fn open(link: &Rc<impl Dispatcher>, node: &Endpoint) -> Result<Self, HandshakeError> {
        let (core, ledger) = (link.core(), link.ledger());
        let deadline_ms = core.clock.now_ms() + link.answer_deadline_ms();
        let socket = Socket::connect(core, &node.host, node.port, deadline_ms, None)?;
        let mut stream = Transport::open(socket, &node.host, ledger.tls.as_ref())?;
        let name = format!("stampede-core-{}", core.index);
        ledger.warn(handshake(&mut stream, &ledger.settings, &name, ledger.codec.scripts())?);
        Ok(Self { stream, reader: Reader::default(), out: Vec::new() })
    }

    /// Sends work and returns the number of replies for each.
    fn send(
        &mut self,
        link: &Rc<impl Dispatcher>,
        works: &VecDeque<Work>,
        waits: bool,
    ) -> io::Result<Vec<usize>> {
        self.out.clear();
        let codec = &link.ledger().codec;
        let counts = works.iter().map(|work| work.encode(codec, &mut self.out)).collect();
        if waits {
            let time_ms = replicas::wait_time_ms(link.answer_deadline_ms());
            replicas::wait(link.ledger().settings.replicas, time_ms, &mut self.out);
        }
        if self.out.is_empty() {
            return Ok(counts);
        }
        self.stream.write_all(&self.out)?;
        self.stream.flush()?;
        // No reply can be here yet, so a read would be wasted.
        self.stream.socket().wait()?;
        Ok(counts)
    }

    fn values(&mut self, count: usize) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.reader.read(&mut self.stream)).collect()
    }
}
