//! What an operator meets: passwords, permissions, certificates, a Redis that is not there yet, a
//! port or a folder that is taken, and sales that open and close.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::buyer::Bought;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, eventually, logged, on_redis, run, set_up_by_hand, sold};

/// All commands that a server uses; `SELECT` only for a database other than 0. `AUTH` and `HELLO`
/// need no permission.
const COMMANDS: &str = "+select +client|setname +script|load +evalsha +time +exists +sadd +srem +scard +sscan +hget +hmget \
                        +hgetall +hset +hdel +hlen +xadd +xlen +zadd +zcount +zrange +zrangebyscore +zrem";

/// Starts a server that must end by itself. Returns its exit code and its output.
pub(crate) fn refused(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--control", "off"]).args(arguments);
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().contains("STAMPEDE")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start the server");
    let until = Instant::now() + Duration::from_secs(15);
    while child.try_wait().expect("wait for the server").is_none() {
        if Instant::now() > until {
            child.kill().expect("kill the server");
        }
        thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("what it said");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("UTF-8");
    assert!(!said.contains("panic"), "{said}");
    (output.status.code().unwrap_or(-1), said)
}

pub(crate) fn sells(server: &Server) -> bool {
    matches!(buyer(server).buy().expect("an answer"), Bought::Granted(_))
}

fn url(redis: &RedisServer, login: &str, db: u32) -> String {
    format!("redis://{login}@127.0.0.1:{}/{db}", redis.port())
}

#[test]
fn a_wrong_password_is_reported_and_never_printed() {
    let redis = RedisServer::start(&["--requirepass", "right-secret"]);
    for (login, part) in [
        (":wrong-secret", "wrong user or password"),
        ("nobody:right-secret", "wrong user or password"),
        ("", "wants a password"),
    ] {
        let url = url(&redis, login, 0).replace("//@", "//");
        let (code, said) = refused(&["--ledger", &url]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(part) && !said.contains("secret"), "{said}");
    }
    let url = url(&redis, ":right-secret", 0);
    let server = Server::start(&["--ledger", &url, "--sale", "ticket=1"]);
    assert!(sells(&server));
    assert!(!server.log().contains("secret"), "{}", server.log());
}

#[test]
fn a_redis_user_with_the_fewest_permissions_is_enough() {
    let redis = RedisServer::start(&[]);
    let mut admin = redis.connect();
    let keys = "~ticket_hash_key ~{ticket_hash_key}:* ~stampede:sales:*";
    admin.text(&format!("ACL SETUSER shop on >p@ss/word {keys} {COMMANDS}"));
    let url = url(&redis, "shop:p%40ss%2Fword", 0);
    let sale = "ticket=3,hold=1s,limit=2";
    {
        let server = Server::start(&["--ledger", &url, "--sale", sale]);
        let mut buyer = buyer(&server);
        let mut reserve =
            |user, key| buyer.reserve("ticket", user, 1, key).expect("an answer").bought();
        let first = reserve("ann", "key").granted().expect("a reservation");
        assert_eq!(reserve("ann", "key"), Bought::Granted(first.clone()));
        assert!(reserve("ann", "").granted().is_some() && reserve("ann", "").is("limit_reached"));
        assert!(reserve("bob", "").granted().is_some() && reserve("bob", "").is("sold_out"));
        assert!(buyer.finds(&first).expect("an answer"));
        eventually("what expired is back", 4, || sold(&redis) == 0);
        assert!(!server.log().contains("NOPERM"), "{}", server.log());
    }
    for command in ["scard", "sadd"] {
        admin.text(&format!("ACL SETUSER shop -{command}"));
        let (code, said) = refused(&["--ledger", &url, "--sale", sale]);
        assert!(code == 1 && said.contains(&format!("ACL SETUSER shop +{command}")), "{said}");
        admin.text(&format!("ACL SETUSER shop +{command}"));
    }
    admin.text("ACL SETUSER shop -hgetall");
    {
        let server = Server::start(&["--ledger", &url, "--sale", sale]);
        eventually("it is told", 5, || server.log().contains("needs EVALSHA, TIME, HGET, HGETALL"));
        let bought = buyer(&server).reserve("ticket", "cid", 1, "").expect("an answer").bought();
        assert!(bought.granted().is_some(), "selling does not depend on it");
    }
    admin.text("ACL SETUSER shop +hgetall");
    admin.text("ACL SETUSER shop -client|setname");
    {
        let server = Server::start(&["--ledger", &url, "--sale", sale]);
        let bought = buyer(&server).reserve("ticket", "dan", 1, "").expect("an answer").bought();
        assert!(bought.granted().is_some(), "a name is only for those who look");
    }
    admin.text("ACL SETUSER shop -script|load");
    let (code, said) = refused(&["--ledger", &url]);
    assert!(code == 1 && said.contains("may not do that"), "{said}");
}

#[test]
fn the_redis_database_number_is_used() {
    let redis = RedisServer::start(&[]);
    let server =
        Server::start(&["--ledger", &redis.url().replace("/0", "/7"), "--sale", "ticket=1"]);
    assert!(sells(&server));
    let mut connection = redis.connect();
    assert_eq!(connection.text("EXISTS ticket_hash_key"), "0");
    connection.text("SELECT 7");
    assert_eq!(connection.text("HGET ticket_hash_key ticket_sold_nums"), "1");
    let (code, said) = refused(&["--ledger", &redis.url().replace("/0", "/99")]);
    assert!(code == 1 && said.contains("no such database"), "{code} {said}");
}

/// A certificate authority and a certificate for 127.0.0.1 that it signed.
pub(crate) fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| run("openssl", "openssl", arguments);
    for name in ["ca", "other"] {
        let (key, certificate) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
        let subject = format!("/CN={name}");
        let make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let named = ["-nodes", "-days", "2", "-subj", &subject, "-keyout", &key, "-out"];
        openssl(&[&make[..], &named, &[&certificate]].concat());
    }
    let (key, request) = (file("redis.key"), file("redis.csr"));
    let make = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    openssl(&[&make[..], &["-subj", "/CN=redis", "-keyout", &key, "-out", &request]].concat());
    std::fs::write(file("names"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
    let (ca, ca_key) = (file("ca.pem"), file("ca.key"));
    let (names, certificate) = (file("names"), file("redis.pem"));
    let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-days", "2"];
    let more = ["-CAcreateserial", "-extfile", &names, "-out", &certificate];
    openssl(&[&sign[..], &more].concat());
    folder
}

#[test]
fn tls_to_redis_with_a_private_authority() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let (certificate, key, ca) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
    let mut redis = RedisServer::start(
        &[
            &["--tls-port", &port.to_string(), "--tls-cert-file", &certificate],
            &["--tls-key-file", &key, "--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"][..],
        ]
        .concat(),
    );
    let url = format!("rediss://127.0.0.1:{port}/0");
    let mut server =
        Server::start(&["--ledger", &url, "--redis-ca", &ca, "--sale", "ticket=100000"]);
    for _ in 0..100 {
        assert!(sells(&server));
    }
    let mut load = Command::new("ab");
    load.args(["-q", "-k", "-n", "5000", "-c", "50"]);
    load.arg(format!("http://{}/buy/ticket", server.address())).stdout(Stdio::null());
    assert!(load.status().expect("ab: apt-get install apache2-utils").success());
    assert_eq!(sold(&redis), 5100);
    redis.restart();
    redis.connect().text("HMSET ticket_hash_key ticket_total_nums 5 ticket_sold_nums 0");
    redis.connect().text("HSET {ticket_hash_key}:sale hold_ms 1000");
    eventually("it has healed", 5, || sells(&server));
    eventually("it is swept too", 10, || sold(&redis) == 0);
    assert_eq!(server.terminate(), 0);

    for arguments in [&["--redis-ca", &file("other.pem")][..], &[]] {
        let (code, said) = refused(&[&["--ledger", &url], arguments].concat());
        assert!(code == 1 && said.contains("certificate"), "{code} {said}");
    }
    // Not TLS at all: this may not be permanent, so it is only logged.
    let server = Server::start(&["--ledger", &redis.url().replace("redis:", "rediss:")]);
    eventually("said", 8, || server.log().contains("away"));
}

#[test]
fn tls_to_the_sentinels_and_to_the_primary() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let port = || {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("its address").port().to_string()
    };
    let (certificate, key, ca) = (file("redis.pem"), file("redis.key"), file("ca.pem"));
    let (primary, sentinel) = (port(), port());
    let tls = [
        ["--tls-cert-file", &certificate, "--tls-key-file", &key],
        ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "yes"],
    ]
    .concat();
    let redis = RedisServer::start(&[&["--tls-port", &primary][..], &tls].concat());
    let conf = file("sentinel.conf");
    let watch = format!("sentinel monitor shop 127.0.0.1 {primary} 1\ntls-replication yes\n");
    std::fs::write(&conf, watch).expect("a file");
    let program = Command::new("redis-server")
        .args([&conf, "--sentinel", "--port", "0", "--tls-port", &sentinel])
        .args(&tls)
        .stdout(Stdio::null())
        .spawn();
    let mut program = program.expect("redis-server");
    let url = format!("rediss-sentinel://127.0.0.1:{sentinel}/shop");
    let ours = ["--ledger", &url, "--redis-cert", &certificate, "--redis-key", &key];
    let server = Server::start(&[&ours[..], &["--redis-ca", &ca, "--sale", "ticket=9"]].concat());
    eventually("it sells", 10, || sells(&server));
    drop(server);
    assert!(sold(&redis) >= 1);
    let (code, said) = refused(&[&ours[..], &["--redis-ca", &file("other.pem")]].concat());
    assert!(code == 1 && said.contains("--redis-ca names"), "{code} {said}");
    let (code, said) = refused(&["--ledger", &url, "--redis-ca", &ca]);
    assert!(code == 1 && said.contains("--redis-cert and --redis-key"), "{code} {said}");
    program.kill().expect("end the Sentinel");
    program.wait().expect("its end");
}

#[test]
fn a_server_starts_before_its_redis() {
    let mut redis = RedisServer::start(&[]);
    redis.kill();
    let server = on_redis(&redis, &["--sale", "ticket=2"]);
    eventually("said", 2, || server.log().contains("away: Redis can't be reached"));
    let answer = buyer(&server).request("GET", "/buy/ticket", &[], "").expect("an answer");
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (503, Some(-6)));
    assert!(buyer(&server).reserve("ticket", "a", 1, "k").expect("one").bought().is("unavailable"));
    redis.restart();
    eventually("it sells", 5, || sells(&server));
    eventually("another core sells too", 5, || sells(&server));
    let sold_out = || buyer(&server).buy().expect("an answer").is("sold_out");
    eventually("every core has its ledger", 5, sold_out);
    assert_eq!(sold(&redis), 2);
    eventually("said", 2, || server.log().contains("ledger reachable again"));
    logged(&server, "created");
}

#[test]
fn a_port_or_folder_in_use_is_reported() {
    let server = Server::start(&["--sale", "ticket=5"]);
    let address = server.address().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = |path: &Path| format!("embedded:{}", path.join("data").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["serve", "--listen", &address, "--ledger", &ledger(folder.path())]);
    let output = command.output().expect("start the server");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&address) && said.contains("another server has this port"), "{said}");

    let taken = ledger(folder.path());
    let mut first = Server::start(&["--ledger", &taken, "--sale", "ticket=5"]);
    let (code, said) = refused(&["--ledger", &taken]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(folder.path().to_str().expect("a path")), "{said}");
    assert!(said.contains("another"), "{said}");
    assert!(sells(&first));
    assert_eq!(first.terminate(), 0);
}

#[test]
fn an_existing_sale_is_left_unchanged() {
    let redis = RedisServer::start(&[]);
    set_up_by_hand(&redis, 150, 7);
    let differs = "total is 150, not 10000";
    {
        let server = on_redis(&redis, &["--sale", "ticket=10000"]);
        eventually("said", 2, || server.log().contains(differs));
    }
    let total = redis.connect().text("HGET ticket_hash_key ticket_total_nums");
    assert_eq!((total.as_str(), sold(&redis)), ("150", 7));
    let mut server = Server::start(&["--sale", "ticket=5"]);
    assert!(sells(&server));
    server.restart();
    assert_eq!(buyer(&server).sale("ticket").expect("an answer")["free"], 4);
}

#[test]
fn a_sale_opens_and_closes() {
    let redis = RedisServer::start(&[]);
    for on in [Some(&redis), None] {
        // In whole milliseconds, as a sale has it.
        let opens = Timestamp::from_millisecond(Timestamp::now().as_millisecond() + 2000);
        let opens = opens.expect("a time");
        let closes = opens + SignedDuration::from_secs(2);
        let sale = format!("ticket=100000,opens={opens},closes={closes}");
        let options = ["--sale", &sale];
        let server = on.map_or_else(|| Server::start(&options), |redis| on_redis(redis, &options));
        let mut buyer = buyer(&server);
        // Up to the time of one answer of this server around each change.
        let slack = SignedDuration::from_millis(100);
        // Two clocks that are read in whole milliseconds may differ by one.
        let precision = SignedDuration::from_millis(1);
        let mut seen = Vec::new();
        while Timestamp::now() < closes + SignedDuration::from_secs(1) {
            let asked = Timestamp::now();
            let bought = buyer.buy().expect("an answer");
            let answered = Timestamp::now();
            let what = match bought {
                Bought::Granted(_) => "granted".to_owned(),
                Bought::Refused(code) => code,
            };
            match what.as_str() {
                "not_open" => assert!(asked < opens + slack, "{asked} {opens}"),
                "granted" => assert!(
                    answered + precision >= opens && asked < closes + slack,
                    "{asked} {opens} {closes}"
                ),
                "closed" => assert!(answered + precision >= closes, "{asked} {closes}"),
                other => panic!("{other}"),
            }
            if seen.last() != Some(&what) {
                seen.push(what);
            }
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(seen, ["not_open", "granted", "closed"]);
    }
}
