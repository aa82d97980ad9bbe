//! What a Redis refuses, it refuses as a whole: a script that may not write everything writes
//! nothing and reports so. Missing rights are reported when a connection is made.

#[allow(dead_code)]
#[path = "support/redis.rs"]
mod server;

use std::sync::Arc;

use redis::Value;
use server::{RedisConnection, RedisServer};
use stampede::ledger::client::Client as _;
use stampede::ledger::redis::{
    Codec, DecodeError, HandshakeError, KeyTemplates, Needs, Purpose, RedisClient, RedisLedger,
    RedisSettings, Warning, decode, decode_all, handshake,
};
use stampede::ledger::{Batch, Group, GroupReply, LedgerError};
use stampede::sale::{
    Command, Details, Key, Lines, Note, Outcome, Remaining, ReservationId, Reserve, SaleId,
    SaleSpec, Split, Terms, Types, User,
};

/// When every test begins, in ms since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// A user who may do everything except these commands.
const SHOP: &str = "ACL SETUSER shop on >pw ~* &* +@all";

fn url_of_shop(server: &RedisServer) -> String {
    server.url_of("shop", "pw")
}

/// A connection that carries groups, at given times.
struct Link {
    codec: Codec,
    connection: RedisConnection,
}

impl Link {
    fn new(server: &RedisServer, url: &str) -> Self {
        let (mut codec, mut stream) = (Codec::new(KeyTemplates::default()), server.stream());
        let settings = RedisSettings::from_url(url).expect("a Redis URL");
        handshake(&mut stream, &settings, "test", codec.scripts()).expect("a handshake");
        codec.set_now_ms(Some(BEGIN_MS));
        Self { codec, connection: RedisConnection::new(stream) }
    }

    /// One command to each of several sales.
    fn ask_all(&mut self, commands: &[(&str, Command)]) -> Vec<Result<GroupReply, DecodeError>> {
        let group = |(sale, command): &(&str, Command)| Group {
            sale: SaleId::new(sale).expect("a sale id"),
            commands: vec![command.clone()],
        };
        let groups: Vec<Group> = commands.iter().map(group).collect();
        let groups: Vec<&Group> = groups.iter().collect();
        let mut request = Vec::new();
        let count = self.codec.encode_all(&groups, &mut request);
        decode_all(&groups, &self.connection.send(&request, count))
    }

    fn ask(&mut self, sale: &str, commands: &[Command]) -> Result<GroupReply, DecodeError> {
        let sale = SaleId::new(sale).expect("a sale id");
        let group = Group { sale, commands: commands.to_vec() };
        let mut request = Vec::new();
        let count = self.codec.encode(&group, &mut request);
        decode(&group, &self.connection.send(&request, count))
    }
}

fn reserve(n: u128, user: &str, key: &str) -> Command {
    let (user, key) = (User::new(user).ok(), Key::new(key).ok());
    let id = ReservationId(n << 90);
    Command::Reserve(Reserve { id, quantity: 1, user, key, trace: None, details: None })
}

/// Two units for a new user.
fn two(n: u128) -> Command {
    let Command::Reserve(one) = reserve(n, &format!("user{n}"), "") else { unreachable!() };
    Command::Reserve(Reserve { quantity: 2, ..one })
}

fn noted(n: u128) -> Command {
    let Command::Reserve(one) = reserve(n, "", "") else { unreachable!() };
    let details = Details { note: Note::new("row 7").ok(), ..Details::default() }.boxed();
    Command::Reserve(Reserve { details, ..one })
}

/// One unit of a ticket type.
fn adult(n: u128) -> Command {
    let Command::Reserve(one) = reserve(n, "ann", "") else { unreachable!() };
    let details = Details { lines: Lines::from_text("adult:1"), ..Details::default() }.boxed();
    Command::Reserve(Reserve { details, ..one })
}

fn id(n: u128) -> ReservationId {
    ReservationId(n << 90)
}

/// Every key with its content.
fn dump(admin: &mut RedisConnection) -> Vec<(String, Value)> {
    let mut keys = admin.list("KEYS *");
    keys.sort();
    keys.into_iter().map(|key| (key.clone(), admin.ask(&format!("DUMP {key}")))).collect()
}

/// A sale with a limit in which every command finds something to do, and a split one.
fn set_up(admin: &mut RedisConnection, link: &mut Link) {
    admin.ask("FLUSHDB");
    let spec = SaleSpec { limit_per_user: 3, hold_ms: 1000, ..SaleSpec::with_total(13) };
    let begin = [
        Command::Create(spec),
        reserve(1, "ann", "a"),
        reserve(2, "ann", ""),
        reserve(3, "bob", "b"),
        reserve(4, "cid", ""),
        Command::Confirm(id(3)),
        two(5),
        two(6),
        Command::Confirm(id(6)),
    ];
    link.codec.set_now_ms(Some(BEGIN_MS));
    link.ask("s", &begin).expect("a sale");
    let part = SaleSpec { split: Split::Part { of: 2 }, ..SaleSpec::with_total(9) };
    link.ask("p", &[Command::Create(part)]).expect("a part");
    link.ask("open", &[Command::Create(SaleSpec::with_total(9))]).expect("a plain sale");
    let types = Types::from_text("adult:9").expect("types");
    let typed = SaleSpec { types, hold_ms: 1000, ..SaleSpec::with_total(9) };
    link.ask("typed", &[Command::Create(typed), adult(1), adult(2)]).expect("a sale with types");
    let mut ruled = SaleSpec { limit_per_user: 3, ..SaleSpec::with_total(9) };
    ruled.rules.reservations_max = Some(5);
    ruled.rules.reservations_per_user_max = 4;
    let begin = [Command::Create(ruled), reserve(1, "ann", "a"), reserve(2, "ann", "")];
    link.ask("ruled", &begin).expect("a sale with rules");
}

fn limit(units: u32) -> Command {
    Command::ChangeTerms(Terms { limit_per_user: Some(units), ..Terms::default() })
}

/// What a purchase, a payment and so on write, each on its own, with the ms that have passed.
/// Bounds on reservations, of all and per user.
fn bounds(all: Option<u64>, per_user: u32) -> Command {
    let (reservations_max, reservations_per_user_max) = (Some(all), Some(per_user));
    let terms = Terms { reservations_max, reservations_per_user_max, ..Terms::default() };
    Command::ChangeTerms(terms)
}

fn writes() -> Vec<(&'static str, &'static str, Command, u64)> {
    vec![
        ("plain", "open", reserve(9, "", ""), 1),
        ("with a key", "s", reserve(9, "dan", "d"), 1),
        ("with a limit", "s", reserve(9, "ann", ""), 1),
        ("confirm", "s", Command::Confirm(id(1)), 1),
        ("cancel", "s", Command::Cancel(id(1)), 1),
        ("cancel the last of a user", "s", Command::Cancel(id(4)), 1),
        ("expire", "s", Command::Expire { batch_max: 10 }, 1001),
        ("refund", "s", Command::Refund(id(3)), 1),
        ("extend", "s", Command::Extend(id(1), None), 1),
        ("cancel a part", "s", Command::CancelTo(id(5), Remaining::Units(1)), 1),
        ("refund a part", "s", Command::RefundTo(id(6), Remaining::Units(1)), 1),
        ("with a note", "open", noted(9), 1),
        ("of a type", "typed", adult(9), 1),
        ("confirm of a type", "typed", Command::Confirm(id(1)), 1),
        ("cancel of a type", "typed", Command::Cancel(id(1)), 1),
        ("expire of a type", "typed", Command::Expire { batch_max: 10 }, 1001),
        ("add", "s", Command::AddStock(1), 1),
        ("take back", "s", Command::TakeStock { units: 1, at_most: false }, 1),
        ("change", "s", limit(1), 1),
        ("lift the limit", "s", limit(0), 1),
        ("limit", "open", limit(1), 1),
        ("with rules", "ruled", reserve(9, "ann", ""), 1),
        ("first bounds", "open", bounds(Some(5), 5), 1),
        ("other bounds", "ruled", bounds(Some(6), 0), 1),
        ("no bounds any more", "ruled", bounds(None, 0), 1),
        ("begin anew", "ruled", Command::Reset { total: None, force: true }, 1),
        ("begin anew with types", "typed", Command::Reset { total: None, force: true }, 1),
        ("open", "s", Command::Open, 1),
        ("close", "s", Command::Close, 1),
        ("create", "new", Command::Create(SaleSpec::with_total(1)), 1),
        (
            "create a part",
            "new",
            Command::Create(SaleSpec { split: Split::Part { of: 2 }, ..SaleSpec::with_total(1) }),
            1,
        ),
        ("give", "p", Command::TransferOut { to: 2, gave: 0, units: 1 }, 1),
        ("take", "p", Command::TransferIn { from: 2, gave: 1 }, 1),
    ]
}

#[test]
fn a_revoked_right_leaves_nothing_half_done() {
    let server = RedisServer::start(&[]);
    let mut admin = server.connect();
    admin.ask(SHOP);
    let mut link = Link::new(&server, &url_of_shop(&server));
    let mut refused = 0;
    for right in [
        "hset",
        "hdel",
        "hscan",
        "hincrby",
        "unlink",
        "zadd",
        "zrem",
        "xadd",
        "hget",
        "hmget",
        "xlen",
        "exists",
        "zrange",
        "zrangebyscore",
    ] {
        for (what, sale, command, passed_ms) in writes() {
            set_up(&mut admin, &mut link);
            let before = dump(&mut admin);
            admin.ask(&format!("ACL SETUSER shop -{right}"));
            link.codec.set_now_ms(Some(BEGIN_MS + passed_ms));
            let got = link.ask(sale, std::slice::from_ref(&command));
            admin.ask(&format!("ACL SETUSER shop +{right}"));
            match got {
                Ok(_) => continue,
                Err(DecodeError::Refused(_)) => {
                    refused += 1;
                    assert_eq!(dump(&mut admin), before, "{what} without {right}");
                }
                Err(error) => panic!("{what} without {right}: {error:?}"),
            }
            let healed = link.ask(sale, &[command]);
            assert!(healed.is_ok(), "{what} with {right} again: {healed:?}");
        }
    }
    // Each of them needs HMGET, HSET all but those that only look, and so on.
    assert!(refused > 50, "{refused}");
}

/// When several sales share a call, each is refused separately.
#[test]
fn a_revoked_right_leaves_no_sale_of_a_call_half_done() {
    let server = RedisServer::start(&[]);
    let mut admin = server.connect();
    admin.ask(SHOP);
    let mut link = Link::new(&server, &url_of_shop(&server));
    let buys = [("open", reserve(9, "", "")), ("s", reserve(9, "dan", "d"))];
    for right in ["hset", "zadd", "xadd", "hmget"] {
        set_up(&mut admin, &mut link);
        let before = dump(&mut admin);
        admin.ask(&format!("ACL SETUSER shop -{right}"));
        for (n, reply) in link.ask_all(&buys).iter().enumerate() {
            let refused = matches!(reply, Err(DecodeError::Refused(_)));
            assert!(refused, "{right}, {n}: {reply:?}");
        }
        admin.ask(&format!("ACL SETUSER shop +{right}"));
        assert_eq!(dump(&mut admin), before, "{right}");
        assert!(link.ask_all(&buys).iter().all(Result::is_ok), "with {right} again");
    }
    // The fast path needs only this right, the slow path others.
    for right in ["hsetnx", "hget"] {
        set_up(&mut admin, &mut link);
        admin.ask(&format!("ACL SETUSER shop -{right}"));
        assert!(link.ask_all(&buys).iter().all(Result::is_ok), "without {right}");
        admin.ask(&format!("ACL SETUSER shop +{right}"));
    }
}

/// Redis itself checks the rights to keys, before the script.
#[test]
fn a_forbidden_key_leaves_nothing_half_done() {
    let server = RedisServer::start(&[]);
    let mut admin = server.connect();
    let beside = ["sale", "reservations", "claims", "users", "deadlines", "stream"];
    for without in beside {
        admin.ask(SHOP);
        let mut link = Link::new(&server, &url_of_shop(&server));
        set_up(&mut admin, &mut link);
        admin.ask("ACL SETUSER shop resetkeys ~*_hash_key ~stampede:*");
        for key in beside.iter().filter(|key| **key != without) {
            admin.ask(&format!("ACL SETUSER shop ~{{*_hash_key}}:{key}"));
        }
        let before = dump(&mut admin);
        for (what, sale, command, _) in writes() {
            // A purchase names only the keys that it may need.
            if matches!(
                (what, without),
                ("plain" | "with a note", "claims" | "users")
                    | ("with a limit" | "of a type" | "with rules", "claims")
            ) {
                continue;
            }
            let got = link.ask(sale, &[command]);
            assert!(matches!(got, Err(DecodeError::Refused(_))), "{what}, {without}: {got:?}");
        }
        assert_eq!(dump(&mut admin), before, "{without}");
    }
}

/// A refusal says that nothing happened, also if another group of the batch only reads.
#[test]
fn a_refused_call_refuses_its_read_only_commands_too() {
    let server = RedisServer::start(&[]);
    let mut admin = server.connect();
    admin.ask(SHOP);
    let mut link = Link::new(&server, &url_of_shop(&server));
    set_up(&mut admin, &mut link);
    let both = [Command::Show, reserve(9, "dan", "d"), Command::ShowReservation(id(1))];
    let before = dump(&mut admin);
    for (begin, end, code) in [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM"),
        ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0", "NOREPLICAS"),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY"),
    ] {
        admin.ask(begin);
        let got = link.ask("s", &both);
        let named = |text: &String| text.starts_with(code);
        assert!(matches!(&got, Err(DecodeError::Refused(text)) if named(text)), "{got:?}");
        assert_eq!(got.unwrap_err().is_demotion(), code == "READONLY");

        // And of several groups.
        let ledger = ledger(&url_of_shop(&server));
        let group = |id: &str, commands: &[Command]| Group {
            sale: SaleId::new(id).unwrap(),
            commands: commands.to_vec(),
        };
        let groups = vec![group("open", &[Command::Show]), group("s", &both)];
        let mut client = RedisClient::new(Arc::new(ledger), "test");
        let got = client.apply(&Batch { groups });
        assert!(matches!(got, Err(LedgerError::Refused(_))), "{got:?}");
        admin.ask(end);
    }
    assert_eq!(dump(&mut admin), before);
    let granted = link.ask("s", &both).expect("replies").outcomes;
    assert!(matches!(granted[1], Outcome::Granted { .. }), "{granted:?}");
}

fn ledger(url: &str) -> RedisLedger {
    let settings = RedisSettings::from_url(url).expect("a Redis URL");
    RedisLedger::new(settings, Codec::new(KeyTemplates::default()), None).expect("a ledger")
}

fn connect(url: &str, purpose: Purpose) -> Result<(), HandshakeError> {
    let sale = SaleId::new("s").expect("a sale id");
    RedisClient::new(Arc::new(ledger(url).with_purpose(purpose, &[sale])), "test").connect()
}

fn warnings(server: &RedisServer, url: &str, purpose: Purpose) -> Vec<Warning> {
    let codec = Codec::new(KeyTemplates::default());
    let index = codec.keys().index();
    let mut settings = RedisSettings::from_url(url).expect("a Redis URL");
    settings.needs = Some(Needs { purpose, index, sales: Vec::new() });
    handshake(&mut server.stream(), &settings, "test", codec.scripts()).expect("a handshake")
}

#[test]
fn a_missing_right_is_named_when_connecting() {
    let server = RedisServer::start(&[]);
    let mut admin = server.connect();
    let url = url_of_shop(&server);
    for (purpose, rights) in [
        (Purpose::Serve, &["xadd", "hset", "hdel", "zrem", "time", "evalsha", "sscan"][..]),
        (Purpose::Orders, &["xreadgroup", "xack", "xgroup|create", "smembers"]),
    ] {
        for right in rights {
            admin.ask(SHOP);
            assert!(connect(&url, purpose).is_ok());
            admin.ask(&format!("ACL SETUSER shop -{right}"));
            let error = connect(&url, purpose).expect_err(right);
            let named = right.to_uppercase();
            assert!(error.is_fatal() && error.to_string().contains(&named), "{right}: {error}");
        }
    }
    admin.ask(SHOP);
    admin.ask("ACL SETUSER shop -xadd -hdel");
    let error = connect(&url, Purpose::Serve).expect_err("two rights");
    assert!(error.to_string().contains("ACL SETUSER shop +hdel +xadd"), "{error}");
    admin.ask(SHOP);
    admin.ask("ACL SETUSER shop resetkeys ~other:*");
    let error = connect(&url, Purpose::Serve).expect_err("a key");
    assert!(error.to_string().contains("may not use the key stampede:sales:"), "{error}");

    admin.ask("ACL SETUSER shop resetkeys ~stampede:* ~s_hash_key ~{s_hash_key}:sale");
    let error = connect(&url, Purpose::Serve).expect_err("keys of a sale");
    let named = "ACL SETUSER shop ~s_hash_key ~{s_hash_key}:*";
    assert!(error.is_fatal() && error.to_string().contains(named), "{error}");

    // Without these rights it still sells.
    admin.ask(SHOP);
    admin.ask("ACL SETUSER shop -client -info -config -xpending -zscan");
    let said = warnings(&server, &url, Purpose::Serve);
    let details: Vec<&str> = said.iter().map(|warning| &*warning.detail).collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details[0].contains("CLIENT SETNAME") && details[1].contains("+xpending +zscan"));
}

#[test]
fn the_users_of_tuning_lack_no_right() {
    let (server, _users) = RedisServer::with_users();
    for (user, password, purpose) in [
        ("stampede", "CHANGE-ME-STAMPEDE", Purpose::Serve),
        ("stampede-orders", "CHANGE-ME-ORDERS", Purpose::Orders),
    ] {
        let said = warnings(&server, &server.url_of(user, password), purpose);
        let rights = said.iter().filter(|warning| warning.message.contains("user"));
        assert_eq!(rights.count(), 0, "{said:?}");
    }
}

#[test]
fn a_disabled_redis_command_is_named() {
    let server = RedisServer::start(&["--rename-command", "XADD", ""]);
    let error = connect(&server.url(), Purpose::Serve).expect_err("no XADD");
    assert!(error.is_fatal() && error.to_string().contains("has no XADD"), "{error}");
    let server = RedisServer::start(&["--rename-command", "CLIENT", ""]);
    assert!(connect(&server.url(), Purpose::Serve).is_ok());
    let said = warnings(&server, &server.url(), Purpose::Orders);
    assert!(said.iter().any(|warning| warning.message.contains("no names")), "{said:?}");
}

#[test]
fn settings_that_may_lose_data_are_warned_of() {
    let messages = |arguments: &[&str]| {
        let server = RedisServer::start(arguments);
        let said = warnings(&server, &server.url(), Purpose::Serve);
        said.into_iter().map(|warning| warning.message).collect::<Vec<_>>()
    };
    let evicts = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    assert_eq!(
        messages(&evicts),
        ["Redis may evict the keys of sales", "Redis keeps no append-only file"]
    );
    assert!(messages(&["--appendonly", "yes"]).is_empty());
}
