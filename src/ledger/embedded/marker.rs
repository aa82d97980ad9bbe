//! The marker: the small text file that says that a folder is ours, and which files must be in it.
//!
//! It is written anew and atomically at every start, after every switch of journals and at a clean
//! end. The journals and records that it names were durable before, so a folder that lacks any of
//! them has lost it: no state after a crash is refused, and no removed file goes unnoticed.

use std::fmt::Write;

use super::checked_text::{Flaw, checked, with_checksum};
use super::runs::{Run, Runs};

/// The format that this build writes.
pub(super) const FORMAT_VERSION: u32 = 4;
/// The format of builds before 0.2.0: the same marker, with fewer kinds of records.
const FORMAT_VERSION_3: u32 = 3;
/// The oldest format that this build reads, that of 0.1.0: a marker with an id only, and journals
/// without closing records.
pub(super) const FORMAT_VERSION_MIN: u32 = 2;

const FORMAT: &str = "stampede ledger, format ";
const ID: &str = "id ";
const JOURNAL: &str = "journal ";
const RECORD: &str = "record ";
/// The prefix of a line with a run.
pub(super) const RUN: &str = "run ";

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marker {
    /// The random id of this ledger.
    pub id: u128,
    /// A journal of this generation, or a later one, exists. 0: none was ever created.
    pub journal: u64,
    /// Every record up to this number was durable.
    pub record: u64,
    pub runs: Runs,
}

/// Why a text is not a marker of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer build wrote it, in this format.
    Newer(u32),
    /// An older build than we support wrote it.
    Older(u32),
    /// It is damaged; what is wrong.
    Damaged(&'static str),
}

impl Marker {
    /// The marker of an empty ledger.
    pub(super) fn new(id: u128) -> Self {
        Self { id, journal: 0, record: 0, runs: Runs::default() }
    }

    /// The file's text.
    pub(super) fn encode(&self) -> String {
        let Self { id, journal, record, runs } = self;
        let mut text = format!("{FORMAT}{FORMAT_VERSION}\n{ID}{id:032x}\n");
        text += &format!("{JOURNAL}{journal}\n{RECORD}{record}\n");
        for Run { number, salt, first } in runs.iter() {
            // Writing into a string can't fail.
            let _ = writeln!(text, "{RUN}{number} {salt:08x} {first}");
        }
        with_checksum(text)
    }

    /// Decodes the file's bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let text = str::from_utf8(bytes).map_err(|_| Unreadable::Damaged("not a text"))?;
        let first = text.lines().next().and_then(|line| line.strip_prefix(FORMAT)?.parse().ok());
        match first {
            Some(FORMAT_VERSION | FORMAT_VERSION_3) => Self::decode_lines(text),
            Some(FORMAT_VERSION_MIN) => Self::decode_2(text),
            Some(found) if found > FORMAT_VERSION => Err(Unreadable::Newer(found)),
            Some(found) if found > 0 => Err(Unreadable::Older(found)),
            _ => Err(Unreadable::Damaged("not a format that ever was")),
        }
    }

    fn decode_lines(text: &str) -> Result<Self, Unreadable> {
        let body = checked(text).map_err(|flaw| match flaw {
            Flaw::CutOff => Unreadable::Damaged("cut off"),
            Flaw::Checksum => Unreadable::Damaged("checksum"),
        })?;
        let mut lines = body.lines().skip(1);
        let id = next_id(&mut lines)?;
        let mut number = |prefix: &str| {
            let number = lines.next().and_then(|line| line.strip_prefix(prefix)?.parse().ok());
            number.ok_or(Unreadable::Damaged("a number is missing"))
        };
        let mut marker =
            Self { journal: number(JOURNAL)?, record: number(RECORD)?, ..Self::new(id) };
        for line in lines {
            let run = read_run(line).filter(|&run| marker.runs.push(run));
            run.ok_or(Unreadable::Damaged("a run that can't be"))?;
        }
        Ok(marker)
    }

    /// The marker of 0.1.0, which created the first journal straight after it.
    fn decode_2(text: &str) -> Result<Self, Unreadable> {
        let mut lines = text.lines().skip(1);
        let id = next_id(&mut lines)?;
        match lines.next() {
            None => Ok(Self { journal: 1, ..Self::new(id) }),
            Some(_) => Err(Unreadable::Damaged("more than its format has")),
        }
    }
}

fn next_id<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Result<u128, Unreadable> {
    let id = lines.next().and_then(|line| line.strip_prefix(ID));
    let id = id.and_then(|id| u128::from_str_radix(id, 16).ok());
    id.ok_or(Unreadable::Damaged("no id"))
}

/// Parses the line of a run, which begins with [`RUN`].
pub(super) fn read_run(line: &str) -> Option<Run> {
    let mut words = line.strip_prefix(RUN)?.split(' ');
    let (number, salt, first) = (words.next()?, words.next()?, words.next()?);
    let salt = u32::from_str_radix(salt, 16).ok()?;
    let run = Run { number: number.parse().ok()?, salt, first: first.parse().ok()? };
    words.next().is_none().then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        let mut marker = Marker { journal: 7, record: 1234, ..Marker::new(u128::MAX / 3) };
        marker.runs.begin(1, 0);
        marker.runs.begin(900, u32::MAX);
        marker
    }

    #[test]
    fn a_marker_round_trips() {
        for marker in [Marker::new(0), marker()] {
            assert_eq!(Marker::decode(marker.encode().as_bytes()), Ok(marker));
        }
    }

    #[test]
    fn every_flipped_bit_and_truncation_is_rejected() {
        let good = marker().encode().into_bytes();
        for at in 0..good.len() {
            assert!(Marker::decode(&good[..at]).is_err(), "{at} bytes");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(Marker::decode(&bad).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn the_marker_of_0_1_0_is_read() {
        let text = "stampede ledger, format 2\nid 000000000000000000000000000000ff\n";
        let marker = Marker { journal: 1, ..Marker::new(255) };
        assert_eq!(Marker::decode(text.as_bytes()), Ok(marker));
    }

    #[test]
    fn unreadable_formats_are_classified() {
        let decode = |format: &str| Marker::decode(format!("{FORMAT}{format}\n").as_bytes());
        assert_eq!(decode("5"), Err(Unreadable::Newer(5)));
        assert_eq!(decode("1"), Err(Unreadable::Older(1)));
        for text in ["0", "x", "2", "3", "4", "2\nid x", "2\nid 1\njournal 1"] {
            assert!(matches!(decode(text), Err(Unreadable::Damaged(_))), "{text}");
        }
    }
}
