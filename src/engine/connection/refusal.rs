//! What a connection is told that gets no place.

use crate::engine::http::{Envelope, HttpDate, Kind, Problem};

/// Writes it.
pub(in crate::engine) fn write_refusal(kind: &'static Kind, date: &HttpDate, out: &mut Vec<u8>) {
    Problem::of(kind).write(&Envelope::closing(date), out);
}
