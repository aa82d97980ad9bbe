//! Webhooks: a real receiver gets every change of every reservation, in order, whatever dies, is
//! slow or fails on the way.

// Each test program uses a part of the support.
#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
#[path = "../support/chance.rs"]
mod chance;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../orders/shop.rs"]
mod shop;

mod arrival;
mod embedded;
mod file;
mod groups;
mod letters;
mod receiver;
mod secrets;

use std::path::PathBuf;

use receiver::{Receiver, SECRET};
use redis_server::RedisServer;
use shop::Worker;
use stampede::sale::SaleId;
use tempfile::TempDir;

fn sale(id: &str) -> SaleId {
    SaleId::new(id).expect("a sale id")
}

/// As if all pauses were over: an event that often failed by chance need not be waited for.
fn pass_time(state: &str) {
    let file = rusqlite::Connection::open(state).expect("the file");
    file.execute("UPDATE events SET retry_at = 0", []).expect("they are due");
}

/// The files of a worker, and how it is started.
struct Place {
    folder: TempDir,
    state: String,
    redis: String,
    options: Vec<String>,
}

impl Place {
    /// A worker that tries again at once, from this Redis to this receiver.
    fn new(redis: &RedisServer, receiver: &Receiver) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("secret");
        std::fs::write(&secret, SECRET).expect("a secret");
        let mut options = vec!["--webhook-secret-file".to_owned(), secret.display().to_string()];
        if receiver.url().starts_with("https") {
            options.extend(["--to-ca".to_owned(), receiver.certificate().to_owned()]);
        }
        let state = folder.path().join("webhooks.db").display().to_string();
        Self { folder, state, redis: redis.url(), options }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn state(&self) -> String {
        self.state.clone()
    }

    fn start(&self, receiver: &Receiver, more: &[&str]) -> Worker {
        self.start_with(&self.state(), receiver, more)
    }

    fn start_with(&self, state: &str, receiver: &Receiver, more: &[&str]) -> Worker {
        let mut all: Vec<&str> = self.options.iter().map(String::as_str).collect();
        all.extend(["--state", state]);
        for (flag, value) in [("--webhook-retry", "10ms"), ("--webhook-attempts", "100")] {
            if !more.contains(&flag) {
                all.extend([flag, value]);
            }
        }
        all.extend(more);
        Worker::start(&self.redis, &receiver.url(), &all)
    }

    /// The arguments of any worker.
    fn words(&self) -> Vec<&str> {
        let words = self.options.iter().map(String::as_str);
        words.chain(["--state", self.state.as_str()]).collect()
    }

    /// A command of `stampede orders` about dead letters.
    fn letters(&self, what: &[&str]) -> (Option<i32>, String) {
        let state = self.state();
        shop::stampede(&[&["orders", "--state", &state][..], what].concat())
    }
}
