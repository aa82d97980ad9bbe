//! Every figure of a run: one row a figure, a server, a scenario and a round. Written to `raw.csv`
//! as they are measured, so that a run which breaks off leaves what it had.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::error::{Because, Result};

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
    /// CPU of the Redis process, a sale.
    pub const REDIS_CPU_US: &str = "redis_cpu_us";
    /// Half of the answers came within this.
    pub const LATENCY_P50_US: &str = "latency_p50_us";
    /// 99 of 100 answers came within this.
    pub const LATENCY_P99_US: &str = "latency_p99_us";
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
    /// Units that were paid for and are the buyer's.
    pub const PAID: &str = "paid";
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
    /// Until it was no more than a second of sales behind.
    pub const CAUGHT_UP_S: &str = "caught_up_s";
}

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Counted from 1.
    pub round: u32,
    /// The scenario's name.
    pub scenario: &'static str,
    /// The server's name.
    pub server: &'static str,
    /// One of [`figure`].
    pub figure: &'static str,
    /// In the unit that the figure's name ends in.
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
        writeln!(file, "round,scenario,server,figure,value")?;
        Ok(Self { file, all: Vec::new() })
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
            writeln!(self.file, "{round},{scenario},{server},{figure},{value:.3}")
                .because(|| "writing raw.csv".into())?;
            self.all.push(Row { round, scenario, server, figure, value });
        }
        Ok(())
    }

    /// All rows so far.
    pub fn all(&self) -> &[Row] {
        &self.all
    }
}
