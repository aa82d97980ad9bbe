//! Properties that only few reservations have: ticket types, a note, an extended hold, a part that
//! was given back.
//!
//! Ledgers keep them as one text after user and key, of fields separated by tabs, in this order,
//! each only if it is set: `asked=5`, `first=1700000000000`, `lines=adult:2`,
//! `made=adult:2,child:3`, `ride=Beijing,Jinan`, `pick=together`, `seats=07-12A`, `note=row 7`. No value has a control character. The text is the same in
//! a row of the machine and in a line of Redis.

use std::fmt::Write;

use super::id::IdError;
use super::seats::{Asked, Journey, Ride, Seats};
use super::types::Lines;
use crate::limits::{NOTE_BYTES_MAX, QUANTITY_MAX, TIME_MS_MAX};

/// A text that the shop attaches to a reservation: 1 to 200 bytes of UTF-8 without control
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Note(Box<str>);

impl Note {
    /// Validates a note.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let legal =
            !text.is_empty() && text.len() <= NOTE_BYTES_MAX && !text.chars().any(char::is_control);
        if legal { Ok(Self(text.into())) } else { Err(IdError::Note) }
    }

    /// The note as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The details of a reservation. Most reservations have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// The units of the original request, if a part was given back since.
    pub asked: Option<u32>,
    /// The original end of the hold time, in ms since 1970, if it was extended since.
    pub first_expires_at_ms: Option<u64>,
    /// Its units by ticket type, in a sale with ticket types. Never empty.
    pub lines: Option<Lines>,
    /// The lines of the original request, if a part was given back since.
    pub asked_lines: Option<Lines>,
    /// Its journey and seats, in a sale with seats.
    pub ride: Option<Box<Ride>>,
    /// The note of the request.
    pub note: Option<Note>,
}

/// The separator of fields.
const SEPARATOR: char = '\t';
const ASKED: &str = "asked=";
const FIRST: &str = "first=";
const LINES: &str = "lines=";
const MADE: &str = "made=";
const RIDE: &str = "ride=";
const PICK: &str = "pick=";
const SEATS: &str = "seats=";
const NOTE: &str = "note=";

impl Details {
    /// Boxes the details, or returns `None` if nothing is set.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }

    /// The text that ledgers keep. Not empty if [`boxed`](Self::boxed) returns `Some`.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut field = |name: &str, value: &dyn std::fmt::Display| {
            if !text.is_empty() {
                text.push(SEPARATOR);
            }
            // Writing into a string can't fail.
            let _ = write!(text, "{name}{value}");
        };
        if let Some(asked) = self.asked {
            field(ASKED, &asked);
        }
        if let Some(first_ms) = self.first_expires_at_ms {
            field(FIRST, &first_ms);
        }
        if let Some(lines) = &self.lines {
            field(LINES, &lines.to_text());
        }
        if let Some(lines) = &self.asked_lines {
            field(MADE, &lines.to_text());
        }
        if let Some(ride) = &self.ride {
            let Ride { journey, asked, seats } = &**ride;
            if let Some(journey) = journey {
                field(RIDE, &journey.to_text());
            }
            // One of the fields is always there.
            if *asked != Asked::default() || journey.is_none() && seats.is_none() {
                field(PICK, &asked.to_text());
            }
            if let Some(seats) = seats {
                field(SEATS, &seats.to_text());
            }
        }
        if let Some(note) = &self.note {
            field(NOTE, &note.as_str());
        }
        text
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut details = Self::default();
        let mut fields = text.split(SEPARATOR).peekable();
        let mut take =
            |name: &str| fields.next_if(|f| f.starts_with(name)).map(|f| &f[name.len()..]);
        if let Some(asked) = take(ASKED) {
            details.asked = Some(whole(asked, QUANTITY_MAX.into()).filter(|n| *n > 0)? as u32);
        }
        if let Some(first) = take(FIRST) {
            details.first_expires_at_ms = Some(whole(first, TIME_MS_MAX)?);
        }
        if let Some(lines) = take(LINES) {
            details.lines = Some(Lines::from_text(lines)?);
        }
        if let Some(lines) = take(MADE) {
            details.asked_lines = Some(Lines::from_text(lines)?);
        }
        let journey = match take(RIDE) {
            Some(journey) => Some(Journey::from_text(journey)?),
            None => None,
        };
        let asked = match take(PICK) {
            Some(asked) => Some(Asked::from_text(asked)?),
            None => None,
        };
        let seats = match take(SEATS) {
            Some(seats) => Some(Seats::from_text(seats)?),
            None => None,
        };
        if journey.is_some() || asked.is_some() || seats.is_some() {
            // A default that need not be written is not.
            if asked == Some(Asked::default()) && (journey.is_some() || seats.is_some()) {
                return None;
            }
            let asked = asked.unwrap_or_default();
            details.ride = Some(Box::new(Ride { journey, asked, seats }));
        }
        if let Some(note) = take(NOTE) {
            details.note = Some(Note::new(note).ok()?);
        }
        (fields.next().is_none() && details != Self::default()).then_some(details)
    }
}

/// A whole number in its only accepted form.
fn whole(text: &str, max: u64) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|number| (plain || text == "0") && *number <= max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::types::TypeName;
    use proptest::prelude::*;

    fn lines() -> impl Strategy<Value = Option<Lines>> {
        let lines = prop::collection::btree_map("[a-z]{1,3}", 1..9u32, 1..4usize);
        prop::option::of(lines.prop_map(|lines| {
            let named = lines.iter().map(|(name, n)| (TypeName::new(name).unwrap(), *n));
            Lines::new(named).unwrap()
        }))
    }

    fn ride() -> impl Strategy<Value = Option<Box<Ride>>> {
        let journey = prop::option::of(Just(Journey::from_text("北京,Jinan West").unwrap()));
        let asked = prop::sample::select(vec!["", "together", "+window", "named 01-01A,01-01B"]);
        let seats = prop::option::of(Just(Seats::from_text("07-12A,01-01B").unwrap()));
        let ride = (journey, asked, seats).prop_map(|(journey, asked, seats)| {
            Box::new(Ride { journey, asked: Asked::from_text(asked).unwrap(), seats })
        });
        prop::option::of(ride)
    }

    fn details() -> impl Strategy<Value = Details> {
        let asked = prop::option::of(1..=QUANTITY_MAX);
        let first = prop::option::of(0..=TIME_MS_MAX);
        let note = prop::option::of("[ -~张]{1,50}".prop_map(|text| Note::new(&text).unwrap()));
        (asked, first, lines(), lines(), ride(), note).prop_map(
            |(asked, first_expires_at_ms, lines, asked_lines, ride, note)| Details {
                asked,
                first_expires_at_ms,
                lines,
                asked_lines,
                ride,
                note,
            },
        )
    }

    proptest! {
        #[test]
        fn details_round_trip(details in details()) {
            match details.clone().boxed() {
                Some(some) => prop_assert_eq!(Details::from_text(&some.to_text()), Some(details)),
                None => prop_assert_eq!(details.to_text(), ""),
            }
        }

        #[test]
        fn parsed_text_is_written_back_unchanged(text in "(asked=|first=|lines=|made=|ride=|pick=|seats=|note=|A,B|together|01-01A|0|5|a|a:5|\t|=| ){0,8}") {
            if let Some(details) = Details::from_text(&text) {
                prop_assert_eq!(details.to_text(), text);
            }
        }
    }

    #[test]
    fn damaged_details_are_rejected() {
        for text in [
            "",
            "\t",
            "asked=",
            "asked=0",
            "asked=1000001",
            "asked=05",
            "asked=+5",
            "asked=5\t",
            "first=1\tasked=5",
            "asked=5\tasked=5",
            "first=253402300800000",
            "note=",
            "lines=",
            "lines=a:0",
            "lines=b:1,a:1",
            "made=a:1\tlines=a:1",
            "note=a\tb",
            "other=1",
            "ride=A",
            "pick=\tseats=01-01A",
            "pick=x",
            "seats=",
            "seats=01-01A,01-01A",
            "seats=01-01A\tride=A,B",
            "note=a\u{7f}",
        ] {
            assert_eq!(Details::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_note_is_bounded_and_has_no_control_character() {
        for good in ["x", "row 7, seat 12", &"张".repeat(66)] {
            assert_eq!(Note::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a\nb", "a\tb", "\u{85}", &"x".repeat(NOTE_BYTES_MAX + 1)] {
            assert_eq!(Note::new(bad), Err(IdError::Note), "{bad:?}");
        }
    }
}
