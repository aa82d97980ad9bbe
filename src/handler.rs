//! From what a request asks to what it is answered. The only place where HTTP meets purchases.
//!
//! [`handle`] answers at once whatever needs no ledger, into the connection's out-buffer. What needs
//! one is put into the ledger's queue and returned as [`Waiting`], which owns all that the answer
//! will need, so that nothing of the request is borrowed while its coroutine is suspended.

mod buy;
mod refusal;
mod reservations;
mod sales;

pub use buy::BUY_SALE;

use std::rc::Rc;

use crate::core::{Core, Worker};
use crate::http::{
    Canned, Code, Envelope, Head, HttpDate, Method, Persistence, Problem, write_options,
    write_plaintext, write_techempower_json,
};
use crate::ledger::batch::{Answer, Ticket};
use crate::purchase::{self, Asked, SaleSlot, Verdict};
use crate::route::{Route, route};
use crate::sale::{Outcome, ReservationId, SaleId, User};
use reservations::Wish;

/// Responses that are the same for everybody, encoded once a core.
pub struct Responses {
    buy: buy::Refusals,
    sold_out: Canned,
}

impl Default for Responses {
    fn default() -> Self {
        Self { buy: buy::Refusals::default(), sold_out: Canned::problem(&refusal::sold_out(0)) }
    }
}

/// What became of a request.
pub enum Action {
    /// Its answer is in the out-buffer.
    Answered,
    /// Its answer waits for the ledger. In a box: refusals, which are many, move it about empty.
    Wait(Box<Waiting>),
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
        let persistence = if core.leaving() { Persistence::Close } else { Persistence::of(head) };
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
    Reservation { ticket: Ticket, sale: SaleId, id: ReservationId, wish: Wish },
}

/// Serves one request, as far as that goes without waiting.
pub fn handle(core: &'static Core, head: &Head<'_>, body: &[u8], out: &mut Vec<u8>) -> Action {
    let manner = Manner::of(core, head);
    let date = core.date.borrow();
    let envelope = manner.envelope(&date);
    let envelope = &envelope;
    let question = match route(head, core.shared.config.public_confirm) {
        Route::BuyTicket { user } => buy::begin(core, head, user, envelope, out),
        Route::CreateReservation { sale } => {
            reservations::create(core, head, body, &sale, envelope, out)
        }
        Route::ShowSale { sale } => sales::show(core, &sale, envelope, out),
        Route::ShowReservation { id } => reservations::ask(core, &id, Wish::Show, envelope, out),
        Route::ConfirmReservation { id } => {
            reservations::ask(core, &id, Wish::Confirm, envelope, out)
        }
        Route::CancelReservation { id } => {
            reservations::ask(core, &id, Wish::Cancel, envelope, out)
        }
        route => {
            write_fixed(route, envelope, out);
            None
        }
    };
    match question {
        Some(question) => Action::Wait(Box::new(Waiting { manner, question })),
        None => Action::Answered,
    }
}

/// Answers what has nothing to do with sales.
fn write_fixed(route: Route<'_>, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    match route {
        Route::Plaintext => write_plaintext(envelope, out),
        Route::Json => write_techempower_json(envelope, out),
        Route::Options { allow } => write_options(allow, envelope, out),
        Route::MethodNotAllowed { allow } => {
            Problem::method_not_allowed(allow).write(envelope, out);
        }
        Route::ConfirmNotPublic => Problem::of(Code::ConfirmNotPublic).write(envelope, out),
        _ => Problem::of(Code::NotFound).write(envelope, out),
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
        if core.leaving() {
            manner.persistence = Persistence::Close;
        }
        if out.capacity() == 0 {
            *out = core.take_buffer();
        }
        answered.write(core, &manner.envelope(&core.date.borrow()), out);
    }
}

/// A question with its answer.
enum Answered {
    Buy { verdict: Verdict, slot: Rc<SaleSlot> },
    Reserve { verdict: Verdict, slot: Rc<SaleSlot>, user: User, quantity: u32 },
    ShowSale { answer: Answer, slot: Rc<SaleSlot> },
    Reservation { answer: Answer, sale: SaleId, wish: Wish },
}

impl Question {
    fn wait(self, core: &Core) -> Answered {
        match self {
            Self::Buy { asked, slot } => {
                let (verdict, slot) = asked.wait(core, slot);
                Answered::Buy { verdict, slot }
            }
            Self::Reserve { asked, slot, user, quantity } => {
                let (verdict, slot) = asked.wait(core, slot);
                Answered::Reserve { verdict, slot, user, quantity }
            }
            Self::ShowSale { ticket, slot } => {
                Answered::ShowSale { answer: core.batcher.wait(ticket), slot }
            }
            Self::Reservation { ticket, sale, id, wish } => {
                let mut answer = core.batcher.wait(ticket);
                if sale.is_part() && wish == Wish::Confirm && answer == Ok(Outcome::Expired) {
                    answer = purchase::confirm_late(core, &sale, id);
                }
                Answered::Reservation { answer, sale, wish }
            }
        }
    }
}

impl Answered {
    fn write(self, core: &Core, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Buy { verdict, slot } => buy::write(slot.id(), &verdict, envelope, out),
            Self::Reserve { verdict, slot, user, quantity } => {
                reservations::write_verdict(slot.id(), user, quantity, verdict, envelope, out);
            }
            Self::ShowSale { answer, slot } => {
                sales::write_answer(core, &slot, answer, envelope, out);
            }
            Self::Reservation { answer, sale, wish } => {
                reservations::write_answer(&sale, wish, answer, envelope, out);
            }
        }
    }
}
