//! OSPF in front: two edges announce one address, the router spreads new connections over both, and
//! whatever becomes of one edge, they go to the other within a second.
//!
//! Each edge has a server and a Redis of its own, with a sale of another total: so an answer says
//! which edge gave it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Scenario;
use crate::front::{Edge, Front};
use crate::lab::{Lab, Program, until};
use crate::probe::{Attempt, Probe, ask};
use crate::table::Line;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "ospf",
    shows: "two edges behind OSPF and BFD: both carry traffic, each may go and come back",
    in_ci: false,
    needs: &[
        ("ip", "iproute2"),
        ("ospfd", "frr"),
        ("curl", "curl"),
        ("sysctl", "procps"),
        ("redis-server", "redis-server"),
    ],
    run,
};

const PORT: u16 = 3005;

/// The total of each edge's sale.
const TOTALS: [u64; 2] = [1001, 1002];

/// What the issue of the fleet asks for.
const ELSEWHERE_DEADLINE: Duration = Duration::from_secs(1);

/// How long is looked at what an event does.
const LOOK: Duration = Duration::from_secs(2);

/// Time for a server to start, for an edge to come back.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// All of it. What is dropped first stands first.
struct Fleet {
    probe: Probe,
    shops: Vec<Shop>,
    edges: Vec<Edge>,
    front: Front,
    lab: Lab,
}

/// What sells on an edge.
struct Shop {
    redis: Program,
    server: Program,
}

/// Something that happens to the first edge, and how it is undone.
struct Trial {
    what: &'static str,
    event: fn(&mut Fleet),
    undo: fn(&mut Fleet),
    /// Somebody meant it, so no attempt may fail.
    is_planned: bool,
    /// When its last answer may be. What fails is [`ELSEWHERE_DEADLINE`] in any case.
    last_answer: Duration,
}

impl Trial {
    const fn new(what: &'static str, event: fn(&mut Fleet), undo: fn(&mut Fleet)) -> Self {
        Self { what, event, undo, is_planned: false, last_answer: ELSEWHERE_DEADLINE }
    }
}

const TRIALS: &[Trial] = &[
    Trial::new("all that runs on an edge is killed", Fleet::kill_all, Fleet::boot),
    Trial::new(
        "its link loses every packet, and is up",
        |f| f.edges[0].cut(),
        |f| f.edges[0].mend(),
    ),
    Trial::new("its link is down", |f| f.link("down"), |f| f.link("up")),
    Trial::new("its server is told to end", Fleet::drain, Fleet::serve),
    Trial::new("its server is killed", |f| f.shops[0].server.kill(), Fleet::serve),
    Trial::new("its server stands still", |f| f.signal(Signal::STOP), |f| f.signal(Signal::CONT)),
    Trial::new("its Redis is killed", |f| f.shops[0].redis.kill(), Fleet::restart_redis),
    // zebra tells bfdd that its client is gone, and that the router: at once.
    Trial::new("its ospfd is killed, its bfdd not", Fleet::kill_ospfd, Fleet::start_ospfd),
    Trial {
        // It sells on, so nothing fails, and only ospfd's own timer of a second tells the router.
        last_answer: Duration::from_millis(1500),
        ..Trial::new(
            "its ospfd stands still, its bfdd not",
            |f| f.edges[0].frr.signal("ospfd", Signal::STOP),
            |f| f.edges[0].frr.signal("ospfd", Signal::CONT),
        )
    },
    Trial {
        is_planned: true,
        ..Trial::new("it is taken out: announce, then the server", Fleet::take_out, Fleet::put_back)
    },
];

fn run() -> Vec<Line> {
    let mut fleet = Fleet::build();
    let mut lines = vec![fleet.announces(), fleet.spreads(), fleet.spreads_by_ports_only()];
    lines.extend(TRIALS.iter().map(|trial| fleet.survives(trial)));
    lines
}

fn redis(lab: &Lab, edge: &Edge, number: usize) -> Program {
    let folder = lab.folder().join(format!("redis{number}"));
    std::fs::create_dir_all(&folder).expect("a folder for Redis");
    let mut command = edge.net.command("redis-server");
    command.args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    command.arg("--dir").arg(folder);
    lab.start(&format!("redis{number}"), &mut command)
}

fn server(lab: &Lab, edge: &Edge, number: usize) -> Program {
    let sale = format!("ticket={}", TOTALS[number]);
    let options = ["--ledger", "redis://127.0.0.1:6379/0", "--sale", &sale];
    let mut command = edge.net.serve(std::net::Ipv4Addr::UNSPECIFIED, &options);
    lab.start(&format!("server{number}"), &mut command)
}

/// What failed, and how long after the event.
fn told(failed: &[&Attempt], at: Instant) -> String {
    let one = |attempt: &&Attempt| {
        let why = attempt.answer.as_ref().err().map_or("", String::as_str);
        format!("{:.2} s {why}", (attempt.at - at).as_secs_f64())
    };
    failed.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl Fleet {
    fn build() -> Self {
        let mut lab = Lab::new();
        let (front, edges) = Front::build(&mut lab, TOTALS.len());
        let mut shops = Vec::new();
        for (number, edge) in edges.iter().enumerate() {
            let mut redis = redis(&lab, edge, number);
            redis.says("Ready to accept connections", START_DEADLINE);
            let mut server = server(&lab, edge, number);
            server.says("buy one", START_DEADLINE);
            shops.push(Shop { redis, server });
        }
        let probe = Probe::start(&front.client, Front::address(PORT));
        Self { probe, shops, edges, front, lab }
    }

    /// Nothing is announced before a health script says so; then all of it.
    fn announces(&mut self) -> Line {
        assert_eq!(self.front.ways(), 0, "{}", self.front.show("show ip route"));
        self.front.wait_for_neighbours(TOTALS.len());
        let since = Instant::now();
        self.edges.iter_mut().for_each(|edge| edge.announce(&self.lab, &[]));
        self.front.wait_for_ways(TOTALS.len());
        let seen = format!("2 after {:.1} s", since.elapsed().as_secs_f64());
        Line::new("equal ways from the start of the health scripts", "2", seen)
    }

    fn count(&self, connections: usize) -> BTreeMap<u64, usize> {
        let asking = self.front.client.spawn(move || {
            let mut counts = BTreeMap::new();
            for _ in 0..connections {
                *counts.entry(ask(Front::address(PORT)).expect("an answer")).or_default() += 1;
            }
            counts
        });
        asking.join().expect("the client")
    }

    fn spreads(&self) -> Line {
        let counts = self.count(200);
        let all = TOTALS.iter().all(|total| counts.get(total).is_some_and(|count| *count >= 60));
        assert!(all, "by total of the sale: {counts:?}");
        let seen: Vec<String> = counts.values().map(ToString::to_string).collect();
        Line::new("200 new connections of one client", "each edge at least 60", seen.join("/"))
    }

    /// What the router's knob is good for: without it, one client stays on one edge.
    fn spreads_by_ports_only(&self) -> Line {
        let set = |policy: u8| {
            let knob = format!("net.ipv4.fib_multipath_hash_policy={policy}");
            self.front.router.run(&["sysctl", "-q", "-w", &knob]);
        };
        set(0);
        let counts = self.count(50);
        set(1);
        assert_eq!(counts.len(), 1, "by total of the sale: {counts:?}");
        Line::new("50 with fib_multipath_hash_policy=0", "one edge has all", "one edge has all")
    }

    /// From the event on, what does not go elsewhere in time; and back, where nothing may fail.
    fn survives(&mut self, trial: &Trial) -> Line {
        let at = Instant::now();
        (trial.event)(self);
        let after = |attempt: &Attempt| attempt.at - at;
        let attempts = self.probe.window(at, LOOK);
        let failed: Vec<&Attempt> = attempts.iter().filter(|a| a.answer.is_err()).collect();
        let last_failed = failed.last().map(|attempt| after(attempt));
        let of_it = attempts.iter().rfind(|a| a.answer == Ok(TOTALS[0])).map(after);
        let told = || {
            let why = told(&failed, at);
            format!("{}: {why}\n{}", trial.what, self.front.show("show ip route"))
        };
        assert!(last_failed.is_none_or(|last| last < ELSEWHERE_DEADLINE), "{}", told());
        assert!(of_it.is_none_or(|last| last < trial.last_answer), "{of_it:?} {}", told());
        assert!(failed.is_empty() || !trial.is_planned, "{}", told());
        let repeated = self.comes_back(trial);
        let s = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64());
        let (count, all) = (failed.len(), attempts.len());
        let wanted = if trial.is_planned { "no attempt fails" } else { "elsewhere within 1 s" };
        let seen = format!(
            "last failure after {:.2} s ({count} of {all}), its last answer after {:.2} s; back: 0 \
             failed, {repeated} repeated",
            s(last_failed),
            s(of_it),
        );
        Line::new(trial.what, format!("{wanted}; back: 0 failed"), seen)
    }

    /// Gives how many attempts were made twice while it came back.
    fn comes_back(&mut self, trial: &Trial) -> usize {
        let at = Instant::now();
        (trial.undo)(self);
        self.front.wait_for_ways(TOTALS.len());
        // Without BFD the next event would be noticed late.
        self.front.wait_for_neighbours(TOTALS.len());
        let there = Instant::now();
        until("it answers again", START_DEADLINE, || self.probe.has_seen(there, TOTALS[0]));
        let attempts = self.probe.window(at, at.elapsed() + Duration::from_secs(1));
        let failed: Vec<&Attempt> = attempts.iter().filter(|a| a.answer.is_err()).collect();
        assert!(failed.is_empty(), "{}, back: {}", trial.what, told(&failed, at));
        attempts.iter().filter(|attempt| attempt.repeated).count()
    }

    fn kill_all(&mut self) {
        self.edges[0].kill();
        self.shops[0].server.kill();
        self.shops[0].redis.kill();
    }

    fn boot(&mut self) {
        self.edges[0].forget();
        self.restart_redis();
        self.serve();
        self.edges[0].announce(&self.lab, &[]);
        self.edges[0].frr.start_missing(&self.lab);
    }

    fn link(&mut self, state: &str) {
        self.front.router.run(&["ip", "link", "set", "edge1", state]);
    }

    fn signal(&mut self, signal: Signal) {
        self.shops[0].server.signal(signal);
    }

    fn drain(&mut self) {
        assert_eq!(self.shops[0].server.terminate(START_DEADLINE), 0);
    }

    fn serve(&mut self) {
        self.shops[0].server = server(&self.lab, &self.edges[0], 0);
    }

    fn restart_redis(&mut self) {
        self.shops[0].redis = redis(&self.lab, &self.edges[0], 0);
    }

    fn kill_ospfd(&mut self) {
        self.edges[0].frr.kill("ospfd");
    }

    fn start_ospfd(&mut self) {
        self.edges[0].frr.start_missing(&self.lab);
    }

    fn take_out(&mut self) {
        self.edges[0].withdraw();
        self.drain();
    }

    fn put_back(&mut self) {
        self.serve();
        self.edges[0].announce(&self.lab, &[]);
    }
}
