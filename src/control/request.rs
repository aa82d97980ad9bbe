//! A request to the control port and its reply, independent of a connection.

use serde::Serialize;

use super::caller::Caller;
use crate::code::ErrorCode;
use crate::engine::http::{
    Head, JSON, Media, Method, Problem, Remedy, Response, ResponseContext, Status, json_bytes,
};
use crate::route::percent;
use crate::route::table::{self, Endpoint, Found, Methods, Port};

/// The result of looking up a request in the table.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// This endpoint, and the name in the path, decoded. Empty: the path has none, or it can't be
    /// decoded.
    Endpoint(&'static Endpoint, String),
    /// The port has the path, but not for this method.
    Path(&'static Methods),
    /// The port has no such path.
    Nothing,
}

impl From<Found<'_>> for Wanted {
    fn from(found: Found<'_>) -> Self {
        match found {
            Found::Endpoint(endpoint, name) => {
                Self::Endpoint(endpoint, percent::decode(name).unwrap_or_default().into_owned())
            }
            Found::Path(methods) => Self::Path(methods),
            Found::Nothing => Self::Nothing,
        }
    }
}

/// The parts of a request that define its meaning.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method. HEAD is [`Method::Get`] here.
    pub method: Method,
    /// Path and query, as sent.
    pub target: String,
    /// The result of the lookup, made once when the request comes.
    pub wanted: Wanted,
    /// The declared type of the body.
    pub media: Media,
    /// A precondition is not met: nothing may be changed.
    pub read_only: bool,
    /// The caller.
    pub caller: Caller,
    /// At most [`BODY_BYTES_MAX`](crate::limits::BODY_BYTES_MAX), if it came over HTTP.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        let target = target.into();
        let wanted = table::find(Port::Control, method, path_of(&target)).into();
        Self {
            method,
            target,
            wanted,
            media: Media::default(),
            read_only: false,
            caller: Caller::default(),
            body: Vec::new(),
        }
    }

    /// A request over HTTP, with the result of its lookup. HEAD becomes GET.
    pub fn of(
        head: &Head<'_>,
        wanted: Wanted,
        body: &[u8],
        read_only: bool,
        caller: Caller,
    ) -> Self {
        let method = if head.method == Method::Head { Method::Get } else { head.method };
        let mut target = head.path.to_owned();
        if let Some(query) = head.query {
            target += "?";
            target += query;
        }
        let media = Media::of(head);
        Self { method, target, wanted, media, read_only, caller, body: body.to_vec() }
    }

    /// Whether it may change something.
    pub(super) fn may_change(&self) -> bool {
        let looks = matches!(
            self.method,
            Method::Get
                | Method::Head
                | Method::Options
                | Method::Query
                | Method::Trace
                | Method::Other
        );
        !self.read_only && !looks
    }

    /// Whether it may take longer than a few ledger queries.
    pub(super) fn may_take_long(&self) -> bool {
        matches!(self.wanted, Wanted::Endpoint(endpoint, _) if endpoint.operation.may_take_long())
    }

    /// The parameters that its endpoint has.
    pub(super) fn parameters(&self) -> &'static [&'static str] {
        match self.wanted {
            Wanted::Endpoint(endpoint, _) => endpoint.parameters.unwrap_or_default(),
            Wanted::Path(_) | Wanted::Nothing => &[],
        }
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
        path_of(&self.target)
    }

    /// The query, without its question mark.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

/// A target without its query.
fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// The reply to a request.
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

    /// 200 with plain text.
    pub fn text(text: &str) -> Self {
        Self::media("text/plain; charset=utf-8", text.as_bytes().to_vec())
    }

    /// 200 with a body of this type.
    pub fn media(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { response: Response::new(Status::Ok, content_type), body }
    }

    /// The reply to OPTIONS: 204.
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

    /// Appends the reply.
    pub fn write(&self, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
        self.response.write(context, &[&self.body], out);
    }
}

/// The reply of a control thread. `None`: the thread has ended, since the server is shutting down.
pub fn reply_or_gone(reply: Option<Reply>) -> Reply {
    reply.unwrap_or_else(|| {
        Problem::new(ErrorCode::Unavailable, "The server is shutting down; look again later.")
            .into()
    })
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        Self::of(problem.response(), &problem)
    }
}
