//! Checks that every peer gives the right answers, so that the measurements compare equal work.
//!
//! Each test starts its peer like the bench. Needs nginx, libnginx-mod-http-lua, redis-server and
//! postgresql. A test fails with the package's name if one is missing.

use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::answer::{self, Answer, Content, TARGET};
use bench::client::{Client, Response};
use bench::lab::{Lab, Served, free_address};
use bench::machine::check_tools;
use bench::postgres::Postgres;
use bench::resp::Reply;
use bench::secure::Certificate;
use bench::sellers;
use bench::servers::{Ledger, Programs, Server, Setup};
use bench::shop::{self, Told};
use tempfile::TempDir;

const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
const PIPELINED: usize = 16;
const TOTAL: u64 = 5;
const BUYERS: usize = 20;

/// A lab of its own, whose servers are the programs that this test was built with.
struct Here {
    // Before the folder, so that what runs in it ends first.
    lab: Lab,
    _folder: TempDir,
}

fn here(server: Server) -> Here {
    check_tools(server.tools()).expect("the tools of the bench");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built = Path::new(env!("CARGO_BIN_EXE_floor")).parent().expect("a folder").to_path_buf();
    // No test here starts a stampede: the server's own tests do.
    let programs = Programs { folder: built, stampede: PathBuf::new() };
    let (data, commands) = (folder.path().join("data"), folder.path().join("commands.txt"));
    let interrupted = Arc::new(AtomicBool::new(false));
    let lab = Lab::open((0, 1), programs, data, &commands, interrupted).expect("a lab");
    Here { lab, _folder: folder }
}

/// A sale of a few tickets.
fn selling(cores: &[usize], ledger: Ledger) -> Setup<'_> {
    Setup { cores, content: Content::SoldOut, ledger, total: TOTAL, options: &[], tls: None }
}

fn serve(here: &mut Here, server: Server, cores: &[usize], content: Content) -> Served {
    let setup = Setup { content, ..selling(cores, Ledger::None) };
    here.lab.serve(server, &setup).unwrap_or_else(|error| panic!("{}: {error}", server.name()))
}

/// Sends bytes and reads until the server closes.
fn until_closed(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    answer
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
    stream
}

fn request(content: Content, version: &str, more: &str) -> String {
    format!("GET {} HTTP/{version}\r\nHost: bench\r\n{more}\r\n", content.target())
}

/// Several answers on one connection, one after the other.
fn answers_over_one_connection(served: &Served, content: Content) {
    let mut client = Client::connect(served.address).expect("connect");
    for _ in 0..3 {
        let response = client.get(content.target()).expect("an answer");
        let (status, content_type) = (response.status, &*response.content_type);
        assert_eq!((status, content_type), (200, content.content_type()), "{response:?}");
        assert_eq!(response.body, content.body());
        if content == Content::SoldOut {
            assert_eq!(answer::read(&response), Some(Answer::SoldOut));
        }
    }
}

/// Requests sent at once are answered one by one, each whole.
fn answers_pipelined_requests(served: &Served, content: Content) {
    let all = request(content, "1.1", "").repeat(PIPELINED);
    let mut stream = connect(served.address);
    stream.write_all(all.as_bytes()).expect("send");
    let text = read_answers(&mut stream, content, PIPELINED);
    assert_eq!(text.matches("HTTP/1.1 200 ").count(), PIPELINED, "{text}");
    // No unrequested bytes follow.
    stream.shutdown(Shutdown::Write).expect("no more requests");
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    match stream.read(&mut [0; 64]) {
        Ok(0) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        other => panic!("more than was asked for: {other:?}"),
    }
}

/// A request that comes in two parts is answered when it is whole, and those before it at once.
fn answers_a_request_in_parts(served: &Served, content: Content) {
    let all = request(content, "1.1", "").repeat(PIPELINED);
    let (first, last) = all.split_at(all.len() - 7);
    let mut stream = connect(served.address);
    stream.write_all(first.as_bytes()).expect("send");
    read_answers(&mut stream, content, PIPELINED - 1);
    stream.write_all(last.as_bytes()).expect("send");
    read_answers(&mut stream, content, 1);
}

/// Reads until this number of bodies is there.
fn read_answers(stream: &mut TcpStream, content: Content, count: usize) -> String {
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let len = stream.read(&mut chunk).expect("answers");
        assert!(len > 0, "closed after {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&chunk[..len]);
        let so_far = String::from_utf8_lossy(&text);
        if so_far.matches(content.body()).count() >= count && so_far.ends_with(content.body()) {
            return so_far.into_owned();
        }
    }
}

fn closes_when_asked(served: &Served, content: Content) {
    for (version, more) in [("1.1", "Connection: close\r\n"), ("1.0", "")] {
        let text = until_closed(served.address, &request(content, version, more));
        assert!(text.starts_with("HTTP/1.") && text.ends_with(content.body()), "{text}");
        assert_eq!(text.matches(content.body()).count(), 1, "{text}");
    }
    // Requests after a wish to close get no answer.
    let two = request(content, "1.1", "Connection: close\r\n") + &request(content, "1.1", "");
    let mut stream = connect(served.address);
    stream.write_all(two.as_bytes()).expect("send");
    let mut text = Vec::new();
    // A reset is allowed, too: the server left input unread.
    let _ = stream.read_to_end(&mut text);
    assert!(String::from_utf8_lossy(&text).matches(content.body()).count() <= 1);
}

#[test]
fn all_servers_answer_alike_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path()).expect("a certificate");
    for server in [Server::Floor, Server::Axum, Server::Nginx] {
        let mut here = here(server);
        let setup = Setup { tls: Some(&certificate), ..selling(&[0], Ledger::None) };
        let served = here
            .lab
            .serve(server, &setup)
            .unwrap_or_else(|error| panic!("{}: {error}", server.name()));
        let mut client = served.client().expect("a handshake");
        for _ in 0..3 {
            let response = client.get(TARGET).expect("an answer");
            assert_eq!(answer::read(&response), Some(Answer::SoldOut), "{}", server.name());
        }
        // What is not TLS is not answered as if it were.
        assert!(
            Client::connect(served.address)
                .and_then(|mut plain| plain.get(TARGET))
                .map_or(true, |response| response.status == 400)
        );
    }
}

fn answers_correctly(server: Server, contents: &[Content]) {
    let mut here = here(server);
    for &content in contents {
        let served = serve(&mut here, server, &[0], content);
        answers_over_one_connection(&served, content);
        answers_pipelined_requests(&served, content);
        // With `pipeline_flush`, hyper delays answers while it has a part of a request.
        if server != Server::Axum {
            answers_a_request_in_parts(&served, content);
        }
        if server.closes() {
            closes_when_asked(&served, content);
        }
        let headers = until_some(&served, content);
        assert!(headers.contains("\r\ndate: ") && headers.contains("\r\nserver: "), "{headers}");
    }
    // Several connections to two cores: all get the same answer.
    let served = serve(&mut here, server, &[0, 1], contents[0]);
    for _ in 0..8 {
        answers_over_one_connection(&served, contents[0]);
    }
}

/// The first answer in lower case, also of a server that doesn't close.
fn until_some(served: &Served, content: Content) -> String {
    let mut stream = connect(served.address);
    stream.write_all(request(content, "1.1", "").as_bytes()).expect("send");
    read_answers(&mut stream, content, 1).to_lowercase()
}

const ALL: [Content; 3] = [Content::SoldOut, Content::Plaintext, Content::Json];

#[test]
fn the_epoll_floor_answers_correctly() {
    answers_correctly(Server::Floor, &ALL);
}

#[test]
fn the_io_uring_floor_answers_correctly() {
    answers_correctly(Server::FloorUring, &ALL);
}

#[test]
fn may_minihttp_answers_correctly() {
    // may_minihttp does not close, so no benchmark asks it for one connection per request.
    answers_correctly(Server::MayMinihttp, &ALL);
}

#[test]
fn axum_answers_correctly() {
    answers_correctly(Server::Axum, &ALL);
}

#[test]
fn nginx_answers_correctly() {
    answers_correctly(Server::Nginx, &ALL);
}

#[test]
fn nginx_with_lua_answers_correctly() {
    answers_correctly(Server::NginxLua, &[Content::SoldOut]);
}

/// A floor answers HttpArena's requests with their bodies, though always with the same sum;
/// may_minihttp adds up a query.
#[test]
fn peers_answer_the_paths_of_httparena() {
    let post = "POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: bench\r\n";
    let posts = format!(
        "{post}Content-Length: 2\r\n\r\n20{post}Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n"
    );
    for server in [Server::Floor, Server::FloorUring, Server::MayMinihttp] {
        let mut here = here(server);
        let pipelined = serve(&mut here, server, &[0], Content::Ok);
        answers_over_one_connection(&pipelined, Content::Ok);
        answers_pipelined_requests(&pipelined, Content::Ok);
        let sums = serve(&mut here, server, &[0], Content::Sum);
        answers_over_one_connection(&sums, Content::Sum);
        if server == Server::MayMinihttp {
            continue;
        }
        let last = request(Content::Sum, "1.1", "Connection: close\r\n");
        let text = until_closed(sums.address, &(posts.repeat(8) + &last));
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 17, "{text}");
    }
}

/// Floors keep bytes that do not fit into a socket. A client that does not read delays no other
/// client.
#[test]
fn a_floor_resumes_sending_to_a_slow_client() {
    for server in [Server::Floor, Server::FloorUring] {
        let mut here = here(server);
        let served = serve(&mut here, server, &[0], Content::Plaintext);
        let requests = 100_000;
        let all = request(Content::Plaintext, "1.1", "").repeat(requests);
        let mut reader = connect(served.address);
        let mut writer = reader.try_clone().expect("a second handle");
        let sending = std::thread::spawn(move || writer.write_all(all.as_bytes()));
        // Other clients are served while this one doesn't read.
        answers_over_one_connection(&served, Content::Plaintext);
        let one = until_some(&served, Content::Plaintext).len();
        let mut text = vec![0; one * requests];
        reader.read_exact(&mut text).expect("all answers");
        sending.join().expect("the thread that sends").expect("all requests");
        let count = memchr::memmem::find_iter(&text, Content::Plaintext.body()).count();
        assert_eq!(count, requests, "{}", server.name());
    }
}

/// Asks for a ticket on a connection of its own.
fn buy(address: SocketAddr) -> Response {
    Client::connect(address).and_then(|mut client| client.get(TARGET)).expect("an answer")
}

/// Checks that concurrent buyers get exactly the stock, under different ids, and that later requests
/// are rejected.
fn sells_exactly(served: &Served) {
    let buyers: Vec<_> = (0..BUYERS)
        .map(|_| {
            let address = served.address;
            std::thread::spawn(move || buy(address))
        })
        .collect();
    let responses: Vec<_> =
        buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).collect();
    let mut granted = Vec::new();
    for response in responses {
        match answer::read(&response) {
            Some(Answer::Granted) => granted.push(response.body),
            Some(Answer::SoldOut) => {}
            None => panic!("neither yes nor no: {response:?}"),
        }
    }
    assert_eq!(granted.len() as u64, TOTAL);
    granted.sort();
    granted.dedup();
    assert_eq!(granted.len() as u64, TOTAL, "a reservation was given twice");
    served.expect(Answer::SoldOut).expect("sold out");
}

/// As [`sells_exactly`], to a shop: each user has a key and gets one ticket, even for two requests.
fn sells_exactly_to_a_shop(served: &Served) {
    shop::check(served.address).expect("a key is remembered, a user has one ticket");
    let address = served.address;
    let buyers: Vec<_> = (0..BUYERS)
        .map(|number| {
            std::thread::spawn(move || {
                let (user, key) = (format!("buyer-{number}"), format!("key-{number}"));
                let mut client = Client::connect(address).expect("connect");
                let mut ask = || shop::order(&mut client, shop::PATH, &user, Some(&key));
                (ask().expect("an answer"), ask().expect("an answer"))
            })
        })
        .collect();
    let mut ids = HashSet::new();
    for buyer in buyers {
        match buyer.join().expect("a buyer") {
            (Told::Granted(id), Told::Repeated(same)) if id == same => assert!(ids.insert(id)),
            (Told::SoldOut, Told::SoldOut) => {}
            told => panic!("{told:?}"),
        }
    }
    // The check bought one ticket.
    assert_eq!(ids.len() as u64, TOTAL - 1);
}

#[test]
fn peers_on_redis_sell_exactly_the_total_to_a_shop() {
    for server in [Server::NginxLua, Server::Article] {
        let mut here = here(server);
        if server == Server::Article {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/article");
            let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
            let program = here.lab.programs.folder.join("article");
            sellers::build_article(&source, &program, &cache).expect("it builds");
        }
        let mut redis = here.lab.redis().expect("a Redis");
        let address = free_address().expect("a port");
        let served = match server {
            Server::Article => {
                let (programs, at) = (&here.lab.programs, redis.address);
                let line = sellers::article(programs, &[0], address, at, TOTAL);
                here.lab.serve_line("article", &line, address)
            }
            _ => {
                let ledger = Ledger::Redis(redis.address);
                here.lab.serve(server, &selling(&[0], ledger))
            }
        };
        sells_exactly_to_a_shop(&served.expect("a peer"));
        assert_eq!(redis.sold().expect("the count"), TOTAL);
        let lengths = ["HLEN ticket_claims", "HLEN ticket_users", "XLEN ticket_stream"];
        for command in lengths {
            let words: Vec<_> = command.split(' ').collect();
            let length = redis.ask(&words).expect("a length");
            assert_eq!(length, Reply::Integer(TOTAL as i64), "{command}");
        }
    }
}

#[test]
fn axum_on_postgres_sells_exactly_the_total_to_a_shop() {
    let mut here = here(Server::AxumPostgres);
    let core = here.lab.load_core;
    let postgres = Postgres::start(&mut here.lab, core).expect("a PostgreSQL");
    let url = postgres.database("shop").expect("a database");
    let setup = selling(&[0], Ledger::Postgres(url.clone()));
    let served = here.lab.serve(Server::AxumPostgres, &setup).expect("axum on PostgreSQL");
    sells_exactly_to_a_shop(&served);
    let mut client = bench::postgres::connect(&url).expect("a connection");
    let sql = "SELECT (SELECT sold FROM sale), (SELECT count(*) FROM shop_reservation)";
    let row = client.query_one(sql, &[]).expect("the counts");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (TOTAL as i64, TOTAL as i64));
}

#[test]
fn nginx_with_lua_sells_exactly_the_total() {
    check_tools(&["redis-server"]).expect("the tools of the bench");
    let mut here = here(Server::NginxLua);
    for cores in [&[0][..], &[0, 1]] {
        let mut redis = here.lab.redis().expect("a Redis");
        let ledger = Ledger::Redis(redis.address);
        let setup = selling(cores, ledger);
        let served = here.lab.serve(Server::NginxLua, &setup).expect("nginx");
        sells_exactly(&served);
        assert_eq!(redis.sold().expect("the count"), TOTAL);

        // The server knows without Redis that the sale is sold out.
        drop(redis);
        served.expect(Answer::SoldOut).expect("sold out from memory");
    }
}

#[test]
fn nginx_with_lua_reports_an_unreachable_redis() {
    let mut here = here(Server::NginxLua);
    let redis = here.lab.redis().expect("a Redis");
    let ledger = Ledger::Redis(redis.address);
    let setup = selling(&[0], ledger);
    let served = here.lab.serve(Server::NginxLua, &setup).expect("nginx");
    served.expect(Answer::Granted).expect("a ticket");
    drop(redis);
    let response = buy(served.address);
    assert_eq!((response.status, &*response.body), (503, answer::UNAVAILABLE));
}

#[test]
fn axum_on_postgres_sells_exactly_the_total() {
    let mut here = here(Server::AxumPostgres);
    let core = here.lab.load_core;
    let postgres = Postgres::start(&mut here.lab, core).expect("a PostgreSQL");
    for cores in [&[0][..], &[0, 1]] {
        let url = postgres.database(&format!("peer_{}", cores.len())).expect("a database");
        let ledger = Ledger::Postgres(url.clone());
        let setup = selling(cores, ledger);
        let served = here.lab.serve(Server::AxumPostgres, &setup).expect("axum on PostgreSQL");
        sells_exactly(&served);
        let mut client = bench::postgres::connect(&url).expect("a connection");
        let sql = "SELECT (SELECT sold FROM sale), (SELECT count(*) FROM reservation)";
        let row = client.query_one(sql, &[]).expect("the counts");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (TOTAL as i64, TOTAL as i64));
    }
}

#[test]
fn an_unsupported_ledger_is_an_error() {
    let mut here = here(Server::Floor);
    let ledger = Ledger::Postgres("postgres://nobody@127.0.0.1:1/none".into());
    let setup = selling(&[0], ledger);
    let Err(error) = here.lab.serve(Server::Floor, &setup) else {
        panic!("a floor sells from PostgreSQL");
    };
    assert!(error.to_string().starts_with("floor can't answer sold_out with"), "{error}");
}
