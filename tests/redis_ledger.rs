//! The Redis ledger's command side against a real Redis: it agrees with the model, and bad data
//! stops it before it has written anything.

#[path = "support/history.rs"]
mod history;
#[path = "support/redis.rs"]
mod server;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use history::{Ledger, Seen};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use server::{RedisConnection, RedisServer};
use stampede::ledger::redis::{
    Codec, DecodeError, KeyTemplates, RedisSettings, decode, decode_all, handshake, load_scripts,
};
use stampede::ledger::{Group, GroupReply};
use stampede::limits::{
    EXTEND_MAX_MS_DEFAULT, LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, RETURNED_MAX_DEFAULT,
    RETURNED_PER_UNIT_DEFAULT,
};
use stampede::sale::{
    Command, Creation, Details, Key, Lines, Note, Outcome, Remaining, ReservationId, Reserve,
    Rules, SaleId, SaleSpec, Status, Terms, Types, User,
};
use stampede::trace::Trace;

/// The command side over a blocking connection.
struct Client {
    codec: Codec,
    connection: RedisConnection,
}

impl Client {
    fn new(server: &RedisServer) -> Self {
        Self::at(server, &server.url())
    }

    fn at(server: &RedisServer, url: &str) -> Self {
        let codec = Codec::new(KeyTemplates::default());
        let settings = RedisSettings::from_url(url).expect("a Redis URL");
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

    fn send_all(&mut self, groups: &[Group]) -> Vec<Result<GroupReply, DecodeError>> {
        let groups: Vec<&Group> = groups.iter().collect();
        let mut request = Vec::new();
        let count = self.codec.encode_all(&groups, &mut request);
        decode_all(&groups, &self.connection.send(&request, count))
    }

    fn ask(&mut self, commands: Vec<Command>) -> Result<GroupReply, DecodeError> {
        self.send(&Group { sale: ticket(), commands })
    }

    fn one(&mut self, command: Command) -> Outcome {
        self.ask(vec![command]).expect("a reply").outcomes.remove(0)
    }
}

/// The same with two other sales in each call: one that sells, and one that does not exist.
struct Shared {
    client: Client,
    bought: u128,
}

impl Ledger for Shared {
    fn apply(&mut self, now_ms: u64, group: &Group) -> GroupReply {
        self.client.codec.set_now_ms(Some(now_ms));
        self.bought += 1;
        let other = |n, id: u128| Group { sale: sale_of(n), commands: vec![ask(id << 80)] };
        let groups = [other(0, self.bought), group.clone(), other(1, self.bought)];
        let mut replies = self.client.send_all(&groups);
        let outcomes = |n: usize| &replies[n].as_ref().expect("a reply").outcomes;
        assert_eq!((granted(outcomes(0)), &outcomes(2)[..]), (1, &[Outcome::UnknownSale][..]));
        replies.swap_remove(1).expect("a reply")
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
        trace: None,
        details: None,
    })
}

fn granted(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Granted { .. })).count()
}

/// Every key of the database with its content, to check that nothing was written.
fn dump(connection: &mut RedisConnection) -> Vec<(String, redis::Value)> {
    let mut keys = connection.list("KEYS *");
    keys.sort();
    keys.into_iter().map(|key| (key.clone(), connection.ask(&format!("DUMP {key}")))).collect()
}

/// The lines of the sale's stream, oldest first: reservation id and its new state, as `status
/// quantity expires_at_ms owner`.
fn stream(connection: &mut RedisConnection, sale: &SaleId) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for (_, lines) in entries(connection, sale) {
        events.extend(lines.lines().map(|line| {
            let (id, stands) = line.split_once(' ').expect("a line");
            (id.to_owned(), stands.to_owned())
        }));
    }
    events
}

/// The entries of the sale's stream, oldest first: the ledger's time and the lines.
fn entries(connection: &mut RedisConnection, sale: &SaleId) -> Vec<(u64, String)> {
    let key = KeyTemplates::default().of(sale).stream();
    let redis::Value::Array(entries) = connection.ask(&format!("XRANGE {key} - +")) else {
        panic!("no stream")
    };
    let entry = |entry| {
        let (_, fields): (String, Vec<String>) = redis::from_redis_value(entry).expect("an entry");
        let [at, at_ms, name, lines, ..] = &fields[..] else { panic!("{fields:?}") };
        assert_eq!((&**at, &**name), ("at_ms", "reservations"));
        (at_ms.parse().expect("a time"), lines.clone())
    };
    entries.into_iter().map(entry).collect()
}

/// As the user of tuning/, who may do only what stampede needs.
fn at_as_in_tuning(server: &RedisServer) -> Client {
    Client::at(server, &server.url_of("stampede", "CHANGE-ME-STAMPEDE"))
}

#[test]
fn agrees_with_the_model() {
    let (server, _users) = RedisServer::with_users();
    agrees(&server, at_as_in_tuning(&server), history::histories(24), (500, Seen::KINDS));
}

#[test]
fn sales_that_share_a_call_agree_with_the_model() {
    let (server, _users) = RedisServer::with_users();
    let mut client = at_as_in_tuning(&server);
    let commands = vec![Command::Create(SaleSpec::with_total(1_000_000))];
    client.send(&Group { sale: sale_of(0), commands }).expect("a sale");
    let shared = Shared { client, bought: 0 };
    agrees(&server, shared, history::histories(24), (400, Seen::KINDS));
}

#[test]
fn a_part_of_a_split_sale_agrees_with_the_model() {
    let (server, _users) = RedisServer::with_users();
    agrees(
        &server,
        at_as_in_tuning(&server),
        history::split_histories(24),
        (500, Seen::SPLIT_KINDS),
    );
}

fn agrees(
    server: &RedisServer,
    client: impl Ledger,
    histories: impl Strategy<Value = Vec<history::Step>>,
    (cases, kinds): (u32, usize),
) {
    // The runner calls ledgers by shared reference.
    let parties = RefCell::new((client, server.connect(), Seen::default(), 0));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let run = |steps: Vec<history::Step>| {
        let (redis, connection, seen, case) = &mut *parties.borrow_mut();
        *case += 1;
        let sale = SaleId::new(&format!("sale-{case}")).expect("a sale id");
        history::agree(&sale, &steps, &mut [("redis", redis)], seen)?;
        agrees_with_its_stream(connection, &sale);
        Ok(())
    };
    if let Err(error) = TestRunner::new(config).run(&histories, run) {
        panic!("{error}");
    }
    let seen = parties.into_inner().2;
    assert_eq!(seen.kinds().len(), kinds, "the histories are too tame: {:?}", seen.kinds());
}

/// Each reservation is granted in the stream exactly once, and its last line in the stream is the
/// line in the hash.
fn agrees_with_its_stream(connection: &mut RedisConnection, sale: &SaleId) {
    let keys = KeyTemplates::default().of(sale).all();
    let rows: HashMap<_, _> = connection.reservations(&keys[2]).into_iter().collect();
    let events = stream(connection, sale);
    let mut told = HashSet::new();
    for (id, stands) in &events {
        let is_new = told.insert(id);
        let is_changed = stands.contains("\tasked=") || stands.contains("\tfirst=");
        let is_held = stands.starts_with("held ");
        assert!(
            if is_new { is_held && !is_changed } else { !is_held || is_changed },
            "{id} {stands}"
        );
    }
    assert_eq!(told.len(), rows.len(), "grants in the stream");
    let last: HashMap<_, _> = events.into_iter().collect();
    assert_eq!(last, rows, "the stream and the reservations");
    let claims = connection.list(&format!("HGETALL {}", keys[3]));
    let claims: HashMap<_, _> = claims.chunks(2).map(|c| (c[0].clone(), c[1].clone())).collect();
    let owned = rows.into_iter().filter_map(|(id, stands)| {
        let mut owner = stands.splitn(4, ' ').nth(3)?.splitn(3, '\t');
        let (user, key) = (owner.next()?, owner.next()?);
        (!key.is_empty()).then(|| (format!("{user}\t{key}"), id))
    });
    assert_eq!(owned.collect::<HashMap<_, _>>(), claims, "the reservations and the claims");
}

#[test]
fn a_reservation_line_holds_its_user_and_key() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(SaleSpec { hold_ms: 7, ..SaleSpec::with_total(99) }));
    let until = history::BEGIN_MS + 7;
    let cases = [
        ("ann smith", "2 3", " ann smith\t2 3"),
        ("李雷", "", " 李雷"),
        ("", "键 k", " \t键 k"),
        ("", "", ""),
    ];
    let mut expected = Vec::new();
    for (n, (user, key, owner)) in (1..).zip(cases) {
        let Command::Reserve(one) = ask_as(n, user, key) else { unreachable!() };
        let key = if key.is_empty() { String::new() } else { format!("{key} of two") };
        let two = Reserve {
            id: ReservationId(n + 10),
            quantity: 2,
            key: Key::new(&key).ok(),
            ..one.clone()
        };
        let again = Reserve { id: ReservationId(99), ..two.clone() };
        client.ask(vec![Command::Reserve(one), Command::Reserve(two)]).expect("a reply");
        expected.push((ReservationId(n), format!("held 1 {until}{owner}")));
        let owner = if key.is_empty() { owner.to_owned() } else { format!("{owner} of two") };
        expected.push((ReservationId(n + 10), format!("held 2 {until}{owner}")));

        let stands = |outcome| match outcome {
            Outcome::Reservation(stands) | Outcome::Replayed(stands) => stands,
            other => panic!("{other:?}"),
        };
        let shown = stands(client.one(Command::ShowReservation(ReservationId(n))));
        assert_eq!((shown.id, shown.user), (ReservationId(n), User::new(user).ok()));
        if !key.is_empty() {
            assert_eq!(client.one(ask_as(98, user, &key)), Outcome::KeyReused);
            let replayed = stands(client.one(Command::Reserve(again)));
            assert_eq!((replayed.id, replayed.quantity), (ReservationId(n + 10), 2));
            assert_eq!(replayed.user, User::new(user).ok());
        }
    }
    let expected: Vec<_> = expected.into_iter().map(|(id, line)| (id.to_string(), line)).collect();
    assert_eq!(stream(&mut connection, &ticket()), expected);
    assert_eq!(entries(&mut connection, &ticket())[0].0, history::BEGIN_MS);
    agrees_with_its_stream(&mut connection, &ticket());

    client.one(Command::Confirm(ReservationId(1)));
    client.codec.set_now_ms(Some(until));
    client.one(Command::Expire { batch_max: 99 });
    let confirmed = (ReservationId(1).to_string(), format!("confirmed 1 {until} ann smith\t2 3"));
    assert_eq!(stream(&mut connection, &ticket())[8], confirmed);
    agrees_with_its_stream(&mut connection, &ticket());
    assert_eq!(entries(&mut connection, &ticket()).last().map(|entry| entry.0), Some(until));
}

/// The traces in the sale's stream, by entry.
fn traces(connection: &mut RedisConnection, sale: &SaleId) -> Vec<Option<String>> {
    let key = KeyTemplates::default().of(sale).stream();
    let redis::Value::Array(entries) = connection.ask(&format!("XRANGE {key} - +")) else {
        panic!("no stream")
    };
    let of_entry = |entry| {
        let (_, fields): (String, Vec<String>) = redis::from_redis_value(entry).expect("an entry");
        let at = fields.iter().position(|field| field == "traces")?;
        Some(fields[at + 1].clone())
    };
    entries.into_iter().map(of_entry).collect()
}

#[test]
fn the_stream_holds_the_request_ids_of_grants() {
    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec { limit_per_user: 2, ..SaleSpec::with_total(99) }));
    let traced = |n: u128, user: &str, key: &str, id: &str, parent: &str| {
        let Command::Reserve(reserve) = ask_as(n, user, key) else { unreachable!() };
        let trace = Trace::from_texts(id, parent).map(Arc::new);
        Command::Reserve(Reserve { trace, ..reserve })
    };
    let id = |n| ReservationId(n).to_string();
    // A plain request alone; some plain ones; some of which not all are granted.
    client.one(traced(1, "ann", "k", "a", PARENT));
    client
        .ask(vec![
            traced(2, "bob", "", "b", ""),
            ask_as(3, "cid", ""),
            traced(4, "dan", "k", "", PARENT),
        ])
        .expect("a reply");
    let run = vec![
        traced(5, "ann", "k", "replayed", ""),
        traced(6, "", "", "user required", ""),
        traced(7, "eve", "k", "e", ""),
        traced(8, "eve", "k", "replayed", ""),
        ask_as(9, "fay", ""),
    ];
    let outcomes = client.ask(run).expect("a reply").outcomes;
    assert_eq!(granted(&outcomes), 2, "{outcomes:?}");
    client.one(ask_as(10, "gus", ""));
    client.one(traced(11, "ann", "k", "replayed", ""));
    let want = [
        Some(format!("{} a {PARENT}\n", id(1))),
        Some(format!("{} b \n{}  {PARENT}\n", id(2), id(4))),
        Some(format!("{} e \n", id(7))),
        None,
    ];
    assert_eq!(traces(&mut connection, &ticket()), want);
    // Several sales in one call have traces of their own; so in an epoch, where something is
    // marked.
    many_sales(&mut client, 3);
    client.codec = client.codec.in_epoch(Some(7));
    let group = |n: usize, commands| Group { sale: sale_of(n), commands };
    let groups = [
        group(0, vec![traced(20, "hal", "", "x", "")]),
        group(1, vec![ask_as(21, "hal", "")]),
        group(2, vec![ask_as(22, "hal", ""), traced(23, "ida", "", "z", "")]),
    ];
    let replies = client.send_all(&groups).into_iter();
    let granted: usize = replies.map(|reply| granted(&reply.expect("a reply").outcomes)).sum();
    assert_eq!(granted, 4);
    let told = [0, 1, 2].map(|n| traces(&mut connection, &sale_of(n)).pop().expect("an entry"));
    let want = [Some(format!("{} x \n", id(20))), None, Some(format!("{} z \n", id(23)))];
    assert_eq!(told, want);
}

#[test]
fn a_run_settles_reservations_of_many_fields_at_once() {
    // Several in each of many fields, named in another order than they are stored in.
    const COUNT: u128 = 480;
    let id = |n: u128| n | (n % 60) << 100;
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec { limit_per_user: 9, ..SaleSpec::with_total(1000) }));
    let user = |n: u128| format!("user {}", n % 80);
    client.ask((0..COUNT).map(|n| ask_as(id(n), &user(n), "")).collect()).expect("a reply");
    let mut order: Vec<_> = (0..COUNT).collect();
    order.sort_by_key(|n| (n * 2_654_435_761) % 1_009);
    let commands = order.iter().map(|&n| match n % 3 {
        0 => Command::Confirm(ReservationId(id(n))),
        1 => Command::Cancel(ReservationId(id(n))),
        _ => Command::ShowReservation(ReservationId(id(n))),
    });
    let commands: Vec<_> = commands.collect();
    let before = entries(&mut connection, &ticket()).len();
    let reply = client.ask(commands.clone()).expect("a reply");
    for (n, outcome) in order.iter().zip(&reply.outcomes) {
        let Outcome::Reservation(stands) = outcome else { panic!("{n}: {outcome:?}") };
        let status = [Status::Confirmed, Status::Cancelled, Status::Held][(n % 3) as usize];
        assert_eq!((stands.id, stands.status), (ReservationId(id(*n)), status));
        assert_eq!(stands.user, User::new(&user(*n)).ok());
    }
    assert_eq!(reply.free, Some(1000 - 320));
    assert_eq!(entries(&mut connection, &ticket()).len(), before + 1, "one entry a batch");
    agrees_with_its_stream(&mut connection, &ticket());
    let Outcome::Sale(view) = client.one(Command::Show) else { panic!("no sale") };
    assert_eq!((view.held, view.confirmed), (160, 160));

    // The same command again changes nothing, and is answered so.
    let again = client.ask(commands).expect("a reply");
    for (n, outcome) in order.iter().zip(&again.outcomes) {
        assert_eq!(*outcome == Outcome::AlreadyCancelled, n % 3 == 1, "{outcome:?}");
    }
    assert_eq!(entries(&mut connection, &ticket()).len(), before + 1);
    let users = connection.list("HGETALL {ticket_hash_key}:users");
    let units: u128 = users.chunks(2).map(|user| user[1].parse::<u128>().expect("units")).sum();
    assert_eq!(units, 320);
}

/// Readers take the last line of an entry as the state; of two lines under one version they keep
/// the first.
#[test]
fn a_confirm_and_refund_in_one_run_make_one_stream_line() {
    let server = RedisServer::start(&[]);
    let (mut connection, mut client) = (server.connect(), Client::new(&server));
    client.one(Command::Create(SaleSpec { limit_per_user: 2, ..SaleSpec::with_total(9) }));
    client.ask((1..4).map(|n| ask_as(n, "ann smith", "")).take(2).collect()).expect("a reply");
    client.ask(vec![ask_as(3, "bob", "k")]).expect("a reply");
    let [one, two, three] = [1, 2, 3].map(ReservationId);
    let run = vec![
        Command::Confirm(one),
        Command::Confirm(three),
        Command::Refund(one),
        Command::Refund(two),
        Command::ShowReservation(one),
        Command::Refund(one),
        Command::Confirm(one),
        Command::Refund(three),
    ];
    let reply = client.ask(run).expect("a reply");
    let said: Vec<_> = reply
        .outcomes
        .iter()
        .map(|outcome| match outcome {
            Outcome::Reservation(stands) => stands.status.as_str().to_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    let expected = [
        "confirmed",
        "confirmed",
        "refunded",
        "NotConfirmed",
        "refunded",
        "refunded",
        "AlreadyRefunded",
        "refunded",
    ];
    assert_eq!((said, reply.free), (expected.map(str::to_owned).to_vec(), Some(8)));
    let (_, lines) = entries(&mut connection, &ticket()).pop().expect("an entry");
    let told: Vec<_> = lines.lines().map(|line| line.split(" 1 ").next()).collect();
    let [first, second] = [one, three].map(|id| format!("{id} refunded"));
    assert_eq!(told, [Some(&*first), Some(&*second)]);
    agrees_with_its_stream(&mut connection, &ticket());
    assert_eq!(connection.list("HGETALL {ticket_hash_key}:users"), ["ann smith", "1"]);
    let counts = connection.list("HMGET {ticket_hash_key}:sale held confirmed");
    assert_eq!(counts, ["1", "0"]);
}

#[test]
fn a_first_limit_counts_at_most_a_bounded_number_of_units() {
    let server = RedisServer::start(&[]);
    let (mut connection, mut client) = (server.connect(), Client::new(&server));
    let spec = SaleSpec { quantity_max: 10_000, ..SaleSpec::with_total(LIMIT_COUNT_UNITS_MAX + 1) };
    client.one(Command::Create(spec));
    // Each in a field of its own, so that nothing is in one piece.
    for batch in 0..20u128 {
        let ids = (1..=400).map(|n| (batch * 400 + n) << 88 | n);
        let asks = ids.map(|id| ask_as(id, &format!("user {}", id % 3_000), "")).collect();
        assert_eq!(granted(&client.ask(asks).expect("a reply").outcomes), 400);
    }
    client.one(Command::Confirm(ReservationId(1 << 88 | 1)));
    client.one(Command::Cancel(ReservationId(2 << 88 | 2)));
    let limit = |n| Command::ChangeTerms(Terms { limit_per_user: Some(n), ..Terms::default() });
    assert!(matches!(client.one(limit(1)), Outcome::Sale(_)));
    let users = connection.list("HGETALL {ticket_hash_key}:users");
    let units: u128 = users.chunks(2).map(|user| user[1].parse::<u128>().expect("units")).sum();
    assert_eq!((users.len() / 2, units), (3_000, 7_999), "one was cancelled");
    client.one(limit(0));
    assert_eq!(connection.text("EXISTS {ticket_hash_key}:users"), "0");
    let much = Command::Reserve(Reserve { quantity: 2_002, ..reserve_of(ask(7 << 100)) });
    assert!(matches!(client.one(much), Outcome::Granted { .. }));
    let units = LIMIT_COUNT_UNITS_MAX + 1;
    assert_eq!(client.one(limit(1)), Outcome::TooManyToCount { units });
    client.one(Command::Cancel(ReservationId(7 << 100)));
    // The lines of earlier reservations must be read as well.
    let ended: String = (1..=LIMIT_COUNT_LINES_MAX as u128)
        .map(|n| format!("{} cancelled 1 5\n", ReservationId(7 << 100 | n)))
        .collect();
    let name = &ReservationId(7 << 100).to_string()[..10];
    let mut spoil = redis::cmd("HSET");
    spoil.arg("{ticket_hash_key}:reservations").arg(name).arg(ended);
    connection.send(&spoil.get_packed_command(), 1);
    let before = dump(&mut connection);
    assert_eq!(client.one(limit(1)), Outcome::TooManyToCount { units: 7_999 });
    assert_eq!(dump(&mut connection), before);
    connection.ask(&format!("HSET {{ticket_hash_key}}:reservations {name} x"));
    let before = dump(&mut connection);
    let refused = client.ask(vec![limit(1)]).expect_err("a damaged line");
    assert!(matches!(refused, DecodeError::Refused(text) if text.contains("does not end")));
    assert_eq!(dump(&mut connection), before);
}

fn reserve_of(command: Command) -> Reserve {
    match command {
        Command::Reserve(reserve) => reserve,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_sweep_returns_the_next_due_time() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    let mut at = |after_ms: u64, commands: Vec<Command>| {
        client.codec.set_now_ms(Some(history::BEGIN_MS + after_ms));
        client.ask(commands).expect("a reply").outcomes.pop().expect("an outcome")
    };
    let released = |units, due: Option<u64>, more| Outcome::Released {
        units,
        more,
        next_due_ms: due.map(|after_ms| history::BEGIN_MS + after_ms),
    };
    let sweep = |batch_max| Command::Expire { batch_max };
    let create = Command::Create(SaleSpec { hold_ms: 100, ..SaleSpec::with_total(9) });
    assert_eq!(at(0, vec![create, sweep(9)]), released(0, None, false));
    at(1, vec![ask(1), ask(1 << 100)]);
    at(5, vec![ask(2 << 100)]);
    assert_eq!(at(100, vec![sweep(9)]), released(0, Some(101), false));
    // Two fields are due and one is looked at.
    assert_eq!(at(101, vec![sweep(1)]), released(1, Some(101), true));
    assert_eq!(at(101, vec![sweep(9)]), released(1, Some(105), false));
    assert_eq!(at(500, vec![sweep(9), sweep(9)]), released(0, None, false));
}

#[test]
fn a_sale_is_removed_only_after_its_orders_are_written() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    let id = ReservationId(1);
    client.one(Command::Create(SaleSpec { limit_per_user: 2, ..SaleSpec::with_total(9) }));
    client.ask(vec![ask_as(1, "ann", "k")]).expect("a reply");
    assert_eq!(client.one(Command::Remove), Outcome::NotClosed);
    client.one(Command::Close);
    assert_eq!(client.one(Command::Remove), Outcome::StillHeld { held: 1 });
    client.one(Command::Confirm(id));

    let stream = KeyTemplates::default().of(&ticket()).stream();
    let refused = |client: &mut Client, connection: &mut RedisConnection| {
        let before = dump(connection);
        let got = client.ask(vec![Command::Remove]);
        assert!(
            matches!(&got, Err(DecodeError::Refused(text)) if text.contains("the group orders")),
            "{got:?}"
        );
        assert_eq!(dump(connection), before);
    };
    connection.ask(&format!("XGROUP CREATE {stream} done $"));
    connection.ask(&format!("XGROUP CREATE {stream} orders 0"));
    refused(&mut client, &mut connection);
    let read = connection.ask(&format!("XREADGROUP GROUP orders ann STREAMS {stream} >"));
    assert!(matches!(read, redis::Value::Array(_)), "{read:?}");
    refused(&mut client, &mut connection);
    let ids = connection.list(&format!("XRANGE {stream} - +"));
    for entry in ids.iter().filter(|text| text.contains('-') && !text.contains(' ')) {
        connection.ask(&format!("XACK {stream} orders {entry}"));
    }
    let reply = client.ask(vec![Command::Show, Command::Remove]).expect("a reply");
    assert_eq!((reply.free, reply.outcomes.last()), (None, Some(&Outcome::Removed)));
    assert!(dump(&mut connection).is_empty());
    assert_eq!(client.one(Command::Remove), Outcome::UnknownSale);
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
fn a_claim_is_found_only_in_the_named_creation_of_the_sale() {
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    let Outcome::Created(view) = client.one(Command::Create(SaleSpec::with_total(1))) else {
        panic!("not created")
    };
    let made = view.creation;
    let keyed = |key: &str| match ask_as(7, "ann", key) {
        Command::Reserve(reserve) => reserve,
        command => panic!("{command:?}"),
    };
    let looks = |client: &mut Client, made| {
        let commands = ["k", "other"].map(|key| Command::FindClaim(keyed(key), made));
        let reply = client.ask(commands.into()).expect("a reply");
        let has_time = reply.now_ms >= view.now_ms;
        assert!(has_time, "{} before {}", reply.now_ms, view.now_ms);
        (reply.outcomes, reply.free)
    };
    let neither = || vec![Outcome::NotClaimed; 2];
    assert_eq!(looks(&mut client, made), (neither(), Some(1)));
    client.one(Command::Reserve(keyed("k")));
    let claimed = |other| vec![Outcome::Claimed(ReservationId(7)), other];
    let sold_out = claimed(Outcome::SoldOut { free: 0 });
    assert_eq!(looks(&mut client, made), (sold_out.clone(), Some(0)));
    // Fields that it does not read do not matter; fields that it reads must be right.
    let later = Creation(made.0 + 1);
    assert_eq!(looks(&mut client, later), (neither(), Some(0)));
    for (spoil, restore) in [
        ("HSET ticket_hash_key ticket_sold_nums x", "HSET ticket_hash_key ticket_sold_nums 1"),
        ("HDEL ticket_hash_key ticket_sold_nums", "HSET ticket_hash_key ticket_sold_nums 1"),
        ("RENAME {ticket_hash_key}:claims x", "RENAME x {ticket_hash_key}:claims"),
        ("RENAME ticket_hash_key x", "RENAME x ticket_hash_key"),
        ("RENAME {ticket_hash_key}:sale x", "RENAME x {ticket_hash_key}:sale"),
    ] {
        connection.ask(spoil);
        if spoil.contains("claims") {
            connection.ask("SET {ticket_hash_key}:claims x");
        }
        assert_eq!(looks(&mut client, made).0, neither(), "{spoil}");
        connection.ask(restore);
    }
    assert_eq!(looks(&mut client, made), (sold_out, Some(0)));
    client.one(Command::Close);
    assert_eq!(looks(&mut client, made), (claimed(Outcome::Closed), Some(0)));
    client.one(Command::Reset { total: Some(0), force: true });
    assert_eq!(looks(&mut client, made), (neither(), Some(0)));
    connection.ask("HDEL {ticket_hash_key}:sale creation");
    assert_eq!(looks(&mut client, made), (neither(), Some(0)));
}

#[test]
fn commands_on_an_unknown_sale_write_nothing() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    let id = ReservationId(1);
    let commands = vec![
        ask(1),
        ask_as(2, "ann", "k"),
        Command::Confirm(id),
        Command::Cancel(id),
        Command::Refund(id),
        Command::Expire { batch_max: 9 },
        Command::AddStock(1),
        Command::TakeStock { units: 1, at_most: true },
        Command::ChangeTerms(Terms { hold_ms: Some(1), ..Terms::default() }),
        Command::Open,
        Command::Close,
        Command::Show,
        Command::ShowReservation(id),
        Command::Extend(id, Some(1)),
        Command::CancelTo(id, Remaining::Units(1)),
        Command::RefundTo(id, Remaining::Units(1)),
        Command::Remove,
    ];
    let reply = client.ask(commands).expect("a reply");
    assert_eq!((reply.free, reply.outcomes), (None, vec![Outcome::UnknownSale; 17]));
    assert!(dump(&mut server.connect()).is_empty());
}

/// Every command on bad data: an error that says so, and nothing written.
fn refuses_and_writes_nothing(spoil: &[&[&str]], part: &str) {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    let spec = SaleSpec { limit_per_user: 3, ..SaleSpec::with_total(9) };
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(spec.clone()));
    client.ask(vec![ask_as(1, "ann", "k"), ask_as(2, "bob", "k")]).expect("a reply");
    for command in spoil {
        let mut packed = redis::cmd(command[0]);
        packed.arg(&command[1..]);
        let answer = connection.send(&packed.get_packed_command(), 1).remove(0);
        assert!(!matches!(answer, redis::Value::ServerError(_)), "{command:?}: {answer:?}");
    }
    let before = dump(&mut connection);
    client.codec.set_now_ms(Some(history::BEGIN_MS + spec.hold_ms + 1));
    let commands = [
        ask_as(3, "ann", "l"),
        ask_as(4, "cat", ""),
        Command::Confirm(ReservationId(1)),
        Command::Cancel(ReservationId(1)),
        Command::Refund(ReservationId(1)),
        Command::Extend(ReservationId(1), None),
        Command::CancelTo(ReservationId(1), Remaining::Units(1)),
        Command::RefundTo(ReservationId(1), Remaining::Units(1)),
        Command::ShowReservation(ReservationId(1)),
        Command::Expire { batch_max: 9 },
        Command::TakeStock { units: 1, at_most: false },
        Command::ChangeTerms(Terms { limit_per_user: Some(0), ..Terms::default() }),
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
            // This command does not need the damaged field.
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
fn fields_unknown_to_0_1_0_raise_the_format_first() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(SaleSpec { hold_ms: 7, ..SaleSpec::with_total(99) }));
    let bought = |n, quantity, note: &str, user, key| {
        let details = Details { note: Note::new(note).ok(), ..Details::default() }.boxed();
        Command::Reserve(Reserve { quantity, details, ..reserve_of(ask_as(n, user, key)) })
    };
    let format = "HGET {ticket_hash_key}:sale format";
    client.ask(vec![bought(1, 5, "", "ann", "k"), bought(2, 5, "", "", "")]).expect("a reply");
    assert_eq!(connection.ask(format), redis::Value::Nil, "0.1.0 reads all of it");
    let before = connection.list("HGETALL {ticket_hash_key}:sale");
    // A refused command, or one that changes nothing, raises no format.
    for command in [
        Command::Extend(ReservationId(1), Some(1)),
        Command::CancelTo(ReservationId(1), Remaining::Units(9)),
        Command::CancelTo(ReservationId(1), Remaining::Units(5)),
    ] {
        client.one(command);
    }
    assert_eq!(connection.list("HGETALL {ticket_hash_key}:sale"), before);
    client.one(Command::CancelTo(ReservationId(2), Remaining::Units(2)));
    assert_eq!(connection.text(format), "3");
    connection.text("HDEL {ticket_hash_key}:sale format");
    client.one(bought(3, 1, "row 7", "", ""));
    assert_eq!(connection.text(format), "3");
    client.one(Command::Extend(ReservationId(1), Some(9)));
    client.one(Command::CancelTo(ReservationId(1), Remaining::Units(3)));
    let (until, longer) = (history::BEGIN_MS + 7, history::BEGIN_MS + 9);
    let last: HashMap<_, _> = stream(&mut connection, &ticket()).into_iter().collect();
    for (n, line) in [
        (1, format!("held 3 {longer} ann\tk\tasked=5\tfirst={until}")),
        (2, format!("held 2 {until} \t\tasked=5")),
        (3, format!("held 1 {until} \t\tnote=row 7")),
    ] {
        assert_eq!(last[&ReservationId(n).to_string()], line);
    }
    agrees_with_its_stream(&mut connection, &ticket());
    // The first request counts, whatever is left of it.
    assert_eq!(client.one(bought(9, 3, "", "ann", "k")), Outcome::KeyReused);
    assert!(matches!(client.one(bought(9, 5, "", "ann", "k")), Outcome::Replayed(_)));
    // It is due at the extended deadline, and only then.
    client.codec.set_now_ms(Some(until));
    let Outcome::Released { units, .. } = client.one(Command::Expire { batch_max: 99 }) else {
        panic!("no expiry")
    };
    assert_eq!(units, 3);
    client.codec.set_now_ms(Some(longer));
    let released = client.one(Command::Expire { batch_max: 99 });
    assert_eq!(released, Outcome::Released { units: 3, more: false, next_due_ms: None });
}

#[test]
fn only_a_sale_with_rules_gets_the_newer_format() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(SaleSpec::with_total(9)));
    client.one(ask(1));
    let mut fields = connection.list("HKEYS {ticket_hash_key}:sale");
    fields.sort();
    let of_0_1_0 = [
        "closes_at_ms",
        "held",
        "hold_ms",
        "last_ms",
        "limit_per_user",
        "opens_at_ms",
        "quantity_max",
    ];
    assert_eq!(fields, of_0_1_0, "a plain sale has nothing new");
    connection.ask("FLUSHDB");
    let rules = Rules {
        quantity_min: 1,
        extend_max_ms: 7,
        reservations_max: Some(3),
        reservations_per_user_max: 0,
    };
    client.one(Command::Create(SaleSpec { rules, ..SaleSpec::with_total(9) }));
    let read = "HMGET {ticket_hash_key}:sale format extend_max_ms quantity_min reservations_max";
    assert_eq!(connection.list(read), ["4", "7", "1", "3"]);
    client.ask(vec![ask(1), ask(2)]).expect("a reply");
    client
        .ask(vec![Command::Cancel(ReservationId(1)), Command::Cancel(ReservationId(2))])
        .expect("x");
    let outcomes = client.ask(vec![ask(3), ask(4)]).expect("a reply").outcomes;
    assert!(matches!(outcomes[0], Outcome::Granted { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::ReservationsExhausted { reservations_max: 3 });
    assert_eq!(connection.text("HGET {ticket_hash_key}:sale made"), "3");
    // Begun anew, it has its rules, and as many reservations as before.
    client.one(Command::Reset { total: None, force: true });
    assert_eq!(connection.list(read), ["4", "7", "1", "3"]);
    assert!(matches!(client.one(ask(5)), Outcome::Granted { .. }));
    for damaged in [
        "extend_max_ms x",
        "quantity_min 0",
        "reservations_max -1",
        "made x",
        "reservations_per_user_max x",
        "returned x",
    ] {
        connection.text(&format!("HSET {{ticket_hash_key}}:sale {damaged}"));
        let before = dump(&mut connection);
        for command in [ask(6), Command::Confirm(ReservationId(5)), Command::Show] {
            let got = client.ask(vec![command]);
            let named = damaged.split(' ').next().unwrap();
            assert!(
                matches!(&got, Err(DecodeError::Refused(text)) if text.contains(named)),
                "{got:?}"
            );
        }
        assert_eq!(dump(&mut connection), before);
        let good = damaged.replace(" x", " 3").replace(" 0", " 1").replace(" -1", " 3");
        connection.text(&format!("HSET {{ticket_hash_key}}:sale {good}"));
    }
}

#[test]
fn per_user_counts_are_kept_while_a_per_user_bound_holds() {
    let server = RedisServer::start(&[]);
    let (mut connection, mut client) = (server.connect(), Client::new(&server));
    let rules = Rules { reservations_per_user_max: 3, ..Rules::default() };
    client.one(Command::Create(SaleSpec { limit_per_user: 2, rules, ..SaleSpec::with_total(9) }));
    let mut counted = || {
        let pairs = connection.list("HGETALL {ticket_hash_key}:users");
        let mut pairs: Vec<_> = pairs.chunks(2).map(|pair| pair.join("=")).collect();
        pairs.sort();
        pairs
    };
    client.ask(vec![ask_as(1, "ann", "k"), ask_as(2, "ann", ""), ask_as(3, "bob", "")]).expect("x");
    assert_eq!(counted(), ["\tann=2", "\tbob=1", "ann=2", "bob=1"]);
    client
        .ask(vec![Command::Cancel(ReservationId(1)), Command::Cancel(ReservationId(2))])
        .expect("x");
    assert_eq!(counted(), ["\tann=2", "\tbob=1", "bob=1"]);
    let exhausted = Outcome::UserReservationsExhausted { reservations_per_user_max: 3 };
    let outcomes =
        client.ask(vec![ask_as(4, "ann", ""), ask_as(5, "ann", "")]).expect("x").outcomes;
    assert!(matches!(outcomes[0], Outcome::Granted { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1], exhausted);
    assert_eq!(client.one(ask(6)), Outcome::UserRequired);
    let limit = |n| Command::ChangeTerms(Terms { limit_per_user: Some(n), ..Terms::default() });
    client.one(limit(0));
    client
        .ask(vec![Command::Confirm(ReservationId(3)), Command::Cancel(ReservationId(4))])
        .expect("x");
    assert_eq!(client.one(ask_as(5, "ann", "")), exhausted);
    client.one(limit(1));
    assert_eq!(counted(), ["\tann=3", "\tbob=1", "bob=1"], "what is counted no more is gone");
    assert_eq!(client.one(ask_as(5, "ann", "")), exhausted);
    assert_eq!(client.one(ask_as(5, "bob", "")), Outcome::LimitReached { limit_per_user: 1 });
}

#[test]
fn a_sale_has_a_rules_format_exactly_while_it_has_rules() {
    let server = RedisServer::start(&[]);
    let (mut connection, mut client) = (server.connect(), Client::new(&server));
    client.one(Command::Create(SaleSpec::with_total(9)));
    client.ask(vec![ask_as(1, "ann", ""), ask_as(2, "ann", "k"), ask(3)]).expect("a reply");
    client.one(Command::Cancel(ReservationId(1)));
    let plain = dump(&mut connection);
    let mut read = || {
        let read = "HMGET {ticket_hash_key}:sale format extend_max_ms quantity_min made";
        let more = " reservations_max reservations_per_user_max";
        let redis::Value::Array(fields) = connection.ask(&format!("{read}{more}")) else {
            panic!("no fields")
        };
        let text = |field| redis::from_redis_value::<Option<String>>(field).expect("a text");
        fields
            .into_iter()
            .map(|field| text(field).unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ")
    };
    // An unchanged reservation needs no format.
    let change = |terms| Command::ChangeTerms(terms);
    let same = Terms { quantity_min: Some(1), reservations_max: Some(None), ..Terms::default() };
    client.one(change(same));
    assert_eq!(read().trim(), "");
    let one = Terms { reservations_per_user_max: Some(2), ..Terms::default() };
    client.one(change(one));
    assert_eq!(read(), "4 300000 1   2");
    let exhausted = Outcome::UserReservationsExhausted { reservations_per_user_max: 2 };
    assert_eq!(client.one(ask_as(4, "ann", "")), exhausted);
    let all = Terms { reservations_max: Some(Some(4)), extend_max_ms: Some(7), ..Terms::default() };
    client.one(change(all));
    assert_eq!(read(), "4 7 1 3 4 2");
    assert!(matches!(client.one(ask_as(4, "bob", "")), Outcome::Granted { .. }));
    let exhausted = Outcome::ReservationsExhausted { reservations_max: 4 };
    assert_eq!(client.one(ask_as(5, "bob", "")), exhausted);
    client.one(Command::Cancel(ReservationId(4)));
    client.one(change(Terms { reservations_max: Some(None), ..Terms::default() }));
    assert_eq!(read(), "4 7 1   2");
    let none = Terms {
        reservations_per_user_max: Some(0),
        extend_max_ms: Some(EXTEND_MAX_MS_DEFAULT),
        ..Terms::default()
    };
    client.one(change(none));
    assert_eq!(read().trim(), "3", "as much as a sale without rules may have");
    assert_eq!(connection.text("EXISTS {ticket_hash_key}:users"), "0");
    assert!(matches!(client.one(ask(5)), Outcome::Granted { .. }));
    assert_ne!(dump(&mut connection), plain);
}

#[test]
fn a_plain_sale_ends_after_too_many_returned_reservations() {
    let server = RedisServer::start(&[]);
    let (mut connection, mut client) = (server.connect(), Client::new(&server));
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.one(Command::Create(SaleSpec { hold_ms: 5, ..SaleSpec::with_total(9) }));
    let returned = "HGET {ticket_hash_key}:sale returned";
    client.ask((1..6).map(ask).collect()).expect("a reply");
    client.one(Command::Confirm(ReservationId(1)));
    assert_eq!(connection.ask(returned), redis::Value::Nil, "who buys and pays counts nothing");
    client.ask((1..3).map(|n| Command::Refund(ReservationId(n))).collect()).expect("a reply");
    client.one(Command::Cancel(ReservationId(3)));
    assert_eq!(connection.text(returned), "2");
    client.codec.set_now_ms(Some(history::BEGIN_MS + 9));
    client.one(Command::Expire { batch_max: 9 });
    assert_eq!(connection.text(returned), "5");
    // Paid, refunded and shown in one run.
    let late = [Command::Confirm, Command::Refund, Command::Refund].map(|of| of(ReservationId(4)));
    client.ask(late.into()).expect("a reply");
    assert_eq!(connection.text(returned), "5");
    client.one(Command::Confirm(ReservationId(5)));
    assert_eq!(connection.text(returned), "4");
    let exhausted = Outcome::ReservationsExhausted { reservations_max: RETURNED_MAX_DEFAULT };
    let almost = RETURNED_MAX_DEFAULT - 1;
    connection.text(&format!("HSET {{ticket_hash_key}}:sale returned {almost}"));
    assert!(matches!(client.one(ask(6)), Outcome::Granted { .. }));
    client.one(Command::Cancel(ReservationId(6)));
    assert_eq!(client.one(ask(7)), exhausted);
    assert_eq!(
        client.ask(vec![ask(7), ask(8)]).expect("x").outcomes,
        [exhausted.clone(), exhausted]
    );
    let enough = RETURNED_MAX_DEFAULT / RETURNED_PER_UNIT_DEFAULT;
    client.one(Command::AddStock(enough));
    assert!(matches!(client.one(ask(7)), Outcome::Granted { .. }));
    client.one(Command::Reset { total: None, force: true });
    assert_eq!(connection.ask(returned), redis::Value::Nil);
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
        (format!("{counters} ticket_sold_nums 1"), "`stampede sale reset` begins"),
        ("HDEL ticket_hash_key ticket_sold_nums".to_owned(), "has no ticket_sold_nums"),
        (format!("{sale} confirmed 9"), "and 9 confirmed"),
        (format!("{sale} creation x"), "creation x"),
        (format!("{sale} held x"), "held x"),
        (format!("{sale} hold_ms 0"), "hold_ms 0"),
        (format!("{sale} last_ms 253402300800000"), "last_ms"),
        (format!("{sale} format 4 types adult:9 by_type 1"), "must be as in"),
        (format!("{sale} format 4 types adult:9"), "by_type"),
        (format!("{sale} format 4 types adult by_type 0:0"), "must be as in"),
        (format!("{sale} format 4 types adult:0 by_type 0:0"), "must be as in"),
        (format!("{sale} format 4 types adult:9,adult:9 by_type 0:0,0:0"), "must be as in"),
        (format!("{sale} format 4 types adult:09 by_type 0:0"), "must be as in"),
        (format!("{sale} format 4 by_type 0:0"), "nothing and 0:0"),
        (format!("{sale} format 4 types adult:9 by_type 2:0"), "is no reservation"),
        ("HDEL ticket_hash_key ticket_total_nums".to_owned(), "must have ticket_total_nums"),
        ("HSET {ticket_hash_key}:users ann x cat x bob x".to_owned(), "users"),
        ("HSET {ticket_hash_key}:claims ann\tl nothing".to_owned(), "which is not in"),
    ] {
        refuses_and_writes_nothing(&[&spoil.split(' ').collect::<Vec<_>>()], part);
    }
}

#[test]
fn a_damaged_line_is_an_error_and_nothing_is_written() {
    // The lines of two reservations, of which the first, or the end, is damaged.
    let [ann, bob] = [1, 2].map(|n| ReservationId(n).to_string());
    let name = &ann[..10];
    for damaged in [
        format!("{ann} held 1"),
        format!("{ann} sold 1 5 ann\tk"),
        format!("{ann} held 0 5 ann\tk"),
        format!("{ann} held 1000001 5 ann\tk"),
        format!("{ann} held 1 5x"),
        format!("{ann} held 1 5 "),
        format!("{ann} held 1 5 ann\t"),
        format!("{ann} held 1 5 ann\tk\tk"),
        format!("{ann} held 1 5 ann\tk\t"),
        format!("{ann} held 1 5 ann\tk\tasked=0"),
        format!("{ann} held 1 5 ann\tk\tfirst=5\tasked=2"),
        format!("{ann} held 1 5 ann\tk\tcolour=red"),
        format!("{ann} held 1 5 ann\tk\tlines="),
        format!("{ann} held 1 5 ann\tk\tlines=adult"),
        format!("{ann} held 1 5 ann\tk\tlines=adult:01"),
        format!("{ann} held 1 5 ann\tk\tmade=adult:1\tlines=adult:1"),
        format!("{ann} held 1 999999999999999999999 ann\tk"),
    ] {
        let text = format!("{damaged}\n{bob} held 1 5 bob\tk\n");
        let spoil = ["HSET", "{ticket_hash_key}:reservations", name, &text];
        refuses_and_writes_nothing(&[&spoil], "is no reservation");
    }
    let text = format!("{ann} held 1 5 ann\tk\n{bob} held 1 5 bob\tk");
    let spoil = ["HSET", "{ticket_hash_key}:reservations", name, &text];
    refuses_and_writes_nothing(&[&spoil], "does not end with its line");
}

#[test]
fn a_key_of_the_wrong_type_is_an_error_and_nothing_is_written() {
    let keys = KeyTemplates::default().of(&ticket()).all();
    for (n, key) in keys.iter().enumerate() {
        let spoil = [&["DEL", key][..], &["SET", key, "1"]];
        let named = format!("the key {key} is no hash");
        refuses_and_writes_nothing(&spoil, if n < 2 { &named } else { "WRONGTYPE" });
    }
}

/// A sale of a call that many sales share.
fn sale_of(n: usize) -> SaleId {
    SaleId::new(&format!("s{n}")).expect("a sale id")
}

/// Sales with a limit, each with something sold.
fn many_sales(client: &mut Client, count: usize) {
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    for n in 0..count {
        let spec = SaleSpec { limit_per_user: 1, ..SaleSpec::with_total(9) };
        let commands = vec![Command::Create(spec), ask_as(1, "ann", "k"), ask_as(2, "bob", "")];
        client.send(&Group { sale: sale_of(n), commands }).expect("a reply");
    }
}

#[test]
fn an_error_in_one_sale_of_a_call_affects_no_other_sale() {
    const DAMAGED: usize = 3;
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    let counters = "s3_hash_key";
    let key = |name: &str| format!("{{{counters}}}:{name}");
    let of_type = |name: &str| vec![format!("DEL {}", key(name)), format!("SET {} 1", key(name))];
    for (spoil, part) in [
        (vec![format!("HSET {counters} s3_total_nums ten")], "s3_total_nums"),
        (vec![format!("HSET {counters} s3_total_nums 1e2")], "not 1e2"),
        (vec![format!("HSET {counters} s3_sold_nums 2.5")], "and 2.5"),
        (vec![format!("HSET {counters} s3_sold_nums 0")], "`stampede sale reset` begins"),
        (vec![format!("HDEL {counters} s3_sold_nums")], "has no s3_sold_nums"),
        (vec![format!("HSET {} held x", key("sale"))], "held x"),
        (vec![format!("HSET {} held 0.5", key("sale"))], "held 0.5"),
        (vec![format!("HSET {} confirmed 9", key("sale"))], "and 9 confirmed"),
        (vec![format!("HSET {} hold_ms 0", key("sale"))], "hold_ms 0"),
        (vec![format!("HSET {} limit_per_user x", key("sale"))], "limit_per_user x"),
        (vec![format!("HSET {} opens_at_ms -1", key("sale"))], "opens_at_ms -1"),
        (vec![format!("HSET {} closes_at_ms x", key("sale"))], "closes_at_ms x"),
        (vec![format!("HSET {} last_ms 1.5", key("sale"))], "last_ms 1.5"),
        (vec![format!("HSET {} split x", key("sale"))], "not x"),
        (vec![format!("HSET {} cid x", key("users"))], "a number of units"),
        (of_type("sale"), "is no hash"),
        (of_type("reservations"), "WRONGTYPE"),
        (of_type("claims"), "WRONGTYPE"),
        (of_type("users"), "WRONGTYPE"),
        (of_type("deadlines"), "WRONGTYPE"),
        (of_type("stream"), "WRONGTYPE"),
    ] {
        // One request, and several: either is refused without a trace.
        for users in [&["cid"][..], &["cid", "dan"]] {
            connection.ask("FLUSHDB");
            many_sales(&mut client, 6);
            spoil.iter().for_each(|command| drop(connection.ask(command)));
            let of_it = |all: Vec<(String, redis::Value)>| {
                all.into_iter().filter(|(key, _)| key.contains(counters)).collect::<Vec<_>>()
            };
            let before = of_it(dump(&mut connection));
            let asks = (1..).zip(users).map(|(id, user)| ask_as(id << 100, user, "k"));
            let buy = |n| Group { sale: sale_of(n), commands: asks.clone().collect() };
            let groups: Vec<Group> = (0..6).map(buy).collect();
            for (n, reply) in client.send_all(&groups).into_iter().enumerate() {
                match reply {
                    Err(DecodeError::Refused(text)) if n == DAMAGED => {
                        assert!(text.contains(part), "{spoil:?}: {text}");
                    }
                    Ok(reply) if n != DAMAGED => {
                        let got = (granted(&reply.outcomes), reply.free);
                        assert_eq!(got, (users.len(), Some(7 - users.len() as u64)), "{spoil:?}");
                        agrees_with_its_stream(&mut connection, &sale_of(n));
                    }
                    other => panic!("{spoil:?}, sale {n}: {other:?}"),
                }
            }
            assert_eq!(of_it(dump(&mut connection)), before, "{spoil:?}, {users:?}");
        }
    }
}

/// A stream whose last id is the highest possible accepts no entry. The script learns that only
/// after its first writes.
#[test]
fn a_half_done_script_takes_units_but_grants_nothing() {
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    many_sales(&mut client, 3);
    let last = u64::MAX;
    connection.ask(&format!("XADD {{s1_hash_key}}:stream {last}-{last} at_ms 1 reservations x"));
    let buys = || vec![ask_as(3, "cid", "k"), ask_as(4, "dan", "k")];
    let groups: Vec<Group> = (0..3).map(|n| Group { sale: sale_of(n), commands: buys() }).collect();
    let replies = client.send_all(&groups);
    assert!(
        matches!(&replies[1], Err(DecodeError::Lost(text)) if text.starts_with("HALFWAY")),
        "{:?}",
        replies[1]
    );
    for n in [0, 2] {
        assert_eq!(replies[n].as_ref().map(|reply| granted(&reply.outcomes)), Ok(2), "{n}");
        agrees_with_its_stream(&mut connection, &sale_of(n));
    }
    assert_eq!(connection.text("HGET s1_hash_key s1_sold_nums"), "4");
    assert_eq!(connection.text("XLEN {s1_hash_key}:stream"), "2");
    // Also by the script that takes any run: a user is in it twice.
    let twice = vec![ask_as(5, "eva", "k"), ask_as(6, "eva", "l")];
    let got = client.send(&Group { sale: sale_of(1), commands: twice });
    assert!(matches!(&got, Err(DecodeError::Lost(text)) if text.starts_with("HALFWAY")), "{got:?}");
}

#[test]
fn a_half_done_script_counts_every_type_it_may_have_taken() {
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    let types = Types::from_text("adult:9,child:9,dog:9").expect("types");
    let spec = SaleSpec { types, hold_ms: 1000, ..SaleSpec::with_total(20) };
    let typed = |n, lines: &str| {
        let Command::Reserve(one) = ask_as(n, "ann", "") else { unreachable!() };
        let lines = Lines::from_text(lines);
        let quantity = lines.as_ref().map_or(1, Lines::units);
        let details = Details { lines, ..Details::default() }.boxed();
        Command::Reserve(Reserve { quantity, details, ..one })
    };
    client.codec.set_now_ms(Some(history::BEGIN_MS));
    client.ask(vec![Command::Create(spec), typed(1, "adult:2")]).expect("a reply");
    client.codec.set_now_ms(Some(history::BEGIN_MS + 1000));
    let later = [Command::Expire { batch_max: 9 }, typed(2, "child:3"), typed(3, "dog:1")];
    client.ask(later.to_vec()).expect("a reply");
    let counts = "HGET {ticket_hash_key}:sale by_type";
    assert_eq!(connection.text(counts), "0:0,3:0,1:0");
    let last = u64::MAX;
    connection
        .ask(&format!("XADD {{ticket_hash_key}}:stream {last}-{last} at_ms 1 reservations x"));
    let halfway = |client: &mut Client, commands: Vec<Command>| {
        let got = client.ask(commands);
        assert!(
            matches!(&got, Err(DecodeError::Lost(text)) if text.starts_with("HALFWAY")),
            "{got:?}"
        );
    };
    // One is paid late, another is given back: the reservations may have been written, or not.
    let [one, two, three] = [1, 2, 3].map(ReservationId);
    halfway(
        &mut client,
        vec![Command::Confirm(one), Command::Cancel(two), Command::Confirm(three)],
    );
    assert_eq!(connection.text(counts), "0:2,3:0,1:0");
    halfway(&mut client, vec![typed(4, "adult:1,dog:2")]);
    assert_eq!(connection.text(counts), "1:2,3:0,3:0");
}

#[test]
fn the_largest_run_is_granted_as_a_whole() {
    const COUNT: u128 = 512;
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    client.one(Command::Create(SaleSpec { limit_per_user: 1, ..SaleSpec::with_total(9999) }));
    // Ids of many fields, and every kind of run: with keys, without, and both.
    let id = |n: u128| n | (n / 64) << 100;
    for (round, key) in [|_| "k", |_| "", |n| if n % 3 == 0 { "k" } else { "" }]
        .into_iter()
        .enumerate()
        .map(|(round, key): (usize, fn(u128) -> &'static str)| (round as u128, key))
    {
        let begin = round * COUNT;
        let run = (begin..begin + COUNT).map(|n| ask_as(id(n), &format!("user {n}"), key(n)));
        let run: Vec<_> = run.collect();
        assert_eq!(granted(&client.ask(run.clone()).expect("a reply").outcomes), COUNT as usize);
        let again = client.ask(run).expect("a reply").outcomes;
        for (n, outcome) in (begin..).zip(&again) {
            let replayed = matches!(outcome, Outcome::Replayed(one) if one.id.0 == id(n));
            let expected = if key(n).is_empty() {
                *outcome == Outcome::LimitReached { limit_per_user: 1 }
            } else {
                replayed
            };
            assert!(expected, "{n}: {outcome:?}");
        }
    }
    agrees_with_its_stream(&mut connection, &ticket());
    assert_eq!(connection.text("HGET ticket_hash_key ticket_sold_nums"), (3 * COUNT).to_string());
}

#[test]
fn the_sold_count_may_be_missing_only_before_the_first_sale() {
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    // As a person may do it by hand, with a definition or without.
    connection.ask("HSET ticket_hash_key ticket_total_nums 4");
    connection.ask("HSET {ticket_hash_key}:sale hold_ms 60000");
    let Outcome::Sale(view) = client.one(Command::Show) else { panic!("no sale") };
    assert_eq!((view.spec.total, view.free()), (4, 4));
    assert_eq!(granted(&client.ask((1..=2).map(ask).collect()).expect("a reply").outcomes), 2);
    (1..=2).for_each(|n| drop(client.one(Command::Confirm(ReservationId(n)))));

    let refused = |client: &mut Client| {
        let commands = [
            ask(9),
            Command::Show,
            Command::Expire { batch_max: 9 },
            Command::Confirm(ReservationId(1)),
        ];
        commands.into_iter().all(|command| {
            matches!(client.ask(vec![command]), Err(DecodeError::Refused(text)) if text.contains("ticket_sold_nums"))
        })
    };
    // Nothing is held any more, so only the confirmed units show that it is no new sale.
    connection.ask("HDEL ticket_hash_key ticket_sold_nums");
    assert!(refused(&mut client));
    connection.ask("HMSET ticket_hash_key ticket_total_nums 4 ticket_sold_nums 0");
    assert!(refused(&mut client));
    connection.ask("HSET ticket_hash_key ticket_sold_nums 1");
    assert!(refused(&mut client));
    connection.ask("HSET ticket_hash_key ticket_sold_nums 2");
    assert_eq!(granted(&client.ask((3..=9).map(ask).collect()).expect("a reply").outcomes), 2);
}

#[test]
fn a_reset_keeps_only_the_definition_of_a_sale() {
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    let reset = |total, force| Command::Reset { total, force };
    assert_eq!(client.one(reset(Some(1), true)), Outcome::UnknownSale);
    let spec = SaleSpec { hold_ms: 60_000, limit_per_user: 1, ..SaleSpec::with_total(3) };
    let Outcome::Created(made) = client.one(Command::Create(spec.clone())) else {
        panic!("not made")
    };
    client.ask(vec![ask_as(1, "ann", "k"), ask_as(2, "bob", "")]).expect("a reply");
    client.one(Command::Confirm(ReservationId(1)));
    assert_eq!(client.one(reset(None, false)), Outcome::HasSold { held: 1, confirmed: 1 });
    connection.ask("HSET ticket_hash_key ticket_sold_nums 0");
    let before = dump(&mut connection);
    assert_eq!(client.one(reset(None, false)), Outcome::HasSold { held: 1, confirmed: 1 });
    assert_eq!(dump(&mut connection), before);

    let Outcome::Sale(view) = client.one(reset(None, true)) else { panic!("no sale") };
    assert_eq!((&view.spec, view.free()), (&spec, 3));
    assert!(view.creation > made.creation, "it is another sale");
    assert_eq!(connection.list("KEYS *").len(), 2, "{:?}", connection.list("KEYS *"));
    // Neither the key nor the user's units are remembered.
    let again = client.ask(vec![ask_as(3, "ann", "k"), ask_as(4, "ann", "l")]).expect("a reply");
    assert!(matches!(again.outcomes[..], [Outcome::Granted { .. }, Outcome::LimitReached { .. }]));
    connection.ask("DEL ticket_hash_key");
    assert_eq!(client.one(reset(None, true)), Outcome::TotalRequired);
    let Outcome::Sale(view) = client.one(reset(Some(7), true)) else { panic!("no sale") };
    assert_eq!((view.spec.total, view.spec.limit_per_user, view.free()), (7, 1, 7));
    // Entries that a group has yet to read are removed only by force.
    client.one(ask_as(5, "bob", ""));
    client.one(Command::Cancel(ReservationId(5)));
    connection.ask("XGROUP CREATE {ticket_hash_key}:stream orders 0");
    let got = client.ask(vec![reset(None, false)]);
    assert!(matches!(got, Err(DecodeError::Refused(text)) if text.contains("the group orders")));
    assert!(matches!(client.one(reset(None, true)), Outcome::Sale(_)));
}

#[test]
fn a_reset_replaces_damaged_rules_by_the_defaults() {
    let server = RedisServer::start(&[]);
    let (mut client, mut connection) = (Client::new(&server), server.connect());
    let rules = Rules {
        extend_max_ms: 9,
        quantity_min: 1,
        reservations_max: Some(2),
        reservations_per_user_max: 1,
    };
    let spec = SaleSpec { rules, ..SaleSpec::with_total(9) };
    let of_rules = |rules: Rules| SaleSpec { rules, ..spec.clone() };
    client.one(Command::Create(spec.clone()));
    for (field, fallen_back) in [
        ("extend_max_ms", Rules { extend_max_ms: Rules::default().extend_max_ms, ..rules }),
        ("quantity_min", rules),
        ("reservations_max", Rules { reservations_max: None, ..rules }),
        ("reservations_per_user_max", Rules { reservations_per_user_max: 0, ..rules }),
    ] {
        let set = |connection: &mut RedisConnection, value: &str| {
            connection.ask(&format!("HSET {{ticket_hash_key}}:sale {field} {value}"));
        };
        let was = connection.text(&format!("HGET {{ticket_hash_key}}:sale {field}"));
        set(&mut connection, "x");
        assert!(client.ask(vec![ask(1)]).is_err(), "{field}");
        let Outcome::Sale(view) = client.one(Command::Reset { total: None, force: true }) else {
            panic!("no sale")
        };
        assert_eq!(view.spec, of_rules(fallen_back), "{field}");
        let Outcome::Sale(shown) = client.one(Command::Show) else { panic!("no sale") };
        assert_eq!(shown.spec, view.spec, "{field}");
        assert!(matches!(client.one(ask_as(1, "ann", "")), Outcome::Granted { .. }), "{field}");
        client.one(Command::Reset { total: None, force: true });
        set(&mut connection, &was);
    }
}

#[test]
fn a_sale_is_not_created_over_leftovers_of_another() {
    let server = RedisServer::start(&[]);
    let mut client = Client::new(&server);
    client.one(Command::Create(SaleSpec::with_total(2)));
    client.one(ask(1));
    server.connect().ask("DEL ticket_hash_key");
    let got = client.ask(vec![Command::Create(SaleSpec::with_total(2))]);
    assert!(matches!(got, Err(DecodeError::Refused(text)) if text.contains("restore it")));
}

#[test]
fn missing_scripts_are_detected_and_reloaded() {
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
fn a_new_sale_fences_an_earlier_epoch() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    let plain = client.codec.clone();
    client.codec = plain.in_epoch(Some(3));
    assert!(matches!(client.one(Command::Create(SaleSpec::with_total(9))), Outcome::Created(_)));
    assert_eq!(connection.text("HGET {ticket_hash_key}:sale epoch"), "3");
    client.codec = plain.in_epoch(Some(2));
    for command in [ask(1), Command::AddStock(1), Command::Create(SaleSpec::with_total(9))] {
        let refused = client.ask(vec![command]).unwrap_err();
        assert_eq!(refused.fenced_by(), Some(3), "{refused}");
    }
}

#[test]
fn a_later_epoch_fences_an_earlier_one() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let mut client = Client::new(&server);
    let plain = client.codec.clone();
    client.one(Command::Create(SaleSpec::with_total(9)));
    client.codec = plain.in_epoch(Some(3));
    assert!(matches!(client.one(ask_as(1, "ann", "k")), Outcome::Granted { .. }));
    assert_eq!(connection.text("HGET {ticket_hash_key}:sale epoch"), "3");

    let before = dump(&mut connection);
    client.codec = plain.in_epoch(Some(2));
    for command in [ask(2), ask_as(1, "ann", "k"), Command::Cancel(ReservationId(1)), Command::Show]
    {
        let refused = client.ask(vec![command]).unwrap_err();
        assert_eq!((refused.fenced_by(), refused.is_demotion()), (Some(3), true), "{refused}");
    }
    assert_eq!(dump(&mut connection), before);

    // A command in a later epoch raises the epoch, if it can be written.
    client.codec = plain.in_epoch(Some(4));
    connection.ask("CONFIG SET min-replicas-to-write 1");
    assert!(matches!(client.one(Command::Show), Outcome::Sale(_)));
    let refused = client.ask(vec![ask(3)]);
    assert!(
        matches!(&refused, Err(DecodeError::Refused(t)) if t.contains("NOREPLICAS")),
        "{refused:?}"
    );
    assert_eq!(dump(&mut connection), before);
    connection.ask("CONFIG SET min-replicas-to-write 0");
    assert!(matches!(client.one(Command::Show), Outcome::Sale(_)));
    assert_eq!(connection.text("HGET {ticket_hash_key}:sale epoch"), "4");
    // A client without Sentinels knows no epoch, and is believed.
    client.codec = plain;
    assert!(matches!(client.one(ask(4)), Outcome::Granted { .. }));
    connection.ask("HSET {ticket_hash_key}:sale epoch soon");
    client.codec = client.codec.in_epoch(Some(9));
    let refused = client.ask(vec![ask(5)]).unwrap_err();
    assert!(refused.to_string().contains("is no epoch"), "{refused}");
}

#[test]
fn time_never_goes_back_before_the_last_write() {
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
fn the_handshake_uses_password_user_and_database() {
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
fn the_handshake_requires_a_primary_and_a_permitted_user() {
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
