//! The variable fields of a request: user, idempotency key, sale. Each has a fixed length, so the
//! request is encoded once, and only these bytes change.
//!
//! Does not know HTTP: the encoder of the request sets the positions.

use std::ops::Range;

use super::random::{Random, mix};

/// Digits of a user's number.
pub const USER_DIGITS: usize = 10;
/// Most users that the digits can name.
pub const USERS_MAX: u64 = 10_u64.pow(USER_DIGITS as u32);
/// Characters of a key: a UUID's.
pub const KEY_BYTES: usize = 36;
/// Digits of a sale's number.
pub const SALE_DIGITS: usize = 4;
/// Most sales that the digits can name.
pub const SALES_MAX: u64 = 10_u64.pow(SALE_DIGITS as u32);

/// Positions and next values of a request's fields.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// The digits of the user's number.
    pub user: Option<(Range<usize>, Numbers)>,
    /// The key, with its hyphens in place. Different users have different keys.
    pub key: Option<(Range<usize>, Keys)>,
    /// The digits of the sale's number.
    pub sale: Option<(Range<usize>, Sales)>,
}

/// Numbers in turn.
#[derive(Debug, Clone)]
pub struct Numbers {
    count: u64,
    next: u64,
    step: u64,
}

/// Keys in the form of random UUIDs, from numbers in turn.
#[derive(Debug, Clone)]
pub struct Keys {
    seed: u64,
    numbers: Numbers,
}

/// Sales in random order, from a fixed seed.
#[derive(Debug, Clone)]
pub struct Sales {
    count: u64,
    random: Random,
}

impl Numbers {
    /// Numbers from 0 to less than `count`, repeatedly.
    pub fn new(count: u64) -> Self {
        Self { count, next: 0, step: 1 }
    }

    /// The share of one of these threads: no two threads repeat a number before all have been used.
    fn for_thread(&mut self, thread: usize, threads: usize) {
        (self.next, self.step) = (thread as u64, threads as u64);
    }

    fn take(&mut self) -> u64 {
        let number = self.next % self.count;
        self.next += self.step;
        number
    }
}

impl Keys {
    /// A key per user of this prefix. Another prefix has other keys.
    pub fn new(prefix: &str, count: u64) -> Self {
        let seed = prefix.bytes().fold(0, |seed, byte| mix(seed ^ u64::from(byte)));
        Self { seed, numbers: Numbers::new(count) }
    }

    fn write(&mut self, key: &mut [u8]) {
        let number = self.numbers.take();
        let halves = [mix(self.seed ^ number), mix(self.seed.wrapping_add(!number))];
        let bits = u128::from(halves[0]) << 64 | u128::from(halves[1]);
        write_uuid(bits, key);
    }
}

impl Sales {
    /// One of this number of sales.
    pub fn new(count: u64) -> Self {
        Self { count, random: Random::new(0) }
    }
}

impl Fields {
    /// The share of one of these threads.
    pub fn for_thread(&mut self, thread: usize, threads: usize) {
        if let Some((_, users)) = &mut self.user {
            users.for_thread(thread, threads);
        }
        if let Some((_, keys)) = &mut self.key {
            keys.numbers.for_thread(thread, threads);
        }
        if let Some((_, sales)) = &mut self.sale {
            sales.random = Random::new(thread as u64);
        }
    }

    /// Whether all requests are equal.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.key.is_none() && self.sale.is_none()
    }

    /// Writes the next values into a request.
    pub fn fill(&mut self, request: &mut [u8]) {
        if let Some((at, users)) = &mut self.user {
            write_digits(users.take(), &mut request[at.clone()]);
        }
        if let Some((at, keys)) = &mut self.key {
            keys.write(&mut request[at.clone()]);
        }
        if let Some((at, sales)) = &mut self.sale {
            write_digits(sales.random.below(sales.count), &mut request[at.clone()]);
        }
    }
}

fn write_digits(number: u64, digits: &mut [u8]) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Writes a UUID of version 4 (RFC 9562, section 5.4) with these bits, except for the six version and
/// variant bits. The hyphens are in place.
fn write_uuid(bits: u128, text: &mut [u8]) {
    /// Positions of the two digits of each byte.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = bits & !(VERSION | VARIANT) | 0x4 << 76 | 0b10 << 62;
    for (byte, at) in bits.to_be_bytes().into_iter().zip(PLACES) {
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_uuid_has_its_version_and_variant() {
        let text = |bits| {
            let mut text = [b'-'; KEY_BYTES];
            write_uuid(bits, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        };
        assert_eq!(text(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(text(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            text(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
            "01234567-89ab-4def-8123-456789abcdef"
        );
    }

    #[test]
    fn keys_are_unique_across_threads_and_prefixes() {
        let mut seen = HashSet::new();
        for prefix in ["usr", "wrm"] {
            for thread in 0..2 {
                let key = Some((0..KEY_BYTES, Keys::new(prefix, USERS_MAX)));
                let mut fields = Fields { key, ..Fields::default() };
                fields.for_thread(thread, 2);
                for _ in 0..1_000 {
                    let mut key = vec![b'-'; KEY_BYTES];
                    fields.fill(&mut key);
                    assert!(seen.insert(key));
                }
            }
        }
    }

    #[test]
    fn sales_are_asked_equally_often() {
        let sale = Some((0..SALE_DIGITS, Sales::new(100)));
        let mut fields = Fields { sale, ..Fields::default() };
        let mut asked = [0; 100];
        for _ in 0..100_000 {
            let mut digits = [0; SALE_DIGITS];
            fields.fill(&mut digits);
            let number = digits.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
            asked[number] += 1;
        }
        assert!(asked.iter().all(|&times| (850..1_150).contains(&times)), "{asked:?}");
    }
}
