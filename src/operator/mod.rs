//! An operator's commands: `stampede sale …`, `stampede reservation …`, `stampede instances` and
//! `stampede audit`.
//!
//! A command makes requests of the control port's API. They go to a running server over HTTP, or,
//! with `--ledger`, to the same API in this process, over a client of the ledger itself. So both
//! ways know the same words and give the same answers.
//!
//! Architecture invariant: decides nothing about sales, and prints nothing: it writes what it is to
//! say to the writer it is given.

mod archive;
mod arguments;
mod audit;
mod backup;
mod failure;
mod finding;
mod http;
mod ledger;
mod moving;
mod progress;
mod restoring;
mod table;
mod token;
mod way;

use std::io::{self, Write};

use serde_json::{Value, json};

pub use audit::audit;
pub use backup::{backup, restore};
pub use failure::Failure;
pub use ledger::{embedded_client, open_client, redis_client};
pub use moving::move_sales;
pub use token::{token, token_keys};

use self::arguments::{check_sale, shown};
use self::way::{Way, value};
use crate::cli::{OperatorOptions, ReservationAction, SaleAction, TermsOptions};
use crate::clock::rfc3339;
use crate::config::{
    duration_within, parse_lines, parse_sale, parse_splits, parse_time, whole_number,
};
use crate::control::request::Request;
use crate::engine::http::Method;
use crate::limits::{CONTROL_PAGE_MAX, HOLD_MS_MAX, QUANTITY_MAX, TIME_MS_MAX, TOTAL_MAX};
use crate::sale::{ReservationId, SaleId, SaleSpec, Split};

/// Does something with sales.
pub fn sale(
    action: &SaleAction,
    options: &OperatorOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // What is wrong with the command line is said before anybody is asked.
    let requests = sale_requests(action)?;
    if let SaleAction::Restore { from } = action {
        return restoring::restore(from, options, out);
    }
    let mut way = Way::open(options)?;
    if let SaleAction::Archive { id, to } = action {
        let count = archive::write(&mut way, id, to)?;
        return say(options, out, &json!({ "id": id, "archived": count, "file": to }), |out| {
            writeln!(out, "{id}: the sale and {count} reservations are in {to}")
        });
    }
    if let SaleAction::List = action {
        return list(&mut way, options, out);
    }
    for request in requests {
        let is_post = request.target == "/v1/sales";
        let reply = way.ask(&request)?;
        let status = reply.status;
        let sale = value(reply)?;
        say(options, out, &sale, |out| match action {
            SaleAction::Remove { id } => writeln!(out, "{id}: removed"),
            SaleAction::Create { .. } if is_post => {
                let what = if status == 201 { "created" } else { "exists already, as asked" };
                writeln!(out, "{}: {what}", table::text(&sale["id"]))
            }
            _ => table::members(out, &sale),
        })?;
    }
    Ok(())
}

/// Does something with a reservation.
pub fn reservation(
    action: &ReservationAction,
    options: &OperatorOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (id, verb, body) = match action {
        ReservationAction::Show { id } => (id, "", None),
        ReservationAction::Confirm { id } => (id, "/confirm", None),
        ReservationAction::Extend { id, hold } => (id, "/extend", hold_of(hold.as_deref())?),
        ReservationAction::Cancel { id, remaining } => (id, "/cancel", remaining_of(remaining)?),
        ReservationAction::Refund { id, remaining } => (id, "/refund", remaining_of(remaining)?),
    };
    let method = if verb.is_empty() { Method::Get } else { Method::Post };
    ReservationId::from_public(id)
        .map_err(|error| Failure::Usage(format!("{}: {error}", shown(id))))?;
    let mut way = Way::open(options)?;
    let request = Request::new(method, format!("/v1/reservations/{id}{verb}"));
    let request = match &body {
        None => request,
        Some(body) => request.with_json(body),
    };
    let reservation = value(way.ask(&request)?)?;
    say(options, out, &reservation, |out| table::members(out, &reservation))
}

fn hold_of(hold: Option<&str>) -> Result<Option<Value>, Failure> {
    let Some(text) = hold else { return Ok(None) };
    let hold_ms = duration_within(text, (1, HOLD_MS_MAX))
        .map_err(|problem| Failure::Usage(format!("--hold {}: {problem}", shown(text))))?;
    Ok(Some(json!({ "hold_ms": hold_ms })))
}

fn remaining_of(remaining: &Option<String>) -> Result<Option<Value>, Failure> {
    let Some(text) = remaining else { return Ok(None) };
    let wrong = |problem| Failure::Usage(format!("--remaining {}: {problem}", shown(text)));
    let remaining = if text.contains(':') {
        let lines = parse_lines(text).map_err(wrong)?;
        lines.iter().map(|(name, units)| (name.to_string(), json!(units))).collect()
    } else {
        json!(whole_number(text, 0, QUANTITY_MAX.into()).map_err(wrong)?)
    };
    Ok(Some(json!({ "remaining": remaining })))
}

/// Shows the servers that share the ledger.
pub fn instances(options: &OperatorOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let mut way = Way::open(options)?;
    let list = value(way.ask(&Request::new(Method::Get, "/v1/instances"))?)?;
    let instances = list["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    if options.json {
        instances.iter().try_for_each(|instance| writeln!(out, "{instance}"))?;
    } else if instances.is_empty() {
        writeln!(out, "no server uses this ledger")?;
    } else {
        table::instances(out, instances)?;
    }
    Ok(())
}

/// What an action asks, in order. None for those that see to it themselves.
fn sale_requests(action: &SaleAction) -> Result<Vec<Request>, Failure> {
    let on = |method, id: &str, verb: &str| -> Result<Request, Failure> {
        check_sale(id)?;
        Ok(Request::new(method, format!("/v1/sales/{id}{verb}")))
    };
    Ok(vec![match action {
        SaleAction::Create { sales, splits } => {
            let split = splits.as_deref().map_or(Ok(Split::Whole), |text| {
                parse_splits(text).map_err(|problem| {
                    Failure::Usage(format!("--splits {}: {problem}", shown(text)))
                })
            })?;
            let create = |text: &String| {
                let (id, spec) = parse_sale(text, split)
                    .map_err(|problem| Failure::Usage(format!("{}: {problem}", shown(text))))?;
                Ok(Request::new(Method::Post, "/v1/sales").with_json(&definition(&id, &spec)))
            };
            return sales.iter().map(create).collect();
        }
        SaleAction::Open { id } => on(Method::Post, id, "/open")?,
        SaleAction::Close { id } => on(Method::Post, id, "/close")?,
        SaleAction::AddStock { id, units } => {
            on(Method::Post, id, "/add-stock")?.with_json(&json!({ "units": units_of(units)? }))
        }
        SaleAction::TakeStock { id, units, at_most } => {
            let body = json!({ "units": units_of(units)?, "at_most": at_most });
            on(Method::Post, id, "/take-stock")?.with_json(&body)
        }
        SaleAction::Change { id, terms } => {
            on(Method::Patch, id, "")?.with_json(&changed_terms(terms)?)
        }
        SaleAction::Reset { id, total, force } => {
            let total = total.as_deref().map(|text| {
                whole_number(text, 0, TOTAL_MAX).map_err(|problem| {
                    Failure::Usage(format!("--total {}: {problem}", shown(text)))
                })
            });
            let body = json!({ "total": total.transpose()?, "force": force });
            on(Method::Post, id, "/reset")?.with_json(&body)
        }
        SaleAction::Show { id } => on(Method::Get, id, "")?,
        SaleAction::Remove { id } => on(Method::Delete, id, "")?,
        SaleAction::List | SaleAction::Restore { .. } => return Ok(Vec::new()),
        SaleAction::Archive { id, .. } => {
            check_sale(id)?;
            return Ok(Vec::new());
        }
    }])
}

fn units_of(text: &str) -> Result<u64, Failure> {
    whole_number(text, 1, TOTAL_MAX)
        .map_err(|problem| Failure::Usage(format!("{}: UNITS {problem}", shown(text))))
}

/// New terms of a sale as the control port takes them.
fn changed_terms(terms: &TermsOptions) -> Result<Value, Failure> {
    let wrong = |flag: &'static str, text: String| {
        move |problem: String| Failure::Usage(format!("--{flag} {}: {problem}", shown(&text)))
    };
    let mut body = serde_json::Map::new();
    if let Some(text) = &terms.closes_at {
        let closes_at = match text.as_str() {
            "never" => None,
            text => Some(rfc3339(parse_time(text).map_err(wrong("closes-at", text.to_owned()))?)),
        };
        body.insert("closes_at".into(), closes_at.into());
    }
    if let Some(text) = &terms.hold {
        let hold_ms =
            duration_within(text, (1, HOLD_MS_MAX)).map_err(wrong("hold", text.clone()))?;
        body.insert("hold_ms".into(), hold_ms.into());
    }
    if let Some(text) = &terms.limit {
        let limit = whole_number(text, 0, u32::MAX.into()).map_err(wrong("limit", text.clone()))?;
        body.insert("limit_per_user".into(), limit.into());
    }
    if let Some(text) = &terms.quantity_max {
        let quantity = whole_number(text, 1, QUANTITY_MAX.into())
            .map_err(wrong("quantity-max", text.clone()))?;
        body.insert("quantity_max".into(), quantity.into());
    }
    if let Some(text) = &terms.quantity_min {
        let quantity = whole_number(text, 1, QUANTITY_MAX.into())
            .map_err(wrong("quantity-min", text.clone()))?;
        body.insert("quantity_min".into(), quantity.into());
    }
    if let Some(text) = &terms.extend {
        let extend_max_ms = match text.as_str() {
            "0" => 0,
            text => {
                duration_within(text, (1, HOLD_MS_MAX)).map_err(wrong("extend", text.to_owned()))?
            }
        };
        body.insert("extend_max_ms".into(), extend_max_ms.into());
    }
    if let Some(text) = &terms.reservations {
        let max = match text.as_str() {
            "default" => None,
            text => Some(
                whole_number(text, 0, TOTAL_MAX).map_err(wrong("reservations", text.to_owned()))?,
            ),
        };
        body.insert("reservations_max".into(), max.into());
    }
    if let Some(text) = &terms.reservations_per_user {
        let max = whole_number(text, 0, u32::MAX.into())
            .map_err(wrong("reservations-per-user", text.clone()))?;
        body.insert("reservations_per_user_max".into(), max.into());
    }
    Ok(body.into())
}

/// A sale as the control port takes it.
fn definition(id: &SaleId, spec: &SaleSpec) -> Value {
    let time = |ms: u64, none: u64| (ms != none).then(|| rfc3339(ms));
    let types: serde_json::Map<_, _> =
        spec.types.iter().map(|(name, cap)| (name.to_string(), cap.into())).collect();
    json!({
        "id": id.as_str(),
        "total": spec.total,
        "opens_at": time(spec.opens_at_ms, 0),
        "closes_at": time(spec.closes_at_ms, TIME_MS_MAX),
        "limit_per_user": spec.limit_per_user,
        "quantity_min": spec.rules.quantity_min,
        "quantity_max": spec.quantity_max,
        "reservations_max": spec.rules.reservations_max,
        "reservations_per_user_max": spec.rules.reservations_per_user_max,
        "extend_max_ms": spec.rules.extend_max_ms,
        "hold_ms": spec.hold_ms,
        "types": Some(types).filter(|types| !types.is_empty()),
        "splits": Some(spec.split.parts()).filter(|parts| *parts > 1),
    })
}

fn list(way: &mut Way, options: &OperatorOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let mut sales = Vec::new();
    let mut target = format!("/v1/sales?limit={CONTROL_PAGE_MAX}");
    loop {
        let mut page = value(way.ask(&Request::new(Method::Get, target))?)?;
        if let Value::Array(found) = page["sales"].take() {
            sales.extend(found);
        }
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/sales?limit={CONTROL_PAGE_MAX}&after={next}");
    }
    if options.json {
        for sale in &sales {
            writeln!(out, "{sale}")?;
        }
        return Ok(());
    }
    Ok(table::sales(out, &sales)?)
}

/// Writes a line of JSON, or what people read.
fn say(
    options: &OperatorOptions,
    out: &mut dyn Write,
    value: &Value,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    if options.json {
        writeln!(out, "{value}")?
    } else {
        text(out)?
    }
    Ok(())
}
