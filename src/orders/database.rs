//! What keeps the orders.

use crate::sale::{Change, ReservationId, SaleId, Status};

/// One order as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The reservation it stands for.
    pub id: ReservationId,
    /// For whom. `None`: anonymous.
    pub user: Option<String>,
    /// Units.
    pub quantity: u32,
    /// The status that was written last. `None`: a text that is no status.
    pub status: Option<Status>,
    /// The version that was written last.
    pub version: u64,
    /// Units by ticket type as JSON, or NULL. `None`: the table has no such column.
    pub lines: Option<Option<String>>,
}

/// A row, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Row {
    /// An order.
    Order(Order),
    /// An order of another place of the sale: a part, or the whole if a part was asked for.
    Elsewhere(SaleId, Order),
    /// A row that is no order.
    Unreadable {
        /// What stands for the reservation's id.
        row: String,
        /// The reservation, if the row names one of this sale.
        id: Option<ReservationId>,
        /// What is wrong with it.
        problem: String,
    },
}

/// Where a worker puts changes, and what keeps them from then on.
pub trait Sink: Send {
    /// Writes changes in one transaction: one row a reservation, and of two versions the later. For
    /// a source that keeps no position of its own, also up to where it is.
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError>;

    /// Up to where a source of this name has been written.
    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError>;

    /// Looks whether what was written is still where it was written to.
    fn check(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// For how many more changes there is room. 0: the source is not read until there is.
    fn room(&mut self) -> Result<usize, DatabaseError> {
        Ok(usize::MAX)
    }

    /// The source had nothing more to give just now, and was told of everything that was written.
    fn has_everything(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// A sink that can be opened, by the name under which people know it.
pub trait Place {
    /// What it is and where, without a password, as an error begins.
    fn name(&self) -> String;

    /// Opens it and brings its schema up to date.
    fn open_sink(&self) -> Result<Box<dyn Sink>, DatabaseError>;
}

/// Where orders are kept.
pub trait Database: Sink {
    /// Every row of a sale, in the order of reservation ids; of one part of a sale, its own rows and
    /// none that can't be read. Rows of other places of the sale come as [`Row::Elsewhere`].
    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError>;

    /// Every order of a sale, in the order of reservation ids: the rows that can be read.
    fn orders(&mut self, sale: &SaleId, each: &mut dyn FnMut(Order)) -> Result<(), DatabaseError> {
        self.rows(sale, &mut |row| {
            if let Row::Order(order) = row {
                each(order);
            }
        })
    }

    /// The names of sales that the rows have, each once. `None` for rows without one.
    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError>;

    /// The highest version that any row has. `None`: there is no row.
    fn highest_version(&mut self) -> Result<Option<u64>, DatabaseError>;

    /// Writes rows as they are given, whatever version the database has: a repair.
    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError>;
}

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It passes: try again.
    #[error("{0}")]
    Away(String),
    /// The operator must act: rights, a table that is not ours, a full disk.
    #[error("{0}")]
    Fatal(String),
    /// What was written is no longer there: the file was deleted or replaced, and the next call opens
    /// another; or the database was restored.
    #[error("{0}")]
    Replaced(String),
}
