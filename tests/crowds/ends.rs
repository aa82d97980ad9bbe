//! A server that is told to end while 19,000 wait: each of them is told what became of his purchase.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::crowd::{BATCH, CROWD, Crowd, Told, all_wait, alone, granted, on_redis};
use crate::redis_server::RedisServer;

/// What the article's hash says is sold.
fn sold(redis: &RedisServer) -> usize {
    let text = redis.connect().text("HGET ticket_hash_key ticket_sold_nums");
    text.parse().expect("a number")
}

#[test]
fn a_drain_answers_all_who_wait() {
    const TICKETS: usize = 10_000;
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let (mut server, mut crowd) = all_wait(&redis, &["--sale", "ticket=10000"]);
    server.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(500));
    redis.go_on();
    let told = crowd.told();
    assert_eq!(granted(&told, &["sold_out"]), TICKETS);
    for (number, buyer) in &mut crowd.0 {
        assert!(buyer.answer().is_err(), "{number}: the last answer was not the last");
    }
    drop(crowd);
    assert_eq!(server.wait(), 0);
    let log = server.log();
    assert!(log.contains("drained") && !log.contains("time to drain is up"), "{log}");
    assert_eq!(sold(&redis), TICKETS);
}

#[test]
fn a_drain_without_a_ledger_says_what_is_not_known() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let mut server = on_redis(&redis, &["--ledger-timeout", "3s", "--sale", "ticket=100000"]);
    let mut crowd = Crowd::connect(&server, 0..CROWD);
    crowd.warm_up();
    redis.stop();
    crowd.ask();
    server.signal(Signal::TERM);
    let told = crowd.told();
    assert_eq!(granted(&told, &["unknown", "unavailable", "busy"]), 0);
    let unknown = told.iter().filter(|told: &&Told| told.is("unknown")).count();
    drop(crowd);
    assert_eq!(server.wait(), 0);
    redis.go_on();
    // What was sent may have been done: it is not more than was said not to be known.
    assert!(unknown <= BATCH as usize, "{unknown} of one batch");
    let sold = sold(&redis);
    assert!(sold <= unknown, "{sold} sold, {unknown} not known");
}
