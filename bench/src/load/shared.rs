//! What the threads of a load share: a wish to stop, when the crowd was let in, and numbers for the
//! progress line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use super::settings::Plan;
use crate::error::{Because, Result};
use crate::process::{Cpu, Interrupted};

/// What the threads share.
pub struct Shared {
    pub(super) interrupted: Interrupted,
    pub(super) stop: AtomicBool,
    /// The threads that could not open their connections.
    pub(super) failed: AtomicBool,
    pub(super) done: AtomicUsize,
    /// When the crowd was let in.
    pub(super) origin: OnceLock<Instant>,
    /// The server's process, what it had used then, and when the last answer was read.
    pub(super) watched: Option<u32>,
    pub(super) used_before: OnceLock<Result<Cpu>>,
    pub(super) used_after: OnceLock<Result<Cpu>>,
    /// Threads that have read their last answer.
    pub(super) ended: AtomicUsize,
    /// Of each thread.
    pub(super) progress: Vec<Progress>,
}

/// What a thread tells of itself while it runs. A cache line of its own: it is written often.
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

    /// Lets the crowd in, and says when that was.
    pub(super) fn begin(&self) -> Instant {
        *self.origin.get_or_init(|| {
            if let Some(pid) = self.watched {
                self.used_before.get_or_init(|| Cpu::of_tree(pid));
            }
            Instant::now()
        })
    }

    /// A thread has read its last answer, and has all its connections still.
    pub(super) fn end(&self) {
        let last = self.ended.fetch_add(1, Ordering::Relaxed) + 1 == self.progress.len();
        if let (true, Some(pid)) = (last, self.watched) {
            self.used_after.get_or_init(|| Cpu::of_tree(pid));
        }
    }

    /// What the server used in between, in microseconds: all of it, and in user space.
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
