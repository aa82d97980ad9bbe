//! A primary and its replica under Sentinels, as far as they are not the primary itself.
//!
//! A failover makes the replica the primary, without the last groups that the primary has carried
//! out. The earlier primary lives on for a while, and whoever has not heard of the failover still
//! writes to it: that is lost. Then it is the replica, and with the next failover the primary again.
//! Who has not heard of either failover takes it for the primary, and is refused only by its epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stampede::ledger::Group;
use stampede::sale::SaleId;

use super::apply::{Now, Places, apply};
use super::node::Node;
use crate::chance::Chance;
use crate::names::Line;
use crate::oracle::Oracle;
use crate::schedule::{Event, Schedule};
use crate::time::{MS, SECOND, Us};

/// One run with Redis in so many has Sentinels.
const ONE_IN: u64 = 3;
/// Shortest and longest time between two failovers.
const FAILOVER_PAUSE_MIN: Us = 200 * MS;
/// See [`FAILOVER_PAUSE_MIN`].
const FAILOVER_PAUSE_MAX: Us = 2 * SECOND;
/// Shortest and longest time for which an earlier primary lives on.
const OLD_MIN: Us = MS;
/// See [`OLD_MIN`].
const OLD_MAX: Us = SECOND;
/// Shortest and longest time until a server hears of a failover.
const HEAR_MIN: Us = MS;
/// See [`HEAR_MIN`].
const HEAR_MAX: Us = 300 * MS;
/// The same for a server that does not reach the Sentinels for a while.
const DEAF_MAX: Us = 5 * SECOND;
/// Groups that a replica may lack.
const LAG_MAX: u64 = 60;
/// Groups that wait for a replica at most before it gets some.
const LOG_MAX: usize = 256;

/// A run's failovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failovers;

impl Failovers {
    /// Draws whether a run has them.
    pub fn draw(seed: u64) -> Option<Self> {
        Chance::of(seed, "sentinels").one_in(ONE_IN).then_some(Self)
    }

    /// Schedules them until a time.
    pub fn schedule(self, seed: u64, until: Us, schedule: &mut Schedule) {
        let mut chance = Chance::of(seed, "failovers");
        let mut at = chance.spread(FAILOVER_PAUSE_MIN, FAILOVER_PAUSE_MAX);
        while at < until {
            schedule.at(at, Event::Failover);
            at += chance.spread(FAILOVER_PAUSE_MIN, FAILOVER_PAUSE_MAX);
        }
    }
}

impl fmt::Display for Failovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sentinels")
    }
}

/// A group that the primary has carried out.
pub struct Logged {
    /// When.
    pub now: Now,
    /// The epoch of the sender.
    pub epoch: Option<u64>,
    /// The group.
    pub group: Group,
    /// The commands of its sale that were carried out until then.
    pub position: u64,
}

/// Where a connection leads.
#[derive(Debug, Clone, Copy)]
struct End {
    /// The epoch in which the node at the other end became the primary. `None`: it is a replica.
    node: Option<u64>,
    /// The epoch by which the sender found the node.
    term: u64,
}

/// See the module's header. Addresses are 0 and 1, and the primary of an epoch has the address that
/// is the epoch modulo 2.
pub struct Fleet {
    seed: u64,
    chance: Chance,
    /// The epoch of the primary.
    epoch: u64,
    /// The earlier primary, until it is the replica.
    old: Option<Node>,
    /// What the replica has.
    places: Places,
    /// How many commands of each sale the replica has had.
    positions: BTreeMap<SaleId, u64>,
    /// Sales of which a failover has lost something.
    lost: BTreeSet<SaleId>,
    /// The epoch that each server knows.
    known: Vec<u64>,
    /// Where the connections lead that were opened. One that was not leads to the primary.
    ends: BTreeMap<Line, End>,
}

impl Fleet {
    /// The first primary has the address 0. Its replica has nothing yet.
    pub fn new(seed: u64, servers: usize) -> Self {
        Self {
            seed,
            chance: Chance::of(seed, "fleet"),
            epoch: 0,
            old: None,
            places: Places::new(),
            positions: BTreeMap::new(),
            lost: BTreeSet::new(),
            known: vec![0; servers],
            ends: BTreeMap::new(),
        }
    }

    /// The epoch by which a server finds the primary, or without a server anybody who knows all.
    pub fn term(&self, server: Option<usize>) -> u64 {
        server.map_or(self.epoch, |server| self.known[server])
    }

    /// A connection is opened to what its sender takes for the primary. Returns its term.
    pub fn open(&mut self, line: Line) -> u64 {
        let term = self.term(line.sender.server());
        let node = if term % 2 == self.epoch % 2 {
            Some(self.epoch)
        } else {
            self.old.as_ref().map(|_| self.epoch - 1)
        };
        self.ends.insert(line, End { node, term });
        term
    }

    /// The term of a connection, and the node to which it leads. `None`: it leads to no primary.
    pub fn node<'a>(
        &'a mut self,
        primary: &'a mut Node,
        line: Line,
    ) -> Option<(u64, &'a mut Node)> {
        let first = End { node: Some(self.epoch), term: self.epoch };
        let End { node, term } = self.ends.get(&line).copied().unwrap_or(first);
        let node = node?;
        if node == self.epoch {
            return Some((term, primary));
        }
        let old = self.old.as_mut().filter(|_| node + 1 == self.epoch);
        old.map(|old| (term, old))
    }

    /// A server hears of an epoch. Returns whether it is news.
    pub fn hear(&mut self, server: usize, epoch: u64) -> bool {
        let known = &mut self.known[server];
        let is_news = *known < epoch;
        *known = epoch.max(*known);
        is_news
    }

    /// The replica gets some of what the primary has carried out, if much has come together.
    pub fn replicate(&mut self, primary: &mut Node) {
        let log = primary.log.as_mut().filter(|log| log.len() > LOG_MAX);
        if let Some(log) = log {
            let count = log.len() - LAG_MAX as usize;
            log.drain(..count).for_each(|logged| self.get(&logged));
        }
    }

    fn get(&mut self, logged: &Logged) {
        let Logged { now, epoch, group, position } = logged;
        apply(&mut self.places, *now, *epoch, group, |_, _, _| {})
            .expect("the primary has accepted it");
        self.positions.insert(group.sale.clone(), *position);
    }

    /// The replica becomes the primary, without the last groups.
    pub fn fail_over(&mut self, at: Us, primary: &mut Node, oracle: &mut Oracle) {
        let mut log = primary.log.take().unwrap_or_default();
        let lag = match self.chance.below(3) {
            0 => 0,
            _ => self.chance.spread(1, LAG_MAX) as usize,
        };
        let lost = log.split_off(log.len().saturating_sub(lag));
        log.iter().for_each(|logged| self.get(logged));
        self.epoch += 1;
        let places = self.places.clone();
        let new = primary.promote(self.seed, (self.epoch % 2) as usize, self.epoch, places);
        oracle.failed_over(primary.name(), new.name());
        // Also those that were lost by an earlier failover: what the node of that address had does
        // not count.
        let lost = lost.into_iter().map(|logged| logged.group.sale);
        self.lost.extend(lost);
        for sale in self.positions.keys().chain(&self.lost).collect::<BTreeSet<_>>() {
            let kept = self.positions.get(sale).copied().unwrap_or(0);
            oracle.copied(at, sale, (primary.name(), new.name()), kept, true);
        }
        let mut old = std::mem::replace(primary, new);
        old.is_replaced = true;
        self.old = Some(old);
    }

    /// Plans what follows from the last failover. Returns when the last server has heard of it.
    pub fn schedule(&mut self, now: Us, schedule: &mut Schedule) -> Us {
        schedule.at(now + self.chance.spread(OLD_MIN, OLD_MAX), Event::Demote(self.epoch));
        let mut last = now;
        for server in 0..self.known.len() {
            let longest = if self.chance.one_in(2) { DEAF_MAX } else { HEAR_MAX };
            let at = now + self.chance.spread(HEAR_MIN, longest);
            schedule.at(at, Event::Hear(server, self.epoch));
            last = last.max(at);
        }
        last
    }

    /// The earlier primary becomes the replica, if there was no other failover since this epoch.
    /// Returns the connections that this ends.
    pub fn demote(&mut self, epoch: u64) -> Vec<Line> {
        if epoch != self.epoch || self.old.take().is_none() {
            return Vec::new();
        }
        let ended = self.ends.iter().filter(|(_, end)| end.node.is_some_and(|node| node < epoch));
        ended.map(|(line, _)| *line).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use stampede::sale::{Command, SaleSpec};

    use super::*;
    use crate::names::Sender;
    use crate::oracle;
    use crate::redis::{Ask, Pipeline, Turn};

    #[test]
    fn a_replica_becomes_the_primary_and_back_again() {
        let mut oracle = Oracle::new(oracle::Settings::default());
        let (mut node, mut fleet) = (Node::new(1, 0), Fleet::new(1, 2));
        node.log = Some(VecDeque::new());
        let line = |session| Line { sender: Sender::Sweep { server: 0, start: 1 }, session };
        let sale = SaleId::new("s").unwrap();
        let mut run = |fleet: &mut Fleet, node: &mut Node, session, command| {
            let group = Group { sale: sale.clone(), commands: vec![command] };
            let term = fleet.open(line(session));
            let pipeline =
                Pipeline { epoch: Some(term), groups: vec![group], ..Pipeline::default() };
            let (term, node) = fleet.node(node, line(session))?;
            node.receive(1, line(session), Ask::Pipeline(pipeline));
            let turn = node.turn(2, line(session), Some(term), &mut oracle);
            assert!(matches!(turn, Turn::Answer { .. }), "{turn:?}");
            Some(node.name().0)
        };
        let create = Command::Create(SaleSpec::with_total(5));
        assert_eq!(run(&mut fleet, &mut node, 1, create), Some(0));
        // The replica has it all.
        node.log.take().into_iter().flatten().for_each(|logged| fleet.get(&logged));
        let mut other = Oracle::new(oracle::Settings::default());
        fleet.fail_over(3, &mut node, &mut other);
        assert_eq!((node.name().0, node.places().len()), (1, 1));
        assert_eq!(run(&mut fleet, &mut node, 2, Command::Open), Some(0), "it has not heard");
        assert_eq!(fleet.demote(1), [line(1), line(2)]);
        assert_eq!(run(&mut fleet, &mut node, 3, Command::Open), None);
        fleet.fail_over(4, &mut node, &mut other);
        assert_eq!(run(&mut fleet, &mut node, 4, Command::Open), Some(0));
        assert!(fleet.hear(0, 2) && !fleet.hear(0, 1));
        assert_eq!((fleet.term(Some(0)), fleet.term(Some(1)), fleet.term(None)), (2, 0, 2));
        assert_eq!(run(&mut fleet, &mut node, 5, Command::Show), Some(0));
        assert_eq!(node.fenced, 0);
        fleet.known[0] = 0;
        assert_eq!(run(&mut fleet, &mut node, 6, Command::Open), Some(0));
        assert_eq!(node.fenced, 1, "it is behind both failovers");
    }
}
