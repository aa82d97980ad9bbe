//! A request to the control port and its reply, apart from any connection.

use serde::Serialize;

use super::caller::Caller;
use crate::engine::http::{
    Envelope, Head, JSON, Media, Method, Problem, Remedy, Response, Status, json_bytes,
};

/// A request, as far as its meaning needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// What the body is said to be.
    pub media: Media,
    /// A condition is not met: nothing must be done, only looked at.
    pub look_only: bool,
    /// Who asks.
    pub caller: Caller,
    /// At most [`BODY_BYTES_MAX`](crate::limits::BODY_BYTES_MAX), if it came over HTTP.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into(), ..Self::default() }
    }

    /// The request that came over HTTP. One for the head of an answer is one for the answer.
    pub(super) fn of(head: &Head<'_>, body: &[u8], look_only: bool, caller: Caller) -> Self {
        let method = match head.method {
            Method::Get | Method::Head => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Trace => "TRACE",
            Method::Other => "", // The engine has refused it.
        };
        let mut target = head.path.to_owned();
        if let Some(query) = head.query {
            target += "?";
            target += query;
        }
        let media = Media::of(head);
        Self { method: method.to_owned(), target, media, look_only, caller, body: body.to_vec() }
    }

    /// Whether it may change something.
    pub(super) fn may_change(&self) -> bool {
        !self.look_only && !matches!(self.method.as_str(), "GET" | "OPTIONS" | "TRACE" | "")
    }

    /// Whether it may take longer than a few questions to the ledger.
    pub(super) fn may_take_long(&self) -> bool {
        let path = self.path();
        self.method == "DELETE"
            || path.starts_with("/v1/audit")
            || path.ends_with("/reset")
            || (path.starts_with("/v1/sales/") && path.ends_with("/reservations"))
    }

    /// The same with a JSON body.
    pub fn with_json(self, body: &serde_json::Value) -> Self {
        Self { media: Media::Json, body: body.to_string().into_bytes(), ..self }
    }

    /// Whether its body is JSON.
    pub fn has_json(&self) -> bool {
        self.media == Media::Json
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// What a request is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    response: Response<'static>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// JSON, ended by a newline for people at a terminal.
    pub fn json(status: Status, value: &impl Serialize) -> Self {
        Self::of(Response::new(status, JSON), value)
    }

    /// 200 with some words.
    pub fn text(text: &str) -> Self {
        Self::media("text/plain; charset=utf-8", text.as_bytes().to_vec())
    }

    /// 200 with a body of this type.
    pub fn media(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { response: Response::new(Status::Ok, content_type), body }
    }

    /// What may be asked: 204.
    pub fn options(allow: &'static str) -> Self {
        let response = Response {
            remedy: Some(Remedy::Allow(allow)),
            content_type: None,
            ..Response::new(Status::NoContent, JSON)
        };
        Self { response, body: Vec::new() }
    }

    fn of(response: Response<'static>, value: &impl Serialize) -> Self {
        let mut body = json_bytes(value);
        body.push(b'\n');
        Self { response, body }
    }

    /// The HTTP status.
    pub fn status(&self) -> Status {
        self.response.status
    }

    /// Appends it.
    pub(super) fn write(&self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        self.response.write(envelope, &[&self.body], out);
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        Self::of(problem.response(), &problem)
    }
}
