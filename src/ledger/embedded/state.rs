//! Every sale's machine, and the two ways to change them: a command, and a record of the journal.
//!
//! Both mark the changed rows with the record's number, so a reader that has the changes up to one
//! record can get those after it (`changes`).

use super::codec::{JournalEntry, put_command, put_expired, put_jump, put_sale};
use super::departed::Departed;
use super::reader::{Malformed, Reader};
use super::sales::Sales;
use super::tail::Tail;
use super::traces::Traces;
use crate::ledger::gaps::Gaps;
use crate::ledger::{Group, GroupReply};
use crate::limits::{FIRST_VERSION_MAX, TOTAL_MAX};
use crate::sale::{Command, Machine, Outcome, Reserve, SaleId, SaleSpec, Split};

/// All sales, and the ledger's time.
#[derive(Default)]
pub(super) struct LedgerState {
    pub sales: Sales,
    /// The latest time of any command, in ms since 1970.
    pub now_ms: u64,
    /// The latest changes, while a reader wants them.
    pub tail: Option<Tail>,
    /// The traces of reservations, until the orders have them.
    pub traces: Traces,
    /// Removed sales, whose memory somebody else frees.
    pub removed: Vec<Machine>,
    /// Numbers without a record.
    pub gaps: Gaps,
    /// Sales that were moved to another ledger.
    pub departed: Departed,
}

impl LedgerState {
    /// The number of reservations of all sales.
    pub(super) fn row_count(&self) -> u64 {
        self.sales.iter().map(|(_, machine)| machine.rows().len() as u64).sum()
    }

    /// Applies a group, and adds the commands that changed something to the record with this
    /// number. Returns the number of those commands.
    pub(super) fn apply(
        &mut self,
        group: &Group,
        number: u64,
        record: &mut Vec<u8>,
    ) -> (GroupReply, u64) {
        let mut sale = self.sales.number(&group.sale);
        let mut changes = 0;
        let mut outcomes = Vec::with_capacity(group.commands.len());
        for command in &group.commands {
            let (outcome, changed) = self.apply_one(&group.sale, &mut sale, number, command);
            if changed {
                if changes == 0 {
                    put_sale(record, &group.sale);
                }
                put_change(record, command, &outcome);
                changes += 1;
            }
            outcomes.push(outcome);
        }
        let machine = sale.and_then(|sale| self.sales.machine_mut(sale));
        let free = machine.map(|machine| machine.free());
        if let (Some(sale), true) = (sale, changes > 0) {
            self.sales.reschedule(sale);
        }
        (GroupReply { outcomes, free, now_ms: self.now_ms }, changes)
    }

    /// Applies one command to the sale with this id and the number `sale`, if it exists. Also
    /// returns whether it changed anything but the time.
    fn apply_one(
        &mut self,
        id: &SaleId,
        sale: &mut Option<u32>,
        number: u64,
        command: &Command,
    ) -> (Outcome, bool) {
        let Some(found) = *sale else {
            let Command::Create(spec) = command else { return (Outcome::UnknownSale, false) };
            // Its units are sold elsewhere: created here again, they would be sold twice.
            if self.departed.to(id).is_some() {
                return (Outcome::UnknownSale, false);
            }
            return match create(spec, self.now_ms) {
                Ok((created, outcome)) => {
                    *sale = Some(self.sales.insert(id.detached(), created));
                    (outcome, true)
                }
                Err(outcome) => (outcome, false),
            };
        };
        let machine = self.sales.machine_mut(found).expect("a number in use");
        machine.set_version(number);
        let (outcome, changed) = apply(machine, self.now_ms, command);
        if changed {
            note(&mut self.tail, found, machine, number);
            if let Command::Reserve(Reserve { trace: Some(trace), .. }) = command {
                let made = machine.changed().iter();
                made.for_each(|row| self.traces.note(found, *row, number, trace));
            }
        }
        if outcome == Outcome::Removed {
            *sale = None;
            self.remove(found);
        }
        (outcome, changed)
    }

    fn remove(&mut self, sale: u32) {
        let Some((id, machine)) = self.sales.remove(sale) else { return };
        if let Some(tail) = &mut self.tail {
            tail.keep_removed(&id, &machine, |row, change| self.traces.tell(sale, row, change));
        }
        self.traces.forget_sale(sale);
        self.removed.push(machine);
    }

    /// Returns expired units to stock, reading about `batch_max` reservations in all, the earliest
    /// first, and adds that to the record with this number. Returns the number of changes and
    /// whether more is due.
    pub(super) fn expire(
        &mut self,
        batch_max: u32,
        number: u64,
        record: &mut Vec<u8>,
    ) -> (u64, bool) {
        let (mut changes, mut left) = (0, batch_max);
        while left > 0
            && let Some(sale) = self.sales.take_due(self.now_ms)
        {
            let Some(machine) = self.sales.machine_mut(sale) else { continue };
            machine.set_version(number);
            let before = machine.deadline_count();
            let outcome = machine.apply(self.now_ms, &Command::Expire { batch_max: left });
            let looked_at = (before - machine.deadline_count()) as u32;
            let Outcome::Released { units, .. } = outcome else { continue };
            if units > 0 {
                note(&mut self.tail, sale, machine, number);
                let (id, _) = self.sales.get(sale).expect("a number in use");
                put_sale(record, id);
                put_expired(record, units);
                changes += 1;
            }
            left = left.saturating_sub(looked_at.max(1));
            self.sales.reschedule(sale);
        }
        (changes, self.sales.due_count(self.now_ms, 1) > 0)
    }

    /// Makes `to` the number of the record after this one, and adds that to this record. Returns
    /// whether it can.
    pub(super) fn jump(&mut self, number: u64, to: u64, record: &mut Vec<u8>) -> bool {
        let can = to > number && self.gaps.push(number + 1..=to - 1);
        if can {
            put_jump(record, to);
        }
        can
    }

    /// Applies a record of the journal with this number. Returns the number of changes in it, and
    /// the number of the next record.
    pub(super) fn replay(&mut self, record: &[u8], number: u64) -> Result<(u64, u64), Malformed> {
        let mut reader = Reader::new(record);
        self.now_ms = self.now_ms.max(reader.time()?);
        let mut current: Option<(SaleId, Option<u32>)> = None;
        let (mut changes, mut next) = (0, number + 1);
        while !reader.is_empty() {
            let entry = reader.entry()?;
            if let JournalEntry::Sale(id) = entry {
                if let Some((_, Some(before))) = current {
                    self.sales.reschedule(before);
                }
                let sale = self.sales.number(&id);
                current = Some((id, sale));
                continue;
            }
            changes += 1;
            if let JournalEntry::Jump { to } = entry {
                if !(number + 1..=FIRST_VERSION_MAX).contains(&to)
                    || !self.gaps.push(number + 1..=to - 1)
                {
                    return Err(Malformed("numbers that can't follow"));
                }
                next = to;
                continue;
            }
            let (id, sale) = current.as_mut().ok_or(Malformed("change of no sale"))?;
            match entry {
                JournalEntry::Command(command) => {
                    if let (Command::Reserve(reserve), Some(sale)) = (&command, *sale)
                        && self.sales.get(sale).is_some_and(|(_, sale)| sale.has(reserve.id))
                    {
                        return Err(Malformed("reservation id used twice"));
                    }
                    let (_, changed) = self.apply_one(id, sale, number, &command);
                    if !changed {
                        return Err(MISMATCH);
                    }
                }
                JournalEntry::Expired { units } => {
                    let machine = sale.and_then(|sale| self.sales.machine_mut(sale));
                    let machine = machine.ok_or(Malformed("change of an unknown sale"))?;
                    machine.set_version(number);
                    replay_expiry(machine, self.now_ms, units)?;
                }
                JournalEntry::Sale(_) | JournalEntry::Jump { .. } => {}
            }
        }
        if let Some((_, Some(last))) = current {
            self.sales.reschedule(last);
        }
        self.removed.clear();
        Ok((changes, next))
    }
}

/// The journal says that a command changed something, and its replay did not.
const MISMATCH: Malformed = Malformed("change that its sale refuses");

fn note(tail: &mut Option<Tail>, sale: u32, machine: &Machine, version: u64) {
    if let Some(tail) = tail {
        tail.note(sale, machine.changed(), version);
    }
}

/// Applies a command to an existing sale. Also returns whether it changed anything but the time.
fn apply(machine: &mut Machine, now_ms: u64, command: &Command) -> (Outcome, bool) {
    match command {
        Command::Reserve(_) => {
            let outcome = machine.apply(now_ms, command);
            let changed = matches!(outcome, Outcome::Granted { .. } | Outcome::Seated(_));
            (outcome, changed)
        }
        // No sale is split here, so nothing moves between parts.
        Command::Create(_)
        | Command::Show
        | Command::Peek { .. }
        | Command::ShowReservation(_)
        | Command::FindClaim(..)
        | Command::TransferOut { .. }
        | Command::TransferIn { .. } => (machine.apply(now_ms, command), false),
        // Not used here: there are no parts, and a sale is removed and created to begin anew.
        Command::CreatePart { .. } | Command::Reset { .. } => (Outcome::UnknownSale, false),
        Command::Remove => {
            let outcome = machine.apply(now_ms, command);
            let changed = outcome == Outcome::Removed;
            (outcome, changed)
        }
        // These change a reservation, or nothing.
        Command::Extend(..) | Command::CancelTo(..) | Command::RefundTo(..) => {
            let outcome = machine.apply(now_ms, command);
            let changed = !machine.changed().is_empty();
            (outcome, changed)
        }
        // Every other change of a reservation moves units between free, held and confirmed, and
        // every change of the sale changes its definition.
        Command::Confirm(_)
        | Command::ConfirmElsewhere(_)
        | Command::Cancel(_)
        | Command::Refund(_)
        | Command::Expire { .. }
        | Command::AddStock(_)
        | Command::TakeStock { .. }
        | Command::ChangeTerms(_)
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

/// Creates a sale. Refuses a definition that could not be read back from a snapshot; the caller has
/// checked it, so only the total has an outcome of its own.
fn create(spec: &SaleSpec, now_ms: u64) -> Result<(Machine, Outcome), Outcome> {
    if spec.total > TOTAL_MAX {
        return Err(Outcome::TotalTooLarge);
    }
    spec.check().map_err(|_| Outcome::UnknownSale)?;
    if spec.split != Split::Whole {
        return Err(Outcome::NotSplit);
    }
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

/// Expiry has one order, whatever else is in its queue, so the same number of units are the same
/// reservations.
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
