//! A sale in four parts behind three servers, in one Redis and on the nodes of a Cluster: to buyers
//! it is one sale, exact in total and per user.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use crate::Scenario;
use crate::buyer::{Bought, Buyer};
use crate::lab::output;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::six::Six;
use crate::table::Line;

pub const SCENARIO: Scenario = Scenario {
    name: "splits",
    shows: "--splits 4: exact total and limit, the last unit found from any server",
    in_ci: true,
    needs: &[("redis-server", "redis-server"), ("redis-cli", "redis-tools")],
    run,
};

const SERVERS: usize = 3;
const USERS: usize = 1_000;
const LIMIT: usize = 4;
/// Less than the users' limits add up to: the sale sells out.
const TOTAL: usize = 3_000;
/// Threads per server.
const THREADS: usize = 10;

fn run() -> Vec<Line> {
    let redis = RedisServer::start(&[]);
    let mut lines = sold_through("one Redis", &redis.url());
    let six = Six::start(&[]);
    lines.extend(sold_through("Cluster", &six.url()));
    let node = |number| six.settled(six.slot(&format!("ticket~{number}of4"))).port;
    let nodes: HashSet<u16> = (1..=4).map(node).collect();
    assert!(nodes.len() > 1, "all parts are on one node");
    lines.push(Line::new(
        "Cluster: primaries that have parts",
        "2 or more",
        nodes.len().to_string(),
    ));
    lines
}

fn sold_through(ledger: &str, url: &str) -> Vec<Line> {
    let sales = [format!("ticket={TOTAL},limit={LIMIT}")].into_iter();
    let sales: Vec<String> = sales.chain((0..SERVERS).map(|n| format!("last{n}=1"))).collect();
    let mut options = vec!["--ledger", url, "--splits", "4"];
    sales.iter().for_each(|sale| options.extend(["--sale", sale]));
    let servers: Vec<Server> = (0..SERVERS).map(|_| Server::start(&options)).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let mut lines = Vec::new();
    rush(&addresses, &mut lines);
    last_units(&addresses, &mut lines);
    let audit = ["audit", "--ledger", url];
    let told = output(Command::new(env!("CARGO_BIN_EXE_stampede")).args(audit));
    let summary = told.lines().last().unwrap_or_default().to_owned();
    assert!(summary.ends_with("everything agrees"), "{told}");
    lines.push(Line::new("audit of all parts", "everything agrees", "everything agrees"));
    lines.iter_mut().for_each(|line| line.what = format!("{ledger}: {}", line.what));
    lines
}

fn reserve(buyer: &mut Buyer, sale: &str, user: &str) -> Bought {
    buyer.reserve(sale, user, 1, "").expect("an answer").bought()
}

/// Every user asks every server for more than the limit, at the same time.
fn rush(addresses: &[SocketAddr], lines: &mut Vec<Line>) {
    let ask = |address: SocketAddr, number: usize| {
        let mut buyer = Buyer::connect(address).expect("connect");
        let mut got = Vec::new();
        for user in (0..USERS).filter(|user| user % THREADS == number) {
            let user = format!("user{user}");
            for _ in 0..LIMIT {
                match reserve(&mut buyer, "ticket", &user) {
                    Bought::Granted(id) => got.push((user.clone(), id)),
                    Bought::Refused(code) => {
                        assert!(["limit_reached", "sold_out"].contains(&&*code), "{code}");
                    }
                }
            }
        }
        got
    };
    let got: Vec<(String, String)> = thread::scope(|scope| {
        let places = addresses.iter().flat_map(|&at| (0..THREADS).map(move |n| (at, n)));
        let threads: Vec<_> = places.map(|(at, n)| scope.spawn(move || ask(at, n))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a buyer")).collect()
    });
    let distinct: HashSet<&String> = got.iter().map(|(_, id)| id).collect();
    let mut of_users: HashMap<&String, usize> = HashMap::new();
    got.iter().for_each(|(user, _)| *of_users.entry(user).or_default() += 1);
    let most = of_users.values().max().copied().unwrap_or(0);
    assert_eq!((distinct.len(), got.len()), (TOTAL, TOTAL), "units sold");
    assert_eq!(most, LIMIT, "units of one user");
    lines.push(Line::new(
        format!("{TOTAL} units in 4 parts, {USERS} users through {SERVERS} servers: sold"),
        TOTAL.to_string(),
        distinct.len().to_string(),
    ));
    lines.push(Line::new("most units that one user got", LIMIT.to_string(), most.to_string()));
}

/// The only unit of a sale is in one part: each server finds it, for users of all parts.
fn last_units(addresses: &[SocketAddr], lines: &mut Vec<Line>) {
    let mut found = 0;
    for (n, &address) in addresses.iter().enumerate() {
        let (mut buyer, sale) = (Buyer::connect(address).expect("connect"), format!("last{n}"));
        // Users of any part: the id shows which part it is.
        let id = reserve(&mut buyer, &sale, &format!("late{n}")).granted();
        found += usize::from(id.is_some());
        for &other in addresses {
            let mut buyer = Buyer::connect(other).expect("connect");
            let refused =
                (0..8).all(|n| reserve(&mut buyer, &sale, &format!("u{n}")).is("sold_out"));
            assert!(refused, "{sale} was sold twice");
        }
    }
    assert_eq!(found, SERVERS, "last units found");
    let what = format!("the last unit, asked for at each of {SERVERS} servers: found");
    lines.push(Line::new(what, SERVERS.to_string(), found.to_string()));
}
