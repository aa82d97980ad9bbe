//! Connections that one core gives to another, and the beginning of the drain, after which a core with
//! no connection left ends. None may reach a core that has ended.
//!
//! Whoever hands one over counts it first and then looks whether the drain has begun; a core that ends
//! looks for the drain first and then at the count. So one of them sees the other, whatever the order.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// See the module's header.
#[derive(Default)]
pub struct Handover {
    draining: AtomicBool,
    under_way: CachePadded<AtomicUsize>,
}

impl Handover {
    /// One is about to be handed over. `false`: the drain has begun, and it stays where it is.
    pub fn begin(&self) -> bool {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let may = !self.draining.load(Ordering::SeqCst);
        if !may {
            self.end();
        }
        may
    }

    /// One has arrived, and belongs to its core.
    pub fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// The drain begins.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the drain has begun and none is under way any more: no core gets another.
    pub fn is_over(&self) -> bool {
        self.draining.load(Ordering::SeqCst) && self.under_way.load(Ordering::SeqCst) == 0
    }
}
