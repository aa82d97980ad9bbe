//! `/metrics`: collects the counters on request.
//!
//! Architecture invariant: it reads counters that others write, and queries no core and no ledger.
//! While it reads the lists of sales, a core that meets a sale for the first time waits for it.

mod connections;
mod format;
mod ledger;
mod live;
mod process;
mod purchases;
mod writer;
mod gatekeeper;
mod background;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use crate::status::Status;

pub use format::Format;
pub use live::LiveServer;
use process::Process;
use writer::MetricsWriter;

/// See the module's header.
pub struct Metrics(Registry);

impl Metrics {
    /// The metrics of a running server.
    pub fn new(status: Arc<Status>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Process::started_now()));
        let stampede = registry.sub_registry_with_prefix("stampede");
        stampede.register_collector(Box::new(Server(status)));
        Self(registry)
    }

    /// All metrics, as they are now.
    pub fn write(&self, format: Format) -> Vec<u8> {
        let mut open_metrics = String::new();
        if let Err(error) = text::encode(&mut open_metrics, &self.0) {
            tracing::error!(%error, "metrics can't be written");
        }
        format.of(open_metrics).into_bytes()
    }
}

/// The server's own metrics.
struct Server(Arc<Status>);

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

impl Collector for Server {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = MetricsWriter(encoder);
        let status = &*self.0;
        metrics.info(
            "build",
            "The version that runs.",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        purchases::write(&mut metrics, status)?;
        gatekeeper::write(&mut metrics, status)?;
        ledger::write(&mut metrics, status)?;
        connections::write(&mut metrics, status)?;
        background::write(&mut metrics, status)
    }
}
