//! A reservation in the book, and the request that made it.

use std::rc::Rc;

use stampede::sale::{Details, Lines, Note, Reservation, ReservationId, Reserve, Status, User};

use crate::call::CallId;

/// A purchase as it was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Its place in the order of grants.
    pub number: u64,
    /// The id of its reservation.
    pub id: ReservationId,
    /// The user. Empty: anonymous.
    pub user: String,
    /// The idempotency key. Empty: none.
    pub key: String,
    /// Units.
    pub quantity: u32,
    /// Units by ticket type.
    pub lines: Option<Lines>,
    /// The note.
    pub note: Option<Note>,
}

/// A reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was asked.
    pub request: Rc<Request>,
    /// Its status.
    pub status: Status,
    /// Units now.
    pub quantity: u32,
    /// Units by ticket type now.
    pub lines: Option<Lines>,
    /// The end of its hold time.
    pub expires_at_ms: u64,
    /// The first end of its hold time, if it was extended.
    pub first_expires_at_ms: Option<u64>,
    /// Whether a part was given back.
    pub is_reduced: bool,
}

impl Row {
    /// The reservation of a request that was granted.
    pub fn granted(number: u64, reserve: &Reserve, expires_at_ms: u64) -> Self {
        let lines = reserve.lines().cloned();
        let request = Request {
            number,
            id: reserve.id,
            user: reserve.user_text().to_owned(),
            key: reserve.key_text().to_owned(),
            quantity: reserve.quantity,
            lines: lines.clone(),
            note: reserve.details.as_ref().and_then(|details| details.note.clone()),
        };
        Self {
            quantity: request.quantity,
            request: Rc::new(request),
            status: Status::Held,
            lines,
            expires_at_ms,
            first_expires_at_ms: None,
            is_reduced: false,
        }
    }

    /// Its id.
    pub fn id(&self) -> ReservationId {
        self.request.id
    }

    /// Whether it has its units.
    pub fn has_units(&self) -> bool {
        matches!(self.status, Status::Held | Status::Confirmed)
    }

    /// As a ledger shows it.
    pub fn shown(&self) -> Reservation {
        let request = &self.request;
        let details = Details {
            asked: self.is_reduced.then_some(request.quantity),
            first_expires_at_ms: self.first_expires_at_ms,
            lines: self.lines.clone(),
            asked_lines: if self.is_reduced { request.lines.clone() } else { None },
            ride: None,
            note: request.note.clone(),
        };
        Reservation {
            id: request.id,
            user: User::new(&request.user).ok(),
            quantity: self.quantity,
            status: self.status,
            expires_at_ms: self.expires_at_ms,
            details: details.boxed(),
        }
    }

    /// Its deadline, its place in the order of grants, its id: due rows expire in this order.
    pub fn deadline(&self) -> Deadline {
        (self.expires_at_ms, self.request.number, self.request.id)
    }
}

/// A deadline in ms since 1970, the row's number, the row's id.
pub type Deadline = (u64, u64, ReservationId);

/// The attempt of a client to which a purchase belongs: its tag is in the trace.
pub fn call_of(reserve: &Reserve) -> Option<CallId> {
    let tag = reserve.trace.as_ref()?.request_id()?;
    let number = tag.strip_prefix('r')?.parse().ok()?;
    Some(CallId(number)).filter(|call| call.tag() == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::ask;
    use stampede::sale::Command;
    use stampede::trace::Trace;

    #[test]
    fn a_tag_names_a_call_and_nothing_else_does() {
        let tagged = |tag: &str| match ask(1, 1, "", "") {
            Command::Reserve(reserve) => {
                let trace = Trace::from_texts(tag, "").map(Into::into);
                call_of(&Reserve { trace, ..reserve })
            }
            command => panic!("{command:?}"),
        };
        assert_eq!(tagged("r17"), Some(CallId(17)));
        for other in ["17", "r", "r017", "r+1", "rx", ""] {
            assert_eq!(tagged(other), None, "{other}");
        }
    }
}
