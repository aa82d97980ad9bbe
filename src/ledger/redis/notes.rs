//! What cores and the sweep tell each other about sales, in addition to the data in Redis.

use std::sync::{Arc, PoisonError};

use hashbrown::HashSet;

use super::decode_error::DecodeError;
use super::shared::RedisLedger;
use crate::ledger::refused::RefusedSales;
use crate::ledger::{Group, GroupReply};
use crate::limits::SWEEP_NOTIFIED_MAX;
use crate::sale::{Command, SaleId};

impl RedisLedger {
    /// The sales that are refused because of their stored data.
    pub fn refused_sales(&self) -> &Arc<RefusedSales> {
        &self.refused
    }

    /// Notes from a reply whether a sale is refused because of its stored data. Returns whether it
    /// is.
    pub fn note_reply(&self, sale: &SaleId, reply: Result<&GroupReply, &str>) -> bool {
        let text = match reply {
            Ok(reply) => {
                if reply.free.is_some() {
                    self.refused.clear(sale);
                }
                return false;
            }
            Err(text) => text,
        };
        if let Some(reason) = text.strip_prefix("STAMPEDE ") {
            self.refused.note(sale, reason);
            return true;
        }
        let is_of_a_type = text.starts_with("WRONGTYPE");
        if is_of_a_type {
            let keys = self.codec.keys().of(sale).all().join(", ");
            let reason = format!("one of its keys has another type than ours: {keys}");
            self.refused.note(sale, &reason);
        }
        is_of_a_type
    }

    /// The same for a core's commands. Commands that only read without a script do not see all
    /// stored data.
    pub(super) fn note_group(
        &self,
        group: &Group,
        reply: &Result<GroupReply, DecodeError>,
    ) -> bool {
        match reply {
            Ok(_) if group.commands.iter().all(Command::is_cheap) => false,
            Ok(reply) => self.note_reply(&group.sale, Ok(reply)),
            Err(error) => self.note_reply(&group.sale, Err(&error.to_string())),
        }
    }

    /// Asks the sweep to read the definition of a sale again: the sale may have been replaced.
    pub(super) fn notify_sweep(&self, sale: &SaleId) {
        let mut told = self.to_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sales) = told.as_mut() {
            sales.insert(sale.detached());
            if sales.len() > SWEEP_NOTIFIED_MAX {
                *told = None;
            }
        }
    }

    /// For the sweep: the sales that it was asked to probe since the last call. `None`: all sales.
    pub fn take_notified(&self) -> Option<HashSet<SaleId>> {
        let mut told = self.to_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        told.replace(HashSet::new())
    }
}
