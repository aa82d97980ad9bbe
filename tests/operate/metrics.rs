//! `/metrics`.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, Response, get, reserve_from};
use crate::redis::RedisServer;
use crate::scene::{self, LOOKS, Scene};
use crate::server::{ANSWER_DEADLINE, Server};

const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.2";

pub fn scrape(server: &Server, headers: &str) -> Response {
    Client::control(server)
        .ask(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
}

fn reserve(server: &Server, sale: &str) -> Response {
    Client::new(server).ask(reserve_from(sale, "", r#"{"user":"ann"}"#))
}

/// The value of a series, by its name and labels as they are written.
#[track_caller]
pub fn value(text: &str, series: &str) -> f64 {
    let of = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(of).unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

/// The value of a server's series.
#[track_caller]
pub fn told(server: &Server, series: &str) -> f64 {
    value(&scrape(server, "").text(), series)
}

/// Waits until a series has the right value.
#[track_caller]
pub fn until(server: &Server, series: &str, is_right: impl Fn(f64) -> bool) -> f64 {
    let deadline = Instant::now() + ANSWER_DEADLINE;
    loop {
        let value = told(server, series);
        if is_right(value) {
            return value;
        }
        assert!(Instant::now() < deadline, "{series} {value}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The sum of all series of a metric that have this label.
fn sum(text: &str, name: &str, label: &str) -> f64 {
    let is_of = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
    let number = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
    text.lines().filter(is_of).filter_map(number).sum()
}

#[test]
fn purchases_are_counted_by_their_answers() {
    let server = Server::start(&["--sale", "ticket=3", "--sale", "other=1", "--cores", "0"]);
    let codes: Vec<_> =
        (0..8).map(|_| get(&server, "/buy/ticket").json()["code"].clone()).collect();
    let granted = codes.iter().filter(|code| **code == 1).count();
    assert_eq!((granted, codes[7].clone()), (3, json!(-1)));
    let other = reserve(&server, "other");
    assert_eq!(other.status(), 201, "{}", other.text());
    for name in ["invented-1", "invented-2", "no~name"] {
        let refused = reserve(&server, name);
        assert_eq!(refused.status(), 404);
    }
    // A request is counted when its connection's turn is over: it may have its answer before.
    until(&server, "stampede_requests_total", |count| count == 12.0);
    let told = scrape(&server, "");
    assert_eq!(told.status(), 200);
    assert_eq!(told.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = told.text();
    let granted = "stampede_purchases_total{sale=\"ticket\",outcome=\"granted\",source=\"ledger\"}";
    assert_eq!(value(&text, granted), 3.0);
    assert_eq!(sum(&text, "stampede_purchases_total", "sale=\"ticket\""), 8.0);
    assert_eq!(sum(&text, "stampede_purchases_total", "sale=\"other\""), 1.0);
    assert_eq!(sum(&text, "stampede_purchases_total", "outcome=\"unknown_sale\""), 3.0);
    assert!(!text.contains("invented"), "a client must not name series");
    assert!(value(&text, "stampede_purchase_duration_seconds_count") >= 4.0);
    assert_eq!(
        value(&text, "stampede_purchase_duration_seconds_bucket{le=\"+Inf\"}"),
        value(&text, "stampede_purchase_duration_seconds_count")
    );
    assert!(value(&text, "stampede_batch_commands_sum") >= 4.0);
    assert!(value(&text, "stampede_ledger_round_trip_seconds_sum") > 0.0);
    assert_eq!(value(&text, "stampede_requests_total"), 12.0);
    assert_eq!(value(&text, "stampede_connections_accepted_total"), 12.0);
    assert!(value(&text, "stampede_received_bytes_total") > 11.0 * 20.0);
    assert!(value(&text, "stampede_sent_bytes_total") > 11.0 * 100.0);
    assert_eq!(value(&text, "stampede_ledger_cores_up"), 1.0);
    assert_eq!(value(&text, "stampede_ready"), 1.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    // A core's knowledge is valid for a moment: on a busy machine it may have asked each time.
    let deadline = Instant::now() + ANSWER_DEADLINE;
    let known = "stampede_purchases_total{sale=\"ticket\",outcome=\"sold_out\",source=\"memory\"}";
    while !scrape(&server, "").text().contains(known) {
        assert!(Instant::now() < deadline, "no refusal from memory");
        get(&server, "/buy/ticket");
    }
    let version = format!("stampede_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&text, &version), 1.0);
}

#[test]
fn connections_are_counted_by_how_they_ended() {
    let options =
        ["--sale", "ticket=3", "--cores", "0", "--connections-max", "1", "--idle-timeout", "1s"];
    let server = Server::start(&options);
    let mut first = Client::new(&server);
    assert_eq!(first.ask("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
    let mut refused = Client::new(&server);
    refused.send("GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.response().status(), 503);
    drop(refused);
    first.assert_end();
    let mut asked = Client::new(&server);
    asked.send("GET /plaintext HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(asked.response().status(), 200);
    asked.assert_end();
    until(&server, "stampede_connections_ended_total{reason=\"answered\"}", |count| count == 1.0);
    let text = scrape(&server, "").text();
    let ended = |reason: &str| {
        value(&text, &format!("stampede_connections_ended_total{{reason=\"{reason}\"}}"))
    };
    assert_eq!((ended("idle"), ended("refused"), ended("answered")), (1.0, 1.0, 1.0));
    until(&server, "stampede_connections", |count| count == 0.0);
    assert_eq!(value(&text, "stampede_connections_max"), 1.0);
}

#[test]
fn metrics_match_the_documentation() {
    let scene = Scene::start();
    scene.buy();
    scene.audit();
    let texts = scene.servers().map(|server| scene::ask(server, "/metrics", LOOKS, "").text());
    let told: BTreeSet<_> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let page = include_str!("../../docs/metrics.md");
    let is_name = |word: &&str| word.starts_with("stampede_") || word.starts_with("process_");
    let documented: BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next())
        .flat_map(|names| names.split('`').filter(is_name))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, documented);
}

#[test]
fn open_metrics_is_served_on_request() {
    let server = Server::start(&["--sale", "ticket=3"]);
    let told = scrape(&server, &format!("Accept: {OPEN_METRICS}\r\n"));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(told.header("content-type"), Some(kind));
    let text = told.text();
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE stampede_purchases counter\n"));
    assert!(text.contains("# UNIT stampede_purchase_duration_seconds seconds\n"));
}

#[test]
fn metrics_need_the_token_but_not_the_ledger() {
    let redis = RedisServer::start(&[]);
    let token = "0123456789abcdef-a-token";
    let options = ["--ledger", &redis.url(), "--sale", "ticket=3"];
    let server = Server::start_with(&[("STAMPEDE_CONTROL_TOKEN", token)], &options);
    assert_eq!(scrape(&server, "").status(), 401);
    let shown = format!("Authorization: Bearer {token}\r\n");
    redis.stop();
    let told = scrape(&server, &shown);
    assert_eq!(told.status(), 200);
    redis.go_on();
    let page = "Origin: http://example.org\r\n";
    let without = Server::start(&["--sale", "ticket=3"]);
    assert_eq!(scrape(&without, page).status(), 403);
}
