//! What a connection beyond the limit is told.

use crate::http::{Code, Envelope, HttpDate, Problem};

/// Writes it.
pub(in crate::engine) fn write_refusal(date: &HttpDate, out: &mut Vec<u8>) {
    let problem = Problem::new(Code::Busy, "The server has as many connections as it may have.");
    problem.write(&Envelope::closing(date), out);
}
