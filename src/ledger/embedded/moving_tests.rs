//! Backup, restore and moves of sales, crashed between any two system calls, or with one call
//! failing: what is left, and that the same command succeeds when it is repeated.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use rustix::io::Errno;

use super::super::backup::{Backup, BackupError, back_up};
use super::super::compaction::compact;
use super::super::disk::faults::{Plan, plan};
use super::super::restore::{Opened, RestoreError, Restored};
use super::super::store::Options;
use super::*;
use crate::ledger::{Batch, Group};
use crate::sale::{
    Command, Creation, Key, Outcome, ReservationId, Reserve, SaleSpec, SaleView, Status, Transfers,
    User,
};

fn open(path: &Path) -> Store {
    Store::open(path, Options { compaction_changes_min: u64::MAX })
        .unwrap_or_else(|e| panic!("{e}"))
}

fn id(text: &str) -> SaleId {
    SaleId::new(text).unwrap()
}

fn ask(store: &mut Store, sale: &str, commands: Vec<Command>) -> Vec<Outcome> {
    let batch = Batch { groups: vec![Group { sale: id(sale), commands }] };
    store.commit(1_000, &[batch]).unwrap().remove(0).remove(0).outcomes
}

fn reserve(n: u128) -> Command {
    let user = (!n.is_multiple_of(3)).then(|| User::new(&format!("u{n}")).unwrap());
    let key = n.is_multiple_of(2).then(|| Key::new(&format!("k{n}")).unwrap());
    Command::Reserve(Reserve {
        id: ReservationId(n),
        quantity: 1,
        user,
        key,
        trace: None,
        details: None,
    })
}

/// A ledger with a snapshot, two journals after it, and a sale that was removed.
fn ledger(path: &Path) {
    let mut store = open(path);
    ask(&mut store, "gone", vec![Command::Create(SaleSpec::with_total(5)), Command::Close]);
    for n in 0..30 {
        ask(&mut store, "t", vec![Command::Create(SaleSpec::with_total(100)), reserve(n)]);
        match n {
            10 => {
                store.switch_journal().unwrap().trim().unwrap();
                store.data_dir.note().unwrap();
                let (generation, number) = (store.journal.generation(), store.next_number);
                compact(path, generation, number, &StopFlag::default(), |_| ()).unwrap();
                ask(&mut store, "gone", vec![Command::Remove]);
            }
            20 => {
                store.switch_journal().unwrap();
                store.data_dir.note().unwrap();
            }
            _ => {}
        }
        if n % 4 == 0 {
            ask(&mut store, "t", vec![Command::Confirm(ReservationId(n))]);
        }
    }
}

type Rows = BTreeMap<(String, u128), (Status, u64, String)>;

/// What a ledger has: every reservation.
fn rows(store: &Store) -> Rows {
    let machines = store.state.sales.iter();
    let each = |(sale, machine): (&SaleId, &Machine)| {
        let sale = sale.to_string();
        let rows = machine.rows().iter();
        rows.map(move |row| {
            ((sale.clone(), row.id.0), (row.status, row.version, row.owner.to_string()))
        })
        .collect::<Vec<_>>()
    };
    machines.flat_map(each).collect()
}

fn backed_up(folder: &Path, to: &Path) -> Result<Backup, BackupError> {
    back_up(folder, to, &mut |_, _| ())
}

fn restored(from: &Path, to: &Path) -> Result<Restored, RestoreError> {
    Opened::read(from, &mut |_, _| ()).and_then(|opened| opened.restore(to, 0))
}

/// Runs `act` with a crash before each of its system calls, and with each call failing. `check`
/// inspects what is left.
fn with_every_fault(act: impl Fn(), check: impl Fn(&str)) {
    plan(Plan::Nothing);
    act();
    let calls = plan(Plan::Nothing);
    check("no fault");
    assert!(calls > 5, "{calls} calls");
    for at in 0..calls {
        for fault in [
            Plan::DieAt(at),
            Plan::Fail { calls: vec![at], errno: Errno::NOSPC, is_done: false },
            Plan::Fail { calls: vec![at], errno: Errno::IO, is_done: true },
        ] {
            let context = format!("{fault:?}");
            plan(fault);
            act();
            plan(Plan::Nothing);
            check(&context);
        }
    }
}

#[test]
fn an_interrupted_backup_is_complete_or_absent() {
    let scratch = tempfile::tempdir().unwrap();
    let (data, to) = (scratch.path().join("data"), scratch.path().join("copy"));
    ledger(&data);
    let expected = rows(&open(&data));
    with_every_fault(
        || _ = backed_up(&data, &to),
        |context| {
            if to.exists() {
                let opened = Opened::read(&to, &mut |_, _| ());
                assert!(opened.is_ok(), "{context}: {:?}", opened.err());
                assert!(matches!(backed_up(&data, &to), Err(BackupError::Exists(_))), "{context}");
                fs::remove_dir_all(&to).unwrap();
            }
            // The leftovers of a killed backup block only a backup with the same process id.
            let own = format!("copy.{}.part", std::process::id());
            _ = fs::remove_dir_all(scratch.path().join(own));
            backed_up(&data, &to).unwrap_or_else(|error| panic!("{context}: {error}"));
            fs::remove_dir_all(&to).unwrap();
        },
    );
    let backup = backed_up(&data, &to).unwrap();
    assert_eq!((backup.sales, backup.reservations), (1, 30));
    let back = scratch.path().join("back");
    restored(&to, &back).unwrap();
    assert_eq!(rows(&open(&back)), expected);
}

#[test]
fn an_interrupted_restore_succeeds_on_a_retry() {
    let scratch = tempfile::tempdir().unwrap();
    let [data, copy, to] = ["data", "copy", "to"].map(|name| scratch.path().join(name));
    ledger(&data);
    let expected = rows(&open(&data));
    let backup = backed_up(&data, &copy).unwrap();
    let (before, to_there) = (open(&data), &to);
    with_every_fault(
        || _ = restored(&copy, to_there),
        |context| {
            // A server that starts too early does not make a ledger of a half-restored folder.
            let opened = Store::open(&to, Options { compaction_changes_min: u64::MAX });
            let is_there = to.join("stampede-ledger").exists();
            match opened {
                Ok(store) => assert!(
                    rows(&store) == expected || rows(&store).is_empty(),
                    "{context}: half of it"
                ),
                Err(error) => assert!(!is_there, "{context}: {error}"),
            }
            let is_empty = is_there && rows(&open(&to)).is_empty();
            if !to.join("stampede-ledger").exists() {
                restored(&copy, &to).unwrap_or_else(|error| panic!("{context}: {error}"));
            }
            if !is_empty && !expected.is_empty() && to.join("snapshot-0000000002").exists() {
                let store = open(&to);
                assert_eq!(rows(&store), expected, "{context}");
                assert!(store.version() > backup.record + (1 << 32), "{context}");
                assert_eq!(store.id(), before.id());
            }
            fs::remove_dir_all(&to).unwrap();
        },
    );
}

#[test]
fn a_restored_ledger_knows_which_versions_it_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let [data, copy, to] = ["data", "copy", "to"].map(|name| scratch.path().join(name));
    ledger(&data);
    let (record, run) = {
        let store = open(&data);
        (store.version(), store.run().unwrap())
    };
    backed_up(&data, &copy).unwrap();
    let done = restored(&copy, &to).unwrap();
    assert_eq!(done.record, record);
    let mut store = open(&to);
    // Its orders had all of the backup, or more.
    assert_eq!(store.check_history(record, Some(run)), Ok(()));
    for beyond in [record + 1, done.next - 1, done.next + 5] {
        assert!(store.check_history(beyond, Some(run)).is_err(), "{beyond}");
    }
    ask(&mut store, "t", vec![reserve(99)]);
    let version = rows(&store)[&("t".to_owned(), 99)].1;
    assert_eq!(version, done.next);
    assert!(!store.state.gaps.contain(version) && store.state.gaps.contain(version - 1));
    assert!(store.state.gaps.contain(record + 1) && !store.state.gaps.contain(record));
    assert_eq!(store.records_between(record - 2, version), 3);
    // All of it holds after a restart, and in a backup of it.
    drop(store);
    let again = scratch.path().join("again");
    backed_up(&to, &again).unwrap();
    let second = scratch.path().join("second");
    restored(&again, &second).unwrap();
    assert!(open(&second).state.gaps.contain(record + 1));
    let store = open(&to);
    assert!(store.check_history(record + 1, Some(run)).is_err());
    assert!(store.state.gaps.contain(record + 1));
}

fn incoming(sale: &str, version: u64) -> SaleCopy {
    let change = |n: u128, status| crate::sale::Change {
        sale: id(sale),
        reservation: crate::sale::Reservation {
            id: ReservationId(n),
            user: User::new("ann").ok(),
            quantity: 2,
            status,
            expires_at_ms: 10_000 - n as u64,
            details: None,
        },
        key: Key::new(&format!("k{n}")).ok(),
        trace: None,
        at_ms: 500,
        version,
    };
    let reservations =
        vec![change(1, Status::Held), change(2, Status::Confirmed), change(3, Status::Expired)];
    let spec = SaleSpec { limit_per_user: 4, closes_at_ms: 700, ..SaleSpec::with_total(10) };
    let (held, confirmed, moves) = (2, 2, Transfers::default());
    let by_type = Vec::new();
    let view = SaleView {
        spec,
        held,
        confirmed,
        by_type,
        now_ms: 800,
        transfers: moves,
        creation: Creation::UNKNOWN,
    };
    SaleCopy { id: id(sale), view, reservations }
}

#[test]
fn an_interrupted_move_of_a_sale_happens_fully_or_not_at_all() {
    let scratch = tempfile::tempdir().unwrap();
    let (image, data) = (scratch.path().join("image"), scratch.path().join("data"));
    ledger(&image);
    let sales = [incoming("c", 1 << 60)];
    let copied = || {
        _ = fs::remove_dir_all(&data);
        fs::create_dir(&data).unwrap();
        for entry in fs::read_dir(&image).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
        }
    };
    let before = rows(&open(&image));
    copied();
    with_every_fault(
        || {
            let opened = Store::open(&data, Options { compaction_changes_min: u64::MAX });
            let Ok(mut store) = opened else { return };
            _ = store.take_in(900, &sales);
            _ = store.send_away(&[id("t")], "elsewhere");
        },
        |context| {
            let mut store = open(&data);
            let found = rows(&store);
            let (has_come, has_t) =
                (found.keys().any(|row| row.0 == "c"), found.keys().any(|row| row.0 == "t"));
            if has_come {
                let versions: Vec<_> = (1..=3).map(|n| found[&("c".to_owned(), n)].1).collect();
                assert!(versions.iter().all(|version| *version > 1 << 60), "{context}");
                assert!(store.version() >= versions[0]);
            } else {
                store.take_in(900, &sales).unwrap();
            }
            assert!(store.take_in(900, &sales).is_err(), "{context}: twice");
            assert_eq!(store.state.departed.to(&id("t")).is_some(), !has_t, "{context}");
            if has_t {
                let rest = rows(&store).into_iter().filter(|(row, _)| row.0 == "t");
                assert_eq!(rest.collect::<Rows>(), before, "{context}");
                store.send_away(&[id("t")], "elsewhere").unwrap();
            }
            ask(&mut store, "c", vec![Command::Open, reserve(7)]);
            drop(store);
            let store = open(&data);
            assert_eq!(store.state.departed.to(&id("t")), Some("elsewhere"));
            let rows = rows(&store);
            assert!(rows.keys().all(|row| row.0 == "c") && rows.len() == 4, "{context}: {rows:?}");
            drop(store);
            copied();
        },
    );
}

#[test]
fn a_backup_of_a_busy_ledger_has_every_answered_reservation() {
    let scratch = tempfile::tempdir().unwrap();
    let data = scratch.path().join("data");
    let mut store = Store::open(&data, Options { compaction_changes_min: 40 }).unwrap();
    ask(&mut store, "t", vec![Command::Create(SaleSpec::with_total(1 << 40))]);
    let (done, stop) = (std::sync::atomic::AtomicU64::new(0), StopFlag::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..5_000 {
                if stop.check().is_err() {
                    break;
                }
                ask(&mut store, "t", vec![reserve(n)]);
                store.maintain();
                done.store(n as u64 + 1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let _raised = Raised(&stop);
        for round in 0..8 {
            let wanted = done.load(std::sync::atomic::Ordering::SeqCst);
            let to = scratch.path().join(format!("copy-{round}"));
            let backup = backed_up(&data, &to).unwrap_or_else(|error| panic!("{error}"));
            assert!(backup.reservations >= wanted, "{} of {wanted}", backup.reservations);
            let back = scratch.path().join(format!("back-{round}"));
            let made = restored(&to, &back).unwrap();
            assert_eq!(made.reservations, backup.reservations);
            let found: Vec<u128> = rows(&open(&back)).into_keys().map(|row| row.1).collect();
            assert!((0..backup.reservations as u128).eq(found), "none is missing in between");
        }
    });
}

/// Raises a flag when it is dropped, also by a panic.
struct Raised<'a>(&'a StopFlag);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.raise();
    }
}

#[test]
fn damage_is_found_before_anything_is_written() {
    let scratch = tempfile::tempdir().unwrap();
    let [data, copy, to] = ["data", "copy", "to"].map(|name| scratch.path().join(name));
    ledger(&data);
    backed_up(&data, &copy).unwrap();
    for entry in fs::read_dir(&copy).unwrap() {
        let path = entry.unwrap().path();
        let good = fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            fs::write(&path, bad).unwrap();
            assert!(restored(&copy, &to).is_err() && !to.exists(), "{path:?} {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(restored(&copy, &to).is_err() && !to.exists(), "{path:?} {at}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(restored(&copy, &to), Err(RestoreError::NoBackup(..))), "{path:?}");
        fs::write(&path, good).unwrap();
    }
    // A damaged folder cannot be backed up.
    let journals = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let journal =
        journals.filter(|path| path.to_string_lossy().contains("journal-")).min().unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    bytes[super::super::record::FILE_HEADER_BYTES + 30] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let again = scratch.path().join("again");
    assert!(matches!(backed_up(&data, &again), Err(BackupError::Source(_))));
    fs::remove_file(&journal).unwrap();
    assert!(matches!(backed_up(&data, &again), Err(BackupError::Source(_))));
    assert!(fs::read_dir(scratch.path()).unwrap().count() == 2, "nothing is left of it");
}
