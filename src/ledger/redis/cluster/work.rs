//! What a core's link has for a node of the Cluster: one thing that is answered on its own.
//!
//! Architecture invariant: no I/O.

use super::super::codec::same_run;
use super::super::resp::text_command;
use super::super::{Codec, index};
use crate::ledger::Group;
use crate::ledger::batch::Flight;
use crate::limits::BATCH_MAX;
use crate::sale::SaleId;

/// Something for the node of a slot.
pub(super) struct Work {
    pub(super) what: What,
    pub(super) slot: u16,
    /// The node was named by ASK: it is to be told so.
    pub(super) asking: bool,
    /// Redirections that were followed without a pause.
    pub(super) redirects: u32,
    /// Until when it may wait to be sent, on the core's clock.
    pub(super) until_ms: u64,
}

pub(super) enum What {
    /// Commands to a sale that are one Redis command, and our side of them.
    Run(Run),
    /// Whether there is such a sale, and the ledger's time.
    Exists(SaleId),
    /// Sales to be added to the index.
    Index(Vec<SaleId>),
}

pub(super) struct Run {
    pub(super) group: Group,
    pub(super) flight: Flight,
    /// It makes a sale that is to be added to the index once more, behind it.
    pub(super) creates: bool,
}

impl Work {
    /// The sale that it is about, if it is about one.
    pub(super) fn sale(&self) -> Option<&SaleId> {
        match &self.what {
            What::Run(run) => Some(&run.group.sale),
            What::Exists(sale) => Some(sale),
            What::Index(_) => None,
        }
    }

    /// How many commands wait for it.
    pub(super) fn commands(&self) -> usize {
        match &self.what {
            What::Run(run) => run.group.commands.len(),
            What::Exists(_) | What::Index(_) => 1,
        }
    }

    /// Appends it as it is sent, and returns how many replies it will have.
    pub(super) fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> usize {
        if self.asking {
            text_command(out, &["ASKING"]);
        }
        let replies = match &self.what {
            What::Run(run) => codec.encode(&run.group, out),
            What::Exists(sale) => {
                index::exists(codec.keys(), sale, out);
                index::time(out);
                2
            }
            What::Index(sales) => {
                index::add(codec.keys(), &sales.iter().collect::<Vec<_>>(), out);
                1
            }
        };
        replies + usize::from(self.asking)
    }

    /// Takes another one in, if both can be one Redis command; else gives it back.
    pub(super) fn join(&mut self, other: Self) -> Option<Self> {
        let fits = self.asking == other.asking
            && match (&self.what, &other.what) {
                (What::Run(run), What::Run(other)) => {
                    let (ours, theirs) = (&run.group.commands, &other.group.commands);
                    run.group.sale == other.group.sale
                        && ours.len() + theirs.len() <= BATCH_MAX
                        && ours.last().zip(theirs.first()).is_some_and(|(a, b)| same_run(a, b))
                }
                _ => false,
            };
        match (&mut self.what, other.what) {
            (What::Run(run), What::Run(more)) if fits => {
                run.group.commands.extend(more.group.commands);
                run.flight.append(more.flight);
                run.creates |= more.creates;
                self.until_ms = self.until_ms.min(other.until_ms);
                self.redirects = self.redirects.max(other.redirects);
                None
            }
            (_, what) => Some(Self { what, ..other }),
        }
    }
}
