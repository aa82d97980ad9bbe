//! A reservation as Redis has it: a line of text, the same in the hash `reservations` and in the
//! stream, so that a script makes it once. `lua/row.lua` is its twin.
//!
//! `id status quantity expires_at_ms`, then, unless it is nobody's, a space and its owner: the user,
//! with a tab and the idempotency key if it was made with one. Neither holds a control character.

use crate::sale::{Key, Reservation, ReservationId, Status, User};

/// Between user and key, in a line and in the names of the claims.
pub const OWNER_SEPARATOR: &str = "\t";

/// Reads a line, without its end.
pub fn parse_line(line: &str) -> Option<(Reservation, Option<Key>)> {
    let (id, value) = line.split_once(' ')?;
    parse_value(ReservationId::from_text(id.as_bytes()).ok()?, value)
}

/// Reads what follows the id in a line.
pub fn parse_value(id: ReservationId, text: &str) -> Option<(Reservation, Option<Key>)> {
    let mut words = text.splitn(4, ' ');
    let status = Status::from_name(words.next()?)?;
    let quantity = words.next()?.parse().ok()?;
    let expires_at_ms = words.next()?.parse().ok()?;
    let (user, key) = match words.next() {
        None => (None, None),
        Some("") => return None,
        Some(owner) => match owner.split_once(OWNER_SEPARATOR) {
            None => (Some(User::new(owner).ok()?), None),
            Some(("", key)) => (None, Some(Key::new(key).ok()?)),
            Some((user, key)) => (Some(User::new(user).ok()?), Some(Key::new(key).ok()?)),
        },
    };
    Some((Reservation { id, user, quantity, status, expires_at_ms }, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_whose_it_is() {
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
        for damaged in [" ", "x", " ann\t", " \t", " ann\tk\tl", " ann\nk"] {
            assert_eq!(read(damaged), None, "{damaged:?}");
        }
        for damaged in ["", "held 1 2", "7 held 1 2", &format!("{id} sold 1 2")] {
            assert_eq!(parse_line(damaged), None, "{damaged:?}");
        }
    }
}
