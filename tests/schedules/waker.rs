//! Stands in for the eventfd that wakes a core and for the gate that watches it: a wait that ends
//! when the counter has left 0 since the last wait. The kernel reports more than that, every
//! wake-up, but a mailbox needs no more.

use std::io;

use crate::sync::{Condvar, Mutex, lock};

#[derive(Default)]
struct State {
    woken: bool,
    news: bool,
}

pub struct Waker {
    state: Mutex<State>,
    changed: Condvar,
}

impl Waker {
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

    /// The core's step: waits until the gate has news.
    pub fn wait(&self) {
        let mut state = lock(&self.state);
        while !state.news {
            state = self.changed.wait(state).expect("nobody panics with the lock");
        }
        state.news = false;
    }
}
