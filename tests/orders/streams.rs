//! From the streams to the database, whatever dies, goes away or comes twice on the way.

use std::sync::atomic::AtomicBool;

use redis::Value;
use stampede::orders::{
    DatabaseUrl, StreamOptions, StreamSource, WorkDone, WorkerError, WorkerOptions, run,
};

use super::postgres_server::PostgresServer;
use super::redis_server::RedisServer;
use super::shop::{
    Shop, Worker, in_database, in_redis, ledger_at, wait_for, wait_for_orders, worker_named,
};

pub const STREAM: &str = "{ticket_hash_key}:stream";

/// A worker in this process, until nothing is left.
pub fn drain(
    from: &RedisServer,
    to: &str,
    stream: &StreamOptions,
) -> Result<WorkDone, WorkerError> {
    drain_as(&from.url(), to, stream)
}

/// The same, as this user of Redis.
pub fn drain_as(from: &str, to: &str, stream: &StreamOptions) -> Result<WorkDone, WorkerError> {
    let (ledger, url) = (ledger_at(from), DatabaseUrl::parse(to).expect("a URL"));
    let options = WorkerOptions { batch: 100, once: true, away_max: None };
    let mut connect = |_: &mut dyn stampede::orders::Sink| {
        let source = StreamSource::connect(ledger.clone(), stream.clone())?;
        Ok(Box::new(source) as Box<dyn stampede::orders::ChangeSource>)
    };
    run(&url, &mut connect, options, &AtomicBool::new(false))
}

pub fn sqlite() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("orders.db").display());
    (folder, url)
}

pub fn pending(redis: &RedisServer, group: &str) -> u64 {
    match redis.connect().ask(&format!("XPENDING {STREAM} {group}")) {
        Value::Array(parts) => match parts.first() {
            Some(Value::Int(count)) => *count as u64,
            other => panic!("XPENDING begins with {other:?}"),
        },
        // No stream and no group yet.
        _ => 0,
    }
}

#[test]
fn every_reservation_is_one_row_with_its_last_status() {
    let redis = RedisServer::start(&[]);
    let postgres = PostgresServer::start();
    let (_folder, sqlite) = sqlite();
    let mut shop = Shop::open(&redis, &["ticket", "poster", "idle"]);
    for (url, group) in [(&postgres.url(), "orders"), (&sqlite, "report")] {
        let stream = StreamOptions { group: group.into(), ..worker_named("a") };
        for _ in 0..10 {
            shop.sell("ticket", 50);
            shop.sell("poster", 7);
        }
        let done = drain(&redis, url, &stream).expect("drained");
        assert!(done.changes > 570 && done.unreadable == 0, "{done:?}");
        for sale in ["ticket", "poster", "idle"] {
            assert_eq!(in_database(url, sale), Some(in_redis(&redis, sale)));
        }
        assert_eq!(pending(&redis, group), 0);
        // Nothing is left, and nothing comes twice.
        assert_eq!(drain(&redis, url, &stream).expect("drained").changes, 0);
    }
    // Everything once more, by another group, changes nothing.
    let before = in_database(&postgres.url(), "ticket");
    let again = StreamOptions { group: "again".into(), ..worker_named("a") };
    drain(&redis, &postgres.url(), &again).expect("drained");
    assert_eq!(in_database(&postgres.url(), "ticket").map(|rows| rows.len()), Some(1_000));
    assert_eq!(in_database(&sqlite, "ticket"), before.map(|_| in_redis(&redis, "ticket")));
}

#[test]
fn the_entries_of_a_killed_worker_are_written_by_the_next() {
    let redis = RedisServer::start(&[]);
    let postgres = PostgresServer::start();
    let mut shop = Shop::open(&redis, &["ticket"]);
    for (next, claim_after) in [("b", "100ms"), ("a", "1d")] {
        let mut stuck = Worker::start(&redis.url(), &postgres.url(), &["--consumer", "a"]);
        shop.sell("ticket", 10);
        wait_for_orders(&redis, &postgres.url(), "ticket");
        // The test locks the table, so that the worker is stuck in the middle of its batch.
        let mut admin = postgres.connect();
        let mut lock = admin.transaction().expect("a transaction");
        lock.batch_execute("LOCK TABLE orders").expect("a lock");
        shop.sell("ticket", 300);
        wait_for("entries with the worker", || pending(&redis, "orders") > 0);
        stuck.kill();
        lock.rollback().expect("unlocked");
        let more = ["--once", "--consumer", next, "--claim-after", claim_after];
        let (code, said) = Worker::start(&redis.url(), &postgres.url(), &more).end();
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(in_database(&postgres.url(), "ticket"), Some(in_redis(&redis, "ticket")));
        assert_eq!(pending(&redis, "orders"), 0);
    }
}

#[test]
fn workers_resume_after_outages_of_database_and_redis() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut postgres = PostgresServer::start();
    let mut shop = Shop::open(&redis, &["ticket"]);
    let more = ["--claim-after", "500ms", "--batch", "50"];
    let workers: Vec<_> =
        (0..2).map(|_| Worker::start(&redis.url(), &postgres.url(), &more)).collect();
    shop.sell("ticket", 100);
    wait_for_orders(&redis, &postgres.url(), "ticket");

    postgres.crash();
    shop.sell("ticket", 200);
    wait_for("entries that wait", || pending(&redis, "orders") > 0);
    postgres.restart();
    wait_for_orders(&redis, &postgres.url(), "ticket");

    for _ in 0..3 {
        shop.sell("ticket", 100);
        redis.restart();
        shop.sell("ticket", 100);
    }
    postgres.stop();
    redis.kill();
    postgres.restart();
    redis.restart();
    shop.sell("ticket", 10);
    wait_for_orders(&redis, &postgres.url(), "ticket");
    wait_for("everything acknowledged", || pending(&redis, "orders") == 0);

    for worker in workers {
        worker.terminate();
        let (code, said) = worker.end();
        assert_eq!(code, Some(0), "{said}");
        let told = said.matches("unreachable; orders wait").count();
        assert!((1..=20).contains(&told), "told {told} times:\n{said}");
    }
}

#[test]
fn an_unreadable_entry_stays_and_the_rest_is_written() {
    let redis = RedisServer::start(&[]);
    let (_folder, url) = sqlite();
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 5);
    let mut by_hand = redis.connect();
    let id = by_hand.text(&format!("XADD {STREAM} * at_ms 5 reservations nonsense"));
    shop.sell("ticket", 5);
    let more = ["--once", "--consumer", "a"];
    for _ in 0..2 {
        let (code, said) = Worker::start(&redis.url(), &url, &more).end();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(&id) && said.contains("1 entries of the streams"), "{said}");
        assert_eq!(in_database(&url, "ticket"), Some(in_redis(&redis, "ticket")));
        assert_eq!(pending(&redis, "orders"), 1);
    }
    by_hand.ask(&format!("XACK {STREAM} orders {id}"));
    let (code, said) = Worker::start(&redis.url(), &url, &more).end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn orders_resume_after_a_stream_or_group_is_deleted() {
    let redis = RedisServer::start(&[]);
    let (_folder, url) = sqlite();
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 5);
    let _worker = Worker::start(&redis.url(), &url, &[]);
    wait_for_orders(&redis, &url, "ticket");
    redis.connect().ask(&format!("DEL {STREAM}"));
    shop.sell("ticket", 5);
    wait_for_orders(&redis, &url, "ticket");
    redis.connect().ask(&format!("XGROUP DESTROY {STREAM} orders"));
    shop.sell("ticket", 5);
    wait_for_orders(&redis, &url, "ticket");
    // A sale that comes later, and one that cannot be read, do not disturb the others.
    redis.connect().ask("SADD stampede:sales:{sale}_hash_key broken");
    redis.connect().ask("SET {broken_hash_key}:stream x");
    let mut shop = Shop::open(&redis, &["later"]);
    shop.sell("later", 5);
    wait_for_orders(&redis, &url, "later");
}

#[test]
fn only_entries_processed_by_every_group_are_trimmed() {
    let redis = RedisServer::start(&[]);
    let (_folder, url) = sqlite();
    let mut shop = Shop::open(&redis, &["ticket"]);
    let mut by_hand = redis.connect();
    for n in 1..=500 {
        // An old entry, about nothing.
        by_hand.ask(&format!("XADD {STREAM} 1-{n} at_ms 5 reservations "));
    }
    by_hand.ask(&format!("XGROUP CREATE {STREAM} slow 1-200"));
    shop.sell("ticket", 5);
    let length =
        || redis.connect().text(&format!("XLEN {STREAM}")).parse::<u64>().expect("a length");
    let done = drain(&redis, &url, &worker_named("a")).expect("drained");
    assert_eq!((done.unreadable, pending(&redis, "orders")), (0, 0));
    // The other group is at 200: whole nodes of the stream go, up to there at most.
    assert!((302..502).contains(&length()), "{}", length());
    by_hand.ask(&format!("XGROUP DESTROY {STREAM} slow"));
    drain(&redis, &url, &worker_named("a")).expect("drained");
    assert!((2..=102).contains(&length()), "{}", length());
    assert_eq!(in_database(&url, "ticket"), Some(in_redis(&redis, "ticket")));
}

#[test]
fn wrong_options_of_the_orders_worker_are_explained() {
    let redis = RedisServer::start(&[]);
    let (_folder, url) = sqlite();
    for (from, to, more, told) in [
        ("embedded:.", url.as_str(), &[][..], "serve --orders"),
        ("redis://ann:hunter2@host/x", &url, &[], "--from redis://ann:***@host/x"),
        (&redis.url(), "mysql://ann:hunter2@host/x", &[], "--to must be postgres://"),
        (&redis.url(), &url, &["--batch", "0"], "--batch \"0\": must be a whole number"),
        (&redis.url(), &url, &["--claim-after", "5"], "--claim-after \"5\": must be"),
        (&redis.url(), &url, &["--group", "a b"], "--group \"a b\": must be"),
        (&redis.url(), &url, &["--timeout", "5"], "--timeout \"5\": must be"),
        (&redis.url(), "postgres://ann:a@hunter2@host/x", &[], "--to can be read in several ways"),
        (&redis.url(), "sqlite::memory:", &[], "--to must name a file"),
    ] {
        let (code, said) = Worker::start(from, to, more).end();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told) && !said.contains("hunter2"), "{told}: {said}");
    }
    redis.connect().ask("SET stampede:sales:{sale}_hash_key x");
    let (code, said) = Worker::start(&redis.url(), &url, &[]).end();
    assert!(code == Some(1) && said.contains("the index of sales"), "{said}");
}

#[test]
fn once_gives_up_if_database_or_redis_is_away_too_long() {
    let mut redis = RedisServer::start(&[]);
    let mut postgres = PostgresServer::start();
    let (_folder, sqlite) = sqlite();
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 5);
    postgres.stop();
    let more = ["--once", "--timeout", "1s"];
    let (code, said) = Worker::start(&redis.url(), &postgres.url(), &more).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("gave up after 1s without the database: "), "{said}");
    redis.kill();
    let (code, said) = Worker::start(&redis.url(), &sqlite, &more).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("gave up after 1s without the ledger: "), "{said}");
}

#[test]
fn an_idle_connection_closed_by_the_database_is_no_outage() {
    let redis = RedisServer::start(&[]);
    let postgres = PostgresServer::start();
    let mut shop = Shop::open(&redis, &["ticket"]);
    let mut admin = postgres.connect();
    admin.batch_execute("ALTER ROLE stampede SET idle_session_timeout = '1500ms'").expect("alter");
    let worker = Worker::start(&redis.url(), &postgres.url(), &[]);
    shop.sell("ticket", 20);
    wait_for_orders(&redis, &postgres.url(), "ticket");
    wait_for("the end of its connection", || {
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stampede'";
        admin.query_one(left, &[]).expect("a count").get::<_, i64>(0) == 0
    });
    shop.sell("ticket", 20);
    wait_for_orders(&redis, &postgres.url(), "ticket");
    worker.terminate();
    let (code, said) = worker.end();
    assert!(code == Some(0) && !said.contains("unreachable;"), "{said}");
}
