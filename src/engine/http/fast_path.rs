//! Parses a plain head in one pass. Nearly all heads are plain.
//!
//! Plain is: GET or POST, a path, CRLF after each line, at most one space after each colon, no
//! unusual byte. Every other head, incomplete or wrong ones included, is left to
//! [`parse_strict`](super::request::parse_strict). That function alone decides what is legal and
//! how the rest is answered. The tests check that both agree on every head that is parsed here.

use super::head::{Fields, Head, Method, RareFlags, RequestLine, Version, is_token_byte};
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX};

/// The head that `input` starts with, if it is plain and complete.
#[inline(always)]
pub(super) fn parse_fast(input: &[u8]) -> Option<Head<'_>> {
    let head = &input[..input.len().min(HEAD_BYTES_MAX)];
    let (line, mut rest) = request_line(head)?;
    let mut fields = Fields::default();
    for _ in 0..=HEADERS_MAX {
        if let Some(after) = rest.strip_prefix(b"\r\n") {
            let framing = fields.framing(line.version).ok()?;
            return Some(fields.into_head(line, framing, &head[..head.len() - after.len()]));
        }
        let (name, value, after) = header(rest)?;
        fields.take(name, value, || true).ok()?;
        rest = after;
    }
    None
}

/// The request line, and what follows it.
#[inline]
fn request_line(head: &[u8]) -> Option<(RequestLine<'_>, &[u8])> {
    let (method, target) = match head {
        [b'G', b'E', b'T', b' ', target @ ..] => (Method::Get, target),
        [b'P', b'O', b'S', b'T', b' ', target @ ..] => (Method::Post, target),
        _ => return None,
    };
    if target.first() != Some(&b'/') {
        return None;
    }
    let (path, mut rest) = target.split_at(run(target, &PATH));
    let mut query = None;
    if let Some(after) = rest.strip_prefix(b"?") {
        let (text, after) = after.split_at(run(after, &QUERY));
        query = Some(str::from_utf8(text).ok()?);
        rest = after;
    }
    let (version, rest) = match rest.strip_prefix(b" HTTP/1.")? {
        [b'1', b'\r', b'\n', rest @ ..] => (Version::Http11, rest),
        [b'0', b'\r', b'\n', rest @ ..] => (Version::Http10, rest),
        _ => return None,
    };
    if head.len() - rest.len() > REQUEST_LINE_BYTES_MAX {
        return None;
    }
    let path = str::from_utf8(path).ok()?;
    Some((RequestLine { method, path, query, version, rare: RareFlags::default() }, rest))
}

/// Name and value of the first header line in `lines`, and what follows it.
#[inline]
fn header(lines: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, rest) = lines.split_at(run(lines, &NAME));
    let rest = rest.strip_prefix(b":")?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let (value, rest) = rest.split_at(text_bytes(rest));
    let rest = rest.strip_prefix(b"\r\n")?;
    if name.is_empty() || value.first() == Some(&b' ') || value.last() == Some(&b' ') {
        return None;
    }
    Some((name, value, rest))
}

type Class = [bool; 256];

const fn class(query: bool, name: bool) -> Class {
    let mut class = [false; 256];
    let mut b = 0x21;
    while b < 0x7f {
        class[b as usize] = if name { is_token_byte(b) } else { b != b'#' && (query || b != b'?') };
        b += 1;
    }
    class
}

/// Bytes of a path on the fast path: visible ASCII up to a query.
static PATH: Class = class(false, false);
/// Bytes of a query on the fast path.
static QUERY: Class = class(true, false);
/// Bytes of a header's name.
static NAME: Class = class(false, true);

/// Length of the prefix of `bytes` that is of this class.
#[inline]
fn run(bytes: &[u8], class: &Class) -> usize {
    bytes.iter().position(|&b| !class[b as usize]).unwrap_or(bytes.len())
}

/// Length of the prefix of `bytes` before a control character; a tab counts as one here.
#[inline]
fn text_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte below 0x20 and of each 0x7f. A borrow can set a wrong bit only
        // above a bit that is set rightly, and only the lowest one counts.
        let below = word.wrapping_sub(0x20 * ONES) & !word;
        let delete = word ^ (0x7f * ONES);
        let delete = delete.wrapping_sub(ONES) & !delete;
        let control = (below | delete) & HIGH;
        if control != 0 {
            return index * 8 + control.trailing_zeros() as usize / 8;
        }
    }
    let end = rest.iter().position(u8::is_ascii_control).unwrap_or(rest.len());
    bytes.len() - rest.len() + end
}
