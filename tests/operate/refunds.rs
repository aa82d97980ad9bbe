//! Refunds: confirmed units return to stock, and everything that shows them says so.

use serde_json::{Value, json};
use std::cell::RefCell;

use crate::client::get;
use crate::shop::{Shop, bought, reserve, until};

#[test]
fn a_refund_returns_units_and_the_users_limit_once() {
    Shop::each("ticket=8,limit=2,hold=1h", &[], |shop| {
        let mut buyer = shop.buyer();
        let pair = reserve(&mut buyer, "ann", 2, "k").granted().expect("two units");
        let rest: Vec<_> = (0..6).map(|n| bought(&mut buyer, &format!("user{n}"), "")).collect();
        until("sold out", || reserve(&mut buyer, "bob", 1, "").is("sold_out"));
        let refund = format!("/v1/reservations/{pair}/refund");
        let held = shop.ask("POST", &refund, "");
        assert_eq!((held.status, &held.json()["code"]), (409, &json!("not_confirmed")));
        shop.reservation(&pair, "confirm");
        let stands = shop.reservation(&pair, "refund");
        assert_eq!((&stands["status"], &stands["quantity"]), (&json!("refunded"), &json!(2)));
        assert_eq!(shop.counts(), [8, 6, 0, 2]);
        assert_eq!(shop.reservation(&pair, "refund"), stands, "a second time changes nothing");
        assert_eq!(shop.counts(), [8, 6, 0, 2]);
        for verb in ["confirm", "cancel"] {
            let path = format!("/v1/reservations/{pair}/{verb}");
            assert_eq!(shop.refused("POST", &path, ""), (409, "already_refunded".into()));
        }
        // Its key finds it as it stands. The article's path asks for one unit, which is another
        // request.
        let again = buyer.reserve("ticket", "ann", 2, "k").expect("an answer");
        assert_eq!((again.status, again.json()), (200, stands.clone()));
        let bought_again =
            buyer.buy_as(&[("X-User-Id", "ann"), ("Idempotency-Key", "k")]).expect("an answer");
        assert!(bought_again.is("key_reused"));
        // The units and the user are free again, on every core.
        until("for sale again", || reserve(&mut buyer, "ann", 2, "").granted().is_some());
        until("sold out", || reserve(&mut buyer, "bob", 1, "").is("sold_out"));

        let cancelled = shop.reservation(&rest[0], "cancel");
        assert_eq!(cancelled["status"], "cancelled");
        let path = |id: &str| format!("/v1/reservations/{id}/refund");
        assert_eq!(shop.refused("POST", &path(&rest[0]), ""), (409, "already_cancelled".into()));
        let unknown = format!("{}~{}", rest[1].rsplit_once('~').expect("an id").0, "0".repeat(26));
        assert_eq!(shop.refused("POST", &path(&unknown), ""), (404, "not_found".into()));
        assert_eq!(shop.refused("POST", &path("ticket"), "").0, 422);
        assert_eq!(shop.refused("GET", &refund, "").0, 405);
        // No buyer refunds.
        let public = buyer.request("POST", &refund, &[], "").expect("an answer");
        assert_eq!((public.status, &public.json()["code"]), (401, &json!("shop_only")));
        shop.assert_agrees();

        // An expired one has nothing to refund.
        shop.change(r#"{"hold_ms":1}"#);
        let late = bought(&mut buyer, "eve", "");
        until("it expires", || {
            shop.done("GET", &format!("/v1/reservations/{late}"), "")["status"] == "expired"
        });
        assert_eq!(shop.refused("POST", &path(&late), ""), (409, "expired".into()));
        shop.assert_agrees();
        if let (Some(redis), 1) = (&shop.redis, shop.splits) {
            let sold =
                redis.connect().list("HMGET ticket_hash_key ticket_sold_nums ticket_total_nums");
            assert_eq!(sold, ["7", "8"], "as readers of the article find it");
        }
    });
}

#[test]
fn every_unit_is_refunded_and_sold_again() {
    Shop::each("ticket=60,hold=1h", &[], |shop| {
        let buyer = RefCell::new(shop.buyer());
        for round in 0..3 {
            let ids: Vec<_> =
                (0..60).map(|n| bought(&mut buyer.borrow_mut(), &format!("user{n}"), "")).collect();
            std::thread::scope(|scope| {
                for part in ids.chunks(10) {
                    let shop = &shop;
                    scope.spawn(move || {
                        for id in part {
                            shop.reservation(id, "confirm");
                            assert_eq!(shop.reservation(id, "refund")["status"], "refunded");
                        }
                    });
                }
            });
            assert_eq!(shop.counts(), [60, 0, 0, 60], "round {round}");
            shop.assert_agrees();
        }
    });
}

#[test]
fn an_acknowledged_refund_survives_a_crash() {
    Shop::each("ticket=20,limit=2,hold=1h", &[], |mut shop| {
        let mut refunded = Vec::new();
        for round in 0..5 {
            let mut buyer = shop.buyer();
            let [kept, back] =
                [0, 1].map(|n| bought(&mut buyer, &format!("user{round}"), &format!("k{n}")));
            for id in [&kept, &back] {
                shop.reservation(id, "confirm");
            }
            shop.reservation(&back, "refund");
            shop.crash();
            refunded.push(back);
            for id in &refunded {
                let stands = shop.done("GET", &format!("/v1/reservations/{id}"), "");
                assert_eq!(stands["status"], "refunded", "{id}");
            }
            assert_eq!(shop.counts(), [20, 0, round + 1, 19 - round]);
            shop.assert_agrees();
        }
    });
}

#[test]
fn orders_and_archives_record_a_refund_and_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let url = format!("sqlite:{}", file.display());
    let server = crate::server::Server::start(&["--sale", "ticket=5,hold=1h", "--orders", &url]);
    let shop = Shop { server, redis: None, splits: 0 };
    let mut buyer = shop.buyer();
    let [paid, back] = ["a", "b"].map(|user| bought(&mut buyer, user, ""));
    for id in [&paid, &back] {
        shop.reservation(id, "confirm");
    }
    let rows = || -> Vec<(String, String, i64, i64)> {
        let all = rusqlite::Connection::open(&file).expect("a database");
        let sql = "SELECT reservation, status, created_at, updated_at FROM orders ORDER BY user_id";
        let mut select = all.prepare(sql).expect("a query");
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let rows = select.query_map([], row).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    until("both are written", || {
        rows().iter().filter(|(_, status, ..)| status == "confirmed").count() == 2
    });
    let before = rows();
    shop.reservation(&back, "refund");
    until("the refund is written", || rows()[1].1 == "refunded");
    let after = rows();
    assert_eq!(after[0], before[0]);
    assert_eq!((&after[1].0, after[1].2), (&back, before[1].2));
    assert!(after[1].3 >= before[1].3, "the time of the refund: {after:?}");
    shop.assert_agrees();

    shop.done("POST", "/v1/sales/ticket/close", "");
    let archive = folder.path().join("ticket.jsonl");
    let to = archive.to_str().expect("a path");
    assert_eq!(shop.operate(&["sale", "archive", "ticket", "--to", to]).0, 0);
    let text = std::fs::read_to_string(&archive).expect("an archive");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((&lines[0]["confirmed"], &lines[0]["free"]), (&json!(1), &json!(4)));
    let line = lines.iter().find(|line| line["id"] == back.as_str()).expect("its line");
    assert_eq!(line["status"], "refunded");
    assert_eq!(shop.operate(&["sale", "remove", "ticket"]).0, 0);
    shop.assert_agrees();
}

#[test]
fn the_refund_command_refunds_only_paid_reservations() {
    Shop::each("ticket=5,hold=1h", &[], |shop| {
        let mut buyer = shop.buyer();
        let id = bought(&mut buyer, "ann", "");
        let (code, out, err) = shop.operate(&["reservation", "refund", &id]);
        assert!(code == 1 && out.is_empty() && err.contains("held and not paid"), "{err}");
        shop.reservation(&id, "confirm");
        let (code, out, err) = shop.operate(&["reservation", "refund", &id]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("status          refunded\n"), "{out}");
        let shown = get(&shop.server, &format!("/v1/reservations/{id}")).json();
        assert_eq!(shown["status"], "refunded", "to its buyer too");
        until("all five are for sale", || reserve(&mut buyer, "ann", 5, "").granted().is_some());
    });
}
