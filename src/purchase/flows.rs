//! Work of several steps, each of which waits for the ledger, written as a coroutine: for example
//! the search for units in the parts of a sale. A few flows run at a time per core; the others wait
//! for their turn. A request that waits for the result of a flow has only a ticket.
//!
//! Architecture invariant: knows no core. Its owner sets the function that starts coroutines.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::limits::FLOWS_MAX;

/// One flow. If it is dropped before it ran, it must answer the requests that wait for it.
pub type Flow = Box<dyn FnOnce()>;

/// Starts a coroutine on the calling core. Returns `false`, and drops the flow, if there is no
/// memory for a stack.
pub type Spawn = Box<dyn Fn(Flow) -> bool>;

/// See the module's header.
#[derive(Default)]
pub struct Flows {
    waiting: RefCell<VecDeque<Flow>>,
    running: Cell<usize>,
    spawn: OnceCell<Spawn>,
}

impl Flows {
    /// Sets the function that starts coroutines. Panics if called twice.
    pub fn set_spawn(&self, spawn: Spawn) {
        assert!(self.spawn.set(spawn).is_ok(), "set twice");
    }

    /// How many flows run. If none does, none waits.
    #[cfg(feature = "simulation")]
    pub fn running(&self) -> usize {
        self.running.get()
    }

    /// Runs the flow as soon as there is a free place.
    pub(super) fn run(&'static self, flow: Flow) {
        self.waiting.borrow_mut().push_back(flow);
        if self.running.get() == FLOWS_MAX {
            return;
        }
        self.running.set(self.running.get() + 1);
        let started = self.spawn.get().is_some_and(|spawn| spawn(Box::new(|| self.work())));
        if started {
            return;
        }
        self.running.set(self.running.get() - 1);
        if self.running.get() == 0 {
            // No running flow is left to take these, so they would wait for ever.
            self.waiting.take().clear();
        }
    }

    fn work(&self) {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(flow) = next else { break };
            // A panic only affects the requests that wait for this flow.
            if catch_unwind(AssertUnwindSafe(flow)).is_err() {
                tracing::error!("a search for units panicked");
            }
        }
        self.running.set(self.running.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use may::coroutine;

    use super::*;
    use crate::test_coroutines::{beside, run};

    fn flows(may_start: bool) -> &'static Flows {
        let flows: &'static Flows = Box::leak(Box::default());
        flows.set_spawn(Box::new(move |flow| {
            if may_start {
                beside(flow, |flow| flow());
            }
            may_start
        }));
        flows
    }

    #[test]
    fn a_limited_number_of_flows_runs_at_a_time() {
        let seen = run(|| {
            let flows = flows(true);
            let (begun, ended) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            for _ in 0..2 * FLOWS_MAX + 1 {
                let (begun, ended) = (begun.clone(), ended.clone());
                flows.run(Box::new(move || {
                    begun.set(begun.get() + 1);
                    coroutine::yield_now();
                    ended.set(ended.get() + 1);
                    assert!(ended.get() != 3, "one of them panics");
                }));
            }
            let first = begun.get();
            while ended.get() < 2 * FLOWS_MAX + 1 {
                coroutine::yield_now();
            }
            (first, begun.get(), flows.running.get())
        });
        assert_eq!(seen, (FLOWS_MAX, 2 * FLOWS_MAX + 1, 0));
    }

    #[test]
    fn a_flow_that_cannot_run_is_dropped() {
        let flows = flows(false);
        let waits = Rc::new(());
        let theirs = waits.clone();
        flows.run(Box::new(move || drop(theirs)));
        assert_eq!((Rc::strong_count(&waits), flows.running.get()), (1, 0));
    }
}
