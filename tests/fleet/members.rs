//! Servers that know each other: one whose link fails silently, and a Cluster that loses the node
//! with the list of servers.

use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Scenario;
use crate::buyer::{Bought, Buyer};
use crate::lab::{Lab, Net, Program, until};
use crate::server::Server;
use crate::six::Six;
use crate::table::Line;

/// See the module's header.
pub const SCENARIO: Scenario = Scenario {
    name: "members",
    shows: "a server cut off is noticed by its lease, sells nothing blindly, and comes back by itself",
    in_ci: false,
    needs: &[("redis-server", "redis-server"), ("redis-cli", "redis-tools"), ("ip", "iproute2")],
    run,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_stampede");
const NAMES: [&str; 3] = ["a", "b", "c"];
const TOTAL: u64 = 3_000;
/// The length of a lease.
const LEASE: Duration = Duration::from_secs(5);
/// Time for any event that the scenario waits for.
const PATIENCE: Duration = Duration::from_secs(60);

fn run() -> Vec<Line> {
    let mut lines = cut();
    lines.extend(node_lost());
    lines
}

/// The names in the output of `stampede instances --json`. `None`: it failed.
fn names(command: &mut Command, options: &[&str]) -> Option<Vec<String>> {
    let done =
        command.args(["instances", "--json"]).args(options).output().expect("run the program");
    let name = |line: &str| {
        let instance: Value = serde_json::from_str(line).expect("JSON");
        instance["name"].as_str().expect("a name").to_owned()
    };
    let told = String::from_utf8_lossy(&done.stdout);
    done.status.success().then(|| told.lines().map(name).collect())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Servers and their Redis on one switch.
struct Row {
    servers: [Program; 3],
    _redis: Program,
    nets: [Net; 3],
    ledger: Net,
    switch: Net,
    _lab: Lab,
}

impl Row {
    fn start() -> Self {
        let mut lab = Lab::new();
        let (switch, ledger) = (lab.switch("switch"), lab.net("ledger"));
        lab.plug((&switch, "ledger"), (&ledger, "eth0", "10.78.0.1/24"));
        let mut redis = ledger.command("redis-server");
        redis.args(["--port", "6379", "--bind", "10.78.0.1", "--protected-mode", "no"]);
        let mut redis = lab.start("redis", redis.args(["--save", "", "--dir"]).arg(lab.folder()));
        redis.says("Ready to accept connections", PATIENCE);
        let nets = NAMES.map(|name| lab.net(name));
        let sale = format!("ticket={TOTAL}");
        let servers = [0, 1, 2].map(|number| {
            let (name, net) = (NAMES[number], &nets[number]);
            let own = format!("{}/24", address(number));
            lab.plug((&switch, &format!("port-{name}")), (net, "eth0", &own));
            let options =
                ["--ledger", "redis://10.78.0.1:6379", "--instance", name, "--sale", &sale];
            let mut server = lab.start(name, &mut net.serve(address(number), &options));
            server.says("buy one", PATIENCE);
            server
        });
        Self { servers, _redis: redis, nets, ledger, switch, _lab: lab }
    }

    /// The servers that the server of this number knows.
    fn known_to(&self, number: usize) -> Vec<String> {
        names(&mut self.nets[number].command(PROGRAM), &[]).expect("an answer")
    }

    fn sold(&self) -> u64 {
        let ask = ["redis-cli", "-h", "10.78.0.1", "HGET", "ticket_hash_key", "ticket_sold_nums"];
        self.ledger.run(&ask).trim().parse().expect("a number")
    }
}

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, 11 + number as u8)
}

/// The buyers' answers, with the number of each.
type Told = Arc<Mutex<HashMap<String, u64>>>;

/// Buys slowly from one server until everything is sold.
fn shop(address: SocketAddr, told: &Told) {
    let mut buyer = Buyer::connect(address).expect("connect");
    loop {
        let said = match buyer.buy().expect("an answer") {
            Bought::Granted(_) => "granted".to_owned(),
            Bought::Refused(code) => code,
        };
        let is_over = said == "sold_out";
        *told.lock().expect("the list").entry(said).or_default() += 1;
        if is_over {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A server loses every packet while its link stays up and all servers sell.
fn cut() -> Vec<Line> {
    let row = Row::start();
    let all_know = || (0..3).all(|number| row.known_to(number) == NAMES);
    let acquainted = until("all know each other", PATIENCE, all_know);

    let told: [Told; 3] = Default::default();
    let buyers: Vec<_> = (0..9)
        .map(|number| {
            let (told, at) =
                (told[number % 3].clone(), SocketAddr::from((address(number % 3), 3005)));
            row.nets[number % 3].spawn(move || shop(at, &told))
        })
        .collect();
    let count = |number: usize, what: &str| {
        told[number].lock().expect("the list").get(what).copied().unwrap_or_default()
    };
    until("all sell", PATIENCE, || (0..3).all(|number| count(number, "granted") > 10));

    row.switch.run(&["ip", "link", "set", "port-c", "nomaster"]);
    let since = Instant::now();
    let before = row.sold();
    until("it is noticed", PATIENCE, || row.known_to(0) == NAMES[..2]);
    let noticed = since.elapsed();
    assert!(noticed <= LEASE + Duration::from_secs(1), "noticed after {noticed:?}");
    let meanwhile = row.sold() - before;
    assert!(meanwhile > 0, "the sale waited for a lease");
    until("it says so itself", PATIENCE, || row.servers[2].log().contains("can't be renewed"));
    assert!(row.sold() < TOTAL);
    let mut refused: Vec<String> = told[2].lock().expect("the list").keys().cloned().collect();
    refused.retain(|word| word != "granted");
    refused.sort();
    assert!(!refused.is_empty() && count(2, "sold_out") == 0, "it can't know: {told:?}");

    row.switch.run(&["ip", "link", "set", "port-c", "master", "switch"]);
    let back = until("it is back", PATIENCE, all_know);
    let granted = count(2, "granted");
    until("it sells again", PATIENCE, || count(2, "granted") > granted || row.sold() == TOTAL);
    buyers.into_iter().for_each(|buyer| buyer.join().expect("a buyer"));
    let words: HashSet<String> =
        told.iter().flat_map(|told| told.lock().expect("the list").clone().into_keys()).collect();
    let truth = ["granted", "sold_out", "unavailable", "unknown", "busy"];
    assert!(words.iter().all(|word| truth.contains(&word.as_str())), "{told:?}");
    let total = |what: &str| (0..3).map(|number| count(number, what)).sum::<u64>();
    let (granted, unknown) = (total("granted"), total("unknown"));
    assert_eq!(row.sold(), TOTAL);
    assert!(granted <= TOTAL && granted + unknown >= TOTAL, "{told:?}");
    assert_eq!(count(0, "unavailable") + count(1, "unavailable") + count(0, "unknown"), 0);
    vec![
        Line::new("three servers: all know each other", "at once", seconds(acquainted)),
        Line::new("one cut off: the others notice", "lease (5 s) + 1 s", seconds(noticed)),
        Line::new("sold meanwhile", "the sale continues", meanwhile.to_string()),
        Line::new("its answers to buyers meanwhile", "never sold out", refused.join(", ")),
        Line::new("link back: all know each other", "by itself", seconds(back)),
        Line::new(
            format!("sold of {TOTAL}"),
            format!("{TOTAL}"),
            format!("{TOTAL} ({granted} acknowledged, {unknown} unknown)"),
        ),
    ]
}

/// A Cluster, used with the fewest rights, loses the primary that has the list.
fn node_lost() -> Vec<Line> {
    let mut six = Six::start(&[]).with_users();
    let url = six.url();
    let servers = NAMES
        .map(|name| Server::start(&["--ledger", &url, "--instance", name, "--sale", "ticket=100"]));
    let all_there = || names(&mut Command::new(PROGRAM), &["--ledger", &url]);
    let all = NAMES.map(str::to_owned);
    until("all are there", PATIENCE, || all_there().is_some_and(|names| names == all));

    let key = "stampede:sales:{sale}_hash_key:leases";
    let slot = six.nodes[0].connect().text(&format!("CLUSTER KEYSLOT {key}"));
    let home = six.settled(slot.parse().expect("a slot"));
    let place = six.place(home.port);
    six.nodes[place].kill();
    let since = Instant::now();
    until("a replica has taken over", PATIENCE, || {
        let other = usize::from(place == 0);
        six.primary_of(slot.parse().expect("a slot"), other)
            .is_some_and(|node| node.port != home.port)
    });
    let took_over = since.elapsed();
    let listed = took_over
        + until("all are there again", PATIENCE, || all_there().is_some_and(|names| names == all));
    // They stay listed, since they renew their leases there.
    let until_then = Instant::now() + LEASE + Duration::from_secs(1);
    while Instant::now() < until_then {
        assert_eq!(all_there().expect("an answer"), all);
        thread::sleep(Duration::from_millis(250));
    }
    for server in &servers {
        until("it sells", PATIENCE, || {
            let mut buyer = Buyer::connect(server.address()).expect("connect");
            buyer.buy().is_ok_and(|bought| bought.granted().is_some())
        });
        let log = server.log();
        assert!(!log.contains("NOPERM") && !log.contains("may not keep"), "{log}");
    }
    vec![Line::new(
        "Cluster: the primary with the list killed: all listed again",
        "after the failover",
        format!("{} (failover {})", seconds(listed), seconds(took_over)),
    )]
}
