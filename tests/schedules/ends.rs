//! What the cores of an engine share: places for connections, and a drain after which no connection
//! may come.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::engine::handover::Handover;
use crate::engine::mailbox::Mailbox;
use crate::engine::places::Places;
use crate::{explore, on_each_core};

const CORES: usize = 3;

#[test]
fn no_more_places_are_taken_than_there_are_and_all_come_back() {
    const PLACES: usize = 2;
    explore(|| {
        let (places, held) = (Arc::new(Places::default()), Arc::new(AtomicUsize::new(0)));
        let theirs = places.clone();
        on_each_core(CORES, move |_| {
            for _ in 0..3 {
                if theirs.take(PLACES) {
                    assert!(held.fetch_add(1, Ordering::SeqCst) < PLACES);
                    assert!(theirs.taken() <= PLACES);
                    held.fetch_sub(1, Ordering::SeqCst);
                    theirs.free();
                }
                assert!(theirs.taken() <= PLACES);
            }
        });
        assert_eq!(places.taken(), 0);
        assert!((0..PLACES).all(|_| places.take(PLACES)) && !places.take(PLACES));
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
    /// Connections that are open, or on their way: outside of what `shuttle` sees.
    open: AtomicUsize,
}

impl Engine {
    fn add(&self, core: &Core) {
        assert!(!core.drained.get(), "a core that has ended gets a connection");
        core.connections.set(core.connections.get() + 1);
    }

    /// What the acceptor of a Unix socket does with a connection.
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

    /// What a core does until it ends.
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
fn no_connection_is_on_its_way_to_a_core_that_has_ended() {
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
