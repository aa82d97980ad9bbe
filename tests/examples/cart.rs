//! A cart over two sales: all of it or nothing.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::client::{Client, reserve_from};
use crate::programs::{
    Running, Said, assert_stands, assert_units, example, folder, look, run, set_up, url,
};
use crate::server::Server;
use crate::shop::{Shop, by_shop};
use crate::worker::wait_for;

fn cart(shop: &Shop, server: &Server, name: &str, user: &str, lines: &[&str]) -> Said {
    let token = shop.path("shop.token");
    let words = [&[token.as_str(), user][..], lines].concat();
    run(example("cart.py", &url(server), &words).env("CART", name))
}

#[test]
fn a_cart_is_bought_as_a_whole_or_not_at_all() {
    let shop = Shop::new();
    // Buyers need a token of admission here; for the cart the shop's own token is enough.
    let server = shop.serve(&["--sale", "ticket=5,limit=2", "--sale", "poster=1"]);
    let lines = ["ticket=2", "poster=1"];
    let bought = cart(&shop, &server, "one", "ann", &lines);
    bought.assert_done("confirmed");
    let ids = bought.all("id");
    assert_stands(&server, ids[0], "ann", 2, "confirmed");
    assert_stands(&server, ids[1], "ann", 1, "confirmed");
    // The same cart is the same purchase.
    let again = cart(&shop, &server, "one", "ann", &lines);
    again.assert_done("confirmed");
    assert_eq!(again.all("id"), ids);
    assert_units(&server, "ticket", [3, 0, 2]);
    assert_units(&server, "poster", [0, 0, 1]);

    let refused = cart(&shop, &server, "two", "bob", &lines);
    refused.assert_refused("sold_out");
    assert_eq!(refused.all("sale"), ["poster"]);
    let refused = cart(&shop, &server, "three", "bob", &["ticket=3", "poster"]);
    refused.assert_refused("limit_reached");
    assert_units(&server, "ticket", [3, 0, 2]);
    assert_units(&server, "poster", [0, 0, 1]);
}

#[test]
fn a_cart_may_name_ticket_types() {
    let shop = Shop::new();
    let festival = "festival=9,types=adult:2+child:5";
    let server = shop.serve(&["--sale", festival, "--sale", "poster=1"]);
    let bought = cart(&shop, &server, "one", "ann", &["festival=adult:1+child:2", "poster"]);
    bought.assert_done("confirmed");
    assert_stands(&server, bought.all("id")[0], "ann", 3, "confirmed");
    let shown = look(&server, &format!("/v1/reservations/{}", bought.all("id")[0]));
    assert_eq!(shown["lines"], serde_json::json!({"adult": 1, "child": 2}));
    // The second adult's unit is there, and a third is not.
    let refused = cart(&shop, &server, "two", "bob", &["festival=adult:2"]);
    refused.assert_refused("sold_out");
    assert_units(&server, "festival", [6, 0, 3]);
}

/// The cart, with a payment that waits for a line.
const SLOW: &str = "import sys
sys.path.insert(0, sys.argv.pop(1))
import cart
def pay(user, name):
    print('paying', file=sys.stderr, flush=True)
    sys.stdin.readline()
cart.pay = pay
sys.exit(cart.main(*sys.argv[1:]))";

#[test]
fn a_cart_that_expires_during_payment_is_refunded() {
    let shop = Shop::new();
    let server = Server::start(&[
        "--shop-token-file",
        &shop.path("shop.token"),
        "--sale",
        "ticket=5",
        "--sale",
        "poster=1,hold=50ms",
    ]);
    let mut slow = Command::new("python3");
    let (folder, token) = (folder().display().to_string(), shop.path("shop.token"));
    slow.args(["-c", SLOW, &folder, &token, "ann", "ticket=2", "poster=1"]);
    let mut running = Running::start(set_up(&mut slow, &url(&server)).stdin(Stdio::piped()));
    running.wait_for("paying");
    // The poster expires, and another buyer has it before the payment.
    // The core may show the sale as it was before ann had a poster: her reservation shows when it
    // is gone.
    wait_for("the poster of ann", || {
        let of_ann = by_shop(&server, "GET /v1/sales/poster/reservations?user=ann").json();
        of_ann["reservations"][0]["status"] == "expired"
    });
    let mut eve = Client::new(&server);
    let bought = eve.ask(reserve_from("poster", "", r#"{"user":"eve","quantity":1}"#));
    assert_eq!(bought.status(), 201, "{}", bought.text());
    let id = bought.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(by_shop(&server, &format!("POST /v1/reservations/{id}/confirm")).status(), 200);
    let mut stdin = running.child().stdin.take().expect("its standard input");
    stdin.write_all(b"paid\n").expect("the payment");
    running.end().assert_refused("expired");
    let of_ann = by_shop(&server, "GET /v1/sales/ticket/reservations?user=ann").json();
    let of_ann: Vec<_> = of_ann["reservations"].as_array().expect("a list").iter().collect();
    assert_eq!((of_ann.len(), &of_ann[0]["status"]), (1, &"refunded".into()));
    assert_units(&server, "ticket", [5, 0, 0]);
    assert_units(&server, "poster", [0, 0, 1]);
}
