//! Changing a sale that goes on: its closing time, its terms, its stock.

use serde_json::{Value, json};

use crate::buyer::Buyer;
use crate::shop::{Shop, bought, reserve, until};

fn crowd(shop: &Shop) -> Vec<Buyer> {
    (0..8).map(|_| shop.buyer()).collect()
}

#[test]
fn every_core_follows_changes_of_the_closing_time() {
    Shop::each("ticket=1000,hold=1h", &[], |shop| {
        let mut buyers = crowd(&shop);
        for (closes_at, is_open) in [
            (json!("2020-01-01T00:00:00Z"), false),
            (json!("2090-01-01T00:00:00Z"), true),
            (json!("1970-01-01T00:00:00.001Z"), false),
            (Value::Null, true),
        ] {
            let changed = shop.change(&json!({ "closes_at": closes_at }).to_string());
            assert_eq!(changed["state"], if is_open { "open" } else { "closed" });
            for buyer in &mut buyers {
                let mut ask = || reserve(buyer, "ann", 1, "");
                until("as the closing time says", || match is_open {
                    true => ask().granted().is_some(),
                    false => ask().is("closed"),
                });
            }
        }
        assert_eq!(shop.done("GET", "/v1/sales/ticket", "")["closes_at"], Value::Null);
        shop.assert_agrees();
    });
}

#[test]
fn a_shorter_hold_time_applies_only_to_new_reservations() {
    Shop::each("ticket=10,hold=1h", &[], |shop| {
        let mut buyer = shop.buyer();
        let old = bought(&mut buyer, "ann", "");
        let before = buyer.reservation(&old).expect("an answer").json();
        assert_eq!(shop.change(r#"{"hold_ms":1000}"#)["hold_ms"], 1000);
        let new: Vec<_> = ["ann", "bob", "cid"].map(|user| bought(&mut buyer, user, "")).into();
        until("what was held for a second is back", || shop.counts() == [10, 1, 0, 9]);
        for id in new {
            let stands = buyer.reservation(&id).expect("an answer").json();
            assert_eq!(stands["status"], "expired");
        }
        assert_eq!(buyer.reservation(&old).expect("an answer").json(), before);
        shop.assert_agrees();
    });
}

#[test]
fn a_new_limit_counts_earlier_purchases() {
    Shop::each("ticket=100,hold=1h", &[], |shop| {
        let mut buyer = shop.buyer();
        let kept = reserve(&mut buyer, "ann", 3, "").granted().expect("three units");
        bought(&mut buyer, "bob", "");
        assert!(buyer.buy().expect("an answer").granted().is_some(), "anonymously");
        assert_eq!(shop.change(r#"{"limit_per_user":2}"#)["limit_per_user"], 2);
        assert!(reserve(&mut buyer, "ann", 1, "").is("limit_reached"));
        assert!(buyer.buy().expect("an answer").is("user_required"));
        bought(&mut buyer, "bob", "");
        assert!(reserve(&mut buyer, "bob", 1, "").is("limit_reached"));
        // A user with more keeps it, and can pay.
        assert_eq!(shop.reservation(&kept, "confirm")["quantity"], 3);
        shop.assert_agrees();
        shop.change(r#"{"limit_per_user":4}"#);
        bought(&mut buyer, "ann", "");
        assert!(reserve(&mut buyer, "ann", 1, "").is("limit_reached"));
        assert_eq!(shop.change(r#"{"limit_per_user":null}"#)["limit_per_user"], Value::Null);
        bought(&mut buyer, "ann", "");
        shop.assert_agrees();
        shop.change(r#"{"limit_per_user":5}"#);
        assert!(reserve(&mut buyer, "ann", 1, "").is("limit_reached"), "all five are counted");
        shop.assert_agrees();
    });
}

#[test]
fn several_terms_change_together_or_not_at_all() {
    Shop::each("ticket=100,hold=1h,opens=2001-01-01T00:00:00Z", &[], |shop| {
        let mut buyer = shop.buyer();
        let before = shop.done("GET", "/v1/sales/ticket", "");
        for (body, field) in [
            (r#"{"closes_at":"2001-01-01T00:00:00Z","hold_ms":5}"#, "closes_at"),
            (r#"{"closes_at":"tomorrow","hold_ms":5}"#, "closes_at"),
            (r#"{"hold_ms":0,"quantity_max":5}"#, "hold_ms"),
            (r#"{"hold_ms":null}"#, "hold_ms"),
            (r#"{"quantity_max":null}"#, "quantity_max"),
            (r#"{"quantity_max":1000001}"#, "quantity_max"),
            (r#"{"limit_per_user":-1}"#, "limit_per_user"),
            (r#"{"quantity_min":11}"#, "quantity_min"),
            (r#"{"quantity_min":3,"quantity_max":2}"#, "quantity_min"),
            (r#"{"quantity_min":null}"#, "quantity_min"),
            (r#"{"extend_max_ms":null}"#, "extend_max_ms"),
            (r#"{"extend_max_ms":31622400001}"#, "extend_max_ms"),
            (r#"{"reservations_max":-1}"#, "reservations_max"),
            (r#"{"reservations_per_user_max":4294967296}"#, "reservations_per_user_max"),
            (r#"{"total":5}"#, "body"),
            (r#"{"hold_ms":5,"hold_ms":6}"#, "body"),
            ("{}", "body"),
            ("[]", "body"),
        ] {
            let answer = shop.ask("PATCH", "/v1/sales/ticket", body);
            let told = answer.json();
            assert_eq!((answer.status, &told["field"]), (422, &json!(field)), "{body}: {told}");
        }
        assert_eq!(shop.done("GET", "/v1/sales/ticket", ""), before, "nothing changed");
        assert_eq!(shop.refused("PATCH", "/v1/sales/nope", r#"{"hold_ms":5}"#).0, 404);
        assert!(reserve(&mut buyer, "ann", 3, "").granted().is_some());
        let said = "2090-01-01T00:00:00.000Z";
        let terms =
            json!({ "closes_at": said, "hold_ms": 7000, "limit_per_user": 4, "quantity_max": 2 });
        let changed = shop.change(&terms.to_string());
        for (name, is) in terms.as_object().expect("an object") {
            assert_eq!(&changed[name], is, "{name}");
        }
        assert_eq!(
            reserve(&mut buyer, "bob", 3, ""),
            crate::buyer::Bought::Refused("invalid".into())
        );
        assert!(reserve(&mut buyer, "bob", 2, "").granted().is_some());
        shop.assert_agrees();
    });
}

#[test]
fn a_later_bound_ends_a_loop_of_reserving_and_cancelling() {
    Shop::each("ticket=100,hold=1h", &[], |shop| {
        let mut buyer = shop.buyer();
        let mut once = |user: &str, units| {
            let id = reserve(&mut buyer, user, units, "").granted()?;
            Some(shop.reservation(&id, "cancel")["status"].clone())
        };
        assert_eq!(once("ann", 1), Some(json!("cancelled")));
        let terms = json!({
            "quantity_min": 2, "extend_max_ms": 0, "reservations_per_user_max": 3,
        });
        let changed = shop.change(&terms.to_string());
        for (name, is) in terms.as_object().expect("an object") {
            assert_eq!(&changed[name], is, "{name}");
        }
        let more = (0..9).take_while(|_| once("ann", 2).is_some()).count();
        assert_eq!(more, 2, "with the one from before");
        assert!(once("bob", 2).is_some() && once("bob", 1).is_none());
        assert!(reserve(&mut shop.buyer(), "ann", 2, "").is("reservations_exhausted"));
        let all = shop.ask("PATCH", "/v1/sales/ticket", r#"{"reservations_max":5}"#);
        if shop.splits > 1 {
            assert_eq!((all.status, &all.json()["field"]), (422, &json!("reservations_max")));
        } else {
            assert_eq!((all.status, &all.json()["reservations_max"]), (200, &json!(5)));
            assert!(once("eve", 2).is_some());
            assert!(reserve(&mut shop.buyer(), "eve", 2, "").is("reservations_exhausted"));
        }
        shop.assert_agrees();
        let none = r#"{"quantity_min":1,"extend_max_ms":300000,"reservations_max":null,
            "reservations_per_user_max":null}"#;
        let plain = shop.change(none);
        assert_eq!((&plain["reservations_max"], &plain["quantity_min"]), (&Value::Null, &json!(1)));
        let again = (0..9).filter(|_| once("ann", 1).is_some()).count();
        assert_eq!(again, 9);
        shop.assert_agrees();
    });
}

/// Parts are changed one after the other: a server that dies in between has left some unchanged.
#[test]
fn repeating_a_half_done_change_completes_it_in_every_part() {
    Shop::each("ticket=100,hold=1h", &[], |shop| {
        let Some(redis) = shop.redis.as_ref().filter(|_| shop.splits > 1) else { return };
        let terms = r#"{"hold_ms":7000,"limit_per_user":3,"quantity_max":2}"#;
        let part = "HSET {ticket~2of4_hash_key}:sale hold_ms 7000 limit_per_user 3 quantity_max 2";
        redis.connect().ask(part);
        let report = shop.done("GET", "/v1/audit", "");
        assert_eq!(report["differences"], 1, "{report:#}");
        shop.change(terms);
        shop.assert_agrees();
        let again = shop.change(terms);
        assert_eq!(again["hold_ms"], 7000, "and once more, which changes nothing");
        let mut buyer = shop.buyer();
        for n in 0..12 {
            let user = format!("user{n}");
            assert!(reserve(&mut buyer, &user, 2, "").granted().is_some());
            assert!(reserve(&mut buyer, &user, 2, "").is("limit_reached"));
        }
        shop.assert_agrees();
    });
}

#[test]
fn take_stock_takes_only_free_units() {
    Shop::each("ticket=20,hold=1h", &[], |shop| {
        let mut buyer = shop.buyer();
        let ids: Vec<_> = (0..8).map(|n| bought(&mut buyer, &format!("user{n}"), "")).collect();
        ids[..3].iter().for_each(|id| _ = shop.reservation(id, "confirm"));
        let take = "/v1/sales/ticket/take-stock";
        let answer = shop.ask("POST", take, r#"{"units":13}"#);
        let told = answer.json();
        assert_eq!(
            (answer.status, &told["code"], &told["free"]),
            (409, &json!("too_few_free"), &json!(12))
        );
        for (body, field) in [
            (r#"{"units":0}"#, "units"),
            ("{}", "units"),
            (r#"{"units":1,"at_most":1}"#, "at_most"),
            (r#"{"units":1,"all":true}"#, "body"),
        ] {
            let answer = shop.ask("POST", take, body);
            assert_eq!((answer.status, &answer.json()["field"]), (422, &json!(field)), "{body}");
        }
        assert_eq!(shop.counts(), [20, 5, 3, 12]);
        let taken = shop.done("POST", take, r#"{"units":5}"#);
        assert_eq!(
            (&taken["taken"], &taken["total"], &taken["free"]),
            (&json!(5), &json!(15), &json!(7))
        );
        shop.assert_agrees();
        let (code, out, err) = shop.operate(&["sale", "take-stock", "ticket", "8"]);
        assert!(
            code == 1 && out.is_empty() && err.contains("7 units of the sale are free"),
            "{err}"
        );
        let (code, out, err) = shop.operate(&["sale", "take-stock", "ticket", "8", "--at-most"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(
            out.contains("taken           7\n") && out.contains("total           8\n"),
            "{out}"
        );
        assert_eq!(shop.counts(), [8, 5, 3, 0]);
        until("sold out", || reserve(&mut buyer, "zoe", 1, "").is("sold_out"));
        assert_eq!(shop.done("POST", take, r#"{"units":1,"at_most":true}"#)["taken"], 0);
        // Returned units are for sale, and more can be added.
        shop.reservation(&ids[7], "cancel");
        shop.done("POST", "/v1/sales/ticket/add-stock", r#"{"units":1}"#);
        for user in ["zoe", "yan"] {
            until("for sale again", || reserve(&mut buyer, user, 1, "").granted().is_some());
        }
        shop.assert_agrees();
        assert_eq!(shop.refused("POST", "/v1/sales/nope/take-stock", r#"{"units":1}"#).0, 404);
    });
}

/// Units are moved and bought in the parts meanwhile: none is lost, and no sold unit is taken.
#[test]
fn take_stock_is_exact_while_a_crowd_buys() {
    Shop::each("ticket=300,hold=1h", &[], |shop| {
        let sold = std::thread::scope(|scope| {
            let buy = |buyer: usize| {
                let mut line = shop.buyer();
                let mut sold = 0;
                for n in 0.. {
                    match reserve(&mut line, &format!("user{buyer}-{n}"), 1, "") {
                        crate::buyer::Bought::Granted(_) => sold += 1,
                        crate::buyer::Bought::Refused(code) if code == "sold_out" => return sold,
                        crate::buyer::Bought::Refused(code) => assert_eq!(code, "busy"),
                    }
                }
                sold
            };
            let buyers: Vec<_> = (0..4).map(|n| scope.spawn(move || buy(n))).collect();
            let mut taken = 0;
            while taken < 100 {
                let answer = shop.ask(
                    "POST",
                    "/v1/sales/ticket/take-stock",
                    r#"{"units":5,"at_most":true}"#,
                );
                match answer.status {
                    200 if answer.json()["taken"] == 0 => break,
                    200 => taken += answer.json()["taken"].as_u64().expect("a number"),
                    _ => assert_eq!(answer.json()["code"], "busy", "{}", answer.body),
                }
            }
            let sold: u64 = buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).sum();
            assert_eq!(shop.counts()[0], 300 - taken);
            sold
        });
        assert_eq!(shop.counts()[1], sold);
        assert_eq!(shop.counts()[3], 0, "a part's last unit is found");
        shop.assert_agrees();
    });
}

#[test]
fn an_acknowledged_change_survives_a_crash() {
    Shop::each("ticket=100,hold=1h", &[], |mut shop| {
        let mut total = 100;
        for round in 1..=5u64 {
            let terms =
                json!({ "hold_ms": 1000 * round, "limit_per_user": round, "quantity_max": round });
            shop.change(&terms.to_string());
            shop.crash();
            let sale = shop.done("GET", "/v1/sales/ticket", "");
            for (name, is) in terms.as_object().expect("an object") {
                assert_eq!(&sale[name], is, "{name}");
            }
            total -= round;
            let body = json!({ "units": round }).to_string();
            shop.done("POST", "/v1/sales/ticket/take-stock", &body);
            shop.crash();
            assert_eq!(shop.counts(), [total, 0, 0, total]);
        }
        shop.assert_agrees();
    });
}

#[test]
fn the_change_command_sets_the_named_terms() {
    Shop::each("ticket=100", &[], |shop| {
        let (code, out, err) = shop.operate(&[
            "sale",
            "change",
            "ticket",
            "--closes-at",
            "2090-01-01T10:00:00+08:00",
            "--hold",
            "30s",
            "--limit",
            "4",
            "--quantity-max",
            "4",
            "--quantity-min",
            "2",
            "--extend",
            "10m",
            "--reservations-per-user",
            "20",
            "--reservations",
            "0",
        ]);
        assert_eq!((code, err.as_str()), (0, ""));
        for line in [
            "closes_at       2090-01-01T02:00:00.000Z\n",
            "hold            30s\n",
            "limit_per_user  4\n",
            "quantity_max    4\n",
            "quantity_min    2\n",
            "extend_max      10m\n",
            "reservations    0\n",
            "made_per_user   20\n",
        ] {
            assert!(out.contains(line), "{out}");
        }
        let (code, out, _) = shop.operate(&[
            "sale",
            "change",
            "ticket",
            "--closes-at",
            "never",
            "--limit",
            "0",
            "--reservations",
            "default",
            "--json",
        ]);
        let sale: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(
            (code, &sale["closes_at"], &sale["limit_per_user"]),
            (0, &Value::Null, &Value::Null)
        );
        assert_eq!((&sale["hold_ms"], &sale["quantity_max"]), (&json!(30_000), &json!(4)));
        assert_eq!(sale["reservations_max"], Value::Null);
        let (code, _, err) = shop.operate(&["sale", "change", "nope", "--limit", "1"]);
        assert_eq!((code, err.as_str()), (1, "error: There is no sale nope.\n"));
        assert_eq!(shop.splits > 1, sale["splits"] == 4);
    });
}
