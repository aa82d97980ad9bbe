//! Clients of a ledger outside the workers of a server.

use std::sync::Arc;
use std::time::Duration;

use crate::config::LedgerSetting;
use crate::ledger::client::Client;
use crate::ledger::embedded::{EmbeddedClient, Handle, OfflineClient};
use crate::ledger::redis::{RedisClient, RedisLedger};
use crate::limits::CLIENT_ANSWER_DEADLINE_MS;

/// A client that opens the ledger of a setting. An embedded ledger must exist, and no server may use it.
/// Redis lists the client under `name`.
pub fn open_client(setting: &LedgerSetting, name: &str) -> Result<Box<dyn Client>, String> {
    match setting {
        LedgerSetting::Embedded(folder) => {
            let client = OfflineClient::open(folder, false).map_err(|error| error.to_string())?;
            Ok(Box::new(client))
        }
        LedgerSetting::Redis(setting) => Ok(redis_client(Arc::new(setting.ledger()?), name)),
    }
}

/// A client of a Redis ledger. It connects on first use.
pub fn redis_client(ledger: Arc<RedisLedger>, name: &str) -> Box<dyn Client> {
    Box::new(RedisClient::new(ledger, name))
}

/// A client of the embedded ledger of this process.
pub fn embedded_client(handle: Handle) -> Box<dyn Client> {
    Box::new(EmbeddedClient::new(handle, Duration::from_millis(CLIENT_ANSWER_DEADLINE_MS)))
}
