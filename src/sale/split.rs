//! A sale in parts, so that several cores of Redis can sell it at the same time.
//!
//! A split sale `ticket` is a *head* under its own name and K *parts*, `ticket~1of4` to
//! `ticket~4of4`. Each is a sale of its own to the ledger: its stock, reservations, claims, users
//! and deadlines. A user belongs to one part for good, so everything that must be exact per user is
//! decided in one step. The head sells nothing: it defines the sale and holds the stock that no
//! part has yet.
//!
//! Units are transferred between these *places* in two steps, since two places may be on different
//! nodes. Each place counts, per other place, the units that it ever sent and ever received.
//! Sending raises one count of the sender; receiving raises the receiver's count to the same
//! number. So a step that is repeated, late or done by another process changes nothing. Units that
//! were sent and not yet received are in transit, and any process that sees them may complete the
//! transfer. `total + sent - received` of a place changes only when stock is added, so the sum over
//! all places is the sale's total, even if they were viewed at different times.

use crate::limits::SPLITS_MAX;

/// Whether a sale is split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// In one place, as most are.
    #[default]
    Whole,
    /// The head of a sale in this many parts.
    Head {
        /// At least 2.
        parts: u32,
    },
    /// One part of this many.
    Part {
        /// At least 2.
        of: u32,
    },
}

impl Split {
    /// A sale in this many parts; with one, it is not split.
    pub fn into_parts(parts: u32) -> Self {
        if parts > 1 { Self::Head { parts } } else { Self::Whole }
    }

    /// The number of parts as people count: 1 if it is not split.
    pub fn parts(self) -> u32 {
        match self {
            Self::Whole => 1,
            Self::Head { parts } | Self::Part { of: parts } => parts,
        }
    }

    /// The number of parts for a peek: 0 if it is not split.
    pub fn known_parts(self) -> u32 {
        match self {
            Self::Whole => 0,
            Self::Head { parts } | Self::Part { of: parts } => parts,
        }
    }

    /// The number of places between which units are transferred: the head, which is number 0, and
    /// the parts.
    pub fn places(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Head { parts } | Self::Part { of: parts } => parts as usize + 1,
        }
    }

    /// The text that a ledger keeps. `None`: the sale is not split, and there is no text.
    pub fn to_text(self) -> Option<String> {
        match self {
            Self::Whole => None,
            Self::Head { parts } => Some(format!("into {parts}")),
            Self::Part { of } => Some(format!("of {of}")),
        }
    }

    /// Parses the output of [`to_text`](Self::to_text).
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

/// The units that a place has ever sent to and received from each other place, by their numbers.
/// Empty if the sale is not split.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Sent.
    pub sent: Vec<u64>,
    /// Received.
    pub received: Vec<u64>,
    /// In the head: the units of all places together, which no transfer changes. `None`: not
    /// recorded.
    pub stock: Option<u64>,
}

impl Transfers {
    /// No transfers yet.
    pub fn none(split: Split) -> Self {
        Self { sent: vec![0; split.places()], received: vec![0; split.places()], stock: None }
    }
}

/// The part (from 1) to which an owner of reservations belongs for ever: the user, or for an
/// anonymous buyer the idempotency key. It must be the same in every version of every server, so
/// the hash is fixed: CRC-32 (IEEE 802.3), scaled to the number of parts.
pub fn home_part(owner: &str, parts: u32) -> u32 {
    let hash = u64::from(crc32fast::hash(owner.as_bytes()));
    1 + ((hash * u64::from(parts)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_round_trips_as_text() {
        for split in [Split::Head { parts: 4 }, Split::Part { of: SPLITS_MAX }] {
            assert_eq!(Split::from_text(&split.to_text().unwrap()), Some(split));
        }
        for bad in ["", "4", "into", "into 1", "of 0", "of x", "onto 4", "into 1000000"] {
            assert_eq!(Split::from_text(bad), None, "{bad}");
        }
        assert_eq!(Split::Whole.to_text(), None);
    }

    #[test]
    fn home_parts_are_stable_and_evenly_distributed() {
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
