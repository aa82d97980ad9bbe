//! No repair raises what can be sold while a claim, the stream or an order says that a buyer has
//! it.

use stampede::audit::{CheckReport, Mode, Report};
use stampede::ledger::client::Client;
use stampede::sale::{Change, Command, Outcome, Reservation, Status};

use super::server::RedisConnection;
use super::{
    CLAIMS, DEADLINES, RESERVATIONS, SALE, STREAM, WithOrders, apply, client, id, look,
    orders_check, reserve, sold, table, ticket,
};

/// Trims what workers have processed off the stream, as they do after a while.
fn trim(redis: &mut RedisConnection) {
    let trimmed = redis.text(&format!("XTRIM {STREAM} MAXLEN 0"));
    redis.ask(&format!("HINCRBY {SALE} stream_trimmed {trimmed}"));
}

fn units(redis: &mut RedisConnection) -> String {
    redis.text("HGET ticket_hash_key ticket_sold_nums")
}

fn check<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report.sales[0].checks.iter().find(|check| check.check == name).unwrap()
}

/// The field of a reservation, and its text with a part of one line replaced.
fn edit(redis: &mut RedisConnection, n: u128, from: &str, to: &str) {
    let name = id(n).to_string()[..10].to_owned();
    let text = redis.text(&format!("HGET {RESERVATIONS} {name}"));
    let line = text.lines().find(|line| line.starts_with(&id(n).to_string())).unwrap();
    assert!(line.contains(from), "{line}");
    let mut set = redis::cmd("HSET");
    set.arg(RESERVATIONS).arg(name).arg(text.replace(line, &line.replacen(from, to, 1)));
    redis.send(&set.get_packed_command(), 1);
}

fn stored(all: &mut WithOrders, n: u128) -> Reservation {
    let changes = look(&mut all.client, false).reservations;
    changes.into_iter().find(|change| change.reservation.id == id(n)).unwrap().reservation
}

fn row(all: &WithOrders, n: u128) -> (String, u32) {
    let sql = "SELECT status, quantity FROM orders WHERE reservation = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    all.sql.query_row(sql, [format!("ticket~{}", id(n))], read).unwrap()
}

/// Only units that nobody has are for sale afterwards: 57 of the 1,000 units are sold.
fn sells_no_more_than_before(all: &mut WithOrders) {
    assert_eq!(units(&mut all.redis), "57");
    all.redis.ask("HSET ticket_hash_key ticket_total_nums 57");
    let outcomes = apply(&mut all.client, vec![reserve(100, "late", "k")]);
    assert!(matches!(outcomes[0], Outcome::SoldOut { .. }), "{outcomes:?}");
    // Claims keep their keys from buying a second time.
    assert_eq!(all.redis.text(&format!("HLEN {CLAIMS}")), "30");
}

#[test]
fn units_known_to_the_orders_are_not_sold_again() {
    let mut all = WithOrders::new();
    trim(&mut all.redis);
    assert!(all.audit(false).agrees());
    all.redis.ask(&format!("DEL {RESERVATIONS}"));
    assert!(!all.audit(false).agrees());
    for _ in 0..2 {
        let report = all.audit(true);
        assert!(!report.agrees(), "{}", table(&report));
        let withheld = check(&report, "sold").withheld.as_deref();
        assert!(withheld.is_some_and(|why| why.contains("orders")), "{}", table(&report));
        assert!(table(&report).contains("left as it is: the orders"), "{}", table(&report));
        sells_no_more_than_before(&mut all);
    }
    // An operator decides that they are gone.
    let report = all.run(Mode::ReleaseUnits);
    assert!(check(&report, "sold").repaired.is_some(), "{}", table(&report));
    assert_eq!(units(&mut all.redis), "0");
    assert_eq!(orders_check(&report).differences, 40, "rows are never deleted");
}

#[test]
fn no_unit_is_sold_again_if_the_stream_is_lost_too() {
    for with_entries in [false, true] {
        let mut all = WithOrders::new();
        if with_entries {
            // After the stream's ids have passed those of the rows.
            trim(&mut all.redis);
            all.redis.ask(&format!("DEL {STREAM}"));
            apply(&mut all.client, vec![reserve(200, "one", "more"), Command::Cancel(id(200))]);
            all.redis.ask(&format!("HDEL {CLAIMS} one\tmore"));
        }
        all.redis.ask(&format!("DEL {STREAM}"));
        all.redis.ask(&format!("DEL {RESERVATIONS}"));
        let report = all.audit(true);
        assert!(!report.agrees(), "{}", table(&report));
        sells_no_more_than_before(&mut all);
    }
}

#[test]
fn without_orders_the_claims_are_witnesses() {
    let mut all = WithOrders::new();
    trim(&mut all.redis);
    all.redis.ask(&format!("DEL {RESERVATIONS}"));
    for _ in 0..2 {
        let audit = look(&mut all.client, true);
        let sold = audit.checks.iter().find(|check| check.name == "sold").unwrap();
        let why = sold.withheld.as_deref().unwrap_or_default();
        assert!(why.contains("claims name reservations"), "{:#?}", audit.checks);
        sells_no_more_than_before(&mut all);
    }
}

#[test]
fn without_any_witness_the_sold_count_is_left_unchanged() {
    let mut all = WithOrders::new();
    trim(&mut all.redis);
    all.redis.ask("HINCRBY ticket_hash_key ticket_sold_nums 3");
    for _ in 0..2 {
        let audit = look(&mut all.client, true);
        let sold = audit.checks.iter().find(|check| check.name == "sold").unwrap();
        let why = sold.withheld.as_deref().unwrap_or_default();
        assert!(why.contains("the orders were not looked at"), "{:#?}", audit.checks);
        assert_eq!(units(&mut all.redis), "60");
    }
    // They are whole, and have no more.
    let report = all.audit(true);
    assert!(report.agrees() && report.repaired == 1, "{}", table(&report));
    assert_eq!(units(&mut all.redis), "57");
    // The sold units are counted up from everything that is known.
    all.redis.ask("HINCRBY ticket_hash_key ticket_sold_nums -3");
    assert!(look(&mut all.client, true).checks.iter().all(|check| check.withheld.is_none()));
    assert_eq!(units(&mut all.redis), "57");
}

#[test]
fn a_repaired_stream_still_counts_as_incomplete() {
    let server = super::RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, 0);
    let mut redis = server.connect();
    // Some of the reservations, and every witness of them.
    redis.ask(&format!("DEL {STREAM}"));
    redis.ask(&format!("DEL {CLAIMS}"));
    redis.ask(&format!("HDEL {RESERVATIONS} {}", &id(12).to_string()[..10]));
    for _ in 0..3 {
        look(&mut client, true);
        assert_eq!(units(&mut redis), "57");
    }
}

#[test]
fn an_unreadable_order_is_a_witness_too() {
    let mut all = WithOrders::new();
    trim(&mut all.redis);
    all.redis.ask("HINCRBY ticket_hash_key ticket_sold_nums 3");
    all.sql
        .execute(
            "INSERT INTO orders (reservation, sale, user_id, idempotency_key, quantity, status,
                                 expires_at, created_at, updated_at, version)
             SELECT 'none', sale, user_id, idempotency_key, 3, status, expires_at,
             created_at, updated_at, version FROM orders WHERE reservation = ?1",
            [format!("ticket~{}", id(1))],
        )
        .unwrap();
    let report = all.audit(true);
    assert_eq!(units(&mut all.redis), "60");
    let example = &orders_check(&report).examples[0];
    assert!(example.contains("can't be read: \"none\""), "{example}");
    assert_eq!(orders_check(&report).differences, 1, "{}", table(&report));
}

#[test]
fn a_changed_line_is_restored_from_the_stream() {
    for (n, from, to) in [
        (1, "confirmed", "held"),
        (1, "confirmed", "cancelled"),
        (1, "confirmed", "refunded"),
        (12, "held", "cancelled"),
        (12, "held", "expired"),
        (12, "held 1", "held 3"),
        (13, "held 2", "held 1"),
        (9, "cancelled", "held"),
        (12, "user4", "eve"),
    ] {
        let mut all = WithOrders::new();
        let before = (stored(&mut all, n), row(&all, n));
        edit(&mut all.redis, n, from, to);
        let report = all.audit(false);
        let lines = check(&report, "lines");
        assert!(lines.differences == 1, "{from} {to}:\n{}", table(&report));
        assert!(lines.examples[0].contains("but the stream has"), "{:?}", lines.examples);
        let report = all.audit(true);
        assert!(report.agrees(), "{from} {to}:\n{}", table(&report));
        assert_eq!((stored(&mut all, n), row(&all, n)), before, "{from} {to}");
        assert_eq!(units(&mut all.redis), "57");
        let report = all.audit(false);
        assert!(report.agrees(), "{from} {to}:\n{}", table(&report));
    }
}

#[test]
fn a_paid_order_is_not_overwritten_by_an_unpaid_state() {
    let mut all = WithOrders::new();
    trim(&mut all.redis);
    // Where the stream has no more entries, only the order shows that it is paid.
    edit(&mut all.redis, 1, "confirmed", "held");
    edit(&mut all.redis, 12, "held 1", "cancelled 1");
    all.redis.ask(&format!("DEL {DEADLINES}"));
    for _ in 0..2 {
        let report = all.audit(true);
        assert_eq!(orders_check(&report).differences, 2, "{}", table(&report));
        assert_eq!(row(&all, 1), ("confirmed".into(), 2));
        assert_eq!(row(&all, 12), ("held".into(), 1));
        assert_eq!(units(&mut all.redis), "57");
        assert!(check(&report, "deadlines").withheld.is_some(), "{}", table(&report));
        assert_eq!(all.redis.text(&format!("ZCARD {DEADLINES}")), "8", "nor does it expire");
        assert_eq!(all.redis.text(&format!("XLEN {STREAM}")), "0", "nor is less told");
    }
    let report = all.run(Mode::ReleaseUnits);
    assert!(report.agrees(), "{}", table(&report));
    assert_eq!(row(&all, 1), ("held".into(), 2));
    assert_eq!(units(&mut all.redis), "56");
}

#[test]
fn an_order_marked_as_paid_by_hand_is_left_unchanged() {
    let mut all = WithOrders::new();
    all.execute("UPDATE orders SET status = 'confirmed' WHERE reservation = ?1", 12);
    let report = all.audit(true);
    assert_eq!(orders_check(&report).differences, 1, "{}", table(&report));
    assert!(orders_check(&report).withheld.is_some(), "{}", table(&report));
    assert_eq!(row(&all, 12).0, "confirmed");
}

#[test]
fn an_orphan_claim_is_removed_only_if_provably_unused() {
    let mut all = WithOrders::new();
    let orphan = format!("HSET {CLAIMS} nobody\tk {}", id(500));
    let is_there = format!("HEXISTS {CLAIMS} nobody\tk");
    trim(&mut all.redis);
    all.redis.ask(&orphan);
    // The stream that could show it is trimmed.
    look(&mut all.client, true);
    assert_eq!(all.redis.text(&is_there), "1");
    // A claim whose reservation exists is repaired all the same.
    all.redis.ask(&format!("HSET {CLAIMS} user0\tkey0 {}", id(4)));
    look(&mut all.client, true);
    assert_eq!(all.redis.text(&format!("HGET {CLAIMS} user0\tkey0")), id(0).to_string());
    assert_eq!(all.redis.text(&is_there), "1");
    // The orders have no such reservation, and the count does not include one.
    assert!(all.audit(true).agrees());
    assert_eq!(all.redis.text(&is_there), "0");
    // The count includes one more.
    all.redis.ask(&orphan);
    all.redis.ask("HINCRBY ticket_hash_key ticket_sold_nums 1");
    assert!(!all.audit(true).agrees());
    assert_eq!((all.redis.text(&is_there), units(&mut all.redis)), ("1".into(), "58".into()));
    assert!(all.run(Mode::ReleaseUnits).agrees());
    assert_eq!((all.redis.text(&is_there), units(&mut all.redis)), ("0".into(), "57".into()));
}

#[test]
fn a_users_count_is_not_lowered_in_doubt() {
    let server = super::RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, 100);
    let mut redis = server.connect();
    trim(&mut redis);
    let users = super::USERS;
    let before = redis.text(&format!("HGET {users} user0"));
    redis.ask(&format!("HINCRBY {users} user0 2"));
    redis.ask(&format!("HINCRBY {users} user4 -1"));
    let audit = look(&mut client, true);
    let check = audit.checks.iter().find(|check| check.name == "users").unwrap();
    assert!(check.withheld.is_some() && check.differences == 1, "{check:#?}");
    assert_ne!(redis.text(&format!("HGET {users} user0")), before);
}

#[test]
fn an_early_order_of_a_confirmation_is_no_difference() {
    let mut all = WithOrders::new();
    apply(&mut all.client, vec![Command::Confirm(id(20))]);
    // The worker is faster than the audit.
    let now = look(&mut all.client, false).reservations;
    let paid: Vec<Change> = now.into_iter().filter(|c| c.reservation.id == id(20)).collect();
    assert_eq!(paid[0].reservation.status, Status::Confirmed);
    all.database.write(&paid, None).unwrap();
    let report = all.audit(true);
    assert!(report.agrees() && report.repaired == 0, "{}", table(&report));
    assert!(all.client.audit(&ticket(), None).unwrap().is_some());
}
