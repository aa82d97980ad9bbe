//! A crowd at default settings: it gets the units and true answers, another sale sells on, and a
//! ledger that stands still is not flooded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{buyer, cores, on_redis, run};

/// More than a core once allowed to wait.
const CROWD: usize = 5_000;
/// Purchases of another sale meanwhile.
const NEIGHBOUR: usize = 30;

/// Connections that all ask at the same time, again and again.
struct Crowd(Vec<TcpStream>);

impl Crowd {
    fn connect(address: SocketAddr) -> Self {
        let connect = |_| {
            let stream = TcpStream::connect(address).expect("a place for everybody");
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream
        };
        Self((0..CROWD).map(connect).collect())
    }

    /// All connections ask, then all read: no client has an answer before all have asked. Returns
    /// the number of answers per code, the empty code for a grant.
    fn ask(&mut self, path: &str, body: &str, refused: &str) -> (usize, usize) {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        for stream in &mut self.0 {
            stream.write_all(request.as_bytes()).expect("send");
        }
        let refused = format!("\"code\":\"{refused}\"");
        let (mut granted, mut told_so) = (0, 0);
        for stream in &mut self.0 {
            let text = answer(stream);
            if text.starts_with("HTTP/1.1 201 ") {
                granted += 1;
            } else {
                assert!(text.contains(&refused), "{text}");
                told_so += 1;
            }
        }
        (granted, told_so)
    }
}

/// One answer, whole.
fn answer(stream: &mut TcpStream) -> String {
    let (mut input, mut chunk) = (Vec::new(), [0; 1024]);
    loop {
        let text = String::from_utf8_lossy(&input);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
            });
            if body.len() >= length.expect("a length") {
                return text.into_owned();
            }
        }
        let count = stream.read(&mut chunk).expect("an answer");
        assert!(count > 0, "closed in place of an answer");
        input.extend_from_slice(&chunk[..count]);
    }
}

/// For both ledgers: a server on one core, and the value that must be kept for it.
fn servers(options: &[&str]) -> Vec<(Server, Option<RedisServer>)> {
    let redis = RedisServer::start(&[]);
    let core = cores(1);
    let options = [options, &["--cores", &core]].concat();
    vec![(on_redis(&redis, &options), Some(redis)), (Server::start(&options), None)]
}

#[test]
fn every_request_of_a_crowd_gets_a_ticket_or_sold_out() {
    for (server, _redis) in servers(&["--sale", "hot=3000"]) {
        let mut crowd = Crowd::connect(server.address());
        let ask = |crowd: &mut Crowd| {
            crowd.ask("/v1/sales/hot/reservations", r#"{"user":"a"}"#, "sold_out")
        };
        assert_eq!(ask(&mut crowd), (3_000, CROWD - 3_000));
        assert_eq!(ask(&mut crowd), (0, CROWD));
    }
}

#[test]
fn a_quiet_sale_sells_beside_a_crowded_one() {
    for (server, _redis) in servers(&["--sale", "hot=100000000", "--sale", "quiet=1000"]) {
        let mut crowd = Crowd::connect(server.address());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let neighbour = scope.spawn(|| {
                let mut buyer = buyer(&server);
                for _ in 0..NEIGHBOUR {
                    let bought = buyer.reserve("quiet", "ann", 1, "").expect("an answer").bought();
                    assert!(bought.granted().is_some());
                    assert_eq!(buyer.sale("quiet").expect("a view")["total"], 1_000);
                }
                over.store(true, Ordering::Relaxed);
            });
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) && !neighbour.is_finished() {
                let (granted, _) =
                    crowd.ask("/v1/sales/hot/reservations", r#"{"user":"a"}"#, "never");
                assert_eq!(granted, CROWD);
                rounds += 1;
            }
            neighbour.join().expect("the neighbour is served");
            assert!(rounds > 0);
        });
    }
}

/// A stale latch causes one question, however many ask.
#[test]
fn a_stalled_redis_gets_one_query_for_all_waiters() {
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "gone=1", "--cores", &cores(1)]);
    assert!(buyer(&server).reserve("gone", "ann", 1, "").unwrap().bought().granted().is_some());
    let mut crowd = Crowd::connect(server.address());
    let told = redis.connect().text("INFO server");
    let process =
        told.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().to_owned();
    let scripts = || {
        let told = redis.connect().text("INFO commandstats");
        let line = told.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        line.and_then(|line| line.split(',').next()?.parse::<usize>().ok()).expect("a count")
    };
    let before = scripts();
    run("kill", "procps", &["-STOP", &process]);
    // Longer than a core's knowledge of a sale is valid, shorter than it waits for an answer.
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(1_000));
            run("kill", "procps", &["-CONT", &process]);
        });
        thread::sleep(Duration::from_millis(500));
        let told = crowd.ask("/v1/sales/gone/reservations", r#"{"user":"a"}"#, "sold_out");
        assert_eq!(told, (0, CROWD));
    });
    let asked = scripts() - before;
    assert!(asked < CROWD / 10, "{asked} scripts for one question");
}
