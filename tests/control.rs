//! The control port and its commands as an operator meets them: a real server, real sockets, the
//! real program.

#[allow(dead_code)]
#[path = "support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
#[path = "support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "support/redis.rs"]
mod redis;
#[allow(dead_code)]
#[path = "support/server.rs"]
mod server;

use std::io::Write;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use buyer::{Bought, Buyer};
use client::{Client, Response};
use redis::RedisServer;
use rustix::process::Signal;
use serde_json::{Value, json};
use server::Server;
use stampede::limits::strangers_bytes_max;

const SHOW: &str = "GET /v1/sales/ticket HTTP/1.1\r\nHost: localhost\r\n\r\n";
const TOKEN: &str = "0123456789abcdef-a-token";

/// One request on a connection of its own.
#[track_caller]
fn ask(server: &Server, method: &str, path: &str, body: Option<Value>) -> Response {
    ask_with(server, method, path, "", body)
}

#[track_caller]
fn ask_with(
    server: &Server,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<Value>,
) -> Response {
    let body = body.map_or(String::new(), |body| body.to_string());
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    Client::control(server).ask(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}{kind}Content-Length: {length}\r\n\r\n{body}"
    ))
}

#[track_caller]
fn get(server: &Server, path: &str) -> Response {
    ask(server, "GET", path, None)
}

#[track_caller]
fn post(server: &Server, path: &str, body: Option<Value>) -> Response {
    ask(server, "POST", path, body)
}

/// Polls until the condition holds.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + server::ANSWER_DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program as an operator does. Returns its exit code and its output.
fn operate(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(arguments).env_clear();
    if !arguments.contains(&"--ledger") {
        command.arg("--control").arg(format!("http://{}", server.control()));
    }
    let Output { status, stdout, stderr } = command.output().expect("run the program");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

#[test]
fn a_sale_is_created_changed_and_removed() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let created = post(&server, "/v1/sales", Some(json!({ "id": "poster", "total": 2 })));
    assert_eq!(created.status(), 201, "{}", created.text());
    let sale = created.json();
    for (name, is) in [
        ("id", json!("poster")),
        ("state", json!("open")),
        ("total", json!(2)),
        ("free", json!(2)),
        ("held", json!(0)),
        ("confirmed", json!(0)),
        ("limit_per_user", Value::Null),
        ("quantity_max", json!(10)),
        ("hold_ms", json!(300_000)),
        ("opens_at", Value::Null),
        ("closes_at", Value::Null),
    ] {
        assert_eq!(sale[name], is, "{name}");
    }
    let again = post(&server, "/v1/sales", Some(json!({ "id": "poster", "total": 2 })));
    assert_eq!((again.status(), again.json()), (200, sale));
    let differs = post(&server, "/v1/sales", Some(json!({ "id": "poster", "total": 3 })));
    differs.assert_problem(409, "exists");
    assert_eq!(differs.json()["sale"]["total"], 2);

    let full = json!({
        "id": "full", "total": 5, "opens_at": "2030-01-01T10:00:00+08:00",
        "closes_at": "2030-01-02T00:00:00Z", "limit_per_user": 1, "quantity_max": 2, "hold_ms": 1500,
    });
    let full = post(&server, "/v1/sales", Some(full)).json();
    assert_eq!(full["state"], "scheduled");
    assert_eq!(full["opens_at"], "2030-01-01T02:00:00.000Z");
    assert_eq!((&full["limit_per_user"], &full["hold_ms"]), (&json!(1), &json!(1500)));

    let more = post(&server, "/v1/sales/poster/add-stock", Some(json!({ "units": 3 })));
    assert_eq!((more.status(), &more.json()["total"]), (200, &json!(5)));
    ask(&server, "DELETE", "/v1/sales/poster", None).assert_problem(409, "not_closed");
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let bought = buyer.reserve("poster", "u", 1, "").unwrap().bought();
    let id = bought.granted().expect("a unit");
    let closed = post(&server, "/v1/sales/poster/close", None);
    assert_eq!((closed.status(), &closed.json()["state"]), (200, &json!("closed")));
    let held = ask(&server, "DELETE", "/v1/sales/poster", None);
    held.assert_problem(409, "still_held");
    assert_eq!(held.json()["held"], 1);

    let shown = get(&server, &format!("/v1/reservations/{id}"));
    assert_eq!((shown.status(), &shown.json()["status"]), (200, &json!("held")));
    get(&server, "/v1/sales/poster/reservations").assert_problem(409, "still_held");
    let cancel = format!("/v1/reservations/{}/cancel", id.replace('~', "%7E"));
    assert_eq!(post(&server, &cancel, None).json()["status"], "cancelled");
    post(&server, &cancel, None).assert_problem(409, "already_cancelled");
    post(&server, &format!("/v1/reservations/{id}/confirm"), None)
        .assert_problem(409, "already_cancelled");
    let all = get(&server, "/v1/sales/poster/reservations").json();
    assert_eq!(all["reservations"][0]["id"], id.as_str());
    assert_eq!(
        (&all["reservations"][0]["status"], &all["next"]),
        (&json!("cancelled"), &Value::Null)
    );

    let opened = post(&server, "/v1/sales/poster/open", None);
    assert_eq!((opened.status(), &opened.json()["state"]), (200, &json!("open")));
    post(&server, "/v1/sales/poster/close", None);
    let removed = ask(&server, "DELETE", "/v1/sales/poster", None);
    assert_eq!(
        (removed.status(), removed.json()),
        (200, json!({ "id": "poster", "removed": true }))
    );
    for (method, path) in [
        ("GET", "/v1/sales/poster"),
        ("DELETE", "/v1/sales/poster"),
        ("POST", "/v1/sales/poster/open"),
        ("POST", "/v1/sales/poster/close"),
        ("GET", "/v1/sales/poster/reservations"),
        ("GET", &format!("/v1/reservations/{id}")),
        ("POST", &format!("/v1/reservations/{id}/confirm")),
    ] {
        ask(&server, method, path, None).assert_problem(404, "not_found");
    }
}

#[test]
fn a_confirmation_is_repeatable_and_final() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let id = buyer.buy().unwrap().granted().expect("a unit");
    let confirm = format!("/v1/reservations/{id}/confirm");
    for _ in 0..2 {
        assert_eq!(post(&server, &confirm, None).json()["status"], "confirmed");
    }
    let cancel = format!("/v1/reservations/{id}/cancel");
    post(&server, &cancel, None).assert_problem(409, "already_confirmed");
    let unknown = "/v1/reservations/ticket~00000000000000000000000001/confirm";
    post(&server, unknown, None).assert_problem(404, "not_found");
    let malformed = post(&server, "/v1/reservations/ticket/confirm", None);
    malformed.assert_problem(422, "invalid");
    assert_eq!(malformed.json()["field"], "reservation");
}

#[test]
fn a_sale_is_created_with_bounds_on_its_reservations() {
    let server = Server::start(&[]);
    let definition = |more: Value| {
        let mut body = json!({ "id": "poster", "total": 100 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(&server, "/v1/sales", Some(body))
    };
    for (more, field) in [
        (json!({ "quantity_min": 0 }), "quantity_min"),
        (json!({ "quantity_min": 3, "quantity_max": 2 }), "quantity_min"),
        (json!({ "extend_max_ms": -1 }), "extend_max_ms"),
        (json!({ "reservations_max": "1" }), "reservations_max"),
        (json!({ "reservations_per_user_max": -1 }), "reservations_per_user_max"),
        (json!({ "reservations_max": 5, "splits": 2 }), "reservations_max"),
    ] {
        let wrong = definition(more);
        wrong.assert_problem(422, "invalid");
        assert_eq!(wrong.json()["field"], field);
    }
    let bounds = json!({ "quantity_min": 2, "extend_max_ms": 0, "reservations_max": 2 });
    let made = definition(bounds.clone());
    assert_eq!(made.status(), 201, "{made:?}");
    assert_eq!(definition(bounds.clone()).status(), 200, "it is as asked");
    definition(json!({})).assert_problem(409, "exists");
    for sale in [made.json(), get(&server, "/v1/sales/poster").json()] {
        for (name, value) in bounds.as_object().unwrap() {
            assert_eq!(&sale[name], value, "{name}");
        }
    }
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let few = buyer.reserve("poster", "ann", 1, "").unwrap();
    assert_eq!((few.status, &few.json()["field"]), (422, &json!("quantity")));
    for n in 0..2 {
        let made = buyer.reserve("poster", "ann", 2, "").unwrap().bought().granted();
        let id = made.unwrap_or_else(|| panic!("reservation {n}"));
        let longer = post(&server, &format!("/v1/reservations/{id}/extend"), None);
        assert!(matches!(longer.status(), 200 | 409), "{longer:?}");
        let long = json!({ "hold_ms": 3_600_000 });
        post(&server, &format!("/v1/reservations/{id}/extend"), Some(long))
            .assert_problem(409, "extension_limit_reached");
        post(&server, &format!("/v1/reservations/{id}/cancel"), None);
    }
    let refused = buyer.reserve("poster", "bob", 2, "").unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("reservations_exhausted")));
    assert_eq!(refused.json()["reservations_max"], 2);
    let change = ask(&server, "PATCH", "/v1/sales/poster", Some(json!({ "quantity_max": 1 })));
    change.assert_problem(422, "invalid");
    assert_eq!(change.json()["field"], "quantity_max");
    let (code, out, err) =
        operate(&server, &["sale", "create", "cup=9,min=2,extend=10m,reservations=90"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "cup: created\n", ""));
    let (_, out, _) = operate(&server, &["sale", "show", "cup"]);
    for line in ["quantity_min    2\n", "extend_max      10m\n", "reservations    90\n"] {
        assert!(out.contains(line), "{line}: {out}");
    }
}

#[test]
fn a_reserve_cancel_loop_exhausts_only_its_own_user() {
    let server = Server::start(&["--sale", "ticket=10,reservations_per_user=3"]);
    assert_eq!(get(&server, "/v1/sales/ticket").json()["reservations_per_user_max"], 3);
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let mut made = 0;
    let refused = loop {
        let answer = buyer.reserve("ticket", "ann", 1, "").unwrap();
        if answer.status != 201 {
            break answer;
        }
        made += 1;
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let cancelled = post(&server, &format!("/v1/reservations/{id}/cancel"), None);
        assert_eq!(cancelled.json()["status"], "cancelled");
    };
    assert_eq!((made, refused.status), (3, 409));
    assert_eq!(refused.json()["code"], "reservations_exhausted");
    assert_eq!(refused.json()["reservations_per_user_max"], 3);
    assert_eq!(refused.json().get("reservations_max"), None);
    for (headers, code) in [(&[][..], -11), (&[("X-User-Id", "ann")][..], -19)] {
        let bought = buyer.request("GET", "/buy/ticket", headers, "").unwrap();
        assert_eq!(bought.json()["code"], code, "{:?}", bought.json());
    }
    assert_eq!(buyer.reserve("ticket", "bob", 1, "").unwrap().status, 201);
}

#[test]
fn a_hold_is_extended_and_partly_cancelled_or_refunded() {
    let server = Server::start(&["--sale", "ticket=10,hold=1m"]);
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let made = buyer.reserve("ticket", "ann", 4, "").unwrap();
    let (id, first) = (made.json()["id"].clone(), made.json()["expires_at"].clone());
    let on = |verb: &str, body: Option<Value>| {
        post(&server, &format!("/v1/reservations/{}/{verb}", id.as_str().unwrap()), body)
    };
    let longer = on("extend", Some(json!({ "hold_ms": 120_000 }))).json();
    assert!(longer["expires_at"].as_str() > first.as_str(), "{longer}");
    assert_eq!(longer["first_expires_at"], first);
    for body in [None, Some(json!({})), Some(json!({ "hold_ms": 1 }))] {
        assert_eq!(on("extend", body).json(), longer, "it is held for longer already");
    }
    let too_long = on("extend", Some(json!({ "hold_ms": 420_000 })));
    too_long.assert_problem(409, "extension_limit_reached");
    let max = too_long.json()["expires_at_max"].as_str().unwrap().to_owned();
    assert!(&*max > longer["expires_at"].as_str().unwrap(), "{max}");
    for (verb, body, field) in [
        ("extend", json!({ "hold_ms": 0 }), "hold_ms"),
        ("extend", json!({ "hold": "5m" }), "body"),
        ("cancel", json!({ "remaining": null }), "remaining"),
        ("cancel", json!({ "remaining": -1 }), "remaining"),
        ("refund", json!({ "remaining": "1" }), "remaining"),
    ] {
        let wrong = on(verb, Some(body));
        wrong.assert_problem(422, "invalid");
        assert_eq!(wrong.json()["field"], field);
    }
    let free = || get(&server, "/v1/sales/ticket").json()["free"].clone();
    let quantities = |reservation: Value| {
        [&reservation["quantity"], &reservation["quantity_asked"]].map(Value::as_u64)
    };
    for _ in 0..2 {
        let part = on("cancel", Some(json!({ "remaining": 3 }))).json();
        assert_eq!((quantities(part), free()), ([Some(3), Some(4)], json!(7)));
    }
    on("cancel", Some(json!({ "remaining": 5 }))).assert_problem(409, "remaining_too_large");
    on("refund", Some(json!({ "remaining": 1 }))).assert_problem(409, "not_confirmed");
    on("confirm", None);
    on("extend", None).assert_problem(409, "already_confirmed");
    let text = id.as_str().unwrap();
    let (code, out, err) =
        operate(&server, &["reservation", "refund", text, "--remaining", "1", "--json"]);
    let part: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!((quantities(part), free()), ([Some(1), Some(4)], json!(9)));
    let (code, _, err) = operate(&server, &["reservation", "extend", text, "--hold", "5m"]);
    assert_eq!((code, err.as_str()), (1, "error: The reservation is confirmed already.\n"));
    for wrong in [["extend", "--hold", "soon"], ["cancel", "--remaining", "one"]] {
        let [verb, flag, value] = wrong;
        assert_eq!(operate(&server, &["reservation", verb, text, flag, value]).0, 2);
    }
    assert_eq!(on("refund", Some(json!({ "remaining": 0 }))).json()["status"], "refunded");
    assert_eq!(free(), 10);
}

#[test]
fn an_invalid_request_names_the_wrong_field() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let long = "a".repeat(1024);
    let sale = |name: &str, value: Value| {
        let mut sale = json!({ "id": "a", "total": 1 });
        sale[name] = value;
        sale
    };
    for (field, body) in [
        ("id", json!({ "total": 1 })),
        ("id", sale("id", json!("a b"))),
        ("id", sale("id", json!(long))),
        ("id", sale("id", json!(5))),
        ("total", json!({ "id": "a" })),
        ("total", sale("total", json!(-5))),
        ("total", sale("total", json!(1.5))),
        ("total", sale("total", json!("5"))),
        ("total", sale("total", json!(1u64 << 41))),
        ("hold_ms", sale("hold_ms", json!(0))),
        ("quantity_max", sale("quantity_max", json!(0))),
        ("limit_per_user", sale("limit_per_user", json!(-1))),
        ("opens_at", sale("opens_at", json!("tomorrow"))),
        ("closes_at", sale("closes_at", json!(5))),
        ("body", sale("colour", json!("red"))),
        ("body", json!([1])),
        (
            "closes_at",
            json!({ "id": "a", "total": 1, "opens_at": "2030-01-02T00:00:00Z",
                    "closes_at": "2030-01-01T00:00:00Z" }),
        ),
    ] {
        let answer = post(&server, "/v1/sales", Some(body.clone()));
        answer.assert_problem(422, "invalid");
        assert_eq!(answer.json()["field"], field, "{body}: {}", answer.text());
    }
    for units in [json!(-5), json!(0), json!(1u64 << 41), json!("5"), Value::Null] {
        let answer =
            post(&server, "/v1/sales/ticket/add-stock", Some(json!({ "units": units.clone() })));
        answer.assert_problem(422, "invalid");
        assert_eq!(answer.json()["field"], "units", "{units}");
    }
    let much = json!({ "units": 1u64 << 40 });
    post(&server, "/v1/sales/ticket/add-stock", Some(much)).assert_problem(422, "invalid");
    for (method, path, field) in [
        ("GET", "/v1/sales/a%20b", "sale"),
        ("POST", &format!("/v1/sales/{long}/open"), "sale"),
        ("GET", "/v1/sales?limit=0", "limit"),
        ("GET", "/v1/sales?limit=1001", "limit"),
        ("GET", "/v1/sales?after=A", "after"),
        ("GET", "/v1/sales?colour=red", "query"),
        ("GET", "/v1/sales/ticket?limit=1", "query"),
        ("GET", "/v1/instances?limit=1", "query"),
    ] {
        let answer = ask(&server, method, path, None);
        answer.assert_problem(422, "invalid");
        assert_eq!(answer.json()["field"], field, "{path}");
    }
    for (method, path, allow) in [
        ("DELETE", "/v1/sales", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/v1/sales/ticket", "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("GET", "/v1/sales/ticket/open", "POST, OPTIONS"),
        ("PATCH", "/v1/sales/ticket/take-stock", "POST, OPTIONS"),
        ("GET", "/v1/reservations/ticket~0/cancel", "POST, OPTIONS"),
        ("DELETE", "/v1/reservations/ticket~0/refund", "POST, OPTIONS"),
        ("DELETE", "/v1/reservations/ticket~0", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/instances", "GET, HEAD, OPTIONS"),
        ("POST", "/livez", "GET, HEAD, OPTIONS"),
    ] {
        let answer = ask(&server, method, path, None);
        answer.assert_problem(405, "method_not_allowed");
        assert_eq!(answer.header("Allow"), Some(allow), "{path}");
        let options = ask(&server, "OPTIONS", path, None);
        assert_eq!((options.status(), options.header("Allow")), (204, Some(allow)), "{path}");
    }
    let options = ask(&server, "OPTIONS", "*", None);
    assert_eq!(options.header("Allow"), Some("GET, HEAD, POST, PATCH, DELETE, OPTIONS"));
    get(&server, "/v1/nothing").assert_problem(404, "not_found");

    let twice = r#"{"id":"a","total":1,"total":2}"#;
    for (kind, body, status) in [
        ("application/json", twice, 422),
        ("application/json", "{", 400),
        ("application/json", "", 400),
        ("text/plain", r#"{"id":"a","total":1}"#, 415),
    ] {
        let length = body.len();
        let answer = Client::control(&server).ask(format!(
            "POST /v1/sales HTTP/1.1\r\nHost: [::1]\r\nContent-Type: {kind}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(answer.status(), status, "{kind} {body}: {}", answer.text());
    }
    get(&server, "/v1/sales/a").assert_problem(404, "not_found");
}

#[test]
fn no_request_after_ambiguous_framing_is_carried_out() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let close = "POST /v1/sales/ticket/close HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (header, status) in [
        ("Content-Length: -5", 400),
        ("Content-Length: five", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: 16385", 413),
        ("Content-Length: 99999999999", 413),
    ] {
        let mut client = Client::control(&server);
        // An answer may also arrive before the whole request has.
        client.send(format!(
            "{SHOW}POST /v1/sales HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n{close}"
        ));
        assert_eq!(client.response().json()["id"], "ticket");
        let answer = client.response();
        assert_eq!((answer.status(), answer.closes()), (status, true), "{header}");
        client.assert_end();
    }
    let mut client = Client::control(&server);
    assert_eq!(client.ask(SHOW).json()["state"], "open", "nothing was closed");
    // Pipelined requests are answered in order; a body may come late, and in chunks.
    client.send(format!("{SHOW}GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(client.response().json()["id"], "ticket");
    assert_eq!(client.response().text(), "ok\n");
    let add = "POST /v1/sales/ticket/add-stock HTTP/1.1\r\nHost: localhost\r\n\
               Content-Type: application/json\r\n";
    client.send(format!("{add}Content-Length: 11\r\n\r\n{{\"un"));
    client.send("its\":1}");
    assert_eq!(client.response().json()["total"], 11);
    client.send(format!("{add}Transfer-Encoding: chunked\r\n\r\n3\r\n{{\"u\r\n"));
    client.send("8\r\nnits\":1}\r\n0\r\n\r\n");
    assert_eq!(client.response().json()["total"], 12);
    // It closes the connection when asked to, and at once: health checks wait for the end.
    for request in [
        "GET /livez HTTP/1.0\r\n\r\n",
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /v1/sales/ticket HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ] {
        let mut client = Client::control(&server);
        let answer = client.ask(request);
        assert_eq!((answer.status(), answer.closes()), (200, true));
        client.assert_end();
    }
    // It also closes when a client has sent everything it will send.
    let mut client = Client::control(&server);
    client.send(SHOW);
    client.finish();
    assert_eq!(client.response().json()["id"], "ticket");
    client.assert_end();
    // An answer without its body is the same, apart from the body.
    let mut client = Client::control(&server);
    for path in ["/livez", "/readyz", "/v1/sales", "/v1/sales/ticket", "/v1/instances"] {
        let ask = |method: &str| format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.send(ask("HEAD"));
        let head = client.head_response();
        let get = client.ask(ask("GET"));
        assert_eq!(
            (head.status(), head.header("Content-Length")),
            (200, get.header("Content-Length"))
        );
    }
}

#[test]
fn an_endless_head_is_refused_within_bounded_memory() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let before = client::resident_bytes(&server);
    let endless: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::control(&server);
            std::thread::spawn(move || {
                let _ = client.stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ");
                let filler = [b'a'; 65536];
                // Until the server closes: 64 MiB are more than any socket buffers.
                (0..1024).take_while(|_| client.stream.write_all(&filler).is_ok()).count()
            })
        })
        .collect();
    assert_eq!(get(&server, "/livez").text(), "ok\n");
    for written in endless {
        assert!(written.join().unwrap() < 1024, "it was read to the end");
    }
    let grown = client::resident_bytes(&server).saturating_sub(before);
    let most = strangers_bytes_max(0) as u64;
    assert!(grown < most, "{grown} bytes more, of {most}");
    client::assert_sells(&server);
}

#[test]
fn silent_and_idle_connections_do_not_keep_others_out() {
    let server = Server::start(&["--sale", "ticket=10"]);
    // More connections than it serves at a time, half of them with half a head. Fewer than twice as
    // many: the deadline of the second half would be as long as this test's patience.
    let mut silent: Vec<Client> = (0..24).map(|_| Client::control(&server)).collect();
    silent.iter_mut().step_by(2).for_each(|client| client.send("GET /livez HT"));
    assert_eq!(get(&server, "/livez").text(), "ok\n", "once the silent ones are overdue");
    client::assert_sells(&server);
}

#[test]
fn the_control_port_requires_the_token() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let server = Server::start(&["--sale", "ticket=10", "--control-token-file", path]);
    let missing = get(&server, "/v1/sales");
    missing.assert_problem(401, "unauthorized");
    assert_eq!(missing.header("WWW-Authenticate"), Some("Bearer"));
    for wrong in ["Bearer wrong", "Basic 0123456789abcdef-a-token", "Bearer"] {
        let headers = format!("Authorization: {wrong}\r\n");
        ask_with(&server, "POST", "/v1/sales/ticket/close", &headers, None)
            .assert_problem(401, "unauthorized");
    }
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    let sale = ask_with(&server, "GET", "/v1/sales/ticket", &headers, None);
    assert_eq!((sale.status(), &sale.json()["state"]), (200, &json!("open")));
    for probe in ["/livez", "/readyz"] {
        assert_eq!(get(&server, probe).status(), 200, "probes need no token");
    }
    let (code, _, err) = operate(&server, &["sale", "list"]);
    assert_eq!(code, 1);
    assert!(err.contains("--token-file") && err.contains("STAMPEDE_CONTROL_TOKEN"), "{err}");
    let (code, out, err) = operate(&server, &["sale", "list", "--token-file", path]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("ticket"), "{out}");
}

#[test]
fn a_control_port_without_a_token_refuses_web_pages() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let from = |headers: &str| {
        Client::control(&server)
            .ask(format!("POST /v1/sales/ticket/close HTTP/1.1\r\n{headers}\r\n"))
    };
    for headers in [
        "Host: evil.example\r\n",
        "Host: localhost\r\nOrigin: http://evil.example\r\n",
        "Host: localhost\r\nOrigin: null\r\n",
    ] {
        from(headers).assert_problem(403, "forbidden");
    }
    from("").assert_problem(400, "bad_request");
    assert_eq!(get(&server, "/v1/sales/ticket").json()["state"], "open");
    for host in ["127.0.0.1:3006", "localhost", "[::1]:3006"] {
        assert_eq!(from(&format!("Host: {host}\r\n")).status(), 200, "{host}");
    }
}

#[test]
fn the_live_page_has_strict_headers_and_no_server_data() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, TOKEN).unwrap();
    let path = file.path().to_str().unwrap();
    let server = Server::start(&["--sale", "secret-sale=10", "--control-token-file", path]);
    let page = get(&server, "/");
    assert_eq!(
        (page.status(), page.header("Content-Type")),
        (200, Some("text/html; charset=utf-8"))
    );
    assert!(!page.text().contains("secret-sale"), "its data takes a token");
    for (name, value) in [
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
        ("Referrer-Policy", "no-referrer"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let policy = page.header("Content-Security-Policy").expect("a policy");
    for part in [
        "default-src 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let head = {
        let mut client = Client::control(&server);
        client.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.head_response()
    };
    assert_eq!(
        (head.status(), head.header("Content-Length")),
        (200, page.header("Content-Length"))
    );
    post(&server, "/", None).assert_problem(405, "method_not_allowed");
    assert_eq!(ask(&server, "OPTIONS", "/", None).header("Allow"), Some("GET, HEAD, OPTIONS"));
    // Buyers have no such page.
    client::get(&server, "/").assert_problem(404, "not_found");
    for (headers, status) in
        [("", 401), ("Authorization: Bearer 0123456789abcdef-no-token\r\n", 401)]
    {
        assert_eq!(ask_with(&server, "GET", "/v1/live", headers, None).status(), status);
    }
}

#[test]
fn the_live_api_matches_the_ledger() {
    let server = Server::start(&["--sale", "ticket=5", "--cores", "0,1"]);
    let live = |query: &str| {
        let shown = get(&server, &format!("/v1/live{query}"));
        assert_eq!(shown.status(), 200, "{}", shown.text());
        shown.json()
    };
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let bought: Vec<_> = (0..5).map(|_| buyer.buy().unwrap().granted().expect("a unit")).collect();
    for _ in 0..3 {
        assert!(buyer.buy().unwrap().is("sold_out"));
    }
    post(&server, &format!("/v1/reservations/{}/confirm", bought[0]), None);
    let sum = |live: &Value, name: &str| {
        let cores = live["server"]["cores"].as_array().expect("cores").iter();
        cores.map(|core| core[name].as_u64().expect("a number")).sum::<u64>()
    };
    until("the sale and the cores agree", || {
        let live = live("");
        let sale = &live["sales"]["sales"][0];
        let rejected = sum(&live, "rejected_from_memory") + sum(&live, "rejected_by_ledger");
        (&sale["free"], &sale["held"], &sale["confirmed"]) == (&json!(0), &json!(4), &json!(1))
            && (sum(&live, "granted"), rejected, sum(&live, "failed")) == (5, 3, 0)
    });
    let shown = live("?limit=1&search=TICK&sale=ticket");
    assert_eq!(shown["changes"], "need_token_file");
    assert_eq!(shown["sales"]["sale"], get(&server, "/v1/sales/ticket").json());
    assert_eq!((&shown["sales"]["matches"], &shown["sales"]["next"]), (&json!(1), &Value::Null));
    assert_eq!(shown["instances"], get(&server, "/v1/instances").json()["instances"]);
    let counts = |histogram: &Value| {
        let counts = histogram["counts"].as_array().expect("counts").iter();
        counts.map(|count| count.as_u64().expect("a number")).sum::<u64>()
    };
    assert!(counts(&shown["server"]["latency"]["purchase_us"]) >= 5, "{shown}");
    for (query, field) in [("limit=0", "limit"), ("after=A", "after"), ("sales=1", "query")] {
        let wrong = get(&server, &format!("/v1/live?{query}"));
        wrong.assert_problem(422, "invalid");
        assert_eq!(wrong.json()["field"], field);
    }
}

#[test]
fn without_a_token_the_live_page_is_read_only() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let own = format!("http://{}", server.control());
    let from = |method: &str, path: &str, origin: &str| {
        let host = server.control();
        Client::control(&server)
            .ask(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n"))
    };
    assert_eq!(from("GET", "/v1/live", &own).status(), 200);
    let change = from("POST", "/v1/sales/ticket/close", &own);
    change.assert_problem(403, "forbidden");
    assert!(change.text().contains("--control-token-file"), "{}", change.text());
    for (method, path) in [("GET", "/v1/live"), ("POST", "/v1/sales/ticket/close")] {
        from(method, path, "http://localhost:1").assert_problem(403, "forbidden");
    }
    assert_eq!(get(&server, "/v1/sales/ticket").json()["state"], "open");
}

#[test]
fn a_control_port_in_use_is_an_error() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let folder = tempfile::tempdir().unwrap();
    let data = format!("embedded:{}", folder.path().join("data").display());
    let control = server.control().to_string();
    let program = env!("CARGO_BIN_EXE_stampede");
    let other = ["--listen", "127.0.0.1:0", "--ledger", &data, "--control", &control];
    let output = Command::new(program).args(other).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&format!("--control {control}: ")), "{err}");
    assert!(err.contains("--control off"), "{err}");
    let off = Server::start(&["--control", "off"]);
    client::assert_sells(&off);
}

#[test]
fn a_server_that_drains_is_live_and_not_ready() {
    let mut server = Server::start(&["--sale", "ticket=10"]);
    assert_eq!(get(&server, "/readyz").text(), "ready\n");
    // A request under way delays the drain.
    let request = client::reserve("", r#"{"user":"u"}"#);
    let (start, rest) = request.split_at(request.len() - 5);
    let mut slow = Client::new(&server);
    slow.send(start);
    assert_eq!(client::get(&server, "/json").status(), 200, "its start has been read by now");
    let mut control = Client::control(&server);
    let ready = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(control.ask(ready).status(), 200);
    server.signal(Signal::TERM);
    until("not ready", || control.ask(ready).status() == 503);
    control.ask(ready).assert_problem(503, "draining");
    assert_eq!(get(&server, "/livez").text(), "ok\n");
    assert_eq!(get(&server, "/v1/sales/ticket").json()["total"], 10, "it answers to the end");
    slow.send(rest);
    assert_eq!(slow.response().status(), 201);
    assert_eq!(server.wait(), 0);
}

#[test]
fn a_server_without_its_redis_is_live_and_not_ready() {
    let mut redis = RedisServer::start(&[]);
    let server = Server::start(&["--sale", "ticket=10", "--ledger", &redis.url()]);
    until("ready", || get(&server, "/readyz").status() == 200);
    assert_eq!(get(&server, "/v1/sales").json()["sales"][0]["id"], "ticket");
    redis.kill();
    until("not ready", || get(&server, "/readyz").status() == 503);
    get(&server, "/readyz").assert_problem(503, "unavailable");
    assert_eq!(get(&server, "/livez").text(), "ok\n");
    get(&server, "/v1/sales/ticket").assert_problem(503, "unavailable");
    redis.restart();
    until("ready again", || get(&server, "/readyz").status() == 200);
    let sale = json!({ "id": "poster", "total": 3 });
    let created = post(&server, "/v1/sales", Some(sale));
    assert_eq!(created.status(), 201, "{}", created.text());
    let (code, out, err) = operate(&server, &["sale", "list", "--json", "--ledger", &redis.url()]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains(r#""id":"poster""#), "{out}");
}

#[test]
fn added_stock_reopens_a_sold_out_sale() {
    let redis = RedisServer::start(&[]);
    for ledger in [None, Some(redis.url())] {
        let mut arguments = vec!["--sale", "ticket=3", "--cores", "0,1"];
        if let Some(ledger) = &ledger {
            arguments.extend(["--ledger", ledger]);
        }
        let server = Server::start(&arguments);
        let mut buyers: Vec<Buyer> =
            (0..8).map(|_| Buyer::connect(server.address()).unwrap()).collect();
        let buy = |buyer: &mut Buyer| buyer.reserve("ticket", "u", 1, "").unwrap();
        for buyer in &mut buyers {
            until("sold out", || buy(buyer).bought().is("sold_out"));
        }
        let (code, out, err) = operate(&server, &["sale", "add-stock", "ticket", "16"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("total           19"), "{out}");
        for buyer in &mut buyers {
            until("for sale again", || matches!(buy(buyer).bought(), Bought::Granted(_)));
        }
        let sold = get(&server, "/v1/sales/ticket").json();
        assert_eq!((&sold["held"], &sold["free"]), (&json!(11), &json!(8)));
    }
}

#[test]
fn ten_thousand_sales_are_created_and_listed_in_pages() {
    let server = Server::start(&["--sale", "zz=1"]);
    let mut client = Client::control(&server);
    // Pipelined, so that it takes a moment and not ten.
    for chunk in 0..100 {
        let mut requests = String::new();
        for number in chunk * 100..(chunk + 1) * 100 {
            let body = format!(r#"{{"id":"s{number:05}","total":{number}}}"#);
            requests += &format!(
                "POST /v1/sales HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
        client.send(requests);
        for _ in 0..100 {
            assert_eq!(client.response().status(), 201);
        }
    }
    let (mut seen, mut target) = (Vec::new(), "/v1/sales?limit=1000".to_owned());
    loop {
        let page = get(&server, &target).json();
        let sales = page["sales"].as_array().unwrap();
        assert!(sales.len() <= 1000);
        seen.extend(sales.iter().map(|sale| sale["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/sales?limit=1000&after={next}");
    }
    assert_eq!(seen.len(), 10_001);
    assert!(seen.is_sorted() && seen[7] == "s00007" && seen[10_000] == "zz");
    assert_eq!(get(&server, "/v1/sales").json()["sales"].as_array().unwrap().len(), 100);
    let (code, out, err) = operate(&server, &["sale", "list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out.lines().count(), 10_002);
}

#[test]
fn operator_commands_manage_sales_and_reservations() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let (code, out, err) =
        operate(&server, &["sale", "create", "poster=5,hold=30s,limit=1", "cup=2"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "poster: created\ncup: created\n", ""));
    let (code, out, _) = operate(&server, &["sale", "create", "cup=2"]);
    assert_eq!((code, out.as_str()), (0, "cup: exists already, as defined\n"));
    let (code, out, err) = operate(&server, &["sale", "create", "cup=3"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("The sale cup exists") && err.contains("total is 2, not 3"), "{err}");
    let (_, out, _) = operate(&server, &["sale", "list"]);
    let ids: Vec<_> = out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(ids, ["SALE", "cup", "poster", "ticket"]);
    let (code, out, _) = operate(&server, &["sale", "show", "poster", "--json"]);
    let sale: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &sale["hold_ms"], &sale["limit_per_user"]), (0, &json!(30_000), &json!(1)));
    let (code, _, err) = operate(&server, &["sale", "show", "nope"]);
    assert_eq!((code, err.as_str()), (1, "error: There is no sale nope.\n"));
    let (code, _, err) = operate(&server, &["sale", "close", "tickets"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "error: There is no sale tickets. Did you mean ticket?\n")
    );
    let unknown = format!("ticket~{}", "0".repeat(26));
    let (code, _, err) = operate(&server, &["reservation", "confirm", &unknown]);
    assert_eq!((code, err), (1, format!("error: There is no reservation {unknown}.\n")));
    let (code, _, err) = operate(&server, &["sale", "create", "none=0"]);
    assert!(code == 0 && err.contains("warning: sale none: the total is 0"), "{err}");
    let (code, _, _) = operate(&server, &["sale", "close", "none"]);
    assert_eq!(code, 0);
    let (code, _, _) = operate(&server, &["sale", "remove", "none"]);
    assert_eq!(code, 0);
    let public = server.address().to_string();
    for arguments in [&["sale", "create", "cup=3"][..], &["instances"], &["audit"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_stampede"))
            .args(arguments)
            .args(["--control", &public])
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.contains(&format!("http://{public} has no ")), "{err}");
        assert!(err.contains("is the port for buyers"), "{err}");
    }

    let (code, out, _) = operate(&server, &["instances"]);
    let lines: Vec<Vec<&str>> = out.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!((code, lines.len(), lines[0][0], lines[0].len()), (0, 2, "INSTANCE", 8), "{out}");
    let (port, address) = (server.address().port().to_string(), server.address().to_string());
    assert!(lines[1][0].ends_with(&port) && lines[1][7] == address, "{out}");
    assert_eq!((lines[1][1], lines[1][4], lines[1][6]), ("ready", "-", env!("CARGO_PKG_VERSION")));

    let mut buyer = Buyer::connect(server.address()).unwrap();
    let mut reserve = |user: &str| {
        buyer.reserve("poster", user, 1, "a key").unwrap().bought().granted().expect("a unit")
    };
    let (paid, dropped) = (reserve("a"), reserve("b"));
    let (code, out, _) = operate(&server, &["reservation", "show", &paid]);
    assert!(code == 0 && out.contains("status          held"), "{out}");
    let (code, out, _) = operate(&server, &["reservation", "confirm", &paid]);
    assert!(code == 0 && out.contains("status          confirmed"), "{out}");
    let (code, _, err) = operate(&server, &["reservation", "cancel", &paid]);
    assert_eq!((code, err.as_str()), (1, "error: The reservation is confirmed already.\n"));
    let (code, out, _) = operate(&server, &["reservation", "cancel", &dropped]);
    assert!(code == 0 && out.contains("status          cancelled"), "{out}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("poster.jsonl");
    let archive = ["sale", "archive", "poster", "--to", file.to_str().unwrap()];
    let (code, _, err) = operate(&server, &archive);
    assert!(code == 1 && err.contains("not closed"), "{err}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "whole or not at all");
    assert_eq!(operate(&server, &["sale", "close", "poster"]).0, 0);
    let (code, out, err) = operate(&server, &archive);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("poster: the sale and 2 reservations are in "), "{out}");
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        (lines.len(), &lines[0]["id"], &lines[0]["confirmed"]),
        (4, &json!("poster"), &json!(1))
    );
    assert_eq!((&lines[3]["archive"], &lines[3]["reservations"]), (&json!(1), &json!(2)));
    let status = |id: &str| {
        let line = lines[1..].iter().find(|line| line["id"] == id).expect("its line");
        assert_eq!(line["key"], "a key");
        line["status"].as_str().unwrap().to_owned()
    };
    assert_eq!((status(&paid).as_str(), status(&dropped).as_str()), ("confirmed", "cancelled"));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    let (code, _, err) = operate(&server, &archive);
    assert!(code == 2 && err.contains("exists already"), "{err}");
    let (code, out, _) = operate(&server, &["sale", "remove", "poster"]);
    assert_eq!((code, out.as_str()), (0, "poster: removed\n"));
    let (code, _, err) = operate(&server, &["sale", "remove", "ticket"]);
    assert!(code == 1 && err.contains("close it first"), "{err}");
    let (code, out, _) = operate(&server, &["sale", "open", "cup"]);
    assert!(code == 0 && out.contains("state           open"), "{out}");
}

#[test]
fn ticket_types_on_the_command_line() {
    let server = Server::start(&["--sale", "fair=100,types=child:50+adult:60"]);
    let (code, out, err) =
        operate(&server, &["sale", "create", "fair=100,types=adult:60+child:50"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "fair: exists already, as defined\n", ""));
    let (code, _, err) = operate(&server, &["sale", "create", "fair=100,types=adult:60"]);
    assert!(code == 1 && err.contains("types"), "{err}");
    let (code, out, _) = operate(&server, &["sale", "create", "show=9,types=a:1"]);
    assert_eq!((code, out.as_str()), (0, "show: created\n"));
    for wrong in ["types=a", "types=a:0", "types=A:1", "types=a:1+a:1", "types=a:1,splits=2"] {
        let (code, out, err) = operate(&server, &["sale", "create", &format!("more=9,{wrong}")]);
        assert!(code == 2 && out.is_empty() && err.contains("type"), "{wrong}: {err}");
    }
    let body = r#"{"user":"ann","lines":{"adult":3,"child":2}}"#;
    let made = Client::new(&server).ask(client::reserve_from("fair", "", body)).json();
    let id = made["id"].as_str().expect("an id");
    assert!(
        server.log().contains(r#"-d '{"user":"ann","lines":{"adult":1}}'"#),
        "{}",
        server.log()
    );
    let (code, out, _) = operate(&server, &["reservation", "show", id]);
    assert!(code == 0 && out.contains("lines           adult:3+child:2\n"), "{out}");
    let (code, out, _) = operate(&server, &["sale", "show", "fair"]);
    for line in [
        "type            adult: cap 60, free 57, held 3, confirmed 0\n",
        "type            child: cap 50, free 48, held 2, confirmed 0\n",
    ] {
        assert!(code == 0 && out.contains(line), "{out}");
    }
    let cancel = ["reservation", "cancel", id, "--remaining"];
    for wrong in ["adult:", "adult:-1", "Adult:1", "adult:1+adult:1", "1"] {
        let (code, out, err) = operate(&server, &[&cancel[..], &[wrong]].concat());
        assert!(code == 2 && out.is_empty() && err.contains("remaining"), "{wrong}: {err}");
    }
    let (code, out, err) = operate(&server, &[&cancel[..], &["child:1+adult:3"]].concat());
    assert!(code == 0 && out.contains("lines           adult:3+child:1\n"), "{out}{err}");
    assert!(out.contains("lines_asked     adult:3+child:2\n"), "{out}");
    let (code, out, _) = operate(&server, &["sale", "list"]);
    assert!(code == 0 && out.contains("fair"), "{out}");
    let (code, out, _) = operate(&server, &[&cancel[..], &["0"]].concat());
    assert!(code == 0 && out.contains("status          cancelled\n"), "{out}");
}

#[test]
fn commands_open_the_embedded_ledger_only_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = format!("embedded:{}", folder.path().join("data").display());
    let mut server = Server::start(&["--sale", "ticket=10", "--ledger", &ledger]);
    let direct =
        |arguments: &[&str]| operate(&server, &[arguments, &["--ledger", &ledger]].concat());
    let (code, _, err) = direct(&["sale", "list"]);
    assert!(code == 1 && err.contains("embedded:"), "{code} {err}");
    assert_eq!(server.terminate(), 0);
    let direct =
        |arguments: &[&str]| operate(&server, &[arguments, &["--ledger", &ledger]].concat());
    let (code, out, err) = direct(&["sale", "add-stock", "ticket", "5"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("total           15"), "{out}");
    assert_eq!(direct(&["sale", "create", "poster=5"]).0, 0);
    server.restart();
    assert_eq!(get(&server, "/v1/sales/ticket").json()["total"], 15);
    assert_eq!(get(&server, "/v1/sales/poster").json()["total"], 5);
}

#[test]
fn a_selling_server_can_be_audited() {
    let redis = RedisServer::start(&[]);
    let server = Server::start(&["--sale", "ticket=10,limit=5", "--ledger", &redis.url()]);
    let mut buyer = Buyer::connect(server.address()).unwrap();
    let bought = buyer.reserve("ticket", "u", 2, "a key").unwrap().bought();
    assert!(matches!(bought, Bought::Granted(_)), "{bought:?}");
    let report = get(&server, "/v1/audit").json();
    assert_eq!(
        (&report["differences"], &report["sales"][0]["sale"]),
        (&json!(0), &json!("ticket"))
    );
    get(&server, "/v1/audit?sale=nope").assert_problem(404, "not_found");
    get(&server, "/v1/audit?colour=red").assert_problem(422, "invalid");
    let (code, out, err) = operate(&server, &["audit"]);
    assert!(code == 0 && out.contains("ticket"), "{code} {out} {err}");

    redis.connect().ask("HINCRBY ticket_hash_key ticket_sold_nums 3");
    for way in [&["audit"][..], &["audit", "--ledger", &redis.url()]] {
        let (code, out, err) = operate(&server, way);
        assert!(code == 1 && err.contains("differences are left"), "{code} {out} {err}");
    }
    let (code, out, err) = operate(&server, &["audit", "--repair", "--sale", "ticket"]);
    assert!(code == 0, "{out} {err}");
    let (code, out, err) = operate(&server, &["audit", "--json"]);
    assert!(code == 0 && out.contains("\"differences\":0"), "{out} {err}");
    let (code, _, err) = operate(&server, &["audit", "--orders", "sqlite:/tmp/x"]);
    assert!(code == 2 && err.contains("--ledger"), "{err}");
}
