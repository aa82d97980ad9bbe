//! Work beside the ledger thread: on a thread of its own, or wherever a simulation runs it.

use std::io;
use std::thread;

#[cfg(feature = "simulation")]
pub use simulated::{Background, set_background};

/// Work that returns a `T`.
pub(super) enum Work<T> {
    Thread(thread::JoinHandle<T>),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Work<T>),
}

impl<T: Send + 'static> Work<T> {
    /// Starts it. The thread has the lowest priority.
    pub(super) fn start(name: &str, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        #[cfg(feature = "simulation")]
        if let Some(background) = simulated::background() {
            return Ok(Self::Simulated(simulated::Work::start(background, work)));
        }
        let lowered = move || {
            lower_priority();
            work()
        };
        Ok(Self::Thread(thread::Builder::new().name(name.into()).spawn(lowered)?))
    }

    /// Whether it has ended.
    pub(super) fn is_finished(&self) -> bool {
        match self {
            Self::Thread(thread) => thread.is_finished(),
            #[cfg(feature = "simulation")]
            Self::Simulated(work) => work.is_finished(),
        }
    }

    /// Waits for its end. An error: it has panicked.
    pub(super) fn join(self) -> thread::Result<T> {
        match self {
            Self::Thread(thread) => thread.join(),
            #[cfg(feature = "simulation")]
            Self::Simulated(work) => work.join(),
        }
    }
}

/// Gives this thread the lowest priority.
pub(super) fn lower_priority() {
    const LOWEST: i32 = 19;
    // On Linux, no process means this thread alone. Lowering can't fail; if it did, the work would
    // only compete more.
    let _ = rustix::process::setpriority_process(None, LOWEST);
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::any::Any;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use crate::sync::lock;

    /// Runs work in place of threads.
    pub trait Background {
        /// Takes work, to run it in a coroutine of this thread. Work that is dropped has panicked.
        fn start(&self, work: Box<dyn FnOnce()>);

        /// Suspends the calling coroutine until this is true.
        fn wait(&self, is_finished: &dyn Fn() -> bool);
    }

    thread_local! {
        static BACKGROUND: RefCell<Option<Rc<dyn Background>>> = const { RefCell::new(None) };
    }

    /// Sets what runs the work that is started on this thread from now on. Without it threads do.
    pub fn set_background(background: Option<Rc<dyn Background>>) {
        BACKGROUND.set(background);
    }

    pub(super) fn background() -> Option<Rc<dyn Background>> {
        BACKGROUND.with_borrow(Clone::clone)
    }

    /// The result of work, once it has ended. The work has the other reference.
    pub struct Work<T>(Arc<Mutex<Option<T>>>);

    impl<T: Send + 'static> Work<T> {
        pub(super) fn start(
            background: Rc<dyn Background>,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> Self {
            let result = Arc::new(Mutex::new(None));
            let theirs = result.clone();
            background.start(Box::new(move || {
                let done = work();
                *lock(&theirs) = Some(done);
            }));
            Self(result)
        }

        pub(super) fn is_finished(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }

        pub(super) fn join(self) -> thread::Result<T> {
            if let Some(background) = background() {
                background.wait(&|| self.is_finished());
            }
            let result = lock(&self.0).take();
            result.ok_or_else(|| Box::new("the work has panicked") as Box<dyn Any + Send>)
        }
    }
}
