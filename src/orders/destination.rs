//! Where the changes of an embedded ledger go: to a database, or as webhooks to a receiver.

use std::fmt;

use super::database::DatabaseError;
use super::database_url::DatabaseUrl;
use super::webhooks::{self, WebhookOptions};

/// See the module's header. Shows itself without what is secret.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A database, which keeps a row per reservation.
    Database(DatabaseUrl),
    /// A receiver.
    Webhooks(Box<WebhookOptions>),
}

impl Destination {
    /// The database, if that is what it is.
    pub fn database(&self) -> Option<&DatabaseUrl> {
        match self {
            Self::Database(url) => Some(url),
            Self::Webhooks(_) => None,
        }
    }

    /// Up to where the changes of this source have got there, for good. Also while somebody else is at
    /// it.
    ///
    /// # Errors
    /// Nobody can say.
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
