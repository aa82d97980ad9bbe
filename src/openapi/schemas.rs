//! The JSON schemas of bodies.

mod live;

use serde_json::{Map, Value, json};

use crate::limits::{
    CONTROL_PAGE_MAX, CONTROL_RESERVATIONS_PAGE_MAX, HOLD_MS_MAX, KEY_BYTES_MAX, LIVE_PAGE_MAX,
    NOTE_BYTES_MAX, QUANTITY_MAX, SALE_ID_BYTES_MAX, SPLITS_MAX, TOTAL_MAX, TYPE_NAME_BYTES_MAX,
    TYPES_MAX, USER_BYTES_MAX,
};
use crate::route::table::{Operation, Port};

pub(super) use super::shapes::reference;
use super::shapes::{list_of, next, object, or_null, whole_number};

/// Maximum page size of this list.
pub(super) fn page_max(operation: Operation) -> usize {
    match operation {
        Operation::ListReservations => CONTROL_RESERVATIONS_PAGE_MAX,
        Operation::Live => LIVE_PAGE_MAX,
        _ => CONTROL_PAGE_MAX,
    }
}

/// Every schema that a port's document refers to.
pub(super) fn all(port: Port) -> Map<String, Value> {
    let both = both();
    let own = match port {
        Port::Public => public(),
        Port::Control => control(),
    };
    both.into_iter().chain(own).map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// An object in a request: unknown members are rejected.
fn closed(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

fn whole(min: u64, max: u64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

/// A time in an answer: RFC 3339, in UTC, to the millisecond.
fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// Control characters, for a pattern.
const CONTROLS: &str = r"\u0000-\u001f\u007f-\u009f";

/// Text without control characters, with this maximum number of bytes.
fn plain_text(bytes_max: usize) -> Value {
    let pattern = format!("^[^{CONTROLS}]+$");
    json!({ "type": "string", "minLength": 1, "maxLength": bytes_max, "pattern": pattern })
}

/// An object that maps ticket types to values.
fn by_type(least: usize, each: Value, description: &str) -> Value {
    json!({
        "type": "object",
        "description": description,
        "minProperties": least,
        "maxProperties": TYPES_MAX,
        "propertyNames": { "pattern": format!("^[a-z0-9_-]{{1,{TYPE_NAME_BYTES_MAX}}}$") },
        "additionalProperties": each,
    })
}

fn both() -> Vec<(&'static str, Value)> {
    let units = || whole(0, TOTAL_MAX);
    vec![
        (
            "SaleId",
            json!({
                "type": "string",
                "pattern": format!("^[a-z0-9._-]{{1,{SALE_ID_BYTES_MAX}}}$"),
                "examples": ["ticket", "festival"],
            }),
        ),
        (
            "ReservationId",
            json!({
                "type": "string",
                "description": "The sale's id, `~` and 26 characters; `~2of4` before them names a part.",
                "pattern": format!(
                    "^[a-z0-9._-]{{1,{SALE_ID_BYTES_MAX}}}~([1-9][0-9]?of[1-9][0-9]?~)?[0-7][0-9a-hjkmnp-tv-z]{{25}}$"
                ),
                "examples": ["ticket~01jz0000000000000000000000"],
            }),
        ),
        ("User", {
            let mut user = plain_text(USER_BYTES_MAX);
            user["description"] = format!("At most {USER_BYTES_MAX} bytes of UTF-8.").into();
            user
        }),
        (
            "Sale",
            object(
                &[
                    "id",
                    "state",
                    "total",
                    "free",
                    "held",
                    "confirmed",
                    "limit_per_user",
                    "quantity_max",
                    "hold_ms",
                    "opens_at",
                    "closes_at",
                ],
                json!({
                    "id": reference("SaleId"),
                    "state": { "enum": ["scheduled", "open", "closed"] },
                    "total": units(),
                    "free": units(),
                    "held": units(),
                    "confirmed": units(),
                    "limit_per_user": or_null(whole(1, u32::MAX.into())),
                    "quantity_min": whole(1, QUANTITY_MAX.into()),
                    "quantity_max": whole(1, QUANTITY_MAX.into()),
                    "extend_max_ms": whole(0, HOLD_MS_MAX),
                    "reservations_max": or_null(whole(0, TOTAL_MAX)),
                    "reservations_per_user_max": or_null(whole(1, u32::MAX.into())),
                    "hold_ms": whole(1, HOLD_MS_MAX),
                    "opens_at": or_null(time()),
                    "closes_at": or_null(time()),
                    "types": by_type(1, reference("TicketType"), "Its ticket types, if it has any."),
                    "splits": whole(2, SPLITS_MAX.into()),
                }),
            ),
        ),
        (
            "TicketType",
            object(
                &["cap", "free", "held", "confirmed"],
                json!({ "cap": whole(1, TOTAL_MAX), "free": units(), "held": units(), "confirmed": units() }),
            ),
        ),
        ("Lines", {
            let units = whole(0, QUANTITY_MAX.into());
            let mut lines = by_type(
                0,
                units,
                "Units by ticket type. 0 means the same as leaving the type out.",
            );
            lines["examples"] = json!([{ "adult": 2, "child": 1 }]);
            lines
        }),
        (
            "Reservation",
            object(
                &["id", "sale", "user", "quantity", "status", "expires_at"],
                json!({
                    "id": reference("ReservationId"),
                    "sale": reference("SaleId"),
                    "user": { "type": ["string", "null"] },
                    "quantity": whole(1, QUANTITY_MAX.into()),
                    "lines": reference("Lines"),
                    "status": { "enum": ["held", "confirmed", "cancelled", "expired", "refunded"] },
                    "expires_at": time(),
                    "quantity_asked": {
                        "description": "Units of the original request, if some were given back since.",
                        "type": "integer",
                        "minimum": 1,
                        "maximum": QUANTITY_MAX,
                    },
                    "lines_asked": reference("Lines"),
                    "first_expires_at": {
                        "description": "The first deadline, if it was extended since.",
                        "type": "string",
                        "format": "date-time",
                    },
                    "note": reference("Note"),
                    "key": { "type": "string", "description": "In lists: its Idempotency-Key." },
                    "changed_at": time(),
                }),
            ),
        ),
        ("Note", plain_text(NOTE_BYTES_MAX)),
        ("Extension", closed(&[], json!({ "hold_ms": or_null(whole(1, HOLD_MS_MAX)) }))),
        (
            "Remaining",
            closed(
                &[],
                json!({ "remaining": {
                    "description": "The number of units; in a sale with ticket types, units by type, or 0.",
                    "oneOf": [whole(0, QUANTITY_MAX.into()), reference("Lines")],
                } }),
            ),
        ),
        (
            "ReservationPage",
            object(
                &["reservations", "next"],
                json!({
                    "reservations": { "type": "array", "items": reference("Reservation") },
                    "next": next(),
                }),
            ),
        ),
        (
            "SalePage",
            object(
                &["sales", "next"],
                json!({ "sales": { "type": "array", "items": reference("Sale") }, "next": next() }),
            ),
        ),
        (
            "Problem",
            json!({
                "description": "Problem details (RFC 9457). `code` is stable; match on it.",
                "type": "object",
                "required": ["type", "title", "status", "code", "detail"],
                "properties": {
                    "type": { "const": "about:blank" },
                    "title": { "type": "string" },
                    "status": { "type": "integer" },
                    "code": { "type": "string" },
                    "detail": { "type": "string" },
                    "field": { "type": "string", "description": "The input that is wrong." },
                    "ticket_type": {
                        "type": "string",
                        "description": "The ticket type of which too few units are left, or that does not exist.",
                    },
                    "free": { "type": "integer", "minimum": 0, "description": "Units that are left." },
                },
            }),
        ),
        ("Document", json!({ "type": "object", "required": ["openapi", "paths"] })),
        ("Text", json!({ "type": "string" })),
    ]
}

fn public() -> Vec<(&'static str, Value)> {
    vec![
        ("Key", {
            let mut key = plain_text(KEY_BYTES_MAX);
            // A text that begins with a quote is a string of RFC 9651.
            key["pattern"] = format!("^[^\"{CONTROLS}][^{CONTROLS}]*$").into();
            key["description"] = format!("At most {KEY_BYTES_MAX} bytes of UTF-8.").into();
            key
        }),
        ("ReservationRequest", {
            let mut request = closed(
                &["user"],
                json!({
                    "user": reference("User"),
                    "quantity": whole(1, QUANTITY_MAX.into()),
                    "lines": reference("Lines"),
                    "note": reference("Note"),
                }),
            );
            let one = "`lines` in a sale with ticket types; `quantity` in any other sale.";
            request["description"] = one.into();
            // Each corresponds to the sale at the same position of the examples of sales.
            request["examples"] = json!([
                { "user": "ann", "quantity": 1 },
                { "user": "ann", "lines": { "adult": 2, "child": 1 } },
            ]);
            request["not"] = json!({ "required": ["quantity", "lines"] });
            request
        }),
        (
            "Bought",
            object(
                &["code", "msg"],
                json!({
                    "code": { "type": "integer" },
                    "msg": { "type": "string" },
                    "data": {
                        "type": "object",
                        "properties": {
                            "reservation": reference("ReservationId"),
                            "opens_at": time(),
                            "field": { "type": "string" },
                            "reason": { "type": "string" },
                        },
                    },
                }),
            ),
        ),
        ("Greeting", object(&["message"], json!({ "message": { "type": "string" } }))),
    ]
}

/// A boolean; `null` counts as missing.
fn flag() -> Value {
    json!({ "type": ["boolean", "null"] })
}

fn control() -> Vec<(&'static str, Value)> {
    let asked_time = || {
        json!({
            "type": "string",
            "format": "date-time",
            "pattern": "^(19[7-9][0-9]|20[0-9][0-9])-",
        })
    };
    vec![
        (
            "SaleDefinition",
            closed(
                &["id", "total"],
                json!({
                    "id": reference("SaleId"),
                    "total": whole(0, TOTAL_MAX),
                    "opens_at": or_null(asked_time()),
                    "closes_at": or_null(asked_time()),
                    "limit_per_user": or_null(whole(0, u32::MAX.into())),
                    "quantity_min": or_null(whole(1, QUANTITY_MAX.into())),
                    "quantity_max": or_null(whole(1, QUANTITY_MAX.into())),
                    "extend_max_ms": or_null(whole(0, HOLD_MS_MAX)),
                    "reservations_max": or_null(whole(0, TOTAL_MAX)),
                    "reservations_per_user_max": or_null(whole(0, u32::MAX.into())),
                    "hold_ms": or_null(whole(1, HOLD_MS_MAX)),
                    "types": or_null(by_type(
                        0,
                        whole(1, TOTAL_MAX),
                        "Ticket types with the maximum number of units of each. Such a sale has one part.",
                    )),
                    "splits": or_null(whole(1, SPLITS_MAX.into())),
                }),
            ),
        ),
        ("Terms", {
            let mut terms = closed(
                &[],
                json!({
                    "closes_at": or_null(asked_time()),
                    "limit_per_user": or_null(whole(0, u32::MAX.into())),
                    "quantity_max": whole(1, QUANTITY_MAX.into()),
                    "quantity_min": whole(1, QUANTITY_MAX.into()),
                    "hold_ms": whole(1, HOLD_MS_MAX),
                    "extend_max_ms": whole(0, HOLD_MS_MAX),
                    "reservations_max": or_null(whole(0, TOTAL_MAX)),
                    "reservations_per_user_max": or_null(whole(0, u32::MAX.into())),
                }),
            );
            terms["minProperties"] = 1.into();
            terms
        }),
        ("Reset", closed(&[], json!({ "total": or_null(whole(0, TOTAL_MAX)), "force": flag() }))),
        ("Units", closed(&["units"], json!({ "units": whole(1, TOTAL_MAX) }))),
        (
            "UnitsToTake",
            closed(&["units"], json!({ "units": whole(1, TOTAL_MAX), "at_most": flag() })),
        ),
        (
            "StockTaken",
            json!({
                "allOf": [reference("Sale")],
                "required": ["taken"],
                "properties": { "taken": whole(0, TOTAL_MAX) },
            }),
        ),
        (
            "Removed",
            object(
                &["id", "removed"],
                json!({ "id": reference("SaleId"), "removed": { "const": true } }),
            ),
        ),
        ("Instances", object(&["instances"], json!({ "instances": list_of("Instance") }))),
        (
            "Instance",
            object(
                &[
                    "id",
                    "name",
                    "addresses",
                    "cores",
                    "version",
                    "reads",
                    "state",
                    "allowance",
                    "since",
                    "lease_ms",
                ],
                json!({
                    "id": { "type": "string" },
                    "name": { "type": "string" },
                    "addresses": { "type": "array", "items": { "type": "string" } },
                    "cores": whole_number(),
                    "version": { "type": "string" },
                    "reads": whole_number(),
                    "state": { "type": "string" },
                    "allowance": whole_number(),
                    "since": time(),
                    "lease_ms": { "type": ["integer", "null"] },
                }),
            ),
        ),
        ("Live", live::answer()),
        ("LiveServer", live::server()),
        ("LiveCore", live::core()),
        ("LiveSales", live::sales()),
        ("Histogram", live::histogram()),
        (
            "Audit",
            object(
                &["sales", "differences", "repaired", "on_their_way", "not_looked_at"],
                json!({
                    "sales": { "type": "array", "items": object(
                        &["sale", "total", "held", "confirmed", "free", "reservations", "checks"],
                        json!({
                            "sale": { "type": "string" },
                            "total": whole_number(),
                            "held": whole_number(),
                            "confirmed": whole_number(),
                            "free": whole_number(),
                            "reservations": whole_number(),
                            "checks": { "type": "array", "items": { "type": "object" } },
                        }),
                    ) },
                    "differences": whole_number(),
                    "repaired": whole_number(),
                    "on_their_way": whole_number(),
                    "not_looked_at": { "type": "array", "items": { "type": "string" } },
                }),
            ),
        ),
    ]
}
