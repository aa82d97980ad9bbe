//! The places of a split sale: their units together, their transfers, their definitions.

use serde_json::json;
use stampede::audit::{CheckReport, Mode, Report, audit};
use stampede::control::api::Api;
use stampede::control::request::Request;
use stampede::engine::http::Method;
use stampede::ledger::client::Client;
use stampede::ledger::redis::RedisClient;
use stampede::sale::SaleId;

use super::server::{RedisConnection, RedisServer};
use super::{client, table};

const HEAD: &str = "{ticket_hash_key}:sale";

fn part(n: u32) -> String {
    format!("{{ticket~{n}of4_hash_key}}:sale")
}

/// A sale of 100 in four parts that have 25 each.
fn split(server: &RedisServer) -> RedisClient {
    let mut api = Api::new(Box::new(client(server)));
    let sale = json!({ "id": "ticket", "total": 100, "splits": 4 });
    let reply = api.answer(&Request::new(Method::Post, "/v1/sales").with_json(&sale));
    assert_eq!(reply.status().code(), 201, "{}", String::from_utf8_lossy(&reply.body));
    client(server)
}

fn add_stock(server: &RedisServer, units: u64) {
    let mut api = Api::new(Box::new(client(server)));
    let request = Request::new(Method::Post, "/v1/sales/ticket/add-stock");
    let reply = api.answer(&request.with_json(&json!({ "units": units })));
    assert_eq!(reply.status().code(), 200, "{}", String::from_utf8_lossy(&reply.body));
}

fn run(client: &mut RedisClient, mode: Mode) -> Report {
    audit(client, None, &[], mode).unwrap()
}

fn check<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report.sales[0].checks.iter().find(|check| check.check == name).unwrap()
}

/// Units that all places have for sale, and that the sale has sold.
fn totals(redis: &mut RedisConnection) -> u64 {
    let part = |n: u32| format!("HGET ticket~{n}of4_hash_key ticket~{n}of4_total_nums");
    let asked = (1..=4).map(part).chain(["HGET ticket_hash_key ticket_total_nums".into()]);
    asked.map(|ask| redis.text(&ask).parse::<u64>().unwrap()).sum()
}

#[test]
fn a_changed_transfer_count_creates_no_units() {
    for (spoil, units) in [
        (format!("HDEL {} took_0", part(2)), 25),
        (format!("HINCRBY {} took_0 -10", part(2)), 10),
        (format!("HINCRBY {HEAD} gave_2 10"), 10),
        ("HINCRBY ticket~3of4_hash_key ticket~3of4_total_nums 7".to_owned(), 7),
    ] {
        let server = RedisServer::start(&[]);
        let mut client = split(&server);
        let mut redis = server.connect();
        assert!(run(&mut client, Mode::Look).agrees());
        let before = totals(&mut redis) + if spoil.contains("total_nums") { units } else { 0 };
        redis.ask(&spoil);
        for mode in [Mode::Look, Mode::Repair, Mode::Repair] {
            let report = run(&mut client, mode);
            let stock = check(&report, "stock");
            assert_eq!(stock.differences, units, "{spoil}:\n{}", table(&report));
            assert_eq!((&stock.ledger, &stock.found), (&100.into(), &(100 + units).into()));
            assert_eq!(totals(&mut redis), before, "{spoil}");
        }
        // An operator decides that there are more.
        let report = run(&mut client, Mode::ReleaseUnits);
        assert!(report.agrees(), "{spoil}:\n{}", table(&report));
        assert_eq!(totals(&mut redis), 100 + units, "{spoil}");
        assert!(run(&mut client, Mode::Look).agrees());
    }
}

#[test]
fn units_lost_by_a_part_are_reported() {
    let server = RedisServer::start(&[]);
    let mut client = split(&server);
    let mut redis = server.connect();
    redis.ask(&format!("HINCRBY {HEAD} gave_2 -5"));
    let report = run(&mut client, Mode::Repair);
    assert_eq!(check(&report, "stock").differences, 5, "{}", table(&report));
    assert_eq!(totals(&mut redis), 100, "nothing is given a second time");
}

#[test]
fn a_half_done_transfer_is_finished_if_the_sum_is_right() {
    let server = RedisServer::start(&[]);
    let mut client = split(&server);
    let mut redis = server.connect();
    redis.ask("HINCRBY ticket~1of4_hash_key ticket~1of4_total_nums -3");
    redis.ask(&format!("HINCRBY {} gave_2 3", part(1)));
    assert!(!run(&mut client, Mode::Look).agrees());
    let report = run(&mut client, Mode::Repair);
    assert!(report.agrees() && report.repaired == 1, "{}", table(&report));
    assert_eq!(totals(&mut redis), 100);
}

#[test]
fn the_stock_of_a_0_1_0_sale_is_recorded_if_all_else_agrees() {
    let server = RedisServer::start(&[]);
    let mut client = split(&server);
    let mut redis = server.connect();
    let stock = format!("HGET {HEAD} stock");
    assert_eq!(redis.text(&stock), "100");
    add_stock(&server, 20);
    assert_eq!(redis.text(&stock), "120");

    redis.ask(&format!("HDEL {HEAD} stock"));
    let report = run(&mut client, Mode::Look);
    assert!(report.agrees(), "{}", table(&report));
    assert!(report.not_looked_at[0].contains("all its units together"), "{}", table(&report));
    let report = run(&mut client, Mode::Repair);
    assert_eq!(report.not_looked_at, [""; 0], "{}", table(&report));
    assert_eq!(redis.text(&stock), "120");

    redis.ask(&format!("HDEL {HEAD} stock"));
    add_stock(&server, 5);
    assert_eq!(redis.text(&stock), "125");
    // Not while a transfer is under way.
    redis.ask(&format!("HDEL {HEAD} stock"));
    redis.ask(&format!("HINCRBY {HEAD} gave_2 10"));
    add_stock(&server, 5);
    assert_eq!(redis.text(&format!("HEXISTS {HEAD} stock")), "0");
}

#[test]
fn parts_with_another_definition_or_no_head_are_reported() {
    let server = RedisServer::start(&[]);
    let mut client = split(&server);
    let mut redis = server.connect();
    redis.ask(&format!("HSET {} limit_per_user 9", part(3)));
    let report = run(&mut client, Mode::Repair);
    let parts = check(&report, "parts");
    assert_eq!((parts.differences, &parts.found), (1, &3.into()), "{}", table(&report));
    assert!(parts.examples[0].starts_with("ticket~3of4 "), "{:?}", parts.examples);

    redis.ask("DEL ticket_hash_key {ticket_hash_key}:sale");
    let ticket = SaleId::new("ticket").unwrap();
    client.forget(&[&ticket]).unwrap();
    let report = run(&mut client, Mode::Look);
    assert_eq!(report.differences, 4, "{}", table(&report));
    assert!(table(&report).contains("of which it is a part, is not there"));
    assert_eq!(client.sales().unwrap().len(), 4);
}
