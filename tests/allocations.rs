//! A refusal allocates nothing. The test counts the allocations of the coroutines that serve
//! connections, while a server in this process refuses requests over kept connections.
//!
//! The housekeeping coroutines (the tick, the ledger's link) are not counted: they ask the ledger
//! 20 times per second whether the sale is still sold out, however many requests are refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use may::coroutine;
use rustix::process::{Signal, getpid, kill_process};
use stampede::cli::ServeOptions;
use stampede::config::{Config, Host, Listen};
use stampede::server::{self, Startup};
use tempfile::TempDir;

/// Allocations of the coroutines that serve connections.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Finding out which coroutine allocates may itself allocate.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

impl Counting {
    fn count() {
        if !ASKING.replace(true) {
            if coroutine::is_coroutine() && coroutine::current().name() == Some("leader") {
                ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
            }
            ASKING.set(false);
        }
    }
}

// SAFETY: passes everything to the system's allocator unchanged. Counting touches no memory but an
// atomic and a thread-local that needs neither room nor a destructor; its own allocations are not
// counted and so do not come here again.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A server in this process.
struct Server {
    address: SocketAddr,
    thread: JoinHandle<()>,
    _folder: TempDir,
}

impl Server {
    fn start(sales: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let host = Host::of_process();
        let options = ServeOptions {
            listen: vec!["127.0.0.1:0".to_owned()],
            control: Some("off".to_owned()),
            cores: Some(host.cores[0].to_string()),
            ledger: Some(format!("embedded:{}", folder.path().display())),
            sale: sales.iter().map(|&sale| sale.to_owned()).collect(),
            ..ServeOptions::default()
        };
        let config = Config::load_from(&options, [], &host).expect("a configuration");
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let ready = |_: &Config, ready: &server::Ready| {
                let Listen::Tcp(address) = ready.addresses[0] else { panic!("no TCP address") };
                tell.send(address).expect("the test waits for it");
            };
            let read = config.clone();
            let startup = Startup {
                read: Box::new(move || Ok(read.clone())),
                hang_ups: mpsc::channel().1,
                predecessor: None,
                storefront: None,
            };
            server::run(config, startup, ready).expect("the server runs until it is told to end");
        });
        let address = told.recv().expect("the server starts");
        Self { address, thread, _folder: folder }
    }

    fn stop(self) {
        kill_process(getpid(), Signal::TERM).expect("tell the server to end");
        self.thread.join().expect("the server ends");
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connect");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a deadline");
        stream
    }

    /// Checks how many allocations `count` times the same request take. It may take several
    /// attempts: a core that the machine stops for 100 ms must ask its ledger again, which
    /// allocates.
    fn assert_allocations(
        &self,
        request: &str,
        says: &str,
        count: usize,
        depth: usize,
        expected: u64,
    ) {
        let look = || self.allocations(request, says, count, depth);
        let seen: Vec<u64> =
            (0..LOOKS_MAX).map(|_| look()).take_while(|&n| n != expected).collect();
        assert!(seen.len() < LOOKS_MAX, "{request}: {seen:?} allocations, not {expected}");
    }

    /// Allocations for `count` times the same request, `depth` of them at a time on each of 8
    /// connections. All must get the same answer, with `says` in it.
    fn allocations(&self, request: &str, says: &str, count: usize, depth: usize) -> u64 {
        let mut streams: Vec<TcpStream> = (0..8).map(|_| self.connect()).collect();
        let answer = one_answer(&mut streams[0], request);
        assert!(answer.contains(says), "{request}: {answer}");
        let requests = request.repeat(depth).into_bytes();
        let body = answer.split_once("\r\n\r\n").expect("a whole answer").1.as_bytes();
        let mut answers = vec![0; answer.len() * depth];
        let mut ask = |count: usize| {
            for _ in 0..count.div_ceil(streams.len() * depth) {
                for stream in &mut streams {
                    stream.write_all(&requests).expect("send");
                }
                for stream in &mut streams {
                    stream.read_exact(&mut answers).expect("answers");
                    let each = answers.chunks_exact(answer.len());
                    assert!(each.into_iter().all(|one| one.ends_with(body)), "{request}");
                }
            }
        };
        ask(2_000); // Buffers and tables grow to what they need.
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        ask(count);
        ALLOCATIONS.load(Ordering::Relaxed) - before
    }
}

/// The answer to a request, as text. Its length is in its headers.
fn one_answer(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "the server has closed the connection");
        answer.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split_once("Content-Length: ").expect("a length").1;
            let length: usize = length.split("\r\n").next().unwrap().parse().expect("a number");
            if body.len() == length {
                return text.into_owned();
            }
        }
    }
}

const REQUESTS: usize = 100_000;
const LOOKS_MAX: usize = 5;
const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";
const BUY_AS: &str = "GET /buy/ticket?user=%61na HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: b\r\n\r\n";

/// `POST /v1/sales/{sale}/reservations`.
fn reserve(sale: &str) -> String {
    let body = r#"{"user":"ana","quantity":1}"#;
    let length = body.len();
    format!(
        "POST /v1/sales/{sale}/reservations HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// One test, since both halves count for the same process.
#[test]
fn a_refusal_allocates_nothing() {
    let later = "2099-01-01T00:00:00Z";
    let server = Server::start(&["ticket=1", &format!("later=1,opens={later}")]);
    assert!(one_answer(&mut server.connect(), BUY).contains(r#""code":1,"#));
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "nobody is counted");

    let sold_out = r#""code":-1,"#;
    server.assert_allocations(BUY, sold_out, REQUESTS, 1, 0);
    server.assert_allocations(BUY, sold_out, REQUESTS, 16, 0);
    for path in ["/plaintext", "/json"] {
        let get = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        server.assert_allocations(&get, "Hello", 10_000, 16, 0);
    }

    // A request that is parsed first, or an answer that is composed, allocates little, and always
    // the same.
    for (request, says, each) in [
        (BUY_AS, sold_out, 2),
        (&reserve("ticket"), r#""sold_out""#, 1),
        (&reserve("later"), r#""not_open""#, 4),
        (&reserve("No-Sale"), r#""not_found""#, 3),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", r#""not_found""#, 1),
    ] {
        server.assert_allocations(request, says, 8_000, 1, 8_000 * each);
    }
    server.stop();

    let server = Server::start(&[&format!("ticket=1,opens={later}")]);
    server.assert_allocations(BUY, "opens_at", REQUESTS, 1, 0);
    server.stop();
}
