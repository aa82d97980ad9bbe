//! Every change arrives: from the streams to the receiver, whatever dies and fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::chance::{Chance, seed};
use super::receiver::{Gate, Receiver, Reply, lock};
use super::redis_server::RedisServer;
use super::shop::{Shop, Worker, in_redis, wait_for};
use super::{Place, pass_time};

/// How often a test's receiver fails for one event on purpose.
const FAILURES_MAX: u32 = 3;

/// Whether the last event of each reservation has Redis' state, and each began with `held`.
fn has_all(receiver: &Receiver, redis: &RedisServer, sales: &[&str]) -> bool {
    let events = receiver.in_order();
    let mut count = 0;
    for sale in sales {
        for (id, (_, _, status)) in in_redis(redis, sale) {
            let Some(of_one) = events.get(&format!("{sale}~{id}")) else { return false };
            if of_one.last().is_none_or(|(_, last)| *last != status) {
                return false;
            }
            assert_eq!(of_one[0].1, "held");
            assert_eq!(of_one.len(), 1 + usize::from(status != "held"), "{of_one:?}");
            count += 1;
        }
    }
    assert_eq!(events.len(), count, "events of reservations that are not there");
    true
}

/// A receiver that fails half of the time in every way, and is restarted; a worker that is killed.
fn everything_arrives(receiver: fn(Box<dyn FnMut() -> Reply + Send>) -> Receiver) {
    let redis = RedisServer::start(&[]);
    let chance = Arc::new(Mutex::new(Chance(seed())));
    let draws = chance.clone();
    let fails = Box::new(move || match lock(&draws).below(8) {
        0 => Reply::Status(500),
        1 => Reply::Reset,
        2 => Reply::Hang,
        3 => Reply::Half,
        _ => Reply::Status(200),
    });
    let mut receiver = receiver(fails);
    let place = Place::new(&redis, &receiver);
    let options = ["--webhook-deadline", "1s", "--webhook-parallel", "8", "--batch", "40"];
    let mut shop = Shop::open(&redis, &["ticket", "poster"]);
    let sold = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..15 {
                shop.sell("ticket", 15);
                shop.sell("poster", 4);
                thread::sleep(Duration::from_millis(100));
            }
            sold.store(true, Ordering::SeqCst);
        });
        let pause = |ms: usize| Duration::from_millis(lock(&chance).below(ms) as u64);
        let mut worker = place.start(&receiver, &options);
        let mut kills = 0;
        while !sold.load(Ordering::SeqCst) || kills < 8 {
            thread::sleep(pause(400));
            worker.kill();
            worker = place.start(&receiver, &options);
            kills += 1;
            if kills % 3 == 0 {
                receiver.stop();
                thread::sleep(pause(200));
                receiver.start_again();
            }
        }
        let mut looks = 0;
        wait_for("everything at the receiver", || {
            looks += 1;
            if looks % 100 == 0 {
                pass_time(&place.state());
            }
            has_all(&receiver, &redis, &["ticket", "poster"]) && waiting(&place) == 0
        });
        worker.terminate();
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
    });
    let (_, dead) = place.letters(&["--dead-letters"]);
    assert_eq!(dead.lines().count(), 1, "{dead}");
}

/// Events in the file, if there is one.
fn waiting(place: &Place) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let Ok(file) = rusqlite::Connection::open_with_flags(place.state(), flags) else { return 0 };
    file.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap_or(0)
}

/// Fails as it is set, but no event too often in succession.
fn bounded(
    mut fails: Box<dyn FnMut() -> Reply + Send>,
) -> impl FnMut(&super::receiver::Got) -> Reply {
    let mut failed: BTreeMap<String, u32> = BTreeMap::new();
    move |got| {
        let failed = failed.entry(got.id.clone()).or_default();
        match fails() {
            Reply::Status(200) => Reply::Status(200),
            _ if *failed >= FAILURES_MAX => Reply::Status(200),
            failure => {
                *failed += 1;
                failure
            }
        }
    }
}

#[test]
fn webhooks_arrive_in_order_despite_crashes_over_tls() {
    everything_arrives(|fails| Receiver::secure(bounded(fails)));
}

#[test]
fn webhooks_arrive_in_order_despite_crashes_over_http() {
    everything_arrives(|fails| Receiver::plain(bounded(fails)));
}

#[test]
fn a_stuck_webhook_delays_no_other_reservation() {
    let redis = RedisServer::start(&[]);
    let gate = Arc::new(Gate::default());
    let (behind, slow) = (gate.clone(), Arc::new(Mutex::new(String::new())));
    let chosen = slow.clone();
    // The first reservation to come stands still.
    let receiver = Receiver::plain(move |got| {
        let mut chosen = lock(&chosen);
        if chosen.is_empty() && got.reservation().starts_with("ticket") {
            *chosen = got.reservation().to_owned();
        }
        let stands = *chosen == got.reservation();
        if stands { Reply::Behind(behind.clone()) } else { Reply::Status(204) }
    });
    let place = Place::new(&redis, &receiver);
    let mut shop = Shop::open(&redis, &["ticket", "poster"]);
    shop.sell("ticket", 50);
    shop.sell("poster", 50);
    let more = ["--webhook-parallel", "2", "--webhook-deadline", "1m"];
    let worker = place.start(&receiver, &more);
    let changes = |sale| {
        let stands = in_redis(&redis, sale);
        stands.values().map(|(_, _, status)| 1 + usize::from(status != "held")).sum::<usize>()
    };
    let all = changes("ticket") + changes("poster");
    let slow = || lock(&slow).clone();
    let of_slow = || {
        let stands = in_redis(&redis, "ticket");
        let (_, own) =
            slow().split_once('~').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("id");
        let found = stands.into_iter().find(|(id, _)| id.to_string() == own);
        1 + usize::from(found.expect("it is there").1.2 != "held")
    };
    wait_for("all others", || {
        let events = receiver.in_order();
        let count: usize = events.values().map(Vec::len).sum();
        !slow().is_empty() && count == all - of_slow() + 1
    });
    assert_eq!(receiver.in_order()[&slow()].len(), 1);
    gate.open();
    wait_for("the slow one too", || has_all(&receiver, &redis, &["ticket", "poster"]));
    // Nothing failed, so nothing came twice.
    assert_eq!(receiver.got().len(), all);
    worker.terminate();
    assert_eq!(worker.end().0, Some(0));
}

#[test]
fn the_stream_is_read_no_further_than_the_backlog_allows() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(500));
    let place = Place::new(&redis, &receiver);
    let mut shop = Shop::open(&redis, &["ticket"]);
    for _ in 0..20 {
        shop.sell("ticket", 5);
    }
    // At most one entry beyond it is read at a time.
    let more = ["--webhook-backlog", "20", "--batch", "5"];
    let worker = place.start(&receiver, &more);
    wait_for("a full backlog", || waiting(&place) >= 20);
    let groups = || {
        let (code, said) = super::shop::stampede(&["orders", "--from", &redis.url(), "--groups"]);
        assert_eq!(code, Some(0), "{said}");
        let line = said.lines().find(|line| line.starts_with("webhooks")).expect("the group");
        let words: Vec<u64> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (words[1], words[2])
    };
    wait_for("everything read acknowledged", || groups().1 == 0);
    let (unread, _) = groups();
    assert!(unread > 20, "{unread} entries are unread");
    assert!(waiting(&place) < 30, "{} wait", waiting(&place));
    receiver.decide(|_| Reply::Status(200));
    wait_for("everything at the receiver", || has_all(&receiver, &redis, &["ticket"]));
    worker.terminate();
    let (code, said) = worker.end();
    assert_eq!(code, Some(0), "{said}");
    let full = said.lines().find(|line| line.contains("orders wait and lose nothing"));
    let full = full.unwrap_or_else(|| panic!("{said}"));
    assert!(full.contains("as many changes wait for it as may"), "{full}");
    assert!(said.contains("reachable again; orders continue"), "{said}");
}

#[test]
fn once_sends_the_due_webhooks_and_keeps_the_rest() {
    let redis = RedisServer::start(&[]);
    // Neither a redirect nor a request to wait is an acceptance.
    let receiver = Receiver::plain(|_| Reply::With(302, "Location: /elsewhere"));
    let place = Place::new(&redis, &receiver);
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 4);
    let once = |more: &[&str]| {
        let retry = ["--once", "--webhook-retry", "1h"];
        let worker = Worker::start(
            &redis.url(),
            &receiver.url(),
            &[&place.words()[..], &retry, more].concat(),
        );
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
        said
    };
    let said = once(&[]);
    assert!(said.contains("redirects are not followed"), "{said}");
    assert_eq!(receiver.got().len(), 4);
    assert!(receiver.got().iter().all(|got| got.path == "/hooks"));
    // They wait for their time.
    let said = once(&[]);
    assert!(said.contains("webhooks worker stopped") && receiver.got().len() == 4, "{said}");
    // Of new ones, the first is answered 429, and no other is sent.
    receiver.decide(|_| Reply::With(429, "Retry-After: 3600"));
    shop.sell("ticket", 4);
    once(&["--webhook-parallel", "1"]);
    assert_eq!(receiver.got().len(), 5);
    pass_time(&place.state());
    receiver.decide(|_| Reply::Status(200));
    once(&[]);
    assert!(has_all(&receiver, &redis, &["ticket"]));
    assert_eq!(waiting(&place), 0);
}
