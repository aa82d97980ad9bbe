//! The load generators: `wrk` (kept connections) and `ab` (one connection per request), both closed
//! loops, and the bench's own ([`LoadPlan`]).
//!
//! Has their command lines and parses their output. Does not know the scenarios.

mod load;

pub use load::{LoadPlan, LoadReport, Percentiles, read_load};

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::answer::TARGET;
use crate::error::{Result, fail};
use crate::process::CommandLine;

/// Time beyond its own duration after which a tool counts as hung.
pub const GRACE: Duration = Duration::from_secs(60);

/// The report of a load generator.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Answered requests.
    pub requests: u64,
    /// Answers per second.
    pub requests_per_s: f64,
    /// Median latency.
    pub latency_p50_us: f64,
    /// 99th percentile of the latency.
    pub latency_p99_us: f64,
}

/// `wrk` with one thread, to `host:port` or `https://host:port`.
pub fn wrk(core: usize, connections: u32, seconds: u64, to: &str) -> CommandLine {
    let words = ["wrk", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"];
    let scheme = if to.starts_with("https://") { "" } else { "http://" };
    CommandLine::on_core(core, words.into_iter().chain([&*format!("{scheme}{to}{TARGET}")]))
}

/// `wrk` with one thread, whose requests come from a script.
pub fn wrk_with_script(
    core: usize,
    connections: u32,
    seconds: u64,
    to: SocketAddr,
    script: &Path,
) -> CommandLine {
    let words = ["wrk", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"];
    let script = ["-s", &*script.to_string_lossy()].map(str::to_owned);
    let words = words.into_iter().map(str::to_owned).chain(script);
    CommandLine::on_core(core, words.chain([format!("http://{to}")]))
}

/// `ab` without `-k`: HTTP/1.0, one connection per request.
pub fn ab(core: usize, requests: u32, connections: u32, to: SocketAddr) -> CommandLine {
    let (requests, connections) = (requests.to_string(), connections.to_string());
    let url = format!("http://{to}{TARGET}");
    CommandLine::on_core(core, ["ab", "-q", "-n", &requests, "-c", &connections, &url])
}

/// Parses the output of `wrk --latency`. An `Err` if any answer was not 2xx or any socket failed.
pub fn read_wrk(text: &str) -> Result<Load> {
    if let Some(line) = text.lines().find(|line| line.trim().starts_with("Non-2xx")) {
        return fail(format!("wrk saw answers other than 2xx: {}", line.trim()));
    }
    if let Some(line) = text.lines().find(|line| line.trim().starts_with("Socket errors")) {
        return fail(format!("wrk saw failures: {}", line.trim()));
    }
    let requests = text.lines().find(|line| line.contains(" requests in "));
    let requests = requests.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    let per_s = after(text, "Requests/sec:").and_then(|value| value.parse().ok());
    let p50 = after(text, "50%").and_then(duration_us);
    let p99 = after(text, "99%").and_then(duration_us);
    match (requests, per_s, p50, p99) {
        (Some(requests), Some(requests_per_s), Some(latency_p50_us), Some(latency_p99_us)) => {
            Ok(Load { requests, requests_per_s, latency_p50_us, latency_p99_us })
        }
        _ => fail(format!("wrk printed something unexpected:\n{text}")),
    }
}

/// Parses the output of `ab`. An `Err` if any request failed, differed in length or was not 2xx.
pub fn read_ab(text: &str, body_len: usize) -> Result<Load> {
    if let Some(others) = after(text, "Non-2xx responses:") {
        return fail(format!("ab saw {others} answers other than 2xx"));
    }
    if after(text, "Failed requests:") != Some("0") {
        return fail(format!("ab saw failures:\n{text}"));
    }
    if after(text, "Document Length:").and_then(|len| len.parse().ok()) != Some(body_len) {
        return fail(format!("ab saw a body of another length than {body_len} bytes:\n{text}"));
    }
    let number = |name: &str| after(text, name).and_then(|value| value.parse::<f64>().ok());
    // Whole milliseconds.
    let percentile = |name: &str| number(name).map(|ms| ms * 1e3);
    match (number("Complete requests:"), number("Requests per second:")) {
        (Some(requests), Some(requests_per_s)) => Ok(Load {
            requests: requests as u64,
            requests_per_s,
            latency_p50_us: percentile("50%").unwrap_or(f64::NAN),
            latency_p99_us: percentile("99%").unwrap_or(f64::NAN),
        }),
        _ => fail(format!("ab printed something unexpected:\n{text}")),
    }
}

/// The word that follows a name at the start of a line.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(name))?.split_whitespace().next()
}

/// `740.00us`, `1.25ms` or `2.00s`, in microseconds.
fn duration_us(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    units.iter().find_map(|(unit, us)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * us))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 2s test @ http://127.0.0.1:1/buy/ticket
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   762.03us  251.01us   9.61ms   95.22%
    Req/Sec    84.10k     4.33k   91.20k    80.00%
  Latency Distribution
     50%  740.00us
     75%    0.80ms
     90%    0.88ms
     99%    1.25ms
  167404 requests in 2.00s, 27.94MB read
Requests/sec:  83672.52
Transfer/sec:     13.96MB
";

    #[test]
    fn wrk_output_is_read_and_failures_are_errors() {
        let load = read_wrk(WRK).expect("a good run");
        let expected = Load {
            requests: 167_404,
            requests_per_s: 83_672.52,
            latency_p50_us: 740.0,
            latency_p99_us: 1_250.0,
        };
        assert_eq!(load, expected);
        assert!(read_wrk(&format!("{WRK}  Non-2xx or 3xx responses: 7\n")).is_err());
        let errors = "  Socket errors: connect 0, read 3, write 0, timeout 0\n";
        assert!(read_wrk(&format!("{WRK}{errors}")).is_err());
        assert!(read_wrk("").is_err());
    }

    #[test]
    fn ab_output_is_read_and_failures_are_errors() {
        let text = "Document Length:        33 bytes\nComplete requests:      20000\n\
                    Failed requests:        0\nRequests per second:    21000.50 [#/sec] (mean)\n  \
                    50%      3\n  99%      5\n";
        let load = read_ab(text, 33).expect("a good run");
        assert_eq!((load.requests, load.latency_p99_us), (20_000, 5_000.0));
        assert!(read_ab(text, 34).is_err());
        assert!(read_ab(&text.replace("requests:        0", "requests:        9"), 33).is_err());
        assert!(read_ab(&format!("{text}Non-2xx responses:      4\n"), 33).is_err());
    }
}
