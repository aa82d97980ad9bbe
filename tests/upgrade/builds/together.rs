//! An old and the present build on one Redis. To buyers, the shop and operators they are one,
//! whichever of them has created the sale, and whichever dies.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use crate::asking::{self, buy_one};
use crate::crowd::{self, LIMIT, TOTAL};
use crate::database::{Worker, audit, run, wait_for_pending, wait_until_written};
use crate::eventually;
use crate::formats;
use crate::known::{Known, Reservation};
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::table::{Line, Table};
use crate::takeover::{agrees, sells_the_rest};

const NEW: &str = env!("CARGO_BIN_EXE_stampede");
const NAMES: [&str; 2] = ["old", "new"];

/// The build that creates the sales, and the number of parts.
const SCENARIOS: [(&str, usize, &[&str]); 4] = [
    ("plain, created by the old", 0, &[]),
    ("plain, created by the new", 1, &[]),
    ("split, created by the old", 0, &["--splits", "4"]),
    ("split, created by the new", 1, &["--splits", "4"]),
];

/// What the old build does not read.
const FORMATS: &str = "formats";

/// Two servers, and what they share.
pub struct Pair {
    /// The programs: the old one, the new one.
    programs: [String; 2],
    /// A server of each.
    pub servers: [Server; 2],
    redis: RedisServer,
    postgres: PostgresServer,
    known: Known,
    lines: Vec<Line>,
}

/// Has an old program and the present one sell together. With names: the scenarios that contain one
/// of them.
pub fn sell(old: &str, names: &[&str]) -> ExitCode {
    let programs = [old.to_owned(), NEW.to_owned()];
    let versions = programs.each_ref().map(|program| run(program, &["--version"]).1);
    println!("old: {}new: {}", versions[0], versions[1]);
    let mut table = Table::default();
    let chosen = |name: &str| names.is_empty() || names.iter().any(|part| name.contains(part));
    for (name, first, options) in SCENARIOS.into_iter().filter(|(name, ..)| chosen(name)) {
        println!("== {name}");
        let since = Instant::now();
        let scenario = || Pair::open(programs.clone(), first, options).all();
        let done = catch_unwind(AssertUnwindSafe(scenario));
        table.add(name, since.elapsed(), done.map_err(|_| "what disagreed: see above".into()));
    }
    if chosen(FORMATS) {
        println!("== {FORMATS}");
        let since = Instant::now();
        let done = catch_unwind(|| formats::all(&programs));
        table.add(FORMATS, since.elapsed(), done.map_err(|_| "what disagreed: see above".into()));
    }
    println!("\n{table}");
    table.exit_code()
}

impl Pair {
    /// Servers on one Redis. The first of them creates the sales.
    fn open(programs: [String; 2], first: usize, options: &[&str]) -> Self {
        let redis = RedisServer::start(&[]);
        let url = redis.url();
        let ticket = format!("ticket={TOTAL},limit={LIMIT},hold=1h");
        let sales = ["--sale", &ticket, "--sale", "quick=40,hold=1s", "--sale", "again=6,hold=1s"];
        let start = |number: usize| {
            let own = ["--ledger", &url, "--instance", NAMES[number]];
            let options = [&own, &sales[..], options].concat();
            Server::start_program(&programs[number], &[] as &[(&str, &str)], &options)
        };
        let one = start(first);
        let other = start(1 - first);
        let servers = if first == 0 { [one, other] } else { [other, one] };
        // As the old server shows them: the new one shows more.
        let known = Known::new(&servers[0], &["ticket", "quick"]);
        let postgres = PostgresServer::start();
        Self { programs, servers, redis, postgres, known, lines: Vec::new() }
    }

    fn all(mut self) -> Vec<Line> {
        self.know_each_other();
        let workers = [0, 1].map(|number| self.worker(number));
        self.keys_and_limits_cross();
        self.crowd(workers);
        self.settle_across();
        self.expire_by_either();
        self.orders();
        self.audits();
        self.created_again();
        self.lines
    }

    fn show(&mut self, what: &str, wanted: impl ToString, seen: impl ToString) {
        let line = Line::new(what, wanted.to_string(), seen.to_string());
        println!("   {}: {} (wanted: {})", line.what, line.seen, line.wanted);
        self.lines.push(line);
    }

    fn worker(&self, number: usize) -> Worker {
        let (redis, postgres) = (self.redis.url(), self.postgres.url());
        Worker::start(&self.programs[number], &redis, &postgres, "orders", NAMES[number])
    }

    /// Each lists both, with their versions.
    fn know_each_other(&mut self) {
        let versions = |server: &Server| {
            let instances = asking::control(server, "GET", "/v1/instances").json();
            let list = instances["instances"].as_array().cloned().unwrap_or_default();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("?").to_owned();
            let mut list: Vec<String> = list
                .iter()
                .map(|one| format!("{} {}", text(&one["name"]), text(&one["version"])))
                .collect();
            list.sort();
            list.join(", ")
        };
        let wanted = [1, 0].map(|number| {
            let version = run(&self.programs[number], &["--version"]).1;
            format!("{} {}", NAMES[number], version.trim().trim_start_matches("stampede "))
        });
        let wanted = wanted.join(", ");
        for (number, name) in NAMES.into_iter().enumerate() {
            eventually(&format!("the {name} server lists {wanted}"), || {
                versions(&self.servers[number]) == wanted
            });
            self.show(&format!("the {name} server lists"), &wanted, &wanted);
        }
    }

    /// A key that was used at one server leads to the same reservation at the other, and both count
    /// it.
    fn keys_and_limits_cross(&mut self) {
        let users = 40;
        for number in 0..users {
            let user = format!("early {number}");
            for unit in 0..LIMIT {
                let key = format!("{unit} of {user}");
                let (here, there) = ((number + unit) % 2, (number + unit + 1) % 2);
                let id = self.known.buy(&self.servers[here], "ticket", Some(&user), 1, Some(&key));
                let again = buy_one(&self.servers[there], "ticket", &user, &key);
                assert_eq!(again.granted(), Some(id), "the same key at the {} one", NAMES[there]);
            }
            for (server, name) in self.servers.iter().zip(NAMES) {
                let more = buy_one(server, "ticket", &user, &format!("more of {user} at {name}"));
                assert!(more.is("limit_reached"), "{user} at the {name} one: {more:?}");
            }
        }
        self.show(
            "keys repeated at the other server: the same reservation",
            users * LIMIT,
            users * LIMIT,
        );
        self.show("users at their limit, refused by both", users, users);
        // At the same time, through both.
        for number in 0..users {
            let user = format!("twice {number}");
            let ask = |server: &Server, name: &str| {
                (0..LIMIT)
                    .filter_map(|unit| {
                        let key = format!("{unit} of {user} at {name}");
                        let answer = asking::reserve(server, "ticket", Some(&user), 1, Some(&key));
                        let id = asking::reservation_of(&answer)?;
                        let expires_at = answer.json()["expires_at"].as_str()?.to_owned();
                        let (user, status) = (Some(user.clone()), "held".to_owned());
                        Some(Reservation {
                            id,
                            user,
                            key: Some(key),
                            quantity: 1,
                            status,
                            expires_at,
                        })
                    })
                    .collect::<Vec<_>>()
            };
            let got = std::thread::scope(|scope| {
                let pairs = self.servers.iter().zip(NAMES);
                let threads: Vec<_> =
                    pairs.map(|(server, name)| scope.spawn(move || ask(server, name))).collect();
                threads.into_iter().flat_map(|one| one.join().expect("a buyer")).collect::<Vec<_>>()
            });
            assert_eq!(got.len(), LIMIT, "{user} through both at once: {got:?}");
            self.known.sale("ticket").reservations.extend(got);
        }
        self.show("users that ask both at once: units of each", LIMIT, LIMIT);
    }

    /// A crowd, during which each server is killed once while the other continues, and each worker.
    fn crowd(&mut self, workers: [Worker; 2]) {
        let free = self.known.sale("ticket").free();
        let sold = crowd::rush(self, "ticket");
        let ids: HashSet<&String> = sold.reservations.iter().map(|r| &r.id).collect();
        let again =
            format!("a crowd of {}, {} requests sent again: units", crowd::USERS, sold.again);
        assert_eq!((ids.len(), sold.reservations.len()), (free as usize, free as usize));
        self.show(&again, free, ids.len());
        let mut of_users: HashMap<&Option<String>, usize> = HashMap::new();
        sold.reservations.iter().for_each(|r| *of_users.entry(&r.user).or_default() += 1);
        let most = of_users.values().max().copied().unwrap_or(0);
        assert_eq!(most, LIMIT, "units of one user");
        self.show("most units of one user", LIMIT, most);
        self.known.sale("ticket").reservations.extend(sold.reservations);
        self.servers.iter().for_each(|server| agrees(server, &self.known));
        self.show("every reservation, shown by both", "as told", "as told");
        // In the middle of their work, or not.
        drop(workers);
        for (dying, heir) in [(0, 1), (1, 0)] {
            self.orders_are_inherited(dying, heir);
        }
    }

    /// A worker dies with unwritten entries; a worker of the other build writes them.
    fn orders_are_inherited(&mut self, dying: usize, heir: usize) {
        let url = self.postgres.url();
        let worker = self.worker(dying);
        // A row that only this worker can have written shows that it is at work.
        self.pay_one(dying);
        wait_until_written(&url, &self.known);
        // The test locks the table, so that the worker is stuck.
        let mut admin = self.postgres.connect();
        let mut lock = admin.transaction().expect("a transaction");
        lock.batch_execute("LOCK TABLE orders").expect("a lock");
        let place = self.pay_one(heir);
        wait_for_pending(&self.redis, &format!("{{{place}_hash_key}}:stream"), "orders");
        drop(worker);
        lock.rollback().expect("unlocked");
        drop(admin);
        let _worker = self.worker(heir);
        wait_until_written(&url, &self.known);
        let what =
            format!("what the {} worker died with, by the {} one", NAMES[dying], NAMES[heir]);
        self.show(&what, "written", "written");
    }

    /// Confirms a held reservation at this server. Returns the sale or the part that it is in.
    fn pay_one(&mut self, server: usize) -> String {
        let paid = self.known.sale("ticket").find(|r| r.status == "held").expect("one");
        self.known.confirm(&self.servers[server], &paid.id);
        paid.id.rsplit_once('~').expect("a place").0.to_owned()
    }

    /// The other server confirms and cancels what one has sold.
    fn settle_across(&mut self) {
        let held = self.known.sale("ticket").reservations.clone();
        let held: Vec<_> = held.into_iter().filter(|r| r.status == "held").take(300).collect();
        let mut cancelled = 0;
        for (number, reservation) in held.iter().enumerate() {
            let (server, other) = (&self.servers[number % 2], &self.servers[(number + 1) % 2]);
            if number % 3 == 0 {
                self.known.cancel(server, &reservation.id);
                let late = asking::settle(other, &reservation.id, "confirm");
                assert_eq!((late.status, &late.json()["code"]), (409, &"already_cancelled".into()));
                cancelled += 1;
            } else {
                self.known.confirm(server, &reservation.id);
                self.known.confirm(other, &reservation.id);
            }
        }
        self.show("confirmed at one, again at the other; or cancelled at one", 300, held.len());
        let ticket = |known: &mut Known| Known {
            sales: vec![known.sale("ticket").clone()],
            ..known.clone()
        };
        let mut only = ticket(&mut self.known);
        assert_eq!(only.sale("ticket").free(), cancelled);
        sells_the_rest(&self.servers[1], &mut only, "what came back ");
        *self.known.sale("ticket") = only.sale("ticket").clone();
        self.servers.iter().for_each(|server| agrees(server, &self.known));
        self.show("what was cancelled, sold again to the last unit", cancelled, cancelled);
    }

    /// The other server returns to stock what a dead server sold.
    fn expire_by_either(&mut self) {
        for (alive, name) in NAMES.into_iter().enumerate() {
            let tag = format!("while the {name} one is alone");
            let mut ids = Vec::new();
            for number in 0..10 {
                let (user, key) = (format!("{number} {tag}"), format!("{number} {tag}"));
                let server = &self.servers[number % 2];
                ids.push(self.known.buy(server, "quick", Some(&user), 1, Some(&key)));
            }
            self.servers[1 - alive].kill();
            let server = &self.servers[alive];
            eventually("they have expired", || asking::show(server, "quick")["held"] == 0);
            for reservation in &mut self.known.sale("quick").reservations {
                if ids.contains(&reservation.id) {
                    reservation.status = "expired".into();
                }
            }
            agrees(server, &self.known);
            self.known.confirm(server, &ids[0]);
            self.servers[1 - alive].restart();
            self.known.confirm(&self.servers[1 - alive], &ids[1]);
            self.show(&format!("expired {tag}"), ids.len(), ids.len());
        }
        self.show("confirmed late, at either", 4, 4);
    }

    /// Workers of both builds, one after the other and together, have written everything.
    fn orders(&mut self) {
        let (known, url) = (self.known.clone(), self.postgres.url());
        let workers = [0, 1].map(|number| self.worker(number));
        wait_until_written(&url, &known);
        for (mut worker, name) in workers.into_iter().zip(NAMES) {
            assert!(worker.is_running(), "the {name} worker has ended by itself");
        }
        let rows = known.reservations().count();
        self.show("rows of the orders, as every reservation stands", rows, rows);
    }

    fn audits(&mut self) {
        let (redis, postgres) = (self.redis.url(), self.postgres.url());
        for number in [1, 0] {
            audit(&self.programs[number], &redis, Some(&postgres));
            let what = format!("audit by the {} build, with the orders", NAMES[number]);
            self.show(&what, "everything agrees", "everything agrees");
        }
    }

    /// A sale that one build removes and the other creates again is a new one to both.
    fn created_again(&mut self) {
        let url = self.redis.url();
        let splits = asking::show(&self.servers[0], "again")["splits"].as_u64();
        let spec =
            splits.map_or("again=6,hold=1s".to_owned(), |n| format!("again=6,hold=1s,splits={n}"));
        let mut earlier = HashSet::new();
        for (life, (remover, creator)) in [(0, 1), (1, 0), (0, 0), (1, 1)].into_iter().enumerate() {
            let mut sold = Vec::new();
            for number in 0..6 {
                // The keys are the same in each creation.
                let (user, key) = (format!("user {number}"), format!("key {number}"));
                let server = &self.servers[(number + life) % 2];
                let id = buy_one(server, "again", &user, &key).granted().expect("one of six");
                assert!(earlier.insert(id.clone()), "{id} is of an earlier life");
                sold.push(id);
            }
            let server = &self.servers[creator];
            assert!(buy_one(server, "again", "late", "").is("sold_out"));
            eventually("they have expired", || asking::show(server, "again")["held"] == 0);
            let _worker = self.worker(1);
            for (program, command) in [
                (remover, vec!["sale", "close", "again"]),
                (remover, vec!["sale", "remove", "again"]),
                (creator, vec!["sale", "create", &spec]),
            ] {
                let arguments = [&command[..], &["--ledger", &url]].concat();
                // A stream that the workers have not read yet is not removed.
                eventually(&format!("{} does {command:?}", NAMES[program]), || {
                    let (code, said) = run(&self.programs[program], &arguments);
                    assert!(code == Some(0) || command[1] == "remove", "{said}");
                    code == Some(0)
                });
            }
            let what =
                format!("removed by the {}, created by the {}", NAMES[remover], NAMES[creator]);
            self.show(
                &what,
                "6 sold anew, 6 expired",
                format!("{0} sold anew, {0} expired", sold.len()),
            );
        }
        audit(NEW, &url, None);
        self.show(
            "audit by the new build, of the ledger",
            "everything agrees",
            "everything agrees",
        );
    }
}
