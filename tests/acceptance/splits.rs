//! A sale in parts is one sale to its users: exact in total and per user, through any server, and
//! its last unit is found wherever it is.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::Value;

use crate::buyer::{Bought, Buyer};
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, logged, on_redis};

const PARTS: u32 = 4;

fn two_servers(redis: &RedisServer, options: &[&str]) -> [Server; 2] {
    [on_redis(redis, options), on_redis(redis, options)]
}

/// A field of a place's counters, or of the hash beside them.
fn number(redis: &RedisServer, key: &str, field: &str) -> u64 {
    let value = redis.connect().ask(&format!("HGET {key} {field}"));
    redis::from_redis_value::<Option<u64>>(value).expect("a number").unwrap_or(0)
}

fn part(number: u32) -> String {
    format!("ticket~{number}of{PARTS}")
}

fn total(redis: &RedisServer, place: &str) -> u64 {
    number(redis, &format!("{place}_hash_key"), &format!("{place}_total_nums"))
}

/// Units sold by all parts; the head sells none.
fn sold(redis: &RedisServer) -> u64 {
    assert_eq!(number(redis, "ticket_hash_key", "ticket_sold_nums"), 0);
    let sold =
        |n| number(redis, &format!("{}_hash_key", part(n)), &format!("{}_sold_nums", part(n)));
    (1..=PARTS).map(sold).sum()
}

/// The part in which a reservation is.
fn part_of(id: &str) -> &str {
    id.rsplit_once('~').expect("a reservation's id").0
}

/// A user of this part: the name decides the part, so several names are tried.
fn user_of(server: &Server, wanted: u32) -> String {
    let mut buyer = buyer(server);
    let mut of = |user: &str| {
        let id = buyer.reserve("probe", user, 1, "").expect("an answer").bought().granted();
        part_of(&id.expect("one of many")) == format!("probe~{wanted}of{PARTS}")
    };
    (0..).map(|n| format!("user{n}")).find(|user| of(user)).expect("one of them")
}

/// The output of a command that goes straight to the ledger, and whether it succeeds.
fn stampede(redis: &RedisServer, arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(arguments).args(["--ledger", &redis.url()]);
    let output = command.output().expect("the command runs");
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}

fn assert_agrees(redis: &RedisServer) {
    let (agrees, told) = stampede(redis, &["audit"]);
    assert!(agrees && told.contains("everything agrees"), "{told}");
}

fn reserve(buyer: &mut Buyer, user: &str) -> Bought {
    buyer.reserve("ticket", user, 1, "").expect("an answer").bought()
}

#[test]
fn a_thousand_users_through_two_servers_get_exactly_the_total() {
    const BUYERS: usize = 1000;
    const TOTAL: usize = 5_000;
    let redis = RedisServer::start(&[]);
    let servers = two_servers(&redis, &["--sale", "ticket=5000,limit=7", "--splits", "4"]);
    for n in 1..=PARTS {
        assert_eq!(total(&redis, &part(n)), 1_250, "each part has its share");
    }
    let ready = Barrier::new(BUYERS);
    let rush = |number: usize| {
        let mut buyer = buyer(&servers[number % 2]);
        let user = format!("user{number}");
        let mut got = Vec::new();
        ready.wait();
        loop {
            match reserve(&mut buyer, &user) {
                Bought::Granted(id) => got.push(id),
                // All must run to the end of the sale together: most end at the limit.
                Bought::Refused(code) => return (got, code),
            }
        }
    };
    let told: Vec<(Vec<String>, String)> = thread::scope(|scope| {
        let start = |number: usize| {
            let rush = &rush;
            let builder = thread::Builder::new().stack_size(256 << 10);
            builder.spawn_scoped(scope, move || rush(number)).expect("a thread")
        };
        let threads: Vec<_> = (0..BUYERS).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("a buyer")).collect()
    });
    for (got, code) in &told {
        assert!(got.len() <= 7, "{got:?}");
        match &**code {
            "limit_reached" => assert_eq!(got.len(), 7),
            "sold_out" => {}
            other => panic!("{other}"),
        }
        let of: HashSet<&str> = got.iter().map(|id| part_of(id)).collect();
        assert!(of.len() <= 1, "a user of two parts: {got:?}");
    }
    let distinct: HashSet<&String> = told.iter().flat_map(|(got, _)| got).collect();
    assert_eq!((distinct.len(), sold(&redis)), (TOTAL, TOTAL as u64));
    for server in &servers {
        assert!(reserve(&mut buyer(server), "late").is("sold_out"));
        eventually("it is shown as sold out", 5, || {
            let sale = buyer(server).sale("ticket").expect("an answer");
            (&sale["total"], &sale["free"], &sale["held"])
                == (&5000.into(), &0.into(), &5000.into())
        });
    }
    assert_agrees(&redis);
}

#[test]
fn one_users_limit_is_exact_through_two_servers() {
    let redis = RedisServer::start(&[]);
    let servers = two_servers(&redis, &["--sale", "ticket=8,limit=3,splits=4"]);
    let ready = Barrier::new(50);
    let answers: Vec<Bought> = thread::scope(|scope| {
        let ask = |number: usize| {
            let (server, ready) = (&servers[number % 2], &ready);
            scope.spawn(move || {
                let mut buyer = buyer(server);
                ready.wait();
                reserve(&mut buyer, "ann")
            })
        };
        let threads: Vec<_> = (0..50).map(ask).collect();
        threads.into_iter().map(|thread| thread.join().expect("a buyer")).collect()
    });
    // Her part had 2 of the 8: the third came from another.
    assert_eq!(answers.iter().filter(|a| matches!(a, Bought::Granted(_))).count(), 3);
    assert_eq!(answers.iter().filter(|answer| answer.is("limit_reached")).count(), 47);
    assert_eq!(sold(&redis), 3);
    assert_agrees(&redis);
}

#[test]
fn the_last_unit_is_sold_to_any_user_by_any_server() {
    let redis = RedisServer::start(&[]);
    let mut options = vec!["--splits".to_owned(), "4".into(), "--cores".into(), cores(2)];
    let sales = ["probe=100000", "ticket=1"].map(str::to_owned).into_iter();
    // A new sale per user, so that no latch interferes.
    let of_users = (1..=PARTS).flat_map(|n| [format!("last{n}=1"), format!("four{n}=4")]);
    options.extend(sales.chain(of_users).flat_map(|sale| ["--sale".to_owned(), sale]));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let servers = two_servers(&redis, &options);
    let buy = |n: u32, sale: &str, user: &str| {
        let mut buyer = buyer(&servers[n as usize % 2]);
        buyer.reserve(sale, user, 1, "").expect("an answer").bought()
    };
    let users: Vec<String> = (1..=PARTS).map(|n| user_of(&servers[0], n)).collect();
    for (n, user) in (1..=PARTS).zip(&users) {
        let (last, four) = (format!("last{n}"), format!("four{n}"));
        // The only unit is in the first part; of four units, each part has one.
        assert!(buy(n, &last, user).granted().is_some(), "{user} did not find the last unit");
        for at in 0..4 {
            let id = buy(at, &four, user).granted();
            assert_eq!(id.as_deref().map(part_of), Some(&*format!("{four}~{n}of{PARTS}")));
        }
        for (at, other) in (0..).zip(&users) {
            assert!(buy(at, &last, other).is("sold_out") && buy(at, &four, other).is("sold_out"));
        }
    }
    let anonymous = buyer(&servers[1]).buy().expect("an answer").granted().expect("the only one");
    assert!(part_of(&anonymous).starts_with("ticket~"));
    for server in servers.iter().cycle().take(8) {
        assert!(buyer(server).buy().expect("an answer").is("sold_out"));
    }
    assert_agrees(&redis);
}

#[test]
fn keys_work_and_expired_units_are_sold_across_parts() {
    let redis = RedisServer::start(&[]);
    let sales = ["--sale", "probe=100000,splits=4", "--sale", "ticket=1,hold=1s,splits=4"];
    let servers = two_servers(&redis, &[&sales[..], &["--public-confirm"]].concat());
    let (ann, bob) = (user_of(&servers[0], 1), user_of(&servers[0], 3));
    let ask = |server: &Server, user: &str, key: &str| {
        buyer(server).reserve("ticket", user, 1, key).expect("an answer").bought()
    };
    let first = ask(&servers[0], &ann, "k").granted().expect("the only one");
    assert_eq!(ask(&servers[1], &ann, "k"), Bought::Granted(first.clone()));
    let of_sale = buyer(&servers[1]).reservation(&first).expect("an answer").json();
    assert_eq!((&of_sale["id"], &of_sale["sale"]), (&first.as_str().into(), &"ticket".into()));
    assert!(ask(&servers[1], &bob, "").is("sold_out"));
    let mut second = None;
    eventually("it has expired and is sold to another", 5, || {
        second = ask(&servers[1], &bob, "").granted();
        second.is_some()
    });
    assert_ne!(part_of(second.as_deref().expect("an id")), part_of(&first));
    // It is paid late while the unit is held elsewhere, and again when it is free there.
    let pay = |id: &str| buyer(&servers[0]).confirm(id).expect("an answer").json();
    assert_eq!(pay(&first)["code"], "expired");
    assert_eq!(buyer(&servers[0]).cancel(&second.expect("an id")).expect("an answer").status, 200);
    assert_eq!(pay(&first)["status"], "confirmed");
    assert_eq!(sold(&redis), 1);
    assert_agrees(&redis);
}

#[test]
fn units_move_to_a_busy_part_and_a_crash_strands_none() {
    const TOTAL: u64 = 2_000;
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut servers = two_servers(&redis, &["--sale", "ticket=2000,splits=4"]);
    let [first, second] = servers.each_ref().map(Server::address);
    let (ready, started) = (Barrier::new(32), AtomicU64::new(0));
    // One user wants it all, so three quarters have to move to her part, some of it many times.
    let rush = |number: usize| {
        let connect = |at| Buyer::connect(at).expect("connect to the server");
        let mut buyer = connect([first, second][number % 2]);
        let mut got = Vec::new();
        ready.wait();
        loop {
            started.fetch_add(1, Ordering::Relaxed);
            match buyer.reserve("ticket", "ann", 1, "").map(|answer| answer.bought()) {
                Ok(Bought::Granted(id)) => got.push(id),
                Ok(Bought::Refused(code)) if code == "sold_out" => return got,
                Ok(Bought::Refused(code)) => panic!("{code}"),
                Err(_) => buyer = connect(second),
            }
        }
    };
    let got: HashSet<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..32)
            .map(|n| {
                scope.spawn({
                    let rush = &rush;
                    move || rush(n)
                })
            })
            .collect();
        eventually("half of it is asked for", 30, || started.load(Ordering::Relaxed) > TOTAL / 2);
        servers[0].kill();
        threads.into_iter().flat_map(|thread| thread.join().expect("a buyer")).collect()
    });
    assert_eq!(sold(&redis), TOTAL);
    assert!(got.len() <= TOTAL as usize && got.len() > TOTAL as usize / 2, "{}", got.len());
    let parts: HashSet<&str> = got.iter().map(|id| part_of(id)).collect();
    assert_eq!(parts.len(), 1, "{parts:?}");
    assert_agrees(&redis);
    // Without a ledger nothing is answered as sold out, not even what was sold out a moment ago.
    assert!(reserve(&mut buyer(&servers[1]), "ann").is("sold_out"));
    redis.kill();
    eventually("it is told", 5, || reserve(&mut buyer(&servers[1]), "ann").is("unavailable"));
    redis.restart();
    eventually("it is back", 10, || reserve(&mut buyer(&servers[1]), "ann").is("sold_out"));
    assert_agrees(&redis);
}

#[test]
fn a_new_server_sells_exactly_its_fixed_stock_at_once() {
    let redis = RedisServer::start(&[]);
    drop(on_redis(&redis, &["--sale", "ticket=40,splits=4"]));
    for round in 1..=2 {
        let server = on_redis(&redis, &["--stock", "10", "--cores", &cores(1)]);
        let ready = Barrier::new(32);
        // Some look and some buy, in the same moment, at a server that does not know the sale yet.
        let bought = thread::scope(|scope| {
            let threads: Vec<_> = (0..32)
                .map(|n| {
                    let (server, ready) = (&server, &ready);
                    scope.spawn(move || {
                        let mut buyer = buyer(server);
                        ready.wait();
                        if n % 2 == 0 {
                            let sale = buyer.sale("ticket").expect("an answer");
                            assert_eq!(sale["total"], 40, "{sale}");
                            return false;
                        }
                        match reserve(&mut buyer, &format!("user{n}")) {
                            Bought::Granted(_) => true,
                            Bought::Refused(code) => {
                                assert_eq!(code, "allowance_exhausted");
                                false
                            }
                        }
                    })
                })
                .collect();
            let bought = threads.into_iter().map(|thread| thread.join().expect("a buyer"));
            bought.filter(|bought| *bought).count()
        });
        assert_eq!((bought as u64, sold(&redis)), (10, 10 * round));
        eventually("it is shown", 5, || {
            buyer(&server).sale("ticket").expect("an answer")["held"] == 10 * round
        });
    }
    assert_agrees(&redis);
}

/// Gives units in one place and does not take them in the other, as a server does that dies in
/// between.
fn give_and_die(redis: &RedisServer, from: u32, to: u32, units: u64) {
    let (counters, field) =
        (format!("{}_hash_key", part(from)), format!("{}_total_nums", part(from)));
    let mut connection = redis.connect();
    connection.ask(&format!("HINCRBY {counters} {field} -{units}"));
    connection.ask(&format!("HINCRBY {{{counters}}}:sale gave_{to} {units}"));
}

#[test]
fn a_transfer_left_by_a_dead_server_is_finished_by_another() {
    let redis = RedisServer::start(&[]);
    let sale = ["--sale", "probe=100000,splits=4", "--sale", "ticket=4,splits=4"];
    let mut servers = two_servers(&redis, &sale);
    let users: Vec<String> = (1..=PARTS).map(|n| user_of(&servers[0], n)).collect();
    for (user, n) in users.iter().zip(0..3) {
        assert!(reserve(&mut buyer(&servers[n % 2]), user).granted().is_some());
    }
    // The last unit is on its way from part 4 to part 2, and the server that sent it is gone.
    give_and_die(&redis, 4, 2, 1);
    servers[0].kill();
    eventually("it is shown as free", 5, || {
        buyer(&servers[1]).sale("ticket").expect("an answer")["free"] == 1
    });
    let (agrees, told) = stampede(&redis, &["audit", "--sale", "ticket"]);
    assert!(!agrees && told.contains("under way"), "{told}");
    // A user of neither of the two places buys it.
    assert!(reserve(&mut buyer(&servers[1]), &users[2]).granted().is_some());
    assert!(reserve(&mut buyer(&servers[1]), &users[3]).is("sold_out"));
    assert_eq!(sold(&redis), 4);
    assert_agrees(&redis);

    // Without buyers, an audit finishes it.
    let server = &mut servers[1];
    let (added, told) = stampede(&redis, &["sale", "add-stock", "ticket", "6"]);
    assert!(added, "{told}");
    // A core's latch may be 100 ms old.
    let sells = |server: &Server, user: &str| {
        eventually("it is sold", 5, || reserve(&mut buyer(server), user).granted().is_some());
    };
    sells(server, &users[0]);
    give_and_die(&redis, 1, 3, 2);
    let (mended, told) = stampede(&redis, &["audit", "--repair"]);
    assert!(mended, "{told}");
    assert_agrees(&redis);
    let sale: Value = buyer(server).sale("ticket").expect("an answer");
    assert_eq!((&sale["total"], &sale["splits"]), (&10.into(), &4.into()));
    (0..5).for_each(|_| sells(server, &users[3]));
    assert!(reserve(&mut buyer(server), &users[3]).is("sold_out"));
    assert_eq!(sold(&redis), 10);
}

#[test]
fn a_half_done_creation_is_finished_by_the_next_server() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=10,splits=4"]);
    drop(server);
    // As if only the head and one part, still empty, had been created.
    let mut connection = redis.connect();
    for n in 2..=PARTS {
        connection.ask(&format!("DEL {0}_hash_key {{{0}_hash_key}}:sale", part(n)));
    }
    connection.ask(&format!("HSET {0}_hash_key {0}_total_nums 0", part(1)));
    connection.ask(&format!("HDEL {{{0}_hash_key}}:sale took_0", part(1)));
    connection.ask("HSET ticket_hash_key ticket_total_nums 10");
    connection.ask("HDEL {ticket_hash_key}:sale gave_1 gave_2 gave_3 gave_4");
    // A creation with other terms leaves the sale as it is, and reports so.
    let server = on_redis(&redis, &["--sale", "ticket=10,splits=2"]);
    logged(&server, "splits is 4, not 2");
    let mut buyer = buyer(&server);
    for n in 0..10 {
        assert!(reserve(&mut buyer, &format!("user{n}")).granted().is_some());
    }
    assert!(reserve(&mut buyer, "late").is("sold_out"));
    assert_eq!(sold(&redis), 10);
    assert_agrees(&redis);
    // A part that had units and is gone is not created again: the units would be sold twice.
    let keys = connection.list(&format!("KEYS *{}*", part(2)));
    keys.iter().for_each(|key| _ = connection.ask(&format!("DEL {key}")));
    drop(server);
    let server = on_redis(&redis, &["--sale", "ticket=10,splits=4"]);
    eventually("it is told", 10, || {
        let answers: HashSet<Bought> =
            (0..20).map(|n| reserve(&mut crate::buyer(&server), &format!("new{n}"))).collect();
        answers == HashSet::from([Bought::Refused("unavailable".into())])
    });
    assert_eq!(connection.list(&format!("KEYS *{}*", part(2))), Vec::<String>::new());
    logged(&server, "parts of the sale not found");
    let (agrees, told) = stampede(&redis, &["audit"]);
    assert!(!agrees && told.contains("ticket~2of4 is not there"), "{told}");
    let (shown, told) = stampede(&redis, &["sale", "show", "ticket"]);
    assert!(!shown && told.contains("missing: ticket~2of4"), "{told}");
}

#[test]
fn an_operator_handles_a_split_sale_as_one_sale() {
    let redis = RedisServer::start(&[]);
    let json = |arguments: &[&str]| stampede(&redis, &[arguments, &["--json"]].concat());
    let ask = |arguments: &[&str]| -> Value {
        let (done, told) = json(arguments);
        assert!(done, "{arguments:?}: {told}");
        serde_json::from_str(told.lines().next().expect("a line")).expect("JSON")
    };
    let made = ask(&["sale", "create", "ticket=10,splits=4,hold=1h"]);
    assert_eq!(
        (&made["total"], &made["free"], &made["splits"]),
        (&10.into(), &10.into(), &4.into())
    );
    ask(&["sale", "create", "ticket=10,splits=4,hold=1h"]);
    assert!(!json(&["sale", "create", "ticket=10,splits=2,hold=1h"]).0);
    let server = on_redis(&redis, &[]);
    let ids: Vec<String> = (0..6)
        .map(|n| reserve(&mut buyer(&server), &format!("user{n}")).granted().expect("one of 10"))
        .collect();
    let (_, listed) = json(&["sale", "list"]);
    assert_eq!(listed.lines().count(), 1, "{listed}");
    assert_eq!(ask(&["sale", "add-stock", "ticket", "5"])["free"], 9);
    assert!(!json(&["sale", "remove", "ticket"]).0, "it is open");
    ask(&["sale", "close", "ticket"]);
    for user in ["ann", "bob", "cat", "dan", "eve"] {
        eventually("closed in every part", 5, || reserve(&mut buyer(&server), user).is("closed"));
    }
    assert_eq!(ask(&["sale", "open", "ticket"])["state"], "open");
    eventually("open again", 5, || {
        reserve(&mut buyer(&server), "ann")
            .granted()
            .is_some_and(|id| buyer(&server).cancel(&id).expect("an answer").status == 200)
    });
    ask(&["sale", "close", "ticket"]);
    assert!(!json(&["sale", "remove", "ticket"]).0, "units are held");
    for (n, id) in ids.iter().enumerate() {
        let verb = if n % 2 == 0 { "confirm" } else { "cancel" };
        assert_eq!(ask(&["reservation", verb, id])["sale"], "ticket");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ticket.jsonl");
    ask(&["sale", "archive", "ticket", "--to", file.to_str().expect("a path")]);
    let archived = std::fs::read_to_string(&file).expect("the archive");
    for id in &ids {
        assert!(archived.contains(id), "{id} is not in {archived}");
    }
    assert_agrees(&redis);
    // The orders have one sale too, and the audit compares each part's reservations with its rows.
    let orders = format!("sqlite:{}", folder.path().join("orders.db").display());
    let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_stampede"));
    worker.args(["orders", "--once", "--from", &redis.url(), "--to", &orders]);
    assert!(worker.output().expect("it runs").status.success());
    let path = orders.strip_prefix("sqlite:").expect("a path");
    let rows = |sql: &str| -> i64 {
        let database = rusqlite::Connection::open(path).expect("the orders");
        database.query_row(sql, [], |row| row.get(0)).expect("a count")
    };
    assert_eq!(rows("SELECT count(*) FROM orders WHERE sale = 'ticket'"), 7);
    let (agrees, told) = stampede(&redis, &["audit", "--orders", &orders]);
    assert!(agrees && told.contains("everything agrees"), "{told}");
    let spoil = rusqlite::Connection::open(path).expect("the orders");
    let spoilt = spoil.execute("DELETE FROM orders WHERE reservation = ?1", [&ids[0]]);
    assert_eq!(spoilt.expect("a row"), 1);
    drop(spoil);
    let (agrees, told) = stampede(&redis, &["audit", "--orders", &orders]);
    assert!(!agrees && told.contains("no row"), "{told}");
    ask(&["sale", "remove", "ticket"]);
    let left = redis.connect().list("KEYS *ticket*");
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(
        redis.connect().list("SMEMBERS stampede:sales:{sale}_hash_key"),
        Vec::<String>::new()
    );
    // Created anew in other parts, it is another sale, and the server that knew the old one sells
    // it.
    ask(&["sale", "create", "ticket=3,limit=1", "--splits", "3"]);
    let mut sold = 0;
    eventually("it is sold", 10, || {
        sold += u64::from(reserve(&mut buyer(&server), &format!("user{sold}")).granted().is_some());
        sold == 3
    });
}

/// Closes, removes and creates a sale again under its name, in this number of parts.
fn remake(redis: &RedisServer, parts: u32) {
    for arguments in [&["sale", "close", "ticket"][..], &["sale", "remove", "ticket"]] {
        let (done, told) = stampede(redis, arguments);
        assert!(done, "{told}");
    }
    let (done, told) =
        stampede(redis, &["sale", "create", "ticket=40", "--splits", &parts.to_string()]);
    assert!(done, "{told}");
}

#[test]
fn a_sale_recreated_in_other_parts_sells_at_the_first_request() {
    let redis = RedisServer::start(&[]);
    assert!(stampede(&redis, &["sale", "create", "ticket=40"]).0);
    let server = on_redis(&redis, &["--cores", &cores(2)]);
    // Some of them on each core.
    let mut buyers: Vec<Buyer> = (0..8).map(|_| buyer(&server)).collect();
    let mut round = 0;
    for parts in [4, 2, 4, 1, 4, 4] {
        for keyed in [false, true] {
            round += 1;
            for (n, buyer) in buyers.iter_mut().enumerate() {
                assert_eq!(buyer.sale("ticket").expect("an answer")["total"], 40);
                let key = if keyed { format!("{round}-{n}") } else { String::new() };
                let user = format!("user{n}");
                let answer = buyer.reserve("ticket", &user, 1, &key).expect("an answer");
                let id = answer.bought().granted().unwrap_or_else(|| panic!("{answer:?}"));
                assert_eq!(buyer.cancel(&id).expect("an answer").status, 200);
            }
            remake(&redis, parts);
            if keyed {
                // The server was not asked to show the sale first.
                for (n, buyer) in buyers.iter_mut().enumerate() {
                    let (user, key) = (format!("user{n}"), format!("{round}-{n} again"));
                    let answer = buyer.reserve("ticket", &user, 1, &key).expect("an answer");
                    let id =
                        answer.bought().granted().unwrap_or_else(|| panic!("{parts}: {answer:?}"));
                    assert_eq!(buyer.cancel(&id).expect("an answer").status, 200);
                }
            }
            for buyer in &mut buyers {
                let view = buyer.sale("ticket").expect("an answer");
                assert_eq!(view["total"], 40, "{parts}: {view}");
            }
        }
    }
}

#[test]
fn a_closed_split_sale_can_be_created_and_opened() {
    let redis = RedisServer::start(&[]);
    let create = ["sale", "create", "ticket=5,closes=2020-01-01T00:00:00Z,splits=4"];
    for _ in 0..2 {
        let (done, told) = stampede(&redis, &create);
        assert!(done, "{told}");
    }
    assert_agrees(&redis);
    let server = on_redis(&redis, &[]);
    assert!(reserve(&mut buyer(&server), "ann").is("closed"));
    assert_eq!(buyer(&server).sale("ticket").expect("an answer")["state"], "closed");
    assert!(stampede(&redis, &["sale", "open", "ticket"]).0);
    eventually("open", 5, || reserve(&mut buyer(&server), "ann").granted().is_some());
}

#[test]
fn a_sale_that_was_closed_before_it_opened_can_be_reset() {
    let redis = RedisServer::start(&[]);
    for splits in ["", ",splits=4"] {
        let create = format!("ticket=5,opens=2999-01-01T00:00:00Z{splits}");
        for arguments in [
            &["sale", "create", &create][..],
            &["sale", "close", "ticket"],
            &["sale", "reset", "ticket"],
        ] {
            let (done, told) = stampede(&redis, arguments);
            assert!(done, "{arguments:?}: {told}");
        }
        let (_, told) = stampede(&redis, &["sale", "show", "ticket", "--json"]);
        assert!(told.contains(r#""state":"scheduled""#), "{told}");
        assert_agrees(&redis);
        for command in ["close", "remove"] {
            let (done, told) = stampede(&redis, &["sale", command, "ticket"]);
            assert!(done, "{told}");
        }
    }
}

#[test]
fn leftover_parts_of_an_earlier_sale_need_a_reset() {
    let redis = RedisServer::start(&[]);
    let create = ["sale", "create", "ticket=8,limit=1,splits=4"];
    assert!(stampede(&redis, &create).0);
    let server = on_redis(&redis, &[]);
    let user = |n: u32| format!("user{n}");
    let before =
        (0..4).map(user).filter(|user| reserve(&mut buyer(&server), user).granted().is_some());
    assert_eq!(before.count(), 4);
    redis.connect().text("DEL ticket_hash_key {ticket_hash_key}:sale");
    let (done, told) = stampede(&redis, &create);
    assert!(!done && told.contains("parts of an earlier sale ticket"), "{told}");
    let reset = ["sale", "reset", "ticket", "--total", "8"];
    let (done, told) = stampede(&redis, &reset);
    assert!(!done && told.contains("4 units of the sale are held"), "{told}");
    let (done, told) = stampede(&redis, &[&reset[..], &["--force"]].concat());
    assert!(done, "{told}");
    let mut sold_to = 0;
    eventually("all is sold once more, one to each", 20, || {
        sold_to += 1;
        _ = reserve(&mut buyer(&server), &user(sold_to)).granted();
        sold(&redis) == 8
    });
    assert!(reserve(&mut buyer(&server), "late").is("sold_out"));
    assert_agrees(&redis);
}

#[test]
fn only_one_of_two_concurrent_removals_succeeds() {
    let redis = RedisServer::start(&[]);
    for _ in 0..12 {
        for arguments in
            [&["sale", "create", "ticket=8,splits=4"][..], &["sale", "close", "ticket"]]
        {
            let (done, told) = stampede(&redis, arguments);
            assert!(done, "{told}");
        }
        let barrier = Barrier::new(2);
        let remove = || {
            barrier.wait();
            stampede(&redis, &["sale", "remove", "ticket"])
        };
        let told = thread::scope(|scope| {
            let other = scope.spawn(remove);
            [remove(), other.join().expect("no panic")]
        });
        assert_eq!(told.iter().filter(|(done, _)| *done).count(), 1, "{told:?}");
        assert!(told.iter().any(|(_, told)| told.contains("There is no sale ticket")), "{told:?}");
    }
}
