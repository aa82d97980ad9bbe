//! `httparena`: checks the engine's entry for HttpArena by its rules, then measures it beside the
//! floors and `may_minihttp` under the loads of its three profiles.
//!
//! The entry is the program `httparena` (bench/httparena). The loads are the board's, but from the
//! bench's own load generator and with this machine's cores. Compare within a run, not with the board.

pub mod rules;
pub mod shapes;

use std::net::SocketAddr;
use std::slice;

use clap::{Args, ValueEnum};

use crate::error::{Because, Result, fail};
use crate::full::measure;
use crate::lab::{Lab, free_address};
use crate::process::{CommandLine, Interrupted, Running};
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::servers::{Content, Ledger, Server, Setup};
use crate::session::{Common, Session};
use crate::techempower::{await_listening, judge};
use crate::tools::{LoadPlan, LoadReport};
use crate::{machine, pin};
use rules::check;

/// Requests in flight per connection in `pipelined`.
const PIPELINE: u32 = 16;
/// Answers per connection in `limited_conn`.
const RENEW_AFTER: u32 = 10;
/// The number that a POST of the mix adds, as on the board.
const POSTED: &str = "20";
/// Servers of the two paths.
const SERVERS: [Server; 4] =
    [Server::Floor, Server::FloorUring, Server::MayMinihttp, Server::Httparena];
/// Connections per profile, as on the board.
const CONNECTIONS: [u32; 2] = [512, 4_096];

/// A load of the board, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Profile {
    /// GET, POST with a length and POST in a chunk, in turn, to /baseline11.
    Baseline,
    /// The GET of baseline alone, which may_minihttp also answers.
    BaselineGet,
    /// GET /pipeline, 16 requests pipelined per connection.
    Pipelined,
    /// The requests of baseline, with a new connection after 10 requests.
    LimitedConn,
    /// The GET of limited_conn alone, which may_minihttp also answers.
    LimitedConnGet,
}

impl Profile {
    /// The profile's scenarios in `raw.csv`, one per number of [`CONNECTIONS`].
    fn scenarios(self) -> [&'static str; 2] {
        match self {
            Self::Baseline => ["baseline_c512", "baseline_c4096"],
            Self::BaselineGet => ["baseline_get_c512", "baseline_get_c4096"],
            Self::Pipelined => ["pipelined16_c512", "pipelined16_c4096"],
            Self::LimitedConn => ["limited_conn_c512", "limited_conn_c4096"],
            Self::LimitedConnGet => ["limited_conn_get_c512", "limited_conn_get_c4096"],
        }
    }

    fn content(self) -> Content {
        if self == Self::Pipelined { Content::Ok } else { Content::Sum }
    }

    /// Whether the profile mixes GET and POST.
    fn posts(self) -> bool {
        matches!(self, Self::Baseline | Self::LimitedConn)
    }

    fn renews(self) -> bool {
        matches!(self, Self::LimitedConn | Self::LimitedConnGet)
    }

    /// Whether a server can answer the profile.
    fn is_for(self, server: Server) -> bool {
        // may_minihttp reads no chunks.
        !(self.posts() && server == Server::MayMinihttp)
    }

    fn plan<'a>(self, server: Server, core: &'a usize, connections: u32) -> LoadPlan<'a> {
        LoadPlan {
            cores: slice::from_ref(core),
            connections,
            target: self.content().target(),
            expect: match self.posts() && adds_bodies(server) {
                true => "sum,sum_with_body",
                false => self.content().name(),
            },
            pipeline: if self == Self::Pipelined { PIPELINE } else { 1 },
            and_post: self.posts().then_some(POSTED),
            renew_after: self.renews().then_some(RENEW_AFTER),
            ..LoadPlan::default()
        }
    }

    /// `Err` unless a third of the sums have no body and connections were renewed, as the profile
    /// defines. The remainder at the end is less than one request per connection.
    fn check(self, server: Server, load: &LoadReport) -> Result<()> {
        let left_over = load.connections;
        if self.posts() && adds_bodies(server) {
            let sums = load.answers.get(Content::Sum.name()).copied().unwrap_or_default();
            if sums.abs_diff(load.requests / 3) > left_over {
                return fail(format!("{sums} of {} sums had no body", load.requests));
            }
        }
        if self.renews() {
            let whole = load.requests / u64::from(RENEW_AFTER);
            if load.renewed + left_over < whole {
                return fail(format!(
                    "{} connections for {} requests",
                    load.renewed, load.requests
                ));
            }
        }
        Ok(())
    }
}

/// The floors always answer 55.
fn adds_bodies(server: Server) -> bool {
    server == Server::Httparena
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Check the rules only, without measuring.
    #[arg(long)]
    pub check: bool,
    /// Check only the rules, of a running server such as a container of the entry.
    #[arg(long, value_name = "ADDR")]
    pub address: Option<SocketAddr>,
    /// Rounds; each measures every server once per scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Run only these profiles.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub only: Vec<Profile>,
    /// Servers to compare.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "floor,floor_uring,may_minihttp,httparena"
    )]
    pub servers: Vec<Server>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Checks the entry and, without `--check` and `--address`, measures it. `Err` if a rule does not
/// hold.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    if let Some(server) = settings.servers.iter().find(|server| !SERVERS.contains(server)) {
        return fail(format!("--servers: {} does not serve HttpArena's paths", server.name()));
    }
    match settings.address {
        Some(address) => return judge(&check(address)),
        None => check_entry(&interrupted)?,
    }
    if settings.check { Ok(()) } else { measure(settings, interrupted) }
}

/// Starts the entry like its container, except for the port, and checks its rules.
fn check_entry(interrupted: &Interrupted) -> Result<()> {
    let folder = tempfile::tempdir().because(|| "making a folder".into())?;
    let program = machine::our_folder()?.join("httparena");
    if !program.is_file() {
        let program = program.display();
        return fail(format!("{program} is missing: start this with bench/run, which builds it"));
    }
    let address = free_address()?;
    let (program, listen) = (program.to_string_lossy().into_owned(), address.to_string());
    let line = CommandLine([&*program, "--listen", &listen].map(str::to_owned).to_vec());
    println!("{line}\n");
    let mut process = Running::start("httparena", &line, &folder.path().join("httparena.log"))?;
    await_listening(&mut process, address, interrupted)?;
    let findings = check(address);
    process.check_alive()?;
    judge(&findings)
}

fn measure(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let &Settings { rounds, seconds, ref only, ref servers, ref common, .. } = settings;
    let mut tools = vec!["taskset"];
    tools.extend(servers.iter().flat_map(|server| server.tools()));
    // Also raises the limit of the started servers.
    let connections = CONNECTIONS.map(pin::connections).into_iter().collect::<Result<Vec<_>>>()?;
    println!();
    let mut session = Session::open(common, "httparena", rounds, &tools, interrupted)?;
    let wanted = |profile: &Profile| only.is_empty() || only.contains(profile);
    for round in 1..=rounds {
        // Rounds rotate the order, so no server always follows the same one.
        let mut order = servers.clone();
        order.rotate_left((round as usize - 1) % servers.len());
        for &profile in Profile::value_variants().iter().filter(|profile| wanted(profile)) {
            for (scenario, &connections) in profile.scenarios().into_iter().zip(&connections) {
                for &server in order.iter().filter(|&&server| profile.is_for(server)) {
                    session.measure(round, scenario, server.name(), |lab| {
                        under_load(lab, server, profile, connections, seconds)
                    })?;
                }
            }
        }
    }
    let text = format!(
        "\nHttpArena's profiles, {rounds} rounds of {seconds} s. Servers ran on core {}; the load \
         generator ran on core {}. `httparena` is stampede's engine without a sale.\n",
        common.server_core, common.load_core
    );
    session.finish("HttpArena's profiles", &text, &PROMISES)
}

fn under_load(
    lab: &mut Lab,
    server: Server,
    profile: Profile,
    connections: u32,
    seconds: u64,
) -> Result<Figures> {
    let (cores, content) = ([lab.server_core], profile.content());
    let setup =
        Setup { cores: &cores, content, ledger: Ledger::None, total: 0, options: &[], tls: None };
    let served = lab.serve(server, &setup)?;
    let core = lab.load_core;
    let plan = LoadPlan { seconds, ..profile.plan(server, &core, connections) };
    measure::warm_up(lab, &served, &plan)?;
    let measured = measure::under_load(lab, &served, &plan)?;
    profile.check(server, &measured.load)?;
    Ok(measured.figures())
}

const fn to(text: &'static str, scenario: &'static str, other: &'static str) -> Promise {
    let cpu = figure::SERVER_CPU_US;
    Promise::new(text, Limit::None, (scenario, "httparena", cpu)).to((scenario, other, cpu))
}

/// The ratios of a run: CPU per request, relative to the other servers. None is promised.
pub const PROMISES: [Promise; 16] = [
    to(
        "CPU per request, baseline, 512 connections, relative to the floor",
        "baseline_c512",
        "floor",
    ),
    to(
        "CPU per request, baseline, 4,096 connections, relative to the floor",
        "baseline_c4096",
        "floor",
    ),
    to(
        "CPU per request, baseline, 512, relative to the io_uring floor",
        "baseline_c512",
        "floor_uring",
    ),
    to(
        "CPU per request, baseline, 4,096, relative to the io_uring floor",
        "baseline_c4096",
        "floor_uring",
    ),
    to(
        "CPU per request, baseline's GET, 512, relative to may_minihttp",
        "baseline_get_c512",
        "may_minihttp",
    ),
    to(
        "CPU per request, baseline's GET, 4,096, relative to may_minihttp",
        "baseline_get_c4096",
        "may_minihttp",
    ),
    to("CPU per request, pipelined, 512, relative to the floor", "pipelined16_c512", "floor"),
    to("CPU per request, pipelined, 4,096, relative to the floor", "pipelined16_c4096", "floor"),
    to(
        "CPU per request, pipelined, 512, relative to may_minihttp",
        "pipelined16_c512",
        "may_minihttp",
    ),
    to(
        "CPU per request, pipelined, 4,096, relative to may_minihttp",
        "pipelined16_c4096",
        "may_minihttp",
    ),
    to(
        "CPU per request, 10 per connection, 512, relative to the floor",
        "limited_conn_c512",
        "floor",
    ),
    to(
        "CPU per request, 10 per connection, 4,096, relative to the floor",
        "limited_conn_c4096",
        "floor",
    ),
    to(
        "CPU per request, 10 per connection, 512, relative to the io_uring floor",
        "limited_conn_c512",
        "floor_uring",
    ),
    to(
        "CPU per request, 10 per connection, 4,096, relative to the io_uring floor",
        "limited_conn_c4096",
        "floor_uring",
    ),
    to(
        "CPU per request, GET, 10 per connection, 512, relative to may_minihttp",
        "limited_conn_get_c512",
        "may_minihttp",
    ),
    to(
        "CPU per request, GET, 10 per connection, 4,096, relative to may_minihttp",
        "limited_conn_get_c4096",
        "may_minihttp",
    ),
];

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// A fault of a server: changes each answer, given the request's head.
    type Spoil = fn(&str, String) -> String;

    /// The rules that fail with this fault.
    fn broken(spoil: Spoil) -> Vec<&'static str> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                thread::spawn(move || converse(stream, spoil));
            }
        });
        let findings = check(address);
        findings.into_iter().filter(|f| f.found.is_err()).map(|f| f.rule).collect()
    }

    /// Ends when the connection ends.
    fn converse(mut stream: TcpStream, spoil: Spoil) -> Option<()> {
        let (mut input, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            while let Some((head, body, used)) = request(&input) {
                let (answer, closes) = answer(&head, &body);
                stream.write_all(spoil(&head, answer).as_bytes()).ok()?;
                if closes {
                    // Unread input must not reset the connection before the client has the answer.
                    stream.shutdown(std::net::Shutdown::Write).ok()?;
                    while stream.read(&mut piece).ok()? > 0 {}
                    return None;
                }
                input.drain(..used);
            }
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            input.extend_from_slice(&piece[..count]);
        }
    }

    fn find(input: &[u8], what: &str) -> Option<usize> {
        memchr::memmem::find(input, what.as_bytes())
    }

    /// The head in lower case except for its first line, the body, and the length of both.
    fn request(input: &[u8]) -> Option<(String, Vec<u8>, usize)> {
        let head_bytes = find(input, "\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&input[..head_bytes]).into_owned();
        let (line, headers) = head.split_once("\r\n")?;
        let head = format!("{line}\r\n{}", headers.to_lowercase());
        let rest = &input[head_bytes..];
        if head.contains("chunked") {
            let end = find(rest, "0\r\n\r\n")? + 5;
            let text = String::from_utf8_lossy(&rest[..end]).into_owned();
            let lines: Vec<_> = text.split("\r\n").collect();
            let data = lines.chunks(2).map(|pair| pair.get(1).copied().unwrap_or_default());
            return Some((head, data.collect::<String>().into_bytes(), head_bytes + end));
        }
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = rest.get(..length)?.to_vec();
        Some((head, body, head_bytes + length))
    }

    /// The answer of a correct server, and whether it closes.
    fn answer(head: &str, body: &[u8]) -> (String, bool) {
        let line = head.lines().next().unwrap_or_default();
        let (method, rest) = line.split_once(' ').unwrap_or_default();
        let target = rest.split(' ').next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let framings = head.matches("content-length").count() + head.matches("chunked").count();
        let ambiguous = framings > 1 || head.contains("content-length: -");
        let (status, text) = match (path, method) {
            _ if ambiguous => ("400 Bad Request", "ambiguous".to_owned()),
            (_, "BREW") => ("501 Not Implemented", String::new()),
            ("/baseline11", "GET" | "HEAD" | "POST") => match sum(query, body) {
                Some(sum) => ("200 OK", sum.to_string()),
                None => ("400 Bad Request", "no number".to_owned()),
            },
            ("/pipeline", "GET" | "HEAD") => ("200 OK", "ok".to_owned()),
            ("/baseline11" | "/pipeline", _) => ("405 Method Not Allowed", String::new()),
            _ => ("404 Not Found", String::new()),
        };
        let closes = ambiguous || head.contains("connection: close") || line.ends_with("1.0");
        let connection = if closes { "Connection: close\r\n" } else { "" };
        let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
        let length = text.len();
        let text = if method == "HEAD" { String::new() } else { text };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\n{allow}{connection}\
             Content-Length: {length}\r\n\r\n"
        );
        (head + &text, closes)
    }

    fn sum(query: &str, body: &[u8]) -> Option<u64> {
        let body = if body.is_empty() { "0" } else { std::str::from_utf8(body).ok()? };
        let values = query.split('&').map(|parameter| parameter.split_once('=').map(|(_, v)| v));
        values.chain([Some(body)]).map(|value| value?.parse::<u64>().ok()).sum()
    }

    #[test]
    fn a_server_that_keeps_the_rules_passes() {
        assert_eq!(broken(|_, answer| answer), Vec::<&str>::new());
    }

    #[test]
    fn each_rule_violation_is_found() {
        let breaches: [(&str, Spoil); 10] = [
            ("GET: the query's sum", |_, a| a.replace("text/plain", "application/json")),
            ("POST with Content-Length", |head, a| match head.contains("\r\ncontent-length: 3") {
                true => a.replace("200 OK", "411 Length Required"),
                false => a,
            }),
            ("POST in one chunk, in several", |head, a| match head.contains("chunked") {
                true => a.replace("200 OK", "501 Not Implemented"),
                false => a,
            }),
            ("no answer of an earlier request", |head, a| {
                // A server that wrongly keeps its first answer per target.
                let kept = head.starts_with("POST /baseline11?a=13&b=42");
                if kept {
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\
                           Content-Length: 2\r\n\r\n75"
                        .into()
                } else {
                    a
                }
            }),
            ("GET /pipeline", |head, a| match head.contains("/pipeline") {
                true => a.replace("\r\n\r\nok", "\r\n\r\nOK"),
                false => a,
            }),
            ("HEAD has no body", |head, a| match head.starts_with("HEAD") {
                true => a + "ok",
                false => a,
            }),
            ("404 for another path", |_, a| a.replace("404 Not Found", "200 OK")),
            ("405 or 501 for another method", |_, a| a.replace("Allow: GET, HEAD\r\n", "")),
            ("400 for a value that is no number", |_, a| a.replace("400 Bad", "500 Bad")),
            ("400 for ambiguous framing", |_, a| match a.ends_with("ambiguous") {
                true => a.replace("Connection: close\r\n", ""),
                false => a,
            }),
        ];
        // Each check pauses for seconds, so all run at the same time.
        let spawn = |(rule, spoil)| (rule, thread::spawn(move || broken(spoil)));
        for (rule, found) in breaches.map(spawn) {
            let broken = found.join().expect("checked");
            assert!(broken.contains(&rule), "{rule}: {broken:?}");
        }
    }

    #[test]
    fn a_wrong_request_mix_is_rejected() {
        let load = |sums, requests, renewed| LoadReport {
            answers: [("sum".to_owned(), sums)].into(),
            requests,
            renewed,
            connections: 10,
            ..LoadReport::default()
        };
        let check = |profile: Profile, load| profile.check(Server::Httparena, &load).is_ok();
        assert!(check(Profile::Baseline, load(1_000, 3_000, 0)));
        assert!(!check(Profile::Baseline, load(3_000, 3_000, 0)));
        assert!(check(Profile::LimitedConn, load(1_000, 3_000, 295)));
        assert!(!check(Profile::LimitedConn, load(1_000, 3_000, 200)));
    }
}
