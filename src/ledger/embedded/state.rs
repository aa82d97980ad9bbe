//! Every sale's machine, and the two ways to change them: a command, and a record of the journal.
//!
//! Both mark the rows that change with the record's number, so that whoever has seen the changes up
//! to one record can be given those after it (`changes`).

use super::codec::{Entry, put_command, put_expired, put_jump, put_sale};
use super::departed::Departed;
use super::reader::{Malformed, Reader};
use super::sales::Sales;
use super::tail::Tail;
use super::traces::Traces;
use crate::ledger::gaps::Gaps;
use crate::ledger::{Group, GroupReply};
use crate::limits::TOTAL_MAX;
use crate::sale::{Command, Machine, Outcome, Reserve, SaleId, SaleSpec, Split};

/// All sales, and the ledger's time.
#[derive(Default)]
pub(super) struct State {
    pub sales: Sales,
    /// The latest time of any command, in ms since 1970.
    pub now_ms: u64,
    /// The latest changes, while somebody reads them.
    pub tail: Option<Tail>,
    /// Who asked for reservations, until the orders have them.
    pub traces: Traces,
    /// Sales that were removed, for whoever has the time to free their memory.
    pub removed: Vec<Machine>,
    /// Numbers that no record has.
    pub gaps: Gaps,
    /// Sales that were moved to another ledger.
    pub departed: Departed,
}

impl State {
    /// Reservations of all sales together.
    pub(super) fn row_count(&self) -> u64 {
        self.sales.iter().map(|(_, machine)| machine.rows().len() as u64).sum()
    }

    /// Applies a group and adds to the record with this number those of its commands that changed
    /// something. Gives how many those were.
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

    /// Applies one command to the sale with this id, which has the number `sale`, if it is there.
    /// Says also whether it changed anything but the time.
    fn apply_one(
        &mut self,
        id: &SaleId,
        sale: &mut Option<u32>,
        number: u64,
        command: &Command,
    ) -> (Outcome, bool) {
        let Some(found) = *sale else {
            let Command::Create(spec) = command else { return (Outcome::UnknownSale, false) };
            // Its units are sold elsewhere: made here again they would be sold twice.
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

    /// Returns to stock what is due, looking at about `batch_max` reservations in all, the earliest
    /// first, and adds that to the record with this number. Gives the number of changes and whether
    /// more is due.
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

    /// Has the record after the one with this number be numbered `to`, and adds that to this one.
    /// Whether it can.
    pub(super) fn jump(&mut self, number: u64, to: u64, record: &mut Vec<u8>) -> bool {
        let can = to > number && self.gaps.push(number + 1..=to - 1);
        if can {
            put_jump(record, to);
        }
        can
    }

    /// Applies a record of the journal, whose number this is. Gives the number of changes in it, and
    /// that of the next record.
    pub(super) fn replay(&mut self, record: &[u8], number: u64) -> Result<(u64, u64), Malformed> {
        let mut reader = Reader::new(record);
        self.now_ms = self.now_ms.max(reader.time()?);
        let mut current: Option<(SaleId, Option<u32>)> = None;
        let (mut changes, mut next) = (0, number + 1);
        while !reader.is_empty() {
            let entry = reader.entry()?;
            if let Entry::Sale(id) = entry {
                if let Some((_, Some(before))) = current {
                    self.sales.reschedule(before);
                }
                let sale = self.sales.number(&id);
                current = Some((id, sale));
                continue;
            }
            changes += 1;
            if let Entry::Jump { to } = entry {
                if to <= number || !self.gaps.push(number + 1..=to - 1) {
                    return Err(Malformed("numbers that go back"));
                }
                next = to;
                continue;
            }
            let (id, sale) = current.as_mut().ok_or(Malformed("change of no sale"))?;
            match entry {
                Entry::Command(command) => {
                    let (_, changed) = self.apply_one(id, sale, number, &command);
                    if !changed {
                        return Err(MISMATCH);
                    }
                }
                Entry::Expired { units } => {
                    let machine = sale.and_then(|sale| self.sales.machine_mut(sale));
                    let machine = machine.ok_or(Malformed("change of an unknown sale"))?;
                    machine.set_version(number);
                    replay_expiry(machine, self.now_ms, units)?;
                }
                Entry::Sale(_) | Entry::Jump { .. } => {}
            }
        }
        if let Some((_, Some(last))) = current {
            self.sales.reschedule(last);
        }
        self.removed.clear();
        Ok((changes, next))
    }
}

/// What the journal says changed something did not when it was replayed.
const MISMATCH: Malformed = Malformed("change that its sale refuses");

fn note(tail: &mut Option<Tail>, sale: u32, machine: &Machine, version: u64) {
    if let Some(tail) = tail {
        tail.note(sale, machine.changed(), version);
    }
}

/// Applies a command to a sale that exists. Says also whether it changed anything but the time.
fn apply(machine: &mut Machine, now_ms: u64, command: &Command) -> (Outcome, bool) {
    match command {
        Command::Reserve(_) => {
            let outcome = machine.apply(now_ms, command);
            let changed = matches!(outcome, Outcome::Granted { .. });
            (outcome, changed)
        }
        // No sale is split here, so nothing moves between parts.
        Command::Create(_)
        | Command::Show
        | Command::Glance { .. }
        | Command::ShowReservation(_)
        | Command::FindClaim(..)
        | Command::Give { .. }
        | Command::Take { .. } => (machine.apply(now_ms, command), false),
        // Nobody asks: there are no parts, and a sale is removed and created to begin anew.
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
        // Every other change of a reservation moves units between free, held and confirmed, and every
        // change of the sale is one of its definition.
        Command::Confirm(_)
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

/// Makes a sale. A definition that could not be read back from a snapshot is refused; the caller
/// has checked it, so only the total has an outcome of its own.
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
