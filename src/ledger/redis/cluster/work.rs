//! What a core's link has for a node of the Cluster: works, each of which is answered on its own, and
//! what waits of them, from which sales are served in turn.
//!
//! Architecture invariant: no I/O.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::super::codec::Codec;
use super::super::index;
use super::super::resp::text_command;
use crate::ledger::Group;
use crate::ledger::flight::Flight;
use crate::limits::BATCH_MAX;
use crate::sale::{Command, SaleId};

/// Commands that join to one work: half a batch, so that one sale's work never is all of a batch.
const JOINED_MAX: usize = BATCH_MAX / 2;

/// What waits for one node: a queue per sale, served in turn. What a sale's works themselves wait
/// for (whether it exists, its place in the index) goes first.
#[derive(Default)]
pub(super) struct Works {
    first: VecDeque<Work>,
    sales: HashMap<SaleId, VecDeque<Work>>,
    turns: VecDeque<SaleId>,
    commands: usize,
}

impl Works {
    pub(super) fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// Commands of all that waits.
    #[cfg(test)]
    fn commands(&self) -> usize {
        self.commands
    }

    /// Commands of what is next.
    pub(super) fn next_commands(&self) -> Option<usize> {
        let next = || self.sales.get(self.turns.front()?)?.front();
        self.first.front().or_else(next).map(Work::commands)
    }

    pub(super) fn push(&mut self, work: Work) {
        self.commands += work.commands();
        let What::Run(run) = &work.what else { return self.first.push_back(work) };
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

    pub(super) fn pop(&mut self) -> Option<Work> {
        let work = self.first.pop_front().or_else(|| self.pop_turn())?;
        self.commands -= work.commands();
        Some(work)
    }

    /// The next sale's turn. A queue in turn has something.
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
    /// A sale of which all sweeps are to hear that it was made.
    Made(SaleId),
}

pub(super) struct Run {
    /// With one group.
    pub(super) flight: Flight,
    /// It makes a sale that is to be added to the index once more, behind it.
    pub(super) creates: bool,
}

impl Run {
    /// What is to be sent.
    pub(super) fn group(&self) -> &Group {
        &self.flight.groups()[0]
    }
}

impl Work {
    /// The sale that it is about, if it is about one.
    pub(super) fn sale(&self) -> Option<&SaleId> {
        match &self.what {
            What::Run(run) => Some(&run.group().sale),
            What::Exists(sale) => Some(sale),
            What::Index(_) | What::Made(_) => None,
        }
    }

    /// Whether it only looks, which takes several commands.
    pub(super) fn is_look(&self) -> bool {
        matches!(&self.what, What::Run(run) if run.group().commands.iter().any(Command::is_cheap))
    }

    /// How many commands wait for it.
    pub(super) fn commands(&self) -> usize {
        match &self.what {
            What::Run(run) => run.group().commands.len(),
            What::Exists(_) | What::Index(_) | What::Made(_) => 1,
        }
    }

    /// Appends it as it is sent, and returns how many replies it will have.
    pub(super) fn encode(&self, codec: &Codec, out: &mut Vec<u8>) -> usize {
        if self.asking {
            text_command(out, &["ASKING"]);
        }
        let replies = match &self.what {
            What::Run(run) => codec.encode(run.group(), out),
            What::Exists(sale) => {
                index::exists(codec.keys(), sale, out);
                index::time(out);
                2
            }
            What::Index(sales) => {
                index::add(codec.keys(), &sales.iter().collect::<Vec<_>>(), out);
                1
            }
            What::Made(sale) => {
                index::announce(codec.keys(), &[sale], out);
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
                    let (ours, theirs) = (&run.group().commands, &other.group().commands);
                    run.group().sale == other.group().sale
                        && ours.len() + theirs.len() <= JOINED_MAX
                        && ours.last().zip(theirs.first()).is_some_and(|(a, b)| a.joins(b))
                }
                _ => false,
            };
        match (&mut self.what, other.what) {
            (What::Run(run), What::Run(more)) if fits => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::batch::Batcher;
    use crate::patience::Patience;
    use crate::sale::ReservationId;

    /// As many works as commands, each with its flight.
    fn works(batcher: &Batcher, sale: &str, commands: &[Command]) -> Vec<Work> {
        let sale = SaleId::new(sale).unwrap();
        let work = |command: &Command| {
            let _ = batcher.submit(0, &sale, true, command.clone(), 0, None).unwrap();
            let run = Run { flight: batcher.take_batch(0), creates: false };
            Work { what: What::Run(run), slot: 1, asking: false, redirects: 0, until_ms: 9 }
        };
        commands.iter().map(work).collect()
    }

    #[test]
    fn what_can_be_one_command_becomes_one() {
        let batcher = Batcher::new(Patience::new(None, 10).into());
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
        let What::Run(run) = first.what else { panic!("no run") };
        assert_eq!(run.flight.parts().count(), 1);
    }

    #[test]
    fn sales_are_served_in_turn_and_each_in_its_order() {
        let batcher = Batcher::new(Patience::new(None, 10).into());
        batcher.set_available();
        let show = |n| Command::ShowReservation(ReservationId(n));
        let hot: Vec<Command> = (0..2 * BATCH_MAX as u128).map(show).collect();
        let mut all = Works::default();
        works(&batcher, "hot", &hot).into_iter().for_each(|work| all.push(work));
        works(&batcher, "cold", &[show(1)]).into_iter().for_each(|work| all.push(work));
        let exists = What::Exists(SaleId::new("new").unwrap());
        all.push(Work { what: exists, slot: 1, asking: false, redirects: 0, until_ms: 9 });
        assert_eq!(all.commands(), 2 * BATCH_MAX + 2);

        let mut order = Vec::new();
        let mut hot_seen = Vec::new();
        while let Some(next) = all.next_commands() {
            let work = all.pop().unwrap();
            assert_eq!(work.commands(), next);
            order.push((work.sale().unwrap().to_string(), next));
            if let What::Run(run) = work.what
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
    fn a_node_that_was_named_by_ask_is_told_so() {
        let codec = Codec::new(crate::ledger::redis::KeyTemplates::default());
        let sale = SaleId::new("a").unwrap();
        let what = What::Exists(sale);
        let mut work = Work { what, slot: 1, asking: true, redirects: 0, until_ms: 9 };
        let mut out = Vec::new();
        assert_eq!(work.encode(&codec, &mut out), 3);
        assert!(out.starts_with(b"*1\r\n$6\r\nASKING\r\n"));
        work.asking = false;
        out.clear();
        assert_eq!(work.encode(&codec, &mut out), 2);
        assert!(out.starts_with(b"*2\r\n$6\r\nEXISTS\r\n"));
    }
}
