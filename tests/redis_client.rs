//! The blocking client of the Redis ledger against a real Redis: it reconnects by itself, reports
//! what can have happened, and keeps the index of sales.

#[allow(dead_code)]
#[path = "support/redis.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use rustix::process::{Pid, Signal, kill_process};
use server::RedisServer;
use stampede::ledger::client::{Client, Repair};
use stampede::ledger::members::{Member, MemberId, MemberList};
use stampede::ledger::redis::{
    Codec, EntryId, KeyTemplates, Pipeline, RedisClient, RedisLedger, RedisSettings, ScriptName,
    trim_command,
};
use stampede::ledger::{Batch, BatchReply, Group, LedgerError};
use stampede::limits::{LEASE_MS, MEMBERS_MAX};
use stampede::sale::{
    Command, Key, Outcome, ReservationId, Reserve, SaleId, SaleSpec, Split, Terms, User,
};

const INDEX: &str = "stampede:sales:{sale}_hash_key";
const MEMBERS: &str = "stampede:sales:{sale}_hash_key:members";
const LEASES: &str = "stampede:sales:{sale}_hash_key:leases";

fn client_at(url: &str) -> RedisClient {
    let settings = RedisSettings::from_url(url).expect("a Redis URL");
    let codec = Codec::new(KeyTemplates::default());
    let ledger = RedisLedger::new(settings, codec, None).expect("a ledger");
    RedisClient::new(Arc::new(ledger), "test")
}

fn client(server: &RedisServer) -> RedisClient {
    client_at(&server.url())
}

fn sale(id: &str) -> SaleId {
    SaleId::new(id).expect("a sale id")
}

fn batch(groups: Vec<(&str, Vec<Command>)>) -> Batch {
    let group = |(id, commands)| Group { sale: sale(id), commands };
    Batch { groups: groups.into_iter().map(group).collect() }
}

fn one(id: &str, command: Command) -> Batch {
    batch(vec![(id, vec![command])])
}

fn create(total: u64) -> Command {
    Command::Create(SaleSpec::with_total(total))
}

fn reserve(n: u128) -> Command {
    let id = ReservationId(n);
    Command::Reserve(Reserve { id, quantity: 1, user: None, key: None, trace: None, details: None })
}

#[test]
fn a_client_sends_batches_of_many_sales_and_other_commands() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    let replies = client
        .apply(&batch(vec![
            ("b", vec![create(2), reserve(1), reserve(2), reserve(3), Command::Show]),
            ("a", vec![create(1)]),
            ("c", vec![Command::Show]),
        ]))
        .expect("replies");
    assert_eq!(replies[0].outcomes.len(), 5);
    assert_eq!((replies[0].free, replies[1].free, replies[2].free), (Some(0), Some(1), None));
    assert_eq!(client.sales().expect("the index"), [sale("a"), sale("b")]);
    assert_eq!(client.sales_count(), Ok(2));

    assert_eq!(client.command(&[b"SET", b"k", b"v"]), Ok(Value::Okay));
    let mut pipeline = Pipeline::new();
    pipeline.add(&[b"GET", b"k"]).add(&[b"INCR", b"k"]).add(&[b"GET", b"k"]);
    let replies = client.pipeline(&pipeline).expect("replies");
    assert_eq!((&replies[0], replies.len()), (&Value::BulkString(b"v".to_vec()), 3));
    assert!(matches!(replies[1], Value::ServerError(_)));
    let refused = client.command(&[b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"s", b">"]);
    assert!(
        matches!(&refused, Err(LedgerError::Refused(text)) if text.starts_with("NOGROUP")),
        "{refused:?}"
    );
    let script = client.command(&[b"EVAL", b"redis.call('SET','x','y') error('e')", b"0"]);
    assert!(matches!(script, Err(LedgerError::Lost(_))), "{script:?}");
}

#[test]
fn a_client_reconnects_by_itself() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = client(&server);
    client.apply(&one("s", create(9))).expect("a reply");
    // An idle connection loses nothing when Redis goes: the next question finds the new Redis.
    server.kill();
    server.restart();
    assert!(client.apply(&one("s", reserve(1))).is_ok());
    server.connect().ask("SCRIPT FLUSH");
    let replies = client.apply(&one("s", reserve(2))).expect("loads its scripts again");
    assert_eq!(replies[0].free, Some(7));

    server.kill();
    let away = client.apply(&one("s", reserve(3)));
    assert!(matches!(&away, Err(LedgerError::Refused(_))), "{away:?}");
    server.restart();
    assert!(client.apply(&one("s", reserve(3))).is_ok());
}

#[test]
fn a_missing_answer_is_reported_as_lost() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    client.set_answer_time(Duration::from_millis(200));
    let late = client.command(&[b"BLPOP", b"nothing", b"0"]);
    assert!(matches!(&late, Err(LedgerError::Lost(text)) if text.contains("in time")), "{late:?}");
    assert!(matches!(client.command(&[b"PING"]), Ok(Value::SimpleString(_))));
}

#[test]
fn a_damaged_sale_does_not_affect_the_others() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    server.connect().ask("SET bad_hash_key 1");
    let both = batch(vec![("bad", vec![Command::Show]), ("good", vec![create(1)])]);
    let replies = client.apply_each(&both).expect("replies");
    assert!(
        matches!(&replies[0], Err(LedgerError::Refused(text)) if text.contains("bad_hash_key is no hash"))
    );
    assert!(replies[1].is_ok());
    // A caller that wants all or nothing gets an error that says it is neither.
    assert!(matches!(client.apply(&both), Err(LedgerError::Lost(_))));
    let bad = client.apply(&one("bad", Command::Show));
    assert!(matches!(bad, Err(LedgerError::Refused(_))), "{bad:?}");
}

#[test]
fn the_index_is_maintained_and_its_errors_are_named() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connect();
    let mut client = client(&server);
    let ids: Vec<String> = (0..3000).map(|n| format!("s{n}")).collect();
    let groups = ids.iter().map(|id| (id.as_str(), vec![create(1)])).collect();
    client.apply(&batch(groups)).expect("replies");
    redis.send(&redis::cmd("SADD").arg(INDEX).arg("No Sale").get_packed_command(), 1);
    assert_eq!(client.sales().expect("the index").len(), 3000);
    // A sale that exists after all stays; a sale that is gone goes.
    redis.ask("DEL s1_hash_key");
    client.forget(&[&sale("s0"), &sale("s1")]).expect("done");
    let sales = client.sales().expect("the index");
    assert!(sales.contains(&sale("s0")) && !sales.contains(&sale("s1")));

    redis.ask(&format!("SET {INDEX} 1"));
    let refused = client.apply(&one("new", create(1)));
    assert!(
        matches!(&refused, Err(LedgerError::Refused(text)) if text.contains("is no set")),
        "{refused:?}"
    );
    assert_eq!(redis.text("EXISTS new_hash_key"), "0");
    redis.ask(&format!("DEL {INDEX}"));

    redis.ask("ACL SETUSER ann on >pw ~* +@all -sadd");
    let mut ann = client_at(&server.url().replace("redis://", "redis://ann:pw@"));
    let refused = ann.apply(&one("new", create(1)));
    assert!(
        matches!(&refused, Err(LedgerError::Refused(text)) if text.contains("needs SADD")),
        "{refused:?}"
    );
}

/// Without the scripts, and where they cannot be loaded, only commands that need them are refused.
#[test]
fn a_missing_script_fails_only_the_commands_that_need_it() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connect();
    let mut client = client(&server);
    client.apply(&batch(vec![("a", vec![create(9)]), ("b", vec![create(9)])])).expect("created");
    redis.ask("SCRIPT FLUSH");
    let reserve_script = &client.codec().scripts().get(ScriptName::Reserve).code;
    let load = redis::cmd("SCRIPT").arg("LOAD").arg(reserve_script).get_packed_command();
    redis.send(&load, 1);
    redis.ask("ACL SETUSER default -script|load");
    let both = batch(vec![("a", vec![Command::AddStock(1)]), ("b", vec![reserve(1)])]);
    let replies = client.apply_each(&both).expect("replies");
    assert!(
        matches!(&replies[0], Err(LedgerError::Refused(text)) if text.contains("SCRIPT LOAD")),
        "{replies:?}"
    );
    assert_eq!(replies[1].as_ref().map(|reply| reply.free), Ok(Some(8)));
    redis.ask("ACL SETUSER default +script|load");
    let replies = client.apply_each(&both).expect("replies");
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
}

/// A server may die before its own sweep has looked: the others must know when to look.
#[test]
fn sweepers_are_notified_of_a_new_hold_time() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    client.apply(&one("s", create(9))).expect("created");
    let news = |client: &mut RedisClient, after| {
        let (_, told) = client.sales_news(Some(after)).expect("news");
        told.map_or((Vec::new(), after), |(sales, last)| (sales, last))
    };
    let (_, before) = news(&mut client, EntryId::default());
    let change = |terms| Command::ChangeTerms(terms);
    let quantity = change(Terms { quantity_max: Some(2), ..Terms::default() });
    client.apply(&one("s", quantity)).expect("changed");
    assert_eq!(news(&mut client, before), (vec![], before));
    client
        .apply(&one("s", change(Terms { hold_ms: Some(5), ..Terms::default() })))
        .expect("changed");
    assert_eq!(news(&mut client, before).0, [sale("s")]);
}

/// Without the right to `XINFO GROUPS` it is unknown whether a group has yet to read the stream.
#[test]
fn a_sale_with_unknown_stream_readers_is_not_removed() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    client.apply(&batch(vec![("s", vec![create(9), Command::Close])])).expect("created");
    server.connect().ask("ACL SETUSER default -xinfo|groups");
    let refused = client.apply(&one("s", Command::Remove));
    assert!(
        matches!(&refused, Err(LedgerError::Refused(text)) if text.starts_with("NOPERM")),
        "{refused:?}"
    );
    server.connect().ask("ACL SETUSER default +xinfo|groups");
    client.apply(&one("s", Command::Remove)).expect("removed");
}

/// A replay is unknown too, although its connection has written nothing.
#[test]
fn a_change_on_too_few_replicas_is_unknown() {
    let primary = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let client = || {
        let settings = RedisSettings::from_url(&primary.url()).expect("a Redis URL");
        let codec = Codec::new(KeyTemplates::default());
        let ledger = RedisLedger::new(settings, codec, None).expect("no certificates");
        let mut client = RedisClient::new(Arc::new(ledger.with_replicas(1)), "test");
        client.set_answer_time(Duration::from_millis(2_000));
        client
    };
    let claim = |n| {
        let key = Key::new("k").ok();
        let id = ReservationId(n);
        one(
            "s",
            Command::Reserve(Reserve {
                id,
                quantity: 1,
                user: None,
                key,
                trace: None,
                details: None,
            }),
        )
    };
    let is_lost = |reply: Result<BatchReply, LedgerError>| {
        assert!(
            matches!(&reply, Err(LedgerError::Lost(t)) if t.contains("0 of 1 replicas")),
            "{reply:?}"
        );
    };
    // Where that cannot be known, nothing is written.
    let is_refused = |reply: Result<BatchReply, LedgerError>| {
        assert!(
            matches!(&reply, Err(LedgerError::Refused(t)) if t.contains("0 of 1 replicas follow")),
            "{reply:?}"
        );
    };
    let mut first = client();
    let until = Instant::now() + Duration::from_secs(20);
    while first.apply(&one("s", create(9))).is_err() {
        assert!(Instant::now() < until, "the replica does not follow");
    }
    first.apply(&one("s", reserve(1))).expect("granted, and the replica has it");

    let info = replica.connect().text("INFO server");
    let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).expect("its process");
    let signal = |signal| {
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("send a signal");
    };
    signal(Signal::STOP);
    is_lost(first.apply(&claim(2)));
    let mut second = client();
    is_refused(second.apply(&claim(3)));
    is_refused(first.apply(&one("s", reserve(5))));
    assert_eq!(primary.connect().text("HGET s_hash_key s_sold_nums"), "2");
    signal(Signal::CONT);
    let until = Instant::now() + Duration::from_secs(20);
    while second.connect().is_err() {
        assert!(Instant::now() < until, "the replica does not come back");
    }
    // Also on a connection that has written nothing.
    signal(Signal::STOP);
    is_lost(second.apply(&claim(3)));
    signal(Signal::CONT);
    while second.connect().is_err() {
        assert!(Instant::now() < until, "the replica does not come back");
    }
    let replayed = second.apply(&claim(4)).expect("now it is durable");
    let outcome = &replayed[0].outcomes[0];
    assert!(matches!(outcome, Outcome::Replayed(r) if r.id == ReservationId(2)), "{outcome:?}");
}

/// From Redis 7.2 on `WAIT` waits for what the connection wrote, and for nothing if it wrote
/// nothing.
#[test]
fn a_repeated_command_writes_if_replicas_are_required() {
    let primary = RedisServer::start(&["--repl-diskless-sync-delay", "0"]);
    let port = primary.port().to_string();
    let _replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let client = |replicas| {
        let settings = RedisSettings::from_url(&primary.url()).expect("a Redis URL");
        let codec = Codec::new(KeyTemplates::default());
        let ledger = RedisLedger::new(settings, codec, None).expect("no certificates");
        RedisClient::new(Arc::new(ledger.with_replicas(replicas)), "test")
    };
    let (mut plain, mut waits) = (client(0), client(1));
    let until = Instant::now() + Duration::from_secs(20);
    while waits.apply(&one("s", create(9))).is_err() {
        assert!(Instant::now() < until, "the replica does not follow");
    }
    let split = SaleSpec { split: Split::Head { parts: 2 }, ..SaleSpec::with_total(9) };
    waits.apply(&one("t", Command::Create(split))).expect("created");
    waits.apply(&one("s", reserve(1))).expect("granted");
    waits.apply(&one("s", Command::Confirm(ReservationId(1)))).expect("confirmed");

    let mut redis = primary.connect();
    // The replica is pinged now and then, which is written to it too, so the commands count.
    let mut writes = |client: &mut RedisClient, sale: &str, command: Command| {
        let mut count = || {
            let info = redis.text("INFO commandstats");
            let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_hset:calls="));
            let calls = line.and_then(|line| line.split(',').next()?.parse::<u64>().ok());
            calls.expect("how often HSET was called")
        };
        let before = count();
        client.apply(&one(sale, command)).expect("done");
        count() - before
    };
    let found = [
        ("s", create(9)),
        ("s", Command::Confirm(ReservationId(1))),
        ("s", Command::ShowReservation(ReservationId(1))),
        ("t", Command::TransferOut { to: 1, gave: 0, units: 0 }),
        ("t", Command::TransferOut { to: 1, gave: 5, units: 1 }),
        ("t", Command::TransferIn { from: 1, gave: 0 }),
    ];
    for (sale, command) in found {
        assert_eq!(writes(&mut plain, sale, command.clone()), 0, "{command:?}");
        assert_eq!(writes(&mut waits, sale, command.clone()), 1, "{command:?}");
    }
    assert_eq!(writes(&mut waits, "s", Command::Show), 0);
    waits.apply(&one("nothing", Command::Close)).expect("an answer");
    assert_eq!(redis.text("EXISTS {nothing_hash_key}:sale"), "0", "made by a mark");
}

/// Runs every command of stampede as the users of tuning/, and some that they must not run.
#[test]
fn the_users_of_tuning_have_just_enough_rights() {
    let (server, _users) = RedisServer::with_users();
    let server_url = server.url_of("stampede", "CHANGE-ME-STAMPEDE");
    let orders_url = server.url_of("stampede-orders", "CHANGE-ME-ORDERS");
    let mut client = client_at(&server_url);
    let limited = SaleSpec { limit_per_user: 5, ..SaleSpec::with_total(9) };
    let mine = |n, key| {
        let (user, key) = (User::new("ann").ok(), Key::new(key).ok());
        let id = ReservationId(n);
        Command::Reserve(Reserve { id, quantity: 1, user, key, trace: None, details: None })
    };
    let [lift_limit, limit] = [0, 5].map(|units| {
        Command::ChangeTerms(Terms { limit_per_user: Some(units), ..Terms::default() })
    });
    let commands = vec![
        Command::Create(limited),
        mine(1, "a"),
        mine(1, "a"),
        mine(2, ""),
        Command::Confirm(ReservationId(1)),
        Command::Cancel(ReservationId(2)),
        Command::Refund(ReservationId(1)),
        Command::ShowReservation(ReservationId(1)),
        Command::Expire { batch_max: 10 },
        Command::AddStock(1),
        Command::TakeStock { units: 1, at_most: false },
        lift_limit,
        limit,
        Command::Open,
        Command::Show,
    ];
    client.apply(&batch(vec![("s", commands)])).expect("replies");
    client.audit(&sale("s"), None).expect("an audit").expect("a sale");
    let id = MemberId::random();
    client.renew_lease(id, None, &member("a")).expect("a lease");
    client.end_lease(id).expect("a roll");
    // Everything is damaged in turn, and repaired.
    let mut redis = server.connect();
    for spoil in [
        "HSET s_hash_key s_sold_nums 7",
        "DEL {s_hash_key}:claims",
        "DEL {s_hash_key}:deadlines",
        "DEL {s_hash_key}:users",
        "DEL {s_hash_key}:reservations",
        "HSET {s_hash_key}:claims x y",
        "ZADD {s_hash_key}:deadlines 1 nothing",
        "XTRIM {s_hash_key}:stream MAXLEN 1",
    ] {
        redis.ask(spoil);
        client
            .audit(&sale("s"), Some(&Repair::default()))
            .unwrap_or_else(|error| panic!("{spoil}: {error}"));
    }

    let folder = tempfile::tempdir().expect("a folder");
    let to = format!("sqlite:{}", folder.path().join("orders.db").display());
    let run = |arguments: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_stampede"))
            .args(arguments)
            .output()
            .expect("run stampede");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && !said.contains("NOPERM"), "{arguments:?}: {said}");
    };
    for _ in 0..2 {
        run(&["orders", "--from", &orders_url, "--to", &to, "--once"]);
    }
    let mut orders = client_at(&orders_url);
    let trim = trim_command(&KeyTemplates::default().of(&sale("s")), &["orders".to_owned()]);
    let trim: Vec<&[u8]> = trim.iter().map(Vec::as_slice).collect();
    assert_eq!(orders.command(&trim), Ok(Value::Int(0)));

    client.apply(&batch(vec![("s", vec![Command::Close])])).expect("a reply");
    run(&["audit", "--ledger", &server_url, "--orders", &to]);
    // No user may do anything else, or anything elsewhere.
    let other = |user: &mut RedisClient, arguments: &[&[u8]]| {
        let reply = user.command(arguments);
        assert!(
            matches!(&reply, Err(LedgerError::Refused(t)) if t.starts_with("NOPERM")),
            "{reply:?}"
        );
    };
    other(&mut client, &[b"FLUSHALL"]);
    other(&mut client, &[b"KEYS", b"*"]);
    other(&mut client, &[b"HGET", b"elsewhere", b"f"]);
    other(&mut orders, &[b"HSET", b"s_hash_key", b"s_total_nums", b"99"]);
}

fn member(name: &str) -> Member {
    Member { name: name.to_owned(), cores: 2, ..Member::default() }
}

fn names(roll: &MemberList) -> Vec<&str> {
    roll.leases.iter().map(|lease| lease.member.name.as_str()).collect()
}

#[test]
fn leases_are_renewed_released_and_expire() {
    let server = RedisServer::start(&[]);
    let (mut one, mut other) = (client(&server), client(&server));
    assert_eq!(one.member_list().expect("a roll").leases, []);
    let [a, b] = [(); 2].map(|()| MemberId::random());
    let first = one.renew_lease(a, None, &member("a")).expect("a lease");
    assert_eq!((names(&first), first.is_new, first.cores()), (vec!["a"], true, 2));
    assert_eq!((first.leases[0].since_ms, first.leases[0].left_ms), (first.now_ms, LEASE_MS));
    let second = other.renew_lease(b, None, &member("b")).expect("a lease");
    assert_eq!((names(&second), second.cores()), (vec!["a", "b"], 4));

    // Both scripts and members survive a SCRIPT FLUSH; a lost lease keeps its beginning.
    server.connect().ask("SCRIPT FLUSH");
    let since_ms = first.leases[0].since_ms;
    let again = one.renew_lease(a, Some(since_ms), &member("a")).expect("a lease");
    assert_eq!((names(&again), again.is_new), (vec!["a", "b"], false));
    server.connect().ask("FLUSHALL");
    let anew = one.renew_lease(a, Some(since_ms), &member("a")).expect("a lease");
    assert_eq!((names(&anew), anew.is_new, anew.leases[0].since_ms), (vec!["a"], true, since_ms));

    other.renew_lease(b, None, &member("b")).expect("a lease");
    assert_eq!(names(&one.end_lease(a).expect("a roll")), ["b"]);
    assert_eq!(names(&other.members().expect("a roll").expect("a roll")), ["b"]);
    std::thread::sleep(Duration::from_millis(LEASE_MS + 10));
    assert_eq!(one.member_list().expect("a roll").leases, []);
    assert_eq!(server.connect().text(&format!("EXISTS {MEMBERS} {LEASES}")), "0");
}

#[test]
fn the_member_list_is_bounded_and_junk_is_removed() {
    let server = RedisServer::start(&[]);
    let mut client = client(&server);
    let mut redis = server.connect();
    // By hand: an expired lease, and one of another version from before the clock was set back an
    // hour.
    let (far, id) = (client.member_list().expect("a roll").now_ms + 3_600_000, MemberId::random());
    redis.ask(&format!("ZADD {LEASES} 1 odd {far} {id}"));
    redis.ask(&format!("HSET {MEMBERS} odd odd {id} odd"));
    let roll = client.member_list().expect("a roll");
    assert_eq!((roll.leases.len(), roll.leases[0].id, roll.leases[0].left_ms), (1, id, LEASE_MS));
    assert_eq!((roll.cores(), redis.text(&format!("ZCARD {LEASES}"))), (1, "1".to_owned()));

    // All at once: one by one takes a slow machine longer than a lease.
    let ids: Vec<MemberId> = (1..MEMBERS_MAX).map(|_| MemberId::random()).collect();
    let ends = client.member_list().expect("a roll").now_ms + LEASE_MS;
    let leases: Vec<String> = ids.iter().map(|id| format!("{ends} {id}")).collect();
    let says: Vec<String> = ids.iter().map(|id| format!("{id} odd")).collect();
    redis.ask(&format!("ZADD {LEASES} XX {ends} {id}"));
    redis.ask(&format!("ZADD {LEASES} {}", leases.join(" ")));
    redis.ask(&format!("HSET {MEMBERS} {}", says.join(" ")));
    let late = MemberId::random();
    let refused = client.renew_lease(late, None, &member("late"));
    assert!(
        matches!(&refused, Err(LedgerError::Refused(text)) if text.contains("256 members already")),
        "{refused:?}"
    );
    assert!(client.renew_lease(ids[0], None, &member("a")).is_ok());
    client.end_lease(ids[0]).expect("a roll");
    assert_eq!(client.renew_lease(late, None, &member("late")).expect("a lease").leases.len(), 256);

    // Their leases are gone, and nothing else.
    redis.ask(&format!("DEL {LEASES}"));
    let anew = client.renew_lease(late, None, &member("late")).expect("a lease");
    assert_eq!((names(&anew), anew.is_new), (vec!["late"], true));
    assert_eq!(redis.text(&format!("HLEN {MEMBERS}")), "1");
    redis.ask(&format!("DEL {MEMBERS}"));
    redis.ask(&format!("SET {MEMBERS} 1"));
    let refused = client.member_list();
    assert!(
        matches!(&refused, Err(LedgerError::Refused(text)) if text.contains("_key:members a hash")),
        "{refused:?}"
    );
}
