//! The machines of all sales, by id and by number, and the time at which expiry visits each.
//!
//! A sale has a number for as long as the state lives, never used again. The number stands for the
//! sale where an id would be too large. It also orders a walk over all sales that continues in
//! small steps while others are added and removed.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::sale::{Machine, SaleId};

/// All sales.
#[derive(Default)]
pub(super) struct Sales {
    numbers: HashMap<SaleId, u32>,
    /// By number. `None`: it was removed.
    all: Vec<Option<Box<Sale>>>,
    /// Sales that hold something, under a time before which nothing of them is due.
    due: BTreeSet<(u64, u32)>,
}

struct Sale {
    id: SaleId,
    machine: Machine,
    /// Its key in `due`.
    due_ms: Option<u64>,
}

impl Sales {
    /// The number of sales.
    pub(super) fn count(&self) -> usize {
        self.numbers.len()
    }

    /// The number after the last assigned one.
    pub(super) fn end(&self) -> u32 {
        self.all.len() as u32
    }

    /// Every sale, in the order of numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SaleId, &Machine)> {
        self.all.iter().flatten().map(|sale| (&sale.id, &sale.machine))
    }

    /// The number of a sale.
    pub(super) fn number(&self, id: &SaleId) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    /// A sale by its number.
    pub(super) fn get(&self, number: u32) -> Option<(&SaleId, &Machine)> {
        let sale = self.all.get(number as usize)?.as_ref()?;
        Some((&sale.id, &sale.machine))
    }

    /// A sale by its number, to change it. Call [`reschedule`](Self::reschedule) after that.
    pub(super) fn machine_mut(&mut self, number: u32) -> Option<&mut Machine> {
        Some(&mut self.all.get_mut(number as usize)?.as_mut()?.machine)
    }

    /// Adds a sale that does not exist. Returns its number.
    pub(super) fn insert(&mut self, id: SaleId, machine: Machine) -> u32 {
        let number = u32::try_from(self.all.len()).expect("fewer than 2^32 sales in one run");
        let before = self.numbers.insert(id.clone(), number);
        debug_assert!(before.is_none(), "{id} is there already");
        self.all.push(Some(Box::new(Sale { id, machine, due_ms: None })));
        self.reschedule(number);
        number
    }

    /// Removes a sale.
    pub(super) fn remove(&mut self, number: u32) -> Option<(SaleId, Machine)> {
        let sale = self.all.get_mut(number as usize)?.take()?;
        self.numbers.remove(&sale.id);
        if let Some(due_ms) = sale.due_ms {
            self.due.remove(&(due_ms, number));
        }
        Some((sale.id, sale.machine))
    }

    /// Ensures that a sale is visited when its next reservation is due. An early visit costs
    /// little, so a time that has become too early stays. A time that has become too late, since
    /// new reservations are held for less, is changed.
    pub(super) fn reschedule(&mut self, number: u32) {
        let Some(sale) = self.all.get_mut(number as usize).and_then(Option::as_mut) else { return };
        let next_ms = match sale.due_ms {
            None => sale.machine.next_due_ms(),
            Some(due_ms) => sale.machine.earlier_due_ms().filter(|next_ms| *next_ms < due_ms),
        };
        if let Some(next_ms) = next_ms {
            if let Some(due_ms) = sale.due_ms.replace(next_ms) {
                self.due.remove(&(due_ms, number));
            }
            self.due.insert((next_ms, number));
        }
    }

    /// The number of sales that may have something due, at most `max`.
    pub(super) fn due_count(&self, now_ms: u64, max: usize) -> usize {
        self.due.range(..=(now_ms, u32::MAX)).take(max).count()
    }

    /// Takes the sale with the earliest deadline from the schedule, if the deadline has passed.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<u32> {
        let &(due_ms, number) = self.due.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.due.pop_first();
        if let Some(sale) = &mut self.all[number as usize] {
            sale.due_ms = None;
        }
        Some(number)
    }
}
