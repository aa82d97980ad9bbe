//! Places run out: which connections give way, and which never do.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

use stampede::limits::NEWCOMER_MS;

use crate::client::{Client, assert_sells, sold};
use crate::place::{Line, Place};
use crate::redis::RedisServer;

const JSON: &str = "GET /json HTTP/1.1\r\nHost: a\r\n\r\n";
/// Places for connections: more than 36 are too many.
const PLACES: &str = "40";

/// The client that takes all it can.
const GREEDY: u8 = 9;

/// A socket from 127.0.0.`from`, on which nothing has been sent.
fn silent_from(server: &Place, from: u8) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0))).expect("an address");
    connect(&socket, &server.line_address()).expect("connect to the server");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(crate::server::ANSWER_DEADLINE)).unwrap();
    stream.set_write_timeout(Some(crate::server::ANSWER_DEADLINE)).unwrap();
    stream
}

/// A client from 127.0.0.`from`.
#[track_caller]
fn connect_from(server: &Place, from: u8) -> Client<Line> {
    server.client_over(silent_from(server, from)).expect("a connection")
}

fn asks(client: &mut Client<Line>) -> bool {
    client.stream.write_all(JSON.as_bytes()).is_ok()
        && client.next(false).is_some_and(|response| response.status() == 200)
}

/// Opens silent connections, one after the other.
fn silent_crowd(server: &Place, from: u8, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| silent_from(server, from)).collect()
}

/// The same, and completes the handshake over TLS.
fn crowd(server: &Place, from: u8, count: usize) -> Vec<Client<Line>> {
    (0..count).map(|_| connect_from(server, from)).collect()
}

/// Whether the server has closed it, without waiting for that.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let end = loop {
        match stream.read(&mut [0; 1024]) {
            Ok(1..) => {}
            end => break end,
        }
    };
    stream.set_nonblocking(false).unwrap();
    end.map_or_else(|error| error.kind() != std::io::ErrorKind::WouldBlock, |_| true)
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + crate::server::ANSWER_DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_client_cannot_shut_out_others() {
    let each = |cores| Place::each(&["--connections-max", "400", "--cores", cores]);
    for server in ["0", "0,1"].into_iter().flat_map(each) {
        // From ten addresses, twenty of each: some that have asked, some that are silent.
        let mut early: Vec<_> = (20..30).flat_map(|from| crowd(&server, from, 20)).collect();
        assert!(early.iter_mut().step_by(2).all(asks));
        let mut asked = connect_from(&server, GREEDY);
        assert!(asks(&mut asked));
        let mut silent = silent_crowd(&server, GREEDY, 150);
        // A new connection does not count as silent.
        thread::sleep(Duration::from_millis(2 * NEWCOMER_MS));
        silent.extend(silent_crowd(&server, GREEDY, 100));
        until("more than enough are closed", || {
            silent.iter().filter(|stream| !is_closed(stream)).count() <= 360 - 201
        });
        for from in 30..50 {
            assert!(asks(&mut connect_from(&server, from)), "a newcomer");
        }
        assert!(asks(&mut asked), "silent ones give way first, and there are enough of these");
        assert!(early.iter_mut().all(asks), "nobody else gives way");
        // Also among new connections: no place is left, and one is found.
        silent.extend(silent_crowd(&server, GREEDY, 1000));
        for from in 50..70 {
            assert!(asks(&mut connect_from(&server, from)), "a newcomer in a storm");
        }
        assert!(early.iter_mut().all(asks), "nobody else gives way");
        assert_sells(&server);
    }
}

#[test]
fn idle_connections_are_evicted_after_silent_ones() {
    for server in Place::each(&["--connections-max", PLACES, "--cores", "0"]) {
        let mut early = crowd(&server, 20, 4);
        assert!(early.iter_mut().all(asks));
        let mut greedy: Vec<_> = (0..100)
            .map(|_| {
                let mut client = connect_from(&server, GREEDY);
                // Half of a request, or one that was answered.
                assert!(asks(&mut client));
                client
            })
            .collect();
        assert!(asks(&mut connect_from(&server, 30)), "a newcomer");
        assert!(early.iter_mut().all(asks), "nobody else gives way");
        assert!(asks(greedy.last_mut().unwrap()), "the oldest gives way first");
        assert!(is_closed(greedy[0].stream.socket()));
    }
}

#[test]
fn a_waiting_purchase_is_never_evicted() {
    let redis = RedisServer::start(&[]);
    let places = ["--connections-max", PLACES, "--cores", "0", "--sale", "ticket=150"];
    let ledger = ["--ledger", &redis.url(), "--ledger-timeout", "30s"];
    for server in Place::each(&[&places[..], &ledger].concat()) {
        assert_sells(&server);
        let mut operator = redis.connect();
        operator.ask("CLIENT PAUSE 60000 WRITE");
        let mut waiting = crowd(&server, GREEDY, 10);
        waiting.iter_mut().for_each(|c| c.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n"));
        until("they all wait", || {
            waiting.iter().all(|client| sent_is_taken(client.stream.socket()))
        });
        let _silent = silent_crowd(&server, GREEDY, 200);
        assert!(asks(&mut connect_from(&server, 30)), "a newcomer");
        operator.ask("CLIENT UNPAUSE");
        for client in &mut waiting {
            assert_eq!(client.response().json()["code"], 1);
        }
        assert_eq!(sold(&server), 11);
        operator.ask("FLUSHALL");
    }
}

/// Whether the server's system has taken all that was sent.
fn sent_is_taken(stream: &TcpStream) -> bool {
    use std::os::fd::AsRawFd;
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, which lives through the call.
    let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    done == 0 && bytes == 0
}

#[test]
fn connections_of_trusted_proxies_are_never_evicted() {
    let proxy = format!("127.0.0.{GREEDY}");
    let options = ["--connections-max", PLACES, "--cores", "0", "--trusted-proxies", &proxy];
    for server in Place::each(&options) {
        let mut proxy = crowd(&server, GREEDY, 39);
        assert!(asks(&mut connect_from(&server, 30)), "the last place");
        proxy.push(connect_from(&server, GREEDY));
        let refused = connect_from(&server, 30).response();
        refused.assert_problem(503, "busy");
        assert!(proxy.iter_mut().take(39).all(asks));
    }
}

#[test]
fn connections_per_address_can_be_limited() {
    let limit = ["--connections-per-address", "3", "--trusted-proxies", "127.0.0.8"];
    for server in Place::each(&[&limit[..], &["--cores", "0"]].concat()) {
        let mut three = crowd(&server, GREEDY, 3);
        let mut refused = connect_from(&server, GREEDY);
        let problem = refused.response();
        problem.assert_problem(503, "busy");
        assert!(problem.text().contains("address") && problem.closes(), "{}", problem.text());
        assert!(three.iter_mut().all(asks));
        assert!(asks(&mut connect_from(&server, 30)), "another address");
        assert!(crowd(&server, 8, 10).iter_mut().all(asks), "a proxy has no limit");
        drop(three.pop());
        until("a place of the address is free", || asks(&mut connect_from(&server, GREEDY)));
        assert_eq!(server.get("/json").status(), 200);
    }
}

#[test]
fn a_client_must_read_answers_at_a_minimum_rate() {
    for server in Place::each(&["--cores", "0", "--write-timeout", "1s"]) {
        // Whether it is cut off while it takes this number of bytes at a time, with a pause before
        // each.
        let is_cut_off = |bytes: usize, pause_ms: u64, time: Duration| {
            let mut client = server.client();
            sockopt::set_socket_recv_buffer_size(client.stream.socket(), 4096).unwrap();
            let mut writer = client.stream.try_clone().unwrap();
            let requests = JSON.repeat(1000);
            let writing =
                thread::spawn(move || while writer.write_all(requests.as_bytes()).is_ok() {});
            let since = Instant::now();
            while since.elapsed() < time && !writing.is_finished() {
                thread::sleep(Duration::from_millis(pause_ms));
                let _ = client.stream.read(&mut vec![0; bytes]);
            }
            let cut_off = writing.is_finished();
            let _ = client.stream.socket().shutdown(std::net::Shutdown::Both);
            writing.join().unwrap();
            cut_off
        };
        thread::scope(|scope| {
            let slow = scope.spawn(|| is_cut_off(64, 250, crate::server::ANSWER_DEADLINE));
            let quick = scope.spawn(|| is_cut_off(4096, 50, Duration::from_secs(5)));
            assert!(slow.join().unwrap(), "256 bytes a second are not enough");
            assert!(!quick.join().unwrap(), "80 KiB a second are");
        });
    }
}
