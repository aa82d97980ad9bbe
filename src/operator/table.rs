//! Prints sales, reservations and servers for people.

use std::io::{self, Write};

use serde_json::Value;

use crate::duration::format_duration;

/// A value as text. Null is a dash.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cell(name: &str, value: &Value) -> String {
    if let Some(members) = value.as_object() {
        // Units by ticket type.
        let members = members.iter().map(|(name, units)| format!("{name}:{}", text(units)));
        return members.collect::<Vec<_>>().join("+");
    }
    match (name, value.as_u64()) {
        ("hold_ms" | "extend_max_ms", Some(ms)) => format_duration(ms),
        ("lease_ms", Some(ms)) => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        _ => match value.as_array() {
            Some(list) => list.iter().map(text).collect::<Vec<_>>().join(" "),
            None => text(value),
        },
    }
}

/// The members of sales and reservations, in the order of output.
const ORDER: [&str; 28] = [
    "id",
    "sale",
    "user",
    "quantity",
    "lines",
    "quantity_asked",
    "lines_asked",
    "status",
    "expires_at",
    "first_expires_at",
    "note",
    "state",
    "total",
    "free",
    "held",
    "confirmed",
    "sold_per_s",
    "types",
    "limit_per_user",
    "quantity_min",
    "quantity_max",
    "reservations_max",
    "reservations_per_user_max",
    "hold_ms",
    "extend_max_ms",
    "opens_at",
    "closes_at",
    "splits",
];

/// The members of an object, one per line.
pub fn members(out: &mut dyn Write, object: &Value) -> io::Result<()> {
    let mut members: Vec<_> = object.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(99));
    for (name, value) in members {
        if let ("types", Some(types)) = (name.as_str(), value.as_object()) {
            types.iter().try_for_each(|(name, one)| ticket_type(out, name, one))?;
            continue;
        }
        let label = match name.as_str() {
            "hold_ms" => "hold",
            "extend_max_ms" => "extend_max",
            // Names are up to 15 characters, as the column has it.
            "reservations_max" => "reservations",
            "reservations_per_user_max" => "made_per_user",
            "first_expires_at" => "first_expires",
            name => name,
        };
        writeln!(out, "{label:<16}{}", cell(name, value))?;
    }
    Ok(())
}

/// A ticket type, under its sale.
fn ticket_type(out: &mut dyn Write, name: &str, one: &Value) -> io::Result<()> {
    let [cap, free, held, confirmed] =
        ["cap", "free", "held", "confirmed"].map(|of| text(&one[of]));
    writeln!(
        out,
        "{:<16}{name}: cap {cap}, free {free}, held {held}, confirmed {confirmed}",
        "type"
    )
}

/// A column: its title, the member that it shows, and whether that is a count.
type Column = (&'static str, &'static str, bool);

const SALE_COLUMNS: [Column; 10] = [
    ("SALE", "id", false),
    ("STATE", "state", false),
    ("TOTAL", "total", true),
    ("FREE", "free", true),
    ("HELD", "held", true),
    ("CONFIRMED", "confirmed", true),
    ("LIMIT", "limit_per_user", true),
    ("HOLD", "hold_ms", false),
    ("OPENS", "opens_at", false),
    ("CLOSES", "closes_at", false),
];

const INSTANCE_COLUMNS: [Column; 8] = [
    ("INSTANCE", "name", false),
    ("STATE", "state", false),
    ("CORES", "cores", true),
    ("ALLOWANCE", "allowance", true),
    ("LEASE", "lease_ms", true),
    ("SINCE", "since", false),
    ("VERSION", "version", false),
    ("ADDRESS", "addresses", false),
];

/// Units sold per second, where they are measured.
const RATE_COLUMN: Column = ("SOLD/S", "sold_per_s", true);

/// Sales, one per line under a heading.
pub fn sales(out: &mut dyn Write, sales: &[Value]) -> io::Result<()> {
    let mut columns = SALE_COLUMNS.to_vec();
    if sales.iter().any(|sale| sale.get("sold_per_s").is_some()) {
        let after_confirmed = columns.iter().position(|(_, name, _)| *name == "limit_per_user");
        columns.insert(after_confirmed.unwrap_or_default(), RATE_COLUMN);
    }
    rows(out, &columns, sales)
}

/// Servers, one per line under a heading.
pub fn instances(out: &mut dyn Write, instances: &[Value]) -> io::Result<()> {
    rows(out, &INSTANCE_COLUMNS, instances)
}

fn rows(out: &mut dyn Write, columns: &[Column], objects: &[Value]) -> io::Result<()> {
    let row = |object: &Value| -> Vec<String> {
        columns.iter().map(|(_, name, _)| cell(name, &object[name])).collect()
    };
    let mut rows = vec![columns.iter().map(|(title, ..)| (*title).to_owned()).collect()];
    rows.extend(objects.iter().map(row));
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for row in &rows {
        let mut line = String::new();
        for ((cell, width), (_, _, is_count)) in row.iter().zip(&widths).zip(columns) {
            // Counts are aligned to the right.
            line +=
                &if *is_count { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
