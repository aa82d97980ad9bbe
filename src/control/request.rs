//! A request to the control port and its reply, apart from any connection.

use serde::Serialize;

/// A request, as far as its meaning needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// The body's media type, if it is named.
    pub content_type: Option<Vec<u8>>,
    /// At most `CONTROL_BODY_BYTES_MAX`.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.to_owned(), target: target.into(), ..Self::default() }
    }

    /// The same with a JSON body.
    pub fn with_json(self, body: &serde_json::Value) -> Self {
        let content_type = Some(b"application/json".to_vec());
        Self { content_type, body: body.to_string().into_bytes(), ..self }
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Header lines beside those that every response has.
    pub headers: Vec<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// JSON, ended by a newline for people at a terminal.
    pub fn json(status: u16, value: &impl Serialize) -> Self {
        let mut body = serde_json::to_vec(value).unwrap_or_default();
        body.push(b'\n');
        Self { status, headers: vec!["Content-Type: application/json"], body }
    }

    /// 200 with a word.
    pub fn text(text: &str) -> Self {
        let headers = vec!["Content-Type: text/plain; charset=utf-8"];
        Self { status: 200, headers, body: text.as_bytes().to_vec() }
    }

    /// The status' reason phrase (RFC 9110, section 15).
    pub fn reason(&self) -> &'static str {
        match self.status {
            200 => "OK",
            201 => "Created",
            204 => "No Content",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            409 => "Conflict",
            410 => "Gone",
            411 => "Length Required",
            413 => "Content Too Large",
            415 => "Unsupported Media Type",
            422 => "Unprocessable Content",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            _ => "Status",
        }
    }
}
