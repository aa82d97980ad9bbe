//! `kill -9` under load, of the server and of Redis: what was acknowledged is there, a lost answer
//! is found again by its key, and in the end exactly the total is sold.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::buyer::{Bought, Buyer};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, eventually, on_redis, sold};

const BUYERS: usize = 16;
const KILLS: usize = 50;
const TOTAL: u64 = 50_000;
const SALE: &str = "ticket=50000";
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// What the buyers know, over all rounds.
#[derive(Default)]
struct Ledger {
    /// Reservation by its key. Without a key: by its own id.
    acknowledged: HashMap<String, String>,
    /// Keys whose answer was lost, to be asked again.
    lost: Vec<String>,
    /// Answers lost that had no key.
    lost_for_good: u64,
    replies_lost: usize,
}

/// One buyer's round.
#[derive(Default)]
struct Round {
    acknowledged: Vec<(String, String)>,
    lost: Vec<String>,
    lost_for_good: u64,
}

impl Ledger {
    fn add(&mut self, round: Round) {
        for (key, id) in round.acknowledged {
            self.acknowledge(key, id);
        }
        self.replies_lost += round.lost.len() + round.lost_for_good as usize;
        self.lost.extend(round.lost);
        self.lost_for_good += round.lost_for_good;
    }

    fn acknowledge(&mut self, key: String, id: String) {
        let earlier = self.acknowledged.insert(key.clone(), id.clone());
        assert!(earlier.is_none_or(|earlier| earlier == id), "{key} has two reservations");
    }

    /// Asks twice again for each lost answer: both answers name the same reservation.
    fn ask_again(&mut self, buyer: &mut Buyer) {
        for key in std::mem::take(&mut self.lost) {
            let mut ask = || buyer.reserve("ticket", "ann", 1, &key).expect("an answer").bought();
            let (first, second) = (ask(), ask());
            assert_eq!(first, second, "{key}");
            let id = first.granted().expect("there is stock");
            self.acknowledge(key, id);
        }
    }

    /// The reservations of these keys exist, and the number of held units is right.
    fn check<'a>(&'a self, buyer: &mut Buyer, keys: impl IntoIterator<Item = &'a String>) {
        for key in keys {
            let id = &self.acknowledged[key];
            assert!(buyer.finds(id).expect("an answer"), "{key}: {id} is lost");
        }
        let sale = buyer.sale("ticket").expect("an answer");
        let number = |name: &str| sale[name].as_u64().expect("a number");
        let (held, confirmed, free) = (number("held"), number("confirmed"), number("free"));
        assert_eq!((number("total"), held + confirmed + free), (TOTAL, TOTAL), "{sale}");
        let known = self.acknowledged.len() as u64;
        let unknown = self.lost_for_good + self.lost.len() as u64;
        assert!(held >= known && held <= known + unknown, "{sale} {known} {unknown}");
    }

    /// Sells everything that is left, then nothing more.
    fn sell_out(&mut self, buyer: &mut Buyer) {
        let mut rest = 0;
        loop {
            let free = buyer.sale("ticket").expect("an answer")["free"].as_u64().expect("free");
            let quantity = if free >= 10 { 10 } else { 1 };
            match buyer.reserve("ticket", "bob", quantity, "").expect("an answer").bought() {
                Bought::Granted(_) => rest += u64::from(quantity),
                Bought::Refused(code) if code == "sold_out" && quantity == 1 => break,
                // The view may be older than the last purchase.
                Bought::Refused(code) if code == "sold_out" => {}
                Bought::Refused(code) => panic!("{code}"),
            }
        }
        let distinct: HashSet<_> = self.acknowledged.values().collect();
        assert_eq!(distinct.len(), self.acknowledged.len(), "one reservation for two buyers");
        let known = distinct.len() as u64 + rest;
        assert!(known <= TOTAL && known + self.lost_for_good >= TOTAL, "{known} sold");
        eventually("all of it is held", 2, || {
            buyer.sale("ticket").expect("an answer")["held"] == TOTAL
        });
        eprintln!(
            "acknowledged {}, replies lost {} ({} without a key), sold at the end {rest}",
            self.acknowledged.len(),
            self.replies_lost,
            self.lost_for_good
        );
    }
}

/// Buys until the test stops it or the server is gone. Every second request has a key.
fn buy(address: SocketAddr, name: &str, stop: &AtomicBool) -> Round {
    let mut round = Round::default();
    let Ok(mut buyer) = Buyer::connect(address) else { return round };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{name}-{number}");
        let has_key = number % 2 == 0;
        let key = if has_key { name.as_str() } else { "" };
        match reserve(&mut buyer, key) {
            Ok(Bought::Granted(id)) => round.acknowledged.push((name, id)),
            Ok(Bought::Refused(code)) if code == "unavailable" || code == "busy" => {
                thread::sleep(Duration::from_millis(20));
            }
            // Lost between server and Redis, or between server and client.
            Ok(Bought::Refused(code)) => {
                assert_eq!(code, "unknown");
                round.note_lost(name, has_key);
            }
            Err(_) => {
                round.note_lost(name, has_key);
                break;
            }
        }
        thread::sleep(Duration::from_millis(3));
    }
    round
}

fn reserve(buyer: &mut Buyer, key: &str) -> io::Result<Bought> {
    Ok(buyer.reserve("ticket", "ann", 1, key)?.bought())
}

impl Round {
    fn note_lost(&mut self, name: String, has_key: bool) {
        if has_key {
            self.lost.push(name);
        } else {
            self.lost_for_good += 1;
        }
    }
}

/// A number below `below`, a different one each time.
fn random(below: u64) -> u64 {
    RandomState::new().hash_one(()) % below
}

/// Has buyers buy while `meanwhile` runs, and notes their reservations.
fn under_load(
    ledger: &mut Ledger,
    address: SocketAddr,
    name: &str,
    meanwhile: impl FnOnce(),
) -> HashSet<String> {
    let stop = AtomicBool::new(false);
    let rounds: Vec<Round> = thread::scope(|scope| {
        let stop = &stop;
        let buyers: Vec<_> = (0..BUYERS)
            .map(|buyer| scope.spawn(move || buy(address, &format!("{name}-{buyer}"), stop)))
            .collect();
        meanwhile();
        stop.store(true, Ordering::Relaxed);
        buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).collect()
    });
    let mut keys = HashSet::new();
    for round in rounds {
        keys.extend(round.acknowledged.iter().map(|(key, _)| key.clone()));
        ledger.add(round);
    }
    keys
}

fn kill_the_server(server: &mut Server) -> Ledger {
    let mut ledger = Ledger::default();
    for kill in 0..KILLS {
        let address = server.address();
        let bought = under_load(&mut ledger, address, &kill.to_string(), || {
            thread::sleep(Duration::from_millis(20 + random(150)));
            server.kill();
        });
        server.restart();
        let mut buyer = buyer(server);
        // This round's reservations must exist; those of earlier rounds are checked again at the
        // end.
        ledger.check(&mut buyer, &bought);
        ledger.ask_again(&mut buyer);
    }
    let mut buyer = buyer(server);
    ledger.check(&mut buyer, ledger.acknowledged.keys());
    ledger.sell_out(&mut buyer);
    ledger
}

#[test]
fn a_server_killed_on_the_embedded_ledger_loses_nothing() {
    let mut server = Server::start(&["--sale", SALE]);
    let ledger = kill_the_server(&mut server);
    assert!(ledger.replies_lost > 0, "it was never killed under load");
}

#[test]
fn a_server_killed_on_redis_loses_nothing() {
    let redis = RedisServer::start(&DURABLE);
    let mut server = on_redis(&redis, &["--sale", SALE]);
    let ledger = kill_the_server(&mut server);
    assert!(ledger.replies_lost > 0, "it was never killed under load");
    assert_eq!(sold(&redis), TOTAL);
}

#[test]
fn a_killed_redis_loses_nothing_and_the_server_recovers() {
    let mut redis = RedisServer::start(&DURABLE);
    let server = on_redis(&redis, &["--sale", SALE]);
    let mut ledger = Ledger::default();
    for kill in 0..8 {
        let name = kill.to_string();
        let bought = under_load(&mut ledger, server.address(), &name, || {
            thread::sleep(Duration::from_millis(50 + random(200)));
            redis.kill();
            thread::sleep(Duration::from_millis(random(400)));
            redis.restart();
            // Long enough for the server to come back and sell again.
            thread::sleep(Duration::from_millis(1500));
        });
        let mut buyer = buyer(&server);
        eventually("the server has healed", 5, || {
            buyer.request("GET", "/v1/sales/ticket", &[], "").expect("an answer").status == 200
        });
        ledger.check(&mut buyer, &bought);
        ledger.ask_again(&mut buyer);
    }
    assert!(ledger.replies_lost > 0, "it was never killed under load");
    let mut buyer = buyer(&server);
    ledger.check(&mut buyer, ledger.acknowledged.keys());
    ledger.sell_out(&mut buyer);
    assert_eq!(sold(&redis), TOTAL);
}
