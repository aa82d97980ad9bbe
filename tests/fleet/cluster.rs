//! Cluster: the slot of a hot sale moves between nodes while it sells, a primary dies, a primary
//! stands still.

use std::collections::HashSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Scenario;
use crate::buyer::{Bought, Buyer};
use crate::cluster_client;
use crate::cluster_cut;
use crate::crowd::Crowd;
use crate::lab::{self, Lab, ms, output, until};
use crate::server::Server;
use crate::six::{Node, Six, signal};
use crate::table::Line;

pub const SCENARIO: Scenario = Scenario {
    name: "cluster",
    shows: "the hot slot moves while it is sold, a primary dies or sleeps: exact, and others continue",
    in_ci: true,
    needs: &[("redis-server", "redis-server"), ("redis-cli", "redis-tools")],
    run,
};

const TOTAL: usize = 10_000;
const BUYERS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(60);
/// Slots of the first primary that include the hot sale's: this number is moved at a time.
const LOW_SLOTS: u16 = 12;

fn run() -> Vec<Line> {
    let mut lines = resharded();
    lines.extend(open_slot());
    lines.extend(replaced(Dies::Killed, false));
    lines.extend(replaced(Dies::Killed, true));
    lines.extend(replaced(Dies::Sleeps, true));
    lines.extend(asleep());
    lines.extend(cluster_client::run());
    lines.extend(cluster_cut::run());
    lines
}

/// A name of a sale whose slot is below this one.
fn low_sale(six: &Six, below: u16) -> String {
    let mut node = six.nodes[0].connect();
    let slot = |name: &String| -> u16 {
        node.text(&format!("CLUSTER KEYSLOT {name}_hash_key")).parse().expect("a slot")
    };
    let (mut slot, mut names) = (slot, (0..).map(|number| format!("hot-{number}")));
    names.find(|name| slot(name) < below).expect("a sale")
}

fn servers(six: &Six, options: &[&str]) -> [Server; 2] {
    let url = six.url();
    let all = [&["--ledger", &url], options].concat();
    [Server::start(&all), Server::start(&all)]
}

/// The ledger's content: units sold, and reservations as buyers know them.
fn there(six: &Six, sale: &str) -> (u64, HashSet<String>) {
    let primary = six.settled(six.slot(sale));
    let mut node = six.connect(&primary);
    let sold = node.text(&format!("HGET {sale}_hash_key {sale}_sold_nums"));
    let reservations = node.reservations(&format!("{{{sale}_hash_key}}:reservations"));
    let ids = reservations.into_iter().map(|(id, _)| format!("{sale}~{id}")).collect();
    (sold.parse().expect("a number"), ids)
}

/// Panics unless everything was sold, once, to buyers who know that they have it.
fn assert_exact(six: &Six, crowd: &Crowd, sale: &str) {
    let (sold, there) = there(six, sale);
    assert_eq!((sold, there.len(), crowd.granted()), (TOTAL as u64, TOTAL, TOTAL));
    assert_eq!(crowd.told(), there);
    assert_eq!(audit(six, sale, None).0, 0);
}

fn audit(six: &Six, sale: &str, orders: Option<&str>) -> (u64, Value) {
    lab::audit(&six.url(), sale, orders)
}

fn addresses(servers: &[Server]) -> Vec<std::net::SocketAddr> {
    servers.iter().map(Server::address).collect()
}

/// Moves the slot back and forth by `redis-cli --cluster reshard`, as operators do.
fn resharded() -> Vec<Line> {
    let lab = Lab::new();
    let six = Six::start(&[]);
    let sale = low_sale(&six, LOW_SLOTS);
    let servers = servers(&six, &["--sale", &format!("{sale}={TOTAL}")]);
    let crowd = Crowd::new(&sale, &addresses(&servers));
    let orders = format!("sqlite:{}", lab.folder().join("orders.db").display());
    let worker = lab.start("orders", &mut order_worker(&six, &orders));
    let (home, mut moves) = (six.settled(0), Vec::new());
    let other = six.settled(16_383);
    assert_ne!(home.port, other.port);
    thread::scope(|scope| {
        crowd.buy(scope, BUYERS);
        until("some are sold", PATIENCE, || crowd.granted() >= TOTAL / 10);
        let (mut from, mut to) = (&home, &other);
        while crowd.granted() < TOTAL * 9 / 10 {
            moves.push(six.reshard(from, to, LOW_SLOTS));
            (from, to) = (to, from);
        }
    });
    assert!(moves.len() >= 2, "the sale was over before its slot had moved and come back");
    assert_exact(&six, &crowd, &sale);
    assert_eq!(crowd.refusals().get("unknown"), None, "{:?}", crowd.refusals());
    drop(worker);
    output(order_worker(&six, &orders).arg("--once"));
    let (differences, report) = audit(&six, &sale, Some(&orders));
    assert_eq!(differences, 0, "{report}");
    let refused: usize = crowd.refusals().values().sum();
    let longest = moves.iter().max().copied().unwrap_or_default();
    vec![
        Line::new(
            "hot slot resharded during a sale: sold, each known to its buyer",
            "10000",
            TOTAL.to_string(),
        ),
        Line::new("… and not answered at the first try", "0", refused.to_string()),
        Line::new(
            format!("… moves of {LOW_SLOTS} slots; the longest took"),
            "",
            format!("{}; {}", moves.len(), ms(longest)),
        ),
        Line::new("… longest time without a grant", "", ms(crowd.longest_pause())),
        Line::new("… longest wait of a buyer", "", ms(crowd.longest_wait())),
    ]
}

/// Moves the slot by hand, and slowly: it stays open with its keys here, on both sides, there.
fn open_slot() -> Vec<Line> {
    let six = Six::start(&[]);
    let sale = "slow";
    let servers = servers(&six, &["--sale", &format!("{sale}={TOTAL},limit={TOTAL}")]);
    let crowd = Crowd::new(sale, &addresses(&servers));
    let slot = six.slot(sale);
    let from = six.settled(slot);
    let to = other_than(&six, &from);
    let step = Duration::from_millis(400);
    let mut grants = Vec::new();
    thread::scope(|scope| {
        crowd.buy(scope, 4);
        until("some are sold", PATIENCE, || crowd.granted() >= TOTAL / 20);
        let (mut source, mut target) = (six.connect(&from), six.connect(&to));
        assert_eq!(target.text(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", from.id)), "OK");
        assert_eq!(source.text(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", to.id)), "OK");
        let mut pass = |what: &'static str| {
            let before = crowd.granted();
            thread::sleep(step);
            grants.push((what, crowd.granted() - before));
        };
        pass("open, keys here");
        let keys = source.list(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
        assert_eq!(keys.len(), 7, "{keys:?}");
        for (number, key) in keys.iter().enumerate() {
            if number == 3 {
                pass("keys on both sides");
            }
            let migrate = format!("MIGRATE 127.0.0.1 {} {key} 0 5000", to.port);
            assert_eq!(source.text(&migrate), "OK");
        }
        pass("open, keys there");
        for node in [&mut target, &mut source] {
            assert_eq!(node.text(&format!("CLUSTER SETSLOT {slot} NODE {}", to.id)), "OK");
        }
        pass("closed");
    });
    assert_exact(&six, &crowd, sale);
    assert_eq!(crowd.refusals().get("unknown"), None, "{:?}", crowd.refusals());
    let waited = grants.iter().find(|(what, _)| *what == "keys on both sides").expect("it was");
    assert!(grants.iter().all(|one| one.1 > 0 || one == waited), "{grants:?}");
    let told: Vec<String> = grants.iter().map(|(what, count)| format!("{what}: {count}")).collect();
    vec![
        Line::new("slot open for 1.2 s: sold, each known to its buyer", "10000", TOTAL.to_string()),
        Line::new("… grants in each 400 ms", "", told.join(", ")),
        Line::new("… longest wait of a buyer", "", ms(crowd.longest_wait())),
    ]
}

/// A primary other than this one.
fn other_than(six: &Six, node: &Node) -> Node {
    let primaries = six.seen_by(0).into_iter().filter(|seen| seen.primary);
    primaries.into_iter().find(|seen| seen.port != node.port).expect("another primary")
}

/// How a primary fails.
#[derive(Clone, Copy, PartialEq)]
enum Dies {
    Killed,
    /// It stands still, and wakes with requests of servers in its sockets, as if nothing had
    /// happened.
    Sleeps,
}

/// The sale's primary fails, its replica takes over, and it comes back. With `--redis-wait`,
/// acknowledged reservations are on the replica already.
fn replaced(dies: Dies, waits: bool) -> Vec<Line> {
    let lab = Lab::new();
    let one_replica = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];
    let mut six = Six::start(if waits { &one_replica } else { &[] });
    let sale = "ticket";
    let wait = if waits { &["--redis-wait", "1"][..] } else { &[] };
    let servers = servers(&six, &[&["--sale", &format!("{sale}={TOTAL}")], wait].concat());
    let crowd = Crowd::new(sale, &addresses(&servers));
    let orders = format!("sqlite:{}", lab.folder().join("orders.db").display());
    let worker = lab.start("orders", &mut order_worker(&six, &orders));
    let slot = six.slot(sale);
    let old = six.settled(slot);
    let victim = six.place(old.port);
    let witness = (victim + 1) % 6;
    let (killed_at, promoted_at) = thread::scope(|scope| {
        crowd.buy(scope, BUYERS);
        until("a third is sold", PATIENCE, || crowd.granted() >= TOTAL / 3);
        let killed_at = Instant::now();
        let process = six.process(&old);
        match dies {
            Dies::Killed => six.nodes[victim].kill(),
            Dies::Sleeps => signal(&process, "STOP"),
        }
        until("a replica takes over", PATIENCE, || {
            six.primary_of(slot, witness).is_some_and(|node| node.port != old.port)
        });
        let promoted_at = Instant::now();
        // It comes back as the new primary's replica.
        match dies {
            Dies::Killed => six.nodes[victim].restart(),
            Dies::Sleeps => signal(&process, "CONT"),
        }
        (killed_at, promoted_at)
    });
    let first = crowd.first_after(promoted_at).expect("a grant afterwards");
    let (sold, there) = there(&six, sale);
    assert_eq!((sold, there.len()), (TOTAL as u64, TOTAL));
    let told = crowd.told();
    assert_eq!(there.difference(&told).count(), 0, "reservations of which nobody was told");
    let lost = told.difference(&there).count();
    assert!(!waits || lost == 0, "{lost} were acknowledged with WAIT and are lost");
    // The counts of what is there agree, whatever was lost.
    assert_eq!(audit(&six, sale, None).0, 0);
    drop(worker);
    output(order_worker(&six, &orders).arg("--once"));
    let (differences, report) = audit(&six, sale, Some(&orders));
    let text = report.to_string();
    assert!(differences == 0 || text.contains("a row without a reservation"), "{text}");
    let bound = (lost + BUYERS) as u64;
    assert!(differences <= bound, "{differences} rows, {lost} lost: {text}");
    let what = if dies == Dies::Killed { "primary killed" } else { "primary asleep" };
    let what = what.to_owned() + if waits { ", --redis-wait 1" } else { "" };
    let wanted = if waits { "10000; 0" } else { "10000; what the replica had not received" };
    vec![
        Line::new(format!("{what}: to the promotion"), "", ms(promoted_at - killed_at)),
        Line::new("… promotion to the next grant", "", ms(first - promoted_at)),
        Line::new("… sold; acknowledged and lost", wanted, format!("{TOTAL}; {lost}")),
        Line::new("… orders without a reservation, by the audit", "", differences.to_string()),
    ]
}

fn order_worker(six: &Six, to: &str) -> Command {
    lab::orders(&six.url_of("stampede-orders"), to)
}

/// One core sells from all primaries at once, and one primary stands still for a moment. Holds on
/// each return, and become orders. All clients are users with the fewest rights.
fn asleep() -> Vec<Line> {
    let lab = Lab::new();
    let six = Six::start(&[]).with_users();
    let sales = on_each_primary(&six);
    let options = sales.iter().map(|(sale, _)| format!("{sale}=1000000,hold=2s"));
    let options: Vec<String> = options.flat_map(|sale| ["--sale".to_owned(), sale]).collect();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    let core = core_affinity::get_core_ids().expect("processors")[0].id.to_string();
    let url = six.url();
    options.extend(["--cores", &core, "--ledger", &url, "--public-confirm"]);
    let server = Server::start(&options);
    let crowds: Vec<Crowd> =
        sales.iter().map(|(sale, _)| Crowd::new(sale, &[server.address()])).collect();
    let nap = Duration::from_millis(700);
    thread::scope(|scope| {
        crowds.iter().for_each(|crowd| crowd.buy(scope, 4));
        until("all sell", PATIENCE, || crowds.iter().all(|crowd| crowd.granted() > 100));
        let sleeper = six.process(&sales[0].1);
        signal(&sleeper, "STOP");
        thread::sleep(nap);
        signal(&sleeper, "CONT");
        thread::sleep(nap);
        crowds.iter().for_each(Crowd::stop);
    });
    let waits: Vec<Duration> = crowds.iter().map(Crowd::longest_wait).collect();
    assert!(waits[0] > nap / 2, "it did not sleep: {waits:?}");
    assert!(waits[1..].iter().all(|wait| *wait < nap), "others waited for it: {waits:?}");
    assert!(crowds.iter().all(|crowd| crowd.refusals().is_empty()), "nobody was refused");

    // All of it becomes orders, and returns to stock.
    let orders = format!("sqlite:{}", lab.folder().join("orders.db").display());
    let mut buyer = Buyer::connect(server.address()).expect("a server");
    let mut kept = Vec::new();
    for (sale, _) in &sales {
        let bought = buyer.reserve(sale, "ann", 1, "").expect("an answer").bought();
        let Bought::Granted(id) = bought else { panic!("{sale}: {bought:?}") };
        assert_eq!(buyer.confirm(&id).expect("an answer").status, 200);
        kept.push(id);
    }
    let mut free = |sale: &str| buyer.sale(sale).expect("an answer")["free"].as_u64();
    let returned = until("what was held returns", PATIENCE, || {
        sales.iter().all(|(sale, _)| free(sale) == Some(999_999))
    });
    output(order_worker(&six, &orders).arg("--once"));
    for (crowd, (sale, _)) in crowds.iter().zip(&sales) {
        let (differences, report) = audit(&six, sale, Some(&orders));
        assert_eq!(differences, 0, "{report}");
        assert!(crowd.granted() > 100);
    }
    vec![
        Line::new(
            "a primary asleep for 700 ms: longest wait for its sale, for the others'",
            "0.7 s, less",
            waits.iter().map(|wait| ms(*wait)).collect::<Vec<_>>().join(", "),
        ),
        Line::new("… held units of three nodes are back after 2 s of hold and", "", ms(returned)),
        Line::new("… orders of three nodes, by the audit", "0 differences", "0"),
    ]
}

/// A sale on each primary.
pub fn on_each_primary(six: &Six) -> Vec<(String, Node)> {
    let mut sales: Vec<(String, Node)> = Vec::new();
    for number in 0.. {
        let sale = format!("sale-{number}");
        let node = six.settled(six.slot(&sale));
        if sales.iter().all(|(_, there)| there.port != node.port) {
            sales.push((sale, node));
        }
        if sales.len() == 3 {
            break;
        }
    }
    sales
}
