//! With admission, a reservation belongs to the user whom a token names.

use crate::client::{Client, reserve, sold};
use crate::redis::RedisServer;
use crate::server::Server;
use crate::shop::{Shop, ask, bearer};

fn another_users_reservation_is_none(server: &Server, shop: &Shop) {
    let mut client = Client::new(server);
    let [ann, bob] = ["ann", "bob"].map(|user| bearer(&shop.token("hs", user)));
    let id = client.ask(reserve(&ann, "{}")).json()["id"].as_str().expect("an id").to_owned();
    let of = |verb: &str| match verb {
        "" => format!("GET /v1/reservations/{id}"),
        verb => format!("POST /v1/reservations/{id}/{verb}"),
    };
    let unknown = format!("{}000", &id[..id.len() - 3]);
    for verb in ["", "cancel", "confirm"] {
        let theirs = ask(&mut client, &of(verb), &bob);
        theirs.assert_problem(404, "not_found");
        let none = ask(&mut client, &of(verb).replace(&id, &unknown), &bob);
        assert_eq!(theirs, none, "another's is like none");
        ask(&mut client, &of(verb), "").assert_problem(401, "token_missing");
    }
    let elsewhere = bearer(&shop.token_with("hs", "ann", |order| order.sales = &[]));
    ask(&mut client, &of("cancel"), &elsewhere).assert_problem(401, "token_malformed");
    assert_eq!(ask(&mut client, &of(""), &ann).json()["status"], "held");
    let cancelled = ask(&mut client, &of("cancel"), &ann);
    assert_eq!((cancelled.status(), cancelled.json()["status"].as_str()), (200, Some("cancelled")));
    ask(&mut client, &of("cancel"), &ann).assert_problem(409, "already_cancelled");
    ask(&mut client, &of("cancel"), &bob).assert_problem(404, "not_found");
    assert_eq!(sold(server), 0);
    // Whoever may confirm confirms his own.
    let id = client.ask(reserve(&ann, "{}")).json()["id"].as_str().expect("an id").to_owned();
    let confirm = format!("POST /v1/reservations/{id}/confirm");
    ask(&mut client, &confirm, &bob).assert_problem(404, "not_found");
    assert_eq!(ask(&mut client, &confirm, &ann).json()["status"], "confirmed");
}

#[test]
fn another_users_reservation_is_none_in_an_embedded_ledger() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10", "--public-confirm"]));
    another_users_reservation_is_none(&server, &shop);
}

#[test]
fn another_users_reservation_is_none_in_redis() {
    let shop = Shop::new();
    for sale in ["ticket=10", "ticket=10,splits=4"] {
        let redis = RedisServer::start(&[]);
        let url = redis.url();
        let options = ["--ledger", &url, "--sale", sale, "--public-confirm"];
        let server = Server::start(&shop.options(&options));
        another_users_reservation_is_none(&server, &shop);
    }
}

#[test]
fn a_token_for_another_sale_opens_no_reservation() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10", "--sale", "poster=10"]));
    let mut client = Client::new(&server);
    let ann = bearer(&shop.token("hs", "ann"));
    let id = client.ask(reserve(&ann, "{}")).json()["id"].as_str().expect("an id").to_owned();
    let poster = ["poster".to_owned()];
    let other = bearer(&shop.token_with("hs", "ann", |order| order.sales = poster.to_vec().leak()));
    ask(&mut client, &format!("GET /v1/reservations/{id}"), &other)
        .assert_problem(403, "token_sale");
    ask(&mut client, &format!("POST /v1/reservations/{id}/cancel"), &other)
        .assert_problem(403, "token_sale");
    assert_eq!(sold(&server), 1);
}
