//! Several servers on one Redis: together they sell exactly the total, and any of them may die.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::buyer::{Bought, Buyer};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, eventually, on_redis, reservations, set_up_by_hand, sold};

const BUYERS: usize = 1000;
const TOTAL: usize = 10_000;

/// Starts one thread per buyer. Each asks its server until the sale is sold out, and the next
/// server if its own dies. Returns the grants when all are done.
struct Rush {
    threads: Vec<thread::JoinHandle<Vec<String>>>,
    failed: Arc<Mutex<Vec<String>>>,
}

impl Rush {
    fn start(addresses: &[SocketAddr]) -> Self {
        let failed = Arc::new(Mutex::new(Vec::new()));
        let ready = Arc::new(Barrier::new(BUYERS));
        let threads = (0..BUYERS)
            .map(|number| {
                let (addresses, failed) = (addresses.to_vec(), failed.clone());
                let ready = ready.clone();
                let builder = thread::Builder::new().stack_size(256 << 10);
                let go = move || rush(number, &addresses, &ready, &failed);
                builder.spawn(go).expect("a thread")
            })
            .collect();
        Self { threads, failed }
    }

    /// All grants, and the answers other than sold out.
    fn finish(self) -> (Vec<String>, Vec<String>) {
        let threads = self.threads.into_iter();
        let got = threads.flat_map(|thread| thread.join().expect("a buyer")).collect();
        (got, std::mem::take(&mut *self.failed.lock().expect("the list")))
    }
}

fn rush(
    number: usize,
    addresses: &[SocketAddr],
    ready: &Barrier,
    failed: &Mutex<Vec<String>>,
) -> Vec<String> {
    let mut got = Vec::new();
    let mut turn = number;
    let connect = |turn: usize| Buyer::connect(addresses[turn % addresses.len()]);
    let mut connection = connect(turn);
    ready.wait();
    loop {
        match connection.as_mut().map_err(|_| ()).and_then(|c| c.buy().map_err(|_| ())) {
            Ok(Bought::Granted(id)) => got.push(id),
            Ok(Bought::Refused(code)) if code == "sold_out" => return got,
            Ok(Bought::Refused(code)) => failed.lock().expect("the list").push(code),
            Err(()) => {
                failed.lock().expect("the list").push("gone".to_owned());
                turn += 1;
                connection = connect(turn);
            }
        }
    }
}

fn two_servers(redis: &RedisServer, options: &[&str]) -> [Server; 2] {
    [on_redis(redis, options), on_redis(redis, options)]
}

#[test]
fn two_servers_sell_exactly_the_total() {
    let redis = RedisServer::start(&[]);
    let servers = two_servers(&redis, &["--sale", "ticket=10000"]);
    let addresses = servers.each_ref().map(Server::address);
    let (got, failed) = Rush::start(&addresses).finish();
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(got.len(), TOTAL);
    let distinct: HashSet<String> = got.into_iter().collect();
    assert_eq!(distinct, reservations(&redis));
    assert_eq!(sold(&redis), TOTAL as u64);
    for server in &servers {
        assert!(buyer(server).buy().expect("an answer").is("sold_out"));
        // Another core may show its state of a moment ago.
        eventually("it is shown as sold out", 5, || {
            let sale = buyer(server).sale("ticket").expect("an answer");
            (&sale["free"], &sale["held"]) == (&0.into(), &TOTAL.into())
        });
    }
}

#[test]
fn the_last_ticket_can_be_sold_by_either_server() {
    let redis = RedisServer::start(&[]);
    for asked in [0, 1] {
        set_up_by_hand(&redis, 10_000, 9_999);
        let servers = two_servers(&redis, &[]);
        assert!(buyer(&servers[asked]).buy().expect("an answer").granted().is_some());
        for server in &servers {
            assert!(buyer(server).buy().expect("an answer").is("sold_out"));
        }
        assert_eq!(sold(&redis), 10_000);
    }
}

#[test]
fn a_killed_server_strands_nothing() {
    let redis = RedisServer::start(&[]);
    let mut servers = two_servers(&redis, &["--sale", "ticket=10000"]);
    let addresses = servers.each_ref().map(Server::address);
    let rush = Rush::start(&addresses);
    eventually("half of it is sold", 30, || sold(&redis) >= TOTAL as u64 / 2);
    servers[0].kill();
    let (got, failed) = rush.finish();
    assert!(failed.iter().all(|failure| failure == "gone"), "{failed:?}");
    assert!(!failed.is_empty(), "it was killed too late");
    assert_eq!(sold(&redis), TOTAL as u64);
    let there = reservations(&redis);
    assert_eq!(there.len(), TOTAL);
    let distinct: HashSet<String> = got.iter().cloned().collect();
    assert_eq!(distinct.len(), got.len(), "one reservation for two buyers");
    assert!(distinct.is_subset(&there));
    eprintln!("acknowledged {}, answers lost {}", got.len(), TOTAL - got.len());
    assert!(buyer(&servers[1]).buy().expect("an answer").is("sold_out"));
    servers[0].restart();
    assert!(buyer(&servers[0]).buy().expect("an answer").is("sold_out"));
}

/// One user's requests, all at once, in turn through both servers.
fn at_once(servers: &[Server; 2], key: &str) -> Vec<Bought> {
    let ready = Barrier::new(50);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|number| {
                let (server, ready) = (&servers[number % 2], &ready);
                scope.spawn(move || {
                    let mut buyer = buyer(server);
                    ready.wait();
                    buyer.reserve("ticket", "ann", 1, key).expect("an answer").bought()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a buyer")).collect()
    })
}

#[test]
fn a_user_limit_holds_across_servers() {
    let redis = RedisServer::start(&[]);
    let servers = two_servers(&redis, &["--sale", "ticket=100,limit=1"]);
    let answers = at_once(&servers, "");
    assert_eq!(answers.iter().filter(|a| matches!(a, Bought::Granted(_))).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is("limit_reached")).count(), 49);
    assert_eq!(sold(&redis), 1);
}

#[test]
fn an_idempotency_key_holds_across_servers() {
    let redis = RedisServer::start(&[]);
    let servers = two_servers(&redis, &["--sale", "ticket=100,limit=1"]);
    let answers: HashSet<Bought> = at_once(&servers, "one").into_iter().collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(matches!(answers.iter().next(), Some(Bought::Granted(_))), "{answers:?}");
    assert_eq!(sold(&redis), 1);
}
