//! The caller of a request at the control port.

use std::net::SocketAddr;

use crate::engine::http::Head;
use crate::limits::OPERATOR_BYTES_MAX;
use crate::trace::Trace;

/// The header in which a client may name its operator. It is not verified.
pub const OPERATOR: &str = "X-Operator";

/// The caller of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name of the credential.
    pub credential: String,
    /// The operator that the client names.
    pub operator: Option<String>,
    /// The address that the request came from.
    pub from: Option<SocketAddr>,
    /// The request id and trace.
    pub trace: Option<Trace>,
}

impl Caller {
    /// A command of this program that accesses the ledger directly.
    pub fn direct(operator: Option<String>) -> Self {
        Self { credential: "direct".to_owned(), operator, ..Self::default() }
    }

    /// The shop, at the public port.
    pub fn shop(credential: String, trace: Option<Trace>) -> Self {
        Self { credential, trace, ..Self::default() }
    }

    /// The sender of this request, with its credential.
    pub(super) fn of(head: &Head<'_>, credential: String, from: Option<SocketAddr>) -> Self {
        let mut named = head.values(OPERATOR);
        let name = named.next().filter(|_| named.next().is_none());
        let operator = name.and_then(|name| operator_name(str::from_utf8(name).ok()?));
        Self { credential, operator, from, trace: head.trace() }
    }
}

/// A valid name for the log: visible characters, and not too long.
pub fn operator_name(text: &str) -> Option<String> {
    let sound = (1..=OPERATOR_BYTES_MAX).contains(&text.len());
    (sound && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_name_is_visible_ascii_and_bounded() {
        assert_eq!(operator_name("ann@host").as_deref(), Some("ann@host"));
        let longest = "x".repeat(OPERATOR_BYTES_MAX);
        assert_eq!(operator_name(&longest), Some(longest.clone()));
        for wrong in ["", "ann smith", "a\nb", "\u{e9}", &(longest + "x")] {
            assert_eq!(operator_name(wrong), None, "{wrong}");
        }
    }
}
