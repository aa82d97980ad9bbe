//! `stampede move`: closed sales from an embedded ledger to a Redis.
//!
//! A sale has one owner at any time. First the folder notes that its sales are on their way, and from
//! then on nobody sells from it; then each sale appears in Redis, in one step; then the folder forgets
//! them and the note. Whatever ends the command in between, the same command goes on where it was, or
//! `--abandon` takes it back if nothing has arrived.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::arguments::{check_sale, shown};
use super::failure::Failure;
use super::finding::{compared, setting_of};
use super::progress::Progress;
use crate::cli::MoveOptions;
use crate::config::{LedgerSetting, RedisSetting};
use crate::ledger::client::Client;
use crate::ledger::copy::SaleCopy;
use crate::ledger::embedded::{Moving, OfflineClient};
use crate::ledger::redis::{Arrival, RedisClient};
use crate::ledger::{Batch, Group, LedgerError};
use crate::limits::MOVE_SALES_MAX;
use crate::sale::{Command, Outcome, SaleId, SaleView, State};

/// Moves sales, audits them where they are then, and says what came of it.
pub fn move_sales(options: &MoveOptions, out: &mut dyn Write) -> Result<(), Failure> {
    options.sale.iter().try_for_each(|id| check_sale(id))?;
    let config = options.config.as_deref();
    let from =
        setting_of(Some(&options.from), config).map_err(|error| of_option("--from", error))?;
    let to = setting_of(Some(&options.to), config).map_err(|error| of_option("--to", error))?;
    let (LedgerSetting::Embedded(folder), LedgerSetting::Redis(redis)) = (&from, &to) else {
        return Err(Failure::Usage(format!(
            "--from must be embedded:DIR and --to redis://…, not {from} and {to}. From folder to \
             folder there are `stampede backup` and `stampede restore`; from Redis to Redis its own \
             replication"
        )));
    };
    let mut road = Road::open(folder, redis, to.to_string())?;
    if options.abandon {
        let sales = road.abandon()?;
        writeln!(out, "{from}: the move of {} is taken back", names(&sales))?;
        return Ok(());
    }
    let moved = road.go(&options.sale)?;
    let report = compared(&mut road.target, None, &moved)
        .map_err(|why| Failure::Failed(format!("moved, but not audited: {why}")))?;
    if options.json {
        let told = json!({ "moved": moved.iter().map(SaleId::as_str).collect::<Vec<_>>(),
            "from": from.to_string(), "to": to.to_string(), "audit": report });
        writeln!(out, "{told}")?;
    } else {
        writeln!(out, "{} moved from {from} to {to}", names(&moved))?;
        write!(out, "{report}")?;
    }
    if report.agrees() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "what was moved differs from itself by now: `stampede audit --ledger {to}` tells how it stands"
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

/// Both ledgers, and what the first says of a move that did not come to its end.
struct Road {
    source: OfflineClient,
    target: RedisClient,
    note: Option<Moving>,
    /// The other ledger's name.
    to: String,
}

impl Road {
    fn open(folder: &Path, redis: &RedisSetting, to: String) -> Result<Self, Failure> {
        let failed = |text: String| Failure::Failed(text);
        let ledger = redis.ledger().map_err(|why| failed(format!("{to}: {why}")))?;
        let mut target = RedisClient::new(Arc::new(ledger), "stampede-move");
        // Before anything is begun.
        target.connect().map_err(|why| failed(format!("{to}: {why}")))?;
        let (source, note) =
            OfflineClient::open_to_move(folder).map_err(|why| failed(why.to_string()))?;
        if let Some(note) = note.as_ref().filter(|note| note.to != to) {
            return Err(Failure::Usage(format!(
                "--to {to}: a move of {} to {} did not come to its end. Name that, to finish it or, \
                 with --abandon, to take it back",
                names(&note.sales),
                note.to
            )));
        }
        Ok(Self { source, target, note, to })
    }

    /// Takes a move back of which nothing has arrived.
    fn abandon(&mut self) -> Result<Vec<SaleId>, Failure> {
        let Some(note) = self.note.take() else {
            return Err(Failure::Usage(
                "--abandon: there is no move that did not come to its end".into(),
            ));
        };
        for sale in &note.sales {
            if self.target.arrival(sale, note.id).map_err(|why| self.away(&why))? == Arrival::Here {
                return Err(Failure::Failed(format!(
                    "{sale} is in {} already, and may be sold from there: finish the move, by the \
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

    /// Moves the sales that are named, or all; or goes on with what was begun.
    fn go(&mut self, named: &[String]) -> Result<Vec<SaleId>, Failure> {
        let note = match self.note.take() {
            Some(note) => {
                let is_other = |id: &&String| !note.sales.iter().any(|sale| sale.as_str() == **id);
                if let Some(other) = named.iter().find(is_other) {
                    return Err(Failure::Usage(format!(
                        "--sale {}: a move of {} did not come to its end and has to be finished \
                         first: ask for it without --sale",
                        shown(other),
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
                // Whoever was ended before may not have waited for the replicas.
                Arrival::Here => {
                    self.target.settle_arrival(sale, note.id).map_err(|why| self.away(&why))?;
                    continue;
                }
                Arrival::Absent => {}
                Arrival::Occupied => return Err(self.occupied(sale)),
            }
            let copy = self.copy_of(sale)?;
            self.target
                .bring(&copy, note.id, &mut |done, total| progress.tell(done, total))
                .map_err(|why| self.away(&why))?;
        }
        self.source.finish_move(&note).map_err(failed)?;
        Ok(note.sales)
    }

    /// The sales that are to move: those that are named, or all. All of them are closed.
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
                        return Err(Failure::Failed(format!("There is no sale {}.", shown(id))));
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
                "there are {} sales, and {MOVE_SALES_MAX} can move at a time: name them with --sale",
                sales.len()
            )));
        }
        let mut open = Vec::new();
        for sale in &sales {
            if self.view_of(sale)?.state() != State::Closed {
                open.push(sale.clone());
            }
        }
        if open.is_empty() {
            return Ok(sales);
        }
        Err(Failure::Failed(format!(
            "not closed: {}. Close each (`stampede sale close ID`), or name those to move with --sale; \
             nothing was moved",
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

    /// A sale as it stands, if it agrees with itself.
    fn copy_of(&mut self, sale: &SaleId) -> Result<SaleCopy, Failure> {
        let found = self.source.audit(sale, None).map_err(failed)?;
        let found = found.ok_or_else(|| {
            Failure::Failed(format!(
                "{sale} is neither here nor in {}: nothing was done. Was it removed there?",
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
                "{sale} does not agree with itself ({what}): `stampede audit` tells more"
            ))),
        }
    }

    fn occupied(&self, sale: &SaleId) -> Failure {
        Failure::Failed(format!(
            "{} has a sale {sale}, or some of its keys, already: nothing of it was written over",
            self.to
        ))
    }

    fn away(&self, why: &LedgerError) -> Failure {
        Failure::Failed(format!(
            "{}: {why}. Ask for the same again, which goes on from here",
            self.to
        ))
    }
}

fn failed(error: LedgerError) -> Failure {
    Failure::Failed(error.to_string())
}
