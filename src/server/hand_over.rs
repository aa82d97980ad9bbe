//! Handing over to a new process, and taking over from the previous one: the main thread's part.
//! The protocol between the two is in [`succession`](super::succession).
//!
//! Servers that share a Redis may sell at the same time, so the old one stops accepting when the
//! new one begins. An embedded ledger has one owner. So the old process first closes each
//! connection after its next answer, for a moment, so that busy clients reconnect. Then it stops
//! accepting, answers pending requests, and closes the ledger. Meanwhile the new process accepts
//! connections, and purchases wait until it has opened the ledger: that is the pause.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::RunError;
use super::event::{Event, SaleStart};
use super::ledger::Ledger;
use super::listening::Socket;
use super::notify;
use super::succession::{Predecessor, Successor};
use super::watchdog::Watchdog;
use super::{Server, Step};
use crate::ledger::link::LinkState;
use crate::limits::{
    HAND_OVER_CLOSE_MS, HAND_OVER_LEAVE_MS, HAND_OVER_PATIENCE_MS, STARTUP_WAIT_MS,
};
use crate::sale::SaleId;

/// Interval of the check whether connections are left.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Server {
    /// Starts the process that is to take over, unless that is impossible.
    pub(super) fn bring_up_successor(&mut self, sockets: &[Socket]) {
        let refuse = |reason| tracing::warn!(reason, "hand-over not possible");
        if self.hands_over {
            return refuse("one is under way");
        }
        if std::process::id() == 1 {
            return refuse("this is process 1, whose end is its container's; restart that");
        }
        tracing::info!("hand-over: new process started");
        let events = self.events.clone();
        let done = move |brought_up| _ = events.send(Event::Successor(brought_up));
        match Successor::start(sockets.to_vec(), done) {
            Ok(()) => self.hands_over = true,
            Err(error) => tracing::error!(%error, "hand-over failed; this process goes on"),
        }
    }

    /// While still accepting: closes busy connections after their answers, so that the clients
    /// reconnect. Only for a ledger that must be closed before the new process can sell.
    pub(super) fn prepare_hand_over(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        successor: &Successor,
    ) -> Result<(), RunError> {
        let (pid, version) = (successor.pid(), &successor.version);
        tracing::info!(pid, version, "hand-over: new process takes over");
        notify::successor(pid);
        self.status.hands_over.store(true, Ordering::SeqCst);
        if !ledger.has_one_owner() {
            return Ok(());
        }
        self.status.engine.leave();
        let until = Instant::now() + Duration::from_millis(HAND_OVER_LEAVE_MS);
        self.run_until(ledger, watchdog, until, |_| false)
    }

    /// Lets the new process accept. If both may sell, serves the remaining clients until they have
    /// their next answers, at most for the time of a drain.
    pub(super) fn hand_over(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        successor: &Successor,
    ) -> Result<(), RunError> {
        self.status.engine.give_up_listening();
        if let Err(error) = successor.allow_take_over() {
            // Its own log has the reason, and the supervisor sees that it ended.
            tracing::error!(%error, "hand-over failed: the new process is gone and no process accepts connections");
        }
        if ledger.has_one_owner() {
            return Ok(());
        }
        let until = Instant::now() + Duration::from_millis(self.drain_times.timeout_ms);
        self.run_until(ledger, watchdog, until, |server| {
            server.status.engine.connections.in_use() == 0
        })
    }

    /// Handles events until this time, or until `done` or a shutdown.
    fn run_until(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        until: Instant,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<(), RunError> {
        while Instant::now() < until && !is_done(self) {
            let left = until.saturating_duration_since(Instant::now()).min(LOOK_INTERVAL);
            if let Step::End = self.next_step(ledger, watchdog, left)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits until this process can sell, and until it is to take over. Returns the state of the
    /// sales; `None` if the previous process still has the ledger.
    pub(super) fn take_over(
        &mut self,
        predecessor: &Predecessor,
        waits_for_ledger: bool,
    ) -> Result<Option<Vec<(SaleId, SaleStart)>>, RunError> {
        let refuse = |reason: String| Err(RunError::NotTakenOver(reason));
        let started = if waits_for_ledger {
            // Requests that come meanwhile wait for the ledger to be opened.
            let most = self.status.config.waiting_max;
            self.status.queue_limits.set(most, HAND_OVER_PATIENCE_MS);
            self.wait_for_links()?;
            None
        } else {
            let started = self.wait_for_sales()?;
            if let Some(reason) = self.away() {
                return refuse(format!("the ledger can't be reached: {reason}"));
            }
            match started {
                Some(started) => Some(started),
                None => return refuse("told to end".to_owned()),
            }
        };
        match predecessor.take_over() {
            Ok(()) => Ok(started),
            Err(error) => refuse(error.to_string()),
        }
    }

    /// Waits until every core runs.
    fn wait_for_links(&mut self) -> Result<(), RunError> {
        let until = Instant::now() + Duration::from_millis(STARTUP_WAIT_MS);
        while self.links.iter().any(|link| *link != Some(LinkState::Up)) {
            match self.events_rx.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Link(core, state)) => self.links[core] = Some(state),
                Ok(Event::Failed(error)) => return Err(error.into()),
                Ok(Event::LedgerOpen(opened)) => opened?,
                Ok(Event::Signal) => {
                    return Err(RunError::NotTakenOver("told to end".to_owned()));
                }
                Ok(_) => {}
                Err(_) => {
                    return Err(RunError::NotTakenOver("the cores did not start".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Waits until the previous process has closed its embedded ledger and this one has opened it.
    pub(super) fn await_ledger(&mut self) -> Result<(), RunError> {
        let since = Instant::now();
        let most_ms = self.drain_times.timeout_ms + 2 * HAND_OVER_CLOSE_MS;
        let until = since + Duration::from_millis(most_ms);
        let mut told_to_end = false;
        loop {
            match self.events_rx.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal) => told_to_end = true,
                Ok(Event::LedgerOpen(opened)) => {
                    opened?;
                    let config = &self.status.config;
                    self.status.queue_limits.set(config.waiting_max, config.ledger_timeout_ms);
                    let paused_ms = since.elapsed().as_millis() as u64;
                    tracing::info!(paused_ms, "took over the ledger");
                    if told_to_end {
                        let _ = self.events.send(Event::Signal);
                    }
                    return Ok(());
                }
                Ok(Event::Failed(error)) => return Err(error.into()),
                Ok(Event::Link(core, state)) => self.links[core] = Some(state),
                Ok(Event::DrainTimes(times)) => self.drain_times = times,
                Ok(_) => {}
                Err(_) => {
                    let told = "the ledger was not closed in time";
                    return Err(RunError::NotTakenOver(told.to_owned()));
                }
            }
        }
    }
}
