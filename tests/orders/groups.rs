//! Consumer groups: dead workers are taken out, and unused groups are ended.

use std::time::Duration;

use redis::Value;
use stampede::orders::StreamOptions;

use super::redis_server::RedisServer;
use super::shop::{
    Shop, Worker, in_database, in_redis, stampede, wait_for, wait_for_orders, worker_named,
};
use super::streams::{STREAM, drain, drain_as, pending, sqlite};

/// The names in the group.
fn workers(redis: &RedisServer, group: &str) -> Vec<String> {
    let reply = redis.connect().ask(&format!("XINFO CONSUMERS {STREAM} {group}"));
    let Value::Array(list) = reply else { panic!("XINFO CONSUMERS answers {reply:?}") };
    let name = |worker: &Value| match worker {
        Value::Array(fields) => match &fields[1] {
            Value::BulkString(name) => String::from_utf8_lossy(name).into_owned(),
            other => panic!("a name is {other:?}"),
        },
        other => panic!("a worker is {other:?}"),
    };
    list.iter().map(name).collect()
}

#[test]
fn stopped_and_dead_workers_are_removed_from_the_group() {
    let (redis, _users) = RedisServer::with_users();
    let (_folder, url) = sqlite();
    let as_worker = redis.url_of("stampede-orders", "CHANGE-ME-ORDERS");
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 50);
    let worker = Worker::start(&as_worker, &url, &["--consumer", "a"]);
    wait_for_orders(&redis, &url, "ticket");
    wait_for("everything acknowledged", || pending(&redis, "orders") == 0);
    assert_eq!(workers(&redis, "orders"), ["a"]);
    worker.terminate();
    let (code, said) = worker.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("WARN"), "{said}");
    assert_eq!(workers(&redis, "orders"), [""; 0]);

    // Three that died: with nothing, with entries, and with an unreadable entry.
    let mut by_hand = redis.connect();
    by_hand.ask(&format!("XGROUP CREATECONSUMER {STREAM} orders idle"));
    shop.sell("ticket", 50);
    let take = |worker| format!("XREADGROUP GROUP orders {worker} COUNT 1000 STREAMS {STREAM} >");
    by_hand.ask(&take("busy"));
    by_hand.text(&format!("XADD {STREAM} * at_ms 5 reservations nonsense"));
    by_hand.ask(&take("stuck"));
    assert_eq!(workers(&redis, "orders"), ["busy", "idle", "stuck"]);
    let (claim_after, gone_after) = (Duration::from_millis(50), Duration::from_millis(50));
    let next = StreamOptions { claim_after, gone_after, ..worker_named("next") };
    // It cannot leave: the entry is with it now.
    wait_for("the end of all that died", || {
        let done = drain_as(&as_worker, &url, &next).expect("drained");
        assert!(done.unreadable <= 1);
        workers(&redis, "orders") == ["next"]
    });
    assert_eq!(pending(&redis, "orders"), 1);
    assert_eq!(in_database(&url, "ticket"), Some(in_redis(&redis, "ticket")));
}

#[test]
fn only_an_unused_group_can_be_dropped() {
    let (redis, _users) = RedisServer::with_users();
    let (_folder, url) = sqlite();
    let from = redis.url_of("stampede-orders", "CHANGE-ME-ORDERS");
    let mut shop = Shop::open(&redis, &["ticket", "poster"]);
    shop.sell("ticket", 50);
    for group in ["orders", "report"] {
        let stream = StreamOptions { group: group.into(), ..worker_named("a") };
        drain(&redis, &url, &stream).expect("drained");
    }
    shop.sell("ticket", 5);
    let orders = |more: &[&str]| stampede(&[&["orders", "--from", &from][..], more].concat());
    let worker = Worker::start(&from, &url, &[]);
    wait_for_orders(&redis, &url, "ticket");
    wait_for("everything acknowledged", || pending(&redis, "orders") == 0);

    let line = |group: &str| {
        let (code, said) = orders(&["--groups"]);
        assert_eq!(code, Some(0), "{said}");
        let line = said.lines().find(|line| line.starts_with(group));
        line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    assert_eq!(line("report").expect("listed")[1..], ["1", "2", "0", "none"]);
    assert_eq!(line("orders").expect("listed")[1..5], ["1", "0", "0", "1,"]);
    let (code, said) = orders(&["--drop-group", "orders"]);
    assert!(code == Some(1) && said.contains("within the last 10s"), "{said}");
    // A worker that has an entry may wait for its database.
    let mut by_hand = redis.connect();
    by_hand.ask(&format!("XREADGROUP GROUP report busy COUNT 1 STREAMS {STREAM} >"));
    let (code, said) = orders(&["--drop-group", "report"]);
    assert!(code == Some(1) && said.contains("1 entries to finish"), "{said}");
    assert!(said.contains("(busy) was active within the last 1h"), "{said}");
    by_hand.ask(&format!("XGROUP DELCONSUMER {STREAM} report busy"));
    let (code, said) = orders(&["--drop-group", "none"]);
    assert!(code == Some(1) && said.contains("there is no group none"), "{said}");
    let (code, said) = orders(&["--drop-group", "report"]);
    assert!(code == Some(0) && said.contains("had 1 entries to read"), "{said}");
    assert_eq!(line("report"), None);
    // The others continue.
    shop.sell("ticket", 5);
    wait_for_orders(&redis, &url, "ticket");
    drop(worker);
    // A listed group that has not begun with any stream counts too.
    redis.connect().ask("SADD stampede:sales:{sale}_hash_key:groups late");
    assert_eq!(line("late").expect("listed")[1..], ["0", "0", "0", "none"]);
    let (code, said) = orders(&["--drop-group", "late"]);
    assert!(code == Some(0) && line("late").is_none(), "{said}");
}
