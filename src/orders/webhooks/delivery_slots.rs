//! Which events are in flight, and which may go next: at most the configured number at a time, one
//! per reservation, and none while the receiver has asked for a pause.
//!
//! Architecture invariant: no I/O, and no clock of its own.

use std::collections::HashMap;

use super::store::Due;

/// The events in flight.
#[derive(Debug)]
pub(super) struct DeliverySlots {
    parallel: usize,
    /// The reservations with an event in flight, and the event's number.
    under_way: HashMap<String, i64>,
    quiet_until_ms: u64,
}

impl DeliverySlots {
    /// Without events in flight.
    pub(super) fn new(parallel: usize) -> Self {
        Self { parallel, under_way: HashMap::new(), quiet_until_ms: 0 }
    }

    /// Whether no event is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// How many due events to query now. The store returns those in flight too, since they are
    /// still due there, so they are added.
    pub(super) fn wants(&self, now_ms: u64) -> usize {
        let is_quiet = now_ms < self.quiet_until_ms;
        if is_quiet || self.under_way.len() >= self.parallel {
            return 0;
        }
        self.parallel + self.under_way.len()
    }

    /// Takes the events that may go now.
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

    /// An attempt is over, and its outcome is written.
    pub(super) fn finish(&mut self, reservation: &str) {
        let was = self.under_way.remove(reservation);
        debug_assert!(was.is_some(), "nothing of {reservation} was under way");
    }

    /// The receiver asks for a pause.
    pub(super) fn pause_until(&mut self, until_ms: u64) {
        self.quiet_until_ms = self.quiet_until_ms.max(until_ms);
    }

    /// When that pause ends.
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
    fn deliveries_are_limited_per_reservation_and_in_total() {
        let mut desk = DeliverySlots::new(2);
        assert_eq!(desk.wants(0), 2);
        let all = || vec![due(1, "a"), due(2, "a"), due(3, "b"), due(4, "c")];
        assert_eq!(numbers(desk.take(all())), [1, 3]);
        assert_eq!(desk.wants(0), 0);
        desk.finish("a");
        assert_eq!(desk.wants(0), 3);
        // Events under way are still due; an earlier, replayed event waits for them.
        assert_eq!(numbers(desk.take(vec![due(3, "b"), due(0, "b"), due(4, "c")])), [4]);
        desk.finish("b");
        desk.finish("c");
        assert!(desk.is_empty());
    }

    #[test]
    fn nothing_is_delivered_during_a_requested_pause() {
        let mut desk = DeliverySlots::new(2);
        desk.pause_until(100);
        desk.pause_until(50);
        assert_eq!((desk.wants(99), desk.wants(100)), (0, 2));
        assert_eq!(desk.quiet_until_ms(), 100);
    }
}
