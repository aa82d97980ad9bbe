//! The tables: created, as an older version left them, damaged, or in a database that cannot hold
//! them.

use stampede::orders::{DatabaseError, open};
use stampede::sale::{Status, User};

use super::databases::{fatal, rows};
use super::postgres_server::PostgresServer;
use super::{change, sale};

const POSTGRES_1: &str = include_str!("../../src/orders/migrations/postgres_1.sql");
const SQLITE_1: &str = include_str!("../../src/orders/migrations/sqlite_1.sql");
const INDEXES: [&str; 4] = ["orders_expires_at", "orders_pkey", "orders_sale", "orders_user_id"];

/// What 0.1.0 did not know when it created a table.
const REFUNDED: &str = ", 'refunded'";

/// The tables as 0.1.0 creates them.
fn tables_of_0_1_0(client: &mut postgres::Client) {
    client.batch_execute(&POSTGRES_1.replace(REFUNDED, "")).expect("tables");
    client
        .batch_execute(
            "CREATE TABLE stampede_migrations (
                 version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());
             INSERT INTO stampede_migrations (version) VALUES (1)",
        )
        .expect("their version");
}

fn indexes(client: &mut postgres::Client) -> Vec<String> {
    let sql = "SELECT indexname::text FROM pg_indexes WHERE tablename = 'orders' ORDER BY 1";
    client.query(sql, &[]).expect("indexes").iter().map(|row| row.get(0)).collect()
}

#[test]
fn tables_of_0_1_0_gain_indexes_and_remain_readable_by_0_1_0() {
    let server = PostgresServer::start();
    let mut admin = server.connect();
    tables_of_0_1_0(&mut admin);
    let mut database = open(&server.url()).expect("a database");
    database.write(&[change(&sale("a"), 1, Status::Held, 1)], None).expect("a row");
    database.write(&[change(&sale("a"), 1, Status::Refunded, 2)], None).expect("refunded");
    assert_eq!(indexes(&mut admin), INDEXES);
    let bare = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass
                AND attnum > 0 AND col_description(attrelid, attnum) IS NULL";
    assert_eq!(admin.query_one(bare, &[]).expect("a count").get::<_, i64>(0), 0);
    // A worker of 0.1.0 accepts no other version.
    let version = "SELECT max(version) FROM stampede_migrations";
    assert_eq!(admin.query_one(version, &[]).expect("a version").get::<_, i32>(0), 1);
    // No change of a status may touch an index.
    let by_status = "SELECT count(*) FROM pg_indexes
                     WHERE tablename = 'orders' AND indexdef LIKE '%status%'";
    assert_eq!(admin.query_one(by_status, &[]).expect("a count").get::<_, i64>(0), 0);
}

#[test]
fn no_index_is_built_on_a_large_or_locked_table() {
    let server = PostgresServer::start();
    let mut admin = server.connect();
    tables_of_0_1_0(&mut admin);
    let mut lock = admin.transaction().expect("a transaction");
    // Locks of a program of the shop that writes to the table, or reads it.
    lock.batch_execute("LOCK TABLE orders IN ROW EXCLUSIVE MODE").expect("a lock");
    let mut database = open(&server.url()).expect("a database");
    database.write(&[change(&sale("a"), 1, Status::Held, 1)], None).expect("a row");
    lock.rollback().expect("unlocked");
    assert_eq!(indexes(&mut admin), INDEXES[1..]);

    admin
        .batch_execute(
            "INSERT INTO orders SELECT n, 'large', NULL, repeat('x', 1500), 1, 'held', now(), now(),
                                       now(), 1 FROM generate_series(1, 50000) AS n",
        )
        .expect("a large table");
    let mut database = open(&server.url()).expect("a database");
    assert_eq!(indexes(&mut admin), INDEXES[1..]);
    // A large table accepts a refund too: it is not scanned for that.
    database.write(&[change(&sale("a"), 1, Status::Refunded, 2)], None).expect("refunded");
    admin.batch_execute("DELETE FROM orders WHERE sale = 'large'").expect("delete");
    admin.batch_execute("VACUUM FULL orders").expect("vacuum");
    drop(open(&server.url()).expect("a database"));
    assert_eq!(indexes(&mut admin), INDEXES);
}

#[test]
fn a_refund_in_a_foreign_table_names_the_owners_command() {
    let server = PostgresServer::start();
    let mut admin = server.connect();
    tables_of_0_1_0(&mut admin);
    admin
        .batch_execute(
            "CREATE ROLE guest LOGIN;
             GRANT SELECT, INSERT, UPDATE ON orders, stampede_positions, stampede_migrations TO guest",
        )
        .expect("a user");
    let mut database = open(&server.url_of("guest")).expect("a database");
    let confirmed = change(&sale("a"), 1, Status::Confirmed, 1);
    database.write(std::slice::from_ref(&confirmed), None).expect("what 0.1.0 knew");
    let refunded = [change(&sale("a"), 1, Status::Refunded, 2)];
    let said = match database.write(&refunded, None) {
        Err(DatabaseError::Fatal(said)) => said,
        other => panic!("{other:?}"),
    };
    let (_, command) = said.split_once("its owner must run: ").expect("a command");
    assert_eq!(rows(&mut *database, &sale("a"))[0].status, Some(Status::Confirmed));
    admin.batch_execute(command).expect("what it says");
    database.write(&refunded, None).expect("a refund");
    assert_eq!(rows(&mut *database, &sale("a"))[0].status, Some(Status::Refunded));
}

#[test]
fn a_database_with_a_limited_encoding_is_refused() {
    let server = PostgresServer::start();
    let mut admin = server.connect();
    for (name, encoding) in [("latin", "LATIN1"), ("china", "EUC_CN"), ("bytes", "SQL_ASCII")] {
        let create =
            format!("CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        admin.batch_execute(&create).expect("a database");
    }
    for (name, encoding) in [("latin", "LATIN1"), ("china", "EUC_CN")] {
        let said = fatal(&server.url_of_database(name));
        let told = format!("{name} is encoded in {encoding}");
        assert!(said.contains(&told) && said.contains("must be UTF8"), "{said}");
        // Its advice is right.
        let create = said.split("Make another: ").nth(1).expect("a command");
        admin.batch_execute(create).expect("a database that is UTF8");
        drop(open(&server.url_of_database(&format!("{name}_utf8"))).expect("UTF8"));
    }
    let a = sale("a");
    let mut row = change(&a, 1, Status::Held, 1);
    row.reservation.user = Some(User::new("张三 👩").expect("a user"));
    for url in [server.url(), server.url_of_database("bytes")] {
        let mut database = open(&url).expect("a database");
        database.write(std::slice::from_ref(&row), None).expect("a row");
        assert_eq!(rows(&mut *database, &a)[0].user.as_deref(), Some("张三 👩"));
    }
}

#[test]
fn a_missing_table_is_reported_with_the_remedy() {
    let server = PostgresServer::start();
    let mut admin = server.connect();
    for table in ["orders", "stampede_positions"] {
        drop(open(&server.url()).expect("set up"));
        admin.batch_execute(&format!("DROP TABLE {table}")).expect("drop");
        let said = fatal(&server.url());
        assert!(said.contains(&format!("the table {table} is gone")), "{said}");
        let from = said.find("DROP TABLE").expect("a command");
        let to = said.find(" and start again").expect("its end");
        admin.batch_execute(&said[from..to]).expect("what it says");
    }
    drop(open(&server.url()).expect("anew"));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let url = format!("sqlite:{}", file.display());
    drop(open(&url).expect("set up"));
    let by_hand = rusqlite::Connection::open(&file).expect("a database");
    by_hand.execute_batch("DROP TABLE orders").expect("drop");
    assert!(fatal(&url).contains("has lost a table"), "{}", fatal(&url));
}

#[test]
fn a_sqlite_file_of_0_1_0_gains_an_index_and_a_view() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let by_hand = rusqlite::Connection::open(&file).expect("a database");
    by_hand.execute_batch(&SQLITE_1.replace(REFUNDED, "")).expect("tables");
    let marks = format!("PRAGMA application_id = {}; PRAGMA user_version = 1", 0x5374_616d);
    by_hand.execute_batch(&marks).expect("marks");
    let mut database = open(&format!("sqlite:{}", file.display())).expect("a database");
    database.write(&[change(&sale("a"), 5, Status::Held, 5)], None).expect("a row");
    // Also while a worker of 0.1.0 has the file open.
    by_hand
        .execute_batch(
            "INSERT INTO orders (reservation, sale, user_id, idempotency_key, quantity, status,
                                 expires_at, created_at, updated_at, version)
             SELECT 'x', 'b', NULL, NULL, 1, 'held', 1, 1, 1, 1 WHERE 0",
        )
        .expect("nothing");
    database.write(&[change(&sale("b"), 6, Status::Refunded, 6)], None).expect("refunded");
    assert_eq!(rows(&mut *database, &sale("b"))[0].status, Some(Status::Refunded));
    drop(database);
    let mut database = open(&format!("sqlite:{}", file.display())).expect("once more");
    database.write(&[change(&sale("b"), 6, Status::Refunded, 7)], None).expect("refunded");
    let lost = by_hand.execute("UPDATE orders SET status = 'lost'", []);
    assert!(lost.is_err_and(|error| error.to_string().contains("CHECK constraint failed")));
    by_hand
        .execute_batch("PRAGMA integrity_check; DELETE FROM orders WHERE sale = 'b'")
        .expect("sound");

    let text = |sql: &str| by_hand.query_row(sql, [], |row| row.get::<_, String>(0)).expect(sql);
    let names = text(
        "SELECT group_concat(name, ' ' ORDER BY name) FROM sqlite_schema
         WHERE name LIKE 'orders_%' AND type IN ('index', 'view')",
    );
    assert_eq!(names, "orders_expires_at orders_readable orders_sale orders_user_id");
    let times = text("SELECT expires_at || ' ' || created_at FROM orders_readable");
    assert_eq!(times, "2030-01-01T00:00:00.005Z 2029-12-31T23:43:20.005Z");
    let version = "SELECT user_version FROM pragma_user_version";
    assert_eq!(by_hand.query_row(version, [], |row| row.get::<_, i32>(0)), Ok(1));
}
