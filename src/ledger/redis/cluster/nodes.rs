//! A blocking client's connections to the nodes of a Cluster. Each command of a round trip goes to
//! the node of its key, to all nodes before any answer is read, and the replies are returned in
//! order.
//!
//! A command that a node turns down is retried at its right node, and for [`CLUSTER_PATIENCE_MS`]
//! if there is none at the moment; then the error takes the place of its reply. Each command that
//! was sent and not answered has its own error: commands at other nodes were carried out all the
//! same.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::super::connection::{Answers, Connection};
use super::super::handshake::load_scripts;
use super::super::handshake_error::HandshakeError;
use super::super::hash_slot::slot_of;
use super::super::pipeline::Pipeline;
use super::super::resp::text_command;
use super::super::settings::Endpoint;
use super::super::shared::RedisLedger;
use super::discover::Cluster;
use super::slots::Redirection;
use crate::limits::{
    CLUSTER_NODE_DEADLINE_MS, CLUSTER_PATIENCE_MS, CLUSTER_REDIRECTS_MAX, CLUSTER_RETRY_MS,
    RECONNECT_BACKOFF_MS_MAX,
};

/// A command's reply, or why there is none.
type Reply = Result<Value, String>;

/// A blocking client's connections to the nodes.
pub(crate) struct Nodes {
    cluster: Arc<Cluster>,
    name: String,
    index_slot: u16,
    open: HashMap<Endpoint, Connection>,
    /// Nodes that could not be reached, and when to try again.
    away: HashMap<Endpoint, (Instant, String)>,
    /// The number of connections made so far.
    pub(crate) opened: u64,
}

/// The commands to carry out, and their results so far.
struct Task<'a> {
    ledger: &'a RedisLedger,
    commands: &'a Pipeline,
    wait: &'a [u8],
    time: Duration,
    replies: Vec<Option<Reply>>,
    waited: Vec<Option<Value>>,
}

/// A command that is not carried out yet.
struct Pending {
    /// Its position in the pipeline.
    at: usize,
    /// The node to which `ASK` has redirected it.
    ask: Option<Endpoint>,
    /// Why it was not carried out yet.
    error: Value,
}

/// The result of one round.
#[derive(Default)]
struct Round {
    again: Vec<Pending>,
    /// Some command can't be carried out anywhere now.
    pause: bool,
}

impl Nodes {
    pub(crate) fn new(ledger: &RedisLedger, cluster: Arc<Cluster>, name: &str) -> Self {
        let index_slot = slot_of(ledger.codec.keys().index().as_bytes());
        let (open, away) = (HashMap::new(), HashMap::new());
        Self { cluster, name: name.to_owned(), index_slot, open, away, opened: 0 }
    }

    /// Queries the slots unless they are known, and connects to the node of the index.
    pub(crate) fn connect(&mut self, ledger: &RedisLedger) -> Result<(), HandshakeError> {
        if self.cluster.slots.is_empty() {
            self.cluster.refresh()?;
        }
        let nobody = || HandshakeError::NotReady(format!("no node has slot {}", self.index_slot));
        let node = self.cluster.slots.node(self.index_slot).ok_or_else(nobody);
        let connected = node.and_then(|node| self.connection(ledger, &node).map(drop));
        if connected.is_err() {
            // The node may have changed.
            let _ = self.cluster.refresh();
        }
        connected
    }

    /// One slot of each node that has one.
    pub(crate) fn one_slot_each(&self) -> Vec<u16> {
        self.cluster.slots.one_of_each()
    }

    /// Carries out commands, with one reply per command, in order. After the commands of each node
    /// it sends `wait`, which has one answer, or nothing.
    pub(in crate::ledger::redis) fn exchange(
        &mut self,
        ledger: &RedisLedger,
        commands: &Pipeline,
        wait: &[u8],
        time: Duration,
    ) -> Answers {
        let until = Instant::now() + Duration::from_millis(CLUSTER_PATIENCE_MS);
        let mut task = Task {
            ledger,
            commands,
            wait,
            time,
            replies: vec![None; commands.len()],
            waited: vec![None; if wait.is_empty() { 0 } else { commands.len() }],
        };
        let first = |at| Pending { at, ask: None, error: down("it was not sent") };
        let mut pending: Vec<Pending> = (0..commands.len()).map(first).collect();
        if self.cluster.slots.is_empty() {
            // Each command reports why it can't be carried out.
            let _ = self.cluster.refresh();
        }
        let mut rounds = 0;
        while !pending.is_empty() {
            let round = self.round(&mut task, pending);
            pending = round.again;
            rounds += 1;
            if pending.is_empty() || !(round.pause || rounds > CLUSTER_REDIRECTS_MAX) {
                continue;
            }
            if Instant::now() >= until {
                break;
            }
            thread::sleep(Duration::from_millis(CLUSTER_RETRY_MS));
            let _ = self.cluster.refresh();
        }
        for late in pending {
            task.replies[late.at] = Some(Ok(late.error));
        }
        if rounds > 1 {
            let slots = &self.cluster.slots;
            self.open.retain(|node, _| slots.has(node));
            self.away.retain(|node, _| slots.has(node));
        }
        let none = || Err("no reply".to_owned());
        let replies = task.replies.into_iter().map(|reply| reply.unwrap_or_else(none)).collect();
        Answers { replies, waited: task.waited }
    }

    /// Sends each command once and reads the replies.
    fn round(&mut self, task: &mut Task<'_>, pending: Vec<Pending>) -> Round {
        let mut round = Round::default();
        let mut parts: HashMap<Endpoint, Vec<Pending>> = HashMap::new();
        for mut one in pending {
            let slot = task.commands.slot(one.at).unwrap_or(self.index_slot);
            let home = || self.cluster.slots.node(slot).map(|node| Endpoint::clone(&node));
            match one.ask.clone().or_else(home) {
                Some(node) => parts.entry(node).or_default().push(one),
                None => {
                    let why = self.cluster.failure().map(|(why, _)| why);
                    one.error = down(&why.unwrap_or_else(|| format!("no node has slot {slot}")));
                    round.pause = true;
                    round.again.push(one);
                }
            }
        }
        let mut sent = Vec::with_capacity(parts.len());
        for (node, mut part) in parts {
            match self.connection(task.ledger, &node) {
                Ok(connection) => match task.send(connection, &part) {
                    Ok(()) => sent.push((node, part)),
                    Err(error) => self.lose(&node, &part, &error.to_string(), task),
                },
                Err(error) => {
                    let error = down(&format!("{node}: {error}"));
                    part.iter_mut().for_each(|one| (one.ask, one.error) = (None, error.clone()));
                    round.pause = true;
                    round.again.extend(part);
                }
            }
        }
        let until = Instant::now() + task.time;
        for (node, part) in sent {
            if let Some(connection) = self.open.get_mut(&node) {
                // Another node may have used up the time: replies that have arrived meanwhile are
                // read all the same.
                let left = until.saturating_duration_since(Instant::now());
                connection.set_time(left.max(Duration::from_millis(CLUSTER_RETRY_MS)));
            }
            self.read(&node, part, task, &mut round);
        }
        round
    }

    /// Reads a node's replies to its commands.
    fn read(
        &mut self,
        node: &Endpoint,
        part: Vec<Pending>,
        task: &mut Task<'_>,
        round: &mut Round,
    ) {
        let mut done = Vec::new();
        let mut part = part.into_iter();
        while let Some(mut one) = part.next() {
            let Some(connection) = self.open.get_mut(node) else { return };
            let reply = match one.ask {
                Some(_) => connection.value().and_then(|_| connection.value()),
                None => connection.value(),
            };
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => {
                    let lost: Vec<Pending> = std::iter::once(one).chain(part).collect();
                    return self.lose(node, &lost, &error.to_string(), task);
                }
            };
            let redirection = match &reply {
                Value::ServerError(error) => Redirection::of(error, node),
                _ => None,
            };
            (one.ask, one.error) = (None, reply);
            match redirection {
                None => {
                    task.replies[one.at] = Some(Ok(one.error));
                    done.push(one.at);
                    continue;
                }
                Some(Redirection::Moved(slot, to)) => self.cluster.slots.moved(slot, to),
                Some(Redirection::Ask(to)) => one.ask = Some(to),
                Some(Redirection::Later) => round.pause = true,
            }
            round.again.push(one);
        }
        if !task.wait.is_empty()
            && let Some(connection) = self.open.get_mut(node)
        {
            // A lost answer counts as no replica.
            let answer = connection.value();
            if answer.is_err() {
                self.open.remove(node);
            }
            let answer = answer.unwrap_or(Value::Nil);
            done.into_iter().for_each(|at| task.waited[at] = Some(answer.clone()));
        }
    }

    /// Notes that commands at a node may or may not have been carried out.
    fn lose(&mut self, node: &Endpoint, part: &[Pending], error: &str, task: &mut Task<'_>) {
        self.open.remove(node);
        for one in part {
            task.replies[one.at] = Some(Err(format!("{node}: {error}")));
        }
    }

    fn connection(
        &mut self,
        ledger: &RedisLedger,
        node: &Endpoint,
    ) -> Result<&mut Connection, HandshakeError> {
        if self.open.get(node).is_some_and(Connection::is_stale) {
            self.open.remove(node);
        }
        if !self.open.contains_key(node) {
            if let Some((until, why)) = self.away.get(node)
                && Instant::now() < *until
            {
                return Err(HandshakeError::NotReady(why.clone()));
            }
            let time = Duration::from_millis(CLUSTER_NODE_DEADLINE_MS);
            match Connection::open(ledger, node, None, &self.name, time) {
                Ok(connection) => {
                    self.opened += 1;
                    self.away.remove(node);
                    self.open.insert(node.clone(), connection);
                }
                Err(error) => {
                    let again = Instant::now() + Duration::from_millis(RECONNECT_BACKOFF_MS_MAX);
                    self.away.insert(node.clone(), (again, error.to_string()));
                    return Err(error);
                }
            }
        }
        let gone = || HandshakeError::NotReady("the connection is gone".to_owned());
        self.open.get_mut(node).ok_or_else(gone)
    }

    /// Loads the scripts at every connected node.
    pub(crate) fn load_scripts(&mut self, ledger: &RedisLedger, time: Duration) {
        // A connection that fails is made anew, which loads the scripts too.
        self.open.retain(|_, connection| {
            connection.set_time(time);
            load_scripts(connection.stream(), ledger.codec.scripts()).is_ok()
        });
    }
}

impl Task<'_> {
    fn send(&self, connection: &mut Connection, part: &[Pending]) -> std::io::Result<()> {
        let mut request = Vec::new();
        for one in part {
            if one.ask.is_some() {
                text_command(&mut request, &["ASKING"]);
            }
            request.extend_from_slice(self.commands.bytes(one.at));
        }
        request.extend_from_slice(self.wait);
        connection.set_time(self.time);
        connection.stream().write_all(&request)?;
        connection.stream().flush()
    }
}

/// The error in place of a node that can't be asked: nothing of the command was carried out.
fn down(why: &str) -> Value {
    let why = why.replace(char::is_control, " ");
    let said = redis::parse_redis_value(format!("-CLUSTERDOWN {why}\r\n").as_bytes());
    said.unwrap_or(Value::Nil)
}
