//! How far the request at the start of a connection's input has come, and where it ends.

use super::Phase;
use super::session::Session;
use crate::http::{CONTINUE, ChunkedDecoder, Framing, Head, Reject, Version, parse_head};
use crate::limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, REQUEST_LINE_BYTES_MAX};

/// Growth of an unfinished head after which it is looked at again though no line has ended.
const HEAD_STEP_BYTES: usize = 512;

/// How far the request at the start of the input has come.
pub(super) enum Progress {
    /// Its head is incomplete; this much was there when it was last looked at.
    Head { seen_bytes: usize },
    /// Its head and body together have this many bytes.
    Length { total_bytes: usize },
    /// Its head has been read, its chunked body is being decoded.
    Chunked(Box<Chunked>),
}

pub(super) struct Chunked {
    head_bytes: usize,
    decoder: ChunkedDecoder,
    pub(super) body: Vec<u8>,
    done: bool,
}

/// Nothing of the next request is known.
pub(super) const START: Progress = Progress::Head { seen_bytes: 0 };

impl Session<'_> {
    /// Finds where the request at `start` ends: bytes of its head and, unless it is chunked, of its
    /// body. `None`: not yet.
    pub(super) fn measure(&mut self, start: usize) -> Result<Option<(usize, usize)>, Reject> {
        match &mut self.connection.progress {
            Progress::Head { seen_bytes } => {
                let input = &self.input[start..];
                let new = input.get(*seen_bytes..).unwrap_or(input);
                let reached = |bound| *seen_bytes < bound && bound <= input.len();
                if input.is_empty()
                    || (*seen_bytes > 0
                        && new.len() < HEAD_STEP_BYTES
                        && !reached(REQUEST_LINE_BYTES_MAX)
                        && !reached(HEAD_BYTES_MAX)
                        && memchr::memchr(b'\n', new).is_none())
                {
                    return Ok(None);
                }
                match parse_head(input)? {
                    Some(head) => {
                        let facts = Facts::of(&head);
                        self.begin_body(start, facts)
                    }
                    None => {
                        *seen_bytes = input.len();
                        if self.connection.phase != Phase::Head {
                            self.set_phase(Phase::Head, self.config().head_timeout_ms);
                        }
                        Ok(None)
                    }
                }
            }
            Progress::Length { total_bytes } => {
                let total_bytes = *total_bytes;
                if self.input.len() - start < total_bytes {
                    return Ok(None);
                }
                let head = parse_head(&self.input[start..])?;
                Ok(head.map(|head| (head.head_bytes, total_bytes - head.head_bytes)))
            }
            Progress::Chunked(chunked) => {
                decode(chunked, &mut self.input, start)?;
                Ok(chunked.done.then_some((chunked.head_bytes, 0)))
            }
        }
    }

    /// A head is complete: so is the request, or its body is awaited from now on.
    fn begin_body(&mut self, start: usize, facts: Facts) -> Result<Option<(usize, usize)>, Reject> {
        let Facts { head_bytes, framing, wants_continue } = facts;
        let complete = match framing {
            Framing::None => return Ok(Some((head_bytes, 0))),
            Framing::Length(body_bytes) => {
                // `parse_head` refuses more than BODY_BYTES_MAX.
                let body_bytes = (body_bytes as usize).min(BODY_BYTES_MAX);
                let total_bytes = head_bytes + body_bytes;
                if self.input.len() - start >= total_bytes {
                    return Ok(Some((head_bytes, body_bytes)));
                }
                self.connection.progress = Progress::Length { total_bytes };
                None
            }
            Framing::Chunked => {
                let mut chunked = Box::new(Chunked {
                    head_bytes,
                    decoder: ChunkedDecoder::new(),
                    body: Vec::new(),
                    done: false,
                });
                decode(&mut chunked, &mut self.input, start)?;
                let done = chunked.done;
                self.connection.progress = Progress::Chunked(chunked);
                done.then_some((head_bytes, 0))
            }
        };
        if complete.is_none() {
            self.set_phase(Phase::Body, self.config().body_timeout_ms);
            if wants_continue && self.input.len() - start == head_bytes {
                self.out.extend_from_slice(CONTINUE);
            }
        }
        Ok(complete)
    }
}

/// What the framing of a request needs of its head, without borrowing it.
struct Facts {
    head_bytes: usize,
    framing: Framing,
    wants_continue: bool,
}

impl Facts {
    fn of(head: &Head<'_>) -> Self {
        Self {
            head_bytes: head.head_bytes,
            framing: head.framing,
            wants_continue: head.expect_continue && head.version == Version::Http11,
        }
    }
}

/// Decodes what has come of a chunked body and takes it out of the input.
fn decode(chunked: &mut Chunked, input: &mut Vec<u8>, start: usize) -> Result<(), Reject> {
    if !chunked.done {
        let body_at = start + chunked.head_bytes;
        let (consumed, done) = chunked.decoder.feed(&input[body_at..], &mut chunked.body)?;
        input.drain(body_at..body_at + consumed);
        chunked.done = done;
    }
    Ok(())
}
