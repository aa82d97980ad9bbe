//! The plain design with many hot sales, without a server: one EVALSHA per ticket of a random sale,
//! each for a new user with a key.
//!
//! `--connections 64` sends the load of a pool of 64 connections. `--connections 1 --depth 64`
//! pipelines the same load on one connection, which costs Redis less. The driver does nearly no work,
//! so Redis is the bottleneck. Prints `sales=N seconds=S`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench::error::{Result, fail};
use bench::hot;
use bench::load::random::Random;
use bench::one_sale::{self, Keys};
use bench::resp::{Connection, Reply};
use clap::Parser;

/// Sells tickets of many sales from Redis, one EVALSHA per ticket.
#[derive(Parser)]
struct Settings {
    /// Address of Redis.
    #[arg(long)]
    redis: SocketAddr,
    /// Number of sales. The program creates missing sales.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sales: u32,
    /// Connections to Redis.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Calls in flight per connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    depth: u16,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Number of the first user. No user may buy twice.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Seconds to sell for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

fn main() {
    if let Err(failure) = Settings::parse().sell() {
        eprintln!("many_evalsha: {failure}");
        std::process::exit(1);
    }
}

/// The source of the calls.
struct Caller {
    sha: String,
    sales: Vec<Keys>,
    random: Random,
    user: u64,
    packed: Vec<u8>,
}

impl Settings {
    fn sell(&self) -> Result<()> {
        bench::pin::to_core(self.core)?;
        let opened = (0..self.connections).map(|_| Connection::open(self.redis));
        let mut connections = opened.collect::<Result<Vec<_>>>()?;
        let sales = (0..self.sales).map(|number| Keys::of(&hot::id(number))).collect::<Vec<_>>();
        for keys in &sales {
            keys.create(&mut connections[0], hot::TOTAL)?;
        }
        let sha = one_sale::load_script(&mut connections[0], one_sale::SCRIPT)?;
        let (random, packed) = (Random::new(self.first), Vec::new());
        let mut caller = Caller { sha, sales, random, user: self.first, packed };

        let (mut sold, started) = (0_u64, Instant::now());
        let deadline = started + Duration::from_secs(self.seconds);
        for connection in &mut connections {
            caller.call(connection, self.depth)?;
        }
        while Instant::now() < deadline {
            for connection in &mut connections {
                sold += receive(connection, self.depth)?;
                caller.call(connection, self.depth)?;
            }
        }
        for connection in &mut connections {
            sold += receive(connection, self.depth)?;
        }
        println!("sales={sold} seconds={:.3}", started.elapsed().as_secs_f64());
        Ok(())
    }
}

impl Caller {
    /// Sends this number of calls in one write.
    fn call(&mut self, connection: &mut Connection, count: u16) -> Result<()> {
        self.packed.clear();
        for _ in 0..count {
            let number = self.random.below(self.sales.len() as u64) as u32;
            let (user, id) = (self.user, hot::id(number));
            self.user += 1;
            let reservation = format!("{id}~{user:026}");
            // As long as the load generator's user names, and as a UUID.
            let user = format!("usr{user:010}");
            let claim = format!("{user} 5d3c1e0a-77aa-4c1e-9f00-00{}", &user[3..]);
            let keys = &self.sales[number as usize];
            keys.pack_sale(&mut self.packed, &self.sha, &reservation, &user, &claim);
        }
        connection.send(&self.packed)
    }
}

/// Reads this number of replies, each of which must be a ticket.
fn receive(connection: &mut Connection, count: u16) -> Result<u64> {
    for _ in 0..count {
        match connection.receive()? {
            Reply::Integer(1) => {}
            other => return fail(format!("Redis did not grant a purchase: {other:?}")),
        }
    }
    Ok(u64::from(count))
}
