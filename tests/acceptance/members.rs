//! Servers on one Redis know each other: one joins, one leaves, one vanishes, and no buyer ever
//! notices.

use std::collections::HashSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;
use stampede::ledger::members::{Member, MemberId};
use stampede::ledger::redis::{Codec, KeyTemplates, RedisClient, RedisLedger, RedisSettings};

use crate::buyer::{Bought, Buyer};
use crate::faked_clock::Clock;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, logged, on_redis, reservations, run, set_up_by_hand, sold};

/// The length of a lease.
const LEASE: Duration = Duration::from_secs(5);

/// The output of `stampede instances` with these arguments.
fn instances(way: &[&str]) -> Vec<Value> {
    let options = [&["instances", "--json"], way].concat();
    let told = run(env!("CARGO_BIN_EXE_stampede"), "stampede", &options);
    told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn known_to(server: &Server) -> Vec<Value> {
    instances(&["--control", &format!("http://{}", server.control())])
}

fn names(server: &Server) -> Vec<String> {
    let name = |instance: Value| instance["name"].as_str().expect("a name").to_owned();
    known_to(server).into_iter().map(name).collect()
}

fn named(redis: &RedisServer, name: &str, options: &[&str]) -> Server {
    on_redis(redis, &[&["--instance", name], options].concat())
}

/// A buyer who asks slowly, and asks the next server if one is gone, until everything is sold.
/// Returns his reservations and his other answers.
fn shop(number: usize, addresses: &[SocketAddr]) -> (Vec<String>, HashSet<String>) {
    let (mut got, mut told) = (Vec::new(), HashSet::new());
    let mut turn = number;
    loop {
        let connection = Buyer::connect(addresses[turn % addresses.len()]);
        let mut connection = connection.ok();
        while let Some(Ok(bought)) = connection.as_mut().map(Buyer::buy) {
            match bought {
                Bought::Granted(id) => got.push(id),
                Bought::Refused(code) if code == "sold_out" => return (got, told),
                Bought::Refused(code) => _ = told.insert(code),
            }
            thread::sleep(Duration::from_millis(50));
        }
        turn += 1;
    }
}

#[test]
fn a_killed_member_is_detected_and_strands_nothing() {
    const TOTAL: usize = 4000;
    let redis = RedisServer::start(&[]);
    let sale = format!("ticket={TOTAL}");
    let mut servers = ["a", "b", "c"].map(|name| named(&redis, name, &["--sale", &sale]));
    eventually("all know each other", 5, || {
        servers.iter().all(|server| names(server) == ["a", "b", "c"])
    });
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let buyers: Vec<_> = (0..20)
        .map(|number| {
            let addresses = addresses.clone();
            thread::spawn(move || shop(number, &addresses))
        })
        .collect();
    eventually("a quarter of it is sold", 60, || sold(&redis) >= TOTAL as u64 / 4);

    servers[0].kill();
    let (killed, sold_before) = (Instant::now(), sold(&redis));
    eventually("it is gone", 20, || names(&servers[1]) == ["b", "c"]);
    let took = killed.elapsed();
    assert!(took <= LEASE + Duration::from_secs(1), "noticed after {took:?}");
    assert!(took > LEASE / 2, "not by its lease: after {took:?}");
    let sold_meanwhile = sold(&redis) - sold_before;
    assert!(sold_meanwhile > 0, "the sale waited for a lease");
    eprintln!("noticed after {took:?}; {sold_meanwhile} were sold meanwhile");

    let done = buyers.into_iter().map(|buyer| buyer.join().expect("a buyer"));
    let (got, told): (Vec<_>, Vec<_>) = done.unzip();
    let told: HashSet<String> = told.into_iter().flatten().collect();
    assert_eq!(told, HashSet::new());
    let got: Vec<String> = got.into_iter().flatten().collect();
    let (distinct, there) = (got.iter().cloned().collect::<HashSet<_>>(), reservations(&redis));
    assert_eq!((distinct.len(), there.len(), sold(&redis)), (got.len(), TOTAL, TOTAL as u64));
    assert!(distinct.is_subset(&there));
    for server in &servers[1..] {
        assert!(buyer(server).buy().expect("an answer").is("sold_out"));
        eventually("it is told", 3, || server.log().contains("member lease expired"));
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains("member lease expired"));
        assert_eq!(lines.clone().count(), 1, "{log}");
        assert!(
            lines.clone().all(|line| line.contains("WARN") && line.contains("name=a")),
            "{log}"
        );
        assert!(!log.contains("member left"), "{log}");
    }
}

#[test]
fn a_draining_member_is_listed_and_a_stopped_one_removed() {
    let redis = RedisServer::start(&[]);
    let mut servers = ["a", "b"].map(|name| named(&redis, name, &["--sale", "ticket=10"]));
    eventually("both are there", 5, || names(&servers[1]) == ["a", "b"]);
    assert!(buyer(&servers[0]).buy().expect("an answer").granted().is_some());
    let own = &known_to(&servers[1])[0];
    for member in ["id", "name", "version", "since"] {
        assert!(own[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {own}");
    }
    let listens = servers[0].address().to_string();
    assert_eq!((&own["state"], &own["addresses"][0]), (&"ready".into(), &listens.into()));
    let lease_ms = own["lease_ms"].as_u64().expect("a lease");
    assert!(lease_ms > 0 && lease_ms <= LEASE.as_millis() as u64, "{own}");
    eventually("it says what it may ask for", 3, || {
        known_to(&servers[1])[0]["allowance"].as_u64().is_some_and(|units| units > 0)
    });

    // An incomplete request delays the drain.
    let mut slow = servers[0].connect();
    slow.write_all(b"GET /buy/ticket HTTP/1.1\r\n").expect("half a head");
    thread::sleep(Duration::from_millis(200));
    servers[0].signal(Signal::TERM);
    eventually("it drains", 3, || known_to(&servers[1])[0]["state"] == "draining");
    slow.write_all(b"Host: shop\r\n\r\n").expect("the other half");
    assert_eq!(servers[0].wait(), 0);
    assert_eq!(names(&servers[1]), ["b"]);
    eventually("it is told", 3, || servers[1].log().contains("member left"));
    assert!(!servers[1].log().contains("member lease expired"), "{}", servers[1].log());
    servers[0].restart();
    eventually("it is back", 3, || names(&servers[1]) == ["a", "b"]);
    eventually("it is told", 3, || servers[1].log().contains("member joined"));
}

#[test]
fn all_members_register_again_in_an_empty_redis() {
    let mut redis = RedisServer::start(&[]);
    let servers = ["a", "b", "c"].map(|name| named(&redis, name, &[]));
    let all = || servers.iter().all(|server| names(server) == ["a", "b", "c"]);
    eventually("all know each other", 5, all);
    let since = known_to(&servers[0]).into_iter().map(|one| one["since"].clone());
    let since: Vec<Value> = since.collect();
    redis.restart();
    let restarted = Instant::now();
    eventually("all know each other again", 5, || {
        redis.connect().text("EXISTS stampede:sales:{sale}_hash_key:leases") == "1" && all()
    });
    eprintln!("all were there again after {:?}", restarted.elapsed());
    // No server was listed as gone, also when the earlier leases are over.
    while restarted.elapsed() < 2 * LEASE {
        assert!(all());
        thread::sleep(Duration::from_millis(250));
    }
    for (server, since) in servers.iter().zip(since) {
        logged(server, "joined again");
        let log = server.log();
        assert!(!log.contains("member lease expired") && !log.contains("member left"), "{log}");
        assert!(known_to(server).iter().any(|one| one["since"] == since));
    }
}

#[test]
fn a_machines_clock_does_not_affect_membership() {
    let redis = RedisServer::start(&[]);
    let clock = Clock::new();
    let jumps = Server::start_with(
        &clock.environment(),
        &["--ledger", &redis.url(), "--instance", "jumps"],
    );
    let stays = named(&redis, "stays", &[]);
    let both = ["jumps", "stays"];
    eventually("both are there", 5, || names(&stays) == both && names(&jumps) == both);
    for offset in ["+3600", "-3600"] {
        clock.set(offset);
        let set = Instant::now();
        while set.elapsed() < LEASE + Duration::from_secs(1) {
            assert_eq!(
                (names(&stays), names(&jumps)),
                (both.map(Into::into).into(), both.map(Into::into).into())
            );
            thread::sleep(Duration::from_millis(250));
        }
    }
    let now = Timestamp::now();
    for one in known_to(&jumps) {
        let since: Timestamp = one["since"].as_str().expect("a time").parse().expect("a time");
        assert!(now.duration_since(since).abs() < SignedDuration::from_mins(5), "{one}");
    }
    for server in [&jumps, &stays] {
        let log = server.log();
        let odd = ["member lease expired", "member left", "joined again"];
        assert!(odd.iter().all(|odd| !log.contains(odd)), "{log}");
    }
}

#[test]
fn a_duplicate_name_is_logged_and_a_restart_is_not() {
    let told = "member has the name of this server";
    let redis = RedisServer::start(&[]);
    let twins = [(); 2].map(|()| named(&redis, "twin", &[]));
    for twin in &twins {
        eventually("it is told", 5, || twin.log().contains(told));
        assert_eq!(names(twin), ["twin", "twin"]);
    }
    let mut single = named(&redis, "single", &[]);
    eventually("it is there", 3, || names(&twins[0]).contains(&"single".to_owned()));
    single.restart();
    // The former server is listed beside it until its lease is over.
    eventually("it is there twice", 3, || {
        names(&single).iter().filter(|name| *name == "single").count() == 2
    });
    eventually("it is there once", 7, || names(&single) == ["single", "twin", "twin"]);
    assert!(!single.log().contains(told), "{}", single.log());
}

#[test]
fn the_last_ticket_can_be_sold_by_any_of_three_servers() {
    let redis = RedisServer::start(&[]);
    let options = ["--cores", &cores(2), "--stock-buffer", "0%"];
    let servers = ["a", "b", "c"].map(|name| named(&redis, name, &options));
    for asked in 0..servers.len() {
        set_up_by_hand(&redis, 10_000, 9_999);
        eventually("all know each other", 5, || names(&servers[asked]) == ["a", "b", "c"]);
        eventually("it sells the last", 3, || {
            let bought = buyer(&servers[asked]).buy().expect("an answer");
            // For a moment its core may still know that the last sale was sold out.
            assert!(bought.clone().granted().is_some() || bought.is("sold_out"), "{bought:?}");
            bought.granted().is_some()
        });
        for server in &servers {
            eventually("it knows that all is sold", 3, || {
                buyer(server).buy().expect("an answer").is("sold_out")
            });
        }
        assert_eq!(sold(&redis), 10_000);
    }
}

#[test]
fn one_server_of_many_can_sell_the_whole_total() {
    let redis = RedisServer::start(&[]);
    let server = named(&redis, "a", &["--sale", "ticket=500", "--stock-buffer", "0%"]);
    eventually("it has joined", 5, || server.log().contains("joined"));
    let settings = RedisSettings::from_url(&redis.url()).expect("a URL");
    let ledger = RedisLedger::new(settings, Codec::new(KeyTemplates::default()), None);
    let mut client = RedisClient::new(Arc::new(ledger.expect("a ledger")), "test");
    let large = Member { name: "z".to_owned(), cores: 256, ..Member::default() };
    for _ in 0..50 {
        client.renew_lease(MemberId::random(), None, &large).expect("a lease");
    }
    eventually("it knows of them", 3, || server.log().matches("member joined").count() == 50);
    let buyers = (0..10).map(|_| {
        let mut buyer = buyer(&server);
        thread::spawn(move || (0..50).map(|_| buyer.buy().expect("an answer")).collect::<Vec<_>>())
    });
    let buyers: Vec<_> = buyers.collect();
    for bought in buyers.into_iter().flat_map(|buyer| buyer.join().expect("a buyer")) {
        assert!(matches!(bought, Bought::Granted(_)), "{bought:?}");
    }
    assert!(buyer(&server).buy().expect("an answer").is("sold_out"));
    assert_eq!(sold(&redis), 500);
}

#[test]
fn an_embedded_ledger_has_one_server() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = format!("embedded:{}", folder.path().join("data").display());
    let mut server = Server::start(&["--ledger", &ledger, "--instance", "only"]);
    let known = known_to(&server);
    assert_eq!((known.len(), &known[0]["name"]), (1, &"only".into()));
    assert_eq!((&known[0]["lease_ms"], &known[0]["state"]), (&Value::Null, &"ready".into()));
    assert_eq!(server.terminate(), 0);
    let program = env!("CARGO_BIN_EXE_stampede");
    let told = run(program, "stampede", &["instances", "--ledger", &ledger]);
    assert_eq!(told, "no server uses this ledger\n");
}
