//! A timer wheel that schedules checks of slots: one bucket per step of time, one list of slots per
//! bucket.
//!
//! Scheduling a slot, unscheduling it and finding the next due one take constant time and two
//! numbers of memory per slot. A slot is due at its step or, beyond the wheel's horizon, earlier:
//! the caller checks it, and schedules it again if it has time left.
//!
//! Architecture invariant: knows no connection and no clock. A step is a number to it.

/// Number of steps in the wheel. With one step per tick it covers 102 s. That is more than a
/// connection may be idle by default, so most slots are checked once.
const BUCKETS: usize = 2048;
/// No slot.
const NONE: u32 = u32::MAX;
/// In place of a neighbour: the slot is in no bucket.
const UNSCHEDULED: u32 = u32::MAX - 1;
/// Marks the first slot of a bucket, with the bucket's number.
const FIRST: u32 = 1 << 31;

/// A slot's neighbours in its bucket.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    /// The slot before it; [`FIRST`] and its bucket; or [`UNSCHEDULED`].
    previous: u32,
}

/// Memory per slot.
pub(super) const SLOT_BYTES: usize = size_of::<Link>();

/// See the module's header.
pub(super) struct Wheel {
    /// The first slot of each bucket.
    buckets: Box<[u32]>,
    links: Vec<Link>,
    /// The earliest step that may have slots.
    current: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { buckets: vec![NONE; BUCKETS].into(), links: Vec::new(), current: 0 }
    }
}

impl Wheel {
    /// Adds a slot, not scheduled.
    pub(super) fn add_slot(&mut self) {
        self.links.push(Link { next: NONE, previous: UNSCHEDULED });
        debug_assert!(self.links.len() < FIRST as usize, "more slots than numbers for them");
    }

    /// Schedules a slot, replacing its earlier step. Returns the step at which it will be due: the
    /// one asked for, or the nearest that the wheel has.
    pub(super) fn schedule(&mut self, slot: u32, step: u64) -> u64 {
        self.unschedule(slot);
        let step = step.clamp(self.current, self.current + BUCKETS as u64 - 1);
        let bucket = (step % BUCKETS as u64) as u32;
        let next = std::mem::replace(&mut self.buckets[bucket as usize], slot);
        if next != NONE {
            self.links[next as usize].previous = slot;
        }
        self.links[slot as usize] = Link { next, previous: FIRST | bucket };
        step
    }

    /// Takes a slot out of its bucket, if it is in one.
    pub(super) fn unschedule(&mut self, slot: u32) {
        let Link { next, previous } = self.links[slot as usize];
        if previous == UNSCHEDULED {
            return;
        }
        if previous & FIRST == 0 {
            self.links[previous as usize].next = next;
        } else {
            self.buckets[(previous & !FIRST) as usize] = next;
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.links[slot as usize] = Link { next: NONE, previous: UNSCHEDULED };
    }

    /// Takes out a slot whose step has come.
    pub(super) fn take_due(&mut self, step: u64) -> Option<u32> {
        while self.current <= step {
            let slot = self.buckets[(self.current % BUCKETS as u64) as usize];
            if slot != NONE {
                self.unschedule(slot);
                return Some(slot);
            }
            self.current += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const HORIZON: u64 = BUCKETS as u64 - 1;

    fn wheel(slots: u32) -> Wheel {
        let mut wheel = Wheel::default();
        (0..slots).for_each(|_| wheel.add_slot());
        wheel
    }

    fn due(wheel: &mut Wheel, step: u64) -> BTreeSet<u32> {
        std::iter::from_fn(|| wheel.take_due(step)).collect()
    }

    #[test]
    fn a_slot_is_due_once_at_its_step() {
        let mut wheel = wheel(4);
        for (slot, step) in [(0, 5), (1, 5), (2, 6), (3, HORIZON)] {
            assert_eq!(wheel.schedule(slot, step), step);
        }
        assert!(due(&mut wheel, 4).is_empty());
        assert_eq!(due(&mut wheel, 5), [0, 1].into());
        assert_eq!(due(&mut wheel, HORIZON - 1), [2].into());
        assert_eq!(due(&mut wheel, HORIZON), [3].into());
        assert!(due(&mut wheel, 10 * HORIZON).is_empty());
    }

    #[test]
    fn past_steps_are_due_at_once_and_far_ones_at_the_horizon() {
        let mut wheel = wheel(2);
        assert!(due(&mut wheel, 100).is_empty());
        assert_eq!(wheel.schedule(0, 7), 101);
        assert_eq!(wheel.schedule(1, u64::MAX), 101 + HORIZON);
        assert_eq!(due(&mut wheel, 101), [0].into());
        assert!(due(&mut wheel, 100 + HORIZON).is_empty());
        assert_eq!(due(&mut wheel, 101 + HORIZON), [1].into());
    }

    #[test]
    fn the_rest_of_a_step_is_due_at_the_next_check() {
        let mut wheel = wheel(3);
        (0..3).for_each(|slot| _ = wheel.schedule(slot, 1));
        let first = wheel.take_due(1).expect("three are due");
        // Other slots of its step are still due.
        assert_eq!(wheel.schedule(first, 2), 2);
        assert_eq!(due(&mut wheel, 1).len(), 2);
        assert_eq!(due(&mut wheel, 2), [first].into());
    }

    #[derive(Debug, Clone)]
    enum Turn {
        File(u32, u64),
        Forget(u32),
        Pass(u64),
    }

    fn turn() -> impl Strategy<Value = Turn> {
        prop_oneof![
            (0u32..20, 0u64..3000).prop_map(|(slot, ahead)| Turn::File(slot, ahead)),
            (0u32..20).prop_map(Turn::Forget),
            (0u64..300).prop_map(Turn::Pass),
        ]
    }

    proptest! {
        /// A slot is due exactly at the step that `schedule` has returned, whatever is scheduled or
        /// unscheduled.
        #[test]
        fn the_wheel_agrees_with_a_sorted_map(turns in prop::collection::vec(turn(), 1..300)) {
            let mut wheel = wheel(20);
            let (mut steps, mut now) = (BTreeMap::new(), 0);
            for turn in turns {
                match turn {
                    Turn::File(slot, ahead) => {
                        let step = wheel.schedule(slot, now + ahead);
                        let wanted = (now + ahead).clamp(wheel.current, wheel.current + HORIZON);
                        prop_assert_eq!(step, wanted);
                        steps.insert(slot, step);
                    }
                    Turn::Forget(slot) => {
                        wheel.unschedule(slot);
                        steps.remove(&slot);
                    }
                    Turn::Pass(passed) => {
                        now += passed;
                        let wanted = steps.iter().filter(|(_, step)| **step <= now);
                        let wanted: BTreeSet<u32> = wanted.map(|(slot, _)| *slot).collect();
                        prop_assert_eq!(due(&mut wheel, now), wanted);
                        steps.retain(|_, step| *step > now);
                    }
                }
            }
        }
    }
}
