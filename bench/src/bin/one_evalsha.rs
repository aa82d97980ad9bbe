//! The baseline for Redis: a design with one EVALSHA per sale, without its server.
//!
//! Each of 64 connections has one call in flight and sends the next one as soon as it has read the
//! reply, like a pool of 64 connections for 64 buyers. The driver does nearly no work, so Redis is the
//! bottleneck and runs at its best for this design. Prints `sales=N seconds=S`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bench::error::{Result, fail};
use bench::one_sale;
use bench::resp::{Connection, Reply};
use clap::Parser;

/// Sells tickets from Redis, one EVALSHA per ticket.
#[derive(Parser)]
struct Settings {
    /// Address of Redis.
    #[arg(long)]
    redis: SocketAddr,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Connections, each with one call in flight.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Seconds to sell for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Tickets of the sale, if the program creates it.
    #[arg(long, default_value_t = 10_000_000)]
    total: u64,
}

fn main() {
    if let Err(failure) = sell(&Settings::parse()) {
        eprintln!("one_evalsha: {failure}");
        std::process::exit(1);
    }
}

fn sell(settings: &Settings) -> Result<()> {
    bench::pin::to_core(settings.core)?;
    let mut connections = Vec::new();
    for _ in 0..settings.connections {
        connections.push(Connection::open(settings.redis)?);
    }
    let sha = one_sale::prepare(&mut connections[0], settings.total)?;

    // Claims are numbered, so a second run continues after the first one.
    let mut sent = one_sale::claims(&mut connections[0])?;
    let mut packed = Vec::with_capacity(512);
    let mut sales = 0_u64;
    let started = Instant::now();
    let deadline = started + Duration::from_secs(settings.seconds);
    for connection in &mut connections {
        send_sale(connection, &mut packed, &sha, &mut sent)?;
    }
    while Instant::now() < deadline {
        for connection in &mut connections {
            sales += receive_sale(connection)?;
            send_sale(connection, &mut packed, &sha, &mut sent)?;
        }
    }
    for connection in &mut connections {
        sales += receive_sale(connection)?;
    }
    println!("sales={sales} seconds={:.3}", started.elapsed().as_secs_f64());
    Ok(())
}

fn send_sale(
    connection: &mut Connection,
    packed: &mut Vec<u8>,
    sha: &str,
    sent: &mut u64,
) -> Result<()> {
    *sent += 1;
    let id = format!("ticket~{sent:026}");
    let (user, claim) = (format!("user-{sent:012}"), format!("user-{sent:012} key-{sent:012}"));
    packed.clear();
    one_sale::pack_sale(packed, sha, &id, &user, &claim);
    connection.send(packed)
}

fn receive_sale(connection: &mut Connection) -> Result<u64> {
    match connection.receive()? {
        Reply::Integer(1) => Ok(1),
        other => fail(format!("Redis did not grant a purchase: {other:?}")),
    }
}
