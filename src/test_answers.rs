//! For unit tests: requests, and the bytes of their answers.

use crate::engine::http::{HttpDate, ResponseContext, parse_head};

/// The second in all answers.
pub const SECOND: u64 = 784_111_777;

/// The bytes that are written as the answer to a request.
pub fn written(write: impl FnOnce(&ResponseContext<'_>, &mut Vec<u8>), request: &str) -> String {
    let date = HttpDate::new(SECOND);
    let head = parse_head(request.as_bytes()).unwrap().unwrap();
    let mut out = b"before".to_vec();
    write(&ResponseContext::of(&head, &date), &mut out);
    String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
}

pub const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
pub const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
pub const CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
pub const OLD: &str = "GET / HTTP/1.0\r\n\r\n";
pub const OLD_KEEP_ALIVE: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
/// Its `Date` header.
pub const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
