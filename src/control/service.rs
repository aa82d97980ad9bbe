//! A connection to the control port, on a core: takes a request apart, hands it to the control
//! thread, and suspends its coroutine until that has answered.
//!
//! `may_minihttp` (0.1.11) knows no limit on bodies, no transfer coding, no `Connection: close`, runs
//! a body that is left unread as the next request, and panics on a `Content-Length` that is no
//! number. So framing is judged here first, and a connection whose framing is in doubt carries out
//! nothing more.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use may_minihttp::{HttpService, HttpServiceFactory, Response};

use super::access::{Access, Shown};
use super::guard::{Guard, Place};
use super::job::Job;
use super::problem::Problem;
use super::request::{Reply, Request};
use crate::http::Code;
use crate::limits::{
    BODY_DEADLINE_MS, CONTROL_ANSWER_BYTES_MAX, CONTROL_BODY_BYTES_MAX, CONTROL_BYTES_PER_MS_MIN,
    CONTROL_CLOSE_MS, CONTROL_DISCARD_BYTES_MAX, CONTROL_PROMPT_BYTES_MAX, HEAD_DEADLINE_MS,
    REFUSED_SALES_SHOWN_MAX,
};
use crate::status::Status;

/// Makes a [`Service`] for each connection.
#[derive(Clone)]
pub(super) struct Factory {
    pub(super) access: Arc<Access>,
    pub(super) jobs: SyncSender<Job>,
    pub(super) guard: Arc<Guard>,
    pub(super) status: Arc<Status>,
    /// The server ends and takes no more requests.
    pub(super) closing: Arc<AtomicBool>,
}

impl HttpServiceFactory for Factory {
    type Service = Service;

    /// `id` is the connection's descriptor.
    fn new_service(&self, id: usize) -> Service {
        let place = self.guard.enter(i32::try_from(id).expect("a descriptor is an i32"));
        Service { place, factory: self.clone(), is_over: false, ends: false, answered_bytes: 0 }
    }
}

/// One connection.
pub(super) struct Service {
    place: Place,
    factory: Factory,
    /// Nothing that comes is a request any more.
    is_over: bool,
    /// The client has asked for the end, and nothing it has sent is left to read.
    ends: bool,
    answered_bytes: usize,
}

/// How a request's body is framed.
enum Framing {
    Length(usize),
    /// There is no telling where the next request begins.
    InDoubt(Problem),
}

/// What the head of an answer is counted as.
const HEAD_BYTES: usize = 256;

impl HttpService for Service {
    fn call(
        &mut self,
        request: may_minihttp::Request<'_, '_, '_>,
        response: &mut Response<'_>,
    ) -> io::Result<()> {
        if self.is_over || self.answered_bytes > CONTROL_ANSWER_BYTES_MAX {
            self.is_over = true;
            self.place.shut();
            return Ok(());
        }
        self.place.set_deadline(Some(BODY_DEADLINE_MS));
        let last = wants_close(&request);
        let reply = match self.take(request) {
            Ok(request) => self.reply(request),
            Err(problem) => problem.into(),
        };
        self.ends = last && !self.is_over;
        self.is_over |= last;
        self.answered_bytes += HEAD_BYTES + reply.body.len();
        self.write(reply, response);
        Ok(())
    }
}

impl Service {
    /// The request with its body, if it may be answered.
    fn take(&mut self, request: may_minihttp::Request<'_, '_, '_>) -> Result<Request, Problem> {
        let length = match framing(&request) {
            Framing::Length(length) => length,
            Framing::InDoubt(problem) => {
                self.is_over = true;
                return Err(problem);
            }
        };
        let is_open = matches!(request.path(), "/livez" | "/readyz");
        let allowed = if is_open { Ok(()) } else { self.factory.access.check(&shown(&request)) };
        let content_type = values(&request, "content-type").next().map(<[u8]>::to_vec);
        let mut taken = Request {
            method: request.method().to_owned(),
            target: request.path().to_owned(),
            content_type,
            body: Vec::new(),
        };
        if length == 0 {
            allowed?;
            return Ok(taken);
        }
        if length > CONTROL_DISCARD_BYTES_MAX {
            self.is_over = true;
            // Its reader would read all of it when it is dropped.
            std::mem::forget(request.body());
            return Err(too_large());
        }
        // What is too large is read as well, and dropped, or its answer would not be seen.
        let mut body = request.body();
        let read = (&mut body).take(CONTROL_BODY_BYTES_MAX as u64).read_to_end(&mut taken.body);
        drop(body);
        allowed?;
        if length > CONTROL_BODY_BYTES_MAX {
            return Err(too_large());
        }
        if read.is_err() || taken.body.len() != length {
            self.is_over = true;
            return Err(Problem::of(Code::BadRequest).saying("The body did not come whole."));
        }
        Ok(taken)
    }

    fn reply(&self, request: Request) -> Reply {
        match (request.method.as_str(), request.path()) {
            ("GET", "/livez") => Reply::text("ok\n"),
            ("GET", "/readyz") => match self.not_ready() {
                None => self.ready(),
                Some(problem) => problem.into(),
            },
            _ => self.ask(request),
        }
    }

    /// Ready also with sales that the ledger refuses: other servers could not sell them either. They
    /// are named.
    fn ready(&self) -> Reply {
        let (refused, count) =
            self.factory.status.selling.refused_sales.list(REFUSED_SALES_SHOWN_MAX);
        let mut text = "ready\n".to_owned();
        for (sale, reason) in &refused {
            text += &format!("sale {sale} is refused: {reason}\n");
        }
        if count > refused.len() {
            text += &format!("and {} more sales\n", count - refused.len());
        }
        Reply::text(&text)
    }

    /// Why buyers should be sent elsewhere, if they should.
    fn not_ready(&self) -> Option<Problem> {
        let status = &self.factory.status;
        let not_ready =
            |code, detail| Some(Problem::new(503, code, detail).with_header("Retry-After: 1"));
        if status.engine.leaving.load(Ordering::Relaxed) {
            not_ready("draining", "The server ends soon: it takes no more buyers.")
        } else if !status.ledger_is_up() {
            not_ready("unavailable", "No core reaches the ledger.")
        } else {
            None
        }
    }

    /// Has the control thread answer, and suspends until it has.
    fn ask(&self, request: Request) -> Reply {
        if self.factory.closing.load(Ordering::Relaxed) {
            return ended();
        }
        let (sender, receiver) = may::sync::mpsc::channel();
        self.place.set_deadline(None);
        match self.factory.jobs.try_send(Job::Ask(request, sender)) {
            Ok(()) => receiver.recv().unwrap_or_else(|_| ended()),
            Err(TrySendError::Full(_)) => Problem::of(Code::Busy)
                .saying("Too many requests wait at the control port; nothing happened.")
                .into(),
            Err(TrySendError::Disconnected(_)) => ended(),
        }
    }

    fn write(&self, reply: Reply, response: &mut Response<'_>) {
        response.status_code(reply.status.into(), reply.reason());
        reply.headers.iter().for_each(|header| _ = response.header(header));
        response.header("Cache-Control: no-store");
        if self.is_over || self.answered_bytes > CONTROL_ANSWER_BYTES_MAX {
            response.header("Connection: close");
            // It runs from now, not from when the answer is sent: a large one takes its time.
            let sending_ms = reply.body.len() as u64 / CONTROL_BYTES_PER_MS_MIN;
            self.place.set_deadline(Some(CONTROL_CLOSE_MS + sending_ms));
            // Health checks read to the end, and take a late one for no answer. Only an answer that
            // surely fits the socket's buffer, or its rest would be lost.
            if self.ends && self.answered_bytes <= CONTROL_PROMPT_BYTES_MAX {
                self.place.end();
            }
        } else {
            // The next head begins somewhen: its end must come in time, or memory grows with it.
            self.place.set_deadline(Some(HEAD_DEADLINE_MS));
        }
        response.body_vec(reply.body);
    }
}

fn ended() -> Reply {
    Problem::of(Code::Unavailable).saying("The server ends; nothing happened.").into()
}

fn too_large() -> Problem {
    Problem::of(Code::ContentTooLarge)
        .saying(format!("The body is longer than {CONTROL_BODY_BYTES_MAX} bytes."))
}

/// All values of a header, by its name in lower case.
fn values<'a>(
    request: &'a may_minihttp::Request<'_, '_, '_>,
    name: &'static str,
) -> impl Iterator<Item = &'a [u8]> {
    let headers = request.headers().iter();
    headers.filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn shown<'a>(request: &'a may_minihttp::Request<'_, '_, '_>) -> Shown<'a> {
    Shown {
        authorization: values(request, "authorization").collect(),
        origin: values(request, "origin").collect(),
        host: values(request, "host").collect(),
    }
}

/// HTTP/1.0, or `Connection: close`.
fn wants_close(request: &may_minihttp::Request<'_, '_, '_>) -> bool {
    let mut options = values(request, "connection").flat_map(|value| value.split(|&b| b == b','));
    request.version() == 0
        || options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// As `may_minihttp` reads it, and only where that is right: the first `Content-Length`, as a number.
fn framing(request: &may_minihttp::Request<'_, '_, '_>) -> Framing {
    if values(request, "transfer-encoding").next().is_some() {
        return Framing::InDoubt(Problem::new(
            411,
            "length_required",
            "The control port takes bodies with a Content-Length only.",
        ));
    }
    let lengths: Vec<&[u8]> = values(request, "content-length").collect();
    let [length] = lengths[..] else {
        let problem = Problem::of(Code::BadRequest).saying("There are several Content-Lengths.");
        return if lengths.is_empty() { Framing::Length(0) } else { Framing::InDoubt(problem) };
    };
    let number = std::str::from_utf8(length)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match number.and_then(|text| text.parse().ok()) {
        Some(length) => Framing::Length(length),
        None => Framing::InDoubt(
            Problem::of(Code::BadRequest).saying("The Content-Length is not a number of bytes."),
        ),
    }
}
