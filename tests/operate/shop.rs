//! A server and its operator, on each kind of ledger.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::buyer::{Answer, Bought, Buyer};
use crate::redis::RedisServer;
use crate::server::{ANSWER_DEADLINE, Server};

/// A process that keeps what is acknowledged when it is killed.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

/// A server that sells `ticket`.
pub struct Shop {
    pub server: Server,
    pub redis: Option<RedisServer>,
    pub splits: usize,
}

impl Shop {
    /// One on an embedded ledger, one on a Redis, and one there with its sale in parts.
    pub fn each(sale: &str, options: &[&str], test: impl Fn(Self)) {
        for splits in [0, 1, 4] {
            let redis = (splits > 0).then(|| RedisServer::start(&DURABLE));
            let url = redis.as_ref().map(RedisServer::url);
            let sale = format!("{sale}{}", if splits > 1 { ",splits=4" } else { "" });
            let mut arguments = vec!["--sale", &sale, "--cores", "0,1"];
            arguments.extend(url.iter().flat_map(|url| ["--ledger", url]));
            arguments.extend(options);
            let server = Server::start(&arguments);
            test(Self { server, redis, splits });
        }
    }

    /// Kills the process with the ledger in the middle of its work, and starts it again.
    pub fn crash(&mut self) {
        match &mut self.redis {
            Some(redis) => {
                redis.kill();
                redis.restart();
                until("it sells again", || self.look().is_some());
            }
            None => {
                self.server.kill();
                self.server.restart();
            }
        }
    }

    fn look(&self) -> Option<Value> {
        let mut operator = Buyer::connect(self.server.control()).ok()?;
        operator.sale("ticket").ok().filter(|sale| sale["id"] == "ticket")
    }

    pub fn buyer(&self) -> Buyer {
        Buyer::connect(self.server.address()).expect("a server")
    }

    /// Asks the control port.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut operator = Buyer::connect(self.server.control()).expect("a control port");
        operator.request(method, path, &[], body).expect("an answer")
    }

    /// The same, for a request that must succeed.
    #[track_caller]
    pub fn done(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.ask(method, path, body);
        assert!(matches!(answer.status, 200 | 201), "{path}: {} {}", answer.status, answer.body);
        answer.json()
    }

    /// The same, for a request that must be refused: its code.
    #[track_caller]
    pub fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask(method, path, body);
        assert!(answer.status >= 400, "{path}: {} {}", answer.status, answer.body);
        (answer.status, answer.json()["code"].as_str().expect("a code").to_owned())
    }

    #[track_caller]
    pub fn reservation(&self, id: &str, verb: &str) -> Value {
        self.done("POST", &format!("/v1/reservations/{id}/{verb}"), "")
    }

    #[track_caller]
    pub fn change(&self, terms: &str) -> Value {
        self.done("PATCH", "/v1/sales/ticket", terms)
    }

    /// Total, held, confirmed and free units, as the ledger has them now.
    #[track_caller]
    pub fn counts(&self) -> [u64; 4] {
        let sale = self.done("GET", "/v1/sales/ticket", "");
        ["total", "held", "confirmed", "free"].map(|name| sale[name].as_u64().expect("a number"))
    }

    /// Ledger and orders agree with themselves and each other.
    #[track_caller]
    pub fn assert_agrees(&self) {
        let report = self.done("GET", "/v1/audit", "");
        assert_eq!(report["differences"], 0, "{report:#}");
    }

    /// Runs the program as an operator does. Returns its exit code and its output.
    pub fn operate(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
        command.args(arguments).env_clear();
        command.arg("--control").arg(format!("http://{}", self.server.control()));
        let output = command.output().expect("run the program");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
    }
}

/// Asks for units.
#[track_caller]
pub fn reserve(buyer: &mut Buyer, user: &str, quantity: u32, key: &str) -> Bought {
    buyer.reserve("ticket", user, quantity, key).expect("an answer").bought()
}

/// Gets a unit, as soon as its core knows that there is one again.
#[track_caller]
pub fn bought(buyer: &mut Buyer, user: &str, key: &str) -> String {
    let mut id = None;
    until("sold one", || {
        match reserve(buyer, user, 1, key) {
            Bought::Granted(granted) => id = Some(granted),
            Bought::Refused(code) => {
                assert!(matches!(&*code, "sold_out" | "unavailable"), "{code}");
            }
        }
        id.is_some()
    });
    id.expect("one that was granted")
}

/// Polls until the condition holds.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + ANSWER_DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
