//! `/metrics`: what the cores have counted, put together when somebody asks.
//!
//! Architecture invariant: it reads what others write, and asks no core and no ledger. While it reads the
//! lists of sales, a core that meets a sale for the first time waits for it.

mod connections;
mod format;
mod ledger;
mod process;
mod purchases;
mod sheet;
mod turnstile;
mod upkeep;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::status::Status;

pub use format::Format;
use process::Process;
use sheet::Sheet;

/// See the module's header.
pub struct Metrics(Registry);

impl Metrics {
    /// Of a running server.
    pub fn new(status: Arc<Status>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::started_now()));
        let stampede = registry.sub_registry_with_prefix("stampede");
        stampede.register_collector(Box::new(Server(status)));
        Self(registry)
    }

    /// All of them, as they are now.
    pub fn write(&self, format: Format) -> Vec<u8> {
        let mut open_metrics = String::new();
        if let Err(error) = text::encode(&mut open_metrics, &self.0) {
            tracing::error!(%error, "metrics can't be written");
        }
        format.of(open_metrics).into_bytes()
    }
}

/// The server's own.
struct Server(Arc<Status>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Collector for Server {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet(encoder);
        let status = &*self.0;
        sheet.info("build", "The version that runs.", &[("version", env!("CARGO_PKG_VERSION"))])?;
        purchases::write(&mut sheet, status)?;
        turnstile::write(&mut sheet, status)?;
        ledger::write(&mut sheet, status)?;
        connections::write(&mut sheet, status)?;
        upkeep::write(&mut sheet, status)
    }
}
