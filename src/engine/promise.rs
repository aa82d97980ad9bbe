//! An answer that another thread gives to a request that waits on a core.

use std::sync::{Arc, Mutex};

use super::core::{Core, Engine};
use super::gate::Token;
use crate::sync::lock;

/// What has become of the answer.
enum State<T> {
    Awaited,
    Given(T),
    /// Whoever was to give it is gone, or the answer is taken.
    Gone,
}

/// To be kept on any thread. Dropped, it tells the core that no answer will come.
pub struct Promise<T: Send + 'static> {
    state: Arc<Mutex<State<T>>>,
    engine: Arc<Engine>,
    core: usize,
    asker: Token,
}

/// Where the answer will be.
pub struct Promised<T>(Arc<Mutex<State<T>>>);

/// The two ends of an answer for which a request on this core will wait: it is told of when it is
/// there.
pub fn promise<T: Send + 'static>(core: &Core, asker: Token) -> (Promise<T>, Promised<T>) {
    let state = Arc::new(Mutex::new(State::Awaited));
    let (engine, core) = (core.engine.clone(), core.index);
    (Promise { state: state.clone(), engine, core, asker }, Promised(state))
}

impl<T: Send + 'static> Promise<T> {
    /// Gives the answer.
    pub fn keep(self, answer: T) {
        *lock(&self.state) = State::Given(answer);
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Awaited) {
            *state = State::Gone;
        }
        drop(state);
        let asker = self.asker;
        self.engine.mailboxes[self.core].send(Box::new(move |core| core.tell(asker, false)));
    }
}

impl<T> Promised<T> {
    /// Takes the answer, or that there will be none. An error: it is still awaited.
    pub fn take(self) -> Result<Option<T>, Self> {
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
