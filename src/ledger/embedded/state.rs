//! Every sale's machine, and the two ways to change them: a command, and a record of the journal.

use std::collections::HashMap;

use super::codec::{Entry, Malformed, Reader, put_command, put_expired, put_sale};
use crate::ledger::{Group, GroupReply};
use crate::limits::TOTAL_MAX;
use crate::sale::{Command, Machine, Outcome, SaleId, SaleSpec};

/// All sales, and the ledger's time.
#[derive(Default)]
pub(super) struct State {
    pub sales: HashMap<SaleId, Machine>,
    /// The latest time of any command, in ms since 1970.
    pub now_ms: u64,
}

impl State {
    /// Reservations of all sales together.
    pub(super) fn row_count(&self) -> u64 {
        self.sales.values().map(|machine| machine.rows().len() as u64).sum()
    }

    /// Applies a group and adds to `record` those of its commands that changed something. Gives how
    /// many those were.
    pub(super) fn apply(&mut self, group: &Group, record: &mut Vec<u8>) -> (GroupReply, u64) {
        let mut machine = self.sales.get_mut(&group.sale);
        let mut changes = 0;
        let mut outcomes = Vec::with_capacity(group.commands.len());
        for command in &group.commands {
            let (outcome, changed) = match (machine.as_deref_mut(), command) {
                (Some(machine), command) => apply(machine, self.now_ms, command),
                (None, Command::Create(spec)) => match create(spec, self.now_ms) {
                    Ok((created, outcome)) => {
                        let id = group.sale.detached();
                        machine = Some(self.sales.entry(id).insert_entry(created).into_mut());
                        (outcome, true)
                    }
                    Err(outcome) => (outcome, false),
                },
                (None, _) => (Outcome::UnknownSale, false),
            };
            if changed {
                if changes == 0 {
                    put_sale(record, &group.sale);
                }
                put_change(record, command, &outcome);
                changes += 1;
            }
            outcomes.push(outcome);
        }
        let free = machine.map(|machine| machine.free());
        (GroupReply { outcomes, free, now_ms: self.now_ms }, changes)
    }

    /// Returns to stock what is due in any sale, looking at about `batch_max` reservations of each,
    /// and adds that to `record`. Gives the number of changes and whether more is due.
    pub(super) fn expire(&mut self, batch_max: u32, record: &mut Vec<u8>) -> (u64, bool) {
        let (mut changes, mut any_more) = (0, false);
        for (id, machine) in &mut self.sales {
            let outcome = machine.apply(self.now_ms, &Command::Expire { batch_max });
            let Outcome::Released { units, more, .. } = outcome else { continue };
            any_more |= more;
            if units > 0 {
                put_sale(record, id);
                put_expired(record, units);
                changes += 1;
            }
        }
        (changes, any_more)
    }

    /// Applies a record of the journal. Gives the number of changes in it.
    pub(super) fn replay(&mut self, record: &[u8]) -> Result<u64, Malformed> {
        let mut reader = Reader::new(record);
        self.now_ms = self.now_ms.max(reader.time()?);
        let mut sale = None;
        let mut machine: Option<&mut Machine> = None;
        let mut changes = 0;
        while !reader.is_empty() {
            changes += 1;
            match (reader.entry()?, machine.as_deref_mut()) {
                (Entry::Sale(id), _) => {
                    machine = self.sales.get_mut(&id);
                    sale = Some(id);
                    changes -= 1;
                }
                (Entry::Command(Command::Create(spec)), None) => {
                    let id = sale.take().ok_or(Malformed("creation of no sale"))?;
                    let (created, _) = create(&spec, self.now_ms).map_err(|_| MISMATCH)?;
                    machine = Some(self.sales.entry(id).insert_entry(created).into_mut());
                }
                (Entry::Command(command), Some(machine)) => {
                    let (_, changed) = apply(machine, self.now_ms, &command);
                    if !changed {
                        return Err(MISMATCH);
                    }
                }
                (Entry::Expired { units }, Some(machine)) => {
                    replay_expiry(machine, self.now_ms, units)?;
                }
                (_, None) => return Err(Malformed("change of an unknown sale")),
            }
        }
        Ok(changes)
    }
}

/// What the journal says changed something did not when it was replayed.
const MISMATCH: Malformed = Malformed("change that its sale refuses");

/// Applies a command to a sale that exists. Says also whether it changed anything but the time.
fn apply(machine: &mut Machine, now_ms: u64, command: &Command) -> (Outcome, bool) {
    match command {
        Command::Reserve(_) => {
            let outcome = machine.apply(now_ms, command);
            let changed = matches!(outcome, Outcome::Granted { .. });
            (outcome, changed)
        }
        Command::Create(_) | Command::Show | Command::ShowReservation(_) => {
            (machine.apply(now_ms, command), false)
        }
        // Every change of a reservation moves units between free, held and confirmed, and every
        // change of the sale is one of its definition.
        Command::Remove => todo!("issue 3: the embedded helper"),
        Command::Confirm(_)
        | Command::Cancel(_)
        | Command::Expire { .. }
        | Command::AddStock(_)
        | Command::Open
        | Command::Close => {
            let before = machine.view();
            let outcome = machine.apply(now_ms, command);
            let after = machine.view();
            let changed = (before.spec, before.held, before.confirmed)
                != (after.spec, after.held, after.confirmed);
            (outcome, changed)
        }
    }
}

/// Makes a sale. A definition that could not be read back from a snapshot is refused; the caller
/// has checked it, so only the total has an outcome of its own.
fn create(spec: &SaleSpec, now_ms: u64) -> Result<(Machine, Outcome), Outcome> {
    if spec.total > TOTAL_MAX {
        return Err(Outcome::TotalTooLarge);
    }
    spec.check().map_err(|_| Outcome::UnknownSale)?;
    let machine = Machine::restore(spec.clone(), now_ms);
    let view = Box::new(machine.view());
    Ok((machine, Outcome::Created(view)))
}

fn put_change(record: &mut Vec<u8>, command: &Command, outcome: &Outcome) {
    match outcome {
        Outcome::Released { units, .. } => put_expired(record, *units),
        _ => put_command(record, command),
    }
}

/// Deadlines come in the order of the rows, so the same number of units are the same reservations.
fn replay_expiry(machine: &mut Machine, now_ms: u64, units: u64) -> Result<(), Malformed> {
    let mut left = units;
    while left > 0 {
        match machine.apply(now_ms, &Command::Expire { batch_max: 1 }) {
            Outcome::Released { units: 0, more: false, .. } => return Err(MISMATCH),
            Outcome::Released { units, .. } => left = left.checked_sub(units).ok_or(MISMATCH)?,
            _ => return Err(MISMATCH),
        }
    }
    Ok(())
}
