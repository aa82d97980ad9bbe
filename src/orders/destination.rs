//! The destination of an embedded ledger's changes: a database, or a receiver of webhooks.

use std::fmt;

use super::database::DatabaseError;
use super::database_url::DatabaseUrl;
use super::webhooks::{self, WebhookOptions};

/// A destination. Displayed without its secrets.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A database with one row per reservation.
    Database(DatabaseUrl),
    /// A receiver of webhooks.
    Webhooks(Box<WebhookOptions>),
}

impl Destination {
    /// The database, if it is one.
    pub fn database(&self) -> Option<&DatabaseUrl> {
        match self {
            Self::Database(url) => Some(url),
            Self::Webhooks(_) => None,
        }
    }

    /// The durable position of this source's changes there, also while a worker is writing.
    ///
    /// # Errors
    /// The position can't be read.
    pub fn position(&self, source: &str) -> Result<Option<u64>, DatabaseError> {
        match self {
            Self::Database(url) => url.open()?.position(source),
            Self::Webhooks(options) => webhooks::position(&options.state, source),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(url) => url.fmt(f),
            Self::Webhooks(options) => options.to.fmt(f),
        }
    }
}
