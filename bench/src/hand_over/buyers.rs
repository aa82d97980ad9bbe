//! Buyers at a steady rate, independent of the server: half of them on kept connections, half on a new
//! connection per purchase. Keeps the wait and the error of each purchase.
//!
//! A buyer is a thread with a socket. It distinguishes refused from reset connections. During a pause,
//! purchases wait on separate connections, as people's do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::answer::{self, Answer};
use crate::client::{Response, parse};
use crate::error::{Because, Result, fail};

/// Number of buyers. A purchase that is due while all of them wait is late; its wait counts from the
/// due time.
pub const BUYERS: u32 = 128;
/// Deadline of a purchase: the time for which a new process lets its purchases wait.
const ANSWER_DEADLINE: Duration = Duration::from_millis(stampede::limits::HAND_OVER_PATIENCE_MS);
/// Stack of a buyer's thread.
const STACK_BYTES: usize = 128 * 1024;
/// Limit of a server's answer, many times its usual size.
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
/// Most descriptions of errors to keep.
const SENTENCES_MAX: usize = 10;

/// How a buyer connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Keeps the connection until the server announces its close.
    Keeps,
    /// Asks the server to close each connection. The server closes first, so no client port stays in
    /// TIME-WAIT.
    Renews,
}

/// One purchase.
#[derive(Debug, Clone, Copy)]
pub struct Purchase {
    /// Due time of the purchase.
    pub due: Instant,
    /// Time from the due time to the answer or the error.
    pub waited: Duration,
}

/// The results of purchases.
#[derive(Debug, Default)]
pub struct Tally {
    /// All purchases, buyer by buyer.
    pub purchases: Vec<Purchase>,
    /// Purchases with a ticket.
    pub granted: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Connections that were reset, or closed instead of an answer.
    pub reset: u64,
    /// Purchases with another answer, or without one in time.
    pub other: u64,
    /// Descriptions of the first errors.
    pub wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, mut other: Self) {
        self.purchases.append(&mut other.purchases);
        self.granted += other.granted;
        self.refused += other.refused;
        self.reset += other.reset;
        self.other += other.other;
        self.wrong.append(&mut other.wrong);
        self.wrong.truncate(SENTENCES_MAX);
    }

    fn note_error(&mut self, doing: &str, error: &io::Error) {
        let count = match error.kind() {
            ErrorKind::ConnectionRefused => &mut self.refused,
            ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof => &mut self.reset,
            _ => &mut self.other,
        };
        *count += 1;
        self.note(format!("{doing}: {error}"));
    }

    fn note_other(&mut self, what: String) {
        self.other += 1;
        self.note(what);
    }

    fn note(&mut self, what: String) {
        if self.wrong.len() < SENTENCES_MAX {
            self.wrong.push(what);
        }
    }
}

/// Runs buyers at this rate while `meanwhile` runs. Returns their results and its result.
pub fn while_they_buy<T>(
    address: SocketAddr,
    rate: u32,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<(Tally, T)> {
    let over = AtomicBool::new(false);
    let period = Duration::from_secs(1) * BUYERS / rate;
    let first = Instant::now();
    thread::scope(|scope| {
        let mut buyers = Vec::new();
        let mut start = || -> Result<()> {
            for number in 0..BUYERS {
                let manner = if number % 2 == 0 { Manner::Keeps } else { Manner::Renews };
                let buyer = Buyer { address, manner, kept: None, tally: Tally::default() };
                let due = first + period * number / BUYERS;
                let over = &over;
                let run = move || buyer.run(due, period, over);
                let thread = thread::Builder::new().stack_size(STACK_BYTES);
                let started = thread.spawn_scoped(scope, run);
                buyers.push(started.because(|| "starting a buyer".into())?);
            }
            Ok(())
        };
        let given = start().and_then(|()| meanwhile());
        over.store(true, Ordering::Relaxed);
        let tally = collect(buyers)?;
        Ok((tally, given?))
    })
}

fn collect(buyers: Vec<ScopedJoinHandle<'_, Tally>>) -> Result<Tally> {
    let mut all = Tally::default();
    for buyer in buyers {
        match buyer.join() {
            Ok(tally) => all.add(tally),
            Err(_) => return fail("a buyer's thread panicked"),
        }
    }
    Ok(all)
}

struct Buyer {
    address: SocketAddr,
    manner: Manner,
    kept: Option<Connection>,
    tally: Tally,
}

impl Buyer {
    fn run(mut self, mut due: Instant, period: Duration, over: &AtomicBool) -> Tally {
        loop {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if over.load(Ordering::Relaxed) {
                return self.tally;
            }
            self.buy();
            self.tally.purchases.push(Purchase { due, waited: due.elapsed() });
            due += period;
        }
    }

    fn buy(&mut self) {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => match Connection::open(self.address) {
                Ok(connection) => connection,
                Err(error) => return self.tally.note_error("connecting", &error),
            },
        };
        let response = match connection.ask(self.manner) {
            Ok(response) => response,
            Err(error) => return self.tally.note_error("buying", &error),
        };
        match answer::read(&response) {
            Some(Answer::Granted) => self.tally.granted += 1,
            _ => {
                let Response { status, body, .. } = &response;
                return self
                    .tally
                    .note_other(format!("a purchase got an unexpected answer, {status}: {body}"));
            }
        }
        match (response.closes, self.manner) {
            (true, _) => {
                if let Err(error) = connection.await_end() {
                    self.tally.note_error("waiting for the end of a connection", &error);
                }
            }
            (false, Manner::Keeps) => self.kept = Some(connection),
            (false, Manner::Renews) => {
                self.tally.note_other("the server kept a connection that it had to close".into());
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, input: Vec::new() })
    }

    fn ask(&mut self, manner: Manner) -> io::Result<Response> {
        let close = if manner == Manner::Renews { "Connection: close\r\n" } else { "" };
        let request = format!("GET {} HTTP/1.1\r\nHost: bench\r\n{close}\r\n", answer::TARGET);
        self.stream.write_all(request.as_bytes())?;
        loop {
            let parsed = parse(&self.input).map_err(io::Error::other)?;
            if let Some((response, len)) = parsed {
                self.input.drain(..len);
                return Ok(response);
            }
            if self.input.len() > RESPONSE_BYTES_MAX {
                return Err(io::Error::other("an answer without end"));
            }
            if self.read()? == 0 {
                let told = "the server closed the connection instead of answering";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, told));
            }
        }
    }

    /// Checks that nothing follows the last answer and that the connection closes in order.
    fn await_end(&mut self) -> io::Result<()> {
        if self.input.is_empty() && self.read()? == 0 {
            return Ok(());
        }
        Err(io::Error::other("bytes followed the last answer"))
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 1024];
        loop {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(io::Error::new(ErrorKind::TimedOut, "no answer in time"));
                }
                Err(error) => return Err(error),
                Ok(read) => {
                    self.input.extend_from_slice(&chunk[..read]);
                    return Ok(read);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answer(body: &str, close: &str) -> String {
        let len = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{close}\
             Content-Length: {len}\r\n\r\n{body}"
        )
    }

    /// The result of a buyer whose server reads a request, sends this answer, and closes.
    fn tally_of(manner: Manner, answer: &str) -> Tally {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::scope(|scope| {
            scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a request");
                    request.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).expect("answered");
            });
            let mut buyer = Buyer { address, manner, kept: None, tally: Tally::default() };
            buyer.buy();
            buyer.tally
        })
    }

    #[test]
    fn failed_purchases_are_classified() {
        let counts = |tally: &Tally| (tally.granted, tally.refused, tally.reset, tally.other);
        let ticket = answer::granted("0123456789abcdefghijklmnop");
        let last = answer(&ticket, "Connection: close\r\n");
        assert_eq!(counts(&tally_of(Manner::Renews, &last)), (1, 0, 0, 0));
        assert_eq!(counts(&tally_of(Manner::Keeps, &last)), (1, 0, 0, 0));
        // Bytes after the last answer, or a connection that stays open against the request.
        assert_eq!(counts(&tally_of(Manner::Keeps, &last.repeat(2))), (1, 0, 0, 1));
        assert_eq!(counts(&tally_of(Manner::Renews, &answer(&ticket, ""))), (1, 0, 0, 1));
        let sold_out = tally_of(Manner::Keeps, &answer(answer::SOLD_OUT, ""));
        assert_eq!(counts(&sold_out), (0, 0, 0, 1));
        assert!(sold_out.wrong[0].contains(answer::SOLD_OUT), "{:?}", sold_out.wrong);
        // A partial or missing answer, then the end.
        assert_eq!(counts(&tally_of(Manner::Keeps, "")), (0, 0, 1, 0));
        assert_eq!(counts(&tally_of(Manner::Keeps, &last[..20])), (0, 0, 1, 0));
    }

    #[test]
    fn refused_connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        drop(listener);
        let first = Instant::now();
        let (tally, ()) = while_they_buy(address, 10_000, || {
            thread::sleep(Duration::from_millis(50));
            Ok(())
        })
        .expect("buyers");
        assert!(tally.refused > 0 && tally.refused == tally.purchases.len() as u64, "{tally:?}");
        assert_eq!(tally.granted + tally.reset + tally.other, 0);
        assert!(tally.purchases.iter().all(|one| one.due >= first));
        assert_eq!(tally.wrong.len(), SENTENCES_MAX);
        assert!(while_they_buy(address, 10_000, || fail::<()>("given up")).is_err());
    }
}
