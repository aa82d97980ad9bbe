//! A control thread and its queue.
//!
//! There are two. Requests that may take long (an audit, a list of reservations, anything that uses
//! the database of orders) have their own thread, so that reading a sale does not wait for them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::api::Api;
use super::change_log::log_change;
use super::request::{Reply, Request};
use crate::code::ErrorCode;
use crate::engine::http::{Kind, Problem};
use crate::engine::oneshot::Sender;
use crate::limits::{CONTROL_SWEEP_INTERVAL_MS, CONTROL_WAITING_MAX};

/// Interval of the check for snapshots that are too old.
const SWEEP_INTERVAL: Duration = Duration::from_millis(CONTROL_SWEEP_INTERVAL_MS);

/// A request, and the sender of its reply.
struct Job {
    request: Request,
    reply: Sender<Reply>,
}

/// A thread that carries out requests one after the other, with a blocking client of the ledger.
pub(super) struct Worker(SyncSender<Job>);

impl Worker {
    /// Starts it.
    pub(super) fn start(name: &str, api: Api) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(CONTROL_WAITING_MAX);
        thread::Builder::new().name(name.into()).spawn(move || run(api, &waiting))?;
        Ok(Self(jobs))
    }

    /// Submits a request. An error: it can't be submitted.
    pub(super) fn ask(&self, request: Request, reply: Sender<Reply>) -> Result<(), Problem> {
        self.0.try_send(Job { request, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Problem::new(
                ErrorCode::Busy,
                "Too many requests are waiting at the control port; nothing was done.",
            ),
            TrySendError::Disconnected(_) => Problem::of(Kind::INTERNAL),
        })
    }
}

fn run(mut api: Api, waiting: &Receiver<Job>) {
    let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
    loop {
        match waiting.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
            Ok(Job { request, reply }) => {
                // A panic costs this request only.
                let answered = catch_unwind(AssertUnwindSafe(|| api.answer(&request)));
                let answer = answered.unwrap_or_else(|_| Problem::of(Kind::INTERNAL).into());
                log_change(&request, &answer);
                reply.send(answer);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if Instant::now() >= next_sweep {
            api.forget_old_snapshot(Instant::now());
            next_sweep = Instant::now() + SWEEP_INTERVAL;
        }
    }
}
