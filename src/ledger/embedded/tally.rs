//! Counts the contents of snapshot and journals without building the state: for a backup, which
//! must not take the memory of a second server.

use hashbrown::HashMap;

use super::codec::JournalEntry;
use super::reader::{Malformed, Reader};
use super::snapshot::read_head;
use crate::sale::{Command, SaleId};

/// Reservations of each sale.
#[derive(Default)]
pub(super) struct Tally {
    sales: HashMap<SaleId, u64>,
    /// Reservations to come of a sale of the snapshot.
    left: u64,
}

impl Tally {
    /// The number of sales, and of all their reservations.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.sales.len() as u64, self.sales.values().sum())
    }

    /// Counts a record of the snapshot that is not its last.
    pub(super) fn snapshot(&mut self, number: u64, record: &[u8]) -> Result<(), Malformed> {
        if number == 0 {
            return read_head(record).map(drop);
        }
        let mut reader = Reader::new(record);
        if self.left == 0 {
            reader.byte("sale")?;
            let id = reader.sale()?;
            reader.time()?;
            reader.spec()?;
            self.left = reader.u64("number of reservations")?;
            self.sales.insert(id, self.left);
            return Ok(());
        }
        while !reader.is_empty() {
            reader.row()?;
            self.left = self.left.checked_sub(1).ok_or(Malformed("too many reservations"))?;
        }
        Ok(())
    }

    /// Counts a record of a journal. Returns the number of the next one.
    pub(super) fn journal(&mut self, record: &[u8], number: u64) -> Result<u64, Malformed> {
        let mut reader = Reader::new(record);
        reader.time()?;
        let mut current: Option<SaleId> = None;
        let mut next = number + 1;
        while !reader.is_empty() {
            let entry = reader.entry()?;
            if let JournalEntry::Jump { to } = entry {
                next = to;
                continue;
            }
            if let JournalEntry::Sale(id) = entry {
                current = Some(id);
                continue;
            }
            let id = current.as_ref().ok_or(Malformed("change of no sale"))?;
            match entry {
                JournalEntry::Command(Command::Create(_)) => {
                    self.sales.insert(id.clone(), 0);
                }
                JournalEntry::Command(Command::Remove) => {
                    self.sales.remove(id);
                }
                JournalEntry::Command(Command::Reserve(_)) => {
                    let count = self.sales.get_mut(id);
                    *count.ok_or(Malformed("change of an unknown sale"))? += 1;
                }
                _ => {}
            }
        }
        Ok(next)
    }
}
