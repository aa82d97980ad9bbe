//! Which of a core's listening sockets are open.

use std::cell::RefCell;
use std::rc::Rc;

use super::gate::Source;

/// A core's listening sockets: open until the server drains.
#[derive(Default)]
pub struct Listeners(RefCell<Vec<Rc<Source>>>);

impl Listeners {
    /// One more is open.
    pub(super) fn add(&self, source: Rc<Source>) {
        self.0.borrow_mut().push(source);
    }

    /// One is closed.
    pub(super) fn remove(&self, source: &Rc<Source>) {
        self.0.borrow_mut().retain(|open| !Rc::ptr_eq(open, source));
    }

    /// Has every listener look around: at the beginning of a drain.
    pub fn notify(&self) {
        self.0.borrow().iter().for_each(|source| source.notify());
    }

    /// Whether none is left.
    pub fn closed(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
