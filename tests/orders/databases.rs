//! The databases: one row per reservation, its latest version, and errors that say who must act.

use std::sync::{Arc, Barrier};
use std::thread;

use stampede::orders::{Database, DatabaseError, Order, open};
use stampede::sale::{Change, Details, Lines, Note, SaleId, Status};
use stampede::trace::Trace;

use super::postgres_server::PostgresServer;
use super::{change, sale};

pub fn rows(database: &mut dyn Database, sale: &SaleId) -> Vec<Order> {
    let mut rows = Vec::new();
    database.orders(sale, &mut |order| rows.push(order)).expect("orders");
    rows
}

fn as_order(change: &Change) -> Order {
    let reservation = change.reservation.clone();
    Order {
        id: reservation.id,
        user: reservation.user.map(|user| user.as_str().to_owned()),
        quantity: reservation.quantity,
        status: Some(reservation.status),
        version: change.version,
        lines: Some(change.reservation.lines().map(Lines::to_json)),
    }
}

/// What both databases must do.
fn keeps_one_row_a_reservation(database: &mut dyn Database) {
    let (a, b) = (sale("a"), sale("b"));
    database.write(&[], None).expect("nothing");
    let held: Vec<_> = (1..=500).map(|n| change(&a, n, Status::Held, n)).collect();
    database.write(&held, None).expect("held");
    assert_eq!(rows(database, &a), held.iter().map(as_order).collect::<Vec<_>>());
    assert_eq!(rows(database, &b), []);

    // Twice, late, and several of one reservation at once, in any order.
    let (first, second) =
        (change(&a, 1, Status::Confirmed, 900), change(&a, 2, Status::Expired, 901));
    let late = change(&a, 2, Status::Confirmed, 902);
    let refunded = change(&a, 3, Status::Refunded, 903);
    let paid = change(&a, 3, Status::Confirmed, 900);
    let several = [first.clone(), late.clone(), refunded.clone(), second.clone(), paid.clone()];
    database.write(&several, None).expect("more");
    database.write(&held, None).expect("all again");
    database.write(&[second, paid], None).expect("older ones");
    let now = rows(database, &a);
    assert_eq!(now[0], as_order(&first));
    assert_eq!(now[1], as_order(&late));
    assert_eq!(now[2], as_order(&refunded));
    assert_eq!(now[3..], held[3..].iter().map(as_order).collect::<Vec<_>>());

    // Positions only grow.
    assert_eq!(database.position("x").expect("none"), None);
    database.write(&[change(&b, 1, Status::Held, 5)], Some(("x", 5))).expect("with a position");
    database.write(&[], Some(("x", 9))).expect("only a position");
    database.write(&[], Some(("x", 7))).expect("an older position");
    assert_eq!(database.position("x").expect("one"), Some(9));
    assert_eq!(database.position("y").expect("none"), None);

    // A repair writes what it is given.
    let repaired = change(&a, 2, Status::Cancelled, 3);
    database.overwrite(std::slice::from_ref(&repaired)).expect("a repair");
    assert_eq!(rows(database, &a)[1], as_order(&repaired));
}

/// The requests that made the sale's reservations, as the table has them: the id of each, in their
/// order. `read` returns id and `traceparent`.
fn says_who_asked(
    database: &mut dyn Database,
    mut read: impl FnMut() -> Vec<(Option<String>, Option<String>)>,
) {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let sale = sale("traced");
    let traced = |n: u64, status, version, trace: Option<(&str, &str)>| {
        let trace = trace.and_then(|(id, parent)| Trace::from_texts(id, parent)).map(Arc::new);
        Change { trace, ..change(&sale, n, status, version) }
    };
    // Many new rows, some with a trace: all at once, and once more.
    let asked = |n: u64| format!("asked {n}").replace(' ', "-");
    let held: Vec<_> = (1..=300)
        .map(|n| {
            let id = asked(n);
            traced(n, Status::Held, n, n.is_multiple_of(2).then_some((&id, PARENT)))
        })
        .collect();
    let mut want: Vec<_> = (1..=300u64)
        .map(|n| match n.is_multiple_of(2) {
            true => (Some(asked(n)), Some(PARENT.to_owned())),
            false => (None, None),
        })
        .collect();
    database.write(&held, None).expect("held");
    assert_eq!(read(), want);
    database.write(&held, None).expect("all again");
    assert_eq!(read(), want);
    // A later change without a trace leaves it.
    let later: Vec<_> = (1..=99).map(|n| traced(n, Status::Confirmed, 900, None)).collect();
    database.write(&later, None).expect("later");
    // A change that comes after a later one adds it; of several at once the first does.
    database.write(&[traced(301, Status::Confirmed, 9, None)], None).expect("the later one");
    database.write(&[traced(301, Status::Held, 8, Some(("late", "")))], None).expect("late");
    let both =
        [traced(302, Status::Held, 8, Some(("", PARENT))), traced(302, Status::Expired, 9, None)];
    database.write(&both, None).expect("both at once");
    database.overwrite(&[traced(2, Status::Held, 1, None)]).expect("a repair");
    want.extend([(Some("late".to_owned()), None), (None, Some(PARENT.to_owned()))]);
    assert_eq!(read(), want);
    let (rows, count) = (rows(database, &sale), want.len());
    assert_eq!(
        (rows.len(), rows[300].status, rows[300].version),
        (count, Some(Status::Confirmed), 9)
    );
}

/// The notes of the sale's reservations, as the table has them, in their order.
fn says_what_was_noted(database: &mut dyn Database, mut read: impl FnMut() -> Vec<Option<String>>) {
    let sale = sale("noted");
    let noted = |n: u64, status, version| {
        let note = n.is_multiple_of(2).then(|| Note::new(&format!("row {n}")).expect("a note"));
        let mut change = change(&sale, n, status, version);
        change.reservation.details = Details { note, ..Details::default() }.boxed();
        change
    };
    let want: Vec<_> =
        (1..=300).map(|n: u64| n.is_multiple_of(2).then(|| format!("row {n}"))).collect();
    let all =
        |status, version| (1..=300).map(move |n| noted(n, status, version)).collect::<Vec<_>>();
    for (status, version) in [(Status::Held, 1), (Status::Held, 1), (Status::Confirmed, 2)] {
        database.write(&all(status, version), None).expect("rows");
        assert_eq!(read(), want);
    }
    database.overwrite(&[noted(2, Status::Held, 1)]).expect("a repair");
    assert_eq!(read(), want);
}

/// Units by ticket type of the sale's reservations, as the table has them, in their order.
fn says_its_lines(database: &mut dyn Database, mut read: impl FnMut() -> Vec<Option<String>>) {
    let sale = sale("typed");
    let typed = |n: u64, lines: &str, status, version| {
        let mut change = change(&sale, n, status, version);
        let lines = Lines::from_text(lines);
        change.reservation.quantity = lines.as_ref().map_or(1, Lines::units);
        change.reservation.details = Details { lines, ..Details::default() }.boxed();
        change
    };
    let both = || Some(r#"{"adult":2,"child":1}"#.to_owned());
    let made: Vec<_> = (1..=300)
        .map(|n| typed(n, if n % 2 == 0 { "adult:2,child:1" } else { "" }, Status::Held, 5))
        .collect();
    let mut want: Vec<_> = (1..=300).map(|n| if n % 2 == 0 { both() } else { None }).collect();
    for _ in 0..2 {
        database.write(&made, None).expect("rows");
        assert_eq!(read(), want);
    }
    // A part is given back; the earlier state comes late, and changes nothing.
    database.write(&[typed(2, "adult:1", Status::Confirmed, 6)], None).expect("a part");
    want[1] = Some(r#"{"adult":1}"#.to_owned());
    assert_eq!(read(), want);
    database.write(&[typed(2, "adult:2", Status::Held, 4)], None).expect("a late one");
    assert_eq!(read(), want);
    let rows = rows(database, &sale);
    let lines: Vec<_> = rows.into_iter().map(|row| row.lines.expect("a column")).collect();
    assert_eq!(lines, want);
    database.overwrite(&[typed(2, "adult:2,child:1", Status::Held, 5)]).expect("a repair");
    database.overwrite(&[typed(4, "", Status::Held, 5)]).expect("a repair");
    (want[1], want[3]) = (both(), None);
    assert_eq!(read(), want);
}

const LINES: &str = "SELECT lines FROM orders WHERE sale = 'typed' ORDER BY reservation";
const NOTES: &str = "SELECT note FROM orders WHERE sale = 'noted' ORDER BY reservation";

const WHO_ASKED: &str =
    "SELECT request_id, traceparent FROM orders WHERE sale = 'traced' ORDER BY reservation";

#[test]
fn sqlite_rows_hold_request_ids_lines_and_notes() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let mut database = open(&format!("sqlite:{}", file.display())).expect("a database");
    let reader = rusqlite::Connection::open(&file).expect("the file");
    says_who_asked(&mut *database, || {
        let mut select = reader.prepare(WHO_ASKED).expect("a query");
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    });
    says_its_lines(&mut *database, || {
        let mut select = reader.prepare(LINES).expect("a query");
        let rows = select.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    });
    says_what_was_noted(&mut *database, || {
        let mut select = reader.prepare(NOTES).expect("a query");
        let rows = select.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    });
}

#[test]
fn postgres_rows_hold_request_ids_lines_and_notes() {
    let server = PostgresServer::start();
    let mut database = open(&server.url()).expect("a database");
    let mut reader = server.connect();
    says_who_asked(&mut *database, || {
        let rows = reader.query(WHO_ASKED, &[]).expect("rows");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    });
    says_its_lines(&mut *database, || {
        let rows = reader.query(LINES, &[]).expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    });
    says_what_was_noted(&mut *database, || {
        let rows = reader.query(NOTES, &[]).expect("rows");
        rows.iter().map(|row| row.get(0)).collect()
    });
}

/// Several workers that start at once and write the same rows in another order.
fn workers_share(url: &str) {
    let a = sale("shared");
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (a, start) = (&a, &start);
            scope.spawn(move || {
                start.wait();
                let mut database = open(url).expect("a database");
                for round in 0..20 {
                    let mut changes: Vec<_> =
                        (1..=200).map(|n| change(a, n, Status::Held, round * 4 + worker)).collect();
                    changes.rotate_left(worker as usize * 50);
                    database.write(&changes, None).expect("no deadlock");
                }
            });
        }
    });
    let rows = rows(&mut *open(url).expect("a database"), &a);
    assert_eq!(rows.len(), 200);
    assert!(rows.iter().all(|row| row.version == 79));
}

#[test]
fn sqlite_stores_one_row_per_reservation() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("orders.db").display());
    workers_share(&url);
    keeps_one_row_a_reservation(&mut *open(&url).expect("a database"));
    // Everything is there when it is opened again.
    assert_eq!(rows(&mut *open(&url).expect("a database"), &sale("a")).len(), 500);
}

pub fn fatal(url: &str) -> String {
    match open(url) {
        Err(DatabaseError::Fatal(text)) => text,
        Err(other) => panic!("this passes: {other}"),
        Ok(_) => panic!("{url} can be opened"),
    }
}

#[test]
fn a_foreign_or_newer_sqlite_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let url = format!("sqlite:{}", file.display());
    std::fs::write(
        &file,
        "something else, and longer than a header of SQLite, which has 100 bytes",
    )
    .expect("a file");
    assert!(fatal(&url).contains("another kind of file"));
    std::fs::remove_file(&file).expect("remove");

    let theirs = rusqlite::Connection::open(&file).expect("a database");
    theirs.execute_batch("CREATE TABLE orders (id)").expect("a table");
    drop(theirs);
    assert!(fatal(&url).contains("did not make"));
    std::fs::remove_file(&file).expect("remove");

    drop(open(&url).expect("ours"));
    let ours = rusqlite::Connection::open(&file).expect("a database");
    ours.execute_batch("PRAGMA user_version = 99").expect("a later version");
    assert!(fatal(&url).contains("newer stampede"));
    assert!(fatal("sqlite:/no/such/folder/orders.db").contains("/no/such/folder"));
}

#[test]
fn postgres_stores_one_row_per_reservation() {
    let mut server = PostgresServer::start();
    workers_share(&server.url());
    let mut database = open(&server.url()).expect("a database");
    keeps_one_row_a_reservation(&mut *database);
    assert_eq!(
        rows(&mut *open(&server.socket_url()).expect("over a socket"), &sale("a")).len(),
        500
    );

    // The times are the ledger's.
    let row = server.connect().query_one(
        "SELECT (extract(epoch FROM expires_at) * 1000)::bigint,
                (extract(epoch FROM created_at) * 1000)::bigint, idempotency_key
         FROM orders WHERE sale = 'a' AND user_id = 'user 5'",
        &[],
    );
    let row = row.expect("a row");
    assert_eq!(row.get::<_, i64>(0), 1_893_456_000_005);
    assert_eq!((row.get::<_, i64>(1), row.get::<_, &str>(2)), (1_893_455_000_005, "key 5"));

    // The database is away, and then it is back.
    server.crash();
    let later = [change(&sale("a"), 7, Status::Confirmed, 5_000)];
    for _ in 0..2 {
        assert!(matches!(database.write(&later, None), Err(DatabaseError::Away(_))));
        assert!(matches!(open(&server.url()), Err(DatabaseError::Away(_))));
    }
    server.restart();
    database.write(&later, None).expect("it is back");
    assert_eq!(rows(&mut *database, &sale("a"))[6], as_order(&later[0]));
}

#[test]
fn an_unusable_postgres_database_is_refused_with_the_reason() {
    let server = PostgresServer::start();
    let mut admin = server.connect();
    admin.batch_execute("CREATE ROLE clerk LOGIN; CREATE TABLE orders (id int)").expect("set-up");
    assert!(fatal(&server.url()).contains("did not make"));
    admin.batch_execute("DROP TABLE orders").expect("set-up");
    assert!(fatal(&server.url_of("clerk")).contains("permission denied for schema public"));
    assert!(fatal(&server.url_of("nobody")).contains("\"nobody\" does not exist"));
    let elsewhere = server.url() + "_of_another";
    assert!(fatal(&elsewhere).contains("\"postgres_of_another\" does not exist"));

    // After the set-up, the right to write is enough.
    drop(open(&server.url()).expect("set up"));
    admin
        .batch_execute("GRANT SELECT ON orders, stampede_positions, stampede_migrations TO clerk")
        .expect("grant");
    assert!(fatal(&server.url_of("clerk")).contains("GRANT INSERT ON orders TO clerk"));
    admin
        .batch_execute("GRANT INSERT, UPDATE ON orders, stampede_positions TO clerk")
        .expect("grant");
    let mut clerk = open(&server.url_of("clerk")).expect("enough rights");
    clerk.write(&[change(&sale("a"), 1, Status::Held, 1)], None).expect("a row");

    // Rights that are revoked, and a missing column.
    admin.batch_execute("REVOKE UPDATE ON orders FROM clerk").expect("revoke");
    let refused = clerk.write(&[change(&sale("a"), 1, Status::Held, 2)], None);
    assert!(
        matches!(refused, Err(DatabaseError::Fatal(text)) if text.contains("permission denied"))
    );
    admin.batch_execute("ALTER TABLE orders DROP COLUMN user_id").expect("alter");
    assert!(fatal(&server.url()).contains("changed stampede's tables"));
    admin.batch_execute("INSERT INTO stampede_migrations VALUES (99)").expect("a later version");
    assert!(fatal(&server.url()).contains("newer stampede"));
}

#[test]
fn the_certificate_of_postgres_is_checked() {
    let server = PostgresServer::start();
    let secure = format!("{}?sslmode=require", server.url());
    assert!(fatal(&secure).contains("TLS"));
    let certificate = server.with_tls();
    // A reload takes effect a little later than it is requested.
    super::shop::wait_for("TLS", || {
        open(&secure).is_err_and(|error| error.to_string().contains("UnknownIssuer"))
    });
    let trusted = format!("{secure}&sslrootcert={}", certificate.display());
    let mut database = open(&trusted).expect("over TLS");
    database.write(&[change(&sale("a"), 1, Status::Held, 1)], None).expect("a row");
    assert_eq!(rows(&mut *open(&server.url()).expect("without"), &sale("a")).len(), 1);

    // PostgreSQL's manual creates an authority's certificate, which libpq accepts as a server's.
    let server = PostgresServer::start();
    let certificate = server.with_tls_of_an_authority();
    let url = format!("{}?sslmode=require&sslrootcert={}", server.url(), certificate.display());
    super::shop::wait_for("TLS", || {
        open(&url).is_err_and(|error| error.to_string().contains("CaUsedAsEndEntity"))
    });
    assert!(fatal(&url).contains("name the authority by sslrootcert"), "{}", fatal(&url));
}
