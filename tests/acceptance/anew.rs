//! Sales that begin anew: set up again by hand after they have sold, begun anew by command, or removed
//! and made again under their names.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use stampede::ledger::client::Client;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisClient, RedisLedger, RedisSettings};
use stampede::ledger::{Batch, Group};
use stampede::sale::{Command, Outcome, SaleId, SaleSpec};

use crate::buyer::Buyer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, logged, on_redis, set_up_by_hand, sold};

/// What a command says, and whether it succeeds.
fn stampede(arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stampede"));
    let output = command.args(arguments).output().expect("the command runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

/// The two lines of the article and our README, without anything that is deleted.
fn set_up_again(redis: &RedisServer, total: u64) {
    let set = format!("HMSET ticket_hash_key ticket_total_nums {total} ticket_sold_nums 0");
    assert_eq!(redis.connect().text(&set), "OK");
}

/// `/buy/ticket` from when the server grants until it grants no more: how often it did. What changes
/// in the ledger reaches a server's cores some milliseconds later.
fn buy_all(server: &Server) -> usize {
    let mut buyer = buyer(server);
    eventually("it sells", 5, || buyer.buy().expect("an answer").granted().is_some());
    let mut granted = 1;
    while buyer.buy().expect("an answer").granted().is_some() {
        granted += 1;
    }
    granted
}

fn ready(server: &Server) -> String {
    let mut control = Buyer::connect(server.control()).expect("connect");
    let answer = control.request("GET", "/readyz", &[], "").expect("an answer");
    assert_eq!(answer.status, 200);
    answer.body
}

#[test]
fn a_second_test_run_is_named_everywhere_and_one_command_begins_it() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 20, 0);
    let servers =
        [on_redis(&redis, &["--cores", &cores(2)]), on_redis(&redis, &["--public-confirm"])];
    let control = servers[0].control().to_string();
    let reset = |more: &[&str]| {
        stampede(&[&["sale", "reset", "ticket", "--control", &control], more].concat())
    };
    // Once what was sold is held, once it is confirmed, so that nothing is held.
    for confirmed in [false, true] {
        assert_eq!(buy_all(&servers[0]), 20);
        if confirmed {
            for id in crate::reservations(&redis) {
                assert_eq!(buyer(&servers[1]).confirm(&id).expect("an answer").status, 200);
            }
        }
        set_up_again(&redis, 20);
        for server in &servers {
            let mut buyer = buyer(server);
            // What the ledger said before may be told for some hundred milliseconds more.
            eventually("refused, and why", 5, || {
                let answer = buyer.request("GET", "/buy/ticket", &[], "").expect("an answer");
                assert!(
                    !answer.body.contains("hash_key"),
                    "that is for operators: {}",
                    answer.body
                );
                answer.json()["data"]["reason"] == "sale_damaged"
            });
            let asked = buyer.reserve("ticket", "ann", 1, "k").expect("an answer").json();
            assert_eq!(
                (&asked["code"], &asked["reason"]),
                (&"unavailable".into(), &"sale_damaged".into())
            );
            let refused = "sale ticket is refused: ticket_sold_nums of ticket_hash_key is 0";
            assert!(ready(server).contains(refused), "{}", ready(server));
            logged(server, "the ledger refuses the sale");
        }
        let late = on_redis(&redis, &["--control", "off"]);
        logged(&late, "ticket: refused");

        let (done, told) = reset(&[]);
        assert!(!done && told.contains("--force"), "{told}");
        assert!(reset(&["--force"]).0);
        for server in &servers {
            eventually("ready without a word", 5, || ready(server) == "ready\n");
        }
        let both: usize = servers
            .iter()
            .map(|server| {
                let mut buyer = buyer(server);
                (0..7).filter(|_| buyer.buy().expect("an answer").granted().is_some()).count()
            })
            .sum();
        assert_eq!(both + buy_all(&servers[1]), 20);
        assert_eq!(sold(&redis), 20);
        let (agrees, told) = stampede(&["audit", "--ledger", &redis.url()]);
        assert!(agrees, "{told}");
        assert!(reset(&["--force", "--total", "20"]).0);
    }
}

#[test]
fn each_reset_is_another_making_of_the_sale_with_an_allowance_of_its_own() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=3", "--stock", "3"]);
    let control = server.control().to_string();
    assert_eq!(buy_all(&server), 3);
    for _ in 0..2 {
        // Which making of the sale it sells from, a view tells the server.
        assert_eq!(buyer(&server).request("GET", "/v1/sales/ticket", &[], "").unwrap().status, 200);
        let reset = ["sale", "reset", "ticket", "--control", &control, "--force", "--total", "3"];
        let (done, told) = stampede(&reset);
        assert!(done, "{told}");
        assert_eq!(buy_all(&server), 3);
    }
}

#[test]
fn a_hash_that_expired_and_was_set_up_again_begins_anew_straight_in_redis() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 3, 0);
    let server = on_redis(&redis, &[]);
    assert_eq!(buy_all(&server), 3);
    redis.connect().text("PEXPIRE ticket_hash_key 1");
    eventually("there is none", 5, || buyer(&server).buy().expect("an answer").is("not_found"));
    let reset = |more: &[&str]| {
        let ledger = redis.url();
        stampede(&[&["sale", "reset", "ticket", "--force", "--ledger", &ledger], more].concat())
    };
    let (done, told) = reset(&[]);
    assert!(!done && told.contains("total"), "{told}");
    set_up_again(&redis, 3);
    eventually("refused", 5, || buyer(&server).buy().expect("an answer").is("unavailable"));
    redis.connect().text("DEL ticket_hash_key");
    assert!(reset(&["--total", "4"]).0);
    assert_eq!(buy_all(&server), 4);
}

#[test]
fn a_broken_key_is_named_at_once_and_other_sales_go_on() {
    let redis = RedisServer::start(&[]);
    redis.connect().text("SET ticket_hash_key 1");
    redis.connect().text("HSET {poster_hash_key}:sale held 3");
    let server = on_redis(&redis, &["--sale", "ticket=5", "--sale", "poster=4", "--sale", "cup=3"]);
    logged(&server, "the key ticket_hash_key is no hash");
    logged(&server, "the hash poster_hash_key is gone, but not all of its sale");
    logged(&server, "cup: 3 for sale");
    assert!(ready(&server).contains("sale poster is refused"), "{}", ready(&server));
    let reserve = |sale| buyer(&server).reserve(sale, "ann", 1, "").expect("an answer").bought();
    assert!(reserve("ticket").is("unavailable") && reserve("cup").granted().is_some());
    redis.connect().text("DEL ticket_hash_key {poster_hash_key}:sale");
    // Nobody needs to start it again.
    for sale in ["ticket", "poster"] {
        eventually("created and sold", 5, || reserve(sale).granted().is_some());
    }
    eventually("ready without a word", 5, || ready(&server) == "ready\n");
}

#[test]
fn an_embedded_sale_begins_anew_once_nothing_is_held() {
    let server = Server::start(&["--sale", "ticket=3,hold=1h", "--public-confirm"]);
    let control = server.control().to_string();
    let reset = |more: &[&str]| {
        stampede(&[&["sale", "reset", "ticket", "--control", &control], more].concat())
    };
    let mut buyer = buyer(&server);
    let ids: Vec<String> =
        (0..3).map(|_| buyer.buy().expect("an answer").granted().expect("one of 3")).collect();
    assert!(!reset(&["--force"]).0, "units are held");
    for id in &ids {
        assert_eq!(buyer.confirm(id).expect("an answer").status, 200);
    }
    assert!(!reset(&[]).0, "it has sold");
    let (done, told) = reset(&["--force", "--json"]);
    assert!(done && told.contains("\"hold_ms\":3600000"), "{told}");
    eventually("it sells", 5, || buyer.buy().expect("an answer").granted().is_some());
}

fn poster() -> SaleId {
    SaleId::new("poster").expect("a sale id")
}

/// What an operator's script does, faster than any sweep looks.
fn make_again(redis: &RedisServer, spec: SaleSpec) {
    let settings = RedisSettings::from_url(&redis.url()).expect("a URL");
    let codec = Codec::new(KeyTemplates::default());
    let ledger = RedisLedger::new(settings, codec, None).expect("a ledger");
    let mut client = RedisClient::new(Arc::new(ledger), "test");
    let commands = vec![Command::Close, Command::Remove, Command::Create(spec)];
    let batch = Batch { groups: vec![Group { sale: poster(), commands }] };
    let reply = client.apply(&batch).expect("a reply");
    assert!(matches!(reply[0].outcomes[2], Outcome::Created(_)), "{reply:?}");
}

fn sold_posters(redis: &RedisServer) -> u64 {
    let text = redis.connect().text("HGET poster_hash_key poster_sold_nums");
    text.parse().expect("a number")
}

/// Two servers whose sweeps know a sale of that name with a long hold time.
fn two_that_know_it(redis: &RedisServer) -> [Server; 2] {
    let servers = [on_redis(redis, &["--sale", "poster=5"]), on_redis(redis, &[])];
    // Each has then looked at the sale and at the index more than once.
    thread::sleep(Duration::from_millis(1500));
    servers
}

fn buy_five(server: &Server) {
    let answer = buyer(server).reserve("poster", "ann", 5, "").expect("an answer");
    assert!(answer.bought().granted().is_some());
}

#[test]
fn what_is_held_in_a_sale_made_again_expires_in_time_also_if_its_seller_dies() {
    let redis = RedisServer::start(&[]);
    let [mut seller, _other] = two_that_know_it(&redis);
    make_again(&redis, SaleSpec { hold_ms: 1_000, ..SaleSpec::with_total(5) });
    buy_five(&seller);
    seller.kill();
    assert_eq!(sold_posters(&redis), 5);
    eventually("back in stock", 10, || sold_posters(&redis) == 0);
}

#[test]
fn what_is_held_for_another_time_than_before_expires_in_time_whoever_changed_that() {
    let redis = RedisServer::start(&[]);
    let [_first, seller] = two_that_know_it(&redis);
    // As a hand does; a version before 0.2.0 that makes the sale again tells nobody either.
    assert_eq!(redis.connect().text("HSET {poster_hash_key}:sale hold_ms 1000"), "0");
    for _ in 0..2 {
        buy_five(&seller);
        eventually("back in stock", 10, || sold_posters(&redis) == 0);
    }
}

#[test]
fn a_fixed_allowance_is_that_of_the_sale_which_was_made_last() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "poster=9", "--stock", "3", "--cores", &cores(1)]);
    let mut ann = buyer(&server);
    assert_eq!(ann.sale("poster").expect("an answer")["free"], 9);
    for total in [20, 30] {
        for _ in 0..3 {
            let id = ann.reserve("poster", "ann", 1, "").expect("an answer").bought().granted();
            assert_eq!(ann.cancel(&id.expect("one of 3")).expect("an answer").status, 200);
        }
        assert!(
            ann.reserve("poster", "ann", 1, "")
                .expect("an answer")
                .bought()
                .is("allowance_exhausted")
        );
        make_again(&redis, SaleSpec::with_total(total));
        eventually("seen", 5, || ann.sale("poster").expect("an answer")["free"] == total);
    }
}
