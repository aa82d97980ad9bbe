//! Sales and reservations as people read them.

use std::io::{self, Write};

use serde_json::Value;

use crate::config::format_duration;

/// A value as text; nothing is a dash.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn cell(name: &str, value: &Value) -> String {
    match (name, value.as_u64()) {
        ("hold_ms", Some(ms)) => format_duration(ms),
        _ => text(value),
    }
}

/// The members of sales and reservations, in the order in which they are read.
const ORDER: [&str; 16] = [
    "id",
    "sale",
    "user",
    "quantity",
    "status",
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
    "splits",
];

/// The members of an object, one a line.
pub fn members(out: &mut dyn Write, object: &Value) -> io::Result<()> {
    let mut members: Vec<_> = object.as_object().into_iter().flatten().collect();
    members.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(99));
    for (name, value) in members {
        let label = if name == "hold_ms" { "hold" } else { name };
        writeln!(out, "{label:<16}{}", cell(name, value))?;
    }
    Ok(())
}

const COLUMNS: [(&str, &str); 10] = [
    ("SALE", "id"),
    ("STATE", "state"),
    ("TOTAL", "total"),
    ("FREE", "free"),
    ("HELD", "held"),
    ("CONFIRMED", "confirmed"),
    ("LIMIT", "limit_per_user"),
    ("HOLD", "hold_ms"),
    ("OPENS", "opens_at"),
    ("CLOSES", "closes_at"),
];

/// Sales, one a line under a heading.
pub fn sales(out: &mut dyn Write, sales: &[Value]) -> io::Result<()> {
    let mut rows = vec![COLUMNS.map(|(title, _)| title.to_owned())];
    rows.extend(sales.iter().map(|sale| COLUMNS.map(|(_, name)| cell(name, &sale[name]))));
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0);
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    for row in &rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Counts stand to the right, so that their digits do.
            let is_count = (2..=6).contains(&at);
            line +=
                &if is_count { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
