use std::collections::{HashMap, VecDeque};
use std::path::Path;

use proptest::prelude::*;

use super::super::store::{Options, Store};
use super::*;
use crate::ledger::{Batch, Group};
use crate::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleSpec, Status};

fn open(path: &Path) -> Store {
    Store::open(path, Options { compaction_changes_min: u64::MAX }).unwrap()
}

fn commit(store: &mut Store, now_ms: u64, sale: &str, commands: Vec<Command>) -> Vec<Outcome> {
    let groups = vec![Group { sale: SaleId::new(sale).unwrap(), commands }];
    store.commit(now_ms, &[Batch { groups }]).unwrap().remove(0).remove(0).outcomes
}

fn create() -> Command {
    Command::Create(SaleSpec { hold_ms: 100, ..SaleSpec::with_total(1000) })
}

fn reserve(id: u128) -> Command {
    let key = Key::new(&format!("k{id}")).ok();
    let id = ReservationId(id);
    Command::Reserve(Reserve { id, quantity: 1, user: None, key, trace: None, details: None })
}

fn break_tail(store: &mut Store) {
    if let Some(tail) = &mut store.state_for_reading().unwrap().tail {
        (tail.entries, tail.is_broken) = (VecDeque::new(), true);
    }
}

/// What a database would have: of two changes the later one.
#[derive(Debug, Clone, Default)]
struct Database {
    orders: HashMap<(SaleId, ReservationId), Change>,
    position: u64,
}

impl Database {
    fn write(&mut self, changes: Vec<Change>, position: u64) {
        for change in changes {
            let id = (change.sale.clone(), change.reservation.id);
            match self.orders.get(&id) {
                Some(known) if known.version > change.version => {}
                Some(known) if known.version == change.version => assert_eq!(*known, change),
                _ => _ = self.orders.insert(id, change),
            }
        }
        assert!(position >= self.position, "the position went back");
        self.position = position;
    }

    /// Checks that the database has the current state of every row changed up to its position.
    fn check(&self, store: &Store) {
        for (id, machine) in store.state.sales.iter() {
            for row in machine.rows().iter().filter(|row| row.version <= self.position) {
                let order = self.orders.get(&(id.clone(), row.id));
                assert_eq!(order, Some(&row.to_change(id)), "at {}", self.position);
            }
        }
    }
}

fn read(store: &mut Store, cursor: &mut Cursor, database: &mut Database, max: usize) {
    let changes = store.changes(cursor, max).unwrap();
    assert!(changes.len() <= max);
    database.write(changes, cursor.position());
    database.check(store);
}

fn read_all(store: &mut Store, cursor: &mut Cursor, database: &mut Database) {
    while cursor.position() < store.version() || cursor.is_walking() {
        read(store, cursor, database, 7);
    }
    assert_eq!(store.changes(cursor, 7), Ok(Vec::new()));
}

#[derive(Debug, Clone)]
enum Step {
    Commit(u64, Vec<(u8, u8, u16)>),
    Expire(u32),
    Read(usize),
    /// The database is copied, or put back as it was when it was copied.
    Copy,
    Restore,
    BreakTail,
    Reopen(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let asked = proptest::collection::vec((0..3u8, 0..14u8, any::<u16>()), 1..12);
    prop_oneof![
        10 => (0..60u64, asked).prop_map(|(later_ms, asked)| Step::Commit(later_ms, asked)),
        2 => (1..9u32).prop_map(Step::Expire),
        8 => (1..9usize).prop_map(Step::Read),
        1 => Just(Step::Copy),
        1 => Just(Step::Restore),
        1 => Just(Step::BreakTail),
        1 => any::<bool>().prop_map(Step::Reopen),
    ]
}

fn command(kind: u8, n: u16, ids: &mut u128) -> Command {
    let known = ReservationId(u128::from(n) % (*ids + 1));
    match kind {
        0..6 => {
            *ids += 1;
            reserve(*ids)
        }
        6 | 7 => Command::Confirm(known),
        8 | 9 => Command::Cancel(known),
        10 => Command::Close,
        11 => Command::Remove,
        12 => Command::Open,
        _ => create(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Holds for any steps in between and any starting position.
    #[test]
    fn a_reader_reaches_the_final_state_of_every_row(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Some(open(dir.path()));
        let (mut database, mut copy) = (Database::default(), Database::default());
        let (mut cursor, mut readers, mut ids) = (Cursor::new(0, 0), 0, 0);
        let mut reader = |position| {
            readers += 1;
            Cursor::new(position, readers)
        };
        for step in steps {
            let open_store = store.as_mut().unwrap();
            match step {
                Step::Commit(later_ms, asked) => {
                    let now_ms = open_store.now_ms() + later_ms;
                    // One commit, so that one record changes a row several times.
                    let groups = asked.into_iter().map(|(sale, kind, n)| Group {
                        sale: SaleId::new(["a", "b", "c"][usize::from(sale)]).unwrap(),
                        commands: vec![command(kind, n, &mut ids)],
                    });
                    let batch = Batch { groups: groups.collect() };
                    open_store.commit(now_ms, &[batch]).unwrap();
                    open_store.maintain();
                }
                Step::Expire(max) => _ = open_store.expire(open_store.now_ms() + 60, max).unwrap(),
                Step::Read(max) => read(open_store, &mut cursor, &mut database, max),
                Step::Copy => copy = database.clone(),
                Step::Restore => {
                    database = copy.clone();
                    cursor = reader(database.position);
                }
                Step::BreakTail => break_tail(open_store),
                Step::Reopen(compact) => {
                    drop(store.take());
                    let compaction_changes_min = if compact { 1 } else { u64::MAX };
                    let mut opened = Store::open(dir.path(), Options { compaction_changes_min }).unwrap();
                    opened.maintain();
                    store = Some(opened);
                    cursor = reader(database.position);
                }
            }
        }
        let store = store.as_mut().unwrap();
        read_all(store, &mut cursor, &mut database);
    }
}

#[test]
fn an_overtaken_walk_still_makes_progress() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(&mut store, 1, "a", vec![create()]);
    commit(&mut store, 1, "a", (0..50).map(reserve).collect());
    let (mut cursor, mut database) = (Cursor::new(0, 1), Database::default());
    let mut positions = Vec::new();
    for id in 100..160 {
        // Between any two reads, more changes arrive than the tail holds.
        commit(&mut store, 1, "a", vec![reserve(id)]);
        read(&mut store, &mut cursor, &mut database, 10);
        break_tail(&mut store);
        positions.push(cursor.position());
    }
    positions.dedup();
    assert!(positions.len() > 4, "{positions:?}");
    read_all(&mut store, &mut cursor, &mut database);
    assert_eq!(database.orders.len(), 110);
}

#[test]
fn a_row_that_changed_twice_is_returned_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut cursor = Cursor::new(store.version(), 1);
    assert_eq!(store.changes(&mut cursor, 9), Ok(Vec::new()));
    commit(&mut store, 5, "a", vec![create(), reserve(1), reserve(2)]);
    commit(&mut store, 6, "a", vec![Command::Confirm(ReservationId(1))]);
    let changes = store.changes(&mut cursor, 9).unwrap();
    let told: Vec<_> = (changes.iter())
        .map(|c| (c.reservation.id.0, c.reservation.status, c.at_ms, c.version))
        .collect();
    assert_eq!(told, [(2, Status::Held, 5, 1), (1, Status::Confirmed, 6, 2)]);
    assert_eq!(changes[1].key, Key::new("k1").ok());
    assert_eq!((cursor.position(), cursor.is_walking()), (2, false));
}

#[test]
fn unread_changes_of_a_removed_sale_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(&mut store, 1, "a", vec![create(), reserve(1)]);
    let (mut cursor, mut database) = (Cursor::new(0, 1), Database::default());
    read_all(&mut store, &mut cursor, &mut database);
    let pay =
        vec![reserve(2), Command::Confirm(ReservationId(1)), Command::Cancel(ReservationId(2))];
    commit(&mut store, 2, "a", pay);
    let removed = commit(&mut store, 3, "a", vec![Command::Close, Command::Remove]);
    assert_eq!(removed[1], Outcome::Removed);
    commit(&mut store, 4, "a", vec![create(), reserve(3)]);
    read_all(&mut store, &mut cursor, &mut database);
    let status =
        |id| database.orders[&(SaleId::new("a").unwrap(), ReservationId(id))].reservation.status;
    assert_eq!(
        (status(1), status(2), status(3)),
        (Status::Confirmed, Status::Cancelled, Status::Held)
    );
}

#[test]
fn changes_that_may_not_be_on_disk_are_withheld() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(&mut store, 1, "a", vec![create(), reserve(1)]);
    let mut cursor = Cursor::new(0, 1);
    store.changes(&mut cursor, 9).unwrap();
    store.fail("the disk is gone".into());
    assert!(store.changes(&mut cursor, 9).is_err());
}
