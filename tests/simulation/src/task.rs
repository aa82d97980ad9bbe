//! Coroutines. All of them, and the driver of the run, which is one too, take turns on one thread
//! in the order in which they become ready. So a run is deterministic.
//!
//! The driver changes the world in one step, and then [settles](Turns::settle): it lets every
//! coroutine that has become ready run until it waits again. It never waits for anything itself, so
//! the thread never leaves the queue of ready coroutines.
//!
//! Nothing here may block, and nothing may wait with a time-out of the library: the time of a run
//! is simulated.

use std::cell::Cell;
use std::rc::Rc;

use may::coroutine::{self, JoinHandle};
use stampede::limits::HANDSHAKE_STACK_BYTES;

/// Stack of the driver. Only touched pages cost memory.
const DRIVER_STACK_BYTES: usize = 8 << 20;
/// Stacks that are kept for reuse.
const STACKS_KEPT: usize = 256;
/// Times that the driver lets the others run after the last one of ours has: a flow of the purchase
/// layer is not ours, and may wake one of ours.
const QUIET_TURNS: u32 = 2;

/// Configures the coroutines. Must be called once, before the first one.
pub fn configure() {
    may::config()
        .set_workers(1)
        .set_stack_size(HANDSHAKE_STACK_BYTES / size_of::<usize>())
        .set_pool_capacity(STACKS_KEPT)
        // Several runs share the machine, and all would be pinned to the same processor.
        .set_worker_pin(false);
}

/// Runs the driver, and waits for it. The error is the value of its panic.
pub fn run_driver<T: Send + 'static>(
    body: impl FnOnce() -> T + Send + 'static,
) -> std::thread::Result<T> {
    let stack_size = DRIVER_STACK_BYTES / size_of::<usize>();
    let builder = coroutine::Builder::new().id(0).stack_size(stack_size);
    // SAFETY: there is one worker thread, so no thread-local is ever another one's after a
    // suspension. The stack is far larger than the driver needs.
    let driver = unsafe { builder.spawn(body) };
    driver.expect("the stack of the driver").join()
}

/// Counts how often coroutines have run, so that the driver knows when all wait.
#[derive(Clone, Default)]
pub struct Turns(Rc<Cell<u64>>);

impl Turns {
    /// A coroutine runs: to be called wherever one continues.
    pub fn note(&self) {
        self.0.set(self.0.get().wrapping_add(1));
    }

    /// For the driver: lets every ready coroutine run until all of them wait.
    pub fn settle(&self) {
        let mut quiet_turns = 0;
        while quiet_turns < QUIET_TURNS {
            let before = self.0.get();
            coroutine::yield_now();
            quiet_turns = if self.0.get() == before { quiet_turns + 1 } else { 0 };
        }
    }
}

/// The task must end: its server has crashed, or the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

struct State {
    ended: Cell<bool>,
    turns: Turns,
}

/// A coroutine, as the driver has it.
pub struct Task {
    state: Rc<State>,
    handle: JoinHandle<()>,
}

/// The same, as it has itself.
pub struct Ctx(Rc<State>);

impl Task {
    /// Starts a coroutine. It runs until it waits for the first time.
    pub fn spawn(turns: &Turns, body: impl FnOnce(&Ctx) + 'static) -> Self {
        let state = Rc::new(State { ended: Cell::new(false), turns: turns.clone() });
        let ctx = Ctx(state.clone());
        turns.note();
        let handle = spawn_here(move || body(&ctx)).expect("a stack for a task");
        Self { state, handle }
    }

    /// Lets it run when the driver settles. It must check by itself what it waits for.
    pub fn wake(&self) {
        self.handle.coroutine().unpark();
    }

    /// Tells it to end, when the driver settles.
    pub fn end(&self) {
        self.state.ended.set(true);
        self.wake();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.handle.is_done()
    }
}

impl Ctx {
    /// Whether it must end.
    pub fn must_end(&self) -> bool {
        self.0.ended.get()
    }

    /// To be called wherever it continues after a wait that is not [`wait`](Self::wait).
    pub fn note_turn(&self) {
        self.0.turns.note();
    }

    /// Waits until there is a result.
    ///
    /// # Errors
    /// It must end.
    pub fn wait<T>(&self, mut result: impl FnMut() -> Option<T>) -> Result<T, Ended> {
        loop {
            if self.must_end() {
                return Err(Ended);
            }
            if let Some(result) = result() {
                return Ok(result);
            }
            coroutine::park();
            self.note_turn();
        }
    }
}

/// Starts a flow of the purchase layer. It runs until it waits for the first time. Returns `false`
/// if there is no stack for it.
pub fn spawn_flow(flow: Box<dyn FnOnce()>) -> bool {
    spawn_here(flow).is_ok()
}

fn spawn_here(body: impl FnOnce() + 'static) -> std::io::Result<JoinHandle<()>> {
    let body = OnThisThread(body);
    let run = move || {
        let OnThisThread(body) = { body };
        body();
    };
    // SAFETY: there is one worker thread, so no thread-local is ever another one's after a
    // suspension. What runs in a server runs on smaller stacks there.
    unsafe { coroutine::Builder::new().spawn_local(run) }
}

struct OnThisThread<T>(T);

// SAFETY: the coroutine that it is carried into starts and stays on the thread that made it.
unsafe impl<T> Send for OnThisThread<T> {}
