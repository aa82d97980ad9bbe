//! One core's connection to one node of the Cluster: like the one link of a single Redis it has one
//! batch under way and sends what came meanwhile with the next one. A node that is slow or away thus
//! holds up nobody but those who need it.

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
use super::super::stream::Stream;
use super::discover::Cluster;
use super::work::{What, Work, Works};
use crate::engine::core::Core;
use crate::engine::gate::Source;
use crate::ledger::Failure;
use crate::limits::{
    BATCH_MAX, BATCH_SCRIPTS_MAX, IDLE_CLOSE_MS_MIN, RECONNECT_BACKOFF_MS_MAX,
    RECONNECT_BACKOFF_MS_MIN,
};

/// See the module's header.
pub(super) struct Lane {
    pub(super) node: Arc<Endpoint>,
    queue: RefCell<Works>,
    /// What its coroutine waits for while it has nothing to do.
    idle: RefCell<Option<Rc<Source>>>,
    state: RefCell<State>,
    used_ms: Cell<u64>,
    retired: Cell<bool>,
}

/// What a lane needs of the link that gives it its works, and takes them back.
pub(super) trait Dispatcher {
    fn core(&self) -> &'static Core;
    /// Time that an answer may take, in ms.
    fn answer_deadline_ms(&self) -> u64;
    fn ledger(&self) -> &RedisLedger;
    fn cluster(&self) -> &Cluster;

    /// Takes a node's replies to something, and to `WAIT` behind it. What it gives back was not
    /// carried out, for want of the scripts.
    fn settle(
        self: &Rc<Self>,
        node: &Endpoint,
        work: Work,
        values: Vec<Value>,
        waited: Option<&Value>,
    ) -> Option<Work>;

    /// Something that a lane took and that was not carried out goes on, once more.
    fn go_on(self: &Rc<Self>, work: Work);

    /// Keeps something that was not carried out for the next tick, if there is time.
    fn try_later(self: &Rc<Self>, work: Work);

    /// Something was sent and not answered.
    fn lose(self: &Rc<Self>, work: Work);

    /// Something will not be done.
    fn fail(self: &Rc<Self>, work: Work, failure: Failure);

    /// Takes out of it what nobody waits for any more. `None`: that is all of it.
    fn still_wanted(&self, work: Work) -> Option<Work>;

    /// Tells how the link stands, if that has changed: it carries batches as long as one node can be
    /// reached, since every sale is told its own truth.
    fn note_state(&self);

    /// A lane has ended.
    fn end(&self, lane: &Lane);
}

/// How a lane stands.
pub(super) enum State {
    /// It is being connected for the first time.
    Opening,
    Up,
    /// It is tried again now and then.
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
            state: RefCell::new(State::Opening),
            used_ms: Cell::new(now_ms),
            retired: Cell::new(false),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up)
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(*self.state.borrow(), State::Away { .. })
    }

    /// Why it is away, if it is, and whether only an operator can help.
    pub(super) fn failure(&self) -> Option<(String, bool)> {
        match &*self.state.borrow() {
            State::Away { reason, fatal } => Some((format!("{}: {reason}", self.node), *fatal)),
            State::Opening | State::Up => None,
        }
    }

    /// When it was given something to do last.
    pub(super) fn used_ms(&self) -> u64 {
        self.used_ms.get()
    }

    /// Has it end as soon as it has nothing under way.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.wake();
    }

    /// Gives it something to do.
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

    /// Its life, on a coroutine of its own: until the node has no slots any more.
    pub(super) fn run(&self, link: &Rc<impl Dispatcher>) {
        let core = link.core();
        let pause = core.gate.signal();
        let mut backoff_ms = RECONNECT_BACKOFF_MS_MIN;
        loop {
            let error = match Connection::open(link, &self.node) {
                Ok(mut connection) => {
                    backoff_ms = RECONNECT_BACKOFF_MS_MIN;
                    self.state.replace(State::Up);
                    link.note_state();
                    let until_ms = core.clock.now_ms() + IDLE_CLOSE_MS_MIN;
                    let (error, was_idle) = self.serve(link, &mut connection);
                    let stays = !self.retired.get() && link.cluster().slots.has(&self.node);
                    if was_idle && stays && core.clock.now_ms() >= until_ms {
                        // The node closes what is idle for long, if it is set up so.
                        tracing::debug!(core = core.index, node = %self.node, %error,
                            "an idle connection to Redis ended");
                        continue;
                    }
                    HandshakeError::Io(error)
                }
                Err(error) => error,
            };
            let away = State::Away { reason: error.to_string(), fatal: error.is_fatal() };
            self.state.replace(away);
            if !self.retired.get() {
                tracing::debug!(core = core.index, node = %self.node, %error, "a node is away");
                link.cluster().want();
            }
            // Nothing of it was sent.
            while let Some(work) = self.pop_within(usize::MAX) {
                link.try_later(work);
            }
            if self.retired.get() || !link.cluster().slots.has(&self.node) {
                break;
            }
            link.note_state();
            let until_ms = core.clock.now_ms() + backoff_ms;
            let _ = pause.wait(|| core.clock.now_ms(), until_ms);
            backoff_ms = (backoff_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
        }
        core.gate.forget_source(&pause);
        link.end(self);
    }

    /// Carries works until something fails, and says what, and whether nothing was outstanding.
    fn serve(&self, link: &Rc<impl Dispatcher>, connection: &mut Connection) -> (io::Error, bool) {
        loop {
            match self.wait_for_work(link, connection) {
                Ok(true) => {}
                Ok(false) => return (io::Error::other("it has no slots any more"), false),
                Err(error) => return (error, true),
            }
            let mut works = self.take(link);
            if let Err(error) = self.carry(link, connection, &mut works) {
                works.into_iter().for_each(|work| link.lose(work));
                return (error, false);
            }
            link.core().gate.hurry();
        }
    }

    /// `false`: it is to end.
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
                // Nothing is outstanding: whatever comes now is the end of the connection.
                socket.probe()?;
            }
        }
        Ok(true)
    }

    /// What is next in turn, if it has no more commands than this.
    fn pop_within(&self, commands: usize) -> Option<Work> {
        let mut queue = self.queue.borrow_mut();
        queue.next_commands().filter(|next| *next <= commands)?;
        queue.pop()
    }

    /// Takes as much as one batch has, from all sales in turn, but for what has waited too long.
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

    /// Sends works and settles each as its reply comes. An error: the answers to what is left in
    /// `works` are lost.
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
        // Redis has been restarted or flushed, or is a replica that took over. What it did not know
        // it did not do, whatever became of the rest.
        let loaded = read.and_then(|()| {
            load_scripts(&mut connection.stream, link.ledger().codec.scripts())
                .map_err(io::Error::other)
        });
        again.into_iter().for_each(|work| link.go_on(work));
        loaded
    }

    /// The same, but for what was not carried out for want of the scripts: that is added to `again`,
    /// also if there is an error.
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
            // Whether replicas have it stands behind all of it.
            let all: io::Result<Vec<_>> =
                counts.into_iter().map(|count| connection.values(count)).collect();
            let (all, answer) = (all?, connection.values(1)?.swap_remove(0));
            for (work, values) in works.drain(..).zip(all) {
                again.extend(link.settle(&self.node, work, values, Some(&answer)));
            }
        } else {
            for count in counts {
                let values = connection.values(count)?;
                let Some(work) = works.pop_front() else { break };
                again.extend(link.settle(&self.node, work, values, None));
            }
        }
        Ok(())
    }
}

/// Whether replicas must have what comes of these before it is told.
fn waits(ledger: &RedisLedger, works: &VecDeque<Work>) -> bool {
    let groups = works.iter().filter_map(|work| match &work.what {
        What::Run(run) => Some(run.group()),
        What::Exists(_) | What::Index(_) | What::Made(_) => None,
    });
    ledger.settings.replicas > 0 && replicas::are_needed(groups)
}

/// A connection on which no reply is outstanding.
struct Connection {
    stream: Stream<Socket>,
    reader: Reader,
    out: Vec<u8>,
}

impl Connection {
    fn open(link: &Rc<impl Dispatcher>, node: &Endpoint) -> Result<Self, HandshakeError> {
        let (core, ledger) = (link.core(), link.ledger());
        let deadline_ms = core.clock.now_ms() + link.answer_deadline_ms();
        let socket = Socket::connect(core, &node.host, node.port, deadline_ms, None)?;
        let mut stream = Stream::open(socket, &node.host, ledger.tls.as_ref())?;
        let name = format!("stampede-core-{}", core.index);
        ledger.warn(handshake(&mut stream, &ledger.settings, &name, ledger.codec.scripts())?);
        Ok(Self { stream, reader: Reader::default(), out: Vec::new() })
    }

    /// Sends works and returns how many replies each will have.
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
        // No reply can be here yet: a read would only find that out.
        self.stream.socket().wait()?;
        Ok(counts)
    }

    fn values(&mut self, count: usize) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.reader.read(&mut self.stream)).collect()
    }
}
