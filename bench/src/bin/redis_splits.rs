//! Measures a split sale: tickets per second, and CPU time of Redis per ticket, by how many Redis
//! processes its parts are on. What `bench/splits.md` reckons with.
//!
//!     cargo run --profile shipped -p bench --bin redis_splits
//!
//! Each part has a Redis of its own, as in a Redis Cluster, and two connections with a batch in flight
//! each, so that Redis never waits. Everything runs on the processors of this machine, the clients
//! too: with fewer than K + 1 of them the tickets a second are bounded by that, while the CPU time a
//! ticket is what it is. Nothing is persisted.

// The tests use all of these helpers.
#[allow(dead_code)]
#[path = "../../../tests/support/redis.rs"]
mod server;

use std::thread;
use std::time::Instant;

use bench::resp;
use server::{RedisConnection, RedisServer};
use stampede::ledger::Group;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisSettings, decode, handshake};
use stampede::sale::{
    Command, Outcome, ReservationId, Reserve, SaleId, SaleSpec, Split, User, home_part,
};

/// Tickets sold in one run, over all parts.
const TICKETS: usize = 1 << 17;
const ROUNDS: usize = 5;
const PARTS: [u32; 4] = [1, 2, 4, 8];
const BATCHES: [usize; 3] = [16, 64, 256];
const CONNECTIONS: usize = 2;
/// Moves of units between two parts, to measure the cost of one.
const MOVES: u64 = 20_000;

fn main() {
    println!("{TICKETS} tickets to users with a limit; median (min-max) of {ROUNDS} runs\n");
    println!("| parts | batch per part | tickets/s here | Redis CPU us per ticket |");
    println!("|---|---|---|---|");
    let shapes: Vec<(u32, usize)> =
        PARTS.iter().flat_map(|&parts| BATCHES.map(|batch| (parts, batch))).collect();
    let mut runs = vec![(Vec::new(), Vec::new()); shapes.len()];
    // Interleaved, so a neighbour's load affects all runs alike.
    for _ in 0..ROUNDS {
        for (&(parts, batch), (rates, costs)) in shapes.iter().zip(&mut runs) {
            let (rate, cost) = sell(parts, batch);
            rates.push(rate);
            costs.push(cost);
        }
    }
    for ((parts, batch), (rates, costs)) in shapes.iter().zip(&mut runs) {
        println!("| {parts} | {batch} | {} | {} |", spread(rates, 0), spread(costs, 2));
    }
    let (step, look) = move_cost();
    println!(
        "\nRedis CPU per step that moves units (give or take): {step:.1} us; per look at a place: {look:.1} us."
    );
}

fn spread(runs: &mut [f64], digits: usize) -> String {
    runs.sort_by(f64::total_cmp);
    let [least, median, most] = [0, runs.len() / 2, runs.len() - 1].map(|at| runs[at]);
    format!("{median:.digits$} ({least:.digits$}-{most:.digits$})")
}

/// Sells all tickets of a sale in this number of parts. Returns tickets per second, and the CPU us per
/// ticket of all Redis processes.
fn sell(parts: u32, batch: usize) -> (f64, f64) {
    let sale = SaleId::new("ticket").expect("a sale id");
    let servers: Vec<RedisServer> = (0..parts).map(|_| RedisServer::start(&[])).collect();
    let codec = Codec::new(KeyTemplates::default());
    let id = |number: u32| match parts {
        1 => sale.clone(),
        _ => sale.part(number, parts).expect("a part"),
    };
    let split = if parts > 1 { Split::Part { of: parts } } else { Split::Whole };
    let mut requests: Vec<Vec<Vec<Command>>> = vec![Vec::new(); parts as usize * CONNECTIONS];
    for n in 0..TICKETS {
        let user = format!("user-{n}");
        let part = if parts == 1 { 0 } else { home_part(&user, parts) as usize - 1 };
        let batches = &mut requests[part * CONNECTIONS + n % CONNECTIONS];
        if batches.last().is_none_or(|last| last.len() == batch) {
            batches.push(Vec::with_capacity(batch));
        }
        if let Some(last) = batches.last_mut() {
            last.push(ask(n as u128, &user));
        }
    }
    for (server, number) in servers.iter().zip(1..) {
        let spec = SaleSpec { split, limit_per_user: 2, ..SaleSpec::with_total(TICKETS as u64) };
        let group = Group { sale: id(number), commands: vec![Command::Create(spec)] };
        carry(&codec, &mut connect(server, &codec), &group);
    }
    // Everything is encoded before the clock starts, because Redis is measured.
    let ready: Vec<_> = requests
        .into_iter()
        .enumerate()
        .map(|(at, batches)| {
            let number = (at / CONNECTIONS) as u32 + 1;
            let groups: Vec<Group> =
                batches.into_iter().map(|commands| Group { sale: id(number), commands }).collect();
            let encode = |group: Group| {
                let mut request = Vec::new();
                let count = codec.encode(&group, &mut request);
                (group, request, count)
            };
            let connection = connect(&servers[at / CONNECTIONS], &codec);
            (connection, groups.into_iter().map(encode).collect::<Vec<_>>())
        })
        .collect();
    let cpu = || servers.iter().map(cpu_us).sum::<f64>();
    let (before, since) = (cpu(), Instant::now());
    let sold: usize = thread::scope(|scope| {
        let sell = |(mut connection, batches): (RedisConnection, Vec<(Group, Vec<u8>, usize)>)| {
            scope.spawn(move || {
                let mut replies = Vec::with_capacity(batches.len());
                for (group, request, count) in batches {
                    replies.push((group, connection.send(&request, count)));
                }
                replies
            })
        };
        let threads: Vec<_> = ready.into_iter().map(sell).collect();
        let replies = threads.into_iter().flat_map(|thread| thread.join().expect("a connection"));
        let replies: Vec<_> = replies.collect();
        replies.iter().map(|(group, replies)| granted(group, replies)).sum()
    });
    let seconds = since.elapsed().as_secs_f64();
    assert_eq!(sold, TICKETS, "tickets that were sold");
    (TICKETS as f64 / seconds, (cpu() - before) / TICKETS as f64)
}

fn granted(group: &Group, replies: &[redis::Value]) -> usize {
    let outcomes = decode(group, replies).expect("a reply").outcomes;
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Granted { .. })).count()
}

/// CPU us of Redis per step of a move, and per look at a place.
fn move_cost() -> (f64, f64) {
    let server = RedisServer::start(&[]);
    let codec = Codec::new(KeyTemplates::default());
    let mut connection = connect(&server, &codec);
    let sale = SaleId::new("ticket").expect("a sale id");
    let [one, other] = [1, 2].map(|number| sale.part(number, 4).expect("a part"));
    let spec = SaleSpec { split: Split::Part { of: 4 }, ..SaleSpec::with_total(2 * MOVES) };
    for id in [&one, &other] {
        let group = Group { sale: id.clone(), commands: vec![Command::Create(spec.clone())] };
        carry(&codec, &mut connection, &group);
    }
    let before = cpu_us(&server);
    for gave in 0..MOVES {
        let give = vec![Command::TransferOut { to: 2, gave, units: 1 }];
        carry(&codec, &mut connection, &Group { sale: one.clone(), commands: give });
        let take = vec![Command::TransferIn { from: 1, gave: gave + 1 }];
        let took = carry(&codec, &mut connection, &Group { sale: other.clone(), commands: take });
        assert_eq!(took, [Outcome::Received { units: 1 }]);
    }
    let step = (cpu_us(&server) - before) / (2 * MOVES) as f64;
    let before = cpu_us(&server);
    for _ in 0..MOVES {
        let show = Group { sale: one.clone(), commands: vec![Command::Show] };
        carry(&codec, &mut connection, &show);
    }
    (step, (cpu_us(&server) - before) / MOVES as f64)
}

fn ask(n: u128, user: &str) -> Command {
    Command::Reserve(Reserve {
        // The ids of a batch share a prefix, like a core's ids.
        id: ReservationId((n / 64) << 90 | n),
        quantity: 1,
        user: User::new(user).ok(),
        key: None,
        trace: None,
        details: None,
    })
}

fn connect(server: &RedisServer, codec: &Codec) -> RedisConnection {
    let settings = RedisSettings::from_url(&server.url()).expect("a URL");
    let mut stream = server.stream();
    handshake(&mut stream, &settings, "bench", codec.scripts()).expect("a handshake");
    RedisConnection::new(stream)
}

fn carry(codec: &Codec, connection: &mut RedisConnection, group: &Group) -> Vec<Outcome> {
    let mut request = Vec::new();
    let count = codec.encode(group, &mut request);
    decode(group, &connection.send(&request, count)).expect("a reply").outcomes
}

fn cpu_us(server: &RedisServer) -> f64 {
    resp::cpu_us(&server.connect().text("INFO cpu")).expect("its CPU time")
}
