//! Deadlines for the connections of the control port, of which `may_minihttp` has none.
//!
//! A connection has a socket of ours beside that of `may_minihttp`: another descriptor of the same
//! one, by which any thread can shut it down. What waits for it then finds its end and closes it.
//!
//! A head that never ends can't be bounded in size from here, only in time. That is one of the
//! reasons why the port is on loopback unless somebody says otherwise.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};

use crate::limits::{CONTROL_CONNECTIONS_MAX, HEAD_DEADLINE_MS};
use crate::sync::lock;

/// The connections there are.
pub struct Guard {
    connections: Mutex<Connections>,
    /// Places for connections.
    places: may::sync::Semphore,
}

#[derive(Default)]
struct Connections {
    made: u64,
    open: HashMap<u64, Entry>,
}

struct Entry {
    socket: Option<OwnedFd>,
    /// `None`: it waits for us.
    deadline: Option<Instant>,
}

impl Entry {
    fn shut(&self, how: Shutdown) {
        if let Some(socket) = &self.socket {
            // It may be closed already at the other end.
            let _ = shutdown(socket, how);
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        let places = may::sync::Semphore::new(CONTROL_CONNECTIONS_MAX);
        Self { connections: Mutex::default(), places }
    }
}

impl Guard {
    /// A place for a new connection. Suspends the acceptor while there is none: others wait in the
    /// kernel's queue, without a descriptor of ours. Accepting on, and closing at once, would take
    /// descriptors until none is left, and `may_minihttp` then spins.
    pub fn enter(self: &Arc<Self>, fd: std::os::fd::RawFd) -> Place {
        self.places.wait();
        // SAFETY: the acceptor, which calls us, owns this descriptor and keeps it open meanwhile.
        let theirs = unsafe { BorrowedFd::borrow_raw(fd) };
        // Without one it has no deadline, which is better than no control port.
        let socket = rustix::io::fcntl_dupfd_cloexec(theirs, 0).ok();
        let deadline = Some(Instant::now() + Duration::from_millis(HEAD_DEADLINE_MS));
        let mut connections = lock(&self.connections);
        connections.made += 1;
        let number = connections.made;
        connections.open.insert(number, Entry { socket, deadline });
        Place { guard: self.clone(), number }
    }

    /// Ends the connections that are overdue.
    pub fn sweep(&self, now: Instant) {
        for entry in lock(&self.connections).open.values() {
            if entry.deadline.is_some_and(|deadline| deadline <= now) {
                entry.shut(Shutdown::Both);
            }
        }
    }
}

/// A connection's place, given back when it is dropped.
pub struct Place {
    guard: Arc<Guard>,
    number: u64,
}

impl Place {
    /// The connection must have gone on within this time. `None`: it waits for us.
    pub fn set_deadline(&self, within_ms: Option<u64>) {
        if let Some(entry) = lock(&self.guard.connections).open.get_mut(&self.number) {
            entry.deadline = within_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
        }
    }

    /// Ends the connection now.
    pub fn shut(&self) {
        self.shut_down(Shutdown::Both);
    }

    /// Ends the connection once what it is being answered is sent: who reads it next finds its end.
    pub fn end(&self) {
        self.shut_down(Shutdown::Read);
    }

    fn shut_down(&self, how: Shutdown) {
        if let Some(entry) = lock(&self.guard.connections).open.get(&self.number) {
            entry.shut(how);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.guard.connections).open.remove(&self.number);
        self.guard.places.post();
    }
}
