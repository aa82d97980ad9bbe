//! How a client wants its answer.

use super::core::Core;
use super::http::{Envelope, Head, HttpDate, Method, Persistence, Status};

/// How a client wants its answer, without borrowing its request.
#[derive(Clone, Copy)]
pub struct Manner {
    persistence: Persistence,
    head_only: bool,
    instead: Option<Status>,
}

impl Manner {
    /// For this request.
    pub fn of(core: &Core, head: &Head<'_>) -> Self {
        let persistence = if core.leaving() { Persistence::Close } else { Persistence::of(head) };
        Self { persistence, head_only: head.method == Method::Head, instead: None }
    }

    /// The same, but any success is answered by this status: see [`Head::unmet`].
    pub fn instead(self, status: Status) -> Self {
        Self { instead: Some(status), ..self }
    }

    /// For an answer that is written now.
    pub fn envelope(self, date: &HttpDate) -> Envelope<'_> {
        let Self { persistence, head_only, instead } = self;
        Envelope { date, persistence, head_only, instead }
    }

    /// Has an answer written after a wait, in which the server may have begun to leave.
    pub fn answer(
        mut self,
        core: &Core,
        out: &mut Vec<u8>,
        write: impl FnOnce(&Envelope<'_>, &mut Vec<u8>),
    ) {
        if core.leaving() {
            self.persistence = Persistence::Close;
        }
        if out.capacity() == 0 {
            *out = core.take_buffer();
        }
        write(&self.envelope(&core.date.borrow()), out);
    }
}
