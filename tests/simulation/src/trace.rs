//! What a run leaves behind: the digest of all that happened, and the last lines of its story.
//!
//! A run usually keeps no story, since writing it takes longer than the run. A seed that fails is
//! run again with one.

use std::collections::VecDeque;
use std::hash::Hasher;

use crate::time::{SECOND, Us};

/// Lines that are kept.
const LINES_MAX: usize = 4_096;

/// A hash with fixed keys: two runs with the same digest were the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x51_7a3b_ede0)
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        self.write_u64(bytes.len() as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let mut z = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = z ^ (z >> 31);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How much of its story a run keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Nothing.
    Silent,
    /// The last lines.
    Kept,
    /// Every line is printed at once.
    Printed,
}

/// The story of a run.
pub struct Trace {
    telling: Telling,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty story.
    pub fn new(telling: Telling) -> Self {
        Self { telling, lines: VecDeque::new() }
    }

    /// Notes what happened. `line` is called only if the story is told.
    pub fn note(&mut self, at: Us, line: impl FnOnce() -> String) {
        if self.telling == Telling::Silent {
            return;
        }
        let line = format!("{:>4}.{:06} {}", at / SECOND, at % SECOND, line());
        if self.telling == Telling::Printed {
            println!("{line}");
            return;
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The lines that were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_depends_on_every_word_and_its_place() {
        let of = |words: &[u64]| {
            let mut digest = Digest::default();
            words.iter().for_each(|word| digest.write_u64(*word));
            digest.finish()
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[0]), of(&[0, 0]));
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut trace = Trace::new(Telling::Kept);
        for n in 0..LINES_MAX as u64 + 5 {
            trace.note(n, || format!("line {n}"));
        }
        let lines = trace.into_lines();
        assert_eq!(lines.len(), LINES_MAX);
        assert!(lines[0].ends_with("line 5"), "{}", lines[0]);
    }
}
