//! What a disk allows the embedded ledger: a bare write and fdatasync a batch, one after the other,
//! in a file whose room is set aside ahead as the ledger's journal does it. It prints
//! `batches=N bytes=N seconds=S`, and leaves the file `bare_append` behind.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench::error::{Because, Result, fail};
use bench::journal;
use clap::Parser;

/// As `src/ledger/embedded/journal.rs` has it.
const EXTENT_BYTES: u64 = 8 << 20;
/// As long as a record may be.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// Writes and syncs batches of bytes for a while.
#[derive(Parser)]
struct Settings {
    /// Folder for the file.
    #[arg(long)]
    dir: PathBuf,
    /// Bytes a batch.
    #[arg(long, required_unless_present = "like", conflicts_with = "like")]
    bytes: Option<usize>,
    /// Folder of an embedded ledger: batches as long as the records of its journal, in their order,
    /// over and over.
    #[arg(long, value_name = "DIR")]
    like: Option<PathBuf>,
    /// Let the file grow with every batch in place of setting room aside.
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
        return fail(format!("a batch is of 1 to {BATCH_BYTES_MAX} bytes, not {longest}"));
    }
    bench::pin::to_core(settings.core)?;
    let path = settings.dir.join("bare_append");
    let file = File::create(&path).because(|| format!("creating {}", path.display()))?;
    file.sync_all().because(|| format!("syncing {}", path.display()))?;
    // Not zeros, which some file systems do not keep.
    let data: Vec<u8> = (0..longest).map(|at| (at % 251) as u8 | 1).collect();

    let (mut end, mut room, mut batches) = (0, 0, 0_u64);
    let started = Instant::now();
    let deadline = started + Duration::from_secs(settings.seconds);
    for size in sizes.into_iter().cycle() {
        if Instant::now() >= deadline {
            break;
        }
        let wanted = end + size as u64;
        if wanted > room && !settings.growing {
            allocate(&file, room, wanted + EXTENT_BYTES)
                .because(|| format!("setting room aside in {}", path.display()))?;
            room = wanted + EXTENT_BYTES;
        }
        let written = file.write_all_at(&data[..size], end).and_then(|()| file.sync_data());
        written.because(|| format!("writing {}", path.display()))?;
        (end, batches) = (wanted, batches + 1);
    }
    let seconds = started.elapsed().as_secs_f64();
    file.set_len(end).because(|| format!("cutting {}", path.display()))?;
    println!("batches={batches} bytes={end} seconds={seconds:.3}");
    Ok(())
}

/// Sets room aside from one place in the file to another. Where the file system can't, the file
/// grows with every batch, as the ledger's journal does there.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let (offset, len) =
        (from.try_into().map_err(too_large)?, (to - from).try_into().map_err(too_large)?);
    loop {
        // SAFETY: takes no pointer.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, offset, len) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Ok(()),
            _ => return Err(error),
        }
    }
}
