//! What is shown in the guest, once by each method: buyers are spread by the weights, and a dead
//! server, a draining one and a dead director are noticed.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::panic::{catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::image::guest_tuning;
use super::{ENDED, SHOWN};
use crate::lab::{Lab, Net, Program, until};
use crate::table::Line;

/// The weights in `tuning/lvs`.
const WEIGHTS: [u32; 4] = [1, 2, 3, 4];
/// The weights while the last server, which has the largest share, is out.
const WITHOUT_LAST: [u32; 4] = [1, 2, 3, 0];
const LAST: usize = 3;
/// Buyers, each with a connection of his own.
const BUYERS: u32 = 200;
/// Connections that must succeed after a change.
const CALM: usize = 30;
/// The buyers' address.
const BUYER: [u8; 4] = [203, 0, 113, 100];
/// Time for any event; far more than it takes.
const TIME: Duration = Duration::from_secs(30);
/// Time for an answer. A connection that is lost with a director is not waited for longer than
/// this.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long a server may get buyers that it does not serve: the time of `check.conf`, plus an
/// emulated processor's time for it.
const OUT_MAX: Duration = Duration::from_secs(10);
/// The same for a director.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);

/// A method of forwarding packets.
struct Method {
    name: &'static str,
    config: &'static str,
    /// The service's address.
    service: ([u8; 4], u16),
    /// The servers' network, and their director's interface there.
    servers: [u8; 3],
}

const NAT: Method = Method {
    name: "NAT",
    config: "keepalived-nat.conf",
    service: ([203, 0, 113, 1], 80),
    servers: [10, 10, 0],
};

const DIRECT: Method = Method {
    name: "direct routing",
    config: "keepalived-dr.conf",
    service: ([203, 0, 113, 1], 3005),
    servers: [203, 0, 113],
};

impl Method {
    fn is_direct(&self) -> bool {
        self.servers == DIRECT.servers
    }

    fn service(&self) -> SocketAddr {
        SocketAddr::from(self.service)
    }

    /// A server's own address.
    fn server(&self, index: usize) -> Ipv4Addr {
        let [a, b, c] = self.servers;
        Ipv4Addr::new(a, b, c, 11 + u8::try_from(index).expect("one of four"))
    }
}

/// The guest's program. Its result is not used: everything is on the console.
pub fn main() -> ExitCode {
    let done = catch_unwind(|| {
        for method in [&NAT, &DIRECT] {
            let mut stage = Stage::new(method);
            let shows: [fn(&mut Stage) -> Line; 5] =
                [Stage::spread, Stage::dead, Stage::silent, Stage::draining, Stage::takeover];
            for show in shows {
                let Line { what, wanted, seen } = show(&mut stage);
                println!("{SHOWN}{}: {what}\t{wanted}\t{seen}", method.name);
            }
            stage.undo();
        }
    });
    if done.is_err() {
        return ExitCode::FAILURE;
    }
    println!("{ENDED}");
    ExitCode::SUCCESS
}

/// A buyer's machine, two directors, four servers.
struct Stage {
    method: &'static Method,
    client: Net,
    /// The servers' switch.
    switch: Net,
    directors: [Net; 2],
    nets: Vec<Net>,
    servers: Vec<Program>,
    /// Running keepaliveds.
    balancers: Vec<Program>,
    starts: usize,
    // Dropped last: it removes the namespaces of the other fields.
    lab: Lab,
}

impl Stage {
    fn new(method: &'static Method) -> Self {
        let mut lab = Lab::new();
        let (outside, inside) = (lab.switch("outside"), lab.switch("inside"));
        let client = lab.net("client");
        lab.plug((&outside, "client"), (&client, "eth0", &format!("{}/24", Ipv4Addr::from(BUYER))));
        let directors = [2, 3].map(|host| {
            let name = format!("lb{}", host - 1);
            let net = lab.net(&name);
            lab.plug((&outside, &name), (&net, "eth0", &format!("203.0.113.{host}/24")));
            if !method.is_direct() {
                lab.plug((&inside, &name), (&net, "eth1", &format!("10.10.0.{host}/24")));
            }
            let sysctl = guest_tuning().join("director.conf");
            net.run(&["sysctl", "-p", sysctl.to_str().expect("UTF-8")]);
            net
        });
        let switch = if method.is_direct() { outside } else { inside };
        let mut nets = Vec::new();
        for index in 0..WEIGHTS.len() {
            let name = format!("server{}", index + 1);
            let net = lab.net(&name);
            let address = format!("{}/24", method.server(index));
            lab.plug((&switch, &name), (&net, "eth0", &address));
            if !method.is_direct() {
                net.run(&["ip", "route", "add", "default", "via", "10.10.0.1"]);
            }
            nets.push(net);
        }
        let (servers, balancers) = (Vec::new(), Vec::new());
        let mut stage =
            Self { method, client, switch, directors, nets, servers, balancers, starts: 0, lab };
        stage.prepare_servers();
        stage.servers = (0..WEIGHTS.len()).map(|index| stage.begin_to_serve(index)).collect();
        stage.servers.iter_mut().for_each(is_serving);
        stage.balance(0);
        stage
    }

    /// Direct routing: the service's address, without ARP. Checks that the script sees its own
    /// effect.
    fn prepare_servers(&self) {
        if !self.method.is_direct() {
            return;
        }
        let address = Ipv4Addr::from(self.method.service.0).to_string();
        assert_eq!(self.real_server(0, &["check", &address]), 1);
        for index in 0..WEIGHTS.len() {
            assert_eq!(self.real_server(index, &["apply", &address]), 0);
        }
        assert_eq!(self.real_server(0, &["check", &address]), 0);
    }

    /// Ends the method: a server is as it was.
    fn undo(&self) {
        if self.method.is_direct() {
            let address = Ipv4Addr::from(self.method.service.0).to_string();
            assert_eq!(self.real_server(0, &["undo"]), 0);
            assert_eq!(self.real_server(0, &["check", &address]), 1);
            assert!(!self.nets[0].run(&["ip", "address"]).contains(&format!("{address}/32")));
        }
    }

    /// Runs the script on a server and returns its exit code.
    fn real_server(&self, index: usize, arguments: &[&str]) -> i32 {
        let script = guest_tuning().join("real-server");
        let mut command = self.nets[index].command("sh");
        let state = self.lab.folder().join(format!("state-{index}"));
        command.arg(script).args(arguments).env("STAMPEDE_TUNING_STATE", state);
        let done = command.output().expect("run the script");
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        done.status.code().unwrap_or(-1)
    }

    /// Starts a server. Its total identifies it.
    fn begin_to_serve(&mut self, index: usize) -> Program {
        self.starts += 1;
        let control = format!("{}:3006", self.method.server(index));
        let ledger = self.lab.folder().join(format!("ledger-{index}"));
        let ledger = format!("embedded:{}", ledger.display());
        let sale = format!("ticket={}", total(index));
        let core = (index % 2).to_string();
        let options =
            ["--control", &control, "--ledger", &ledger, "--sale", &sale, "--cores", &core];
        let mut command = self.nets[index].serve(Ipv4Addr::UNSPECIFIED, &options);
        // An emulated processor is slow: to notice that a server is about to end, and to send the
        // second half of a purchase.
        command.args(["--drain-delay", "5s", "--body-timeout", "1m"]);
        command.env("STAMPEDE_CONTROL_TOKEN", "only-for-this-test");
        let name = format!("server-{}-start-{}", index + 1, self.starts);
        self.lab.start(&name, &mut command)
    }

    /// Starts a director's keepalived, and waits until it sends to all servers.
    fn balance(&mut self, index: usize) {
        let name = format!("lb{}", index + 1);
        let mut command = self.directors[index].command("keepalived");
        command.args(["--dont-fork", "--log-console", "--no-syslog", "--config-id", &name]);
        command.arg("--use-file").arg(guest_tuning().join(self.method.config));
        for pid in ["--pid", "--vrrp_pid", "--checkers_pid"] {
            command.arg(format!("{pid}={}", self.lab.folder().join(name.clone() + pid).display()));
        }
        let balancer = self.lab.start(&name, &mut command);
        self.balancers.push(balancer);
        self.until_weights(index, WEIGHTS);
    }

    /// The number of connections that a director gives each server now.
    fn weights(&self, director: usize) -> Vec<u32> {
        let table = self.table(director, "ip_vs");
        let weight = |index: usize| {
            let server = format!("{:08X}:{:04X}", self.method.server(index).to_bits(), 3005);
            let line = table.lines().find(|line| line.contains(&server))?;
            line.split_whitespace().nth(3)?.parse().ok()
        };
        (0..WEIGHTS.len()).filter_map(weight).collect()
    }

    /// A table of its kernel, in which addresses and ports are hexadecimal.
    fn table(&self, director: usize, name: &str) -> String {
        let path = format!("/proc/thread-self/net/{name}");
        join(self.directors[director].spawn(|| fs::read_to_string(path))).expect("a table of ip_vs")
    }

    fn until_weights(&self, director: usize, weights: [u32; 4]) -> Duration {
        let what = format!("lb{} has the weights {weights:?}", director + 1);
        until(&what, TIME, || self.weights(director) == weights)
    }

    /// 200 buyers, by each server's own count.
    fn spread(&mut self) -> Line {
        let service = self.method.service();
        let buyers = self
            .client
            .spawn(move || (0..BUYERS).map(|_| buy(service)).collect::<io::Result<Vec<()>>>());
        join(buyers).expect("every buyer is sold a ticket");
        let wanted = WEIGHTS.map(|weight| u64::from(weight * BUYERS / 10));
        let addresses =
            [0, 1, 2, 3].map(|index| SocketAddr::from((self.method.server(index), 3005)));
        // What a server shows is at most 100 ms old.
        let held = || {
            let ask = move || addresses.map(|address| sale(address).map(|sale| held_of(&sale)));
            join(self.directors[0].spawn(ask)).map(|held| held.expect("a server tells its sale"))
        };
        until("the servers tell all that they sold", TIME, || held().iter().sum::<u64>() == 200);
        let seen = held();
        assert_eq!(seen, wanted);
        let text = |counts: [u64; 4]| counts.map(|count| count.to_string()).join("/");
        Line::new("200 connections over 1:2:3:4", text(wanted), text(seen))
    }

    /// A server's process is killed, and started again.
    fn dead(&mut self) -> Line {
        let knocks = Knocks::start(self);
        knocks.until("the last server is used", |knock| knock.is_of(LAST));
        let killed = Instant::now();
        self.servers[LAST].kill();
        self.until_weights(0, WITHOUT_LAST);
        let out = Instant::now();
        knocks.until_calm(out);
        let ready = self.serve_again();
        let (knocks, back) = self.back(knocks, ready);
        let early = knocks.iter().filter(|knock| knock.at < out && knock.answer.is_err()).count();
        let late = knocks.iter().filter(|knock| knock.at > out);
        let seen = format!(
            "out after {} ({early} fail till then), back after {back}; 0 of {} fail",
            took(out - killed, OUT_MAX),
            none_failed(late)
        );
        Line::new("a server killed", "out and back; 0 fail once it is out", seen)
    }

    /// A server gets SIGTERM while a purchase is under way there, and is started again.
    fn draining(&mut self) -> Line {
        let purchase = self.half_a_purchase(Some(LAST));
        let knocks = Knocks::start(self);
        knocks.until("the last server is used", |knock| knock.is_of(LAST));
        let told = Instant::now();
        self.servers[LAST].signal(Signal::TERM);
        self.until_weights(0, WITHOUT_LAST);
        let out = Instant::now();
        knocks.until_calm(out);
        self.servers[LAST].says("draining", TIME);
        purchase.finish().expect("what was under way is finished");
        assert_eq!(self.servers[LAST].wait(TIME), 0);
        let ready = self.serve_again();
        let (knocks, back) = self.back(knocks, ready);
        let seen = format!(
            "out after {}, back after {back}; 0 of {} fail; a purchase under way was finished",
            took(out - told, OUT_MAX),
            none_failed(knocks.iter())
        );
        Line::new("a server gets SIGTERM", "out and back; 0 fail", seen)
    }

    /// A server's machine is silent: its cable leads nowhere. Then it is connected again.
    fn silent(&mut self) -> Line {
        let knocks = Knocks::start(self);
        knocks.until("the last server is used", |knock| knock.is_of(LAST));
        let port = format!("server{}", LAST + 1);
        let cut = Instant::now();
        self.switch.run(&["ip", "link", "set", &port, "nomaster"]);
        let is_cut = Instant::now();
        self.until_weights(0, WITHOUT_LAST);
        let out = Instant::now();
        knocks.until_calm(out);
        self.switch.run(&["ip", "link", "set", &port, "master", "switch"]);
        let (knocks, back) = self.back(knocks, Instant::now());
        // As with a director below; packets that are sent again go to a server that is in.
        let late = knocks.iter().filter(|knock| knock.at > is_cut);
        let seen = format!(
            "out after {}, back after {back}; 0 of {} fail, one waited {}",
            took(out - cut, OUT_MAX),
            none_failed(late.clone()),
            longest(late)
        );
        Line::new("a server silent", "out and back; 0 new ones fail", seen)
    }

    /// Starts the last server again, and returns when it is ready.
    fn serve_again(&mut self) -> Instant {
        self.servers[LAST] = self.begin_to_serve(LAST);
        is_serving(&mut self.servers[LAST]);
        Instant::now()
    }

    /// Waits until the last server, which was out, is back. Returns how long that took after it was
    /// ready.
    fn back(&mut self, knocks: Knocks, ready: Instant) -> (Vec<Knock>, String) {
        self.until_weights(0, WEIGHTS);
        let back = Instant::now();
        knocks.until("the last server is used again", |knock| knock.at > back && knock.is_of(LAST));
        knocks.until_calm(back);
        (knocks.stop(), took(back - ready, OUT_MAX))
    }

    /// The director with the address is cut off. An existing connection continues.
    fn takeover(&mut self) -> Line {
        self.balance(1);
        let purchase = self.purchase_known_to(1);
        let knocks = Knocks::start(self);
        knocks.until("buyers are served", |knock| knock.answer.is_ok());
        let masters = |balancer: &Program| balancer.log().matches("Entering MASTER STATE").count();
        let before = masters(&self.balancers[1]);
        let cut = Instant::now();
        self.directors[0].run(&["ip", "link", "set", "eth0", "down"]);
        if !self.method.is_direct() {
            self.directors[0].run(&["ip", "link", "set", "eth1", "down"]);
        }
        let is_cut = Instant::now();
        until("the other director is the master", TIME, || masters(&self.balancers[1]) > before);
        let taken = cut.elapsed();
        knocks.until_calm(is_cut);
        purchase.finish().expect("what was under way is finished");
        // A buyer's first packet is lost and sent again after 1 s and 3 s: he waits, and is served.
        // A buyer who was just being served may be lost, as with any machine that fails.
        let knocks = knocks.stop();
        let late = knocks.iter().filter(|knock| knock.at > is_cut);
        let seen = format!(
            "after {}; 0 of {} fail, one waited {}; a connection went on",
            took(taken, TAKEOVER_MAX),
            none_failed(late.clone()),
            longest(late)
        );
        Line::new("a director cut off", "the other takes over, connections too", seen)
    }

    /// A connection with half a request on it, known to this director, though another director
    /// passes its packets on.
    fn purchase_known_to(&self, director: usize) -> HalfPurchase {
        let mut purchase = self.half_a_purchase(None);
        let mut asked = Instant::now();
        until("the other director knows of a connection", TIME, || {
            let port = purchase.stream.local_addr().expect("its address").port();
            let buyer = format!("TCP {:08X} {port:04X} ", Ipv4Addr::from(BUYER).to_bits());
            let is_known = self.table(director, "ip_vs_conn").contains(&buyer);
            // A director gets the entry once, which may have been before it listened.
            if !is_known && asked.elapsed() > Duration::from_secs(4) {
                purchase = self.half_a_purchase(None);
                asked = Instant::now();
            }
            is_known
        });
        purchase
    }

    /// A connection with half a request on it, at this server if one is named.
    fn half_a_purchase(&self, at: Option<usize>) -> HalfPurchase {
        let service = self.method.service();
        join(self.client.spawn(move || HalfPurchase::begin(service, at))).expect("begin a purchase")
    }
}

fn is_serving(server: &mut Program) {
    server.says("buy one", TIME);
}

/// A duration, for the table.
fn took(time: Duration, time_max: Duration) -> String {
    assert!(time < time_max, "only after {time:?}");
    format!("{:.1} s", time.as_secs_f64())
}

/// The longest time of any of them.
fn longest<'a>(knocks: impl Iterator<Item = &'a Knock>) -> String {
    let longest = knocks.map(|knock| knock.took).max().unwrap_or_default();
    took(longest, TIME)
}

/// How many there are. None of them has failed.
fn none_failed<'a>(knocks: impl Iterator<Item = &'a Knock>) -> usize {
    let knocks: Vec<&Knock> = knocks.collect();
    let failed: Vec<_> = knocks.iter().filter_map(|knock| knock.answer.as_ref().err()).collect();
    assert!(failed.is_empty(), "of {}: {failed:?}", knocks.len());
    knocks.len()
}

/// The total of a server's sale, by which its answers identify it.
fn total(index: usize) -> u64 {
    1000 * (index as u64 + 1)
}

fn held_of(sale: &Value) -> u64 {
    sale["held"].as_u64().expect("a number")
}

/// A connection's whole request without the end of its body.
struct HalfPurchase {
    stream: TcpStream,
}

impl HalfPurchase {
    const BODY: [&str; 2] = [r#"{"user":"#, r#""ann"}"#];

    fn begin(service: SocketAddr, at: Option<usize>) -> io::Result<Self> {
        // Weighted round robin comes to each server within ten connections.
        for _ in 0..100 {
            let mut stream = connect(service)?;
            stream.write_all(b"GET /v1/sales/ticket HTTP/1.1\r\nHost: shop\r\n\r\n")?;
            let (_, sale) = answer(&mut stream)?;
            if at.is_some_and(|index| sale["total"] != total(index)) {
                continue;
            }
            let [start, end] = Self::BODY;
            let head = format!(
                "POST /v1/sales/ticket/reservations HTTP/1.1\r\nHost: shop\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{start}",
                start.len() + end.len()
            );
            stream.write_all(head.as_bytes())?;
            return Ok(Self { stream });
        }
        Err(io::Error::other("that server is never used"))
    }

    fn finish(mut self) -> io::Result<()> {
        self.stream.write_all(Self::BODY[1].as_bytes())?;
        let (status, reservation) = answer(&mut self.stream)?;
        match status {
            201 => Ok(()),
            _ => Err(io::Error::other(format!("{status} {reservation}"))),
        }
    }
}

/// A buyer who comes again and again, each time on a new connection.
struct Knocks {
    seen: Arc<Mutex<Vec<Knock>>>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Clone)]
struct Knock {
    /// When it began, and how long it took.
    at: Instant,
    took: Duration,
    /// The total of the server that answered.
    answer: Result<u64, String>,
}

impl Knock {
    fn is_of(&self, index: usize) -> bool {
        self.answer == Ok(total(index))
    }
}

impl Knocks {
    fn start(stage: &Stage) -> Self {
        let (seen, ends) = (Arc::default(), Arc::default());
        let (to, end, service) = (Arc::clone(&seen), Arc::clone(&ends), stage.method.service());
        let thread = stage.client.spawn(move || {
            let to: Arc<Mutex<Vec<Knock>>> = to;
            let end: Arc<AtomicBool> = end;
            while !end.load(Ordering::Relaxed) {
                let at = Instant::now();
                let sale = sale(service);
                let answer = sale
                    .map(|sale| sale["total"].as_u64().unwrap_or_default())
                    .map_err(|error| error.to_string());
                to.lock().expect("the list").push(Knock { at, took: at.elapsed(), answer });
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { seen, ends, thread }
    }

    /// Waits for an attempt of this kind, and returns when the first of them began.
    fn until(&self, what: &str, is_so: impl Fn(&Knock) -> bool) -> Instant {
        let mut first = None;
        until(what, TIME, || {
            let seen = self.seen.lock().expect("the list");
            first = seen.iter().find(|knock| is_so(knock)).map(|knock| knock.at);
            first.is_some()
        });
        first.expect("it was found")
    }

    /// Waits for some more attempts after this time.
    fn until_calm(&self, since: Instant) {
        until("more buyers have come", TIME, || {
            let seen = self.seen.lock().expect("the list");
            seen.iter().filter(|knock| knock.at > since).count() >= CALM
        });
    }

    fn stop(self) -> Vec<Knock> {
        self.ends.store(true, Ordering::Relaxed);
        join(self.thread);
        let seen = self.seen.lock().expect("the list");
        seen.clone()
    }
}

/// A thread's result, or its panic.
fn join<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIME)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    Ok(stream)
}

/// Buys a ticket on a connection of its own.
fn buy(service: SocketAddr) -> io::Result<()> {
    match get(service, "/buy/ticket")? {
        (200, answer) if answer["code"] == 1 => Ok(()),
        (status, answer) => Err(io::Error::other(format!("{status} {answer}"))),
    }
}

/// The sale at the server that answers, on a connection of its own.
fn sale(address: SocketAddr) -> io::Result<Value> {
    match get(address, "/v1/sales/ticket")? {
        (200, sale) => Ok(sale),
        (status, answer) => Err(io::Error::other(format!("{status} {answer}"))),
    }
}

fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Value)> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    answer(&mut stream)
}

/// Reads one answer: its status and its JSON.
fn answer(stream: &mut TcpStream) -> io::Result<(u16, Value)> {
    let wrong = || io::Error::other("no answer of ours");
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines();
            let length = lines.filter_map(|line| line.split_once(": "));
            let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize =
                length.next_back().and_then(|(_, value)| value.parse().ok()).ok_or_else(wrong)?;
            if body.len() >= length {
                let status = head.get(9..12).and_then(|status| status.parse().ok());
                return Ok((status.ok_or_else(wrong)?, serde_json::from_str(body)?));
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
