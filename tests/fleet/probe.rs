//! A client that never stops trying: a new connection every 10 ms, and the result of each. Also a
//! watch over the machine, which may stand still longer than the measured times.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lab::{Net, until};

const EVERY: Duration = Duration::from_millis(10);

/// Time to connect: below the second after which a lost SYN is sent again, so an attempt that meets
/// an outage fails and is not repaired later.
const CONNECT_DEADLINE: Duration = Duration::from_millis(900);
/// Time to answer, long enough for a busy machine.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// One attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it began.
    pub at: Instant,
    /// The total of the sale in the answer, or the error.
    pub answer: Result<u64, String>,
    /// Its connection was reset and it was made a second time, as a browser does. That happens to a
    /// connection that is open while the router spreads anew.
    pub repeated: bool,
}

/// The start of each attempt, and the result of the finished ones.
type Attempts = Arc<Mutex<Vec<(Instant, Option<Attempt>)>>>;

/// Tries in the background until it is dropped.
pub struct Probe {
    attempts: Attempts,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

fn locked(attempts: &Attempts) -> MutexGuard<'_, Vec<(Instant, Option<Attempt>)>> {
    attempts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe {
    /// Starts to ask for the sale `ticket`, from a namespace.
    pub fn start(net: &Net, target: SocketAddr) -> Self {
        let attempts = Attempts::default();
        let ends = Arc::new(AtomicBool::new(false));
        let (all, end) = (attempts.clone(), ends.clone());
        let thread = net.spawn(move || {
            let mut next = Instant::now();
            while !end.load(Ordering::Relaxed) {
                let (all, at) = (all.clone(), Instant::now());
                let mut begun = locked(&all);
                let number = begun.len();
                begun.push((at, None));
                drop(begun);
                // One thread per attempt: an attempt that waits for its time-out delays no other.
                thread::spawn(move || {
                    let attempt = attempt(at, target);
                    locked(&all)[number].1 = Some(attempt);
                });
                next += EVERY;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { attempts, ends, thread: Some(thread) }
    }

    /// The attempts that began within this time from this moment, in order. Waits until all of them
    /// are finished.
    pub fn window(&self, from: Instant, time: Duration) -> Vec<Attempt> {
        let to = from + time;
        thread::sleep(to.saturating_duration_since(Instant::now()));
        let within = |at: &Instant| (from..to).contains(at);
        let is_over = || locked(&self.attempts).iter().all(|(at, a)| !within(at) || a.is_some());
        until("every attempt is over", 4 * ANSWER_DEADLINE, is_over);
        let attempts = locked(&self.attempts);
        let found = attempts.iter().filter(|(at, _)| within(at));
        let found: Vec<Attempt> = found.filter_map(|(_, attempt)| attempt.clone()).collect();
        // One every 10 ms, or nearly so on a busy machine.
        assert!(found.len() as u128 > time.as_millis() / 40, "{} in {time:?}", found.len());
        found
    }

    /// Whether an attempt since then got this answer.
    pub fn has_seen(&self, from: Instant, total: u64) -> bool {
        let attempts = locked(&self.attempts);
        let mut since = attempts.iter().rev().take_while(|(at, _)| *at >= from);
        since.any(|(_, attempt)| attempt.as_ref().is_some_and(|a| a.answer == Ok(total)))
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

fn attempt(at: Instant, target: SocketAddr) -> Attempt {
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

/// A new connection and one request. Returns the total of the sale `ticket`, which identifies the
/// edge.
pub fn ask(target: SocketAddr) -> io::Result<u64> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut stream = TcpStream::connect_timeout(&target, CONNECT_DEADLINE)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
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

/// Notices when the machine stands still: a thread per core wants to run every 10 ms and to get a
/// packet that it sends to itself, and records its lateness.
pub struct Watch {
    late: Arc<Mutex<Vec<(Instant, Duration)>>>,
    ends: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Starts one.
    pub fn start() -> Self {
        let late: Arc<Mutex<Vec<(Instant, Duration)>>> = Arc::default();
        let ends = Arc::new(AtomicBool::new(false));
        let watch = |core| {
            let (kept, end) = (late.clone(), ends.clone());
            thread::spawn(move || {
                assert!(core_affinity::set_for_current(core), "a thread of core {core:?}");
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
                socket.connect(socket.local_addr().expect("its address")).expect("connect");
                while !end.load(Ordering::Relaxed) {
                    let at = Instant::now();
                    thread::sleep(EVERY);
                    socket.send(&[0]).expect("send");
                    socket.recv(&mut [0]).expect("receive");
                    let by = at.elapsed().saturating_sub(EVERY);
                    if by > EVERY {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push((at, by));
                    }
                }
            })
        };
        let cores = core_affinity::get_core_ids().expect("the processors we may use");
        let threads = cores.into_iter().map(watch).collect();
        Self { late, ends, threads }
    }

    /// The longest standstill since then, as far as it shows here.
    pub fn longest(&self, since: Instant) -> Duration {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = late.iter().filter(|(at, by)| *at + *by >= since).map(|(_, by)| *by);
        seen.max().unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}
