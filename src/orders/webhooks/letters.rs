//! Dead letters: lists them, retries them, or discards them, also while the worker runs.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};
use serde::Serialize;
use serde_json::value::RawValue;

use super::event::{parse_webhook_id, webhook_id};
use super::file::open;
use crate::clock::rfc3339;
use crate::orders::database::DatabaseError;
use crate::orders::rows::{signed, unsigned};
use crate::orders::sqlite_file::judge;
use crate::sale::ReservationId;

/// Which dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All of them.
    All,
    /// The one of this change.
    One(ReservationId, i64),
}

impl Which {
    /// Parses `all`, or the `webhook-id` of one.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let found =
            parse_webhook_id(text).map(|(reservation, version)| Self::One(reservation, version));
        found.ok_or_else(|| "must be all, or the id of a webhook, msg_…, as listed".to_owned())
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::One(reservation, version) => {
                f.write_str(&webhook_id(&reservation.to_string(), *version))
            }
        }
    }
}

/// Why nothing, or not everything, was done.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The file.
    #[error(transparent)]
    State(#[from] DatabaseError),
    /// There is no such dead letter.
    #[error("there is no dead letter {0}; --dead-letters lists them")]
    Unknown(Which),
    /// The standard output.
    #[error(transparent)]
    Print(#[from] io::Error),
}

/// A dead letter as `--json` prints it.
#[derive(Serialize)]
struct Letter<'a> {
    id: String,
    attempts: u32,
    failure: &'a str,
    failed_at: String,
    webhook: &'a RawValue,
}

/// Prints them, the oldest first: a table, or one JSON object per line.
///
/// # Errors
/// See [`LettersError`].
pub fn list(path: &Path, json: bool, out: &mut dyn Write) -> Result<(), LettersError> {
    let (connection, _) = open(path, false)?;
    let judge = |error| LettersError::State(judge(path, &error));
    if !json {
        writeln!(out, "{:<54} {:<22} {:>8}  FAILURE", "ID", "TYPE", "ATTEMPTS")?;
    }
    let sql = "SELECT reservation, version, body, attempts, failure, failed_at FROM events
               WHERE state = 2 ORDER BY number";
    let mut select = connection.prepare(sql).map_err(judge)?;
    let mut rows = select.query([]).map_err(judge)?;
    while let Some(row) = rows.next().map_err(judge)? {
        let text = |at| row.get::<_, Option<String>>(at).map(Option::unwrap_or_default);
        let (reservation, body) = (text(0).map_err(judge)?, text(2).map_err(judge)?);
        let failure = text(4).map_err(judge)?;
        let version = row.get(1).map_err(judge)?;
        let attempts = row.get(3).map_err(judge)?;
        let failed_at: Option<i64> = row.get(5).map_err(judge)?;
        let id = webhook_id(&reservation, version);
        let webhook: &RawValue = serde_json::from_str(&body).map_err(io::Error::from)?;
        if json {
            let failed_at = rfc3339(unsigned(failed_at.unwrap_or(0)));
            let letter = Letter { id, attempts, failure: &failure, failed_at, webhook };
            serde_json::to_writer(&mut *out, &letter).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            let value: serde_json::Value = serde_json::from_str(&body).map_err(io::Error::from)?;
            let r#type = value["type"].as_str().unwrap_or_default();
            writeln!(out, "{id:<54} {type:<22} {attempts:>8}  {failure}")?;
        }
    }
    Ok(())
}

/// Retries dead letters: each is due at once, before later waiting events of its reservation.
/// Returns their number.
///
/// # Errors
/// See [`LettersError`].
pub fn replay(path: &Path, which: Which, now_ms: u64) -> Result<u64, LettersError> {
    let now = signed(now_ms);
    change(path, which, |connection, one| {
        let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let again = "UPDATE events SET state = 0, attempts = 0, retry_at = ?1 WHERE state = 2";
        let count = match one {
            None => write.execute(again, [now])?,
            Some((own, version)) => {
                let sql = format!("{again} AND version = ?2 AND substr(reservation, -26) = ?3");
                write.execute(&sql, params![now, version, own])?
            }
        };
        write.execute_batch(IN_ORDER)?;
        write.commit().map(|()| count)
    })
}

/// Per reservation, only the earliest event that is no dead letter is due.
const IN_ORDER: &str = "\
UPDATE events SET state = 0
WHERE state = 1 AND EXISTS (SELECT 1 FROM events AS before
                            WHERE before.reservation = events.reservation AND before.state < 2
                              AND before.version < events.version);
UPDATE events SET state = 1
WHERE state = 0 AND NOT EXISTS (SELECT 1 FROM events AS before
                                WHERE before.reservation = events.reservation AND before.state < 2
                                  AND before.version < events.version);";

/// Discards dead letters for good. Returns their number.
///
/// # Errors
/// See [`LettersError`].
pub fn discard(path: &Path, which: Which) -> Result<u64, LettersError> {
    change(path, which, |connection, one| match one {
        None => connection.execute("DELETE FROM events WHERE state = 2", []),
        Some((own, version)) => {
            let sql = "DELETE FROM events WHERE state = 2 AND version = ?1
                         AND substr(reservation, -26) = ?2";
            connection.execute(sql, params![version, own])
        }
    })
}

fn change(
    path: &Path,
    which: Which,
    run: impl FnOnce(&mut Connection, Option<(String, i64)>) -> rusqlite::Result<usize>,
) -> Result<u64, LettersError> {
    let (mut connection, _) = open(path, false)?;
    let one = match which {
        Which::All => None,
        Which::One(reservation, version) => Some((reservation.to_string(), version)),
    };
    let is_one = one.is_some();
    let count = run(&mut connection, one).map_err(|error| judge(path, &error))?;
    if is_one && count == 0 {
        return Err(LettersError::Unknown(which));
    }
    Ok(count as u64)
}
