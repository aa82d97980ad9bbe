//! Finds the end of a request with its body, and the wish to close its connection.

use memchr::memmem::Finder;

use crate::answer::Content;

/// The requests found in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Bytes of whole requests.
    pub used: usize,
    /// Whole requests, up to the first one that asks to close the connection.
    pub requests: usize,
    /// Whether the last one asks to close.
    pub closing: bool,
}

/// Finds requests.
pub struct Scanner {
    blank_line: Finder<'static>,
    old_version: Finder<'static>,
    connection: Finder<'static>,
    /// Finds bodies, if there may be any.
    bodies: Option<Bodies>,
}

struct Bodies {
    post: Finder<'static>,
    length: Finder<'static>,
    last_chunk: Finder<'static>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            blank_line: Finder::new(b"\r\n\r\n"),
            old_version: Finder::new(b"HTTP/1.0"),
            connection: Finder::new(b"onnection:"),
            bodies: None,
        }
    }
}

impl Bodies {
    /// Bytes of the body after this head, which a POST has: by length or in chunks. `None`:
    /// incomplete.
    fn body(&self, head: &[u8], rest: &[u8]) -> Option<usize> {
        if !head.starts_with(b"POST") {
            return Some(0);
        }
        match self.length.find(head) {
            Some(at) => {
                let digits = head[at + self.length.needle().len()..].iter();
                let digits = digits.take_while(|byte| byte.is_ascii_digit());
                let len = digits.fold(0, |len, digit| len * 10 + usize::from(digit - b'0'));
                (len <= rest.len()).then_some(len)
            }
            // No body here is empty, so a line end precedes the last chunk.
            None => self.last_chunk.find(rest).map(|at| at + self.last_chunk.needle().len()),
        }
    }
}

impl Scanner {
    /// A scanner for requests of this content.
    pub fn of(content: Content) -> Self {
        if content == Content::Sum { Self::with_bodies() } else { Self::default() }
    }

    /// A scanner that also finds the bodies of POST, in the form of the bench's load generator.
    fn with_bodies() -> Self {
        let bodies = Bodies {
            post: Finder::new(b"POST "),
            length: Finder::new(b"Content-Length: "),
            last_chunk: Finder::new(b"\r\n0\r\n\r\n"),
        };
        Self { bodies: Some(bodies), ..Self::default() }
    }

    /// Finds requests. Searches all bytes once for a wish to close, and inspects the heads only if
    /// there is one.
    pub fn scan(&self, input: &[u8]) -> Scan {
        let may_close =
            self.old_version.find(input).is_some() || self.connection.find(input).is_some();
        let bodies = self.bodies.as_ref().filter(|bodies| bodies.post.find(input).is_some());
        let mut scan = Scan { used: 0, requests: 0, closing: false };
        while let Some(len) = self.blank_line.find(&input[scan.used..]) {
            let head = &input[scan.used..scan.used + len];
            let rest = &input[scan.used + len + 4..];
            let body = bodies.map_or(Some(0), |bodies| bodies.body(head, rest));
            let Some(body) = body else { break };
            scan.used += len + 4 + body;
            scan.requests += 1;
            if may_close && wants_close(head) {
                scan.closing = true;
                break;
            }
        }
        scan
    }
}

/// HTTP/1.0, or `Connection: close` (RFC 9112, section 9.3).
fn wants_close(head: &[u8]) -> bool {
    let mut lines = head.split(|&b| b == b'\n').map(|line| line.trim_ascii_end());
    lines.next().is_some_and(|line| line.ends_with(b"HTTP/1.0"))
        || lines.any(|line| line.eq_ignore_ascii_case(b"connection: close"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_whole_request_counts_until_one_closes() {
        let scan = |input: &[u8]| {
            let Scan { used, requests, closing } = Scanner::default().scan(input);
            (used, requests, closing)
        };
        let two = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
        assert_eq!(scan(two), (two.len() - 3, 2, false));
        let close = b"GET / HTTP/1.1\r\nconnection: CLOSE\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(scan(close), (37, 1, true));
        let kept = b"GET / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(scan(kept), (kept.len(), 1, false));
        assert_eq!(scan(b"GET / HTTP/1.0\r\n\r\n"), (18, 1, true));
        assert_eq!(scan(b"GET / HTTP/1.0\r\n\r"), (0, 0, false));
    }

    #[test]
    fn a_request_ends_with_its_body() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\n";
        let requests = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            format!("{post}Content-Length: 2\r\n\r\n20"),
            format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n"),
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ];
        let mix = requests.concat();
        let end = |count: usize| requests[..count].iter().map(String::len).sum::<usize>();
        let scanner = Scanner::of(Content::Sum);
        for cut in 0..=mix.len() {
            let requests = (1..=requests.len()).filter(|count| end(*count) <= cut).count();
            let whole = Scan { used: end(requests), requests, closing: false };
            assert_eq!(scanner.scan(&mix.as_bytes()[..cut]), whole, "{cut}");
        }
    }
}
