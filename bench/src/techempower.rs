//! `techempower`: checks the rules of TechEmpower's JSON and plaintext tests.
//!
//! Starts a stampede like the entry in `bench/techempower/`, or uses a running one (a container of
//! that entry). Prints each rule with its finding. Measures nothing.

pub mod rules;
pub mod wire;

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;

use crate::error::{Because, Result, fail};
use crate::lab::free_address;
use crate::process::{CommandLine, Interrupted, Running};
use rules::{Finding, check};

const START_DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// The stampede to start [default: the build beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub stampede: Option<PathBuf>,
    /// Check this running server instead of starting one.
    #[arg(long, value_name = "ADDR", conflicts_with = "stampede")]
    pub address: Option<SocketAddr>,
}

/// Checks every rule and prints the table. `Err` if one does not hold.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let findings = match settings.address {
        Some(address) => check(address),
        None => {
            let folder = tempfile::tempdir().because(|| "making a folder".into())?;
            let address = free_address()?;
            let mut process = start(settings, address, folder.path())?;
            await_listening(&mut process, address, &interrupted)?;
            let findings = check(address);
            process.check_alive()?;
            findings
        }
    };
    judge(&findings)
}

/// Prints the finding of each rule. `Err` if a rule does not hold.
pub(crate) fn judge(findings: &[Finding]) -> Result<()> {
    print!("{}", table(findings));
    match findings.iter().filter(|finding| finding.found.is_err()).count() {
        0 => Ok(()),
        failed => fail(format!("{failed} of {} rules do not hold", findings.len())),
    }
}

/// Starts it with the options of the entry's container, except for port and folder.
fn start(settings: &Settings, address: SocketAddr, folder: &Path) -> Result<Running> {
    let this = std::env::current_exe().because(|| "finding the bench's programs".into())?;
    let beside = || this.with_file_name("stampede");
    let program = settings.stampede.clone().unwrap_or_else(beside);
    if !program.is_file() {
        return fail(format!(
            "{} is missing: start this with bench/run, which builds it",
            program.display()
        ));
    }
    let ledger = format!("embedded:{}", folder.join("ledger").display());
    let (program, listen) = (program.to_string_lossy().into_owned(), address.to_string());
    let words = [&*program, "--listen", &listen, "--control", "off", "--ledger", &ledger];
    let line = CommandLine(words.map(str::to_owned).to_vec());
    println!("{line}\n");
    Running::start("stampede", &line, &folder.join("stampede.log"))
}

pub(crate) fn await_listening(
    process: &mut Running,
    address: SocketAddr,
    interrupted: &Interrupted,
) -> Result<()> {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        process.check_alive()?;
        if interrupted.load(Ordering::Relaxed) {
            return fail("interrupted");
        }
        if started.elapsed() > START_DEADLINE {
            return fail(format!("nothing listens on {address} after {START_DEADLINE:?}"));
        }
        std::thread::sleep(POLL);
    }
    process.check_alive()
}

fn table(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let (found, verdict) = match &finding.found {
            Ok(found) => (found, "pass"),
            Err(found) => (found, "FAIL"),
        };
        format!("| {:<12} | {:<36} | {verdict} | {found} |\n", finding.test, finding.rule)
    };
    let head = format!("| {:<12} | {:<36} |      | found |\n|---|---|---|---|\n", "test", "rule");
    head + &findings.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::SystemTime;

    use super::*;

    /// A server that keeps every rule except for `spoil`, which changes each answer to GET.
    fn serve(spoil: fn(String) -> String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                std::thread::spawn(move || converse(stream, spoil));
            }
        });
        address
    }

    /// Ends when the connection ends.
    fn converse(mut stream: TcpStream, spoil: fn(String) -> String) -> Option<()> {
        let (mut input, mut piece) = (String::new(), [0; 4096]);
        loop {
            while let Some((request, rest)) = input.split_once("\r\n\r\n") {
                let (answer, closes) = answer(request, spoil);
                stream.write_all(answer.as_bytes()).ok()?;
                if closes {
                    return None;
                }
                input = rest.to_owned();
            }
            let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
            input += &String::from_utf8_lossy(&piece[..count]);
        }
    }

    fn answer(request: &str, spoil: fn(String) -> String) -> (String, bool) {
        let (content_type, body) = match request.contains(" /json") {
            true => ("application/json", r#"{"message":"Hello, World!"}"#),
            false => ("text/plain", "Hello, World!"),
        };
        let old = request.lines().next().is_some_and(|line| line.ends_with("HTTP/1.0"));
        let closes = old && !request.contains("Keep-Alive");
        let connection = if old && !closes { "Connection: keep-alive\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: a\r\nDate: {}\r\nContent-Type: {content_type}\r\n\
             {connection}Content-Length: {}\r\n\r\n",
            httpdate::fmt_http_date(SystemTime::now()),
            body.len(),
        );
        let answer = if request.starts_with("HEAD") { head } else { spoil(head + body) };
        (answer, closes)
    }

    /// The rules that fail with this fault, of either test.
    fn broken(spoil: fn(String) -> String) -> Vec<&'static str> {
        let findings = check(serve(spoil));
        findings.into_iter().filter(|f| f.found.is_err()).map(|f| f.rule).collect()
    }

    #[test]
    fn a_server_that_keeps_the_rules_passes() {
        assert_eq!(broken(|answer| answer), Vec::<&str>::new());
        let chunked = |answer: String| {
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
            let (head, _) = head.split_once("Content-Length").expect("a length");
            let size = body.len();
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
        };
        // HEAD has a length, but GET has chunks.
        assert_eq!(broken(chunked), ["HEAD has no body"; 2]);
    }

    #[test]
    fn each_rule_violation_is_found() {
        type Breach = (&'static str, fn(String) -> String);
        let breaches: [Breach; 10] = [
            ("status 200", |a| a.replace("200 OK", "404 Not Found")),
            ("Content-Type", |a| a.replace("application/", "text/").replace("plain", "html")),
            ("Content-Length or chunked", |a| a.replace("Content-Length", "X-Length")),
            ("Server", |a| a.replace("Server: a\r\n", "")),
            ("Date is right", |a| a.replace("GMT", "UTC")),
            ("Date is renewed each second", |a| a.replace("Date: ", "Date: x")),
            ("body", |a| a.replace("World", "world")),
            ("no compression, though it is offered", |a| {
                a.replace("Server", "Content-Encoding: gzip\r\nServer")
            }),
            ("nothing says cacheable", |a| a.replace("Server", "Cache-Control: public\r\nServer")),
            ("keep-alive, as wrk asks", |a| a.replace("Server", "Connection: close\r\nServer")),
        ];
        // Each check watches dates for seconds, so all run at the same time.
        let spawn = |(rule, spoil)| (rule, std::thread::spawn(move || broken(spoil)));
        for (rule, found) in breaches.map(spawn) {
            let broken = found.join().expect("checked");
            let count = broken.iter().filter(|found| **found == rule).count();
            assert_eq!(count, 2, "{rule}: {broken:?}");
        }
    }

    #[test]
    fn a_stale_date_header_is_found() {
        static KEPT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        let broken = broken(|answer| {
            let date = answer.lines().find(|line| line.starts_with("Date: ")).expect("a date");
            answer.replace(date, KEPT.get_or_init(|| date.to_owned()))
        });
        assert!(broken.contains(&"Date is renewed each second"), "{broken:?}");
    }

    #[test]
    fn the_table_names_failed_rules() {
        let found = |found| Finding { test: "json", rule: "body", found };
        let table = table(&[found(Ok("a".into())), found(Err("b".into()))]);
        assert!(table.contains(" | pass | a |\n") && table.contains(" | FAIL | b |\n"), "{table}");
    }
}
