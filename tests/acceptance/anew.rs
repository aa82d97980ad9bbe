//! Sales that begin anew: set up again by hand after they have sold, begun anew by command, or
//! removed and created again under their names.

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

/// The output of a command, and whether it succeeds.
fn stampede(arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stampede"));
    let output = command.args(arguments).output().expect("the command runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

/// The two lines of the article and our README, without deleting anything.
fn set_up_again(redis: &RedisServer, total: u64) {
    let set = format!("HMSET ticket_hash_key ticket_total_nums {total} ticket_sold_nums 0");
    assert_eq!(redis.connect().text(&set), "OK");
}

/// Asks `/buy/ticket` from the first grant until there are no more, and returns the number of
/// grants. A change in the ledger reaches a server's cores some milliseconds later.
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
fn a_hash_set_up_again_is_refused_until_a_reset() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 20, 0);
    let servers =
        [on_redis(&redis, &["--cores", &cores(2)]), on_redis(&redis, &["--public-confirm"])];
    let control = servers[0].control().to_string();
    let reset = |more: &[&str]| {
        stampede(&[&["sale", "reset", "ticket", "--control", &control], more].concat())
    };
    // Once with what was sold held, once with it confirmed, so that nothing is held.
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
            // The ledger's earlier state may be answered for some hundred milliseconds more.
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
fn every_reset_gives_the_sale_a_new_allowance() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=3", "--stock", "3"]);
    let control = server.control().to_string();
    assert_eq!(buy_all(&server), 3);
    for _ in 0..2 {
        // A view tells the server which creation of the sale it sells from.
        assert_eq!(buyer(&server).request("GET", "/v1/sales/ticket", &[], "").unwrap().status, 200);
        let reset = ["sale", "reset", "ticket", "--control", &control, "--force", "--total", "3"];
        let (done, told) = stampede(&reset);
        assert!(done, "{told}");
        assert_eq!(buy_all(&server), 3);
    }
}

#[test]
fn an_expired_hash_is_reset_directly_in_redis() {
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
fn a_broken_key_stops_only_its_own_sale() {
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
    // No restart is needed.
    for sale in ["ticket", "poster"] {
        eventually("created and sold", 5, || reserve(sale).granted().is_some());
    }
    eventually("ready without a word", 5, || ready(&server) == "ready\n");
}

#[test]
fn an_embedded_sale_is_reset_only_if_nothing_is_held() {
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
fn two_servers_with_posters(redis: &RedisServer) -> [Server; 2] {
    let servers = [on_redis(redis, &["--sale", "poster=5"]), on_redis(redis, &[])];
    // By then each has looked at the sale and at the index more than once.
    thread::sleep(Duration::from_millis(1500));
    servers
}

fn buy_five(server: &Server) {
    let answer = buyer(server).reserve("poster", "ann", 5, "").expect("an answer");
    assert!(answer.bought().granted().is_some());
}

#[test]
fn holds_of_a_recreated_sale_expire_if_the_seller_dies() {
    let redis = RedisServer::start(&[]);
    let [mut seller, _other] = two_servers_with_posters(&redis);
    make_again(&redis, SaleSpec { hold_ms: 1_000, ..SaleSpec::with_total(5) });
    buy_five(&seller);
    seller.kill();
    assert_eq!(sold_posters(&redis), 5);
    eventually("back in stock", 10, || sold_posters(&redis) == 0);
}

#[test]
fn holds_expire_on_time_after_a_manual_hold_time_change() {
    let redis = RedisServer::start(&[]);
    let [_first, seller] = two_servers_with_posters(&redis);
    // As a person does by hand; a version before 0.2.0 that creates the sale again reports it to no
    // server either.
    assert_eq!(redis.connect().text("HSET {poster_hash_key}:sale hold_ms 1000"), "0");
    for _ in 0..2 {
        buy_five(&seller);
        eventually("back in stock", 10, || sold_posters(&redis) == 0);
    }
}

#[test]
fn a_fixed_allowance_starts_again_with_a_recreated_sale() {
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
