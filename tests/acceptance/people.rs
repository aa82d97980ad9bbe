//! Redis as it is configured in practice: users without a right, renamed commands, idle connections
//! that are closed, full memory, data that vanishes.

use std::thread;
use std::time::Duration;

use crate::buyer::{Bought, Buyer};
use crate::lifecycle::audit;
use crate::operation::{certificates, refused, sells};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, logged, on_redis, set_up_by_hand, sold};

/// A Redis with a user who may do everything, and that user's URL.
fn with_shop(arguments: &[&str]) -> (RedisServer, String) {
    let redis = RedisServer::start(arguments);
    redis.connect().text("ACL SETUSER shop on >pw ~* &* +@all");
    let url = redis.url_of("shop", "pw");
    (redis, url)
}

fn reserve(buyer: &mut Buyer, user: &str, key: &str) -> Bought {
    buyer.reserve("ticket", user, 1, key).expect("an answer").bought()
}

#[test]
fn a_missing_right_stops_the_start_and_is_named() {
    let (redis, url) = with_shop(&[]);
    for right in ["xadd", "zrem", "hdel"] {
        redis.connect().text(&format!("ACL SETUSER shop -{right}"));
        let (code, said) = refused(&["--ledger", &url, "--sale", "ticket=9"]);
        let add = format!("ACL SETUSER shop +{right}");
        assert!(code == 1 && said.contains(&add), "{code} {said}");
        redis.connect().text(&format!("ACL SETUSER shop +{right}"));
    }
    assert_eq!(redis.connect().text("EXISTS ticket_hash_key"), "0");
}

/// Each right in turn is taken away while the sale runs, and given back.
#[test]
fn a_revoked_right_stops_the_sale_and_harms_nothing() {
    let (redis, url) = with_shop(&[]);
    let mut admin = redis.connect();
    let sale = "ticket=100,hold=1s,limit=1";
    let server = Server::start(&["--ledger", &url, "--sale", sale, "--cores", &cores(2)]);
    let mut buyer = buyer(&server);
    let rights = ["xadd", "hset", "zadd", "hmget", "zrem", "hget", "zrange"];
    for (number, right) in rights.iter().enumerate() {
        let user = format!("u{number}");
        let held = reserve(&mut buyer, &user, "first").granted().expect("a reservation");
        admin.text(&format!("ACL SETUSER shop -{right}"));
        let needed = ["xadd", "hset", "zadd", "hmget"].contains(right);
        for again in 0..20 {
            let bought = reserve(&mut buyer, &format!("u{number}-{again}"), "key");
            if needed {
                assert!(bought.is("unavailable"), "{right}: {bought:?}");
            }
        }
        // Past its hold time: it cannot come back now, and is not lost.
        thread::sleep(Duration::from_millis(1500));
        admin.text(&format!("ACL SETUSER shop +{right}"));
        eventually("everything is back", 10, || sold(&redis) == 0);
        assert!(buyer.finds(&held).expect("an answer"));
        for again in 0..20 {
            let user = format!("u{number}-{again}");
            let bought = reserve(&mut buyer, &user, "another");
            assert!(bought.granted().is_some(), "{right}");
            assert!(reserve(&mut buyer, &user, "third").is("limit_reached"), "{right}");
        }
        eventually("everything is back", 10, || sold(&redis) == 0);
    }
    audit(&redis, &[]);
}

#[test]
fn a_redis_without_the_client_command_sells() {
    let redis = RedisServer::start(&["--rename-command", "CLIENT", ""]);
    let server = on_redis(&redis, &["--sale", "ticket=2", "--cores", &cores(2)]);
    assert!(sells(&server));
    logged(&server, "have no names");
    let log = server.log();
    assert_eq!(log.matches("have no names").count(), 1, "{log}");
}

/// Redis closes idle connections: nothing is wrong, and nothing is logged as a problem.
fn idle_connections_are_closed(redis: &mut RedisServer, url: &str) {
    let ledger = ["--ledger", url, "--sale", "ticket=9", "--cores", &cores(2)];
    let server = Server::start(&ledger);
    let mut admin = redis.connect();
    let mut opened = || -> u64 {
        let info = admin.text("INFO stats");
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.and_then(|count| count.trim().parse().ok()).expect("a count")
    };
    let before = opened();
    eventually("both cores have connected anew, twice", 30, || opened() >= before + 4);
    assert!(sells(&server));
    let log = server.log();
    assert!(!log.contains("unavailable") && !log.contains("ledger unreachable"), "{log}");
    redis.kill();
    eventually("it is told", 10, || server.log().contains("purchases are unavailable"));
}

#[test]
fn an_idle_connection_closed_by_redis_raises_no_alarm() {
    let mut redis = RedisServer::start(&["--timeout", "1"]);
    let url = redis.url();
    idle_connections_are_closed(&mut redis, &url);
}

#[test]
fn an_idle_connection_closed_by_a_cluster_node_raises_no_alarm() {
    let mut redis = RedisServer::start(&["--timeout", "1", "--cluster-enabled", "yes"]);
    redis.connect().text("CLUSTER ADDSLOTSRANGE 0 16383");
    let well =
        |redis: &RedisServer| redis.connect().text("CLUSTER INFO").contains("cluster_state:ok");
    eventually("the Cluster is well", 10, || well(&redis));
    let url = format!("redis-cluster://127.0.0.1:{}", redis.port());
    idle_connections_are_closed(&mut redis, &url);
}

#[test]
fn settings_of_redis_that_may_lose_data_are_logged_once() {
    let redis = RedisServer::start(&["--maxmemory", "1gb", "--maxmemory-policy", "allkeys-random"]);
    let server = on_redis(&redis, &["--sale", "ticket=2", "--cores", &cores(2)]);
    assert!(sells(&server));
    for said in ["evict the keys of sales", "keeps no append-only file"] {
        logged(&server, said);
        let log = server.log();
        assert_eq!(log.matches(said).count(), 1, "{said}: {log}");
    }
}

#[test]
fn a_full_redis_answers_unavailable_and_never_unknown() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=100000", "--cores", &cores(1)]);
    assert!(sells(&server));
    redis.connect().text("CONFIG SET maxmemory 1");
    thread::scope(|scope| {
        for number in 0..16 {
            let server = &server;
            scope.spawn(move || {
                let mut buyer = buyer(server);
                for _ in 0..50 {
                    if number % 2 == 0 {
                        let bought = buyer.buy().expect("an answer");
                        assert!(bought.is("unavailable"), "{bought:?}");
                    } else {
                        let answer = buyer.request("GET", "/v1/sales/ticket", &[], "");
                        let code = answer.expect("an answer").json()["code"].clone();
                        assert_ne!(code, "unknown");
                    }
                }
            });
        }
    });
    redis.connect().text("CONFIG SET maxmemory 0");
    eventually("it sells again", 5, || sells(&server));
    assert_eq!(sold(&redis), 2);
}

#[test]
fn a_vanished_sale_is_logged_once_as_an_error() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 9, 0);
    let server = on_redis(&redis, &["--cores", &cores(2)]);
    for _ in 0..8 {
        assert!(sells(&server));
    }
    redis.connect().text("FLUSHALL");
    for _ in 0..8 {
        assert!(buyer(&server).buy().expect("an answer").is("not_found"));
    }
    logged(&server, "gone from the ledger");
    let log = server.log();
    let lines: Vec<&str> =
        log.lines().filter(|line| line.contains("gone from the ledger")).collect();
    assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{log}");
    assert!(lines[0].contains("ticket"), "{log}");
}

/// Redis' default TLS settings.
#[test]
fn a_redis_that_requires_client_certificates() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let (certificate, key, ca) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
    let redis = RedisServer::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ]);
    let url = format!("rediss://127.0.0.1:{port}/0");
    let ledger = ["--ledger", &url, "--redis-ca", &ca];
    let ours = ["--redis-cert", &certificate, "--redis-key", &key];
    let server = Server::start(&[&ledger[..], &ours, &["--sale", "ticket=9"]].concat());
    assert!(sells(&server));
    assert!(sold(&redis) >= 1);

    let (other, other_key) = (file("other.pem"), file("other.key"));
    for (arguments, code, part) in [
        (&[][..], 1, "it wants a client's certificate: --redis-cert and --redis-key"),
        (&["--redis-cert", &other, "--redis-key", &other_key], 1, "does not take the certificate"),
        (&["--redis-cert", &other, "--redis-key", &key], 2, "is not the private key of"),
        (&["--redis-cert", &certificate], 2, "needs its private key, redis-key, too"),
        (&["--redis-key", &key], 2, "needs its certificate, redis-cert, too"),
        (&["--redis-cert", &key, "--redis-key", &key], 2, "has no certificate"),
        (&["--redis-cert", &certificate, "--redis-key", &ca], 2, "no private key"),
        (&["--redis-cert", "/no/such", "--redis-key", &key], 2, "can't be read"),
    ] {
        let (got, said) = refused(&[&ledger[..], arguments].concat());
        assert!(got == code && said.contains(part), "{arguments:?}: {got} {said}");
    }

    // The operator's commands take it from the environment, the worker of the orders from flags.
    let stampede = || std::process::Command::new(env!("CARGO_BIN_EXE_stampede"));
    let audited = stampede()
        .args(["audit", "--ledger", &url])
        .envs([("STAMPEDE_REDIS_CA", &ca), ("STAMPEDE_REDIS_CERT", &certificate)])
        .env("STAMPEDE_REDIS_KEY", &key)
        .output()
        .expect("an audit");
    assert!(audited.status.success(), "{audited:?}");
    let database = format!("sqlite:{}", file("orders.db"));
    let written = stampede()
        .args(["orders", "--once", "--from", &url, "--to", &database, "--redis-ca", &ca])
        .args(ours)
        .output()
        .expect("the orders");
    assert!(written.status.success(), "{written:?}");
}

#[test]
fn a_wrong_host_name_and_missing_tls_are_distinguished() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let (certificate, key, ca) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
    let redis = RedisServer::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{port}/0");
    let (code, said) = refused(&["--ledger", &url, "--redis-ca", &ca]);
    assert!(code == 1 && said.contains("name the host in the URL"), "{code} {said}");
    assert!(!said.contains("--redis-ca names"), "{said}");
    let plain = redis.url().replace("redis:", "rediss:");
    let server = Server::start(&["--ledger", &plain, "--ledger-timeout", "500ms"]);
    eventually("it is told", 10, || server.log().contains("does it speak TLS at this port?"));
}
