//! A SQLite file under a worker: who may read it, and what happens when it is removed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stampede::orders::{DatabaseError, open};
use stampede::sale::Status;

use super::databases::rows;
use super::redis_server::RedisServer;
use super::shop::{Shop, Worker, in_database, in_redis, stampede, wait_for_orders};
use super::{change, sale};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn only_the_owner_can_read_the_sqlite_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database =
        open(&format!("sqlite:{}", folder.path().join("orders.db").display())).expect("a database");
    database.write(&[change(&sale("a"), 1, Status::Held, 1)], None).expect("a row");
    assert_eq!(names(folder.path()), ["orders.db", "orders.db-shm", "orders.db-wal"]);
    for name in names(folder.path()) {
        let mode = folder.path().join(&name).metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_trailing_line_end_is_not_part_of_the_file_name() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("orders.db").display());
    Shop::open(&redis, &["ticket"]).sell("ticket", 5);
    let (code, said) = Worker::start(&redis.url(), &format!("{url}\n"), &["--once"]).end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(folder.path()), ["orders.db"]);
    assert_eq!(in_database(&url, "ticket"), Some(in_redis(&redis, "ticket")));
}

#[test]
fn a_write_to_a_deleted_or_replaced_file_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, other) = (folder.path().join("orders.db"), folder.path().join("other.db"));
    let url = format!("sqlite:{}", file.display());
    let a = sale("a");
    let row = |number| [change(&a, number, Status::Held, number)];
    let mut database = open(&url).expect("a database");
    database.write(&row(1), Some(("x", 1))).expect("a row");
    for (n, what) in [(2, "deleted"), (3, "renamed"), (4, "replaced")] {
        match what {
            "deleted" => std::fs::remove_file(&file),
            "renamed" => std::fs::rename(&file, &other),
            _ => std::fs::copy(&file, &other).and_then(|_| std::fs::rename(&other, &file)),
        }
        .expect(what);
        let gone = if n == 3 { database.check() } else { database.write(&row(n), None) };
        let Err(DatabaseError::Replaced(text)) = gone else { panic!("{what}: {gone:?}") };
        assert!(text.contains(what), "{text}");
        database.write(&row(n), Some(("x", n))).expect("into the new file");
        database.check().expect("it is there");
        let there: Vec<_> = rows(&mut *open(&url).expect("a database"), &a);
        let versions: Vec<_> = there.iter().map(|row| row.version).collect();
        assert_eq!(versions.last(), Some(&n), "{what}");
        assert!(!versions.contains(&1), "{what}");
    }
}

#[test]
fn a_worker_ends_if_its_file_is_deleted_and_audit_restores_it() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let url = format!("sqlite:{}", file.display());
    let mut shop = Shop::open(&redis, &["ticket"]);
    shop.sell("ticket", 50);
    let worker = Worker::start(&redis.url(), &url, &["--consumer", "a"]);
    wait_for_orders(&redis, &url, "ticket");
    std::fs::remove_file(&file).expect("delete");
    // That also holds when there is nothing to write.
    let (code, said) = worker.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the file was deleted or renamed") && said.contains("--repair"),
        "{said}"
    );

    shop.sell("ticket", 50);
    let (code, said) = Worker::start(&redis.url(), &url, &["--once", "--consumer", "a"]).end();
    assert_eq!(code, Some(0), "{said}");
    let repair = ["audit", "--repair", "--ledger", &redis.url(), "--orders", &url];
    let (code, said) = stampede(&repair);
    assert!(
        code.is_some() && in_database(&url, "ticket") == Some(in_redis(&redis, "ticket")),
        "{said}"
    );
}
