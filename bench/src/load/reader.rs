//! Parses the answers of a server (HTTP/1.x, RFC 9112), and classifies them.
//!
//! Most answers of a run equal the previous one byte for byte, except for one per second with a new
//! Date. The reader keeps the last answer without individual content and compares it first. It
//! therefore parses no head twice.

use memchr::{memchr, memmem};

use super::kind::Kind;

/// Longest accepted head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest accepted body.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest accepted reservation id.
const ID_BYTES_MAX: usize = 128;
/// Longest answer kept for comparison.
const KEPT_BYTES_MAX: usize = 1024;

/// A parsed answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer<'a> {
    /// Length with its head.
    pub bytes: usize,
    /// Its kind. `None`: unknown content.
    pub kind: Option<Kind>,
    /// The reservation's id, if it has one.
    pub id: Option<&'a [u8]>,
    /// Whether the server closes the connection after this answer.
    pub closes: bool,
}

/// Why bytes are no answer. Nothing after them on the connection has a meaning.
pub type Broken = &'static str;

/// Parses consecutive answers.
#[derive(Default)]
pub struct Reader {
    kept: Vec<u8>,
    kept_kind: Option<Kind>,
    kept_closes: bool,
}

impl Reader {
    /// Parses the first answer of the input. `None`: more bytes are needed. `ended`: no more bytes
    /// will come.
    pub fn read<'a>(&mut self, input: &'a [u8], ended: bool) -> Result<Option<Answer<'a>>, Broken> {
        if !self.kept.is_empty() && input.starts_with(&self.kept) {
            let (bytes, kind) = (self.kept.len(), self.kept_kind);
            return Ok(Some(Answer { bytes, kind, id: None, closes: self.kept_closes }));
        }
        let answer = parse(input, ended)?;
        if let Some(Answer { bytes, kind: Some(kind), id: None, closes }) = answer
            && bytes <= KEPT_BYTES_MAX
            && !ended
        {
            self.kept.clear();
            self.kept.extend_from_slice(&input[..bytes]);
            (self.kept_kind, self.kept_closes) = (Some(kind), closes);
        }
        Ok(answer)
    }
}

/// How a body ends (RFC 9112, section 6.3).
enum Length {
    Bytes(usize),
    Chunked,
    UntilClosed,
}

struct Head {
    status: u16,
    length: Length,
    closes: bool,
}

fn parse(input: &[u8], ended: bool) -> Result<Option<Answer<'_>>, Broken> {
    const START: &[u8] = b"HTTP/1.";
    let begun = input.len().min(START.len());
    if input[..begun] != START[..begun] {
        return Err("not an answer of HTTP/1");
    }
    let Some(head_bytes) = memmem::find(input, b"\r\n\r\n") else {
        return if input.len() > HEAD_BYTES_MAX { Err("an unfinished head") } else { Ok(None) };
    };
    let head = read_head(&input[..head_bytes])?;
    let rest = &input[head_bytes + 4..];
    let (body, used, closes) = match head.length {
        Length::Bytes(length) => match rest.get(..length) {
            Some(body) => (body, length, head.closes),
            None => return Ok(None),
        },
        Length::Chunked => match read_chunks(rest)? {
            Some((text, used)) => {
                let kind = kind(head.status, &text);
                // The text is in pieces, so an id can't be borrowed from the input.
                let id = id_of(&text)
                    .and_then(|id| memmem::find(rest, id).map(|at| &rest[at..at + id.len()]));
                let bytes = head_bytes + 4 + used;
                return Ok(Some(Answer { bytes, kind, id, closes: head.closes }));
            }
            None => return Ok(None),
        },
        Length::UntilClosed if ended => (rest, rest.len(), true),
        Length::UntilClosed if !head.closes => return Err("an answer without a length"),
        Length::UntilClosed if rest.len() > BODY_BYTES_MAX => return Err("a body without end"),
        Length::UntilClosed => return Ok(None),
    };
    let kind = kind(head.status, body);
    let id = if kind == Some(Kind::GRANTED) { id_of(body) } else { None };
    Ok(Some(Answer { bytes: head_bytes + 4 + used, kind, id, closes }))
}

fn read_head(head: &[u8]) -> Result<Head, Broken> {
    let line_end = memchr(b'\r', head).unwrap_or(head.len());
    let (line, mut rest) = head.split_at(line_end);
    let digits = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c] => [*a, *b, *c],
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c, b' ', ..] => {
            [*a, *b, *c]
        }
        _ => return Err("a malformed status line"),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err("a status that is no number");
    }
    let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    if status < 200 {
        return Err("an unexpected interim answer");
    }
    let mut closes = line[7] == b'0';
    let (mut length, mut chunked) = (None, false);
    while let Some(line) = rest.strip_prefix(b"\r\n") {
        let end = memchr(b'\r', line).unwrap_or(line.len());
        let colon = memchr(b':', &line[..end]).ok_or("a header line without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..end].trim_ascii());
        rest = &line[end..];
        if name.eq_ignore_ascii_case(b"content-length") {
            let bytes = number(value).ok_or("a malformed Content-Length")?;
            if length.replace(bytes).is_some_and(|before| before != bytes) {
                return Err("two different lengths");
            }
        } else if name.eq_ignore_ascii_case(b"connection") {
            match value {
                close if close.eq_ignore_ascii_case(b"close") => closes = true,
                keep if keep.eq_ignore_ascii_case(b"keep-alive") => closes = false,
                _ => {}
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            chunked = value.eq_ignore_ascii_case(b"chunked");
            if !chunked {
                return Err("a transfer coding other than chunked");
            }
        }
    }
    if !rest.is_empty() {
        return Err("a carriage return within a head");
    }
    let length = match (chunked, length) {
        (true, Some(_)) => return Err("a Content-Length with chunks"),
        (true, None) => Length::Chunked,
        (false, Some(bytes)) => Length::Bytes(bytes),
        (false, None) if status == 204 || status == 304 => Length::Bytes(0),
        (false, None) => Length::UntilClosed,
    };
    Ok(Head { status, length, closes })
}

/// Parses a number of digits only, at most as large as a body may be.
fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 7 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let bytes = text.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    (bytes <= BODY_BYTES_MAX).then_some(bytes)
}

/// Parses a chunked body (RFC 9112, section 7.1): its text and its length in bytes. `None`:
/// incomplete. Trailers are an error, because no measured server sends them.
fn read_chunks(input: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Broken> {
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = memmem::find(&input[at..], b"\r\n") else {
            return if input.len() - at > 64 { Err("a chunk without a length") } else { Ok(None) };
        };
        let line = &input[at..at + end];
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        let length = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'));
        let length = length.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let length = length.ok_or("a malformed chunk length")?;
        if length > BODY_BYTES_MAX - text.len() {
            return Err("a body without end");
        }
        at += end + 2;
        let Some(chunk) = input.get(at..at + length + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk longer than its length");
        }
        text.extend_from_slice(&chunk[..length]);
        at += length + 2;
        if length == 0 {
            return Ok(Some((text, at)));
        }
    }
}

const NUMBER: &[u8] = br#"{"code":"#;
const RESERVATION: &[u8] = br#"{"id":"#;

/// The kind of a body with its status.
fn kind(status: u16, body: &[u8]) -> Option<Kind> {
    let other = match status {
        429 => Some(Kind::HTTP_429),
        503 => Some(Kind::HTTP_503),
        _ => None,
    };
    if let Some(rest) = body.strip_prefix(NUMBER) {
        let end = rest.iter().position(|byte| matches!(byte, b',' | b'}'))?;
        let number: i8 = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        if !body.ends_with(b"}") {
            return None;
        }
        return match number {
            1 => (status == 200).then_some(Kind::GRANTED),
            number => Kind::of_number(number),
        };
    }
    match body {
        reservation if reservation.starts_with(RESERVATION) && matches!(status, 200 | 201) => {
            // 200: an earlier request with this key created the reservation.
            let kind = if status == 201 { Kind::GRANTED } else { Kind::REPEATED };
            (text_member(reservation, br#""status":""#)? == b"held").then_some(kind)
        }
        b"55" if status == 200 => Some(Kind::SUM),
        b"75" if status == 200 => Some(Kind::SUM_WITH_BODY),
        b"ok" if status == 200 => Some(Kind::OK),
        b"Hello, World!" if status == 200 => Some(Kind::PLAINTEXT),
        br#"{"message":"Hello, World!"}"# if status == 200 => Some(Kind::JSON),
        problem if problem.starts_with(br#"{"type":"#) => {
            let name = text_member(problem, br#""code":""#);
            name.and_then(|name| Kind::of_name(name, status)).or(other)
        }
        _ => other,
    }
}

/// The reservation id of a grant. The article's own design has none.
fn id_of(body: &[u8]) -> Option<&[u8]> {
    let name: &[u8] =
        if body.starts_with(RESERVATION) { br#""id":""# } else { br#""reservation":""# };
    text_member(body, name).filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)
}

fn text_member<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let from = memmem::find(body, name)? + name.len();
    let length = memchr(b'"', &body[from..])?;
    Some(&body[from..from + length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::SOLD_OUT;

    fn answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    fn granted(id: &str) -> Vec<u8> {
        let data = format!(r#","data":{{"reservation":"{id}"}}"#);
        answer("200 OK", "", &format!(r#"{{"code":1,"msg":"抢票成功"{data}}}"#))
    }

    fn whole(input: &[u8]) -> Answer<'_> {
        Reader::default().read(input, false).expect("legal").expect("complete")
    }

    #[test]
    fn an_answer_is_complete_only_with_its_last_byte() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                        5\r\nHello\r\n8;x=y\r\n, World!\r\n0\r\n\r\n";
        for text in [answer("200 OK", "Date: x\r\n", SOLD_OUT), granted("a~b"), chunked.to_vec()] {
            let mut reader = Reader::default();
            for cut in 0..text.len() {
                assert_eq!(reader.read(&text[..cut], false), Ok(None), "{cut}");
            }
            assert_eq!(whole(&text).bytes, text.len());
        }
        assert_eq!(whole(chunked).kind, Some(Kind::PLAINTEXT));
    }

    #[test]
    fn consecutive_answers_are_separated() {
        let sold_out = answer("200 OK", "Date: 1\r\n", SOLD_OUT);
        let mut input = Vec::new();
        for text in [&sold_out, &sold_out, &granted("ticket~1"), &sold_out, &granted("ticket~2")] {
            input.extend_from_slice(text);
        }
        input.extend_from_slice(&answer("200 OK", "Date: 2\r\n", SOLD_OUT));
        let (mut reader, mut at, mut seen) = (Reader::default(), 0, Vec::new());
        while at < input.len() {
            let answer = reader.read(&input[at..], false).expect("legal").expect("complete");
            at += answer.bytes;
            seen.push((answer.kind.expect("understood").name(), answer.id));
        }
        let (no, yes) = ("sold_out", "granted");
        let id = |id: &'static str| Some(id.as_bytes());
        let expected = [(no, None), (no, None), (yes, id("ticket~1")), (no, None)];
        assert_eq!(seen[..4], expected);
        assert_eq!(seen[4..], [(yes, id("ticket~2")), (no, None)]);
    }

    #[test]
    fn each_answer_kind_is_recognised() {
        let name = |status: &str, body: &str| whole(&answer(status, "", body)).kind.map(Kind::name);
        assert_eq!(name("200 OK", "Hello, World!"), Some("plaintext"));
        assert_eq!(name("200 OK", r#"{"message":"Hello, World!"}"#), Some("json"));
        assert_eq!(name("200 OK", r#"{"code":1,"msg":"抢票成功"}"#), Some("granted"));
        let sums = ["55", "75", "ok", "56"].map(|body| name("200 OK", body));
        assert_eq!(sums, [Some("sum"), Some("sum_with_body"), Some("ok"), None]);
        assert_eq!(name("503 Service Unavailable", r#"{"code":-5,"msg":"x"}"#), Some("busy"));
        let held = r#"{"id":"open~1","sale":"open","user":"load","status":"held"}"#;
        let answered = answer("201 Created", "", held);
        let reserved = whole(&answered);
        assert_eq!(reserved.kind, Some(Kind::GRANTED));
        assert_eq!(reserved.id, Some(&b"open~1"[..]));
        assert_eq!(name("200 OK", held), Some("repeated"));
        assert_eq!(name("200 OK", &held.replace("held", "expired")), None);
        let sold_out = r#"{"type":"about:blank","status":409,"code":"sold_out","free":0}"#;
        assert_eq!(name("409 Conflict", sold_out), Some("sold_out"));
        assert_eq!(name("200 OK", sold_out), None);
        let problem = r#"{"type":"about:blank","status":429,"code":"rate_limited"}"#;
        assert_eq!(name("429 Too Many Requests", problem), Some("rate_limited"));
        assert_eq!(name("503 Service Temporarily Unavailable", "<html>"), Some("http_503"));
        assert_eq!(name("429 Too Many Requests", ""), Some("http_429"));
        for (status, body) in [
            ("200 OK", ""),
            ("200 OK", "Hello, World"),
            ("500 Internal Server Error", "Hello, World!"),
            ("500 Internal Server Error", r#"{"code":1,"msg":"x"}"#),
            ("200 OK", r#"{"code":2,"msg":"x"}"#),
            ("200 OK", r#"{"code":-1,"msg":"x""#),
            ("200 OK", r#"{"code":x}"#),
        ] {
            assert_eq!(name(status, body), None, "{status} {body}");
        }
    }

    #[test]
    fn closing_answers_are_recognised() {
        assert!(!whole(&answer("200 OK", "", SOLD_OUT)).closes);
        assert!(whole(&answer("200 OK", "connection: Close\r\n", SOLD_OUT)).closes);
        assert!(whole(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").closes);
        let kept = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
        assert!(!whole(kept).closes);

        let until_closed = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nHello, World!";
        let mut reader = Reader::default();
        assert_eq!(reader.read(until_closed, false), Ok(None));
        let answer = reader.read(until_closed, true).expect("legal").expect("complete");
        assert_eq!((answer.kind, answer.closes), (Some(Kind::PLAINTEXT), true));
        let cut_short = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh";
        assert_eq!(reader.read(cut_short, true), Ok(None));
    }

    #[test]
    fn malformed_answers_are_errors() {
        for text in [
            "HTTX",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
            "HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(Reader::default().read(text.as_bytes(), false).is_err(), "{text}");
        }
        let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; HEAD_BYTES_MAX]].concat();
        assert!(Reader::default().read(&endless, false).is_err());
    }
}
