//! The end of a server: whoever sends buyers here is given time to stop, what is under way is
//! finished, the rest is told.

use std::time::{Duration, Instant};

use super::error::RunError;
use super::event::Event;
use super::ledger::Ledger;
use super::notify;
use super::watchdog::Watchdog;
use super::{Heard, Server};

impl Server {
    /// For the time of the setting: serves on, but is not ready, and closes each connection after
    /// its answer. A layer in front that looks at `/readyz` sends nobody any more, and a proxy that
    /// keeps connections has none left when the listeners close.
    pub(super) fn leave(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
    ) -> Result<(), RunError> {
        self.status.engine.leave();
        notify::stopping("draining");
        let delay_ms = self.drain_times.delay_ms;
        if delay_ms == 0 {
            return Ok(());
        }
        tracing::info!(delay_ms, "not ready any more; a second signal ends at once");
        let until = Instant::now() + Duration::from_millis(delay_ms);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if let Heard::End = self.hear(ledger, watchdog, left.min(super::WATCHDOG_INTERVAL))? {
                return Err(RunError::Interrupted);
            }
        }
    }

    /// No new connections, idle ones closed, requests in flight answered; then it ends, or when
    /// the time is up.
    pub(super) fn drain(&mut self) -> Result<(), RunError> {
        let timeout_ms = self.drain_times.timeout_ms;
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        let open = self.status.engine.connections.taken();
        tracing::info!(connections = open, timeout_ms, "draining; a second signal ends at once");
        self.status.engine.drain();
        let mut left = self.status.engine.cores();
        while left > 0 {
            let time = until.saturating_duration_since(Instant::now());
            match self.heard.recv_timeout(time.min(super::WATCHDOG_INTERVAL)) {
                Ok(Event::Drained) => left -= 1,
                Ok(Event::Signal) => return Err(RunError::Interrupted),
                Ok(_) => {}
                Err(_) if Instant::now() < until => notify::alive(),
                Err(_) => {
                    let open = self.status.engine.connections.taken();
                    tracing::warn!(connections = open, "the time to drain is up");
                    return Ok(());
                }
            }
        }
        tracing::info!("drained");
        Ok(())
    }
}
