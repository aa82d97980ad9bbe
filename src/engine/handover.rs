//! Orders two events: one core gives a connection to another, and the drain begins, after which a
//! core without connections ends. No connection may reach a core that has ended.
//!
//! The giving core counts the connection first and then checks for the drain. An ending core checks
//! for the drain first and then the count. So one of them sees the other, whatever the order.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// See the module's header.
#[derive(Default)]
pub struct Handover {
    draining: AtomicBool,
    under_way: CachePadded<AtomicUsize>,
}

impl Handover {
    /// A connection is about to be handed over. `false`: the drain has begun, and the connection
    /// stays.
    pub fn begin(&self) -> bool {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let may = !self.draining.load(Ordering::SeqCst);
        if !may {
            self.end();
        }
        may
    }

    /// The connection has arrived at its core.
    pub fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    /// Begins the drain.
    pub fn begin_drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether the drain has begun and no connection is on its way: no core gets another one.
    pub fn is_over(&self) -> bool {
        self.draining.load(Ordering::SeqCst) && self.under_way.load(Ordering::SeqCst) == 0
    }
}
