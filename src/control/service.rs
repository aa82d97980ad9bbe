//! The engine's service at the control port: probes are answered at once. Requests that need the
//! ledger go to a control thread, and the connection waits for its reply.

use std::sync::Arc;

use super::access::{Access, RequestCredentials, right_for};
use super::caller::Caller;
use super::change_log::log_refusal;
use super::live::{Live, write_page};
use super::request::{Reply, Request, Wanted, reply_or_gone};
use super::threads::ControlThreads;
use crate::code::ErrorCode;
use crate::code::control::DRAINING;
use crate::engine::core::{Action, Core, Service};
use crate::engine::http::{Head, JSON, Method, Problem, write_options, write_request_id};
use crate::engine::oneshot::{self, Receiver};
use crate::engine::reactor::Token;
use crate::engine::response_options::ResponseOptions;
use crate::limits::REFUSED_SALES_SHOWN_MAX;
use crate::metrics::{Format, Metrics};
use crate::openapi;
use crate::route::percent;
use crate::route::table::{self, Port};
use crate::status::Status;
use crate::trace::Trace;

/// The service of the control port.
pub(super) struct Operators {
    pub(super) access: Arc<Access>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: Metrics,
    pub(super) control_threads: Arc<ControlThreads>,
    pub(super) live: Live,
}

const ALLOW_READ: &str = "GET, HEAD, OPTIONS";
const ALLOW_ALL: &str = "GET, HEAD, POST, PATCH, DELETE, OPTIONS";

impl Service for Operators {
    type Waiting = Waiting;

    const WANTS_PEER_ADDRESS: bool = true;

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
        let unmet = match head.has_rare_headers() {
            true => head.unmet_precondition(!table::is_action_only(Port::Control, head.path)),
            false => None,
        };
        let options = ResponseOptions::of(core, head);
        let options = unmet.map_or(options, |status| options.with_status(status));
        let answered = match (head.method, head.path) {
            (Method::Options, "*") => {
                write_options(ALLOW_ALL, &options.context(&core.date.borrow()), out);
                return Action::Answered;
            }
            (Method::Options, "/" | "/livez" | "/readyz" | "/metrics" | "/openapi.json") => {
                write_options(ALLOW_READ, &options.context(&core.date.borrow()), out);
                return Action::Answered;
            }
            (Method::Get | Method::Head, "/") => {
                write_page(&options.context(&core.date.borrow()), out);
                return Action::Answered;
            }
            (Method::Get | Method::Head, "/livez") => Ok(Reply::text("ok\n")),
            (Method::Get | Method::Head, "/openapi.json") => {
                Ok(Reply::media(JSON, openapi::document(Port::Control).to_vec()))
            }
            (Method::Get | Method::Head, "/readyz") => self.readiness(),
            (Method::Get | Method::Head, "/metrics") => self.metrics(core, head),
            (Method::Get | Method::Head, "/v1/live") => self.live(core, head),
            (_, "/" | "/livez" | "/readyz" | "/metrics" | "/openapi.json") => {
                Err(Problem::method_not_allowed(ALLOW_READ))
            }
            _ => match self.ask(core, asker, head, body, unmet.is_some()) {
                Ok(reply) => return Action::Wait(Waiting { options, reply, trace: head.trace() }),
                Err(problem) => Err(problem),
            },
        };
        let reply = answered.unwrap_or_else(Reply::from);
        let start = out.len();
        reply.write(&options.context(&core.date.borrow()), out);
        if let Some(trace) = head.trace() {
            write_request_id(trace.request_id(), start, out);
        }
        Action::Answered
    }

    fn resume(
        &self,
        core: &'static Core,
        _: Token,
        waiting: Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let Waiting { options, reply, trace } = waiting;
        let reply = match reply.try_recv() {
            Ok(reply) => reply,
            Err(reply) => return Action::Wait(Waiting { options, reply, trace }),
        };
        let start = out.len();
        let reply = reply_or_gone(reply);
        options.answer(core, out, |context, out| reply.write(context, out));
        if let Some(trace) = trace {
            write_request_id(trace.request_id(), start, out);
        }
        Action::Answered
    }
}

impl Operators {
    /// Checks the access; returns the name of the credential.
    fn check(&self, core: &Core, head: &Head<'_>, wanted: &Wanted) -> Result<String, Problem> {
        let checked =
            self.access.check(&RequestCredentials::of(head), right_for(head.method, wanted));
        checked.inspect_err(|problem| log_refusal(head, core.peer_address.get(), problem.kind.code))
    }

    /// Submits a request to a control thread, if the caller is allowed.
    fn ask(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        read_only: bool,
    ) -> Result<Receiver<Reply>, Problem> {
        let wanted = found(head);
        let caller = Caller::of(head, self.check(core, head, &wanted)?, core.peer_address.get());
        let request = Request::of(head, wanted, body, read_only, caller);
        let (sender, reply) = oneshot::channel(core, asker);
        self.control_threads.ask(request, sender)?;
        Ok(reply)
    }

    /// The metrics, if the caller is allowed. They need no ledger, so they are available while it
    /// is not.
    fn metrics(&self, core: &Core, head: &Head<'_>) -> Result<Reply, Problem> {
        self.check(core, head, &found(head))?;
        let format = Format::wanted(head.values("accept"));
        Ok(Reply::media(format.content_type(), self.metrics.write(format)))
    }

    /// The numbers of the live page, if the caller is allowed. They never wait for the ledger.
    fn live(&self, core: &Core, head: &Head<'_>) -> Result<Reply, Problem> {
        self.check(core, head, &found(head))?;
        let changes = self.access.changes(&RequestCredentials::of(head));
        self.live.answer(head.query.unwrap_or_default(), changes)
    }

    /// Sales that the ledger refuses do not make the server unready, since other servers could not
    /// sell them either. They are named.
    fn readiness(&self) -> Result<Reply, Problem> {
        if self.status.is_leaving() {
            return Err(Problem::of(DRAINING));
        }
        if !self.status.ledger_is_up() {
            return Err(Problem::new(ErrorCode::Unavailable, "No core reaches the ledger."));
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
    options: ResponseOptions,
    reply: Receiver<Reply>,
    /// The request id and trace.
    trace: Option<Trace>,
}

/// Looks up a request in the table.
fn found(head: &Head<'_>) -> Wanted {
    table::find(Port::Control, head.method, head.path).into()
}
