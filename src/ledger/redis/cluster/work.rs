//! Work of a core's link for a node of the Cluster. Each piece of work is answered on its own;
//! waiting work is taken from the sales in turn.
//!
//! Architecture invariant: no I/O.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::super::codec::Codec;
use super::super::index;
use super::super::resp::text_command;
use crate::ledger::Group;
use crate::ledger::in_flight::InFlightBatch;
use crate::limits::BATCH_MAX;
use crate::sale::{Command, SaleId};

/// The maximum number of commands in one piece of work: half a batch, so that one sale's work never
/// fills a batch.
const JOINED_MAX: usize = BATCH_MAX / 2;

/// The work that waits for one node: a queue per sale, served in turn. Work for which a sale's
/// commands wait (whether it exists, its entry in the index) goes first.
#[derive(Default)]
pub struct WorkQueue {
    first: VecDeque<Work>,
    sales: HashMap<SaleId, VecDeque<Work>>,
    turns: VecDeque<SaleId>,
    commands: usize,
}

impl WorkQueue {
    /// Whether no work waits.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// The number of waiting commands.
    #[cfg(test)]
    fn commands(&self) -> usize {
        self.commands
    }

    /// The number of commands of the next work.
    pub fn next_commands(&self) -> Option<usize> {
        let next = || self.sales.get(self.turns.front()?)?.front();
        self.first.front().or_else(next).map(Work::commands)
    }

    /// Adds work, to the end of its sale's queue.
    pub fn push(&mut self, work: Work) {
        self.commands += work.commands();
        let WorkKind::Run(run) = &work.kind else { return self.first.push_back(work) };
        match self.sales.get_mut(&run.group().sale) {
            Some(queue) => {
                let rest = match queue.back_mut() {
                    Some(last) => last.join(work),
                    None => Some(work),
                };
                queue.extend(rest);
            }
            None => {
                let sale = run.group().sale.clone();
                self.turns.push_back(sale.clone());
                self.sales.insert(sale, VecDeque::from([work]));
            }
        }
    }

    /// Takes the next work.
    pub fn pop(&mut self) -> Option<Work> {
        let work = self.first.pop_front().or_else(|| self.pop_turn())?;
        self.commands -= work.commands();
        Some(work)
    }

    /// Takes the next sale's turn. A queue in turn is not empty.
    fn pop_turn(&mut self) -> Option<Work> {
        let sale = self.turns.pop_front()?;
        let queue = self.sales.get_mut(&sale)?;
        let work = queue.pop_front();
        if queue.is_empty() {
            self.sales.remove(&sale);
        } else {
            self.turns.push_back(sale);
        }
        work
    }
}

/// Work for the node of a slot.
pub struct Work {
    /// What to do.
    pub kind: WorkKind,
    /// The slot of its sale.
    pub slot: u16,
    /// The node was named by ASK: send `ASKING` first.
    pub asking: bool,
    /// Redirections followed without a pause.
    pub redirects: u32,
    /// Until when it may wait to be sent, on the core's clock.
    pub until_ms: u64,
}

/// What to do.
pub enum WorkKind {
    /// Commands to a sale that are one Redis command, and our record of them.
    Run(Run),
    /// Whether the sale exists, and the ledger's time.
    Exists(SaleId),
    /// Adds sales to the index.
    Index(Vec<SaleId>),
    /// Announces to all sweeps that the sale was created.
    Made(SaleId),
}

/// Commands to one sale.
pub struct Run {
    /// A batch with one group.
    pub flight: InFlightBatch,
    /// It creates a sale, which is added to the index again afterwards.
    pub creates: bool,
}

impl Run {
    /// Its commands.
    pub fn group(&self) -> &Group {
        &self.flight.groups()[0]
    }
}

impl Work {
    /// The sale that it concerns, if there is one.
    pub fn sale(&self) -> Option<&SaleId> {
        match &self.kind {
            WorkKind::Run(run) => Some(&run.group().sale),
            WorkKind::Exists(sale) => Some(sale),
            WorkKind::Index(_) | WorkKind::Made(_) => None,
        }
    }

    /// Whether it only reads, which takes several Redis commands.
    pub fn is_read(&self) -> bool {
        matches!(&self.kind, WorkKind::Run(run) if run.group().commands.iter().any(Command::is_cheap))
    }

    /// The number of commands of the ledger that wait for it.
    pub fn commands(&self) -> usize {
        match &self.kind {
            WorkKind::Run(run) => run.group().commands.len(),
            WorkKind::Exists(_) | WorkKind::Index(_) | WorkKind::Made(_) => 1,
        }
    }

    /// Encodes it, and returns the number of its replies.
    pub(super) fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> usize {
        if self.asking {
            text_command(out, &["ASKING"]);
        }
        let replies = match &self.kind {
            WorkKind::Run(run) => codec.encode(run.group(), out),
            WorkKind::Exists(sale) => {
                index::exists(codec.keys(), sale, out);
                index::time(out);
                2
            }
            WorkKind::Index(sales) => {
                index::add(codec.keys(), &sales.iter().collect::<Vec<_>>(), out);
                1
            }
            WorkKind::Made(sale) => {
                index::announce(codec.keys(), &[sale], out);
                1
            }
        };
        replies + usize::from(self.asking)
    }

    /// Merges the other work into it if both can be one Redis command; otherwise returns the other.
    pub fn join(&mut self, other: Self) -> Option<Self> {
        let fits = self.asking == other.asking
            && match (&self.kind, &other.kind) {
                (WorkKind::Run(run), WorkKind::Run(other)) => {
                    let (ours, theirs) = (&run.group().commands, &other.group().commands);
                    run.group().sale == other.group().sale
                        && ours.len() + theirs.len() <= JOINED_MAX
                        && ours.last().zip(theirs.first()).is_some_and(|(a, b)| a.joins(b))
                }
                _ => false,
            };
        match (&mut self.kind, other.kind) {
            (WorkKind::Run(run), WorkKind::Run(more)) if fits => {
                run.flight.append(more.flight);
                run.creates |= more.creates;
                self.until_ms = self.until_ms.min(other.until_ms);
                self.redirects = self.redirects.max(other.redirects);
                None
            }
            (_, what) => Some(Self { kind: what, ..other }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::batch::Batcher;
    use crate::queue_limits::QueueLimits;
    use crate::sale::ReservationId;

    /// One work per command, each with its flight.
    fn works(batcher: &Batcher, sale: &str, commands: &[Command]) -> Vec<Work> {
        let sale = SaleId::new(sale).unwrap();
        let work = |command: &Command| {
            let _ = batcher.submit(0, &sale, true, command.clone(), 0, None).unwrap();
            let run = Run { flight: batcher.take_batch(0), creates: false };
            Work { kind: WorkKind::Run(run), slot: 1, asking: false, redirects: 0, until_ms: 9 }
        };
        commands.iter().map(work).collect()
    }

    #[test]
    fn joinable_commands_become_one_command() {
        let batcher = Batcher::new(QueueLimits::new(None, 10).into());
        batcher.set_available();
        let confirm = |n| Command::Confirm(ReservationId(n));
        let mut all = works(&batcher, "a", &[confirm(1), confirm(2), Command::Show]);
        let (show, second, mut first) =
            (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
        let other = works(&batcher, "b", &[confirm(3)]).remove(0);
        assert!(first.join(second).is_none());
        assert_eq!(first.commands(), 2);
        assert!(first.join(show).is_some() && first.join(other).is_some());
        assert_eq!(first.commands(), 2);
        let WorkKind::Run(run) = first.kind else { panic!("no run") };
        assert_eq!(run.flight.parts().count(), 1);
    }

    #[test]
    fn sales_are_served_in_turn_and_each_in_its_order() {
        let batcher = Batcher::new(QueueLimits::new(None, 10).into());
        batcher.set_available();
        let show = |n| Command::ShowReservation(ReservationId(n));
        let hot: Vec<Command> = (0..2 * BATCH_MAX as u128).map(show).collect();
        let mut all = WorkQueue::default();
        works(&batcher, "hot", &hot).into_iter().for_each(|work| all.push(work));
        works(&batcher, "cold", &[show(1)]).into_iter().for_each(|work| all.push(work));
        let exists = WorkKind::Exists(SaleId::new("new").unwrap());
        all.push(Work { kind: exists, slot: 1, asking: false, redirects: 0, until_ms: 9 });
        assert_eq!(all.commands(), 2 * BATCH_MAX + 2);

        let mut order = Vec::new();
        let mut hot_seen = Vec::new();
        while let Some(next) = all.next_commands() {
            let work = all.pop().unwrap();
            assert_eq!(work.commands(), next);
            order.push((work.sale().unwrap().to_string(), next));
            if let WorkKind::Run(run) = work.kind
                && run.group().sale.as_str() == "hot"
            {
                hot_seen.extend(run.group().commands.iter().cloned());
            }
        }
        assert!(all.is_empty());
        let one = |sale: &str, commands| (sale.to_owned(), commands);
        let expected = [one("new", 1), one("hot", JOINED_MAX), one("cold", 1)];
        assert_eq!(order[..3], expected);
        assert_eq!(hot_seen, hot);
    }

    #[test]
    fn a_node_named_by_ask_receives_asking_first() {
        let codec = Codec::new(crate::ledger::redis::KeyTemplates::default());
        let sale = SaleId::new("a").unwrap();
        let what = WorkKind::Exists(sale);
        let mut work = Work { kind: what, slot: 1, asking: true, redirects: 0, until_ms: 9 };
        let mut out = Vec::new();
        assert_eq!(work.encode(&codec, &mut out), 3);
        assert!(out.starts_with(b"*1\r\n$6\r\nASKING\r\n"));
        work.asking = false;
        out.clear();
        assert_eq!(work.encode(&codec, &mut out), 2);
        assert!(out.starts_with(b"*2\r\n$6\r\nEXISTS\r\n"));
    }
}
