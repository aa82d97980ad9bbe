//! The id of an entry of a sale's stream, and the version of the changes in it.

use super::line::number;

/// Bits of a version for the entry's sequence number; its ms are above.
const SEQUENCE_BITS: u32 = 20;

/// The id of an entry: ms since 1970 and a sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// In ms since 1970, by the clock of Redis; never less than in the entry before.
    pub ms: u64,
    /// Distinguishes entries of the same ms.
    pub sequence: u64,
}

impl EntryId {
    /// Reads `ms-sequence`.
    pub fn parse(text: &str) -> Option<Self> {
        let (ms, sequence) = text.split_once('-')?;
        Some(Self { ms: number(ms)?, sequence: number(sequence)? })
    }

    /// The entry whose changes have this version, unless its sequence number carried over.
    pub fn of_version(version: u64) -> Self {
        Self { ms: version >> SEQUENCE_BITS, sequence: version & ((1 << SEQUENCE_BITS) - 1) }
    }

    /// The next id that the version's bits allow.
    pub fn next(self) -> Self {
        Self::of_version(self.version().saturating_add(1))
    }

    /// The highest version of a change of this millisecond or earlier.
    pub fn last_version_of_ms(ms: u64) -> u64 {
        Self { ms, sequence: (1 << SEQUENCE_BITS) - 1 }.version()
    }

    /// The version of the changes in the entry.
    pub fn version(self) -> u64 {
        // A sequence number beyond its bits carries over: that happens if the clock of Redis has
        // gone back, since then the milliseconds do not advance.
        (self.ms.min(u64::MAX >> SEQUENCE_BITS) << SEQUENCE_BITS).saturating_add(self.sequence)
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_grow_within_one_millisecond() {
        let version = |sequence| EntryId { ms: 7, sequence }.version();
        assert!(version(1 << 20) > version((1 << 20) - 1) && version(1 << 21) > version(1 << 20));
        assert!(EntryId { ms: 8, sequence: 0 }.version() > version((1 << 20) - 1));
    }

    #[test]
    fn versions_sort_like_entry_ids() {
        let id = |text| EntryId::parse(text).unwrap();
        let ids = ["0-1", "0-2", "1-0", "1700000000000-0", "1700000000000-9", "1700000000001-0"];
        assert!(ids.map(|text| id(text).version()).is_sorted());
        assert_eq!(id("1700000000000-9").to_string(), "1700000000000-9");
        assert_eq!(EntryId::parse("1"), None);
    }
}
