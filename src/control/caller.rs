//! Who asks the control port for something.

use std::net::SocketAddr;

use crate::engine::http::Head;
use crate::limits::OPERATOR_BYTES_MAX;
use crate::trace::Trace;

/// The header in which a client may say which person it is. Nobody checks that.
pub const OPERATOR: &str = "X-Operator";

/// Who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// What let him in.
    pub credential: String,
    /// Who he says he is.
    pub operator: Option<String>,
    /// Where the request came from.
    pub from: Option<SocketAddr>,
    /// How it is found again.
    pub trace: Option<Trace>,
}

impl Caller {
    /// Who goes straight to the ledger with a command of this program.
    pub fn direct(operator: Option<String>) -> Self {
        Self { credential: "direct".to_owned(), operator, ..Self::default() }
    }

    /// The shop, at the buyers' port.
    pub fn shop(credential: String, trace: Option<Trace>) -> Self {
        Self { credential, trace, ..Self::default() }
    }

    /// Who has sent this request from there, and was let in for this.
    pub(super) fn of(head: &Head<'_>, credential: String, from: Option<SocketAddr>) -> Self {
        let mut named = head.values(OPERATOR);
        let name = named.next().filter(|_| named.next().is_none());
        let operator = name.and_then(|name| operator_name(str::from_utf8(name).ok()?));
        Self { credential, operator, from, trace: head.trace() }
    }
}

/// A name as it may stand in the log: visible and not too long.
pub fn operator_name(text: &str) -> Option<String> {
    let sound = (1..=OPERATOR_BYTES_MAX).contains(&text.len());
    (sound && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_visible_and_short() {
        assert_eq!(operator_name("ann@host").as_deref(), Some("ann@host"));
        let longest = "x".repeat(OPERATOR_BYTES_MAX);
        assert_eq!(operator_name(&longest), Some(longest.clone()));
        for wrong in ["", "ann smith", "a\nb", "\u{e9}", &(longest + "x")] {
            assert_eq!(operator_name(wrong), None, "{wrong}");
        }
    }
}
