//! Dead letters: events that no receiver takes, and what an operator does about them.

use serde_json::{Value, json};

use super::Place;
use super::receiver::{Receiver, Reply};
use super::redis_server::RedisServer;
use super::shop::{Shop, in_redis, wait_for};

#[test]
fn a_410_makes_a_dead_letter_that_can_be_replayed() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|got| match got.status() {
        "held" => Reply::Status(410),
        _ => Reply::Status(200),
    });
    let place = Place::new(&redis, &receiver);
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 10);
    let worker = place.start(&receiver, &[]);
    let changed = in_redis(&redis, "ticket").values().filter(|it| it.2 != "held").count();
    // A dead letter does not hold back what comes after it.
    wait_for("ten dead letters, and all else", || receiver.got().len() == 10 + changed);
    let listed = || {
        let (code, said) = place.letters(&["--dead-letters", "--json"]);
        assert_eq!(code, Some(0), "{said}");
        let lines = said.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        lines.collect::<Vec<Value>>()
    };
    wait_for("ten dead letters in the file", || listed().len() == 10);
    let letters = listed();
    for letter in &letters {
        assert_eq!((&letter["attempts"], &letter["failure"]), (&1.into(), &"status 410".into()));
        assert_eq!(letter["webhook"]["type"], "reservation.held");
        let sent = receiver.got().into_iter().find(|got| letter["id"] == *got.id);
        assert_eq!(letter["webhook"], sent.expect("it was sent").body);
    }
    let (code, said) = place.letters(&["--to", &receiver.url(), "--dead-letters"]);
    assert!(code == Some(0) && said.lines().count() == 11, "{said}");

    // The status: at any time, and without the worker's help.
    let stands = || {
        let (code, said) = place.letters(&["--status", "--json"]);
        assert_eq!(code, Some(0), "{said}");
        serde_json::from_str::<Value>(&said).expect("JSON")
    };
    wait_for("all is noted", || stands()["delivered"] == changed);
    let all_dead = json!({
        "waiting": 0, "oldest": null, "delivered": changed, "failed": 10, "dead_letters": 10,
    });
    assert_eq!(stands(), all_dead);

    // The worker runs on meanwhile.
    receiver.decide(|_| Reply::Status(200));
    let id = |at: usize| letters[at]["id"].as_str().expect("an id").to_owned();
    let (code, said) = place.letters(&["--replay", &id(0)]);
    assert!(code == Some(0) && said.contains("1 dead letters will be sent again"), "{said}");
    wait_for("the one that was put back", || receiver.got().len() == 11 + changed);
    assert_eq!(receiver.got().last().expect("one").id, id(0));
    let (code, said) = place.letters(&["--replay", &id(0)]);
    assert!(code == Some(1) && said.contains("there is no dead letter msg_"), "{said}");
    let (code, said) = place.letters(&["--discard", &id(1)]);
    assert!(code == Some(0) && said.contains("1 dead letters deleted"), "{said}");
    let (code, said) = place.letters(&["--replay", "all"]);
    assert!(code == Some(0) && said.contains("8 dead letters will be sent again"), "{said}");
    wait_for("all that were put back", || receiver.got().len() == 19 + changed);
    wait_for("no dead letter", || listed().is_empty());
    wait_for("all are delivered", || stands()["delivered"] == changed + 9);
    assert_eq!((&stands()["failed"], &stands()["dead_letters"]), (&json!(10), &json!(0)));
    // A receiver that takes nothing: the status has what waits, for how long, and why.
    receiver.decide(|_| Reply::Status(503));
    shop.sell("ticket", 1);
    wait_for("one that waits", || stands()["oldest"]["attempts"].as_u64() > Some(1));
    let now = stands();
    assert_eq!(now["oldest"]["failure"], "status 503", "{now}");
    assert!(now["waiting"].as_u64() >= Some(1) && now["oldest"]["age_ms"].is_u64(), "{now}");
    let (code, said) = place.letters(&["--status"]);
    let oldest = said.lines().find(|line| line.starts_with("oldest")).unwrap_or_default();
    assert!(code == Some(0) && oldest.contains("status 503"), "{said}");
    assert_eq!(receiver.got().iter().filter(|got| got.id == id(1)).count(), 1);
    worker.terminate();
    assert_eq!(worker.end().0, Some(0));

    for (wrong, told) in [
        (&["--replay", "held"][..], "must be all, or the id of a webhook"),
        (&["--discard", "msg_1"], "must be all, or the id of a webhook"),
        (&["--dead-letters", "--once"], "cannot be used with"),
        (&["--status", "--once"], "cannot be used with"),
        (&["--status", "--dead-letters"], "cannot be used with"),
        (&["--status", "--replay", "all"], "cannot be used with"),
        (&["--json"], "required"),
        (&["--replay", "all", "--discard", "all"], "cannot be used with"),
    ] {
        let (code, said) = place.letters(wrong);
        assert!(code == Some(2) && said.contains(told), "{wrong:?}: {said}");
    }
    let missing = super::shop::stampede(&["orders", "--state", "none.db", "--dead-letters"]);
    assert!(missing.0 == Some(1) && missing.1.contains("there is no such file"), "{}", missing.1);
}

#[test]
fn the_last_failed_attempt_makes_a_dead_letter() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(503));
    let place = Place::new(&redis, &receiver);
    Shop::open(&redis, &["ticket"]).sell("ticket", 4);
    // Two of the four were confirmed.
    let worker = place.start(&receiver, &["--webhook-attempts", "3"]);
    wait_for("six dead letters", || place.letters(&["--dead-letters"]).1.lines().count() == 7);
    assert_eq!(receiver.got().len(), 6 * 3);
    let (_, said) = place.letters(&["--dead-letters"]);
    assert!(said.lines().skip(1).all(|line| line.ends_with("3  status 503")), "{said}");
    worker.terminate();
    let (code, said) = worker.end();
    assert!(code == Some(0) && said.contains("webhook is a dead letter"), "{said}");
}
