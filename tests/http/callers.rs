//! Buyers, the shop and operators: each may do what its right allows, and is refused everything
//! else.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::client::{Client, Response, get, reserve, sold};
use crate::server::{ANSWER_DEADLINE, Server};

const NEW: &str = "shop-0123456789abcdef-new";
const OLD: &str = "shop-0123456789abcdef-old";
const WRONG: &str = "shop-0123456789abcdef-wrong";
const OPERATOR: &str = "operator-0123456789abcdef";

fn token_file(token: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a file");
    fs::write(&file, token).expect("write");
    file
}

/// A server whose shop has two tokens.
fn with_a_shop(options: &[&str]) -> (Server, [NamedTempFile; 2]) {
    let files = [NEW, OLD].map(token_file);
    let [new, old] = [0, 1].map(|n: usize| files[n].path().to_str().expect("UTF-8"));
    let shop = ["--shop-token-file", new, "--shop-token-file", old];
    let environment = [("STAMPEDE_CONTROL_TOKEN", OPERATOR)];
    (Server::start_with(&environment, &[&shop, options].concat()), files)
}

fn ask(client: &mut Client, method: &str, path: &str, token: Option<&str>) -> Response {
    let shown = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    client.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{shown}\r\n"))
}

fn make(client: &mut Client, user: &str) -> String {
    let created = client.ask(reserve("", &json!({ "user": user }).to_string()));
    assert_eq!(created.status(), 201, "{}", created.text());
    created.json()["id"].as_str().expect("an id").to_owned()
}

#[test]
fn the_shop_settles_reservations_at_either_port() {
    let (server, _files) = with_a_shop(&["--sale", "ticket=10"]);
    for token in [NEW, OLD] {
        for mut client in [Client::new(&server), Client::control(&server)] {
            let id = make(&mut Client::new(&server), "ann");
            let of = |verb: &str| format!("/v1/reservations/{id}{verb}");
            let mut status = |method, verb: &str| {
                let answer = ask(&mut client, method, &of(verb), Some(token));
                (answer.status(), answer.json()["status"].as_str().map(str::to_owned))
            };
            let is = |status: &str| (200, Some(status.to_owned()));
            assert_eq!(status("GET", ""), is("held"));
            for _ in 0..2 {
                assert_eq!(status("POST", "/confirm"), is("confirmed"));
            }
            for _ in 0..2 {
                assert_eq!(status("POST", "/refund"), is("refunded"));
            }
            ask(&mut client, "POST", &of("/cancel"), Some(token))
                .assert_problem(409, "already_refunded");
        }
    }
    let until = Instant::now() + ANSWER_DEADLINE;
    while get(&server, "/v1/sales/ticket").json()["free"] != 10 {
        assert!(Instant::now() < until, "what was refunded is free again");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn shop_requests_need_the_shop_token() {
    let (server, _files) = with_a_shop(&["--sale", "ticket=10"]);
    let mut client = Client::new(&server);
    let id = make(&mut client, "ann");
    let unknown = "ticket~00000000000000000000000000";
    for (method, path, status, code) in [
        ("POST", "/v1/reservations/{id}/confirm", 403, "confirm_not_public"),
        ("POST", "/v1/reservations/{id}/refund", 401, "shop_only"),
        ("POST", "/v1/reservations/{id}/extend", 401, "shop_only"),
        ("GET", "/v1/sales/ticket/reservations", 401, "shop_only"),
        ("GET", "/v1/sales/ticket/reservations?user=ann", 401, "shop_only"),
        ("GET", "/v1/sales/nothing/reservations?user=ann", 401, "shop_only"),
    ] {
        let mut answers = Vec::new();
        for id in [&*id, unknown] {
            let path = path.replace("{id}", id);
            let refused = ask(&mut client, method, &path, None);
            refused.assert_problem(status, code);
            let how = refused.header("WWW-Authenticate");
            assert_eq!(how, (status == 401).then_some("Bearer"));
            // The operator's token is none here: it opens the control port alone.
            for token in [WRONG, &NEW[..NEW.len() - 1], &format!("{NEW}x"), OPERATOR] {
                let wrong = ask(&mut client, method, &path, Some(token));
                wrong.assert_problem(401, "unauthorized");
                let how = wrong.header("WWW-Authenticate");
                assert_eq!(how, Some("Bearer error=\"invalid_token\""));
            }
            let odd = client.ask(format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {NEW}\r\n\r\n"
            ));
            odd.assert_problem(401, "unauthorized");
            let malformed = client
                .ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n{{"));
            malformed.assert_problem(status, code);
            let twice = format!("Authorization: Bearer {NEW}\r\n").repeat(2);
            let twice = client.ask(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{twice}\r\n"));
            twice.assert_problem(401, "unauthorized");
            answers.push((refused, odd));
        }
        assert_eq!(answers[0], answers[1], "what is told does not depend on what there is");
    }
    let shown = get(&server, &format!("/v1/reservations/{id}")).json();
    assert_eq!((&shown["status"], sold(&server)), (&json!("held"), 1));
}

#[test]
fn the_shop_token_gives_no_operator_rights() {
    let (server, _files) = with_a_shop(&["--sale", "ticket=10"]);
    let mut control = Client::control(&server);
    for (method, path) in [
        ("POST", "/v1/sales/ticket/close"),
        ("POST", "/v1/sales/ticket/add-stock"),
        ("PATCH", "/v1/sales/ticket"),
        ("DELETE", "/v1/sales/ticket"),
        ("POST", "/v1/sales"),
        ("GET", "/v1/audit"),
        ("GET", "/v1/instances"),
        ("GET", "/v1/live"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
    ] {
        let refused = ask(&mut control, method, path, Some(NEW));
        refused.assert_problem(403, "forbidden");
        let how = refused.header("WWW-Authenticate");
        assert_eq!(how, Some("Bearer error=\"insufficient_scope\""), "{method} {path}");
        ask(&mut control, method, path, Some(WRONG)).assert_problem(401, "unauthorized");
    }
    for path in ["/v1/sales", "/v1/sales/ticket"] {
        assert_eq!(ask(&mut control, "GET", path, Some(NEW)).status(), 200, "{path}");
    }
    assert_eq!(get(&server, "/v1/sales/ticket").json()["state"], "open");
}

#[test]
fn the_shop_lists_the_reservations_of_a_user() {
    let (server, _files) = with_a_shop(&["--sale", "ticket=10"]);
    let mut buyer = Client::new(&server);
    let mut ids: Vec<String> = (0..3).map(|_| make(&mut buyer, "张三")).collect();
    ids.sort();
    let other = make(&mut buyer, "bob");
    let cancel = format!("/v1/reservations/{}/cancel", ids[0]);
    assert_eq!(ask(&mut buyer, "POST", &cancel, None).status(), 200);
    for mut client in [Client::new(&server), Client::control(&server)] {
        let mut list = |query: &str| {
            let path = format!("/v1/sales/ticket/reservations?{query}");
            ask(&mut client, "GET", &path, Some(NEW))
        };
        let user = "user=%E5%BC%A0%E4%B8%89";
        let found = list(user).json();
        let found_ids: Vec<&str> = found["reservations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].as_str().unwrap())
            .collect();
        assert_eq!(
            (found_ids, &found["next"]),
            (ids.iter().map(|id| &**id).collect(), &json!(null))
        );
        assert_eq!(found["reservations"][0]["status"], "cancelled");
        // Page by page.
        let first = list(&format!("{user}&limit=2")).json();
        assert_eq!(first["next"], *ids[1]);
        let rest = list(&format!("{user}&limit=2&after={}", ids[1])).json();
        assert_eq!((&rest["reservations"][0]["id"], &rest["next"]), (&json!(ids[2]), &json!(null)));
        // The page of one user is not another user's.
        let bobs = list("user=bob&after=ticket~00000000000000000000000000").json();
        assert_eq!(bobs["reservations"][0]["id"], *other);
        assert_eq!(list("user=nobody").json()["reservations"], json!([]));
        for (query, field) in [("user=", "user"), ("usr=ann", "query"), ("user=a&user=b", "query")]
        {
            let wrong = list(query);
            wrong.assert_problem(422, "invalid");
            assert_eq!(wrong.json()["field"], field, "{query}");
        }
        // All of them only when nothing can change any more.
        list("").assert_problem(409, "not_closed");
    }
}

#[test]
fn a_shop_token_is_replaced_at_a_reload() {
    let (server, files) = with_a_shop(&["--sale", "ticket=10"]);
    let id = make(&mut Client::new(&server), "ann");
    let path = format!("/v1/reservations/{id}/confirm");
    fs::write(&files[1], WRONG).expect("write");
    server.signal(Signal::HUP);
    let mut client = Client::new(&server);
    let until = Instant::now() + ANSWER_DEADLINE;
    while ask(&mut client, "POST", &path, Some(OLD)).status() == 200 {
        assert!(Instant::now() < until, "the old one still opens");
    }
    for mut client in [client, Client::control(&server)] {
        ask(&mut client, "POST", &path, Some(OLD)).assert_problem(401, "unauthorized");
        for token in [NEW, WRONG] {
            assert_eq!(ask(&mut client, "POST", &path, Some(token)).status(), 200);
        }
    }
}

/// A purchase that names these users.
fn buy(client: &mut Client, header: &str, query: &str) -> Response {
    client.ask(format!("GET /buy/ticket{query} HTTP/1.1\r\nHost: a\r\n{header}\r\n"))
}

#[test]
fn only_a_trusted_proxy_may_name_the_user() {
    let ann = "X-User-Id: ann\r\n";
    let options = ["--sale", "ticket=100,limit=1"];
    // This test comes from 127.0.0.1.
    for (proxies, is_proxy) in [("127.0.0.1", true), ("10.0.0.0/8", false)] {
        let server = Server::start(&[&["--trusted-proxies", proxies], &options[..]].concat());
        let mut client = Client::new(&server);
        let not_trusted = |answer: Response, field: &str| {
            answer.assert_problem(403, "user_not_trusted");
            assert_eq!(answer.json()["field"], field);
        };
        let buy_not_trusted = |answer: Response, field: &str| {
            let said = json!({"code": -18, "msg": "用户身份不可信", "data": {"field": field}});
            assert_eq!((answer.status(), answer.json()), (403, said));
        };
        not_trusted(client.ask(reserve("", r#"{"user":"ann"}"#)), "user");
        let malformed = client.ask(reserve(ann, "{"));
        match is_proxy {
            true => malformed.assert_problem(400, "bad_request"),
            false => not_trusted(malformed, "X-User-Id"),
        }
        buy_not_trusted(buy(&mut client, "", "?user=ann"), "user");
        if is_proxy {
            assert_eq!(client.ask(reserve(ann, "{}")).status(), 201);
            assert_eq!(buy(&mut client, "X-User-Id: bob\r\n", "?user=bob").json()["code"], 1);
            client.ask(reserve(ann, r#"{"user":"ann"}"#)).assert_problem(409, "limit_reached");
            let differs = client.ask(reserve(ann, r#"{"user":"bob"}"#));
            differs.assert_problem(422, "invalid");
            assert_eq!(buy(&mut client, ann, "?user=bob").json()["code"], -9);
        } else {
            for body in ["{}", r#"{"user":"ann"}"#, r#"{"user":"bob"}"#] {
                not_trusted(client.ask(reserve(ann, body)), "X-User-Id");
            }
            buy_not_trusted(buy(&mut client, ann, ""), "X-User-Id");
            // A claim to come from another address does not help.
            for forged in ["X-Forwarded-For: 10.0.0.1\r\n", "Forwarded: for=10.0.0.1\r\n"] {
                buy_not_trusted(buy(&mut client, &format!("{forged}{ann}"), ""), "X-User-Id");
            }
        }
        assert_eq!(buy(&mut client, "", "").json()["code"], -11, "the sale wants to know who");
        assert_eq!(sold(&server), if is_proxy { 2 } else { 0 });
        assert!(!server.log().contains("clients name their own user"), "{}", server.log());
    }
}

#[test]
fn the_shop_buys_for_any_user() {
    let options = ["--sale", "ticket=10,limit=1", "--trusted-proxies", "10.0.0.0/8"];
    let (server, _files) = with_a_shop(&options);
    let shop = format!("Authorization: Bearer {NEW}\r\n");
    let mut client = Client::new(&server);
    let created = client.ask(reserve(&shop, r#"{"user":"ann"}"#));
    assert_eq!((created.status(), &created.json()["user"]), (201, &json!("ann")));
    assert_eq!(buy(&mut client, &shop, "?user=bob").json()["code"], 1);
    let wrong = format!("Authorization: Bearer {WRONG}\r\n");
    client.ask(reserve(&wrong, r#"{"user":"eve"}"#)).assert_problem(403, "user_not_trusted");
    assert_eq!(sold(&server), 2);
}

#[test]
fn a_limit_without_trusted_users_is_warned_of() {
    // The log of a server is complete once it has ended.
    let log_of = |options: &[&str]| {
        let mut server = Server::start(options);
        assert_eq!(server.terminate(), 0);
        server.log()
    };
    let told = "limit per user can be bypassed: clients name their own user";
    let log = log_of(&["--sale", "free=3", "--sale", "ticket=10,limit=1"]);
    let line = log.lines().find(|line| line.contains(told)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("sale=ticket") && line.contains("sales=1"), "{line}");
    assert!(!log_of(&["--sale", "ticket=10"]).contains(told));
}
