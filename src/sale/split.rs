//! A sale in parts, so that several cores of Redis can sell it at the same time.
//!
//! A split sale `ticket` is a *head* under its own name and K *parts*, `ticket~1of4` to
//! `ticket~4of4`, each a sale of its own to the ledger: its stock, reservations, claims, users and
//! deadlines. A user belongs to one part for good, so what must be exact about a user is decided in
//! one step. The head sells nothing: it defines the sale and holds the stock that no part has yet.
//!
//! Units move between these *places* in two steps, since two places may be on different nodes. Each
//! place counts, for every other one, the units it ever gave to it and ever took from it. Giving
//! raises one count of the giver, taking brings the taker's count up to it: done twice, late or by
//! somebody else, that changes nothing. What was given and not yet taken is under way, and whoever
//! sees it may finish it. `total + given - taken` of a place changes only when stock is added, so the
//! sum of these is the sale's total, at whatever different times the places were looked at.

use crate::limits::SPLITS_MAX;

/// How a sale is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// In one place, as most are.
    #[default]
    Whole,
    /// It is the head of a sale in this many parts.
    Head {
        /// At least 2.
        parts: u32,
    },
    /// It is one part of this many.
    Part {
        /// At least 2.
        of: u32,
    },
}

impl Split {
    /// A sale in this many parts; in one, it is whole.
    pub fn into_parts(parts: u32) -> Self {
        if parts > 1 { Self::Head { parts } } else { Self::Whole }
    }

    /// How many parts the sale has, as people count: 1 if it is whole.
    pub fn parts(self) -> u32 {
        match self {
            Self::Whole => 1,
            Self::Head { parts } | Self::Part { of: parts } => parts,
        }
    }

    /// The same for who glances at it: 0 if it is whole.
    pub fn known_parts(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::Head { parts } | Self::Part { of: parts } => parts,
        }
    }

    /// How many places units may move between: the head, which is number 0, and the parts.
    pub fn places(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Head { parts } | Self::Part { of: parts } => parts as usize + 1,
        }
    }

    /// How a ledger notes it. `None`: the sale is whole, and nothing is noted.
    pub fn to_text(self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Head { parts } => Some(format!("into {parts}")),
            Self::Part { of } => Some(format!("of {of}")),
        }
    }

    /// Reads [`to_text`](Self::to_text).
    pub fn from_text(text: &str) -> Option<Self> {
        let (kind, count) = text.split_once(' ')?;
        let parts = count.parse().ok().filter(|parts| (2..=SPLITS_MAX).contains(parts))?;
        match kind {
            "into" => Some(Self::Head { parts }),
            "of" => Some(Self::Part { of: parts }),
            _ => None,
        }
    }
}

/// Units that a place has given to and taken from the others since it was made, by their numbers.
/// Empty for a sale that is whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moves {
    /// Given.
    pub gave: Vec<u64>,
    /// Taken.
    pub took: Vec<u64>,
    /// In the head: units of all places together, which no move changes. `None`: it was not noted.
    pub stock: Option<u64>,
}

impl Moves {
    /// None yet.
    pub fn none(split: Split) -> Self {
        Self { gave: vec![0; split.places()], took: vec![0; split.places()], stock: None }
    }
}

/// The part (from 1) of this many to which an owner of reservations belongs, for ever: the user, or
/// for one who is anonymous the idempotency key. It must be the same in every version of every
/// server, so it is a hash that is written down: CRC-32 (IEEE 802.3), scaled to the number.
pub fn home_part(owner: &str, parts: u32) -> u32 {
    let hash = u64::from(crc32fast::hash(owner.as_bytes()));
    1 + ((hash * u64::from(parts)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_noted_as_text() {
        for split in [Split::Head { parts: 4 }, Split::Part { of: SPLITS_MAX }] {
            assert_eq!(Split::from_text(&split.to_text().unwrap()), Some(split));
        }
        for bad in ["", "4", "into", "into 1", "of 0", "of x", "onto 4", "into 1000000"] {
            assert_eq!(Split::from_text(bad), None, "{bad}");
        }
        assert_eq!(Split::Whole.to_text(), None);
    }

    #[test]
    fn every_owner_has_a_home_and_all_parts_are_about_as_full() {
        // What a server of another version computes must be the same.
        assert_eq!(["ann", "bob", "李雷"].map(|user| home_part(user, 4)), HOMES_OF_THREE);
        for parts in [2, 3, 4, SPLITS_MAX] {
            let mut counts = vec![0u32; parts as usize];
            (0..10_000).for_each(|n| {
                counts[home_part(&format!("user{n}"), parts) as usize - 1] += 1;
            });
            let share = 10_000 / parts;
            assert!(counts.iter().all(|&n| n > share / 2 && n < share * 2), "{parts}: {counts:?}");
        }
    }

    const HOMES_OF_THREE: [u32; 3] = [4, 4, 1];
}
