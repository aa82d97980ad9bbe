//! A buyer's answers, and what is taken from the stock.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Response, assert_sells, get, reserve, sold};
use crate::server::Server;

fn buy(client: &mut Client, path: &str, headers: &str) -> Response {
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
}

#[test]
fn any_method_buys_until_it_is_sold_out() {
    let server = Server::start(&["--sale", "ticket=5"]);
    let mut client = Client::new(&server);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let response = client.ask(format!(
            "{method} /buy/ticket HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        ));
        assert_eq!(response.header("Content-Type"), Some("application/json"));
        let answer = response.json();
        let id = answer["data"]["reservation"].as_str().unwrap().to_owned();
        assert_eq!(answer, json!({"code": 1, "msg": "抢票成功", "data": {"reservation": id}}));
        let reservation = get(&server, &format!("/v1/reservations/{id}")).json();
        assert_eq!((&reservation["id"], &reservation["status"]), (&json!(id), &json!("held")));
        assert_eq!(reservation["quantity"], 1);
    }
    for _ in 0..3 {
        let response = buy(&mut client, "/buy/ticket", "");
        assert_eq!(
            (response.status(), response.text().as_str()),
            (200, r#"{"code":-1,"msg":"已售罄"}"#)
        );
    }
    client.ask(reserve("", r#"{"user":"u"}"#)).assert_problem(409, "sold_out");
    assert_eq!(sold(&server), 5);
}

#[test]
fn a_reservation_is_created_shown_and_replayed() {
    let server = Server::start(&["--sale", "ticket=150"]);
    let mut client = Client::new(&server);
    let request = reserve("Idempotency-Key: key-1\r\n", r#"{"user":"张三","quantity":3}"#);
    let created = client.ask(&request);
    assert_eq!(created.status(), 201);
    let reservation = created.json();
    let id = reservation["id"].as_str().unwrap();
    let location = format!("/v1/reservations/{id}");
    assert_eq!(created.header("Location"), Some(location.as_str()));
    assert_eq!(
        reservation,
        json!({"id": id, "sale": "ticket", "user": "张三", "quantity": 3, "status": "held",
               "expires_at": reservation["expires_at"]})
    );
    let expires_at = reservation["expires_at"].as_str().unwrap();
    assert!(expires_at.len() == 24 && expires_at.ends_with('Z'), "{expires_at}");
    for _ in 0..3 {
        let replayed = client.ask(&request);
        assert_eq!((replayed.status(), replayed.json()), (200, reservation.clone()));
    }
    assert_eq!(get(&server, &location).json(), reservation);
    // The key belongs to the user, and no key is a new one each time.
    let other = client.ask(reserve("Idempotency-Key: key-1\r\n", r#"{"user":"李四"}"#));
    assert_eq!((other.status(), other.json()["quantity"].as_u64()), (201, Some(1)));
    for _ in 0..2 {
        assert_eq!(client.ask(reserve("", r#"{"user":"李四"}"#)).status(), 201);
    }
    assert_eq!(sold(&server), 6);
}

#[test]
fn a_buyer_is_named_by_header_or_parameter() {
    let server = Server::start(&["--sale", "ticket=150,limit=1"]);
    let mut client = Client::new(&server);
    let key = "Idempotency-Key: k\r\n";
    let first = buy(&mut client, "/buy/ticket", &format!("X-User-Id: u1\r\n{key}")).json();
    assert_eq!(first["code"], 1);
    let again = buy(&mut client, "/buy/ticket?user=u1", key).json();
    assert_eq!(again, first, "the same user and key: the same reservation");
    for path in ["/buy/ticket?user=u1", "/buy/ticket?user=u%31"] {
        let second = buy(&mut client, path, "");
        assert_eq!((second.status(), second.json()["code"].as_i64()), (409, Some(-2)));
    }
    assert_eq!(buy(&mut client, "/buy/ticket?user=u2", "").json()["code"], 1);
    let nobody = buy(&mut client, "/buy/ticket", "");
    assert_eq!((nobody.status(), nobody.json()["code"].as_i64()), (422, Some(-11)));
    client.ask(reserve("", r#"{"user":"u1"}"#)).assert_problem(409, "limit_reached");
    assert_eq!(sold(&server), 2);
}

#[test]
fn bad_input_names_the_field_and_reserves_nothing() {
    let server = Server::start(&["--sale", "ticket=150"]);
    let mut client = Client::new(&server);
    let long = "u".repeat(10 * 1024);
    let long_user = format!(r#"{{"user":"{long}"}}"#);
    for (body, field) in [
        (r#"{"user":"u","quantity":0}"#, "quantity"),
        (r#"{"user":"u","quantity":-1}"#, "quantity"),
        (r#"{"user":"u","quantity":11}"#, "quantity"),
        (r#"{"user":"u","quantity":9223372036854775808}"#, "quantity"),
        (r#"{"user":"u","quantity":1e999}"#, ""),
        (r#"{"user":"u","quantity":"1"}"#, "quantity"),
        (r#"{"user":"u","quantity":1.5}"#, "quantity"),
        (r#"{"quantity":1}"#, "user"),
        (r#"{"user":"","quantity":1}"#, "user"),
        (r#"{"user":"a\u0000b"}"#, "user"),
        (r#"{"user":"u","quantitty":1}"#, "quantitty"),
        (&long_user, "user"),
        ("[]", "body"),
    ] {
        let response = client.ask(reserve("", body));
        if field.is_empty() {
            response.assert_problem(400, "bad_request");
        } else {
            response.assert_problem(422, "invalid");
            assert_eq!(response.json()["field"], field, "{body}");
        }
        assert!(!response.closes(), "the framing was sound");
    }
    for body in ["", "{", "not json", "{'user':'u'}", "\u{0}"] {
        client.ask(reserve("", body)).assert_problem(400, "bad_request");
    }
    for key in ["", &"k".repeat(256), "k\u{85}"] {
        let response =
            client.ask(reserve(&format!("Idempotency-Key: {key}\r\n"), r#"{"user":"u"}"#));
        response.assert_problem(422, "invalid");
        assert_eq!(response.json()["field"], "Idempotency-Key");
    }
    for sale in ["none", "Ticket", "%74%00", &"s".repeat(65)] {
        let request = reserve("", r#"{"user":"u"}"#).replacen("ticket", sale, 1);
        client.ask(request).assert_problem(404, "not_found");
    }
    let typed = reserve("", r#"{"user":"u"}"#).replace("application/json", "text/plain");
    client.ask(&typed).assert_problem(415, "unsupported_media_type");
    client
        .ask(typed.replace("Content-Type: text/plain\r\n", ""))
        .assert_problem(415, "unsupported_media_type");
    for (path, headers) in [
        ("/buy/ticket?user=", ""),
        ("/buy/ticket?user=%ff", ""),
        ("/buy/ticket?user=a&user=b", ""),
        ("/buy/ticket", "X-User-Id: \r\n"),
        ("/buy/ticket", "Idempotency-Key: \r\n"),
        (&format!("/buy/ticket?user={}", &long[..200]), ""),
    ] {
        let response = buy(&mut client, path, headers);
        assert_eq!(
            (response.status(), response.json()["code"].as_i64()),
            (422, Some(-9)),
            "{path}"
        );
    }
    // Beyond the bounds of a head, in any header.
    for name in ["Idempotency-Key", "X-User-Id"] {
        let mut client = Client::new(&server);
        let response = client.ask(reserve(&format!("{name}: {long}\r\n"), r#"{"user":"u"}"#));
        response.assert_problem(431, "head_too_large");
        client.assert_end();
    }
    assert_eq!(sold(&server), 0);
    assert_sells(&server);
}

/// Deep nesting once took the stack of a core's worker, and the core never answered again.
#[test]
fn deeply_nested_json_is_refused() {
    let server = Server::start(&["--sale", "ticket=150", "--cores", "0"]);
    for depth in [1, 20, 60, 100, 126, 127, 128, 1000, 2000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            for (body, field) in [
                (format!(r#"{{"user":"u","x":{nested}}}"#), "x"),
                (format!(r#"{{"user":{nested}}}"#), "user"),
                (format!(r#"{{"user":"u","quantity":{nested}}}"#), "quantity"),
                (nested.clone(), if open == "[" { "body" } else { "a" }),
            ] {
                let mut client = Client::new(&server);
                let response = client.ask(reserve("", &body));
                response.assert_problem(422, "invalid");
                assert_eq!(response.json()["field"], field, "{depth}");
            }
        }
    }
    assert_sells(&server);
    assert_eq!(sold(&server), 1);
}

#[test]
fn an_unknown_reservation_is_not_found() {
    let server = Server::start(&["--sale", "ticket=1"]);
    for id in ["ticket~00000000000000000000000000", "none~00000000000000000000000000", "x", "~"] {
        get(&server, &format!("/v1/reservations/{id}")).assert_problem(404, "not_found");
    }
}

/// After a pause, more requests at once than may wait for the ledger: the core answers from its
/// latch.
#[test]
fn a_returning_crowd_is_refused_from_the_latch() {
    let server = Server::start(&["--sale", "ticket=1", "--cores", "0", "--waiting-max", "1"]);
    assert_sells(&server);
    assert_eq!(get(&server, "/buy/ticket").json()["code"], -1);
    let mut crowd: Vec<_> = (0..200).map(|_| Client::new(&server)).collect();
    thread::sleep(Duration::from_secs(1));
    crowd.iter_mut().for_each(|client| client.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n"));
    for client in &mut crowd {
        assert_eq!(client.response().json()["code"], -1);
    }
}
