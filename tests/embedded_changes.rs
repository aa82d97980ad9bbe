//! The embedded ledger as the orders, the audit and the operator see it: changes, clients, the
//! clock.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stampede::audit::Mode;
use stampede::clock::wall_ms;
use stampede::ledger::client::{Client, Repair, SaleAudit};
use stampede::ledger::embedded::{
    Embedded, EmbeddedClient, LedgerId, OfflineClient, OpenError, Options, Store, renew_id,
    source_name,
};
use stampede::ledger::{Batch, Group, LedgerError};
use stampede::orders::{
    self, ChangeSource, DatabaseUrl, EmbeddedSource, WorkDone, WorkerError, WorkerOptions,
};
use stampede::sale::{
    Change, Command, Key, Outcome, Reservation, ReservationId, Reserve, SaleId, SaleSpec, Status,
    User,
};

const ANSWER: Duration = Duration::from_secs(30);
const HOUR_MS: u64 = 3_600_000;

fn never_fold() -> Options {
    Options { compaction_changes_min: u64::MAX }
}

fn start(folder: &Path) -> Embedded {
    Embedded::start(folder, never_fold(), wall_ms).unwrap()
}

fn id_of(ledger: &Embedded) -> u128 {
    ledger.handle().ledger_id(ANSWER).unwrap()
}

fn name_of(ledger: &Embedded) -> String {
    source_name(id_of(ledger))
}

fn sale(name: &str) -> SaleId {
    SaleId::new(name).unwrap()
}

fn batch(name: &str, commands: Vec<Command>) -> Batch {
    Batch { groups: vec![Group { sale: sale(name), commands }] }
}

fn apply(client: &mut impl Client, name: &str, commands: Vec<Command>) -> Vec<Outcome> {
    client.apply(&batch(name, commands)).unwrap().remove(0).outcomes
}

fn reserve(id: u128) -> Command {
    let user = User::new(&format!("user-{}", id % 50)).ok();
    let key = Key::new(&format!("key-{id}")).ok();
    Command::Reserve(Reserve {
        id: ReservationId(id),
        quantity: 1,
        user,
        key,
        trace: None,
        details: None,
    })
}

fn confirm(id: u128) -> Command {
    Command::Confirm(ReservationId(id))
}

fn create(total: u64, hold_ms: u64) -> Command {
    Command::Create(SaleSpec { hold_ms, limit_per_user: 1000, ..SaleSpec::with_total(total) })
}

fn assert_agrees(audit: &SaleAudit) {
    for check in &audit.checks {
        assert_eq!(check.differences, 0, "{check:?}");
    }
    assert!(audit.reservations.is_sorted_by_key(|change| change.reservation.id));
    assert!(audit.reservations.iter().all(|change| change.version <= audit.version));
    let units = |status| {
        let of = audit.reservations.iter().filter(|change| change.reservation.status == status);
        of.map(|change| u64::from(change.reservation.quantity)).sum::<u64>()
    };
    assert_eq!(
        (units(Status::Held), units(Status::Confirmed)),
        (audit.view.held, audit.view.confirmed)
    );
}

fn read_until(
    source: &mut EmbeddedSource,
    version: u64,
    orders: &mut HashMap<ReservationId, Change>,
) {
    while source.position().unwrap().1 < version {
        for change in source.next(100, Duration::from_millis(50)).unwrap() {
            let order = orders.entry(change.reservation.id).or_insert_with(|| change.clone());
            if change.version > order.version {
                *order = change;
            }
        }
        source.acknowledge().unwrap();
    }
}

#[test]
fn orders_follow_a_running_ledger_and_audits_agree() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = start(dir.path());
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    apply(&mut client, "t", vec![create(100_000, 60_000)]);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3u128)
        .map(|writer| {
            let (mut client, stop) = (EmbeddedClient::new(ledger.handle(), ANSWER), stop.clone());
            std::thread::spawn(move || {
                let mut next = writer << 32;
                while !stop.load(Ordering::Relaxed) {
                    let mut commands: Vec<_> = (next..next + 20).map(reserve).collect();
                    commands.extend((next.saturating_sub(30)..next).step_by(3).map(confirm));
                    apply(&mut client, "t", commands);
                    next += 20;
                }
            })
        })
        .collect();
    let mut source = EmbeddedSource::new(ledger.handle(), name_of(&ledger), 0);
    let mut orders: HashMap<ReservationId, Change> = HashMap::new();
    for _ in 0..20 {
        let audit = client.audit(&sale("t"), None).unwrap().unwrap();
        assert_agrees(&audit);
        // The orders have what the ledger believes that they have.
        let undelivered_from = audit.undelivered_from.unwrap_or(0);
        for change in audit.reservations.iter().filter(|c| c.version < undelivered_from) {
            assert!(orders[&change.reservation.id].version >= change.version);
        }
        read_until(&mut source, audit.version, &mut orders);
    }
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let audit = client.audit(&sale("t"), None).unwrap().unwrap();
    assert!(audit.reservations.len() > 1000, "{}", audit.reservations.len());
    read_until(&mut source, audit.version, &mut orders);
    let mut orders: Vec<_> = orders.into_values().collect();
    orders.sort_by_key(|change| change.reservation.id);
    assert_eq!(orders, audit.reservations);
    assert_eq!(source.next(10, Duration::ZERO).unwrap(), []);
    let lag = source.lag().unwrap();
    assert_eq!((lag.entries, lag.oldest_ms), (0, 0));
    let audit = client.audit(&sale("t"), None).unwrap().unwrap();
    assert_eq!(audit.undelivered_from, Some(audit.version + 1));
}

#[test]
fn a_source_resumes_at_the_databases_position_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = start(dir.path());
    let name = name_of(&ledger);
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    apply(&mut client, "t", vec![create(100, 60_000), reserve(1), reserve(2)]);
    let mut source = EmbeddedSource::new(ledger.handle(), name_of(&ledger), 0);
    assert_eq!(source.next(10, ANSWER).unwrap().len(), 2);
    let (found, position) = source.position().unwrap();
    assert_eq!(found, name);
    apply(&mut client, "t", vec![confirm(1)]);
    assert!(source.lag().unwrap().entries > 0);
    ledger.stop();
    assert!(source.next(10, ANSWER).is_err());

    let ledger = start(dir.path());
    assert_eq!(name_of(&ledger), name);
    let mut source = EmbeddedSource::new(ledger.handle(), name_of(&ledger), position);
    let changes = source.next(10, ANSWER).unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].reservation.status, Status::Confirmed);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(id_of(&start(other.path())), id_of(&ledger));
}

fn try_work(ledger: &Embedded, url: &DatabaseUrl) -> Result<WorkDone, WorkerError> {
    let mut connect = |database: &mut dyn orders::Sink| {
        let source = EmbeddedSource::connect(ledger.handle(), database)?;
        Ok(Box::new(source) as Box<dyn ChangeSource>)
    };
    let options = WorkerOptions { batch: 70, once: true, away_max: None };
    orders::run(url, &mut connect, options, &AtomicBool::new(false))
}

/// Writes what a database lacks, until nothing is missing.
fn work(ledger: &Embedded, url: &DatabaseUrl) -> WorkDone {
    try_work(ledger, url).unwrap()
}

#[test]
fn a_worker_brings_a_database_up_to_date_and_writes_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let url = format!("sqlite:{}", dir.path().join("orders.db").display());
    let url = DatabaseUrl::parse(&url).unwrap();
    let ledger = start(&folder);
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    apply(&mut client, "t", vec![create(1000, 60_000)]);
    apply(&mut client, "t", (0..500).map(reserve).collect());
    assert_eq!(work(&ledger, &url).changes, 500);
    apply(&mut client, "t", (0..100).map(confirm).collect());
    ledger.stop();
    let ledger = start(&folder);
    assert_eq!(work(&ledger, &url).changes, 100);
    assert_eq!(work(&ledger, &url).changes, 0);
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    let audit = client.audit(&sale("t"), None).unwrap().unwrap();
    let mut rows = Vec::new();
    let mut database = url.open().unwrap();
    database
        .orders(&sale("t"), &mut |order| rows.push((order.id, order.status, order.version)))
        .unwrap();
    let expected = audit.reservations.iter();
    let expected = expected.map(|c| (c.reservation.id, Some(c.reservation.status), c.version));
    assert_eq!(rows, expected.collect::<Vec<_>>());

    // Rows that the orders will still get are no difference, with and without a server; a wrong row
    // is one.
    apply(&mut client, "t", (100..130).map(confirm).collect());
    let wrong = audit.reservations.iter().find(|c| c.reservation.id.0 == 300).unwrap();
    let status = Status::Cancelled;
    let reservation = Reservation { status, ..wrong.reservation.clone() };
    database.overwrite(&[Change { reservation, ..wrong.clone() }]).unwrap();
    let report =
        stampede::audit::audit(&mut client, Some(&mut *database), &[], Mode::Look).unwrap();
    assert_eq!((report.on_their_way, report.differences), (30, 1));
    ledger.stop();
    let mut client = OfflineClient::open(&folder, false).unwrap();
    let report =
        stampede::audit::audit(&mut client, Some(&mut *database), &[], Mode::Repair).unwrap();
    assert_eq!((report.on_their_way, report.repaired), (30, 1));
    drop(client);
    let ledger = start(&folder);
    assert_eq!(work(&ledger, &url).changes, 30);
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    let report =
        stampede::audit::audit(&mut client, Some(&mut *database), &[], Mode::Look).unwrap();
    assert_eq!((report.on_their_way, report.differences), (0, 0));
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The orders know sales that a folder, restored to an earlier state, has not made. However far the
/// folder has advanced since, it must not sell units that they may have paid for.
#[test]
fn a_folder_behind_its_orders_sells_nothing() {
    for (sold_since, restarts) in [(0, 0), (0, 1), (10, 1), (60, 1), (60, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let (folder, backup) = (dir.path().join("data"), dir.path().join("backup"));
        let url = format!("sqlite:{}", dir.path().join("orders.db").display());
        let url = DatabaseUrl::parse(&url).unwrap();
        let context = format!("{sold_since} sold since in {restarts} runs");
        let ledger = start(&folder);
        let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
        apply(&mut client, "t", vec![create(1000, 60_000)]);
        (0..20).for_each(|id| _ = apply(&mut client, "t", vec![reserve(id)]));
        assert_eq!(work(&ledger, &url).changes, 20);
        ledger.stop();
        copy(&folder, &backup);
        let ledger = start(&folder);
        let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
        (20..50).for_each(|id| _ = apply(&mut client, "t", vec![reserve(id)]));
        assert_eq!(work(&ledger, &url).changes, 30);
        ledger.stop();

        copy(&backup, &folder);
        for run in 0..restarts {
            let ledger = start(&folder);
            let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
            let first = 1000 * (run + 1);
            let ids = first..first + sold_since / restarts;
            ids.for_each(|id| _ = apply(&mut client, "t", vec![reserve(id)]));
            ledger.stop();
        }
        let ledger = start(&folder);
        let id = LedgerId(id_of(&ledger));
        let refused = try_work(&ledger, &url).unwrap_err().to_string();
        assert!(refused.contains(&format!("--restored-ledger {id}")), "{context}: {refused}");
        let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
        let sold = client.apply(&batch("t", vec![reserve(7)]));
        assert!(matches!(sold, Err(LedgerError::Refused(_))), "{context}: {sold:?}");
        let until = Instant::now() + ANSWER;
        while !ledger.has_failed() {
            assert!(Instant::now() < until, "{context}: the server goes on");
            std::thread::yield_now();
        }
        ledger.stop();

        // Only for the ledger that was meant, and only once.
        assert!(!renew_id(&folder, id.0 ^ 1).unwrap());
        assert!(renew_id(&folder, id.0).unwrap());
        assert!(!renew_id(&folder, id.0).unwrap());
        let ledger = start(&folder);
        assert_ne!(id_of(&ledger), id.0);
        assert_eq!(work(&ledger, &url).changes as u128, 20 + sold_since);
        ledger.stop();
        let ledger = start(&folder);
        assert_eq!(work(&ledger, &url).changes, 0);
    }
}

#[test]
fn a_source_that_scans_keeps_to_its_deadline() {
    const SALES: usize = 210_000;
    let dir = tempfile::tempdir().unwrap();
    let ledger = start(dir.path());
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    let names: Vec<SaleId> = (0..SALES).map(|n| sale(&format!("sale-{n}"))).collect();
    for names in names.chunks(30_000) {
        let group =
            |sale: &SaleId| Group { sale: sale.detached(), commands: vec![create(1, 1000)] };
        client.apply(&Batch { groups: names.iter().map(group).collect() }).unwrap();
    }
    let version = ledger.handle().ask(ANSWER, |store| store.version()).unwrap();
    apply(&mut client, names[SALES - 1].as_str(), vec![reserve(1)]);
    // One step passes over 100,000 sales.
    let mut source = EmbeddedSource::new(ledger.handle(), name_of(&ledger), version);
    assert_eq!(source.next(10, Duration::ZERO).unwrap(), []);
    assert_eq!(source.next(10, ANSWER).unwrap().len(), 1);
}

#[test]
fn a_waiting_source_is_woken_by_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = start(dir.path());
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    apply(&mut client, "t", vec![create(100, 60_000)]);
    let mut source = EmbeddedSource::new(ledger.handle(), name_of(&ledger), 0);
    assert_eq!(source.next(10, Duration::ZERO).unwrap(), []);
    let reader = std::thread::spawn(move || source.next(10, Duration::from_secs(600)).unwrap());
    apply(&mut client, "t", vec![reserve(1)]);
    assert_eq!(reader.join().unwrap().len(), 1);
}

#[test]
fn online_and_offline_clients_agree() {
    let dir = tempfile::tempdir().unwrap();
    let missing = OfflineClient::open(&dir.path().join("typo"), false).map(|_| ());
    assert!(matches!(missing, Err(OpenError::Missing(_))), "{missing:?}");
    assert!(!dir.path().join("typo").exists());
    let folder = dir.path().join("data");
    let mut offline = OfflineClient::open(&folder, true).unwrap();
    apply(&mut offline, "b", vec![create(10, 60_000), reserve(1), confirm(1)]);
    apply(&mut offline, "a", vec![create(10, 60_000)]);
    assert_eq!(offline.sales().unwrap(), [sale("a"), sale("b")]);
    let before = offline.audit(&sale("b"), Some(&Repair::default())).unwrap().unwrap();
    assert_agrees(&before);
    assert_eq!(before.undelivered_from, None);
    offline.orders_have(0).unwrap();
    let behind = offline.audit(&sale("b"), Some(&Repair::default())).unwrap().unwrap();
    assert_eq!(behind.undelivered_from, Some(1));
    assert!(offline.audit(&sale("c"), None).unwrap().is_none());
    let server = Embedded::start(&folder, never_fold(), wall_ms).map(|_| ());
    assert!(matches!(server, Err(OpenError::InUse(_))), "{server:?}");
    let id = offline.ledger_id();
    drop(offline);

    let ledger = start(&folder);
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    assert_eq!(client.ledger_id(), Ok(id));
    assert_eq!(client.sales().unwrap(), [sale("a"), sale("b")]);
    let after = client.audit(&sale("b"), None).unwrap().unwrap();
    assert_eq!(after.reservations, before.reservations);
    assert!(matches!(OfflineClient::open(&folder, false), Err(OpenError::InUse(_))));
    ledger.stop();
    let refused = client.apply(&batch("a", vec![Command::Show]));
    assert!(matches!(refused, Err(LedgerError::Refused(_))), "{refused:?}");
    assert!(matches!(client.sales(), Err(LedgerError::Refused(_))));
}

#[test]
fn a_removed_sale_stays_removed_and_can_be_recreated() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), never_fold()).unwrap();
    let outcomes = |store: &mut Store, commands| {
        store.commit(10, &[batch("t", commands)]).unwrap().remove(0).remove(0)
    };
    let reply = outcomes(
        &mut store,
        vec![
            create(5, 1000),
            reserve(1),
            Command::Remove,
            Command::Close,
            Command::Remove,
            confirm(1),
            Command::Remove,
            Command::Show,
            create(7, 1000),
            reserve(2),
        ],
    );
    assert_eq!(reply.outcomes[2], Outcome::NotClosed);
    assert_eq!(reply.outcomes[4], Outcome::StillHeld { held: 1 });
    assert_eq!(reply.outcomes[6..8], [Outcome::Removed, Outcome::UnknownSale]);
    assert!(matches!(reply.outcomes[9], Outcome::Granted { .. }));
    assert_eq!(reply.free, Some(6));
    let check = |store: &mut Store| {
        let show = |id| Command::ShowReservation(ReservationId(id));
        let reply = store.commit(10, &[batch("t", vec![show(1), show(2)])]).unwrap();
        let outcomes = &reply[0][0].outcomes;
        assert_eq!(outcomes[0], Outcome::UnknownReservation);
        assert!(matches!(outcomes[1], Outcome::Reservation(_)));
        assert_eq!(store.reservation_count(), 1);
    };
    check(&mut store);
    drop(store);
    // From the journal, and then from a snapshot.
    for _ in 0..2 {
        let mut store = Store::open(dir.path(), Options { compaction_changes_min: 1 }).unwrap();
        check(&mut store);
        store.maintain();
        while store.is_compacting() {
            std::thread::yield_now();
            store.maintain();
        }
    }
    let mut store = Store::open(dir.path(), never_fold()).unwrap();
    check(&mut store);
    let reply = outcomes(
        &mut store,
        vec![Command::Close, Command::Cancel(ReservationId(2)), Command::Remove],
    );
    assert_eq!((&reply.outcomes[2], reply.free), (&Outcome::Removed, None));
    drop(store);
    let store = Store::open(dir.path(), never_fold()).unwrap();
    assert_eq!((store.sales().count(), store.reservation_count()), (0, 0));
}

fn wait_for_free(client: &mut impl Client, name: &str, free: u64) {
    let until = Instant::now() + Duration::from_secs(60);
    while client.apply(&batch(name, vec![Command::Show])).unwrap()[0].free != Some(free) {
        assert!(Instant::now() < until, "{name} never has {free} free");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_clock_jump_expires_nothing_early_and_strands_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wall = Arc::new(AtomicU64::new(100 * HOUR_MS));
    let start = || {
        let wall = wall.clone();
        Embedded::start(dir.path(), never_fold(), move || wall.load(Ordering::Relaxed)).unwrap()
    };
    let ledger = start();
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    apply(&mut client, "long", vec![create(1, HOUR_MS / 2), reserve(1)]);
    apply(&mut client, "short", vec![create(1, 200)]);
    // While it runs: an hour forward, then two back.
    let mut id = 1;
    for wall_ms in [101 * HOUR_MS, 99 * HOUR_MS] {
        id += 1;
        wall.store(wall_ms, Ordering::Relaxed);
        let granted = apply(&mut client, "short", vec![reserve(id)]);
        assert!(matches!(granted[..], [Outcome::Granted { .. }]), "{granted:?}");
        wait_for_free(&mut client, "short", 1);
        let view = client.audit(&sale("long"), None).unwrap().unwrap().view;
        assert_eq!(view.held, 1);
        assert!((100 * HOUR_MS..100 * HOUR_MS + HOUR_MS / 2).contains(&view.now_ms));
    }
    apply(&mut client, "short", vec![reserve(100)]);
    ledger.stop();
    // Across a restart the machine's clock is an hour behind the ledger's: holds still return.
    let ledger = start();
    let mut client = EmbeddedClient::new(ledger.handle(), ANSWER);
    wait_for_free(&mut client, "short", 1);
    wait_for_free(&mut client, "long", 0);
    ledger.stop();
}

#[test]
fn due_units_return_among_thousands_of_idle_sales() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), never_fold()).unwrap();
    let groups = (0..10_000).map(|n| {
        let mut commands = vec![create(10, 100_000)];
        if n % 100 == 0 {
            commands.extend([reserve(n), reserve(n + 100_000)]);
        }
        Group { sale: sale(&format!("sale-{n}")), commands }
    });
    let batch = Batch { groups: groups.collect() };
    store.commit(1000, &[batch]).unwrap();
    let held = |store: &Store| store.sales().map(|(_, view)| view.held).sum::<u64>();
    let version = store.version();
    assert_eq!(
        (store.expire(100_999, 1000), held(&store), store.version()),
        (Ok(false), 200, version)
    );
    // Bounded over all sales together.
    assert_eq!((store.expire(101_000, 30), held(&store)), (Ok(true), 170));
    assert_eq!((store.expire(101_000, 1000), held(&store)), (Ok(false), 0));
    drop(store);
    let store = Store::open(dir.path(), never_fold()).unwrap();
    assert_eq!((held(&store), store.reservation_count()), (0, 200));
}
