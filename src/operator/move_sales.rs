//! `stampede move`: moves closed sales from an embedded ledger to a Redis.
//!
//! A sale has one owner at any time. First the folder gets a note of the move, and from then on no server
//! sells from the folder. Then each sale appears in Redis, in one step. Then the folder deletes the sales
//! and the note. If the command is interrupted, the same command resumes, or `--abandon` cancels the
//! move if no sale has arrived.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::arguments::{check_sale, quoted};
use super::common::{audit_offline, ledger_setting};
use super::failure::Failure;
use super::progress::Progress;
use crate::cli::MoveOptions;
use crate::config::{LedgerSetting, RedisSetting};
use crate::ledger::client::Client;
use crate::ledger::copy::SaleCopy;
use crate::ledger::embedded::{Moving, OfflineClient};
use crate::ledger::redis::{Arrival, RedisClient};
use crate::ledger::{Batch, Group, LedgerError};
use crate::limits::MOVE_SALES_MAX;
use crate::sale::{Command, Outcome, SaleId, SaleState, SaleView};

/// Moves sales, audits them in the new ledger, and prints the result.
pub fn move_sales(options: &MoveOptions, out: &mut dyn Write) -> Result<(), Failure> {
    options.sale.iter().try_for_each(|id| check_sale(id))?;
    let config = options.config.as_deref();
    let from =
        ledger_setting(Some(&options.from), config).map_err(|error| of_option("--from", error))?;
    let to = ledger_setting(Some(&options.to), config).map_err(|error| of_option("--to", error))?;
    let (LedgerSetting::Embedded(folder), LedgerSetting::Redis(redis)) = (&from, &to) else {
        return Err(Failure::Usage(format!(
            "--from must be embedded:DIR and --to redis://…, not {from} and {to}. Use `stampede backup` \
             and `stampede restore` from folder to folder, and Redis replication from Redis to Redis"
        )));
    };
    let mut moving = Move::open(folder, redis, to.to_string())?;
    if options.abandon {
        let sales = moving.abandon()?;
        writeln!(out, "{from}: the move of {} is cancelled", names(&sales))?;
        return Ok(());
    }
    let moved = moving.run(&options.sale)?;
    let report = audit_offline(&mut moving.target, None, &moved).map_err(|why| {
        Failure::Failed(format!("the sales are moved, and could not be audited: {why}"))
    })?;
    if options.json {
        let summary = json!({ "moved": moved.iter().map(SaleId::as_str).collect::<Vec<_>>(),
            "from": from.to_string(), "to": to.to_string(), "audit": report });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(out, "{} moved from {from} to {to}", names(&moved))?;
        write!(out, "{report}")?;
    }
    if report.agrees() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "the moved sales do not pass the audit: `stampede audit --ledger {to}` shows their state"
    )))
}

fn of_option(option: &str, error: Failure) -> Failure {
    match error {
        Failure::Usage(text) => Failure::Usage(format!("{option}: {text}")),
        other => other,
    }
}

fn names(sales: &[SaleId]) -> String {
    let names: Vec<&str> = sales.iter().map(SaleId::as_str).collect();
    names.join(", ")
}

/// Both ledgers, and the note of an interrupted move.
struct Move {
    source: OfflineClient,
    target: RedisClient,
    note: Option<Moving>,
    /// The name of the target.
    to: String,
}

impl Move {
    fn open(folder: &Path, redis: &RedisSetting, to: String) -> Result<Self, Failure> {
        let failed = |text: String| Failure::Failed(text);
        let ledger = redis.ledger().map_err(|why| failed(format!("{to}: {why}")))?;
        let mut target = RedisClient::new(Arc::new(ledger), "stampede-move");
        // Check the target before the folder gets a note.
        target.connect().map_err(|why| failed(format!("{to}: {why}")))?;
        let (source, note) =
            OfflineClient::open_to_move(folder).map_err(|why| failed(why.to_string()))?;
        if let Some(note) = note.as_ref().filter(|note| note.to != to) {
            return Err(Failure::Usage(format!(
                "--to {to}: a move of {} to {} was interrupted. Finish it with --to and that ledger, or \
                 cancel it with --abandon too",
                names(&note.sales),
                note.to
            )));
        }
        Ok(Self { source, target, note, to })
    }

    /// Cancels a move if no sale has arrived.
    fn abandon(&mut self) -> Result<Vec<SaleId>, Failure> {
        let Some(note) = self.note.take() else {
            return Err(Failure::Usage("--abandon: there is no interrupted move".into()));
        };
        for sale in &note.sales {
            if self.target.arrival(sale, note.id).map_err(|why| self.away(&why))? == Arrival::Here {
                return Err(Failure::Failed(format!(
                    "{sale} is in {} already, and servers may sell it there: finish the move with the \
                     same command without --abandon",
                    self.to
                )));
            }
        }
        for sale in &note.sales {
            self.target.clear_arrival(sale).map_err(|why| self.away(&why))?;
        }
        self.source.end_move().map_err(failed)?;
        Ok(note.sales)
    }

    /// Moves the named sales, or all; or resumes an interrupted move.
    fn run(&mut self, named: &[String]) -> Result<Vec<SaleId>, Failure> {
        let note = match self.note.take() {
            Some(note) => {
                let is_other = |id: &&String| !note.sales.iter().any(|sale| sale.as_str() == **id);
                if let Some(other) = named.iter().find(is_other) {
                    return Err(Failure::Usage(format!(
                        "--sale {}: a move of {} was interrupted: finish it first, with the same command \
                         without --sale",
                        quoted(other),
                        names(&note.sales)
                    )));
                }
                note
            }
            None => {
                let sales = self.choose(named)?;
                let note = Moving::begin(self.to.clone(), sales)
                    .map_err(|error| Failure::Failed(error.to_string()))?;
                self.check_target(&note)?;
                self.source.begin_move(&note).map_err(failed)?;
                note
            }
        };
        let mut progress = Progress::new("move", "reservations");
        for sale in &note.sales {
            match self.target.arrival(sale, note.id).map_err(|why| self.away(&why))? {
                // The interrupted command may not have waited for the replicas.
                Arrival::Here => {
                    self.target.settle_arrival(sale, note.id).map_err(|why| self.away(&why))?;
                    continue;
                }
                Arrival::Absent => {}
                Arrival::Occupied => return Err(self.occupied(sale)),
            }
            let copy = self.copy_of(sale)?;
            self.target
                .bring(&copy, note.id, &mut |done, total| progress.report(done, total))
                .map_err(|why| self.away(&why))?;
        }
        self.source.finish_move(&note).map_err(failed)?;
        Ok(note.sales)
    }

    /// The sales to move: the named ones, or all. All of them are closed.
    fn choose(&mut self, named: &[String]) -> Result<Vec<SaleId>, Failure> {
        let all = self.source.sales().map_err(failed)?;
        let sales: Vec<SaleId> = match named {
            [] => all,
            named => {
                let mut sales = Vec::new();
                for id in named {
                    let sale = all.iter().find(|sale| sale.as_str() == id);
                    sales.extend(sale.cloned());
                    if sale.is_none() {
                        return Err(Failure::Failed(format!("There is no sale {}.", quoted(id))));
                    }
                }
                sales.sort_unstable();
                sales.dedup();
                sales
            }
        };
        if sales.is_empty() {
            return Err(Failure::Failed("There is no sale to move.".into()));
        }
        if sales.len() > MOVE_SALES_MAX {
            return Err(Failure::Usage(format!(
                "{} sales, at most {MOVE_SALES_MAX} can move at a time: name some with --sale",
                sales.len()
            )));
        }
        let mut open = Vec::new();
        for sale in &sales {
            if self.view_of(sale)?.state() != SaleState::Closed {
                open.push(sale.clone());
            }
        }
        if open.is_empty() {
            return Ok(sales);
        }
        Err(Failure::Failed(format!(
            "not closed: {}. Close each sale (`stampede sale close ID`), or name closed sales with --sale. \
             Nothing was moved",
            names(&open)
        )))
    }

    fn check_target(&mut self, note: &Moving) -> Result<(), Failure> {
        for sale in &note.sales {
            if self.target.arrival(sale, note.id).map_err(|why| self.away(&why))? != Arrival::Absent
            {
                return Err(self.occupied(sale));
            }
        }
        Ok(())
    }

    fn view_of(&mut self, sale: &SaleId) -> Result<SaleView, Failure> {
        let group = Group { sale: sale.clone(), commands: vec![Command::Show] };
        let mut reply = self.source.apply(&Batch { groups: vec![group] }).map_err(failed)?;
        match reply.pop().and_then(|mut group| group.outcomes.pop()) {
            Some(Outcome::Sale(view)) => Ok(*view),
            _ => Err(Failure::Failed(format!("There is no sale {sale}."))),
        }
    }

    /// A copy of a sale, if the sale passes the audit.
    fn copy_of(&mut self, sale: &SaleId) -> Result<SaleCopy, Failure> {
        let found = self.source.audit(sale, None).map_err(failed)?;
        let found = found.ok_or_else(|| {
            Failure::Failed(format!(
                "{sale} is neither in the folder nor in {}: nothing was done. Was the sale removed there?",
                self.to
            ))
        })?;
        let copy =
            SaleCopy { id: sale.clone(), view: found.view, reservations: found.reservations };
        let differs = found.checks.iter().find(|check| check.differences > 0);
        let wrong = differs.map(|check| check.name.to_owned()).or(copy.check().err());
        match wrong {
            None => Ok(copy),
            Some(what) => Err(Failure::Failed(format!(
                "{sale} does not pass the audit ({what}): see `stampede audit`"
            ))),
        }
    }

    fn occupied(&self, sale: &SaleId) -> Failure {
        Failure::Failed(format!(
            "{} has a sale {sale}, or some of its keys, already: nothing was overwritten",
            self.to
        ))
    }

    fn away(&self, why: &LedgerError) -> Failure {
        Failure::Failed(format!("{}: {why}. Run the same command again to resume", self.to))
    }
}

fn failed(error: LedgerError) -> Failure {
    Failure::Failed(error.to_string())
}
