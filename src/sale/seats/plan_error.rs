//! What is wrong with a plan.

use super::stop::{StopError, StopName};
use crate::limits::{
    BLOCKS_MAX, CLASSES_MAX, COLUMNS_MAX, ROW_LETTERS_MAX, SEAT_NUMBER_MAX, SEATS_MAX, STOPS_MAX,
};
use crate::sale::types::TypesError;

/// Why a plan is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// One stop, or too many.
    #[error("a sale has 2 to {STOPS_MAX} stops, or none, not {0}")]
    Stops(usize),
    /// The name of a stop.
    #[error(transparent)]
    Stop(#[from] StopError),
    /// A stop that occurs twice.
    #[error("the stop {0} is named twice")]
    StopTwice(StopName),
    /// Not one departure per stop but the last.
    #[error(
        "departures are given for every stop but the last, or for none: {given} for {stops} stops"
    )]
    Departures {
        /// How many are given.
        given: usize,
        /// How many stops there are.
        stops: usize,
    },
    /// A departure before the one of an earlier stop.
    #[error("the departure from {0} must not be before that from the stop before it")]
    DepartureOrder(StopName),
    /// The name of a class.
    #[error("{0}; so is that of a class")]
    Class(TypesError),
    /// Too many classes.
    #[error("a sale with seats has at most {CLASSES_MAX} classes, not {0}")]
    Classes(usize),
    /// Too many blocks, or none.
    #[error(
        "a plan has 1 to {BLOCKS_MAX} blocks (rows of one coach with the same letters), not {0}"
    )]
    Blocks(usize),
    /// The number of a coach.
    #[error("a coach has a number from 1 to {SEAT_NUMBER_MAX}, not {0}")]
    Coach(u64),
    /// The numbers of rows.
    #[error("rows are numbered from 1 to {SEAT_NUMBER_MAX}, the first one first, not {0} to {1}")]
    Rows(u64, u64),
    /// The letters of a row.
    #[error(
        "the letters of a row are 1 to {ROW_LETTERS_MAX} of A to Z in ascending order, with a space \
         for an aisle between two of them, as in \"ABC DF\", not {0:?}"
    )]
    Letters(String),
    /// Two blocks with the same row, so with equal seats.
    #[error("coach {coach} has row {row} twice")]
    RowTwice {
        /// The coach.
        coach: u8,
        /// The row.
        row: u8,
    },
    /// Too many seats.
    #[error("a sale has at most {SEATS_MAX} seats, not {0}")]
    Seats(usize),
    /// Too many rows for the words in which a ledger keeps them.
    #[error(
        "the rows of this plan take {0} columns of 30 seats, and a sale has at most {COLUMNS_MAX}: \
         longer blocks take fewer"
    )]
    Columns(usize),
}
