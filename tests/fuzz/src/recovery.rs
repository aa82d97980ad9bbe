//! A data folder that disks and people have damaged: the ledger opens it as it was after one of its
//! records, at least the last that its marker names, or refuses it.
//!
//! An input is up to three edits of a folder with a snapshot and a journal after it. Three, since a
//! checksum of 32 bits finds any three flipped bits of these files, but an engine that may change
//! more bytes computes the right checksum in time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use stampede::ledger::embedded::{OpenError, Options, Store};
use stampede::ledger::{Batch, Group};
use stampede::sale::{
    Command, Details, Key, Note, Remaining, ReservationId, Reserve, SaleId, SaleSpec, Terms, User,
};
use tempfile::TempDir;

use crate::bounds::bounded;
use crate::choices::Choices;

/// Three buffers of 1 MiB, and the state.
const MEMORY: usize = 8 << 20;
pub const EDITS_MAX: usize = 3;
/// The marker of a folder.
pub const MARKER: &str = "stampede-ledger";
/// Unused space that stays after the last record: the rest of 8 MiB would only take time.
const UNUSED_BYTES: usize = 64;

/// The files of a folder, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What a ledger has: per sale its total, and the units held and confirmed; and its reservations.
pub type State = (Vec<(String, u64, u64, u64)>, u64);

/// A folder, and what its ledger had after each record.
pub struct Kept {
    pub files: Files,
    /// By the number of the record. Empty: not known.
    states: BTreeMap<u64, State>,
    /// The record that the marker names: it was durable.
    marked: u64,
}

fn memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

pub fn state(store: &Store) -> State {
    let mut sales: Vec<_> = store
        .sales()
        .map(|(id, view)| (id.to_string(), view.spec.total, view.held, view.confirmed))
        .collect();
    sales.sort();
    (sales, store.reservation_count())
}

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry"));
    let mut files = Files::new();
    for path in entries.map(|entry| entry.path()).filter(|path| !path.ends_with("lock")) {
        let mut bytes = fs::read(&path).expect("a file");
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(used + UNUSED_BYTES);
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        files.insert(name.to_owned(), bytes);
    }
    files
}

/// A history of two sales, with a snapshot in its middle.
pub static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let folder = memory();
    let options = Options { compaction_changes_min: 12 };
    let mut store = Store::open(folder.path(), options).expect("a new ledger");
    let mut states = BTreeMap::from([(store.version(), state(&store))]);
    for (number, (sale, command)) in (1u64..).zip(history()) {
        let group = Group { sale: SaleId::new(sale).expect("a sale"), commands: vec![command] };
        store.commit(1_000 * number, &[Batch { groups: vec![group] }]).expect("it is committed");
        states.insert(store.version(), state(&store));
        if number == 14 {
            store.maintain();
            while store.is_compacting() {
                std::thread::yield_now();
                store.maintain();
            }
            // A switch of journals may take a record.
            states.insert(store.version(), state(&store));
        }
    }
    drop(store);
    let files = files(folder.path());
    assert!(files.keys().any(|name| name.starts_with("snapshot-")), "{:?}", files.keys());
    let marked = marked(&files[MARKER]);
    assert!(states.contains_key(&marked));
    Kept { files, states, marked }
});

/// The record that a marker names.
fn marked(marker: &[u8]) -> u64 {
    let text = str::from_utf8(marker).expect("a text");
    let line = text.lines().find_map(|line| line.strip_prefix("record "));
    line.and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// The folders of 0.1.0 that are kept for tests of upgrades.
static KEPT_0_1_0: LazyLock<Vec<Kept>> = LazyLock::new(|| {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../upgrade/0.1.0");
    let folders = ["embedded-folded", "embedded-killed", "embedded-stopped"];
    let folders = folders.map(|name| data.join(name).join("data"));
    let kept = |folder: PathBuf| Kept { files: files(&folder), states: BTreeMap::new(), marked: 0 };
    folders.map(kept).into_iter().collect()
});

fn history() -> Vec<(&'static str, Command)> {
    let reserve = |id: u128, quantity: u32, note: Option<&str>| {
        let note = note.map(|note| Note::new(note).expect("a note"));
        Command::Reserve(Reserve {
            id: ReservationId(id),
            quantity,
            user: User::new(&format!("user-{id}")).ok(),
            key: Key::new("once").ok(),
            details: Details { note, ..Details::default() }.boxed(),
            trace: None,
        })
    };
    let id = ReservationId;
    let spec = SaleSpec { hold_ms: 1_000_000, ..SaleSpec::with_total(50) };
    let terms = Terms { limit_per_user: Some(9), ..Terms::default() };
    let mut history = vec![("a", Command::Create(spec.clone())), ("b", Command::Create(spec))];
    history.extend((1..=10).map(|n| ("a", reserve(n, 1 + n as u32 % 3, None))));
    history.extend([
        ("b", reserve(21, 2, Some("row 7"))),
        ("a", Command::Confirm(id(1))),
        ("a", Command::Cancel(id(2))),
        ("a", Command::CancelTo(id(5), Remaining::Units(1))),
        ("a", Command::Extend(id(3), Some(1_100_000))),
        ("a", Command::Refund(id(1))),
        ("b", Command::AddStock(5)),
        ("b", Command::ChangeTerms(terms)),
        ("b", Command::TakeStock { units: 3, at_most: false }),
        ("b", Command::Close),
        ("b", Command::Open),
        ("a", reserve(22, 3, None)),
    ]);
    history
}

/// The folder, and edits of its files.
pub fn recovery(input: &[u8]) {
    let mut choices = Choices::new(input);
    let kept = match usize::from(choices.byte() % 8).checked_sub(5) {
        None => &*KEPT,
        Some(old) => &KEPT_0_1_0[old],
    };
    let mut files = kept.files.clone();
    for _ in 0..EDITS_MAX {
        if !choices.is_empty() {
            edit(&mut files, &mut choices);
        }
    }
    let check_state = |version: u64, found: &State| {
        if !kept.states.is_empty() {
            assert!(version >= kept.marked, "a durable record is gone: {version}");
            assert_eq!(Some(found), kept.states.get(&version), "after record {version}");
        }
    };
    check_opening(&files, check_state, |_| ());
}

/// The ledger opens a folder of these files with no sale oversold, and opens it again in the same
/// state; or it refuses the folder and changes no file. `first` checks the state that is found, and
/// `then` uses the ledger.
pub fn check_opening(
    files: &Files,
    first: impl FnOnce(u64, &State),
    then: impl FnOnce(&mut Store),
) {
    let folder = memory();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("the file is written");
    }
    let options = || Options { compaction_changes_min: u64::MAX };
    match bounded(MEMORY, || Store::open(folder.path(), options())) {
        Ok(store) => {
            let (version, found) = (store.version(), state(&store));
            check_stock(&found);
            first(version, &found);
            drop(store);
            let mut again = Store::open(folder.path(), options()).expect("it opens again");
            assert_eq!((again.version(), state(&again)), (version, found), "the second time");
            then(&mut again);
        }
        Err(error) => {
            assert!(!matches!(error, OpenError::InUse(_)), "{error}");
            check_unchanged(folder.path(), files);
        }
    }
}

/// No sale is oversold.
pub fn check_stock(state: &State) {
    for (sale, total, held, confirmed) in &state.0 {
        assert!(held + confirmed <= *total, "{sale} is oversold");
    }
}

/// A folder that is refused stays as it is.
fn check_unchanged(folder: &Path, files: &Files) {
    for (name, bytes) in files.iter().filter(|(name, _)| !name.ends_with(".tmp")) {
        let found = fs::read(folder.join(name));
        assert_eq!(found.ok().as_ref(), Some(bytes), "{name} was changed");
    }
}

/// One change of one file, as a disk, a crash or a person makes it.
fn edit(files: &mut Files, choices: &mut Choices<'_>) {
    if files.is_empty() {
        return;
    }
    let kind = choices.byte() % 8;
    let file = choices.below(files.len());
    let name = files.keys().nth(file).expect("a file").clone();
    // A folder without its marker is foreign, or new if it is empty: another matter.
    let is_marker = name == MARKER;
    let bytes = files.get_mut(&name).expect("a file");
    let at = choices.below(bytes.len() + 1);
    let end = (at + choices.below(600)).min(bytes.len());
    match kind {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (choices.byte() % 8);
            }
        }
        2 => bytes.truncate(at),
        3 => bytes[at..end].fill(0),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let copy = bytes[at..end].to_vec();
            let to = choices.below(bytes.len() + 1);
            drop(bytes.splice(to..to, copy));
        }
        6 if !is_marker => drop(files.remove(&name)),
        7 if !is_marker => {
            let bytes = bytes.clone();
            let generation = choices.byte() % 6;
            let kind = if name.starts_with("journal") { "journal" } else { "snapshot" };
            files.insert(format!("{kind}-{generation:010}"), bytes);
        }
        _ => {}
    }
}

#[test]
fn an_undamaged_folder_is_recovered() {
    recovery(&[]);
    (5..8).for_each(|old| recovery(&[old]));
    assert!(KEPT.states.len() > 20);
}
