//! The store with a clock of its own: order, duplicates, bounds, dead letters; and all of it together
//! with the desk and the schedule, by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::delivery_slots::DeliverySlots;
use super::event::webhook_id;
use super::letters::{LettersError, Which, discard, list, replay};
use super::schedule::{Answer, NextStep, Schedule};
use super::status::{Counts, status};
use super::store::{Due, Settled, Store};
use crate::clock::rfc3339;
use crate::orders::database::DatabaseError;
use crate::orders::sqlite_file::WEBHOOKS_FILE;
use crate::sale::{Change, Reservation, ReservationId, SaleId, Status};

const NOW_MS: u64 = 1_893_456_000_000;

fn change(reservation: u128, version: u64) -> Change {
    let status = if version == 1 { Status::Held } else { Status::Confirmed };
    Change {
        sale: SaleId::new("ticket").unwrap(),
        reservation: Reservation {
            id: ReservationId(reservation),
            user: None,
            quantity: 1,
            status,
            expires_at_ms: NOW_MS,
            details: None,
        },
        key: None,
        at_ms: NOW_MS,
        version,
        trace: None,
    }
}

struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("webhooks.db");
        Self { _folder: folder, path }
    }

    fn open(&self) -> Store {
        Store::open(&self.path, 1_000, NOW_MS).unwrap()
    }
}

/// Reservation and version of what is due.
fn due(store: &Store, now_ms: u64) -> Vec<(u128, i64)> {
    let due = store.due(now_ms, 100).unwrap();
    due.iter().map(|due| (number(&due.reservation), due.version)).collect()
}

fn number(reservation: &str) -> u128 {
    ReservationId::from_public(reservation).unwrap().1.0
}

fn settle(store: &mut Store, reservation: u128, verdict: NextStep) {
    let due = store.due(u64::MAX >> 1, 100).unwrap();
    let due = due.into_iter().find(|due| number(&due.reservation) == reservation).unwrap();
    let failure = "status 500".to_owned();
    let settled = Settled { number: due.number, reservation: due.reservation, verdict, failure };
    store.settle(&[settled], NOW_MS).unwrap();
}

#[test]
fn the_earliest_event_of_each_reservation_is_due() {
    let place = Place::new();
    let mut store = place.open();
    let changes = [change(1, 1), change(2, 1), change(1, 2), change(1, 3), change(2, 2)];
    store.take(&changes, None, NOW_MS).unwrap();
    assert_eq!(due(&store, NOW_MS - 1), []);
    assert_eq!(due(&store, NOW_MS), [(1, 1), (2, 1)]);
    settle(&mut store, 1, NextStep::Again { at_ms: NOW_MS + 5_000 });
    assert_eq!(due(&store, NOW_MS), [(2, 1)]);
    assert_eq!(store.next_at_ms(NOW_MS).unwrap(), Some(NOW_MS + 5_000));
    settle(&mut store, 2, NextStep::Delivered);
    assert_eq!(due(&store, NOW_MS), [(2, 2)]);
    // The same holds after a restart.
    drop(store);
    let mut store = place.open();
    assert_eq!(due(&store, NOW_MS + 5_000), [(2, 2), (1, 1)]);
    // A dead letter holds back nothing.
    settle(&mut store, 1, NextStep::Dead);
    assert_eq!(due(&store, NOW_MS), [(1, 2), (2, 2)]);
    assert_eq!(store.counts().unwrap(), Counts { waiting: 3, dead: 1 });
    // An event with a lower version comes first, also when it arrives later.
    store.take(&[change(3, 5)], None, NOW_MS).unwrap();
    store.take(&[change(3, 4)], None, NOW_MS).unwrap();
    assert_eq!(due(&store, NOW_MS), [(1, 2), (2, 2), (3, 4)]);
}

#[test]
fn repeated_changes_are_one_event_until_acknowledged() {
    let place = Place::new();
    let mut store = place.open();
    let both = [change(1, 1), change(1, 2)];
    store.take(&both, Some(("ledger", 7)), NOW_MS).unwrap();
    settle(&mut store, 1, NextStep::Delivered);
    settle(&mut store, 1, NextStep::Delivered);
    // The worker is killed before it acknowledges: the ledger delivers both again, in any pieces.
    drop(store);
    let mut store = place.open();
    assert_eq!(store.position("ledger").unwrap(), Some(7));
    assert_eq!(store.position("other").unwrap(), None);
    store.take(&both[..1], None, NOW_MS).unwrap();
    store.take(&both[1..], None, NOW_MS).unwrap();
    store.take(&[change(2, 1)], None, NOW_MS).unwrap();
    assert_eq!(due(&store, NOW_MS), [(2, 1)]);
    store.forget_taken().unwrap();
    store.take(&[change(2, 1)], None, NOW_MS).unwrap();
    assert_eq!(store.counts().unwrap(), Counts { waiting: 1, dead: 0 });
    store.take(&both, None, NOW_MS).unwrap();
    assert_eq!(due(&store, NOW_MS), [(2, 1), (1, 1)]);
}

#[test]
fn a_full_backlog_takes_nothing_until_a_tenth_is_free() {
    let place = Place::new();
    let mut store = Store::open(&place.path, 20, NOW_MS).unwrap();
    assert_eq!(store.room().unwrap(), 20);
    let changes: Vec<_> = (1..=20).map(|n| change(n, 1)).collect();
    store.take(&changes[..19], None, NOW_MS).unwrap();
    assert_eq!(store.room().unwrap(), 1);
    store.take(&changes[19..], None, NOW_MS).unwrap();
    settle(&mut store, 1, NextStep::Dead);
    assert_eq!(store.room().unwrap(), 0);
    settle(&mut store, 2, NextStep::Delivered);
    assert_eq!(store.room().unwrap(), 0);
    settle(&mut store, 3, NextStep::Delivered);
    assert_eq!(store.room().unwrap(), 2);
    // Another process makes room too.
    store.take(&[change(21, 1), change(22, 1)], None, NOW_MS).unwrap();
    assert_eq!(store.room().unwrap(), 0);
    settle(&mut store, 4, NextStep::Delivered);
    assert_eq!(discard(&place.path, Which::All).unwrap(), 1);
    assert_eq!(store.room().unwrap(), 2);
}

fn listed(path: &Path, json: bool) -> String {
    let mut out = Vec::new();
    list(path, json, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn dead_letters_are_listed_replayed_and_discarded_live() {
    let place = Place::new();
    let mut store = place.open();
    store.take(&[change(1, 1), change(1, 2), change(2, 1)], None, NOW_MS).unwrap();
    settle(&mut store, 1, NextStep::Dead);
    settle(&mut store, 2, NextStep::Dead);
    let id = |n: u128, version| webhook_id(&format!("ticket~{}", ReservationId(n)), version);
    let table = listed(&place.path, false);
    let lines: Vec<_> = table.lines().skip(1).collect();
    assert_eq!(lines.len(), 2, "{table}");
    assert!(lines[0].starts_with(&id(1, 1)) && lines[0].contains("reservation.held"), "{table}");
    assert!(lines[1].contains(" 1  status 500"), "{table}");
    let first = listed(&place.path, true);
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(first["id"], id(1, 1));
    assert_eq!(first["failed_at"], "2030-01-01T00:00:00.000Z");
    assert_eq!(first["webhook"]["data"]["version"], "1");

    // A replayed event goes before a later event that still waits.
    assert_eq!(due(&store, NOW_MS), [(1, 2)]);
    let which = Which::parse(&id(1, 1)).unwrap();
    assert_eq!(replay(&place.path, which, NOW_MS).unwrap(), 1);
    assert_eq!(due(&store, NOW_MS), [(1, 1)]);
    assert_eq!(store.due(NOW_MS, 1).unwrap()[0].attempts, 0);
    assert_eq!(store.counts().unwrap(), Counts { waiting: 2, dead: 1 });
    let none = replay(&place.path, which, NOW_MS).unwrap_err();
    assert!(matches!(none, LettersError::Unknown(_)), "{none}");
    assert!(none.to_string().contains(&id(1, 1)), "{none}");
    assert_eq!(discard(&place.path, Which::parse(&id(2, 1)).unwrap()).unwrap(), 1);
    assert_eq!(discard(&place.path, Which::All).unwrap(), 0);
    settle(&mut store, 1, NextStep::Delivered);
    assert_eq!(due(&store, NOW_MS), [(1, 2)]);
    settle(&mut store, 1, NextStep::Dead);
    assert_eq!(replay(&place.path, Which::All, NOW_MS).unwrap(), 1);
    assert_eq!(due(&store, NOW_MS), [(1, 2)]);
    let missing = list(&place.path.with_extension("none"), false, &mut Vec::new()).unwrap_err();
    assert!(missing.to_string().contains("there is no such file"), "{missing}");
}

fn stands(path: &Path, json: bool, now_ms: u64) -> String {
    let mut out = Vec::new();
    status(path, json, now_ms, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_status_is_shown_while_the_worker_runs_and_after() {
    let place = Place::new();
    let mut store = place.open();
    let json = |now_ms| -> serde_json::Value {
        serde_json::from_str(&stands(&place.path, true, now_ms)).unwrap()
    };
    let nothing = serde_json::json!({
        "waiting": 0, "oldest": null, "delivered": 0, "failed": 0, "dead_letters": 0,
    });
    assert_eq!((json(NOW_MS), store.oldest_at_ms().unwrap()), (nothing, None));
    let changes = [change(1, 1), change(1, 2), change(2, 1), change(3, 1)];
    store.take(&changes, None, NOW_MS).unwrap();
    let at_ms = changes[0].at_ms;
    assert_eq!(store.oldest_at_ms().unwrap(), Some(at_ms));
    settle(&mut store, 1, NextStep::Again { at_ms: NOW_MS + 1_000 });
    settle(&mut store, 2, NextStep::Dead);
    settle(&mut store, 3, NextStep::Delivered);
    let id = webhook_id(&format!("ticket~{}", ReservationId(1)), 1);
    let stands_now = serde_json::json!({
        "waiting": 2,
        "oldest": {
            "id": id, "at": rfc3339(at_ms), "age_ms": 60_500, "attempts": 1, "failure": "status 500",
        },
        "delivered": 1, "failed": 2, "dead_letters": 1,
    });
    assert_eq!(json(at_ms + 60_500), stands_now);
    let text = stands(&place.path, false, at_ms + 60_500);
    let oldest = format!("oldest        1m: {id}, attempts 1, status 500\n");
    assert!(text.starts_with("waiting       2\n") && text.contains(&oldest), "{text}");
    assert!(text.ends_with("delivered     1\nfailed        2\ndead letters  1\n"), "{text}");
    // A dead letter does not count as waiting; a replayed one does, with its age.
    drop(store);
    let mut store = place.open();
    settle(&mut store, 1, NextStep::Dead);
    settle(&mut store, 1, NextStep::Delivered);
    assert_eq!((store.oldest_at_ms().unwrap(), json(NOW_MS)["waiting"].as_u64()), (None, Some(0)));
    assert_eq!(replay(&place.path, Which::All, NOW_MS).unwrap(), 2);
    assert_eq!(store.oldest_at_ms().unwrap(), Some(at_ms));
    let now = json(NOW_MS);
    assert_eq!(
        (&now["delivered"], &now["failed"], &now["waiting"]),
        (&2.into(), &3.into(), &2.into())
    );
}

#[test]
fn a_file_of_schema_version_1_is_migrated() {
    let place = Place::new();
    let file = Connection::open(&place.path).unwrap();
    file.execute_batch(include_str!("schema_1.sql")).unwrap();
    let mark = format!("PRAGMA application_id = {WEBHOOKS_FILE}; PRAGMA user_version = 1");
    file.execute_batch(&mark).unwrap();
    file.execute_batch(
        "INSERT INTO events (reservation, version, body, retry_at, state)
         VALUES ('ticket~1', 1, '{\"timestamp\":\"2030-01-01T00:00:00.123Z\"}', 0, 1)",
    )
    .unwrap();
    drop(file);
    assert_eq!(place.open().oldest_at_ms().unwrap(), Some(NOW_MS + 123));
    assert!(stands(&place.path, false, NOW_MS).starts_with("waiting       1\n"));
}

fn refused(path: &Path) -> String {
    match Store::open(path, 10, NOW_MS) {
        Err(DatabaseError::Fatal(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} is opened", path.display()),
    }
}

#[test]
fn foreign_newer_or_busy_files_are_refused() {
    let place = Place::new();
    let store = place.open();
    assert!(refused(&place.path).contains("in use by another worker"));
    let name = store.worker().unwrap();
    assert!(name.starts_with("webhooks-") && name.len() == 25, "{name}");
    drop(store);
    assert_eq!(place.open().worker().unwrap(), name);

    let file = Connection::open(&place.path).unwrap();
    file.execute_batch("PRAGMA user_version = 3").unwrap();
    assert!(refused(&place.path).contains("has version 3 of the schema, made by a newer stampede"));
    let folder = place.path.parent().unwrap();
    let orders = folder.join("orders.db");
    crate::orders::open(&format!("sqlite:{}", orders.display())).unwrap();
    assert!(refused(&orders).contains("holds orders, not the state of webhooks"));
    let foreign = folder.join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE a (b)").unwrap();
    assert!(refused(&foreign).contains("that stampede did not make"));
    std::fs::write(folder.join("text"), "no database, but long enough to be looked at".repeat(9))
        .unwrap();
    assert!(refused(&folder.join("text")).contains("another kind of file"));
    // A database of orders refuses a webhooks file, too.
    let url = format!("sqlite:{}", place.path.display());
    let Err(error) = crate::orders::open(&url) else { panic!("opened as orders") };
    assert!(error.to_string().contains("is the state of a worker that sends webhooks"), "{error}");
}

#[test]
fn a_removed_file_is_fatal_and_a_locked_one_is_retried() {
    let place = Place::new();
    let mut store = place.open();
    let held = Connection::open(&place.path).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(store.take(&[change(1, 1)], None, NOW_MS), Err(DatabaseError::Away(_))));
    held.execute_batch("ROLLBACK").unwrap();
    store.take(&[change(1, 1)], None, NOW_MS).unwrap();
    std::fs::remove_file(&place.path).unwrap();
    let Err(DatabaseError::Fatal(text)) = store.take(&[change(2, 1)], None, NOW_MS) else {
        panic!("it goes on writing")
    };
    assert!(text.contains("deleted or renamed") && text.contains("put the file back"), "{text}");
}

#[test]
fn a_clock_that_was_ahead_delays_an_event_by_at_most_a_pause() {
    let place = Place::new();
    let mut store = place.open();
    store.take(&[change(1, 1), change(2, 1)], None, NOW_MS).unwrap();
    settle(&mut store, 1, NextStep::Again { at_ms: NOW_MS + 3_600_000 });
    settle(&mut store, 2, NextStep::Again { at_ms: NOW_MS + 30 * 86_400_000 });
    drop(store);
    let store = place.open();
    assert_eq!(due(&store, NOW_MS), [(2, 1)]);
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// What a receiver has come to see of each reservation: the versions, each when it came first.
type Seen = BTreeMap<u128, Vec<i64>>;

fn see(seen: &mut Seen, due: &Due) {
    let versions = seen.entry(number(&due.reservation)).or_default();
    if !versions.contains(&due.version) {
        versions.push(due.version);
    }
}

/// A ledger that gives changes at least once, a receiver that fails half of the time, and a worker
/// that is killed and goes on with its file.
fn simulate(seed: u64) {
    let mut chance = Chance(seed);
    let place = Place::new();
    let schedule = Schedule { first_pause_ms: 1_000, attempts: 40 };
    let mut store = Store::open(&place.path, 60, NOW_MS).unwrap();
    let mut desk = DeliverySlots::new(4);
    let (mut now_ms, mut seen) = (NOW_MS, Seen::new());
    let mut stream: Vec<Change> = Vec::new();
    let (mut read, mut acknowledged) = (0, 0);
    let mut under_way: Vec<Due> = Vec::new();
    let mut versions: BTreeMap<u128, u64> = BTreeMap::new();
    let total = 150;
    while stream.len() < total || acknowledged < total || store.counts().unwrap().waiting > 0 {
        now_ms += chance.below(400);
        match chance.below(12) {
            0..=2 if stream.len() < total => {
                let reservation = u128::from(chance.below(20));
                let version = versions.entry(reservation).or_default();
                *version += 1;
                stream.push(change(reservation, *version));
            }
            3..=5 => {
                let room = store.room().unwrap() as usize;
                let until = stream.len().min(read + room.min(7));
                if read < until {
                    store.take(&stream[read..until], None, now_ms).unwrap();
                    read = until;
                    // Sometimes the worker dies before it acknowledges.
                    if chance.below(4) > 0 {
                        acknowledged = read;
                    } else {
                        drop(store);
                        store = Store::open(&place.path, 60, now_ms).unwrap();
                        (desk, under_way, read) = (DeliverySlots::new(4), Vec::new(), acknowledged);
                    }
                } else if acknowledged == read {
                    store.forget_taken().unwrap();
                }
            }
            6..=8 => {
                let wanted = desk.wants(now_ms);
                let taken = desk.take(store.due(now_ms, wanted).unwrap());
                let busy: BTreeSet<_> =
                    under_way.iter().map(|due| due.reservation.clone()).collect();
                assert!(taken.iter().all(|due| !busy.contains(&due.reservation)), "seed {seed}");
                under_way.extend(taken);
                assert!(under_way.len() <= 4, "seed {seed}");
            }
            9 | 10 if !under_way.is_empty() => {
                let due = under_way.swap_remove(chance.below(under_way.len() as u64) as usize);
                let answer = match chance.below(6) {
                    0 => Answer::Status { status: 503, retry_after_ms: Some(2_000) },
                    1 => Answer::Failed("reset".into()),
                    2 => {
                        // The receiver has the event, and its answer is lost.
                        see(&mut seen, &due);
                        Answer::Failed("no answer in time".into())
                    }
                    _ => {
                        see(&mut seen, &due);
                        Answer::Status { status: 200, retry_after_ms: None }
                    }
                };
                let verdict = schedule.judge(due.attempts + 1, &answer, now_ms, chance.next());
                let (number, reservation) = (due.number, due.reservation.clone());
                let failure = answer.to_string();
                let settled = Settled { number, reservation, verdict, failure };
                store.settle(&[settled], now_ms).unwrap();
                desk.finish(&due.reservation);
                desk.pause_until(now_ms + answer.quiet_ms());
            }
            11 if chance.below(10) == 0 => {
                // The worker loses its deliveries under way; each may still reach the receiver.
                for due in under_way.drain(..) {
                    if chance.below(2) == 0 {
                        see(&mut seen, &due);
                    }
                }
                drop(store);
                store = Store::open(&place.path, 60, now_ms).unwrap();
                (desk, read) = (DeliverySlots::new(4), acknowledged);
            }
            _ => now_ms += 200,
        }
    }
    assert_eq!(store.counts().unwrap().dead, 0, "seed {seed}");
    for (reservation, last) in versions {
        let all: Vec<i64> = (1..=last as i64).collect();
        assert_eq!(seen.get(&reservation), Some(&all), "seed {seed}, reservation {reservation}");
    }
}

#[test]
fn events_arrive_in_order_despite_failures() {
    for seed in 1..=12 {
        simulate(seed);
    }
}
