//! Creates shops in mid-sale with the program of a release: `tests/upgrade/VERSION`.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use rustix::process::Signal;

use crate::asking;
use crate::database::{
    Worker, audit, behind, drain, run, sqlite, wait_for_pending, wait_until_written,
};
use crate::faked_clock::Clock;
use crate::known::Known;
use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{dump, eventually};

/// The sales of a shop, as options. `quick` has a hold time of seconds; it and `over` are closed at
/// the end.
const SALES: [(&str, &str); 5] = [
    ("ticket", "60,hold=1h"),
    ("poster", "30,hold=2h,limit=3"),
    ("quick", "10,hold=6s"),
    ("over", "10,hold=1h"),
    ("later", "10,hold=1h"),
];

/// A split sale, on Redis.
const SPLIT: (&str, &str) = ("concert", "80,hold=1h,limit=4,splits=4");

/// Changes after which 0.1.0 folds its journal.
const FOLD_AT_CHANGES: usize = 1_000_000;

/// Creates all shops with this program.
pub fn make(old: &str) -> ExitCode {
    let version = run(old, &["--version"]).1;
    let version = version.trim().rsplit(' ').next().expect("a version").to_owned();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade").join(&version);
    let fresh = |name: &str| -> PathBuf {
        let folder = folder.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    };
    redis(old, &fresh("redis"));
    killed(old, &fresh("embedded-killed"));
    stopped(old, &fresh("embedded-stopped"));
    folded(old, &fresh("embedded-folded"));
    println!("{version}: {}", folder.display());
    ExitCode::SUCCESS
}

/// The options for these sales.
fn options(sales: &[(&str, &str)]) -> Vec<String> {
    let opens = Timestamp::now() + SignedDuration::from_hours(24);
    let option = |(id, what): &(&str, &str)| {
        let opens = if *id == "later" { format!(",opens={opens:.0}") } else { String::new() };
        ["--sale".to_owned(), format!("{id}={what}{opens}")]
    };
    sales.iter().flat_map(option).collect()
}

fn start(old: &str, ledger: &str, sales: &[String], more: &[&str]) -> Server {
    let sales: Vec<&str> = sales.iter().map(String::as_str).collect();
    let options = [&["--ledger", ledger], &sales[..], more].concat();
    Server::start_program(old, &[] as &[(&str, &str)], &options)
}

/// One round of purchases with something of everything, by users of this round, in these sales.
fn trade(server: &Server, known: &mut Known, round: &str, sales: &[&str]) {
    for sale in sales {
        let mut bought = Vec::new();
        // In the article's sale some buyers are anonymous, with and without a key.
        if *sale == "ticket" {
            let key = format!("anonymous {round}");
            bought.push(known.buy(server, sale, None, 1, Some(&key)));
            bought.push(known.buy(server, sale, None, 1, None));
        }
        for (number, user) in ["ann", "bob", "cid", "Zoë Ünal", "eve"].iter().enumerate() {
            let user = format!("{user} {round}");
            let (quantity, key) = (number as u64 % 2 + 1, format!("key {number} of {round}"));
            bought.push(known.buy(server, sale, Some(&user), quantity, Some(&key)));
        }
        // Up to the limits of 3 and 4, and one purchase without a key.
        let full = format!("full {round}");
        bought.push(known.buy(server, sale, Some(&full), 2, Some(&format!("full 1 {round}"))));
        bought.push(known.buy(server, sale, Some(&full), 1, None));
        if *sale == SPLIT.0 {
            bought.push(known.buy(server, sale, Some(&full), 1, Some(&format!("full 2 {round}"))));
        }
        known.confirm(server, &bought[0]);
        known.confirm(server, &bought[3]);
        known.cancel(server, &bought[1]);
    }
}

/// Lets `quick` sell some reservations that expire, and some that are past their deadline after the
/// server is gone. Closes what is to be closed, and notes how everything stands.
fn leave(server: &Server, known: &mut Known, now: impl Fn() -> Timestamp) {
    let quick = |known: &mut Known, user: &str| {
        for number in 0..2 {
            known.buy(server, "quick", Some(user), 1, Some(&format!("quick {number} of {user}")));
        }
    };
    quick(known, "ann");
    eventually("they have expired", || {
        let shown = asking::show(server, "quick");
        shown["held"] == 0
    });
    known.expire(now());
    quick(known, "bob");
    for sale in ["quick", "over"] {
        let closed = asking::control(server, "POST", &format!("/v1/sales/{sale}/close"));
        assert_eq!(closed.status, 200, "{closed:?}");
    }
    note(server, known, now());
}

/// Notes how every sale is shown, and checks that against what is known.
fn note(server: &Server, known: &mut Known, now: Timestamp) {
    known.at = format!("{now:.3}");
    for sale in &mut known.sales {
        let shown = asking::show(server, sale.id());
        sale.shows["closes_at"] = shown["closes_at"].clone();
        assert_eq!(sale.differs_from(&shown), None);
        sale.shows = shown;
        for reservation in &sale.reservations {
            let shown = asking::reservation(server, &reservation.id);
            asking::assert_shown(reservation, &shown);
        }
    }
}

fn ids(sales: &[(&'static str, &str)]) -> Vec<&'static str> {
    sales.iter().map(|(id, _)| *id).collect()
}

/// The data folder in here, as a ledger.
fn data(folder: &Path) -> String {
    format!("embedded:{}", folder.join("data").display())
}

/// A killed server, with orders in two databases that are behind, each differently.
fn killed(old: &str, folder: &Path) {
    let postgres = PostgresServer::start();
    let (ledger, sales) = (data(folder), options(&SALES));
    let lite = sqlite(&folder.join("orders.db"));
    let mut server = start(old, &ledger, &sales, &["--orders", &lite]);
    let mut known = Known::new(&server, &ids(&SALES));
    trade(&server, &mut known, "first", &["ticket", "poster", "over"]);
    wait_until_written(&lite, &known);
    assert_eq!(server.terminate(), 0);
    let mut server = start(old, &ledger, &sales, &["--orders", &postgres.url()]);
    trade(&server, &mut known, "second", &["ticket", "poster"]);
    wait_until_written(&postgres.url(), &known);
    assert_eq!(server.terminate(), 0);
    let mut server = start(old, &ledger, &sales, &[]);
    trade(&server, &mut known, "third", &["ticket"]);
    let paid = known.sale("poster").find(|r| r.status == "held").expect("one that is held");
    known.confirm(&server, &paid.id);
    leave(&server, &mut known, Timestamp::now);
    server.kill();
    without_zeros(folder);
    known.write(&folder.join("known.json"));
    for url in [&lite, &postgres.url()] {
        assert!(behind(url, &known) > 10, "{url} is hardly behind");
    }
    fs::write(folder.join("orders.sql"), dump::postgres(&postgres)).expect("write orders.sql");
}

/// A server that ended in order.
fn stopped(old: &str, folder: &Path) {
    let mut server = start(old, &data(folder), &options(&SALES), &[]);
    let mut known = Known::new(&server, &ids(&SALES));
    trade(&server, &mut known, "first", &["ticket", "poster", "over"]);
    leave(&server, &mut known, Timestamp::now);
    assert_eq!(server.terminate(), 0);
    known.write(&folder.join("known.json"));
}

/// A server that has folded its journal into a snapshot in mid-sale. A long journal is folded.
/// Nearly all of it is about a sale that has been removed, so the snapshot is short.
fn folded(old: &str, folder: &Path) {
    let sales = options(&[&SALES[..], &[("bulk", "10000000,hold=2s")]].concat());
    let mut server = start(old, &data(folder), &sales, &[]);
    let mut known = Known::new(&server, &ids(&SALES));
    trade(&server, &mut known, "before the snapshot", &["ticket", "poster", "over"]);
    // A start logs the number of changes. Expiry adds an unknown number of them.
    let left = |server: &Server| {
        let log = server.log();
        let replayed = log.rsplit_once(" replayed=").expect("what it has replayed").1;
        let digits = replayed.split(' ').next().and_then(|digits| digits.parse().ok());
        FOLD_AT_CHANGES.checked_sub(digits.expect("a number")).expect("it is folded too early")
    };
    while left(&server) > 60 {
        bulk(&server, left(&server) * 4 / 5);
        eventually("the bulk has expired", || asking::show(&server, "bulk")["held"] == 0);
        for (method, path) in [("POST", "/v1/sales/bulk/close"), ("DELETE", "/v1/sales/bulk")] {
            let answer = asking::control(&server, method, path);
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        assert_eq!(server.terminate(), 0);
        server.restart();
    }
    let has_snapshot = || {
        let mut files = fs::read_dir(folder.join("data")).expect("the folder");
        files
            .any(|file| file.expect("a file").file_name().to_string_lossy().starts_with("snapshot"))
    };
    let user = Some("pays and cancels");
    while !has_snapshot() {
        let id = known.buy(&server, "poster", user, 1, None);
        known.cancel(&server, &id);
        assert!(known.reservations().count() < 150, "it is not folded");
        thread::sleep(Duration::from_millis(10));
    }
    trade(&server, &mut known, "after it", &["ticket"]);
    leave(&server, &mut known, Timestamp::now);
    server.kill();
    without_zeros(folder);
    known.write(&folder.join("known.json"));
}

/// A journal that was not closed ends in megabytes of zeros: keeps only its length.
fn without_zeros(folder: &Path) {
    let mut lengths = String::new();
    for file in fs::read_dir(folder.join("data")).expect("the folder") {
        let path = file.expect("a file").path();
        let bytes = fs::read(&path).expect("a file");
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        if end < bytes.len() {
            let name = path.file_name().expect("a name").to_string_lossy();
            lengths += &format!("{name} {}\n", bytes.len());
            fs::write(&path, &bytes[..end]).expect("write the file");
        }
    }
    assert!(!lengths.is_empty(), "no journal ends in zeros");
    fs::write(folder.join("lengths.txt"), lengths).expect("write lengths.txt");
}

/// Buys this number of single units of `bulk`, many requests at a time.
fn bulk(server: &Server, count: usize) {
    const AT_A_TIME: usize = 100;
    const BODY: &str = r#"{"user":"bulk","quantity":1}"#;
    let request = format!(
        "POST /v1/sales/bulk/reservations HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let buyer = |count: usize| {
        let mut stream = server.connect();
        let mut answers = vec![0; 1 << 16];
        for from in (0..count).step_by(AT_A_TIME) {
            let at_a_time = AT_A_TIME.min(count - from);
            stream.write_all(request.repeat(at_a_time).as_bytes()).expect("send");
            let (mut granted, mut kept) = (0, 0);
            while granted < at_a_time {
                let length = stream.read(&mut answers[kept..]).expect("answers");
                assert!(length > 0, "the server has closed the connection");
                let text = String::from_utf8_lossy(&answers[..kept + length]).into_owned();
                assert!(!text.contains("\"code\""), "{text}");
                // An answer may come in two pieces.
                let whole = text.rfind("HTTP/1.1 ").unwrap_or(0);
                granted += text[..whole].matches(" 201 Created").count();
                let rest = &text.as_bytes()[whole..];
                if rest.ends_with(b"}") {
                    granted += text[whole..].matches(" 201 Created").count();
                    kept = 0;
                } else {
                    kept = rest.len();
                    answers[..kept].copy_from_slice(rest);
                }
            }
        }
    };
    thread::scope(|scope| {
        const BUYERS: usize = 200;
        for number in 0..BUYERS {
            let buyer = &buyer;
            scope.spawn(move || buyer(count / BUYERS + usize::from(number < count % BUYERS)));
        }
    });
}

/// A Redis from which two servers have sold a plain and a split sale, for two databases: with
/// entries of the streams trimmed, written, held by a dead worker, and not given to any worker.
fn redis(old: &str, folder: &Path) {
    let clock = Clock::new();
    // Its streams are trimmed in small steps.
    let few = ["--stream-node-max-entries", "5"];
    let redis = RedisServer::start_with(&clock.environment(), &few);
    // The article's sale is created by hand.
    redis.connect().text("HMSET ticket_hash_key ticket_total_nums 100 ticket_sold_nums 0");
    redis.connect().ask("HSET {ticket_hash_key}:sale hold_ms 3600000");
    let (url, sales) = (redis.url(), options(&[&SALES[1..], &[SPLIT]].concat()));
    let mut servers = [(); 2].map(|()| start(old, &url, &sales, &[]));
    let all = [&["ticket"], &ids(&SALES[1..])[..], &[SPLIT.0]].concat();
    let mut known = Known::new(&servers[0], &all);
    let postgres = PostgresServer::start();
    let lite = sqlite(&folder.join("orders.db"));
    let groups = [("orders", postgres.url()), ("report", lite.clone())];

    trade(&servers[0], &mut known, "first", &["ticket", "poster", "over", SPLIT.0]);
    // What every group has written is trimmed when it is a minute old.
    for later in ["+0", "+120"] {
        clock.set(later);
        for (group, url_of_group) in &groups {
            drain(old, &url, url_of_group, group, "first");
            assert_eq!(behind(url_of_group, &known), 0);
        }
        trade(&servers[1], &mut known, &format!("second {later}"), &["ticket", SPLIT.0]);
    }
    for (group, url_of_group) in &groups {
        drain(old, &url, url_of_group, group, "first");
    }
    let trimmed = redis.connect().text("HGET {ticket_hash_key}:sale stream_trimmed");
    assert!(trimmed.parse::<u64>().expect("a number") > 0, "nothing is trimmed");

    // Workers that die in the middle of their batch, because the test locks the table.
    let workers = groups.each_ref().map(|(group, to)| Worker::start(old, &url, to, group, "dies"));
    trade(&servers[0], &mut known, "before they die", &["ticket"]);
    for (_, url_of_group) in &groups {
        wait_until_written(url_of_group, &known);
    }
    // The workers sleep, so that they find everything when they wake.
    workers.iter().for_each(|worker| worker.signal(Signal::STOP));
    let mut admin = postgres.connect();
    let mut lock = admin.transaction().expect("a transaction");
    lock.batch_execute("LOCK TABLE orders").expect("a lock");
    let file = rusqlite::Connection::open(folder.join("orders.db")).expect("the SQLite file");
    file.busy_timeout(Duration::from_secs(5)).expect("a time-out");
    file.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    trade(&servers[0], &mut known, "third", &["ticket"]);
    let held = known.sale(SPLIT.0).find(|r| r.status == "held").expect("one that is held");
    known.confirm(&servers[0], &held.id);
    // Longer than a worker leaves an idle stream alone: both streams are due when it wakes.
    thread::sleep(Duration::from_secs(2));
    workers.iter().for_each(|worker| worker.signal(Signal::CONT));
    for (group, _) in &groups {
        wait_for_pending(&redis, "{ticket_hash_key}:stream", group);
        let part = held.id.rsplit_once('~').expect("a part").0;
        wait_for_pending(&redis, &format!("{{{part}_hash_key}}:stream"), group);
    }
    drop(workers);
    lock.rollback().expect("unlocked");
    file.execute_batch("ROLLBACK").expect("unlocked");
    drop(file);

    // One user's part runs out of units and gets some from the others.
    trade(&servers[1], &mut known, "fourth", &["ticket"]);
    let mut greedy = 0;
    while known.sale(SPLIT.0).free() > 6 {
        let user = format!("greedy {}", greedy / 4);
        known.buy(&servers[greedy % 2], SPLIT.0, Some(&user), 1, Some(&format!("greedy {greedy}")));
        greedy += 1;
    }
    let now = || Timestamp::now() + SignedDuration::from_secs(120);
    leave(&servers[0], &mut known, now);
    audit(old, &url, Some(&postgres.url()));
    note(&servers[1], &mut known, now());
    servers.iter_mut().for_each(Server::kill);
    for (group, url_of_group) in &groups {
        assert!(behind(url_of_group, &known) > 10, "{group} is hardly behind");
    }
    fs::write(folder.join("redis.txt"), dump::redis(&redis)).expect("write redis.txt");
    fs::write(folder.join("orders.sql"), dump::postgres(&postgres)).expect("write orders.sql");
    known.write(&folder.join("known.json"));
}
