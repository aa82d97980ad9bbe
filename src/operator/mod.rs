//! An operator's commands: `stampede sale …`, `stampede reservation …`, `stampede instances` and
//! `stampede audit`.
//!
//! A command sends requests to the API of the control port. The requests go to a running server over
//! HTTP, or with `--ledger` to the same API in this process, over a client of the ledger. So both ways
//! accept the same requests and give the same responses.
//!
//! Architecture invariant: decides nothing about sales, and writes its output to the writer that it is
//! given.

mod archive;
mod arguments;
mod audit;
mod backup;
mod failure;
mod generate;
mod common;
mod http;
mod ledger;
mod list;
mod move_sales;
mod progress;
mod restore_sale;
mod table;
mod token;
mod transport;
mod watch;

use std::io::{self, Write};

use serde_json::{Value, json};

pub use audit::{audit, audit_report};
pub use backup::{backup, restore};
pub use failure::Failure;
pub use generate::{completions, man};
pub use http::read_reply;
pub use ledger::{embedded_client, open_client, redis_client};
pub use move_sales::move_sales;
pub use token::{token, token_keys};

use self::arguments::{check_sale, quoted};
use self::list::{Fetched, Listing};
use self::transport::{Transport, json_of};
use crate::cli::{OperatorOptions, ReservationAction, SaleAction, TermsOptions};
use crate::clock::{rfc3339, wall_ms};
use crate::config::{
    closest, duration_within, parse_lines, parse_sale, parse_splits, parse_time, sale_doubts,
    whole_number,
};
use crate::control::request::Request;
use crate::engine::http::Method;
use crate::limits::{HOLD_MS_MAX, QUANTITY_MAX, TIME_MS_MAX, TOTAL_MAX};
use crate::sale::{ReservationId, SaleId, SaleSpec, Split};

/// Runs `stampede sale …`.
pub fn sale(
    action: &SaleAction,
    options: &OperatorOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    // Check the command line before any request is sent.
    let requests = sale_requests(action)?;
    if let SaleAction::Restore { from } = action {
        return restore_sale::restore(from, options, out);
    }
    if let SaleAction::Show { watch, .. } | SaleAction::List { watch } = action
        && let Some(interval) = &watch.interval
    {
        let listing = match action {
            SaleAction::Show { id, .. } => Listing::One(id),
            _ => Listing::All,
        };
        return watch::watch(&listing, watch::interval(interval)?, options, out);
    }
    let mut transport = Transport::open(options)?;
    if let SaleAction::Archive { id, to } = action {
        let count = archive::write(&mut transport, id, to)?;
        return print(options, out, &json!({ "id": id, "archived": count, "file": to }), |out| {
            writeln!(out, "{id}: the sale and {count} reservations are in {to}")
        });
    }
    if let SaleAction::List { .. } = action {
        return match Listing::All.fetch(&mut transport)? {
            Fetched::Sales(sales) if options.json => {
                Ok(sales.iter().try_for_each(|sale| writeln!(out, "{sale}"))?)
            }
            Fetched::Sales(sales) => Ok(Listing::All.print(out, &sales)?),
            Fetched::Away(reason) => Err(Failure::Failed(reason)),
        };
    }
    for request in requests {
        let is_post = request.target == "/v1/sales";
        let reply = transport.send(&request)?;
        let status = reply.status;
        let sale = json_of(reply).map_err(|failure| match status {
            404 => with_guess(failure, &mut transport, &request),
            _ => failure,
        })?;
        print(options, out, &sale, |out| match action {
            SaleAction::Remove { id } => writeln!(out, "{id}: removed"),
            SaleAction::Create { .. } if is_post => {
                let what = if status == 201 { "created" } else { "exists already, as defined" };
                writeln!(out, "{}: {what}", table::text(&sale["id"]))
            }
            _ => table::members(out, &sale),
        })?;
    }
    Ok(())
}

/// Runs `stampede reservation …`.
pub fn reservation(
    action: &ReservationAction,
    options: &OperatorOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (id, verb, body) = match action {
        ReservationAction::Show { id } => (id, "", None),
        ReservationAction::Confirm { id } => (id, "/confirm", None),
        ReservationAction::Extend { id, hold } => (id, "/extend", hold_body(hold.as_deref())?),
        ReservationAction::Cancel { id, remaining } => (id, "/cancel", remaining_body(remaining)?),
        ReservationAction::Refund { id, remaining } => (id, "/refund", remaining_body(remaining)?),
    };
    let method = if verb.is_empty() { Method::Get } else { Method::Post };
    ReservationId::from_public(id)
        .map_err(|error| Failure::Usage(format!("{}: {error}", quoted(id))))?;
    let mut transport = Transport::open(options)?;
    let request = Request::new(method, format!("/v1/reservations/{id}{verb}"));
    let request = match &body {
        None => request,
        Some(body) => request.with_json(body),
    };
    let response = transport.send(&request)?;
    let is_unknown = response.status == 404;
    let reservation = json_of(response).map_err(|failure| match is_unknown {
        true => Failure::Failed(format!("There is no reservation {id}.")),
        false => failure,
    })?;
    print(options, out, &reservation, |out| table::members(out, &reservation))
}

/// Adds the most similar name to the failure that a sale is missing.
fn with_guess(failure: Failure, transport: &mut Transport, request: &Request) -> Failure {
    let mut path = request.target.trim_start_matches("/v1/sales/").split(['/', '?']);
    let id = path.next().unwrap_or_default();
    let Ok(Fetched::Sales(sales)) = Listing::All.fetch(transport) else { return failure };
    let names = sales.iter().filter_map(|sale| sale["id"].as_str());
    match closest(id, names) {
        Some(like) => Failure::Failed(format!("{failure} Did you mean {like}?")),
        None => failure,
    }
}

fn hold_body(hold: Option<&str>) -> Result<Option<Value>, Failure> {
    let Some(text) = hold else { return Ok(None) };
    let hold_ms = duration_within(text, (1, HOLD_MS_MAX))
        .map_err(|problem| Failure::Usage(format!("--hold {}: {problem}", quoted(text))))?;
    Ok(Some(json!({ "hold_ms": hold_ms })))
}

fn remaining_body(remaining: &Option<String>) -> Result<Option<Value>, Failure> {
    let Some(text) = remaining else { return Ok(None) };
    let wrong = |problem| Failure::Usage(format!("--remaining {}: {problem}", quoted(text)));
    let remaining = if text.contains(':') {
        let lines = parse_lines(text).map_err(wrong)?;
        lines.iter().map(|(name, units)| (name.to_string(), json!(units))).collect()
    } else {
        json!(whole_number(text, 0, QUANTITY_MAX.into()).map_err(wrong)?)
    };
    Ok(Some(json!({ "remaining": remaining })))
}

/// Lists the servers that share the ledger.
pub fn instances(options: &OperatorOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let mut transport = Transport::open(options)?;
    let list = json_of(transport.send(&Request::new(Method::Get, "/v1/instances"))?)?;
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

/// The requests of an action, in order. Empty for actions that send their own.
fn sale_requests(action: &SaleAction) -> Result<Vec<Request>, Failure> {
    let on = |method, id: &str, verb: &str| -> Result<Request, Failure> {
        check_sale(id)?;
        Ok(Request::new(method, format!("/v1/sales/{id}{verb}")))
    };
    Ok(vec![match action {
        SaleAction::Create { sales, splits } => {
            let split = splits.as_deref().map_or(Ok(Split::Whole), |text| {
                parse_splits(text).map_err(|problem| {
                    Failure::Usage(format!("--splits {}: {problem}", quoted(text)))
                })
            })?;
            let create = |text: &String| {
                let (id, spec) = parse_sale(text, split)
                    .map_err(|problem| Failure::Usage(format!("{}: {problem}", quoted(text))))?;
                for doubt in sale_doubts(&id, &spec, wall_ms()) {
                    // Standard error may be closed.
                    let _ = writeln!(io::stderr().lock(), "warning: {doubt}");
                }
                Ok(Request::new(Method::Post, "/v1/sales").with_json(&definition(&id, &spec)))
            };
            return sales.iter().map(create).collect();
        }
        SaleAction::Open { id } => on(Method::Post, id, "/open")?,
        SaleAction::Close { id } => on(Method::Post, id, "/close")?,
        SaleAction::AddStock { id, units } => {
            on(Method::Post, id, "/add-stock")?.with_json(&json!({ "units": parse_units(units)? }))
        }
        SaleAction::TakeStock { id, units, at_most } => {
            let body = json!({ "units": parse_units(units)?, "at_most": at_most });
            on(Method::Post, id, "/take-stock")?.with_json(&body)
        }
        SaleAction::Change { id, terms } => {
            on(Method::Patch, id, "")?.with_json(&changed_terms(terms)?)
        }
        SaleAction::Reset { id, total, force } => {
            let total = total.as_deref().map(|text| {
                whole_number(text, 0, TOTAL_MAX).map_err(|problem| {
                    Failure::Usage(format!("--total {}: {problem}", quoted(text)))
                })
            });
            let body = json!({ "total": total.transpose()?, "force": force });
            on(Method::Post, id, "/reset")?.with_json(&body)
        }
        SaleAction::Show { id, .. } => on(Method::Get, id, "")?,
        SaleAction::Remove { id } => on(Method::Delete, id, "")?,
        SaleAction::List { .. } | SaleAction::Restore { .. } => return Ok(Vec::new()),
        SaleAction::Archive { id, .. } => {
            check_sale(id)?;
            return Ok(Vec::new());
        }
    }])
}

fn parse_units(text: &str) -> Result<u64, Failure> {
    whole_number(text, 1, TOTAL_MAX)
        .map_err(|problem| Failure::Usage(format!("{}: UNITS {problem}", quoted(text))))
}

/// New terms of a sale, as a body of the control port.
fn changed_terms(terms: &TermsOptions) -> Result<Value, Failure> {
    let wrong = |flag: &'static str, text: String| {
        move |problem: String| Failure::Usage(format!("--{flag} {}: {problem}", quoted(&text)))
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

/// A sale, as a body of the control port.
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

/// Writes a line of JSON, or text for people.
fn print(
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
