//! An answer that another thread gives to a coroutine of a core.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::core::{Core, Engine};
use super::gate::Source;
use crate::sync::lock;

/// What has become of the answer.
enum State<T> {
    Awaited,
    Given(T),
    /// Whoever was to give it is gone, or the answer is taken.
    Gone,
}

impl<T> State<T> {
    /// The answer, or that there will be none. `None`: it is still awaited.
    fn take(&mut self) -> Option<Option<T>> {
        if matches!(self, Self::Awaited) {
            return None;
        }
        match std::mem::replace(self, Self::Gone) {
            Self::Given(answer) => Some(Some(answer)),
            Self::Awaited | Self::Gone => Some(None),
        }
    }
}

/// To be kept on any thread. Dropped, it tells the coroutine that no answer will come.
pub struct Promise<T: Send + 'static> {
    state: Arc<Mutex<State<T>>>,
    engine: Arc<Engine>,
    core: usize,
    place: usize,
}

/// Where the coroutine waits.
pub struct Promised<T> {
    state: Arc<Mutex<State<T>>>,
    source: Rc<Source>,
}

/// The two ends of an answer that a coroutine of this core will wait for.
pub fn promise<T: Send + 'static>(core: &Core) -> (Promise<T>, Promised<T>) {
    let state = Arc::new(Mutex::new(State::Awaited));
    let source = core.gate.signal();
    let (engine, place) = (core.engine.clone(), source.place());
    let promise = Promise { state: state.clone(), engine, core: core.index, place };
    (promise, Promised { state, source })
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
        let place = self.place;
        self.engine.mailboxes[self.core].send(Box::new(move |core| core.gate.notify(place)));
    }
}

impl<T> Promised<T> {
    /// Nobody will wait for it.
    pub fn forget(&self, core: &Core) {
        core.gate.forget_source(&self.source);
    }

    /// Suspends the calling coroutine until the answer is there. `None`: there will be none.
    pub fn wait(self, core: &'static Core) -> Option<T> {
        let answer = loop {
            if let Some(answer) = lock(&self.state).take() {
                break answer;
            }
            // Nothing but the answer ends it.
            let _ = self.source.wait(|| core.clock.now_ms(), u64::MAX);
            core.assert_here();
        };
        self.forget(core);
        answer
    }
}
