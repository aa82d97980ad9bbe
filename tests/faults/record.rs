//! What a client asked, what it was told, and when.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stampede::sale::Status;

use crate::buyer::{Answer, Buyer, request_text, reserve_text};
use crate::history::NEVER;

/// A request about one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Units for a user, under a key.
    Buy {
        /// The user.
        user: String,
        /// The idempotency key.
        key: String,
        /// Units.
        quantity: u32,
    },
    /// Pay a reservation.
    Confirm(String),
    /// Give it back.
    Cancel(String),
    /// Give the money back, at the control port.
    Refund(String),
    /// Show it.
    Show(String),
    /// The sale's counts, at the public port: up to 100 ms old.
    View,
    /// The sale's counts, at the control port: those of the ledger.
    Look,
    /// More units, at the control port.
    AddStock(u64),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A reservation.
    Reservation {
        /// Its id.
        id: String,
        /// Its status.
        status: Status,
        /// Whether this request made it.
        is_new: bool,
        /// The end of its hold, in ms since 1970.
        expires_at_ms: u64,
    },
    /// The counts of a sale.
    Counts {
        /// All units.
        total: u64,
        /// Those for sale.
        free: u64,
        /// Those held.
        held: u64,
        /// Those paid.
        confirmed: u64,
    },
    /// Another code than the next three.
    Refused(String),
    /// `busy` or `unavailable`, or there was no connection: nothing was done.
    Nothing,
    /// `unknown`, or the connection ended: it may have been done.
    Unknown,
    /// An answer that the API does not have.
    Strange(String),
}

impl Told {
    /// Whether the same request must be sent again to find out.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Nothing | Self::Unknown)
    }

    /// The reservation's id and status.
    pub fn reservation(&self) -> Option<(&str, Status)> {
        match self {
            Self::Reservation { id, status, .. } => Some((id, *status)),
            _ => None,
        }
    }
}

/// One request of a client. Times are nanoseconds since the scenario began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The client.
    pub client: usize,
    /// When its first byte was sent.
    pub began: u64,
    /// When its answer had been read. [`NEVER`]: it may take effect at any time from then on.
    pub ended: u64,
    /// The request.
    pub call: Call,
    /// The answer.
    pub told: Told,
}

/// Where the clients are and when: the doors of the servers and a clock.
pub struct Field {
    since: Instant,
    since_ms: u64,
    /// The public ports.
    pub publics: Vec<SocketAddr>,
    /// The control ports, in the same order.
    pub controls: Vec<SocketAddr>,
    /// Clients end when this is set, after their next answer.
    pub stop: AtomicBool,
}

impl Field {
    /// A field whose time begins now.
    pub fn new(publics: Vec<SocketAddr>, controls: Vec<SocketAddr>) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
        Self {
            since: Instant::now(),
            since_ms: wall.as_millis() as u64,
            publics,
            controls,
            stop: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    /// A time of the ledger as nanoseconds since the beginning: 0 if it was before. The ledger and
    /// this program have one clock, since they are on one machine.
    pub fn at(&self, ms: u64) -> u64 {
        ms.saturating_sub(self.since_ms) * 1_000_000
    }

    /// Whether clients are to end.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The connections of a client, one to each server.
pub struct Lines<'a> {
    field: &'a Field,
    client: usize,
    sale: String,
    open: Vec<Option<Buyer>>,
    /// Everything that this client asked, and was told.
    pub records: Vec<Record>,
}

impl<'a> Lines<'a> {
    /// A client of this number, for this sale.
    pub fn new(field: &'a Field, client: usize, sale: &str) -> Self {
        let open = field.publics.iter().map(|_| None).collect();
        Self { field, client, sale: sale.to_owned(), open, records: Vec::new() }
    }

    /// Asks a server, and keeps the record.
    pub fn ask(&mut self, at: usize, call: Call) -> &Told {
        let at = at % self.open.len();
        let began = self.field.now();
        let told = match call {
            Call::Refund(_) | Call::Look | Call::AddStock(_) => {
                self.exchange(Buyer::connect(self.field.controls[at]).ok(), &call).0
            }
            _ => {
                let line = self.open[at].take();
                let line = line.or_else(|| Buyer::connect(self.field.publics[at]).ok());
                let (told, line) = self.exchange(line, &call);
                self.open[at] = line;
                told
            }
        };
        let ended = if told == Told::Unknown { NEVER } else { self.field.now() };
        self.records.push(Record { client: self.client, began, ended, call, told });
        &self.records.last().expect("the one above").told
    }

    /// Sends a request and reads the answer. The connection comes back if it can be used again.
    fn exchange(&self, line: Option<Buyer>, call: &Call) -> (Told, Option<Buyer>) {
        let Some(mut line) = line else { return (Told::Nothing, None) };
        match line.ask(&text(&self.sale, call)) {
            Ok(answer) => (told(call, &answer), Some(line)),
            Err(_) => (Told::Unknown, None),
        }
    }

    /// Asks this server, and then the next ones, until there is an answer that says what was done,
    /// or the time is over, or (with `until_stop`) the field's is.
    pub fn insist(&mut self, at: usize, call: &Call, until_stop: bool, time: Duration) -> bool {
        let since = Instant::now();
        for turn in 0.. {
            if !self.ask(at + turn, call.clone()).is_open() {
                return true;
            }
            if since.elapsed() > time || until_stop && self.field.is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        unreachable!("it ends by its answer or its time")
    }

    /// The last answer.
    pub fn last(&self) -> &Told {
        &self.records.last().expect("something was asked").told
    }
}

fn text(sale: &str, call: &Call) -> String {
    let of_reservation = |id: &str, verb: &str| {
        request_text("POST", &format!("/v1/reservations/{id}/{verb}"), &[], "")
    };
    match call {
        Call::Buy { user, key, quantity } => reserve_text(sale, user, *quantity, key),
        Call::Confirm(id) => of_reservation(id, "confirm"),
        Call::Cancel(id) => of_reservation(id, "cancel"),
        Call::Refund(id) => of_reservation(id, "refund"),
        Call::Show(id) => request_text("GET", &format!("/v1/reservations/{id}"), &[], ""),
        Call::View | Call::Look => request_text("GET", &format!("/v1/sales/{sale}"), &[], ""),
        Call::AddStock(units) => {
            let path = format!("/v1/sales/{sale}/add-stock");
            request_text("POST", &path, &[], &format!(r#"{{"units":{units}}}"#))
        }
    }
}

/// The meaning of an answer.
fn told(call: &Call, answer: &Answer) -> Told {
    let strange = || Told::Strange(format!("{} {}", answer.status, answer.body));
    let Ok(json) = serde_json::from_str::<Value>(&answer.body) else { return strange() };
    if let Some(code) = json["code"].as_str() {
        return match code {
            "busy" | "unavailable" => Told::Nothing,
            "unknown" => Told::Unknown,
            _ => Told::Refused(code.to_owned()),
        };
    }
    let read = match call {
        Call::View | Call::Look | Call::AddStock(_) => counts(&json),
        _ => reservation(&json, answer.status == 201),
    };
    read.filter(|_| matches!(answer.status, 200 | 201)).unwrap_or_else(strange)
}

fn counts(json: &Value) -> Option<Told> {
    let number = |name: &str| json[name].as_u64();
    Some(Told::Counts {
        total: number("total")?,
        free: number("free")?,
        held: number("held")?,
        confirmed: number("confirmed")?,
    })
}

fn reservation(json: &Value, is_new: bool) -> Option<Told> {
    let expires_at: jiff::Timestamp = json["expires_at"].as_str()?.parse().ok()?;
    Some(Told::Reservation {
        id: json["id"].as_str()?.to_owned(),
        status: Status::from_name(json["status"].as_str()?)?,
        is_new,
        expires_at_ms: u64::try_from(expires_at.as_millisecond()).ok()?,
    })
}
