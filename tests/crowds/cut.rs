//! Connections that are cut while they wait: their purchases leave the queue, and the connection
//! that gets their place, descriptor or record next gets none of their answers.

use std::collections::HashMap;
use std::time::Duration;

use crate::buyer::Buyer;
use crate::crowd::{
    BATCH, CROWD, Told, all_is_read, all_wait, alone, granted, held, purchase, told,
};
use crate::redis_server::RedisServer;

/// Time for the ledger's answer in which a whole crowd can come, go and come again.
const PATIENT: [&str; 4] = ["--ledger-timeout", "20s", "--sale", "ticket=100000"];

#[test]
fn a_buyer_who_resets_while_waiting_takes_nothing() {
    const GONE: usize = CROWD / 2;
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let (server, mut crowd) = all_wait(&redis, &PATIENT);
    // They have sent before the others, so the batch under way is theirs.
    crowd.reset(0..GONE);
    all_is_read(&server);
    redis.go_on();
    let stayed = crowd.told();
    assert_eq!(granted(&stayed, &[]), CROWD - GONE);
    // Purchases that are still queued are before this one.
    let mut last = Buyer::connect(server.address()).expect("a place");
    told(CROWD, &last.ask(&purchase(CROWD)).expect("an answer"));
    let held = held(&server) as usize - 1;
    assert!(held <= CROWD - GONE + BATCH as usize, "{held} held for {} who stayed", CROWD - GONE);
}

#[test]
fn a_reconnecting_buyer_sees_no_other_reservation() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let (server, mut crowd) = all_wait(&redis, &PATIENT);
    // Half of them, from all over the queue: some repeat their request, some are another person
    // now.
    let mut ids: HashMap<usize, String> = HashMap::new();
    for round in 0..2 {
        for at in (round..CROWD).step_by(4) {
            let number = crowd.0[at].0;
            let number = if at % 8 < 4 { number } else { number + CROWD };
            crowd.replace(&server, at, number);
            crowd.0[at].1.send(&purchase(number)).expect("send");
        }
    }
    all_is_read(&server);
    redis.go_on();
    let stayed = crowd.told();
    assert_eq!(granted(&stayed, &[]), CROWD);
    for ((number, _), one) in crowd.0.iter().zip(stayed) {
        if let Told::Has(id) = one {
            ids.insert(*number, id);
        }
    }
    // And the same once more, without other load.
    std::thread::sleep(Duration::from_millis(100));
    crowd.ask();
    for (number, buyer) in &mut crowd.0 {
        let again = told(*number, &buyer.answer().expect("an answer"));
        assert_eq!(again, Told::Has(ids[number].clone()), "{number}");
    }
    let held = held(&server) as usize;
    assert!(held <= CROWD + BATCH as usize, "{held} held for {CROWD} who stayed");
}
