//! What the cores of an engine share: permits for connections, and a drain after which no connection
//! may come.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::handover::Handover;
use crate::engine::mailbox::Mailbox;
use crate::engine::permits::Permits;
use crate::{explore, on_each_core};

const CORES: usize = 3;

#[test]
fn permits_are_bounded_and_all_are_returned() {
    const PERMITS: usize = 2;
    explore(|| {
        let (permits, held) = (Arc::new(Permits::default()), Arc::new(AtomicUsize::new(0)));
        let theirs = permits.clone();
        on_each_core(CORES, move |_| {
            for _ in 0..3 {
                if theirs.try_acquire(PERMITS) {
                    assert!(held.fetch_add(1, Ordering::SeqCst) < PERMITS);
                    assert!(theirs.in_use() <= PERMITS);
                    held.fetch_sub(1, Ordering::SeqCst);
                    theirs.release();
                }
                assert!(theirs.in_use() <= PERMITS);
            }
        });
        assert_eq!(permits.in_use(), 0);
        assert!(
            (0..PERMITS).all(|_| permits.try_acquire(PERMITS)) && !permits.try_acquire(PERMITS)
        );
    });
}

/// A core of this test, known to its own thread only.
#[derive(Default)]
struct Core {
    connections: Cell<usize>,
    drained: Cell<bool>,
}

struct Engine {
    mailboxes: Vec<Mailbox<Core>>,
    handover: Handover,
    /// Connections that are open or on their way, counted outside of what `shuttle` sees.
    open: AtomicUsize,
}

impl Engine {
    fn add(&self, core: &Core) {
        assert!(!core.drained.get(), "a core that has ended gets a connection");
        core.connections.set(core.connections.get() + 1);
    }

    /// The step of a Unix socket's acceptor with one connection.
    fn give(self: &Arc<Self>, acceptor: &Core, index: usize) {
        self.open.fetch_add(1, Ordering::SeqCst);
        if !self.handover.begin() {
            return self.add(acceptor);
        }
        let engine = self.clone();
        self.mailboxes[index].send(Box::new(move |core| {
            engine.add(core);
            engine.handover.end();
        }));
    }

    /// The life of a core.
    fn live(self: &Arc<Self>, index: usize, core: &'static Core) {
        let acceptor = index == 0;
        let mut to_give = if acceptor { 2 * CORES } else { 0 };
        while !core.drained.get() {
            if to_give > 0 && !self.handover.is_draining() {
                to_give -= 1;
                match to_give % CORES {
                    0 => {
                        self.open.fetch_add(1, Ordering::SeqCst);
                        self.add(core);
                    }
                    other => self.give(core, other),
                }
            }
            self.mailboxes[index].take().into_iter().for_each(|message| message(core));
            if self.handover.is_draining() {
                // All are idle, and are closed.
                self.open.fetch_sub(core.connections.take(), Ordering::SeqCst);
            }
            core.drained.set(self.handover.is_over() && core.connections.get() == 0);
            shuttle::thread::yield_now();
        }
        assert!(self.mailboxes[index].take().is_empty(), "a core has ended with mail in its box");
    }
}

#[test]
fn no_connection_is_handed_to_an_ended_core() {
    explore(|| {
        let engine = Arc::new(Engine {
            mailboxes: (0..CORES).map(|_| Mailbox::new().expect("no descriptor")).collect(),
            handover: Handover::default(),
            open: AtomicUsize::new(0),
        });
        let theirs = engine.clone();
        on_each_core(CORES + 1, move |index| {
            if index == CORES {
                return theirs.handover.begin_drain();
            }
            theirs.live(index, Box::leak(Box::default()));
        });
        assert_eq!(engine.open.load(Ordering::SeqCst), 0, "each connection was ended by its core");
    });
}
