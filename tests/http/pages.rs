//! Web pages: which of them a browser lets read answers, and the list of sales that they show.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Response, get, reserve};
use crate::redis::RedisServer;
use crate::server::{ANSWER_DEADLINE, Server};

const SHOP: &str = "https://shop.example";

fn ask(client: &mut Client, line: &str, headers: &str) -> Response {
    client.ask(format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
}

fn of(origin: &str) -> String {
    format!("Origin: {origin}\r\n")
}

#[test]
fn only_pages_of_allowed_origins_may_read_answers() {
    let server = Server::start(&[
        "--sale",
        "ticket=2",
        "--cors-origins",
        "https://a.example,https://shop.example",
    ]);
    let mut client = Client::new(&server);
    let asks = "Access-Control-Request-Method: POST\r\n\
                Access-Control-Request-Headers: content-type,idempotency-key\r\n";
    let preflight = ask(&mut client, "OPTIONS /v1/sales/ticket/reservations", &(of(SHOP) + asks));
    assert_eq!(preflight.status(), 204);
    for (name, value) in [
        ("Access-Control-Allow-Origin", SHOP),
        ("Access-Control-Allow-Methods", "GET,HEAD,POST,OPTIONS"),
        (
            "Access-Control-Allow-Headers",
            "Authorization,Content-Type,Idempotency-Key,X-Request-Id,traceparent",
        ),
        ("Access-Control-Max-Age", "7200"),
        ("Vary", "Origin"),
    ] {
        assert_eq!(preflight.header(name), Some(value), "{name}");
    }
    assert_eq!(preflight.header("Access-Control-Allow-Credentials"), None);
    // An immediate answer, one after the ledger's, a refusal, and one to a path that is written
    // otherwise.
    let mut answers = vec![
        client.ask(reserve(&of(SHOP), r#"{"user":"ann"}"#)),
        ask(&mut client, "GET /v1/sales/ticket", &of(SHOP)),
        ask(&mut client, "GET /v1/sales", &of(SHOP)),
        ask(&mut client, "GET /v1/sales/nothing", &of(SHOP)),
        ask(&mut client, "GET /v1/s%61les/ticket", &of(SHOP)),
        ask(&mut client, "GET /nothing", &of(SHOP)),
        ask(&mut client, "GET /buy/ticket", &of(SHOP)),
    ];
    assert_eq!(
        answers.iter().map(Response::status).collect::<Vec<_>>(),
        [201, 200, 200, 404, 200, 404, 200]
    );
    answers.push(ask(&mut client, "GET /buy/ticket", &of(SHOP)));
    assert_eq!(answers[7].json()["code"], -1, "from memory");
    for answer in &answers {
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some(SHOP), "{}", answer.head);
        let exposed = answer.header("Access-Control-Expose-Headers").expect("some");
        assert!(exposed.contains("Retry-After") && exposed.contains("Idempotency-Replayed"));
    }
    for other in
        ["https://evil.example", "https://shop.example.evil", "http://shop.example", "null", ""]
    {
        for line in ["GET /v1/sales/ticket", "OPTIONS /v1/sales/ticket/reservations"] {
            let answer = ask(&mut client, line, &of(other));
            assert!(!answer.head.contains("Access-Control"), "{other}: {}", answer.head);
        }
    }
    let twice = ask(&mut client, "GET /v1/sales/ticket", &of(SHOP).repeat(2));
    assert!(!twice.head.contains("Access-Control"), "{}", twice.head);
    let none = get(&server, "/v1/sales/ticket");
    assert!(!none.head.contains("Access-Control") && !none.head.contains("Vary"), "{}", none.head);
}

#[test]
fn cors_allows_every_origin_only_with_a_wildcard() {
    let any = Server::start(&["--cors-origins", "*"]);
    let answer = ask(&mut Client::new(&any), "GET /v1/sales/ticket", &of("null"));
    assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(answer.header("Vary"), None, "the same for all");
    let off = Server::start(&[]);
    let answer = ask(&mut Client::new(&off), "GET /v1/sales/ticket", &of(SHOP));
    assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
}

fn ids(list: &Value) -> Vec<&str> {
    list["sales"]
        .as_array()
        .expect("sales")
        .iter()
        .map(|sale| sale["id"].as_str().unwrap())
        .collect()
}

/// The list, when the condition holds.
fn list_when(client: &mut Client, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + ANSWER_DEADLINE;
    loop {
        let list = ask(client, &format!("GET {path}"), "");
        assert_eq!(list.status(), 200, "{}", list.text());
        if is_so(&list.json()) {
            return list.json();
        }
        assert!(Instant::now() < until, "never: {}", list.text());
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_list_of_sales_is_public() {
    let redis = RedisServer::start(&[]);
    let sales = ["--sale", "b=20,limit=2", "--sale", "a=10", "--sale", "c=30"];
    let url = redis.url();
    let parts = ["--ledger", &url, "--sale", "parts=40,splits=3"];
    for options in [&sales[..], &[&sales[..], &parts[..]].concat()] {
        let server = Server::start(options);
        let mut client = Client::new(&server);
        let names: &[&str] =
            if options.len() > 6 { &["a", "b", "c", "parts"] } else { &["a", "b", "c"] };
        let list = list_when(&mut client, "/v1/sales", |_| true);
        assert_eq!((ids(&list), &list["next"]), (names.to_vec(), &json!(null)));
        // The list shows of a sale what the sale itself shows.
        for sale in list["sales"].as_array().expect("sales") {
            let path = format!("/v1/sales/{}", sale["id"].as_str().expect("an id"));
            assert_eq!(*sale, get(&server, &path).json());
        }
        let first = list_when(&mut client, "/v1/sales?limit=2", |_| true);
        assert_eq!((ids(&first), &first["next"]), (vec!["a", "b"], &json!("b")));
        let rest = list_when(&mut client, "/v1/sales?limit=2&after=b", |_| true);
        assert_eq!(ids(&rest), names[2..]);
        // It follows the sales, without a question per request.
        let reserve = reserve("", r#"{"user":"ann"}"#).replace("/ticket/", "/a/");
        assert_eq!(client.ask(reserve).status(), 201);
        list_when(&mut client, "/v1/sales", |list| list["sales"][0]["free"] == 9);
        for (query, field) in [
            ("?limit=0", "limit"),
            ("?limit=1001", "limit"),
            ("?limit=a", "limit"),
            ("?limit=1&limit=1", "query"),
            ("?after=", "after"),
            ("?after=A", "after"),
            ("?usr=ann", "query"),
        ] {
            let wrong = ask(&mut client, &format!("GET /v1/sales{query}"), "");
            wrong.assert_problem(422, "invalid");
            assert_eq!(wrong.json()["field"], field, "{query}");
        }
        assert_eq!(
            ask(&mut client, "POST /v1/sales", "").header("Allow"),
            Some("GET, HEAD, OPTIONS")
        );
    }
}
