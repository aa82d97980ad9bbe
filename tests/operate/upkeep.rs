//! What metrics report about the threads beside the cores, while something is wrong and once it is
//! right.

use std::fs::File;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Client, get, reserve_from};
use crate::metrics::{scrape, told, until, value};
use crate::postgres::PostgresServer;
use crate::redis::RedisServer;
use crate::secure::Files;
use crate::server::{ANSWER_DEADLINE, Server};

#[test]
fn every_durable_batch_is_counted_as_one_fdatasync() {
    let server = Server::start(&["--sale", "ticket=100", "--cores", "0"]);
    let count = "stampede_fdatasync_duration_seconds_count";
    let before = told(&server, count);
    for _ in 0..10 {
        assert_eq!(get(&server, "/buy/ticket").json()["code"], 1);
    }
    assert!(told(&server, count) >= before + 10.0);
    assert!(told(&server, "stampede_fdatasync_duration_seconds_sum") > 0.0);
    assert!(!scrape(&server, "").text().contains("stampede_orders_lag"), "it writes none");
}

#[test]
fn waiting_requests_share_one_ledger_query() {
    let redis = RedisServer::start(&[]);
    let server = Server::start(&["--sale", "ticket=1", "--cores", "0", "--ledger", &redis.url()]);
    while get(&server, "/buy/ticket").json()["code"] != -1 {}
    let queries = |reason: &str| format!("stampede_sale_queries_total{{reason=\"{reason}\"}}");
    until(&server, &queries("background"), |count| count > 0.0);
    let waiters = "stampede_sale_query_waiters_total";
    // The core's knowledge becomes too old to refuse by. All these wait for the one query about it.
    let (queries_before, before) = (told(&server, &queries("waiting")), told(&server, waiters));
    redis.stop();
    thread::sleep(Duration::from_millis(600));
    let mut clients: Vec<_> = (0..20).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        client.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    until(&server, waiters, |count| count >= before + 20.0);
    redis.go_on();
    for client in &mut clients {
        assert_eq!(client.response().json()["code"], -1);
    }
    assert!(told(&server, &queries("waiting")) - queries_before < 10.0);
    assert!(told(&server, "stampede_latch_age_seconds_count") > 0.0);
    assert!(told(&server, "stampede_view_age_seconds_count") > 0.0);
    let claims = told(&server, "stampede_claim_queries_total");
    let key = "Idempotency-Key: late\r\n";
    Client::new(&server).ask(reserve_from("ticket", key, r#"{"user":"ann"}"#));
    assert_eq!(told(&server, "stampede_claim_queries_total"), claims + 1.0);
}

#[test]
fn lease_and_sweep_metrics_show_a_stalled_redis() {
    let redis = RedisServer::start(&[]);
    let options = ["--sale", "ticket=10", "--ledger", &redis.url()];
    let servers = [Server::start(&options), Server::start(&options)];
    let one = &servers[0];
    until(one, "stampede_members", |members| members == 2.0);
    until(one, "stampede_lease_remaining_seconds", |left| left > 3.0);
    assert!(told(one, "stampede_member_cores") >= 2.0);
    redis.stop();
    until(one, "stampede_sweep_lag_seconds", |lag| lag > 1.0);
    until(one, "stampede_lease_remaining_seconds", |left| left == 0.0);
    assert!(told(one, "stampede_lease_renewal_failures_total") > 0.0);
    redis.go_on();
    until(one, "stampede_lease_remaining_seconds", |left| left > 3.0);
    until(one, "stampede_sweep_lag_seconds", |lag| lag < 1.0);
}

#[test]
fn orders_lag_grows_while_the_database_is_away() {
    let mut postgres = PostgresServer::start();
    let options = ["--sale", "ticket=100", "--cores", "0", "--orders", &postgres.url()];
    let mut server = Server::start(&options);
    let (records, seconds) = ("stampede_orders_lag_records", "stampede_orders_lag_seconds");
    let is_written = |server: &Server| {
        until_there(server, records);
        until(server, records, |lag| lag == 0.0);
        until(server, seconds, |lag| lag == 0.0);
    };
    let buy = |server: &Server| assert_eq!(get(server, "/buy/ticket").json()["code"], 1);
    buy(&server);
    is_written(&server);
    postgres.stop();
    (0..5).for_each(|_| buy(&server));
    until(&server, records, |lag| lag >= 1.0);
    let lag = until(&server, seconds, |lag| lag > 0.5);
    until(&server, seconds, |later| later > lag);
    // Started while the database is away, it cannot know how much the orders lack: only since when.
    server.restart();
    assert!(!scrape(&server, "").text().contains(records));
    until(&server, seconds, |lag| lag > 0.0);
    postgres.restart();
    is_written(&server);
}

#[track_caller]
fn until_there(server: &Server, series: &str) {
    let deadline = Instant::now() + 2 * ANSWER_DEADLINE;
    while !scrape(server, "").text().contains(&format!("\n{series} ")) {
        assert!(Instant::now() < deadline, "{series} is never there");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn metrics_show_the_result_of_the_last_audit() {
    let mut redis = RedisServer::start(&[]);
    let server = Server::start(&["--sale", "ticket=10", "--ledger", &redis.url()]);
    let audits =
        |result: &str| told(&server, &format!("stampede_audits_total{{result=\"{result}\"}}"));
    let ask = |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        Client::control(&server).ask(request).status()
    };
    assert!(!scrape(&server, "").text().contains("stampede_last_audit"), "there was none");
    get(&server, "/buy/ticket");
    assert_eq!(ask("GET", "/v1/audit?sale=ticket"), 200);
    assert!(!scrape(&server, "").text().contains("stampede_last_audit"), "of one sale alone");
    assert_eq!(ask("GET", "/v1/audit?sale=none"), 404);
    assert_eq!(ask("GET", "/v1/audit"), 200);
    assert_eq!((audits("agrees"), audits("differs"), audits("failed")), (2.0, 0.0, 0.0));
    assert_eq!(told(&server, "stampede_last_audit_differences"), 0.0);
    let ended = told(&server, "stampede_last_audit_timestamp_seconds");
    assert!(ended > 1.7e9);
    redis.connect().ask("HSET ticket_hash_key ticket_sold_nums 7");
    assert_eq!(ask("GET", "/v1/audit"), 200);
    assert_eq!(audits("differs"), 1.0);
    assert!(told(&server, "stampede_last_audit_differences") > 0.0);
    assert!(told(&server, "stampede_last_audit_timestamp_seconds") >= ended);
    assert_eq!(ask("POST", "/v1/audit"), 200);
    assert_eq!((audits("agrees"), told(&server, "stampede_last_audit_differences")), (3.0, 0.0));
    // An audit that could not look says nothing about differences.
    let before = told(&server, "stampede_last_audit_timestamp_seconds");
    redis.kill();
    assert_eq!(ask("GET", "/v1/audit"), 503);
    assert_eq!((audits("agrees"), audits("failed")), (3.0, 1.0));
    assert_eq!(told(&server, "stampede_last_audit_timestamp_seconds"), before);
}

#[test]
fn lost_log_lines_are_counted() {
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let options = ["--sale", "ticket=1", "--cores", "0", "--stat-log", "/dev/full"];
    let server = Server::start_to(full(), "", &options);
    server.signal(Signal::USR1);
    until(&server, "stampede_log_lines_lost_total", |lost| lost >= 1.0);
    for _ in 0..3 {
        get(&server, "/buy/ticket");
    }
    until(&server, "stampede_stat_log_lines_lost_total", |lost| lost == 3.0);
    assert_eq!(told(&server, "stampede_stat_log_lines_total"), 0.0);
}

#[test]
fn certificate_expiry_follows_a_reload() {
    let files = Files::make(&["localhost"], 30);
    let listen = ["--listen", "tls:127.0.0.1:0", "--sale", "ticket=1"];
    let server = Server::start(&[&listen[..], &files.options()].concat());
    let series = format!(
        "stampede_tls_certificate_expiry_timestamp_seconds{{file=\"{}\"}}",
        files.certificate.display()
    );
    let first = told(&server, &series);
    files.replace_by(&Files::make(&["localhost"], 60));
    server.signal(Signal::HUP);
    let second = until(&server, &series, |expires| expires != first);
    let days = (second - first) / 86_400.0;
    assert!((29.0..=31.0).contains(&days), "{days}");
}

#[test]
fn process_metrics_match_the_process() {
    let server = Server::start(&["--sale", "ticket=1", "--cores", "0"]);
    let before = told(&server, "process_open_fds");
    let connections: Vec<_> = (0..50)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
            stream.read_exact(&mut [0; 1]).expect("an answer");
            stream
        })
        .collect();
    assert!(told(&server, "process_open_fds") >= before + 49.0);
    assert_eq!(told(&server, "stampede_connections"), 50.0);
    drop(connections);
    let text = scrape(&server, "").text();
    let resident = value(&text, "process_resident_memory_bytes");
    assert!(value(&text, "process_virtual_memory_bytes") > resident && resident > 1e6);
    let committed = value(&text, "stampede_allocator_committed_bytes");
    assert!(committed > 1e5 && committed <= value(&text, "stampede_allocator_committed_max_bytes"));
    assert_eq!(value(&text, "stampede_cores"), 1.0);
    until(&server, "stampede_core_cpu_seconds_total{core=\"0\"}", |used| used > 0.0);
    let ticks = "stampede_core_ticks_total{core=\"0\"}";
    let ticked = told(&server, ticks);
    until(&server, ticks, |more| more > ticked);
}
