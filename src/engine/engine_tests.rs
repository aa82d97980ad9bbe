//! One core with a test service, over socket pairs, with the test's own clock: what happens to
//! requests and connections, whatever the service.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::{self, Acceptance};
use super::core::{Action, Core, Engine, Event, Service};
use super::http::Head;
use super::oneshot::{self, Sender};
use super::reactor::Token;
use super::settings::Settings;
use super::{start_core, test_core};
use crate::clock::Clock;
use crate::limits::{
    DRAIN_CLIENT_MS, LINGER_DEADLINE_MS, READ_BUFFER_BYTES, REQUESTS_PER_TURN_MAX, TICK_INTERVAL_MS,
};
use crate::sync::lock;
use crate::test_coroutines::run;

const START_MS: u64 = 1_000_000;
/// More than the system holds for a client.
const BIG_BYTES: usize = 2 << 20;
/// After this time a test that waits for something has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// State that the service and the test share.
#[derive(Default)]
struct Shared {
    /// Senders of the awaited answers, by path.
    senders: Mutex<HashMap<String, Sender<()>>>,
    /// Requests, in the order in which they were served.
    served: Mutex<Vec<String>>,
    /// Waiting requests, by path.
    askers: Mutex<HashMap<String, Token>>,
    /// Requests that were answered after a wait or cancelled, in that order.
    told: Mutex<Vec<String>>,
    given_up: Mutex<Vec<String>>,
    ticks: AtomicU64,
    finished: AtomicBool,
}

/// Answers with the path and the body in brackets: at once, when the test says so, or never.
struct Echo(Arc<Shared>);

struct Waiting {
    path: String,
    reply: oneshot::Receiver<()>,
}

impl Service for Echo {
    type Waiting = Waiting;

    fn serve(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let path = head.path.to_owned();
        lock(&self.0.served).push(path.clone());
        if path.starts_with("/wait") {
            let (sender, reply) = oneshot::channel(core, asker);
            lock(&self.0.senders).insert(path.clone(), sender);
            lock(&self.0.askers).insert(path.clone(), asker);
            return Action::Wait(Waiting { path, reply });
        }
        assert!(path != "/panic", "{path} was asked for");
        if path == "/leave" {
            assert!(!core.leaving(), "its answer does not say that it is the last");
            core.engine.leave();
        }
        if path == "/big" {
            out.extend_from_slice(&[b'.'; BIG_BYTES]);
            return Action::Answered;
        }
        let body = String::from_utf8_lossy(body);
        out.extend_from_slice(format!("[{path}{body}]").as_bytes());
        Action::Answered
    }

    fn resume(
        &self,
        _: &'static Core,
        _: Token,
        waiting: Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let Waiting { path, reply } = waiting;
        match reply.try_recv() {
            Ok(kept) => assert!(kept.is_some(), "the test keeps its senders"),
            Err(reply) => return Action::Wait(Waiting { path, reply }),
        }
        assert!(!path.contains("panic"), "{path} was asked for");
        lock(&self.0.told).push(path.clone());
        out.extend_from_slice(format!("[{path}]").as_bytes());
        Action::Answered
    }

    fn cancel(&self, waiting: Waiting) {
        lock(&self.0.given_up).push(waiting.path);
    }

    fn tick(&self) {
        self.0.ticks.fetch_add(1, Ordering::SeqCst);
    }

    fn finish(&self) {
        self.0.finished.store(true, Ordering::SeqCst);
    }
}

/// One running core.
struct Bench {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    events: Receiver<Event>,
}

impl Bench {
    fn new() -> Self {
        Self::with(test_core::settings())
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
        assert!(self.engine.connections.try_acquire(self.engine.limits.connections_max()));
        self.on_core(move |core| {
            connection::add(
                core,
                theirs.into(),
                connection::Preamble::default(),
                Acceptance::Admitted(None),
            )
        });
        Client(ours)
    }

    /// A connection whose request for this path waits.
    fn waiting(&self, path: &str) -> Client {
        let mut client = self.connect();
        client.ask(path);
        self.until("it waits", || lock(&self.shared.senders).contains_key(path));
        client
    }

    /// Answers a waiting request.
    fn answer(&self, path: &str) {
        let sender = lock(&self.shared.senders).remove(path);
        sender.expect("it waits").send(());
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let since = Instant::now();
        while !is_so() {
            assert!(since.elapsed() < PATIENCE, "never: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The server leaves, and the core knows it.
    fn leave(&self) {
        self.engine.leave();
        self.on_core(|_| ());
    }

    /// Waits until the core has completed a tick, and has read everything that came before it.
    fn pass_a_tick(&self) {
        let after = self.shared.ticks.load(Ordering::SeqCst) + 2;
        self.until("a tick", || self.shared.ticks.load(Ordering::SeqCst) >= after);
    }

    /// Sets the core's clock, and waits until everything due then is done.
    fn at_ms(&self, ms: u64) {
        self.on_core(move |core| core.clock.set(START_MS + ms));
        self.pass_a_tick();
    }

    fn open(&self) -> usize {
        self.engine.connections.in_use()
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

    /// Expects these answers.
    fn hears(&mut self, wanted: &str) {
        let mut heard = vec![0; wanted.len()];
        self.0.read_exact(&mut heard).unwrap_or_else(|error| panic!("{wanted}: {error}"));
        assert_eq!(String::from_utf8_lossy(&heard), wanted);
    }

    /// Everything until the core shuts down its side. It may continue to read.
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
fn pipelined_answers_keep_their_order_while_one_waits() {
    let bench = Bench::new();
    let mut client = bench.connect();
    client.send(&["/1", "/1", "/wait/2", "/3", "/wait/4", "/5"].map(get).concat());
    client.hears("[/1][/1]");
    bench.until("it waits", || lock(&bench.shared.senders).contains_key("/wait/2"));
    // The core continues meanwhile.
    let mut other = bench.connect();
    other.ask("/other");
    other.hears("[/other]");
    bench.pass_a_tick();
    assert!(!lock(&bench.shared.senders).contains_key("/wait/4"), "one after the other");
    bench.answer("/wait/2");
    client.hears("[/wait/2][/3]");
    bench.until("it waits", || lock(&bench.shared.senders).contains_key("/wait/4"));
    // Requests that come while one waits are read afterwards.
    client.ask("/6");
    bench.pass_a_tick();
    bench.answer("/wait/4");
    client.hears("[/wait/4][/5][/6]");
}

#[test]
fn a_long_pipeline_does_not_delay_other_connections() {
    let bench = Bench::new();
    let (mut many, mut one) = (bench.connect(), bench.connect());
    many.ask("/0");
    many.hears("[/0]");
    one.ask("/0");
    one.hears("[/0]");
    // The core is blocked until both have sent their requests, so that it finds both in one round.
    let (go, stands) = channel::<()>();
    bench.engine.mailboxes[0].send(Box::new(move |_| _ = stands.recv_timeout(PATIENCE)));
    many.send(&get("/many").repeat(500));
    one.ask("/one");
    go.send(()).expect("the core stands");
    many.hears(&"[/many]".repeat(500));
    one.hears("[/one]");
    let served = lock(&bench.shared.served);
    let before = served.iter().skip(2).position(|path| path == "/one").expect("it was served");
    assert!(before <= REQUESTS_PER_TURN_MAX as usize, "{before} came before it");
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
            // The end of this request and the beginning of the next one.
            client.send(&format!("{rest}{}", &whole[..at.min(20)]));
            client.hears(wanted);
            bench.pass_a_tick();
            client.send(&whole[at.min(20)..]);
            client.hears("[/phello]");
        }
    }
}

#[test]
fn idle_and_head_timeouts_close_a_connection() {
    let settings = test_core::settings();
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
    // Sending it bit by bit gives it no more time.
    asking.send("Host: ");
    bench.pass_a_tick();
    assert_eq!(bench.open(), 1);
    bench.at_ms(idle_ms + head_ms);
    let last = asking.hears_last();
    assert!(last.starts_with("HTTP/1.1 408 ") && last.contains("Connection: close\r\n"), "{last}");
    // It lingers for bytes that are still being sent, for a limited time.
    assert_eq!(bench.open(), 1);
    bench.at_ms(idle_ms + head_ms + LINGER_DEADLINE_MS);
    assert_eq!(bench.open(), 0);
}

#[test]
fn a_body_times_out_and_a_waiting_request_does_not() {
    let settings = Settings { head_timeout_ms: 1_000, ..test_core::settings() };
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
fn a_client_that_reads_no_answers_is_closed_after_a_time() {
    let settings = test_core::settings();
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
fn a_closed_client_is_dropped_and_a_half_closed_one_answered() {
    let bench = Bench::new();
    drop(bench.waiting("/wait/gone"));
    bench.until("it is given up", || *lock(&bench.shared.given_up) == ["/wait/gone"]);
    bench.until("its place is free", || bench.open() == 0);
    // The next connection in its slot does not get the answer of the closed one.
    let mut half = bench.waiting("/wait/half");
    half.0.shutdown(std::net::Shutdown::Write).unwrap();
    bench.pass_a_tick();
    bench.answer("/wait/gone");
    bench.pass_a_tick();
    assert_eq!(bench.open(), 1);
    bench.answer("/wait/half");
    assert_eq!(half.hears_last(), "[/wait/half]");
    bench.until("its place is free", || bench.open() == 0);
    assert_eq!(*lock(&bench.shared.told), ["/wait/half"]);
    assert_eq!(lock(&bench.shared.given_up).len(), 1);
}

#[test]
fn a_waiting_connection_keeps_at_most_one_buffer_of_input() {
    let bench = Bench::new();
    let mut client = bench.waiting("/wait");
    let many = 1_000;
    client.send(&get("/next").repeat(many));
    bench.pass_a_tick();
    assert_eq!(lock(&bench.shared.served).len(), 1, "nothing is read meanwhile");
    let kept = bench.on_core(|core| core.connections.borrow().kept_bytes());
    assert_eq!(kept, 0);
    bench.answer("/wait");
    client.hears(&("[/wait]".to_owned() + &"[/next]".repeat(many)));
    // Input that was read together with a waiting request is kept.
    client.send(&(get("/wait/2") + &get("/next").repeat(many)));
    bench.until("it waits", || lock(&bench.shared.senders).contains_key("/wait/2"));
    bench.pass_a_tick();
    let kept = bench.on_core(|core| core.connections.borrow().kept_bytes());
    assert!((1..=READ_BUFFER_BYTES).contains(&kept), "{kept}");
    bench.answer("/wait/2");
    client.hears(&("[/wait/2]".to_owned() + &"[/next]".repeat(many)));
}

#[test]
fn a_late_wake_does_not_affect_the_next_waiting_request() {
    let bench = Bench::new();
    let mut done = bench.waiting("/wait/done");
    bench.answer("/wait/done");
    done.hears("[/wait/done]");
    // This request's record reuses the slot of the first request's.
    let mut waits = bench.waiting("/wait/on");
    let asker = lock(&bench.shared.askers)["/wait/done"];
    bench.on_core(move |core| core.wake(asker, false));
    bench.until("it is told", || bench.on_core(|core| core.woken_count()) == 0);
    bench.answer("/wait/on");
    waits.hears("[/wait/on]");
    done.ask("/more");
    done.hears("[/more]");
}

#[test]
fn all_woken_requests_resume_and_priority_wakes_go_first() {
    let bench = Bench::new();
    let path = |number: usize| format!("/wait/{number:03}");
    let mut clients: Vec<_> = (0..90).map(|number| bench.waiting(&path(number))).collect();
    let askers: Vec<Token> =
        (0..90).map(|number| lock(&bench.shared.askers)[&path(number)]).collect();
    let (first, rest) = (askers[89], askers[..89].to_vec());
    // All answers are there before any request is woken.
    let senders: Vec<_> = {
        let mut senders = lock(&bench.shared.senders);
        (0..90).map(|number| senders.remove(&path(number)).expect("it waits")).collect()
    };
    bench.engine.mailboxes[0].send(Box::new(move |core| {
        rest.iter().for_each(|asker| core.wake(*asker, false));
        core.wake(first, true);
        // Requests that are woken before their answers are there continue to wait.
        answer_all(senders);
    }));
    for (number, client) in clients.iter_mut().enumerate() {
        client.hears(&format!("[{}]", path(number)));
    }
    assert_eq!(lock(&bench.shared.told)[0], path(89));
    bench.until("all are done with", || bench.on_core(|core| core.woken_count()) == 0);
}

fn answer_all(senders: Vec<Sender<()>>) {
    senders.into_iter().for_each(|sender| sender.send(()));
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
    bench.leave();
    bench.answer("/wait");
    idle.send(&[get("/1"), get("/2")].concat());
    // New connections are accepted as before.
    let mut new = bench.connect();
    new.ask("/new");
    for (client, wanted) in [(&mut waiting, "[/wait]"), (&mut idle, "[/1]"), (&mut new, "[/new]")] {
        assert_eq!(client.hears_last(), wanted);
    }
    drop((waiting, idle, new));
    bench.until("all places are free", || bench.open() == 0);
}

#[test]
fn an_answer_without_connection_close_is_not_the_last() {
    let bench = Bench::new();
    let (mut one, mut pipelining) = (bench.connect(), bench.connect());
    // The server leaves while this request is being answered.
    one.ask("/leave");
    one.hears("[/leave]");
    bench.pass_a_tick();
    one.ask("/next");
    assert_eq!(one.hears_last(), "[/next]");
    pipelining.send(&[get("/1"), get("/2")].concat());
    assert_eq!(pipelining.hears_last(), "[/1]");
}

#[test]
fn a_drain_ends_when_all_requests_under_way_are_answered() {
    let bench = Bench::new();
    let (mut waiting, mut idle, mut half) =
        (bench.waiting("/wait"), bench.connect(), bench.connect());
    // Its first request may be on its way, and is answered.
    let mut new = bench.connect();
    idle.ask("/idle");
    idle.hears("[/idle]");
    half.send("GET /half HTTP/1.1\r\n");
    bench.pass_a_tick();
    bench.leave();
    bench.engine.drain();
    bench.at_ms(TICK_INTERVAL_MS);
    assert_eq!(idle.hears_last(), "");
    new.ask("/new");
    assert_eq!(new.hears_last(), "[/new]");
    drop(new);
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
fn a_panic_closes_only_its_connection() {
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
