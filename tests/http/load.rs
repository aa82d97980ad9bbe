//! The article's own load: 10,000 requests by 100 clients for 150 tickets, by `ab` and by `wrk`.

use std::process::Command;

use crate::client::sold;
use crate::place::Place;

/// Runs a load generator and returns its output.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; to have it: apt-get install apache2-utils wrk")
    });
    let text =
        [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned());
    assert!(output.status.success(), "{text:?}");
    text.concat()
}

/// The number after a name in the output of `ab`.
fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
    line.trim_start_matches(':').split_whitespace().next()?.parse().ok()
}

fn url(server: &Place) -> String {
    let scheme = if server.is_secure() { "https" } else { "http" };
    format!("{scheme}://{}/buy/ticket", server.line_address())
}

fn ab(server: &Place, keep_alive: bool) {
    let url = url(server);
    let mut arguments = vec!["-q", "-n", "10000", "-c", "100"];
    if keep_alive {
        arguments.push("-k");
    }
    arguments.push(&url);
    let text = run("ab", &arguments);
    assert_eq!(number(&text, "Complete requests"), Some(10_000), "{text}");
    assert_eq!(number(&text, "Write errors").unwrap_or(0), 0, "{text}");
    assert_eq!(number(&text, "Non-2xx responses").unwrap_or(0), 0, "{text}");
    if keep_alive {
        assert_eq!(number(&text, "Keep-Alive requests"), Some(10_000), "{text}");
    }
    // `ab` counts answers that differ in length from the first as failed: these are no failures.
    if let Some(failed) = text.lines().find(|line| line.trim().starts_with("(Connect:")) {
        let none = "(Connect: 0, Receive: 0, Length: ";
        assert!(failed.trim().starts_with(none) && failed.ends_with("Exceptions: 0)"), "{text}");
    }
    assert_eq!(sold(server), 150);
}

#[test]
fn ab_sells_exactly_the_total() {
    for (cores, keep_alive) in [("0", false), ("0", true), ("0,1", false), ("0,1", true)] {
        for server in Place::each(&["--sale", "ticket=150", "--cores", cores]) {
            // 10,000 handshakes would take a minute.
            if keep_alive || !server.is_secure() {
                ab(&server, keep_alive);
            }
        }
    }
}

#[test]
fn wrk_sells_exactly_the_total() {
    for cores in ["0", "0,1"] {
        for server in Place::each(&["--sale", "ticket=150", "--cores", cores]) {
            let text = run("wrk", &["-t", "1", "-c", "100", "-d", "1s", &url(&server)]);
            assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
            let requests = text.lines().find(|line| line.contains("requests in"));
            let count = requests.and_then(|line| line.split_whitespace().next()?.parse().ok());
            assert!(count.is_some_and(|count: u64| count > 150), "{text}");
            assert_eq!(sold(&server), 150);
        }
    }
}
