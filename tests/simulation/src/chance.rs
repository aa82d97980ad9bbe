//! Pseudo-random numbers. Each consumer has a stream of its own, so that one consumer that draws
//! more or less does not change what the others draw.

#[allow(dead_code)]
#[path = "../../support/chance.rs"]
pub(crate) mod plain;

/// The stream of one consumer.
#[derive(Debug, Clone)]
pub struct Chance(plain::Chance);

impl Chance {
    /// The stream of this consumer in the run of this seed.
    pub fn of(seed: u64, consumer: &str) -> Self {
        // FNV-1a, 64 bits.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        let hash = consumer.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        // Neighbouring seeds begin far apart.
        Self(plain::Chance(plain::Chance(seed ^ hash).next()))
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number from 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// `true` in one of `n` cases.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// A number from `low` to `high`, each power of two as likely as any other: delays, mostly
    /// short.
    pub fn spread(&mut self, low: u64, high: u64) -> u64 {
        let (first, last) = (low.max(1).ilog2(), high.max(1).ilog2());
        let power = self.between(first.into(), last.into());
        let from = 1u64 << power;
        self.between(from, 2 * from - 1).clamp(low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_and_seeds_draw_different_numbers() {
        let draw = |seed, consumer| Chance::of(seed, consumer).next();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
    }

    #[test]
    fn numbers_stay_in_their_bounds() {
        let mut chance = Chance::of(7, "bounds");
        for _ in 0..1_000 {
            assert!(chance.below(3) < 3);
            assert!((5..=9).contains(&chance.between(5, 9)));
            assert!((10..=70_000).contains(&chance.spread(10, 70_000)));
        }
        assert_eq!(chance.between(4, 4), 4);
        assert_eq!(*chance.pick(&["only"]), "only");
    }
}
