//! Unpaid units are sold again, by every core, without any cleaning up.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::{Bought, Buyer};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, on_redis, sold};

/// All buyers keep asking: held units come back and are sold again, to buyers on every core.
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
    // Ten units, held for a second each: at least every two seconds all are sold once more.
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
        // There is enough for all, so every one of them must get a unit, whatever its core.
        for buyer in &mut buyers {
            eventually("sold one", 5, || ask(buyer, 1).granted().is_some());
        }
    }
}

#[test]
fn a_removed_sale_is_forgotten_by_every_core() {
    let redis = RedisServer::start(&[]);
    let made = redis.connect().text("HMSET gone_hash_key gone_total_nums 1 gone_sold_nums 0");
    assert_eq!(made, "OK");
    let server = on_redis(&redis, &["--cores", &cores(2)]);
    let mut buyers: Vec<Buyer> = (0..16).map(|_| buyer(&server)).collect();
    let reserve =
        |buyer: &mut Buyer| buyer.reserve("gone", "ann", 1, "").expect("an answer").bought();
    assert!(reserve(&mut buyers[0]).granted().is_some());
    for buyer in &mut buyers {
        assert!(reserve(buyer).is("sold_out"));
        assert_eq!(buyer.sale("gone").expect("an answer")["free"], 0);
    }
    assert_eq!(redis.connect().text("FLUSHALL"), "OK");
    for buyer in &mut buyers {
        eventually("not sold any more", 5, || reserve(buyer).is("not_found"));
        eventually("not shown any more", 5, || {
            buyer.sale("gone").expect("an answer")["code"] == "not_found"
        });
    }
}

#[test]
fn any_server_confirms_cancels_and_resells_returned_units() {
    let redis = RedisServer::start(&[]);
    let options = ["--sale", "ticket=40", "--public-confirm", "--cores", &cores(2)];
    let servers = [on_redis(&redis, &options), on_redis(&redis, &options)];
    let mut buyers: Vec<Buyer> = (0..16).map(|n| buyer(&servers[n % 2])).collect();
    let reserve =
        |buyer: &mut Buyer| buyer.reserve("ticket", "ann", 1, "").expect("an answer").bought();
    let held: Vec<String> =
        (0..40).map(|n| reserve(&mut buyers[n % 16]).granted().expect("one of 40")).collect();
    for buyer in &mut buyers {
        assert!(reserve(buyer).is("sold_out"));
    }
    // Each by a server other than the one that granted it.
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
fn units_held_by_a_dead_server_return_after_its_restart() {
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

/// A sale created by hand, as in the article, but with its own hold time.
fn make_by_hand(redis: &RedisServer, sale: &str, total: u64) {
    let mut redis = redis.connect();
    let counters = format!("{sale}_total_nums {total} {sale}_sold_nums 0");
    assert_eq!(redis.text(&format!("HMSET {sale}_hash_key {counters}")), "OK");
    assert_eq!(redis.text(&format!("HSET {{{sale}_hash_key}}:sale hold_ms 1000")), "1");
}

/// The units that a sale's hash says are sold.
fn sold_of(redis: &RedisServer, sale: &str) -> u64 {
    let text = redis.connect().text(&format!("HGET {sale}_hash_key {sale}_sold_nums"));
    text.parse().expect("a number")
}

#[test]
fn another_server_returns_the_units_held_by_a_dead_one() {
    let redis = RedisServer::start(&[]);
    let other = on_redis(&redis, &[]);
    let mut server = on_redis(&redis, &[]);
    make_by_hand(&redis, "gift", 10);
    let mut first = buyer(&server);
    for _ in 0..10 {
        let answer = first.reserve("gift", "ann", 1, "").expect("an answer");
        assert!(answer.bought().granted().is_some());
    }
    server.kill();
    assert_eq!(sold_of(&redis, "gift"), 10);
    eventually("it is back in stock", 5, || sold_of(&redis, "gift") == 0);
    assert!(!other.log().contains("gift"), "{}", other.log());
}

#[test]
fn a_sale_recreated_after_a_flush_is_swept_too() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &[]);
    let mut ann = buyer(&server);
    for _ in 0..3 {
        redis.connect().text("FLUSHALL");
        make_by_hand(&redis, "gift", 1);
        eventually("sold", 5, || {
            ann.reserve("gift", "ann", 1, "").expect("an answer").bought().granted().is_some()
        });
        eventually("it is back in stock", 5, || sold_of(&redis, "gift") == 0);
    }
    // A deleted index is repaired by any server that knows the sale.
    let index = "stampede:sales:{sale}_hash_key";
    redis.connect().text(&format!("DEL {index}"));
    eventually("it is back in the index", 5, || {
        redis.connect().list(&format!("SMEMBERS {index}")) == ["gift"]
    });
}

#[test]
fn a_damaged_index_is_logged_and_stops_no_known_sale() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=10,hold=1s", "--cores", &cores(1)]);
    let mut ann = buyer(&server);
    assert!(ann.buy().expect("an answer").granted().is_some());
    eventually("it is back in stock", 5, || sold(&redis) == 0);
    let index = "stampede:sales:{sale}_hash_key";
    redis.connect().text(&format!("DEL {index}"));
    redis.connect().text(&format!("SET {index} 1"));
    make_by_hand(&redis, "gift", 1);
    // No other server would return these units if this one died.
    let mut ask = |sale| ann.reserve(sale, "ann", 1, "").expect("an answer").bought();
    assert!(ask("gift").is("unavailable") && ask("nothing").is("not_found"));
    eventually("it is told", 5, || {
        ["stampede::sweep", "Redis refused a batch"].iter().all(|who| {
            server.log().lines().any(|line| line.contains(who) && line.contains("is no set"))
        })
    });
    for _ in 0..2 {
        assert!(ask("ticket").granted().is_some());
        eventually("it is back in stock", 5, || sold(&redis) == 0);
    }
    redis.connect().text(&format!("DEL {index}"));
    eventually("it sells", 5, || ask("gift").granted().is_some());
    eventually("it is back in stock", 5, || sold_of(&redis, "gift") == 0);
}

#[test]
fn expired_units_come_back_after_redis_was_away() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let server = on_redis(&redis, &["--sale", "ticket=10,hold=1s"]);
    assert!(buyer(&server).buy().expect("an answer").granted().is_some());
    redis.kill();
    let told = || server.log().matches("can't be returned to stock").count();
    eventually("it is told", 5, || told() == 1);
    thread::sleep(Duration::from_millis(1500));
    redis.restart();
    eventually("it is back in stock", 5, || sold(&redis) == 0);
    assert_eq!(told(), 1, "{}", server.log());
}

#[test]
fn units_of_a_thousand_sales_expire_exactly_once() {
    const SALES: usize = 1_000;
    let redis = RedisServer::start(&[]);
    let sales: Vec<String> = (0..SALES).map(|n| format!("s{n}=5,hold=1s")).collect();
    let options: Vec<&str> = sales.iter().flat_map(|sale| ["--sale", sale]).collect();
    let servers = [on_redis(&redis, &options), on_redis(&redis, &[])];
    let mut buyers = [buyer(&servers[0]), buyer(&servers[1])];
    for n in 0..SALES {
        for (buyer, quantity) in buyers.iter_mut().zip([2, 3]) {
            let answer = buyer.reserve(&format!("s{n}"), "ann", quantity, "");
            assert!(answer.expect("an answer").bought().granted().is_some(), "s{n}");
        }
    }
    let mut connection = redis.connect();
    for n in 0..SALES {
        let ask = format!("HGET s{n}_hash_key s{n}_sold_nums");
        eventually("it is back in stock", 10, || connection.text(&ask) == "0");
        // Each unit left once and came back once: the stream's entries add up.
        let mut told: HashMap<(String, String), u32> = HashMap::new();
        for text in connection.list(&format!("XRANGE {{s{n}_hash_key}}:stream - +")) {
            for line in text.lines() {
                let words: Vec<&str> = line.split(' ').collect();
                if let [id, status, quantity, ..] = words[..] {
                    let units = quantity.parse::<u32>().expect("a quantity");
                    assert_eq!(told.insert((id.to_owned(), status.to_owned()), units), None);
                }
            }
        }
        for wanted in ["held", "expired"] {
            let units = told.iter().filter(|((_, status), _)| status == wanted);
            assert_eq!(units.map(|(_, units)| units).sum::<u32>(), 5, "s{n} {wanted}: {told:?}");
        }
    }
}
