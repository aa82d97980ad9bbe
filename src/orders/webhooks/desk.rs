//! Which events are under way, and which may go next: as many at a time as are set, of a reservation
//! one, and none while the receiver has asked for quiet.
//!
//! Architecture invariant: no I/O, and no clock of its own.

use std::collections::HashMap;

use super::store::Due;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Desk {
    parallel: usize,
    /// The reservations of which an event is under way, each with the event's number.
    under_way: HashMap<String, i64>,
    quiet_until_ms: u64,
}

impl Desk {
    /// With nothing under way.
    pub(super) fn new(parallel: usize) -> Self {
        Self { parallel, under_way: HashMap::new(), quiet_until_ms: 0 }
    }

    /// Nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// How many due events are worth looking at now. Those under way are due still, as far as the store
    /// knows, so they are asked for too.
    pub(super) fn wants(&self, now_ms: u64) -> usize {
        let is_quiet = now_ms < self.quiet_until_ms;
        if is_quiet || self.under_way.len() >= self.parallel {
            return 0;
        }
        self.parallel + self.under_way.len()
    }

    /// Takes of these as many as may go now.
    pub(super) fn take(&mut self, due: Vec<Due>) -> Vec<Due> {
        let mut taken = Vec::new();
        for event in due {
            if self.under_way.len() >= self.parallel {
                break;
            }
            if !self.under_way.contains_key(&event.reservation) {
                self.under_way.insert(event.reservation.clone(), event.number);
                taken.push(event);
            }
        }
        taken
    }

    /// An attempt is over, and what came of it is written.
    pub(super) fn is_over(&mut self, reservation: &str) {
        let was = self.under_way.remove(reservation);
        debug_assert!(was.is_some(), "nothing of {reservation} was under way");
    }

    /// The receiver asks not to be sent anything for a while.
    pub(super) fn keep_quiet(&mut self, until_ms: u64) {
        self.quiet_until_ms = self.quiet_until_ms.max(until_ms);
    }

    /// Until when it has asked for that.
    pub(super) fn quiet_until_ms(&self) -> u64 {
        self.quiet_until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(number: i64, reservation: &str) -> Due {
        let (reservation, body) = (reservation.to_owned(), String::new());
        Due { number, reservation, version: number, body, attempts: 0 }
    }

    fn numbers(taken: Vec<Due>) -> Vec<i64> {
        taken.into_iter().map(|event| event.number).collect()
    }

    #[test]
    fn of_a_reservation_one_goes_at_a_time_and_of_all_as_many_as_are_set() {
        let mut desk = Desk::new(2);
        assert_eq!(desk.wants(0), 2);
        let all = || vec![due(1, "a"), due(2, "a"), due(3, "b"), due(4, "c")];
        assert_eq!(numbers(desk.take(all())), [1, 3]);
        assert_eq!(desk.wants(0), 0);
        desk.is_over("a");
        assert_eq!(desk.wants(0), 3);
        // What is under way is due still; an earlier event that was put back waits for it.
        assert_eq!(numbers(desk.take(vec![due(3, "b"), due(0, "b"), due(4, "c")])), [4]);
        desk.is_over("b");
        desk.is_over("c");
        assert!(desk.is_empty());
    }

    #[test]
    fn nothing_goes_while_the_receiver_asks_for_quiet() {
        let mut desk = Desk::new(2);
        desk.keep_quiet(100);
        desk.keep_quiet(50);
        assert_eq!((desk.wants(99), desk.wants(100)), (0, 2));
        assert_eq!(desk.quiet_until_ms(), 100);
    }
}
