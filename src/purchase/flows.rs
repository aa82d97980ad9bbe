//! What takes several steps one after the other, and so is written as a coroutine that waits for each:
//! looking for units in the parts of a sale. A few run at a time on a core; the others wait for their
//! turn, and whoever waits for what they bring has only a ticket.
//!
//! Architecture invariant: knows no core. Whoever makes one says how coroutines are started.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::limits::FLOWS_MAX;

/// One of them. Dropped before it ran, it must answer whoever waits for it.
pub type Flow = Box<dyn FnOnce()>;

/// Starts a coroutine of the core that runs this. `false`: there is no memory for its stack, and what it
/// was to run is dropped.
pub type Spawn = Box<dyn Fn(Flow) -> bool>;

/// See the module's header.
#[derive(Default)]
pub struct Flows {
    waiting: RefCell<VecDeque<Flow>>,
    running: Cell<usize>,
    spawn: OnceCell<Spawn>,
}

impl Flows {
    /// Says how coroutines are started. Once.
    pub fn set_spawn(&self, spawn: Spawn) {
        assert!(self.spawn.set(spawn).is_ok(), "set twice");
    }

    /// Has this run as soon as it can.
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
            // Nobody would ever come to it.
            self.waiting.take().clear();
        }
    }

    fn work(&self) {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(flow) = next else { break };
            // A panic costs those who wait for this one.
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
    fn a_few_run_at_a_time_and_the_others_after_them() {
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
    fn one_that_can_not_run_is_dropped() {
        let flows = flows(false);
        let waits = Rc::new(());
        let theirs = waits.clone();
        flows.run(Box::new(move || drop(theirs)));
        assert_eq!((Rc::strong_count(&waits), flows.running.get()), (1, 0));
    }
}
