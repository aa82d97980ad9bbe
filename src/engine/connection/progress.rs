//! How much of the request at the start of a connection's input has arrived, and where it ends.

use crate::engine::http::{
    CONTINUE, ChunkedDecoder, Framing, Head, ParseError, Version, parse_head,
};
use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX};

/// Growth of an incomplete head after which it is parsed again though no line has ended.
const HEAD_STEP_BYTES: usize = 512;

/// How much of the request at the start of the input has arrived.
pub(super) enum Progress {
    /// The head is incomplete; this many bytes were there when it was last parsed.
    Head { seen_bytes: usize },
    /// Head and body together have this many bytes.
    Length { total_bytes: usize },
    /// The head is parsed, and the chunked body is being decoded.
    Chunked(Box<Chunked>),
}

pub(super) struct Chunked {
    head_bytes: usize,
    decoder: ChunkedDecoder,
    pub(super) body: Vec<u8>,
    done: bool,
}

/// Nothing is known of the next request.
pub(super) const START: Progress = Progress::Head { seen_bytes: 0 };

/// The result of a measurement.
pub(super) enum Measured {
    /// The request is complete: bytes of its head and, unless it is chunked, of its body.
    Whole { head_bytes: usize, body_bytes: usize },
    /// The head is incomplete, and was parsed as far as it goes.
    Head,
    /// The head is complete, and the body is awaited from now on.
    BodyBegins,
    /// Too little has arrived to parse again.
    AsBefore,
}

/// Finds where the request at `start` of the input ends. The arrived part of a chunked body is
/// decoded and removed from the input. `out`: for "100 Continue".
pub(super) fn measure(
    progress: &mut Progress,
    input: &mut Vec<u8>,
    start: usize,
    out: &mut Vec<u8>,
) -> Result<Measured, ParseError> {
    let whole = |head_bytes, body_bytes| Measured::Whole { head_bytes, body_bytes };
    Ok(match progress {
        Progress::Head { seen_bytes } => {
            let rest = &input[start..];
            let new = rest.get(*seen_bytes..).unwrap_or(rest);
            let reached = |bound| *seen_bytes < bound && bound <= rest.len();
            if rest.is_empty()
                || (*seen_bytes > 0
                    && new.len() < HEAD_STEP_BYTES
                    && !reached(REQUEST_LINE_BYTES_MAX)
                    && !reached(HEAD_BYTES_MAX)
                    && memchr::memchr(b'\n', new).is_none())
            {
                return Ok(Measured::AsBefore);
            }
            match parse_head(rest)? {
                Some(head) => {
                    let facts = Facts::of(&head);
                    return begin_body(progress, input, start, out, facts);
                }
                None => *seen_bytes = rest.len(),
            }
            Measured::Head
        }
        Progress::Length { total_bytes } => {
            let total_bytes = *total_bytes;
            if input.len() - start < total_bytes {
                return Ok(Measured::AsBefore);
            }
            match parse_head(&input[start..])? {
                Some(head) => whole(head.bytes.len(), total_bytes - head.bytes.len()),
                None => Measured::AsBefore,
            }
        }
        Progress::Chunked(chunked) => {
            decode(chunked, input, start)?;
            if chunked.done { whole(chunked.head_bytes, 0) } else { Measured::AsBefore }
        }
    })
}

/// Continues after a complete head: the request is complete too, or its body is awaited.
fn begin_body(
    progress: &mut Progress,
    input: &mut Vec<u8>,
    start: usize,
    out: &mut Vec<u8>,
    facts: Facts,
) -> Result<Measured, ParseError> {
    let Facts { head_bytes, framing, wants_continue } = facts;
    match framing {
        Framing::None => return Ok(Measured::Whole { head_bytes, body_bytes: 0 }),
        Framing::Length(body_bytes) => {
            // `parse_head` refuses more than BODY_BYTES_MAX.
            let body_bytes = (body_bytes as usize).min(BODY_BYTES_MAX);
            let total_bytes = head_bytes + body_bytes;
            if input.len() - start >= total_bytes {
                return Ok(Measured::Whole { head_bytes, body_bytes });
            }
            *progress = Progress::Length { total_bytes };
        }
        Framing::Chunked => {
            let mut chunked = Box::new(Chunked {
                head_bytes,
                decoder: ChunkedDecoder::new(),
                body: Vec::new(),
                done: false,
            });
            decode(&mut chunked, input, start)?;
            let done = chunked.done;
            *progress = Progress::Chunked(chunked);
            if done {
                return Ok(Measured::Whole { head_bytes, body_bytes: 0 });
            }
        }
    }
    if wants_continue && input.len() - start == head_bytes {
        out.extend_from_slice(CONTINUE);
    }
    Ok(Measured::BodyBegins)
}

/// What framing needs of the head, without borrowing it.
struct Facts {
    head_bytes: usize,
    framing: Framing,
    wants_continue: bool,
}

impl Facts {
    fn of(head: &Head<'_>) -> Self {
        Self {
            head_bytes: head.bytes.len(),
            framing: head.framing,
            wants_continue: head.expect_continue && head.version == Version::Http11,
        }
    }
}

/// Decodes the arrived part of a chunked body and removes it from the input.
fn decode(chunked: &mut Chunked, input: &mut Vec<u8>, start: usize) -> Result<(), ParseError> {
    if !chunked.done {
        let body_at = start + chunked.head_bytes;
        let (consumed, done) = chunked.decoder.feed(&input[body_at..], &mut chunked.body)?;
        input.drain(body_at..body_at + consumed);
        chunked.done = done;
    }
    Ok(())
}
