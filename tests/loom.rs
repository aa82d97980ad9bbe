//! Every order in which threads can reach a core's mailbox, by `loom`: whoever waits for it is woken
//! (a wake-up that is lost is a deadlock here), and each message is taken once.
//!
//! The file under test is compiled a second time, against the `sync` and the wake-up below.

#[path = "../src/engine"]
mod engine {
    #[path = "mailbox.rs"]
    pub mod mailbox;
    #[path = "../../tests/schedules/wakeup.rs"]
    pub mod wakeup;
}

/// In place of `src/sync.rs`.
mod sync {
    pub use loom::sync::{Condvar, Mutex, MutexGuard};

    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().expect("nobody panics with the lock")
    }
}

use std::cell::RefCell;

use engine::mailbox::Mailbox;
use loom::sync::Arc;

/// In place of a core: the messages that it has taken, each with its sender.
type Taken = RefCell<Vec<(usize, usize)>>;

/// So many threads leave so many messages each, while the core takes them. Every order with so many
/// threads at the most that are interrupted; without a bound, every order.
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
            mailbox.wakeup.wait();
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
