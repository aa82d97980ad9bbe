//! What is not paid for in time is sold again, by every core, without anybody cleaning up.

use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::{Bought, Buyer};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, on_redis, sold};

/// Everybody keeps asking: what is held comes back and is sold again, to buyers on every core.
fn sells_again(server: &Server) {
    let mut buyers: Vec<Buyer> = (0..16).map(|_| buyer(server)).collect();
    let mut bought_by = vec![0; buyers.len()];
    let started = Instant::now();
    let mut granted = Vec::new();
    while started.elapsed() < Duration::from_millis(6500) {
        for (buyer, bought) in buyers.iter_mut().zip(&mut bought_by) {
            match buyer.buy().expect("an answer") {
                Bought::Granted(_) => {
                    granted.push(started.elapsed());
                    *bought += 1;
                }
                Bought::Refused(code) => assert_eq!(code, "sold_out"),
            }
            thread::sleep(Duration::from_millis(1));
        }
        buyers.rotate_left(1);
        bought_by.rotate_left(1);
    }
    // Ten units, held for a second each: every two seconds at the latest all are sold once more.
    assert!(granted.len() >= 30, "{granted:?}");
    let gap = |pair: &[Duration]| pair[10] - pair[0];
    let gaps: Vec<Duration> = granted.windows(11).map(gap).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(990)), "oversold: {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap < Duration::from_millis(2500)), "stranded: {gaps:?}");
}

#[test]
fn unpaid_units_are_sold_again_on_the_embedded_ledger() {
    let sale = ["--sale", "ticket=10,hold=1s", "--cores", &cores(2)];
    sells_again(&Server::start(&sale));
}

#[test]
fn unpaid_units_are_sold_again_on_redis() {
    let redis = RedisServer::start(&[]);
    sells_again(&on_redis(&redis, &["--sale", "ticket=10,hold=1s", "--cores", &cores(2)]));
}

#[test]
fn a_latch_opens_on_every_core_when_units_come_back() {
    let redis = RedisServer::start(&[]);
    let options = ["--sale", "ticket=2000,hold=2s", "--cores", &cores(2)];
    for server in [on_redis(&redis, &options), Server::start(&options)] {
        let mut buyers: Vec<Buyer> = (0..16).map(|_| buyer(&server)).collect();
        let ask = |buyer: &mut Buyer, quantity| {
            buyer.reserve("ticket", "ann", quantity, "").expect("an answer").bought()
        };
        for _ in 0..200 {
            assert!(ask(&mut buyers[0], 10).granted().is_some());
        }
        for buyer in &mut buyers {
            assert!(ask(buyer, 1).is("sold_out"));
        }
        // There is enough for all, so every one of them must be sold one, whatever its core.
        for buyer in &mut buyers {
            eventually("sold one", 5, || ask(buyer, 1).granted().is_some());
        }
    }
}

#[test]
fn any_server_confirms_and_cancels_and_all_sell_what_comes_back() {
    let redis = RedisServer::start(&[]);
    let options = ["--sale", "ticket=40", "--cores", &cores(2)];
    let servers = [on_redis(&redis, &options), on_redis(&redis, &options)];
    let mut buyers: Vec<Buyer> = (0..16).map(|n| buyer(&servers[n % 2])).collect();
    let reserve =
        |buyer: &mut Buyer| buyer.reserve("ticket", "ann", 1, "").expect("an answer").bought();
    let held: Vec<String> =
        (0..40).map(|n| reserve(&mut buyers[n % 16]).granted().expect("one of 40")).collect();
    for buyer in &mut buyers {
        assert!(reserve(buyer).is("sold_out"));
    }
    // By another server than the one that made it, each.
    for (n, id) in held.iter().enumerate() {
        let buyer = &mut buyers[(n + 1) % 16];
        let (answer, want) = match n % 2 {
            0 => (buyer.confirm(id).expect("an answer"), "confirmed"),
            _ => (buyer.cancel(id).expect("an answer"), "cancelled"),
        };
        assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some(want)));
        let shown = buyers[n % 16].reservation(id).expect("an answer");
        assert_eq!(shown.json()["status"], want);
    }
    for buyer in &mut buyers {
        eventually("sold one", 5, || reserve(buyer).granted().is_some());
    }
    assert_eq!(sold(&redis), 36);
}

#[test]
fn what_was_held_when_the_server_died_comes_back_with_nobody_asking() {
    let redis = RedisServer::start(&[]);
    let mut server = on_redis(&redis, &["--sale", "ticket=10,hold=1s"]);
    let mut first = buyer(&server);
    for _ in 0..10 {
        assert!(first.buy().expect("an answer").granted().is_some());
    }
    server.kill();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(sold(&redis), 10);
    server.restart();
    eventually("it is back in stock", 3, || sold(&redis) == 0);
    assert!(buyer(&server).buy().expect("an answer").granted().is_some());
}
