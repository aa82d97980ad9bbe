//! The model: what a sale is and what may happen to it. Pure and deterministic.
//!
//! This is the reference that every ledger must agree with, outcome for outcome. The embedded
//! ledger runs it and persists its commands; the Redis scripts are its twin. Time is an argument of
//! each command, so that the same history always gives the same outcomes.
//!
//! Architecture invariant: nothing in this folder does I/O, reads a clock, draws a random number or
//! knows of HTTP, Redis or a file.

mod change;
mod command;
mod details;
mod id;
mod machine;
mod places;
mod remaining;
mod reservation;
mod row;
mod rows;
mod rules;
pub mod seats;
mod spec;
mod split;
mod terms;
mod types;

pub use change::Change;
pub use command::{Command, Outcome, Reserve, SaleView};
pub use details::{Details, Note};
pub use id::{
    ID_PREFIX_BITS, ID_PREFIX_SHARED_MAX, ID_PREFIX_TEXT_BYTES, IdError, Key, PublicId,
    RESERVATION_ID_TEXT_BYTES, ReservationId, SaleId, User,
};
pub use machine::Machine;
pub use places::{InTransit, Places, Transfer};
pub use remaining::Remaining;
pub use reservation::{Reservation, Status, count_by_type};
pub use row::Row;
pub use rows::Rows;
pub use rules::Rules;
pub use spec::{Creation, SaleSpec, SaleState, SpecError};
pub use split::{Split, Transfers, home_part};
pub use terms::Terms;
pub use types::{Lines, TypeName, TypeUnits, Types, TypesError};
