//! With admission, a reservation belongs to the user whom a token names.

use crate::client::{Client, reserve, sold};
use crate::redis::RedisServer;
use crate::server::Server;
use crate::shop::{Shop, ask, bearer};

fn another_users_reservation_is_not_found(server: &Server, shop: &Shop) {
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
    // A user who may confirm confirms only his own.
    let id = client.ask(reserve(&ann, "{}")).json()["id"].as_str().expect("an id").to_owned();
    let confirm = format!("POST /v1/reservations/{id}/confirm");
    ask(&mut client, &confirm, &bob).assert_problem(404, "not_found");
    assert_eq!(ask(&mut client, &confirm, &ann).json()["status"], "confirmed");
}

#[test]
fn another_users_reservation_is_not_found_with_embedded() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10", "--public-confirm"]));
    another_users_reservation_is_not_found(&server, &shop);
}

#[test]
fn another_users_reservation_is_not_found_with_redis() {
    let shop = Shop::new();
    for sale in ["ticket=10", "ticket=10,splits=4"] {
        let redis = RedisServer::start(&[]);
        let url = redis.url();
        let options = ["--ledger", &url, "--sale", sale, "--public-confirm"];
        let server = Server::start(&shop.options(&options));
        another_users_reservation_is_not_found(&server, &shop);
    }
}

/// Bodies that no cancellation accepts, with the answer for a user who may cancel.
const MALFORMED: [(&str, &str, u16, &str); 4] = [
    ("application/json", "{\"remaining\":-1}", 422, "invalid"),
    ("application/json", "{\"remainder\":1}", 422, "invalid"),
    ("application/json", "{", 400, "bad_request"),
    ("text/plain", "{\"remaining\":1}", 415, "unsupported_media_type"),
];

#[test]
fn only_the_owner_learns_what_is_wrong_with_a_body() {
    let shop = Shop::new();
    let server = Server::start(&shop.options(&["--sale", "ticket=10"]));
    let mut client = Client::new(&server);
    let ann = shop.token("hs", "ann");
    let forged = format!("{}AAAA", &ann[..ann.len() - 4]);
    let other = shop.token_with("hs", "ann", |order| order.sales = vec!["poster".into()].leak());
    let late = shop.token_with("hs", "ann", |order| order.until_ms = 1_000);
    let [ann, forged, other, late] = [&ann, &forged, &other, &late].map(|token| bearer(token));
    let id = client.ask(reserve(&ann, "{}")).json()["id"].as_str().expect("an id").to_owned();
    let unknown = "ticket~00000000000000000000000000";
    for (media, body, status, code) in MALFORMED {
        let mut cancel = |id: &str, headers: &str| {
            client.ask(format!(
                "POST /v1/reservations/{id}/cancel HTTP/1.1\r\nHost: a\r\n{headers}\
                 Content-Type: {media}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
        };
        for id in [&*id, unknown] {
            cancel(id, "").assert_problem(401, "token_missing");
            cancel(id, &forged).assert_problem(401, "token_signature");
            cancel(id, &late).assert_problem(401, "token_expired");
            cancel(id, &other).assert_problem(403, "token_sale");
            // The owner learns what is wrong, whether there is such a reservation or not.
            cancel(id, &ann).assert_problem(status, code);
        }
    }
    assert_eq!(sold(&server), 1);
}

#[test]
fn a_token_for_another_sale_is_refused() {
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
