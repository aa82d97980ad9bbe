//! What a control thread is given to do, and its life.
//!
//! There are two. What may take long (an audit, a list of reservations, whatever asks the database of
//! orders) has a thread of its own, so that nobody who looks at a sale waits for it.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::api::Api;
use super::change_log::log_change;
use super::request::{Reply, Request};
use crate::code::Code;
use crate::engine::http::{Kind, Problem};
use crate::engine::promise::Promise;
use crate::limits::{CONTROL_SWEEP_INTERVAL_MS, CONTROL_WAITING_MAX};

/// Time between two looks at whether what is kept for a client is too old.
const SWEEP_INTERVAL: Duration = Duration::from_millis(CONTROL_SWEEP_INTERVAL_MS);

/// A request, and where its connection waits for the reply.
struct Job {
    request: Request,
    reply: Promise<Reply>,
}

/// A thread that carries out one request after the other, with a blocking client of the ledger.
pub(super) struct Lane(SyncSender<Job>);

impl Lane {
    /// Starts it.
    pub(super) fn start(name: &str, api: Api) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(CONTROL_WAITING_MAX);
        thread::Builder::new().name(name.into()).spawn(move || run(api, &waiting))?;
        Ok(Self(jobs))
    }

    /// Leaves it a request, or says why it can't.
    pub(super) fn ask(&self, request: Request, reply: Promise<Reply>) -> Result<(), Problem> {
        self.0.try_send(Job { request, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Problem::new(
                Code::Busy,
                "Too many requests wait at the control port; nothing happened.",
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
                // A panic costs the one request.
                let answered = catch_unwind(AssertUnwindSafe(|| api.answer(&request)));
                let answer = answered.unwrap_or_else(|_| Problem::of(Kind::INTERNAL).into());
                log_change(&request, &answer);
                reply.keep(answer);
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
