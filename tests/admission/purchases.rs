//! Who may buy with which token.

use std::time::Instant;

use stampede::admission::{Algorithm, Claims};

use crate::client::{Client, Response, get, reserve, reserve_from, sold};
use crate::server::{ANSWER_DEADLINE, Server};
use crate::shop::{Shop, ask, bearer, buy, code, now_ms, set};

#[test]
fn a_token_buys_for_its_user() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10"]));
    let mut client = Client::new(&server);
    for (n, kid) in (1..).zip(["hs", "ed"]) {
        let token = bearer(&shop.token(kid, kid));
        assert_eq!(code(&buy(&mut client, &token)), (200, 1), "{kid}");
        let created = client.ask(reserve(&token, "{}"));
        assert_eq!((created.status(), created.json()["user"].as_str()), (201, Some(kid)));
        // A user who names himself as the token does may buy.
        let own = format!("{{\"user\":\"{kid}\",\"quantity\":2}}");
        assert_eq!(client.ask(reserve(&token, &own)).json()["quantity"], 2);
        let line = format!("GET /buy/ticket?user={kid}");
        assert_eq!(code(&ask(&mut client, &line, &token)), (200, 1));
        assert_eq!(sold(&server), n * 5);
    }
}

#[test]
fn an_idempotency_key_belongs_to_the_tokens_user() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10"]));
    let mut client = Client::new(&server);
    let with_key =
        |kid: &str, user: &str| format!("{}Idempotency-Key: k\r\n", bearer(&shop.token(kid, user)));
    let first = client.ask(reserve(&with_key("hs", "ann"), "{}"));
    let again = client.ask(reserve(&with_key("ed", "ann"), "{}"));
    assert_eq!((first.status(), again.status()), (201, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = client.ask(reserve(&with_key("hs", "bob"), "{}"));
    assert_eq!(other.status(), 201);
    assert_ne!(first.json()["id"], other.json()["id"]);
}

/// Header lines that admit nobody, with the code, its number and its status.
fn wrong(shop: &Shop) -> Vec<(String, &'static str, i64, u16)> {
    let token = |kid, change: for<'a, 'b> fn(&'a mut Claims<'b>)| {
        bearer(&shop.token_with(kid, "ann", change))
    };
    let good = shop.token("hs", "ann");
    let forger = Shop::with(&set(&[(Algorithm::Hs256, "hs", 7), (Algorithm::EdDsa, "ed", 8)]));
    let stranger = Shop::with(&set(&[(Algorithm::Hs256, "other", 7)]));
    // The same names with the algorithms exchanged, and a key that signs nothing.
    let confused = Shop::with(&set(&[(Algorithm::Hs256, "ed", 7), (Algorithm::EdDsa, "hs", 8)]));
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let claims = signed.split_once('.').expect("two parts").1;
    // {"alg":"none","kid":"hs"}
    let none = format!("eyJhbGciOiJub25lIiwia2lkIjoiaHMifQ.{claims}.");
    vec![
        (String::new(), "token_missing", -20, 401),
        ("Authorization: Basic YW5uOmFubg==\r\n".into(), "token_malformed", -21, 401),
        (bearer(&good).repeat(2), "token_malformed", -21, 401),
        (bearer("a.b.c"), "token_malformed", -21, 401),
        (bearer(&good[1..]), "token_malformed", -21, 401),
        (bearer(&good.replace('.', "..")), "token_malformed", -21, 401),
        (bearer(&format!("{good}{}", "x".repeat(3000))), "token_malformed", -21, 401),
        (bearer(&none), "token_algorithm", -22, 401),
        (bearer(&confused.token("ed", "ann")), "token_algorithm", -22, 401),
        (bearer(&confused.token("hs", "ann")), "token_algorithm", -22, 401),
        (bearer(&stranger.token("other", "ann")), "token_unknown_key", -23, 401),
        (bearer(&forger.token("hs", "ann")), "token_signature", -24, 401),
        (bearer(&forger.token("ed", "ann")), "token_signature", -24, 401),
        (bearer(&format!("{signed}.")), "token_signature", -24, 401),
        (token("hs", |order| order.until_ms = now_ms() - 31_000), "token_expired", -25, 401),
        (token("ed", |order| order.until_ms = now_ms() - 31_000), "token_expired", -25, 401),
        (token("hs", |order| order.from_ms = now_ms() + 60_000), "token_not_yet_valid", -26, 401),
        (token("ed", |order| order.audience = "another"), "token_audience", -27, 401),
        (
            bearer(&shop.token_with("hs", "ann", |order| order.sales = OTHER.get_or_init(other))),
            "token_sale",
            -28,
            403,
        ),
    ]
}

static OTHER: std::sync::OnceLock<Vec<String>> = std::sync::OnceLock::new();

fn other() -> Vec<String> {
    vec!["poster".into()]
}

#[test]
fn an_invalid_token_buys_nothing() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10", "--sale", "poster=10"]));
    let mut client = Client::new(&server);
    for (headers, name, number, status) in wrong(&shop) {
        let bought = buy(&mut client, &headers);
        assert_eq!(code(&bought), (status, number), "{name}: {headers}");
        let refused = client.ask(reserve(&headers, "{}"));
        refused.assert_problem(status, name);
        let challenge = match name {
            "token_missing" => "Bearer",
            "token_sale" => "Bearer error=\"insufficient_scope\"",
            _ => "Bearer error=\"invalid_token\"",
        };
        for answer in [bought, refused] {
            assert_eq!(answer.header("WWW-Authenticate"), Some(challenge), "{name}");
        }
    }
    assert_eq!(sold(&server), 0);
    // A leeway of 30 s, for a shop with another clock.
    for (from_ms, until_ms) in
        [(now_ms(), now_ms() - 20_000), (now_ms() + 20_000, now_ms() + 60_000)]
    {
        let token = shop.token_with("hs", "ann", |order| {
            (order.from_ms, order.until_ms) = (from_ms, until_ms);
        });
        assert_eq!(code(&buy(&mut client, &bearer(&token))), (200, 1));
    }
}

/// The answer to a forged token does not depend on what exists.
#[test]
fn a_forged_token_reveals_nothing() {
    let shop = Shop::new();
    let options = ["--sale", "ticket=10", "--sale", "later=10,opens=2090-01-01T00:00:00Z"];
    let server = Server::start(&shop.options(&options));
    let mut client = Client::new(&server);
    let forger = Shop::with(&set(&[(Algorithm::Hs256, "hs", 7)]));
    let created = client.ask(reserve(&bearer(&shop.token("hs", "ann")), "{}"));
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    let unknown = "ticket~00000000000000000000000000";
    let of_no_sale = "nothing~00000000000000000000000000";
    let forged = bearer(&forger.token_with("hs", "ann", |order| order.sales = &[]));
    for headers in ["", &forged, &format!("{forged}Idempotency-Key: k\r\n")] {
        let purchase =
            |client: &mut Client, sale, body| client.ask(reserve_from(sale, headers, body));
        let answers: Vec<Response> = ["ticket", "later", "nothing", "no%20sale"]
            .into_iter()
            .flat_map(|sale| {
                ["{}", "{\"user\":\"bob\"}", "{\"quantity\":99}", "no json"]
                    .map(|body| (sale, body))
            })
            .map(|(sale, body)| purchase(&mut client, sale, body))
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
        for verb in ["", "/cancel"] {
            let method = if verb.is_empty() { "GET" } else { "POST" };
            let answers = [&*id, unknown, of_no_sale, "nonsense"].map(|id| {
                ask(&mut client, &format!("{method} /v1/reservations/{id}{verb}"), headers)
            });
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
            assert_eq!(answers[0].status(), 401);
        }
    }
    assert_eq!(sold(&server), 1);
}

#[test]
fn a_sold_out_answer_needs_a_token_only_with_a_key() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=1"]));
    let mut client = Client::new(&server);
    let ann = format!("{}Idempotency-Key: k\r\n", bearer(&shop.token("hs", "ann")));
    assert_eq!(code(&buy(&mut client, &ann)), (200, 1));
    let bob = bearer(&shop.token("hs", "bob"));
    assert_eq!(code(&buy(&mut client, &bob)), (200, -1));
    // The core knows it now, and keeps asking about it.
    let forger = Shop::with(&set(&[(Algorithm::EdDsa, "ed", 7)]));
    let forged = bearer(&forger.token("ed", "ann"));
    let checks = || metric(&server, "stampede_admission_checks_total");
    for headers in ["", &forged, &bob] {
        let until = Instant::now() + ANSWER_DEADLINE;
        loop {
            let before = checks();
            let told = (code(&buy(&mut client, headers)), client.ask(reserve(headers, "{}")));
            if told.0 == (200, -1) && told.1.status() == 409 {
                told.1.assert_problem(409, "sold_out");
                assert_eq!(checks(), before, "no signature is checked for it");
                break;
            }
            // A core that has had no answer for a while, as on a busy machine, does not know.
            assert!(Instant::now() < until, "{told:?}");
        }
    }
    // With a key, the question is which reservation its user has, and no other user may learn that.
    assert_eq!(code(&buy(&mut client, "Idempotency-Key: k\r\n")), (401, -20));
    let with_key = format!("{forged}Idempotency-Key: k\r\n");
    assert_eq!(code(&buy(&mut client, &with_key)), (401, -24));
    assert_eq!(code(&buy(&mut client, &ann)), (200, 1));
    assert_eq!(code(&buy(&mut client, &format!("{bob}Idempotency-Key: k\r\n"))), (200, -1));
}

/// The value of a metric without labels.
pub fn metric(server: &Server, name: &str) -> u64 {
    let text =
        Client::control(server).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
}

#[test]
fn only_the_tokens_user_is_trusted() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10"]));
    let mut client = Client::new(&server);
    let ann = bearer(&shop.token("hs", "ann"));
    let forged = format!("{ann}X-User-Id: bob\r\n");
    for answer in [buy(&mut client, &forged), ask(&mut client, "GET /buy/ticket?user=bob", &ann)] {
        assert_eq!(code(&answer), (403, -18), "{}", answer.text());
    }
    for (headers, body, field) in
        [(&forged, "{}", "X-User-Id"), (&ann, "{\"user\":\"bob\"}", "user")]
    {
        let refused = client.ask(reserve(headers, body));
        refused.assert_problem(403, "user_not_trusted");
        assert_eq!(refused.json()["field"], field);
    }
    client.ask(reserve(&ann, "{\"user\":7}")).assert_problem(422, "invalid");
    client.ask(reserve(&ann, "{\"users\":\"ann\"}")).assert_problem(422, "invalid");
    assert_eq!(code(&ask(&mut client, "GET /buy/ticket?usr=ann", &ann)), (422, -9));
    assert_eq!(sold(&server), 0);
    // Two trusted sources name different users.
    let server =
        Server::start(&shop.options(&["--sale", "ticket=10", "--trusted-proxies", "127.0.0.0/8"]));
    let mut client = Client::new(&server);
    assert_eq!(code(&buy(&mut client, &forged)), (422, -9));
    let refused = client.ask(reserve(&forged, "{}"));
    refused.assert_problem(422, "invalid");
    assert_eq!(refused.json()["field"], "X-User-Id");
    assert_eq!(code(&buy(&mut client, "X-User-Id: bob\r\n")), (401, -20));
    assert_eq!(sold(&server), 0);
    assert_eq!(code(&buy(&mut client, &format!("{ann}X-User-Id: ann\r\n"))), (200, 1));
}

#[test]
fn a_token_may_limit_the_quantity() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10"]));
    let mut client = Client::new(&server);
    let token = bearer(&shop.token_with("ed", "ann", |order| order.max = Some(2)));
    let refused = client.ask(reserve(&token, "{\"quantity\":3}"));
    refused.assert_problem(403, "token_max");
    assert_eq!(refused.json()["max"], 2);
    assert_eq!(client.ask(reserve(&token, "{\"quantity\":2}")).status(), 201);
    assert_eq!(sold(&server), 2);
}

#[test]
fn reading_and_options_need_no_token() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10"]));
    for path in ["/v1/sales/ticket", "/plaintext", "/json"] {
        assert_eq!(get(&server, path).status(), 200, "{path}");
    }
    let mut client = Client::new(&server);
    assert_eq!(ask(&mut client, "OPTIONS /buy/ticket", "").status(), 204);
}

#[test]
fn the_shop_token_buys_for_any_user() {
    let shop = Shop::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "shop-0123456789abcdef").unwrap();
    let path = file.path().to_str().unwrap();
    let server = Server::start(&shop.options(&["--sale", "ticket=10", "--shop-token-file", path]));
    let mut client = Client::new(&server);
    let own = bearer("shop-0123456789abcdef");
    let created = client.ask(reserve(&own, "{\"user\":\"ann\"}"));
    assert_eq!((created.status(), created.json()["user"].as_str()), (201, Some("ann")));
    let named = format!("{own}X-User-Id: bob\r\n");
    assert_eq!(code(&buy(&mut client, &named)), (200, 1));
    assert_eq!(code(&buy(&mut client, &bearer("shop-0123456789abcdeg"))), (401, -21));
}

#[test]
fn token_checks_are_bounded_and_known_tokens_still_buy() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=1000", "--cores", "0"]));
    let mut client = Client::new(&server);
    let ann = bearer(&shop.token("ed", "ann"));
    assert_eq!(code(&buy(&mut client, &ann)), (200, 1));
    let forger = Shop::with(&set(&[(Algorithm::EdDsa, "ed", 7)]));
    let forged: String = (0..2_000)
        .map(|n| {
            let shown = bearer(&forger.token("ed", &format!("u{n}")));
            format!("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n{shown}\r\n")
        })
        .collect();
    // Read while it is sent: the server stops reading from a client that takes no answers.
    let mut flood = Client::new(&server);
    let mut sender = Client::over(flood.stream.try_clone().expect("a socket"));
    let sending = std::thread::spawn(move || sender.send(forged));
    let mut busy = 0;
    for _ in 0..2_000 {
        let answer = flood.response();
        match code(&answer) {
            (401, -24) => {}
            (503, -5) => {
                assert_eq!(answer.header("Retry-After"), Some("1"));
                busy += 1;
            }
            other => panic!("{other:?}"),
        }
        if busy == 1 {
            assert_eq!(code(&buy(&mut client, &ann)), (200, 1), "who was admitted goes on");
        }
    }
    sending.join().expect("sent");
    assert!(busy > 0, "2,000 forged tokens are not all checked");
    assert!(metric(&server, "stampede_admission_checks_total") < 2_000);
}
