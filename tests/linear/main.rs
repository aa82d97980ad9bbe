//! One sale, many clients whose connections break at any moment, two servers: there is an order of
//! all requests in which each answer is true. `checker.rs` says exactly what that means.
//!
//!     STAMPEDE_TEST_SEED=…    the choices of the clients, as a failure has printed them
//!     STAMPEDE_TEST_ROUNDS=…  how many sales, of each kind of ledger

#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[path = "../support/chance.rs"]
mod chance;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;

mod history;
mod checker;
mod client;
mod fresh;

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use buyer::{Answer, Buyer};
use chance::{Chance, seed};
use checker::{Rules, check};
use client::{Client, Round};
use history::{Call, Operation, Said, Status};
use redis_server::RedisServer;
use serde_json::json;
use server::Server;

/// Sales, unless `STAMPEDE_TEST_ROUNDS` says otherwise.
const ROUNDS: usize = 4;
/// Sales after which other servers take over.
const SALES_PER_SHOP: usize = 2;
/// Users of a sale, each with this number of clients.
const USERS: usize = 4;
const CLIENTS_PER_USER: usize = 2;
/// Steps of a client in one sale.
const STEPS: usize = 30;
/// Units at first, and per user.
const TOTAL: u64 = 5;
const LIMIT: u64 = 3;
/// Times at which an operator adds units.
const ADDITIONS: usize = 8;
/// The age that docs/internals/purchase.md allows to what a core knows of a sale, plus some scheduling.
const HEARSAY: Duration = Duration::from_millis(500);

/// Servers that sell the same sale.
struct Shop {
    servers: Vec<Server>,
    redis: Option<RedisServer>,
    splits: usize,
}

impl Shop {
    /// Two servers that share a Redis, with this sale.
    fn on_redis(splits: usize, sale: &str) -> Self {
        let redis = RedisServer::start(&[]);
        let url = redis.url();
        let options = ["--ledger", &url, "--public-confirm", "--sale", sale];
        let servers = vec![Server::start(&options), Server::start(&options)];
        Self { servers, redis: Some(redis), splits }
    }

    /// One server with a ledger of its own.
    fn embedded(sale: &str) -> Self {
        let servers = vec![Server::start(&["--public-confirm", "--sale", sale])];
        Self { servers, redis: None, splits: 1 }
    }

    fn operator(&self, at: usize) -> Buyer {
        Buyer::connect(self.servers[at % self.servers.len()].control()).expect("a control port")
    }

    /// Sells one sale out, and checks the result.
    fn round(&self, sale: &str, mut chance: Chance, told: &mut BTreeMap<String, usize>) {
        let spec = json!({
            "id": sale, "total": TOTAL, "limit_per_user": LIMIT, "splits": self.splits,
        });
        done(&self.operator(0).request("POST", "/v1/sales", &[], &spec.to_string()).unwrap());
        let round = Round {
            sale: sale.to_owned(),
            servers: self.servers.iter().map(Server::address).collect(),
            controls: self.servers.iter().map(Server::control).collect(),
            since: Instant::now(),
            known: (0..USERS).map(|_| Mutex::default()).collect(),
        };
        let mut clients: Vec<_> = (0..USERS * CLIENTS_PER_USER)
            .map(|number| Client::new(&round, Chance(chance.next()), number % USERS, number))
            .collect();
        let mut history = thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| client.run(STEPS));
            }
            self.change_stock(&round, &mut chance)
        });
        thread::scope(|scope| {
            for client in clients.iter_mut().take(USERS) {
                scope.spawn(|| client.find_out(STEPS));
            }
        });
        history.extend(clients.into_iter().flat_map(|client| client.history));
        history.push(self.look(&round));
        for operation in &history {
            *told.entry(kind(operation)).or_default() += 1;
        }
        let hearsay = HEARSAY.as_nanos() as u64;
        let rules =
            Rules { total: TOTAL, limit_per_user: LIMIT, hearsay, is_split: self.splits > 1 };
        if let Err(wrong) = check(&rules, &history) {
            history.sort_by_key(|operation| operation.began);
            history.iter().for_each(|operation| println!("{operation:?}"));
            panic!("{sale}: {wrong}");
        }
        self.agrees(sale, &history);
    }

    /// An operator's part.
    fn change_stock(&self, round: &Round, chance: &mut Chance) -> Vec<Operation> {
        let path = |verb| format!("/v1/sales/{}/{verb}", round.sale);
        let mut history = Vec::new();
        for at in 0..ADDITIONS {
            thread::sleep(Duration::from_millis(chance.below(40) as u64));
            let units = 1 + chance.below(3) as u64;
            let body = json!({ "units": units }).to_string();
            let mut operator = self.operator(at);
            let began = round.now();
            done(&operator.request("POST", &path("add-stock"), &[], &body).expect("an answer"));
            let (ended, call) = (round.now(), Call::AddStock(units));
            history.push(Operation { began, ended, call, said: Some(Said::Added) });
            if chance.below(2) == 0 {
                continue;
            }
            let body = json!({ "units": units, "at_most": true }).to_string();
            let began = round.now();
            let answer = operator.request("POST", &path("take-stock"), &[], &body);
            let answer = answer.expect("an answer");
            // In parts, other requests may have moved the units all the time.
            if answer.json()["code"] == "busy" {
                continue;
            }
            done(&answer);
            let taken = Said::Taken(answer.json()["taken"].as_u64().expect("a number"));
            let (ended, call) = (round.now(), Call::TakeStock(units));
            history.push(Operation { began, ended, call, said: Some(taken) });
        }
        history
    }

    fn look(&self, round: &Round) -> Operation {
        let began = round.now();
        let answer = self.operator(1).sale(&round.sale).expect("an answer");
        let count = |name: &str| answer[name].as_u64().expect("a number");
        let (total, held, confirmed) = (count("total"), count("held"), count("confirmed"));
        assert!(held + confirmed <= total && count("free") == total - held - confirmed, "{answer}");
        let said = Some(Said::Counts { total, held, confirmed });
        Operation { began, ended: round.now(), call: Call::Look, said }
    }

    /// The ledger has what the answers said: each reservation once, and no two for one user and
    /// key.
    fn agrees(&self, sale: &str, history: &[Operation]) {
        let path = format!("/v1/audit?sale={sale}");
        let report = self.operator(0).request("GET", &path, &[], "").expect("an answer");
        done(&report);
        assert_eq!(report.json()["differences"], 0, "{}", report.body);
        let Some(redis) = &self.redis else { return };
        let places = match self.splits {
            1 => vec![sale.to_owned()],
            parts => (1..=parts).map(|part| format!("{sale}~{part}of{parts}")).collect(),
        };
        let (mut ids, mut owners) = (HashSet::new(), HashSet::new());
        for place in places {
            let there = redis.connect().reservations(&format!("{{{place}_hash_key}}:reservations"));
            for (id, line) in there {
                assert!(ids.insert(format!("{place}~{id}")), "{id} is there twice");
                let owner = line.splitn(4, ' ').last().unwrap_or_default().to_owned();
                assert!(!owner.contains('\t') || owners.insert(owner), "two for one key: {line}");
            }
        }
        for operation in history {
            if let Some(Said::Reservation { id, .. }) = &operation.said {
                assert!(ids.contains(id), "{id} was told of and is not there");
            }
        }
    }
}

/// Sells many sales, with new servers for every few of them.
fn try_many(start: impl Fn() -> Shop) {
    let rounds = std::env::var("STAMPEDE_TEST_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let (mut chance, mut told) = (Chance(seed()), BTreeMap::new());
    let mut shop = None;
    for number in 0..rounds {
        let sale = match number % SALES_PER_SHOP {
            // The article's sale, which is also bought in the article's way, and which cores do not
            // know yet.
            0 => {
                shop = Some(start());
                "ticket".to_owned()
            }
            _ => format!("sale{number}"),
        };
        let shop = shop.as_ref().expect("one was started");
        shop.round(&sale, Chance(chance.next()), &mut told);
    }
    println!("{told:?}");
    for kind in
        ["granted", "replayed", "sold out", "limit reached", "no answer", "refunded", "taken back"]
    {
        assert!(told.contains_key(kind), "never {kind}: {told:?}");
    }
}

/// Panics unless an operator's request was carried out.
#[track_caller]
fn done(answer: &Answer) {
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.body);
}

/// An answer in one word.
fn kind(operation: &Operation) -> String {
    let kind = match &operation.said {
        None => "no answer",
        Some(Said::SoldOut) => "sold out",
        Some(Said::LimitReached) => "limit reached",
        Some(Said::Reservation { is_new: Some(true), .. }) => "granted",
        Some(Said::Reservation { is_new: Some(false), .. }) => "replayed",
        Some(Said::Reservation { status: Some(Status::Refunded), .. })
            if matches!(operation.call, Call::Refund(_)) =>
        {
            "refunded"
        }
        Some(Said::Taken(1..)) => "taken back",
        Some(_) => "other",
    };
    kind.to_owned()
}

#[test]
fn two_servers_on_one_redis() {
    try_many(|| Shop::on_redis(1, "other=1"));
}

#[test]
fn two_servers_and_a_split_sale() {
    try_many(|| Shop::on_redis(4, "other=1"));
}

#[test]
fn one_server_with_its_own_ledger() {
    try_many(|| Shop::embedded("other=1"));
}
