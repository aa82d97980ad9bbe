//! One node: what has come over its connections, its one processor, its sales and their index.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stampede::ledger::redis::EntryId;
use stampede::ledger::{GroupReply, LedgerError};
use stampede::sale::SaleId;
use stampede::sweep::News;

use super::apply::{Now, Places, apply, is_fenced};
use super::fleet::Logged;
use super::{Ask, Pipeline, PipelineReply, Reply};
use crate::chance::Chance;
use crate::names::Line;
use crate::oracle::{self, Oracle, Origin};
use crate::time::{Clocks, Us};

/// Shortest and longest time of one turn.
const TURN_US_MIN: Us = 5;
/// See [`TURN_US_MIN`].
const TURN_US_MAX: Us = 80;
/// One pipeline of several groups in so many is carried out in two turns, between which other
/// connections have theirs.
const PAUSE_ONE_IN: u64 = 8;

/// What has come over one connection.
#[derive(Default)]
struct Input {
    asks: VecDeque<Ask>,
    /// The replies to the groups of the first one that were carried out already.
    replies: Vec<Result<GroupReply, LedgerError>>,
}

/// What a turn has brought.
#[derive(Debug)]
pub enum Turn {
    /// Nothing: there was nothing to do.
    Nothing,
    /// The same connection needs another turn before there is an answer.
    Again,
    /// An answer. `more`: the connection needs another turn.
    Answer {
        /// The answer.
        reply: Reply,
        /// See above.
        more: bool,
    },
}

/// See the module's header.
pub struct Node {
    /// Its address.
    number: usize,
    /// Another node has become the primary, so that this copy does not count any more.
    pub is_replaced: bool,
    /// What a replica is to get. `None`: there is none.
    pub log: Option<VecDeque<Logged>>,
    /// Groups that it has refused, since their senders were behind a failover.
    pub fenced: u64,
    /// Its clocks.
    pub clocks: Clocks,
    /// Its sales.
    places: Places,
    /// The sales that sweeps find.
    index: BTreeSet<SaleId>,
    /// The sales that were announced to the sweeps, in order.
    made: Vec<SaleId>,
    inputs: BTreeMap<Line, Input>,
    busy_until: Us,
    chance: Chance,
}

impl Node {
    /// A node without sales.
    pub fn new(seed: u64, number: usize) -> Self {
        Self {
            number,
            is_replaced: false,
            log: None,
            fenced: 0,
            clocks: Clocks::new(0),
            places: Places::new(),
            index: BTreeSet::new(),
            made: Vec::new(),
            inputs: BTreeMap::new(),
            busy_until: 0,
            chance: Chance::of(seed, &format!("node {number}")),
        }
    }

    /// The replica at this address becomes the primary with these sales, in place of this node. The
    /// index and the clock are the same: neither is what a failover is here for.
    pub fn promote(&self, seed: u64, number: usize, epoch: u64, places: Places) -> Self {
        Self {
            number,
            is_replaced: false,
            log: Some(VecDeque::new()),
            fenced: self.fenced,
            clocks: self.clocks.clone(),
            places,
            index: self.index.clone(),
            made: self.made.clone(),
            inputs: BTreeMap::new(),
            busy_until: 0,
            chance: Chance::of(seed, &format!("node {number} from epoch {epoch} on")),
        }
    }

    /// What the oracle calls it.
    pub fn name(&self) -> oracle::Node {
        oracle::Node(self.number as u32)
    }

    /// Its sales.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// A message has come. Returns when the connection has its turn, if it has none yet.
    pub fn receive(&mut self, now: Us, line: Line, ask: Ask) -> Option<Us> {
        let input = self.inputs.entry(line).or_default();
        input.asks.push_back(ask);
        (input.asks.len() == 1).then(|| self.next_turn(now))
    }

    /// When a connection that needs a turn has it: there is one processor.
    pub fn next_turn(&mut self, now: Us) -> Us {
        let takes = self.chance.spread(TURN_US_MIN, TURN_US_MAX);
        self.busy_until = self.busy_until.max(now) + takes;
        self.busy_until
    }

    /// Carries out something of what has come over this connection, which was made in this term. A
    /// replica gets every group that was carried out here, with the time.
    pub fn turn(&mut self, at: Us, line: Line, term: Option<u64>, oracle: &mut Oracle) -> Turn {
        let origin = Origin { node: self.name(), term };
        let Self { clocks, places, index, made, inputs, chance, .. } = self;
        let Some(input) = inputs.get_mut(&line) else { return Turn::Nothing };
        let reply = match input.asks.front() {
            None => return Turn::Nothing,
            Some(Ask::Hello) => Reply::Welcome,
            Some(Ask::Pipeline(pipeline)) => {
                let Pipeline { epoch, groups, exists, add, announce, remove, news, list } =
                    pipeline;
                let epoch = *epoch;
                let (done, all) = (input.replies.len(), groups.len());
                let until = match all - done {
                    left if left > 1 && chance.one_in(PAUSE_ONE_IN) => {
                        done + chance.between(1, left as u64 - 1) as usize
                    }
                    _ => all,
                };
                let now = Now { ms: clocks.wall_ms(at), us: clocks.wall_us(at) };
                for group in &groups[done..until] {
                    let place = &group.sale;
                    let reply = apply(places, now, epoch, group, |command, now_ms, outcome| {
                        oracle.executed_from(at, origin, place, now_ms, command, outcome);
                        if let Some(recording) = &mut oracle.recording {
                            let now = Now { ms: now_ms, us: now.us };
                            recording.executed(now, epoch, place, command, outcome);
                        }
                    });
                    if let Some(kept) = places.get(place).filter(|_| !self.is_replaced) {
                        let view = kept.machine.view();
                        oracle.counters(place, view.spec.total, view.held, view.confirmed);
                    }
                    self.fenced += u64::from(reply.as_ref().is_err_and(is_fenced));
                    if let Some(log) = self.log.as_mut().filter(|_| reply.is_ok()) {
                        let position = oracle.position(origin.node, place);
                        log.push_back(Logged { now, epoch, group: group.clone(), position });
                    }
                    input.replies.push(reply);
                }
                if until < all {
                    return Turn::Again;
                }
                let found = exists.iter().map(|sale| places.contains_key(sale)).collect();
                index.extend(add.iter().cloned());
                remove.iter().for_each(|sale| _ = index.remove(sale));
                made.extend(announce.iter().cloned());
                Reply::Pipeline(PipelineReply {
                    groups: std::mem::take(&mut input.replies),
                    found,
                    news: news.map(|after| (index.len() as u64, announced(made, after))),
                    sales: index.iter().filter(|_| *list).cloned().collect(),
                    now_ms: now.ms,
                    is_cut: false,
                })
            }
        };
        input.asks.pop_front();
        let more = !input.asks.is_empty();
        if !more {
            inputs.remove(&line);
        }
        Turn::Answer { reply, more }
    }
}

/// The sales that were announced after an entry, and the last entry. `None`: none was.
fn announced(made: &[SaleId], after: EntryId) -> Option<News> {
    let new = made.get(after.sequence as usize..).filter(|new| !new.is_empty())?;
    Some((new.to_vec(), EntryId { ms: 1, sequence: made.len() as u64 }))
}

#[cfg(test)]
mod tests {
    use stampede::ledger::Group;
    use stampede::sale::{Command, SaleSpec};

    use super::*;
    use crate::names::Sender;
    use crate::oracle;

    #[test]
    fn a_pipeline_is_answered_in_order() {
        let mut node = Node::new(1, 0);
        let mut oracle = Oracle::new(oracle::Settings::default());
        let line = Line { sender: Sender::Operator(1), session: 1 };
        let sale = |name: &str| SaleId::new(name).unwrap();
        let group = |name: &str| {
            let create = Command::Create(SaleSpec::with_total(3));
            Group { sale: sale(name), commands: vec![create, Command::Show] }
        };
        let groups = ["a", "b", "c"].map(group).to_vec();
        let exists = vec![sale("b"), sale("x")];
        let pipeline = Pipeline { groups, exists, add: vec![sale("a")], ..Pipeline::default() };
        let first = node.receive(5, line, Ask::Hello).expect("its turn");
        assert!(first > 5);
        assert!(node.receive(6, line, Ask::Pipeline(pipeline)).is_none(), "it has a turn already");
        let welcome = node.turn(first, line, None, &mut oracle);
        assert!(matches!(welcome, Turn::Answer { reply: Reply::Welcome, more: true }));
        let reply = loop {
            match node.turn(50, line, None, &mut oracle) {
                Turn::Again => {}
                Turn::Answer { reply: Reply::Pipeline(reply), more: false } => break reply,
                turn => panic!("{turn:?}"),
            }
        };
        assert_eq!((reply.groups.len(), &reply.found[..]), (3, &[true, false][..]));
        assert_eq!(node.index.iter().collect::<Vec<_>>(), [&sale("a")]);
        assert!(matches!(node.turn(60, line, None, &mut oracle), Turn::Nothing));
    }
}
