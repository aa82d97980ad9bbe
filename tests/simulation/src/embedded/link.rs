//! The link of a core to the embedded ledger: the real one, at a simulated place.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use may::coroutine;
use stampede::clock::Clock;
use stampede::ledger::embedded::Handle;
use stampede::ledger::embedded::simulation::{Place, TimedOut, run_at};
use stampede::ledger::link::LinkState;
use stampede::purchase::Seller;

use crate::task::{Ctx, Task, Turns};

/// The way of the cores to the ledger, and of its answers to the cores.
#[derive(Clone)]
pub struct Way {
    /// Takes batches.
    pub handle: Handle,
    /// The numbers of the cores that have an answer.
    pub answered: Arc<Mutex<Vec<usize>>>,
}

impl Way {
    /// Takes the numbers of the cores that have an answer.
    pub fn take_answered(&self) -> Vec<usize> {
        std::mem::take(&mut *self.answered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a link, the ledger and the world share. Everything is on one thread, but the ledger wants
/// what another thread could use.
struct Post {
    core: usize,
    answered: Arc<Mutex<Vec<usize>>>,
    /// An answer has come.
    has_come: AtomicBool,
    /// A batch was sent.
    has_sent: AtomicBool,
    /// When the link is to be woken, on the core's clock. 0: it is not waiting for a time.
    deadline_ms: AtomicU64,
}

/// A link, as its core has it.
pub struct Link {
    task: Task,
    post: Arc<Post>,
}

impl Link {
    /// Starts the link of the core of this number. It runs until it waits for the first time.
    pub fn start(
        turns: &Turns,
        (core, way): (usize, Way),
        seller: &'static Seller,
        clock: Rc<Clock>,
    ) -> Self {
        let Way { handle, answered } = way;
        let post = Arc::new(Post {
            core,
            answered,
            has_come: AtomicBool::new(false),
            has_sent: AtomicBool::new(false),
            deadline_ms: AtomicU64::new(0),
        });
        let theirs = post.clone();
        let task = Task::spawn(turns, move |ctx| {
            let place = OnCore { ctx, clock: &clock, post: theirs };
            run_at(&place, &seller.batcher, &handle);
        });
        Self { task, post }
    }

    /// Lets it run, when the driver settles, if an answer has come. Returns whether it does.
    pub fn wake_if_ready(&self) -> bool {
        let is_ready = self.post.has_come.load(Ordering::Relaxed);
        if is_ready {
            self.task.wake();
        }
        is_ready
    }

    /// Lets it run, when the driver settles, if its deadline has passed.
    pub fn wake_if_overdue(&self, now_ms: u64) {
        let deadline_ms = self.post.deadline_ms.load(Ordering::Relaxed);
        if deadline_ms > 0 && deadline_ms <= now_ms {
            self.task.wake();
        }
    }

    /// Whether it has sent a batch since it was asked.
    pub fn take_sent(&self) -> bool {
        self.post.has_sent.swap(false, Ordering::Relaxed)
    }

    /// Tells it to end, when the driver settles.
    pub fn end(&self) {
        self.task.end();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.has_ended()
    }
}

/// Where the link runs.
struct OnCore<'a> {
    ctx: &'a Ctx,
    clock: &'a Clock,
    post: Arc<Post>,
}

/// Reaches the link.
struct Wake(Arc<Post>);

impl Place for OnCore<'_> {
    type Wake = Wake;

    fn core(&self) -> usize {
        self.post.core
    }

    fn now_ms(&self) -> u64 {
        // It may just have continued after its wait for a batch.
        self.ctx.note_turn();
        self.clock.now_ms()
    }

    fn report(&self, _: LinkState) {}

    fn wait(&self, deadline_ms: u64) -> Result<(), TimedOut> {
        self.post.deadline_ms.store(deadline_ms, Ordering::Relaxed);
        let result = loop {
            if self.ctx.must_end() {
                break Err(TimedOut);
            }
            if self.post.has_come.swap(false, Ordering::Relaxed) {
                break Ok(());
            }
            if self.clock.now_ms() >= deadline_ms {
                break Err(TimedOut);
            }
            coroutine::park();
            self.ctx.note_turn();
        };
        self.post.deadline_ms.store(0, Ordering::Relaxed);
        result
    }

    fn waker(&self) -> Wake {
        // A batch is about to be sent.
        self.post.has_sent.store(true, Ordering::Relaxed);
        Wake(self.post.clone())
    }

    fn wake(Wake(post): Wake) {
        post.has_come.store(true, Ordering::Relaxed);
        post.answered.lock().unwrap_or_else(PoisonError::into_inner).push(post.core);
    }

    fn wake_leader(&self) {}

    fn is_draining(&self) -> bool {
        false
    }

    fn ends(&self) -> bool {
        self.ctx.note_turn();
        self.ctx.must_end()
    }
}
