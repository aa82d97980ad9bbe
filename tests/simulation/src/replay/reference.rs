//! What a Redis should answer: the model, with the epochs of `lua/begin.lua`.

use std::collections::BTreeMap;

use stampede::ledger::{Group, GroupReply};
use stampede::sale::{Outcome, SaleId};

use super::history::{Call, begins_sale};
use crate::redis::{Now, Places, apply};

/// The answer to a group: a reply, or the later epoch in which the sale was written.
pub type Expected = Result<GroupReply, u64>;

/// The model of all sales.
#[derive(Default)]
pub struct Reference {
    places: Places,
    /// When each sale was last written for certain, in ms since 1970.
    written_ms: BTreeMap<SaleId, u64>,
}

impl Reference {
    /// Carries out a call.
    pub fn call(&mut self, call: &Call) -> Vec<Expected> {
        call.groups.iter().map(|group| self.group(call, group)).collect()
    }

    /// Removes everything of a sale.
    pub fn evict(&mut self, sale: &SaleId) {
        self.places.remove(sale);
        self.written_ms.remove(sale);
    }

    /// What the clock of Redis may show when it carries out this call. The clock of the simulation
    /// may be behind the time of the sales, if it was set back. Redis knows the time of what was
    /// written last, and not of what was only read.
    pub fn clock_ms(&self, call: &Call) -> u64 {
        let clock_ms = call.now.us / 1_000;
        let knows_time = |group: &Group| {
            self.written_ms.get(&group.sale) == Some(&call.now.ms)
                && !group.commands.iter().any(|one| one.is_cheap() || begins_sale(one))
        };
        if clock_ms < call.now.ms && call.groups.iter().all(knows_time) {
            clock_ms
        } else {
            call.now.ms
        }
    }

    fn group(&mut self, call: &Call, group: &Group) -> Expected {
        let mut all = GroupReply { outcomes: Vec::new(), free: None, now_ms: call.now.ms };
        for command in &group.commands {
            let one = Group { sale: group.sale.clone(), commands: vec![command.clone()] };
            let Ok(reply) = apply(&mut self.places, call.now, call.epoch, &one, |_, _, _| {})
            else {
                return Err(self.places[&group.sale].epoch);
            };
            if matches!(reply.outcomes[..], [Outcome::Granted { .. }]) {
                self.written_ms.insert(group.sale.clone(), call.now.ms);
            } else if reply.free.is_none() {
                self.written_ms.remove(&group.sale);
            }
            all.outcomes.extend(reply.outcomes);
            (all.free, all.now_ms) = (reply.free, reply.now_ms);
        }
        Ok(all)
    }
}

/// The time of a call.
pub fn now(ms: u64) -> Now {
    Now { ms, us: ms * 1_000 }
}
