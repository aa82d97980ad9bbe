//! `stampede demo` as a newcomer meets it: one command, two ports, a crowd, and nothing left behind.

#[allow(dead_code)] // Each test program takes what it needs.
#[path = "support/buyer.rs"]
mod buyer;
#[path = "support/demo.rs"]
mod demo;
#[allow(dead_code)]
#[path = "support/server.rs"]
mod server;

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use rusqlite::Connection;
use rustix::process::Signal;

use buyer::{Answer, Bought, Buyer};
use demo::Demo;
use server::Server;

/// Units by status in a file of orders.
fn orders(file: &Path, status: &str) -> i64 {
    let database = Connection::open(file).expect("the orders");
    let query = "SELECT coalesce(sum(quantity), 0) FROM orders WHERE status = ?1";
    database.query_row(query, [status], |row| row.get(0)).expect("a number")
}

fn pay(buyer: &mut Buyer, id: &str, user: &str) -> Answer {
    let path = format!("/demo/reservations/{id}/pay");
    buyer.request("POST", &path, &[("X-User-Id", user)], "").expect("an answer")
}

#[test]
fn the_demo_crowd_buys_exactly_the_total() {
    let kept = tempfile::tempdir().expect("a folder");
    let folder = kept.path().join("kept");
    let demo = Demo::start(&[
        "--opens-in=1s",
        "--tickets=300",
        "--buyers=900",
        "--over=2s",
        "--hold=2s",
        "--connections=8",
        "--exit-when-over",
        "--keep",
        folder.to_str().expect("a path"),
    ]);
    let (code, said) = demo.end();
    assert_eq!(code, 0, "{said}");
    for text in
        ["opens in 1 s", "300 of 300 tickets are paid for.", "900 buyers", "the audit agrees"]
    {
        assert!(said.contains(text), "no {text}: {said}");
    }
    for text in ["another answer", "on their way", "error"] {
        assert!(!said.contains(text), "{text}: {said}");
    }
    let file = folder.join("orders.sqlite");
    assert_eq!((orders(&file, "confirmed"), orders(&file, "held")), (300, 0));
    assert!(orders(&file, "expired") > 0 && orders(&file, "cancelled") > 0, "{said}");
}

#[test]
fn a_person_buys_pays_and_cancels() {
    let mut demo = Demo::start(&["--opens-in=0s", "--buyers=0", "--tickets=3"]);
    let mut buyer = demo.buyer();
    let page = buyer.request("GET", "/", &[], "").unwrap();
    assert!(page.status == 200 && page.body.starts_with("<!doctype html>"), "{}", page.body);
    let held = |buyer: &mut Buyer, user: &str| {
        let bought = buyer.reserve("ticket", user, 1, user).unwrap().bought();
        bought.granted().expect("a ticket")
    };

    // Only who has a reservation pays for it.
    let id = held(&mut buyer, "ann");
    for (who, path) in [("bob", &*id), ("ann", "ticket~00000000000000000000000001"), ("ann", "x")] {
        let told = pay(&mut buyer, path, who);
        assert_eq!((told.status, &told.json()["code"]), (404, &"not_found".into()), "{path}");
    }
    let path = format!("/demo/reservations/{id}/pay");
    for (headers, path) in [
        (&[][..], path.clone()),
        (&[("X-User-Id", "")], path.clone()),
        (&[("X-User-Id", "ann")], format!("{path}?user=bob")),
        (&[("X-User-Id", "ann")], format!("{path}?units=2")),
    ] {
        let told = buyer.request("POST", &path, headers, "").unwrap();
        assert_eq!(told.status, 422, "{path}: {}", told.body);
    }
    assert_eq!(buyer.reservation(&id).unwrap().json()["status"], "held");
    for _ in 0..2 {
        let told = pay(&mut buyer, &id, "ann");
        assert_eq!((told.status, &told.json()["status"]), (200, &"confirmed".into()));
    }
    assert!(buyer.reserve("ticket", "ann", 1, "more").unwrap().bought().is("limit_reached"));

    // The stand-in makes nobody else a shop.
    let other = held(&mut buyer, "bob");
    assert!(buyer.confirm(&other).unwrap().bought().is("confirm_not_public"));
    assert_eq!(buyer.cancel(&other).unwrap().json()["status"], "cancelled");
    let told = pay(&mut buyer, &other, "bob");
    assert_eq!((told.status, &told.json()["code"]), (409, &"already_cancelled".into()));

    // A condition that is not met pays nothing.
    let third = held(&mut buyer, "cat");
    let path = format!("/demo/reservations/{third}/pay");
    let headers = [("X-User-Id", "cat"), ("If-Match", "\"x\"")];
    assert_eq!(buyer.request("POST", &path, &headers, "").unwrap().status, 412);
    assert_eq!(buyer.reservation(&third).unwrap().json()["status"], "held");
    for (method, path, allow) in [("GET", &*path, 405), ("POST", "/", 405), ("DELETE", "/", 405)] {
        assert_eq!(buyer.request(method, path, &[], "").unwrap().status, allow, "{method} {path}");
    }

    demo.signal(Signal::INT);
    let (code, said) = demo.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Stopped before the sale was over."), "{said}");
}

#[test]
fn purchases_by_hand_are_counted() {
    let mut demo = Demo::start(&["--opens-in=0s", "--buyers=0", "--tickets=1", "--exit-when-over"]);
    let mut buyer = demo.buyer();
    let bought = buyer.reserve("ticket", "ann", 1, "k").unwrap().bought();
    let Bought::Granted(id) = bought else { panic!("{bought:?}") };
    assert_eq!(pay(&mut buyer, &id, "ann").status, 200);
    let (code, said) = demo.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 of 1 tickets are paid for, 1 of them not by the crowd."), "{said}");
}

#[test]
fn a_demo_stopped_early_ends_cleanly() {
    let mut demo = Demo::start(&["--opens-in=0s", "--tickets=5000", "--over=1h"]);
    demo.line("|");
    demo.signal(Signal::TERM);
    let (code, said) = demo.end();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("Stopped before the sale was over."), "{said}");
}

#[test]
fn the_demo_is_local_unless_forced() {
    let refused = |arguments: &[&str], code, told: &str| {
        let (found, said) = Demo::start(arguments).end();
        assert_eq!(found, code, "{arguments:?}: {said}");
        assert!(said.contains(told), "{arguments:?}: {said}");
    };
    refused(&["--listen", "0.0.0.0:0"], 2, "--force-public");
    refused(&["--control", "0.0.0.0:0"], 2, "--control 0.0.0.0:0");
    refused(&["--control", "off"], 2, "needs its control port");
    refused(&["--hold", "0s"], 2, "--hold 0s: must be from 1s");
    refused(&["--tickets", "none"], 2, "--tickets none: must be a whole number");
    refused(&["--keep", "/"], 1, "not empty");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    refused(&["--listen", &address], 1, "another server has this port");
    refused(&["--control", &address], 1, "another server has this port");

    let mut demo = Demo::start(&["--listen", "0.0.0.0:0", "--force-public"]);
    let address = demo.address("buy");
    demo.line("warning");
    TcpStream::connect(address).expect("connect");
    demo.signal(Signal::TERM);
    assert_eq!(demo.end().0, 0);
}

#[test]
fn a_server_has_no_storefront() {
    let server = Server::start(&["--sale", "ticket=1"]);
    let mut buyer = Buyer::connect(server.address()).expect("connect");
    assert_eq!(buyer.request("GET", "/", &[], "").unwrap().status, 404);
    let bought = buyer.reserve("ticket", "ann", 1, "k").unwrap().bought();
    let id = bought.granted().expect("a ticket");
    assert_eq!(pay(&mut buyer, &id, "ann").status, 404);
    assert_eq!(buyer.reservation(&id).unwrap().json()["status"], "held");
}
