//! In place of the eventfd by which a core is woken and the gate that watches it: a wait that ends
//! when the counter has left 0 since the last one. The kernel tells of more than that, of every
//! wake-up, but a mailbox needs no more.

use std::io;

use crate::sync::{Condvar, Mutex, lock};

#[derive(Default)]
struct State {
    woken: bool,
    news: bool,
}

pub struct Wakeup {
    state: Mutex<State>,
    changed: Condvar,
}

impl Wakeup {
    pub fn new() -> io::Result<Self> {
        Ok(Self { state: Mutex::new(State::default()), changed: Condvar::new() })
    }

    pub fn wake(&self) {
        let mut state = lock(&self.state);
        if !state.woken {
            *state = State { woken: true, news: true };
            self.changed.notify_one();
        }
    }

    pub fn clear(&self) {
        lock(&self.state).woken = false;
    }

    /// What the core does: waits until the gate has news.
    pub fn wait(&self) {
        let mut state = lock(&self.state);
        while !state.news {
            state = self.changed.wait(state).expect("nobody panics with the lock");
        }
        state.news = false;
    }
}
