//! The open listening sockets of a core.

use std::cell::RefCell;
use std::rc::Rc;

use super::reactor::Notify;

/// A core's listening sockets: open until the server drains.
#[derive(Default)]
pub struct Listeners(RefCell<Vec<Rc<Notify>>>);

impl Listeners {
    /// Adds an open socket.
    pub(super) fn add(&self, notify: Rc<Notify>) {
        self.0.borrow_mut().push(notify);
    }

    /// Removes a closed socket.
    pub(super) fn remove(&self, notify: &Rc<Notify>) {
        self.0.borrow_mut().retain(|open| !Rc::ptr_eq(open, notify));
    }

    /// Wakes every listener, at the beginning of a drain.
    pub fn notify(&self) {
        self.0.borrow().iter().for_each(|notify| notify.notify());
    }

    /// Whether all are closed.
    pub fn closed(&self) -> bool {
        self.0.borrow().is_empty()
    }
}
