//! JSON bodies of the control port. Parsing is strict: an unknown or repeated member or a wrong
//! value is an error that names the member.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::request::Request;
use crate::config::parse_time;
use crate::engine::http::{Kind, Problem};
use crate::limits::{HOLD_MS_MAX, QUANTITY_MAX, SPLITS_MAX, TIME_MS_MAX, TOTAL_MAX};
use crate::route::{parse_remaining, whole_number};
use crate::sale::{
    Remaining, SaleId, SaleSpec, SpecError, Split, Terms, TypeName, Types, TypesError,
};

/// The members of an object in their order, including repeated ones.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl Members {
    /// The body's members, all of which must be in `names`.
    fn read(request: &Request, names: &[&'static str]) -> Result<Self, Problem> {
        request.media.check_json()?;
        let members: Self =
            serde_json::from_slice(&request.body).map_err(|error| match error.classify() {
                Category::Data => Problem::invalid("body", "The body is not a JSON object."),
                _ => Problem::new(Kind::BAD_REQUEST, format!("The body is not JSON: {error}.")),
            })?;
        for (at, (name, _)) in members.0.iter().enumerate() {
            if !names.contains(&name.as_str()) {
                let shown: String = name.chars().take(64).collect();
                let detail = format!("{shown:?} is none of {}.", names.join(", "));
                return Err(Problem::invalid("body", detail).with("member", shown));
            }
            if members.0[..at].iter().any(|(other, _)| other == name) {
                return Err(Problem::invalid("body", format!("{name} is given twice.")));
            }
        }
        Ok(members)
    }

    /// A member; `null` counts as missing.
    fn get(&self, name: &str) -> Option<&Value> {
        let found = self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        found.filter(|value| !value.is_null())
    }

    /// Whether a member is there and `null`.
    fn is_null(&self, name: &str) -> bool {
        self.0.iter().any(|(other, value)| other == name && value.is_null())
    }

    /// A boolean; missing counts as false.
    fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(is_so)) => Ok(*is_so),
            Some(_) => Err(Problem::invalid(name, format!("{name} must be true or false."))),
        }
    }

    /// A whole number within a range. `None`: missing.
    fn number(&self, name: &'static str, min: u64, max: u64) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = || {
            Problem::invalid(name, format!("{name} must be a whole number from {min} to {max}."))
        };
        let number = whole(value).filter(|number| (min..=max).contains(number));
        number.map(Some).ok_or_else(wrong)
    }

    /// Ticket types with their caps, `{"adult": 60}`. Missing: none.
    fn types(&self, body: &[u8]) -> Result<Types, Problem> {
        if self.get("types").is_none() {
            return Ok(Types::default());
        }
        let wrong = || {
            let detail =
                "types must be an object of caps by name, as {\"adult\": 60, \"child\": 40}.";
            Problem::invalid("types", detail)
        };
        // A `Value` does not keep repeated members.
        let named: TypesOfBody = serde_json::from_slice(body).map_err(|_| wrong())?;
        let caps = named.types.0.iter().map(|(name, cap)| {
            let name = TypeName::new(name).map_err(invalid_types)?;
            Ok((name, whole(cap).ok_or_else(wrong)?))
        });
        Types::new(caps.collect::<Result<Vec<_>, Problem>>()?).map_err(invalid_types)
    }

    /// A time in ms since 1970. `None`: missing.
    fn time(&self, name: &'static str) -> Result<Option<u64>, Problem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let time = value.as_str().ok_or_else(|| "must be a string".to_owned()).and_then(parse_time);
        time.map(Some).map_err(|problem| Problem::invalid(name, format!("{name} {problem}.")))
    }
}

/// The ticket types of a body, including repeated ones.
#[derive(serde::Deserialize)]
struct TypesOfBody {
    types: Members,
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().and_then(whole_number))
}

fn invalid_types(error: TypesError) -> Problem {
    Problem::invalid("types", format!("{error}."))
}

fn required(name: &'static str) -> Problem {
    Problem::invalid(name, format!("{name} is required."))
}

/// Converts a number that was checked to be small enough.
fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The definition of a sale. Missing members have their defaults.
pub fn sale(request: &Request) -> Result<(SaleId, SaleSpec), Problem> {
    let names = [
        "id",
        "total",
        "opens_at",
        "closes_at",
        "limit_per_user",
        "quantity_min",
        "quantity_max",
        "hold_ms",
        "extend_max_ms",
        "reservations_max",
        "reservations_per_user_max",
        "types",
        "splits",
    ];
    let body = Members::read(request, &names)?;
    let id = match body.get("id") {
        Some(Value::String(id)) => {
            SaleId::new(id).map_err(|error| Problem::invalid("id", format!("{error}.")))?
        }
        Some(_) => return Err(Problem::invalid("id", "id must be a string.")),
        None => return Err(required("id")),
    };
    let total = body.number("total", 0, TOTAL_MAX)?.ok_or_else(|| required("total"))?;
    let mut spec = SaleSpec::with_total(total);
    if let Some(limit) = body.number("limit_per_user", 0, u32::MAX.into())? {
        spec.limit_per_user = small(limit);
    }
    if let Some(quantity) = body.number("quantity_max", 1, QUANTITY_MAX.into())? {
        spec.quantity_max = small(quantity);
    }
    if let Some(quantity) = body.number("quantity_min", 1, QUANTITY_MAX.into())? {
        spec.rules.quantity_min = small(quantity);
    }
    if let Some(hold_ms) = body.number("hold_ms", 1, HOLD_MS_MAX)? {
        spec.hold_ms = hold_ms;
    }
    if let Some(extend_max_ms) = body.number("extend_max_ms", 0, HOLD_MS_MAX)? {
        spec.rules.extend_max_ms = extend_max_ms;
    }
    if let Some(count) = body.number("reservations_max", 0, TOTAL_MAX)? {
        spec.rules.reservations_max = Some(count);
    }
    if let Some(count) = body.number("reservations_per_user_max", 0, u32::MAX.into())? {
        spec.rules.reservations_per_user_max = small(count);
    }
    if let Some(parts) = body.number("splits", 1, SPLITS_MAX.into())? {
        spec.split = Split::into_parts(small(parts));
    }
    spec.types = body.types(&request.body)?;
    if let Some(opens_at_ms) = body.time("opens_at")? {
        spec.opens_at_ms = opens_at_ms;
    }
    if let Some(closes_at_ms) = body.time("closes_at")? {
        spec.closes_at_ms = closes_at_ms;
    }
    spec.check().map_err(out_of_range)?;
    Ok((id, spec))
}

/// The problem for a wrong definition or wrong terms.
fn out_of_range(error: SpecError) -> Problem {
    let name = match error {
        SpecError::Times(..) => {
            return Problem::invalid("closes_at", "opens_at must be before closes_at.");
        }
        SpecError::Total(_) => "total",
        SpecError::Hold(_) => "hold_ms",
        SpecError::Splits(_) => "splits",
        SpecError::QuantityMin(..) => "quantity_min",
        SpecError::Extend(_) => "extend_max_ms",
        SpecError::Reservations(_) => "reservations_max",
        SpecError::TypesSplit => "types",
        SpecError::SeatsSplit => "splits",
        SpecError::SeatsDiffer => "total",
        SpecError::SeatsPerReservation(_) => "quantity_max",
        SpecError::Quantity(_) => "quantity_max",
    };
    Problem::invalid(name, format!("{error}."))
}

/// The units that are to remain: `{"remaining": N}`, or in a sale with ticket types `{"remaining":
/// {"adult": N}}`. `None`: the member or the body is missing.
pub fn remaining(request: &Request) -> Result<Option<Remaining>, Problem> {
    parse_remaining(&request.body, request.media)
}

/// The new hold time from now: `{"hold_ms": N}`; the member is optional.
pub fn extension(request: &Request) -> Result<Option<u64>, Problem> {
    if request.body.is_empty() {
        return Ok(None);
    }
    Members::read(request, &["hold_ms"])?.number("hold_ms", 1, HOLD_MS_MAX)
}

/// How to reset a sale: `{"total": N, "force": true}`; both members and the body are optional.
pub fn reset(request: &Request) -> Result<(Option<u64>, bool), Problem> {
    if request.body.is_empty() {
        return Ok((None, false));
    }
    let body = Members::read(request, &["total", "force"])?;
    Ok((body.number("total", 0, TOTAL_MAX)?, body.flag("force")?))
}

/// The terms to change, in the form in which a sale is shown. `null` means: never closes, no limit,
/// or no bound on reservations.
pub fn terms(request: &Request) -> Result<Terms, Problem> {
    let names = [
        "closes_at",
        "hold_ms",
        "limit_per_user",
        "quantity_max",
        "quantity_min",
        "extend_max_ms",
        "reservations_max",
        "reservations_per_user_max",
    ];
    let body = Members::read(request, &names)?;
    if body.0.is_empty() {
        return Err(Problem::invalid(
            "body",
            format!("Name at least one member to change: {}.", names.join(", ")),
        ));
    }
    for name in ["hold_ms", "quantity_max", "quantity_min", "extend_max_ms"] {
        if body.is_null(name) {
            return Err(Problem::invalid(name, format!("{name} must be a whole number.")));
        }
    }
    let per_user = |name: &'static str| -> Result<Option<u32>, Problem> {
        let limit = body.number(name, 0, u32::MAX.into())?;
        Ok(limit.or(body.is_null(name).then_some(0)).map(small))
    };
    let reservations_max = body.number("reservations_max", 0, TOTAL_MAX)?;
    let terms = Terms {
        closes_at_ms: body.time("closes_at")?.or(body.is_null("closes_at").then_some(TIME_MS_MAX)),
        hold_ms: body.number("hold_ms", 1, HOLD_MS_MAX)?,
        limit_per_user: per_user("limit_per_user")?,
        quantity_max: body.number("quantity_max", 1, QUANTITY_MAX.into())?.map(small),
        quantity_min: body.number("quantity_min", 1, QUANTITY_MAX.into())?.map(small),
        extend_max_ms: body.number("extend_max_ms", 0, HOLD_MS_MAX)?,
        reservations_max: match reservations_max {
            None => body.is_null("reservations_max").then_some(None),
            max => Some(max),
        },
        reservations_per_user_max: per_user("reservations_per_user_max")?,
    };
    terms.check().map_err(out_of_range)?;
    Ok(terms)
}

/// The units to take back: `{"units": N, "at_most": true}`; `at_most` is optional.
pub fn units_to_take(request: &Request) -> Result<(u64, bool), Problem> {
    let body = Members::read(request, &["units", "at_most"])?;
    let units = body.number("units", 1, TOTAL_MAX)?.ok_or_else(|| required("units"))?;
    Ok((units, body.flag("at_most")?))
}

/// The units to add: `{"units": N}`.
pub fn units(request: &Request) -> Result<u64, Problem> {
    let body = Members::read(request, &["units"])?;
    body.number("units", 1, TOTAL_MAX)?.ok_or_else(|| required("units"))
}
