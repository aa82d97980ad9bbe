//! 15,000 ask for 10,000 tickets in the same moment, each with a key: the key finds the same
//! reservation again.

use crate::crowd::{Crowd, alone, granted, held, on_redis, one_core};
use crate::redis_server::RedisServer;
use crate::server::Server;

const BUYERS: usize = 15_000;
const TICKETS: usize = 10_000;

fn every_key_replays_its_answer(server: &Server) {
    let mut crowd = Crowd::connect(server, 0..BUYERS);
    crowd.ask_at_once(server);
    let first = crowd.told();
    assert_eq!(granted(&first, &["sold_out"]), TICKETS);
    crowd.ask_at_once(server);
    let again = crowd.told();
    granted(&again, &["sold_out"]);
    assert!(first == again, "somebody is told something else than before");
    assert_eq!(held(server), TICKETS as u64);
}

#[test]
fn each_key_finds_its_ticket_again_with_the_embedded_ledger() {
    let _alone = alone();
    every_key_replays_its_answer(&Server::start(&one_core(&["--sale", "ticket=10000"])));
}

#[test]
fn each_key_finds_its_ticket_again_with_redis() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    every_key_replays_its_answer(&on_redis(&redis, &["--sale", "ticket=10000"]));
}

#[test]
fn each_key_finds_its_ticket_again_in_a_sale_in_parts() {
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    every_key_replays_its_answer(&on_redis(&redis, &["--sale", "ticket=10000,splits=4"]));
}
