//! What the loop knows of where it sells from: requests go in, and come back decided.

use std::os::fd::RawFd;

use bench::error::Result;
use bench::floor::Epoll;
use stampede::sale::ReservationId;

use crate::counts::Counts;

/// Who asks: a connection's descriptor, and its number, since descriptors are used again.
#[derive(Debug, Clone, Copy)]
pub struct Seat {
    /// The descriptor.
    pub fd: RawFd,
    /// The connection's number.
    pub serial: u64,
}

/// A request, and the id that its reservation is to have.
pub type Asked = (Seat, ReservationId);

/// A core's way to what it sells from.
pub trait Ledger {
    /// The descriptor that has something to read when requests have been decided.
    fn fd(&self) -> RawFd;

    /// Puts a request into the open batch.
    fn join(&mut self, seat: Seat);

    /// Sends what the end of a round of events is to send.
    fn leave(&mut self, epoll: &Epoll, counts: &Counts) -> Result<()>;

    /// An event of the descriptor: adds whoever has been answered, with the reservation's id if it
    /// was granted.
    fn turn(
        &mut self,
        events: u32,
        epoll: &Epoll,
        decided: &mut Vec<(Seat, Option<ReservationId>)>,
    ) -> Result<()>;
}
