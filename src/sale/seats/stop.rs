//! Stops, and journeys between them.

use std::fmt;

use crate::limits::STOP_NAME_BYTES_MAX;

/// Why a name is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a stop is 1 to {STOP_NAME_BYTES_MAX} bytes without control characters, commas and \
     semicolons, and without a space at either end"
)]
pub struct StopError;

/// The name of a stop: 1 to 48 bytes of UTF-8 without control characters, commas and semicolons.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StopName(Box<str>);

impl StopName {
    /// Validates a name.
    pub fn new(text: &str) -> Result<Self, StopError> {
        let legal = |c: char| !c.is_control() && !matches!(c, ',' | ';');
        let fits = !text.is_empty() && text.len() <= STOP_NAME_BYTES_MAX;
        let is_trimmed = text.trim() == text;
        if fits && is_trimmed && text.chars().all(legal) {
            Ok(Self(text.into()))
        } else {
            Err(StopError)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StopName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// From one stop to another, as a request names them. Their order is checked with the plan.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Journey {
    /// Where it begins.
    pub from: StopName,
    /// Where it ends.
    pub to: StopName,
}

impl Journey {
    /// The text that ledgers keep: both names, separated by a comma.
    pub fn to_text(&self) -> String {
        format!("{},{}", self.from, self.to)
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(',')?;
        Some(Self { from: StopName::new(from).ok()?, to: StopName::new(to).ok()? })
    }
}

/// Legs that follow each other: from that of the stop `from`, to the one before that of `to`. So
/// `from < to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Legs {
    /// The number of the stop at which they begin, and of the first leg.
    pub from: u8,
    /// The number of the stop at which they end.
    pub to: u8,
}

impl Legs {
    /// How many they are.
    pub fn count(self) -> u32 {
        u32::from(self.to - self.from)
    }

    /// Their numbers.
    pub fn range(self) -> std::ops::Range<usize> {
        usize::from(self.from)..usize::from(self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_has_a_short_name_that_no_text_is_cut_at() {
        for good in ["A", "北京南", "St. Louis (North)", &"x".repeat(STOP_NAME_BYTES_MAX)] {
            assert_eq!(StopName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " A", "A ", "A,B", "A;B", "A\tB", "A\u{85}", &"x".repeat(49)] {
            assert_eq!(StopName::new(bad), Err(StopError), "{bad:?}");
        }
        for bad in ["", "A", "A,", ",B", "A,B,C"] {
            assert_eq!(Journey::from_text(bad), None, "{bad:?}");
        }
        let journey = Journey::from_text("A,B").unwrap();
        assert_eq!(journey.to_text(), "A,B");
    }
}
