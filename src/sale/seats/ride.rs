//! What a request wants of a seat sale, and what a reservation has: its journey and its seats.

use super::seat::Seats;
use super::stop::Journey;

/// How the seats of a request are chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Each seat on its own.
    #[default]
    Any,
    /// In one row; else in one coach; else anywhere.
    Together,
    /// In one row, or not at all.
    TogetherOrNone,
    /// These seats, or none.
    Named(Seats),
}

/// A preference among seats that are otherwise as good. It is never a reason to reject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Wish {
    /// None.
    #[default]
    Any,
    /// The first or the last seat of a row.
    Window,
    /// A seat next to an aisle.
    Aisle,
}

impl Wish {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Any, ""), (Self::Window, "window"), (Self::Aisle, "aisle")];

    /// Its public name; empty for none.
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Parses the output of [`as_str`](Self::as_str).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, text)| *text == name).map(|(wish, _)| wish)
    }
}

/// How a request asks for seats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// How they are chosen.
    pub kind: Kind,
    /// Which are preferred. None with named seats.
    pub wish: Wish,
}

const TOGETHER: &str = "together";
const TOGETHER_OR_NONE: &str = "together_or_none";
const NAMED: &str = "named ";
const SEPARATOR: char = '+';

impl Asked {
    /// The text that ledgers keep, as in `together+window` or `named 07-12A`. Empty for the default.
    pub fn to_text(&self) -> String {
        let kind = match &self.kind {
            Kind::Any => String::new(),
            Kind::Together => TOGETHER.to_owned(),
            Kind::TogetherOrNone => TOGETHER_OR_NONE.to_owned(),
            Kind::Named(seats) => format!("{NAMED}{}", seats.to_text()),
        };
        match self.wish {
            Wish::Any => kind,
            wish => format!("{kind}{SEPARATOR}{}", wish.as_str()),
        }
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        if let Some(seats) = text.strip_prefix(NAMED) {
            let kind = Kind::Named(Seats::from_text(seats)?);
            return Some(Self { kind, wish: Wish::Any });
        }
        let (kind, wish) = match text.split_once(SEPARATOR) {
            Some((kind, wish)) => (kind, Wish::from_name(wish).filter(|wish| *wish != Wish::Any)?),
            None => (text, Wish::Any),
        };
        let kind = match kind {
            "" => Kind::Any,
            TOGETHER => Kind::Together,
            TOGETHER_OR_NONE => Kind::TogetherOrNone,
            _ => return None,
        };
        Some(Self { kind, wish })
    }
}

/// The part of a request or a reservation that only a seat sale has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ride {
    /// From where to where. `None` in a sale without stops.
    pub journey: Option<Journey>,
    /// How its request asked for seats.
    pub asked: Asked,
    /// The seats that the reservation has, or had last. `None` in a request.
    pub seats: Option<Seats>,
}

impl Ride {
    /// Whether it is the other one after some of its seats, or none, were given back.
    pub fn is_reduced_from(&self, other: &Self) -> bool {
        let has = |seats: &Seats, seat| seats.has(seat);
        let are_within = match (&self.seats, &other.seats) {
            (None, None) => true,
            (Some(seats), Some(others)) => seats.iter().all(|seat| has(others, seat)),
            _ => false,
        };
        are_within && self.journey == other.journey && self.asked == other.asked
    }

    /// Whether a request like the other one made it.
    pub fn was_asked_as(&self, other: &Self) -> bool {
        self.journey == other.journey && self.asked == other.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_round_trips() {
        for text in [
            "",
            "+window",
            "+aisle",
            "together",
            "together+window",
            "together_or_none+aisle",
            "named 07-12A,07-12B",
        ] {
            assert_eq!(Asked::from_text(text).unwrap().to_text(), text);
        }
        for bad in [
            "+",
            "any",
            "window",
            "together+",
            "together+x",
            "named",
            "named ",
            "named 07-12A+window",
        ] {
            assert_eq!(Asked::from_text(bad), None, "{bad:?}");
        }
    }
}
