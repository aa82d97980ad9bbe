//! Measures what a sale costs Redis: CPU time of the Redis process a ticket, by how many tickets share one
//! script call, beside a script a ticket as people write it by hand. Then the same where each ticket of
//! a batch is of another sale.
//!
//!     cargo run --profile shipped -p bench --bin redis_cost
//!
//! One connection, one batch in flight, nothing persisted. The time is `used_cpu_user` and
//! `used_cpu_sys` of `INFO cpu` over the whole run, so Redis' reading, parsing and writing is in it.

// The tests use all of these helpers.
#[allow(dead_code)]
#[path = "../../../tests/support/redis.rs"]
mod server;

use bench::resp;
use server::{RedisConnection, RedisServer};
use stampede::ledger::Group;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisSettings, decode_all, handshake};
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, SaleSpec, User};

const TICKETS: usize = 16_384;
const ROUNDS: usize = 5;
const BATCHES: [usize; 4] = [1, 16, 64, 256];
/// Sales in a batch, with one ticket each.
const SALES: usize = 40;

/// One script call per ticket: claim, counters, stream.
const BY_HAND: &str = "
local earlier = redis.call('HGET', KEYS[2], ARGV[1])
if earlier then return earlier end
local counters = redis.call('HMGET', KEYS[1], 'total', 'sold')
if tonumber(counters[2]) >= tonumber(counters[1]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'sold', 1)
redis.call('XADD', KEYS[3], '*', 'id', ARGV[2], 'user', ARGV[3])
return 1";

/// The content of a run's requests.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Anonymous,
    User,
    UserAndKey,
    UserKeyAndLimit,
}

fn main() {
    // Interleaved, so a neighbour's load affects all runs alike.
    let mut runs = vec![Vec::new(); 4 * BATCHES.len()];
    let mut many = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (i, batch) in BATCHES.into_iter().enumerate() {
            runs[4 * i].push(ours(Kind::Anonymous, batch));
            runs[4 * i + 1].push(ours(Kind::UserAndKey, batch));
            runs[4 * i + 2].push(ours(Kind::UserKeyAndLimit, batch));
            runs[4 * i + 3].push(by_hand(batch));
        }
        many[0].push(of_many_sales(Kind::User));
        many[1].push(of_many_sales(Kind::UserKeyAndLimit));
        many[2].push(by_hand(1));
    }
    println!("Redis CPU us per ticket, {TICKETS} tickets: median (min-max) of {ROUNDS} runs\n");
    println!(
        "| batch | anonymous | user, key | user, key, limit | by hand, pipelined to the same depth |"
    );
    println!("|---|---|---|---|---|");
    for (batch, row) in BATCHES.iter().zip(runs.chunks_mut(4)) {
        let row: Vec<_> = row.iter_mut().map(|runs| spread(runs)).collect();
        println!("| {batch} | {} |", row.join(" | "));
    }
    let [user, limit, by_hand] = many.each_mut().map(|runs| spread(runs));
    println!("\nBatches with one ticket from each of {SALES} sales:\n");
    println!("| user | user, key, limit | by hand, one at a time |\n|---|---|---|");
    println!("| {user} | {limit} | {by_hand} |");
}

fn spread(runs: &mut [f64]) -> String {
    runs.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2}-{:.2})", runs[runs.len() / 2], runs[0], runs[runs.len() - 1])
}

fn ours(kind: Kind, batch: usize) -> f64 {
    let mut ours = Ours::start(kind, 1);
    let groups: Vec<_> = (0..TICKETS / batch)
        .map(|b| {
            let commands = (0..batch).map(|n| ask(kind, (b * batch + n) as u128)).collect();
            vec![Group { sale: sale(0), commands }]
        })
        .collect();
    ours.sell(&groups)
}

fn of_many_sales(kind: Kind) -> f64 {
    let mut ours = Ours::start(kind, SALES);
    let one = |n: usize| Group { sale: sale(n % SALES), commands: vec![ask(kind, n as u128)] };
    let groups: Vec<Vec<Group>> =
        (0..TICKETS / SALES).map(|b| (b * SALES..(b + 1) * SALES).map(one).collect()).collect();
    ours.sell(&groups)
}

fn sale(n: usize) -> SaleId {
    SaleId::new(&format!("ticket-{n}")).expect("a sale id")
}

/// A Redis with stampede's sales.
struct Ours {
    server: RedisServer,
    codec: Codec,
    connection: RedisConnection,
}

impl Ours {
    fn start(kind: Kind, sales: usize) -> Self {
        let server = RedisServer::start(&[]);
        let codec = Codec::new(KeyTemplates::default());
        let settings = RedisSettings::from_url(&server.url()).expect("a URL");
        let mut stream = server.stream();
        handshake(&mut stream, &settings, "bench", codec.scripts()).expect("a handshake");
        let connection = RedisConnection::new(stream);
        let mut ours = Self { server, codec, connection };
        let limit_per_user = if kind == Kind::UserKeyAndLimit { 1 } else { 0 };
        let spec = SaleSpec { limit_per_user, ..SaleSpec::with_total(TICKETS as u64) };
        for n in 0..sales {
            ours.send(&[Group { sale: sale(n), commands: vec![Command::Create(spec.clone())] }]);
        }
        ours
    }

    /// Sells batch after batch and returns Redis' CPU time per ticket, in microseconds.
    fn sell(&mut self, batches: &[Vec<Group>]) -> f64 {
        let before = cpu_us(&self.server);
        let mut tickets = 0;
        for groups in batches {
            for outcome in self.send(groups) {
                assert!(matches!(outcome, Outcome::Granted { .. }), "{outcome:?}");
                tickets += 1;
            }
        }
        (cpu_us(&self.server) - before) / f64::from(tickets)
    }

    fn send(&mut self, groups: &[Group]) -> Vec<Outcome> {
        let groups: Vec<&Group> = groups.iter().collect();
        let mut request = Vec::new();
        let count = self.codec.encode_all(&groups, &mut request);
        let replies = decode_all(&groups, &self.connection.send(&request, count));
        replies.into_iter().flat_map(|reply| reply.expect("a reply").outcomes).collect()
    }
}

fn ask(kind: Kind, n: u128) -> Command {
    let named = kind != Kind::Anonymous;
    let keyed = named && kind != Kind::User;
    Command::Reserve(Reserve {
        // Spread over the bits like a random id.
        id: ReservationId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        quantity: 1,
        user: named.then(|| User::new(&format!("user-{n}")).expect("a user")),
        key: keyed
            .then(|| Key::new(&format!("key-of-36-characters-as-a-uuid-{n:05}")).expect("key")),
        trace: None,
        details: None,
    })
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
