//! What a connection beyond the limit is told.

use crate::engine::http::{Envelope, HttpDate, Kind, Problem};

/// Writes it.
pub(in crate::engine) fn write_refusal(date: &HttpDate, out: &mut Vec<u8>) {
    Problem::of(Kind::BUSY).write(&Envelope::closing(date), out);
}
