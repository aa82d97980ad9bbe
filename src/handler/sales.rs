//! `GET /v1/sales/{sale}`: answered from memory, and encoded once per view for all callers.

use super::refusal::{damaged, failure_code, not_found, verdict_problem};
use crate::api_json::SaleJson;
use crate::engine::http::{Problem, ResponseContext, json_bytes, write_json_bytes};
use crate::ledger::Failure;
use crate::ledger::batch::WaiterId;
use crate::purchase::{
    self, CachedView, PendingView, PurchaseOutcome, Seller, ViewAnswer, ViewProgress,
};
use crate::sale::{SaleId, SaleView};

/// Shows a sale. Returns the request if it must wait for the ledger.
pub fn show(
    seller: &Seller,
    asker: WaiterId,
    sale: &str,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) -> Option<PendingView> {
    let slot = match seller.sale(sale) {
        Ok(slot) => slot,
        Err(verdict) => {
            if let PurchaseOutcome::Failed(failure) = verdict {
                seller.note_failure(failure);
            }
            verdict_problem(&verdict).write(context, out);
            return None;
        }
    };
    match purchase::view(seller, slot, asker) {
        ViewProgress::Waits(pending) => Some(pending),
        ViewProgress::Done(slot, answer) => {
            write_answer(seller, slot.id(), &answer, context, out);
            None
        }
    }
}

/// Writes the answer about a sale.
pub fn write_answer(
    seller: &Seller,
    sale: &SaleId,
    answer: &ViewAnswer,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    match answer {
        Ok(Some(seen)) => write_seen(sale, seen, context, out),
        Ok(None) => not_found("sale").write(context, out),
        Err(Failure::Unavailable) if seller.selling.refused_sales.contains(sale) => {
            damaged().write(context, out);
        }
        Err(failure) => {
            seller.note_failure(*failure);
            failed(*failure).write(context, out);
        }
    }
}

fn write_seen(id: &SaleId, seen: &CachedView, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let json = seen.encoded.get_or_init(|| sale_json(id, &seen.view).into());
    write_json_bytes(json, context, out);
}

fn failed(failure: Failure) -> Problem {
    let code = failure_code(failure);
    match failure {
        Failure::Unknown => Problem::new(code, "The ledger did not answer in time; try again."),
        Failure::Busy => Problem::new(code, "Too many requests are waiting; try again."),
        Failure::Unavailable => Problem::new(code, "The ledger is unreachable."),
    }
}

fn sale_json(id: &SaleId, view: &SaleView) -> Vec<u8> {
    json_bytes(&SaleJson::of(id, view))
}
