//! Reads a plain head in one pass: what nearly every client sends nearly every time.
//!
//! GET or POST, a path, CRLF after each line, at most one space after each colon, no byte that needs
//! a second look. A head that is anything else, incomplete or wrong, is left to
//! [`judge`](super::request::judge): what is legal and what is answered to the rest is decided there
//! alone, and the tests hold that both agree on every head that is read here.

use super::head::{Fields, Head, Method, Oddities, RequestLine, Version, is_token_byte};
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, REQUEST_LINE_BYTES_MAX};

/// The head that `input` starts with, if it is plain and complete.
#[inline(always)]
pub(super) fn read_plain(input: &[u8]) -> Option<Head<'_>> {
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
    Some((RequestLine { method, path, query, version, oddities: Oddities::default() }, rest))
}

/// Name and value of the header line that `lines` starts with, and what follows it.
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

/// What a path is made of here: visible ASCII up to a query.
static PATH: Class = class(false, false);
/// What a query is made of here.
static QUERY: Class = class(true, false);
/// What a header's name is made of.
static NAME: Class = class(false, true);

/// Bytes of this class that `bytes` starts with.
#[inline]
fn run(bytes: &[u8], class: &Class) -> usize {
    bytes.iter().position(|&b| !class[b as usize]).unwrap_or(bytes.len())
}

/// Bytes that `bytes` starts with before a control character: a tab is one here.
#[inline]
fn text_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let (words, rest) = bytes.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte below 0x20 and of each 0x7f. A borrow can set it only above one
        // that is set rightly, and the lowest is what counts.
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
