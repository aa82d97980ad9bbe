//! TLS that a balancer passes through, with the PROXY protocol: nginx' `stream` (version 1) and
//! HAProxy (version 2) by our files, in front of stampede's own TLS.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;
use rustls::ClientConfig;
use tempfile::TempDir;

use crate::client::Client;
use crate::port::Port;
use crate::secure::{Files, Secure};
use crate::server::Server;
use crate::tuning::{Running, START_DEADLINE, program, text};
use crate::{Nginx, changed};

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: shop\r\n\r\n";
/// Connections that each client may have, as our servers count them here.
const CONNECTIONS: usize = 2;
/// Where Debian and Ubuntu put nginx' module.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// A server that trusts a balancer on this machine, and its certificate for this host.
fn start(host: &str, options: &[&str]) -> (Files, Server) {
    let files = Files::make(&[host], 30);
    let tls = [&["--listen", "tls:127.0.0.1:0"], &files.options()[..]].concat();
    let proxies = ["--proxy-protocol", "--trusted-proxies", "127.0.0.1"];
    let most = ["--connections-per-address", &CONNECTIONS.to_string()];
    let server = Server::start(&[&tls[..], &proxies, &most, options].concat());
    (files, server)
}

/// A connection to this port from 127.0.0.N.
fn from(client: u8, port: &Port) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let address = |last, port| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port));
    bind(&socket, &address(client, 0)).expect("an address of this machine");
    connect(&socket, &address(1, port.number())).expect("connect");
    socket.into()
}

/// A client there that trusts this certificate.
fn buyer(client: u8, port: &Port, files: &Arc<ClientConfig>, host: &str) -> Client<Secure> {
    Client::over(Secure::over(from(client, port), files, host).expect("a handshake"))
}

/// Clients buy, and each has its own share of connections: the server knows their addresses.
fn assert_clients_count(port: &Port, files: &Files, host: &str) {
    let files = files.client();
    let mut kept = Vec::new();
    for client in [2, 3] {
        for _ in 0..CONNECTIONS {
            let mut buyer = buyer(client, port, &files, host);
            assert_eq!(buyer.ask(BUY).json()["code"], 1);
            kept.push(buyer);
        }
        let mut one_more = buyer(client, port, &files, host);
        one_more.response().assert_problem(503, "busy");
    }
    for buyer in &mut kept {
        assert_eq!(buyer.ask(BUY).json()["code"], 1);
    }
}

/// Waits until a program listens on this port.
fn listens(port: &Port) {
    let until = Instant::now() + START_DEADLINE;
    while let Err(error) = TcpStream::connect(("127.0.0.1", port.number())) {
        assert!(Instant::now() < until, "{error}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// An nginx with this file of ours and Debian's module.
fn nginx(at: &Path, stream: &str, port: &Port) -> Running {
    let stream_file = at.join("stampede-stream.conf");
    fs::write(&stream_file, stream).expect("write a file");
    let around = format!(
        "load_module {STREAM_MODULE};
         pid {0}/pid; error_log stderr; events {{ worker_connections 1024; }}
         include {1};",
        at.display(),
        stream_file.display()
    );
    let file = at.join("nginx.conf");
    fs::write(&file, around).expect("write a file");
    let (well, said) = Nginx::check(&file);
    assert!(well && !said.contains("[warn]"), "{said}");
    let running = Running(Nginx::command(&file).stderr(Stdio::null()).spawn().expect("nginx"));
    listens(port);
    running
}

#[test]
fn nginx_forwards_tls_by_name_with_the_client_address() {
    let (files, server) = start("tickets.shop.example", &[]);
    // The shop's other pages are on another server.
    let (shop_files, shop) = start("www.shop.example", &[]);
    let (folder, port) = (TempDir::new().expect("a folder"), Port::free());
    let stream = changed(
        text("nginx/stampede-stream.conf"),
        &[
            ("listen 443 backlog", &format!("listen 127.0.0.1:{} backlog", port.number())),
            ("server 127.0.0.1:3443 max", &format!("server {} max", server.secure())),
            ("# www.shop.example shop;", "www.shop.example shop;"),
            ("#upstream shop {", "upstream shop {"),
            ("#    server 127.0.0.1:8443;", &format!("server {};", shop.secure())),
            ("    #}\n", "    }\n"),
        ],
    );
    let _nginx = nginx(folder.path(), &stream, &port);
    assert_clients_count(&port, &files, "tickets.shop.example");
    assert_clients_count(&port, &shop_files, "www.shop.example");
}

#[test]
fn tls_sessions_resume_at_another_server_behind_a_balancer() {
    let keys = tempfile::NamedTempFile::new().expect("a file");
    fs::write(keys.path(), "0f".repeat(32)).expect("write keys");
    let keys = ["--tls-ticket-keys", keys.path().to_str().expect("a path")];
    let (files, first) = start("shop", &keys);
    // One certificate for all of them.
    let second = Server::start(
        &[
            &["--listen", "tls:127.0.0.1:0", "--proxy-protocol", "--trusted-proxies", "127.0.0.1"],
            &files.options()[..],
            &keys,
        ]
        .concat(),
    );
    let (folder, port) = (TempDir::new().expect("a folder"), Port::free());
    let servers = [&first, &second].map(|server| format!("server {};", server.secure()));
    let stream = changed(
        text("nginx/stampede-stream.conf"),
        &[
            ("listen 443 backlog", &format!("listen 127.0.0.1:{} backlog", port.number())),
            ("server 127.0.0.1:3443 max_fails=1 fail_timeout=2s;", &servers.concat()),
        ],
    );
    let _nginx = nginx(folder.path(), &stream, &port);
    let client = files.client();
    // nginx takes them in turn, so each client comes to a server that has not seen it before.
    for number in 0..6 {
        let mut buyer = buyer(2, &port, &client, "shop");
        assert_eq!(buyer.ask(BUY).json()["code"], 1);
        let kind = buyer.stream.tls().handshake_kind().expect("it is over");
        let resumed = kind == rustls::HandshakeKind::Resumed;
        assert_eq!(resumed, number > 0, "handshake {number}: {kind:?}");
    }
}

#[test]
fn haproxy_forwards_tls_only_to_ready_servers() {
    let (files, first) = start("shop", &["--drain-delay", "30s"]);
    let (second_files, second) = start("shop", &[]);
    let (folder, port) = (TempDir::new().expect("a folder"), Port::free());
    let server =
        |server: &Server| format!("{} check port {}", server.secure(), server.control().port());
    let text = changed(
        text("haproxy/stampede.cfg"),
        &[
            ("    bind :443", &format!("    bind 127.0.0.1:{}", port.number())),
            ("    maxconn 100000", "    maxconn 1000"),
            ("server s11 10.0.0.11:3443", &format!("server s11 {}", server(&first))),
            ("server s12 10.0.0.12:3443", &format!("server s12 {} disabled", server(&second))),
        ],
    );
    let file = folder.path().join("haproxy.cfg");
    let start = |text: &str| {
        fs::write(&file, text).expect("write a file");
        let mut haproxy = program("haproxy");
        let haproxy = haproxy.args(["-db", "-q", "-f"]).arg(&file).stderr(Stdio::null()).spawn();
        let running = Running(haproxy.expect("this test needs haproxy: apt-get install haproxy"));
        listens(&port);
        running
    };
    let haproxy = start(&text);
    assert_clients_count(&port, &files, "shop");
    drop(haproxy);

    // With both: after the first says that it leaves, only the second gets clients.
    let _haproxy = start(&text.replace(" disabled", ""));
    first.signal(Signal::TERM);
    let second = second_files.client();
    let reached = || Secure::over(from(2, &port), &second, "shop").is_ok();
    let until = Instant::now() + START_DEADLINE;
    while !(0..6).all(|_| reached()) {
        assert!(Instant::now() < until, "clients are still sent to a server that drains");
        thread::sleep(Duration::from_millis(50));
    }
}
