use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::super::compaction::{Step, compact};
use super::super::data_dir::{journal_path, snapshot_path, unfinished_path};
use super::*;
use crate::ledger::Group;
use crate::sale::{Outcome, ReservationId, Reserve, Row, SaleSpec, Terms, User};

type Dump = BTreeMap<SaleId, (SaleSpec, u64, u64, Vec<Row>)>;

fn dump(store: &Store) -> Dump {
    let sales = store.state.sales.iter();
    sales
        .map(|(id, machine)| {
            let view = machine.view();
            (
                id.clone(),
                (view.spec, view.held, view.confirmed, machine.rows().iter().cloned().collect()),
            )
        })
        .collect()
}

fn open(path: &Path) -> Store {
    Store::open(path, Options { compaction_changes_min: u64::MAX }).unwrap()
}

fn batch(sale: &str, commands: Vec<Command>) -> Vec<Batch> {
    vec![Batch { groups: vec![Group { sale: SaleId::new(sale).unwrap(), commands }] }]
}

fn reserve(id: u128) -> Command {
    let user = User::new(&format!("user-{id}")).ok();
    let id = ReservationId(id);
    Command::Reserve(Reserve { id, quantity: 1, user, key: None, trace: None, details: None })
}

fn outcomes(store: &mut Store, now_ms: u64, sale: &str, commands: Vec<Command>) -> Vec<Outcome> {
    store.commit(now_ms, &batch(sale, commands)).unwrap().remove(0).remove(0).outcomes
}

/// Two sales with reservations in every status, one of them closed before it opens, the other changed
/// while it sells.
fn fill(store: &mut Store, first_id: u128) {
    let spec = SaleSpec { hold_ms: 100, ..SaleSpec::with_total(1000) };
    let later = SaleSpec { opens_at_ms: 1 << 40, ..spec.clone() };
    outcomes(store, 1, "a", vec![Command::Create(spec)]);
    outcomes(store, 1, "b", vec![Command::Create(later), Command::Close]);
    for n in first_id..first_id + 20 {
        let id = ReservationId(n);
        let then = match n % 4 {
            0 => Command::Confirm(id),
            1 => Command::Cancel(id),
            _ => Command::Show,
        };
        let terms = Terms {
            hold_ms: Some(if n % 3 == 0 { 40 } else { 100 }),
            limit_per_user: Some((n % 2) as u32),
            ..Terms::default()
        };
        let refund = if n % 8 == 0 { Command::Refund(id) } else { Command::Show };
        let take = Command::TakeStock { units: 1, at_most: n % 2 == 0 };
        let commands = vec![reserve(n), then, refund, Command::ChangeTerms(terms), take];
        outcomes(store, store.now_ms() + 10, "a", commands);
    }
    store.expire(store.now_ms() + 1, 3).unwrap();
}

#[test]
fn a_failed_write_stops_the_store_until_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0);
    let before = dump(&store);
    store.journal.break_writes();
    let lost = store.commit(9999, &batch("a", vec![reserve(100)]));
    assert!(matches!(lost, Err(LedgerError::Lost(_))), "{lost:?}");
    for commands in [vec![reserve(101)], vec![Command::Show]] {
        let refused = store.commit(9999, &batch("a", commands));
        assert!(matches!(refused, Err(LedgerError::Refused(_))), "{refused:?}");
    }
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(dump(&store), before);
    assert!(matches!(outcomes(&mut store, 0, "a", vec![reserve(101)])[0], Outcome::Granted { .. }));
}

#[test]
fn commands_without_effect_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    outcomes(&mut store, 1, "a", vec![Command::Create(SaleSpec::with_total(1)), reserve(1)]);
    outcomes(&mut store, 1, "a", vec![Command::Confirm(ReservationId(1))]);
    let number = store.next_number;
    let nothing = vec![
        reserve(2),
        Command::Confirm(ReservationId(1)),
        Command::Cancel(ReservationId(1)),
        Command::Cancel(ReservationId(7)),
        Command::Expire { batch_max: 9 },
        Command::Open,
        Command::AddStock(0),
        Command::Refund(ReservationId(7)),
        Command::TakeStock { units: 1, at_most: false },
        Command::TakeStock { units: 1, at_most: true },
        Command::ChangeTerms(Terms { quantity_max: Some(10), ..Terms::default() }),
        Command::ChangeTerms(Terms { closes_at_ms: Some(0), ..Terms::default() }),
        Command::Create(SaleSpec::with_total(5)),
        Command::Show,
    ];
    outcomes(&mut store, 2, "a", nothing);
    outcomes(&mut store, 2, "unknown", vec![reserve(3)]);
    store.expire(3, 9).unwrap();
    assert_eq!(store.next_number, number);
}

/// Queues keep the numbers of paid reservations until their deadline, a restored sale has none of
/// them: an expiry that was bounded live must not reach further in the replay.
#[test]
fn a_bounded_expiry_replays_the_same_after_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let spec = SaleSpec { hold_ms: 100, ..SaleSpec::with_total(1000) };
    outcomes(&mut store, 1, "a", vec![Command::Create(spec)]);
    for n in 0..20 {
        outcomes(&mut store, 1, "a", vec![reserve(n)]);
    }
    let pay = (0..10).map(|n| Command::Confirm(ReservationId(n))).collect();
    outcomes(&mut store, 2, "a", pay);
    store.try_start_compaction().unwrap();
    store.finish_compaction();
    store.expire(200, 14).unwrap();
    assert_eq!(store.sales().next().unwrap().1.held, 6);
    let before = dump(&store);
    drop(store);
    assert_eq!(dump(&open(dir.path())), before);
}

/// An expiry must not wait for reservations that were granted earlier and are due later.
#[test]
fn a_shorter_hold_expires_before_earlier_longer_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let spec = SaleSpec { hold_ms: 10_000, ..SaleSpec::with_total(9) };
    outcomes(&mut store, 1, "a", vec![Command::Create(spec), reserve(1)]);
    let hold = |ms| Command::ChangeTerms(Terms { hold_ms: Some(ms), ..Terms::default() });
    outcomes(&mut store, 2, "a", vec![hold(100), reserve(2), reserve(3)]);
    for _ in 0..2 {
        store.expire(101, 9).unwrap();
        assert_eq!(store.sales().next().unwrap().1.held, 3);
        drop(store);
        store = open(dir.path());
    }
    store.expire(102, 9).unwrap();
    assert_eq!(store.sales().next().unwrap().1.held, 1);
    let before = dump(&store);
    drop(store);
    store = open(dir.path());
    assert_eq!(dump(&store), before);
    store.expire(10_001, 9).unwrap();
    assert_eq!(store.sales().next().unwrap().1.held, 0);
}

/// A sale is removed, recreated and removed again, with its versions.
#[test]
fn a_truncated_removal_is_applied_fully_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0);
    let mut states = vec![dump(&store)];
    let all_cancelled = (0..20).map(|n| Command::Cancel(ReservationId(n))).collect();
    for commands in [
        all_cancelled,
        vec![Command::Close, Command::Remove],
        vec![Command::Create(SaleSpec::with_total(3)), reserve(50)],
        vec![Command::Cancel(ReservationId(50)), Command::Close, Command::Remove, Command::Remove],
    ] {
        let now_ms = store.now_ms() + 1;
        outcomes(&mut store, now_ms, "a", commands);
        states.push(dump(&store));
    }
    assert!(states.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(!states[4].contains_key(&SaleId::new("a").unwrap()));
    let path = store.journal.path().to_owned();
    store.journal.trim().unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    let marker = fs::read(dir.path().join("stampede-ledger")).unwrap();
    let mut last = states.len() - 1;
    for end in (0..=bytes.len()).rev() {
        fs::write(&path, &bytes[..end]).unwrap();
        // As it was at the kill: each start notes how far the records go.
        fs::write(dir.path().join("stampede-ledger"), &marker).unwrap();
        let dump = dump(&open(dir.path()));
        // The state is that of the longer file, or has one commit less.
        match (last.saturating_sub(1)..=last).rev().find(|&state| states[state] == dump) {
            Some(found) => last = found,
            None => {
                assert_eq!(last, 0, "{end} bytes");
                return;
            }
        }
    }
}

/// A copy of the folder as a crash would leave it.
fn image(from: &Path, name: &str, images: &Path) -> PathBuf {
    let to = images.join(name);
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn the_store_recovers_from_a_crash_at_any_compaction_step() {
    let (dir, images) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = open(dir.path());
    fill(&mut store, 0);
    // The second time round there is a snapshot to replace.
    for round in 0..2u64 {
        let before = dump(&store);
        let generation = store.journal.generation() + 1;
        let next = unfinished_path(&journal_path(dir.path(), generation));
        fs::write(&next, b"stampede rec").unwrap();
        let mut found = vec![image(dir.path(), &format!("{round}-making"), images.path())];
        store.switch_journal().unwrap();
        found.push(image(dir.path(), &format!("{round}-made"), images.path()));
        let mut steps = Vec::new();
        compact(dir.path(), generation, store.next_number, &StopFlag::default(), |step| {
            found.push(image(dir.path(), &format!("{round}-{step:?}"), images.path()));
            steps.push(step);
        })
        .unwrap();
        assert_eq!(steps, [Step::Read, Step::Written, Step::Named, Step::Removed]);
        let written = images.path().join(format!("{round}-Written"));
        for cut in 0..8 {
            let cut_image = image(&written, &format!("{round}-cut-{cut}"), images.path());
            let snapshot = unfinished_path(&snapshot_path(&cut_image, generation));
            let bytes = fs::read(&snapshot).unwrap();
            fs::write(&snapshot, &bytes[..bytes.len() * cut / 8]).unwrap();
            found.push(cut_image);
        }
        let named = images.path().join(format!("{round}-Named"));
        let half = image(&named, &format!("{round}-half-removed"), images.path());
        fs::remove_file(journal_path(&half, generation - 1)).unwrap();
        found.push(half);
        for path in found {
            let mut store = open(&path);
            assert_eq!(dump(&store), before, "{path:?}");
            outcomes(&mut store, 0, "a", vec![reserve(1000)]);
            let after = dump(&store);
            drop(store);
            assert_eq!(dump(&open(&path)), after, "{path:?}");
        }
        fill(&mut store, 100 + u128::from(round) * 100);
    }
}

#[test]
fn damage_anywhere_in_a_snapshot_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0);
    store.try_start_compaction().unwrap();
    store.finish_compaction();
    drop(store);
    let path = snapshot_path(dir.path(), 2);
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let result = Store::open(dir.path(), Options::default());
        assert!(matches!(result, Err(OpenError::Corrupt { .. })), "byte {at}");
    }
    for end in 0..good.len() {
        fs::write(&path, &good[..end]).unwrap();
        let result = Store::open(dir.path(), Options::default());
        assert!(matches!(result, Err(OpenError::Corrupt { .. })), "{end} bytes");
    }
    fs::write(&path, &good).unwrap();
    open(dir.path());
}

#[test]
fn the_compaction_after_a_failed_one_covers_both_journals() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    fill(&mut store, 0);
    // A folder where the snapshot is to be written.
    let blocker = unfinished_path(&snapshot_path(dir.path(), 2));
    fs::create_dir(&blocker).unwrap();
    store.try_start_compaction().unwrap();
    store.finish_compaction();
    fill(&mut store, 100);
    fs::remove_dir(&blocker).unwrap();
    let before = dump(&store);
    store.try_start_compaction().unwrap();
    store.finish_compaction();
    assert_eq!(store.snapshot_rows, store.reservation_count());
    drop(store);
    assert!(!journal_path(dir.path(), 1).exists() && !journal_path(dir.path(), 2).exists());
    assert_eq!(dump(&open(dir.path())), before);
}
