//! The sellers beside stampede, and the bare clients: their commands, and their output.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Because, Result, fail};
use crate::process::CommandLine;
use crate::servers::{Programs, list};

/// Source of the article's program, relative to the project's folder.
const ARTICLE_SOURCE: &str = "bench/peers/article";

impl Programs {
    /// Builds the article's program beside the bench's. Call it where the program is measured.
    pub fn build_article(&self) -> Result<()> {
        let cache = self.folder.parent().unwrap_or(&self.folder).join("go");
        build_article(Path::new(ARTICLE_SOURCE), &self.folder.join("article"), &cache)
    }
}

/// Builds the article's program. `go` keeps compiled packages in `cache` and uses no network.
pub fn build_article(source: &Path, program: &Path, cache: &Path) -> Result<()> {
    // `go` runs in another folder.
    let absolute = |path| std::path::absolute(path).because(|| "finding the folder".into());
    let (program, cache) = (absolute(program)?, absolute(cache)?);
    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-o"]).arg(program).arg(".").current_dir(source);
    go.env("GOCACHE", cache.join("build")).env("GOPATH", cache.join("path"));
    go.env("GO111MODULE", "on").env("GOFLAGS", "-mod=mod").env("GOPROXY", "off");
    go.env("GOENV", "off").env("GOTOOLCHAIN", "local").env("CGO_ENABLED", "0");
    let output = match go.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return fail(
                "not installed: go, which builds the article's program. On Debian or Ubuntu: \
                 apt-get install golang-go; or leave it out with --servers",
            );
        }
        output => output.because(|| "starting go build".into())?,
    };
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    fail(format!("go build in {}: {}\n{errors}", source.display(), output.status))
}

/// The article's design, with all tickets in its local stock, so it rejects from memory.
pub fn article(
    programs: &Programs,
    cores: &[usize],
    listen: SocketAddr,
    redis: SocketAddr,
    total: u64,
) -> CommandLine {
    let program = programs.folder.join("article").to_string_lossy().into_owned();
    let (listen, redis) = (listen.to_string(), redis.to_string());
    let (total, threads) = (total.to_string(), cores.len().to_string());
    let words = [&*program, "-listen", &listen, "-redis", &redis];
    let words = words.into_iter().chain(["-total", &total, "-cores", &threads]);
    CommandLine::on_cores(&list(cores), words)
}

/// The ledger of the floor of a sale.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A Redis, in batches.
    Redis(SocketAddr),
    /// A Redis, one call per ticket.
    RedisPerTicket(SocketAddr),
    /// A journal in this folder.
    Journal(&'a Path),
}

/// The floor of a sale.
pub fn floor_sales(
    programs: &Programs,
    cores: &[usize],
    listen: SocketAddr,
    from: Source<'_>,
    total: u64,
) -> CommandLine {
    let program = programs.folder.join("floor_sales").to_string_lossy().into_owned();
    let (listen, total, cores) = (listen.to_string(), total.to_string(), list(cores));
    let (option, place) = match from {
        Source::Redis(at) | Source::RedisPerTicket(at) => ("--redis", at.to_string()),
        Source::Journal(folder) => ("--journal", folder.to_string_lossy().into_owned()),
    };
    let words = [&*program, "--cores", &cores, "--listen", &listen, option, &place];
    let words = words.into_iter().chain(["--total", &total]);
    let per_ticket = matches!(from, Source::RedisPerTicket(_)).then_some("--per-ticket");
    CommandLine::on_cores(&cores, words.chain(per_ticket))
}

/// Batch sizes of a bare client of Redis.
#[derive(Debug, Clone, Copy)]
pub enum Batches<'a> {
    /// Equal sizes.
    Of(usize),
    /// Sizes from a file.
    From(&'a Path),
}

/// A bare client of Redis that sells in batches.
pub fn bare_redis(
    programs: &Programs,
    core: usize,
    redis: SocketAddr,
    batches: Batches<'_>,
    seconds: u64,
) -> CommandLine {
    let program = programs.folder.join("bare_redis").to_string_lossy().into_owned();
    let (cores, redis, seconds) = (core.to_string(), redis.to_string(), seconds.to_string());
    let (option, value) = match batches {
        Batches::Of(size) => ("--batch", size.to_string()),
        Batches::From(path) => ("--batches", path.to_string_lossy().into_owned()),
    };
    let words = [&*program, "--core", &cores, "--redis", &redis, "--seconds", &seconds];
    CommandLine::on_core(core, words.into_iter().chain([option, &value]))
}

/// How one EVALSHA per ticket reaches Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// Over 64 connections with one call in flight each.
    Each,
    /// Over one connection with as many calls in flight.
    Pipelined,
}

/// The plain design with many hot sales. `first` is the first user's number.
pub fn many_evalsha(
    programs: &Programs,
    core: usize,
    redis: SocketAddr,
    (sales, calls): (u32, Calls),
    (first, seconds): (u64, u64),
) -> CommandLine {
    let program = programs.folder.join("many_evalsha").to_string_lossy().into_owned();
    let (connections, depth) = match calls {
        Calls::Each => (64, 1),
        Calls::Pipelined => (1, 64),
    };
    let numbers = [
        ("--core", core as u64),
        ("--sales", u64::from(sales)),
        ("--connections", connections),
        ("--depth", depth),
        ("--first", first),
        ("--seconds", seconds),
    ];
    let numbers = numbers.into_iter().flat_map(|(name, value)| [name.into(), value.to_string()]);
    CommandLine::on_core(
        core,
        [program, "--redis".into(), redis.to_string()].into_iter().chain(numbers),
    )
}

/// Its tickets, and its duration.
pub fn read_many_evalsha(text: &str) -> Result<(u64, f64)> {
    let [sales, seconds] = numbers(text, ["sales", "seconds"])?;
    Ok((sales as u64, seconds))
}

/// Batch sizes of a bare writer.
#[derive(Debug, Clone, Copy)]
pub enum Bytes<'a> {
    /// Equal sizes.
    Of(usize),
    /// The sizes of the records in the embedded ledger of this folder.
    Like(&'a Path),
}

/// A bare writer of batches into a file of `folder`.
pub fn bare_append(
    programs: &Programs,
    core: usize,
    folder: &Path,
    bytes: Bytes<'_>,
    seconds: u64,
) -> CommandLine {
    let program = programs.folder.join("bare_append").to_string_lossy().into_owned();
    let (cores, folder) = (core.to_string(), folder.to_string_lossy());
    let (option, value) = match bytes {
        Bytes::Of(bytes) => ("--bytes", bytes.to_string()),
        Bytes::Like(ledger) => ("--like", ledger.to_string_lossy().into_owned()),
    };
    let seconds = seconds.to_string();
    let words = [&*program, "--core", &cores, "--dir", &folder, "--seconds", &seconds];
    CommandLine::on_core(core, words.into_iter().chain([option, &value]))
}

/// The sales of a bare client of Redis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sold {
    /// Tickets.
    pub sales: u64,
    /// Script calls.
    pub batches: u64,
    /// Time from the first call to the last answer.
    pub seconds: f64,
}

/// Reads what `bare_redis` prints.
pub fn read_bare_redis(text: &str) -> Result<Sold> {
    let [sales, batches, seconds] = numbers(text, ["sales", "batches", "seconds"])?;
    Ok(Sold { sales: sales as u64, batches: batches as u64, seconds })
}

/// The writes of a bare writer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Appended {
    /// Writes, each with its fdatasync.
    pub batches: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Duration.
    pub seconds: f64,
}

/// Reads what `bare_append` prints.
pub fn read_bare_append(text: &str) -> Result<Appended> {
    let [batches, bytes, seconds] = numbers(text, ["batches", "bytes", "seconds"])?;
    Ok(Appended { batches: batches as u64, bytes: bytes as u64, seconds })
}

/// Batches and purchases that `floor_sales` has sent to its ledger. It prints them at its end.
pub fn read_floor_sales(text: &str) -> Result<(u64, u64)> {
    let [batches, requests] = numbers(text, ["batches", "requests"])?;
    Ok((batches as u64, requests as u64))
}

/// The numbers of a line `name=number name=number`.
fn numbers<const N: usize>(text: &str, names: [&str; N]) -> Result<[f64; N]> {
    let words: Vec<_> = text.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let mut found = [0.0; N];
    for (place, name) in found.iter_mut().zip(names) {
        let value = words.iter().find(|(word, _)| *word == name).map(|(_, value)| value.parse());
        match value {
            Some(Ok(value)) => *place = value,
            _ => return fail(format!("no number {name} in the output:\n{text}")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_figures_are_read() {
        let sold = Sold { sales: 640, batches: 10, seconds: 0.5 };
        assert_eq!(read_bare_redis("sales=640 batches=10 seconds=0.500\n").expect("read"), sold);
        let appended = Appended { batches: 3, bytes: 300, seconds: 1.0 };
        let text = "batches=3 bytes=300 seconds=1.000\n";
        assert_eq!(read_bare_append(text).expect("read"), appended);
        assert_eq!(read_floor_sales("a line\nbatches=2 requests=9\n").expect("read"), (2, 9));
        assert!(read_bare_redis("sales=640 seconds=0.5").is_err());
        assert!(read_floor_sales("batches=2 requests=many").is_err());
    }
}
