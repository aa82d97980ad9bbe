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
use super::core::{Action, Core, Engine, Event, Service};
use super::gate::Token;
use super::http::Head;
use super::promise::{Promise, Promised, promise};
use super::settings::Settings;
use super::{start_core, still};
use crate::clock::Clock;
use crate::limits::{
    DRAIN_CLIENT_MS, LINGER_DEADLINE_MS, READ_BUFFER_BYTES, REQUESTS_PER_TURN_MAX, TICK_INTERVAL_MS,
};
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
    /// What was asked, in the order in which it was served.
    served: Mutex<Vec<String>>,
    /// Who waits, by path.
    askers: Mutex<HashMap<String, Token>>,
    /// What was answered after a wait, and what nobody waited for any more, in that order.
    told: Mutex<Vec<String>>,
    given_up: Mutex<Vec<String>>,
    ticks: AtomicU64,
    finished: AtomicBool,
}

/// Answers with the path and the body in brackets: at once, or when the test says so, or never.
struct Echo(Arc<Shared>);

struct Waiting {
    path: String,
    promised: Promised<()>,
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
            let (promise, promised) = promise(core, asker);
            lock(&self.0.promises).insert(path.clone(), promise);
            lock(&self.0.askers).insert(path.clone(), asker);
            return Action::Wait(Waiting { path, promised });
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

    fn go_on(
        &self,
        _: &'static Core,
        _: Token,
        waiting: Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let Waiting { path, promised } = waiting;
        match promised.take() {
            Ok(kept) => assert!(kept.is_some(), "the test keeps its promises"),
            Err(promised) => return Action::Wait(Waiting { path, promised }),
        }
        assert!(!path.contains("panic"), "{path} was asked for");
        lock(&self.0.told).push(path.clone());
        out.extend_from_slice(format!("[{path}]").as_bytes());
        Action::Answered
    }

    fn give_up(&self, waiting: Waiting) {
        lock(&self.0.given_up).push(waiting.path);
    }

    fn tick(&self) {
        self.0.ticks.fetch_add(1, Ordering::SeqCst);
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
        assert!(self.engine.connections.take(self.engine.limits.connections_max()));
        self.on_core(move |core| {
            connection::add(
                core,
                theirs.into(),
                connection::Beginning::default(),
                Entry::Admitted(None),
            )
        });
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

    /// The server leaves, and the core has heard of it.
    fn leave(&self) {
        self.engine.leave();
        self.on_core(|_| ());
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
fn who_asks_once_does_not_wait_for_all_that_another_has_pipelined() {
    let bench = Bench::new();
    let (mut many, mut one) = (bench.connect(), bench.connect());
    many.ask("/0");
    many.hears("[/0]");
    one.ask("/0");
    one.hears("[/0]");
    // The core stands still until both have asked, so that it finds both in one round.
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
fn who_hangs_up_is_not_waited_for_and_who_only_sends_no_more_is_answered() {
    let bench = Bench::new();
    drop(bench.waiting("/wait/gone"));
    bench.until("it is given up", || *lock(&bench.shared.given_up) == ["/wait/gone"]);
    bench.until("its place is free", || bench.open() == 0);
    // Whoever has its place by now does not hear what was meant for it.
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
fn a_connection_that_waits_keeps_no_more_than_a_head_of_what_comes_behind() {
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
    // What was read together with a request that waits is kept.
    client.send(&(get("/wait/2") + &get("/next").repeat(many)));
    bench.until("it waits", || lock(&bench.shared.promises).contains_key("/wait/2"));
    bench.pass_a_tick();
    let kept = bench.on_core(|core| core.connections.borrow().kept_bytes());
    assert!((1..=READ_BUFFER_BYTES).contains(&kept), "{kept}");
    bench.answer("/wait/2");
    client.hears(&("[/wait/2]".to_owned() + &"[/next]".repeat(many)));
}

#[test]
fn who_is_told_and_does_not_wait_takes_nothing_from_who_does() {
    let bench = Bench::new();
    let mut done = bench.waiting("/wait/done");
    bench.answer("/wait/done");
    done.hears("[/wait/done]");
    // Its record lies where that of the first one did.
    let mut waits = bench.waiting("/wait/on");
    let asker = lock(&bench.shared.askers)["/wait/done"];
    bench.on_core(move |core| core.tell(asker, false));
    bench.until("it is told", || bench.on_core(|core| core.untold()) == 0);
    bench.answer("/wait/on");
    waits.hears("[/wait/on]");
    done.ask("/more");
    done.hears("[/more]");
}

#[test]
fn all_who_wait_go_on_and_who_is_told_first_before_the_others() {
    let bench = Bench::new();
    let path = |number: usize| format!("/wait/{number:03}");
    let mut clients: Vec<_> = (0..90).map(|number| bench.waiting(&path(number))).collect();
    let askers: Vec<Token> =
        (0..90).map(|number| lock(&bench.shared.askers)[&path(number)]).collect();
    let (first, rest) = (askers[89], askers[..89].to_vec());
    // All answers are there before any of them is told of.
    let promises: Vec<_> = {
        let mut promises = lock(&bench.shared.promises);
        (0..90).map(|number| promises.remove(&path(number)).expect("it waits")).collect()
    };
    bench.engine.mailboxes[0].send(Box::new(move |core| {
        rest.iter().for_each(|asker| core.tell(*asker, false));
        core.tell(first, true);
        // Told of before their answers are there: these wait on.
        drop_all(promises);
    }));
    for (number, client) in clients.iter_mut().enumerate() {
        client.hears(&format!("[{}]", path(number)));
    }
    assert_eq!(lock(&bench.shared.told)[0], path(89));
    bench.until("all are done with", || bench.on_core(|core| core.untold()) == 0);
}

fn drop_all(promises: Vec<Promise<()>>) {
    promises.into_iter().for_each(|promise| promise.keep(()));
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
fn an_answer_that_does_not_say_that_it_is_the_last_one_is_not() {
    let bench = Bench::new();
    let (mut one, mut pipelining) = (bench.connect(), bench.connect());
    // The server leaves while this is being answered.
    one.ask("/leave");
    one.hears("[/leave]");
    bench.pass_a_tick();
    one.ask("/next");
    assert_eq!(one.hears_last(), "[/next]");
    pipelining.send(&[get("/1"), get("/2")].concat());
    assert_eq!(pipelining.hears_last(), "[/1]");
}

#[test]
fn a_drain_ends_when_all_who_were_under_way_have_their_answers() {
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
