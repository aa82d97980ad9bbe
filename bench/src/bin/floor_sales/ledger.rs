//! The loop's view of a ledger: requests go in and come back decided.

use std::os::fd::RawFd;

use bench::error::Result;
use bench::floor::Epoll;
use stampede::sale::ReservationId;

use crate::counts::Counts;

/// A requester: a connection's descriptor, and its number, because descriptors are reused.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// The descriptor.
    pub fd: RawFd,
    /// The connection's number.
    pub serial: u64,
}

/// A request, and the id for its reservation.
pub type Asked = (Seat, ReservationId);

/// A core's connection to its ledger.
pub trait Ledger {
    /// The descriptor that becomes readable when requests have been decided.
    fn fd(&self) -> RawFd;

    /// Adds a request to the open batch.
    fn join(&mut self, seat: Seat);

    /// Sends the batch at the end of a round of events.
    fn leave(&mut self, epoll: &Epoll, counts: &Counts) -> Result<()>;

    /// Handles an event of the descriptor. Adds each decided requester, with the reservation's id if
    /// it was granted.
    fn turn(
        &mut self,
        events: u32,
        epoll: &Epoll,
        decided: &mut Vec<(Seat, Option<ReservationId>)>,
    ) -> Result<()>;
}
