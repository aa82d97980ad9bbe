//! The audit against a real Redis: it finds and repairs every kind of damage, and finds none in a
//! sale that goes on.

#[path = "audit/command.rs"]
mod command;
#[path = "audit/lost.rs"]
mod lost;
#[path = "audit/places.rs"]
mod places;
#[allow(dead_code)]
#[path = "support/postgres.rs"]
mod postgres_server;
#[allow(dead_code)]
#[path = "support/redis.rs"]
mod server;
#[path = "audit/types.rs"]
mod types;
#[path = "audit/witnesses.rs"]
mod witnesses;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use server::{RedisConnection, RedisServer};
use stampede::audit::{AuditError, Mode, Report, audit};
use stampede::ledger::client::{Check, Client, Repair, SaleAudit};
use stampede::ledger::redis::{
    Codec, KeyTemplates, RedisClient, RedisLedger, RedisSettings, trim_command,
};
use stampede::ledger::{Batch, Group, LedgerError};
use stampede::orders::{self, Database};
use stampede::sale::{
    Command, Key, Lines, Outcome, Remaining, ReservationId, Reserve, SaleId, SaleSpec, Status,
    Terms, Types, User,
};

const SALE: &str = "{ticket_hash_key}:sale";
const RESERVATIONS: &str = "{ticket_hash_key}:reservations";
const CLAIMS: &str = "{ticket_hash_key}:claims";
const USERS: &str = "{ticket_hash_key}:users";
const DEADLINES: &str = "{ticket_hash_key}:deadlines";
const STREAM: &str = "{ticket_hash_key}:stream";

/// What a seller may do while one audit runs, in rounds of three batches.
const ROUNDS_PER_AUDIT: usize = 40;
/// How long a seller may take for a few of them.
const SELLS_WITHIN: Duration = Duration::from_secs(60);

fn ticket() -> SaleId {
    SaleId::new("ticket").unwrap()
}

fn client(server: &RedisServer) -> RedisClient {
    let settings = RedisSettings::from_url(&server.url()).unwrap();
    let ledger = RedisLedger::new(settings, Codec::new(KeyTemplates::default()), None).unwrap();
    RedisClient::new(Arc::new(ledger), "audit-test")
}

fn apply(client: &mut RedisClient, commands: Vec<Command>) -> Vec<Outcome> {
    let batch = Batch { groups: vec![Group { sale: ticket(), commands }] };
    client.apply(&batch).expect("a reply").remove(0).outcomes
}

/// Ids whose first characters differ for every 4 of them.
fn id(n: u128) -> ReservationId {
    ReservationId(n | (n / 4 + 1) << 90)
}

fn reserve(n: u128, user: &str, key: &str) -> Command {
    Command::Reserve(Reserve {
        id: id(n),
        quantity: 1 + (n % 2) as u32,
        user: User::new(user).ok(),
        key: Key::new(key).ok(),
        trace: None,
        details: None,
    })
}

/// A sale with something of everything, in several entries of the stream.
fn sold(client: &mut RedisClient, limit_per_user: u32) {
    let mut spec = SaleSpec { limit_per_user, ..SaleSpec::with_total(1000) };
    spec.rules.reservations_per_user_max = limit_per_user;
    apply(client, vec![Command::Create(spec)]);
    for batch in 0..10 {
        let commands = (batch * 4..batch * 4 + 4).map(|n| match n % 4 {
            0 => reserve(n, &format!("user{}", n % 8), &format!("key{n}")),
            1 => reserve(n, " a user with spaces ", &format!("a key {n}")),
            2 => reserve(n, "ends with a space ", ""),
            _ => reserve(n, if limit_per_user > 0 { "u" } else { "" }, &format!("k{n}")),
        });
        let outcomes = apply(client, commands.collect());
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Granted { .. })));
    }
    apply(client, (0..8).map(|n| Command::Confirm(id(n))).collect());
    apply(client, vec![Command::Cancel(id(9)), Command::Cancel(id(10))]);
}

fn look(client: &mut RedisClient, repair: bool) -> SaleAudit {
    let how = Repair::default();
    client.audit(&ticket(), repair.then_some(&how)).expect("an audit").expect("a sale")
}

/// The same for a sale that may change so often that no look ends.
fn try_to_look(client: &mut RedisClient, repair: bool) -> Option<SaleAudit> {
    let how = Repair::default();
    match client.audit(&ticket(), repair.then_some(&how)) {
        Ok(audit) => Some(audit.expect("a sale")),
        Err(LedgerError::Refused(text)) if text.contains("times in a row") => None,
        Err(error) => panic!("{error}"),
    }
}

fn differing(audit: &SaleAudit) -> Vec<&Check> {
    audit.checks.iter().filter(|check| check.differences > 0 && check.repaired.is_none()).collect()
}

#[test]
fn a_sound_sale_agrees_and_shows_every_reservation() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    assert!(client.audit(&ticket(), None).unwrap().is_none(), "no sale");
    sold(&mut client, 100);
    let audit = look(&mut client, false);
    assert!(differing(&audit).is_empty(), "{:#?}", audit.checks);
    assert_eq!(audit.reservations.len(), 40);
    assert!(audit.reservations.is_sorted_by_key(|change| change.reservation.id));
    let first = &audit.reservations[0];
    assert_eq!(first.reservation.status, Status::Confirmed);
    assert_eq!(first.key.as_ref().map(Key::as_str), Some("key0"));
    assert_eq!(first.reservation.user.as_ref().map(User::as_str), Some("user0"));
    assert!(audit.reservations.iter().all(|c| c.version > 0 && c.version <= audit.version));
    assert_eq!(audit.undelivered_from, Some(0), "nobody reads the stream yet");
    let mut connection = server.connect();
    connection.ask(&format!("XGROUP CREATE {STREAM} orders 0"));
    connection.ask(&format!("XREADGROUP GROUP orders one COUNT 100 STREAMS {STREAM} >"));
    assert_eq!(look(&mut client, false).undelivered_from, Some(first_version(&mut connection)));
    let ids = connection.list(&format!("XRANGE {STREAM} - +"));
    for id in ids.iter().filter(|text| text.contains('-')) {
        connection.ask(&format!("XACK {STREAM} orders {id}"));
    }
    assert_eq!(look(&mut client, false).undelivered_from, None, "everything is acknowledged");
}

fn first_version(connection: &mut RedisConnection) -> u64 {
    let first = connection.list(&format!("XRANGE {STREAM} - + COUNT 1")).remove(0);
    let (ms, seq) = first.split_once('-').unwrap();
    ms.parse::<u64>().unwrap() << 20 | seq.parse::<u64>().unwrap()
}

/// Damages a sound sale. Expects these checks to find it, and a repair to repair it.
fn audit_and_repair(limit: u32, spoil: impl Fn(&mut RedisConnection), expected: &[&str]) {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, limit);
    spoil(&mut server.connect());

    let audit = look(&mut client, false);
    let names: Vec<&str> = differing(&audit).iter().map(|check| check.name).collect();
    assert_eq!(names, expected, "{:#?}", audit.checks);
    assert!(
        differing(&audit)
            .iter()
            .all(|check| !check.examples.is_empty()
                || ["held", "sold", "total"].contains(&check.name))
    );

    let repaired = look(&mut client, true);
    assert!(differing(&repaired).is_empty(), "{:#?}", repaired.checks);
    let mended = repaired.checks.iter().filter(|check| check.repaired.is_some());
    assert!(mended.count() >= expected.len(), "{:#?}", repaired.checks);

    let again = look(&mut client, true);
    assert!(again.checks.iter().all(|check| check.differences == 0), "{:#?}", again.checks);
    assert_eq!((again.view.held, again.view.confirmed), (45, 12));
    assert_eq!(again.reservations.len(), 40);
    // And it still sells.
    let outcomes = apply(&mut client, vec![reserve(100, "late", "k"), Command::Confirm(id(8))]);
    assert!(matches!(outcomes[0], Outcome::Granted { .. }), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Reservation(_)), "{outcomes:?}");
    assert!(differing(&look(&mut client, false)).is_empty());
}

#[test]
fn a_removed_claim_is_repaired() {
    audit_and_repair(
        0,
        |redis| assert_eq!(redis.text(&format!("HDEL {CLAIMS} user0\tkey0")), "1"),
        &["claims"],
    );
}

#[test]
fn lost_claims_and_a_foreign_claim_are_repaired() {
    audit_and_repair(
        0,
        |redis| {
            redis.ask(&format!("DEL {CLAIMS}"));
            redis.ask(&format!("HSET {CLAIMS} nobody\tk 00000000000000000000000099"));
        },
        &["claims"],
    );
}

#[test]
fn a_claim_of_another_reservation_is_repaired() {
    let set = format!("HSET {CLAIMS} user0\tkey0 {}", id(4));
    audit_and_repair(0, |redis| _ = redis.ask(&set), &["claims"]);
}

#[test]
fn a_wrong_held_count_is_repaired() {
    for change in ["HINCRBY", "HSET"] {
        let spoil = format!("{change} {SALE} held 7");
        audit_and_repair(0, |redis| _ = redis.ask(&spoil), &["held"]);
    }
    audit_and_repair(0, |redis| _ = redis.ask(&format!("HSET {SALE} held many")), &["held"]);
    audit_and_repair(0, |redis| _ = redis.ask(&format!("HDEL {SALE} held")), &["held"]);
}

#[test]
fn a_wrong_sold_count_is_repaired() {
    for sold in ["60", "50", "0", "1e3"] {
        let spoil = format!("HSET ticket_hash_key ticket_sold_nums {sold}");
        audit_and_repair(0, |redis| _ = redis.ask(&spoil), &["sold"]);
    }
}

#[test]
fn wrong_units_of_users_are_repaired() {
    let spoil = |redis: &mut RedisConnection| {
        redis.ask(&format!("HSET {USERS} user0 1"));
        redis.ask(&format!("HSET {USERS} nobody 5"));
        redis.ask(&format!("HSET {USERS} user4 x"));
        redis.ask(&format!("HDEL {USERS} user2"));
    };
    audit_and_repair(100, spoil, &["users"]);
}

#[test]
fn wrong_reservation_counts_of_users_are_repaired() {
    let spoil = |redis: &mut RedisConnection| {
        assert_eq!(redis.text(&format!("HGET {USERS} \tuser0")), "5");
        redis.ask(&format!("HSET {USERS} \tuser0 1"));
        redis.ask(&format!("HSET {USERS} \tnobody 5"));
        redis.ask(&format!("HSET {USERS} \tuser4 x"));
        redis.ask(&format!("HDEL {USERS} \tu"));
    };
    audit_and_repair(100, spoil, &["users"]);
}

#[test]
fn lost_and_wrong_deadlines_are_repaired() {
    let one = |redis: &mut RedisConnection| {
        let member = redis.list(&format!("ZRANGE {DEADLINES} 9 9")).remove(0);
        redis.ask(&format!("ZREM {DEADLINES} {member}"));
        let member = redis.list(&format!("ZRANGE {DEADLINES} 8 8")).remove(0);
        redis.ask(&format!("ZADD {DEADLINES} 9e14 {member}"));
        redis.ask(&format!("ZADD {DEADLINES} 9e14 x"));
    };
    audit_and_repair(0, one, &["deadlines"]);
    audit_and_repair(0, |redis| _ = redis.ask(&format!("DEL {DEADLINES}")), &["deadlines"]);
}

#[test]
fn deleted_stream_entries_are_repaired() {
    let delete = |redis: &mut RedisConnection, range: &str| {
        let id = redis.list(&format!("{range} COUNT 1")).remove(0);
        assert_eq!(redis.text(&format!("XDEL {STREAM} {id}")), "1");
    };
    // The first, one of many, the last: reservations, confirmations, cancellations.
    audit_and_repair(0, |redis| delete(redis, &format!("XRANGE {STREAM} - +")), &["stream"]);
    audit_and_repair(0, |redis| delete(redis, &format!("XREVRANGE {STREAM} + -")), &["stream"]);
    let several = |redis: &mut RedisConnection| {
        delete(redis, &format!("XREVRANGE {STREAM} + -"));
        delete(redis, &format!("XREVRANGE {STREAM} + -"));
        delete(redis, &format!("XRANGE {STREAM} - +"));
    };
    audit_and_repair(0, several, &["stream"]);
    audit_and_repair(0, |redis| _ = redis.ask(&format!("XTRIM {STREAM} MAXLEN 3")), &["stream"]);
    audit_and_repair(0, |redis| _ = redis.ask(&format!("DEL {STREAM}")), &["stream"]);
}

#[test]
fn lost_lines_are_restored_from_the_stream() {
    let lose = |redis: &mut RedisConnection| {
        let name = id(4).to_string()[..10].to_owned();
        assert_eq!(redis.text(&format!("HDEL {RESERVATIONS} {name}")), "1");
    };
    // Everything that is counted from lines differs until the lines are back.
    audit_and_repair(0, lose, &["sold", "lines"]);
    let damage = |redis: &mut RedisConnection| {
        let name = id(8).to_string()[..10].to_owned();
        let text = redis.text(&format!("HGET {RESERVATIONS} {name}"));
        let mut set = redis::cmd("HSET");
        set.arg(RESERVATIONS).arg(name).arg(text.replacen("held", "hold", 1));
        redis.send(&set.get_packed_command(), 1);
    };
    audit_and_repair(0, damage, &["held", "sold", "lines"]);
}

#[test]
fn nothing_is_recounted_while_a_line_is_unreadable() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, 0);
    let mut redis = server.connect();
    let before = redis.text("HGET ticket_hash_key ticket_sold_nums");
    // A line that holds units, and whose entry in the stream is gone too.
    redis.ask(&format!("DEL {STREAM}"));
    let name = id(8).to_string()[..10].to_owned();
    let text = redis.text(&format!("HGET {RESERVATIONS} {name}"));
    let mut set = redis::cmd("HSET");
    set.arg(RESERVATIONS).arg(name).arg(text.replacen("held", "hold", 1));
    redis.send(&set.get_packed_command(), 1);
    let audit = look(&mut client, true);
    assert!(!differing(&audit).is_empty(), "{:#?}", audit.checks);
    assert_eq!(redis.text("HGET ticket_hash_key ticket_sold_nums"), before, "sold again");
}

#[test]
fn a_sale_is_not_removed_before_its_group_has_read_it() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, 0);
    assert_eq!(client.join_groups("orders").expect("the groups"), ["orders"]);
    let held: Vec<Command> = (0..40).map(|n| Command::Confirm(id(n))).collect();
    apply(&mut client, held);
    apply(&mut client, vec![Command::Close]);
    let remove = Batch { groups: vec![Group { sale: ticket(), commands: vec![Command::Remove] }] };
    let refused = client.apply(&remove).expect_err("its orders are not written");
    assert!(refused.to_string().contains("group orders"), "{refused}");
    server.connect().ask("SREM stampede:sales:{sale}_hash_key:groups orders");
    assert_eq!(client.apply(&remove).expect("a reply")[0].outcomes, [Outcome::Removed]);
}

#[test]
fn a_total_below_the_sold_count_is_only_reported() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    sold(&mut client, 0);
    server.connect().ask("HSET ticket_hash_key ticket_total_nums 56");
    let audit = look(&mut client, true);
    let names: Vec<&str> = differing(&audit).iter().map(|check| check.name).collect();
    assert_eq!(names, ["total"]);
    assert_eq!(server.connect().text("HGET ticket_hash_key ticket_total_nums"), "56");
}

#[test]
fn trimming_processed_entries_makes_no_difference() {
    let server = RedisServer::start(&["--stream-node-max-entries", "1"]);
    let mut client = client(&server);
    let mut redis = server.connect();
    // Old entries, of a reservation that the sale gets afterwards.
    let line = format!("{} cancelled 1 9\n", id(1));
    for n in 1..=10 {
        let mut add = redis::cmd("XADD");
        add.arg(STREAM).arg(format!("{n}-0")).arg("at_ms").arg(n).arg("reservations").arg(&line);
        redis.send(&add.get_packed_command(), 1);
    }
    let mut set = redis::cmd("HSET");
    set.arg(RESERVATIONS).arg(&id(1).to_string()[..10]).arg(&line);
    redis.send(&set.get_packed_command(), 1);
    redis.ask("HSET ticket_hash_key ticket_total_nums 9 ticket_sold_nums 0");
    let keys = KeyTemplates::default().of(&ticket());
    let mut trim = |groups: &[String]| {
        let command = trim_command(&keys, groups);
        let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        let trimmed = client.command(&arguments).expect("trimmed");
        assert!(differing(&look(&mut client, false)).is_empty());
        redis::from_redis_value::<u64>(trimmed).unwrap()
    };
    assert_eq!(trim(&[]), 0, "nobody has processed anything");
    redis.ask(&format!("XGROUP CREATE {STREAM} orders 0"));
    assert_eq!(trim(&[]), 0);
    redis.ask(&format!("XREADGROUP GROUP orders one COUNT 6 STREAMS {STREAM} >"));
    for id in [1, 2, 4] {
        redis.ask(&format!("XACK {STREAM} orders {id}-0"));
    }
    assert_eq!(trim(&["late".into()]), 0, "a group that reads all streams has yet to begin");
    assert_eq!(trim(&["orders".into()]), 2, "the third is pending");
    redis.ask(&format!("XACK {STREAM} orders 3-0 5-0 6-0"));
    redis.ask(&format!("XGROUP CREATE {STREAM} others 4-0"));
    assert_eq!(trim(&[]), 2, "the others have yet to see the fifth");
    redis.ask(&format!("XGROUP DESTROY {STREAM} others"));
    redis.ask(&format!("XREADGROUP GROUP orders one NOACK STREAMS {STREAM} >"));
    redis.ask(&format!("XADD {STREAM} * reservations {}", line.replace(' ', "_")));
    assert_eq!(redis.text(&format!("XLEN {STREAM}")), "7");
    redis.ask(&format!("XTRIM {STREAM} MAXLEN 6"));
    let command = trim_command(&keys, &[]);
    let arguments: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    let trimmed = client.command(&arguments).expect("trimmed");
    assert_eq!(redis::from_redis_value::<u64>(trimmed).unwrap(), 5, "not the youngest");
    let audit = look(&mut client, false);
    let stream = differing(&audit).into_iter().find(|check| check.name == "stream");
    assert!(stream.is_some(), "one entry went by hand: {:#?}", audit.checks);
}

#[test]
fn a_running_sale_shows_no_difference() {
    goes_on(Kind::Plain);
}

#[test]
fn a_running_sale_that_is_changed_shows_no_difference() {
    goes_on(Kind::Changed);
}

#[test]
fn a_running_sale_with_types_shows_no_difference() {
    goes_on(Kind::Typed);
}

/// On drop, tells the sellers to end.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The sale that goes on.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    /// Its terms are changed meanwhile.
    Changed,
    /// It has ticket types.
    Typed,
}

fn goes_on(kind: Kind) {
    let server = RedisServer::start(&[]);
    let mut auditor = client(&server);
    let mut spec = SaleSpec { limit_per_user: 1_000, hold_ms: 20, ..SaleSpec::with_total(1 << 30) };
    spec.rules.reservations_per_user_max = u32::MAX;
    let (changes, is_typed) = (kind == Kind::Changed, kind == Kind::Typed);
    if is_typed {
        spec.types = Types::from_text("adult:99999999,child:99999999").unwrap();
    }
    apply(&mut auditor, vec![Command::Create(spec)]);
    let done = AtomicBool::new(false);
    // The sale may not grow beyond what an audit of a debug build can read.
    let allowed = AtomicUsize::new(ROUNDS_PER_AUDIT);
    // Of both sellers; a busy machine may let neither begin for a while.
    let made = AtomicUsize::new(0);
    let sells_on = || {
        let (from, until) = (made.load(Ordering::Relaxed), Instant::now() + SELLS_WITHIN);
        while made.load(Ordering::Relaxed) < from + ROUNDS_PER_AUDIT / 4 {
            assert!(Instant::now() < until, "nobody sells");
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::scope(|scope| {
        for seller in 0..2u128 {
            let mut client = client(&server);
            let (done, allowed, made) = (&done, &allowed, &made);
            scope.spawn(move || {
                let (mut n, mut rounds) = (seller << 64, 0);
                while !done.load(Ordering::Relaxed) {
                    if rounds == allowed.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    rounds += 1;
                    let ids = n..n + 8;
                    let users = |n: u128| format!("user{}", n % 50);
                    let buy = ids.clone().map(|n| match reserve(n, &users(n), &n.to_string()) {
                        one if is_typed => types::typed(one, "adult"),
                        one => one,
                    });
                    apply(&mut client, buy.collect());
                    let settle = ids.clone().map(|n| match n % 4 {
                        0 | 1 => Command::Confirm(id(n)),
                        2 => Command::Cancel(id(n)),
                        _ => Command::Show,
                    });
                    apply(&mut client, settle.collect());
                    let one = || match is_typed {
                        true => Remaining::Lines(Lines::from_text("adult:1").unwrap()),
                        false => Remaining::Units(1),
                    };
                    let parts = ids.clone().map(|n| match n % 8 {
                        3 => Command::Extend(id(n), Some(60)),
                        5 => Command::RefundTo(id(n), one()),
                        7 => Command::CancelTo(id(n), one()),
                        _ => Command::Show,
                    });
                    apply(&mut client, parts.collect());
                    apply(&mut client, ids.step_by(4).map(|n| Command::Refund(id(n))).collect());
                    if changes && rounds % 16 == 0 {
                        let limit_per_user = Some(if rounds % 32 == 0 { 0 } else { 1_000 });
                        let hold_ms = Some(10 + rounds as u64 % 20);
                        let reservations_per_user_max =
                            Some(if rounds % 48 == 0 { 0 } else { u32::MAX });
                        let terms = Terms {
                            limit_per_user,
                            hold_ms,
                            reservations_per_user_max,
                            ..Terms::default()
                        };
                        let changed = apply(&mut client, vec![Command::ChangeTerms(terms)]);
                        let refused = matches!(changed[0], Outcome::TooManyToCount { .. });
                        assert!(refused || matches!(changed[0], Outcome::Sale(_)), "{changed:?}");
                    }
                    apply(&mut client, vec![Command::Expire { batch_max: 64 }]);
                    n += 8;
                    made.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Also if something fails: otherwise they would run for ever.
        let _ended = Ended(&done);
        let mut reservations = 0;
        for round in 0..20 {
            // Some audits repair: there is nothing to repair, and nothing may be changed.
            allowed.fetch_add(ROUNDS_PER_AUDIT, Ordering::Relaxed);
            sells_on();
            let Some(audit) = try_to_look(&mut auditor, round % 4 == 3) else { continue };
            let changed: Vec<_> = audit.checks.iter().filter(|c| c.differences > 0).collect();
            assert!(changed.is_empty(), "round {round}: {changed:#?}");
            assert!(audit.reservations.len() >= reservations);
            reservations = audit.reservations.len();
        }
        if changes {
            return;
        }
        allowed.fetch_add(10 * ROUNDS_PER_AUDIT, Ordering::Relaxed);
        sells_on();
        // Repaired while the sale goes on, and the counts are exact all the same.
        let mut redis = server.connect();
        // In one step: a sale with fewer units sold than held is refused.
        redis.ask("MULTI");
        redis.ask("HINCRBY ticket_hash_key ticket_sold_nums 5");
        redis.ask(&format!("HINCRBY {SALE} held 3"));
        redis.ask(&format!("HINCRBY {USERS} user7 2"));
        redis.ask("EXEC");
        let audit = look(&mut auditor, true);
        let repaired = audit.checks.iter().filter(|check| check.repaired.is_some());
        let names: Vec<_> = repaired.map(|check| check.name).collect();
        assert_eq!(names, ["held", "sold", "users"], "{:#?}", audit.checks);
    });
    let audit = look(&mut auditor, false);
    assert!(audit.checks.iter().all(|check| check.differences == 0), "{:#?}", audit.checks);
    assert!(audit.reservations.len() > 100, "{}", audit.reservations.len());
}

/// A Redis, the database that has every reservation, and a connection that damages the database.
struct WithOrders {
    client: RedisClient,
    database: Box<dyn Database>,
    sql: rusqlite::Connection,
    redis: RedisConnection,
    _server: RedisServer,
    _folder: tempfile::TempDir,
}

impl WithOrders {
    fn new() -> Self {
        let server = RedisServer::start(&[]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("orders.db");
        let mut client = client(&server);
        sold(&mut client, 0);
        let mut redis = server.connect();
        let mut database = orders::open(&format!("sqlite:{}", file.display())).unwrap();
        database.write(&look(&mut client, false).reservations, None).unwrap();
        redis.ask(&format!("XGROUP CREATE {STREAM} orders $"));
        let sql = rusqlite::Connection::open(&file).unwrap();
        Self { client, database, sql, redis, _server: server, _folder: folder }
    }

    fn audit(&mut self, repair: bool) -> Report {
        self.run(if repair { Mode::Repair } else { Mode::Look })
    }

    fn run(&mut self, mode: Mode) -> Report {
        audit(&mut self.client, Some(&mut *self.database), &[], mode).unwrap()
    }

    fn execute(&mut self, sql: &str, n: u128) {
        let changed = self.sql.execute(sql, [format!("ticket~{}", id(n))]).unwrap();
        assert_eq!(changed, 1, "{sql}");
    }
}

fn orders_check(report: &Report) -> &stampede::audit::CheckReport {
    report.sales[0].checks.iter().find(|check| check.check == "orders").unwrap()
}

fn table(report: &Report) -> String {
    report.to_string()
}

#[test]
fn deleted_and_changed_rows_are_repaired() {
    let mut all = WithOrders::new();
    let report = all.audit(false);
    assert!(report.agrees() && report.on_their_way == 0, "{}", table(&report));
    all.execute("DELETE FROM orders WHERE reservation = ?1", 3);
    all.execute("UPDATE orders SET status = 'cancelled' WHERE reservation = ?1", 4);
    all.execute("UPDATE orders SET quantity = 9 WHERE reservation = ?1", 5);
    all.execute("UPDATE orders SET user_id = 'eve' WHERE reservation = ?1", 6);
    all.execute("UPDATE orders SET status = 'held', version = 1 WHERE reservation = ?1", 7);
    let report = all.audit(false);
    assert_eq!((report.differences, orders_check(&report).differences), (5, 5));
    let text = table(&report);
    assert!(text.contains("5 differ") && text.contains("no row: "), "{text}");
    assert!(text.lines().last().unwrap().contains("5 differences"), "{text}");

    let report = all.audit(true);
    assert!(report.agrees() && report.repaired == 1, "{}", table(&report));
    assert!(table(&report).contains("5 differed, repaired: 5 rows written"));
    let report = all.audit(false);
    assert!(report.agrees() && report.repaired == 0, "{}", table(&report));
    assert!(table(&report).contains("everything agrees"));
}

#[test]
fn a_row_without_a_reservation_is_never_deleted() {
    let mut all = WithOrders::new();
    let mut extra = look(&mut all.client, false).reservations.remove(0);
    extra.reservation.id = ReservationId(77);
    all.database.write(&[extra], None).unwrap();
    let report = all.audit(true);
    assert_eq!(report.differences, 1, "{}", table(&report));
    assert!(orders_check(&report).examples[0].contains("a row without a reservation"));
    assert_eq!(orders_check(&report).found, 41.into());
}

#[test]
fn undelivered_changes_are_no_difference() {
    let mut all = WithOrders::new();
    apply(&mut all.client, vec![Command::Confirm(id(20)), reserve(90, "new", "k")]);
    let report = all.audit(true);
    assert!(report.agrees() && report.repaired == 0, "{}", table(&report));
    assert_eq!((report.on_their_way, &orders_check(&report).found), (2, &40.into()));
    // Delivered and acknowledged, but not written: a worker that lied.
    all.redis.ask(&format!("XREADGROUP GROUP orders one NOACK COUNT 9 STREAMS {STREAM} >"));
    let report = all.audit(false);
    assert_eq!((report.on_their_way, report.differences), (0, 2), "{}", table(&report));
    assert!(all.audit(true).agrees());
    assert!(all.audit(false).sales[0].checks.iter().all(|check| check.differences == 0));
}

/// Only a refund changes a paid reservation: a row that is behind it is late, not wrong.
#[test]
fn a_refund_missing_in_the_orders_is_written() {
    let mut all = WithOrders::new();
    let report = all.audit(false);
    let confirmed = report.sales[0].confirmed;
    apply(&mut all.client, vec![Command::Refund(id(1))]);
    let report = all.audit(true);
    assert!(report.agrees() && report.repaired == 0, "{}", table(&report));
    assert_eq!((report.on_their_way, report.sales[0].confirmed), (1, confirmed - 2));
    // Delivered and acknowledged, but not written: a worker that lied.
    all.redis.ask(&format!("XREADGROUP GROUP orders one NOACK COUNT 9 STREAMS {STREAM} >"));
    let report = all.audit(false);
    assert_eq!((report.on_their_way, report.differences), (0, 1), "{}", table(&report));
    assert!(
        orders_check(&report).examples[0].contains("refunded in the ledger, confirmed in the row")
    );
    assert!(all.audit(true).agrees());
    let sql = "SELECT status FROM orders WHERE reservation = ?1";
    let id = format!("ticket~{}", id(1));
    assert_eq!(all.sql.query_row(sql, [id], |row| row.get(0)), Ok("refunded".to_owned()));
    assert!(all.audit(false).sales[0].checks.iter().all(|check| check.differences == 0));
}

#[test]
fn a_deleted_stream_entry_is_sent_to_the_orders_again() {
    let mut all = WithOrders::new();
    apply(&mut all.client, vec![Command::Confirm(id(21))]);
    let last = all.redis.list(&format!("XREVRANGE {STREAM} + - COUNT 1")).remove(0);
    all.redis.ask(&format!("XDEL {STREAM} {last}"));
    all.redis.ask(&format!("XGROUP SETID {STREAM} orders $"));
    let report = all.audit(false);
    let differ = report.sales[0].checks.iter().filter(|check| check.differences > 0);
    let names: Vec<&str> = differ.map(|check| &*check.check).collect();
    assert_eq!(names, ["stream", "orders"], "{}", table(&report));
    let report = all.audit(true);
    assert!(report.agrees() && report.on_their_way == 1, "{}", table(&report));
}

#[test]
fn missing_sales_and_missing_counters_are_reported() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    let got = audit(&mut client, None, &[ticket()], Mode::Look);
    assert!(matches!(got, Err(AuditError::UnknownSale(_))), "{got:?}");
    assert!(audit(&mut client, None, &[], Mode::Look).unwrap().agrees(), "no sale, no difference");
    sold(&mut client, 0);
    server.connect().ask("DEL ticket_hash_key");
    let report = audit(&mut client, None, &[], Mode::Look).unwrap();
    assert_eq!(report.differences, 1, "{}", table(&report));
    assert!(table(&report).contains("its counters are gone"), "{}", table(&report));
}
