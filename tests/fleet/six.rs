//! A Redis Cluster of three primaries with a replica each, on loopback.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::lab::{output, until};
use crate::redis_server::{RedisConnection, RedisServer};

/// Time after which a silent node is taken for dead: far less than in tuning/redis/cluster.conf,
/// which is for machines with more to do than a test.
const NODE_TIMEOUT_MS: &str = "1000";
/// Time for any event that a scenario waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module's header.
pub struct Six {
    pub nodes: Vec<RedisServer>,
    /// Whether its clients are the users of `tuning/redis/users.acl`.
    users: bool,
}

/// A node as another sees it.
#[derive(Debug, Clone)]
pub struct Node {
    pub id: String,
    pub port: u16,
    pub primary: bool,
    slots: Vec<(u16, u16)>,
}

/// Each user of `tuning/redis/users.acl`, name first.
fn user_rules() -> impl Iterator<Item = String> {
    let text = include_str!("../../tuning/redis/users.acl");
    text.lines().filter_map(|line| Some(line.strip_prefix("user ")?.to_owned()))
}

impl Six {
    /// Starts them with these additional arguments, and waits until all agree and every replica
    /// follows.
    pub fn start(arguments: &[&str]) -> Self {
        let own = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            NODE_TIMEOUT_MS,
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let arguments = [&own, arguments].concat();
        let nodes: Vec<RedisServer> = (0..6).map(|_| RedisServer::start(&arguments)).collect();
        let places = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port()));
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]).args(places);
        output(create.args(["--cluster-replicas", "1", "--cluster-yes"]));
        let six = Self { nodes, users: false };
        until("the Cluster is made", PATIENCE, || six.is_whole());
        six
    }

    /// Whether every node sees all slots served and every replica following its primary.
    pub fn is_whole(&self) -> bool {
        self.nodes.iter().all(|node| {
            let mut node = node.connect();
            let replication = node.text("INFO replication");
            let follows = replication.contains("master_link_status:up");
            let followed = replication.contains("connected_slaves:1");
            node.text("CLUSTER INFO").contains("cluster_state:ok") && (follows || followed)
        })
    }

    /// From now on its clients are the users of `tuning/redis/users.acl`.
    pub fn with_users(mut self) -> Self {
        for node in &self.nodes {
            for rules in user_rules().filter(|rules| rules.contains("stampede")) {
                assert_eq!(node.connect().text(&format!("ACL SETUSER {rules}")), "OK", "{rules}");
            }
        }
        self.users = true;
        self
    }

    /// The URL for `--ledger`, with two of the nodes.
    pub fn url(&self) -> String {
        self.url_of("stampede")
    }

    /// The same for another user.
    pub fn url_of(&self, user: &str) -> String {
        let [one, other] = [1, 4].map(|number| self.nodes[number].port());
        let rules = user_rules().find(|rules| rules.split(' ').next() == Some(user));
        let rules = rules.expect("a user of that name");
        let password = rules.split(' ').find_map(|rule| rule.strip_prefix('>'));
        let login = match self.users {
            true => format!("{user}:{}@", password.expect("a password")),
            false => String::new(),
        };
        format!("redis-cluster://{login}127.0.0.1:{one},127.0.0.1:{other}")
    }

    /// The nodes as the one at this place sees them, without those that it takes for dead.
    pub fn seen_by(&self, number: usize) -> Vec<Node> {
        let told = self.nodes[number].connect().text("CLUSTER NODES");
        let node = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let port = words[1].split('@').next()?.rsplit(':').next()?.parse().ok()?;
            let slots = words[8..].iter().filter(|word| !word.starts_with('[')).map(|word| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                (first.parse().expect("a slot"), last.parse().expect("a slot"))
            });
            let (id, primary) = (words[0].to_owned(), words[2].contains("master"));
            let dead = words[2].contains("fail") && !words[2].contains("fail?");
            (!dead).then(|| Node { id, port, primary, slots: slots.collect() })
        };
        told.lines().filter_map(node).collect()
    }

    /// A slot's primary, as the node at this place sees it.
    pub fn primary_of(&self, slot: u16, number: usize) -> Option<Node> {
        let has = |node: &Node| node.slots.iter().any(|(a, b)| (*a..=*b).contains(&slot));
        self.seen_by(number).into_iter().find(|node| node.primary && has(node))
    }

    /// The place of the node with this port.
    pub fn place(&self, port: u16) -> usize {
        self.nodes.iter().position(|node| node.port() == port).expect("a node of ours")
    }

    /// A connection to a node.
    pub fn connect(&self, node: &Node) -> RedisConnection {
        self.nodes[self.place(node.port)].connect()
    }

    /// A node's process, for [`signal`].
    pub fn process(&self, node: &Node) -> String {
        let told = self.connect(node).text("INFO server");
        let line = told.lines().find_map(|line| line.strip_prefix("process_id:"));
        line.expect("its process").trim().to_owned()
    }

    /// The slot of a sale.
    pub fn slot(&self, sale: &str) -> u16 {
        let told = self.nodes[0].connect().text(&format!("CLUSTER KEYSLOT {sale}_hash_key"));
        told.parse().expect("a slot")
    }

    /// Has redis-cli move this number of slots, the lowest first, from one primary to another.
    /// Returns how long that takes.
    pub fn reshard(&self, from: &Node, to: &Node, slots: u16) -> Duration {
        let place = format!("127.0.0.1:{}", from.port);
        // redis-cli refuses as long as a node has not heard of the move before.
        until("all nodes agree", PATIENCE, || {
            let mut check = Command::new("redis-cli");
            check.args(["--cluster", "check", &place]);
            check.output().expect("run redis-cli").status.success()
        });
        let since = Instant::now();
        let mut cli = Command::new("redis-cli");
        cli.args(["--cluster", "reshard", &place]);
        cli.args(["--cluster-from", &from.id, "--cluster-to", &to.id]);
        output(cli.args(["--cluster-slots", &slots.to_string(), "--cluster-yes"]));
        since.elapsed()
    }

    /// Waits until all nodes agree on the owner of a slot, and returns its primary.
    pub fn settled(&self, slot: u16) -> Node {
        let mut node = None;
        until("all nodes agree", PATIENCE, || {
            let seen = |number| self.primary_of(slot, number).map(|node| node.port);
            node = self.primary_of(slot, 0);
            (1..6).all(|number| seen(number) == node.as_ref().map(|node| node.port))
        });
        node.expect("a primary")
    }
}

/// Sends a process a signal.
pub fn signal(process: &str, signal: &str) {
    output(Command::new("kill").args(["-s", signal, process]));
}
