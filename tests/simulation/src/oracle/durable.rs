//! I3, durable, of the embedded ledger: what it has answered is on its disk before the answer
//! leaves, and a restart finds the state after some record: not before the last one that was
//! answered, not after the last one that was begun, and nothing between two records.

use std::collections::BTreeMap;

use stampede::ledger::{Group, GroupReply};
use stampede::sale::{Command, Machine, SaleId};

use super::{Node, Oracle, Origin};
use crate::time::Us;

/// Units of a sale, as the ledger's own model counts them.
#[derive(Debug, Clone)]
pub struct Counts {
    /// The sale.
    pub sale: SaleId,
    /// All of them, those held, and those confirmed. `None`: there is no such sale.
    pub units: Option<(u64, u64, u64)>,
}

/// A commit of the ledger.
#[derive(Debug)]
pub struct Committed {
    /// The ledger's time.
    pub now_ms: u64,
    /// The time of the ledger's clock, by the machine's clock when the ledger started and the time
    /// that has passed since.
    pub clock_ms: u64,
    /// The number of its record. `None`: nothing has changed.
    pub record: Option<u64>,
    /// What was committed.
    pub groups: Vec<Group>,
    /// The replies. `None`: nobody hears them, and the record may be there or not.
    pub replies: Option<Vec<GroupReply>>,
    /// The sales of the groups after it.
    pub counts: Vec<Counts>,
    /// Whether everything in the journal was durable when the answers left.
    pub is_durable: bool,
}

/// A return of expired units to stock.
#[derive(Debug)]
pub struct Returned {
    /// The time of the ledger's last change.
    pub now_ms: u64,
    /// As for a commit.
    pub clock_ms: u64,
    /// The number of its record. `None`: nothing has changed.
    pub record: Option<u64>,
    /// Whether it has ended well.
    pub is_heard: bool,
    /// As for a commit.
    pub is_durable: bool,
    /// All sales after it, if something has changed.
    pub counts: Vec<Counts>,
}

/// A record that may be on the disk or not, and before which commands of each place.
#[derive(Debug)]
struct Begun {
    number: u64,
    positions: Vec<(SaleId, u64)>,
}

/// What a restart must find.
#[derive(Debug, Default)]
pub struct Durable {
    /// The last record that must be there.
    least: u64,
    /// Records after it that may be there.
    begun: Vec<Begun>,
    /// The latest time of the ledger.
    now_ms: u64,
    /// The folder was to be closed, with a record that changes nothing.
    closes: bool,
}

impl Oracle {
    /// The ledger has committed something, and is about to answer; or it has failed to.
    pub fn committed(&mut self, at: Us, deed: &Committed) {
        let Committed { groups, replies, record, .. } = deed;
        self.check_deed(at, (deed.now_ms, deed.clock_ms), deed.replies.is_some());
        let Some(replies) = replies else {
            let Some(number) = *record else { return };
            self.begin_record(number, groups.iter().map(|group| &group.sale));
            for group in groups {
                for command in &group.commands {
                    let origin = Origin::default();
                    self.executed_unheard(at, origin, &group.sale, deed.now_ms, command);
                }
            }
            return;
        };
        let before = self.changes;
        for (group, reply) in groups.iter().zip(replies) {
            for (command, outcome) in group.commands.iter().zip(&reply.outcomes) {
                self.executed(at, &group.sale, reply.now_ms, command, outcome);
            }
        }
        self.count(&deed.counts);
        if self.changes > before && record.is_none() {
            let text = "a change was answered, and no record has it".to_owned();
            self.findings.add(at, "I3 durable", text);
        }
        self.note_record(at, *record, deed.is_durable);
    }

    /// The ledger has returned what has expired; or it has failed to.
    pub fn returned(&mut self, at: Us, deed: &Returned) {
        let Returned { now_ms, record, .. } = *deed;
        self.check_deed(at, (now_ms, deed.clock_ms), deed.is_heard);
        self.sweeping(at, deed.is_heard);
        let held = |oracle: &Self, id| oracle.place(id).map_or(0, |place| place.held());
        let released = deed.counts.iter().filter_map(|Counts { sale, units }| {
            let (_, left, _) = units.as_ref()?;
            let units = held(self, sale).saturating_sub(*left);
            (units > 0).then(|| (sale.clone(), units))
        });
        let released: Vec<(SaleId, u64)> = released.collect();
        if deed.is_heard {
            for (sale, units) in released {
                self.expired(at, &sale, now_ms, units);
            }
            self.note_record(at, record, deed.is_durable);
            let ids: Vec<SaleId> = self.book.ids().cloned().collect();
            ids.iter().for_each(|id| self.passed(at, id, deed.clock_ms));
        } else if let Some(number) = record {
            self.begin_record(number, released.iter().map(|(sale, _)| sale));
            for (sale, _) in released {
                let command = Command::Expire { batch_max: u32::MAX };
                self.executed_unheard(at, Origin::default(), &sale, now_ms, &command);
            }
        }
        self.count(&deed.counts);
    }

    /// The ledger begins to close its folder, with a record that changes nothing.
    pub fn closes(&mut self) {
        self.durable.closes = true;
    }

    /// The ledger has opened its folder, and has these records and sales.
    pub fn reopened(&mut self, at: Us, version: u64, sales: &BTreeMap<SaleId, Machine>) {
        let Durable { least, begun, closes, now_ms: _ } = std::mem::take(&mut self.durable);
        let last = begun.last().map_or(least, |begun| begun.number) + u64::from(closes);
        if !(least..=last).contains(&version) {
            let text = format!(
                "the ledger starts with record {version}; record {least} was answered, and {last} \
                 was the last one that was begun"
            );
            self.findings.add(at, "I3 durable", text);
        }
        for Begun { number, positions } in begun.iter().rev() {
            let name = match *number > version {
                true => "recovered_without_unanswered",
                false => "recovered_with_unanswered",
            };
            *self.seen.entry(name).or_default() += 1;
            for (sale, kept) in positions.iter().filter(|_| *number > version) {
                self.copied(at, sale, (Node::default(), Node::default()), *kept, false);
            }
        }
        self.durable.least = version;
        let mut ids: Vec<SaleId> = self.book.ids().cloned().collect();
        ids.extend(sales.keys().filter(|id| self.book.place(id).is_none()).cloned());
        for id in ids {
            let undone = self.recovered(at, &id, sales.get(&id));
            if undone > 0 {
                let text = format!(
                    "{id} is not as it was after record {version}, but as {undone} commands before"
                );
                self.findings.add(at, "I3 durable", text);
            }
            // The ledger's time begins anew with that of its last record.
            self.deadlines.begin_anew(&id);
        }
        *self.seen.entry("recovered").or_default() += 1;
    }

    /// The ledger's time is as even as its clock, whoever sets that of the machine, and after a
    /// write that has failed it answers nothing more.
    fn check_deed(&mut self, at: Us, (now_ms, clock_ms): (u64, u64), is_heard: bool) {
        let before_ms = std::mem::replace(&mut self.durable.now_ms, now_ms);
        if !(before_ms..=clock_ms).contains(&now_ms) {
            let text = format!(
                "the time of the ledger is {now_ms} ms, was {before_ms} ms, and its clock shows \
                 {clock_ms} ms"
            );
            self.findings.add(at, "I5 never strand", text);
        }
        if is_heard && let Some(Begun { number, .. }) = self.durable.begun.first() {
            let text = format!("the ledger answers, and record {number} may be lost");
            self.findings.add(at, "I3 durable", text);
        }
    }

    fn begin_record<'a>(&mut self, number: u64, sales: impl Iterator<Item = &'a SaleId>) {
        let mut positions: BTreeMap<SaleId, u64> = BTreeMap::new();
        for sale in sales {
            let position = || self.book.position(Node::default(), sale);
            positions.entry(sale.clone()).or_insert_with(position);
        }
        let positions = positions.into_iter().collect();
        self.durable.begun.push(Begun { number, positions });
    }

    fn note_record(&mut self, at: Us, record: Option<u64>, is_durable: bool) {
        let Some(number) = record else { return };
        if !is_durable {
            let text = format!("record {number} is answered, and the disk may still lose it");
            self.findings.add(at, "I3 durable", text);
        }
        self.durable.least = number;
    }

    fn count(&mut self, counts: &[Counts]) {
        for Counts { sale, units } in counts {
            match units {
                Some((total, held, confirmed)) => self.counters(sale, *total, *held, *confirmed),
                None if self.place(sale).is_some() => self.counters(sale, 0, 0, 0),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Stage, ask, sale};
    use crate::oracle::{Ledger, Settings};
    use stampede::sale::{Outcome, SaleSpec};

    /// A ledger with a sale of three units, by its first record.
    struct Life {
        stage: Stage,
        machine: Machine,
    }

    impl Life {
        fn begin() -> Self {
            let settings = Settings { ledger: Ledger::Embedded, ..Settings::default() };
            let spec = SaleSpec::with_total(3);
            let mut stage = Stage { oracle: Oracle::new(settings), sale: sale("s") };
            let machine = Machine::restore(spec.clone(), stage.now_ms(0));
            let created = Outcome::Created(Box::new(machine.view()));
            let deed = deed(&stage, Some(1), Command::Create(spec), Some(created));
            stage.oracle.committed(1, &deed);
            Self { stage, machine }
        }

        /// It sells a unit with this id by this record, and answers or not.
        fn sell(&mut self, record: Option<u64>, id: u128, is_heard: bool) {
            let now_ms = self.stage.now_ms(0);
            let outcome = self.machine.apply(now_ms, &ask(id, 1, "", ""));
            let deed = deed(&self.stage, record, ask(id, 1, "", ""), is_heard.then_some(outcome));
            self.stage.oracle.committed(2, &deed);
        }

        /// It starts again with this.
        fn reopen(&mut self, version: u64, machine: Machine) -> Vec<&'static str> {
            self.stage.oracle.reopened(3, version, &[(sale("s"), machine)].into());
            self.stage.names()
        }
    }

    fn deed(
        stage: &Stage,
        record: Option<u64>,
        command: Command,
        outcome: Option<Outcome>,
    ) -> Committed {
        let now_ms = stage.now_ms(0);
        let reply = |outcome| GroupReply { outcomes: vec![outcome], free: None, now_ms };
        Committed {
            now_ms,
            clock_ms: now_ms,
            record,
            groups: vec![Group { sale: sale("s"), commands: vec![command] }],
            replies: outcome.map(|outcome| vec![reply(outcome)]),
            counts: Vec::new(),
            is_durable: true,
        }
    }

    #[test]
    fn an_unanswered_record_may_be_there_or_not() {
        for is_there in [false, true] {
            let mut life = Life::begin();
            life.sell(Some(2), 1, true);
            let before = life.machine.clone();
            life.sell(Some(3), 2, false);
            let (version, machine) = match is_there {
                true => (3, life.machine.clone()),
                false => (2, before),
            };
            assert_eq!(life.reopen(version, machine), [""; 0]);
            assert_eq!(life.stage.view().held, version - 1);
        }
    }

    #[test]
    fn an_answered_record_that_is_lost_is_found() {
        let mut life = Life::begin();
        let before = life.machine.clone();
        life.sell(Some(2), 1, true);
        assert!(life.reopen(1, before).contains(&"I3 durable"));
    }

    #[test]
    fn a_state_of_another_record_is_found() {
        let mut life = Life::begin();
        let before = life.machine.clone();
        life.sell(Some(2), 1, true);
        assert_eq!(life.reopen(2, before), ["I3 durable"]);
    }

    #[test]
    fn an_answer_after_a_lost_record_is_found() {
        let mut life = Life::begin();
        life.sell(Some(2), 1, false);
        assert_eq!(life.stage.names(), [""; 0]);
        life.sell(Some(2), 2, true);
        assert_eq!(life.stage.names(), ["I3 durable"]);
    }

    #[test]
    fn a_time_that_is_ahead_of_the_clock_is_found() {
        let mut life = Life::begin();
        let deed = deed(&life.stage, None, Command::Show, None);
        let clock_ms = deed.now_ms - 1;
        life.stage.oracle.committed(2, &Committed { clock_ms, ..deed });
        assert_eq!(life.stage.names(), ["I5 never strand"]);
    }

    #[test]
    fn an_answer_without_a_durable_record_is_found() {
        let mut life = Life::begin();
        life.sell(None, 1, true);
        assert_eq!(life.stage.names(), ["I3 durable"]);
        let mut life = Life::begin();
        let outcome = life.machine.apply(life.stage.now_ms(0), &ask(1, 1, "", ""));
        let deed = deed(&life.stage, Some(2), ask(1, 1, "", ""), Some(outcome));
        life.stage.oracle.committed(2, &Committed { is_durable: false, ..deed });
        assert_eq!(life.stage.names(), ["I3 durable"]);
    }
}
