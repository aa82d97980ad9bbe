//! The article's setup: a hash created by hand, `ab` and `wrk` against `/buy/ticket`, its stat.log
//! and its local stock.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::buyer::Buyer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, eventually, on_redis, reservations, run, set_up_by_hand, sold};

const REQUESTS: u64 = 10_000;

fn url(server: &Server) -> String {
    format!("http://{}/buy/ticket", server.address())
}

/// Runs `ab` and returns its output. Panics unless every request was answered in full.
fn ab(server: &Server, keep_alive: bool) -> String {
    let requests = REQUESTS.to_string();
    let mut arguments = vec!["-n", &requests, "-c", "100"];
    if keep_alive {
        arguments.push("-k");
    }
    let url = url(server);
    arguments.push(&url);
    let told = run("ab", "apache2-utils", &arguments);
    assert_eq!(number(&told, "Complete requests:"), REQUESTS, "{told}");
    // It counts answers of another length than the first one's as failed, and nothing else.
    let failed = number(&told, "Failed requests:");
    let lengths = format!("(Connect: 0, Receive: 0, Length: {failed}, Exceptions: 0)");
    assert!(failed == 0 || told.contains(&lengths), "{told}");
    told
}

/// The number after a name in the output of `ab`; 0 if the name is missing.
fn number(told: &str, name: &str) -> u64 {
    let rest = told.split_once(name).map_or("0", |(_, rest)| rest.trim_start());
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().expect("a number")
}

#[test]
fn a_hash_made_by_hand_sells_exactly_its_total() {
    let redis = RedisServer::start(&[]);
    for core_count in [1, 2] {
        for way in ["ab", "ab -k", "wrk"] {
            set_up_by_hand(&redis, 150, 0);
            let server = on_redis(&redis, &["--cores", &cores(core_count)]);
            let told = match way {
                "wrk" => run("wrk", "wrk", &["-t", "1", "-c", "100", "-d", "1s", &url(&server)]),
                ab_way => ab(&server, ab_way == "ab -k"),
            };
            assert!(!told.contains("Non-2xx") && !told.contains("Socket errors"), "{told}");
            assert_eq!(sold(&redis), 150, "{way}, cores: {core_count}");
            assert_eq!(reservations(&redis).len(), 150, "{way}, cores: {core_count}");
            assert!(buyer(&server).buy().expect("an answer").is("sold_out"));
        }
    }
}

#[test]
fn a_fixed_local_stock_sells_exactly_that_many() {
    let redis = RedisServer::start(&[]);
    for core_count in [1, 2] {
        set_up_by_hand(&redis, 10_000, 0);
        let server = on_redis(&redis, &["--stock", "150", "--cores", &cores(core_count)]);
        let told = ab(&server, false);
        assert_eq!(number(&told, "Non-2xx responses:"), REQUESTS - 150, "{told}");
        assert_eq!((sold(&redis), reservations(&redis).len()), (150, 150));
        let mut buyer = buyer(&server);
        let answer = buyer.request("GET", "/buy/ticket", &[], "").expect("an answer");
        assert_eq!((answer.status, answer.json()["code"].as_i64()), (503, Some(-8)));
        let answer = buyer.reserve("ticket", "ann", 1, "").expect("an answer");
        assert!(answer.status == 503 && answer.bought().is("allowance_exhausted"), "{answer:?}");
        // `sold_out` is answered as soon as it is true, also by an instance without allowance.
        assert_eq!(buyer.sale("ticket").expect("an answer")["free"], 9850);
    }
}

#[test]
fn a_total_raised_by_hand_is_sold() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 3, 0);
    let server = on_redis(&redis, &["--cores", &cores(2)]);
    let mut buyers: Vec<_> = (0..8).map(|_| buyer(&server)).collect();
    for total in [3, 5, 9] {
        redis.connect().text(&format!("HSET ticket_hash_key ticket_total_nums {total}"));
        // Buyers who keep asking have it within a second of the change.
        let until = std::time::Instant::now() + Duration::from_secs(1);
        let mut granted = 0;
        while std::time::Instant::now() < until {
            for buyer in &mut buyers {
                granted += u64::from(buyer.buy().expect("an answer").granted().is_some());
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(sold(&redis), total, "{granted} granted");
        assert!(buyers.iter_mut().all(|buyer| buyer.buy().expect("an answer").is("sold_out")));
    }
}

#[test]
fn the_stat_log_has_a_line_for_each_attempt() {
    let redis = RedisServer::start(&[]);
    for core_count in [1, 2] {
        set_up_by_hand(&redis, 150, 0);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("stat.log");
        let path_text = path.display().to_string();
        let options = ["--stat-log", &path_text, "--cores", &cores(core_count)];
        let mut server = on_redis(&redis, &options);
        ab(&server, true);
        assert_eq!(server.terminate(), 0);
        let log = fs::read_to_string(&path).expect("the log");
        assert_eq!(log.lines().count() as u64, REQUESTS);
        let parsed: Vec<(u64, u64)> = log
            .lines()
            .map(|line| {
                let (result, local) = line.split_once(',').expect("two parts");
                let number = |text: Option<&str>| text.expect("a name").parse().expect("a number");
                (number(result.strip_prefix("result:")), number(local.strip_prefix("localSales:")))
            })
            .collect();
        assert_eq!(parsed.iter().filter(|line| line.0 == 1).count(), 150);
        assert_eq!(parsed.iter().filter(|line| line.0 == 0).count(), 9850);
        assert_eq!(parsed.iter().map(|line| line.1).max(), Some(150));
    }
}

#[test]
fn the_stat_log_can_write_to_a_socket() {
    // As systemd has it: the file cannot be opened by its name.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = format!("embedded:{}", folder.path().join("data").display());
    let (ours, its) = UnixStream::pair().expect("a pair of sockets");
    let stampede = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
        command.args(arguments).args(["--ledger", &ledger, "--stat-log", "/dev/stdout"]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let own = its.try_clone().expect("a descriptor");
        command.stdout(OwnedFd::from(own)).spawn().expect("start it")
    };
    let mut check = stampede(&["check-config"]);
    assert!(check.wait().expect("its end").success());
    let mut server = stampede(&["serve", "--listen", "127.0.0.1:0", "--control", "off"]);
    ours.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
    let lines = BufReader::new(ours).lines().map(|line| line.expect("a line"));
    let mut lines = lines.skip_while(|line| !line.trim_start().starts_with("listening"));
    let address = lines.next().expect("its address");
    let address = address.rsplit("http://").next().expect("an address").parse();
    let mut buyer = Buyer::connect(address.expect("an address")).expect("connect");
    assert!(buyer.buy().expect("an answer").granted().is_some());
    assert!(lines.any(|line| line == "result:1,localSales:1"));
    server.kill().expect("end it");
    server.wait().expect("its end");

    // Standard error, which the log has taken over.
    let server = Server::start(&["--sale", "ticket=5", "--stat-log", "/dev/stderr"]);
    assert!(crate::buyer(&server).buy().expect("an answer").granted().is_some());
    eventually("it is written", 10, || server.log().contains("result:1,localSales:1"));
}

#[test]
fn a_full_disk_under_the_stat_log_stops_no_sale() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 150, 0);
    let server = on_redis(&redis, &["--stat-log", "/dev/full"]);
    ab(&server, true);
    eventually("said", 5, || server.log().contains("/dev/full"));
    ab(&server, false);
    assert_eq!(sold(&redis), 150);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(server.log().matches("/dev/full").count(), 1, "{}", server.log());
}
