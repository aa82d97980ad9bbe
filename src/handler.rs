//! From what a request asks to what it is answered. The only place where HTTP meets purchases.
//!
//! [`handle`] answers at once whatever needs no ledger, into the connection's out-buffer. What needs
//! one is put into the ledger's queue and returned as [`Waiting`], which owns all that the answer
//! will need, so that nothing of the request is borrowed while its coroutine is suspended.

use std::borrow::Cow;
use std::rc::Rc;

use serde::Serialize;

use crate::clock::rfc3339;
use crate::core::{Core, Worker};
use crate::http::{
    Canned, Code, Envelope, Head, HttpDate, Method, Persistence, Problem, write_buy_granted,
    write_buy_refused, write_created, write_json, write_options, write_plaintext,
    write_techempower_json,
};
use crate::ledger::batch::{Answer, Failure, Ticket};
use crate::purchase::{self, Ask, Asked, Begun, Look, Refused, SaleSlot, Verdict};
use crate::route::{Route, idempotency_key, parse_reservation_request, route};
use crate::sale::{
    Command, IdError, Outcome, Reservation, ReservationId, SaleId, SaleView, Status, User,
};

/// The sale that `/buy/ticket` sells.
pub const BUY_SALE: &str = "ticket";

/// Responses that are the same for everybody, encoded once a core.
pub struct Responses {
    sold_out: Canned,
    plaintext: Canned,
}

impl Default for Responses {
    fn default() -> Self {
        Self { sold_out: Canned::buy_refused(Code::SoldOut), plaintext: Canned::plaintext() }
    }
}

/// What became of a request.
pub enum Action {
    /// Its answer is in the out-buffer.
    Answered,
    /// Its answer waits for the ledger.
    Wait(Waiting),
}

/// A request that waits for the ledger, with all its answer needs.
pub struct Waiting {
    manner: Manner,
    question: Question,
}

/// How a client wants its answer, without borrowing its request.
#[derive(Clone, Copy)]
struct Manner {
    persistence: Persistence,
    head_only: bool,
}

impl Manner {
    fn of(core: &Core, head: &Head<'_>) -> Self {
        let persistence = if core.draining() { Persistence::Close } else { Persistence::of(head) };
        Self { persistence, head_only: head.method == Method::Head }
    }

    fn envelope(self, date: &HttpDate) -> Envelope<'_> {
        Envelope { date, persistence: self.persistence, head_only: self.head_only }
    }
}

enum Question {
    Buy { asked: Asked, slot: Rc<SaleSlot> },
    Reserve { asked: Asked, slot: Rc<SaleSlot>, user: User, quantity: u32 },
    ShowSale { ticket: Ticket, slot: Rc<SaleSlot> },
    ShowReservation { ticket: Ticket, sale: SaleId },
}

/// Serves one request, as far as that goes without waiting.
pub fn handle(core: &'static Core, head: &Head<'_>, body: &[u8], out: &mut Vec<u8>) -> Action {
    let manner = Manner::of(core, head);
    let date = core.date.borrow();
    let envelope = manner.envelope(&date);
    let question = match route(head) {
        Route::BuyTicket { user } => buy(core, head, user, &envelope, out),
        Route::CreateReservation { sale } => match reserve(core, head, body, &sale) {
            Ok(Ok(question)) => Some(question),
            Ok(Err((slot, user, quantity, verdict))) => {
                write_verdict(&slot, user, quantity, verdict, &envelope, out);
                None
            }
            Err(problem) => {
                problem.write(&envelope, out);
                None
            }
        },
        Route::ShowSale { sale } => show_sale(core, &sale, &envelope, out),
        Route::ShowReservation { id } => show_reservation(core, &id, &envelope, out),
        Route::Plaintext => {
            match manner.persistence {
                Persistence::KeepAlive => core.responses.plaintext.write(&envelope, out),
                _ => write_plaintext(&envelope, out),
            }
            None
        }
        Route::Json => {
            write_techempower_json(&envelope, out);
            None
        }
        Route::Options { allow } => {
            write_options(allow, &envelope, out);
            None
        }
        Route::MethodNotAllowed { allow } => {
            Problem::method_not_allowed(allow).write(&envelope, out);
            None
        }
        Route::NotFound => {
            Problem::of(Code::NotFound).write(&envelope, out);
            None
        }
    };
    match question {
        Some(question) => Action::Wait(Waiting { manner, question }),
        None => Action::Answered,
    }
}

impl Waiting {
    /// Suspends until the ledger has answered and writes what it said.
    pub fn wait(self, worker: &Worker, out: &mut Vec<u8>) {
        let core = worker.core;
        worker.release_lead();
        let mut manner = self.manner;
        let answered = self.question.wait(core);
        core.assert_here();
        if core.draining() {
            manner.persistence = Persistence::Close;
        }
        if out.capacity() == 0 {
            *out = core.take_buffer();
        }
        answered.write(&manner.envelope(&core.date.borrow()), out);
    }
}

/// A question with its answer.
enum Answered {
    Buy { verdict: Verdict, slot: Rc<SaleSlot> },
    Reserve { verdict: Verdict, slot: Rc<SaleSlot>, user: User, quantity: u32 },
    ShowSale { answer: Answer, slot: Rc<SaleSlot> },
    ShowReservation { answer: Answer, sale: SaleId },
}

impl Question {
    fn wait(self, core: &Core) -> Answered {
        match self {
            Self::Buy { asked, slot } => Answered::Buy { verdict: asked.wait(core), slot },
            Self::Reserve { asked, slot, user, quantity } => {
                Answered::Reserve { verdict: asked.wait(core), slot, user, quantity }
            }
            Self::ShowSale { ticket, slot } => {
                Answered::ShowSale { answer: core.batcher.wait(ticket), slot }
            }
            Self::ShowReservation { ticket, sale } => {
                Answered::ShowReservation { answer: core.batcher.wait(ticket), sale }
            }
        }
    }
}

impl Answered {
    fn write(self, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Buy { verdict, slot } => write_buy(slot.id(), &verdict, envelope, out),
            Self::Reserve { verdict, slot, user, quantity } => {
                write_verdict(&slot, user, quantity, verdict, envelope, out);
            }
            Self::ShowSale { answer, slot } => match answer {
                Ok(Outcome::Sale(view)) => write_sale(slot.id(), &view, envelope, out),
                Ok(_) => not_found("sale").write(envelope, out),
                Err(failure) => Problem::of(failure_code(failure)).write(envelope, out),
            },
            Self::ShowReservation { answer, sale } => match answer {
                Ok(Outcome::Reservation(reservation)) => {
                    write_json(&ReservationJson::of(&sale, &reservation), envelope, out);
                }
                Ok(_) => not_found("reservation").write(envelope, out),
                Err(failure) => Problem::of(failure_code(failure)).write(envelope, out),
            },
        }
    }
}

fn buy(
    core: &'static Core,
    head: &Head<'_>,
    user: Result<Option<Cow<'_, str>>, IdError>,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Question> {
    let refuse = |code: Code, out: &mut Vec<u8>| {
        write_buy_refused(code, envelope, out);
        None
    };
    let user = user.and_then(|user| user.as_deref().map(User::new).transpose());
    let (Ok(user), Ok(key)) = (user, idempotency_key(head)) else {
        return refuse(Code::Invalid, out);
    };
    if !core.ensure_spare() {
        return refuse(Code::Busy, out);
    }
    let slot = match core.sales.slot(core, BUY_SALE) {
        Ok(slot) => slot,
        Err(verdict) => return refuse(verdict_code(&verdict), out),
    };
    match purchase::begin(core, &slot, Ask { quantity: 1, user, key }) {
        Begun::Asked(asked) => Some(Question::Buy { asked, slot }),
        Begun::Decided(Verdict::Refused(Refused::SoldOut { .. }))
            if envelope.persistence == Persistence::KeepAlive =>
        {
            core.responses.sold_out.write(envelope, out);
            None
        }
        Begun::Decided(verdict) => refuse(verdict_code(&verdict), out),
    }
}

fn write_buy(sale: &SaleId, verdict: &Verdict, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    match verdict {
        Verdict::Granted { id, .. } => write_buy_granted(sale, *id, envelope, out),
        Verdict::Replayed(reservation) => match reservation.status {
            Status::Held | Status::Confirmed => {
                write_buy_granted(sale, reservation.id, envelope, out);
            }
            Status::Cancelled => write_buy_refused(Code::AlreadyCancelled, envelope, out),
            Status::Expired => write_buy_refused(Code::Expired, envelope, out),
        },
        _ => write_buy_refused(verdict_code(verdict), envelope, out),
    }
}

type DecidedReserve = (Rc<SaleSlot>, User, u32, Verdict);

fn reserve(
    core: &'static Core,
    head: &Head<'_>,
    body: &[u8],
    sale: &str,
) -> Result<Result<Question, DecidedReserve>, Problem> {
    let request = parse_reservation_request(body, head.content_type)?;
    let key = idempotency_key(head)?;
    if !core.ensure_spare() {
        return Err(Problem::of(Code::Busy));
    }
    let slot = core.sales.slot(core, sale).map_err(|verdict| verdict_problem(&verdict))?;
    let (user, quantity) = (request.user, request.quantity);
    let ask = Ask { quantity, user: Some(user.clone()), key };
    Ok(match purchase::begin(core, &slot, ask) {
        Begun::Asked(asked) => Ok(Question::Reserve { asked, slot, user, quantity }),
        Begun::Decided(verdict) => Err((slot, user, quantity, verdict)),
    })
}

fn write_verdict(
    slot: &SaleSlot,
    user: User,
    quantity: u32,
    verdict: Verdict,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    match verdict {
        Verdict::Granted { id, expires_at_ms } => {
            let user = Some(user);
            let granted = Reservation { id, user, quantity, status: Status::Held, expires_at_ms };
            let location = format!("/v1/reservations/{}", public_id(slot.id(), id));
            write_created(&ReservationJson::of(slot.id(), &granted), &location, envelope, out);
        }
        Verdict::Replayed(reservation) => {
            write_json(&ReservationJson::of(slot.id(), &reservation), envelope, out);
        }
        verdict => verdict_problem(&verdict).write(envelope, out),
    }
}

fn show_sale(
    core: &'static Core,
    sale: &str,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Question> {
    let looked = if core.ensure_spare() {
        core.sales.slot(core, sale).map(|slot| (purchase::look(core, &slot), slot))
    } else {
        Err(Verdict::Failed(Failure::Busy))
    };
    match looked {
        Ok((Look::Asked(ticket), slot)) => return Some(Question::ShowSale { ticket, slot }),
        Ok((Look::Seen(view), slot)) => write_sale(slot.id(), &view, envelope, out),
        Ok((Look::Failed(failure), _)) => {
            Problem::of(failure_code(failure)).write(envelope, out);
        }
        Err(verdict) => verdict_problem(&verdict).write(envelope, out),
    }
    None
}

fn show_reservation(
    core: &'static Core,
    id: &str,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Question> {
    let Ok((sale, id)) = ReservationId::from_public(id) else {
        not_found("reservation").write(envelope, out);
        return None;
    };
    let command = Command::ShowReservation(id);
    let submitted = if core.ensure_spare() {
        core.batcher.submit(core.clock.now_ms(), &sale, command, 0)
    } else {
        Err(Failure::Busy)
    };
    match submitted {
        Ok(ticket) => Some(Question::ShowReservation { ticket, sale }),
        Err(failure) => {
            Problem::of(failure_code(failure)).write(envelope, out);
            None
        }
    }
}

fn not_found(what: &str) -> Problem {
    Problem::new(Code::NotFound, format!("There is no such {what}."))
}

fn failure_code(failure: Failure) -> Code {
    match failure {
        Failure::Busy => Code::Busy,
        Failure::Unavailable => Code::Unavailable,
        Failure::Unknown => Code::Unknown,
    }
}

fn verdict_code(verdict: &Verdict) -> Code {
    match verdict {
        Verdict::Failed(failure) => failure_code(*failure),
        Verdict::Refused(refused) => match refused {
            Refused::SoldOut { .. } => Code::SoldOut,
            Refused::NotOpen { .. } => Code::NotOpen,
            Refused::Closed => Code::Closed,
            Refused::LimitReached { .. } => Code::LimitReached,
            Refused::UserRequired => Code::UserRequired,
            Refused::QuantityTooLarge { .. } => Code::Invalid,
            Refused::AllowanceExhausted => Code::AllowanceExhausted,
            Refused::UnknownSale => Code::NotFound,
        },
        // These are not refusals; each caller has written them before it asks for a code.
        Verdict::Granted { .. } | Verdict::Replayed(_) => Code::Internal,
    }
}

fn verdict_problem(verdict: &Verdict) -> Problem {
    let code = verdict_code(verdict);
    let Verdict::Refused(refused) = verdict else { return Problem::of(code) };
    match refused {
        Refused::SoldOut { free } => Problem::of(code).with("free", *free),
        Refused::NotOpen { opens_at_ms } => {
            Problem::of(code).with("opens_at", rfc3339(*opens_at_ms))
        }
        Refused::LimitReached { limit_per_user } => {
            Problem::of(code).with("limit_per_user", *limit_per_user)
        }
        Refused::QuantityTooLarge { quantity_max } => Problem::invalid(
            "quantity",
            format!("A reservation in this sale has at most {quantity_max} units."),
        ),
        Refused::UnknownSale => not_found("sale"),
        Refused::Closed | Refused::UserRequired | Refused::AllowanceExhausted => Problem::of(code),
    }
}

fn public_id(sale: &SaleId, id: ReservationId) -> String {
    format!("{sale}~{id}")
}

#[derive(Serialize)]
struct ReservationJson<'a> {
    id: String,
    sale: &'a str,
    user: Option<&'a str>,
    quantity: u32,
    status: &'static str,
    expires_at: String,
}

impl<'a> ReservationJson<'a> {
    fn of(sale: &'a SaleId, reservation: &'a Reservation) -> Self {
        Self {
            id: public_id(sale, reservation.id),
            sale: sale.as_str(),
            user: reservation.user.as_ref().map(User::as_str),
            quantity: reservation.quantity,
            status: reservation.status.as_str(),
            expires_at: rfc3339(reservation.expires_at_ms),
        }
    }
}

#[derive(Serialize)]
struct SaleJson<'a> {
    id: &'a str,
    state: &'static str,
    total: u64,
    free: u64,
    held: u64,
    confirmed: u64,
    limit_per_user: Option<u32>,
    quantity_max: u32,
    hold_ms: u64,
    opens_at: Option<String>,
    closes_at: Option<String>,
}

fn write_sale(id: &SaleId, view: &SaleView, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let spec = &view.spec;
    let time = |ms: u64, none: u64| (ms != none).then(|| rfc3339(ms));
    let sale = SaleJson {
        id: id.as_str(),
        state: view.state().as_str(),
        total: spec.total,
        free: view.free(),
        held: view.held,
        confirmed: view.confirmed,
        limit_per_user: (spec.limit_per_user > 0).then_some(spec.limit_per_user),
        quantity_max: spec.quantity_max,
        hold_ms: spec.hold_ms,
        opens_at: time(spec.opens_at_ms, 0),
        closes_at: time(spec.closes_at_ms, crate::limits::TIME_MS_MAX),
    };
    write_json(&sale, envelope, out);
}
