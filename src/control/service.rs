//! The engine's service at the control port: probes are answered at once, whatever asks the ledger is
//! left to a control thread, for whose reply the connection waits.

use std::sync::Arc;

use super::access::{Access, Shown, right_for};
use super::caller::Caller;
use super::change_log::log_refusal;
use super::desk::Desk;
use super::request::{Reply, Request, Wanted, reply_or_gone};
use crate::code::Code;
use crate::code::control::DRAINING;
use crate::engine::core::{Action, Core, Service};
use crate::engine::gate::Token;
use crate::engine::http::{Head, JSON, Method, Problem, write_options, write_request_id};
use crate::engine::manner::Manner;
use crate::engine::promise::{Promised, promise};
use crate::limits::REFUSED_SALES_SHOWN_MAX;
use crate::metrics::{Format, Metrics};
use crate::openapi;
use crate::route::percent;
use crate::route::table::{self, Port};
use crate::status::Status;
use crate::trace::Trace;

/// What operators, and the machinery around a server, are answered.
pub(super) struct Operators {
    pub(super) access: Arc<Access>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Metrics,
    pub(super) desk: Arc<Desk>,
}

const ALLOW_READ: &str = "GET, HEAD, OPTIONS";
const ALLOW_ALL: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";

impl Service for Operators {
    type Waiting = Waiting;

    const WANTS_PEER: bool = true;

    fn serve(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        if let Some(path) = percent::normalized(head.path) {
            return self.serve(core, asker, &Head { path: &path, ..*head }, body, out);
        }
        let unmet = match head.asks_more() {
            true => head.unmet(!table::only_does(Port::Control, head.path)),
            false => None,
        };
        let manner = Manner::of(core, head);
        let manner = unmet.map_or(manner, |status| manner.instead(status));
        let answered = match (head.method, head.path) {
            (Method::Options, "*") => {
                write_options(ALLOW_ALL, &manner.envelope(&core.date.borrow()), out);
                return Action::Answered;
            }
            (Method::Options, "/livez" | "/readyz" | "/metrics" | "/openapi.json") => {
                write_options(ALLOW_READ, &manner.envelope(&core.date.borrow()), out);
                return Action::Answered;
            }
            (Method::Get | Method::Head, "/livez") => Ok(Reply::text("ok\n")),
            (Method::Get | Method::Head, "/openapi.json") => {
                Ok(Reply::media(JSON, openapi::document(Port::Control).to_vec()))
            }
            (Method::Get | Method::Head, "/readyz") => self.readiness(),
            (Method::Get | Method::Head, "/metrics") => self.metrics(core, head),
            (_, "/livez" | "/readyz" | "/metrics" | "/openapi.json") => {
                Err(Problem::method_not_allowed(ALLOW_READ))
            }
            _ => match self.ask(core, asker, head, body, unmet.is_some()) {
                Ok(reply) => return Action::Wait(Waiting { manner, reply, trace: head.trace() }),
                Err(problem) => Err(problem),
            },
        };
        let reply = answered.unwrap_or_else(Reply::from);
        let start = out.len();
        reply.write(&manner.envelope(&core.date.borrow()), out);
        if let Some(trace) = head.trace() {
            write_request_id(trace.request_id(), start, out);
        }
        Action::Answered
    }

    fn go_on(
        &self,
        core: &'static Core,
        _: Token,
        waiting: Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let Waiting { manner, reply, trace } = waiting;
        let reply = match reply.take() {
            Ok(reply) => reply,
            Err(reply) => return Action::Wait(Waiting { manner, reply, trace }),
        };
        let start = out.len();
        let reply = reply_or_gone(reply);
        manner.answer(core, out, |envelope, out| reply.write(envelope, out));
        if let Some(trace) = trace {
            write_request_id(trace.request_id(), start, out);
        }
        Action::Answered
    }
}

impl Operators {
    /// Whether whoever asks may: what lets him in.
    fn check(&self, core: &Core, head: &Head<'_>, wanted: &Wanted) -> Result<String, Problem> {
        let checked = self.access.check(&Shown::of(head), right_for(head.method, wanted));
        checked.inspect_err(|problem| log_refusal(head, core.peer.get(), problem.kind.code))
    }

    /// Leaves a request to a control thread, if whoever asks may.
    fn ask(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        look_only: bool,
    ) -> Result<Promised<Reply>, Problem> {
        let wanted = found(head);
        let caller = Caller::of(head, self.check(core, head, &wanted)?, core.peer.get());
        let request = Request::of(head, wanted, body, look_only, caller);
        let (promise, promised) = promise(core, asker);
        self.desk.ask(request, promise)?;
        Ok(promised)
    }

    /// What it counts, for whoever may ask. It needs no ledger, so it is told also when that is away.
    fn metrics(&self, core: &Core, head: &Head<'_>) -> Result<Reply, Problem> {
        self.check(core, head, &found(head))?;
        let format = Format::wanted(head.values("accept"));
        Ok(Reply::media(format.content_type(), self.metrics.write(format)))
    }

    /// Ready also with sales that the ledger refuses: other servers could not sell them either. They
    /// are named.
    fn readiness(&self) -> Result<Reply, Problem> {
        if self.status.is_leaving() {
            return Err(Problem::of(DRAINING));
        }
        if !self.status.ledger_is_up() {
            return Err(Problem::new(Code::Unavailable, "No core reaches the ledger."));
        }
        let (refused, count) = self.status.selling.refused_sales.list(REFUSED_SALES_SHOWN_MAX);
        let mut text = "ready\n".to_owned();
        for (sale, reason) in &refused {
            text += &format!("sale {sale} is refused: {reason}\n");
        }
        if count > refused.len() {
            text += &format!("and {} more sales\n", count - refused.len());
        }
        Ok(Reply::text(&text))
    }
}

/// A request that waits for a control thread.
pub(super) struct Waiting {
    manner: Manner,
    reply: Promised<Reply>,
    /// How it is found again.
    trace: Option<Trace>,
}

/// What the table has for a request.
fn found(head: &Head<'_>) -> Wanted {
    table::find(Port::Control, head.method, head.path).into()
}
