//! What goes wrong at the control port, as problem details (RFC 9457) in the style of the public
//! port: a stable `code`, a sentence, the field that is wrong. It has codes of its own beside those.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::request::Reply;
use crate::http::Code;
use crate::ledger::LedgerError;

/// See the module's header.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    status: u16,
    code: &'static str,
    detail: Cow<'static, str>,
    field: Option<&'static str>,
    members: Vec<(&'static str, Value)>,
    header: Option<&'static str>,
}

impl Problem {
    /// A problem of the control port.
    pub fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self { status, code, detail, field: None, members: Vec::new(), header: None }
    }

    /// One that the public port has too.
    pub fn of(code: Code) -> Self {
        let header = code.retry_after_s().map(|_| "Retry-After: 1");
        Self { header, ..Self::new(code.status().code(), code.as_str(), code.detail()) }
    }

    /// 422 for this field: a member of the body, a parameter or a part of the path.
    pub fn invalid(field: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field), ..Self::of(Code::Invalid) }.saying(detail)
    }

    /// 404.
    pub fn not_found(what: &str) -> Self {
        Self::of(Code::NotFound).saying(format!("There is no such {what}."))
    }

    /// 405 with the methods that would be allowed, as a header line.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::of(Code::MethodNotAllowed).with_header(allow)
    }

    /// In other words.
    pub fn saying(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// With one more member.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// With a header line.
    pub fn with_header(self, header: &'static str) -> Self {
        Self { header: Some(header), ..self }
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(reason) => Self::of(Code::Unavailable)
                .saying(format!("The ledger can't do it now; nothing happened: {reason}")),
            LedgerError::Lost(reason) => Self::of(Code::Unknown).saying(format!(
                "The ledger's answer was lost, so it may have happened or not; look, or ask the same \
                 again: {reason}"
            )),
        }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let mut reply = Self::json(problem.status, &problem);
        reply.headers = vec!["Content-Type: application/problem+json"];
        reply.headers.extend(problem.header);
        reply
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reply = Reply { status: self.status, headers: Vec::new(), body: Vec::new() };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", "about:blank")?;
        map.serialize_entry("title", reply.reason())?;
        map.serialize_entry("status", &self.status)?;
        map.serialize_entry("code", self.code)?;
        map.serialize_entry("detail", &self.detail)?;
        if let Some(field) = self.field {
            map.serialize_entry("field", field)?;
        }
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
