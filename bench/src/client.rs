//! A blocking HTTP/1.1 client for one request at a time. It checks a server's answers before the load,
//! and holds thousands of idle connections.
//!
//! Reads bodies with `Content-Length` only, because all measured servers send it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::error::{Because, Result, fail};
use crate::secure;

const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Metrics are the longest answer.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;

/// A server's answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of `Content-Type`, or nothing.
    pub content_type: String,
    /// The body.
    pub body: String,
    /// Whether the answer has `Connection: close`.
    pub closes: bool,
}

/// The stream of a connection.
trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A keep-alive connection.
pub struct Client {
    stream: Box<dyn Stream>,
    address: SocketAddr,
    /// Received and unread bytes.
    input: Vec<u8>,
}

impl Client {
    /// Connects to a server.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).because(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Box::new(stream), address, input: Vec::new() })
    }

    /// Connects to a server over TLS and accepts any certificate.
    pub fn connect_secure(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).because(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_nodelay(true)?;
        let tls = ClientConnection::new(secure::client(false)?, address.ip().into());
        let tls = tls.because(|| "TLS".into())?;
        let stream = Box::new(StreamOwned::new(tls, stream));
        Ok(Self { stream, address, input: Vec::new() })
    }

    /// Sends this number of equal GET requests in one write, and reads all answers.
    pub fn get_together(&mut self, path: &str, count: usize) -> Result<Vec<Response>> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        let requests = request.repeat(count);
        self.stream.write_all(requests.as_bytes()).because(|| "sending requests".into())?;
        (0..count).map(|_| self.receive()).collect()
    }

    /// Sends a GET and reads the answer.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        self.get_with(path, "")
    }

    /// Sends the request with more header lines, each with its line end.
    pub fn get_with(&mut self, path: &str, headers: &str) -> Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address);
        self.stream.write_all(request.as_bytes()).because(|| "sending a request".into())?;
        self.receive()
    }

    /// Posts JSON or an empty body, and reads the answer.
    pub fn post(&mut self, path: &str, json: &str) -> Result<Response> {
        self.post_with(path, "", json)
    }

    /// Sends the request with more header lines, each with its line end.
    pub fn post_with(&mut self, path: &str, headers: &str, json: &str) -> Result<Response> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{json}",
            self.address,
            json.len()
        );
        self.stream.write_all(request.as_bytes()).because(|| "sending a request".into())?;
        self.receive()
    }

    fn receive(&mut self) -> Result<Response> {
        let mut chunk = [0; 1024];
        loop {
            if let Some((response, len)) = parse(&self.input)? {
                self.input.drain(..len);
                return Ok(response);
            }
            if self.input.len() > RESPONSE_BYTES_MAX {
                return fail("an answer without end");
            }
            let read = self.stream.read(&mut chunk).because(|| "reading an answer".into())?;
            if read == 0 {
                return fail("the server closed the connection instead of answering");
            }
            self.input.extend_from_slice(&chunk[..read]);
        }
    }
}

/// Parses the first response and its length. `None`: more bytes are needed.
pub fn parse(input: &[u8]) -> Result<Option<(Response, usize)>> {
    let Some(head_len) = input.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&input[..head_len]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let Some(status) = status else { return fail("an answer without a status line") };
    let (mut content_type, mut body_len, mut closes) = (String::new(), None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-type") {
            content_type = value.trim().to_owned();
        } else if name.eq_ignore_ascii_case("content-length") {
            body_len = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let Some(body_len) = body_len else { return fail("an answer without a Content-Length") };
    let Some(body) = input[head_len + 4..].get(..body_len) else { return Ok(None) };
    let body = String::from_utf8_lossy(body).into_owned();
    Ok(Some((Response { status, content_type, body, closes }, head_len + 4 + body_len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        let text = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\nContent-Length: 2\r\n\r\nhi";
        for cut in 0..text.len() {
            assert!(parse(&text[..cut]).expect("a legal prefix").is_none());
        }
        // The next response follows.
        let (response, len) = parse(&text.repeat(2)).expect("legal").expect("complete");
        assert_eq!(len, text.len());
        assert_eq!((response.status, &*response.content_type, &*response.body), (200, "a/b", "hi"));
        assert!(!response.closes);
        let last = b"HTTP/1.1 200 OK\r\nconnection: Close\r\nContent-Length: 0\r\n\r\n";
        assert!(parse(last).expect("legal").expect("complete").0.closes);
    }
}
