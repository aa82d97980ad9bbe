//! A one-shot channel: another thread answers a request that waits on a core.

use std::sync::{Arc, Mutex};

use super::core::{Core, Engine};
use super::reactor::Token;
use crate::sync::lock;

/// The state of the answer.
enum State<T> {
    Awaited,
    Given(T),
    /// The sender was dropped, or the answer was taken.
    Gone,
}

/// The sending end, for any thread. Sending wakes the core; so does dropping it without an answer.
pub struct Sender<T: Send + 'static> {
    state: Arc<Mutex<State<T>>>,
    engine: Arc<Engine>,
    core: usize,
    asker: Token,
}

/// The receiving end.
pub struct Receiver<T>(Arc<Mutex<State<T>>>);

/// Creates the channel for the request of `asker`, which this core wakes when the answer is there.
pub fn channel<T: Send + 'static>(core: &Core, asker: Token) -> (Sender<T>, Receiver<T>) {
    let state = Arc::new(Mutex::new(State::Awaited));
    let (engine, core) = (core.engine.clone(), core.index);
    (Sender { state: state.clone(), engine, core, asker }, Receiver(state))
}

impl<T: Send + 'static> Sender<T> {
    /// Sends the answer.
    pub fn send(self, answer: T) {
        *lock(&self.state) = State::Given(answer);
    }
}

impl<T: Send + 'static> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Awaited) {
            *state = State::Gone;
        }
        drop(state);
        let asker = self.asker;
        self.engine.mailboxes[self.core].send(Box::new(move |core| core.wake(asker, false)));
    }
}

impl<T> Receiver<T> {
    /// Takes the answer. `Ok(None)`: there will be none. `Err`: it is still awaited.
    pub fn try_recv(self) -> Result<Option<T>, Self> {
        let mut state = lock(&self.0);
        let taken = match *state {
            State::Awaited => None,
            State::Given(_) | State::Gone => Some(std::mem::replace(&mut *state, State::Gone)),
        };
        drop(state);
        match taken {
            Some(State::Given(answer)) => Ok(Some(answer)),
            Some(State::Awaited | State::Gone) => Ok(None),
            None => Err(self),
        }
    }
}
