//! The memory of a waiting purchase.

use std::fs;

use crate::crowd::{CROWD, Crowd, all_is_read, alone, granted, on_redis};
use crate::redis_server::RedisServer;
use crate::server::Server;

/// Memory for one waiting purchase, beyond its idle connection.
const WAITING_BYTES_MAX: usize = 512;

/// The server's anonymous resident memory in bytes.
fn anonymous_bytes(server: &Server) -> usize {
    let path = format!("/proc/{}/status", server.pid());
    let status = fs::read_to_string(path).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory");
    let kib = line.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<usize>().ok());
    kib.expect("a number") * 1024
}

#[test]
fn a_waiting_purchase_takes_little_memory() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--ledger-timeout", "20s", "--sale", "ticket=100000"]);
    let mut crowd = Crowd::connect(&server, 0..CROWD);
    crowd.warm_up();
    let idle = anonymous_bytes(&server);
    redis.stop();
    crowd.ask();
    all_is_read(&server);
    let waiting = anonymous_bytes(&server);
    redis.go_on();
    assert_eq!(granted(&crowd.told(), &[]), CROWD);
    let each = waiting.saturating_sub(idle) / CROWD;
    println!("{idle} bytes idle, {waiting} while {CROWD} wait: {each} for each");
    assert!(each <= WAITING_BYTES_MAX, "{each} bytes for each purchase that waits");
}
