//! The end of a request, and whether it is the last one of its connection.

use memchr::memmem::Finder;

/// What was found in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// Bytes of whole requests.
    pub used: usize,
    /// Whole requests, up to the first that asks for the connection to be closed.
    pub requests: usize,
    /// Whether the last of them did.
    pub closing: bool,
}

/// Finds requests.
pub struct Scanner {
    blank_line: Finder<'static>,
    old_version: Finder<'static>,
    connection: Finder<'static>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            blank_line: Finder::new(b"\r\n\r\n"),
            old_version: Finder::new(b"HTTP/1.0"),
            connection: Finder::new(b"onnection:"),
        }
    }
}

impl Scanner {
    /// Looks for requests. The heads are looked into only if anything in these bytes may be a wish
    /// to close: that is asked once for all of them.
    pub fn scan(&self, input: &[u8]) -> Scan {
        let may_close =
            self.old_version.find(input).is_some() || self.connection.find(input).is_some();
        let mut scan = Scan { used: 0, requests: 0, closing: false };
        while let Some(len) = self.blank_line.find(&input[scan.used..]) {
            let head = &input[scan.used..scan.used + len];
            scan.used += len + 4;
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
}
