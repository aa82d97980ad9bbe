//! An HTTP client with one connection, kept alive: one request after the other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::buyer::{Answer, Status, Step};
use super::plan::SALE;
use crate::handler::PAY_PATH;
use crate::limits::{DEMO_ANSWER_BYTES_MAX, DEMO_ANSWER_DEADLINE_MS, HEADERS_MAX};
use crate::operator;

/// Time until a request is repeated, if the answer has no `Retry-After`.
const AGAIN_MS: u64 = 1_000;

/// See the module's header.
pub struct HttpClient {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

/// A response.
struct Reply {
    status: u16,
    retry_after_s: Option<u64>,
    closes: bool,
    /// It has `Idempotency-Replayed: true`.
    replayed: bool,
    body: Vec<u8>,
}

impl HttpClient {
    /// A client of the server at this address. It connects at the first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends the request of a step.
    pub fn take(&mut self, step: &Step) -> Answer {
        match self.exchange(&self.request(step)) {
            Ok(reply) => reply.answer(),
            Err(_) => Answer::Again { after_ms: AGAIN_MS },
        }
    }

    /// A `GET`, and the JSON of its answer.
    ///
    /// # Errors
    /// The connection fails, or the response is not 200 with JSON.
    pub fn get(&mut self, path: &str) -> io::Result<Value> {
        let address = self.address;
        let reply = self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"))?;
        match reply.status {
            200 => Ok(serde_json::from_slice(&reply.body)?),
            status => Err(io::Error::other(format!("{path}: {status}"))),
        }
    }

    fn request(&self, step: &Step) -> String {
        let (address, user) = (self.address, format!("crowd-{}", step.buyer()));
        let (method, path, headers, body) = match step {
            Step::Ask { attempt, .. } => (
                "POST",
                format!("/v1/sales/{SALE}/reservations"),
                format!("Idempotency-Key: {user}-{attempt}\r\nContent-Type: application/json\r\n"),
                format!(r#"{{"user":"{user}"}}"#),
            ),
            Step::Pay { id, .. } => (
                "POST",
                [PAY_PATH.0, id, PAY_PATH.1].concat(),
                format!("X-User-Id: {user}\r\n"),
                String::new(),
            ),
            Step::GiveBack { id, .. } => {
                ("POST", format!("/v1/reservations/{id}/cancel"), String::new(), String::new())
            }
            Step::Look { id, .. } => {
                ("GET", format!("/v1/reservations/{id}"), String::new(), String::new())
            }
        };
        let length = body.len();
        let length = match method {
            "POST" => format!("Content-Length: {length}\r\n"),
            _ => String::new(),
        };
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}{length}\r\n{body}")
    }

    /// Sends a request and reads the response. After an error, the next request opens a new connection.
    fn exchange(&mut self, request: &str) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        stream.get_mut().write_all(request.as_bytes())?;
        let reply = read_reply(&mut stream)?;
        if !reply.closes {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let deadline = Duration::from_millis(DEMO_ANSWER_DEADLINE_MS);
        let stream = TcpStream::connect_timeout(&self.address, deadline)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(deadline))?;
        stream.set_write_timeout(Some(deadline))?;
        Ok(BufReader::with_capacity(2048, stream))
    }
}

impl Reply {
    fn answer(&self) -> Answer {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let (id, code) = (body["id"].as_str(), body["code"].as_str().unwrap_or_default());
        match (self.status, code, body["status"].as_str(), id) {
            (201, _, _, Some(id)) => Answer::Held { id: id.to_owned() },
            // A purchase that was repeated with its key, or a reservation that was looked up.
            (200, _, Some("held"), Some(id)) if self.replayed => Answer::Held { id: id.to_owned() },
            (200, _, Some("held"), _) => Answer::Is(Status::Held),
            (200, _, Some("confirmed"), _) => Answer::Is(Status::Confirmed),
            (200, _, Some("cancelled"), _) | (_, "already_cancelled", ..) => {
                Answer::Is(Status::GivenBack)
            }
            (200, _, Some("expired"), _) | (_, "expired", ..) => Answer::Is(Status::Expired),
            (_, "sold_out", ..) => Answer::SoldOut,
            (_, "not_open", ..) => Answer::NotOpen,
            (429 | 503, ..) => {
                let after_ms = self.retry_after_s.map_or(AGAIN_MS, |seconds| seconds * 1_000);
                Answer::Again { after_ms }
            }
            (status, code, ..) => Answer::Unexpected(format!("{status} {code}")),
        }
    }
}

fn read_reply(input: &mut impl BufRead) -> io::Result<Reply> {
    let mut reply =
        Reply { status: 0, retry_after_s: None, closes: false, replayed: false, body: vec![] };
    // All headers, and the empty line after them.
    let bounds = (HEADERS_MAX + 1, DEMO_ANSWER_BYTES_MAX);
    let mut input = input.take(DEMO_ANSWER_BYTES_MAX as u64);
    let (status, body) = operator::read_reply(&mut input, bounds, |name, value| {
        match name.to_ascii_lowercase().as_str() {
            "retry-after" => reply.retry_after_s = value.parse().ok(),
            "connection" => reply.closes |= value.eq_ignore_ascii_case("close"),
            "idempotency-replayed" => reply.replayed = value == "true",
            _ => {}
        }
    })?;
    Ok(Reply { status, body, ..reply })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        read_reply(&mut text.as_bytes()).unwrap().answer()
    }

    fn reply(status: u16, headers: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
    }

    #[test]
    fn answers_are_mapped_to_outcomes() {
        let held = r#"{"id":"ticket~1","status":"held"}"#;
        let is = |id: &str| Answer::Held { id: id.to_owned() };
        assert_eq!(answer(&reply(201, "", held)), is("ticket~1"));
        assert_eq!(answer(&reply(200, "Idempotency-Replayed: true\r\n", held)), is("ticket~1"));
        assert_eq!(answer(&reply(200, "", held)), Answer::Is(Status::Held));
        for (status, body, want) in [
            (200, r#"{"id":"a~1","status":"confirmed"}"#, Answer::Is(Status::Confirmed)),
            (200, r#"{"id":"a~1","status":"cancelled"}"#, Answer::Is(Status::GivenBack)),
            (409, r#"{"status":409,"code":"already_cancelled"}"#, Answer::Is(Status::GivenBack)),
            (409, r#"{"status":409,"code":"expired"}"#, Answer::Is(Status::Expired)),
            (409, r#"{"status":409,"code":"sold_out"}"#, Answer::SoldOut),
            (409, r#"{"status":409,"code":"not_open"}"#, Answer::NotOpen),
            (503, r#"{"status":503,"code":"unknown"}"#, Answer::Again { after_ms: AGAIN_MS }),
            (410, r#"{"status":410,"code":"closed"}"#, Answer::Unexpected("410 closed".to_owned())),
        ] {
            assert_eq!(answer(&reply(status, "", body)), want, "{body}");
        }
        let busy = reply(503, "Retry-After: 2\r\n", r#"{"code":"busy"}"#);
        assert_eq!(answer(&busy), Answer::Again { after_ms: 2_000 });
    }

    #[test]
    fn malformed_or_oversized_answers_are_refused() {
        let long = "x".repeat(DEMO_ANSWER_BYTES_MAX + 1);
        let headers = "A: b\r\n".repeat(HEADERS_MAX + 1);
        for text in [
            "",
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234",
            &reply(200, "", &long),
            &reply(200, &headers, ""),
        ] {
            assert!(read_reply(&mut text.as_bytes()).is_err());
        }
    }
}
