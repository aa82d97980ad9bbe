//! The consumer group of webhooks: one worker, which takes over from a dead one; and its effect on
//! an audit and on the trimming.

use redis::Value;

use super::Place;
use super::receiver::{Receiver, Reply};
use super::redis_server::RedisServer;
use super::shop::{Shop, in_redis, stampede, wait_for};

const STREAM: &str = "{ticket_hash_key}:stream";

#[test]
fn a_group_has_one_worker_that_inherits_pending_webhooks() {
    let (redis, _users) = RedisServer::with_users();
    let receiver = Receiver::plain(|_| Reply::Status(200));
    let mut place = Place::new(&redis, &receiver);
    place.redis = redis.url_of("stampede-orders", "CHANGE-ME-ORDERS");
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 20);
    let worker = place.start(&receiver, &[]);
    wait_for("all of them", || receiver.in_order().len() == 20);
    let other = place.file("other.db").display().to_string();
    let (code, said) = place.start_with(&other, &receiver, &[]).end();
    assert!(code == Some(1) && said.contains("the group webhooks has another worker"), "{said}");
    worker.terminate();
    let (code, said) = worker.end();
    assert!(code == Some(0) && !said.contains("WARN"), "{said}");

    // One that died with what it had read, and a new one with a file of its own.
    shop.sell("ticket", 20);
    let mut by_hand = redis.connect();
    by_hand.ask(&format!("XREADGROUP GROUP webhooks dead COUNT 1 STREAMS {STREAM} >"));
    shop.sell("ticket", 20);
    // It counts as alive for as long as the documentation of groups says.
    wait_for("the dead one's end", || {
        let (code, said) = place.start_with(&other, &receiver, &["--once"]).end();
        assert!(code == Some(0) || said.contains("has another worker, dead"), "{said}");
        code == Some(0)
    });
    let stands = in_redis(&redis, "ticket");
    assert_eq!(receiver.in_order().len(), stands.len());
    let pending = by_hand.ask(&format!("XPENDING {STREAM} webhooks"));
    let Value::Array(parts) = pending else { panic!("{pending:?}") };
    assert_eq!(parts[0], Value::Int(0));
}

#[test]
fn trimming_waits_for_webhooks_and_audits_ignore_them() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(200));
    let place = Place::new(&redis, &receiver);
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 20);
    assert_eq!(place.start(&receiver, &["--once"]).end().0, Some(0));
    let audit =
        |more: &[&str]| stampede(&[&["audit", "--ledger", &redis.url()][..], more].concat());
    // No worker writes orders, so no database is asked for.
    let (code, said) = audit(&[]);
    assert!(code == Some(0) && !said.contains("--orders"), "{said}");
    // A database that has everything, and a group of webhooks that has not begun with the later
    // entries.
    shop.sell("ticket", 20);
    let url = format!("sqlite:{}", place.file("orders.db").display());
    let from = redis.url();
    let (code, said) = stampede(&["orders", "--from", &from, "--to", &url, "--once"]);
    assert_eq!(code, Some(0), "{said}");
    let file = rusqlite::Connection::open(place.file("orders.db")).expect("the file");
    assert_eq!(file.execute("DELETE FROM orders", []).expect("rows"), 40);
    let (code, said) = audit(&["--orders", &url]);
    assert!(code == Some(1) && said.contains("no row"), "{said}");
    // Entries that the webhooks lack are not trimmed.
    let length = |redis: &RedisServer| redis.connect().ask(&format!("XLEN {STREAM}"));
    let before = length(&redis);
    let (code, said) = stampede(&["orders", "--from", &from, "--groups"]);
    assert!(code == Some(0) && said.lines().any(|it| it.starts_with("webhooks ")), "{said}");
    let trim = stampede::ledger::redis::trim_command(
        &stampede::ledger::redis::KeyTemplates::default().of(&super::sale("ticket")),
        &["orders".to_owned(), "webhooks".to_owned()],
    );
    let parts: Vec<Vec<u8>> = trim;
    let mut request = format!("*{}\r\n", parts.len()).into_bytes();
    for part in &parts {
        request.extend(format!("${}\r\n", part.len()).bytes());
        request.extend(part);
        request.extend(b"\r\n");
    }
    let trimmed = redis.connect().send(&request, 1);
    assert_eq!((trimmed, length(&redis)), (vec![Value::Int(0)], before));
    assert_eq!(place.start(&receiver, &["--once"]).end().0, Some(0));
    assert_eq!(receiver.in_order().len(), 40);
}
