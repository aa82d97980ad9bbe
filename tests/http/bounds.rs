//! Out of connections, descriptors or memory: the server sheds load, never dies, and recovers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Resource, Rlimit, Signal, pidfd_getfd, pidfd_open, prlimit,
};

use stampede::limits::REFUSED_CONNECTIONS_MAX;

use crate::client::{Client, assert_sells, mapped_bytes, resident_bytes, sold, status_number};
use crate::place::{Line, Place};
use crate::server::{ANSWER_DEADLINE, Server};

const PLAINTEXT: &str = "GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn descriptor_table_and_huge_pages_are_set_at_the_start() {
    let places = 5_000;
    let server = Server::start(&["--connections-max", &places.to_string()]);
    assert!(status_number(&server, "FDSize:") >= places, "the table of descriptors is to grow");
    assert_eq!(status_number(&server, "THP_enabled:"), 0, "a page fault may clear 2 MiB");
}

/// Tries until the server has a place again. The refused connections stay: they must not take the
/// place.
#[track_caller]
fn assert_recovers(server: &Place) {
    let until = Instant::now() + Duration::from_secs(10);
    let mut refused = Vec::new();
    loop {
        // The refusal may come before the request is read, and over TLS before the handshake.
        if let Ok(mut client) = server.try_client() {
            let _ = client.stream.write_all(PLAINTEXT.as_bytes());
            let mut first = [0; 12];
            let answered = client.stream.read_exact(&mut first).is_ok() && first.ends_with(b" 200");
            if answered {
                break;
            }
            refused.push(client);
        }
        assert!(Instant::now() < until, "there is no place again");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Opens this number of connections. `None`: one was closed instead of a handshake, as happens over
/// TLS beyond the connections that get a refusal.
fn try_clients(server: &Place, count: usize) -> Vec<Option<Client<Line>>> {
    let clients = (0..count).map(|_| server.try_client().ok());
    clients.inspect(|client| assert!(client.is_some() || server.is_secure())).collect()
}

#[test]
fn a_connection_beyond_the_bound_is_answered_busy() {
    // They all come from one address, which is a trusted proxy's: none of them gives way.
    let options = ["--connections-max", "10", "--trusted-proxies", "127.0.0.1"];
    for server in Place::each(&[&["--sale", "ticket=150"], &options[..]].concat()) {
        let mut clients: Vec<Client<Line>> = (0..10).map(|_| server.client()).collect();
        for client in &mut clients {
            assert_eq!(client.ask(PLAINTEXT).status(), 200);
        }
        // More of them than would fit, and none goes away: they take no other client's place.
        let mut refused = try_clients(&server, 20);
        assert!(refused.iter().flatten().count() >= REFUSED_CONNECTIONS_MAX);
        for client in refused.iter_mut().flatten() {
            let response = client.response();
            response.assert_problem(503, "busy");
            assert!(response.closes());
        }
        for client in &mut clients {
            assert_eq!(client.ask(PLAINTEXT).status(), 200);
        }
        // A place becomes free: the next connection gets it, though the refused ones are still
        // there.
        drop(clients.pop());
        assert_recovers(&server);
        for mut client in refused.into_iter().flatten() {
            client.assert_end();
        }
    }
}

#[test]
fn connections_beyond_the_refusal_bound_are_dropped() {
    for server in Place::each(&["--sale", "ticket=150", "--connections-max", "1"]) {
        let mut first = server.client();
        assert_eq!(first.ask(PLAINTEXT).status(), 200);
        let mut crowd = try_clients(&server, 200);
        for client in crowd.iter_mut().flatten() {
            client.response().assert_problem(503, "busy");
        }
        assert_eq!(first.ask(PLAINTEXT).status(), 200);
        drop(crowd);
        drop(first);
        assert_recovers(&server);
    }
}

#[test]
fn a_low_file_limit_is_raised_or_refused() {
    // This test may raise its soft limit.
    let server = Server::start_limited("-S -n 64", &["--sale", "ticket=150"]);
    let mut clients: Vec<Client> = (0..200).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(PLAINTEXT).status(), 200);
    }
    assert_sells(&server);
}

#[test]
fn running_out_of_descriptors_sheds_and_recovers() {
    let options = ["--sale", "ticket=150", "--cores", "0", "--connections-max", "440"];
    for server in Place::each_limited("-n 512", &options) {
        // Takes the descriptors away from the running server: its limit, lowered from outside.
        let limit = |soft: u64| {
            let pid = Pid::from_raw(server.pid() as i32);
            let limits = Rlimit { current: Some(soft), maximum: Some(512) };
            prlimit(pid, Resource::Nofile, limits).expect("set its limit");
        };
        limit(64);
        let mut crowd: Vec<_> =
            (0..150).map(|_| Server::connect_to(server.line_address())).collect();
        let first = server.first_bytes(PLAINTEXT);
        for stream in &mut crowd {
            let _ = stream.write_all(&first);
        }
        thread::sleep(Duration::from_millis(500));
        let [mut served, mut told] = [0; 2];
        for stream in &crowd {
            stream.set_nonblocking(true).unwrap();
            let mut head = [0; 12];
            match stream.peek(&mut head) {
                // Over TLS: the client's part of the handshake.
                Ok(12) if head.ends_with(b"200") || head[0] == 22 => served += 1,
                Ok(12) if head.ends_with(b"503") => told += 1,
                _ => {}
            }
        }
        // Over TLS there is no answer without a handshake: they are closed.
        assert!(served > 10 && (told > 0 || server.is_secure()), "{served} served, {told} told");
        crowd.clear();
        assert_recovers(&server);
        limit(512);
        let mut clients: Vec<_> = (0..200).map(|_| server.client()).collect();
        for client in &mut clients {
            assert_eq!(client.ask(PLAINTEXT).status(), 200);
        }
        assert_sells(&server);
        assert_eq!(sold(&server), 1);
    }
}

#[test]
fn thousands_of_idle_connections_block_no_buyer() {
    for server in Place::each(&["--sale", "ticket=150", "--cores", "0"]) {
        let before = resident_bytes(&server);
        let idle: Vec<TcpStream> = (0..2000).map(|_| server.connect()).collect();
        let mut used: Vec<Client<Line>> = (0..500).map(|_| server.client()).collect();
        for client in &mut used {
            assert_eq!(client.ask(PLAINTEXT).status(), 200);
        }
        assert_sells(&server);
        let each = resident_bytes(&server).saturating_sub(before) / 2500;
        assert!(each < 4096, "{each} bytes per connection");
        drop(idle);
        assert_eq!(sold(&server), 1);
    }
}

#[test]
fn hundreds_of_purchases_wait_at_the_same_time() {
    for server in Place::each(&["--sale", "ticket=450", "--cores", "0"]) {
        let mut clients: Vec<Client<Line>> = (0..500).map(|_| server.client()).collect();
        for round in 0..2 {
            for client in &mut clients {
                client.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            let answers = clients.iter_mut().map(|client| client.response().json());
            let granted = answers.filter(|answer| answer["code"] == 1).count();
            assert_eq!(granted, if round == 0 { 450 } else { 0 });
        }
        assert_eq!(sold(&server), 450);
    }
}

#[test]
fn purchases_beyond_the_waiting_bound_are_answered_busy() {
    let options = ["--sale", "ticket=100000", "--cores", "0", "--waiting-max", "1"];
    for server in Place::each(&options) {
        let mut clients: Vec<Client<Line>> = (0..200).map(|_| server.client()).collect();
        let (mut granted, mut busy) = (0, 0);
        for _ in 0..5 {
            for client in &mut clients {
                client.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            for client in &mut clients {
                let response = client.response();
                match response.json()["code"].as_i64() {
                    Some(1) => granted += 1,
                    Some(-5) => {
                        assert_eq!(
                            (response.status(), response.header("Retry-After")),
                            (503, Some("1"))
                        );
                        busy += 1;
                    }
                    _ => panic!("{} {}", response.head, response.text()),
                }
            }
        }
        assert!(granted > 0 && busy > 0, "{granted} granted, {busy} busy");
        assert_eq!(sold(&server), granted);
        assert_eq!(server.get("/buy/ticket").json()["code"], 1);
    }
}

/// A waiting purchase has no stack: 500 of these would be 32 MiB.
#[test]
fn waiting_purchases_take_hardly_any_memory() {
    let server = Server::start(&["--sale", "ticket=100000", "--cores", "0"]);
    let mut clients: Vec<Client> = (0..500).map(|_| Client::new(&server)).collect();
    for client in &mut clients {
        assert_eq!(client.ask(PLAINTEXT).status(), 200);
    }
    let limit = |current| {
        let pid = Pid::from_raw(server.pid() as i32);
        let limits = Rlimit { current, maximum: None };
        prlimit(pid, Resource::As, limits).expect("set its limit");
    };
    limit(Some(mapped_bytes(&server) + (2 << 20)));
    for _ in 0..2 {
        // All at once: the server is stopped while they are sent.
        server.signal(Signal::STOP);
        for client in &mut clients {
            client.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        server.signal(Signal::CONT);
        let statuses: Vec<u16> = clients.iter_mut().map(|c| c.response().status()).collect();
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    assert_eq!(sold(&server), 1000);
}

/// The server's own listening socket, through another handle.
fn listening_socket(server: &Server) -> OwnedFd {
    let sockets = format!("/proc/{}/net/tcp", server.pid());
    let sockets = std::fs::read_to_string(sockets).expect("its sockets");
    // See proc(5): the local address in hexadecimal, state 0A, the inode.
    let port = format!(":{:04X}", server.address().port());
    let listening = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let listening = listening.filter(|field| field[1].ends_with(&port) && field[3] == "0A");
    let inode = listening.map(|field| format!("socket:[{}]", field[9])).next().expect("it listens");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", server.pid()));
    let number = descriptors.expect("its descriptors").map(|entry| entry.expect("one").path());
    let is_it = |path: &PathBuf| std::fs::read_link(path).is_ok_and(|to| to == Path::new(&inode));
    let path = number.into_iter().find(is_it).expect("the listening socket");
    let number = path.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
    let pid = Pid::from_raw(server.pid() as i32).expect("a process");
    let process = pidfd_open(pid, PidfdFlags::empty()).expect("the process");
    pidfd_getfd(process, number, PidfdGetfdFlags::empty()).expect("its descriptor")
}

#[test]
fn a_failing_accept_pauses_and_is_logged_once() {
    let mut server = Server::start(&["--sale", "ticket=5", "--cores", "0"]);
    let mut kept = Client::new(&server);
    kept.ask("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
    // From now on accept fails with EINVAL.
    shutdown(listening_socket(&server), Shutdown::Both).expect("shut the socket down");
    let told = "can't accept connections";
    let until = Instant::now() + ANSWER_DEADLINE;
    while !server.log().contains(told) {
        assert!(Instant::now() < until, "{}", server.log());
        thread::sleep(Duration::from_millis(10));
    }
    // Existing connections are served, also while it tries again.
    for _ in 0..20 {
        let bought = kept.ask("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(bought.status(), 200);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.log().matches(told).count(), 1, "{}", server.log());
    assert_eq!(server.terminate(), 0);
}
