//! One change of a reservation as a webhook: its id and its body.
//!
//! Both depend only on the change, so they are the same in every attempt, also after a restart.

use serde::{Serialize, Serializer};

use crate::clock::rfc3339;
use crate::orders::rows::{public_id, signed};
use crate::sale::{Change, Lines, ReservationId};

/// A change, encoded to be stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The reservation's public id.
    pub reservation: String,
    /// The version of the change: of two, the greater is the later one.
    pub version: i64,
    /// The body, as it is signed and sent.
    pub body: String,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    timestamp: String,
    data: Data<'a>,
}

/// Named like the columns of the orders' table; times as in its readable view.
#[derive(Serialize)]
struct Data<'a> {
    reservation: &'a str,
    sale: &'a str,
    user_id: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    quantity: u32,
    status: &'a str,
    expires_at: String,
    updated_at: String,
    /// As text: JavaScript would round a number.
    version: String,
    request_id: Option<&'a str>,
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    /// As an object.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "by_type")]
    lines: Option<&'a Lines>,
}

/// Units by ticket type, as an object.
fn by_type<S: Serializer>(lines: &Option<&Lines>, serializer: S) -> Result<S::Ok, S::Error> {
    let lines = lines.iter().flat_map(|lines| lines.iter());
    serializer.collect_map(lines.map(|(name, quantity)| (name.as_str(), quantity)))
}

impl Event {
    /// The event of a change.
    ///
    /// # Errors
    /// None that one of our changes can cause.
    pub fn of(change: &Change) -> Result<Self, serde_json::Error> {
        let (public_id, at) = (public_id(change), rfc3339(change.at_ms));
        let reservation = &change.reservation;
        let status = reservation.status.as_str();
        let trace = change.trace.as_deref();
        let version = signed(change.version);
        let body = serde_json::to_string(&Body {
            r#type: format!("reservation.{status}"),
            timestamp: at.clone(),
            data: Data {
                reservation: &public_id,
                sale: change.sale.whole_str(),
                user_id: reservation.user.as_ref().map(|user| user.as_str()),
                idempotency_key: change.key.as_ref().map(|key| key.as_str()),
                quantity: reservation.quantity,
                status,
                expires_at: rfc3339(reservation.expires_at_ms),
                updated_at: at,
                version: version.to_string(),
                request_id: trace.and_then(|trace| trace.request_id()),
                traceparent: trace.and_then(|trace| trace.parent()),
                note: reservation.note(),
                lines: reservation.lines(),
            },
        })?;
        Ok(Self { reservation: public_id, version, body })
    }
}

/// The `webhook-id` of a change of a reservation. The names of sales may contain dots, which
/// separate the signed fields, so the id has only the reservation's own part, which is unique.
pub fn webhook_id(reservation: &str, version: i64) -> String {
    let own = reservation.rsplit('~').next().unwrap_or(reservation);
    format!("msg_{own}_{version}")
}

/// The reservation and the version in a `webhook-id`. `None`: it is none of ours.
pub fn parse_webhook_id(id: &str) -> Option<(ReservationId, i64)> {
    let (own, version) = id.strip_prefix("msg_")?.split_once('_')?;
    let reservation = ReservationId::from_text(own.as_bytes()).ok()?;
    let version: i64 = version.parse().ok()?;
    // Each event has exactly one id.
    (webhook_id(own, version) == id).then_some((reservation, version))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::limits::{
        KEY_BYTES_MAX, NOTE_BYTES_MAX, QUANTITY_MAX, REQUEST_ID_BYTES_MAX, SALE_ID_BYTES_MAX,
        TIME_MS_MAX, TYPES_MAX, USER_BYTES_MAX, WEBHOOK_BODY_BYTES_MAX,
    };
    use crate::sale::{Details, Key, Note, Reservation, SaleId, Status, TypeName, User};
    use crate::trace::Trace;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn change(sale: &SaleId, status: Status) -> Change {
        Change {
            sale: sale.clone(),
            reservation: Reservation {
                id: ReservationId(7),
                user: Some(User::new("ann \"x\"").unwrap()),
                quantity: 2,
                status,
                expires_at_ms: 1_893_456_600_000,
                details: None,
            },
            key: Some(Key::new("key 1").unwrap()),
            at_ms: 1_893_456_000_123,
            version: 1_985_432_000_000_000_003,
            trace: Trace::from_texts("r-1", PARENT).map(Arc::new),
        }
    }

    #[test]
    fn a_body_matches_the_documentation() {
        let sale = SaleId::new("a.b").unwrap();
        let event = Event::of(&change(&sale, Status::Confirmed)).unwrap();
        assert_eq!(
            event.body,
            format!(
                "{{\"type\":\"reservation.confirmed\",\"timestamp\":\"2030-01-01T00:00:00.123Z\",\
                 \"data\":{{\"reservation\":\"a.b~{id}\",\"sale\":\"a.b\",\"user_id\":\"ann \
                 \\\"x\\\"\",\"idempotency_key\":\"key 1\",\"quantity\":2,\"status\":\"confirmed\",\
                 \"expires_at\":\"2030-01-01T00:10:00.000Z\",\
                 \"updated_at\":\"2030-01-01T00:00:00.123Z\",\"version\":\"1985432000000000003\",\
                 \"request_id\":\"r-1\",\"traceparent\":\"{PARENT}\"}}}}",
                id = ReservationId(7),
            )
        );
        let page = include_str!("../../../docs/webhooks.md");
        let body: serde_json::Value = serde_json::from_str(&event.body).unwrap();
        for name in body["data"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("| `{name}` |")), "docs/webhooks.md lacks {name}");
        }
        let mut typed = change(&sale, Status::Held);
        let lines = Lines::from_text("adult:2,child:1");
        typed.reservation.details = Details { lines, ..Details::default() }.boxed();
        let body = Event::of(&typed).unwrap().body;
        assert!(body.contains(r#","lines":{"adult":2,"child":1}}"#), "{body}");
        assert!(page.contains("| `lines` |"), "docs/webhooks.md lacks lines");
        for status in ["held", "confirmed", "cancelled", "expired", "refunded"] {
            assert!(page.contains(&format!("| `reservation.{status}` |")), "{status}");
        }
    }

    #[test]
    fn an_event_id_names_one_change_and_has_no_dot() {
        let sale = SaleId::new("a.b").unwrap().part(2, 4).unwrap();
        let event = Event::of(&change(&sale, Status::Held)).unwrap();
        let id = webhook_id(&event.reservation, event.version);
        assert_eq!(id, format!("msg_{}_1985432000000000003", ReservationId(7)));
        assert_eq!(parse_webhook_id(&id), Some((ReservationId(7), event.version)));
        assert!(event.body.contains("\"sale\":\"a.b\""), "{}", event.body);
        for none in ["", "msg_", "msg_x_1", &format!("{id}x"), &id.replace("msg_", "msg_0")] {
            assert_eq!(parse_webhook_id(none), None, "{none}");
        }
    }

    #[test]
    fn the_longest_body_is_within_its_bound() {
        let sale = SaleId::new(&"s".repeat(SALE_ID_BYTES_MAX)).unwrap().part(32, 32).unwrap();
        let mut longest = change(&sale, Status::Confirmed);
        let text = "\"".repeat(KEY_BYTES_MAX);
        longest.reservation.user = Some(User::new(&text[..USER_BYTES_MAX]).unwrap());
        longest.reservation.quantity = u32::MAX;
        longest.reservation.expires_at_ms = TIME_MS_MAX;
        longest.key = Some(Key::new(&text).unwrap());
        longest.version = u64::MAX;
        let note = Note::new(&text[..NOTE_BYTES_MAX]).ok();
        let name = |n: usize| TypeName::new(&format!("{n:032}")).unwrap();
        let lines = (0..TYPES_MAX).map(|n| (name(n), QUANTITY_MAX / TYPES_MAX as u32));
        let lines = Some(Lines::new(lines).unwrap());
        longest.reservation.details = Details { note, lines, ..Details::default() }.boxed();
        longest.trace = Trace::from_texts(&"\"".repeat(REQUEST_ID_BYTES_MAX), PARENT).map(Arc::new);
        let event = Event::of(&longest).unwrap();
        assert!(event.body.len() <= WEBHOOK_BODY_BYTES_MAX, "{}", event.body.len());
    }
}
