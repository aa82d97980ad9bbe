//! The ledger crashes between any two of its system calls, or one call fails: what the next start
//! finds, also if a file was removed meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use rustix::io::Errno;

use super::super::compaction::compact;
use super::super::data_dir::snapshot_path;
use super::super::disk::faults::{Plan, calls_of, plan};
use super::super::journal::CLOSING_BYTES;
use super::super::record::FILE_HEADER_BYTES;
use super::*;
use crate::ledger::Group;
use crate::sale::{Outcome, ReservationId, Reserve, SaleSpec};

const MARKER: &str = "stampede-ledger";

fn without_compaction() -> Options {
    Options { compaction_changes_min: u64::MAX }
}

fn open(path: &Path) -> Store {
    Store::open(path, without_compaction()).unwrap_or_else(|error| panic!("{error}"))
}

/// What was sold, by id.
fn sold(store: &Store) -> BTreeSet<u128> {
    let machines = store.state.sales.iter();
    machines.flat_map(|(_, machine)| machine.rows().iter().map(|row| row.id.0)).collect()
}

/// The number of purchases, and those that were granted.
#[derive(Debug, Default, Clone)]
struct Buyers {
    asked: u128,
    granted: BTreeSet<u128>,
}

impl Buyers {
    fn buy(&mut self, store: &mut Store) {
        self.asked += 1;
        let id = ReservationId(self.asked);
        let reserve =
            Reserve { id, quantity: 1, user: None, key: None, trace: None, details: None };
        let create = Command::Create(SaleSpec::with_total(1 << 30));
        let commands = vec![create, Command::Reserve(reserve)];
        let group = Group { sale: SaleId::new("t").unwrap(), commands };
        if let Ok(replies) = store.commit(1, &[Batch { groups: vec![group] }])
            && matches!(replies[0][0].outcomes[1], Outcome::Granted { .. })
        {
            self.granted.insert(self.asked);
        }
    }

    fn check(&self, store: &Store, context: &str) {
        let sold = sold(store);
        assert!(sold.is_superset(&self.granted), "{context}: {sold:?} lacks some of {self:?}");
        assert!(sold.iter().all(|id| (1..=self.asked).contains(id)), "{context}: {sold:?}");
    }
}

/// Does everything that changes a folder. A store that has failed is opened again.
fn run_lifetime(path: &Path, buyers: &mut Buyers) {
    let mut store: Option<Store> = None;
    for step in 0..8 {
        let opened = store.take().or_else(|| Store::open(path, without_compaction()).ok());
        let Some(mut opened) = opened else { continue };
        match step {
            2 | 4 | 5 => {
                let changed = opened.switch_journal().is_ok();
                let generation = opened.journal.generation();
                if changed && step != 4 {
                    _ = opened.data_dir.notice().write();
                    let stop = StopFlag::default();
                    _ = compact(path, generation, opened.next_number, &stop, |_| ());
                }
                buyers.buy(&mut opened);
            }
            // Killed.
            3 => continue,
            _ => (0..2).for_each(|_| buyers.buy(&mut opened)),
        }
        store = (!opened.has_failed()).then_some(opened);
    }
    if let Some(store) = store {
        let _ = store.close();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Makes a file look as if 0.1.0 had written its header.
fn set_format_2(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[20..24].copy_from_slice(&2u32.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..FILE_HEADER_BYTES - 4]);
    bytes[FILE_HEADER_BYTES - 4..FILE_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    fs::write(path, bytes).unwrap();
}

/// A folder that 0.1.0 leaves when it is killed during compaction: two journals, neither closed.
fn folder_of_0_1_0(path: &Path) -> Buyers {
    let mut buyers = Buyers::default();
    let mut store = open(path);
    let id = store.id();
    (0..3).for_each(|_| buyers.buy(&mut store));
    let closed = store.switch_journal().unwrap();
    closed.trim().unwrap();
    (0..3).for_each(|_| buyers.buy(&mut store));
    drop(store);
    let first = closed.path();
    let bytes = fs::read(first).unwrap();
    fs::write(first, &bytes[..bytes.len() - CLOSING_BYTES as usize]).unwrap();
    (1..=2).for_each(|generation| set_format_2(&journal_path(path, generation)));
    fs::write(path.join(MARKER), format!("stampede ledger, format 2\nid {id:032x}\n")).unwrap();
    buyers
}

/// Removes each journal and snapshot in turn: a start without it is refused, or finds the same
/// reservations.
fn check_that_missing_files_are_noticed(image: &Path, scratch: &Path, context: &str) {
    let whole = scratch.join("whole");
    copy(image, &whole);
    let expected = sold(&open(&whole));
    for name in names(image).iter().filter(|name| name.contains("-0")) {
        let without = scratch.join(format!("without-{name}"));
        copy(image, &without);
        fs::remove_file(without.join(name)).unwrap();
        match Store::open(&without, without_compaction()) {
            Ok(store) => assert_eq!(sold(&store), expected, "{context}, without {name}"),
            Err(OpenError::FileMissing { .. } | OpenError::Corrupt { .. }) => {}
            Err(error) => panic!("{context}, without {name}: {error}"),
        }
    }
}

fn is_format_2(folder: &Path) -> bool {
    fs::read(folder.join(MARKER)).is_ok_and(|text| text.starts_with(b"stampede ledger, format 2"))
}

/// Crashes before each system call, in a folder that `begin` prepares.
fn crash_before_every_call(begin: impl Fn(&Path) -> Buyers) {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let (folder, image) = (dir.path().join("data"), dir.path().join("image"));
        let mut buyers = begin(&folder);
        plan(Plan::DieAt(at));
        run_lifetime(&folder, &mut buyers);
        let calls = plan(Plan::Nothing);
        let context = format!("died before call {at}");
        if folder.exists() {
            copy(&folder, &image);
        }
        buyers.check(&open(&folder), &context);
        let mut again = open(&folder);
        buyers.check(&again, &context);
        buyers.buy(&mut again);
        assert!(buyers.granted.contains(&buyers.asked), "{context}: nothing is sold");
        // A folder of 0.1.0 does not list its files until the first start of this build is over.
        if image.exists() && !is_format_2(&image) {
            check_that_missing_files_are_noticed(&image, dir.path(), &context);
        }
        if calls <= at {
            assert!(calls > 60, "only {calls} calls");
            return;
        }
    }
}

#[test]
fn a_crash_between_any_two_calls_loses_nothing() {
    crash_before_every_call(|_| Buyers::default());
}

#[test]
fn a_0_1_0_folder_is_migrated_despite_a_crash_at_any_call() {
    crash_before_every_call(folder_of_0_1_0);
}

#[test]
fn a_failure_of_any_system_call_loses_nothing() {
    for (errno, is_done) in [(Errno::IO, false), (Errno::IO, true), (Errno::NOSPC, false)] {
        for (at, more) in (0..).flat_map(|at| [(at, 0), (at, 1)]) {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("data");
            let mut buyers = Buyers::default();
            plan(Plan::Fail { calls: (at..=at + more).collect(), errno, is_done });
            run_lifetime(&folder, &mut buyers);
            let calls = plan(Plan::Nothing);
            let context = format!("{errno:?} at call {at} and {more} more, done: {is_done}");
            let left: Vec<_> = names(&folder).into_iter().filter(|n| n.ends_with(".tmp")).collect();
            // With only one failure, the temporary file is removed.
            assert!(more > 0 || is_done || left.is_empty(), "{context}: {left:?}");
            buyers.check(&open(&folder), &context);
            assert!(buyers.granted.len() > 5, "{context}: {buyers:?}");
            if calls <= at {
                break;
            }
        }
    }
}

/// After a failed fdatasync the record may be in the page cache and not on the disk: zeros stand for
/// what is really there.
#[test]
fn the_last_record_is_rewritten_before_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let mut buyers = Buyers::default();
    let mut store = open(dir.path());
    (0..3).for_each(|_| buyers.buy(&mut store));
    let journal = store.journal.path().to_owned();
    drop(store);
    let read = || {
        let files = contents(dir.path()).unwrap();
        recover::recover(dir.path(), &files, u64::MAX, &StopFlag::default()).unwrap()
    };
    let last = read().last.unwrap();
    let (_, at, _) = last.last_record.as_ref().unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    bytes[*at as usize..].fill(0);
    fs::write(&journal, bytes).unwrap();
    assert_eq!(read().next_number, 3);
    drop(Journal::resume(dir.path(), last).unwrap());
    assert_eq!(read().next_number, 4);
    buyers.check(&open(dir.path()), "written again");
}

/// What 0.1.0 left when making a journal durable failed, and removing it too: it went on with the one
/// before.
#[test]
fn an_empty_last_journal_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let mut buyers = Buyers::default();
    let mut store = open(dir.path());
    buyers.buy(&mut store);
    let left = Journal::create(dir.path(), 2, store.next_number).unwrap();
    buyers.buy(&mut store);
    drop(store);
    let mut store = open(dir.path());
    buyers.check(&store, "with an empty journal");
    // The next switch creates this journal again.
    store.switch_journal().unwrap();
    buyers.buy(&mut store);
    drop(store);
    buyers.check(&open(dir.path()), "after the change");
    // A journal that begins after the end of the previous one shows that records are missing.
    let mut header = fs::read(left.path()).unwrap();
    header.truncate(FILE_HEADER_BYTES);
    header[32..40].copy_from_slice(&100u64.to_le_bytes());
    let third = journal_path(dir.path(), 3);
    header[24..32].copy_from_slice(&3u64.to_le_bytes());
    fs::write(&third, header).unwrap();
    set_format_2(&third);
    let error = Store::open(dir.path(), without_compaction()).map(drop).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn only_the_current_and_the_previous_format_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let buyers = folder_of_0_1_0(dir.path());
    let path: PathBuf = journal_path(dir.path(), 1);
    let good = fs::read(&path).unwrap();
    for version in [1u32, 5, u32::MAX] {
        let mut bytes = good.clone();
        bytes[20..24].copy_from_slice(&version.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..FILE_HEADER_BYTES - 4]);
        bytes[FILE_HEADER_BYTES - 4..FILE_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let error = Store::open(dir.path(), without_compaction()).map(drop).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    }
    fs::write(&path, good).unwrap();
    buyers.check(&open(dir.path()), "taken over");
    // From here on an older build refuses it: it looks at the marker first.
    assert!(!is_format_2(dir.path()));
}

/// Tries something again and again, and ends the process one call later each time, until this file
/// exists: it has its name, and the folder is not synced.
fn kill_once_named(file: &Path, mut attempt: impl FnMut()) {
    let is_named = (0..100).any(|call| {
        plan(Plan::DieAt(call));
        attempt();
        plan(Plan::Nothing);
        file.exists()
    });
    assert!(is_named, "{}", file.display());
}

#[test]
fn a_start_makes_names_durable_before_it_relies_on_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = &folder.path().join("data");
    let mut buyers = Buyers::default();
    let mut store = open(path);
    buyers.buy(&mut store);
    kill_once_named(&journal_path(path, 2), || _ = store.switch_journal());
    drop(store);
    let synced_before = |relied: &dyn Fn(&str) -> bool| {
        let (store, calls) = calls_of(|| open(path));
        let first = |is: &dyn Fn(&str) -> bool| calls.iter().position(|call| is(call));
        let synced = first(&|call| call.starts_with("SyncFolder")).expect("a sync");
        let relied = first(relied).expect("a call that relies on names");
        assert!(synced < relied, "{calls:#?}");
        store
    };
    // The marker names the new journal.
    let mut store = synced_before(&|call| call.starts_with("Rename") && call.contains(MARKER));
    store.switch_journal().unwrap();
    let (generation, next) = (store.journal.generation(), store.next_number);
    buyers.buy(&mut store);
    kill_once_named(&snapshot_path(path, generation), || {
        _ = compact(path, generation, next, &StopFlag::default(), |_| ());
    });
    drop(store);
    // The snapshot replaces the journals before it.
    let store = synced_before(&|call| call.starts_with("Unlink") && call.contains("journal"));
    buyers.check(&store, "after both");
}
