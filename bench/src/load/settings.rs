//! The command line of the load generator, and what it makes of it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Parser};

use super::fields::USERS_MAX;
use super::kind::Expected;
use super::pace::Arrivals;
use super::request::{Request, Wording};
use super::socket::Peer;
use super::tally::IDS_MAX;
use crate::error::{Because, Result, fail};
use crate::pin;

/// Descriptors of a process that are no connections.
const DESCRIPTORS_RESERVED: u64 = 64;
/// Most connections of a run.
const CONNECTIONS_MAX: u32 = 1_000_000;

/// Puts load on a server of tickets and checks every answer.
///
/// Closed loop (without --rate): each connection asks again as soon as it is answered, so a slow
/// server is asked less. Open loop (--rate): requests are due at fixed times whatever the server
/// does, and each is waited for since it was due, also while no connection was free. Use the first
/// for throughput and CPU per request, the second for latencies.
///
/// Exit code 1 if any answer was not understood, was not among --expect or never came, if two grants
/// have the same reservation id, or if more were granted than --total; 130 after Ctrl-C, which ends
/// the run and prints what there is.
#[derive(Debug, Parser)]
#[command(name = "load", group = ArgGroup::new("end").args(["seconds", "requests"]))]
pub struct Settings {
    /// Server: HOST:PORT, unix:PATH, http://HOST:PORT[/TARGET] or https://…: TLS 1.3 or 1.2, with
    /// whatever certificate.
    #[arg(long, value_name = "ADDRESS")]
    pub to: String,
    /// What is asked for [default: that of --to, or /buy/ticket]. What begins with POST and a space
    /// is posted to, with an order: "POST /v1/sales/ticket/reservations".
    #[arg(long, value_name = "PATH")]
    pub target: Option<String>,
    /// Ask for something else in one of --also-every requests: a mix of two. What begins with POST and
    /// a space is posted to, with an order: "POST /v1/sales/ticket/reservations".
    #[arg(long, value_name = "PATH", conflicts_with = "pipeline")]
    pub also: Option<String>,
    /// How many requests of a thread there are for one of --also.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "also", value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    pub also_every: u64,
    /// Also post this text to the target, with its length and in a chunk: the two take turns with GET,
    /// as in HttpArena's baseline.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["also", "pipeline", "users", "connection_each"])]
    pub and_post: Option<String>,
    /// Cores to run on, a thread on each: 1 or 0,1.
    #[arg(long, value_name = "CORES", value_delimiter = ',', default_value = "1")]
    pub cores: Vec<usize>,
    /// Connections, of all threads.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Seconds to send requests for [default: 10]; what is on its way then is waited for, up to 5 s.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Requests to send, instead of a time. None is sent twice: what gets lost is counted as lost.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub requests: Option<u64>,
    /// Seconds of the same load before anything is counted (but its answers are checked).
    #[arg(long, value_name = "S", default_value_t = 0, conflicts_with = "requests", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub warm_up: u64,
    /// Open loop: requests a second, of all threads.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Open loop: how requests are spread. Even adds no queue of its own: what waits, waits for the
    /// server. Poisson comes in bursts, as people do (from a fixed seed, so each run is the same).
    #[arg(long, value_enum, default_value_t = Arrivals::Even, requires = "rate")]
    pub arrivals: Arrivals,
    /// Open loop: microseconds before a request is due from which on to poll and not to sleep. With 0
    /// it costs no more CPU than it must, and a request may be some tens of microseconds late, which
    /// is counted as latency and said.
    #[arg(long, value_name = "US", default_value_t = 0, requires = "rate", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub spin: u64,
    /// Requests on their way on each connection.
    #[arg(long, value_name = "D", default_value_t = 1, conflicts_with_all = ["rate", "connection_each"], value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub pipeline: u32,
    /// A connection for each request; it is waited for since before it is opened, and it is the
    /// server's to close. --connections are then open at a time.
    #[arg(long)]
    pub connection_each: bool,
    /// Close each connection after so many answers and open another: it is ours to close.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "pipeline", "connection_each"], value_parser = clap::value_parser!(u32).range(1..))]
    pub renew_after: Option<u32>,
    /// TLS: each connection after a thread's first resumes, if the server gives it a ticket.
    #[arg(long)]
    pub resume: bool,
    /// Speak HTTP/1.0, as ab does.
    #[arg(long, requires = "connection_each")]
    pub http10: bool,
    /// Name a user in each request (in an order's body, else in X-User-Id): N in turn [default: each
    /// another].
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10000000000", value_parser = clap::value_parser!(u64).range(1..=USERS_MAX))]
    pub users: Option<u64>,
    /// What the names of users begin with; ten digits follow.
    #[arg(long, value_name = "TEXT", default_value = "user-", requires = "users")]
    pub user_prefix: String,
    /// Send an Idempotency-Key with each request, a UUID: each user has one.
    #[arg(long, requires = "users")]
    pub keys: bool,
    /// Ask about one of N sales at random in each request: {sale} in the target becomes its number,
    /// of four digits.
    #[arg(long, value_name = "N")]
    pub sales: Option<u64>,
    /// Answers that may come: any, or names with commas between them, such as granted,sold_out.
    #[arg(long, value_name = "KINDS", default_value = "any")]
    pub expect: String,
    /// Tickets that there are: more grants are an error.
    #[arg(long, value_name = "N")]
    pub total: Option<u64>,
    /// Process of the server, on this machine: what it and its children use from the first request
    /// until the last answer is told (watched_cpu_us), without the opening and closing of connections
    /// before and after.
    #[arg(long, value_name = "PID")]
    pub watch: Option<u32>,
    /// New connections a second, of all threads, before the run.
    #[arg(long, value_name = "R", default_value_t = 20_000.0)]
    pub connect_rate: f64,
    /// Seconds after which a connection that waits for an answer is given up.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub answer_deadline: u64,
    /// Write every figure as JSON to this file, or with - to standard output (the summary for people
    /// then goes to standard error).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Say every second how it goes on standard error, also where that is no terminal.
    #[arg(long)]
    pub progress: bool,
}

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// After this time.
    After(Duration),
    /// After so many requests.
    Requests(u64),
}

/// A run, as its threads need it.
pub struct Plan {
    /// Where to connect to.
    pub peer: Peer,
    /// Whether it is on 127.0.0.0/8, where we may come from any address.
    pub loopback: bool,
    /// The host's name, if it is spoken to over TLS.
    pub tls: Option<String>,
    /// Whether connections resume.
    pub resumes: bool,
    /// What is asked.
    pub request: Request,
    /// A thread on each.
    pub cores: Vec<usize>,
    /// Of all threads.
    pub connections: u32,
    /// When it ends.
    pub end: End,
    /// Before anything is counted.
    pub warm_up: Duration,
    /// Requests a second of all threads, in the open loop.
    pub rate: Option<f64>,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// How long before a due time to poll.
    pub spin: Duration,
    /// Requests on their way on each connection.
    pub pipeline: u32,
    /// A connection for each request.
    pub connection_each: bool,
    /// Answers after which a connection is closed and another opened.
    pub renew_after: Option<u32>,
    /// What may be answered.
    pub expected: Expected,
    /// Tickets that there are.
    pub total: Option<u64>,
    /// The server's process.
    pub watch: Option<u32>,
    /// Connections a second.
    pub connect_rate: f64,
    /// How long an answer is waited for.
    pub answer_deadline: Duration,
}

impl Plan {
    /// Checks the settings and finds the server's address.
    pub fn new(settings: &Settings) -> Result<Self> {
        check(settings)?;
        let to = read_to(&settings.to)?;
        let target = settings.target.as_deref().or(to.target).unwrap_or(crate::answer::TARGET);
        let wording = Wording {
            host: to.host,
            target,
            http10: settings.http10,
            close: settings.connection_each,
            users: settings.users.map(|count| (count, &*settings.user_prefix)),
            keys: settings.keys,
            sales: settings.sales,
        };
        let mut request = Request::new(&wording, settings.pipeline)?;
        if let Some(target) = &settings.also {
            let other = Wording { target, sales: None, ..wording };
            let other = Request::new(&other, 1).because(|| "--also".into());
            request = request.also(other?, settings.also_every);
        }
        if let Some(text) = &settings.and_post {
            request = request.and_post(to.host, target, text);
        }
        let end = match (settings.requests, settings.seconds) {
            (Some(requests), _) => End::Requests(requests),
            (None, seconds) => End::After(Duration::from_secs(seconds.unwrap_or(10))),
        };
        Ok(Self {
            peer: to.peer,
            loopback: to.loopback,
            tls: to.tls,
            resumes: settings.resume,
            request,
            cores: settings.cores.clone(),
            connections: settings.connections,
            end,
            warm_up: Duration::from_secs(settings.warm_up),
            rate: settings.rate,
            arrivals: settings.arrivals,
            spin: Duration::from_micros(settings.spin),
            pipeline: settings.pipeline,
            connection_each: settings.connection_each,
            renew_after: settings.renew_after,
            expected: Expected::read(&settings.expect)?,
            total: settings.total,
            watch: settings.watch,
            connect_rate: settings.connect_rate,
            answer_deadline: Duration::from_secs(settings.answer_deadline),
        })
    }

    /// Ids that one of the threads may keep.
    pub fn ids_max(&self) -> usize {
        (IDS_MAX / self.cores.len() as u64) as usize
    }
}

fn check(settings: &Settings) -> Result<()> {
    let Settings { cores, connections, rate, connect_rate, .. } = settings;
    let mut sorted = cores.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != cores.len() {
        return fail("--cores: one of them is named twice; each has one thread");
    }
    if cores.len() > *connections as usize {
        return fail(format!(
            "--connections {connections}: {} threads need at least one each",
            cores.len()
        ));
    }
    for (name, rate) in [("--rate", rate), ("--connect-rate", &Some(*connect_rate))] {
        if let Some(rate) = rate.filter(|rate| !(0.001..=1e8).contains(rate)) {
            return fail(format!("{name} {rate}: it is between 0.001 and 100,000,000 a second"));
        }
    }
    let descriptors = pin::raise_descriptor_limit()?;
    if u64::from(*connections) + DESCRIPTORS_RESERVED > descriptors {
        return fail(format!(
            "--connections {connections}: this process may open {descriptors} descriptors \
             (ulimit -Hn), of which {DESCRIPTORS_RESERVED} are needed otherwise"
        ));
    }
    Ok(())
}

struct To<'a> {
    peer: Peer,
    loopback: bool,
    tls: Option<String>,
    host: &'a str,
    target: Option<&'a str>,
}

fn read_to(text: &str) -> Result<To<'_>> {
    if let Some(path) = text.strip_prefix("unix:") {
        let peer = Peer::unix(Path::new(path)).because(|| format!("--to {text}"))?;
        return Ok(To { peer, loopback: false, tls: None, host: "localhost", target: None });
    }
    let secure = text.strip_prefix("https://");
    let text = secure.or(text.strip_prefix("http://")).unwrap_or(text);
    let (host, target) = match text.find('/') {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let address = address_of(host)?;
    let loopback = matches!(address, SocketAddr::V4(v4) if v4.ip().is_loopback());
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    let tls = secure.map(|_| name.to_owned());
    Ok(To { peer: Peer::tcp(address), loopback, tls, host, target })
}

fn address_of(host: &str) -> Result<SocketAddr> {
    let with_port = |host: &str| host.to_socket_addrs().ok()?.next();
    match host.to_socket_addrs() {
        Ok(mut addresses) => match addresses.next() {
            Some(address) => Ok(address),
            None => fail(format!("--to {host}: this name has no address")),
        },
        // As in a URL, 80 is what a host without a port means.
        Err(error) => with_port(&format!("{host}:80")).map_or_else(
            || fail(format!("--to {host}: {error}; it is HOST:PORT, unix:PATH or a URL")),
            Ok,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(words: &[&str]) -> std::result::Result<Plan, String> {
        let words = ["load"].iter().chain(words);
        let settings = Settings::try_parse_from(words).map_err(|error| error.to_string())?;
        Plan::new(&settings).map_err(|error| error.to_string())
    }

    fn asks(words: &[&str]) -> String {
        let mut plan = plan(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        String::from_utf8_lossy(plan.request.take(1)).into_owned()
    }

    #[test]
    fn servers_are_named_in_each_way() {
        let buy = "GET /buy/ticket HTTP/1.1\r\nHost: 127.0.0.1:3005\r\n\r\n";
        assert_eq!(asks(&["--to", "127.0.0.1:3005"]), buy);
        assert_eq!(asks(&["--to", "http://127.0.0.1:3005"]), buy);
        assert_eq!(asks(&["--to", "https://127.0.0.1:3005"]), buy);
        let json = "GET /json HTTP/1.1\r\nHost: 127.0.0.1:3005\r\n\r\n";
        assert_eq!(asks(&["--to", "http://127.0.0.1:3005/json"]), json);
        assert_eq!(asks(&["--to", "127.0.0.1:3005", "--target", "/json"]), json);
        assert!(asks(&["--to", "unix:/run/a"]).contains("Host: localhost\r\n"));
        assert!(asks(&["--to", "[::1]:80", "--users"]).contains("X-User-Id: user-0000000000\r\n"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (words, reason) in [
            (&["--to", "unix:"][..], "1 to 107 bytes"),
            (&["--to", "127.0.0.1:x"], "HOST:PORT"),
            (&["--to", "127.0.0.1:1", "--expect", "yes"], "no such answer"),
            (&["--to", "127.0.0.1:1", "--cores", "1,1"], "named twice"),
            (&["--to", "127.0.0.1:1", "--cores", "0,1", "--connections", "1"], "one each"),
            (&["--to", "127.0.0.1:1", "--rate", "0"], "--rate 0"),
            (&["--to", "127.0.0.1:1", "--rate", "nan"], "--rate NaN"),
            (&["--to", "127.0.0.1:1", "--connections", "999999"], "ulimit"),
            (&["--to", "127.0.0.1:1", "--seconds", "1", "--requests", "1"], "cannot be used with"),
            (&["--to", "127.0.0.1:1", "--rate", "9", "--pipeline", "2"], "cannot be used with"),
            (&["--to", "127.0.0.1:1", "--also", "b"], "begins with /"),
            (&["--to", "127.0.0.1:1", "--also", "/b", "--pipeline", "2"], "cannot be used with"),
            (&["--to", "127.0.0.1:1", "--warm-up", "1", "--requests", "9"], "cannot be used with"),
            (&["--to", "127.0.0.1:1", "--http10"], "--connection-each"),
            (&["--to", "127.0.0.1:1", "--keys"], "--users"),
            (&["--to", "127.0.0.1:1", "--sales", "9"], "must have {sale} in it"),
            (&["--to", "127.0.0.1:1", "--target", "/{sale}", "--sales", "0"], "between 1 and"),
            (&["--to", "127.0.0.1:1", "--users", "--user-prefix", "\""], "no quote"),
            (&["--to", "127.0.0.1:1", "--renew-after", "0"], "--renew-after"),
            (&["--to", "127.0.0.1:1", "--and-post", "1", "--also", "/b"], "cannot be used with"),
        ] {
            let error = plan(words).err().unwrap_or_else(|| panic!("{words:?} was taken"));
            assert!(error.contains(reason), "{words:?}: {error}");
        }
    }
}
