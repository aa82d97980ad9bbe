//! `stampede move`.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::buyer::Buyer;
use super::postgres_server::PostgresServer;
use super::redis_server::RedisServer;
use super::{buy, done, embedded, killed_after, orders, serve, stampede, status, wait_for};

/// The expected content of a ledger after the move: reservations by their key.
type Known = BTreeMap<String, (String, String)>;

/// Sells from `ticket` with a limit: held, paid, cancelled and expired; and from `other`. Closes
/// `ticket`.
fn sell(data: &Path, more: &[&str]) -> Known {
    // Without orders only its refund gives it a format.
    let bound = if more.is_empty() { "" } else { ",reservations_per_user=2" };
    let ticket = format!("ticket=100,hold=1h,limit=2{bound}");
    let sales = ["--sale", &ticket, "--sale", "other=50,hold=1h"];
    let mut server = serve(&embedded(data), &[&sales[..], more].concat());
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    let mut known = Known::new();
    for n in 0..30 {
        let (user, key) = (format!("u{}", n / 2), format!("k{n}"));
        let id = buy(&server, "ticket", &user, &key);
        match n % 5 {
            1 => assert_eq!(buyer.confirm(&id).expect("an answer").status, 200),
            3 => assert_eq!(buyer.cancel(&id).expect("an answer").status, 200),
            _ => {}
        }
        let status = ["held", "confirmed", "held", "cancelled", "held"][n % 5].to_owned();
        known.insert(format!("{user} {key}"), (id, status));
    }
    buy(&server, "other", "ann", "k");
    let control = format!("http://{}", server.control());
    let refunded = known.get_mut("u3 k6").expect("a paid one");
    done(&["reservation", "refund", &refunded.0, "--control", &control]);
    refunded.1 = "refunded".into();
    done(&["sale", "close", "ticket", "--control", &control]);
    if !more.is_empty() {
        let refunded = &known["u3 k6"].0;
        wait_for("all orders", || {
            let rows = orders(more[1], "ticket");
            rows.len() == 30 && rows[refunded].0 == "refunded"
        });
    }
    assert_eq!(server.terminate(), 0);
    known
}

fn check(server: &super::server::Server, known: &Known) {
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    for (owner, (id, wanted)) in known {
        let (user, key) = owner.split_once(' ').expect("both");
        let again = buyer.reserve("ticket", user, 1, key).expect("an answer");
        assert_eq!(again.bought().granted().as_ref(), Some(id), "{again:?}");
        assert_eq!(status(server, id), *wanted, "{id}");
    }
}

#[test]
fn a_moved_sale_keeps_keys_limits_deadlines_and_orders() {
    let ((redis, _users), postgres) = (RedisServer::with_users(), PostgresServer::start());
    let (to, url) = (redis.url_of("stampede", "CHANGE-ME-STAMPEDE"), postgres.url());
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let from = embedded(&data);
    let known = sell(&data, &["--orders", &url]);
    let before = orders(&url, "ticket");

    // An open sale does not move, and no other one with it.
    let (code, _, err) = stampede(&["move", "--from", &from, "--to", &to]);
    assert!(code == 1 && err.contains("not closed: other"), "{err}");
    let out = done(&["move", "--from", &from, "--to", &to, "--sale", "ticket"]);
    assert!(out.contains("ticket moved from embedded:"), "{out}");

    let server = serve(&to, &["--sale", "other-one=1"]);
    check(&server, &known);
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    let sale = buyer.sale("ticket").expect("the sale");
    let counts = ["total", "held", "confirmed", "free", "limit_per_user", "hold_ms"];
    let found: Vec<&Value> = counts.iter().map(|name| &sale[name]).collect();
    assert_eq!(found, [100, 18, 5, 77, 2, 3_600_000], "{sale}");
    assert_eq!(sale["state"], "closed");
    // It goes on: limits count the moved reservations.
    let control = format!("http://{}", server.control());
    done(&["sale", "open", "ticket", "--control", &control]);
    let third = buyer.reserve("ticket", "u0", 1, "third").expect("an answer");
    assert!(third.bought().is("limit_reached"), "{third:?}");
    let third = buyer.reserve("ticket", "u1", 1, "third").expect("an answer");
    assert!(third.bought().is("reservations_exhausted"), "one of two was cancelled: {third:?}");
    let fresh = buy(&server, "ticket", "new", "k");
    let (id, _) = &known["u0 k0"];
    assert_eq!(buyer.confirm(id).expect("an answer").status, 200);
    let worker = redis.url_of("stampede-orders", "CHANGE-ME-ORDERS");
    done(&["orders", "--from", &worker, "--to", &url, "--once"]);
    let after = orders(&url, "ticket");
    assert_eq!((after.len(), after[id].0.as_str()), (31, "confirmed"));
    assert!(after.contains_key(&fresh));
    for (id, (_, version)) in &before {
        assert!(after[id].1 > *version, "{id}");
    }
    done(&["audit", "--ledger", &to, "--orders", &url, "--sale", "ticket"]);

    // The old ledger does not sell it again, and sells its other sales.
    let mut old = serve(&from, &["--sale", "ticket=100", "--sale", "other=50,hold=1h"]);
    assert!(old.log().contains("was moved to redis://"), "{}", old.log());
    let mut buyer = Buyer::connect(old.address()).expect("a buyer");
    let refused = buyer.reserve("ticket", "eve", 1, "").expect("an answer");
    assert!(refused.bought().granted().is_none());
    let control = format!("http://{}", old.control());
    let (code, _, err) = stampede(&["sale", "create", "ticket=5", "--control", &control]);
    assert!(code == 1 && err.contains("was moved to redis://"), "{err}");
    buy(&old, "other", "bob", "k");
    assert_eq!(old.terminate(), 0);
    // Its orders are no difference here.
    done(&["audit", "--ledger", &from, "--sale", "other"]);
    let (_, out, _) = stampede(&["audit", "--ledger", &from, "--orders", &url]);
    assert!(!out.contains("ticket"), "{out}");
}

#[test]
fn a_killed_move_leaves_one_owner_and_can_be_repeated() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    let known = sell(&image, &[]);
    let redis = RedisServer::start(&[]);
    let to = redis.url();
    let (mut between, mut untouched) = (0, 0);
    for n in 0..30u64 {
        redis.connect().ask("FLUSHALL");
        let data = folder.path().join(format!("data-{n}"));
        let copied = std::process::Command::new("cp").args(["-a"]).arg(&image).arg(&data).status();
        assert!(copied.expect("cp").success());
        let from = embedded(&data);
        let arguments = ["move", "--from", &from, "--to", &to, "--sale", "ticket"];
        killed_after(&arguments, n * 2_500);
        let is_there = redis.connect().ask("EXISTS ticket_hash_key") == redis::Value::Int(1);
        let (code, out, err) = stampede(&["sale", "list", "--ledger", &from]);
        // Never from both.
        match code {
            0 => assert!(!(is_there && out.contains("ticket")), "{n}: {out}"),
            _ => {
                assert!(err.contains("are being moved to redis://"), "{n}: {err}");
                between += 1;
            }
        }
        untouched += u32::from(code == 0 && !is_there);
        let is_done = code == 0 && is_there;
        if !is_done {
            done(&arguments);
        }
        let server = serve(&to, &["--sale", "other-one=1"]);
        check(&server, &known);
        done(&["audit", "--ledger", &to, "--sale", "ticket"]);
        // With a refund in it, it states its format to servers of other versions.
        assert_eq!(redis.connect().text("HGET {ticket_hash_key}:sale format"), "2");
        let left = done(&["sale", "list", "--ledger", &from]);
        assert!(!left.contains("ticket") && left.contains("other"), "{left}");
    }
    assert!(between + untouched > 0, "none was killed in time");
}

#[test]
fn a_move_is_abandoned_or_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    sell(&data, &[]);
    let (from, redis) = (embedded(&data), RedisServer::start(&[]));
    let to = redis.url();
    let own = ["move", "--from", &from, "--to", &to];
    let with = |more: &[&str]| stampede(&[&own[..], more].concat());
    let (code, _, err) = with(&["--abandon"]);
    assert!(code == 2 && err.contains("there is no interrupted move"), "{err}");
    let (code, _, err) = with(&["--sale", "nope"]);
    assert!(code == 1 && err.contains("There is no sale nope"), "{err}");
    let (code, _, err) = stampede(&["move", "--from", &to, "--to", &from]);
    assert!(code == 2 && err.contains("--from must be embedded:DIR"), "{err}");
    redis.connect().ask("HSET {ticket_hash_key}:sale held 1");
    let (code, _, err) = with(&["--sale", "ticket"]);
    assert!(code == 1 && err.contains("has a sale ticket, or some of its keys"), "{err}");
    redis.connect().ask("FLUSHALL");
    // A server of an older version sells there, which could not read the refund.
    let mut connection = redis.connect();
    let seconds = connection.list("TIME")[0].clone();
    let index = "stampede:sales:{sale}_hash_key";
    let member = "a".repeat(32);
    let says = format!("{seconds}000 {{\"name\":\"web2\",\"version\":\"0.1.9\"}}");
    let mut hset = ::redis::cmd("HSET");
    hset.arg(format!("{index}:members")).arg(&member).arg(says);
    connection.send(&hset.get_packed_command(), 1);
    connection.ask(&format!("ZADD {index}:leases {seconds}999999 {member}"));
    let (code, _, err) = with(&["--sale", "ticket"]);
    assert!(code == 1 && err.contains("web2") && err.contains("0.1.9"), "{err}");
    let (code, _, err) = with(&["--abandon"]);
    assert_eq!(code, 0, "{err}");
    connection.ask("FLUSHALL");
    // Redis takes no writes: nothing has arrived, and the folder is not sold from.
    redis.connect().ask("CONFIG SET maxmemory 1");
    let (code, _, err) = with(&["--sale", "ticket"]);
    assert!(code == 1 && err.contains("Run the same command again"), "{err}");
    let (code, _, err) = stampede(&["sale", "list", "--ledger", &from]);
    assert!(code == 1 && err.contains("--abandon"), "{err}");
    let (code, _, err) = stampede(&["backup", "--ledger", &from, "--to", "x"]);
    assert!(code == 1 && err.contains("are being moved"), "{err}");
    let (code, _, err) = stampede(&["move", "--from", &from, "--to", "redis://127.0.0.1:1"]);
    assert!(code == 1, "{err}");
    redis.connect().ask("CONFIG SET maxmemory 0");
    let (code, out, err) = with(&["--abandon"]);
    assert!(code == 0 && out.contains("the move of ticket is cancelled"), "{out}{err}");
    assert_eq!(redis.connect().ask("DBSIZE"), redis::Value::Int(0));
    assert!(done(&["sale", "list", "--ledger", &from]).contains("ticket"));
    done(&[&own[..], &["--sale", "ticket"]].concat());
}

#[test]
fn a_move_waits_for_the_configured_replicas() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let known = sell(&data, &[]);
    let (from, redis) = (embedded(&data), RedisServer::start(&[]));
    let (to, port) = (redis.url(), redis.port().to_string());
    let config = folder.path().join("stampede.toml");
    std::fs::write(&config, "redis-wait = 1\n").expect("a file");
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    // WAIT counts a replica that still loads unless its connection has written.
    wait_for("the replica", || {
        let mut connection = redis.connect();
        connection.ask("SET probe 1");
        connection.ask("DEL probe");
        connection.ask("WAIT 1 100") == redis::Value::Int(1)
    });
    let config = config.to_str().expect("a path");
    let own = ["move", "--from", &from, "--to", &to, "--sale", "ticket", "--config", config];
    done(&own);
    let server = serve(&to, &["--sale", "other-one=1"]);
    check(&server, &known);
}
