//! Reservations as lines of text, as Redis keeps them, and the entries of a sale's stream.

use stampede::ledger::redis::{EntryId, fuzzing, parse_line, parse_value};
use stampede::limits::TIME_MS_MAX;
use stampede::orders::fuzzing::entries_of_stream;
use stampede::sale::{Details, Key, Reservation, ReservationId, SaleId, User};

use crate::bounds::bounded;

const MEMORY_MIN: usize = 64 * 1024;
const MEMORY_PER_BYTE: usize = 256;

/// A line, and the id of an entry.
pub fn line(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let read = bounded(MEMORY_MIN, || parse_line(text));
    if let Some((reservation, key)) = &read {
        let line = line_of(reservation, key.as_ref());
        assert_eq!(parse_line(&line).as_ref(), Some(&(reservation.clone(), key.clone())), "{line}");
    }
    let _ = parse_value(ReservationId(7), text);
    if let Some(id) = EntryId::parse(text) {
        assert_eq!(EntryId::parse(&id.to_string()), Some(id));
        let fits = id.ms < 1 << 44 && id.sequence < 1 << 20;
        assert!(!fits || EntryId::of_version(id.version()) == id);
    }
    if let Some(details) = Details::from_text(text) {
        assert_eq!(Details::from_text(&details.to_text()), Some(details));
    }
}

/// The line of a reservation, by its description: `id status quantity expires_at_ms`, then a space
/// and the user, a tab and the key, a tab and the details.
fn line_of(reservation: &Reservation, key: Option<&Key>) -> String {
    let Reservation { id, user, quantity, status, expires_at_ms, details } = reservation;
    let user = user.as_ref().map_or("", User::as_str);
    let key = key.map_or("", Key::as_str);
    let details = details.as_ref().map(|details| details.to_text()).unwrap_or_default();
    let line = format!("{id} {} {quantity} {expires_at_ms}", status.as_str());
    match (user, key, &*details) {
        ("", "", "") => line,
        (user, "", "") => format!("{line} {user}"),
        (user, key, "") => format!("{line} {user}\t{key}"),
        (user, key, details) => format!("{line} {user}\t{key}\t{details}"),
    }
}

/// A reply with entries of a stream.
pub fn entry(input: &[u8]) {
    let sale = SaleId::new("ticket").expect("a sale");
    for reply in fuzzing::replies(input, usize::MAX) {
        let bytes_max = MEMORY_MIN + MEMORY_PER_BYTE * input.len();
        let entries = bounded(bytes_max, || entries_of_stream(&sale, reply));
        for entry in entries.unwrap_or_default() {
            for change in &entry.changes {
                assert_eq!((&change.sale, change.version), (&sale, entry.id.version()));
                assert!(change.reservation.quantity > 0, "{change:?}");
                assert!(change.reservation.expires_at_ms <= TIME_MS_MAX, "{change:?}");
                assert!(change.at_ms <= TIME_MS_MAX || change.at_ms == entry.id.ms, "{change:?}");
            }
            if let Some(problem) = &entry.problem {
                assert!(!problem.is_empty());
            }
        }
    }
}
