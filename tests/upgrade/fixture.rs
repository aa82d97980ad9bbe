//! The data of earlier releases for a test: a copy, with its own modes and owners.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::database::sqlite;
use crate::known::Known;
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;

/// One shop that a release left.
pub struct Fixture {
    source: PathBuf,
    copy: TempDir,
}

impl Fixture {
    /// A copy of a folder: `0.1.0/redis`.
    pub fn copy(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade").join(name);
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_files(&source, copy.path());
        // Files that ended in zeros are kept without them.
        if let Ok(lengths) = fs::read_to_string(source.join("lengths.txt")) {
            for line in lengths.lines() {
                let (name, length) = line.split_once(' ').expect("a name and a length");
                let file =
                    fs::File::options().write(true).open(copy.path().join("data").join(name));
                file.and_then(|file| file.set_len(length.parse().expect("a length"))).expect(name);
            }
        }
        Self { source, copy }
    }

    /// What is known of it.
    pub fn known(&self) -> Known {
        Known::read(&self.source.join("known.json"))
    }

    /// The embedded ledger in it.
    pub fn ledger(&self) -> String {
        format!("embedded:{}", self.copy.path().join("data").display())
    }

    /// The SQLite file with its orders.
    pub fn sqlite(&self) -> String {
        sqlite(&self.copy.path().join("orders.db"))
    }

    /// A PostgreSQL with its orders.
    pub fn postgres(&self) -> PostgresServer {
        let server = PostgresServer::start();
        let dump = fs::read_to_string(self.source.join("orders.sql")).expect("orders.sql");
        server.connect().batch_execute(&dump).expect("restore the orders");
        server
    }

    /// Puts its sales into a Redis: one command a line, as `redis-cli` would take them.
    pub fn restore(&self, redis: &RedisServer) {
        let text = fs::read_to_string(self.source.join("redis.txt")).expect("redis.txt");
        let mut connection = redis.connect();
        for reply in connection.send(text.as_bytes(), text.lines().count()) {
            assert!(!matches!(reply, ::redis::Value::ServerError(_)), "{reply:?}");
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).expect("its mode");
    for entry in fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("a file");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_files(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a copy");
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("its mode");
        }
    }
}
