//! The shutdown of a server: load balancers get time to send buyers elsewhere, requests that have
//! begun are answered, and everything else is refused.

use std::time::{Duration, Instant};

use super::error::RunError;
use super::event::Event;
use super::ledger::Ledger;
use super::notify;
use super::watchdog::Watchdog;
use super::{Server, Step};

impl Server {
    /// For the configured delay, the server keeps serving but is not ready, and closes each
    /// connection after its answer. A load balancer that checks `/readyz` sends no new clients. A
    /// proxy that keeps connections open has none left when the listeners close.
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
        tracing::info!(delay_ms, "drain delay started; a second signal ends at once");
        let until = Instant::now() + Duration::from_millis(delay_ms);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if let Step::End =
                self.next_step(ledger, watchdog, left.min(super::WATCHDOG_INTERVAL))?
            {
                return Err(RunError::Interrupted);
            }
        }
    }

    /// Stops accepting, closes idle connections, and answers requests that have begun. Ends when
    /// that is done or the time is up.
    pub(super) fn drain(&mut self) -> Result<(), RunError> {
        let timeout_ms = self.drain_times.timeout_ms;
        let until = Instant::now() + Duration::from_millis(timeout_ms);
        let open = self.status.engine.connections.in_use();
        tracing::info!(connections = open, timeout_ms, "draining; a second signal ends at once");
        self.status.engine.drain();
        let mut left = self.status.engine.cores();
        while left > 0 {
            let time = until.saturating_duration_since(Instant::now());
            match self.events_rx.recv_timeout(time.min(super::WATCHDOG_INTERVAL)) {
                Ok(Event::Drained) => left -= 1,
                Ok(Event::Signal) => return Err(RunError::Interrupted),
                Ok(_) => {}
                Err(_) if Instant::now() < until => notify::alive(),
                Err(_) => {
                    let open = self.status.engine.connections.in_use();
                    tracing::warn!(connections = open, "drain timeout reached; closing the rest");
                    return Ok(());
                }
            }
        }
        tracing::info!("drained");
        Ok(())
    }
}
