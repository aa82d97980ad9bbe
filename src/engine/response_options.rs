//! What a response takes from its request: persistence, and whether it has a body.

use super::core::Core;
use super::http::{Head, HttpDate, Method, Persistence, ResponseContext, Status};

/// What a response takes from its request, without borrowing the request.
#[derive(Clone, Copy)]
pub struct ResponseOptions {
    persistence: Persistence,
    head_only: bool,
    status_override: Option<Status>,
}

impl ResponseOptions {
    /// The options for the answer to this request.
    pub fn of(core: &Core, head: &Head<'_>) -> Self {
        let persistence = if core.leaving() { Persistence::Close } else { Persistence::of(head) };
        Self { persistence, head_only: head.method == Method::Head, status_override: None }
    }

    /// The same, but every success is answered with this status: see [`Head::unmet_precondition`].
    pub fn with_status(self, status: Status) -> Self {
        Self { status_override: Some(status), ..self }
    }

    /// The context for an answer that is written now.
    pub fn context(self, date: &HttpDate) -> ResponseContext<'_> {
        let Self { persistence, head_only, status_override } = self;
        ResponseContext { date, persistence, head_only, status_override }
    }

    /// Writes an answer after a wait. The server may have begun to leave meanwhile; then the
    /// connection closes.
    pub fn answer(
        mut self,
        core: &Core,
        out: &mut Vec<u8>,
        write: impl FnOnce(&ResponseContext<'_>, &mut Vec<u8>),
    ) {
        if core.leaving() {
            self.persistence = Persistence::Close;
        }
        if out.capacity() == 0 {
            *out = core.take_buffer();
        }
        write(&self.context(&core.date.borrow()), out);
    }
}
