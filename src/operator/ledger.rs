//! Clients of a ledger for who is no core.

use std::sync::Arc;
use std::time::Duration;

use crate::config::LedgerSetting;
use crate::ledger::client::Client;
use crate::ledger::embedded::{EmbeddedClient, Handle, OfflineClient};
use crate::ledger::redis::{RedisClient, RedisLedger};
use crate::limits::CLIENT_ANSWER_DEADLINE_MS;

/// A client straight to the ledger of a setting. The embedded one must be there, and no server may
/// have it. `name` is what Redis shows for the client.
pub fn open_client(setting: &LedgerSetting, name: &str) -> Result<Box<dyn Client>, String> {
    match setting {
        LedgerSetting::Embedded(folder) => {
            let client = OfflineClient::open(folder, false).map_err(|error| error.to_string())?;
            Ok(Box::new(client))
        }
        LedgerSetting::Redis(setting) => Ok(redis_client(Arc::new(setting.ledger()?), name)),
    }
}

/// A client of a Redis ledger. It connects when it is first used.
pub fn redis_client(ledger: Arc<RedisLedger>, name: &str) -> Box<dyn Client> {
    Box::new(RedisClient::new(ledger, name))
}

/// A client of the embedded ledger of this process.
pub fn embedded_client(handle: Handle) -> Box<dyn Client> {
    Box::new(EmbeddedClient::new(handle, Duration::from_millis(CLIENT_ANSWER_DEADLINE_MS)))
}
