//! For unit tests: a ledger in memory that runs the model of each sale.

use std::collections::HashMap;

use super::batch::Batcher;
use super::in_flight::InFlightBatch;
use super::{Failure, Group, GroupReply, LedgerError};
use crate::sale::{Command, Machine, Outcome, SaleSpec};

/// A ledger in memory.
#[derive(Default)]
pub struct FakeLedger {
    /// The sales.
    pub sales: HashMap<String, Machine>,
}

impl FakeLedger {
    /// A ledger with one sale.
    pub fn with(sale: &str, spec: SaleSpec) -> Self {
        Self { sales: HashMap::from([(sale.to_owned(), Machine::new(spec))]) }
    }

    /// Answers the next batch. Returns its commands.
    pub fn serve(&mut self, batcher: &Batcher, now_ms: u64) -> Vec<Command> {
        self.answer(batcher, batcher.take_batch(now_ms), now_ms)
    }

    /// Answers a batch that was taken. Returns its commands.
    pub fn answer(
        &mut self,
        batcher: &Batcher,
        flight: InFlightBatch,
        now_ms: u64,
    ) -> Vec<Command> {
        let mut asked = Vec::new();
        let answer = |group: &Group| {
            asked.extend(group.commands.iter().cloned());
            let machine = self.sales.get_mut(group.sale.as_str());
            let mut outcomes = vec![Outcome::UnknownSale; group.commands.len()];
            let free = machine.map(|machine| {
                let apply = |command| machine.apply(now_ms, command);
                outcomes = group.commands.iter().map(apply).collect();
                machine.free()
            });
            Ok(GroupReply { outcomes, free, now_ms })
        };
        let replies = flight.groups().iter().map(answer).collect();
        batcher.complete(flight, replies);
        asked
    }

    /// Takes a batch whose answer is lost.
    pub fn lose(&self, batcher: &Batcher, now_ms: u64) {
        let flight = batcher.take_batch(now_ms);
        batcher.fail(flight, Failure::from(&LedgerError::Lost("gone".into())));
    }
}
