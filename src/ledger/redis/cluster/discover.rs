//! Learning which node has which slot, by asking the nodes: when a core or a client has met one that
//! is away or a slot that is elsewhere, at most every [`CLUSTER_REFRESH_MS_MIN`]. For the cores a
//! thread does it, one a process.
//!
//! What a node says is only taken if its epoch is no older than what was taken before: one that was
//! cut off from the others tells of a time before its replica was promoted. (If no node has a later
//! one, the Cluster was made anew, and the latest there is counts.)

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Parser, Value};

use super::super::handshake::greet;
use super::super::reply::{error_text, text};
use super::super::resp::text_command;
use super::super::settings::{Endpoint, RedisSettings};
use super::super::stream::Stream;
use super::super::timed::Timed;
use super::super::{HandshakeError, RedisLedger};
use super::slots::{Range, Slots, ranges};
use crate::core::lock;
use crate::limits::{
    CLIENT_CONNECT_DEADLINE_MS, CLUSTER_NODE_DEADLINE_MS, CLUSTER_REFRESH_MS_MAX,
    CLUSTER_REFRESH_MS_MIN,
};

/// What a process knows of a Cluster.
pub(crate) struct Cluster {
    /// Which node has which slot.
    pub(crate) slots: Slots,
    seeds: Vec<Endpoint>,
    asking: Mutex<Asking>,
    wanted: Wanted,
    watched: AtomicBool,
    /// Why nobody could be asked last.
    failure: Mutex<Option<(String, bool)>>,
}

#[derive(Default)]
struct Asking {
    last: Option<Instant>,
    /// The epoch of what is known.
    epoch: u64,
    /// Whom to ask first: not always the same.
    turn: usize,
}

/// That the slots are to be asked for.
#[derive(Default)]
struct Wanted {
    flag: AtomicBool,
    mutex: Mutex<()>,
    signal: Condvar,
}

/// What one node says.
struct View {
    epoch: u64,
    /// Whether it sees a majority of the primaries, and every slot that it needs.
    ok: bool,
    ranges: Vec<Range>,
}

impl Cluster {
    /// One of which nothing but some nodes is known.
    pub(crate) fn new(seeds: &[Endpoint]) -> Self {
        Self {
            slots: Slots::default(),
            seeds: seeds.to_vec(),
            asking: Mutex::default(),
            wanted: Wanted::default(),
            watched: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Has the process' thread ask, soon. Never blocks for long: for cores.
    pub(crate) fn want(&self) {
        if !self.wanted.flag.swap(true, Ordering::Relaxed) {
            drop(self.wanted.mutex.lock().unwrap_or_else(PoisonError::into_inner));
            self.wanted.signal.notify_one();
        }
    }

    /// Why nobody could be asked last, and whether only an operator can help.
    pub(crate) fn failure(&self) -> Option<(String, bool)> {
        lock(&self.failure).clone()
    }

    /// Starts the thread that asks for the cores, unless it runs. It ends with the process.
    pub(crate) fn watch(ledger: &Arc<RedisLedger>, cluster: &Arc<Self>) {
        if cluster.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let (theirs, ledger) = (cluster.clone(), ledger.clone());
        let body = move || {
            loop {
                theirs.wanted.flag.store(false, Ordering::Relaxed);
                // Kept for those who ask why.
                let _ = theirs.refresh(&ledger);
                thread::sleep(Duration::from_millis(CLUSTER_REFRESH_MS_MIN));
                theirs.wanted.wait();
            }
        };
        if let Err(error) = thread::Builder::new().name("slots".into()).spawn(body) {
            // Tried again by the next core that is in need.
            *lock(&cluster.failure) = Some((format!("no thread: {error}"), false));
            cluster.watched.store(false, Ordering::Relaxed);
        }
    }

    /// Asks the nodes, unless that was done a moment ago. Blocks.
    ///
    /// # Errors
    /// None could be asked.
    pub(crate) fn refresh(&self, ledger: &RedisLedger) -> Result<(), HandshakeError> {
        let mut asking = lock(&self.asking);
        let pause = Duration::from_millis(CLUSTER_REFRESH_MS_MIN);
        if asking.last.is_some_and(|at| at.elapsed() < pause) && !self.slots.is_empty() {
            return Ok(());
        }
        let found = self.find(ledger, &mut asking);
        asking.last = Some(Instant::now());
        *lock(&self.failure) =
            found.as_ref().err().map(|error| (error.to_string(), error.is_fatal()));
        let view = found?;
        asking.epoch = view.epoch;
        self.slots.replace(view.ranges);
        Ok(())
    }

    fn find(&self, ledger: &RedisLedger, asking: &mut Asking) -> Result<View, HandshakeError> {
        let mut nodes: Vec<Endpoint> =
            self.slots.primaries().iter().map(|node| Endpoint::clone(node)).collect();
        asking.turn += 1;
        let turn = asking.turn % nodes.len().max(1);
        nodes.rotate_left(turn);
        nodes.extend(self.seeds.iter().cloned());
        let until = Instant::now() + Duration::from_millis(CLIENT_CONNECT_DEADLINE_MS);
        let (mut best, mut failure): (Option<View>, _) = (None, None);
        for (place, node) in nodes.iter().enumerate() {
            if nodes[..place].contains(node) {
                continue;
            }
            match ask(ledger, node) {
                Ok(view) if view.ok && view.epoch >= asking.epoch => return Ok(view),
                Ok(view) if best.as_ref().is_none_or(|best| best.epoch < view.epoch) => {
                    best = Some(view);
                }
                Ok(_) => {}
                Err(error) if failure.as_ref().is_some_and(HandshakeError::is_fatal) => drop(error),
                Err(error) => failure = Some(error),
            }
            if Instant::now() >= until {
                break;
            }
        }
        let nobody = || HandshakeError::NotReady("no node of the Cluster was asked".to_owned());
        best.ok_or_else(|| failure.unwrap_or_else(nobody))
    }
}

impl Wanted {
    /// Waits until somebody asks, or it is time anyway.
    fn wait(&self) {
        let guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_millis(CLUSTER_REFRESH_MS_MAX);
        let idle = |(): &mut ()| !self.flag.load(Ordering::Relaxed);
        drop(self.signal.wait_timeout_while(guard, time, idle));
    }
}

/// Asks one node, on a connection that is made for it.
fn ask(ledger: &RedisLedger, node: &Endpoint) -> Result<View, HandshakeError> {
    let time = Duration::from_millis(CLUSTER_NODE_DEADLINE_MS);
    let socket = Timed::connect(&node.host, node.port, Instant::now() + time, None)?;
    let mut stream = Stream::open(socket, &node.host, ledger.tls.as_ref())?;
    view(&mut stream, &ledger.settings, node)
}

fn view(
    stream: &mut Stream<Timed>,
    settings: &RedisSettings,
    node: &Endpoint,
) -> Result<View, HandshakeError> {
    greet(stream, settings)?;
    let mut request = Vec::new();
    text_command(&mut request, &["CLUSTER", "INFO"]);
    text_command(&mut request, &["CLUSTER", "SLOTS"]);
    stream.write_all(&request)?;
    stream.flush()?;
    let mut parser = Parser::new();
    let mut reply = || {
        let reply = parser.parse_value(&mut *stream).map_err(std::io::Error::other)?;
        match reply {
            Value::ServerError(error) if error.code() == "NOPERM" => {
                let told = error_text(&error);
                Err(HandshakeError::Fatal(format!(
                    "this user may not ask for the slots: it needs CLUSTER|INFO and CLUSTER|SLOTS \
                     ({told})"
                )))
            }
            Value::ServerError(error) => Err(HandshakeError::NotReady(error_text(&error))),
            reply => Ok(reply),
        }
    };
    let (info, slots) = (reply()?, reply()?);
    let not_ready = |what: &str| HandshakeError::NotReady(format!("{node} {what}"));
    let info = text(&info).ok_or_else(|| not_ready("tells nothing of its Cluster"))?;
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let ranges = ranges(&slots, node).ok_or_else(|| not_ready("tells no slots"))?;
    if ranges.is_empty() {
        return Err(not_ready("knows of no slots: is the Cluster made yet?"));
    }
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    Ok(View { epoch: epoch.unwrap_or(0), ok: field("cluster_state") == Some("ok"), ranges })
}
