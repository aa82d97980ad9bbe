//! Rights behind nginx: a buyer cannot confirm, and a logged-in buyer cannot exceed his limit by
//! naming another user.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use stampede::code::ErrorCode;
use stampede::engine::http::Problem;

use crate::server::Server;
use crate::{NO_LIMIT, Nginx, changed, exchange, json, ours, text};

const BUY: &str = "GET /buy/ticket";
const RESERVE: &str = "POST /v1/sales/ticket/reservations";

/// The status and the body of an answer.
fn said(answer: &str) -> (u16, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head[9..12].parse().expect("a status"), body)
}

/// The login of a shop: answers 200 and the user to `Cookie: session=NAME`, 200 without a name to
/// `session=`, 403 to `session=eve`, 401 to everything else. It answers until the test ends.
pub fn shop() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.extend(byte);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let answer = match head.split("cookie: session=").nth(1).map(|rest| rest.lines().next())
            {
                // The client's own claim must not come here.
                _ if head.contains("x-user-id") || !head.starts_with("get /session ") => "500 No",
                Some(Some("eve")) => "403 Forbidden",
                Some(Some("")) => "200 OK",
                Some(Some(name)) => &format!("200 OK\r\nX-User-Id: {name}"),
                _ => "401 Unauthorized",
            };
            let answer =
                format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// Ann, who is logged in by these header lines, may have one unit and no more, whatever user she
/// names.
pub fn assert_ann_keeps_to_her_limit(ask: &dyn Fn(&str, &str) -> String, ann: &str) {
    let names =
        ["", "X-User-Id: bob\r\n", "x-user-id: ann\r\nX-User-Id: bob\r\n", "X_User_Id: bob\r\n"];
    let keys = ["", "Idempotency-Key: k\r\n"];
    let all = names.iter().flat_map(|name| keys.map(|key| format!("{ann}{name}{key}")));
    let all: Vec<String> = all.collect();
    let another = || {
        for headers in &all {
            for query in ["?user=bob", "?user=", "?user=ann&user=bob"] {
                let answer = ask(&format!("{BUY}{query}"), &format!("{headers}\r\n"));
                let (status, body) = said(&answer);
                assert!(status == 422 && body.contains(r#""field":"user""#), "{headers}: {answer}");
            }
            for body in [r#"{"user":"bob"}"#, r#"{"user":"ANN"}"#] {
                let answer = ask(RESERVE, &json(headers, body));
                let (status, body) = said(&answer);
                assert!(status == 422 && body.contains(r#""field":"user""#), "{headers}: {answer}");
            }
        }
    };
    another();
    let first = ask(RESERVE, &json(ann, "{}"));
    assert!(said(&first).0 == 201 && first.contains(r#""user":"ann""#), "{first}");
    another();
    for headers in &all {
        let answer = ask(BUY, &format!("{headers}\r\n"));
        assert!(answer.contains(r#""code":-2,"#), "{headers}: {answer}");
        for body in ["{}", r#"{"user":"ann"}"#] {
            let answer = ask(RESERVE, &json(headers, body));
            assert!(answer.contains(r#""code":"limit_reached""#), "{headers}: {answer}");
        }
    }
}

/// A user who is logged in by these header lines cannot confirm the reservation, however the path
/// is written.
pub fn assert_nobody_confirms(ask: &dyn Fn(&str, &str) -> String, who: &str, id: &str) {
    let shown = || ask(&format!("GET /v1/reservations/{id}"), &format!("{who}\r\n"));
    assert!(shown().contains(r#""status":"held""#), "{}", shown());
    let told = serde_json::to_string(&Problem::of(ErrorCode::ConfirmNotPublic)).expect("JSON");
    let plain = ask(&format!("POST /v1/reservations/{id}/confirm"), &json(who, "{}"));
    assert_eq!(said(&plain), (403, told.as_str()));
    assert!(plain.contains("Content-Type: application/problem+json\r\n"), "{plain}");
    let encoded = id.replace('~', "%7E").replace('t', "%74");
    for path in [
        "/v1/reservations/ENCODED/confirm",
        "/v1/reservations/ID/confirm?x=/cancel",
        "/v1/reservations/ID/confirm/",
        "/v1/reservations/ID/confirm/.",
        "/v1/reservations/ID/confirm/x/..",
        "/v1/reservations/ID/confirm/..",
        "/v1/reservations/ID/confirm/../cancelled",
        "/v1/reservations/ID/confirm;x",
        "/v1/reservations/ID;x/confirm",
        "/v1/reservations/ID/confirm%20",
        "/v1/reservations/ID/confirm%3Fx",
        "/v1/reservations/ID/confirm%23",
        "/v1/reservations/ID/confirm#x",
        "/v1/reservations/ID/confirm%00",
        "/v1/reservations/ID/c%6Fnfirm",
        "/v1/reservations/ID/CONFIRM",
        "/v1/reservations/ID/Confirm",
        "/V1/Reservations/ID/confirm",
        "/v1/reservations/ID%2Fconfirm",
        "/v1/reservations/ID%5Cconfirm",
        "/v1/reservations/ID\\confirm",
        "/v1/reservations/ID//confirm",
        "/v1/reservations//ID/confirm",
        "/v1//reservations/ID/confirm",
        "//v1/reservations/ID/confirm",
        "/./v1/reservations/./ID/./confirm",
        "/v1/reservations/x/../ID/confirm",
        "/v1/reservations/x%2F..%2FID/confirm",
        "/v1/reservations/%2E%2E/reservations/ID/confirm",
        "/v1/reservations/ID/cancel/../confirm",
        "/v1/reservations/ID%0A/confirm",
        "/v1/sales/../reservations/ID/confirm",
        "/v1/sales/%2E%2E%2Freservations%2FID/confirm",
        "/buy/../v1/reservations/ID/confirm",
        "/repeatable/v1/../../v1/reservations/ID/confirm",
        "http://shop/v1/reservations/ID/confirm",
        "http://shop//v1/reservations/ENCODED/confirm?",
    ] {
        let path = path.replace("ID", id).replace("ENCODED", &encoded);
        for method in ["POST", "PUT", "GET"] {
            for key in ["", "Idempotency-Key: k\r\n"] {
                let answer = ask(&format!("{method} {path}"), &json(&format!("{who}{key}"), "{}"));
                let refused = (400..500).contains(&said(&answer).0);
                // The reservation is shown, and not confirmed.
                let looks = method == "GET" && answer.contains(r#""status":"held""#);
                assert!(refused || looks, "{method} {path}: {answer}");
            }
        }
    }
    assert!(shown().contains(r#""status":"held""#), "{}", shown());
}

/// The id of a reservation in an answer.
pub fn id(answer: &str) -> &str {
    let from = answer.find("ticket~").unwrap_or_else(|| panic!("no reservation: {answer}"));
    let rest = &answer[from..];
    &rest[..rest.find(['"', '\r']).expect("its end")]
}

#[test]
fn the_public_port_refuses_confirmations() {
    let server = Server::start(&["--sale", "ticket=9,limit=1"]);
    let ask = |line: &str, more: &str| exchange(server.connect(), line, more);
    let made = ask(RESERVE, &json("", r#"{"user":"ann"}"#));
    assert_nobody_confirms(&ask, "", id(&made));
    // After another header that names a user.
    let named = |line: &str, more: &str| ask(line, &format!("X-User-Id: cat\r\n{more}"));
    for (line, more, field) in [
        (RESERVE, json("", r#"{"user":"bob"}"#), "user"),
        ("GET /buy/ticket?user=bob", "\r\n".to_owned(), "user"),
    ] {
        let answer = named(line, &more);
        assert!(said(&answer).0 == 422 && answer.contains(field), "{answer}");
    }
    assert!(named(BUY, "\r\n").contains(r#"{"code":1,"#));
    assert!(named(RESERVE, &json("", "{}")).contains(r#""code":"limit_reached""#));
}

#[test]
fn without_a_login_the_clients_user_header_is_dropped() {
    let server = Server::start(&["--sale", "ticket=9,limit=1"]);
    let nginx = Nginx::start(&server);
    let ask = |line: &str, more: &str| nginx.ask(line, more);
    assert!(ask(BUY, "X-User-Id: ann\r\n\r\n").contains(r#""code":-11,"#));
    let made = ask(RESERVE, &json("X-User-Id: ann\r\n", r#"{"user":"bob"}"#));
    assert!(made.contains(r#""user":"bob""#), "{made}");
}

/// A site with the shop's login in it, as its file says.
fn with_login(at: &std::path::Path, server: &Server, login: &str) -> String {
    fs::write(at.join("stampede-login.conf"), login).expect("write a file");
    let include = format!("include {}/stampede-login.conf;", at.display());
    let site = ours(at, &[server.address()], NO_LIMIT);
    changed(site, &[("# include snippets/stampede-login.conf;", &include)])
}

#[test]
fn a_logged_in_buyer_buys_as_that_user() {
    // This server would accept what nginx lets through.
    let server = Server::start(&["--sale", "ticket=9,limit=1", "--public-confirm"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shop = shop().to_string();
    let login = changed(text("nginx/stampede-login.conf"), &[("127.0.0.1:8080", &shop)]);
    let site = with_login(folder.path(), &server, &login);
    let nginx = Nginx::with_site(folder, &site);
    let ask = |line: &str, more: &str| nginx.ask(line, more);
    assert_ann_keeps_to_her_limit(&ask, "Cookie: session=ann\r\n");
    let made = ask(BUY, "Cookie: session=cat\r\n\r\n");
    assert_nobody_confirms(&ask, "Cookie: session=cat\r\n", id(&made));
    // Without a user nobody buys, also if the login forgets to name one.
    for (cookie, status, code) in [
        ("", 401, r#""code":"unauthorized""#),
        ("Cookie: session=eve\r\n", 403, r#""code":"forbidden""#),
        ("Cookie: session=\r\n", 422, r#""field":"#),
    ] {
        for (line, more) in [
            (BUY, format!("{cookie}X-User-Id: dan\r\n\r\n")),
            ("GET /buy/ticket?user=dan", format!("{cookie}Idempotency-Key: k\r\n\r\n")),
            (RESERVE, json(cookie, r#"{"user":"dan"}"#)),
            (RESERVE, json(&format!("{cookie}Idempotency-Key: k\r\n"), r#"{"user":"dan"}"#)),
        ] {
            let answer = ask(line, &more);
            assert!(said(&answer).0 == status && answer.contains(code), "{line}: {answer}");
        }
    }
}

#[test]
fn nobody_buys_while_the_login_is_unreachable() {
    let server = Server::start(&["--sale", "ticket=9"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let away = free.expect("a free port").to_string();
    let login = changed(text("nginx/stampede-login.conf"), &[("127.0.0.1:8080", &away)]);
    let site = with_login(folder.path(), &server, &login);
    let nginx = Nginx::with_site(folder, &site);
    for (line, code) in [
        ("GET /buy/ticket?user=ann", r#"{"code":-6,"#),
        ("GET /v1/sales/ticket", r#""code":"unavailable""#),
    ] {
        for key in ["", "Idempotency-Key: k\r\n"] {
            let answer = nginx.ask(line, &format!("{key}\r\n"));
            assert!(said(&answer).0 == 503 && answer.contains(code), "{line}: {answer}");
        }
    }
}

#[test]
fn a_password_file_works_as_a_login() {
    let server = Server::start(&["--sale", "ticket=9,limit=1"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let users = folder.path().join("buyers");
    fs::write(&users, "ann:{PLAIN}secret\n").expect("write a file");
    // The lines that the file shows as the alternative.
    let login = text("nginx/stampede-login.conf");
    let lines: Vec<&str> = login.lines().filter_map(|line| line.strip_prefix("#     ")).collect();
    let file = users.display().to_string();
    let login = changed(lines.join("\n"), &[("/etc/stampede/buyers", &file)]);
    let site = with_login(folder.path(), &server, &login);
    let nginx = Nginx::with_site(folder, &site);
    let ask = |line: &str, more: &str| nginx.ask(line, more);
    // ann:secret
    assert_ann_keeps_to_her_limit(&ask, "Authorization: Basic YW5uOnNlY3JldA==\r\n");
    // bob:secret, ann:wrong, nobody
    for wrong in
        ["Authorization: Basic Ym9iOnNlY3JldA==\r\n", "Authorization: Basic YW5uOndyb25n\r\n", ""]
    {
        let answer = ask(BUY, &format!("{wrong}X-User-Id: bob\r\n\r\n"));
        assert!(said(&answer).0 == 401 && answer.contains(r#""code":"unauthorized""#), "{answer}");
        assert!(answer.contains("WWW-Authenticate: Basic"), "{answer}");
    }
}
