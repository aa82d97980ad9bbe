//! A ledger that has lost data, or went back in time, compared with the orders that it made; and
//! sales that are not in the index.

use std::fs;
use std::path::Path;

use redis::Value;
use stampede::audit::{Mode, Report, audit};
use stampede::ledger::client::Client;
use stampede::ledger::embedded::OfflineClient;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisClient, RedisLedger, RedisSettings};
use stampede::ledger::{Batch, Group, LedgerError};
use stampede::orders::{self, Database, DatabaseError, Row, Sink};
use stampede::sale::{Change, Command, Outcome, SaleId, SaleSpec};

use super::postgres_server::PostgresServer;
use super::server::{RedisConnection, RedisServer};
use super::{WithOrders, apply, client, id, look, orders_check, reserve, sold, table, ticket};

const INDEX: &str = "stampede:sales:{sale}_hash_key";

/// Every key with its content.
fn dump(redis: &mut RedisConnection) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys: Vec<Vec<u8>> = redis::from_redis_value(redis.ask("KEYS *")).unwrap();
    let mut dumped = Vec::new();
    for key in keys {
        let mut dump = redis::cmd("DUMP");
        let value = redis.send(&dump.arg(&key).get_packed_command(), 1).remove(0);
        dumped.push((key, redis::from_redis_value(value).unwrap()));
    }
    dumped
}

/// Restores Redis.
fn restore(redis: &mut RedisConnection, dumped: &[(Vec<u8>, Vec<u8>)]) {
    redis.ask("FLUSHALL");
    for (key, value) in dumped {
        let mut restore = redis::cmd("RESTORE");
        restore.arg(key).arg(0).arg(value);
        let done = redis.send(&restore.get_packed_command(), 1).remove(0);
        assert_eq!(done, Value::Okay);
    }
}

fn write_all(all: &mut WithOrders) {
    let now = look(&mut all.client, false).reservations;
    all.database.write(&now, None).unwrap();
}

#[test]
fn a_redis_restored_to_an_earlier_state_differs_from_its_orders() {
    let mut all = WithOrders::new();
    all.redis.ask("HSET ticket_hash_key ticket_total_nums 120");
    let before = dump(&mut all.redis);
    let bought = (100..120).map(|n| reserve(n, "", &format!("late {n}")));
    apply(&mut all.client, bought.collect());
    apply(&mut all.client, vec![Command::Confirm(id(12)), Command::Cancel(id(13))]);
    write_all(&mut all);
    assert!(all.audit(false).agrees());

    restore(&mut all.redis, &before);
    // 20 that are lost, one that is paid, one that is cancelled.
    let report = all.audit(false);
    assert_eq!((report.differences, report.on_their_way), (22, 0), "{}", table(&report));
    assert!(orders_check(&report).examples[0].contains("newer than anything in the ledger"));
    let report = all.audit(true);
    assert_eq!(report.differences, 22, "{}", table(&report));
    // Now the ledger has reached later versions, by sales of its own.
    apply(&mut all.client, vec![reserve(300, "", "after")]);
    let report = all.audit(false);
    assert_eq!((report.differences, report.on_their_way), (22, 1), "{}", table(&report));
    // A row that calls a reservation held again takes no units from other buyers.
    let report = all.audit(true);
    assert_eq!((report.differences, report.on_their_way), (21, 1), "{}", table(&report));
}

#[test]
fn a_raised_sold_count_stays_while_orders_show_lost_units() {
    let mut all = WithOrders::new();
    let before = dump(&mut all.redis);
    apply(&mut all.client, vec![reserve(100, "", "late"), reserve(101, "", "late 2")]);
    write_all(&mut all);
    restore(&mut all.redis, &before);
    // The right reaction: lost reservations must not be sold again.
    all.redis.ask("HINCRBY ticket_hash_key ticket_sold_nums 3");
    for _ in 0..2 {
        assert!(!all.audit(true).agrees());
        assert_eq!(all.redis.text("HGET ticket_hash_key ticket_sold_nums"), "60");
    }
}

/// A database in which a worker writes an order just before the rows are read.
struct Racing<'a> {
    seller: RedisClient,
    database: &'a mut dyn Database,
    next: u128,
}

impl Sink for Racing<'_> {
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError> {
        self.database.write(changes, position)
    }

    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError> {
        self.database.position(source)
    }
}

impl Database for Racing<'_> {
    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError> {
        let key = format!("racing {}", self.next);
        apply(&mut self.seller, vec![reserve(self.next, "", &key)]);
        apply(&mut self.seller, vec![Command::Confirm(id(self.next - 1))]);
        self.next += 1;
        let now = look(&mut self.seller, false).reservations;
        self.database.write(&now, None)?;
        self.database.rows(sale, each)
    }

    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError> {
        self.database.sales()
    }

    fn highest_version(&mut self) -> Result<Option<u64>, DatabaseError> {
        self.database.highest_version()
    }

    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError> {
        self.database.overwrite(changes)
    }
}

#[test]
fn an_order_made_during_the_audit_is_no_difference() {
    let mut all = WithOrders::new();
    let seller = client(&all._server);
    let mut racing = Racing { seller, database: &mut *all.database, next: 200 };
    for mode in [Mode::Look, Mode::Repair] {
        let report = audit(&mut all.client, Some(&mut racing), &[], mode).unwrap();
        assert!(report.agrees() && report.repaired == 0, "{}", table(&report));
        assert!(report.on_their_way > 0, "{}", table(&report));
    }
}

fn batch(sale: &SaleId, commands: Vec<Command>) -> Batch {
    Batch { groups: vec![Group { sale: sale.clone(), commands }] }
}

fn named<'a>(report: &'a Report, sale: &str) -> &'a stampede::audit::SaleReport {
    report.sales.iter().find(|one| one.sale == sale).unwrap()
}

#[test]
fn a_flushed_redis_differs_from_its_orders() {
    let (server, postgres) = (RedisServer::start(&[]), PostgresServer::start());
    let mut client = client(&server);
    sold(&mut client, 0);
    let mut database = orders::open(&postgres.url()).unwrap();
    database.write(&look(&mut client, false).reservations, None).unwrap();
    server.connect().ask("FLUSHALL");

    let mut run =
        |client: &mut RedisClient, mode| audit(client, Some(&mut *database), &[], mode).unwrap();
    for mode in [Mode::Look, Mode::Repair] {
        let report = run(&mut client, mode);
        assert_eq!(report.differences, 40, "{}", table(&report));
        let check = &named(&report, "ticket").checks[0];
        assert!(check.examples[0].contains("40 rows of a sale that the ledger does not have"));
        assert!(check.examples[0].contains("57 units held or confirmed"), "{:?}", check.examples);
    }
    // What a careful operator does before he opens again.
    apply(&mut client, vec![Command::Create(SaleSpec::with_total(1000))]);
    for mode in [Mode::Look, Mode::Repair] {
        let report = run(&mut client, mode);
        assert_eq!((report.differences, report.on_their_way), (40, 0), "{}", table(&report));
    }
    // And the same after another purchase.
    apply(&mut client, vec![reserve(100, "", "new")]);
    let report = run(&mut client, Mode::Look);
    assert_eq!((report.differences, report.on_their_way), (40, 1), "{}", table(&report));
}

#[test]
fn orders_of_a_removed_sale_are_no_difference() {
    let mut all = WithOrders::new();
    apply(&mut all.client, (0..40).map(|n| Command::Confirm(id(n))).collect());
    write_all(&mut all);
    all.redis.ask(&format!("XGROUP DESTROY {} orders", super::STREAM));
    apply(&mut all.client, vec![Command::Close]);
    assert_eq!(apply(&mut all.client, vec![Command::Remove]), [Outcome::Removed]);
    let report = all.audit(true);
    assert!(report.agrees() && report.sales.is_empty(), "{}", table(&report));
    // Nor do they belong to another sale of this name.
    sold_again(&mut all.client);
    let report = all.audit(true);
    assert!(report.agrees(), "{}", table(&report));
    assert_eq!(orders_check(&report).found, 0.into(), "{}", table(&report));
    // But held reservations cannot have been removed.
    apply(&mut all.client, vec![Command::Cancel(id(500)), Command::Close, Command::Remove]);
    all.execute("UPDATE orders SET status = 'held' WHERE reservation = ?1", 3);
    let report = all.audit(false);
    assert_eq!(report.differences, 1, "{}", table(&report));
}

fn sold_again(client: &mut RedisClient) {
    let create = Command::Create(SaleSpec::with_total(10));
    let outcomes = apply(client, vec![create, reserve(500, "", "another")]);
    assert!(matches!(outcomes[1], Outcome::Granted { .. }), "{outcomes:?}");
}

#[test]
fn a_sale_missing_in_the_index_is_found_and_listed() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, 0);
    let poster = SaleId::new("poster").unwrap();
    client.apply(&batch(&poster, vec![Command::Create(SaleSpec::with_total(5))])).unwrap();
    let mut redis = server.connect();
    redis.ask(&format!("DEL {INDEX}"));
    redis.ask("HSET {other}:sale held 0");
    for n in 0..3_000 {
        redis.ask(&format!("SET foreign:{n} {n}"));
    }
    let report = audit(&mut client, None, &[], Mode::Look).unwrap();
    assert_eq!(report.differences, 2, "{}", table(&report));
    assert!(table(&report).contains("not listed"), "{}", table(&report));
    let report = audit(&mut client, None, &[], Mode::Repair).unwrap();
    assert!(report.agrees() && report.repaired == 2, "{}", table(&report));
    assert_eq!(client.sales().unwrap(), [poster, ticket()]);
    assert_eq!(audit(&mut client, None, &[], Mode::Look).unwrap().repaired, 0);
    // Keys of a sale whose counters are gone.
    redis.ask(&format!("DEL {INDEX}"));
    redis.ask("DEL ticket_hash_key");
    let report = audit(&mut client, None, &[ticket()], Mode::Look);
    assert!(report.is_err(), "{report:?}");
    let report = audit(&mut client, None, &[], Mode::Repair).unwrap();
    assert!(table(&report).contains("its counters are gone"), "{}", table(&report));
    assert_eq!(report.differences, 1, "{}", table(&report));
}

#[test]
fn an_audit_without_scan_reports_what_it_skipped() {
    let server = RedisServer::start(&[]);
    sold(&mut client(&server), 0);
    server.connect().ask("ACL SETUSER shop on >secret ~* &* +@all -scan");
    let url = server.url().replace("redis://", "redis://shop:secret@");
    let settings = RedisSettings::from_url(&url).unwrap();
    let ledger = RedisLedger::new(settings, Codec::new(KeyTemplates::default()), None).unwrap();
    let mut client = RedisClient::new(ledger.into(), "audit-test");
    let report = audit(&mut client, None, &[], Mode::Look).unwrap();
    assert!(report.agrees(), "{}", table(&report));
    assert!(report.not_looked_at[0].contains("sales that the index does not list"));
    assert!(table(&report).contains("not looked at: sales"), "{}", table(&report));
}

#[test]
fn unnamed_orders_are_reported_as_not_looked_at() {
    let mut all = WithOrders::new();
    let report = audit(&mut all.client, None, &[], Mode::Look).unwrap();
    assert!(report.agrees(), "{}", table(&report));
    assert!(table(&report).contains("not looked at: the orders of 1 sales"), "{}", table(&report));
    let nobody = RedisServer::start(&[]);
    let mut client = client(&nobody);
    sold(&mut client, 0);
    let report = audit(&mut client, None, &[], Mode::Look).unwrap();
    assert_eq!(report.not_looked_at, [""; 0]);
}

#[test]
fn unreadable_rows_are_named() {
    let (server, postgres) = (RedisServer::start(&[]), PostgresServer::start());
    let mut client = client(&server);
    sold(&mut client, 0);
    let mut database = orders::open(&postgres.url()).unwrap();
    database.write(&look(&mut client, false).reservations, None).unwrap();
    server.connect().ask(&format!("XGROUP CREATE {} orders $", super::STREAM));
    let mut sql = postgres.connect();
    sql.batch_execute(
        "ALTER TABLE orders DROP CONSTRAINT orders_status_check,
                            DROP CONSTRAINT orders_quantity_check;
         ALTER TABLE orders ALTER quantity DROP NOT NULL, ALTER status DROP NOT NULL,
                            ALTER sale DROP NOT NULL;",
    )
    .unwrap();
    let mut change = |column: &str, value: &str, n: u128| {
        let row = format!("ticket~{}", id(n));
        let sql_text = format!("UPDATE orders SET {column} = {value} WHERE reservation = $1");
        assert_eq!(sql.execute(&sql_text, &[&row]).unwrap(), 1);
        row
    };
    let named = [
        change("quantity", "NULL", 1),
        change("quantity", "-1", 2),
        change("version", "-5", 3),
        change("status", "'refunded'", 4),
        change("status", "NULL", 5),
    ];
    change("reservation", "'none'", 6);
    change("sale", "NULL", 7);
    let report = audit(&mut client, Some(&mut *database), &[], Mode::Look).unwrap();
    // The rows of the sixth and the seventh are missing too.
    let examples = orders_check(&report).examples.join("\n");
    assert_eq!(orders_check(&report).differences, 8, "{}", table(&report));
    for row in &named[..3] {
        assert!(examples.contains(&format!("can't be read: {row:?}")), "{row}:\n{examples}");
    }
    assert!(table(&report).contains("rows of NULL"), "{}", table(&report));
    // The lines that only lack a status, and the missing one, become what the ledger says; the
    // others are left to people.
    let report = audit(&mut client, Some(&mut *database), &[], Mode::Repair).unwrap();
    assert_eq!(orders_check(&report).differences, 5, "{}", table(&report));
    // A column of another type, in every row.
    postgres.connect().batch_execute("ALTER TABLE orders ALTER version TYPE text").unwrap();
    let report = audit(&mut client, Some(&mut *database), &[], Mode::Look).unwrap();
    assert!(orders_check(&report).differences >= 39, "{}", table(&report));
    let examples = &orders_check(&report).examples;
    assert!(examples.iter().any(|e| e.contains("version: ")), "{}", table(&report));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_folder_restored_to_an_earlier_state_differs_from_orders() -> Result<(), LedgerError> {
    let dir = tempfile::tempdir().unwrap();
    let (folder, older) = (dir.path().join("data"), dir.path().join("older"));
    let url = format!("sqlite:{}", dir.path().join("orders.db").display());
    let mut database = orders::open(&url).unwrap();
    let mut client = OfflineClient::open(&folder, true).unwrap();
    let create = Command::Create(SaleSpec::with_total(100));
    client.apply(&batch(&ticket(), vec![create]))?;
    client.apply(&batch(&ticket(), (0..20).map(|n| reserve(n, "", "")).collect()))?;
    drop(client);
    copy(&folder, &older);

    let mut client = OfflineClient::open(&folder, false).unwrap();
    client.apply(&batch(&ticket(), (20..50).map(|n| reserve(n, "", "")).collect()))?;
    let poster = SaleId::new("poster").unwrap();
    client.apply(&batch(&poster, vec![Command::Create(SaleSpec::with_total(5))]))?;
    client.apply(&batch(&poster, vec![reserve(1, "", ""), Command::Confirm(id(1))]))?;
    for sale in [&ticket(), &poster] {
        let changes = client.audit(sale, None)?.unwrap().reservations;
        database.write(&changes, None).unwrap();
    }
    let report = audit(&mut client, Some(&mut *database), &[], Mode::Look).unwrap();
    assert!(report.agrees(), "{}", table(&report));
    drop(client);

    let mut client = OfflineClient::open(&older, false).unwrap();
    for mode in [Mode::Look, Mode::Repair] {
        let report = audit(&mut client, Some(&mut *database), &[], mode).unwrap();
        assert_eq!((report.differences, report.on_their_way), (31, 0), "{}", table(&report));
        assert_eq!(named(&report, "poster").checks[0].differences, 1);
    }
    Ok(())
}
