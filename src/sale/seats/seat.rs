//! Seats, named by coach, row and letter.

use std::fmt;

use crate::limits::{RESERVATION_SEATS_MAX, SEAT_BYTES, SEAT_NUMBER_MAX};

/// Why a seat or a list of seats is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// Not as in `07-12A`.
    #[error("a seat is written as in 07-12A: coach, row, letter")]
    Form,
    /// A seat that occurs twice.
    #[error("the seat {0} is named twice")]
    Twice(Seat),
    /// Too many seats, or none.
    #[error("a reservation has 1 to {RESERVATION_SEATS_MAX} seats")]
    Count,
}

/// A seat. The order is that of the names, not that in which seats are sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seat {
    /// The coach, from 1 to 99.
    pub coach: u8,
    /// The row, from 1 to 99.
    pub row: u8,
    /// The letter, from `A` to `Z`.
    pub letter: u8,
}

impl Seat {
    /// Parses a name such as `07-12A`.
    pub fn from_text(text: &str) -> Result<Self, SeatError> {
        let number = |tens: u8, ones: u8| match (tens, ones) {
            (b'0'..=b'9', b'0'..=b'9') => Some((tens - b'0') * 10 + (ones - b'0')),
            _ => None,
        };
        let &[c10, c1, b'-', r10, r1, letter @ b'A'..=b'Z'] = text.as_bytes() else {
            return Err(SeatError::Form);
        };
        match (number(c10, c1), number(r10, r1)) {
            (Some(coach @ 1..), Some(row @ 1..)) => Ok(Self { coach, row, letter }),
            _ => Err(SeatError::Form),
        }
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug_assert!(self.coach <= SEAT_NUMBER_MAX && self.row <= SEAT_NUMBER_MAX);
        write!(f, "{:02}-{:02}{}", self.coach, self.row, char::from(self.letter))
    }
}

/// The seats of a reservation or a request: 1 to 50, none twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Seats(Box<[Seat]>);

impl Seats {
    /// Validates a list, and keeps its order.
    pub fn new(seats: impl IntoIterator<Item = Seat>) -> Result<Self, SeatError> {
        let max = RESERVATION_SEATS_MAX as usize;
        let list: Box<[Seat]> = seats.into_iter().take(max + 1).collect();
        if list.is_empty() || list.len() > max {
            return Err(SeatError::Count);
        }
        let mut sorted = list.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(SeatError::Twice(pair[0])),
            None => Ok(Self(list)),
        }
    }

    /// The seats in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Seat> + DoubleEndedIterator {
        self.0.iter().copied()
    }

    /// The number of seats.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }

    /// Whether a seat is among them.
    pub fn has(&self, seat: Seat) -> bool {
        self.0.contains(&seat)
    }

    /// The text that ledgers keep: `07-12A,07-12B`.
    pub fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.0.len() * SEAT_BYTES);
        for (at, seat) in self.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            // Writing into a string can't fail.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{seat}"));
        }
        text
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        let seats = text.split(',').take(RESERVATION_SEATS_MAX as usize + 1);
        Self::new(seats.map(Seat::from_text).collect::<Result<Vec<_>, _>>().ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_has_a_coach_a_row_and_a_letter() {
        let seat = Seat::from_text("07-12A").unwrap();
        assert_eq!((seat.coach, seat.row, seat.letter), (7, 12, b'A'));
        assert_eq!(seat.to_string(), "07-12A");
        for bad in
            ["", "7-12A", "07-12", "07-12a", "00-12A", "07-00A", "07-12AB", "0x-12A", "０7-1A"]
        {
            assert_eq!(Seat::from_text(bad), Err(SeatError::Form), "{bad:?}");
        }
    }

    #[test]
    fn a_list_of_seats_is_bounded_and_names_none_twice() {
        let seat =
            |n: u32| Seat { coach: 1, row: 1 + (n / 26) as u8, letter: b'A' + (n % 26) as u8 };
        let max = RESERVATION_SEATS_MAX;
        assert_eq!(Seats::new((0..max).map(seat)).unwrap().count(), max);
        assert_eq!(Seats::new((0..=max).map(seat)), Err(SeatError::Count));
        assert_eq!(Seats::new([]), Err(SeatError::Count));
        assert_eq!(Seats::new([seat(3), seat(1), seat(3)]), Err(SeatError::Twice(seat(3))));
        let text = "02-01B,01-09A";
        assert_eq!(Seats::from_text(text).unwrap().to_text(), text);
        for bad in ["", "01-01A,", "01-01A,01-01A", "01-01A 01-01B"] {
            assert_eq!(Seats::from_text(bad), None, "{bad:?}");
        }
    }
}
