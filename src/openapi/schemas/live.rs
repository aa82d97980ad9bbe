//! The JSON schemas of the live page's numbers.

use serde_json::{Value, json};

use crate::openapi::shapes::{list_of, next, object, or_null, reference, whole_number};

/// The whole answer.
pub(super) fn answer() -> Value {
    object(
        &["changes", "server", "instances", "sales"],
        json!({
            "changes": {
                "description": "What a web page with this token may change: everything; nothing without \
                                the operator's token; nothing, since the server has no such token.",
                "enum": ["allowed", "want_token", "need_token_file"],
            },
            "server": reference("LiveServer"),
            "instances": {
                "description": "The servers that share the ledger, as of the last renewal of the lease.",
                "type": "array",
                "items": reference("Instance"),
            },
            "sales": reference("LiveSales"),
        }),
    )
}

/// The server as a whole.
pub(super) fn server() -> Value {
    let histogram = || reference("Histogram");
    object(
        &[
            "at_ms",
            "version",
            "ready",
            "draining",
            "cores",
            "connections",
            "latency",
            "ledger",
            "orders",
            "lease",
        ],
        json!({
            "at_ms": whole_number(),
            "version": { "type": "string" },
            "ready": { "type": "boolean" },
            "draining": { "type": "boolean" },
            "cores": list_of("LiveCore"),
            "connections": object(
                &["open", "max", "accepted"],
                json!({ "open": whole_number(), "max": whole_number(), "accepted": whole_number() }),
            ),
            "latency": object(
                &["purchase_us", "queued_ms", "round_trip_us", "batch_commands", "fdatasync_us"],
                json!({
                    "purchase_us": histogram(),
                    "queued_ms": histogram(),
                    "round_trip_us": histogram(),
                    "batch_commands": histogram(),
                    "fdatasync_us": { "oneOf": [histogram(), { "type": "null" }] },
                }),
            ),
            "ledger": ledger(),
            "orders": orders(),
            "lease": or_null(object(
                &["members", "cores", "remaining_ms", "renewal_failures"],
                json!({
                    "members": whole_number(),
                    "cores": whole_number(),
                    "remaining_ms": whole_number(),
                    "renewal_failures": whole_number(),
                }),
            )),
        }),
    )
}

fn ledger() -> Value {
    let refused = object(
        &["sale", "reason"],
        json!({ "sale": { "type": "string" }, "reason": { "type": "string" } }),
    );
    object(
        &[
            "kind",
            "cores_up",
            "refused_sales",
            "refused_sales_count",
            "sweep_lag_ms",
            "allowance_units",
        ],
        json!({
            "kind": { "enum": ["embedded", "redis"] },
            "cores_up": whole_number(),
            "refused_sales": { "type": "array", "items": refused },
            "refused_sales_count": whole_number(),
            "sweep_lag_ms": whole_number(),
            "allowance_units": whole_number(),
        }),
    )
}

fn orders() -> Value {
    let webhooks = object(
        &["waiting", "delivered", "failed", "dead_letters"],
        json!({
            "waiting": whole_number(),
            "delivered": whole_number(),
            "failed": whole_number(),
            "dead_letters": whole_number(),
        }),
    );
    or_null(object(
        &["to", "lag_ms", "lag_records", "webhooks"],
        json!({
            "to": { "enum": ["database", "webhooks"] },
            "lag_ms": whole_number(),
            "lag_records": or_null(whole_number()),
            "webhooks": or_null(webhooks),
        }),
    ))
}

/// Counters of one core.
pub(super) fn core() -> Value {
    let names = [
        "core",
        "granted",
        "replayed",
        "rejected_from_memory",
        "rejected_by_ledger",
        "failed",
        "requests",
        "cpu_us",
        "waiting",
    ];
    let mut properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), whole_number())).collect();
    properties.insert("ledger_up".to_owned(), json!({ "type": "boolean" }));
    let mut required = names.to_vec();
    required.push("ledger_up");
    object(&required, properties.into())
}

/// The sales in the catalogue.
pub(super) fn sales() -> Value {
    object(
        &["age_ms", "problem", "count", "matches", "first", "next", "sale", "sales"],
        json!({
            "age_ms": {
                "description": "How long ago the sales were read from the ledger. Null: not yet.",
                "type": ["integer", "null"],
                "minimum": 0,
            },
            "problem": {
                "description": "Why they could not be read the last time.",
                "type": ["string", "null"],
            },
            "count": whole_number(),
            "matches": whole_number(),
            "first": {
                "description": "The place of the first sale of this page among all that match, from 0.",
                "type": "integer",
                "minimum": 0,
            },
            "next": next(),
            "sale": { "oneOf": [reference("Sale"), { "type": "null" }] },
            "sales": list_of("Sale"),
        }),
    )
}

/// Number of values by size.
pub(super) fn histogram() -> Value {
    object(
        &["sum", "counts"],
        json!({
            "sum": whole_number(),
            "counts": {
                "description": "Values of at most 1, at most 2, at most 4 and so on, each without those \
                                before it; last those that are larger than any bound.",
                "type": "array",
                "items": whole_number(),
            },
        }),
    )
}
