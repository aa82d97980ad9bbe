//! The life of a reservation after it is made: paid, given back, expired, paid late.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Response, exchange, get, reserve, sold};
use crate::server::{ANSWER_DEADLINE, Server};

const UNKNOWN: &str = "ticket~00000000000000000000000000";

fn post(client: &mut Client, path: &str) -> Response {
    client.ask(format!("POST {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
}

fn confirm(client: &mut Client, id: &str) -> Response {
    post(client, &format!("/v1/reservations/{id}/confirm"))
}

/// A server at which buyers may confirm.
fn demonstration(sale: &str) -> Server {
    Server::start(&["--sale", sale, "--public-confirm"])
}

fn cancel(client: &mut Client, id: &str) -> Response {
    post(client, &format!("/v1/reservations/{id}/cancel"))
}

/// Makes a reservation of the sale `ticket`.
fn make(client: &mut Client, headers: &str, body: &str) -> Value {
    let created = client.ask(reserve(headers, body));
    assert_eq!(created.status(), 201, "{}", created.text());
    created.json()
}

fn id(reservation: &Value) -> &str {
    reservation["id"].as_str().expect("an id")
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + ANSWER_DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn await_expiry(server: &Server, id: &str) {
    let path = format!("/v1/reservations/{id}");
    eventually("it expires", || get(server, &path).json()["status"] == "expired");
}

#[test]
fn a_confirmation_is_repeatable_and_final() {
    let server = demonstration("ticket=5");
    let mut client = Client::new(&server);
    let mut reservation = make(&mut client, "", r#"{"user":"张三","quantity":2}"#);
    let id = id(&reservation).to_owned();
    reservation["status"] = json!("confirmed");
    for _ in 0..3 {
        let confirmed = confirm(&mut client, &id);
        assert_eq!((confirmed.status(), confirmed.json()), (200, reservation.clone()));
        assert_eq!(confirmed.header("Content-Type"), Some("application/json"));
        assert_eq!(confirmed.header("Cache-Control"), Some("no-store"));
    }
    for _ in 0..2 {
        cancel(&mut client, &id).assert_problem(409, "already_confirmed");
    }
    assert_eq!(get(&server, &format!("/v1/reservations/{id}")).json(), reservation);
    assert_eq!(sold(&server), 2);
    let sale = get(&server, "/v1/sales/ticket").json();
    assert_eq!((&sale["held"], &sale["confirmed"]), (&json!(0), &json!(2)));
}

#[test]
fn only_the_shop_confirms() {
    let server = Server::start(&["--sale", "ticket=5"]);
    let mut client = Client::new(&server);
    let reservation = make(&mut client, "", r#"{"user":"u"}"#);
    let id = id(&reservation);
    // The same for every id, so it says nothing about any.
    let refused = confirm(&mut client, id);
    refused.assert_problem(403, "confirm_not_public");
    for hint in ["control port", "--public-confirm"] {
        assert!(refused.text().contains(hint), "{}", refused.text());
    }
    for other in [UNKNOWN, "x", "ticket", "%00", &id.replace('~', "%7E")] {
        assert_eq!(confirm(&mut client, other), refused, "{other}");
    }
    let path = format!("/v1/reservations/{id}/confirm");
    for odd in ["/", ";x", "%20", "%2F"] {
        post(&mut client, &format!("{path}{odd}")).assert_problem(404, "not_found");
    }
    let body = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{{}}");
    assert_eq!(client.ask(body), refused);
    for (method, status) in [("OPTIONS", 204), ("GET", 405), ("PUT", 405)] {
        let answer = client.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((answer.status(), answer.header("Allow")), (status, Some("POST, OPTIONS")));
    }
    let length = 16 * 1024 + 1;
    let large = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let large = client.ask(large);
    large.assert_problem(413, "content_too_large");
    assert!(large.closes());
    let shown = format!("/v1/reservations/{id}");
    assert_eq!(get(&server, &shown).json(), reservation, "nothing has changed");
    assert!(!server.log().contains("public-confirm is on"), "{}", server.log());
    let shop = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let confirmed = Client::control(&server).ask(shop);
    assert_eq!((confirmed.status(), &confirmed.json()["status"]), (200, &json!("confirmed")));
    assert_eq!(get(&server, &shown).json()["status"], "confirmed");
}

#[test]
fn public_confirm_is_warned_of() {
    for (environment, options) in [
        (&[][..], &["--public-confirm"][..]),
        (&[], &["--public-confirm=on"]),
        (&[("STAMPEDE_PUBLIC_CONFIRM", "true")], &[]),
    ] {
        let server = Server::start_with(environment, options);
        eventually("it warns", || server.log().contains("public-confirm is on: every buyer"));
    }
    let server =
        Server::start_with(&[("STAMPEDE_PUBLIC_CONFIRM", "on")], &["--public-confirm=off"]);
    confirm(&mut Client::new(&server), UNKNOWN).assert_problem(403, "confirm_not_public");
}

#[test]
fn a_user_cannot_evade_a_limit_by_naming_another() {
    let server = Server::start(&["--sale", "ticket=5,limit=1"]);
    let mut client = Client::new(&server);
    let ann = "X-User-Id: ann\r\n";
    let invalid = |answer: Response, field: &str| {
        answer.assert_problem(422, "invalid");
        assert_eq!(answer.json()["field"], field);
    };
    let refused = |client: &mut Client| {
        for body in [r#"{"user":"bob"}"#, r#"{"user":""}"#, r#"{"user":7}"#, r#"{"user":"Ann"}"#] {
            invalid(client.ask(reserve(ann, body)), "user");
        }
        for query in ["?user=bob", "?user=", "?user=ann&user=bob", "?user=%ff"] {
            let buy = format!("GET /buy/ticket{query} HTTP/1.1\r\nHost: a\r\n{ann}\r\n");
            let answer = client.ask(buy);
            let said = json!({"code": -9, "msg": "请求参数无效", "data": {"field": "user"}});
            assert_eq!((answer.status(), answer.json()), (422, said), "{query}");
        }
    };
    refused(&mut client);
    assert_eq!(make(&mut client, ann, r#"{"quantity":1}"#)["user"], "ann", "filled in");
    refused(&mut client);
    for body in ["{}", r#"{"user":"ann"}"#] {
        client.ask(reserve(ann, body)).assert_problem(409, "limit_reached");
    }
    for query in ["", "?user=ann"] {
        let buy = format!("GET /buy/ticket{query} HTTP/1.1\r\nHost: a\r\n{ann}\r\n");
        assert_eq!(client.ask(buy).json()["code"], -2, "{query}");
    }
    for header in ["X-User-Id:\r\n", "X-User-Id: a\tb\r\n"] {
        invalid(client.ask(reserve(header, r#"{"user":"bob"}"#)), "X-User-Id");
    }
    let twice = client.ask(reserve(&format!("{ann}X-User-Id: bob\r\n"), "{}"));
    twice.assert_problem(400, "bad_request");
    assert_eq!(sold(&server), 1);
}

#[test]
fn a_reservation_is_cancelled_once() {
    let server = demonstration("ticket=2,limit=2");
    let mut client = Client::new(&server);
    let mut reservation = make(&mut client, "", r#"{"user":"u","quantity":2}"#);
    let id = id(&reservation).to_owned();
    client.ask(reserve("", r#"{"user":"v"}"#)).assert_problem(409, "sold_out");
    reservation["status"] = json!("cancelled");
    let cancelled = cancel(&mut client, &id);
    assert_eq!((cancelled.status(), cancelled.json()), (200, reservation.clone()));
    for _ in 0..2 {
        cancel(&mut client, &id).assert_problem(409, "already_cancelled");
        confirm(&mut client, &id).assert_problem(409, "already_cancelled");
    }
    assert_eq!(get(&server, &format!("/v1/reservations/{id}")).json(), reservation);
    assert_eq!(sold(&server), 0);
    // Its units are for sale again, also to the same user.
    make(&mut client, "", r#"{"user":"u","quantity":2}"#);
}

#[test]
fn cancelled_units_are_sold_again_by_every_core() {
    let server = Server::start(&["--sale", "ticket=1"]);
    let mut clients: Vec<Client> = (0..8).map(|_| Client::new(&server)).collect();
    let mut held = id(&make(&mut clients[0], "", r#"{"user":"u"}"#)).to_owned();
    for turn in 0..clients.len() {
        for client in &mut clients {
            client.ask(reserve("", r#"{"user":"v"}"#)).assert_problem(409, "sold_out");
        }
        let other = (turn + 3) % clients.len();
        assert_eq!(cancel(&mut clients[other], &held).status(), 200);
        eventually("it is sold again", || {
            let answer = clients[turn].ask(reserve("", r#"{"user":"v"}"#));
            held = answer.json()["id"].as_str().unwrap_or(&held).to_owned();
            answer.status() == 201
        });
    }
    assert_eq!(sold(&server), 1);
}

#[test]
fn a_late_confirmation_takes_a_unit_that_is_left() {
    let server = demonstration("ticket=1,hold=20ms");
    let mut client = Client::new(&server);
    let first = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
    await_expiry(&server, &first);
    cancel(&mut client, &first).assert_problem(409, "expired");
    let second = id(&make(&mut client, "", r#"{"user":"v"}"#)).to_owned();
    await_expiry(&server, &second);
    // One unit is left, for the first request.
    for _ in 0..2 {
        let confirmed = confirm(&mut client, &first);
        assert_eq!((confirmed.status(), &confirmed.json()["status"]), (200, &json!("confirmed")));
        confirm(&mut client, &second).assert_problem(409, "expired");
        cancel(&mut client, &second).assert_problem(409, "expired");
    }
    client.ask(reserve("", r#"{"user":"w"}"#)).assert_problem(409, "sold_out");
    assert_eq!(sold(&server), 1);
}

#[test]
fn a_late_confirmation_keeps_to_the_users_limit() {
    let server = demonstration("ticket=10,limit=2,hold=20ms");
    let mut client = Client::new(&server);
    let late = id(&make(&mut client, "", r#"{"user":"u","quantity":2}"#)).to_owned();
    await_expiry(&server, &late);
    let paid = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
    assert_eq!(confirm(&mut client, &paid).status(), 200);
    let refused = confirm(&mut client, &late);
    refused.assert_problem(409, "limit_reached");
    assert_eq!(refused.json()["limit_per_user"], 2);
    assert_eq!(sold(&server), 1);
}

#[test]
fn an_invalid_reservation_id_is_not_found() {
    let server = demonstration("ticket=1");
    let mut client = Client::new(&server);
    let long = "s".repeat(1024);
    for id in [
        UNKNOWN,
        "none~00000000000000000000000000",
        "a%20b~00000000000000000000000000",
        &format!("{long}~00000000000000000000000000"),
        "ticket",
        "ticket~",
        "ticket~8zzzzzzzzzzzzzzzzzzzzzzzzz",
        "x",
        "~",
        "%00",
        &long,
    ] {
        confirm(&mut client, id).assert_problem(404, "not_found");
        cancel(&mut client, id).assert_problem(404, "not_found");
        let show = format!("GET /v1/reservations/{id} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.ask(show).assert_problem(404, "not_found");
    }
    for sale in ["a%20b", "%20", &long, "Ticket"] {
        let show = format!("GET /v1/sales/{sale} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.ask(show).assert_problem(404, "not_found");
        let make = reserve("", r#"{"user":"u"}"#).replacen("ticket", sale, 1);
        client.ask(make).assert_problem(404, "not_found");
    }
}

#[test]
fn only_post_changes_a_reservation() {
    let server = demonstration("ticket=1");
    let mut client = Client::new(&server);
    let id = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
    for action in ["confirm", "cancel"] {
        let path = format!("/v1/reservations/{id}/{action}");
        for method in ["GET", "PUT", "PATCH", "DELETE", "TRACE"] {
            let response = client.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            response.assert_problem(405, "method_not_allowed");
            assert_eq!(response.header("Allow"), Some("POST, OPTIONS"));
        }
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.head_response().status(), 405);
        let options = client.ask(format!("OPTIONS {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((options.status(), options.header("Allow")), (204, Some("POST, OPTIONS")));
        post(&mut client, &format!("{path}/")).assert_problem(404, "not_found");
    }
    post(&mut client, &format!("/v1/reservations/{id}/refund")).assert_problem(401, "shop_only");
    assert_eq!(get(&server, &format!("/v1/reservations/{id}")).json()["status"], "held");
}

#[test]
fn a_body_is_ignored_but_bounded() {
    let server = demonstration("ticket=2");
    let mut client = Client::new(&server);
    let id = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
    let path = format!("/v1/reservations/{id}/confirm");
    for body in ["{}", "not json", "\u{0}"] {
        let length = body.len();
        let confirmed = client.ask(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        assert_eq!((confirmed.status(), &confirmed.json()["status"]), (200, &json!("confirmed")));
    }
    let length = 16 * 1024 + 1;
    let answer =
        client.ask(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"));
    answer.assert_problem(413, "content_too_large");
    assert!(answer.closes());
}

#[test]
fn pipelined_changes_are_applied_in_order() {
    let server = demonstration("ticket=20");
    let mut client = Client::new(&server);
    for _ in 0..5 {
        let paid = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
        let back = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
        let ask = |method: &str, id: &str, action: &str| {
            format!("{method} /v1/reservations/{id}{action} HTTP/1.1\r\nHost: a\r\n\r\n")
        };
        let requests = [
            ask("GET", &paid, ""),
            ask("POST", &paid, "/confirm"),
            ask("GET", &paid, ""),
            ask("POST", &paid, "/cancel"),
            ask("POST", &back, "/cancel"),
            ask("GET", &back, ""),
            ask("POST", &back, "/confirm"),
        ];
        let answers = exchange(&server, requests.concat().as_bytes());
        let said: Vec<Value> = answers
            .iter()
            .map(|answer| match answer.status() {
                200 => json!([answer.json()["id"], answer.json()["status"]]),
                _ => answer.json()["code"].clone(),
            })
            .collect();
        assert_eq!(
            Value::from(said),
            json!([
                [paid, "held"],
                [paid, "confirmed"],
                [paid, "confirmed"],
                "already_confirmed",
                [back, "cancelled"],
                [back, "cancelled"],
                "already_cancelled"
            ])
        );
    }
    assert_eq!(sold(&server), 5);
}

#[test]
fn a_repeated_key_returns_the_state_of_its_reservation() {
    for (sale, end, buy_code) in [
        ("ticket=10", "confirmed", 1),
        ("ticket=10", "cancelled", -15),
        ("ticket=10,hold=20ms", "expired", -13),
    ] {
        let server = demonstration(sale);
        let mut client = Client::new(&server);
        let headers = "X-User-Id: u\r\nIdempotency-Key: k\r\n";
        let make = reserve(headers, r#"{"user":"u"}"#);
        let id = id(&client.ask(&make).json()).to_owned();
        match end {
            "confirmed" => assert_eq!(confirm(&mut client, &id).status(), 200),
            "cancelled" => assert_eq!(cancel(&mut client, &id).status(), 200),
            _ => await_expiry(&server, &id),
        }
        let stands = get(&server, &format!("/v1/reservations/{id}")).json();
        assert_eq!(stands["status"], end);
        for _ in 0..2 {
            let again = client.ask(&make);
            assert_eq!((again.status(), again.json()), (200, stands.clone()));
            let bought =
                client.ask(format!("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
            assert_eq!(bought.status(), if buy_code == 1 { 200 } else { 409 });
            let said = bought.json();
            assert_eq!(
                (&said["code"], &said["data"]["reservation"]),
                (&json!(buy_code), &json!(id))
            );
        }
    }
}

#[test]
fn buy_answers_name_the_opening_time_or_wrong_field() {
    let opens = "2090-01-01T02:00:00.000Z";
    let server = Server::start(&["--sale", &format!("ticket=5,limit=1,opens={opens}")]);
    let mut client = Client::new(&server);
    let said = json!({"code": -3, "msg": "尚未开售", "data": {"opens_at": opens}});
    for headers in ["", "", "", "Connection: close\r\n"] {
        let answer = client.ask(format!("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        assert_eq!((answer.status(), answer.json()), (409, said.clone()));
    }
    let mut client = Client::new(&server);
    for (path, headers, field) in [
        ("/buy/ticket?user=%ff", "", "user"),
        ("/buy/ticket?user=a&user=b", "", "user"),
        ("/buy/ticket", "X-User-Id: \r\n", "X-User-Id"),
        ("/buy/ticket?user=a", "Idempotency-Key: \r\n", "Idempotency-Key"),
    ] {
        let answer = client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        let said = json!({"code": -9, "msg": "请求参数无效", "data": {"field": field}});
        assert_eq!((answer.status(), answer.json()), (422, said), "{path} {headers}");
    }
    let refused = client.ask(reserve("", r#"{"user":"u"}"#));
    refused.assert_problem(409, "not_open");
    assert_eq!(refused.json()["opens_at"], opens);

    let closed = Server::start(&["--sale", "ticket=5,limit=1,closes=2001-01-01T00:00:00Z"]);
    let mut client = Client::new(&closed);
    for _ in 0..3 {
        let answer = client.ask("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((answer.status(), answer.text()), (410, r#"{"code":-4,"msg":"已停售"}"#.into()));
    }

    let limited = Server::start(&["--sale", "ticket=5,limit=1"]);
    let answer = get(&limited, "/buy/ticket");
    let said = json!({"code": -11, "msg": "请提供用户标识", "data": {"field": "user"}});
    assert_eq!((answer.status(), answer.json()), (422, said));
}

#[test]
fn a_polled_sale_shows_every_change() {
    let server = demonstration("ticket=5");
    let (mut watcher, mut client) = (Client::new(&server), Client::new(&server));
    let mut shows = |held: u64, confirmed: u64| {
        eventually("it shows the change", || {
            let shown = watcher.ask("GET /v1/sales/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
            watcher.send("HEAD /v1/sales/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(watcher.head_response().status(), 200);
            let sale = shown.json();
            sale["held"] == held
                && sale["confirmed"] == confirmed
                && sale["free"] == 5 - held - confirmed
        });
    };
    shows(0, 0);
    let first = id(&make(&mut client, "", r#"{"user":"u","quantity":2}"#)).to_owned();
    shows(2, 0);
    let second = id(&make(&mut client, "", r#"{"user":"u"}"#)).to_owned();
    shows(3, 0);
    assert_eq!(confirm(&mut client, &first).status(), 200);
    shows(1, 2);
    assert_eq!(cancel(&mut client, &second).status(), 200);
    shows(0, 2);
}
