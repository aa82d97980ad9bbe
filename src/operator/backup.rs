//! `stampede backup` and `stampede restore`.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::{audit_offline, ledger_setting, orders_database};
use super::failure::Failure;
use super::progress::Progress;
use crate::cli::{BackupOptions, RestoreOptions};
use crate::clock::rfc3339;
use crate::config::LedgerSetting;
use crate::ledger::embedded::{
    BackupError, LedgerId, OfflineClient, Opened, RestoreError, back_up,
};
use crate::orders::{DatabaseError, DatabaseUrl};

/// Copies an embedded ledger and prints the content of the copy.
pub fn backup(options: &BackupOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let folder = embedded(options.ledger.as_deref(), options.config.as_deref(), "a backup is of")?;
    let to = named(&options.to, "--to")?;
    let mut progress = Progress::new("backup", "MB");
    let made = back_up(&folder, &to, &mut |done, total| progress.report(done, total));
    let backup = made.map_err(|error| match error {
        BackupError::Exists(_) => Failure::Usage(format!("--to {error}")),
        error => Failure::Failed(error.to_string()),
    })?;
    let (id, to) = (LedgerId(backup.ledger_id).to_string(), &options.to);
    if options.json {
        let summary = json!({
            "ledger_id": id,
            "to": to,
            "sales": backup.sales,
            "reservations": backup.reservations,
            "record": backup.record,
            "bytes": backup.bytes,
        });
        writeln!(out, "{summary}")?;
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

/// Restores a ledger from a backup, audits it, and prints both results.
pub fn restore(options: &RestoreOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let folder =
        embedded(options.ledger.as_deref(), options.config.as_deref(), "a backup becomes")?;
    let from = named(&options.from, "--from")?;
    let orders = orders_database(options.orders.as_deref())?;
    let mut progress = Progress::new("restore", "MB");
    let opened = Opened::read(&from, &mut |done, total| progress.report(done, total));
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
            "{place}: the ledger {id} as it stood at record {}, from a backup of {taken}; the next \
             record is {}\n{} sales, {} reservations",
            restored.record, restored.next, restored.sales, restored.reservations
        )?;
        out.flush()?;
    }
    let mut client = OfflineClient::open(&folder, false).map_err(|error| {
        Failure::Failed(format!("the ledger is restored, and can't be opened: {error}"))
    })?;
    let report = audit_offline(&mut client, orders.as_ref(), &[]).map_err(|why| {
        Failure::AuditIncomplete(format!("the ledger is restored, and could not be audited: {why}"))
    })?;
    drop(client);
    if options.json {
        let summary = json!({
            "ledger_id": id,
            "ledger": place,
            "sales": restored.sales,
            "reservations": restored.reservations,
            "record": restored.record,
            "next_record": restored.next,
            "taken_at": taken,
            "audit": report,
        });
        writeln!(out, "{summary}")?;
    } else {
        write!(out, "{report}")?;
    }
    if report.agrees() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{place} is restored as it was at the backup, but its orders have later changes: see the table. \
         These changes are lost from the ledger, and no server with these orders sells from it. If you \
         have a newer backup or the old folder, restore that. If not, settle these orders, and start \
         once with --restored-ledger {id}"
    )))
}

/// The highest version in a database.
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
    match ledger_setting(ledger, config)? {
        LedgerSetting::Embedded(folder) => Ok(folder),
        LedgerSetting::Redis(redis) => Err(Failure::Usage(format!(
            "--ledger {}: {what} an embedded ledger, embedded:DIR; Redis has its own backups (BGSAVE, \
             append-only file)",
            redis.url
        ))),
    }
}

/// The folder of an option.
fn named(path: &str, option: &str) -> Result<PathBuf, Failure> {
    if path.is_empty() {
        return Err(Failure::Usage(format!("{option}: name a folder")));
    }
    // Without a slash at the end, the path has a parent and a name.
    Ok(Path::new(path).components().collect())
}
