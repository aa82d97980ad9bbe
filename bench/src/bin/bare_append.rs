//! Measures what a disk allows the embedded ledger: one bare write and fdatasync per batch, one after
//! the other, in a preallocated file like the ledger's journal. Prints `batches=N bytes=N seconds=S`
//! and keeps the file `bare_append`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::append::{Appended, filling};
use bench::error::{Result, fail};
use bench::journal;
use clap::Parser;

/// The limit of a record.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Appends batches of bytes to a file and syncs each batch.
#[derive(Parser)]
struct Settings {
    /// Folder for the file.
    #[arg(long)]
    dir: PathBuf,
    /// Bytes per batch.
    #[arg(long, required_unless_present = "like", conflicts_with = "like")]
    bytes: Option<usize>,
    /// Folder of an embedded ledger whose record sizes the batches take, in order and repeatedly.
    #[arg(long, value_name = "DIR")]
    like: Option<PathBuf>,
    /// Let the file grow with every batch. Without it, the program preallocates the file.
    #[arg(long)]
    growing: bool,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Seconds to write for.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

fn main() {
    if let Err(failure) = append(&Settings::parse()) {
        eprintln!("bare_append: {failure}");
        std::process::exit(1);
    }
}

fn append(settings: &Settings) -> Result<()> {
    let sizes = match (&settings.like, settings.bytes) {
        (Some(ledger), _) => journal::record_bytes(ledger)?,
        (None, Some(bytes)) => vec![bytes],
        (None, None) => return fail("give --bytes or --like"),
    };
    let longest = sizes.iter().copied().max().unwrap_or(0);
    if longest == 0 || longest > BATCH_BYTES_MAX {
        return fail(format!("a batch must have 1 to {BATCH_BYTES_MAX} bytes, not {longest}"));
    }
    bench::pin::to_core(settings.core)?;
    let mut file = Appended::create(&settings.dir.join("bare_append"), settings.growing)?;
    let data = filling(longest);

    let mut batches = 0_u64;
    let started = Instant::now();
    let deadline = started + Duration::from_secs(settings.seconds);
    for size in sizes.into_iter().cycle() {
        if Instant::now() >= deadline {
            break;
        }
        file.append(&data[..size])?;
        batches += 1;
    }
    let seconds = started.elapsed().as_secs_f64();
    let bytes = file.cut()?;
    println!("batches={batches} bytes={bytes} seconds={seconds:.3}");
    Ok(())
}
