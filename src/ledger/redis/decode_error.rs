//! The errors of Redis, and what each of them proves.
//!
//! An error may count as a refusal only if it proves that nothing was written. If a lost reply were
//! classified as refused, a unit could be sold twice, or a buyer told no although he holds one.

use redis::ServerError;

use crate::ledger::LedgerError;

/// Why the replies to a group are not a [`GroupReply`](crate::ledger::GroupReply).
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
    /// Whether this Redis is no longer the primary, or the wrong one: a new connection finds the
    /// primary, or reports that there is none.
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

/// An error reply as Redis sent it: the code first.
pub(super) fn error_text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// Classifies an error reply by what it proves.
pub(super) fn classify(error: &ServerError) -> DecodeError {
    let text = error_text(error);
    match error.code() {
        "NOSCRIPT" => DecodeError::NoScript,
        // From one of our scripts, which knows that it had written nothing: lua/call.lua. With
        // HALFWAY it had written something.
        "UNDONE" => DecodeError::Refused(error.details().unwrap_or_default().to_owned()),
        // Our own errors, which come before the first write; and those that Redis 7 checks only at
        // a script's first write (script.c, scriptVerifyWriteCommandAllow and scriptVerifyOOM), or
        // at a read, of which none follows a write.
        "STAMPEDE" | "FENCED" | "OOM" | "MISCONF" | "READONLY" | "NOREPLICAS" | "WRONGTYPE" => {
            DecodeError::Refused(text)
        }
        // From before the script began, unless the script's own call was refused.
        "LOADING" | "BUSY" | "NOPERM" | "NOAUTH" | "MOVED" | "ASK" | "TRYAGAIN" | "CROSSSLOT"
        | "CLUSTERDOWN" | "MASTERDOWN"
            if !text.contains("script: ") =>
        {
            DecodeError::Refused(text)
        }
        _ => DecodeError::Lost(text),
    }
}
