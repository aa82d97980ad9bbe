//! A sale with ticket types as buyers, the shop and operators meet it, in either ledger: caps
//! within the total, reservations of lines, all or nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Response, get, reserve_from};
use crate::redis::RedisServer;
use crate::server::{ANSWER_DEADLINE, Server};

/// A server with the sale `fair`: 10 units, at most 6 of adults and 5 of children. The second is
/// its ledger, if that is a process of its own.
fn each_ledger(options: &[&str], test: impl Fn(&Server)) {
    test(&server_with_fair(options, json!({ "id": "fair" })));
    let redis = RedisServer::start(&[]);
    let url = redis.url();
    let shared =
        server_with_fair(&[options, &["--ledger", &url]].concat(), json!({ "id": "fair" }));
    // Before it knows the servers that share the ledger it takes no lines, which an older server
    // could not read.
    eventually("it knows who shares the ledger", || {
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
        Client::control(&shared)
            .ask(request)
            .text()
            .lines()
            .any(|line| line == "stampede_members 1.0")
    });
    test(&shared);
}

fn server_with_fair(options: &[&str], mut sale: Value) -> Server {
    let server = Server::start(&[&["--sale", "ticket=9"], options].concat());
    sale["total"] = json!(10);
    sale["types"] = json!({ "child": 5, "adult": 6 });
    let created = operate(&server, "/v1/sales", Some(sale));
    assert_eq!(created.status(), 201, "{}", created.text());
    server
}

/// A request to the control port.
fn operate(server: &Server, path: &str, body: Option<Value>) -> Response {
    post(&mut Client::control(server), path, body)
}

fn post(client: &mut Client, path: &str, body: Option<Value>) -> Response {
    let (kind, body) = match body {
        None => ("", String::new()),
        Some(body) => ("Content-Type: application/json\r\n", body.to_string()),
    };
    let length = body.len();
    client.ask(format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    ))
}

fn buy(server: &Server, user: &str, lines: Value) -> Response {
    buy_by(server, "", json!({ "user": user, "lines": lines }))
}

fn buy_by(server: &Server, headers: &str, body: Value) -> Response {
    Client::new(server).ask(reserve_from("fair", headers, &body.to_string()))
}

#[track_caller]
fn bought(server: &Server, user: &str, lines: Value) -> Value {
    let answer = buy(server, user, lines);
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()
}

fn id(reservation: &Value) -> &str {
    reservation["id"].as_str().expect("an id")
}

/// The sale as its ledger has it.
fn fair(server: &Server) -> Value {
    let request = "GET /v1/sales/fair HTTP/1.1\r\nHost: localhost\r\n\r\n";
    Client::control(server).ask(request).json()
}

/// Of the sale and each type: free, held, confirmed.
#[track_caller]
fn assert_units(server: &Server, all: [u64; 3], adult: [u64; 3], child: [u64; 3]) {
    let sale = fair(server);
    let of =
        |value: &Value| ["free", "held", "confirmed"].map(|name| value[name].as_u64().unwrap());
    let types = &sale["types"];
    assert_eq!(
        (of(&sale), of(&types["adult"]), of(&types["child"])),
        (all, adult, child),
        "{sale}"
    );
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + ANSWER_DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn lines_are_held_confirmed_and_cancelled_together() {
    each_ledger(&[], |server| {
        let sale = fair(server);
        let type_of = |cap: u64| json!({ "cap": cap, "free": cap, "held": 0, "confirmed": 0 });
        assert_eq!(sale["types"], json!({ "adult": type_of(6), "child": type_of(5) }));
        let made = bought(server, "ann", json!({ "child": 1, "dog": 0, "adult": 4 }));
        assert_eq!((&made["quantity"], &made["lines"]), (&json!(5), &json!({"adult":4,"child":1})));
        assert_eq!(made.get("lines_asked"), None);
        assert_eq!(get(server, &format!("/v1/reservations/{}", id(&made))).json(), made);
        assert_units(server, [5, 5, 0], [2, 4, 0], [4, 1, 0]);
        let path = |verb: &str| format!("/v1/reservations/{}/{verb}", id(&made));
        // Its buyer gives a part of it back.
        let to = json!({ "remaining": { "adult": 2, "child": 1 } });
        let part = post(&mut Client::new(server), &path("cancel"), Some(to)).json();
        assert_eq!(part["lines"], json!({ "adult": 2, "child": 1 }), "{part}");
        assert_eq!(part["lines_asked"], json!({ "adult": 4, "child": 1 }));
        assert_eq!((&part["quantity"], &part["quantity_asked"]), (&json!(3), &json!(5)));
        assert_units(server, [7, 3, 0], [4, 2, 0], [4, 1, 0]);
        assert_eq!(operate(server, &path("confirm"), None).json()["status"], "confirmed");
        assert_units(server, [7, 0, 3], [4, 0, 2], [4, 0, 1]);
        let to = json!({ "remaining": { "adult": 2 } });
        let part = operate(server, &path("refund"), Some(to.clone())).json();
        assert_eq!(part["lines"], json!({ "adult": 2 }), "{part}");
        assert_eq!(
            operate(server, &path("refund"), Some(to)).json(),
            part,
            "once more is the same"
        );
        assert_units(server, [8, 0, 2], [4, 0, 2], [5, 0, 0]);
        let rest = operate(server, &path("refund"), Some(json!({ "remaining": 0 }))).json();
        assert_eq!(rest["status"], "refunded", "{rest}");
        assert_units(server, [10, 0, 0], [6, 0, 0], [5, 0, 0]);
    });
}

#[test]
fn a_type_sells_to_its_cap_and_lines_all_or_nothing() {
    each_ledger(&[], |server| {
        bought(server, "ann", json!({ "adult": 5 }));
        let refused = buy(server, "bob", json!({ "adult": 2, "child": 1 }));
        refused.assert_problem(409, "sold_out");
        let problem = refused.json();
        assert_eq!((&problem["ticket_type"], &problem["free"]), (&json!("adult"), &json!(1)));
        assert_eq!(problem["type"], "about:blank");
        assert_units(server, [5, 5, 0], [1, 5, 0], [5, 0, 0]);
        bought(server, "bob", json!({ "adult": 1, "child": 1 }));
        // A type has no more than the sale has.
        assert_units(server, [3, 7, 0], [0, 6, 0], [3, 1, 0]);
        let refused = buy(server, "cid", json!({ "child": 4 })).json();
        assert_eq!((&refused["code"], &refused["free"]), (&json!("sold_out"), &json!(3)));
        bought(server, "cid", json!({ "child": 3 }));
        buy(server, "dan", json!({ "child": 1 })).assert_problem(409, "sold_out");
        assert_units(server, [0, 10, 0], [0, 6, 0], [0, 4, 0]);
    });
}

#[test]
fn invalid_lines_are_named_and_reserve_nothing() {
    each_ledger(&[], |server| {
        let deep = format!(r#"{{"adult":{}1{}}}"#, "[".repeat(90), "]".repeat(90));
        let many = (0..17).map(|n| format!(r#""t{n}":1"#)).collect::<Vec<_>>().join(",");
        for (members, field) in [
            ("".to_owned(), "lines"),
            (r#","quantity":1"#.to_owned(), "lines"),
            (r#","quantity":1,"lines":{"adult":1}"#.to_owned(), "quantity"),
            (r#","lines":{}"#.to_owned(), "lines"),
            (r#","lines":{"adult":0}"#.to_owned(), "lines"),
            (r#","lines":{"adult":-1}"#.to_owned(), "lines"),
            (r#","lines":{"adult":"1"}"#.to_owned(), "lines"),
            (r#","lines":{"Adult":1}"#.to_owned(), "lines"),
            (r#","lines":{"adult":1,"adult":1}"#.to_owned(), "lines"),
            (r#","lines":{"adult":1,"dog":1}"#.to_owned(), "lines"),
            (r#","lines":{"adult":9223372036854775808}"#.to_owned(), "lines"),
            (r#","lines":["adult"]"#.to_owned(), "lines"),
            (format!(r#","lines":{deep}"#), "lines"),
            (format!(r#","lines":{{{many}}}"#), "lines"),
            (r#","lines":{"adult":6,"child":5}"#.to_owned(), "quantity"),
        ] {
            let body = format!(r#"{{"user":"ann"{members}}}"#);
            let refused = Client::new(server).ask(reserve_from("fair", "", &body));
            refused.assert_problem(422, "invalid");
            assert_eq!(refused.json()["field"], field, "{body}: {}", refused.text());
        }
        let unknown = buy(server, "ann", json!({ "dog": 1 })).json();
        assert_eq!(unknown["ticket_type"], "dog");
        let body = json!({ "user": "ann", "lines": { "adult": 1 } }).to_string();
        let plain = Client::new(server).ask(reserve_from("ticket", "", &body));
        plain.assert_problem(422, "invalid");
        assert_eq!(plain.json()["field"], "lines");
        assert_units(server, [10, 0, 0], [6, 0, 0], [5, 0, 0]);
        // The remaining units are those of the sale's counts.
        let made = bought(server, "ann", json!({ "adult": 2 }));
        let path = format!("/v1/reservations/{}/cancel", id(&made));
        for (remaining, code) in [
            (json!(1), "invalid"),
            (json!({ "adult": 3 }), "remaining_too_large"),
            (json!({ "adult": 1, "child": 1 }), "remaining_too_large"),
        ] {
            let body = json!({ "remaining": remaining });
            for mut client in [Client::new(server), Client::control(server)] {
                let refused = post(&mut client, &path, Some(body.clone()));
                assert_eq!(refused.json()["code"], code, "{body}: {}", refused.text());
            }
        }
        assert_units(server, [8, 2, 0], [4, 2, 0], [5, 0, 0]);
    });
}

#[test]
fn an_idempotency_key_is_bound_to_its_lines() {
    each_ledger(&[], |server| {
        let key = "Idempotency-Key: k\r\n";
        let ask = |lines: Value| buy_by(server, key, json!({ "user": "ann", "lines": lines }));
        let made = ask(json!({ "adult": 1, "child": 2 }));
        assert_eq!(made.status(), 201, "{}", made.text());
        let again = ask(json!({ "child": 2, "adult": 1 }));
        assert_eq!((again.status(), again.json()), (200, made.json()));
        for other in [json!({ "adult": 2, "child": 1 }), json!({ "adult": 3 })] {
            ask(other).assert_problem(422, "key_reused");
        }
        assert_units(server, [7, 3, 0], [5, 1, 0], [3, 2, 0]);
    });
}

#[test]
fn lines_expire_together_and_late_payment_respects_caps() {
    each_ledger(&[], |server| {
        let hold = |hold: &str| {
            let path = "/v1/sales/fair".to_owned();
            let body = json!({ "hold_ms": hold.parse::<u64>().unwrap() }).to_string();
            let length = body.len();
            Client::control(server).ask(format!(
                "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            ))
        };
        assert_eq!(hold("1").status(), 200);
        let late = bought(server, "ann", json!({ "adult": 4, "child": 1 }));
        let path = format!("/v1/reservations/{}", id(&late));
        eventually("it expires", || get(server, &path).json()["status"] == "expired");
        eventually("its units return", || fair(server)["held"] == 0);
        assert_units(server, [10, 0, 0], [6, 0, 0], [5, 0, 0]);
        assert_eq!(hold("300000").status(), 200);
        let other = bought(server, "bob", json!({ "adult": 3 }));
        // The sale has 7 units for its 5, and only 3 adults for its 4.
        let refused = operate(server, &format!("{path}/confirm"), None);
        refused.assert_problem(409, "expired");
        assert_units(server, [7, 3, 0], [3, 3, 0], [5, 0, 0]);
        let cancelled = operate(server, &format!("/v1/reservations/{}/cancel", id(&other)), None);
        assert_eq!(cancelled.status(), 200, "{}", cancelled.text());
        let paid = operate(server, &format!("{path}/confirm"), None).json();
        assert_eq!((&paid["status"], &paid["lines"]), (&json!("confirmed"), &late["lines"]));
        assert_units(server, [5, 0, 5], [2, 0, 4], [4, 0, 1]);
    });
}

#[test]
fn a_core_refuses_a_sold_out_type_until_units_return() {
    each_ledger(&[], |server| {
        let made = bought(server, "ann", json!({ "adult": 6 }));
        let metric = || {
            let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let text = Client::control(server).ask(request).text();
            let lines = text.lines().filter(|line| line.contains(r#""type_sold_out""#));
            lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
        };
        eventually("a core knows it", || {
            buy(server, "bob", json!({ "adult": 1 })).assert_problem(409, "sold_out");
            metric() > 0
        });
        bought(server, "bob", json!({ "child": 1 }));
        let cancelled = operate(server, &format!("/v1/reservations/{}/cancel", id(&made)), None);
        assert_eq!(cancelled.status(), 200, "{}", cancelled.text());
        eventually("it sells again", || {
            let answer = buy(server, "cid", json!({ "adult": 1 }));
            assert!([201, 409].contains(&answer.status()), "{}", answer.text());
            answer.status() == 201
        });
    });
}

#[test]
fn a_sale_with_types_is_validated_and_created_once() {
    each_ledger(&[], |server| {
        let create = |types: &str| {
            let body = format!(r#"{{"id":"fair","total":10,"types":{types}}}"#);
            let length = body.len();
            Client::control(server).ask(format!(
                "POST /v1/sales HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            ))
        };
        assert_eq!(create(r#"{"adult":6,"child":5}"#).status(), 200);
        for other in [r#"{"adult":6}"#, r#"{"adult":6,"child":4}"#, "{}", "null"] {
            create(other).assert_problem(409, "exists");
        }
        let many = (0..17).map(|n| format!(r#""t{n}":1"#)).collect::<Vec<_>>().join(",");
        for wrong in [
            "1",
            "[]",
            r#"{"Adult":1}"#,
            r#"{"":1}"#,
            r#"{"adult":0}"#,
            r#"{"adult":null}"#,
            r#"{"adult":{"cap":1}}"#,
            r#"{"adult":1,"adult":2}"#,
            r#"{"adult":1099511627777}"#,
            &format!("{{{many}}}"),
            &format!(r#"{{"{}":1}}"#, "a".repeat(33)),
            r#"{"adult":6},"splits":2"#,
        ] {
            let refused = create(wrong);
            refused.assert_problem(422, "invalid");
            assert_eq!(refused.json()["field"], "types", "{wrong}: {}", refused.text());
        }
    });
}

#[test]
fn the_buy_path_sells_no_ticket_types() {
    let server = Server::start(&["--sale", "other=1"]);
    let sale = json!({ "id": "ticket", "total": 5, "types": { "adult": 5 } });
    assert_eq!(operate(&server, "/v1/sales", Some(sale)).status(), 201);
    let answer = get(&server, "/buy/ticket").json();
    assert_eq!(answer["code"], -9, "{answer}");
    assert_eq!(get(&server, "/v1/sales/ticket").json()["free"], 5);
}
