//! From a request to its answer: the only place where HTTP meets purchases.
//!
//! A core's [`Buyers`] are the engine's service at the public port. A request that needs no ledger
//! is answered at once. For any other, a command goes into the ledger's queue and a [`Waiting`] is
//! returned. It owns everything that the answer will need, so that nothing of the request is
//! borrowed while it waits.

mod answer;
mod buy;
mod control_threads;
mod entry_check;
mod refusal;
mod reservations;
mod sales;
mod storefront;
mod storefront_requests;

pub use buy::BUY_SALE;
pub use storefront::{PAY_PATH, Storefront};

/// Actions on reservations without a connection.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::handler::reservations::{CompletedAction, PendingAction, ReservationAction};
}

use std::rc::Rc;
use std::sync::Arc;

use crate::code::ErrorCode;
use crate::control::catalogue::CoreCatalogue;
use crate::control::request::{Reply, Request, reply_or_gone};
use crate::engine::core::{Action, Core, Service};
use crate::engine::http::{
    Head, Method, Preencoded, Problem, ResponseContext, write_cross_origin, write_json_bytes,
    write_options, write_request_id,
};
use crate::engine::oneshot::{Receiver, Sender};
use crate::engine::reactor::Token;
use crate::engine::response_options::ResponseOptions;
use crate::gatekeeper::Gatekeeper;
use crate::ledger::batch::WaiterId;
use crate::log_throttle::LogThrottle;
use crate::openapi;
use crate::purchase::{PendingPurchase, PendingView, Progress, Seller, ViewProgress};
use crate::route::table::{self, Found, Port};
use crate::route::{Route, UserSources, buyer, percent, route};
use crate::trace::Trace;
use crate::trust::CoreTrust;
use answer::{write_plaintext, write_techempower_json};
use entry_check::EntryCheck;
use reservations::{EarlyRejection, PendingAction, ReservationAction};

/// Submits a request to a control thread, which answers through the sender. An error: it can't be
/// submitted.
pub type SubmitToControl = Box<dyn Fn(Request, Sender<Reply>) -> Result<(), Problem>>;

/// The service of a core for buyers.
pub struct Buyers {
    seller: &'static Seller,
    /// Whether buyers may confirm their own reservations.
    public_confirm: bool,
    /// Which callers the port trusts.
    trust: CoreTrust,
    /// Rate limits and admission before a purchase.
    gatekeeper: Gatekeeper,
    /// Carries out the shop's requests that are not purchases.
    control_threads: SubmitToControl,
    /// The list of all sales, open to every caller.
    catalogue: CoreCatalogue,
    /// The pages that a demonstration serves besides the API.
    storefront: Option<&'static Storefront>,
    /// Answers that are the same for all buyers, encoded once.
    buy_preencoded: buy::PreencodedRejections,
    sold_out: Preencoded,
}

impl Buyers {
    /// A service that sells with this core's seller.
    pub fn new(
        seller: &'static Seller,
        public_confirm: bool,
        trust: CoreTrust,
        gatekeeper: Gatekeeper,
        control_threads: SubmitToControl,
        catalogue: CoreCatalogue,
    ) -> Self {
        Self {
            seller,
            public_confirm,
            trust,
            gatekeeper,
            control_threads,
            catalogue,
            storefront: None,
            buy_preencoded: buy::PreencodedRejections::default(),
            sold_out: Preencoded::problem(&refusal::sold_out(0)),
        }
    }

    /// Adds a storefront.
    pub fn with_storefront(self, storefront: Option<&'static Storefront>) -> Self {
        Self { storefront, ..self }
    }
}

impl Service for Buyers {
    type Waiting = Waiting;

    #[inline(always)]
    fn serve(
        &self,
        core: &'static Core,
        asker: Token,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let asker = WaiterId(asker.to_number());
        // Requests with preconditions, ids or origins take the slow path. All others pay only for
        // this check.
        let answered = match head.has_rare_headers() {
            false => self.answer::<false>(core, asker, head, body, None, out),
            true => None,
        };
        match answered {
            Some(action) => action,
            None => self.answer_slow_path(core, asker, head, body, out),
        }
    }

    fn resume(
        &self,
        core: &'static Core,
        asker: Token,
        waiting: Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let Waiting { options, pending, trace, origin } = waiting;
        let (seller, asker) = (self.seller, WaiterId(asker.to_number()));
        let start = out.len();
        let on = |pending| {
            Action::Wait(Waiting { options, pending, trace: trace.clone(), origin: origin.clone() })
        };
        match pending {
            PendingReply::Buy(asked) => match asked.resume(seller, asker) {
                Progress::Waits(asked) => return on(PendingReply::Buy(asked)),
                Progress::Done(done) => options.answer(core, out, |context, out| {
                    buy::write(&self.buy_preencoded, &done, context, out);
                }),
            },
            PendingReply::Reserve(asked) => match asked.resume(seller, asker) {
                Progress::Waits(asked) => return on(PendingReply::Reserve(asked)),
                Progress::Done(done) => options.answer(core, out, |context, out| {
                    reservations::write_created_or_not(&self.sold_out, &done, context, out);
                }),
            },
            PendingReply::ShowSale(pending) => match pending.resume(seller, asker) {
                ViewProgress::Waits(pending) => return on(PendingReply::ShowSale(pending)),
                ViewProgress::Done(slot, answer) => options.answer(core, out, |context, out| {
                    sales::write_answer(seller, slot.id(), &answer, context, out);
                }),
            },
            PendingReply::Control(reply) => match reply.try_recv() {
                Err(reply) => return on(PendingReply::Control(reply)),
                Ok(reply) => options.answer(core, out, |context, out| {
                    reply_or_gone(reply).write(context, out);
                }),
            },
            PendingReply::Reservation(pending) => match pending.poll(seller, asker) {
                Err(pending) => return on(PendingReply::Reservation(pending)),
                Ok(completed) => {
                    completed
                        .failure()
                        .into_iter()
                        .for_each(|failure| seller.note_failure(failure));
                    options.answer(core, out, |context, out| {
                        reservations::write_action_result(completed, context, out);
                    });
                }
            },
        }
        if let Some(trace) = trace {
            finish_traced(&trace, start, out);
        }
        if let Some(origin) = origin {
            write_cross_origin(&origin, None, start, out);
        }
        Action::Answered
    }

    fn cancel(&self, waiting: Waiting) {
        match waiting.pending {
            PendingReply::Buy(asked) | PendingReply::Reserve(asked) => asked.give_up(self.seller),
            PendingReply::ShowSale(pending) => pending.give_up(self.seller),
            PendingReply::Reservation(pending) => pending.cancel(self.seller),
            // The control thread may be carrying it out by now.
            PendingReply::Control(reply) => drop(reply),
        }
    }

    fn send(&self) -> bool {
        self.seller.batcher.wake_link()
    }

    fn end_round(&self) -> bool {
        self.seller.batcher.end_of_round()
    }

    fn tick(&self) {
        self.gatekeeper.tick();
        self.seller.tick();
    }

    fn finish(&self) {
        self.seller.finish();
    }
}

impl Buyers {
    /// Answers a request. `None`: there is no such path. `RARE_HEADERS`: it may have preconditions.
    #[inline(always)]
    fn answer<const RARE_HEADERS: bool>(
        &self,
        core: &'static Core,
        asker: WaiterId,
        head: &Head<'_>,
        body: &[u8],
        trace: Option<&Arc<Trace>>,
        out: &mut Vec<u8>,
    ) -> Option<Action<Waiting>> {
        let mut options = ResponseOptions::of(core, head);
        let mut route = route(head);
        let unmet =
            if RARE_HEADERS { head.unmet_precondition(route.has_representation()) } else { None };
        if let Some(status) = unmet {
            (options, route) = (options.with_status(status), read_only_route(route));
        }
        let date = core.date.borrow();
        let context = &options.context(&date);
        let seller = self.seller;
        let wait = |pending| {
            Action::Wait(Waiting { options, pending, trace: trace.cloned(), origin: None })
        };
        let ask = |id: &str, wish, out: &mut Vec<u8>| {
            let pending = match self.gatekeeper.is_on() {
                true => self.act_checked(core, asker, head, (id, wish), context, out),
                false => reservations::ask(seller, asker, id, (wish, None), context, out),
            };
            match pending {
                Some(pending) => wait(PendingReply::Reservation(pending)),
                None => Action::Answered,
            }
        };
        if let Some(name) = head.query.and_then(|query| route.unexpected_parameter(query)) {
            let detail = "This path has no query parameters; nothing was done.";
            Problem::invalid(name.into_owned(), detail).write(context, out);
            return Some(Action::Answered);
        }
        let action = match route {
            Route::NotFound => return None,
            Route::BuyTicket if self.gatekeeper.is_on() => {
                match self.buy_checked(core, asker, head, trace, context, out) {
                    Some(waiting) => wait(PendingReply::Buy(waiting)),
                    None => Action::Answered,
                }
            }
            Route::BuyTicket => {
                let user = match head.user.is_none() && head.query.is_none() {
                    true => Ok(None),
                    false => buyer(head, self.user_sources(core, asker, head)),
                };
                let (preencoded, request) =
                    (&self.buy_preencoded, buy::BuyRequest { head, user, trace });
                match buy::begin(seller, asker, preencoded, request, context, out) {
                    Some(waiting) => wait(PendingReply::Buy(waiting)),
                    None => Action::Answered,
                }
            }
            Route::CreateReservation { sale } if self.gatekeeper.is_on() => {
                match self.reserve_checked(core, asker, (head, body), &sale, trace) {
                    Ok(asked) => return Some(wait(PendingReply::Reserve(asked))),
                    Err(rejection) => rejection.write(&self.sold_out, context, out),
                }
                Action::Answered
            }
            Route::CreateReservation { sale } => {
                let user_sources = self.user_sources(core, asker, head);
                match reservations::begin(seller, asker, head, body, &sale, user_sources, trace) {
                    Ok(asked) => return Some(wait(PendingReply::Reserve(asked))),
                    Err(rejection) => rejection.write(&self.sold_out, context, out),
                }
                Action::Answered
            }
            Route::ShowSale { sale } => match sales::show(seller, asker, &sale, context, out) {
                Some(pending) => wait(PendingReply::ShowSale(pending)),
                None => Action::Answered,
            },
            Route::ShowReservation { id } => ask(&id, Ok(ReservationAction::Show), out),
            Route::ConfirmReservation { id } => match self.may_confirm(head) {
                Ok(()) => ask(&id, Ok(ReservationAction::Confirm), out),
                Err(problem) => {
                    problem.write(context, out);
                    Action::Answered
                }
            },
            Route::CancelReservation { id } => {
                ask(&id, ReservationAction::to_cancel(head, body), out)
            }
            Route::ListSales { endpoint } => {
                match self.list_sales(core, asker, (head, endpoint), context, out) {
                    Some(reply) => wait(PendingReply::Control(reply)),
                    None => Action::Answered,
                }
            }
            Route::ControlThread { endpoint, name } => {
                let wanted = Found::Endpoint(endpoint, name).into();
                match self.ask_control_thread(core, asker, (head, wanted, body), unmet, trace) {
                    Ok(reply) => wait(PendingReply::Control(reply)),
                    Err(problem) => {
                        problem.write(context, out);
                        Action::Answered
                    }
                }
            }
            route => {
                write_fixed(route, context, out);
                Action::Answered
            }
        };
        Some(action)
    }

    /// The local step of a purchase with rate limits or admission.
    #[inline(never)]
    fn buy_checked(
        &self,
        core: &'static Core,
        asker: WaiterId,
        head: &Head<'_>,
        trace: Option<&Arc<Trace>>,
        context: &ResponseContext<'_>,
        out: &mut Vec<u8>,
    ) -> Option<PendingPurchase> {
        let trust = self.trust.get();
        let entry = EntryCheck::of(core, asker, head, &self.gatekeeper, &trust);
        let request = (&entry, head, trace);
        buy::begin_checked(self.seller, asker, &self.buy_preencoded, request, context, out)
    }

    /// The local step of a reservation with rate limits or admission.
    #[inline(never)]
    fn reserve_checked(
        &self,
        core: &'static Core,
        asker: WaiterId,
        (head, body): (&Head<'_>, &[u8]),
        sale: &str,
        trace: Option<&Arc<Trace>>,
    ) -> Result<PendingPurchase, EarlyRejection> {
        let trust = self.trust.get();
        let entry = EntryCheck::of(core, asker, head, &self.gatekeeper, &trust);
        reservations::begin_checked(self.seller, asker, (&entry, head, body), sale, trace)
    }

    /// Starts an action on a reservation for a caller who passes the entry check.
    #[inline(never)]
    fn act_checked(
        &self,
        core: &'static Core,
        asker: WaiterId,
        head: &Head<'_>,
        (id, wish): (&str, Result<ReservationAction, Problem>),
        context: &ResponseContext<'_>,
        out: &mut Vec<u8>,
    ) -> Option<PendingAction> {
        let trust = self.trust.get();
        let entry = EntryCheck::of(core, asker, head, &self.gatekeeper, &trust);
        reservations::ask(self.seller, asker, id, (wish, Some(&entry)), context, out)
    }

    /// Which sources may name the user of a request.
    #[inline(always)]
    fn user_sources(&self, core: &Core, asker: WaiterId, head: &Head<'_>) -> UserSources {
        let trust = self.trust.get();
        trust.user_sources(|| trust.is_shop(head), || core.peer(Token::from_number(asker.0)))
    }

    /// Whether the caller may confirm a reservation.
    fn may_confirm(&self, head: &Head<'_>) -> Result<(), Problem> {
        match self.public_confirm {
            true => Ok(()),
            false => self.trust.get().shop(head, ErrorCode::ConfirmNotPublic).map(drop),
        }
    }

    /// Answers a request with rare headers, or with a path that is not in its normal form.
    #[cold]
    fn answer_slow_path(
        &self,
        core: &'static Core,
        asker: WaiterId,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let (start, trace) = (out.len(), head.trace().map(Arc::new));
        let path = percent::normalized(head.path);
        // A request without rare headers was already tried with its path as sent.
        let as_it_is = head.has_rare_headers().then_some(*head);
        let elsewhere = path.as_deref().map(|path| Head { path, ..*head });
        let mut heads = as_it_is.into_iter().chain(elsewhere);
        let answered = heads
            .find_map(|head| self.answer::<true>(core, asker, &head, body, trace.as_ref(), out));
        let answered = answered.or_else(|| {
            let head = Head { path: path.as_deref().unwrap_or(head.path), ..*head };
            self.answer_at_storefront(core, asker, &head, trace.as_ref(), out)
        });
        let action = answered.unwrap_or_else(|| {
            let options = ResponseOptions::of(core, head);
            Problem::of(ErrorCode::NotFound).write(&options.context(&core.date.borrow()), out);
            Action::Answered
        });
        let origin = self.trust.get().allowed_origin(head);
        match action {
            Action::Wait(waiting) => Action::Wait(Waiting { origin, ..waiting }),
            Action::Answered => {
                if let Some(trace) = trace {
                    finish_traced(&trace, start, out);
                }
                if let Some(origin) = origin {
                    let asks = (head.method == Method::Options).then(|| allowed_at(head.path));
                    write_cross_origin(&origin, asks, start, out);
                }
                Action::Answered
            }
        }
    }
}

/// The methods of a path.
fn allowed_at(path: &str) -> &'static str {
    match table::find(Port::Public, Method::Options, path) {
        Found::Path(methods) => &methods.allow,
        Found::Endpoint(..) | Found::Nothing => "OPTIONS",
    }
}

/// Inserts the request id into the answer that begins at `start`. If it is a 5xx, it is logged,
/// since a client that sends ids looks for them in the log. The log line is throttled, since every
/// request may fail.
#[cold]
fn finish_traced(trace: &Trace, start: usize, out: &mut Vec<u8>) {
    static NOT_SERVED: LogThrottle = LogThrottle::new();
    let (request_id, traceparent) = (trace.request_id(), trace.parent());
    let status = write_request_id(request_id, start, out);
    if let Some(status) = status.filter(|status| *status >= 500)
        && let Some(left_out) = NOT_SERVED.now()
    {
        let code = code_of(&out[start..]);
        tracing::warn!(status, code, request_id, traceparent, left_out, "request not served");
    }
}

/// The `code` in an answer's body: a word, or the number of `/buy/ticket`.
fn code_of(answer: &[u8]) -> Option<&str> {
    let at = memchr::memmem::find(answer, b"\"code\":")? + "\"code\":".len();
    let rest = &answer[at..];
    let end = rest.iter().position(|b| matches!(b, b',' | b'}'))?;
    str::from_utf8(&rest[..end]).ok().map(|code| code.trim_matches('"'))
}

/// The route for a request whose precondition is not met, so that it must do nothing: a read of the
/// same resource, which finds out whether it exists. If it does, its success is replaced by the
/// status of the precondition.
fn read_only_route(route: Route<'_>) -> Route<'_> {
    match route {
        Route::BuyTicket => Route::ShowSale { sale: BUY_SALE.into() },
        Route::CreateReservation { sale } => Route::ShowSale { sale },
        Route::ConfirmReservation { id } | Route::CancelReservation { id } => {
            Route::ShowReservation { id }
        }
        route => route,
    }
}

/// Answers requests that have nothing to do with sales.
fn write_fixed(route: Route<'_>, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    match route {
        Route::Plaintext => write_plaintext(context, out),
        Route::Json => write_techempower_json(context, out),
        Route::Describe => write_json_bytes(openapi::document(Port::Public), context, out),
        Route::Options { allow } => write_options(allow, context, out),
        Route::MethodNotAllowed { allow } => {
            Problem::method_not_allowed(allow).write(context, out);
        }
        _ => Problem::of(ErrorCode::NotFound).write(context, out),
    }
}

/// A request that waits for the ledger.
pub struct Waiting {
    options: ResponseOptions,
    pending: PendingReply,
    /// The request id and trace.
    trace: Option<Arc<Trace>>,
    /// The web page that may read the answer.
    origin: Option<Rc<str>>,
}

enum PendingReply {
    Buy(PendingPurchase),
    Reserve(PendingPurchase),
    ShowSale(PendingView),
    Reservation(reservations::PendingAction),
    Control(Receiver<Reply>),
}

#[cfg(test)]
impl Buyers {
    /// Without a shop token.
    fn alone(seller: &'static Seller, public_confirm: bool) -> Self {
        let trust = crate::reloadable::Reloadable::new(crate::trust::Trust::default());
        let control_threads: SubmitToControl =
            Box::new(|request, _| panic!("no control thread here: {request:?}"));
        let gatekeeper = crate::gatekeeper::SharedGatekeeper::open(1);
        let gatekeeper = Gatekeeper::new(0, Arc::new(gatekeeper));
        let trust = CoreTrust::of(Arc::new(trust));
        let catalogue = CoreCatalogue::empty();
        Self::new(seller, public_confirm, trust, gatekeeper, control_threads, catalogue)
    }
}

#[cfg(test)]
#[path = "handler/handler_tests.rs"]
mod tests;
