//! A client like a buyer's browser: one connection, kept alive, one request after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Time for one answer, far beyond every bound of the server.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON, which it must be.
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.body))
    }

    /// The code of a problem, or the id of a reservation.
    pub fn bought(&self) -> Bought {
        let json = self.json();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match text(&json["id"]) {
            Some(id) => Bought::Granted(id),
            None => Bought::Refused(text(&json["code"]).expect("an id or a code")),
        }
    }

    /// The same for an answer of `/buy/ticket`.
    pub fn bought_ticket(&self) -> Bought {
        let json = self.json();
        let code = json["code"].as_i64().expect("a number for the code");
        match usize::try_from(-code - 1) {
            Ok(place) => Bought::Refused(BUY_CODES[place].to_owned()),
            Err(_) => Bought::Granted(json["data"]["reservation"].as_str().expect("id").to_owned()),
        }
    }
}

/// The outcome of a purchase.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bought {
    /// The id of the reservation.
    Granted(String),
    /// The code, as in a problem.
    Refused(String),
}

impl Bought {
    /// The id, if the purchase was granted.
    pub fn granted(self) -> Option<String> {
        match self {
            Self::Granted(id) => Some(id),
            Self::Refused(_) => None,
        }
    }

    /// Whether the purchase was refused with this code.
    pub fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(refused) if refused == code)
    }
}

/// The numbers of the codes at `/buy/ticket`, from -1 on.
const BUY_CODES: [&str; 17] = [
    "sold_out",
    "limit_reached",
    "not_open",
    "closed",
    "busy",
    "unavailable",
    "unknown",
    "allowance_exhausted",
    "invalid",
    "not_found",
    "user_required",
    "rate_limited",
    "expired",
    "already_confirmed",
    "already_cancelled",
    "already_refunded",
    "key_reused",
];

/// A request as bytes.
pub fn request_text(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let length = body.len();
        request += &format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
    }
    request + "\r\n" + body
}

/// A request to reserve. An empty key means no key.
pub fn reserve_text(sale: &str, user: &str, quantity: u32, key: &str) -> String {
    let key = [("Idempotency-Key", key)];
    let headers = if key[0].1.is_empty() { &[][..] } else { &key };
    let body = format!(r#"{{"user":"{user}","quantity":{quantity}}}"#);
    request_text("POST", &format!("/v1/sales/{sale}/reservations"), headers, &body)
}

/// One buyer's connection. After an answer that is the last on its connection, the next request
/// opens a new one.
pub struct Buyer {
    stream: BufReader<TcpStream>,
    is_closed: bool,
}

impl Buyer {
    /// Connects.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER_DEADLINE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        Ok(Self { stream: BufReader::with_capacity(1024, stream), is_closed: false })
    }

    /// Sends a request and reads its answer. An error: the connection is gone.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        self.ask(&request_text(method, path, headers, body))
    }

    /// Sends a whole request and reads its answer.
    pub fn ask(&mut self, request: &str) -> io::Result<Answer> {
        self.send(request)?;
        self.answer()
    }

    /// Sends a request or a part of one, and reads nothing.
    pub fn send(&mut self, request: &str) -> io::Result<()> {
        if self.is_closed {
            *self = Self::connect(self.stream.get_ref().peer_addr()?)?;
        }
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// The socket, for anything else that a client can do.
    #[allow(dead_code, reason = "only some cut their connections")]
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Reads the next answer.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut line = String::new();
        let mut status = None;
        let mut length = None;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            match (status, text.split_once(':')) {
                (None, _) => {
                    let number = text.split(' ').nth(1).and_then(|number| number.parse().ok());
                    status = Some(number.ok_or_else(|| broken(text))?);
                }
                (_, Some((name, value))) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().ok();
                }
                (_, Some((name, value))) if name.eq_ignore_ascii_case("connection") => {
                    self.is_closed |= value.trim().eq_ignore_ascii_case("close");
                }
                _ => {}
            }
        }
        let mut body = vec![0; length.ok_or_else(|| broken("no Content-Length"))?];
        self.stream.read_exact(&mut body)?;
        let body = String::from_utf8(body).map_err(|_| broken("no UTF-8"))?;
        Ok(Answer { status: status.ok_or_else(|| broken("no status"))?, body })
    }

    /// `GET /buy/ticket`, anonymous.
    pub fn buy(&mut self) -> io::Result<Bought> {
        self.buy_as(&[])
    }

    /// `GET /buy/ticket` with these headers.
    pub fn buy_as(&mut self, headers: &[(&str, &str)]) -> io::Result<Bought> {
        Ok(self.request("GET", "/buy/ticket", headers, "")?.bought_ticket())
    }

    /// `POST /v1/sales/{sale}/reservations`. An empty key means no key.
    pub fn reserve(
        &mut self,
        sale: &str,
        user: &str,
        quantity: u32,
        key: &str,
    ) -> io::Result<Answer> {
        self.ask(&reserve_text(sale, user, quantity, key))
    }

    /// `GET /v1/sales/{sale}`.
    pub fn sale(&mut self, sale: &str) -> io::Result<Value> {
        let answer = self.request("GET", &format!("/v1/sales/{sale}"), &[], "")?;
        Ok(answer.json())
    }

    /// `POST /v1/reservations/{id}/confirm`: for a server with `--public-confirm`.
    pub fn confirm(&mut self, id: &str) -> io::Result<Answer> {
        self.request("POST", &format!("/v1/reservations/{id}/confirm"), &[], "")
    }

    /// `POST /v1/reservations/{id}/cancel`.
    pub fn cancel(&mut self, id: &str) -> io::Result<Answer> {
        self.request("POST", &format!("/v1/reservations/{id}/cancel"), &[], "")
    }

    /// `GET /v1/reservations/{id}`.
    pub fn reservation(&mut self, id: &str) -> io::Result<Answer> {
        self.request("GET", &format!("/v1/reservations/{id}"), &[], "")
    }

    /// Whether a reservation exists.
    pub fn finds(&mut self, id: &str) -> io::Result<bool> {
        let answer = self.reservation(id)?;
        match answer.status {
            200 => Ok(answer.json()["id"] == id),
            404 => Ok(false),
            _ => panic!("{id}: {} {}", answer.status, answer.body),
        }
    }
}
