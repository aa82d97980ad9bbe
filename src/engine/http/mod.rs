//! HTTP/1.1 as bytes: parses requests and writes responses (RFC 9110, 9112, 9457).
//!
//! Plain heads are parsed in one pass. All others are parsed by `httparse` and then checked here.
//! Ambiguous framing is rejected and the connection closed, so that no request can be smuggled past
//! a proxy in front. The hot path (parse, answer) allocates nothing.
//!
//! Architecture invariant: this folder does no I/O, reads no clock, and knows no ledger, stock or
//! coroutine. Bytes and the current second come in, bytes go out.

mod bearer;
mod body;
mod date;
mod conditions;
mod head;
mod media;
mod fast_path;
mod page;
mod problem;
mod request;
mod response;
mod status;

pub use bearer::{Bearer, bearer};
pub use body::ChunkedDecoder;
pub use date::HttpDate;
pub use head::{Framing, Head, Method, REQUEST_ID, RareFlags, Version};
pub use media::Media;
pub use page::Page;
#[cfg(test)]
pub use page::assert_is_self_contained;
pub use problem::{Kind, ParseError, Problem, Remedy, truncated};
pub use request::parse_head;
pub use response::{
    CONTINUE, JSON, Persistence, Preencoded, Response, ResponseContext, json_bytes,
    write_cross_origin, write_json, write_json_bytes, write_options, write_replayed,
    write_request_id,
};
pub use status::Status;

#[cfg(test)]
mod request_tests;
