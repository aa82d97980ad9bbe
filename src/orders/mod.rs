//! Orders: what is made of reservations behind the user's back, in a database that others read.
//!
//! A [`Source`] tells every change of every reservation, at least once; a [`Database`] keeps one
//! order a reservation with its latest status. A change is written under its version, so one that
//! comes late or twice changes nothing; it is acknowledged only when the database has it.
//!
//! Architecture invariant: knows no HTTP and no core.

mod command;
mod entry;
mod groups;
mod postgres;
mod postgres_url;
mod rows;
mod sqlite;
mod stream;
mod worker;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use command::{OrdersError, end_group, print_groups, work};
pub use groups::{Group, GroupsError, drop_group, groups};
pub use stream::{StreamOptions, StreamSource};
pub use worker::{ConnectError, Done, WorkerError, WorkerOptions, run};

use postgres_url::PostgresUrl;

use crate::sale::{Change, ReservationId, SaleId, Status};

/// Where changes come from: the streams in Redis, or the embedded ledger.
pub trait Source: Send {
    /// The next changes, about `max` at the most, waiting up to `wait` for the first. None: there
    /// was nothing.
    fn next(&mut self, max: usize, wait: Duration) -> Result<Vec<Change>, SourceError>;

    /// The database has everything that [`next`](Self::next) gave.
    fn acknowledge(&mut self) -> Result<(), SourceError>;

    /// Where a source that keeps no position of its own is: its name, and the version up to which
    /// everything has been given. To be written with what was given last, or after it.
    fn position(&self) -> Option<(String, u64)> {
        None
    }

    /// How far behind the orders are.
    fn lag(&mut self) -> Result<Lag, SourceError>;

    /// This worker ends in order, and has acknowledged what it could.
    fn leave(&mut self) {}

    /// What it has come across so far.
    fn counts(&self) -> SourceCounts {
        SourceCounts::default()
    }
}

/// What a source has come across.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Entries acknowledged. 0 for a source without entries.
    pub entries: u64,
    /// Entries that could not be read. They are not acknowledged, and not counted as lag.
    pub unreadable: u64,
}

/// How far the orders are behind the reservations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Entries that no worker has acknowledged.
    pub entries: u64,
    /// Age of the oldest of them. 0: there is none.
    pub oldest_ms: u64,
}

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It passes: try again.
    #[error("{0}")]
    Away(String),
    /// The operator must act.
    #[error("{0}")]
    Fatal(String),
}

/// One order as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The reservation it stands for.
    pub id: ReservationId,
    /// For whom. `None`: anonymous.
    pub user: Option<String>,
    /// Units.
    pub quantity: u32,
    /// The status that was written last. `None`: a text that is no status.
    pub status: Option<Status>,
    /// The version that was written last.
    pub version: u64,
}

/// A row, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// An order.
    Order(Order),
    /// An order of another place of the sale: a part, or the whole if a part was asked for.
    Elsewhere(SaleId, Order),
    /// A row that is no order.
    Unreadable {
        /// What stands for the reservation's id.
        row: String,
        /// The reservation, if the row names one of this sale.
        id: Option<ReservationId>,
        /// What is wrong with it.
        problem: String,
    },
}

/// Where orders are kept.
pub trait Database: Send {
    /// Writes changes in one transaction: one row a reservation, and of two versions the later. For
    /// a source that keeps no position of its own, also up to where it is.
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError>;

    /// Up to where a source of this name has been written.
    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError>;

    /// Every row of a sale, in the order of reservation ids; of one part of a sale, its own rows and
    /// none that can't be read. Rows of other places of the sale come as [`Row::Elsewhere`].
    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError>;

    /// Every order of a sale, in the order of reservation ids: the rows that can be read.
    fn orders(&mut self, sale: &SaleId, each: &mut dyn FnMut(Order)) -> Result<(), DatabaseError> {
        self.rows(sale, &mut |row| {
            if let Row::Order(order) = row {
                each(order);
            }
        })
    }

    /// The names of sales that the rows have, each once. `None` for rows without one.
    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError>;

    /// Writes rows as they are given, whatever version the database has: a repair.
    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError>;

    /// Looks whether what was written is still where it was written to.
    fn check(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It passes: try again.
    #[error("{0}")]
    Away(String),
    /// The operator must act: rights, a table that is not ours, a full disk.
    #[error("{0}")]
    Fatal(String),
    /// What was written is no longer there: the file was deleted or replaced, and the next call opens
    /// another; or the database was restored.
    #[error("{0}")]
    Replaced(String),
}

/// Where orders are to be kept, checked as far as can be without going there. Shows itself without
/// its password.
#[derive(Clone)]
pub struct DatabaseUrl(Place);

#[derive(Clone)]
enum Place {
    Sqlite(PathBuf),
    Postgres(Box<PostgresUrl>),
}

impl DatabaseUrl {
    /// Reads `postgres://…` or `sqlite:FILE`. Blanks and line ends around it are no part of it. An
    /// error says what would be right, and quotes nothing: there may be a password in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.contains(char::is_control) {
            return Err("has a line end or another control character in it".into());
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self(Place::Postgres(Box::new(PostgresUrl::parse(text)?))));
        }
        match text.strip_prefix("sqlite:") {
            Some(file) => sqlite_file(file).map(|file| Self(Place::Sqlite(file))),
            None => {
                Err("must be postgres://user:password@host:port/database or sqlite:FILE".into())
            }
        }
    }

    /// Opens it and brings its schema up to date. From then on it finds back to the database by
    /// itself: after [`DatabaseError::Away`] the same call can be made again.
    pub fn open(&self) -> Result<Box<dyn Database>, DatabaseError> {
        Ok(match &self.0 {
            Place::Sqlite(file) => Box::new(sqlite::Sqlite::open(file)?),
            Place::Postgres(url) => Box::new(postgres::Postgres::open(PostgresUrl::clone(url))?),
        })
    }
}

/// Reads the name of a file. What other programs take for more than a name is refused.
fn sqlite_file(file: &str) -> Result<PathBuf, String> {
    let problem = if file.is_empty() {
        "must name a file, as in sqlite:./orders.db"
    } else if file.starts_with("//") {
        "has no `//`: a file is sqlite:./FILE or sqlite:/FILE"
    } else if file.starts_with(":memory:") || file.starts_with("file:") {
        "must name a file, as in sqlite:./orders.db: what is in memory only is lost with the process"
    } else if file.contains('?') {
        "has no parameters: a file is sqlite:./FILE or sqlite:/FILE, without a `?`"
    } else {
        return Ok(file.into());
    };
    Err(problem.into())
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Place::Postgres(url) => write!(f, "{url}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Opens the database that a URL names: see [`DatabaseUrl`].
pub fn open(url: &str) -> Result<Box<dyn Database>, DatabaseError> {
    DatabaseUrl::parse(url).map_err(DatabaseError::Fatal)?.open()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_trimmed_and_says_only_what_it_says() {
        for (text, shown) in [
            ("sqlite:o.db\n", "sqlite:o.db"),
            (" sqlite:/var/lib/my orders.db\r\n", "sqlite:/var/lib/my orders.db"),
            ("postgres://ann@host/shop\n", "postgres://***@host/shop"),
            ("\tpostgres://ann:hunter2@host/shop \n\n", "postgres://ann:***@host/shop"),
        ] {
            assert_eq!(DatabaseUrl::parse(text).unwrap().to_string(), shown);
        }
        for (bad, told) in [
            ("", "must be postgres://"),
            ("sqlite:\n", "must name a file"),
            ("sqlite:a\nb", "a line end"),
            ("postgres://ann:hunter2\n@host/shop", "a line end"),
            ("sqlite:///o.db", "has no `//`"),
            ("sqlite::memory:", "lost with the process"),
            ("sqlite:file:o.db", "must name a file"),
            ("sqlite:file:o?mode=memory", "must name a file"),
            ("sqlite:o.db?mode=rwc", "has no parameters"),
        ] {
            let problem = DatabaseUrl::parse(bad).unwrap_err();
            assert!(problem.contains(told) && !problem.contains("hunter2"), "{bad:?}: {problem}");
        }
    }
}
