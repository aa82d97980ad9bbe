//! The state of a worker, from its file: the waiting events and their age, the delivered events,
//! the dead letters.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::event::webhook_id;
use super::file::open;
use super::letters::LettersError;
use crate::clock::rfc3339;
use crate::duration::format_duration;
use crate::orders::rows::unsigned;
use crate::orders::sqlite_file::judge;

/// The number of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events to be delivered.
    pub(super) waiting: u64,
    /// Dead letters.
    pub(super) dead: u64,
}

/// The waiting event that was taken over first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Oldest {
    reservation: String,
    version: i64,
    /// When the reservation changed, by the ledger's clock, in ms since 1970.
    pub(super) at_ms: u64,
    attempts: u32,
    failure: String,
}

/// The state as `--json` prints it.
#[derive(Serialize)]
struct Json {
    waiting: u64,
    oldest: Option<OldestJson>,
    delivered: u64,
    failed: u64,
    dead_letters: u64,
}

#[derive(Serialize)]
struct OldestJson {
    id: String,
    at: String,
    age_ms: u64,
    attempts: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    failure: String,
}

impl fmt::Display for OldestJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = format_duration(self.age_ms / 1_000 * 1_000);
        write!(f, "{age}: {}, attempts {}", self.id, self.attempts)?;
        if self.failure.is_empty() { Ok(()) } else { write!(f, ", {}", self.failure) }
    }
}

/// The number of waiting events and of dead letters.
pub(super) fn counts(file: &Connection) -> rusqlite::Result<Counts> {
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).map(unsigned);
    let waiting = number("SELECT count(*) FROM events WHERE state < 2")?;
    Ok(Counts { waiting, dead: number("SELECT count(*) FROM events WHERE state = 2")? })
}

/// The event that has waited longest. `None`: none is waiting.
pub(super) fn oldest(file: &Connection) -> rusqlite::Result<Option<Oldest>> {
    let sql = "SELECT reservation, version, attempts, failure,
                      CAST(round(1000 * unixepoch(json_extract(body, '$.timestamp'), 'subsec'))
                           AS INTEGER)
               FROM events WHERE state < 2 ORDER BY number LIMIT 1";
    let mut select = file.prepare_cached(sql)?;
    let found = select.query_row([], |row| {
        Ok(Oldest {
            reservation: row.get(0)?,
            version: row.get(1)?,
            attempts: row.get(2)?,
            failure: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
            at_ms: unsigned(row.get::<_, Option<i64>>(4)?.unwrap_or(0)),
        })
    });
    found.optional()
}

/// Prints the state of the worker with this file, also while it works: one line per figure, or one
/// JSON object.
///
/// # Errors
/// The file can't be read, or the output not written.
pub fn status(
    path: &Path,
    json: bool,
    now_ms: u64,
    out: &mut dyn Write,
) -> Result<(), LettersError> {
    let (file, _) = open(path, false)?;
    let status = read(&file, now_ms).map_err(|error| judge(path, &error))?;
    if json {
        serde_json::to_writer(&mut *out, &status).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let oldest = status.oldest.as_ref().map_or_else(|| "none".to_owned(), OldestJson::to_string);
    writeln!(out, "{:<13} {}", "waiting", status.waiting)?;
    writeln!(out, "{:<13} {oldest}", "oldest")?;
    writeln!(out, "{:<13} {}", "delivered", status.delivered)?;
    writeln!(out, "{:<13} {}", "failed", status.failed)?;
    Ok(writeln!(out, "{:<13} {}", "dead letters", status.dead_letters)?)
}

/// Everything at one point in time.
fn read(file: &Connection, now_ms: u64) -> rusqlite::Result<Json> {
    let file = file.unchecked_transaction()?;
    let (delivered, failed) =
        file.query_row("SELECT delivered, failed FROM worker", [], |row| {
            Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
        })?;
    let Counts { waiting, dead } = counts(&file)?;
    let oldest = oldest(&file)?.map(|oldest| OldestJson {
        id: webhook_id(&oldest.reservation, oldest.version),
        at: rfc3339(oldest.at_ms),
        age_ms: now_ms.saturating_sub(oldest.at_ms),
        attempts: oldest.attempts,
        failure: oldest.failure,
    });
    Ok(Json { waiting, oldest, delivered, failed, dead_letters: dead })
}
