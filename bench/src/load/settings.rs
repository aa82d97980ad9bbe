//! The command line of the load generator, and the plan of a run that follows from it.

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

/// Descriptors of the process that are not connections to the server.
const DESCRIPTORS_RESERVED: u64 = 64;
/// Most connections of a run.
const CONNECTIONS_MAX: u32 = 1_000_000;

/// Sends load to a ticket server and checks every answer.
///
/// Closed loop (without --rate): each connection sends a request as soon as it has the previous answer.
/// A slow server therefore gets fewer requests. Use it for throughput and CPU per request.
///
/// Open loop (--rate): requests are due at fixed times, independent of the server. Latency counts from
/// the due time, also while no connection is free. Use it for latencies.
///
/// Exits with 1 if an answer is missing, malformed or not in --expect, if two grants have the same
/// reservation id, or if the server grants more than --total. Ctrl-C ends the run, prints the figures
/// up to then, and exits with 130.
#[derive(Debug, Parser)]
#[command(name = "load", group = ArgGroup::new("end").args(["seconds", "requests"]))]
pub struct Settings {
    /// Server: HOST:PORT, unix:PATH, http://HOST:PORT[/TARGET] or https://HOST:PORT[/TARGET] (TLS 1.3 or
    /// 1.2; accepts any certificate).
    #[arg(long, value_name = "ADDRESS")]
    pub to: String,
    /// Target to request [default: that of --to, or /buy/ticket]. The prefix "POST " posts an order to the
    /// target: "POST /v1/sales/ticket/reservations".
    #[arg(long, value_name = "PATH")]
    pub target: Option<String>,
    /// Second target, for one of --also-every requests. The prefix "POST " posts an order to the target:
    /// "POST /v1/sales/ticket/reservations".
    #[arg(long, value_name = "PATH", conflicts_with = "pipeline")]
    pub also: Option<String>,
    /// One of this number of requests per thread goes to --also.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "also", value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    pub also_every: u64,
    /// Also post this text to the target: a GET, a POST with a length and a POST in a chunk take turns,
    /// as in HttpArena's baseline.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["also", "pipeline", "users", "connection_each"])]
    pub and_post: Option<String>,
    /// Cores to run on, such as 1 or 0,1, with one thread per core.
    #[arg(long, value_name = "CORES", value_delimiter = ',', default_value = "1")]
    pub cores: Vec<usize>,
    /// Connections of all threads together.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX as i64))]
    pub connections: u32,
    /// Seconds to send requests for [default: 10]. Then waits up to 5 s for the last answers.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: Option<u64>,
    /// Requests to send, instead of --seconds. Sends no request twice: a lost request counts as lost.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub requests: Option<u64>,
    /// Seconds of the same load before the measurement. Answers are checked but not counted.
    #[arg(long, value_name = "S", default_value_t = 0, conflicts_with = "requests", value_parser = clap::value_parser!(u64).range(0..=3_600))]
    pub warm_up: u64,
    /// Open loop: requests per second of all threads together.
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Open loop: spacing of the requests. `even` sends no bursts, so all waiting is due to the server.
    /// `poisson` sends bursts as people do, from a fixed seed, so runs are alike.
    #[arg(long, value_enum, default_value_t = Arrivals::Even, requires = "rate")]
    pub arrivals: Arrivals,
    /// Open loop: microseconds before the due time of a request at which to poll instead of sleeping. 0
    /// uses the least CPU, but a request may be some tens of microseconds late. The delay counts as
    /// latency, and the report shows it.
    #[arg(long, value_name = "US", default_value_t = 0, requires = "rate", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub spin: u64,
    /// Requests in flight per connection.
    #[arg(long, value_name = "D", default_value_t = 1, conflicts_with_all = ["rate", "connection_each"], value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub pipeline: u32,
    /// Open a connection per request, --connections at a time. Latency includes the opening. The server
    /// closes the connection.
    #[arg(long)]
    pub connection_each: bool,
    /// Close each connection after this number of answers and open another one. The client closes.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "pipeline", "connection_each"], value_parser = clap::value_parser!(u32).range(1..))]
    pub renew_after: Option<u32>,
    /// TLS: resume the session on each connection after a thread's first, if the server sends tickets.
    #[arg(long)]
    pub resume: bool,
    /// Speak HTTP/1.0, as ab does.
    #[arg(long, requires = "connection_each")]
    pub http10: bool,
    /// Name a user in each request: in the body of an order, else in X-User-Id. N users take turns
    /// [default: a new user per request].
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "10000000000", value_parser = clap::value_parser!(u64).range(1..=USERS_MAX))]
    pub users: Option<u64>,
    /// Prefix of the user names, before ten digits.
    #[arg(long, value_name = "TEXT", default_value = "user-", requires = "users")]
    pub user_prefix: String,
    /// Send an Idempotency-Key with each request: one UUID per user.
    #[arg(long, requires = "users")]
    pub keys: bool,
    /// Choose one of N sales at random per request: the four digits of its number replace {sale} in the
    /// target.
    #[arg(long, value_name = "N")]
    pub sales: Option<u64>,
    /// Expected answers: any, or names separated by commas, such as granted,sold_out.
    #[arg(long, value_name = "KINDS", default_value = "any")]
    pub expect: String,
    /// Tickets of the sale. More grants than this are an error.
    #[arg(long, value_name = "N")]
    pub total: Option<u64>,
    /// Process of the server on this machine. Reports the CPU of the process and its children from the
    /// first request to the last answer (watched_cpu_us). Connections opened before and closed after
    /// do not count.
    #[arg(long, value_name = "PID")]
    pub watch: Option<u32>,
    /// New connections per second of all threads together, before the run.
    #[arg(long, value_name = "R", default_value_t = 20_000.0)]
    pub connect_rate: f64,
    /// Deadline of an answer in seconds. Gives up the connection after it.
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub answer_deadline: u64,
    /// Write every figure as JSON to this file. With -, JSON goes to standard output and the readable
    /// summary to standard error.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print the progress every second to standard error, even if it is no terminal.
    #[arg(long)]
    pub progress: bool,
}

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// After this time.
    After(Duration),
    /// After this number of requests.
    Requests(u64),
}

/// A checked run, as its threads need it.
pub struct Plan {
    /// Where to connect to.
    pub peer: Peer,
    /// Whether the server is on 127.0.0.0/8, where a client can use any source address.
    pub loopback: bool,
    /// The host's name, if the connections use TLS.
    pub tls: Option<String>,
    /// Whether connections resume TLS sessions.
    pub resumes: bool,
    /// The request.
    pub request: Request,
    /// Cores, with one thread per core.
    pub cores: Vec<usize>,
    /// Connections of all threads together.
    pub connections: u32,
    /// When the run ends.
    pub end: End,
    /// Load before the measurement.
    pub warm_up: Duration,
    /// Open loop: requests per second of all threads together.
    pub rate: Option<f64>,
    /// Open loop: spacing of the requests.
    pub arrivals: Arrivals,
    /// Time before a due time at which to poll.
    pub spin: Duration,
    /// Requests in flight per connection.
    pub pipeline: u32,
    /// Whether each request has its own connection.
    pub connection_each: bool,
    /// Answers after which the client replaces a connection.
    pub renew_after: Option<u32>,
    /// Expected answers.
    pub expected: Expected,
    /// Tickets of the sale.
    pub total: Option<u64>,
    /// The server's process.
    pub watch: Option<u32>,
    /// New connections per second before the run.
    pub connect_rate: f64,
    /// Deadline of an answer.
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

    /// Most ids that a thread keeps.
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
        return fail("--cores: a core is named twice; each core has one thread");
    }
    if cores.len() > *connections as usize {
        return fail(format!(
            "--connections {connections}: each of {} threads needs at least one",
            cores.len()
        ));
    }
    for (name, rate) in [("--rate", rate), ("--connect-rate", &Some(*connect_rate))] {
        if let Some(rate) = rate.filter(|rate| !(0.001..=1e8).contains(rate)) {
            return fail(format!(
                "{name} {rate}: must be between 0.001 and 100,000,000 per second"
            ));
        }
    }
    let descriptors = pin::raise_descriptor_limit()?;
    if u64::from(*connections) + DESCRIPTORS_RESERVED > descriptors {
        return fail(format!(
            "--connections {connections}: this process may open {descriptors} descriptors \
             (ulimit -Hn), of which it reserves {DESCRIPTORS_RESERVED}"
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
            None => fail(format!("--to {host}: the name has no address")),
        },
        // Without a port, 80, as in a URL.
        Err(error) => with_port(&format!("{host}:80")).map_or_else(
            || fail(format!("--to {host}: {error}; must be HOST:PORT, unix:PATH or a URL")),
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
    fn every_form_of_server_address_is_accepted() {
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
    fn invalid_settings_are_refused_with_a_reason() {
        for (words, reason) in [
            (&["--to", "unix:"][..], "1 to 107 bytes"),
            (&["--to", "127.0.0.1:x"], "HOST:PORT"),
            (&["--to", "127.0.0.1:1", "--expect", "yes"], "no such answer"),
            (&["--to", "127.0.0.1:1", "--cores", "1,1"], "named twice"),
            (&["--to", "127.0.0.1:1", "--cores", "0,1", "--connections", "1"], "at least one"),
            (&["--to", "127.0.0.1:1", "--rate", "0"], "--rate 0"),
            (&["--to", "127.0.0.1:1", "--rate", "nan"], "--rate NaN"),
            (&["--to", "127.0.0.1:1", "--connections", "999999"], "ulimit"),
            (&["--to", "127.0.0.1:1", "--seconds", "1", "--requests", "1"], "cannot be used with"),
            (&["--to", "127.0.0.1:1", "--rate", "9", "--pipeline", "2"], "cannot be used with"),
            (&["--to", "127.0.0.1:1", "--also", "b"], "begin with /"),
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
