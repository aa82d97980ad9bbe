//! Sales and reservations as JSON: the same on the public port and the control port.
//!
//! Architecture invariant: shapes only. Knows no HTTP, no ledger and no core.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::clock::{Rfc3339, rfc3339};
use crate::limits::TIME_MS_MAX;
use crate::sale::{Change, Lines, PublicId, Reservation, SaleId, SaleView, TypeUnits, User};

/// A ticket type.
#[derive(Serialize)]
struct TypeJson {
    cap: u64,
    free: u64,
    held: u64,
    confirmed: u64,
}

/// A sale.
#[derive(Serialize)]
pub struct SaleJson {
    id: String,
    state: &'static str,
    total: u64,
    free: u64,
    held: u64,
    confirmed: u64,
    limit_per_user: Option<u32>,
    quantity_min: u32,
    quantity_max: u32,
    hold_ms: u64,
    extend_max_ms: u64,
    reservations_max: Option<u64>,
    reservations_per_user_max: Option<u32>,
    opens_at: Option<String>,
    closes_at: Option<String>,
    /// Its ticket types by name, if it has any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    types: BTreeMap<String, TypeJson>,
    /// Number of its parts, if it is split.
    #[serde(skip_serializing_if = "Option::is_none")]
    splits: Option<u32>,
}

impl SaleJson {
    /// The sale's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A sale, from the ledger's view.
    pub fn of(id: &SaleId, view: &SaleView) -> Self {
        let spec = &view.spec;
        let time = |ms: u64, none: u64| (ms != none).then(|| rfc3339(ms));
        Self {
            id: id.to_string(),
            state: view.state().as_str(),
            total: spec.total,
            free: view.free(),
            held: view.held,
            confirmed: view.confirmed,
            limit_per_user: (spec.limit_per_user > 0).then_some(spec.limit_per_user),
            quantity_min: spec.rules.quantity_min,
            quantity_max: spec.quantity_max,
            hold_ms: spec.hold_ms,
            extend_max_ms: spec.rules.extend_max_ms,
            reservations_max: spec.rules.reservations_max,
            reservations_per_user_max: Some(spec.rules.reservations_per_user_max)
                .filter(|max| *max > 0),
            opens_at: time(spec.opens_at_ms, 0),
            closes_at: time(spec.closes_at_ms, TIME_MS_MAX),
            types: view
                .types()
                .map(|(name, cap, TypeUnits { held, confirmed }, free)| {
                    (name.to_string(), TypeJson { cap, free, held, confirmed })
                })
                .collect(),
            splits: Some(spec.split.parts()).filter(|parts| *parts > 1),
        }
    }
}

/// A reservation.
#[derive(Serialize)]
pub struct ReservationJson<'a> {
    #[serde(serialize_with = "public_id")]
    id: PublicId,
    sale: &'a str,
    user: Option<&'a str>,
    quantity: u32,
    /// Units by ticket type, if the sale has ticket types.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<LinesJson<'a>>,
    status: &'static str,
    #[serde(serialize_with = "time")]
    expires_at: Rfc3339,
    /// Units of the first request, if some were given back since.
    #[serde(skip_serializing_if = "Option::is_none")]
    quantity_asked: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_asked: Option<LinesJson<'a>>,
    /// The first deadline, if it was extended since.
    #[serde(skip_serializing_if = "Option::is_none")]
    first_expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed_at: Option<String>,
}

/// Units by ticket type, as an object.
pub struct LinesJson<'a>(pub &'a Lines);

impl Serialize for LinesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, quantity)| (name.as_str(), quantity)))
    }
}

fn public_id<S: Serializer>(id: &PublicId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_str())
}

fn time<S: Serializer>(time: &Rfc3339, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(time.as_str())
}

impl<'a> ReservationJson<'a> {
    /// A reservation, from the ledger.
    pub fn of(sale: &'a SaleId, reservation: &'a Reservation) -> Self {
        let details = reservation.details.as_deref();
        let first_ms = details.and_then(|details| details.first_expires_at_ms);
        Self {
            quantity_asked: details.and_then(|details| details.asked),
            lines: reservation.lines().map(LinesJson),
            lines_asked: details.and_then(|details| details.asked_lines.as_ref()).map(LinesJson),
            first_expires_at: first_ms.map(rfc3339),
            note: reservation.note(),
            id: PublicId::new(sale, reservation.id),
            sale: sale.whole_str(),
            user: reservation.user.as_ref().map(User::as_str),
            quantity: reservation.quantity,
            status: reservation.status.as_str(),
            expires_at: Rfc3339::new(reservation.expires_at_ms),
            key: None,
            changed_at: None,
        }
    }

    /// With the members that only archives have: its key, and when it last changed.
    pub fn of_change(change: &'a Change) -> Self {
        Self {
            key: change.key.as_ref().map(|key| key.as_str()),
            changed_at: Some(rfc3339(change.at_ms)),
            ..Self::of(&change.sale, &change.reservation)
        }
    }
}
