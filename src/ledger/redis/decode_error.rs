//! Redis' errors, and what they prove.
//!
//! Only an error that shows that nothing was written may say so: a lost answer that is called
//! refused is a unit sold twice, or a customer told no who has one.

use redis::ServerError;

use crate::ledger::LedgerError;

/// Why the replies to a group are no [`GroupReply`](crate::ledger::GroupReply).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The scripts are not loaded, so nothing was carried out: load them and send the group again.
    #[error("the scripts are not loaded")]
    NoScript,
    /// Nothing was carried out.
    #[error("{0}")]
    Refused(String),
    /// Some of it may have been carried out.
    #[error("{0}")]
    Lost(String),
}

impl DecodeError {
    /// Whether this Redis is the primary no longer, or the wrong one: a connection made anew finds
    /// the primary, or says that there is none.
    pub fn is_demotion(&self) -> bool {
        let refused = matches!(self, Self::Refused(text) if text.starts_with("READONLY"));
        refused || self.fenced_by().is_some()
    }

    /// The epoch of the sale, if it is later than that of the connection.
    pub fn fenced_by(&self) -> Option<u64> {
        let Self::Refused(text) = self else { return None };
        text.strip_prefix("FENCED ")?.split(' ').next()?.parse().ok()
    }
}

impl From<DecodeError> for LedgerError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::NoScript => Self::Refused(error.to_string()),
            DecodeError::Refused(text) => Self::Refused(text),
            DecodeError::Lost(text) => Self::Lost(text),
        }
    }
}

impl From<LedgerError> for DecodeError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(text) => Self::Refused(text),
            LedgerError::Lost(text) => Self::Lost(text),
        }
    }
}

/// An error reply as Redis sent it: its code first.
pub(super) fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// What an error reply proves.
pub(super) fn classify(error: &ServerError) -> DecodeError {
    let text = error_text(error);
    match error.code() {
        "NOSCRIPT" => DecodeError::NoScript,
        // Of a script of ours, which knows that it had written nothing: lua/call.lua. With HALFWAY it had
        // written something.
        "UNDONE" => DecodeError::Refused(error.details().unwrap_or_default().to_owned()),
        // Our own, before the first write; and what Redis 7 checks only at a script's first write
        // (script.c, scriptVerifyWriteCommandAllow and scriptVerifyOOM), or at a read, of which
        // none comes behind a write.
        "STAMPEDE" | "FENCED" | "OOM" | "MISCONF" | "READONLY" | "NOREPLICAS" | "WRONGTYPE" => {
            DecodeError::Refused(text)
        }
        // From before the script began, unless it is the script's own call that was turned down.
        "LOADING" | "BUSY" | "NOPERM" | "NOAUTH" | "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT"
        | "CLUSTERDOWN" | "MASTERDOWN"
            if !text.contains("script: ") =>
        {
            DecodeError::Refused(text)
        }
        _ => DecodeError::Lost(text),
    }
}
