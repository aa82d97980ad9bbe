//! Discovers which node has which slot by asking the nodes: after a core or a client has met a node
//! that is away or a slot that moved, at most every [`CLUSTER_REFRESH_MS_MIN`], and less often the
//! longer nothing changes. One thread per process does it for the cores.
//!
//! The answer of a node counts only if its epoch is no older than that of the answer before: a node
//! that was cut off from the others describes a time before its replica was promoted. (If no node
//! has a later epoch and the Cluster of such a node is well, the Cluster was created anew, and its
//! latest answer counts.)

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Parser, Value};
use rustls::ClientConfig;

use super::super::decode_error::error_text;
use super::super::handshake::greet;
use super::super::handshake_error::HandshakeError;
use super::super::resp::text_command;
use super::super::settings::{Endpoint, RedisSettings};
use super::super::timed::Timed;
use super::super::transport::Transport;
use super::super::value::text;
use super::slots::{Range, SlotMap, ranges};
use crate::limits::{
    CLIENT_CONNECT_DEADLINE_MS, CLUSTER_NODE_DEADLINE_MS, CLUSTER_REFRESH_MS_MAX,
    CLUSTER_REFRESH_MS_MIN, CLUSTER_REFRESH_PAUSE_MS_MAX,
};
use crate::sync::lock;

/// What a process knows of a Cluster.
pub(crate) struct Cluster {
    /// Which node has which slot.
    pub(crate) slots: SlotMap,
    seeds: Vec<Endpoint>,
    /// The login at its nodes.
    settings: RedisSettings,
    tls: Option<Arc<ClientConfig>>,
    asking: Mutex<Discovery>,
    wanted: RefreshSignal,
    watched: AtomicBool,
    /// Why no node could be asked the last time.
    failure: Mutex<Option<(String, bool)>>,
}

#[derive(Default)]
struct Discovery {
    last: Option<Instant>,
    pause: Pause,
    /// The epoch of the known slots.
    epoch: u64,
    /// The node to ask first, which changes.
    turn: usize,
    /// Nodes that did not answer the last time.
    silent: Vec<Endpoint>,
}

/// The time between two queries.
struct Pause {
    ms: u64,
    /// By how many percent this process is slower than others that ask the same nodes.
    late: u64,
}

/// Signals that the slots are to be queried.
#[derive(Default)]
struct RefreshSignal {
    flag: AtomicBool,
    mutex: Mutex<()>,
    signal: Condvar,
}

/// The answer of one node.
struct NodeView {
    epoch: u64,
    /// Whether it sees a majority of the primaries, and every slot that it needs.
    ok: bool,
    ranges: Vec<Range>,
}

impl Cluster {
    /// A Cluster of which only some nodes are known.
    pub(crate) fn new(
        seeds: &[Endpoint],
        settings: &RedisSettings,
        tls: Option<Arc<ClientConfig>>,
    ) -> Self {
        Self {
            slots: SlotMap::default(),
            seeds: seeds.to_vec(),
            settings: settings.clone(),
            tls,
            asking: Mutex::default(),
            wanted: RefreshSignal::default(),
            watched: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// Asks the thread of the process to query the slots soon. Never blocks for long: for cores.
    pub(crate) fn request_refresh(&self) {
        if !self.wanted.flag.swap(true, Ordering::Relaxed) {
            drop(self.wanted.mutex.lock().unwrap_or_else(PoisonError::into_inner));
            self.wanted.signal.notify_one();
        }
    }

    /// Why no node could be asked the last time, and whether only an operator can help.
    pub(crate) fn failure(&self) -> Option<(String, bool)> {
        lock(&self.failure).clone()
    }

    /// Starts the thread that queries the slots for the cores, unless it runs. It ends with the
    /// process.
    pub(crate) fn watch(cluster: &Arc<Self>) {
        if cluster.watched.swap(true, Ordering::Relaxed) {
            return;
        }
        let theirs = cluster.clone();
        let body = move || {
            loop {
                theirs.wanted.flag.store(false, Ordering::Relaxed);
                // The failure is kept for `failure`.
                let _ = theirs.refresh();
                let pause = lock(&theirs.asking).pause.time();
                thread::sleep(pause);
                theirs.wanted.wait();
            }
        };
        if let Err(error) = thread::Builder::new().name("slots".into()).spawn(body) {
            // The next core that needs the slots tries again.
            *lock(&cluster.failure) = Some((format!("no thread: {error}"), false));
            cluster.watched.store(false, Ordering::Relaxed);
        }
    }

    /// Queries the nodes, unless that was done a moment ago, or another thread is doing it and the
    /// known slots will do. Blocks.
    ///
    /// # Errors
    /// No node could be asked, or those that answered know less than is known.
    pub(crate) fn refresh(&self) -> Result<(), HandshakeError> {
        let Some(mut asking) = self.asking() else { return Ok(()) };
        let since = asking.last.map(|at| at.elapsed());
        if since.is_some_and(|since| since < asking.pause.time()) && !self.slots.is_empty() {
            return Ok(());
        }
        let found = self.find(&mut asking);
        asking.last = Some(Instant::now());
        *lock(&self.failure) =
            found.as_ref().err().map(|error| (error.to_string(), error.is_fatal()));
        let news = found.map(|view| {
            asking.epoch = view.epoch;
            self.slots.replace(view.ranges)
        });
        asking.pause.passed(since, *news.as_ref().unwrap_or(&false));
        news.map(drop)
    }

    /// `None`: another thread is asking now.
    fn asking(&self) -> Option<MutexGuard<'_, Discovery>> {
        match self.asking.try_lock() {
            Ok(asking) => Some(asking),
            Err(TryLockError::WouldBlock) if !self.slots.is_empty() => None,
            Err(_) => Some(lock(&self.asking)),
        }
    }

    fn find(&self, asking: &mut Discovery) -> Result<NodeView, HandshakeError> {
        let nodes = asking.order(&self.slots.primaries(), &self.seeds);
        let until = Instant::now() + Duration::from_millis(CLIENT_CONNECT_DEADLINE_MS);
        let (mut views, mut failure) = (Vec::new(), None);
        for node in &nodes {
            asking.silent.retain(|silent| silent != node);
            match self.ask(node) {
                Ok(view) if view.ok && view.epoch >= asking.epoch => return Ok(view),
                Ok(view) => views.push(view),
                Err(error) => {
                    asking.silent.push(node.clone());
                    if !failure.as_ref().is_some_and(HandshakeError::is_fatal) {
                        failure = Some(error);
                    }
                }
            }
            // Most nodes have answered: do not wait for the others.
            if views.len() > nodes.len() / 2 || Instant::now() >= until {
                break;
            }
        }
        best(views, asking.epoch).unwrap_or_else(|| {
            let nobody = || HandshakeError::NotReady("no node of the Cluster was asked".to_owned());
            Err(failure.unwrap_or_else(nobody))
        })
    }

    /// Asks one node, on a new connection.
    fn ask(&self, node: &Endpoint) -> Result<NodeView, HandshakeError> {
        let time = Duration::from_millis(CLUSTER_NODE_DEADLINE_MS);
        let socket = Timed::connect(&node.host, node.port, Instant::now() + time, None)?;
        let mut stream = Transport::open(socket, &node.host, self.tls.as_ref())?;
        view(&mut stream, &self.settings, node)
    }
}

impl Discovery {
    /// The nodes in the order in which to ask them: those that did not answer last time come last.
    fn order(&mut self, primaries: &[Arc<Endpoint>], seeds: &[Endpoint]) -> Vec<Endpoint> {
        let mut all: Vec<Endpoint> = primaries.iter().map(|node| Endpoint::clone(node)).collect();
        self.turn += 1;
        let turn = self.turn % all.len().max(1);
        all.rotate_left(turn);
        all.extend(seeds.iter().cloned());
        self.silent.retain(|node| all.contains(node));
        let mut nodes: Vec<Endpoint> = Vec::with_capacity(all.len());
        for node in all {
            if !nodes.contains(&node) {
                nodes.push(node);
            }
        }
        nodes.sort_by_key(|node| self.silent.contains(node));
        nodes
    }
}

/// The answer to take if none will do by itself. An answer older than the known slots comes from a
/// node that is cut off, unless its Cluster is well. `None`: there is no answer.
fn best(views: Vec<NodeView>, known_epoch: u64) -> Option<Result<NodeView, HandshakeError>> {
    let later = |best: NodeView, view: NodeView| if view.epoch > best.epoch { view } else { best };
    let view = views.into_iter().reduce(later)?;
    if view.ok || view.epoch >= known_epoch {
        return Some(Ok(view));
    }
    Some(Err(HandshakeError::NotReady(format!(
        "the nodes that answer are cut off from the others: they know of epoch {}, and it was \
         {known_epoch} before",
        view.epoch
    ))))
}

impl Default for Pause {
    fn default() -> Self {
        let late = getrandom::u32().unwrap_or(0) % 25;
        Self { ms: CLUSTER_REFRESH_MS_MIN, late: late.into() }
    }
}

impl Pause {
    fn time(&self) -> Duration {
        Duration::from_millis(self.ms + self.ms * self.late / 100)
    }

    /// Adjusts the pause after a query, `since` the one before, that did or did not bring news.
    fn passed(&mut self, since: Option<Duration>, news: bool) {
        let trouble = Duration::from_millis(2 * CLUSTER_REFRESH_PAUSE_MS_MAX);
        self.ms = match since {
            // So a promotion is noticed late by at most a quarter of the time that it took.
            Some(since) if !news && since < trouble => {
                (self.ms * 5 / 4).min(CLUSTER_REFRESH_PAUSE_MS_MAX)
            }
            // There is news, or no slots were needed for a while.
            _ => CLUSTER_REFRESH_MS_MIN,
        };
    }
}

impl RefreshSignal {
    /// Waits until a refresh is requested, or is due anyway.
    fn wait(&self) {
        let guard = self.mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_millis(CLUSTER_REFRESH_MS_MAX);
        let idle = |(): &mut ()| !self.flag.load(Ordering::Relaxed);
        drop(self.signal.wait_timeout_while(guard, time, idle));
    }
}

fn view(
    stream: &mut Transport<Timed>,
    settings: &RedisSettings,
    node: &Endpoint,
) -> Result<NodeView, HandshakeError> {
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
    let info = text(&info).ok_or_else(|| not_ready("reports nothing about its Cluster"))?;
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let ranges = ranges(&slots, node).ok_or_else(|| not_ready("reports no slots"))?;
    if ranges.is_empty() {
        return Err(not_ready("knows of no slots: is the Cluster made yet?"));
    }
    let epoch = field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
    Ok(NodeView { epoch: epoch.unwrap_or(0), ok: field("cluster_state") == Some("ok"), ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str) -> Endpoint {
        Endpoint { host: host.to_owned(), port: 1 }
    }

    #[test]
    fn silent_nodes_are_asked_last() {
        let (primaries, seeds) =
            (["a", "b", "c"].map(|host| Arc::new(at(host))), [at("b"), at("d")]);
        let mut asking = Discovery { silent: vec![at("c"), at("gone")], ..Discovery::default() };
        for expected in [["b", "a", "d", "c"], ["a", "b", "d", "c"], ["a", "b", "d", "c"]] {
            let nodes = asking.order(&primaries, &seeds);
            assert_eq!(nodes, expected.map(at));
        }
        assert_eq!(asking.silent, [at("c")]);
        asking.silent.clear();
        assert_eq!(asking.order(&primaries, &seeds)[0], at("b"));
        assert_eq!(asking.order(&primaries, &seeds)[0], at("c"));
    }

    #[test]
    fn an_outdated_view_of_a_cut_off_node_is_rejected() {
        let epoch = |views: &[(u64, bool)]| {
            let view = |&(epoch, ok): &(u64, bool)| NodeView { epoch, ok, ranges: Vec::new() };
            best(views.iter().map(view).collect(), 5).map(|best| best.ok().map(|view| view.epoch))
        };
        assert_eq!(epoch(&[]), None);
        assert_eq!(epoch(&[(4, false), (3, false)]), Some(None));
        assert_eq!(epoch(&[(4, false), (5, false)]), Some(Some(5)));
        assert_eq!(epoch(&[(3, false), (6, false), (5, false)]), Some(Some(6)));
        // The Cluster was recreated.
        assert_eq!(epoch(&[(1, false), (2, true)]), Some(Some(2)));
        // A later view reports trouble.
        assert_eq!(epoch(&[(4, false), (2, true)]), Some(None));
    }

    #[test]
    fn the_refresh_pause_grows_while_nothing_changes() {
        let mut pause = Pause { ms: CLUSTER_REFRESH_MS_MIN, late: 10 };
        let mut times = Vec::new();
        for _ in 0..20 {
            times.push(pause.time().as_millis());
            pause.passed(Some(pause.time()), false);
        }
        assert_eq!(times[..4], [110, 137, 171, 214]);
        assert_eq!(times[16..], [2200; 4]);
        pause.passed(Some(pause.time()), true);
        assert_eq!(pause.ms, CLUSTER_REFRESH_MS_MIN);
        pause.passed(Some(pause.time()), false);
        pause.passed(Some(Duration::from_secs(30)), false);
        assert_eq!(pause.ms, CLUSTER_REFRESH_MS_MIN);
        assert!((0..100).all(|_| Pause::default().late < 25));
    }
}
