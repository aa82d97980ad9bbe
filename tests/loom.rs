//! Every order in which threads can reach a core's mailbox, by `loom`: a waiting core is woken
//! (here a lost wake-up is a deadlock), and each message is taken once. Also every order in which
//! two threads can take from the limiter: together they take what one may.
//!
//! The file under test is compiled a second time, against the `sync` and the wake-up below.

#[path = "../src/engine"]
mod engine {
    #[path = "mailbox.rs"]
    pub mod mailbox;
    #[path = "../../tests/schedules/waker.rs"]
    pub mod waker;
}

#[path = "../src/limiter"]
#[expect(dead_code, reason = "its own tests use the rest")]
mod limiter {
    #[path = "table.rs"]
    mod table;

    use crate::limits::RATE_BUCKET_SLOTS;
    use table::{Pace, Table};

    /// A table of one bucket.
    pub struct Bucket(Table);

    impl Bucket {
        pub fn new() -> Self {
            Self(Table::new(RATE_BUCKET_SLOTS))
        }

        /// Whether this key may buy once more, with this burst.
        pub fn take(&self, key: u64, burst: u64, now_ms: u64) -> bool {
            let one = table::STEPS_PER_S;
            // The upper bits of a hash distinguish the keys of one bucket.
            let hash = key << 60;
            self.0.take(hash, Pace { one, burst: burst * one }, now_ms).is_ok()
        }
    }
}

use stampede::limits;

/// In place of `src/sync.rs`.
mod sync {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
    pub use loom::sync::{Condvar, Mutex, MutexGuard};

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("nobody panics with the lock")
    }
}

use std::cell::RefCell;

use engine::mailbox::Mailbox;
use limiter::Bucket;
use loom::sync::Arc;

/// In place of a core: the messages that it has taken, each with its sender.
type Taken = RefCell<Vec<(usize, usize)>>;

/// Threads leave messages while the core takes them. Tries every order with at most this number of
/// preempted threads; without a bound, every order.
fn explore(senders: usize, messages: usize, preemption_bound: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemption_bound;
    model.check(move || {
        let mailbox: Arc<Mailbox<Taken>> =
            Arc::new(Mailbox::new().expect("no descriptor is needed"));
        let threads: Vec<_> = (0..senders)
            .map(|sender| {
                let mailbox = mailbox.clone();
                loom::thread::spawn(move || {
                    for number in 0..messages {
                        let taken = move |core: &'static Taken| {
                            core.borrow_mut().push((sender, number));
                        };
                        mailbox.send(Box::new(taken));
                    }
                })
            })
            .collect();
        let core: &'static Taken = Box::leak(Box::default());
        while core.borrow().len() < senders * messages {
            mailbox.waker.wait();
            mailbox.take().into_iter().for_each(|message| message(core));
        }
        threads.into_iter().for_each(|thread| thread.join().expect("it has sent"));
        assert!(mailbox.take().is_empty(), "a message is taken twice");
        for sender in 0..senders {
            let mut taken = core.borrow().clone();
            taken.retain(|(of, _)| *of == sender);
            let sent: Vec<_> = (0..messages).map(|number| (sender, number)).collect();
            assert_eq!(taken, sent, "in the order in which they were sent");
        }
    });
}

#[test]
fn a_message_wakes_the_core_and_is_taken_once() {
    explore(1, 3, None);
}

#[test]
fn messages_of_several_threads_wake_the_core_and_are_taken_once() {
    explore(2, 1, None);
    explore(2, 2, Some(2));
    explore(3, 1, Some(1));
}

/// Two threads make these purchases each, with this burst. Returns how many succeed.
fn taken(ours: &'static [u64], theirs: &'static [u64], burst: u64, want: usize) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let bucket = Arc::new(Bucket::new());
        let take = move |bucket: &Bucket, keys: &'static [u64]| {
            keys.iter().filter(|key| bucket.take(**key, burst, 1_000)).count()
        };
        let other = bucket.clone();
        let thread = loom::thread::spawn(move || take(&other, theirs));
        let ours = take(&bucket, ours);
        assert_eq!(ours + thread.join().expect("the other thread"), want);
    });
}

#[test]
fn two_threads_share_one_rate_limit_bucket() {
    taken(&[1], &[1], 1, 1);
    taken(&[1, 1], &[1, 1], 3, 3);
    // Two new keys at the same time find a place each, and neither takes from the other's.
    taken(&[1], &[2], 1, 2);
    taken(&[1, 2], &[2, 1], 1, 2);
}
