//! A new process takes over (SIGUSR2): nobody is refused, nobody is reset, nothing is lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::client::sold;
use crate::place::{Door, Place};
use crate::redis::RedisServer;

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";
/// Processes that take over, one after the other.
const TIMES: usize = 20;

/// Buys until it is told to stop, on a connection for each purchase or on one that is kept. Gives how
/// many it has got. Whatever is not a ticket fails: a connection that is refused or reset, an answer
/// that does not come, or is another one.
fn buy(door: &Door, keep: bool, stop: &AtomicBool) -> u64 {
    let mut bought = 0;
    let mut kept = None;
    while !stop.load(Ordering::Relaxed) {
        let client = kept.get_or_insert_with(|| door.client());
        let response = client.ask(BUY);
        assert_eq!(response.json()["code"], 1, "{} {}", response.head, response.text());
        bought += 1;
        if response.closes() {
            client.assert_end();
        }
        if response.closes() || !keep {
            kept = None;
        }
    }
    bought
}

/// Hands over so many times while this many buy in each way, and sees that all that they got is sold.
fn hand_over_under_load(server: &mut Place, times: usize) {
    let address = server.line_address();
    let stop = AtomicBool::new(false);
    let bought: u64 = thread::scope(|scope| {
        let buyers: Vec<_> = [true, false, true, false]
            .map(|keep| {
                let (door, stop) = (server.door(), &stop);
                scope.spawn(move || buy(&door, keep, stop))
            })
            .into_iter()
            .collect();
        // Whatever fails, the buyers end.
        let handed_over = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..times {
                server.hand_over();
                assert!(buyers.iter().all(|buyer| !buyer.is_finished()), "a buyer has failed");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let bought = buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).sum();
        handed_over.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        bought
    });
    assert_eq!(server.line_address(), address);
    assert_eq!(sold(server), bought, "of {times} hand-overs");
    println!("{bought} bought");
    for paused in server.log().lines().filter(|line| line.contains("took over the ledger")) {
        println!("{paused}");
    }
}

#[test]
fn with_an_embedded_ledger_purchases_wait_for_the_new_process() {
    for mut server in Place::each(&["--sale", "ticket=10000000"]) {
        hand_over_under_load(&mut server, TIMES / 2);
    }
}

#[test]
fn servers_on_a_redis_sell_side_by_side() {
    let redis = RedisServer::start(&[]);
    let options = ["--ledger", &redis.url(), "--sale", "ticket=10000000"];
    for mut server in Place::each(&options) {
        redis.connect().text("FLUSHALL");
        server.restart();
        hand_over_under_load(&mut server, TIMES / 2);
    }
}
