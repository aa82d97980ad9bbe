//! State that the threads of a load share: the stop flag, the start of the load, and the numbers of
//! the progress line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::settings::Plan;
use crate::error::{Because, Result};
use crate::process::{Cpu, Interrupted};

/// State that the threads share.
pub struct Shared {
    pub(super) interrupted: Interrupted,
    pub(super) stop: AtomicBool,
    /// Whether a thread could not open its connections.
    pub(super) failed: AtomicBool,
    pub(super) done: AtomicUsize,
    /// Start of the load.
    pub(super) origin: OnceLock<Instant>,
    /// The server's process, its CPU at the start, and the time of the last answer.
    pub(super) watched: Option<u32>,
    pub(super) used_before: OnceLock<Result<Cpu>>,
    pub(super) used_after: OnceLock<Result<Cpu>>,
    /// Threads that have read their last answer.
    pub(super) ended: AtomicUsize,
    /// The progress of each thread.
    pub(super) progress: Vec<Progress>,
}

/// The progress of a thread. It has its own cache line, because the thread writes it often.
#[derive(Default)]
#[repr(align(128))]
pub struct Progress {
    pub(super) open: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) grants: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) backlog: AtomicU64,
}

impl Shared {
    pub(super) fn new(plan: &Plan, interrupted: Interrupted) -> Self {
        Self {
            interrupted,
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            origin: OnceLock::new(),
            watched: plan.watch,
            used_before: OnceLock::new(),
            used_after: OnceLock::new(),
            ended: AtomicUsize::new(0),
            progress: (0..plan.cores.len()).map(|_| Progress::default()).collect(),
        }
    }

    /// Starts the load and returns its start time.
    pub(super) fn begin(&self) -> Instant {
        *self.origin.get_or_init(|| {
            if let Some(pid) = self.watched {
                self.used_before.get_or_init(|| Cpu::of_tree(pid));
            }
            Instant::now()
        })
    }

    /// Marks a thread as done while it still has all its connections.
    pub(super) fn end(&self) {
        let last = self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.progress.len();
        if let (true, Some(pid)) = (last, self.watched) {
            self.used_after.get_or_init(|| Cpu::of_tree(pid));
        }
    }

    /// CPU of the server during the load, in microseconds: in total, and in user space.
    pub(super) fn used(self) -> Result<Option<(f64, f64)>> {
        let Some(pid) = self.watched else { return Ok(None) };
        match (self.used_before.into_inner(), self.used_after.into_inner()) {
            (Some(before), Some(after)) => {
                let read = || format!("--watch {pid}");
                Ok(Some(after.because(read)?.us_since(before.because(read)?)))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.interrupted.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn sum(&self, of: impl Fn(&Progress) -> &AtomicU64) -> u64 {
        self.progress.iter().map(|progress| of(progress).load(Ordering::Relaxed)).sum()
    }
}
