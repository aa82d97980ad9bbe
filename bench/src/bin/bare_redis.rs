//! Measures batches without HTTP: a bare client that sends stampede's own script calls to Redis. One
//! call is in flight while the client prepares the next one. Prints `sales=N batches=N seconds=S`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::error::{Because, Result, fail};
use bench::fill::Filler;
use clap::Parser;

/// Longer than any run, so no hold expires.
const HOLD_MS: u64 = 24 * 60 * 60 * 1000;

/// Sells tickets from Redis in batches, with stampede's script and without HTTP.
#[derive(Parser)]
struct Settings {
    /// Address of Redis.
    #[arg(long)]
    redis: SocketAddr,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Purchases per batch.
    #[arg(long, required_unless_present = "batches", conflicts_with = "batches")]
    batch: Option<usize>,
    /// File with batch sizes, separated by white space and used in turn, repeatedly.
    #[arg(long, value_name = "FILE")]
    batches: Option<PathBuf>,
    /// Seconds to sell for.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Tickets of the sale, if the program creates it.
    #[arg(long, default_value_t = 10_000_000)]
    total: u64,
}

fn main() {
    if let Err(failure) = sell(&Settings::parse()) {
        eprintln!("bare_redis: {failure}");
        std::process::exit(1);
    }
}

fn sell(settings: &Settings) -> Result<()> {
    let sizes = match (&settings.batches, settings.batch) {
        (Some(path), _) => read_sizes(path)?,
        (None, Some(size)) => vec![size],
        (None, None) => return fail("give --batch or --batches"),
    };
    bench::pin::to_core(settings.core)?;
    let mut filler = Filler::open(settings.redis, "ticket")?;
    filler.create(settings.total, HOLD_MS)?;
    let started = Instant::now();
    let (sales, batches) = filler.sell(&sizes, started + Duration::from_secs(settings.seconds))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("sales={sales} batches={batches} seconds={seconds:.3}");
    Ok(())
}

fn read_sizes(path: &Path) -> Result<Vec<usize>> {
    let text = std::fs::read_to_string(path).because(|| format!("reading {}", path.display()))?;
    let sizes = text.split_whitespace().map(|size| {
        size.parse().because(|| format!("{}: the batch size {size:?}", path.display()))
    });
    sizes.collect()
}
