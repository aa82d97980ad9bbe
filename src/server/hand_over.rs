//! Giving way to another process, and taking over from one: what the main thread does of it. How the two
//! talk is in [`succession`](super::succession).
//!
//! Servers that share a Redis may sell side by side, so the old one stops accepting and the new one
//! begins, and that is all. An embedded ledger has one owner. The old process first closes, for a moment,
//! each connection after its next answer, so that those who are busy come anew; then it stops accepting,
//! answers what is under way, and closes the ledger. Meanwhile the new one accepts, and purchases wait
//! there until it has opened the ledger: that is the pause.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::error::RunError;
use super::event::{Event, SaleStart};
use super::ledger::Ledger;
use super::listening::Socket;
use super::notify;
use super::succession::{Predecessor, Successor};
use super::watchdog::Watchdog;
use super::{Heard, Server};
use crate::ledger::link::LinkState;
use crate::limits::{
    HAND_OVER_CLOSE_MS, HAND_OVER_LEAVE_MS, HAND_OVER_PATIENCE_MS, STARTUP_WAIT_MS,
};
use crate::sale::SaleId;

/// Time between two looks at whether anybody is still here.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Server {
    /// Starts the process that is to take over, unless that can't be.
    pub(super) fn bring_up_successor(&mut self, sockets: &[Socket]) {
        let refuse = |reason| tracing::warn!(reason, "no hand-over to a new process");
        if self.hands_over {
            return refuse("one is under way");
        }
        if std::process::id() == 1 {
            return refuse("this is process 1, whose end is its container's; restart that");
        }
        tracing::info!("a new process is started that takes over");
        let events = self.events.clone();
        let done = move |brought_up| _ = events.send(Event::Successor(brought_up));
        match Successor::start(sockets.to_vec(), done) {
            Ok(()) => self.hands_over = true,
            Err(error) => tracing::error!(%error, "no new process took over; this one goes on"),
        }
    }

    /// While we still accept: has those who are busy come anew where the ledger must be closed before
    /// anybody else can sell.
    pub(super) fn prepare_to_give_way(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        successor: &Successor,
    ) -> Result<(), RunError> {
        let (pid, version) = (successor.pid(), &successor.version);
        tracing::info!(pid, version, "giving way to a new process");
        notify::successor(pid);
        self.status.hands_over.store(true, Ordering::SeqCst);
        if !ledger.has_one_owner() {
            return Ok(());
        }
        self.status.engine.leave();
        let until = Instant::now() + Duration::from_millis(HAND_OVER_LEAVE_MS);
        self.hear_until(ledger, watchdog, until, |_| false)
    }

    /// Lets the other process accept. Where both may sell, serves those who are here until they have
    /// their next answers, as long as a drain may take.
    pub(super) fn give_way(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        successor: &Successor,
    ) -> Result<(), RunError> {
        self.status.engine.give_up_listening();
        if let Err(error) = successor.let_take() {
            // Its end is in its log, and whoever supervises us sees it.
            tracing::error!(%error, "the new process is gone; nobody accepts any more");
        }
        if ledger.has_one_owner() {
            return Ok(());
        }
        let until = Instant::now() + Duration::from_millis(self.drain_times.timeout_ms);
        self.hear_until(ledger, watchdog, until, |server| {
            server.status.engine.connections.taken() == 0
        })
    }

    /// Goes on to hear until this time, or until it is done, or told to end.
    fn hear_until(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        until: Instant,
        is_done: impl Fn(&Self) -> bool,
    ) -> Result<(), RunError> {
        while Instant::now() < until && !is_done(self) {
            let left = until.saturating_duration_since(Instant::now()).min(LOOK_INTERVAL);
            if let Heard::End = self.hear(ledger, watchdog, left)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits until this process could sell, and until it is to. Gives what became of the sales; `None`
    /// where the ledger is still another process'.
    pub(super) fn take_over(
        &mut self,
        predecessor: &Predecessor,
        waits_for_ledger: bool,
    ) -> Result<Option<Vec<(SaleId, SaleStart)>>, RunError> {
        let refuse = |reason: String| Err(RunError::NotTakenOver(reason));
        let started = if waits_for_ledger {
            // What comes meanwhile waits as long as that takes.
            let most = self.status.config.waiting_max;
            self.status.patience.change(most, HAND_OVER_PATIENCE_MS);
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
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
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

    /// Waits until the process before has closed its embedded ledger and this one has opened it.
    pub(super) fn await_ledger(&mut self) -> Result<(), RunError> {
        let since = Instant::now();
        let most_ms = self.drain_times.timeout_ms + 2 * HAND_OVER_CLOSE_MS;
        let until = since + Duration::from_millis(most_ms);
        let mut told_to_end = false;
        loop {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Signal) => told_to_end = true,
                Ok(Event::LedgerOpen(opened)) => {
                    opened?;
                    let config = &self.status.config;
                    self.status.patience.change(config.waiting_max, config.ledger_timeout_ms);
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
