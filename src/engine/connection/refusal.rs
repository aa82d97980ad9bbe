//! The answer to a connection that is not admitted.

use crate::engine::http::{HttpDate, Kind, Problem, ResponseContext};

/// Writes the answer.
pub(in crate::engine) fn write_refusal(kind: &'static Kind, date: &HttpDate, out: &mut Vec<u8>) {
    Problem::of(kind).write(&ResponseContext::closing(date), out);
}
