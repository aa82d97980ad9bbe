//! A core with a service of the test's own, over socket pairs, with a clock of the test's own: what
//! becomes of requests and connections, whatever is served.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{self, Entry};
use super::core::{Action, Core, Engine, Event, Pending, Service, Settings};
use super::http::Head;
use super::promise::{Promise, Promised, promise};
use super::{start_core, still};
use crate::clock::Clock;
use crate::limits::{DRAIN_CLIENT_MS, LINGER_DEADLINE_MS, SPARE_COROUTINES, TICK_INTERVAL_MS};
use crate::sync::lock;
use crate::test_coroutines::run;

const START_MS: u64 = 1_000_000;
/// More than the system holds for a client.
const BIG_BYTES: usize = 2 << 20;
/// After this a test that waits for something has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the service and the test share.
#[derive(Default)]
struct Shared {
    /// The answers that are awaited, by path.
    promises: Mutex<HashMap<String, Promise<()>>>,
    ticks: AtomicU64,
    finished: AtomicBool,
}

/// Answers with the path and the body in brackets: at once, or when the test says so, or never.
struct Echo(Arc<Shared>);

struct Waiting {
    path: String,
    promised: Promised<()>,
}

impl Pending for Waiting {
    fn wait(self: Box<Self>, core: &'static Core, out: &mut Vec<u8>) {
        assert!(self.promised.wait(core).is_some(), "the test keeps its promises");
        assert!(!self.path.contains("panic"), "{} was asked for", self.path);
        out.extend_from_slice(format!("[{}]", self.path).as_bytes());
    }
}

impl Service for Echo {
    fn serve(
        &self,
        core: &'static Core,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action {
        let path = head.path.to_owned();
        if path.starts_with("/wait") {
            if !core.ensure_spare() {
                out.extend_from_slice(b"[busy]");
                return Action::Answered;
            }
            let (promise, promised) = promise(core);
            lock(&self.0.promises).insert(path.clone(), promise);
            return Action::Wait(Box::new(Waiting { path, promised }));
        }
        assert!(path != "/panic", "{path} was asked for");
        if path == "/big" {
            out.extend_from_slice(&[b'.'; BIG_BYTES]);
            return Action::Answered;
        }
        let body = String::from_utf8_lossy(body);
        out.extend_from_slice(format!("[{path}{body}]").as_bytes());
        Action::Answered
    }

    fn tick(&self) -> bool {
        self.0.ticks.fetch_add(1, Ordering::SeqCst);
        false
    }

    fn finish(&self) {
        self.0.finished.store(true, Ordering::SeqCst);
    }
}

/// One core at work.
struct Bench {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    events: Receiver<Event>,
}

impl Bench {
    fn new() -> Self {
        Self::with(still::settings())
    }

    fn with(settings: Settings) -> Self {
        let (tell, events) = channel();
        let report = move |event| _ = tell.send(event);
        let engine = Arc::new(Engine::new(1, settings, report).expect("descriptors"));
        let shared = Arc::<Shared>::default();
        let (service, theirs) = (Echo(shared.clone()), engine.clone());
        run(move || {
            let clock = Rc::new(Clock::default());
            clock.set(START_MS);
            start_core(0, theirs, clock, service).map(drop).expect("a core");
        });
        Self { engine, shared, events }
    }

    /// Runs something on the core, and waits for it.
    fn on_core<T: Send + 'static>(
        &self,
        body: impl FnOnce(&'static Core) -> T + Send + 'static,
    ) -> T {
        let (tell, told) = channel();
        self.engine.mailboxes[0].send(Box::new(move |core| _ = tell.send(body(core))));
        told.recv_timeout(PATIENCE).expect("the core answers")
    }

    fn connect(&self) -> Client {
        let (ours, theirs) = UnixStream::pair().expect("descriptors");
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        theirs.set_nonblocking(true).unwrap();
        assert!(self.engine.connections.take(self.engine.settings.connections_max));
        self.on_core(move |core| connection::add(core, theirs.into(), Entry::Admitted(None)));
        Client(ours)
    }

    /// A connection with such a request under way, which waits.
    fn waiting(&self, path: &str) -> Client {
        let mut client = self.connect();
        client.ask(path);
        self.until("it waits", || lock(&self.shared.promises).contains_key(path));
        client
    }

    /// Lets a waiting request go on.
    fn answer(&self, path: &str) {
        let promise = lock(&self.shared.promises).remove(path);
        promise.expect("it waits").keep(());
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            assert!(since.elapsed() < PATIENCE, "never: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the core has done all that it does at a tick, and what has come before is read.
    fn pass_a_tick(&self) {
        let after = self.shared.ticks.load(Ordering::SeqCst) + 2;
        self.until("a tick", || self.shared.ticks.load(Ordering::SeqCst) >= after);
    }

    /// It is that time on the core's clock, and what is due then is done.
    fn at_ms(&self, ms: u64) {
        self.on_core(move |core| core.clock.set(START_MS + ms));
        self.pass_a_tick();
    }

    fn open(&self) -> usize {
        self.engine.connections.taken()
    }
}

struct Client(UnixStream);

impl Client {
    fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).expect("it takes what is sent");
    }

    fn ask(&mut self, path: &str) {
        self.send(&get(path));
    }

    /// The next answers are these.
    fn hears(&mut self, wanted: &str) {
        let mut heard = vec![0; wanted.len()];
        self.0.read_exact(&mut heard).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        assert_eq!(String::from_utf8_lossy(&heard), wanted);
    }

    /// All that comes until the core says that nothing more does. It may go on reading.
    fn hears_last(&mut self) -> String {
        let mut heard = Vec::new();
        match self.0.read_to_end(&mut heard) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        String::from_utf8(heard).expect("text")
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn answers_come_in_the_order_of_the_requests_though_one_waits() {
    let bench = Bench::new();
    let mut client = bench.connect();
    client.send(&["/1", "/1", "/wait/2", "/3", "/wait/4", "/5"].map(get).concat());
    client.hears("[/1][/1]");
    bench.until("it waits", || lock(&bench.shared.promises).contains_key("/wait/2"));
    // The core goes on meanwhile.
    let mut other = bench.connect();
    other.ask("/other");
    other.hears("[/other]");
    bench.pass_a_tick();
    assert!(!lock(&bench.shared.promises).contains_key("/wait/4"), "one after the other");
    bench.answer("/wait/2");
    client.hears("[/wait/2][/3]");
    bench.until("it waits", || lock(&bench.shared.promises).contains_key("/wait/4"));
    // What comes while one waits is read afterwards.
    client.ask("/6");
    bench.pass_a_tick();
    bench.answer("/wait/4");
    client.hears("[/wait/4][/5][/6]");
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let bench = Bench::new();
    let whole = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
    let mut client = bench.connect();
    for (request, wanted) in [(whole, "[/phello]"), (chunked, "[/chello]"), (&get("/g"), "[/g]")] {
        for at in [1, request.len() / 2, request.len() - 6, request.len() - 1] {
            let (some, rest) = request.split_at(at);
            client.send(some);
            bench.pass_a_tick();
            // The end of this one and the beginning of the next.
            client.send(&format!("{rest}{}", &whole[..at.min(20)]));
            client.hears(wanted);
            bench.pass_a_tick();
            client.send(&whole[at.min(20)..]);
            client.hears("[/phello]");
        }
    }
}

#[test]
fn a_connection_has_its_time_between_two_requests_and_for_a_head() {
    let settings = still::settings();
    let (idle_ms, head_ms) = (settings.idle_timeout_ms, settings.head_timeout_ms);
    let bench = Bench::new();
    let (mut silent, mut asking) = (bench.connect(), bench.connect());
    bench.at_ms(idle_ms - 1);
    assert_eq!(bench.open(), 2);
    asking.ask("/1");
    asking.hears("[/1]");
    bench.at_ms(idle_ms);
    assert_eq!((bench.open(), &*silent.hears_last()), (1, ""));
    asking.send("GET /2 HTTP/1.1\r\n");
    bench.pass_a_tick();
    bench.at_ms(idle_ms + head_ms - 1);
    // What comes of it bit by bit gives it no more time.
    asking.send("Host: ");
    bench.pass_a_tick();
    assert_eq!(bench.open(), 1);
    bench.at_ms(idle_ms + head_ms);
    let last = asking.hears_last();
    assert!(last.starts_with("HTTP/1.1 408 ") && last.contains("Connection: close\r\n"), "{last}");
    // It lingers for what is still being sent, and not for ever.
    assert_eq!(bench.open(), 1);
    bench.at_ms(idle_ms + head_ms + LINGER_DEADLINE_MS);
    assert_eq!(bench.open(), 0);
}

#[test]
fn a_body_has_its_time_and_a_wait_has_none() {
    let settings = Settings { head_timeout_ms: 1_000, ..still::settings() };
    let (idle_ms, body_ms) = (settings.idle_timeout_ms, settings.body_timeout_ms);
    let bench = Bench::with(settings);
    let mut waiting = bench.waiting("/wait");
    let mut client = bench.connect();
    client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    bench.pass_a_tick();
    bench.at_ms(body_ms - 1);
    client.send("o");
    client.hears("[/phello]");
    client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell");
    bench.pass_a_tick();
    bench.at_ms(2 * body_ms - 1);
    assert!(client.hears_last().starts_with("HTTP/1.1 408 "));
    bench.at_ms(10 * idle_ms);
    bench.answer("/wait");
    waiting.hears("[/wait]");
    bench.at_ms(11 * idle_ms - 1);
    waiting.ask("/still");
    waiting.hears("[/still]");
}

#[test]
fn who_takes_nothing_of_his_answers_has_his_time() {
    let settings = still::settings();
    let write_ms = settings.write_timeout_ms;
    let bench = Bench::with(settings);
    let (mut silent, mut taking) = (bench.connect(), bench.connect());
    silent.ask("/big");
    taking.ask("/big");
    bench.pass_a_tick();
    bench.at_ms(write_ms - 1);
    taking.hears(&".".repeat(BIG_BYTES));
    taking.ask("/1");
    taking.hears("[/1]");
    assert_eq!(bench.open(), 2);
    bench.at_ms(write_ms);
    assert_eq!(bench.open(), 1);
    assert!(silent.hears_last().len() < BIG_BYTES);
    taking.ask("/2");
    taking.hears("[/2]");
}

#[test]
fn a_waiting_request_whose_client_is_gone_ends_with_its_answer() {
    let bench = Bench::new();
    drop(bench.waiting("/wait/gone"));
    let mut half = bench.waiting("/wait/half");
    half.0.shutdown(std::net::Shutdown::Write).unwrap();
    bench.pass_a_tick();
    assert_eq!(bench.open(), 2, "what was asked of the ledger is waited for");
    bench.answer("/wait/half");
    assert_eq!(half.hears_last(), "[/wait/half]", "who only sends no more is answered");
    bench.answer("/wait/gone");
    bench.until("its place is free", || bench.open() == 0);
}

#[test]
fn the_last_answer_closes_its_connection() {
    let bench = Bench::new();
    let mut client = bench.connect();
    let close = get("/close").replace("Host: a", "Host: a\r\nConnection: close");
    client.send(&[get("/1"), close, get("/2")].concat());
    client.hears("[/1][/close]");
    assert_eq!(client.hears_last(), "", "nothing more is answered");
    drop(client);
    let (mut waiting, mut idle) = (bench.waiting("/wait"), bench.connect());
    bench.engine.leaving.store(true, Ordering::SeqCst);
    bench.answer("/wait");
    idle.send(&[get("/1"), get("/2")].concat());
    // New ones are taken on as before.
    let mut new = bench.connect();
    new.ask("/new");
    for (client, wanted) in [(&mut waiting, "[/wait]"), (&mut idle, "[/1]"), (&mut new, "[/new]")] {
        assert_eq!(client.hears_last(), wanted);
    }
    drop((waiting, idle, new));
    bench.until("all places are free", || bench.open() == 0);
}

#[test]
fn a_drain_ends_when_all_who_were_under_way_have_their_answers() {
    let bench = Bench::new();
    let (mut waiting, mut idle, mut half) =
        (bench.waiting("/wait"), bench.connect(), bench.connect());
    half.send("GET /half HTTP/1.1\r\n");
    bench.pass_a_tick();
    bench.engine.leaving.store(true, Ordering::SeqCst);
    bench.engine.drain();
    bench.at_ms(TICK_INTERVAL_MS);
    assert_eq!(idle.hears_last(), "");
    half.send("Host: a\r\n\r\n");
    assert_eq!(half.hears_last(), "[/half]");
    drop(half);
    bench.until("one is left", || bench.open() == 1);
    bench.at_ms(2 * DRAIN_CLIENT_MS);
    assert!(bench.events.try_recv().is_err() && !bench.shared.finished.load(Ordering::SeqCst));
    bench.answer("/wait");
    assert_eq!(waiting.hears_last(), "[/wait]");
    drop(waiting);
    assert!(matches!(bench.events.recv_timeout(PATIENCE), Ok(Event::Drained)));
    assert!(bench.shared.finished.load(Ordering::SeqCst) && bench.open() == 0);
    bench.pass_a_tick();
    assert!(bench.events.try_recv().is_err(), "it is told once");
}

#[test]
fn a_panic_costs_its_connection_only() {
    let bench = Bench::new();
    let mut other = bench.connect();
    let mut before = bench.connect();
    before.ask("/panic");
    assert_eq!(before.hears_last(), "");
    let mut after = bench.waiting("/wait/panic");
    bench.answer("/wait/panic");
    assert_eq!(after.hears_last(), "");
    bench.until("their places are free", || bench.open() == 1);
    other.ask("/other");
    other.hears("[/other]");
    let mut waiting = bench.waiting("/wait");
    bench.answer("/wait");
    waiting.hears("[/wait]");
    assert!(bench.events.try_recv().is_err(), "the core has not failed");
}

#[test]
fn as_many_wait_as_may_and_their_coroutines_end_afterwards() {
    // One leads and can't wait.
    let many = SPARE_COROUTINES + 20;
    let bench = Bench::with(Settings { workers_max: many + 1, ..still::settings() });
    let path = |number: usize| format!("/wait/{number}");
    let mut clients: Vec<_> = (0..many).map(|number| bench.waiting(&path(number))).collect();
    let mut late = bench.connect();
    late.ask("/wait/late");
    late.hears("[busy]");
    late.ask("/at/once");
    late.hears("[/at/once]");
    assert_eq!(bench.on_core(|core| core.turns.count.get()), many + 1);
    for (number, client) in clients.iter_mut().enumerate() {
        bench.answer(&path(number));
        client.hears(&format!("[{}]", path(number)));
    }
    let count = || bench.on_core(|core| core.turns.count.get());
    bench.until("the spares have ended", || count() == SPARE_COROUTINES + 1);
    bench.pass_a_tick();
    bench.pass_a_tick();
    assert_eq!(count(), SPARE_COROUTINES + 1, "some are kept");
}
