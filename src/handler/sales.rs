//! `GET /v1/sales/{sale}`: from memory, and written once for all who ask until the next view comes.

use std::rc::Rc;

use super::refusal::{damaged, failure_code, not_found, verdict_problem};
use crate::engine::http::{Envelope, Problem, json_bytes, write_json_bytes};
use crate::ledger::Failure;
use crate::ledger::batch::{Answer, Asker, Ticket};
use crate::purchase::{self, SaleSlot, SeenView, Seller, Verdict};
use crate::sale::{Outcome, SaleId, SaleView};
use crate::views::SaleJson;

/// A sale that is to be shown once the ledger has answered.
pub struct Showing {
    ticket: Ticket,
    slot: Rc<SaleSlot>,
}

impl Showing {
    /// What the ledger has answered, if it has.
    pub fn go_on(self, seller: &Seller) -> Result<(Answer, Rc<SaleSlot>), Self> {
        let Self { ticket, slot } = self;
        match seller.batcher.take(ticket) {
            Ok((answer, _)) => Ok((answer, slot)),
            Err(ticket) => Err(Self { ticket, slot }),
        }
    }

    /// Nobody waits for it any more.
    pub fn give_up(self, seller: &Seller) {
        seller.batcher.give_up(self.ticket);
    }
}

/// Shows a sale; asks the ledger only if there is no young view of it.
pub fn show(
    seller: &Seller,
    asker: Asker,
    sale: &str,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) -> Option<Showing> {
    let slot = match seller.sale(sale) {
        Ok(slot) => slot,
        Err(verdict) => {
            if let Verdict::Failed(failure) = verdict {
                seller.note_failure(failure);
            }
            verdict_problem(&verdict).write(envelope, out);
            return None;
        }
    };
    if let Some(seen) = purchase::look(seller, &slot) {
        write_seen(slot.id(), &seen, envelope, out);
        return None;
    }
    match purchase::ask(seller, &slot, asker) {
        Ok(ticket) => Some(Showing { ticket, slot }),
        Err(failure) => {
            seller.note_failure(failure);
            failed(failure).write(envelope, out);
            None
        }
    }
}

/// Says what the ledger said about a sale.
pub fn write_answer(
    seller: &Seller,
    slot: &Rc<SaleSlot>,
    answer: Answer,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    match (answer, slot.last_view()) {
        (Ok(Outcome::Sale(_)), Some(seen)) => write_seen(slot.id(), &seen, envelope, out),
        (Ok(Outcome::Sale(view)), None) => {
            write_json_bytes(&sale_json(slot.id(), &view), envelope, out);
        }
        (Ok(_), _) => not_found("sale").write(envelope, out),
        (Err(Failure::Unavailable), _) if seller.selling.refused_sales.contains(slot.id()) => {
            damaged().write(envelope, out);
        }
        (Err(failure), _) => {
            seller.note_failure(failure);
            failed(failure).write(envelope, out);
        }
    }
}

fn write_seen(id: &SaleId, seen: &SeenView, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let json = seen.written.get_or_init(|| sale_json(id, &seen.view).into());
    write_json_bytes(json, envelope, out);
}

fn failed(failure: Failure) -> Problem {
    let code = failure_code(failure);
    match failure {
        Failure::Unknown => Problem::new(code, "The ledger did not answer in time; ask again."),
        Failure::Busy => Problem::new(code, "Too many requests are waiting; ask again."),
        Failure::Unavailable => Problem::new(code, "The ledger is out of reach."),
    }
}

fn sale_json(id: &SaleId, view: &SaleView) -> Vec<u8> {
    json_bytes(&SaleJson::of(id, view))
}
