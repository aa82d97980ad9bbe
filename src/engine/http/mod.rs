//! HTTP/1.1 as bytes: what was asked, and how the answer is written (RFC 9110, 9112, 9457).
//!
//! Plain heads are read in one pass; all others are parsed by `httparse` and judged by us: whatever
//! two readers could frame differently is refused and the connection closed, so that nothing can be
//! smuggled past a proxy in front. The hot path (parse, answer) allocates nothing.
//!
//! Architecture invariant: nothing below this folder does I/O, reads a clock, or knows of a ledger,
//! of stock or of a coroutine. Bytes and the second come in, bytes go out.

mod bearer;
mod body;
mod date;
mod conditions;
mod head;
mod media;
mod plain;
mod problem;
mod request;
mod response;
mod status;

pub use bearer::{Bearer, bearer};
pub use body::ChunkedDecoder;
pub use date::HttpDate;
pub use head::{Framing, Head, Method, Oddities, REQUEST_ID, Version};
pub use media::Media;
pub use problem::{Kind, Problem, Reject, Remedy, shown};
pub use request::parse_head;
pub use response::{
    CONTINUE, Canned, Envelope, JSON, Persistence, Response, json_bytes, write_cross_origin,
    write_json, write_json_bytes, write_options, write_replayed, write_request_id,
};
pub use status::Status;

#[cfg(test)]
mod request_tests;
