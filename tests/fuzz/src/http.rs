//! HTTP heads and bodies as the engine parses them, compared with `httparse` and with hyper.
//!
//! stampede is stricter than both: what it rejects is not compared. What it accepts, the others must
//! read alike, if they accept it: two readers that find different ends of a request let a request
//! through in the body of another.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use stampede::engine::http::{
    ChunkedDecoder, Framing, Head, Media, Method, ParseError, Version, parse_head,
};
use stampede::limits::{BODY_BYTES_MAX, EMPTY_LINES_MAX, HEAD_BYTES_MAX};

use crate::bounds::bounded;
use crate::choices::Choices;

/// A head of a higher minor version is copied; nothing else is.
const HEAD_MEMORY: usize = HEAD_BYTES_MAX + 1024;
/// A buffer that doubles.
const BODY_MEMORY: usize = 4 * BODY_BYTES_MAX;
/// Prefixes of a head that are parsed too.
const PREFIXES_MAX: usize = 256;

/// A request head.
pub fn head(input: &[u8]) {
    let parsed = bounded(HEAD_MEMORY, || parse_head(input));
    // The answer does not depend on how the bytes were cut into pieces on their way.
    for end in (0..input.len()).step_by(input.len() / PREFIXES_MAX + 1) {
        let part = parse_head(&input[..end]);
        assert!(part == Ok(None) || part == parsed, "after {end} bytes: {part:?}");
    }
    let Ok(Some(head)) = parsed else { return };
    assert!(input.starts_with(head.bytes) && head.bytes.ends_with(b"\r\n\r\n"));
    assert!(head.bytes.len() <= HEAD_BYTES_MAX + 2 * EMPTY_LINES_MAX);
    compare_with_httparse(&head);
    bounded(HEAD_MEMORY, || look_at(&head));
}

/// Calls everything that reads a head later.
fn look_at(head: &Head<'_>) {
    let _ = (head.bearer(), head.origin(), head.target_host(), Media::of(head));
    for is_so in [false, true] {
        let _ = (head.unmet_precondition(is_so), head.problem_before_routing(is_so));
    }
    if let Some(trace) = head.trace() {
        for text in [trace.request_id(), trace.parent()].into_iter().flatten() {
            // It goes into response headers, log lines and lines of the ledger.
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
        }
    }
}

/// Method and target as they were sent.
fn sent_line<'a>(head: &Head<'a>) -> (&'a str, &'a str) {
    let mut line = head.bytes;
    while let Some(rest) = line.strip_prefix(b"\r\n") {
        line = rest;
    }
    let end = line.iter().position(|&byte| byte == b'\r').unwrap_or(line.len());
    let line = str::from_utf8(&line[..end]).unwrap_or_default();
    let mut words = line.split(' ');
    (words.next().unwrap_or_default(), words.next().unwrap_or_default())
}

fn compare_with_httparse(head: &Head<'_>) {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut other = httparse::Request::new(&mut headers);
    let bytes = match other.parse(head.bytes) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        // It knows no minor version above 1, which counts as 1 (RFC 9110, section 2.5).
        Err(httparse::Error::Version) => return,
        result => panic!("httparse: {result:?}"),
    };
    assert_eq!(bytes, head.bytes.len(), "the end of the head");
    assert_eq!(other.version == Some(1), head.version == Version::Http11);
    let (method, target) = (other.method.unwrap_or_default(), other.path.unwrap_or_default());
    if head.method != Method::Other {
        assert_eq!(method, head.method.as_str());
    }
    if target.starts_with('/') {
        let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
        assert_eq!(target, format!("{}{query}", head.path));
    }
    for header in other.headers.iter() {
        let same = other.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(header.name));
        let theirs: Vec<_> = same.map(|header| header.value.trim_ascii()).collect();
        let ours: Vec<_> = head.values(header.name).collect();
        assert_eq!(ours, theirs, "the values of {}", header.name);
    }
    check_framing(head, other.headers);
}

/// The framing by the header lines, read in the simplest way.
fn check_framing(head: &Head<'_>, headers: &[httparse::Header<'_>]) {
    let values = |name: &str| -> Vec<&[u8]> {
        let named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let framing = match (&lengths[..], &codings[..]) {
        ([], []) => Framing::None,
        ([length], []) => {
            let digits = str::from_utf8(length).expect("digits");
            match digits.parse::<u64>().expect("a number") {
                0 => Framing::None,
                length => Framing::Length(length),
            }
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked"));
            assert_eq!(head.version, Version::Http11);
            Framing::Chunked
        }
        _ => panic!("ambiguous framing: {lengths:?} {codings:?}"),
    };
    assert_eq!(head.framing, framing);
}

/// The data of a chunked body that arrives in these pieces, the bytes that it takes, and whether it
/// is complete.
fn decode<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize, bool), ParseError> {
    let (mut decoder, mut data, mut taken) = (ChunkedDecoder::new(), Vec::new(), 0);
    for piece in pieces {
        let (bytes, is_complete) = decoder.feed(piece, &mut data)?;
        taken += bytes;
        if is_complete {
            return Ok((data, taken, true));
        }
        assert_eq!(bytes, piece.len(), "a body that is not complete takes all");
    }
    Ok((data, taken, false))
}

/// A chunked body.
pub fn body(input: &[u8]) {
    let mut choices = Choices::new(input);
    let piece_bytes = 1 + usize::from(choices.byte());
    let input = choices.rest();
    let whole = bounded(BODY_MEMORY, || decode([input].into_iter()));
    assert_eq!(decode(input.chunks(piece_bytes)), whole, "in pieces of {piece_bytes}");
    let Ok((data, taken, is_complete)) = whole else { return };
    assert!(data.len() <= BODY_BYTES_MAX && taken <= input.len());
    if is_complete {
        // The same data in one chunk is the same body.
        let mut again = Vec::new();
        if !data.is_empty() {
            again = [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat();
        }
        again.extend_from_slice(b"0\r\n\r\n");
        assert_eq!(decode([&again[..]].into_iter()), Ok((data, again.len(), true)));
    }
}

/// A request as a reader of the connection understood it.
#[derive(Debug)]
struct Request {
    method: String,
    /// Path and query, if the target is in origin-form.
    target: Option<String>,
    is_1_1: bool,
    /// `None`: it is not complete, or was rejected.
    body: Option<Vec<u8>>,
}

/// The bytes of a whole connection: several requests, perhaps.
pub fn connection(input: &[u8]) {
    let mut choices = Choices::new(input);
    let piece_bytes = 1 + 16 * usize::from(choices.byte());
    let input = choices.rest();
    let (ours, theirs) = (by_stampede(input), by_hyper(input, piece_bytes));
    for (number, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(our.method, their.method, "method of request {number}");
        if let (Some(our), Some(their)) = (&our.target, &their.target) {
            assert_eq!(our, their, "target of request {number}");
        }
        assert_eq!(our.is_1_1, their.is_1_1, "version of request {number}");
        if let (Some(our), Some(their)) = (&our.body, &their.body) {
            assert_eq!(our, their, "body of request {number}");
        }
    }
}

fn by_stampede(mut input: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Ok(Some(head)) = parse_head(input) {
        let rest = &input[head.bytes.len()..];
        let (body, after) = match head.framing {
            Framing::None => (Some(Vec::new()), rest),
            Framing::Length(length) => match rest.split_at_checked(length as usize) {
                Some((body, after)) => (Some(body.to_vec()), after),
                None => (None, &[][..]),
            },
            Framing::Chunked => match decode([rest].into_iter()) {
                Ok((data, taken, true)) => (Some(data), &rest[taken..]),
                _ => (None, &[][..]),
            },
        };
        let goes_on = head.keep_alive && body.is_some();
        let (method, target) = sent_line(&head);
        requests.push(Request {
            method: method.to_owned(),
            target: target.starts_with('/').then(|| target.to_owned()),
            is_1_1: head.version == Version::Http11,
            body,
        });
        if !goes_on {
            break;
        }
        input = after;
    }
    requests
}

fn by_hyper(input: &[u8], piece_bytes: usize) -> Vec<Request> {
    let requests = Rc::new(RefCell::new(Vec::<Request>::new()));
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let requests = requests.clone();
        async move {
            let (head, body) = request.into_parts();
            let number = requests.borrow().len();
            let target = head.uri.path_and_query().map(|target| target.as_str().to_owned());
            requests.borrow_mut().push(Request {
                method: head.method.as_str().to_owned(),
                target: target.filter(|_| head.uri.authority().is_none()),
                is_1_1: head.version == hyper::Version::HTTP_11,
                body: None,
            });
            if let Ok(body) = body.collect().await {
                requests.borrow_mut()[number].body = Some(body.to_bytes().to_vec());
            }
            Ok::<_, Infallible>(hyper::Response::new(Empty::<Bytes>::new()))
        }
    });
    let socket = Memory { input: input.to_vec(), read_bytes: 0, piece_bytes };
    {
        let mut builder = http1::Builder::new();
        let mut connection = pin!(builder.half_close(true).serve_connection(socket, service));
        let mut context = Context::from_waker(Waker::noop());
        // The socket is always ready, so each poll gets on.
        let mut is_done = false;
        for _ in 0..input.len() + 1_000 {
            is_done = connection.as_mut().poll(&mut context).is_ready();
            if is_done {
                break;
            }
        }
        assert!(is_done, "hyper does not come to an end");
    }
    requests.take()
}

/// A socket that has received some bytes and then an end, and swallows what is written.
struct Memory {
    input: Vec<u8>,
    read_bytes: usize,
    piece_bytes: usize,
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let count =
            (self.input.len() - self.read_bytes).min(self.piece_bytes).min(buffer.remaining());
        let end = self.read_bytes + count;
        buffer.put_slice(&self.input[self.read_bytes..end]);
        self.read_bytes = end;
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn hyper_and_stampede_read_the_same_requests() {
    let input = b"POST /a?b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
        PUT /c HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\
        GET / HTTP/1.0\r\n\r\n";
    for requests in [by_stampede(input), by_hyper(input, 7)] {
        let bodies: Vec<_> = requests.iter().map(|request| request.body.as_deref()).collect();
        assert_eq!(bodies, [Some(&b"hello"[..]), Some(b"hi"), Some(b"")], "{requests:?}");
        assert_eq!(requests[0].target.as_deref(), Some("/a?b"));
    }
}
