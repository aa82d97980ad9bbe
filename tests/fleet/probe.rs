//! A client that never stops trying: a new connection every 10 ms, and what became of each.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::Net;

const EVERY: Duration = Duration::from_millis(10);

/// Time to connect, and time to answer. Below the second after which a lost SYN is sent again: an
/// attempt that met a hole fails, and is not healed later.
const DEADLINE: Duration = Duration::from_millis(500);

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it began.
    pub at: Instant,
    /// The total of the sale it was shown, or what went wrong.
    pub answer: Result<u64, String>,
    /// Its connection was reset and it was made a second time, as a browser does. That is what
    /// happens to a connection that is open while the router spreads anew.
    pub repeated: bool,
}

/// Tries in the background until it is dropped.
pub struct Probe {
    attempts: Arc<Mutex<Vec<Attempt>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Probe {
    /// Starts to ask for the sale `ticket`, from a namespace.
    pub fn start(net: &Net, target: SocketAddr) -> Self {
        let attempts: Arc<Mutex<Vec<Attempt>>> = Arc::default();
        let ends = Arc::new(AtomicBool::new(false));
        let (kept, end) = (attempts.clone(), ends.clone());
        let thread = net.spawn(move || {
            let mut next = Instant::now();
            while !end.load(Ordering::Relaxed) {
                let kept = kept.clone();
                // A thread each: one that waits for its time-out holds up no other.
                thread::spawn(move || {
                    let attempt = attempt(target);
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
                });
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { attempts, ends, thread: Some(thread) }
    }

    /// The attempts that began from this moment on, for this long, in order; waits until all of
    /// them are over.
    pub fn window(&self, from: Instant, time: Duration) -> Vec<Attempt> {
        let to = from + time;
        // Twice, since it may be repeated, and some time for a machine that is busy.
        let over = to + 4 * DEADLINE + Duration::from_millis(200);
        thread::sleep(over.saturating_duration_since(Instant::now()));
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<Attempt> =
            attempts.iter().filter(|attempt| (from..to).contains(&attempt.at)).cloned().collect();
        found.sort_by_key(|attempt| attempt.at);
        // One every 10 ms, also where the machine was slow.
        assert!(found.len() as u128 > time.as_millis() / 40, "{} in {time:?}", found.len());
        found
    }

    /// Whether an attempt since then was answered so.
    pub fn has_seen(&self, from: Instant, total: u64) -> bool {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.iter().any(|attempt| attempt.at >= from && attempt.answer == Ok(total))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn attempt(target: SocketAddr) -> Attempt {
    let at = Instant::now();
    let first = ask(target);
    let was_reset = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::BrokenPipe
        )
    };
    let repeated = first.as_ref().is_err_and(was_reset);
    let answer = if repeated { ask(target) } else { first };
    Attempt { at, answer: answer.map_err(|error| error.to_string()), repeated }
}

/// A new connection, one request: the total of the sale `ticket`, by which edges are told apart.
pub fn ask(target: SocketAddr) -> io::Result<u64> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut stream = TcpStream::connect_timeout(&target, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream
        .write_all(b"GET /v1/sales/ticket HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(wrong(head.lines().next().unwrap_or_default().to_owned()));
    }
    let sale: serde_json::Value = serde_json::from_str(body).map_err(io::Error::from)?;
    sale["total"].as_u64().ok_or_else(|| wrong(body.to_owned()))
}
