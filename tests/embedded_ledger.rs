//! The embedded ledger as its owner and its disk see it: restarts, crashes, damage, a full disk.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use stampede::clock::wall_ms;
use stampede::ledger::embedded::{Cursor, Embedded, Job, OpenError, Options, Store};
use stampede::ledger::{Batch, BatchReply, Group, LedgerError};
use stampede::limits::TIME_MS_MAX;
use stampede::sale::{
    Change, Command, Creation, Details, Key, Lines, Machine, Note, Outcome, Remaining,
    ReservationId, Reserve, Rules, SaleId, SaleSpec, Status, Terms, Types, User,
};

/// Tells a copy of this test binary its role: to be killed, mounted or unprivileged.
const CHILD: &str = "STAMPEDE_TEST_CHILD";

fn without_compaction() -> Options {
    Options { compaction_changes_min: u64::MAX }
}

fn reopen(path: &Path) -> Result<Store, OpenError> {
    Store::open(path, without_compaction())
}

fn open(path: &Path) -> Store {
    reopen(path).unwrap()
}

fn open_error(path: &Path) -> OpenError {
    match Store::open(path, without_compaction()) {
        Ok(_) => panic!("{path:?} opened"),
        Err(error) => error,
    }
}

fn sale(name: &str) -> SaleId {
    SaleId::new(name).unwrap()
}

fn batch(name: &str, commands: Vec<Command>) -> Batch {
    Batch { groups: vec![Group { sale: sale(name), commands }] }
}

fn reserve(id: u128) -> Command {
    let user = User::new(&format!("user-{id}")).ok();
    let key = Key::new("once").ok();
    Command::Reserve(Reserve {
        id: ReservationId(id),
        quantity: 1,
        user,
        key,
        trace: None,
        details: None,
    })
}

fn commit(store: &mut Store, now_ms: u64, commands: Vec<Command>) -> Vec<Outcome> {
    let replies = store.commit(now_ms, &[batch("t", commands)]).unwrap();
    replies.into_iter().next().unwrap().remove(0).outcomes
}

fn create(total: u64) -> Command {
    Command::Create(SaleSpec { hold_ms: 1000, ..SaleSpec::with_total(total) })
}

fn status(store: &mut Store, id: u128) -> Option<Status> {
    let show = vec![Command::ShowReservation(ReservationId(id))];
    match commit(store, 0, show).remove(0) {
        Outcome::Reservation(reservation) => Some(reservation.status),
        Outcome::UnknownReservation | Outcome::UnknownSale => None,
        outcome => panic!("{outcome:?}"),
    }
}

fn journal(folder: &Path) -> PathBuf {
    folder.join("journal-0000000001")
}

fn marker(folder: &Path) -> PathBuf {
    folder.join("stampede-ledger")
}

#[test]
fn a_second_owner_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = open_error(dir.path());
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    drop(store);
    open(dir.path());
}

#[test]
fn a_missing_folder_is_created_and_a_foreign_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(&dir.path().join("a/b/c"));
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    let error = open_error(dir.path());
    assert!(matches!(&error, OpenError::Foreign(_, name) if name == "a"), "{error}");
    assert!(!dir.path().join("lock").exists());
    fs::write(dir.path().join("file"), "").unwrap();
    let error = open_error(&dir.path().join("file"));
    assert!(matches!(error, OpenError::NotAFolder(_)), "{error}");
    // What a crash leaves while the folder is created.
    let begun = dir.path().join("begun");
    fs::create_dir(&begun).unwrap();
    fs::write(begun.join("lock"), "").unwrap();
    fs::write(begun.join("stampede-ledger.tmp"), "stamp").unwrap();
    open(&begun);
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    fs::write(dir.path().join("stampede-ledger"), "stampede ledger, format 5\n").unwrap();
    let error = open_error(dir.path());
    assert!(matches!(error, OpenError::Newer { found: 5, .. }), "{error}");
    fs::write(dir.path().join("stampede-ledger"), "stampede ledger, format 1\n").unwrap();
    let error = open_error(dir.path());
    assert!(matches!(error, OpenError::Older { found: 1, .. }), "{error}");
    assert!(error.to_string().contains("start anew in another folder"), "{error}");
    for text in ["", "stampede ledger, format 0\n", "stampede ledger, format x\n", "\u{0}"]
        .into_iter()
        .chain(["stampede ledger, format 2\n", "stampede ledger, format 3\nid 1\n"])
    {
        fs::write(dir.path().join("stampede-ledger"), text).unwrap();
        assert!(matches!(open_error(dir.path()), OpenError::Corrupt { .. }));
    }
}

#[test]
fn time_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    commit(&mut store, 1000, vec![create(9)]);
    let granted = Outcome::Granted { expires_at_ms: 2000 };
    assert_eq!(commit(&mut store, 500, vec![reserve(1)]), std::slice::from_ref(&granted));
    drop(store);
    let mut store = open(dir.path());
    assert_eq!(commit(&mut store, 10, vec![reserve(2)]), [granted]);
    // Nothing changes here, but a client has been told the time.
    commit(&mut store, 1500, vec![Command::Show]);
    store.close().unwrap();
    let mut store = open(dir.path());
    assert_eq!(store.now_ms(), 1500);
    let granted = Outcome::Granted { expires_at_ms: 2500 };
    assert_eq!(commit(&mut store, 10, vec![reserve(3)]), [granted]);
}

/// A sale with `count` reservations, one commit each, in one journal.
fn history(folder: &Path, count: u128) -> Vec<u8> {
    let mut store = open(folder);
    commit(&mut store, 1, vec![create(1000)]);
    for id in 0..count {
        commit(&mut store, 2 + id as u64, vec![reserve(id)]);
    }
    // Removes what the close has noted: the folder is then as after a kill.
    let marker = fs::read(marker(folder)).unwrap();
    store.close().unwrap();
    fs::write(self::marker(folder), marker).unwrap();
    fs::read(journal(folder)).unwrap()
}

/// How many of the history's reservations exist. They must be the first ones.
fn prefix(store: &mut Store, count: u128) -> u128 {
    let there = (0..count).take_while(|&id| status(store, id).is_some()).count() as u128;
    assert_eq!(store.reservation_count(), there as u64, "reservations nobody made");
    let (held, total) = store.sales().next().map_or((0, 0), |(_, v)| (v.held, v.spec.total));
    assert_eq!(u128::from(held), there);
    assert!(total == 1000 || there == 0);
    there
}

#[test]
fn a_journal_cut_at_any_byte_opens_with_the_whole_records() {
    const COUNT: u128 = 12;
    let dir = tempfile::tempdir().unwrap();
    let bytes = history(dir.path(), COUNT);
    let killed = fs::read(marker(dir.path())).unwrap();
    let mut last = 0;
    for end in 0..=bytes.len() {
        fs::write(journal(dir.path()), &bytes[..end]).unwrap();
        // Each start notes the last durable record.
        fs::write(marker(dir.path()), &killed).unwrap();
        let mut store = match reopen(dir.path()) {
            Ok(store) => store,
            // The file's header, which no crash cuts: it is durable before the file has its name.
            Err(OpenError::Corrupt { .. }) if end < 52 => continue,
            Err(error) => panic!("{end} bytes: {error}"),
        };
        let there = prefix(&mut store, COUNT);
        assert!(there == last || there == last + 1, "{end} bytes: {last}, then {there}");
        last = there;
        if end % 16 == 0 && store.sales().next().is_some() {
            let outcome = commit(&mut store, 99, vec![reserve(COUNT + 1)]).remove(0);
            assert!(matches!(outcome, Outcome::Granted { .. }));
            drop(store);
            assert!(status(&mut open(dir.path()), COUNT + 1).is_some(), "{end} bytes");
        }
    }
    assert_eq!(last, COUNT);
}

#[test]
fn an_unfinished_record_before_unused_space_is_dropped() {
    const COUNT: u128 = 6;
    let dir = tempfile::tempdir().unwrap();
    let bytes = history(dir.path(), COUNT);
    let killed = fs::read(marker(dir.path())).unwrap();
    for lost in 1..120 {
        fs::write(marker(dir.path()), &killed).unwrap();
        let mut torn = bytes.clone();
        let end = torn.len() - lost;
        torn[end..].fill(0);
        torn.resize(bytes.len() + (1 << 20), 0);
        fs::write(journal(dir.path()), &torn).unwrap();
        let there = prefix(&mut open(dir.path()), COUNT);
        assert!((COUNT - 2..=COUNT).contains(&there), "{lost} bytes: {there}");
    }
}

#[test]
fn damage_before_the_last_record_is_reported() {
    const COUNT: u128 = 12;
    let dir = tempfile::tempdir().unwrap();
    let bytes = history(dir.path(), COUNT);
    let killed = fs::read(marker(dir.path())).unwrap();
    let mut dropped = 0;
    for at in 0..bytes.len() {
        fs::write(marker(dir.path()), &killed).unwrap();
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(journal(dir.path()), &bad).unwrap();
        match reopen(dir.path()) {
            // The last record (the time, noted by the close) may be an unfinished one.
            Ok(mut store) => {
                assert_eq!(prefix(&mut store, COUNT), COUNT, "byte {at}");
                dropped += 1;
                assert_eq!(at + 33, bytes.len() + dropped, "byte {at}");
            }
            Err(OpenError::Corrupt { .. }) => {
                assert_eq!(dropped, 0, "byte {at}");
                assert_eq!(fs::read(journal(dir.path())).unwrap(), bad, "touched: byte {at}");
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
    assert_eq!(dropped, 32);
}

#[test]
fn a_missing_journal_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Options { compaction_changes_min: 5 }).unwrap();
    commit(&mut store, 1, vec![create(1000)]);
    (0..9).for_each(|id| _ = commit(&mut store, 1, vec![reserve(id)]));
    // A snapshot replaces what is before its journal; it is complete only with that journal.
    store.maintain();
    while store.is_compacting() {
        std::thread::yield_now();
        store.maintain();
    }
    drop(store);
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    let snapshot = names.iter().filter_map(|name| name.strip_prefix("snapshot-")).max();
    let journal = format!("journal-{}", snapshot.expect("a snapshot"));
    fs::remove_file(dir.path().join(journal)).unwrap();
    let error = open_error(dir.path());
    assert!(matches!(error, OpenError::FileMissing { .. }), "{error}");
}

/// Opens a folder without each of its files, one at a time, and without all of these.
fn assert_missing(folder: &Path, names: &[&str]) {
    let away = tempfile::tempdir().unwrap();
    for name in names {
        fs::rename(folder.join(name), away.path().join(name)).unwrap();
    }
    let error = open_error(folder);
    assert!(matches!(error, OpenError::FileMissing { .. }), "{names:?}: {error}");
    assert!(error.to_string().contains("put it back"), "{error}");
    for name in names {
        fs::rename(away.path().join(name), folder.join(name)).unwrap();
    }
}

#[test]
fn a_folder_that_lost_its_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    history(dir.path(), 3);
    assert_missing(dir.path(), &["journal-0000000001"]);
    let mut store = Store::open(dir.path(), Options { compaction_changes_min: 1 }).unwrap();
    commit(&mut store, 9, vec![reserve(3)]);
    store.maintain();
    while store.is_compacting() {
        std::thread::yield_now();
        store.maintain();
    }
    drop(store);
    for names in [
        &["journal-0000000002"][..],
        &["snapshot-0000000002"],
        &["journal-0000000002", "snapshot-0000000002"],
    ] {
        assert_missing(dir.path(), names);
    }
    assert_eq!(open(dir.path()).reservation_count(), 4);
}

#[test]
fn a_journal_cut_after_a_clean_close_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = journal(dir.path());
    history(dir.path(), 3);
    open(dir.path()).close().unwrap();
    let (whole, end) = (fs::read(&path).unwrap(), fs::read(marker(dir.path())).unwrap());
    for bytes in [&whole[..whole.len() - 1], &whole[..52], &{
        let mut bad = whole.clone();
        bad[whole.len() - 1] ^= 1;
        bad
    }] {
        fs::write(&path, bytes).unwrap();
        let error = open_error(dir.path());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::write(&path, whole).unwrap();
    assert_eq!(fs::read(marker(dir.path())).unwrap(), end);
    assert_eq!(open(dir.path()).reservation_count(), 3);
}

#[test]
fn only_the_owner_can_read_folder_and_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("above/data");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let all = || {
        let entries = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
        entries.collect::<Vec<_>>()
    };
    let compact = || {
        let mut store = Store::open(&data, Options { compaction_changes_min: 1 }).unwrap();
        commit(&mut store, 1, vec![create(9)]);
        commit(&mut store, 1, vec![Command::AddStock(1)]);
        store.maintain();
        while store.is_compacting() {
            std::thread::yield_now();
            store.maintain();
        }
    };
    compact();
    assert_eq!(all().len(), 4);
    let check = |folder_mode, file_mode| {
        assert_eq!(mode(&data), folder_mode);
        for path in all() {
            assert_eq!(mode(&path), file_mode, "{path:?}");
        }
    };
    check(0o700, 0o600);
    // As 0.1.0 left them.
    set(&data, 0o755);
    all().iter().for_each(|path| set(path, 0o644));
    drop(open(&data));
    check(0o700, 0o600);
    // Access for a group was an operator's decision, and another user's file is not ours to change.
    set(&data, 0o750);
    all().iter().for_each(|path| set(path, 0o640));
    let theirs = data.join("README");
    fs::write(&theirs, "").unwrap();
    set(&theirs, 0o644);
    drop(open(&data));
    assert_eq!((mode(&data), mode(&journal(&data).with_file_name("lock"))), (0o750, 0o640));
    assert_eq!(mode(&theirs), 0o644);
}

/// The log of this thread while `act` runs.
fn logged(act: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), act);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn removing_an_unfinished_record_is_logged() {
    const LINE: &str = "unfinished record removed from the end";
    let dir = tempfile::tempdir().unwrap();
    let bytes = history(dir.path(), 3);
    let mut torn = bytes[..bytes.len() - 40].to_vec();
    // After it, room that was set aside.
    torn.resize(bytes.len() + 5000, 0);
    fs::write(journal(dir.path()), torn).unwrap();
    let log = logged(|| drop(open(dir.path())));
    let line = log.lines().find(|line| line.contains(LINE)).expect("a line");
    assert!(line.contains("WARN") && line.contains("journal-0000000001"), "{line}");
    assert!(line.contains("bytes=") && line.contains("at="), "{line}");
    // Every kill leaves unused room, and nothing else.
    fs::write(journal(dir.path()), [&bytes[..], &[0; 5000]].concat()).unwrap();
    let log = logged(|| drop(open(dir.path())));
    assert!(!log.contains(LINE), "{log}");
}

/// Runs this test again in a process of its own, as `role`. Fails if that fails or cannot run.
fn run_child(test: &str, role: &str, wrapper: &[&str]) {
    let exe = std::env::current_exe().unwrap();
    let mut words = wrapper.iter().map(Into::into).chain([exe.into_os_string()]);
    let output = Process::new(words.next().unwrap())
        .args(words)
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, role)
        .output()
        .unwrap_or_else(|error| panic!("can't run {wrapper:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("child done"), "{text}");
}

fn is_child(role: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|value| value == role)
}

/// A user and mount namespace of its own: mounts need no privilege and vanish with the process.
const NAMESPACE: &[&str] = &["unshare", "--user", "--map-root-user", "--mount"];

fn mount(args: &[&str]) {
    let done = Process::new("mount").args(args).status().unwrap();
    assert!(done.success(), "mount {args:?} failed: these tests need user namespaces");
}

#[test]
fn a_read_only_file_system_is_named() {
    if !is_child("read-only") {
        return run_child("a_read_only_file_system_is_named", "read-only", NAMESPACE);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    mount(&["-t", "tmpfs", "none", path]);
    let data = dir.path().join("data");
    commit(&mut open(&data), 1, vec![create(9), reserve(1)]);
    mount(&["-o", "remount,ro", path]);
    for folder in [data, dir.path().join("new")] {
        let error = open_error(&folder);
        assert!(matches!(error, OpenError::ReadOnly(_)), "{error}");
    }
    println!("child done");
}

#[test]
fn a_folder_without_permission_is_named() {
    if !is_child("unprivileged") {
        return run_child("a_folder_without_permission_is_named", "unprivileged", &[]);
    }
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    open(&dir.path().join("data"));
    let set_mode = |mode| {
        for path in [dir.path(), &dir.path().join("data")] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    set_mode(0o555);
    // SAFETY: plain integers; it changes the whole process, which exists for this test alone.
    let is_root = unsafe { libc::geteuid() } == 0;
    if is_root {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::seteuid(65534) }, 0);
    }
    for name in ["data", "new"] {
        let error = open_error(&dir.path().join(name));
        assert!(matches!(error, OpenError::Permission(_)), "{error}");
    }
    if is_root {
        // SAFETY: as above.
        assert_eq!(unsafe { libc::seteuid(0) }, 0);
    }
    set_mode(0o755);
    println!("child done");
}

#[test]
fn a_full_disk_refuses_until_there_is_space_again() {
    if !is_child("full") {
        let test = "a_full_disk_refuses_until_there_is_space_again";
        return run_child(test, "full", NAMESPACE);
    }
    let dir = tempfile::tempdir().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=512k", "none", dir.path().to_str().unwrap()]);
    let (data, ballast) = (dir.path().join("data"), dir.path().join("ballast"));
    fs::write(&ballast, vec![1; 256 << 10]).unwrap();
    let mut store = open(&data);
    commit(&mut store, 1, vec![create(1_000_000)]);
    let mut granted = 0;
    let error = loop {
        match store.commit(1, &[batch("t", vec![reserve(granted)])]) {
            Ok(_) => granted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, LedgerError::Refused(why) if why.contains("no space")), "{error}");
    assert!(granted > 1000, "{granted}");
    // Questions are still answered, and what was refused did not happen.
    assert_eq!(status(&mut store, granted - 1), Some(Status::Held));
    assert_eq!(status(&mut store, granted), None);
    drop(store);
    let mut store = open(&data);
    assert_eq!(store.reservation_count() as u128, granted);
    assert!(matches!(open_error(&dir.path().join("new")), OpenError::Full(_)));
    assert!(store.commit(1, &[batch("t", vec![reserve(granted)])]).is_err());
    fs::remove_file(ballast).unwrap();
    commit(&mut store, 1, vec![reserve(granted)]);
    drop(store);
    assert_eq!(open(&data).reservation_count() as u128, granted + 1);
    println!("child done");
}

/// A snapshot that would take the journal's room is not begun, however often it is due. A snapshot
/// that the disk has no room for leaves nothing.
#[test]
fn a_compaction_never_fills_the_disk() {
    if !is_child("fold") {
        return run_child("a_compaction_never_fills_the_disk", "fold", NAMESPACE);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    mount(&["-t", "tmpfs", "-o", "size=32m", "none", path]);
    let data = dir.path().join("data");
    let mut store = Store::open(&data, Options { compaction_changes_min: 3000 }).unwrap();
    commit(&mut store, 1, vec![create(1_000_000)]);
    let mut next = 0;
    let mut sell = |store: &mut Store, count: u128| {
        let log = logged(|| {
            for _ in 0..count {
                commit(store, 1, (next..next + 100).map(reserve).collect());
                next += 100;
                store.maintain();
                while store.is_compacting() {
                    std::thread::yield_now();
                    store.maintain();
                }
            }
        });
        let names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        assert!(!names.iter().any(|name| name.ends_with(".tmp")), "{names:?}");
        (names.iter().filter(|name| name.starts_with("snapshot-")).count(), log)
    };
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![1; 20 << 20]).unwrap();
    let (snapshots, log) = sell(&mut store, 100);
    assert_eq!(snapshots, 0);
    assert!(log.contains("not enough space to compact") && log.contains("needed_bytes="), "{log}");
    // The same after a restart, at which the snapshot is due at once.
    drop(store);
    let mut store = Store::open(&data, Options { compaction_changes_min: 3000 }).unwrap();
    let (snapshots, log) = sell(&mut store, 1);
    assert!(snapshots == 0 && log.contains("not enough space to compact"), "{log}");
    fs::remove_file(&ballast).unwrap();
    let (snapshots, log) = sell(&mut store, 100);
    assert_eq!(snapshots, 1, "{log}");
    drop(store);
    assert_eq!(open(&data).reservation_count(), 20_100);
    println!("child done");
}

fn ask(ledger: &Embedded, batch: Batch) -> Result<BatchReply, LedgerError> {
    let (sender, receiver) = mpsc::channel();
    ledger.handle().send(Job::new(batch, Box::new(move |reply| sender.send(reply).unwrap())));
    receiver.recv_timeout(Duration::from_secs(10)).expect("answered").map(|(reply, _)| reply)
}

/// Reserves for ever and prints the granted reservations.
fn child_to_be_killed(folder: &Path) {
    let options = Options { compaction_changes_min: 3000 };
    let ledger = Embedded::start(folder, options, wall_ms).unwrap();
    let spec = SaleSpec::with_total(1 << 40);
    ask(&ledger, batch("t", vec![Command::Create(spec)])).unwrap();
    let (sender, receiver) = mpsc::channel();
    for core in 0..4u128 {
        let (handle, printer) = (ledger.handle(), sender.clone());
        std::thread::spawn(move || {
            let mut next = u128::from(std::process::id()) << 64 | core << 32;
            loop {
                let ids: Vec<u128> = (next..next + 8).collect();
                next += 8;
                let batch = batch("t", ids.iter().map(|&id| reserve_anonymous(id)).collect());
                let (sender, receiver) = mpsc::channel();
                let reply = Box::new(move |reply| sender.send(reply).unwrap());
                handle.send(Job::new(batch, reply));
                assert!(receiver.recv().unwrap().is_ok());
                printer.send(ids).unwrap();
            }
        });
    }
    for id in receiver.into_iter().flatten() {
        println!("granted {id}");
    }
}

fn reserve_anonymous(id: u128) -> Command {
    let id = ReservationId(id);
    Command::Reserve(Reserve { id, quantity: 1, user: None, key: None, trace: None, details: None })
}

/// Adds the changes after a position. Returns the new position.
fn read_changes(
    store: &mut Store,
    position: u64,
    orders: &mut BTreeMap<ReservationId, Change>,
) -> u64 {
    let mut cursor = Cursor::new(position, position);
    while cursor.position() < store.version() || cursor.is_walking() {
        for change in store.changes(&mut cursor, 1000).unwrap() {
            let before = orders.insert(change.reservation.id, change.clone());
            assert!(before.is_none_or(|before| before.version < change.version), "{change:?}");
        }
    }
    cursor.position()
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    if let Ok(folder) = std::env::var("STAMPEDE_TEST_FOLDER") {
        return child_to_be_killed(Path::new(&folder));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut granted = Vec::new();
    // A database that reads the changes between the kills would have these.
    let (mut orders, mut position) = (BTreeMap::new(), 0);
    for round in 0..20 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "nothing_acknowledged_is_lost_when_the_process_is_killed"])
            .arg("--nocapture")
            .env("STAMPEDE_TEST_FOLDER", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let before = granted.len();
        let mut until = None;
        while let Some(Ok(line)) = lines.next() {
            let Some(id) = line.strip_prefix("granted ") else { continue };
            granted.push(id.parse::<u128>().unwrap());
            let until =
                *until.get_or_insert_with(|| Instant::now() + Duration::from_millis(5 + 7 * round));
            if Instant::now() >= until {
                break;
            }
        }
        child.kill().unwrap();
        // Everything that it printed before it died.
        let rest = lines.map_while(Result::ok);
        granted.extend(rest.filter_map(|line| line.strip_prefix("granted ")?.parse::<u128>().ok()));
        child.wait().unwrap();
        assert!(granted.len() > before, "round {round}: nothing granted");
        let mut store = open(dir.path());
        for &id in &granted {
            assert_eq!(status(&mut store, id), Some(Status::Held), "round {round}: {id}");
        }
        let last = orders.len();
        position = read_changes(&mut store, position, &mut orders);
        assert!(orders.len() >= last + granted.len() - before && position == store.version());
    }
    // Everything that the kills have left folds into one snapshot, which has it all too.
    let mut store = Store::open(dir.path(), Options { compaction_changes_min: 1 }).unwrap();
    // After a snapshot that was created just before the last kill, the next one follows only after
    // as many changes as half of its rows.
    for more in 0..=granted.len() as u128 {
        let outcomes = commit(&mut store, 1, vec![reserve(u128::MAX - more)]);
        assert!(matches!(outcomes[..], [Outcome::Granted { .. }]));
        store.maintain();
        if store.is_compacting() {
            break;
        }
    }
    assert!(store.is_compacting());
    while store.is_compacting() {
        std::thread::yield_now();
        store.maintain();
    }
    drop(store);
    let mut store = open(dir.path());
    assert!(granted.iter().all(|&id| status(&mut store, id) == Some(Status::Held)));
    read_changes(&mut store, position, &mut orders);
    let mut all = BTreeMap::new();
    read_changes(&mut store, 0, &mut all);
    assert_eq!(orders, all);
    let folded = fs::read_dir(dir.path()).unwrap();
    let names = folded.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.starts_with("snapshot-")).count() == 1);
}

/// As above, but the kill comes at any moment from the first instruction on: at the start, while
/// the folder is created, during a compaction, during the change of journal.
#[test]
fn a_kill_at_any_moment_leaves_a_folder_that_opens() {
    if let Ok(folder) = std::env::var("STAMPEDE_TEST_FOLDER") {
        return child_to_be_killed(Path::new(&folder));
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut granted = Vec::new();
    for round in 0..20u64 {
        let mut child = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_kill_at_any_moment_leaves_a_folder_that_opens", "--nocapture"])
            .env("STAMPEDE_TEST_FOLDER", &data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::sleep(Duration::from_millis(round * 7));
        child.kill().unwrap();
        let lines = lines.map_while(Result::ok);
        granted
            .extend(lines.filter_map(|line| line.strip_prefix("granted ")?.parse::<u128>().ok()));
        child.wait().unwrap();
        if data.exists() {
            let mut store = open(&data);
            for &id in &granted {
                assert_eq!(status(&mut store, id), Some(Status::Held), "round {round}: {id}");
            }
        }
    }
}

#[test]
fn a_long_journal_is_compacted_while_the_ledger_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), Options { compaction_changes_min: 500 }).unwrap();
    commit(&mut store, 1, vec![create(1_000_000)]);
    let mut folds = 0;
    for id in 0..300u128 {
        let was_folding = store.is_compacting();
        commit(&mut store, 1, (id * 40..id * 40 + 40).map(reserve).collect());
        store.maintain();
        folds += u32::from(store.is_compacting() && !was_folding);
    }
    // The number depends on the speed of the disk.
    assert!(folds >= 1);
    drop(store);
    // Marker and lock, and during a fold two journals and two snapshots.
    assert!(fs::read_dir(dir.path()).unwrap().count() <= 6);
    let mut store = open(dir.path());
    assert_eq!(store.reservation_count(), 12_000);
    assert!((0..12_000).all(|id| status(&mut store, id) == Some(Status::Held)));
}

#[test]
fn expired_units_come_back_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Embedded::start(dir.path(), without_compaction(), wall_ms).unwrap();
    let spec = SaleSpec { hold_ms: 300, ..SaleSpec::with_total(1) };
    let reply = ask(&ledger, batch("t", vec![Command::Create(spec), reserve(1)])).unwrap();
    assert_eq!(reply[0].free, Some(0));
    let due = Instant::now() + Duration::from_millis(300);
    loop {
        let reply = ask(&ledger, batch("t", vec![Command::Show])).unwrap();
        if reply[0].free == Some(1) {
            break;
        }
        assert!(Instant::now() < due + Duration::from_secs(1), "still held");
        std::thread::sleep(Duration::from_millis(20));
    }
    ledger.stop();
    assert_eq!(status(&mut open(dir.path()), 1), Some(Status::Expired));
}

#[test]
fn overdue_expiry_is_visible_while_the_ledger_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Embedded::start(dir.path(), without_compaction(), wall_ms).unwrap();
    let counts = ledger.handle().counts().clone();
    let late = || counts.expiry_due.elapsed().unwrap_or_default();
    let until = |is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < deadline, "{:?} late", late());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let (go_on, told) = mpsc::channel::<()>();
    let stand_still = move |_: &mut Store| _ = told.recv();
    assert!(ledger.handle().ask(Duration::from_millis(1), stand_still).is_err(), "no answer yet");
    until(&|| late() > Duration::from_millis(500));
    go_on.send(()).unwrap();
    until(&|| late() == Duration::ZERO);
    ledger.stop();
}

#[test]
fn a_stop_answers_sent_batches_and_refuses_later_ones() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Embedded::start(dir.path(), without_compaction(), wall_ms).unwrap();
    ask(&ledger, batch("t", vec![create(1000)])).unwrap();
    let (handle, (sender, receiver)) = (ledger.handle(), mpsc::channel());
    let send = |id| {
        let sender = sender.clone();
        let reply = Box::new(move |reply| sender.send(reply).unwrap());
        handle.send(Job::new(batch("t", vec![reserve(id)]), reply));
    };
    (0..100).for_each(send);
    ledger.stop();
    (100..110).for_each(send);
    let replies: Vec<_> = receiver.try_iter().collect();
    assert_eq!(replies.len(), 110);
    assert!(replies[..100].iter().all(Result::is_ok));
    assert!(replies[100..].iter().all(|r| matches!(r, Err(LedgerError::Refused(_)))));
    assert_eq!(open(dir.path()).reservation_count(), 100);
}

#[test]
fn a_failed_assertion_stops_the_ledger_with_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Embedded::start(dir.path(), without_compaction(), wall_ms).unwrap();
    ask(&ledger, batch("t", vec![create(1000), reserve_anonymous(1)])).unwrap();
    let twice = ask(&ledger, batch("t", vec![reserve_anonymous(2), reserve_anonymous(1)]));
    assert!(matches!(twice, Err(LedgerError::Lost(_))), "{twice:?}");
    let after = ask(&ledger, batch("t", vec![Command::Show]));
    assert!(matches!(after, Err(LedgerError::Refused(_))), "{after:?}");
    ledger.stop();
    let mut store = open(dir.path());
    assert_eq!((status(&mut store, 1), status(&mut store, 2)), (Some(Status::Held), None));
}

#[derive(Debug, Clone)]
enum Step {
    Commit(i64, Vec<(bool, Ask)>),
    Reopen { fold: bool },
}

#[derive(Debug, Clone)]
enum Ask {
    Reserve { quantity: u32, user: u8, key: u8, only_looks: bool, lines: Option<Lines> },
    Confirm(u16),
    Cancel(u16),
    Refund(u16),
    Extend(u16, Option<u64>),
    CancelTo(u16, Remaining),
    RefundTo(u16, Remaining),
    Show(u16),
    Other(Command),
}

fn terms() -> impl Strategy<Value = Terms> {
    let closes_at_ms = proptest::option::of(prop_oneof![Just(TIME_MS_MAX), 1..2_000u64]);
    let (hold_ms, limit) = (proptest::option::of(1..300u64), proptest::option::of(0..3u32));
    let quantity_max = proptest::option::of(1..5u32);
    let quantity_min = proptest::option::of(1..3u32);
    let reservations_max = proptest::option::of(proptest::option::of(0..9u64));
    let rules = (quantity_min, proptest::option::of(0..300u64), reservations_max, limit.clone());
    (closes_at_ms, hold_ms, limit, quantity_max, rules).prop_map(
        |(closes_at_ms, hold_ms, limit_per_user, quantity_max, rules)| Terms {
            closes_at_ms,
            hold_ms,
            limit_per_user,
            quantity_max,
            quantity_min: rules.0.map(|min: u32| min.min(quantity_max.unwrap_or(min))),
            extend_max_ms: rules.1,
            reservations_max: rules.2,
            reservations_per_user_max: rules.3,
        },
    )
}

/// Half of the requests have details, and half of the sales have types.
fn lines() -> impl Strategy<Value = Option<Lines>> {
    let some = vec!["adult:1", "adult:2", "child:1", "adult:1,child:1", "adult:2,child:2", "dog:1"];
    proptest::option::of(
        proptest::sample::select(some).prop_map(|text| Lines::from_text(text).unwrap()),
    )
}

fn remaining() -> impl Strategy<Value = Remaining> {
    (0..3u32, lines()).prop_map(|(n, lines)| lines.map_or(Remaining::Units(n), Remaining::Lines))
}

fn asked() -> impl Strategy<Value = Ask> {
    let other = prop_oneof![
        (0..20u64, 0..3u32, 1..300u64).prop_map(|(total, limit_per_user, hold_ms)| {
            let rules = match total % 3 {
                0 => Rules {
                    quantity_min: 2,
                    extend_max_ms: hold_ms,
                    reservations_max: Some(9),
                    reservations_per_user_max: limit_per_user,
                },
                _ => Rules::default(),
            };
            let types = match total % 2 {
                0 => Types::from_text("adult:9,child:3").unwrap(),
                _ => Types::default(),
            };
            let total = SaleSpec { rules, types, ..SaleSpec::with_total(total) };
            Command::Create(SaleSpec { limit_per_user, hold_ms, opens_at_ms: 50, ..total })
        }),
        Just(Command::Expire { batch_max: u32::MAX }),
        (0..9u64).prop_map(Command::AddStock),
        (1..9u64, any::<bool>()).prop_map(|(units, at_most)| Command::TakeStock { units, at_most }),
        terms().prop_map(Command::ChangeTerms),
        Just(Command::Open),
        Just(Command::Close),
        Just(Command::Remove),
        Just(Command::Show),
    ];
    prop_oneof![
        8 => (1..4u32, 0..4u8, 0..4u8, proptest::bool::weighted(0.1), lines()).prop_map(
            |(quantity, user, key, only_looks, lines)| {
                let quantity = lines.as_ref().map_or(quantity, Lines::units);
                Ask::Reserve { quantity, user, key, only_looks, lines }
            }
        ),
        2 => any::<u16>().prop_map(Ask::Confirm),
        2 => any::<u16>().prop_map(Ask::Cancel),
        2 => any::<u16>().prop_map(Ask::Refund),
        2 => (any::<u16>(), proptest::option::of(1..400u64)).prop_map(|(n, ms)| Ask::Extend(n, ms)),
        1 => (any::<u16>(), remaining()).prop_map(|(n, remaining)| Ask::CancelTo(n, remaining)),
        1 => (any::<u16>(), remaining()).prop_map(|(n, remaining)| Ask::RefundTo(n, remaining)),
        1 => any::<u16>().prop_map(Ask::Show),
        3 => other.prop_map(Ask::Other),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => (-50..150i64, proptest::collection::vec((any::<bool>(), asked()), 1..12))
            .prop_map(|(later_ms, asks)| Step::Commit(later_ms, asks)),
        1 => any::<bool>().prop_map(|fold| Step::Reopen { fold }),
    ]
}

fn note() -> Note {
    Note::new("row 7").unwrap()
}

/// Makes the commands, with new ids for reservations and mostly known ids for others.
fn commands(asks: Vec<(bool, Ask)>, ids: &mut u128) -> Vec<(SaleId, Command)> {
    let known = |n: u16, ids: u128| ReservationId(u128::from(n) % (ids + 2));
    let command = |ask, ids: &mut u128| match ask {
        Ask::Reserve { quantity, user, key, only_looks, lines } => {
            *ids += 1;
            let reserve = Reserve {
                id: ReservationId(*ids),
                quantity,
                user: (user > 0).then(|| User::new(&format!("u{user}")).unwrap()),
                key: (key > 0).then(|| Key::new(&format!("k{key}")).unwrap()),
                trace: None,
                details: Details {
                    lines,
                    note: ids.is_multiple_of(5).then(note),
                    ..Details::default()
                }
                .boxed(),
            };
            match only_looks {
                true => Command::FindClaim(reserve, Creation::UNKNOWN),
                false => Command::Reserve(reserve),
            }
        }
        Ask::Confirm(n) => Command::Confirm(known(n, *ids)),
        Ask::Cancel(n) => Command::Cancel(known(n, *ids)),
        Ask::Refund(n) => Command::Refund(known(n, *ids)),
        Ask::Extend(n, hold_ms) => Command::Extend(known(n, *ids), hold_ms),
        Ask::CancelTo(n, remaining) => Command::CancelTo(known(n, *ids), remaining),
        Ask::RefundTo(n, remaining) => Command::RefundTo(known(n, *ids), remaining),
        Ask::Show(n) => Command::ShowReservation(known(n, *ids)),
        Ask::Other(command) => command,
    };
    let name = |first| sale(if first { "first" } else { "second" });
    asks.into_iter().map(|(first, ask)| (name(first), command(ask, ids))).collect()
}

fn model(
    sales: &mut HashMap<SaleId, Machine>,
    now_ms: u64,
    id: &SaleId,
    command: &Command,
) -> Outcome {
    match (sales.get_mut(id), command) {
        (Some(machine), command) => {
            let outcome = machine.apply(now_ms, command);
            if outcome == Outcome::Removed {
                sales.remove(id);
            }
            outcome
        }
        (None, Command::Create(spec)) => {
            let machine = sales.entry(id.clone()).or_insert(Machine::new(spec.clone()));
            match machine.apply(now_ms, &Command::Show) {
                Outcome::Sale(view) => Outcome::Created(view),
                outcome => outcome,
            }
        }
        (None, _) => Outcome::UnknownSale,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_store_agrees_with_the_model_over_any_history_and_restarts(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Some(open(dir.path()));
        let (mut sales, mut now_ms, mut known_ms, mut ids) = (HashMap::new(), 100, 0, 0);
        for step in steps {
            match step {
                Step::Reopen { fold } => {
                    // A crash may forget a time at which nothing changed; the model does not.
                    known_ms = known_ms.max(store.take().map_or(0, |store| store.now_ms()));
                    let compaction_changes_min = if fold { 1 } else { u64::MAX };
                    let mut opened = Store::open(dir.path(), Options { compaction_changes_min }).unwrap();
                    opened.maintain();
                    store = Some(opened);
                }
                Step::Commit(later_ms, asks) => {
                    now_ms = u64::saturating_add_signed(now_ms, later_ms);
                    let commands = commands(asks, &mut ids);
                    // Several batches of several groups, as cores would send them.
                    let groups = commands.iter().map(|(sale, command)| Group {
                        sale: sale.clone(),
                        commands: vec![command.clone()],
                    });
                    let groups: Vec<Group> = groups.collect();
                    let batches: Vec<Batch> =
                        groups.chunks(3).map(|part| Batch { groups: part.to_vec() }).collect();
                    let store = store.as_mut().unwrap();
                    let replies = store.commit(now_ms.max(known_ms), &batches).unwrap();
                    let replies = replies.into_iter().flatten();
                    for ((sale, command), reply) in commands.iter().zip(replies) {
                        let outcome = model(&mut sales, store.now_ms(), sale, command);
                        prop_assert_eq!(&reply.outcomes, &[outcome], "{:?}", command);
                        prop_assert_eq!(reply.free, sales.get(sale).map(Machine::free));
                    }
                }
            }
        }
    }
}
