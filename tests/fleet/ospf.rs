//! OSPF in front: two edges announce one address, and the router spreads new connections over both.
//! Whatever happens to one edge, new connections go to the other within a second.
//!
//! Each edge has a server and a Redis of its own, with a sale of a different total, so an answer
//! shows which edge gave it.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpriority_process, setpriority_process};

use crate::Scenario;
use crate::front::{Edge, Front};
use crate::lab::{Lab, Program, until};
use crate::probe::{Attempt, Probe, Watch, ask};
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

/// The required time for new connections to go elsewhere.
const ELSEWHERE_DEADLINE: Duration = Duration::from_secs(1);

/// How long the effect of an event is watched.
const LOOK: Duration = Duration::from_secs(2);

/// A core that stands still for this long makes BFD (3 x 100 ms, less the last packet's age)
/// believe anything, and its belief ends this much later.
const STILL: Duration = Duration::from_millis(200);
const STILL_FELT: Duration = Duration::from_secs(2);
/// How often a trial that the machine has spoilt is repeated.
const TRIES: usize = 5;

/// Time for a server to start, and for an edge to come back.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// All of it. The first field is dropped first.
struct Fleet {
    probe: Probe,
    watch: Watch,
    shops: Vec<Shop>,
    edges: Vec<Edge>,
    front: Front,
    lab: Lab,
}

/// The server and the ledger of an edge.
struct Shop {
    redis: Program,
    server: Program,
}

/// An event at the first edge, and how it is undone.
struct Trial {
    what: &'static str,
    event: fn(&mut Fleet),
    undo: fn(&mut Fleet),
    /// A planned event, in which no attempt may fail.
    is_planned: bool,
    /// When the edge's last answer may come. Failures end by [`ELSEWHERE_DEADLINE`] in any case.
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
        |f| f.edges[0].heal(),
    ),
    Trial::new("its link is down", |f| f.link("down"), |f| f.link("up")),
    Trial {
        is_planned: true,
        ..Trial::new("its server is told to end", Fleet::drain, Fleet::serve)
    },
    Trial::new("its server is killed", |f| f.shops[0].server.kill(), Fleet::serve),
    Trial::new("its server stands still", |f| f.signal(Signal::STOP), |f| f.signal(Signal::CONT)),
    Trial::new("its Redis is killed", |f| f.shops[0].redis.kill(), Fleet::restart_redis),
    // zebra tells bfdd at once that its client is gone, and bfdd tells the router.
    Trial::new("its ospfd is killed, its bfdd not", Fleet::kill_ospfd, Fleet::start_ospfd),
    Trial {
        // The server sells on, so nothing fails, and only ospfd's own timer of a second tells the
        // router.
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
    // The measured times are parts of a second, so other work of this machine has to wait. Programs
    // that are started from here on inherit the priority.
    let _urgent = Urgent::begin();
    let mut fleet = Fleet::build();
    let mut lines = vec![fleet.announces(), fleet.spreads(), fleet.spreads_by_ports_only()];
    lines.extend(TRIALS.iter().map(|trial| fleet.survives(trial)));
    lines
}

/// A higher priority until this is dropped.
struct Urgent(i32);

impl Urgent {
    fn begin() -> Self {
        let before = getpriority_process(None).expect("our priority");
        setpriority_process(None, before - 10).expect("a higher priority");
        // Some kernels first share the processors by session.
        let _ = fs::write("/proc/self/autogroup", "-10");
        Self(before)
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        let _ = setpriority_process(None, self.0);
        let _ = fs::write("/proc/self/autogroup", "0");
    }
}

fn redis(lab: &Lab, edge: &Edge, number: usize) -> Program {
    let folder = lab.folder().join(format!("redis{number}"));
    fs::create_dir_all(&folder).expect("a folder for Redis");
    let mut command = edge.net.command("redis-server");
    command.args(["--port", "6379", "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    command.arg("--dir").arg(folder);
    lab.start(&format!("redis{number}"), &mut command)
}

fn server(lab: &Lab, edge: &Edge, number: usize) -> Program {
    let sale = format!("ticket={}", TOTALS[number]);
    // After SIGTERM the server serves on until the health script has noticed.
    let ledger = "redis://127.0.0.1:6379/0";
    let options = ["--ledger", ledger, "--sale", &sale, "--drain-delay", "1s"];
    let mut command = edge.net.serve(Ipv4Addr::UNSPECIFIED, &options);
    lab.start(&format!("server{number}"), &mut command)
}

/// The failed attempts, and how long after the event.
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
        let watch = Watch::start();
        Self { probe, watch, shops, edges, front, lab }
    }

    /// Nothing is announced before the health script says so; then everything is.
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

    /// Shows what the router's sysctl is for: without it, one client stays on one edge.
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

    /// One trial. It is repeated if it failed while the machine stood still longer than BFD waits,
    /// since such a trial shows nothing.
    fn survives(&mut self, trial: &Trial) -> Line {
        for spoilt in 0..TRIES {
            let since = Instant::now() - STILL_FELT;
            let there = self.goes_elsewhere(trial);
            let back = self.comes_back(trial);
            match there.and_then(|there| back.map(|back| format!("{there}; back: {back}"))) {
                Ok(seen) => {
                    let wanted = match trial.is_planned {
                        true => "no attempt fails, nor when it is back",
                        false => "elsewhere within 1 s; back: 0 failed",
                    };
                    let spoilt =
                        if spoilt == 0 { String::new() } else { format!("; {spoilt} spoilt") };
                    return Line::new(trial.what, wanted, seen + &spoilt);
                }
                Err(why) => {
                    let still = self.watch.longest(since);
                    assert!(still >= STILL, "{}: {why}", trial.what);
                    println!("{}: a core stood still for {still:?}: again", trial.what);
                }
            }
        }
        panic!("{}: this machine is too busy to measure it", trial.what);
    }

    /// From the event on: attempts that do not go elsewhere in time.
    fn goes_elsewhere(&mut self, trial: &Trial) -> Result<String, String> {
        let at = Instant::now();
        (trial.event)(self);
        let attempts = self.probe.window(at, LOOK);
        let after = |attempt: &Attempt| attempt.at - at;
        let failed: Vec<&Attempt> = attempts.iter().filter(|a| a.answer.is_err()).collect();
        let last_failed = failed.last().map(|attempt| after(attempt));
        let of_it = attempts.iter().rfind(|a| a.answer == Ok(TOTALS[0])).map(after);
        let is_well = last_failed.is_none_or(|last| last < ELSEWHERE_DEADLINE)
            && of_it.is_none_or(|last| last < trial.last_answer)
            && (failed.is_empty() || !trial.is_planned);
        if !is_well {
            let routes = self.front.show("show ip route");
            return Err(format!("its last answer: {of_it:?}; {}\n{routes}", told(&failed, at)));
        }
        let s = |time: Option<Duration>| time.map_or(0.0, |time| time.as_secs_f64());
        let (count, all) = (failed.len(), attempts.len());
        let (last_failed, of_it) = (s(last_failed), s(of_it));
        Ok(format!(
            "last failure after {last_failed:.2} s ({count} of {all}), its last answer after \
             {of_it:.2} s"
        ))
    }

    /// The event is undone: nothing may fail. Returns how many attempts were made twice.
    fn comes_back(&mut self, trial: &Trial) -> Result<String, String> {
        let at = Instant::now();
        (trial.undo)(self);
        self.front.wait_for_ways(TOTALS.len());
        // Without BFD the next event would be noticed late.
        self.front.wait_for_neighbours(TOTALS.len());
        let there = Instant::now();
        until("it answers again", START_DEADLINE, || self.probe.has_seen(there, TOTALS[0]));
        let attempts = self.probe.window(at, at.elapsed() + Duration::from_secs(1));
        let failed: Vec<&Attempt> = attempts.iter().filter(|a| a.answer.is_err()).collect();
        if !failed.is_empty() {
            return Err(format!("back: {}", told(&failed, at)));
        }
        let repeated = attempts.iter().filter(|attempt| attempt.repeated).count();
        Ok(format!("0 failed, {repeated} repeated of {}", attempts.len()))
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
