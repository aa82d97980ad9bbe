//! A server that gets SIGTERM while 19,000 wait: each of them gets the outcome of his purchase.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::crowd::{BATCH, CROWD, Crowd, Told, all_wait, alone, granted, on_redis};
use crate::redis_server::RedisServer;

/// The units that the article's hash says are sold.
fn sold(redis: &RedisServer) -> usize {
    let text = redis.connect().text("HGET ticket_hash_key ticket_sold_nums");
    text.parse().expect("a number")
}

#[test]
fn a_drain_answers_every_waiting_buyer() {
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
    assert!(log.contains("drained") && !log.contains("drain timeout reached"), "{log}");
    assert_eq!(sold(&redis), TICKETS);
}

#[test]
fn a_drain_without_a_ledger_answers_unknown_truthfully() {
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
    // A sent purchase may have happened: no more did than were answered as unknown.
    assert!(unknown <= BATCH as usize, "{unknown} of one batch");
    let sold = sold(&redis);
    assert!(sold <= unknown, "{sold} sold, {unknown} not known");
}
