//! From what a request asks to what it is answered. The only place where HTTP meets purchases.
//!
//! A core's [`Buyers`] are the engine's service at the public port: whatever needs no ledger is
//! answered at once. What needs one is put into the ledger's queue, and a [`Waiting`] is returned, which
//! owns all that the answer will need, so that nothing of the request is borrowed while it waits.

mod answer;
mod buy;
mod desk;
mod passing;
mod refusal;
mod reservations;
mod sales;

pub use buy::BUY_SALE;

use std::rc::Rc;
use std::sync::Arc;

use crate::code::Code;
use crate::control::catalogue::CoreCatalogue;
use crate::control::request::{Reply, Request, reply_or_gone};
use crate::engine::core::{Action, Core, Service};
use crate::engine::gate::Token;
use crate::engine::http::{
    Canned, Envelope, Head, Method, Problem, write_cross_origin, write_json_bytes, write_options,
    write_request_id,
};
use crate::engine::manner::Manner;
use crate::engine::promise::{Promise, Promised};
use crate::ledger::batch::Asker;
use crate::openapi;
use crate::purchase::{Asked, Progress, Seller};
use crate::route::table::{self, Found, Port};
use crate::route::{Namer, Route, buyer, percent, route};
use crate::seldom::Seldom;
use crate::trace::Trace;
use crate::trust::CoreTrust;
use crate::turnstile::Turnstile;
use answer::{write_plaintext, write_techempower_json};
use passing::Passing;
use reservations::{Asking, Declined, Wish};

/// Leaves a request to a control thread, which keeps the promise; or says why that can't be.
pub type AskDesk = Box<dyn Fn(Request, Promise<Reply>) -> Result<(), Problem>>;

/// What a core answers to buyers.
pub struct Buyers {
    seller: &'static Seller,
    /// Whether buyers may confirm their own reservations.
    public_confirm: bool,
    /// Whom the port believes.
    trust: CoreTrust,
    /// What stands before a purchase.
    turnstile: Turnstile,
    /// Where the shop's requests go that are no purchases.
    desk: AskDesk,
    /// All sales, for everybody.
    catalogue: CoreCatalogue,
    /// What is the same for everybody, encoded once.
    buy_refusals: buy::Refusals,
    sold_out: Canned,
}

impl Buyers {
    /// Sells with this core's seller.
    pub fn new(
        seller: &'static Seller,
        public_confirm: bool,
        trust: CoreTrust,
        turnstile: Turnstile,
        desk: AskDesk,
        catalogue: CoreCatalogue,
    ) -> Self {
        Self {
            seller,
            public_confirm,
            trust,
            turnstile,
            desk,
            catalogue,
            buy_refusals: buy::Refusals::default(),
            sold_out: Canned::problem(&refusal::sold_out(0)),
        }
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
        let asker = Asker(asker.to_number());
        // Whoever has conditions, or wants his request to be found again, goes the longer way, so that it
        // costs all others nothing but this question.
        let answered = match head.asks_more() {
            false => self.answer::<false>(core, asker, head, body, None, out),
            true => None,
        };
        match answered {
            Some(action) => action,
            None => self.answer_elsewhere(core, asker, head, body, out),
        }
    }

    fn go_on(
        &self,
        core: &'static Core,
        asker: Token,
        waiting: Waiting,
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let Waiting { manner, question, trace, origin } = waiting;
        let (seller, asker) = (self.seller, Asker(asker.to_number()));
        let start = out.len();
        let on = |question| {
            Action::Wait(Waiting { manner, question, trace: trace.clone(), origin: origin.clone() })
        };
        match question {
            Question::Buy(asked) => match asked.go_on(seller, asker) {
                Progress::Waits(asked) => return on(Question::Buy(asked)),
                Progress::Done(done) => manner.answer(core, out, |envelope, out| {
                    buy::write(&self.buy_refusals, &done, envelope, out);
                }),
            },
            Question::Reserve(asked) => match asked.go_on(seller, asker) {
                Progress::Waits(asked) => return on(Question::Reserve(asked)),
                Progress::Done(done) => manner.answer(core, out, |envelope, out| {
                    reservations::write_created_or_not(&self.sold_out, &done, envelope, out);
                }),
            },
            Question::ShowSale(showing) => match showing.go_on(seller) {
                Err(showing) => return on(Question::ShowSale(showing)),
                Ok((answer, slot)) => manner.answer(core, out, |envelope, out| {
                    sales::write_answer(seller, &slot, answer, envelope, out);
                }),
            },
            Question::Desk(reply) => match reply.take() {
                Err(reply) => return on(Question::Desk(reply)),
                Ok(reply) => manner.answer(core, out, |envelope, out| {
                    reply_or_gone(reply).write(envelope, out);
                }),
            },
            Question::Reservation(asking) => match asking.go_on(seller, asker) {
                Err(asking) => return on(Question::Reservation(asking)),
                Ok(told) => {
                    told.failure().into_iter().for_each(|failure| seller.note_failure(failure));
                    manner.answer(core, out, |envelope, out| {
                        reservations::write_told(told, envelope, out);
                    });
                }
            },
        }
        if let Some(trace) = trace {
            answer_traced(&trace, start, out);
        }
        if let Some(origin) = origin {
            write_cross_origin(&origin, None, start, out);
        }
        Action::Answered
    }

    fn give_up(&self, waiting: Waiting) {
        match waiting.question {
            Question::Buy(asked) | Question::Reserve(asked) => asked.give_up(self.seller),
            Question::ShowSale(showing) => showing.give_up(self.seller),
            Question::Reservation(asking) => asking.give_up(self.seller),
            // It may be carried out by now.
            Question::Desk(reply) => drop(reply),
        }
    }

    fn send(&self) -> bool {
        self.seller.batcher.kick()
    }

    fn end_round(&self) -> bool {
        self.seller.batcher.kick_or_wait()
    }

    fn tick(&self) {
        self.turnstile.tick();
        self.seller.tick();
    }

    fn finish(&self) {
        self.seller.finish();
    }
}

impl Buyers {
    /// Answers a request. `None`: there is no such path. `ASKS_MORE`: it may have conditions.
    #[inline(always)]
    fn answer<const ASKS_MORE: bool>(
        &self,
        core: &'static Core,
        asker: Asker,
        head: &Head<'_>,
        body: &[u8],
        trace: Option<&Arc<Trace>>,
        out: &mut Vec<u8>,
    ) -> Option<Action<Waiting>> {
        let mut manner = Manner::of(core, head);
        let mut route = route(head);
        let unmet = if ASKS_MORE { head.unmet(route.has_representation()) } else { None };
        if let Some(status) = unmet {
            (manner, route) = (manner.instead(status), looked_at(route));
        }
        let date = core.date.borrow();
        let envelope = &manner.envelope(&date);
        let seller = self.seller;
        let wait = |question| {
            Action::Wait(Waiting { manner, question, trace: trace.cloned(), origin: None })
        };
        let ask = |id: &str, wish, out: &mut Vec<u8>| {
            let asking = match self.turnstile.is_on() {
                true => self.ask_passing(core, asker, head, (id, wish), envelope, out),
                false => reservations::ask(seller, asker, id, (wish, None), envelope, out),
            };
            match asking {
                Some(asking) => wait(Question::Reservation(asking)),
                None => Action::Answered,
            }
        };
        if let Some(name) = head.query.and_then(|query| route.stray_parameter(query)) {
            let detail = "This path takes no parameters; nothing was done.";
            Problem::invalid(name.into_owned(), detail).write(envelope, out);
            return Some(Action::Answered);
        }
        let action = match route {
            Route::NotFound => return None,
            Route::BuyTicket if self.turnstile.is_on() => {
                match self.buy_passing(core, asker, head, trace, envelope, out) {
                    Some(waiting) => wait(Question::Buy(waiting)),
                    None => Action::Answered,
                }
            }
            Route::BuyTicket => {
                let user = match head.user.is_none() && head.query.is_none() {
                    true => Ok(None),
                    false => buyer(head, self.namer(core, asker, head)),
                };
                let (refusals, bid) = (&self.buy_refusals, buy::Bid { head, user, trace });
                match buy::begin(seller, asker, refusals, bid, envelope, out) {
                    Some(waiting) => wait(Question::Buy(waiting)),
                    None => Action::Answered,
                }
            }
            Route::CreateReservation { sale } if self.turnstile.is_on() => {
                match self.reserve_passing(core, asker, (head, body), &sale, trace) {
                    Ok(asked) => return Some(wait(Question::Reserve(asked))),
                    Err(declined) => declined.write(&self.sold_out, envelope, out),
                }
                Action::Answered
            }
            Route::CreateReservation { sale } => {
                let namer = self.namer(core, asker, head);
                match reservations::begin(seller, asker, head, body, &sale, namer, trace) {
                    Ok(asked) => return Some(wait(Question::Reserve(asked))),
                    Err(declined) => declined.write(&self.sold_out, envelope, out),
                }
                Action::Answered
            }
            Route::ShowSale { sale } => match sales::show(seller, asker, &sale, envelope, out) {
                Some(showing) => wait(Question::ShowSale(showing)),
                None => Action::Answered,
            },
            Route::ShowReservation { id } => ask(&id, Ok(Wish::Show), out),
            Route::ConfirmReservation { id } => match self.may_confirm(head) {
                Ok(()) => ask(&id, Ok(Wish::Confirm), out),
                Err(problem) => {
                    problem.write(envelope, out);
                    Action::Answered
                }
            },
            Route::CancelReservation { id } => ask(&id, Wish::to_cancel(head, body), out),
            Route::ListSales { endpoint } => {
                match self.list_sales(core, asker, (head, endpoint), envelope, out) {
                    Some(reply) => wait(Question::Desk(reply)),
                    None => Action::Answered,
                }
            }
            Route::AtDesk { endpoint, name } => {
                let wanted = Found::Endpoint(endpoint, name).into();
                match self.ask_desk(core, asker, (head, wanted, body), unmet, trace) {
                    Ok(reply) => wait(Question::Desk(reply)),
                    Err(problem) => {
                        problem.write(envelope, out);
                        Action::Answered
                    }
                }
            }
            route => {
                write_fixed(route, envelope, out);
                Action::Answered
            }
        };
        Some(action)
    }

    /// The local step of a purchase that something stands before.
    #[inline(never)]
    fn buy_passing(
        &self,
        core: &'static Core,
        asker: Asker,
        head: &Head<'_>,
        trace: Option<&Arc<Trace>>,
        envelope: &Envelope<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Asked> {
        let trust = self.trust.get();
        let passing = Passing::of(core, asker, head, &self.turnstile, &trust);
        let bid = (&passing, head, trace);
        buy::begin_passing(self.seller, asker, &self.buy_refusals, bid, envelope, out)
    }

    /// The same of a reservation.
    #[inline(never)]
    fn reserve_passing(
        &self,
        core: &'static Core,
        asker: Asker,
        (head, body): (&Head<'_>, &[u8]),
        sale: &str,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Asked, Declined> {
        let trust = self.trust.get();
        let passing = Passing::of(core, asker, head, &self.turnstile, &trust);
        reservations::begin_passing(self.seller, asker, (&passing, head, body), sale, trace)
    }

    /// Asks about a reservation for who may.
    #[inline(never)]
    fn ask_passing(
        &self,
        core: &'static Core,
        asker: Asker,
        head: &Head<'_>,
        (id, wish): (&str, Result<Wish, Problem>),
        envelope: &Envelope<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Asking> {
        let trust = self.trust.get();
        let passing = Passing::of(core, asker, head, &self.turnstile, &trust);
        reservations::ask(self.seller, asker, id, (wish, Some(&passing)), envelope, out)
    }

    /// Whose word counts for the user of a request.
    #[inline(always)]
    fn namer(&self, core: &Core, asker: Asker, head: &Head<'_>) -> Namer {
        let trust = self.trust.get();
        trust.namer(|| trust.is_shop(head), || core.origin(Token::from_number(asker.0)))
    }

    /// Whether whoever asks may confirm a reservation.
    fn may_confirm(&self, head: &Head<'_>) -> Result<(), Problem> {
        match self.public_confirm {
            true => Ok(()),
            false => self.trust.get().shop(head, Code::ConfirmNotPublic).map(drop),
        }
    }

    /// Answers a request that asks more, or whose path may be another's, written otherwise.
    #[cold]
    fn answer_elsewhere(
        &self,
        core: &'static Core,
        asker: Asker,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Waiting> {
        let (start, trace) = (out.len(), head.trace().map(Arc::new));
        let path = percent::normalized(head.path);
        // Any other head was tried as it is.
        let as_it_is = head.asks_more().then_some(*head);
        let elsewhere = path.as_deref().map(|path| Head { path, ..*head });
        let mut heads = as_it_is.into_iter().chain(elsewhere);
        let answered = heads
            .find_map(|head| self.answer::<true>(core, asker, &head, body, trace.as_ref(), out));
        let action = answered.unwrap_or_else(|| {
            let manner = Manner::of(core, head);
            Problem::of(Code::NotFound).write(&manner.envelope(&core.date.borrow()), out);
            Action::Answered
        });
        let origin = self.trust.get().allowed_origin(head);
        match action {
            Action::Wait(waiting) => Action::Wait(Waiting { origin, ..waiting }),
            Action::Answered => {
                if let Some(trace) = trace {
                    answer_traced(&trace, start, out);
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

/// The methods that a path takes.
fn allowed_at(path: &str) -> &'static str {
    match table::find(Port::Public, Method::Options, path) {
        Found::Path(methods) => &methods.allow,
        Found::Endpoint(..) | Found::Nothing => "OPTIONS",
    }
}

/// Puts into an answer, which begins at `start`, what its request is called. One that the server could
/// not serve is logged, since whoever names requests looks for them; once in a while, since all may be so.
#[cold]
fn answer_traced(trace: &Trace, start: usize, out: &mut Vec<u8>) {
    static NOT_SERVED: Seldom = Seldom::new();
    let (request_id, traceparent) = (trace.request_id(), trace.parent());
    let status = write_request_id(request_id, start, out);
    if let Some(status) = status.filter(|status| *status >= 500)
        && let Some(left_out) = NOT_SERVED.now()
    {
        let code = code_of(&out[start..]);
        tracing::warn!(status, code, request_id, traceparent, left_out, "request not served");
    }
}

/// The `code` in an answer's body: a word, or what `/buy/ticket` has in its place.
fn code_of(answer: &[u8]) -> Option<&str> {
    let at = memchr::memmem::find(answer, b"\"code\":")? + "\"code\":".len();
    let rest = &answer[at..];
    let end = rest.iter().position(|b| matches!(b, b',' | b'}'))?;
    str::from_utf8(&rest[..end]).ok().map(|code| code.trim_matches('"'))
}

/// What a request comes to that must do nothing since a condition is not met: a look at what it is about,
/// which finds out whether that exists. Where it does, there is a success to be answered otherwise.
fn looked_at(route: Route<'_>) -> Route<'_> {
    match route {
        Route::BuyTicket => Route::ShowSale { sale: BUY_SALE.into() },
        Route::CreateReservation { sale } => Route::ShowSale { sale },
        Route::ConfirmReservation { id } | Route::CancelReservation { id } => {
            Route::ShowReservation { id }
        }
        route => route,
    }
}

/// Answers what has nothing to do with sales.
fn write_fixed(route: Route<'_>, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    match route {
        Route::Plaintext => write_plaintext(envelope, out),
        Route::Json => write_techempower_json(envelope, out),
        Route::Describe => write_json_bytes(openapi::document(Port::Public), envelope, out),
        Route::Options { allow } => write_options(allow, envelope, out),
        Route::MethodNotAllowed { allow } => {
            Problem::method_not_allowed(allow).write(envelope, out);
        }
        _ => Problem::of(Code::NotFound).write(envelope, out),
    }
}

/// A request that waits for the ledger.
pub struct Waiting {
    manner: Manner,
    question: Question,
    /// How it is found again.
    trace: Option<Arc<Trace>>,
    /// The web page that may read the answer.
    origin: Option<Rc<str>>,
}

enum Question {
    Buy(Asked),
    Reserve(Asked),
    ShowSale(sales::Showing),
    Reservation(reservations::Asking),
    Desk(Promised<Reply>),
}

#[cfg(test)]
impl Buyers {
    /// Without a shop.
    fn alone(seller: &'static Seller, public_confirm: bool) -> Self {
        let trust = crate::renewed::Renewed::new(crate::trust::Trust::default());
        let desk: AskDesk = Box::new(|request, _| panic!("nobody is at the desk: {request:?}"));
        let turnstile = crate::turnstile::SharedTurnstile::open(1);
        let turnstile = Turnstile::new(0, Arc::new(turnstile));
        let trust = CoreTrust::of(Arc::new(trust));
        let catalogue = CoreCatalogue::empty();
        Self::new(seller, public_confirm, trust, turnstile, desk, catalogue)
    }
}

#[cfg(test)]
#[path = "handler/handler_tests.rs"]
mod tests;
