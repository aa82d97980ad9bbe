//! The databases that keep the orders.

use crate::sale::{Change, ReservationId, SaleId, Status};

/// One order as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its reservation.
    pub id: ReservationId,
    /// The buyer. `None`: anonymous.
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
    /// An order of another place of the sale: of a part, or of the whole sale if a part was
    /// requested.
    Elsewhere(SaleId, Order),
    /// A row that is no order.
    Unreadable {
        /// The row's text in place of a reservation's id.
        row: String,
        /// The reservation, if the row names one of this sale.
        id: Option<ReservationId>,
        /// What is wrong with it.
        problem: String,
    },
}

/// The destination of a worker's changes, which keeps them.
pub trait Sink: Send {
    /// Writes changes in one transaction: one row per reservation, and of two versions the later
    /// one. For a source that keeps no position of its own, also writes the position.
    fn write(
        &mut self,
        changes: &[Change],
        position: Option<(&str, u64)>,
    ) -> Result<(), DatabaseError>;

    /// The position up to which changes of this source have been written.
    fn position(&mut self, source: &str) -> Result<Option<u64>, DatabaseError>;

    /// Checks that the written data is still where it was written.
    fn check(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }

    /// The number of further changes for which there is room. 0: the source is not read until there
    /// is room.
    fn room(&mut self) -> Result<usize, DatabaseError> {
        Ok(usize::MAX)
    }

    /// The source has no more changes now, and all changes were acknowledged to it.
    fn has_everything(&mut self) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// A sink that can be opened.
pub trait SinkLocation {
    /// Its kind and address, without a password, for the beginning of an error.
    fn name(&self) -> String;

    /// Opens it and migrates its schema.
    fn open_sink(&self) -> Result<Box<dyn Sink>, DatabaseError>;
}

/// A database of orders.
pub trait Database: Sink {
    /// Every row of a sale, in the order of reservation ids; for one part of a sale only its own
    /// readable rows. Rows of other places of the sale are returned as [`Row::Elsewhere`].
    fn rows(&mut self, sale: &SaleId, each: &mut dyn FnMut(Row)) -> Result<(), DatabaseError>;

    /// Every order of a sale, in the order of reservation ids: the readable rows.
    fn orders(&mut self, sale: &SaleId, each: &mut dyn FnMut(Order)) -> Result<(), DatabaseError> {
        self.rows(sale, &mut |row| {
            if let Row::Order(order) = row {
                each(order);
            }
        })
    }

    /// The names of sales in the rows, each once. `None` for rows without one.
    fn sales(&mut self) -> Result<Vec<Option<String>>, DatabaseError>;

    /// The highest version of any row. `None`: there is no row.
    fn highest_version(&mut self) -> Result<Option<u64>, DatabaseError>;

    /// Writes rows whatever version the database has: a repair.
    fn overwrite(&mut self, changes: &[Change]) -> Result<(), DatabaseError>;
}

/// Why the database failed.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It passes: retry.
    #[error("{0}")]
    Away(String),
    /// The operator must act: rights, a table that is not ours, a full disk.
    #[error("{0}")]
    Fatal(String),
    /// The written data is gone: the file was deleted or replaced, and the next call opens another;
    /// or the database was restored.
    #[error("{0}")]
    Replaced(String),
}
