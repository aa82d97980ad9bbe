//! What cores and the sweep tell each other about sales, beside what stands in Redis.

use std::sync::{Arc, PoisonError};

use hashbrown::HashSet;

use super::decode_error::DecodeError;
use super::shared::RedisLedger;
use crate::ledger::refused::RefusedSales;
use crate::ledger::{Group, GroupReply};
use crate::limits::SWEEP_TOLD_MAX;
use crate::sale::{Command, SaleId};

impl RedisLedger {
    /// The sales that are refused for what is stored of them.
    pub fn refused_sales(&self) -> &Arc<RefusedSales> {
        &self.refused
    }

    /// Takes in what a reply says of a sale: that it is refused for what is stored of it, or that it is
    /// not. Whether it is.
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

    /// The same of a core's commands. Who looks without scripts does not see all that is stored.
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

    /// Has the sweep look what a sale is defined as: what it knows of it may be of another.
    pub(super) fn tell_sweep(&self, sale: &SaleId) {
        let mut told = self.to_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sales) = told.as_mut() {
            sales.insert(sale.detached());
            if sales.len() > SWEEP_TOLD_MAX {
                *told = None;
            }
        }
    }

    /// For the sweep: the sales that it was told to look at since it asked last. `None`: all.
    pub fn take_told(&self) -> Option<HashSet<SaleId>> {
        let mut told = self.to_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        told.replace(HashSet::new())
    }
}
