//! Seats over legs: the plan of a seat sale, which seats are sold on which legs, and which seats a
//! purchase gets. `docs/internals/seats.md` has the rules, to which the Lua scripts adhere too.
//!
//! Everything here is deterministic and independent of the machine's word size: the same history
//! gives the same seats everywhere.

mod block;
mod choose;
mod column;
mod map;
mod plan;
mod plan_error;
mod plan_text;
mod refusal;
mod ride;
mod seat;
mod stop;

pub use block::{Block, Letters};
pub use choose::choose;
pub use column::{Columns, Place};
pub use map::{NotSold, Pool, SeatMap};
pub use plan::Plan;
pub use plan_error::PlanError;
pub use refusal::SeatRefusal;
pub use ride::{Asked, Kind, Ride, Wish};
pub use seat::{Seat, SeatError, Seats};
pub use stop::{Journey, Legs, StopError, StopName};
