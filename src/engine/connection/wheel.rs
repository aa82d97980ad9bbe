//! When the places of the table are to be looked at: a timer wheel, with a bucket for each step of
//! time and a list of places in each bucket.
//!
//! To file a place, to forget it and to find the next that is due cost the same however many there
//! are, and take no memory but two numbers for each place. A place is due at its step or, beyond the
//! wheel's horizon, earlier: the caller looks at what is there, and files it again if it has time.
//!
//! Architecture invariant: knows no connection and no clock. A step is a number to it.

/// Steps that the wheel tells apart. With one for each tick: 102 s, more than a connection may be
/// idle by default, so that most places are looked at once.
const BUCKETS: usize = 2048;
/// No place.
const NONE: u32 = u32::MAX;
/// Of a place that is in no bucket.
const UNFILED: u32 = u32::MAX - 1;
/// Of the first place in a bucket, with the bucket's number.
const FIRST: u32 = 1 << 31;

/// A place's neighbours in its bucket.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    /// The place before it; [`FIRST`] and its bucket; or [`UNFILED`].
    previous: u32,
}

/// What a place takes.
pub(super) const PLACE_BYTES: usize = size_of::<Link>();

/// See the module's header.
pub(super) struct Wheel {
    /// The first place in each bucket.
    buckets: Box<[u32]>,
    links: Vec<Link>,
    /// The earliest step that may have places.
    current: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { buckets: vec![NONE; BUCKETS].into(), links: Vec::new(), current: 0 }
    }
}

impl Wheel {
    /// One place more, which is not filed.
    pub(super) fn add_place(&mut self) {
        self.links.push(Link { next: NONE, previous: UNFILED });
        debug_assert!(self.links.len() < FIRST as usize, "more places than numbers for them");
    }

    /// Files a place, wherever it was filed before. Returns the step at which it will be due: the one
    /// asked for, or the nearest that the wheel has.
    pub(super) fn file(&mut self, place: u32, step: u64) -> u64 {
        self.forget(place);
        let step = step.clamp(self.current, self.current + BUCKETS as u64 - 1);
        let bucket = (step % BUCKETS as u64) as u32;
        let next = std::mem::replace(&mut self.buckets[bucket as usize], place);
        if next != NONE {
            self.links[next as usize].previous = place;
        }
        self.links[place as usize] = Link { next, previous: FIRST | bucket };
        step
    }

    /// Takes a place out of its bucket, if it is in one.
    pub(super) fn forget(&mut self, place: u32) {
        let Link { next, previous } = self.links[place as usize];
        if previous == UNFILED {
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
        self.links[place as usize] = Link { next: NONE, previous: UNFILED };
    }

    /// Takes out a place that is due at a step that has come.
    pub(super) fn take_due(&mut self, step: u64) -> Option<u32> {
        while self.current <= step {
            let place = self.buckets[(self.current % BUCKETS as u64) as usize];
            if place != NONE {
                self.forget(place);
                return Some(place);
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

    fn wheel(places: u32) -> Wheel {
        let mut wheel = Wheel::default();
        (0..places).for_each(|_| wheel.add_place());
        wheel
    }

    fn due(wheel: &mut Wheel, step: u64) -> BTreeSet<u32> {
        std::iter::from_fn(|| wheel.take_due(step)).collect()
    }

    #[test]
    fn a_place_is_due_at_its_step_and_once() {
        let mut wheel = wheel(4);
        for (place, step) in [(0, 5), (1, 5), (2, 6), (3, HORIZON)] {
            assert_eq!(wheel.file(place, step), step);
        }
        assert!(due(&mut wheel, 4).is_empty());
        assert_eq!(due(&mut wheel, 5), [0, 1].into());
        assert_eq!(due(&mut wheel, HORIZON - 1), [2].into());
        assert_eq!(due(&mut wheel, HORIZON), [3].into());
        assert!(due(&mut wheel, 10 * HORIZON).is_empty());
    }

    #[test]
    fn what_is_past_is_due_at_once_and_what_is_far_at_the_horizon() {
        let mut wheel = wheel(2);
        assert!(due(&mut wheel, 100).is_empty());
        assert_eq!(wheel.file(0, 7), 101);
        assert_eq!(wheel.file(1, u64::MAX), 101 + HORIZON);
        assert_eq!(due(&mut wheel, 101), [0].into());
        assert!(due(&mut wheel, 100 + HORIZON).is_empty());
        assert_eq!(due(&mut wheel, 101 + HORIZON), [1].into());
    }

    #[test]
    fn what_is_left_of_a_step_is_due_at_the_next_look() {
        let mut wheel = wheel(3);
        (0..3).for_each(|place| _ = wheel.file(place, 1));
        let first = wheel.take_due(1).expect("three are due");
        // While others of its step are still there.
        assert_eq!(wheel.file(first, 2), 2);
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
            (0u32..20, 0u64..3000).prop_map(|(place, ahead)| Turn::File(place, ahead)),
            (0u32..20).prop_map(Turn::Forget),
            (0u64..300).prop_map(Turn::Pass),
        ]
    }

    proptest! {
        /// A place is due exactly when the wheel has said, whatever else is filed and forgotten.
        #[test]
        fn it_agrees_with_a_sorted_map(turns in prop::collection::vec(turn(), 1..300)) {
            let mut wheel = wheel(20);
            let (mut steps, mut now) = (BTreeMap::new(), 0);
            for turn in turns {
                match turn {
                    Turn::File(place, ahead) => {
                        let step = wheel.file(place, now + ahead);
                        let wanted = (now + ahead).clamp(wheel.current, wheel.current + HORIZON);
                        prop_assert_eq!(step, wanted);
                        steps.insert(place, step);
                    }
                    Turn::Forget(place) => {
                        wheel.forget(place);
                        steps.remove(&place);
                    }
                    Turn::Pass(passed) => {
                        now += passed;
                        let wanted = steps.iter().filter(|(_, step)| **step <= now);
                        let wanted: BTreeSet<u32> = wanted.map(|(place, _)| *place).collect();
                        prop_assert_eq!(due(&mut wheel, now), wanted);
                        steps.retain(|_, step| *step > now);
                    }
                }
            }
        }
    }
}
