//! A core's older knowledge of a sale decides no request that has a key.
//!
//! One unit goes from buyer to buyer. It is given back through one server, and after that answer a
//! buyer with a key asks for it through the other: he gets it, whatever that server knew of the
//! sale a moment ago, by questions that are still under way for others.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::Shop;
use crate::buyer::{Bought, Buyer};
use crate::server::Server;

/// Times that the unit changes hands.
const HANDS: usize = 60;
/// Users who ask all the time, and have all that they may have.
const CROWD: usize = 6;

/// Asks while the unit wanders: half of them with a key, new or old, half without.
fn press(address: SocketAddr, number: usize, is_over: &AtomicBool) {
    let mut buyer = Buyer::connect(address).expect("connect to the server");
    let user = format!("full{}", number % 2);
    for turn in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let key = match (number + turn) % 4 {
            0 => format!("new{number}-{turn}"),
            1 => "first".to_owned(),
            _ => String::new(),
        };
        let bought = buyer.reserve("ticket", &user, 1, &key).expect("an answer").bought();
        match bought {
            Bought::Granted(_) => assert_eq!(key, "first", "{user} has more than the limit"),
            Bought::Refused(code) => {
                let codes = ["sold_out", "limit_reached"];
                assert!(key != "first" && codes.contains(&&*code), "{user} {key}: {code}");
            }
        }
    }
}

fn pass_one_unit_between_users(shop: &Shop) {
    let addresses: Vec<_> = shop.servers.iter().map(Server::address).collect();
    let mut lines: Vec<_> =
        addresses.iter().map(|&at| Buyer::connect(at).expect("connect to the server")).collect();
    let count = lines.len();
    let mut ask = |at: usize, user: &str, key: &str| {
        lines[at % count].reserve("ticket", user, 1, key).expect("an answer").bought()
    };
    for full in ["full0", "full1"] {
        assert!(ask(0, full, "first").granted().is_some());
    }
    let is_over = AtomicBool::new(false);
    let mut givers: Vec<_> = addresses
        .iter()
        .map(|&address| Buyer::connect(address).expect("connect to the server"))
        .collect();
    let stale = thread::scope(|scope| {
        for number in 0..CROWD {
            let (address, is_over) = (addresses[number % count], &is_over);
            scope.spawn(move || press(address, number, is_over));
        }
        let mut stale = Vec::new();
        let mut id = ask(0, "hand0", "key").granted().expect("the only one");
        for hand in 1..=HANDS {
            let user = format!("hand{hand}");
            // No user can have it yet.
            let refused = ask(hand, &user, "early");
            assert!(refused.is("sold_out"), "{user}: {refused:?}");
            let answer = givers[(hand + 1) % count].cancel(&id).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.body);
            let mut bought = ask(hand, &user, "key");
            while let Bought::Refused(code) = &bought {
                stale.push(format!("{user}: {code}"));
                bought = ask(hand, &user, "key");
            }
            id = bought.clone().granted().expect("an id");
            // And either server finds it again.
            for at in 0..2 {
                assert_eq!(ask(at, &user, "key"), bought, "{user}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
        stale
    });
    assert!(stale.is_empty(), "told so while the unit was free: {stale:?}");
}

#[test]
fn a_key_gets_no_stale_answer_with_redis() {
    pass_one_unit_between_users(&Shop::on_redis(1, "ticket=3,limit=1"));
}

#[test]
fn a_key_gets_no_stale_answer_in_a_split_sale() {
    pass_one_unit_between_users(&Shop::on_redis(4, "ticket=3,limit=1,splits=4"));
}

#[test]
fn a_key_gets_no_stale_answer_with_the_embedded_ledger() {
    pass_one_unit_between_users(&Shop::embedded("ticket=3,limit=1"));
}
