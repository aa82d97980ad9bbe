//! What the cores of an instance share, by `shuttle`: thousands of random orders of their steps,
//! and others with a few switches at unlucky moments (PCT).
//!
//! The files under test are compiled a second time, against the `sync` and the wake-up below. A
//! failure prints its schedule, which `shuttle::replay` runs again. `shuttle` treats every access
//! as sequentially consistent, so weaker orderings are not tried.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
use stampede::{limits, sale};

#[path = "../src/engine"]
#[expect(dead_code, reason = "the server uses the rest")]
mod engine {
    #[path = "handover.rs"]
    pub mod handover;
    #[path = "mailbox.rs"]
    pub mod mailbox;
    #[path = "permits.rs"]
    pub mod permits;
    #[path = "../../tests/schedules/waker.rs"]
    mod waker;
}

#[path = "../src/ledger"]
mod ledger {
    #[path = "refused.rs"]
    pub mod refused;
}

#[path = "../src/stock"]
#[expect(dead_code, reason = "the server uses the rest")]
mod stock {
    #[path = "allowances.rs"]
    pub mod allowances;
    #[path = "fleet.rs"]
    pub mod fleet;
    #[path = "shard.rs"]
    pub mod shard;
}

/// In place of `src/sync.rs`.
mod sync {
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub use shuttle::sync::{Condvar, Mutex, MutexGuard};

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("nobody panics with the lock")
    }
}

#[path = "schedules/ends.rs"]
mod ends;
#[path = "schedules/sells.rs"]
mod sells;

/// Random orders, and as many with few switches.
const RUNS: usize = 1_000;
/// Number of unlucky switches that can break what is tested here.
const SWITCHES: usize = 3;

fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Config::new();
    // It warns about weaker orderings.
    config.silence_warnings = true;
    Runner::new(RandomScheduler::new(RUNS), config.clone()).run(test.clone());
    Runner::new(PctScheduler::new(SWITCHES, RUNS), config).run(test);
}

/// Runs one thread per core.
fn on_each_core<T: Send + 'static>(
    cores: usize,
    body: impl Fn(usize) -> T + Send + Clone + 'static,
) -> Vec<T> {
    let threads: Vec<_> = (0..cores)
        .map(|core| {
            let body = body.clone();
            shuttle::thread::spawn(move || body(core))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
}
