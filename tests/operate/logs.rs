//! The log: its readers, how often a line comes, and how a request is found in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::client::{Client, Response, reserve, reserve_from};
use crate::postgres::PostgresServer;
use crate::redis::RedisServer;
use crate::server::{ANSWER_DEADLINE, Server};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Set by the shell before the server starts: what systemd sets, with the pipe in place of the
/// journal's socket.
const UNDER_SYSTEMD: &str = "-c 0; export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2)";

#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + ANSWER_DEADLINE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {ANSWER_DEADLINE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn buy(headers: &str) -> String {
    format!("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn traced(id: &str) -> String {
    format!("X-Request-Id: {id}\r\ntraceparent: {PARENT}\r\n")
}

/// The lines of the log that have this text.
fn lines(server: &Server, text: &str) -> Vec<String> {
    server.log().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

/// The same, when there are this many.
#[track_caller]
fn awaited_lines(server: &Server, count: usize, text: &str) -> Vec<String> {
    eventually(text, || lines(server, text).len() >= count);
    lines(server, text)
}

fn at_control(server: &Server, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}");
    let json = "Content-Type: application/json\r\n";
    let length = body.len();
    Client::control(server).ask(format!("{head}{json}Content-Length: {length}\r\n\r\n{body}"))
}

fn stampede() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().contains("STAMPEDE")) {
        command.env_remove(name);
    }
    command
}

#[test]
fn log_lines_under_systemd_have_a_priority_and_no_time() {
    let redis = RedisServer::start(&[]);
    let options = ["--ledger", &redis.url(), "--sale", "ticket=9", "--cores", "0"];
    let server = Server::start_limited(UNDER_SYSTEMD, &options);
    at_control(&server, "POST", "/v1/sales/ticket/add-stock", "", r#"{"units":1}"#);
    redis.stop();
    let buyers: Vec<_> = (0..2)
        .map(|_| {
            let mut buyer = Client::new(&server);
            buyer.send(buy(""));
            buyer
        })
        .collect();
    awaited_lines(&server, 1, "operator's change");
    awaited_lines(&server, 1, "ledger unreachable");
    drop(buyers);
    redis.go_on();
    let log = server.log();
    let of = |text| log.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned();
    assert!(of("Redis needs attention").starts_with("<4>stampede::"), "{log}");
    assert!(of("operator's change").starts_with("<5>stampede::audit: "), "{log}");
    assert!(of("ledger unreachable").starts_with("<4>stampede::server: "), "{log}");
    let is_ours = |line: &&str| line.contains("stampede::");
    let is_plain = |line: &str| {
        let rest = line.split_once('>').map_or("", |(_, rest)| rest);
        line.as_bytes()[0] == b'<' && rest.starts_with("stampede::")
    };
    assert!(log.lines().filter(is_ours).all(is_plain), "{log}");
}

#[test]
fn journal_format_needs_a_matching_stream_or_a_setting() {
    let start = |stream: &str, options: &[&str]| {
        let options = [&["--sale", "ticket=9"][..], options].concat();
        Server::start_with(&[("JOURNAL_STREAM", stream)], &options)
    };
    for stream in ["1:1", "", "8:x"] {
        let server = start(stream, &[]);
        let opened = awaited_lines(&server, 1, "ledger open");
        assert!(opened.len() == 1 && opened[0].starts_with("20"), "{opened:?}");
    }
    let server = start("1:1", &["--log-format", "journal"]);
    assert!(awaited_lines(&server, 1, "ledger open")[0].starts_with("<6>stampede::"));
    let server = Server::start_limited(UNDER_SYSTEMD, &["--log-format", "json"]);
    assert!(awaited_lines(&server, 1, "ledger open")[0].starts_with('{'));
}

#[test]
fn errors_and_warnings_of_commands_have_a_priority() {
    let folder = tempfile::tempdir().unwrap();
    let script = "export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) && exec \"$0\" \"$@\"";
    let run = |arguments: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_stampede")]).args(arguments);
        let output = shell.current_dir(folder.path()).output().expect("it runs");
        String::from_utf8(output.stderr).expect("text")
    };
    let told = run(&["serve", "--listen", "nonsense"]);
    assert!(told.starts_with("<3>error: --listen nonsense"), "{told}");
    assert!(told.lines().all(|line| line.is_empty() || line.starts_with("<3>")), "{told}");
    let told = run(&["check-config", "--redis-wait", "1"]);
    assert!(told.starts_with("<4>warning: "), "{told}");
    // A command's change at a ledger without a server is in no server's log.
    let server = Server::start(&["--sale", "ticket=9"]);
    drop(server);
    let ledger = format!("embedded:{}", folder.path().join("data").display());
    let listen = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let mut made =
        Server::start(&[&["--ledger", &ledger, "--sale", "ticket=9"][..], &listen].concat());
    assert_eq!(made.terminate(), 0);
    let told = run(&["sale", "close", "ticket", "--ledger", &ledger]);
    let line = told.lines().find(|line| line.contains("operator's change")).unwrap_or_default();
    assert!(line.starts_with("<5>stampede::audit: ") && line.contains("direct"), "{told}");
}

#[test]
fn an_answer_carries_the_id_of_its_request() {
    let server = Server::start(&["--sale", "ticket=2", "--sale", "b=5", "--cores", "0"]);
    let mut client = Client::new(&server);
    let named = |id: &str| format!("x-request-id: {id}\r\n");
    for (request, status) in [
        (buy(&traced("a-1")), 200),
        (buy(&named("a-1")), 200),
        (buy(&named("a-1")), 200),
        (reserve_from("b", &traced("a-1"), r#"{"user":"ann"}"#), 201),
        (reserve_from("c", &traced("a-1"), r#"{"user":"ann"}"#), 404),
        (reserve(&named("a-1"), r#"{"user":"ann"}"#), 409),
        (reserve(&named("a-1"), "no JSON"), 400),
        (format!("GET /nothing HTTP/1.1\r\nHost: a\r\n{}\r\n", named("a-1")), 404),
        (format!("GET /%62uy/ticket HTTP/1.1\r\nHost: a\r\n{}\r\n", named("a-1")), 200),
        (format!("GET /v1/sales/b HTTP/1.1\r\nHost: a\r\n{}\r\n", named("a-1")), 200),
        (format!("BREW /v1/sales/b HTTP/1.1\r\nHost: a\r\n{}\r\n", named("a-1")), 501),
        (format!("GET /plaintext HTTP/1.1\r\nHost: a\r\n{}\r\n", named("a-1")), 200),
        (
            format!(
                "GET /plaintext HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n{}\r\n",
                named("a-1")
            ),
            304,
        ),
    ] {
        let answer = client.ask(&request);
        assert_eq!(
            (answer.status(), answer.header("x-request-id")),
            (status, Some("a-1")),
            "{request}"
        );
    }
    client.send(format!("HEAD /v1/sales/b HTTP/1.1\r\nHost: a\r\n{}\r\n", named("a-2")));
    assert_eq!(client.head_response().header("x-request-id"), Some("a-2"));
    // Pipelined, each has its own: refused from memory, and asked of the ledger.
    let confirm =
        "POST /v1/reservations/b~00000000000000000000000000/cancel HTTP/1.1\r\nHost: a\r\n";
    client.send(
        [buy(&named("p-1")), buy(""), format!("{confirm}{}\r\n", named("p-3")), buy("")].concat(),
    );
    for id in [Some("p-1"), None, Some("p-3"), None] {
        assert_eq!(client.response().header("x-request-id"), id);
    }
    let control = |headers: &str, path: &str| at_control(&server, "GET", path, headers, "");
    for path in ["/v1/sales", "/v1/sales/none", "/livez", "/nothing"] {
        let answer = control(&named("c-1"), path);
        assert_eq!(answer.header("x-request-id"), Some("c-1"), "{path}");
    }
    assert_eq!(control("", "/v1/sales").header("x-request-id"), None);
}

#[test]
fn an_invalid_request_id_is_ignored() {
    let server = Server::start(&["--sale", "ticket=99", "--cores", "0"]);
    let mut client = Client::new(&server);
    let long = format!("X-Request-Id: {}\r\n", "x".repeat(129));
    for headers in [
        "X-Request-Id: two words\r\n",
        "X-Request-Id: \u{e9}\r\n",
        "X-Request-Id:\r\n",
        "X-Request-Id: a\r\nX-Request-Id: a\r\n",
        "traceparent: 00-0-0-0\r\n",
        &long,
    ] {
        let answer = client.ask(buy(headers));
        assert_eq!((answer.status(), answer.header("x-request-id")), (200, None), "{headers}");
        assert_eq!(answer.json()["code"], 1);
    }
    let longest = "x".repeat(128);
    let answer = client.ask(buy(&format!("X-Request-Id: {longest}\r\n")));
    assert_eq!(answer.header("x-request-id"), Some(&*longest));
}

#[test]
fn the_stat_log_shows_the_ids_of_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    let file = path.display().to_string();
    let mut server = Server::start(&["--sale", "ticket=1", "--stat-log", &file, "--cores", "0"]);
    let mut client = Client::new(&server);
    for headers in ["", &traced("s-1"), "X-Request-Id: s-2\r\n", ""] {
        client.ask(buy(headers));
    }
    assert_eq!(server.terminate(), 0);
    let told = fs::read_to_string(path).unwrap();
    let none = "result:0,localSales:1";
    let want = format!(
        "result:1,localSales:1\n{none},requestId:s-1,traceparent:{PARENT}\n{none},requestId:s-2\n{none}\n"
    );
    assert_eq!(told, want);
}

/// Request id and `traceparent` by reservation, as a database has them.
type Rows = BTreeMap<String, (Option<String>, Option<String>)>;

fn in_sqlite(path: &Path) -> Option<Rows> {
    let connection = Connection::open(path).ok()?;
    let sql = "SELECT reservation, request_id, traceparent FROM orders";
    let mut select = connection.prepare(sql).ok()?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).ok()?;
    rows.collect::<Result<_, _>>().ok()
}

fn in_postgres(url: &str) -> Option<Rows> {
    let mut client = postgres::Client::connect(url, postgres::NoTls).ok()?;
    let sql = "SELECT reservation, request_id, traceparent FROM orders";
    let rows = client.query(sql, &[]).ok()?;
    Some(rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect())
}

/// Buys from the server one by one, every third without a trace, and adds what the rows must have.
fn sell(server: &Server, count: usize, want: &mut Rows) {
    let mut client = Client::new(server);
    for n in 0..count {
        let (id, parent) = (format!("r-{}", want.len()), PARENT.to_owned());
        let (headers, of_row) = match n % 3 {
            0 => (String::new(), (None, None)),
            1 => (traced(&id), (Some(id), Some(parent))),
            _ => (format!("traceparent: {parent}\r\n"), (None, Some(parent))),
        };
        let bought = client.ask(buy(&headers)).json()["data"]["reservation"].clone();
        want.insert(bought.as_str().expect("a reservation").to_owned(), of_row);
    }
}

#[test]
fn embedded_order_rows_keep_request_ids_through_outages() {
    let mut postgres = PostgresServer::start();
    let url = postgres.url();
    let sale = ["--sale", "ticket=1000,hold=1h", "--public-confirm", "--orders", &url];
    let mut server = Server::start(&sale);
    let mut want = Rows::new();
    sell(&server, 9, &mut want);
    eventually("rows with their requests", || in_postgres(&url).as_ref() == Some(&want));
    // A later change leaves it as it is, also by a request with another name.
    let mut client = Client::new(&server);
    for id in want.keys() {
        let path = format!("POST /v1/reservations/{id}/confirm HTTP/1.1\r\nHost: a\r\n");
        assert_eq!(client.ask(format!("{path}X-Request-Id: later\r\n\r\n")).status(), 200);
    }
    // The rows that the database still lacks when the server is killed are in the journal.
    postgres.stop();
    sell(&server, 9, &mut want);
    let held: Vec<_> = want.keys().cloned().collect();
    for id in &held {
        client.ask(format!("POST /v1/reservations/{id}/confirm HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    server.restart();
    postgres.restart();
    sell(&server, 3, &mut want);
    eventually("rows with their requests", || in_postgres(&url).as_ref() == Some(&want));
    assert_eq!(server.terminate(), 0);
    assert_eq!(in_postgres(&url), Some(want));
}

#[test]
fn order_rows_keep_request_ids_with_redis() {
    let redis = RedisServer::start(&[]);
    let postgres = PostgresServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.db");
    let ledger = redis.url();
    let options =
        ["--ledger", &ledger, "--sale", "ticket=1000,hold=1h,limit=0", "--sale", "b=9,limit=2"];
    let server = Server::start(&options);
    let mut want = Rows::new();
    sell(&server, 30, &mut want);
    // Many at once, with keys, from a sale that counts its users' units.
    let mut clients: Vec<_> = (0..12).map(|_| Client::new(&server)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let headers = format!("Idempotency-Key: k{}\r\n{}", n / 2, traced(&format!("b-{n}")));
        client.send(reserve_from("b", &headers, &format!(r#"{{"user":"u{}"}}"#, n / 2)));
    }
    let mut made = BTreeSet::new();
    for (n, client) in clients.iter_mut().enumerate() {
        let answer = client.response();
        let id = answer.json()["id"].as_str().expect("a reservation").to_owned();
        if answer.status() == 201 {
            assert!(made.insert(id.clone()));
            want.insert(id, (Some(format!("b-{n}")), Some(PARENT.to_owned())));
        }
    }
    assert_eq!(made.len(), 6);
    let to = format!("sqlite:{}", file.display());
    for to in [&*postgres.url(), &to] {
        let group = if to.starts_with("sqlite") { "second" } else { "first" };
        let mut worker = stampede();
        worker.args(["orders", "--from", &ledger, "--to", to, "--once", "--group", group]);
        let output = worker.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(in_postgres(&postgres.url()), Some(want.clone()));
    assert_eq!(in_sqlite(&file), Some(want));
}

#[test]
fn older_order_tables_gain_the_request_columns_and_keep_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.db");
    let old = "ticket~00000000000000000000000001";
    let made = Connection::open(&file).unwrap();
    let schema = include_str!("../../src/orders/migrations/sqlite_1.sql");
    let row =
        format!("INSERT INTO orders VALUES ('{old}', 'ticket', NULL, NULL, 1, 'held', 1, 1, 1, 1)");
    let marks = "PRAGMA application_id = 1400136045; PRAGMA user_version = 1";
    made.execute_batch(&format!("{schema}; {row}; {marks}")).unwrap();
    drop(made);
    let to = format!("sqlite:{}", file.display());
    let server = Server::start(&["--sale", "ticket=9,hold=1h", "--orders", &to]);
    let mut want = Rows::from([(old.to_owned(), (None, None))]);
    sell(&server, 3, &mut want);
    eventually("rows with their requests", || in_sqlite(&file).as_ref() == Some(&want));
    let readable = "SELECT count(*) FROM orders_readable WHERE traceparent IS NOT NULL";
    let count =
        Connection::open(&file).unwrap().query_row(readable, [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(2));
}

#[test]
fn order_tables_that_cannot_be_altered_still_get_rows() {
    let postgres = PostgresServer::start();
    let mut owner = postgres.connect();
    let schema = include_str!("../../src/orders/migrations/postgres_1.sql");
    let versions = "CREATE TABLE stampede_migrations (version integer PRIMARY KEY, applied_at \
                    timestamptz NOT NULL DEFAULT now()); \
                    INSERT INTO stampede_migrations (version) VALUES (1)";
    let grants = "CREATE ROLE shop LOGIN; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA \
                  public TO shop";
    owner.batch_execute(&format!("{schema}; {versions}; {grants}")).unwrap();
    let url = postgres.url_of("shop");
    let server = Server::start(&["--sale", "ticket=9,hold=1h", "--orders", &url]);
    let mut want = Rows::new();
    sell(&server, 3, &mut want);
    awaited_lines(&server, 1, "table orders lacks columns");
    eventually("rows", || {
        let count = owner.query_one("SELECT count(*) FROM orders", &[]).unwrap().get::<_, i64>(0);
        count == 3
    });
}

#[test]
fn a_request_that_is_not_served_is_logged() {
    let redis = RedisServer::start(&[]);
    let ledger = redis.url();
    let options =
        ["--ledger", &ledger, "--sale", "ticket=99", "--ledger-timeout", "500ms", "--cores", "0"];
    let server = Server::start(&options);
    redis.stop();
    let mut client = Client::new(&server);
    for n in 0..20 {
        let answer = client.ask(buy(&traced(&format!("lost-{n}"))));
        assert_eq!(
            (answer.status(), answer.header("x-request-id")),
            (503, Some(&*format!("lost-{n}")))
        );
    }
    redis.go_on();
    let told = awaited_lines(&server, 1, "request not served");
    assert!(!told.is_empty() && told.len() < 10, "{told:?}");
    for field in ["request_id=\"lost-0\"", "status=503", "left_out=0", "code=\"-", PARENT] {
        assert!(told[0].contains(field), "{field} is not in {told:?}");
    }
}

#[test]
fn refused_load_is_logged_once_with_a_count() {
    let redis = RedisServer::start(&[]);
    let ledger = redis.url();
    let options = [
        "--ledger",
        &ledger,
        "--sale",
        "ticket=99",
        "--cores",
        "0",
        "--waiting-max",
        "2",
        "--connections-per-address",
        "4",
        "--ledger-timeout",
        "5s",
    ];
    let server = Server::start(&options);
    redis.stop();
    let mut waiting: Vec<_> = (0..2).map(|_| Client::new(&server)).collect();
    waiting.iter_mut().for_each(|client| client.send(buy("")));
    let mut client = Client::new(&server);
    let mut busy = 0;
    eventually("somebody is told busy", || {
        busy += usize::from(client.ask(buy("")).json()["code"] == -5);
        busy >= 3
    });
    let refused: Vec<_> = (0..4).map(|_| Client::new(&server)).collect();
    awaited_lines(&server, 1, "connections refused: too many from one address");
    drop(refused);
    awaited_lines(&server, 1, "requests answered busy");
    redis.go_on();
    for (text, fields) in [
        ("connections refused: too many from one address", ["count=", "connections_per_address=4"]),
        ("requests answered busy", ["count=", "waiting_max=2"]),
    ] {
        let told = lines(&server, text);
        assert!(told.len() == 1 && told[0].contains(" WARN "), "{told:?}");
        assert!(fields.iter().all(|field| told[0].contains(field)), "{told:?}");
    }
}

#[test]
fn refused_and_evicted_connections_are_logged() {
    let start = |most: &str| {
        Server::start(&["--sale", "ticket=9", "--cores", "0", "--connections-max", most])
    };
    // The only one never gives way.
    let server = start("1");
    let mut first = Client::new(&server);
    assert_eq!(first.ask(buy("")).status(), 200);
    assert_eq!(Client::new(&server).ask(buy("")).status(), 503);
    let told = awaited_lines(&server, 1, "connections refused: limit reached");
    assert!(told[0].contains("count=1") && told[0].contains("connections_max=1"), "{told:?}");
    let server = start("20");
    let crowd: Vec<_> = (0..40).map(|_| Client::new(&server)).collect();
    let told = awaited_lines(&server, 1, "connections closed to make room");
    assert!(told[0].contains("count=") && told[0].contains("connections_max=20"), "{told:?}");
    drop(crowd);
}

#[test]
fn bad_requests_are_logged_only_at_debug() {
    for (level, count) in [("info", 0), ("debug", 1)] {
        let mut server = Server::start(&["--sale", "ticket=9", "--log", level, "--cores", "0"]);
        let mut client = Client::new(&server);
        client.send("GET /\u{1} HTTP/1.1\r\n\r\n");
        assert_eq!(client.response().status(), 400);
        assert_eq!(server.terminate(), 0);
        assert_eq!(lines(&server, "bad request").len(), count, "{}", server.log());
    }
}

#[test]
fn every_operator_change_is_one_log_line_even_if_it_fails() {
    let token = "0123456789abcdef-a-token";
    let options = ["--sale", "ticket=9", "--log", "error"];
    let server = Server::start_with(&[("STAMPEDE_CONTROL_TOKEN", token)], &options);
    let shown = format!("Authorization: Bearer {token}\r\nX-Operator: ann@desk\r\n");
    let ask = |method: &str, path: &str, body: &str| {
        at_control(&server, method, path, &format!("{shown}{}", traced("op-1")), body).status()
    };
    assert_eq!(ask("GET", "/v1/sales", ""), 200);
    assert!(lines(&server, "operator's change").is_empty(), "to look is no change");
    let cases = [
        ("POST", "/v1/sales", r#"{"id":"b","total":5}"#, 201, Some("b"), None),
        ("POST", "/v1/sales/ticket/add-stock", r#"{"units":3}"#, 200, Some("ticket"), None),
        ("POST", "/v1/sales/ticket/close", "", 200, Some("ticket"), None),
        ("POST", "/v1/sales/ticket/close", "no JSON", 200, Some("ticket"), None),
        ("POST", "/v1/sales/none/open", "", 404, Some("none"), Some("not_found")),
        ("DELETE", "/v1/sales/b", "", 409, Some("b"), Some("not_closed")),
        (
            "POST",
            "/v1/reservations/b~00000000000000000000000000/cancel",
            "",
            404,
            Some("b"),
            Some("not_found"),
        ),
        ("PATCH", "/v1/sales/ticket", r#"{"limit_per_user":3}"#, 200, Some("ticket"), None),
        ("POST", "/v1/sales/ticket/take-stock", r#"{"units":1}"#, 200, Some("ticket"), None),
        ("PUT", "/v1/sales/b", "", 405, Some("b"), Some("method_not_allowed")),
        ("POST", "/v1/audit", "", 200, None, None),
    ];
    for (n, (method, path, body, status, sale, code)) in cases.into_iter().enumerate() {
        assert_eq!(ask(method, path, body), status, "{method} {path}");
        let told = awaited_lines(&server, n + 1, "operator's change");
        assert_eq!(told.len(), n + 1, "{told:?}");
        let line = &told[n];
        let quoted = |name: &str, value: &str| format!("{name}=\"{value}\"");
        let mut fields = vec![
            " INFO stampede::audit: ".to_owned(),
            quoted("operator", "ann@desk"),
            quoted("method", method),
            quoted("path", path),
            quoted("request_id", "op-1"),
            quoted("traceparent", PARENT),
            format!("status={status}"),
            "from=127.0.0.1:".to_owned(),
            "credential=\"token ".to_owned(),
        ];
        fields.extend(sale.map(|sale| quoted("sale", sale)));
        fields.extend(code.map(|code| quoted("code", code)));
        if !body.is_empty() {
            fields.push(format!("asked={body:?}"));
        }
        for field in fields {
            assert!(line.contains(&field), "{field} is not in {line}");
        }
    }
    // An unmet condition means that nothing is done.
    let unmet = format!("{shown}If-Match: \"x\"\r\n");
    assert_eq!(at_control(&server, "POST", "/v1/sales/ticket/open", &unmet, "").status(), 412);
    assert_eq!(lines(&server, "operator's change").len(), cases.len());
    assert!(!server.log().contains(token), "{}", server.log());
}

#[test]
fn refused_callers_and_loopback_operators_are_logged() {
    let token = "0123456789abcdef-a-token";
    let server = Server::start_with(&[("STAMPEDE_CONTROL_TOKEN", token)], &["--sale", "ticket=9"]);
    let wrong = "Authorization: Bearer 0123456789abcdef-no-token\r\n";
    for _ in 0..5 {
        assert_eq!(at_control(&server, "POST", "/v1/sales/ticket/close", wrong, "").status(), 401);
    }
    let told = awaited_lines(&server, 1, "control port refused a caller");
    assert!(told.len() == 1 && told[0].contains("from=127.0.0.1:"), "{told:?}");
    assert!(!server.log().contains("no-token") && lines(&server, "operator's change").is_empty());
    let server = Server::start(&["--sale", "ticket=9"]);
    assert_eq!(at_control(&server, "POST", "/v1/sales/ticket/close", "", "").status(), 200);
    let told = awaited_lines(&server, 1, "operator's change");
    assert!(told.len() == 1 && told[0].contains("credential=\"loopback\""), "{told:?}");
    assert!(!told[0].contains("operator=") && !told[0].contains("request_id="), "{told:?}");
    let address = server.control().to_string();
    let mut command = stampede();
    command.args(["sale", "open", "ticket", "--control", &address]).env("SUDO_USER", "ann");
    assert!(command.output().expect("it runs").status.success());
    let told = awaited_lines(&server, 2, "operator's change");
    assert!(told.len() == 2 && told[1].contains("operator=\"ann\""), "{told:?}");
}

#[test]
fn operator_changes_are_logged_unless_switched_off() {
    for (level, count) in [("warn", 1), ("off", 0), ("info,stampede::audit=off", 0)] {
        let mut server = Server::start(&["--sale", "ticket=9", "--log", level]);
        assert_eq!(at_control(&server, "POST", "/v1/sales/ticket/close", "", "").status(), 200);
        assert_eq!(server.terminate(), 0);
        assert_eq!(lines(&server, "operator's change").len(), count, "{level}: {}", server.log());
    }
}

/// Level, message and names of the fields of the sources' log calls.
type Message = (String, String, BTreeSet<String>);

/// The calls of one of `tracing`'s macros in a source, each as its arguments.
fn logging_calls(source: &str) -> Vec<(&str, Vec<String>)> {
    let mut calls = Vec::new();
    let code = source.split("\n#[cfg(test)]").next().unwrap_or(source);
    for (at, _) in code.match_indices("tracing::") {
        let rest = &code[at + "tracing::".len()..];
        let Some((level, rest)) = rest.split_once("!(") else { continue };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let (mut arguments, mut depth, mut quoted, mut escaped) =
            (vec![String::new()], 0, false, false);
        for c in rest.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' | '[' | '{' if !quoted => depth += 1,
                ')' if !quoted && depth == 0 => break,
                ')' | ']' | '}' if !quoted => depth -= 1,
                ',' if !quoted && depth == 0 => {
                    arguments.push(String::new());
                    continue;
                }
                _ => {}
            }
            arguments.last_mut().expect("one").push(c);
        }
        let arguments = arguments.iter().map(|a| a.trim().to_owned()).filter(|a| !a.is_empty());
        calls.push((level, arguments.collect()));
    }
    calls
}

fn messages_of_the_sources() -> BTreeSet<Message> {
    let (mut found, mut folders) =
        (BTreeSet::new(), vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                for (level, mut arguments) in logging_calls(&fs::read_to_string(&path).unwrap()) {
                    let message = arguments.pop().unwrap_or_default();
                    let text = message.strip_prefix('"').and_then(|m| m.strip_suffix('"'));
                    let text =
                        text.unwrap_or_else(|| panic!("{}: {message} is no text", path.display()));
                    let text = text.split("\\\n").map(str::trim_start).collect::<String>();
                    assert!(
                        !text.contains(['{', '}']),
                        "{}: {text}: what varies is a field",
                        path.display()
                    );
                    let name = |argument: &String| {
                        let name = argument.split(['=', ':']).next().unwrap_or_default().trim();
                        name.trim_start_matches(['%', '?']).to_owned()
                    };
                    let is_field = |argument: &&String| !argument.starts_with("target:");
                    let fields = arguments.iter().filter(is_field).map(name).collect();
                    found.insert((level.to_owned(), text, fields));
                }
            }
        }
    }
    found
}

#[test]
fn log_messages_match_the_documentation() {
    let page = include_str!("../../docs/logs.md");
    let (_, list) = page.split_once("\n## Messages\n").expect("a list of messages");
    let rows = list.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let told: BTreeSet<Message> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert_eq!(cells.len(), 5, "{row}");
            assert!(cells[3].len() > 3 && !cells[4].is_empty(), "{row}");
            let fields = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (cells[1].to_owned(), cells[0].trim_end_matches('`').to_owned(), fields)
        })
        .collect();
    let said = messages_of_the_sources();
    let without: Vec<_> = said.difference(&told).collect();
    assert!(without.is_empty(), "not in docs/logs.md:\n{without:#?}");
    let beyond: Vec<_> = told.difference(&said).collect();
    assert!(beyond.is_empty(), "in docs/logs.md and nowhere else:\n{beyond:#?}");
}
