//! Redis is away, silent or forgetful while a sale runs: buyers get true answers within the bound,
//! and sales continue without a touch of the server.

use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::{Bought, Buyer};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, logged, on_redis, reservations, run, sold};

/// Far more than the server's bound for the ledger's answer, 2 s.
const BOUND: Duration = Duration::from_secs(4);
/// How long a sold-out sale may still be answered as sold out: a latch's age, and this machine's
/// slowness.
const LATCH: Duration = Duration::from_millis(1000);

/// Starts a server with a sale that has stock and one that is sold out, and lets it learn both.
fn start(redis: &RedisServer) -> Server {
    let options = ["--sale", "ticket=100000", "--sale", "gone=1", "--cores", &cores(2)];
    let server = on_redis(redis, &options);
    assert!(reserve(&mut buyer(&server), "gone").granted().is_some());
    for _ in 0..8 {
        sells(&server);
    }
    server
}

fn reserve(buyer: &mut Buyer, sale: &str) -> Bought {
    buyer.reserve(sale, "ann", 1, "").expect("an answer").bought()
}

/// Whether it sells what there is, and answers `sold_out` where there is nothing.
fn sells(server: &Server) -> bool {
    let mut buyer = buyer(server);
    let sold = reserve(&mut buyer, "ticket").granted().is_some();
    let gone = reserve(&mut buyer, "gone");
    assert!(gone.granted().is_none());
    sold
}

/// Many buyers for a while, with Redis away since `since`: the only answer is that it is away, and
/// no buyer waits for long.
fn told_the_truth(server: &Server, since: Instant) {
    let until = Instant::now() + Duration::from_secs(4);
    thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || {
                let mut buyer = buyer(server);
                let sale = ["ticket", "gone"][number % 2];
                while Instant::now() < until {
                    let asked = Instant::now();
                    let Bought::Refused(code) = reserve(&mut buyer, sale) else {
                        panic!("{sale} granted without Redis");
                    };
                    let took = asked.elapsed();
                    assert!(took < BOUND, "{sale}: {code} after {took:?}");
                    let latched = sale == "gone" && asked - since < LATCH && code == "sold_out";
                    let truth = ["unavailable", "unknown"].contains(&code.as_str());
                    assert!(truth || latched, "{sale}: {code}, {:?} on", asked - since);
                    thread::sleep(Duration::from_millis(10));
                }
            });
        }
    });
}

fn process(redis: &RedisServer) -> String {
    let told = redis.connect().text("INFO server");
    let line = told.lines().find_map(|line| line.strip_prefix("process_id:"));
    line.expect("its process").to_owned()
}

fn heals(server: &Server) {
    eventually("it sells again", 5, || sells(server));
    eventually("what is gone is told so", 5, || reserve(&mut buyer(server), "gone").is("sold_out"));
}

/// A purchase that was sent when Redis fell silent may have happened or not. The answer says so,
/// and a repeated request finds out.
#[test]
fn a_change_with_a_lost_answer_can_be_repeated() {
    let redis = RedisServer::start(&[]);
    // One unit stays free: the core asks all the time about a sale that is sold out, and a change
    // after such an unanswered question is not sent at all (`unavailable`).
    let options = ["--sale", "ticket=3", "--public-confirm", "--cores", &cores(1)];
    let server = on_redis(&redis, &options);
    let mut buyer = buyer(&server);
    let mut make = || reserve(&mut buyer, "ticket").granted().expect("one of three");
    let (paid, back) = (make(), make());
    let process = process(&redis);
    for (id, action, first, again) in [
        (&paid, "confirm", "confirmed", "confirmed"),
        (&back, "cancel", "cancelled", "already_cancelled"),
    ] {
        let mut change = || match action {
            "confirm" => buyer.confirm(id).expect("an answer"),
            _ => buyer.cancel(id).expect("an answer"),
        };
        run("kill", "procps", &["-s", "STOP", &process]);
        let lost = change().json();
        run("kill", "procps", &["-s", "CONT", &process]);
        assert_eq!((&lost["status"], &lost["code"]), (&503.into(), &"unknown".into()), "{lost}");
        assert!(lost["detail"].as_str().is_some_and(|said| said.contains("it is safe to")));
        let mut said = String::new();
        eventually("it is told what became of it", 5, || {
            let answer = change();
            let json = answer.json();
            let member = if answer.status == 200 { &json["status"] } else { &json["code"] };
            said = member.as_str().expect("a status or a code").to_owned();
            answer.status != 503
        });
        assert!([first, again].contains(&said.as_str()), "{action}: {said}");
    }
    assert_eq!(sold(&redis), 1);
}

/// A sale that a connection meets for the first time is looked up before anything of it is sent. If
/// the look-up gets no answer, nothing has happened, and the answer says so.
#[test]
fn a_command_that_was_never_sent_is_unavailable() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=9", "--cores", &cores(1)]);
    assert!(reserve(&mut buyer(&server), "ticket").granted().is_some());
    redis.connect().text("HMSET new_hash_key new_total_nums 9 new_sold_nums 0");
    let process = process(&redis);
    run("kill", "procps", &["-s", "STOP", &process]);
    let bought = reserve(&mut buyer(&server), "new");
    run("kill", "procps", &["-s", "CONT", &process]);
    assert!(bought.is("unavailable"), "{bought:?}");
    eventually("it is sold", 5, || reserve(&mut buyer(&server), "new").granted().is_some());
    assert_eq!(redis.connect().text("HGET new_hash_key new_sold_nums"), "1");
}

/// Without enough replicas no purchase could be acknowledged, so none is begun.
#[test]
fn a_redis_with_too_few_replicas_is_unavailable() {
    let redis = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    redis.connect().text("HMSET ticket_hash_key ticket_total_nums 9 ticket_sold_nums 0");
    let server = on_redis(&redis, &["--redis-wait", "1", "--cores", &cores(1)]);
    for _ in 0..5 {
        let bought = reserve(&mut buyer(&server), "ticket");
        assert!(bought.is("unavailable"), "{bought:?}");
    }
    logged(&server, "0 of 1 replicas follow");
    assert_eq!(sold(&redis), 0);
    let port = redis.port().to_string();
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let sells = || reserve(&mut buyer(&server), "ticket").granted().is_some();
    eventually("it sells with a replica", 20, sells);
    assert_eq!(sold(&redis), 1);
}

#[test]
fn a_silent_redis() {
    let redis = RedisServer::start(&[]);
    let server = start(&redis);
    let process = process(&redis);
    for _ in 0..2 {
        run("kill", "procps", &["-s", "STOP", &process]);
        told_the_truth(&server, Instant::now());
        run("kill", "procps", &["-s", "CONT", &process]);
        heals(&server);
    }
}

#[test]
fn a_killed_redis() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = start(&redis);
    for _ in 0..2 {
        redis.kill();
        told_the_truth(&server, Instant::now());
        redis.restart();
        heals(&server);
    }
    let lines = || server.log().matches("purchases are unavailable").count();
    eventually("each outage is told", 10, || lines() >= 2);
    assert!(lines() <= 8, "{}", server.log());
}

#[test]
fn a_redis_that_becomes_a_replica() {
    let redis = RedisServer::start(&[]);
    let server = start(&redis);
    redis.connect().text("REPLICAOF 127.0.0.1 1");
    assert!(reserve(&mut buyer(&server), "ticket").is("unavailable"));
    eventually("said", 3, || server.log().contains("only a primary takes writes"));
    told_the_truth(&server, Instant::now());
    redis.connect().text("REPLICAOF NO ONE");
    heals(&server);
}

#[test]
fn a_redis_that_forgets_the_scripts() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=100000", "--cores", &cores(2)]);
    let until = Instant::now() + Duration::from_secs(2);
    let bought: Vec<String> = thread::scope(|scope| {
        let buyers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let mut buyer = buyer(&server);
                    let mut got = Vec::new();
                    while Instant::now() < until {
                        match buyer.buy().expect("an answer") {
                            Bought::Granted(id) => got.push(id),
                            Bought::Refused(code) => panic!("{code}"),
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                    got
                })
            })
            .collect();
        let mut connection = redis.connect();
        while Instant::now() < until {
            connection.text("SCRIPT FLUSH");
            thread::sleep(Duration::from_millis(50));
        }
        buyers.into_iter().flat_map(|buyer| buyer.join().expect("a buyer")).collect()
    });
    let there = reservations(&redis);
    assert_eq!((bought.len(), sold(&redis)), (there.len(), there.len() as u64));
    assert!(bought.iter().all(|id| there.contains(id)));
}

#[test]
fn a_wrong_hash_is_logged_and_can_be_repaired_by_hand() {
    let redis = RedisServer::start(&[]);
    redis.connect().text("HSET ticket_hash_key ticket_total_nums many");
    let server = on_redis(&redis, &[]);
    let mut buyer = buyer(&server);
    for _ in 0..50 {
        assert!(buyer.buy().expect("an answer").is("unavailable"));
        thread::sleep(Duration::from_millis(10));
    }
    logged(&server, "ticket_total_nums");
    let log = server.log();
    assert!(log.lines().count() < 20, "a line for each purchase: {log}");
    redis.connect().text("HSET ticket_hash_key ticket_total_nums 2");
    eventually("it sells", 2, || buyer.buy().expect("an answer").granted().is_some());
}
