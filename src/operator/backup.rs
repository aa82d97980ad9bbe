//! `stampede backup` and `stampede restore`.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::failure::Failure;
use super::finding::{compared, orders_of, setting_of};
use super::progress::Progress;
use crate::cli::{BackupOptions, RestoreOptions};
use crate::clock::rfc3339;
use crate::config::LedgerSetting;
use crate::ledger::embedded::{
    BackupError, LedgerId, OfflineClient, Opened, RestoreError, back_up,
};
use crate::orders::{DatabaseError, DatabaseUrl};

/// Copies an embedded ledger and says what is in the copy.
pub fn backup(options: &BackupOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let folder = embedded(options.ledger.as_deref(), options.config.as_deref(), "a backup is of")?;
    let to = named(&options.to, "--to")?;
    let mut progress = Progress::new("backup", "MB");
    let made = back_up(&folder, &to, &mut |done, total| progress.tell(done, total));
    let backup = made.map_err(|error| match error {
        BackupError::Exists(_) => Failure::Usage(format!("--to {error}")),
        error => Failure::Failed(error.to_string()),
    })?;
    let (id, to) = (LedgerId(backup.ledger_id).to_string(), &options.to);
    if options.json {
        let told = json!({
            "ledger_id": id,
            "to": to,
            "sales": backup.sales,
            "reservations": backup.reservations,
            "record": backup.record,
            "bytes": backup.bytes,
        });
        writeln!(out, "{told}")?;
    } else {
        writeln!(out, "{to}: the ledger {id} as it stood at record {}", backup.record)?;
        writeln!(
            out,
            "{} sales, {} reservations, {} bytes",
            backup.sales, backup.reservations, backup.bytes
        )?;
    }
    Ok(())
}

/// Makes a ledger of a backup, audits it, and says what came of both.
pub fn restore(options: &RestoreOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let folder =
        embedded(options.ledger.as_deref(), options.config.as_deref(), "a backup becomes")?;
    let from = named(&options.from, "--from")?;
    let orders = orders_of(options.orders.as_deref())?;
    let mut progress = Progress::new("restore", "MB");
    let opened = Opened::read(&from, &mut |done, total| progress.tell(done, total));
    let opened = opened.map_err(|error| match error {
        RestoreError::NoBackup(..) => Failure::Usage(format!("--from {error}")),
        error => Failure::Failed(error.to_string()),
    })?;
    let version = orders.as_ref().map_or(Ok(0), |orders| highest(orders, &opened))?;
    let taken = rfc3339(opened.taken_ms());
    let restored = opened.restore(&folder, version).map_err(|error| match error {
        RestoreError::Occupied(..) => Failure::Usage(format!("--ledger {error}")),
        error => Failure::Failed(error.to_string()),
    })?;
    let id = LedgerId(restored.ledger_id).to_string();
    let place = LedgerSetting::Embedded(folder.clone()).to_string();
    if !options.json {
        writeln!(
            out,
            "{place}: the ledger {id} as it stood at record {}, from a backup of {taken}; it goes on \
             with record {}\n{} sales, {} reservations",
            restored.record, restored.next, restored.sales, restored.reservations
        )?;
        out.flush()?;
    }
    let mut client = OfflineClient::open(&folder, false)
        .map_err(|error| Failure::Failed(format!("it is there, but can't be opened: {error}")))?;
    let report = compared(&mut client, orders.as_ref(), &[]).map_err(|why| {
        Failure::NotLooked(format!("it is there, but could not be audited: {why}"))
    })?;
    drop(client);
    if options.json {
        let told = json!({
            "ledger_id": id,
            "ledger": place,
            "sales": restored.sales,
            "reservations": restored.reservations,
            "record": restored.record,
            "next_record": restored.next,
            "taken_at": taken,
            "audit": report,
        });
        writeln!(out, "{told}")?;
    } else {
        write!(out, "{report}")?;
    }
    if report.agrees() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{place} is there, exactly as the backup has it, but its orders tell of more: see the table. \
         What they have was done after the backup and is lost from the ledger; nothing is sold from \
         it to them as long as that is so. If there is a newer backup or the old folder, restore that. \
         If not, settle these orders, and start once with --restored-ledger {id}"
    )))
}

/// The highest version that a database has of anything.
fn highest(orders: &DatabaseUrl, opened: &Opened) -> Result<u64, Failure> {
    let failed = |error: DatabaseError| {
        Failure::Failed(format!("--orders {orders}: {error}. Nothing was written"))
    };
    let mut database = orders.open().map_err(failed)?;
    let rows = database.highest_version().map_err(failed)?.unwrap_or(0);
    let position = database.position(&opened.orders_source()).map_err(failed)?.unwrap_or(0);
    Ok(rows.max(position))
}

/// The folder of an embedded ledger.
fn embedded(ledger: Option<&str>, config: Option<&str>, what: &str) -> Result<PathBuf, Failure> {
    match setting_of(ledger, config)? {
        LedgerSetting::Embedded(folder) => Ok(folder),
        LedgerSetting::Redis(redis) => Err(Failure::Usage(format!(
            "--ledger {}: {what} an embedded ledger, embedded:DIR; a Redis has its own ways (BGSAVE, \
             its append-only file)",
            redis.url
        ))),
    }
}

/// A folder that is named.
fn named(path: &str, option: &str) -> Result<PathBuf, Failure> {
    if path.is_empty() {
        return Err(Failure::Usage(format!("{option}: name a folder")));
    }
    // Without the slash at its end it has a name that the folder above it can be asked for.
    Ok(Path::new(path).components().collect())
}
