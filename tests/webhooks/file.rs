//! The file with the undelivered events: private, of one worker, and missed when it is gone or
//! full.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::Place;
use super::receiver::{Receiver, Reply};
use super::redis_server::RedisServer;
use super::shop::{Shop, in_redis, wait_for};

#[test]
fn an_unusable_state_file_is_reported() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(200));
    let place = Place::new(&redis, &receiver);
    Shop::open(&redis, &["ticket"]).sell("ticket", 3);
    let worker = place.start(&receiver, &[]);
    wait_for("all of them", || receiver.in_order().len() == 3);
    for name in ["webhooks.db", "webhooks.db-wal", "webhooks.db-shm", "webhooks.db-lock"] {
        let mode = place.file(name).metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let ends_with = |state: &str, told: &str| {
        let (code, said) = place.start_with(state, &receiver, &[]).end();
        assert!(code == Some(1) && said.contains(told), "{state}: {said}");
    };
    // Another worker has it.
    ends_with(&place.state(), "in use by another worker");
    // It is removed under an idle worker.
    std::fs::remove_file(place.file("webhooks.db")).expect("delete");
    let (code, said) = worker.end();
    assert!(code == Some(1) && said.contains("deleted or renamed"), "{said}");
    assert!(said.contains("put the file back") && !said.contains("--repair"), "{said}");
    // It is locked by another program, and newer.
    let other = place.file("other.db").display().to_string();
    let made = place.start_with(&other, &receiver, &["--once", "--group", "webhooks-2"]);
    assert_eq!(made.end().0, Some(0));
    let file = rusqlite::Connection::open(&other).expect("the file");
    file.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    ends_with(&other, "database is locked");
    file.execute_batch("ROLLBACK; PRAGMA user_version = 99").expect("newer");
    ends_with(&other, "has version 99 of the schema, made by a newer stampede");
    ends_with(&place.file("no/folder.db").display().to_string(), "No such file or directory");
    // It does not hold up the audit, nor pass for a database of orders.
    let orders = format!("sqlite:{other}");
    let audit = ["audit", "--ledger", &redis.url(), "--orders", &orders];
    let (code, said) = super::shop::stampede(&audit);
    assert!(code == Some(3) && said.contains("is the state of a worker that sends"), "{said}");
}

#[test]
fn a_full_disk_ends_the_worker_and_loses_nothing() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(500));
    let place = Place::new(&redis, &receiver);
    let mut shop = Shop::open(&redis, &["ticket"]);
    for _ in 0..30 {
        shop.sell("ticket", 100);
    }
    // A disk of its own, which goes with the process: events on it are still in Redis, or count as
    // lost with it. So it is copied before.
    let disk = place.file("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let script = "mount -t tmpfs -o size=600k none \"$DISK\" || exit 77
                  \"$0\" \"$@\"
                  code=$?
                  cp \"$DISK\"/* \"$COPY\"
                  exit $code";
    let copy = place.file("copy");
    std::fs::create_dir(&copy).expect("a folder");
    let state = disk.join("webhooks.db").display().to_string();
    let mut full = Command::new("unshare");
    full.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_stampede")]);
    full.args(["orders", "--from", &redis.url(), "--to", &receiver.url(), "--state", &state]);
    full.args(&place.options).args(["--batch", "100"]);
    full.env("DISK", &disk).env("COPY", &copy);
    let done = full.output().expect("this test needs unshare: apt-get install util-linux");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("database or disk is full"), "{said}");

    receiver.decide(|_| Reply::Status(200));
    let state = copy.join("webhooks.db").display().to_string();
    let worker = place.start_with(&state, &receiver, &[]);
    wait_for("everything at the receiver", || {
        let events = receiver.in_order();
        in_redis(&redis, "ticket").into_iter().all(|(id, (_, _, status))| {
            let of_one = events.get(&format!("ticket~{id}"));
            of_one.and_then(|of_one| of_one.last()).is_some_and(|(_, last)| *last == status)
        })
    });
    worker.terminate();
    assert_eq!(worker.end().0, Some(0));
}
