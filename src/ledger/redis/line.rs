//! A reservation as Redis has it: a line of text, the same in the hash `reservations` and in the
//! stream, so that a script builds it once. `lua/row.lua` is its twin.
//!
//! `id status quantity expires_at_ms`, then, if it has an owner, a space and the owner: the user,
//! and a tab and the idempotency key if it was made with one. Neither contains a control character.
//! If the reservation has [`Details`], they follow: then both tabs are there, whether or not there
//! is a key.

use crate::limits::{QUANTITY_MAX, TIME_MS_MAX};
use crate::sale::{Details, Key, Reservation, ReservationId, Reserve, Status, User};

/// The separator of user and key, in a line and in the names of the claims.
pub const OWNER_SEPARATOR: &str = "\t";

/// The name of the claim that a request with a key makes, in pieces.
pub(super) fn claim_of(reserve: &Reserve) -> [&str; 3] {
    [reserve.user_text(), OWNER_SEPARATOR, reserve.key_text()]
}

/// A line in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) id: ReservationId,
    pub(super) status: Status,
    pub(super) quantity: u32,
    pub(super) expires_at_ms: u64,
    /// `user`, or user, tab, key. Empty: anonymous and without a key.
    pub(super) owner: &'a str,
    /// The details as text. Empty: none.
    pub(super) details: &'a str,
}

impl<'a> Line<'a> {
    /// Parses a line without its newline, if a script can have written it: all numbers are within
    /// their bounds.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        Self::split(line).filter(|line| {
            (1..=QUANTITY_MAX).contains(&line.quantity) && line.expires_at_ms <= TIME_MS_MAX
        })
    }

    /// The same, without the bounds.
    fn split(line: &'a str) -> Option<Self> {
        let (id, value) = line.split_once(' ')?;
        Self::split_value(ReservationId::from_text(id.as_bytes()).ok()?, value)
    }

    fn split_value(id: ReservationId, value: &'a str) -> Option<Self> {
        let mut words = value.splitn(4, ' ');
        let status = Status::from_name(words.next()?)?;
        let quantity = u32::try_from(number(words.next()?)?).ok()?;
        let expires_at_ms = number(words.next()?)?;
        let owner = match words.next() {
            None => "",
            // An owner is not empty; it may end with a space.
            Some("") => return None,
            Some(owner) => owner,
        };
        let (owner, details) = split_details(owner);
        let (user, key) = split_owner(owner);
        let sound = (user.is_empty() || User::new(user).is_ok())
            && key.is_none_or(|key| Key::new(key).is_ok())
            && details.is_none_or(|details| Details::from_text(details).is_some());
        let details = details.unwrap_or_default();
        sound.then_some(Self { id, status, quantity, expires_at_ms, owner, details })
    }

    /// Whether extending the reservation and cancelling parts of it can lead to this quantity,
    /// deadline and details.
    pub(super) fn can_be_changed_to(&self, hold: (u32, u64, &str)) -> bool {
        let (quantity, expires_at_ms, details) = hold;
        let of = |details| Details::from_text(details).unwrap_or_default();
        let (before, after) = (of(self.details), of(details));
        let first_ms = before.first_expires_at_ms.unwrap_or(self.expires_at_ms);
        let was_extended = expires_at_ms > self.expires_at_ms;
        let was_reduced = quantity < self.quantity;
        let first = if was_extended { Some(first_ms) } else { before.first_expires_at_ms };
        let asked = if was_reduced { before.asked.or(Some(self.quantity)) } else { before.asked };
        let lines = after.lines.clone();
        let has_fewer = match (&before.lines, &lines) {
            (None, None) => true,
            (Some(before), Some(after)) => {
                after.are_within(before)
                    && after.units() == quantity
                    && before.units() == self.quantity
            }
            _ => false,
        };
        let asked_lines = match was_reduced {
            true => before.asked_lines.or(before.lines),
            false => before.asked_lines,
        };
        let (note, ride) = (before.note, after.ride.clone());
        let has_ride = match (&before.ride, &ride) {
            (None, None) => true,
            (Some(before), Some(after)) => after.is_reduced_from(before),
            _ => false,
        };
        quantity <= self.quantity
            && expires_at_ms >= self.expires_at_ms
            && has_fewer
            && has_ride
            && after
                == Details { asked, first_expires_at_ms: first, lines, asked_lines, ride, note }
    }

    fn to_reservation(self) -> (Reservation, Option<Key>) {
        let Self { id, status, quantity, expires_at_ms, owner, details } = self;
        let (user, key) = split_owner(owner);
        let (user, key) = (User::new(user).ok(), key.and_then(|key| Key::new(key).ok()));
        let details = Details::from_text(details).and_then(Details::boxed);
        (Reservation { id, user, quantity, status, expires_at_ms, details }, key)
    }
}

/// Splits the text after the deadline into owner and details.
fn split_details(text: &str) -> (&str, Option<&str>) {
    let mut tabs = memchr::memchr_iter(b'\t', text.as_bytes());
    let (Some(first), Some(second)) = (tabs.next(), tabs.next()) else { return (text, None) };
    let owner_end = if second == first + 1 { first } else { second };
    (&text[..owner_end], Some(&text[second + 1..]))
}

/// The text after the deadline, in pieces: a space if anything follows, user, key, and details.
pub(super) fn end_of_line<'a>(user: &'a str, key: &'a str, details: &'a str) -> [&'a str; 6] {
    let tab = |is_there: bool| if is_there { OWNER_SEPARATOR } else { "" };
    let has_details = !details.is_empty();
    let has_any = !user.is_empty() || !key.is_empty() || has_details;
    let blank = if has_any { " " } else { "" };
    [blank, user, tab(!key.is_empty() || has_details), key, tab(has_details), details]
}

/// A whole number, as we write them: digits only.
pub(super) fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The prefix of a field of the users that counts the reservations made for a user: no user begins
/// so. The field of his units is his name.
pub(super) const MADE_FOR: char = '\t';

/// The name of the field that counts the reservations made for a user.
pub(super) fn made_for(user: &str) -> String {
    format!("{MADE_FOR}{user}")
}

/// The user (empty: anonymous) and the key.
pub(super) fn split_owner(owner: &str) -> (&str, Option<&str>) {
    match owner.split_once(OWNER_SEPARATOR) {
        None => (owner, None),
        Some((user, key)) => (user, Some(key)),
    }
}

/// Reads a line, without its end.
pub fn parse_line(line: &str) -> Option<(Reservation, Option<Key>)> {
    Line::split(line).map(Line::to_reservation)
}

/// Parses the text after the id in a line.
pub fn parse_value(id: ReservationId, text: &str) -> Option<(Reservation, Option<Key>)> {
    Line::split_value(id, text).map(Line::to_reservation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_a_command_can_make_are_accepted() {
        let line = |text: &str| format!("{} held {text}", ReservationId(7));
        let plain = line("3 9 ann\tk\tnote=x");
        let plain = Line::parse(&plain).unwrap();
        for (quantity, until, details) in [
            (3, 9, "note=x"),
            (2, 9, "asked=3\tnote=x"),
            (3, 12, "first=9\tnote=x"),
            (1, 12, "asked=3\tfirst=9\tnote=x"),
        ] {
            assert!(plain.can_be_changed_to((quantity, until, details)), "{details}");
        }
        for (quantity, until, details) in [
            (2, 9, "note=x"),
            (4, 9, "note=x"),
            (3, 12, "note=x"),
            (3, 8, "first=9\tnote=x"),
            (3, 12, "first=8\tnote=x"),
            (2, 9, "asked=2\tnote=x"),
            (3, 9, "note=y"),
            (3, 9, ""),
        ] {
            assert!(!plain.can_be_changed_to((quantity, until, details)), "{details}");
        }
        let changed = line("2 12 ann\tk\tasked=3\tfirst=9");
        let changed = Line::parse(&changed).unwrap();
        assert!(changed.can_be_changed_to((1, 15, "asked=3\tfirst=9")));
        assert!(!changed.can_be_changed_to((1, 15, "asked=2\tfirst=12")));
    }

    #[test]
    fn user_and_key_are_parsed_from_a_line() {
        let id = ReservationId(7);
        let read = |owner: &str| {
            let (reservation, key) = parse_line(&format!("{id} held 2 9{owner}"))?;
            assert_eq!((reservation.id, reservation.quantity), (id, 2));
            assert_eq!((reservation.status, reservation.expires_at_ms), (Status::Held, 9));
            let user = reservation.user.map(|user| user.as_str().to_owned());
            Some((user, key.map(|key| key.as_str().to_owned())))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read(""), Some((None, None)));
        assert_eq!(read(" bob b"), Some((some("bob b"), None)));
        assert_eq!(read(" bob b\t2 3"), Some((some("bob b"), some("2 3"))));
        assert_eq!(read(" \tk"), Some((None, some("k"))));
        assert_eq!(read(" \t\tasked=3"), Some((None, None)));
        assert_eq!(read(" ann\t\tnote=x"), Some((some("ann"), None)));
        assert_eq!(read(" ann\tk\tasked=3\tnote=x y"), Some((some("ann"), some("k"))));
        for damaged in
            [" ", "x", " ann\t", " \t", " ann\tk\tl", " ann\nk", " ann\t\t", " ann\tk\tasked=0"]
        {
            assert_eq!(read(damaged), None, "{damaged:?}");
        }
        for damaged in ["", "held 1 2", "7 held 1 2", &format!("{id} sold 1 2")] {
            assert_eq!(parse_line(damaged), None, "{damaged:?}");
        }
    }
}
