//! Every figure of a run: one row a figure, a server, a scenario and a round. Written to `raw.csv`
//! as they are measured, so that a run which breaks off leaves what it had.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Because, Failure, Result, fail};

const HEADER: &str = "round,scenario,server,figure,value";
/// Of `raw.csv`, when it is read back: a hundred times what the longest run writes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Of a name in it.
const NAME_BYTES_MAX: usize = 64;

/// Names of figures, as they stand in `raw.csv`. Units last.
pub mod figure {
    /// Requests answered.
    pub const REQUESTS: &str = "requests";
    /// Requests answered a second, as the load generator counted.
    pub const REQUESTS_PER_S: &str = "requests_per_s";
    /// Tickets sold, as the ledger counted.
    pub const SALES: &str = "sales";
    /// Tickets sold a second.
    pub const SALES_PER_S: &str = "sales_per_s";
    /// CPU of the server process, a request or a sale.
    pub const SERVER_CPU_US: &str = "server_cpu_us";
    /// The part of it in user space.
    pub const SERVER_USER_US: &str = "server_user_us";
    /// Instructions of the server in user space, per request or sale.
    pub const INSTRUCTIONS: &str = "instructions";
    /// CPU of the Redis process, a sale.
    pub const REDIS_CPU_US: &str = "redis_cpu_us";
    /// Half of the answers came within this.
    pub const LATENCY_P50_US: &str = "latency_p50_us";
    /// 99 of 100 answers came within this.
    pub const LATENCY_P99_US: &str = "latency_p99_us";
    /// 90 of 100 answers came within this.
    pub const LATENCY_P90_US: &str = "latency_p90_us";
    /// 999 of 1,000 answers came within this.
    pub const LATENCY_P999_US: &str = "latency_p999_us";
    /// 9,999 of 10,000 answers came within this.
    pub const LATENCY_P9999_US: &str = "latency_p9999_us";
    /// The answer that took longest took this.
    pub const LATENCY_MAX_US: &str = "latency_max_us";
    /// CPU of the load generator, a request: far less than the server's, or it was what held up.
    pub const GENERATOR_CPU_US: &str = "generator_cpu_us";
    /// The part of the time for which the load generator was busy: near 1, requests/s is its limit.
    pub const GENERATOR_BUSY: &str = "generator_busy";
    /// 99.9 of 100 requests were sent no later than this after they were due: the generator's own part
    /// of the latency.
    pub const LATE_P999_US: &str = "late_p999_us";
    /// From the first request until the last ticket was in its buyer's hands.
    pub const LAST_GRANT_S: &str = "last_grant_s";
    /// From the first request until the last answer was read.
    pub const LAST_ANSWER_S: &str = "last_answer_s";
    /// From the first to the last ticket of those that came back.
    pub const RESOLD_MS: &str = "resold_ms";
    /// CPU of the nginx in front of the server, a request.
    pub const PROXY_CPU_US: &str = "proxy_cpu_us";
    /// Commands in a batch that went to the ledger, on average.
    pub const BATCH_MEAN: &str = "batch_mean";
    /// Time that the hypervisor gave to somebody else while we wanted it, over all cores.
    pub const STEAL_MS: &str = "steal_ms";
    /// CPU that was used by anybody else than what we had started, over all cores.
    pub const OTHER_CPU_MS: &str = "other_cpu_ms";
    /// Time that passed during the measurement, over all cores: what the two above are shares of.
    pub const CORES_MS: &str = "cores_ms";
    /// Idle connections held.
    pub const CONNECTIONS: &str = "connections";
    /// Resident memory before they were opened.
    pub const RESIDENT_BEFORE_KIB: &str = "resident_before_kib";
    /// Resident memory while they are idle.
    pub const RESIDENT_IDLE_KIB: &str = "resident_idle_kib";
    /// Growth of resident memory, a connection.
    pub const CONNECTION_KIB: &str = "connection_kib";
    /// Growth of anonymous memory, a connection.
    pub const CONNECTION_ANONYMOUS_KIB: &str = "connection_anonymous_kib";
    /// Buyers who were told yes.
    pub const GRANTED: &str = "granted";
    /// Buyers who were told yes, a second, until the last one of the rush was.
    pub const GRANTED_PER_S: &str = "granted_per_s";
    /// Half of the buyers who were told yes were told within this.
    pub const GRANTED_P50_US: &str = "granted_p50_us";
    /// 99 of 100 of them were.
    pub const GRANTED_P99_US: &str = "granted_p99_us";
    /// Half of the buyers who were told no were told within this.
    pub const REFUSED_P50_US: &str = "refused_p50_us";
    /// 99 of 100 of them were.
    pub const REFUSED_P99_US: &str = "refused_p99_us";
    /// Half of the answers to a buyer who was alone came within this.
    pub const ALONE_P50_US: &str = "alone_p50_us";
    /// Half of the answers to the crowd beside the buyer came within this.
    pub const HOT_P50_US: &str = "hot_p50_us";
    /// Tickets sold to that crowd per second.
    pub const HOT_SALES_PER_S: &str = "hot_sales_per_s";
    /// What the buyer's median is above his median alone, in batch round trips.
    pub const TRIPS_ABOVE: &str = "trips_above";
    /// Units that were paid for and are the buyer's.
    pub const PAID: &str = "paid";
    /// Connections that were there before strangers came, and are served afterwards.
    pub const SURVIVED: &str = "survived";
    /// The most by which resident memory grew under attack.
    pub const GROWN_KIB: &str = "grown_kib";
    /// What the server's limits say of that.
    pub const GROWN_BOUND_KIB: &str = "grown_bound_kib";
    /// Half of the requests for `/livez` were answered within this.
    pub const LIVEZ_P50_US: &str = "livez_p50_us";
    /// 99 of 100 of them were.
    pub const LIVEZ_P99_US: &str = "livez_p99_us";
    /// All of them were.
    pub const LIVEZ_MAX_US: &str = "livez_max_us";
    /// Those that were not answered with 200 within 5 s; they count as 5 s.
    pub const LIVEZ_FAILURES: &str = "livez_failures";
    /// Connections that a stranger tried to have.
    pub const STRANGERS_ATTEMPTS: &str = "strangers_attempts";
    /// The most of them that were open at a time.
    pub const STRANGERS_OPEN: &str = "strangers_open";
    /// TLS handshakes of strangers that came to an end, per second.
    pub const HANDSHAKES_PER_S: &str = "handshakes_per_s";
    /// Forged tokens that were shown per second.
    pub const FORGED_PER_S: &str = "forged_per_s";
    /// Those of them whose signature was checked.
    pub const CHECKED_PER_S: &str = "checked_per_s";
    /// Connections on which heads without end began.
    pub const HEADS_OPENED: &str = "heads_opened";
    /// What a system took of heads or requests without end, in MiB.
    pub const FLOOD_MIB: &str = "flood_mib";
    /// Buyers who paid for a unit that was not there.
    pub const REFUNDED: &str = "refunded";
    /// Units that nobody has in the end, though more people wanted one.
    pub const UNSOLD: &str = "unsold";
    /// Rows inserted, updated and deleted in the database, a unit paid for.
    pub const ROW_WRITES: &str = "row_writes";
    /// Times that the database waited for its write-ahead log to be on the disk, a unit paid for.
    pub const WAL_SYNCS: &str = "wal_syncs";
    /// Bytes of the database's write-ahead log, a unit paid for.
    pub const WAL_BYTES: &str = "wal_bytes";
    /// Until every order was in the database as it should be, after the last change of one.
    pub const ORDERS_COMPLETE_MS: &str = "orders_complete_ms";
    /// Rows written to the database.
    pub const ROWS: &str = "rows";
    /// Rows written to the database a second.
    pub const ROWS_PER_S: &str = "rows_per_s";
    /// From the ledger's change until half of the connections had a unit.
    pub const REOPEN_P50_MS: &str = "reopen_p50_ms";
    /// The same for 90 of 100.
    pub const REOPEN_P90_MS: &str = "reopen_p90_ms";
    /// The same for 99 of 100.
    pub const REOPEN_P99_MS: &str = "reopen_p99_ms";
    /// The same for the last one.
    pub const REOPEN_MAX_MS: &str = "reopen_max_ms";
    /// Memory a reservation.
    pub const MEMORY_BYTES: &str = "memory_bytes";
    /// Disk a reservation.
    pub const DISK_BYTES: &str = "disk_bytes";
    /// Reservations that the database did not have when it came back.
    pub const BACKLOG_ROWS: &str = "backlog_rows";
    /// Until it had them, after it came back.
    pub const DRAINED_S: &str = "drained_s";
    /// CPU of the server while nobody buys, in percent of one core.
    pub const CORE_PERCENT: &str = "core_percent";
    /// Bytes of one answer to `/metrics`.
    pub const SCRAPE_BYTES: &str = "scrape_bytes";
    /// Times that a new process took over from a server.
    pub const HAND_OVERS: &str = "hand_overs";
    /// For so long the embedded ledger was nobody's, as the new process logged it.
    pub const PAUSED_MS: &str = "paused_ms";
    /// The longest that a buyer waited who came while a new process took over.
    pub const LONGEST_WAIT_MS: &str = "longest_wait_ms";
    /// From the signal until the old process had ended.
    pub const OLD_ENDED_MS: &str = "old_ended_ms";
    /// Connections that were refused.
    pub const REFUSED_CONNECTIONS: &str = "refused_connections";
    /// Connections that were reset, or closed in place of an answer.
    pub const RESET_CONNECTIONS: &str = "reset_connections";
    /// Purchases that were answered anything but a ticket, or nothing.
    pub const OTHER_ANSWERS: &str = "other_answers";
    /// Tickets that buyers were told of and the ledger does not have.
    pub const LOST_SALES: &str = "lost_sales";
    /// Tickets that the ledger has sold and no buyer was told of.
    pub const UNTOLD_SALES: &str = "untold_sales";
    /// Until it was no more than a second of sales behind.
    pub const CAUGHT_UP_S: &str = "caught_up_s";
}

/// One figure. Names are those of the program, or were read from a `raw.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Counted from 1.
    pub round: u32,
    /// The scenario's name.
    pub scenario: Cow<'static, str>,
    /// The server's name.
    pub server: Cow<'static, str>,
    /// One of [`figure`].
    pub figure: Cow<'static, str>,
    /// In the unit that the figure's name ends in, to three decimals as in the file.
    pub value: f64,
}

/// All rows of a run, on disk and in memory.
pub struct Rows {
    file: File,
    all: Vec<Row>,
}

impl Rows {
    /// Creates `raw.csv`.
    pub fn create(path: &Path) -> Result<Self> {
        let mut file = File::create(path).because(|| format!("creating {}", path.display()))?;
        writeln!(file, "{HEADER}")?;
        Ok(Self { file, all: Vec::new() })
    }

    /// All rows of a `raw.csv` that was written before.
    pub fn read(path: &Path) -> Result<Vec<Row>> {
        let reading = || format!("reading {}", path.display());
        let bytes = fs::metadata(path).because(reading)?.len();
        if bytes > FILE_BYTES_MAX {
            return fail(format!("{}: {bytes} bytes can't be a run's", path.display()));
        }
        let text = fs::read_to_string(path).because(reading)?;
        read(&text).because(|| path.display().to_string())
    }

    /// Adds the figures of one measurement.
    pub fn add(
        &mut self,
        round: u32,
        scenario: &'static str,
        server: &'static str,
        figures: &[(&'static str, f64)],
    ) -> Result<()> {
        for &(figure, value) in figures {
            if !value.is_finite() {
                return fail(format!("{scenario}, {server}: {figure} is {value}"));
            }
            writeln!(self.file, "{round},{scenario},{server},{figure},{value:.3}")
                .because(|| "writing raw.csv".into())?;
            // As in the file, so that a report made from it later says the same.
            let value = (value * 1_000.0).round() / 1_000.0;
            let (scenario, server, figure) = (scenario.into(), server.into(), figure.into());
            self.all.push(Row { round, scenario, server, figure, value });
        }
        Ok(())
    }

    /// All rows so far.
    pub fn all(&self) -> &[Row] {
        &self.all
    }
}

fn read(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines().zip(1u32..);
    if lines.next().is_none_or(|(line, _)| line != HEADER) {
        return fail(format!("the first line must be \"{HEADER}\""));
    }
    lines.map(|(line, number)| read_line(line).because(|| format!("line {number}"))).collect()
}

fn read_line(line: &str) -> Result<Row> {
    let fields: Vec<&str> = line.split(',').collect();
    let &[round, scenario, server, figure, value] = &fields[..] else {
        return fail(format!("{} fields where 5 must be", fields.len()));
    };
    let round = round.parse().ok().filter(|round| *round > 0);
    let value = value.parse().ok().filter(|value: &f64| value.is_finite());
    Ok(Row {
        round: round.ok_or_else(|| Failure("the round must be 1 or more".into()))?,
        scenario: name("scenario", scenario)?,
        server: name("server", server)?,
        figure: name("figure", figure)?,
        value: value.ok_or_else(|| Failure("the value must be a number".into()))?,
    })
}

/// What we write is plain; anything else would break the tables and pictures.
fn name(what: &str, text: &str) -> Result<Cow<'static, str>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(plain) {
        return fail(format!(
            "the {what}'s name must be 1 to {NAME_BYTES_MAX} letters, digits, '_', '-' or '.'"
        ));
    }
    Ok(text.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("raw.csv");
        let mut rows = Rows::create(&path).expect("created");
        let figures = [(figure::REQUESTS, 197_553.0), (figure::SERVER_CPU_US, 8.738_9)];
        rows.add(1, "rejections", "floor", &figures).expect("added");
        rows.add(2, "rejections", "stampede", &figures).expect("added");
        assert_eq!(Rows::read(&path).expect("read"), rows.all());
        assert_eq!(rows.all().len(), 4);
        assert!(rows.add(3, "rejections", "floor", &[(figure::SALES, f64::NAN)]).is_err());
    }

    #[test]
    fn what_runs_have_kept_can_be_read() {
        let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
        let mut found = 0;
        for run in fs::read_dir(runs).expect("runs") {
            let path = run.expect("a run").path().join("raw.csv");
            found += usize::from(path.is_file());
            if path.is_file() {
                assert!(!Rows::read(&path).expect("a raw.csv").is_empty());
            }
        }
        assert!(found > 0);
    }

    #[test]
    fn a_bad_line_is_named() {
        let cases = [
            ("", "the first line must be"),
            ("1,a,b,c", "line 2: 4 fields where 5 must be"),
            ("0,a,b,c,1", "line 2: the round must be 1 or more"),
            ("1,a|,b,c,1", "line 2: the scenario's name must be"),
            ("1,a,,c,1", "line 2: the server's name must be"),
            ("1,a,b,c,inf", "line 2: the value must be a number"),
        ];
        for (line, wanted) in cases {
            let text = if line.is_empty() { String::new() } else { format!("{HEADER}\n{line}\n") };
            let failure = read(&text).expect_err(line).to_string();
            assert!(failure.contains(wanted), "{failure}");
        }
    }
}
