//! What a sale costs Redis: CPU time of the Redis process a ticket, by how many tickets share one
//! script call, beside a script a ticket as people write it by hand.
//!
//!     cargo run --release -p bench --bin redis_cost
//!
//! One connection, one batch in flight, nothing persisted. The time is `used_cpu_user` and
//! `used_cpu_sys` of `INFO cpu` over the whole run, so Redis' reading, parsing and writing is in it.

// The helpers serve the tests too, which use all of them.
#[allow(dead_code)]
#[path = "../../../tests/support/redis.rs"]
mod server;

use bench::resp;
use server::{RedisConnection, RedisServer};
use stampede::ledger::Group;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisSettings, decode, handshake};
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, SaleSpec, User};

const TICKETS: usize = 16_384;
const ROUNDS: usize = 5;
const BATCHES: [usize; 4] = [1, 16, 64, 256];

/// A script a ticket: claim, counters, stream.
const BY_HAND: &str = "
local earlier = redis.call('HGET', KEYS[2], ARGV[1])
if earlier then return earlier end
local counters = redis.call('HMGET', KEYS[1], 'total', 'sold')
if tonumber(counters[2]) >= tonumber(counters[1]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'sold', 1)
redis.call('XADD', KEYS[3], '*', 'id', ARGV[2], 'user', ARGV[3])
return 1";

/// What the requests of a run carry.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Anonymous,
    UserAndKey,
    UserKeyAndLimit,
}

fn main() {
    // Interleaved, so that a neighbour's load falls on all alike.
    let mut runs = vec![Vec::new(); 4 * BATCHES.len()];
    for _ in 0..ROUNDS {
        for (i, batch) in BATCHES.into_iter().enumerate() {
            runs[4 * i].push(ours(Kind::Anonymous, batch));
            runs[4 * i + 1].push(ours(Kind::UserAndKey, batch));
            runs[4 * i + 2].push(ours(Kind::UserKeyAndLimit, batch));
            runs[4 * i + 3].push(by_hand(batch));
        }
    }
    println!("Redis CPU us a ticket, {TICKETS} tickets: median (least-most) of {ROUNDS} runs\n");
    println!("| batch | anonymous | user, key | user, key, limit | by hand, pipelined as deep |");
    println!("|---|---|---|---|---|");
    for (batch, row) in BATCHES.iter().zip(runs.chunks_mut(4)) {
        let row: Vec<_> = row.iter_mut().map(|runs| spread(runs)).collect();
        println!("| {batch} | {} |", row.join(" | "));
    }
}

fn spread(runs: &mut [f64]) -> String {
    runs.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2}-{:.2})", runs[runs.len() / 2], runs[0], runs[runs.len() - 1])
}

fn ours(kind: Kind, batch: usize) -> f64 {
    let server = RedisServer::start(&[]);
    let codec = Codec::new(KeyTemplates::default());
    let settings = RedisSettings::from_url(&server.url()).expect("a URL");
    let mut stream = server.stream();
    handshake(&mut stream, &settings, "bench", codec.scripts()).expect("a handshake");
    let mut connection = RedisConnection::new(stream);
    let limit_per_user = if kind == Kind::UserKeyAndLimit { 2 } else { 0 };
    let spec = SaleSpec { limit_per_user, ..SaleSpec::with_total(TICKETS as u64) };
    send(&codec, &mut connection, vec![Command::Create(spec)]);

    let groups: Vec<_> = (0..TICKETS / batch)
        .map(|b| (0..batch).map(|n| ask(kind, (b * batch + n) as u128)).collect())
        .collect();
    let before = cpu_us(&server);
    for commands in groups {
        let outcomes = send(&codec, &mut connection, commands);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Granted { .. })));
    }
    (cpu_us(&server) - before) / TICKETS as f64
}

fn ask(kind: Kind, n: u128) -> Command {
    let named = kind != Kind::Anonymous;
    Command::Reserve(Reserve {
        // Spread over the bits as a random one is.
        id: ReservationId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        quantity: 1,
        user: named.then(|| User::new(&format!("user-{n}")).expect("a user")),
        key: named
            .then(|| Key::new(&format!("key-of-36-characters-as-a-uuid-{n:05}")).expect("key")),
    })
}

fn send(codec: &Codec, connection: &mut RedisConnection, commands: Vec<Command>) -> Vec<Outcome> {
    let group = Group { sale: SaleId::new("ticket").expect("a sale id"), commands };
    let mut request = Vec::new();
    let count = codec.encode(&group, &mut request);
    decode(&group, &connection.send(&request, count)).expect("a reply").outcomes
}

fn by_hand(depth: usize) -> f64 {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    connection.ask(&format!("HSET {{t}} total {TICKETS} sold 0"));
    let script = redis::Script::new(BY_HAND);
    connection.send(&redis::cmd("SCRIPT").arg("LOAD").arg(BY_HAND).get_packed_command(), 1);
    let requests: Vec<_> = (0..TICKETS / depth)
        .map(|p| {
            let mut request = Vec::new();
            for n in p * depth..(p + 1) * depth {
                let id = ReservationId(n as u128).to_string();
                let mut call = redis::cmd("EVALSHA");
                call.arg(script.get_hash()).arg(3).arg("{t}").arg("{t}:claims").arg("{t}:stream");
                call.arg(format!("user-{n}\nkey-of-36-characters-as-a-uuid-{n:05}"));
                call.arg(id).arg(format!("user-{n}")).write_packed_command(&mut request);
            }
            request
        })
        .collect();
    let before = cpu_us(&server);
    for request in requests {
        let replies = connection.send(&request, depth);
        assert!(replies.iter().all(|reply| *reply == redis::Value::Int(1)), "{replies:?}");
    }
    (cpu_us(&server) - before) / TICKETS as f64
}

fn cpu_us(server: &RedisServer) -> f64 {
    resp::cpu_us(&server.connect().text("INFO cpu")).expect("its CPU time")
}
