//! The book: every place as all executed commands left it, kept apart from the ledger's own model.
//!
//! It has plain maps where `stampede::sale::Machine` has indexes of row numbers. Only the [rules]
//! decide; the book carries out what they decide, and can take it back, since a failover or a
//! crash may. Each node has its own copy of a place, and one of them counts.
//!
//! [rules]: super::rules

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stampede::sale::{Command, Machine, Outcome, ReservationId, SaleId};

use super::place::{Header, Place, Share};
use super::row::Row;
use super::rules::{self, Change, Situation, Verdict};
use super::{Ledger, Node};

/// One copy of a place, with the way back.
#[derive(Debug, Clone, Default)]
struct Branch {
    place: Option<Box<Place>>,
    /// One entry per executed command, the last of them at the end.
    log: VecDeque<Undo>,
    /// Commands before the first entry.
    base: u64,
}

/// How to take a command back.
#[derive(Debug, Clone)]
struct Undo {
    /// The place's `written_ms` before.
    written_ms: u64,
    back: Vec<Back>,
}

/// One thing as it was before a command.
#[derive(Debug, Clone)]
enum Back {
    Row(ReservationId, Option<Row>),
    Header(Box<Header>),
    Place(Option<Box<Place>>),
}

/// Commands of one place that can be taken back.
const LOG_MAX: usize = 1 << 20;

/// What the book says of one command.
#[derive(Debug)]
pub struct Ran {
    /// The outcome by the rules.
    pub expected: Outcome,
    /// Counts of the place before.
    pub before: Share,
    /// Counts of the place after.
    pub after: Share,
    /// The rows that it changed, as they are now.
    pub rows: Vec<Row>,
    /// Whether anything is other than before.
    pub is_changed: bool,
    /// Whether the definition changed, or the place began or ended.
    pub is_redefined: bool,
    /// Whether the place began, began anew, or ended.
    pub is_another: bool,
    /// Whether this copy of the place is the one that counts.
    pub is_current: bool,
}

impl Branch {
    fn run(
        &mut self,
        (ledger, now_ms): (Ledger, u64),
        command: &Command,
        told: Option<&Outcome>,
    ) -> Ran {
        let before = Share::of(self.place.as_deref());
        let now_ms = self.place.as_ref().map_or(0, |place| place.now_ms).max(now_ms);
        if let Some(place) = &mut self.place {
            place.now_ms = now_ms;
        }
        let situation = Situation { place: self.place.as_deref(), now_ms, ledger, told };
        let Verdict { says, changes } = rules::decide(&situation, command);
        let is_another = changes.iter().any(|one| matches!(one, Change::Begin(_) | Change::Gone));
        let is_redefined = is_another || changes.iter().any(|one| matches!(one, Change::Header(_)));
        let ids: Vec<_> = changes.iter().filter_map(Change::row_id).collect();
        self.apply(now_ms, changes);
        let place = self.place.as_deref();
        let row = |id: &ReservationId| place.and_then(|place| place.rows().get(id)).cloned();
        Ran {
            expected: says.outcome(place),
            before,
            after: Share::of(place),
            rows: ids.iter().filter_map(row).collect(),
            is_changed: self.differs(),
            is_redefined,
            is_another,
            is_current: true,
        }
    }

    /// Carries out the changes of one command.
    fn apply(&mut self, now_ms: u64, changes: Vec<Change>) {
        let written_ms = self.place.as_ref().map_or(0, |place| place.written_ms);
        let has_changes = !changes.is_empty();
        let back = changes.into_iter().map(|change| self.change(now_ms, change)).collect();
        if let Some(place) = self.place.as_mut().filter(|_| has_changes) {
            place.written_ms = now_ms;
        }
        self.log.push_back(Undo { written_ms, back });
        if self.log.len() > LOG_MAX {
            self.log.pop_front();
            self.base += 1;
        }
    }

    fn change(&mut self, now_ms: u64, change: Change) -> Back {
        match (change, &mut self.place) {
            (Change::Row(row), Some(place)) => Back::Row(row.id(), place.set(row.id(), Some(row))),
            (Change::Header(header), Some(place)) => {
                Back::Header(Box::new(std::mem::replace(&mut place.header, *header)))
            }
            (Change::Begin(header), place) => {
                Back::Place(place.replace(Box::new(Place::new(*header, now_ms))))
            }
            (Change::Gone, place) => Back::Place(place.take()),
            (Change::Row(_) | Change::Header(_), None) => {
                unreachable!("a rule changed a sale that does not exist")
            }
        }
    }

    /// Whether the last command has changed anything.
    fn differs(&self) -> bool {
        let place = self.place.as_deref();
        self.log.back().into_iter().flat_map(|undo| &undo.back).any(|back| match back {
            Back::Row(id, before) => {
                place.and_then(|place| place.rows().get(id)) != before.as_ref()
            }
            Back::Header(before) => place.is_none_or(|place| place.header != **before),
            Back::Place(_) => true,
        })
    }

    /// Takes the last command back, and adds the reservations that this changes: also those of a
    /// sale that it had ended. `false`: there is none.
    fn undo(&mut self, changed: &mut BTreeSet<ReservationId>) -> bool {
        let Some(Undo { written_ms, back }) = self.log.pop_back() else { return false };
        for one in back.into_iter().rev() {
            match (one, &mut self.place) {
                (Back::Place(before), place) => *place = before,
                (Back::Row(id, before), Some(place)) => {
                    changed.insert(id);
                    place.set(id, before);
                }
                (Back::Header(before), Some(place)) => place.header = *before,
                (Back::Row(..) | Back::Header(_), None) => {
                    unreachable!("a change of a sale that does not exist")
                }
            }
        }
        if let Some(place) = &mut self.place {
            place.written_ms = written_ms;
        }
        true
    }

    /// Commands executed so far.
    fn position(&self) -> u64 {
        self.base + self.log.len() as u64
    }
}

/// All copies of a place.
#[derive(Debug, Default)]
struct Copies {
    /// The node of the copy that counts.
    current: Option<Node>,
    branches: BTreeMap<Node, Branch>,
}

/// Why a copy could not be made.
#[derive(Debug, PartialEq, Eq)]
pub enum CopyError {
    /// The node has not executed that many commands, or they can't be taken back any more.
    NoSuchPosition(u64),
    /// No earlier state is the one that the ledger has now.
    NoSuchState,
}

/// Every place, by node.
#[derive(Debug, Default)]
pub struct Book {
    places: BTreeMap<SaleId, Copies>,
}

impl Book {
    /// Carries out a command on a node's copy of a place. The first node of a place is its current
    /// one.
    pub fn run(
        &mut self,
        (node, id): (Node, &SaleId),
        setting: (Ledger, u64),
        command: &Command,
        told: Option<&Outcome>,
    ) -> Ran {
        let copies = self.copies(id);
        let current = *copies.current.get_or_insert(node);
        let branch = copies.branches.entry(node).or_default();
        let ran = branch.run(setting, command, told);
        Ran { is_current: node == current, ..ran }
    }

    fn copies(&mut self, id: &SaleId) -> &mut Copies {
        self.places.entry(id.clone()).or_default()
    }

    /// The copy of a place that counts.
    pub fn place(&self, id: &SaleId) -> Option<&Place> {
        self.place_at(self.node_of(id), id)
    }

    /// A node's copy of a place.
    pub fn place_at(&self, node: Node, id: &SaleId) -> Option<&Place> {
        self.places.get(id)?.branches.get(&node)?.place.as_deref()
    }

    /// The node of the copy that counts.
    pub fn node_of(&self, id: &SaleId) -> Node {
        self.places.get(id).and_then(|copies| copies.current).unwrap_or_default()
    }

    /// The copies that count, of all places.
    pub fn places(&self) -> impl Iterator<Item = (&SaleId, &Place)> {
        self.places.keys().filter_map(|id| Some((id, self.place(id)?)))
    }

    /// Every place that ever existed.
    pub fn ids(&self) -> impl Iterator<Item = &SaleId> {
        self.places.keys()
    }

    /// Commands that a node has executed on a place, those before it became a copy included.
    pub fn position(&self, node: Node, id: &SaleId) -> u64 {
        let branch = self.places.get(id).and_then(|copies| copies.branches.get(&node));
        branch.map_or(0, Branch::position)
    }

    /// Raises the term of a place to that of a script. Returns the place's term, if it is later.
    pub fn raise_term(&mut self, node: Node, id: &SaleId, term: u64) -> Option<u64> {
        let branch = self.places.get_mut(id)?.branches.get_mut(&node)?;
        let place = branch.place.as_mut()?;
        let written = place.header.term;
        if written < term {
            let before = Back::Header(Box::new(place.header.clone()));
            place.header.term = term;
            // It belongs to the command that ran last.
            if let Some(undo) = branch.log.back_mut() {
                undo.back.push(before);
            }
        }
        Some(written).filter(|written| *written > term)
    }

    /// A script died half way on a node's copy of a place. Returns whether that copy counts.
    pub fn leak(&mut self, node: Node, id: &SaleId, units: u64) -> bool {
        let copies = self.copies(id);
        let is_current = copies.current == Some(node);
        let branch = copies.branches.entry(node).or_default();
        if let Some(place) = branch.place.as_deref() {
            let (mut header, units) = (place.header.clone(), units.min(place.free()));
            let now_ms = place.now_ms;
            header.spec.total -= units;
            header.leaked += units;
            branch.apply(now_ms, vec![Change::Header(Box::new(header))]);
        }
        is_current
    }

    /// The current copy of a place disappears. Returns the ids of its reservations. It counts as a
    /// command.
    pub fn evict(&mut self, id: &SaleId) -> BTreeSet<ReservationId> {
        let copies = self.copies(id);
        let node = *copies.current.get_or_insert_default();
        let branch = copies.branches.entry(node).or_default();
        let lost = differences(branch.place.as_deref(), None);
        branch.apply(0, vec![Change::Gone]);
        lost
    }

    /// Makes a node's copy of a place what another node's was after its first `kept` commands, and
    /// the copy that counts. Returns the ids of reservations that this loses or changes.
    pub fn copy(
        &mut self,
        id: &SaleId,
        from: Node,
        to: Node,
        kept: u64,
    ) -> Result<BTreeSet<ReservationId>, CopyError> {
        let copies = self.copies(id);
        let mut branch = copies.branches.get(&from).cloned().unwrap_or_default();
        let mut changed = BTreeSet::new();
        while branch.position() > kept && branch.undo(&mut changed) {}
        if branch.position() != kept {
            return Err(CopyError::NoSuchPosition(branch.position()));
        }
        changed.append(&mut copies.become_branch(to, branch));
        Ok(changed)
    }

    /// Takes back commands until the current copy of a place is what the ledger has now. Returns
    /// their number, and the ids of reservations that this loses or changes.
    pub fn rewind(
        &mut self,
        id: &SaleId,
        machine: Option<&Machine>,
    ) -> Result<(u64, BTreeSet<ReservationId>), CopyError> {
        let copies = self.copies(id);
        let node = copies.current.unwrap_or_default();
        let mut branch = copies.branches.get(&node).cloned().unwrap_or_default();
        let last = branch.position();
        let is_same = |branch: &Branch| match (&branch.place, machine) {
            (None, None) => true,
            (Some(place), Some(machine)) => place.is_same_as(machine),
            _ => false,
        };
        let mut changed = BTreeSet::new();
        while !is_same(&branch) {
            if !branch.undo(&mut changed) {
                return Err(CopyError::NoSuchState);
            }
        }
        let undone = last - branch.position();
        // Its time is that of the last record, which a command that changed nothing has not moved.
        let machine_ms = machine.map(|machine| machine.view().now_ms);
        changed.append(&mut copies.become_branch(node, branch));
        let branch = copies.branches.get_mut(&node);
        if let Some((place, now_ms)) =
            branch.and_then(|branch| branch.place.as_mut()).zip(machine_ms)
        {
            place.now_ms = now_ms;
        }
        Ok((undone, changed))
    }
}

impl Copies {
    fn become_branch(&mut self, node: Node, mut branch: Branch) -> BTreeSet<ReservationId> {
        // Whoever copies gets the time of the last change, not that of the last question.
        if let Some(place) = &mut branch.place {
            place.now_ms = place.written_ms;
        }
        let current = self.current.replace(node).and_then(|node| self.branches.get(&node));
        let before = current.and_then(|branch| branch.place.as_deref());
        let differ = differences(before, branch.place.as_deref());
        self.branches.insert(node, branch);
        differ
    }
}

/// The rows of one place that another does not have, or has otherwise.
fn differences(before: Option<&Place>, after: Option<&Place>) -> BTreeSet<ReservationId> {
    let rows = before.iter().flat_map(|place| place.rows());
    let kept = |id: &ReservationId| after.and_then(|place| place.rows().get(id));
    rows.filter(|(id, row)| kept(id) != Some(*row)).map(|(id, _)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{ask, machine_of, sale};
    use stampede::sale::SaleSpec;

    const ONE: Node = Node(1);
    const TWO: Node = Node(2);

    fn run(book: &mut Book, node: Node, now_ms: u64, command: &Command) -> Outcome {
        book.run((node, &sale("s")), (Ledger::Redis, now_ms), command, None).expected
    }

    fn begin(book: &mut Book, total: u64) {
        let spec = SaleSpec { hold_ms: 1_000, ..SaleSpec::with_total(total) };
        let created = run(book, ONE, 5, &Command::Create(spec));
        assert!(matches!(created, Outcome::Created(_)), "{created:?}");
    }

    #[test]
    fn a_command_taken_back_leaves_no_trace() {
        let mut book = Book::default();
        begin(&mut book, 3);
        run(&mut book, ONE, 6, &ask(1, 2, "ann", "k"));
        let before = book.place(&sale("s")).unwrap().clone();
        for command in [
            Command::Confirm(ReservationId(1)),
            Command::AddStock(4),
            ask(2, 1, "", ""),
            Command::Cancel(ReservationId(2)),
            Command::Close,
            Command::Remove,
        ] {
            run(&mut book, ONE, 9, &command);
        }
        assert_eq!(book.position(ONE, &sale("s")), 8);
        let lost = book.copy(&sale("s"), ONE, TWO, 2).unwrap();
        let both = [ReservationId(1), ReservationId(2)];
        assert_eq!(lost, both.into(), "also what had become of them before the removal");
        let after = book.place(&sale("s")).unwrap();
        assert!(after.is_like(&before), "{after:?} {before:?}");
        assert_eq!(after.now_ms, 6, "the time of the last change that it has");
        assert!(after.is_counted_right());
    }

    #[test]
    fn a_copy_says_what_it_has_lost_and_both_go_on() {
        let mut book = Book::default();
        begin(&mut book, 3);
        run(&mut book, ONE, 6, &ask(1, 1, "ann", "k"));
        run(&mut book, ONE, 7, &ask(2, 1, "bob", "k"));
        run(&mut book, ONE, 8, &Command::Confirm(ReservationId(1)));
        let lost = book.copy(&sale("s"), ONE, TWO, 2).unwrap();
        assert_eq!(lost, [ReservationId(1), ReservationId(2)].into());
        assert_eq!(book.node_of(&sale("s")), TWO);
        assert_eq!(book.place(&sale("s")).map(Place::free), Some(2));
        // The former primary goes on selling.
        assert!(matches!(run(&mut book, ONE, 9, &ask(3, 1, "", "")), Outcome::Granted { .. }));
        assert_eq!(run(&mut book, ONE, 9, &ask(4, 1, "", "")), Outcome::SoldOut { free: 0 });
        assert!(matches!(run(&mut book, TWO, 9, &ask(5, 2, "", "")), Outcome::Granted { .. }));
        let beyond = book.copy(&sale("s"), TWO, ONE, 99);
        assert_eq!(beyond, Err(CopyError::NoSuchPosition(3)));
    }

    #[test]
    fn a_recovered_ledger_is_found_among_the_earlier_states() {
        let mut book = Book::default();
        begin(&mut book, 3);
        let kept = ask(1, 1, "ann", "k");
        run(&mut book, ONE, 6, &kept);
        run(&mut book, ONE, 7, &ask(2, 1, "bob", "k"));
        let machine = machine_of(3, 1_000, &[(5, Command::Show), (6, kept)]);
        assert_eq!(book.rewind(&sale("s"), Some(&machine)), Ok((1, [ReservationId(2)].into())));
        let other = machine_of(4, 1_000, &[]);
        assert_eq!(book.rewind(&sale("s"), Some(&other)), Err(CopyError::NoSuchState));
        assert_eq!(book.rewind(&sale("s"), None), Ok((2, [ReservationId(1)].into())));
    }

    #[test]
    fn a_term_only_rises_and_a_copy_has_the_term_of_its_commands() {
        let mut book = Book::default();
        begin(&mut book, 3);
        assert_eq!(book.raise_term(ONE, &sale("s"), 4), None);
        run(&mut book, ONE, 6, &Command::Show);
        assert_eq!(book.raise_term(ONE, &sale("s"), 7), None);
        assert_eq!(book.raise_term(ONE, &sale("s"), 6), Some(7));
        book.copy(&sale("s"), ONE, TWO, 1).unwrap();
        assert_eq!(book.raise_term(TWO, &sale("s"), 5), None);
    }
}
