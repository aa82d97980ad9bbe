//! Every figure of a run: one row per figure, server, scenario and round. Rows go to `raw.csv` as they
//! are measured, so an aborted run keeps its rows.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Because, Failure, Result, fail};

const HEADER: &str = "round,scenario,server,figure,value";
/// Limit of a `raw.csv` to read: a hundred times the file of the longest run.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Limit of a name in `raw.csv`.
const NAME_BYTES_MAX: usize = 64;

/// Names of figures, as in `raw.csv`. The unit ends the name.
pub mod figure {
    /// Requests answered.
    pub const REQUESTS: &str = "requests";
    /// Answered requests per second, from the load generator.
    pub const REQUESTS_PER_S: &str = "requests_per_s";
    /// Tickets sold, from the ledger.
    pub const SALES: &str = "sales";
    /// Tickets sold per second.
    pub const SALES_PER_S: &str = "sales_per_s";
    /// CPU of the server process per request or sale.
    pub const SERVER_CPU_US: &str = "server_cpu_us";
    /// CPU of the server process in user space, per request or sale.
    pub const SERVER_USER_US: &str = "server_user_us";
    /// Instructions of the server in user space, per request or sale.
    pub const INSTRUCTIONS: &str = "instructions";
    /// CPU of the Redis process per sale.
    pub const REDIS_CPU_US: &str = "redis_cpu_us";
    /// Median latency.
    pub const LATENCY_P50_US: &str = "latency_p50_us";
    /// 99th percentile of the latency.
    pub const LATENCY_P99_US: &str = "latency_p99_us";
    /// 90th percentile of the latency.
    pub const LATENCY_P90_US: &str = "latency_p90_us";
    /// 99.9th percentile of the latency.
    pub const LATENCY_P999_US: &str = "latency_p999_us";
    /// 99.99th percentile of the latency.
    pub const LATENCY_P9999_US: &str = "latency_p9999_us";
    /// Longest latency.
    pub const LATENCY_MAX_US: &str = "latency_max_us";
    /// CPU of the load generator per request. If it is near the server's, the generator is the limit.
    pub const GENERATOR_CPU_US: &str = "generator_cpu_us";
    /// Share of time for which the load generator was busy. Near 1, it limits the requests per second.
    pub const GENERATOR_BUSY: &str = "generator_busy";
    /// 99.9th percentile of the delay between due time and sending: the generator's share of the
    /// latency.
    pub const LATE_P999_US: &str = "late_p999_us";
    /// Time from the first request to the last grant.
    pub const LAST_GRANT_S: &str = "last_grant_s";
    /// Time from the first request to the last answer.
    pub const LAST_ANSWER_S: &str = "last_answer_s";
    /// Time from the first to the last returned ticket.
    pub const RESOLD_MS: &str = "resold_ms";
    /// CPU of the nginx in front of the server, per request.
    pub const PROXY_CPU_US: &str = "proxy_cpu_us";
    /// Mean commands per batch to the ledger.
    pub const BATCH_MEAN: &str = "batch_mean";
    /// Stolen time over all cores: time that the hypervisor gave to other machines.
    pub const STEAL_MS: &str = "steal_ms";
    /// CPU over all cores of programs that the bench had not started.
    pub const OTHER_CPU_MS: &str = "other_cpu_ms";
    /// Time over all cores during the measurement, of which the two figures above are shares.
    pub const CORES_MS: &str = "cores_ms";
    /// Held idle connections.
    pub const CONNECTIONS: &str = "connections";
    /// Resident memory before the connections.
    pub const RESIDENT_BEFORE_KIB: &str = "resident_before_kib";
    /// Resident memory with idle connections.
    pub const RESIDENT_IDLE_KIB: &str = "resident_idle_kib";
    /// Growth of resident memory per connection.
    pub const CONNECTION_KIB: &str = "connection_kib";
    /// Growth of anonymous memory per connection.
    pub const CONNECTION_ANONYMOUS_KIB: &str = "connection_anonymous_kib";
    /// Buyers with a grant.
    pub const GRANTED: &str = "granted";
    /// Grants per second until the last grant of the rush.
    pub const GRANTED_PER_S: &str = "granted_per_s";
    /// Median latency of grants.
    pub const GRANTED_P50_US: &str = "granted_p50_us";
    /// 99th percentile of the latency of grants.
    pub const GRANTED_P99_US: &str = "granted_p99_us";
    /// Median latency of refusals.
    pub const REFUSED_P50_US: &str = "refused_p50_us";
    /// 99th percentile of the latency of refusals.
    pub const REFUSED_P99_US: &str = "refused_p99_us";
    /// Median latency of a buyer alone.
    pub const ALONE_P50_US: &str = "alone_p50_us";
    /// Median latency of the crowd beside the buyer.
    pub const HOT_P50_US: &str = "hot_p50_us";
    /// Tickets sold to the crowd per second.
    pub const HOT_SALES_PER_S: &str = "hot_sales_per_s";
    /// Difference between the buyer's median beside the crowd and alone, in batch round trips.
    pub const TRIPS_ABOVE: &str = "trips_above";
    /// Units that are paid for and granted.
    pub const PAID: &str = "paid";
    /// Connections held before the attack and served after it.
    pub const SURVIVED: &str = "survived";
    /// Largest growth of resident memory under attack.
    pub const GROWN_KIB: &str = "grown_kib";
    /// Bound of this growth by the server's limits.
    pub const GROWN_BOUND_KIB: &str = "grown_bound_kib";
    /// Median latency of `/livez`.
    pub const LIVEZ_P50_US: &str = "livez_p50_us";
    /// 99th percentile of the latency of `/livez`.
    pub const LIVEZ_P99_US: &str = "livez_p99_us";
    /// Longest latency of `/livez`.
    pub const LIVEZ_MAX_US: &str = "livez_max_us";
    /// Requests for `/livez` without a 200 within 5 s. Each counts as 5 s.
    pub const LIVEZ_FAILURES: &str = "livez_failures";
    /// Connections that a stranger attempted.
    pub const STRANGERS_ATTEMPTS: &str = "strangers_attempts";
    /// Largest number of a stranger's open connections.
    pub const STRANGERS_OPEN: &str = "strangers_open";
    /// Complete TLS handshakes of strangers per second.
    pub const HANDSHAKES_PER_S: &str = "handshakes_per_s";
    /// Forged tokens sent per second.
    pub const FORGED_PER_S: &str = "forged_per_s";
    /// Forged tokens checked per second.
    pub const CHECKED_PER_S: &str = "checked_per_s";
    /// Connections with endless heads.
    pub const HEADS_OPENED: &str = "heads_opened";
    /// Accepted bytes of endless heads or requests, in MiB.
    pub const FLOOD_MIB: &str = "flood_mib";
    /// Buyers that paid for a missing unit and got a refund.
    pub const REFUNDED: &str = "refunded";
    /// Units unsold at the end, although more buyers wanted one.
    pub const UNSOLD: &str = "unsold";
    /// Rows inserted, updated and deleted in the database, per paid unit.
    pub const ROW_WRITES: &str = "row_writes";
    /// Waits of the database for its write-ahead log on disk, per paid unit.
    pub const WAL_SYNCS: &str = "wal_syncs";
    /// Bytes of the database's write-ahead log, per paid unit.
    pub const WAL_BYTES: &str = "wal_bytes";
    /// Time from the last change of an order until the database had every order.
    pub const ORDERS_COMPLETE_MS: &str = "orders_complete_ms";
    /// Rows written to the database.
    pub const ROWS: &str = "rows";
    /// Rows written to the database per second.
    pub const ROWS_PER_S: &str = "rows_per_s";
    /// Time from the ledger's change until half of the connections had a unit.
    pub const REOPEN_P50_MS: &str = "reopen_p50_ms";
    /// Time from the ledger's change until 90 % of the connections had a unit.
    pub const REOPEN_P90_MS: &str = "reopen_p90_ms";
    /// Time from the ledger's change until 99 % of the connections had a unit.
    pub const REOPEN_P99_MS: &str = "reopen_p99_ms";
    /// Time from the ledger's change until every connection had a unit.
    pub const REOPEN_MAX_MS: &str = "reopen_max_ms";
    /// Memory per reservation.
    pub const MEMORY_BYTES: &str = "memory_bytes";
    /// Disk space per reservation.
    pub const DISK_BYTES: &str = "disk_bytes";
    /// Reservations missing in the database when it came back.
    pub const BACKLOG_ROWS: &str = "backlog_rows";
    /// Time from the database's return until it had the missing reservations.
    pub const DRAINED_S: &str = "drained_s";
    /// CPU of the server without buyers, in percent of one core.
    pub const CORE_PERCENT: &str = "core_percent";
    /// Bytes of one answer to `/metrics`.
    pub const SCRAPE_BYTES: &str = "scrape_bytes";
    /// Hand-overs.
    pub const HAND_OVERS: &str = "hand_overs";
    /// Time for which no process had the embedded ledger, from the new process's log.
    pub const PAUSED_MS: &str = "paused_ms";
    /// Longest wait of a purchase during a hand-over.
    pub const LONGEST_WAIT_MS: &str = "longest_wait_ms";
    /// Time from the signal to the end of the old process.
    pub const OLD_ENDED_MS: &str = "old_ended_ms";
    /// Refused connections.
    pub const REFUSED_CONNECTIONS: &str = "refused_connections";
    /// Connections that were reset, or closed instead of an answer.
    pub const RESET_CONNECTIONS: &str = "reset_connections";
    /// Purchases without a ticket: with another answer or none.
    pub const OTHER_ANSWERS: &str = "other_answers";
    /// Tickets that buyers got and the ledger lacks.
    pub const LOST_SALES: &str = "lost_sales";
    /// Tickets that the ledger has sold and no buyer got.
    pub const UNTOLD_SALES: &str = "untold_sales";
    /// Time until the database was at most a second of sales behind.
    pub const CAUGHT_UP_S: &str = "caught_up_s";
}

/// One figure. Its names are constants or come from a `raw.csv`.
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
    /// Value in the unit of the figure's name, with three decimals as in the file.
    pub value: f64,
}

/// All rows of a run, in the file and in memory.
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

    /// Reads all rows of a `raw.csv`.
    pub fn read(path: &Path) -> Result<Vec<Row>> {
        let reading = || format!("reading {}", path.display());
        let bytes = fs::metadata(path).because(reading)?.len();
        if bytes > FILE_BYTES_MAX {
            return fail(format!(
                "{}: {bytes} bytes exceed the limit of a run's file",
                path.display()
            ));
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
            // Rounded as in the file, so a later report is equal.
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
        return fail(format!("{} fields instead of 5", fields.len()));
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

/// Names of the bench are plain. Other characters would break tables and pictures.
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
    fn written_rows_are_read_back() {
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
    fn rows_of_kept_runs_can_be_read() {
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
            ("1,a,b,c", "line 2: 4 fields instead of 5"),
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
