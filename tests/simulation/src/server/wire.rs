//! Connections to a node, one at a time: what whoever has them, a coroutine, and the world share.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use stampede::sale::SaleId;

use crate::redis::{Ask, Reply};
use crate::task::{Ctx, Ended};

/// What a coroutine sends.
#[derive(Debug)]
pub enum Outgoing {
    /// It opens the connection of this session.
    Open(u32),
    /// It sends something in it.
    Send(u32, Ask),
    /// It closes it.
    Close(u32),
}

/// What it receives.
#[derive(Debug)]
pub enum Incoming {
    /// An answer.
    Reply(Reply),
    /// The connection has ended.
    End,
}

/// See the module's header.
#[derive(Default)]
pub struct Wire {
    /// The present session. 0: there is none.
    session: Cell<u32>,
    /// What has come in it.
    incoming: RefCell<VecDeque<Incoming>>,
    outgoing: RefCell<VecDeque<Outgoing>>,
    /// The term in which it began, if there are Sentinels.
    term: Cell<Option<u64>>,
    /// When the coroutine is to be woken, on its clock. 0: it is not waiting for a time.
    deadline_ms: Cell<u64>,
}

/// For the world.
impl Wire {
    /// Something has come in this session. It is dropped if that session is over.
    pub fn push(&self, session: u32, incoming: Incoming) {
        if session == self.session.get() {
            self.incoming.borrow_mut().push_back(incoming);
        }
    }

    /// A session was opened in this term.
    pub fn opened(&self, session: u32, term: u64) {
        if session == self.session.get() {
            self.term.set(Some(term));
        }
    }

    /// The server has heard of a later term: nothing of the present one counts any more. Returns
    /// whether there was a session.
    pub fn term_ended(&self) -> bool {
        let session = self.session.get();
        self.begin(session);
        self.push(session, Incoming::End);
        session > 0
    }

    /// Whether something has come.
    pub fn is_ready(&self) -> bool {
        !self.incoming.borrow().is_empty()
    }

    /// The time for which the coroutine waits, on its clock. 0: for none.
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms.get()
    }

    /// Takes the next of what it sends.
    pub fn take_outgoing(&self) -> Option<Outgoing> {
        self.outgoing.borrow_mut().pop_front()
    }
}

/// For the coroutine.
impl Wire {
    /// Opens the connection of a session, and says hello.
    pub fn open(&self, session: u32) {
        self.begin(session);
        self.outgoing.borrow_mut().push_back(Outgoing::Open(session));
        self.send(Ask::Hello);
    }

    /// Sends something in the present session.
    pub fn send(&self, ask: Ask) {
        self.outgoing.borrow_mut().push_back(Outgoing::Send(self.session.get(), ask));
    }

    /// Closes the connection of the present session, if there is one.
    pub fn close(&self) {
        let session = self.session.get();
        if session > 0 {
            self.begin(0);
            self.outgoing.borrow_mut().push_back(Outgoing::Close(session));
        }
    }

    /// The term in which the present session began.
    pub fn term(&self) -> Option<u64> {
        self.term.get()
    }

    /// Waits until this time for what comes next. `None`: in vain.
    pub fn receive(
        &self,
        ctx: &Ctx,
        now_ms: impl Fn() -> u64,
        until_ms: u64,
    ) -> Result<Option<Incoming>, Ended> {
        self.wait_until(ctx, now_ms, until_ms, || self.incoming.borrow_mut().pop_front())
    }

    /// Waits for something. `None`: until this time, on the coroutine's clock, in vain.
    pub fn wait_until<T>(
        &self,
        ctx: &Ctx,
        now_ms: impl Fn() -> u64,
        until_ms: u64,
        mut result: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>, Ended> {
        self.deadline_ms.set(until_ms);
        let waited = ctx.wait(|| match result() {
            Some(result) => Some(Some(result)),
            None => (now_ms() >= until_ms).then_some(None),
        });
        self.deadline_ms.set(0);
        waited
    }

    /// Begins a session, or with 0 ends the present one.
    fn begin(&self, session: u32) {
        self.session.set(session);
        self.incoming.borrow_mut().clear();
    }
}

/// Copies for another machine: a core counts the uses of its names without locks.
pub fn owned(sales: &[&SaleId]) -> Vec<SaleId> {
    sales.iter().map(|sale| sale.detached()).collect()
}
