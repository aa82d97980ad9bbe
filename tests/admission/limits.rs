//! How often a user and an address may buy.

use crate::client::{Client, get, reserve, sold};
use crate::server::Server;
use crate::shop::{Shop, ask, bearer, buy, code};

/// Buys until the limit is reached. Returns the number of purchases, and when to come again.
fn exhaust(client: &mut Client, headers: &str) -> (u32, u32) {
    for count in 0..1_000 {
        let answer = buy(client, headers);
        match code(&answer) {
            (200, 1) => {}
            (429, -12) => {
                let retry = answer.header("Retry-After").expect("when to come again");
                return (count, retry.parse().expect("seconds"));
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("no limit");
}

#[test]
fn a_users_rate_limit_holds_across_cores() {
    let server = Server::start(&["--sale", "ticket=1000", "--rate-per-user", "1/10"]);
    let ann = "X-User-Id: ann\r\n";
    let mut clients: Vec<_> = (0..8).map(|_| Client::new(&server)).collect();
    let (count, retry_after_s) = exhaust(&mut clients[0], ann);
    // Some seconds may have passed meanwhile.
    assert!((10..15).contains(&count) && retry_after_s == 1, "{count} {retry_after_s}");
    let told: Vec<_> = clients.iter_mut().map(|client| code(&buy(client, ann))).collect();
    let refused = told.iter().filter(|told| **told == (429, -12)).count();
    assert!(refused >= 6, "the limit is the server's: {refused} of 8");
    let mut client = Client::new(&server);
    let problem = client.ask(reserve("", "{\"user\":\"ann\"}"));
    problem.assert_problem(429, "rate_limited");
    // Another user, an anonymous buyer, and requests that are no purchases.
    assert_eq!(code(&buy(&mut client, "X-User-Id: bob\r\n")), (200, 1));
    assert_eq!(code(&buy(&mut client, "")), (200, 1));
    assert_eq!(get(&server, "/v1/sales/ticket").status(), 200);
    assert!(sold(&server) < 30);
}

#[test]
fn an_address_has_a_rate_limit() {
    let server = Server::start(&["--sale", "ticket=1000", "--rate-per-address", "1/10"]);
    let mut client = Client::new(&server);
    let (count, retry_after_s) = exhaust(&mut client, "");
    assert!((10..15).contains(&count) && retry_after_s == 1, "{count} {retry_after_s}");
    // Whatever user or address the client claims.
    for headers in
        ["X-User-Id: bob\r\n", "X-Forwarded-For: 10.1.1.1\r\n", "Forwarded: for=10.1.1.1\r\n"]
    {
        let refused = (0..3).filter(|_| code(&buy(&mut client, headers)) == (429, -12)).count();
        assert!(refused >= 2, "{headers}");
    }
    assert!(sold(&server) < 25);
    let text =
        Client::control(&server).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").text();
    let limited = text
        .lines()
        .find_map(|line| line.strip_prefix("stampede_rate_limited_total{by=\"address\"} "))
        .expect("the metric");
    assert!(limited.parse::<u64>().expect("a number") >= 7, "{limited}");
}

#[test]
fn a_trusted_proxy_forwards_the_clients_address() {
    let options = ["--sale", "ticket=1000", "--rate-per-address", "1/10"];
    let server =
        Server::start(&[&options[..], &["--trusted-proxies", "127.0.0.0/8,10.9.0.0/16"]].concat());
    let mut client = Client::new(&server);
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    assert!((10..15).contains(&exhaust(&mut client, &from("10.1.1.1")).0));
    // The client's own claim stands before what the proxy has added.
    assert_eq!(code(&buy(&mut client, &from("10.1.1.2, 10.1.1.1"))), (429, -12));
    assert_eq!(code(&buy(&mut client, &from("10.1.1.1, 10.9.0.1"))), (429, -12));
    assert_eq!(code(&buy(&mut client, &from("10.1.1.1, 10.1.1.2"))), (200, 1));
    // One client has a whole IPv6 network.
    assert!((10..15).contains(&exhaust(&mut client, &from("2001:db8::1")).0));
    assert_eq!(code(&buy(&mut client, &from("2001:db8::ffff"))), (429, -12));
    assert_eq!(code(&buy(&mut client, &from("2001:db8:0:1::1"))), (200, 1));
    // The proxy itself is not limited.
    for _ in 0..40 {
        assert_eq!(code(&buy(&mut client, "")), (200, 1));
    }
}

#[test]
fn address_limit_token_and_user_limit_are_checked_in_order() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&[
        "--sale",
        "ticket=1000",
        "--rate-per-address",
        "1/30",
        "--rate-per-user",
        "1/5",
    ]));
    let mut client = Client::new(&server);
    let ann = bearer(&shop.token("ed", "ann"));
    assert!((5..10).contains(&exhaust(&mut client, &ann).0));
    // A forged token is refused as such, and takes nothing of the user's rate.
    let bob = bearer(&shop.token("ed", "bob"));
    let forged = bob.replace('.', ".A");
    assert_eq!(code(&buy(&mut client, &forged)).0, 401);
    assert_eq!(code(&buy(&mut client, &bob)), (200, 1));
    let told: Vec<_> = (0..60).map(|_| code(&buy(&mut client, ""))).collect();
    assert_eq!(told[0], (401, -20));
    assert!(told.iter().filter(|told| **told == (429, -12)).count() >= 20, "{told:?}");
}

#[test]
fn the_shop_is_exempt_from_the_address_limit() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "shop-0123456789abcdef").unwrap();
    let path = file.path().to_str().unwrap();
    let options = ["--sale", "ticket=1000", "--rate-per-address", "1/2", "--rate-per-user", "1/3"];
    let server = Server::start(&[&options[..], &["--shop-token-file", path]].concat());
    let mut client = Client::new(&server);
    let own = bearer("shop-0123456789abcdef");
    for n in 0..20 {
        assert_eq!(code(&buy(&mut client, &format!("{own}X-User-Id: u{n}\r\n"))), (200, 1));
    }
    assert!((3..6).contains(&exhaust(&mut client, &format!("{own}X-User-Id: ann\r\n")).0));
}

#[test]
fn only_purchases_count_towards_rate_limits() {
    let server = Server::start(&["--sale", "ticket=10", "--rate-per-address", "1/1"]);
    let mut client = Client::new(&server);
    for _ in 0..20 {
        assert_eq!(ask(&mut client, "GET /v1/sales/ticket", "").status(), 200);
        assert_eq!(ask(&mut client, "OPTIONS /buy/ticket", "").status(), 204);
        assert_eq!(ask(&mut client, "GET /v1/reservations/nothing", "").status(), 404);
    }
    assert_eq!(code(&buy(&mut client, "")), (200, 1));
}
