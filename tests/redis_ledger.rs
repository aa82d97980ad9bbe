//! The Redis ledger's command side against a real Redis: it agrees with the model, and bad data
//! stops it before it has written anything.

#[path = "support/history.rs"]
mod history;
#[path = "support/redis.rs"]
mod server;

use std::cell::RefCell;
use std::collections::HashMap;

use history::{Ledger, Seen};
use proptest::test_runner::{Config, TestRunner};
use server::{RedisConnection, RedisServer};
use stampede::ledger::redis::{
    Codec, DecodeError, KeyTemplates, RedisSettings, decode, handshake, load_scripts,
};
use stampede::ledger::{Group, GroupReply};
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, SaleSpec, User};

/// The command side over a blocking connection.
struct Client {
    codec: Codec,
    connection: RedisConnection,
}

impl Client {
    fn new(server: &RedisServer) -> Self {
        let codec = Codec::new(KeyTemplates::default());
        let settings = RedisSettings::from_url(&server.url()).expect("a Redis URL");
        let mut stream = server.stream();
        handshake(&mut stream, &settings, "test", codec.scripts()).expect("a handshake");
        Self { codec, connection: RedisConnection::new(stream) }
    }

    fn send(&mut self, group: &Group) -> Result<GroupReply, DecodeError> {
        let mut request = Vec::new();
        let count = self.codec.encode(group, &mut request);
        let replies = self.connection.send(&request, count);
        decode(group, &replies)
    }

    fn ask(&mut self, commands: Vec<Command>) -> Result<GroupReply, DecodeError> {
        self.send(&Group { sale: ticket(), commands })
    }

    fn one(&mut self, command: Command) -> Outcome {
        self.ask(vec![command]).expect("a reply").outcomes.remove(0)
    }
}

impl Ledger for Client {
    fn apply(&mut self, now_ms: u64, group: &Group) -> GroupReply {
        self.codec.set_now_ms(Some(now_ms));
        self.send(group).expect("a reply")
    }
}

fn ticket() -> SaleId {
    SaleId::new("ticket").expect("a sale id")
}

fn ask(n: u128) -> Command {
    ask_as(n, "", "")
}

fn ask_as(n: u128, user: &str, key: &str) -> Command {
    Command::Reserve(Reserve {
        id: ReservationId(n),
        quantity: 1,
        user: User::new(user).ok(),
        key: Key::new(key).ok(),
        claim_only: false,
    })
}

fn granted(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Granted { .. })).count()
}

/// Every key of the database with what it holds, to see that nothing was written.
fn dump(connection: &mut RedisConnection) -> Vec<(String, redis::Value)> {
    let mut keys = connection.list("KEYS *");
    keys.sort();
    keys.into_iter().map(|key| (key.clone(), connection.ask(&format!("DUMP {key}")))).collect()
}

/// What the sale's stream says, oldest first: reservation id and what it became, as
/// `status quantity expires_at_ms user`.
fn stream(connection: &mut RedisConnection, sale: &SaleId) -> Vec<(String, String)> {
    let key = KeyTemplates::default().of(sale).stream();
    let redis::Value::Array(entries) = connection.ask(&format!("XRANGE {key} - +")) else {
        panic!("no stream")
    };
    let mut events = Vec::new();
    for entry in entries {
        let (_, fields): (String, Vec<(String, String)>) =
            redis::from_redis_value(entry).expect("an entry");
        for (_, lines) in fields {
            events.extend(lines.lines().map(|line| {
                let (id, stands) = line.split_once(' ').expect("a line");
                (id.to_owned(), stands.to_owned())
            }));
        }
    }
    events
}

#[test]
fn agrees_with_the_model() {
    let server = RedisServer::start(&[]);
    // The runner wants to call us by shared reference.
    let parties = RefCell::new((Client::new(&server), server.connect(), Seen::default(), 0));
    let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
    let run = |steps: Vec<history::Step>| {
        let (redis, connection, seen, case) = &mut *parties.borrow_mut();
        *case += 1;
        let sale = SaleId::new(&format!("s{case}")).expect("a sale id");
        history::agree(&sale, &steps, &mut [("redis", redis)], seen)?;
        agrees_with_its_stream(connection, &sale);
        Ok(())
    };
    if let Err(error) = TestRunner::new(config).run(&history::histories(24), run) {
        panic!("{error}");
    }
    let seen = parties.into_inner().2;
    assert_eq!(seen.kinds().len(), Seen::KINDS, "the histories are too tame: {:?}", seen.kinds());
}

/// Each reservation is granted in the stream exactly once, and the stream's last word on it is what
/// stands in the hash.
fn agrees_with_its_stream(connection: &mut RedisConnection, sale: &SaleId) {
    let keys = KeyTemplates::default().of(sale).all();
    let rows: HashMap<_, _> = connection.reservations(&keys[2]).into_iter().collect();
    let events = stream(connection, sale);
    let grants = events.iter().filter(|event| event.1.starts_with("held "));
    assert_eq!(grants.count(), rows.len(), "grants in the stream");
    let last: HashMap<_, _> = events.into_iter().collect();
    assert_eq!(last, rows, "the stream and the reservations");
}

#[test]
fn a_hash_made_by_hand_sells_exactly_its_total() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    connection.ask("HMSET ticket_hash_key ticket_total_nums 100 ticket_sold_nums 3");
    let mut client = Client::new(&server);
    let mut sold = 0;
    for batch in 0..30 {
        let commands = (0..7).map(|n| ask(batch * 7 + n)).collect();
        sold += granted(&client.ask(commands).expect("a reply").outcomes);
    }
    assert_eq!(sold, 97);
    assert_eq!(connection.text("HGET ticket_hash_key ticket_sold_nums"), "100");
    assert_eq!(client.one(ask(999)), Outcome::SoldOut { free: 0 });
    let Outcome::Sale(view) = client.one(Command::Show) else { panic!("no sale") };
    assert_eq!((view.held, view.confirmed), (97, 3));
    assert_eq!(view.spec, SaleSpec::with_total(100));
    let grants = stream(&mut connection, &ticket());
    assert_eq!(grants.len(), 97);
    assert!(view.now_ms > history::BEGIN_MS, "Redis' own time: {}", view.now_ms);
}

#[test]
fn an_unknown_sale_stays_unknown_and_unwritten() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    let id = ReservationId(1);
    let commands = vec![
        ask(1),
        ask_as(2, "ann", "k"),
        Command::Confirm(id),
        Command::Cancel(id),
        Command::Expire { batch_max: 9 },
        Command::AddStock(1),
        Command::Open,
        Command::Close,
        Command::Show,
        Command::ShowReservation(id),
    ];
    let reply = client.ask(commands).expect("a reply");
    assert_eq!((reply.free, reply.outcomes), (None, vec![Outcome::UnknownSale; 10]));
    assert!(dump(&mut server.connect()).is_empty());
}

/// Every command, put to data that is not right: an error that says so, and nothing written.
fn refuses_and_writes_nothing(spoil: &[&str], part: &str) {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    let spec = SaleSpec { limit_per_user: 3, ..SaleSpec::with_total(9) };
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(spec.clone()));
    client.ask(vec![ask_as(1, "ann", "k"), ask_as(2, "bob", "k")]).expect("a reply");
    for command in spoil {
        let answer = connection.ask(command);
        assert!(!matches!(answer, redis::Value::ServerError(_)), "{command}: {answer:?}");
    }
    let before = dump(&mut connection);
    client.codec.set_now_ms(Some(history::BEGIN_MS + spec.hold_ms + 1));
    let commands = [
        ask_as(3, "ann", "l"),
        ask_as(4, "cat", ""),
        Command::Confirm(ReservationId(1)),
        Command::Cancel(ReservationId(1)),
        Command::Expire { batch_max: 9 },
    ];
    let mut refused = 0;
    for command in commands {
        match client.ask(vec![command.clone()]) {
            Err(DecodeError::Refused(text)) => {
                assert!(text.contains(part), "{spoil:?}: {text}");
                refused += 1;
                assert_eq!(dump(&mut connection), before, "{spoil:?} {command:?}");
            }
            Err(error) => panic!("{spoil:?} {command:?}: {error:?}"),
            // This command has no need of what was spoilt.
            Ok(_) => {
                connection.ask("FLUSHDB");
                for (key, value) in &before {
                    let mut restore = redis::cmd("RESTORE");
                    restore.arg(key).arg(0).arg(match value {
                        redis::Value::BulkString(bytes) => bytes.as_slice(),
                        other => panic!("{other:?}"),
                    });
                    connection.send(&restore.get_packed_command(), 1);
                }
            }
        }
    }
    assert!(refused > 0, "{spoil:?} was never noticed");
}

#[test]
fn junk_in_the_hashes_is_an_error_and_nothing_is_written() {
    let counters = "HSET ticket_hash_key";
    let sale = "HSET {ticket_hash_key}:sale";
    for (spoil, part) in [
        (format!("{counters} ticket_total_nums ten"), "ticket_total_nums"),
        (format!("{counters} ticket_total_nums 1e3"), "not 1e3"),
        (format!("{counters} ticket_total_nums -1"), "not -1"),
        (format!("{counters} ticket_total_nums 99999999999999999999"), "whole numbers"),
        (format!("{counters} ticket_sold_nums 1.5"), "and 1.5"),
        (format!("{counters} ticket_sold_nums 1"), "to start the sale anew"),
        (format!("{sale} held x"), "held x"),
        (format!("{sale} hold_ms 0"), "hold_ms 0"),
        (format!("{sale} last_ms 253402300800000"), "last_ms"),
        ("HDEL ticket_hash_key ticket_total_nums".to_owned(), "must have ticket_total_nums"),
        ("HSET {ticket_hash_key}:users ann x cat x bob x".to_owned(), "users"),
        ("HSET {ticket_hash_key}:claims ann\nl nothing".to_owned(), "which is not in"),
    ] {
        refuses_and_writes_nothing(&[&spoil], part);
    }
}

#[test]
fn a_key_of_the_wrong_type_is_an_error_and_nothing_is_written() {
    let keys = KeyTemplates::default().of(&ticket()).all();
    for key in keys {
        let spoil = [&*format!("DEL {key}"), &*format!("SET {key} 1")];
        refuses_and_writes_nothing(&spoil, "WRONGTYPE");
    }
}

#[test]
fn a_sale_is_not_created_over_the_rest_of_another() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec::with_total(2)));
    client.one(ask(1));
    server.connect().ask("DEL ticket_hash_key");
    let got = client.ask(vec![Command::Create(SaleSpec::with_total(2))]);
    assert!(matches!(got, Err(DecodeError::Refused(text)) if text.contains("restore it")));
}

#[test]
fn missing_scripts_are_told_apart_and_loaded_again() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec::with_total(2)));
    server.connect().ask("SCRIPT FLUSH");
    assert_eq!(client.ask(vec![ask(1), Command::Show]), Err(DecodeError::NoScript));
    load_scripts(client.connection.stream(), client.codec.scripts()).expect("loaded");
    assert!(matches!(client.one(ask(1)), Outcome::Granted { .. }));
}

#[test]
fn a_full_redis_refuses_and_writes_nothing() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec::with_total(9)));
    client.one(ask(1));
    let before = dump(&mut connection);
    connection.ask("CONFIG SET maxmemory 1");
    for command in [ask(2), Command::Confirm(ReservationId(1)), Command::Cancel(ReservationId(1))] {
        let got = client.ask(vec![command]);
        assert!(matches!(&got, Err(DecodeError::Refused(text)) if text.contains("OOM")), "{got:?}");
    }
    assert_eq!(dump(&mut connection), before);
}

#[test]
fn acknowledged_grants_survive_a_kill_with_appendfsync_always() {
    let mut server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec::with_total(9)));
    assert!(matches!(client.one(ask_as(1, "ann", "k")), Outcome::Granted { .. }));
    server.kill();
    server.restart();
    let mut client = Client::new(&server);
    assert!(matches!(client.one(ask_as(2, "ann", "k")), Outcome::Replayed(r) if r.id.0 == 1));
    assert_eq!(stream(&mut server.connect(), &ticket()).len(), 1);
}

#[test]
fn time_does_not_go_back_behind_what_was_written() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(SaleSpec { hold_ms: 5, ..SaleSpec::with_total(9) }));
    client.codec.set_now_ms(Some(history::BEGIN_MS - 1_000));
    let reply = client.ask(vec![ask(1)]).expect("a reply");
    assert_eq!(reply.now_ms, history::BEGIN_MS);
    assert_eq!(reply.outcomes, [Outcome::Granted { expires_at_ms: history::BEGIN_MS + 5 }]);
}

#[test]
fn the_handshake_knows_a_password_a_user_and_a_database() {
    let server = RedisServer::start(&["--requirepass", "pa ss", "--databases", "2"]);
    let codec = Codec::new(KeyTemplates::default());
    let port = server.port();
    let try_url = |url: String| {
        let settings = RedisSettings::from_url(&url).expect("a Redis URL");
        handshake(&mut server.stream(), &settings, "test", codec.scripts())
    };
    for (who, db) in [(":pa%20ss@", "0"), ("default:pa%20ss@", "1")] {
        try_url(format!("redis://{who}127.0.0.1:{port}/{db}")).expect("a handshake");
    }
    for (who, db, part) in [
        ("", "0", "wants a password"),
        (":wrong@", "0", "wrong user or password"),
        ("ann:pa%20ss@", "0", "wrong user or password"),
        (":pa%20ss@", "2", "no such database"),
    ] {
        let error = try_url(format!("redis://{who}127.0.0.1:{port}/{db}")).expect_err(part);
        assert!(error.is_fatal() && error.to_string().contains(part), "{error}");
    }
}

#[test]
fn the_handshake_wants_a_primary_and_a_user_who_may() {
    let primary = RedisServer::start(&[]);
    let port = primary.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let codec = Codec::new(KeyTemplates::default());
    let settings = RedisSettings::from_url(&replica.url()).expect("a Redis URL");
    let error = handshake(&mut replica.stream(), &settings, "test", codec.scripts()).unwrap_err();
    assert!(!error.is_fatal() && error.to_string().contains("primary"), "{error}");

    primary.connect().ask("ACL SETUSER ann on >pw ~* +@connection");
    let url = format!("redis://ann:pw@127.0.0.1:{port}/0");
    let settings = RedisSettings::from_url(&url).expect("a Redis URL");
    let error = handshake(&mut primary.stream(), &settings, "test", codec.scripts()).unwrap_err();
    assert!(error.is_fatal() && error.to_string().contains("may not"), "{error}");
}
