//! One hand-over: signals the server, waits for its end, and follows the process that it has started.

use std::time::{Duration, Instant};

use crate::error::{Result, fail};
use crate::lab::Lab;
use crate::process::Running;

// Messages that a server logs and prints.
const GIVES_WAY: &str = "hand-over: new process takes over pid=";
const TOOK_OVER: &str = "took over the ledger paused_ms=";
const READY: &str = "buy one";
const REFUSALS: [&str; 2] = ["hand-over failed", "hand-over not possible"];

/// Longer than the server's deadlines for a new process and for its own drain.
const DEADLINE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(5);

/// The observations of a hand-over.
#[derive(Debug)]
pub struct Takeover {
    /// The old process.
    pub from: u32,
    /// Time of the signal.
    pub signalled: Instant,
    /// End of the old process.
    pub old_ended: Instant,
    /// Time at which the new process sold and the old one had ended.
    pub ready: Instant,
    /// Time for which no process had the ledger. `None`: both may have it.
    pub paused_ms: Option<u64>,
}

/// Lets a new process take over, which is `server` afterwards. Checks that it runs on the old one's
/// cores. `pauses`: the ledger has one owner.
pub fn take_over(lab: &Lab, server: &mut Running, pauses: bool) -> Result<Takeover> {
    server.may_hand_over()?;
    let (from, cores) = (server.id(), server.allowed_cores()?);
    let known = server.output()?.len();
    let signalled = Instant::now();
    server.signal(libc::SIGUSR2)?;
    let look = |log: &str| {
        lab.check_interrupted()?;
        if REFUSALS.iter().any(|refusal| log.contains(refusal)) {
            return fail(format!("no new process took over: {log}"));
        }
        if signalled.elapsed() > DEADLINE {
            return fail(format!("a hand-over did not end within {DEADLINE:?}: {log}"));
        }
        Ok(())
    };
    let old_ended = server.await_end(|| look(&said_since(server, known)?))?;
    let log = said_since(server, known)?;
    let Some(pid) = number_after(&log, GIVES_WAY).and_then(|pid| u32::try_from(pid).ok()) else {
        return fail(format!("the server ended without a successor: {log}"));
    };
    server.take_over(pid)?;
    let paused_ms = loop {
        server.check_alive()?;
        let log = said_since(server, known)?;
        let paused_ms = number_after(&log, TOOK_OVER);
        if log.contains(READY) && paused_ms.is_some() == pauses {
            break paused_ms;
        }
        look(&log)?;
        std::thread::sleep(POLL);
    };
    let ready = Instant::now();
    let now = server.allowed_cores()?;
    if now != cores {
        return fail(format!(
            "the new process runs on cores {now:?}, the old one ran on {cores:?}"
        ));
    }
    Ok(Takeover { from, signalled, old_ended, ready, paused_ms })
}

/// The whole lines written after this number of bytes.
fn said_since(server: &Running, known: usize) -> Result<String> {
    let log = server.output()?;
    let new = log.get(known..).unwrap_or_default();
    let whole = new.rfind('\n').map_or(0, |at| at + 1);
    Ok(new[..whole].to_owned())
}

fn number_after(log: &str, text: &str) -> Option<u64> {
    let (_, rest) = log.split_once(text)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_log_lines() {
        let log = "INFO hand-over: new process takes over pid=4711 version=\"0.2.0\"\n\
                   INFO took over the ledger paused_ms=83\n";
        assert_eq!(number_after(log, GIVES_WAY), Some(4711));
        assert_eq!(number_after(log, TOOK_OVER), Some(83));
        assert_eq!(number_after(log, "listening port="), None);
        assert_eq!(number_after("took over the ledger paused_ms=\n", TOOK_OVER), None);
    }
}
