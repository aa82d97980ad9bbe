//! What batches reach without HTTP: a bare client that sends stampede's own script calls to Redis,
//! one under way, the next one made meanwhile. It prints `sales=N batches=N seconds=S`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::error::{Because, Result, fail};
use bench::fill::Filler;
use clap::Parser;

/// Far beyond any run: nothing is to expire.
const HOLD_MS: u64 = 24 * 60 * 60 * 1000;

/// Sells tickets from Redis in batches, as stampede does, for a while.
#[derive(Parser)]
struct Settings {
    /// Where Redis listens.
    #[arg(long)]
    redis: SocketAddr,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Purchases in each batch.
    #[arg(long, required_unless_present = "batches", conflicts_with = "batches")]
    batch: Option<usize>,
    /// File with the sizes of batches, parted by white space; taken in turn, over and over.
    #[arg(long, value_name = "FILE")]
    batches: Option<PathBuf>,
    /// Seconds to sell for.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Tickets of the sale, if it isn't there yet.
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
        size.parse().because(|| format!("{}: the size of a batch, {size:?}", path.display()))
    });
    sizes.collect()
}
