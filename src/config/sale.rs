//! The definition of a sale as text: `ID=TOTAL[,hold=30s][,limit=1][,quantity=4][,opens=…][,closes=…][,splits=4][,min=2][,extend=5m][,reservations=N][,reservations_per_user=N][,types=adult:60+child:40]`.

use super::source::{closest, did_you_mean};
use super::value::whole_number;
use crate::clock::{parse_rfc3339, rfc3339};
use crate::duration::{format_duration, parse_duration};
use crate::limits::{HOLD_MS_MAX, QUANTITY_MAX, SPLITS_MAX, TOTAL_MAX};
use crate::sale::{Lines, SaleId, SaleSpec, Split, TypeName, Types};

const KEYS: [&str; 11] = [
    "hold",
    "limit",
    "quantity",
    "opens",
    "closes",
    "splits",
    "min",
    "extend",
    "reservations",
    "reservations_per_user",
    "types",
];

/// Parses a definition. `split` holds for a sale without splits=.
pub fn parse(text: &str, split: Split) -> Result<(SaleId, SaleSpec), String> {
    let mut parts = text.split(',');
    let (id, total) = parts
        .next()
        .and_then(|part| part.split_once('='))
        .ok_or("must be ID=TOTAL, then optional settings, such as ticket=10000,hold=30s")?;
    let id = SaleId::new(id).map_err(|error| error.to_string())?;
    let total = whole_number(total, 0, TOTAL_MAX).map_err(|problem| format!("total {problem}"))?;
    let mut spec = SaleSpec { split, ..SaleSpec::with_total(total) };
    let mut seen: Vec<&str> = Vec::new();
    for part in parts {
        let (key, value) = part.split_once('=').ok_or_else(|| no_pair(part, seen.is_empty()))?;
        if seen.contains(&key) {
            return Err(format!("{key} is given twice"));
        }
        seen.push(key);
        set(&mut spec, key, value)?;
    }
    if spec.opens_at_ms >= spec.closes_at_ms {
        return Err("opens must be before closes".into());
    }
    spec.check().map_err(|error| error.to_string())?;
    Ok((id, spec))
}

/// The error of a part that is not `NAME=VALUE`.
fn no_pair(part: &str, is_first: bool) -> String {
    if part.is_empty() {
        return "has a comma with nothing after it".into();
    }
    if is_first && part.bytes().all(|byte| byte.is_ascii_digit()) {
        return "write the total without a comma, as in 10000".into();
    }
    format!("`{part}` must be a NAME=VALUE of {}", KEYS.join(", "))
}

/// Warnings about a definition that is legal but probably a mistake. The sale starts at `now_ms`.
pub fn doubts(id: &SaleId, spec: &SaleSpec, now_ms: u64) -> Vec<String> {
    let mut doubts = Vec::new();
    if spec.total == 0 && spec.types.is_empty() {
        doubts
            .push(format!("sale {id}: the total is 0, so nothing is for sale until you add stock"));
    } else if u64::from(spec.rules.quantity_min) > spec.total {
        doubts.push(format!(
            "sale {id}: nobody can buy, since min={} is more than the total, {}",
            spec.rules.quantity_min, spec.total
        ));
    }
    if spec.closes_at_ms <= now_ms {
        let closed = rfc3339(spec.closes_at_ms);
        doubts.push(format!("sale {id}: nobody can buy, since closes={closed} is in the past"));
    }
    let parts = spec.split.parts();
    if spec.total < u64::from(parts) && spec.total > 0 {
        doubts.push(format!("sale {id}: splits={parts} is more than the total, {}", spec.total));
    }
    doubts
}

fn set(spec: &mut SaleSpec, key: &str, value: &str) -> Result<(), String> {
    let named = |problem: String| format!("{key} {problem}");
    match key {
        "hold" => {
            let hold_ms = if value == "0" { 0 } else { parse_duration(value).map_err(named)? };
            if !(1..=HOLD_MS_MAX).contains(&hold_ms) {
                return Err(format!("hold must be from 1ms to {}", format_duration(HOLD_MS_MAX)));
            }
            spec.hold_ms = hold_ms;
        }
        "limit" => {
            spec.limit_per_user = whole_number(value, 0, u32::MAX.into()).map_err(named)? as u32;
        }
        "quantity" => {
            spec.quantity_max = whole_number(value, 1, QUANTITY_MAX.into()).map_err(named)? as u32;
        }
        "min" => {
            let units = whole_number(value, 1, QUANTITY_MAX.into()).map_err(named)?;
            spec.rules.quantity_min = units as u32;
        }
        "extend" => {
            let extend_max_ms =
                if value == "0" { 0 } else { parse_duration(value).map_err(named)? };
            if extend_max_ms > HOLD_MS_MAX {
                let max = format_duration(HOLD_MS_MAX);
                return Err(format!("extend must be 0, or up to {max}"));
            }
            spec.rules.extend_max_ms = extend_max_ms;
        }
        "reservations" => {
            let max = whole_number(value, 0, TOTAL_MAX).map_err(named)?;
            spec.rules.reservations_max = Some(max);
        }
        "reservations_per_user" => {
            let max = whole_number(value, 0, u32::MAX.into()).map_err(named)?;
            spec.rules.reservations_per_user_max = max as u32;
        }
        "types" => spec.types = types(value).map_err(named)?,
        "splits" => spec.split = splits(value).map_err(named)?,
        "opens" => spec.opens_at_ms = parse_time(value).map_err(named)?,
        "closes" => spec.closes_at_ms = parse_time(value).map_err(named)?,
        _ => {
            let hint = did_you_mean(closest(key, KEYS.into_iter()));
            return Err(format!("`{key}` is none of {}{hint}", KEYS.join(", ")));
        }
    }
    Ok(())
}

/// The number of parts of a sale.
pub fn splits(text: &str) -> Result<Split, String> {
    whole_number(text, 1, SPLITS_MAX.into()).map(|parts| Split::into_parts(parts as u32))
}

/// Ticket types and their caps: `adult:60+child:40`.
fn types(text: &str) -> Result<Types, String> {
    let named = pairs(text, (1, TOTAL_MAX))
        .ok_or("must be NAME:CAP for each ticket type, such as adult:60+child:40")?;
    Types::new(named).map_err(|error| format!("can't be: {error}"))
}

/// Units per ticket type on the command line: `adult:2+child:1`.
pub fn lines(text: &str) -> Result<Lines, String> {
    let named = pairs(text, (0, QUANTITY_MAX.into()))
        .ok_or("must be NAME:UNITS for each ticket type, such as adult:2+child:1")?;
    Lines::new(named.into_iter().map(|(name, units)| (name, units as u32)))
        .map_err(|error| format!("can't be: {error}"))
}

/// Names of ticket types, each with a number of this range.
fn pairs(text: &str, (min, max): (u64, u64)) -> Option<Vec<(TypeName, u64)>> {
    let pair = |pair: &str| {
        let (name, number) = pair.split_once(':')?;
        Some((TypeName::new(name).ok()?, whole_number(number, min, max).ok()?))
    };
    text.split('+').map(pair).collect()
}

/// A point in time by RFC 3339, in ms since 1970.
pub fn parse_time(text: &str) -> Result<u64, String> {
    parse_rfc3339(text).ok_or_else(|| {
        let has_space = parse_rfc3339(&text.replacen(' ', "T", 1)).is_some();
        let hint = if has_space { "; write T in place of the space" } else { "" };
        format!(
            "must be a time with its offset, such as 2030-01-01T10:00:00+08:00 or \
             2030-01-01T02:00:00Z, from 1970 to 9999{hint}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TIME_MS_MAX;
    use crate::sale::Rules;

    fn parse(text: &str) -> Result<(SaleId, SaleSpec), String> {
        super::parse(text, Split::Whole)
    }

    #[test]
    fn rules_are_parsed_from_a_definition() {
        let rules = |text: &str| parse(text).map(|(_, spec)| spec.rules);
        let all =
            rules("ticket=9,min=2,extend=10m,reservations=90,reservations_per_user=7").unwrap();
        let want = Rules {
            quantity_min: 2,
            extend_max_ms: 600_000,
            reservations_max: Some(90),
            reservations_per_user_max: 7,
        };
        assert_eq!((all, rules("ticket=9").unwrap()), (want, Rules::default()));
        assert_eq!(rules("ticket=9,extend=0").unwrap().extend_max_ms, 0);
        for bad in ["min=0", "min=11", "extend=367d", "reservations=-1", "reservations=9,splits=2"]
        {
            assert!(rules(&format!("ticket=9,{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn suspicious_definitions_give_warnings() {
        let doubts = |text: &str| {
            let (id, spec) = parse(text).unwrap();
            doubts(&id, &spec, 1_000_000_000_000).join("; ")
        };
        assert_eq!(doubts("ticket=10"), "");
        assert!(doubts("ticket=0").contains("sale ticket: the total is 0"));
        assert!(doubts("ticket=5,min=6").contains("min=6 is more than the total, 5"));
        assert!(doubts("ticket=2,splits=4").contains("splits=4 is more than the total, 2"));
        let past = doubts("ticket=5,closes=2001-01-01T00:00:00Z");
        assert!(past.contains("closes=2001-01-01T00:00:00.000Z is in the past"), "{past}");
        assert_eq!(doubts("ticket=5,opens=2001-01-01T00:00:00Z"), "", "it is open");
    }

    #[test]
    fn near_misses_are_answered_with_the_right_form() {
        for (text, problem) in [
            ("ticket=10_000", "write 10000"),
            ("ticket=10,000", "write the total without a comma"),
            ("ticket=1,", "has a comma with nothing after it"),
            ("ticket=1,hold=0", "hold must be from 1ms to 366d"),
            ("ticket=1,hold=5", "the unit is missing"),
            ("ticket=1,opens=2030-01-01 10:00:00+08:00", "write T in place of the space"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(problem), "{text}: {told}");
        }
    }

    #[test]
    fn ticket_types_are_parsed_from_a_definition() {
        let types = |text: &str| parse(text).map(|(_, spec)| spec.types.to_text());
        let given = types("ticket=100,types=child:40+adult:60,limit=4");
        assert_eq!(given.as_deref(), Ok("adult:60,child:40"));
        for (text, told) in [
            ("types=", "types must be NAME:CAP for each ticket type"),
            ("types=adult", "types must be NAME:CAP"),
            ("types=adult:60+", "types must be NAME:CAP"),
            ("types=Adult:60", "types must be NAME:CAP"),
            ("types=adult:0", "types must be NAME:CAP"),
            ("types=adult:1099511627777", "types must be NAME:CAP"),
            ("types=adult:1+adult:2", "is named twice"),
            ("types=adult:1,splits=2", "ticket types"),
        ] {
            let problem = types(&format!("ticket=100,{text}")).unwrap_err();
            assert!(problem.contains(told), "{text}: {problem}");
        }
        let many = (0..17).map(|n| format!("t{n}:1")).collect::<Vec<_>>().join("+");
        let problem = types(&format!("ticket=100,types={many}")).unwrap_err();
        assert!(problem.contains("at most 16"), "{problem}");
    }

    #[test]
    fn lines_are_parsed_as_units_by_ticket_type() {
        let read = |text: &str| lines(text).map(|lines| lines.to_text());
        assert_eq!(read("child:1+adult:2+dog:0").as_deref(), Ok("adult:2,child:1"));
        for bad in ["", "2", "adult", "adult:-1", "adult:1000001", "adult:1+adult:1", "adult:1,b:1"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_definition_is_parsed() {
        let text = "ticket=10000,hold=30s,limit=1,quantity=4,\
                    opens=2030-01-01T10:00:00+08:00,closes=2030-01-01T03:00:00.5Z";
        let (id, spec) = parse(text).unwrap();
        assert_eq!(id.as_str(), "ticket");
        let expected = SaleSpec {
            total: 10_000,
            opens_at_ms: 1_893_463_200_000,
            closes_at_ms: 1_893_466_800_500,
            limit_per_user: 1,
            hold_ms: 30_000,
            quantity_max: 4,
            split: Split::Whole,
            rules: Default::default(),
            types: Default::default(),
            plan: None,
        };
        assert_eq!(spec, expected);
        let (_, spec) = parse("a=8,closes=9999-12-31T23:59:59Z").unwrap();
        assert_eq!(spec.closes_at_ms, TIME_MS_MAX - 999);
        let (_, spec) = parse("a=8,splits=4").unwrap();
        assert_eq!(spec, SaleSpec { split: Split::Head { parts: 4 }, ..SaleSpec::with_total(8) });
        assert_eq!(parse("a=8,splits=1").unwrap().1, SaleSpec::with_total(8));
        assert_eq!(parse("a=0").unwrap().1, SaleSpec::with_total(0));
        assert_eq!(parse(&format!("a={TOTAL_MAX}")).unwrap().1.total, TOTAL_MAX);
    }

    #[test]
    fn every_error_states_the_right_form() {
        for (text, told) in [
            ("", "must be ID=TOTAL"),
            ("ticket", "must be ID=TOTAL"),
            ("=5", "a sale id is"),
            ("Ticket=5", "a sale id is"),
            ("ticket=", "total must be a whole number from 0 to 1099511627776"),
            ("ticket=-5", "total must be a whole number from 0 to 1099511627776"),
            ("ticket=1e4", "total must be a whole number"),
            ("ticket=1099511627777", "total must be a whole number"),
            ("ticket=99999999999999999999", "total must be a whole number"),
            ("ticket=5,", "has a comma with nothing after it"),
            ("ticket=5,hold", "`hold` must be a NAME=VALUE"),
            ("ticket=5,hold=30", "hold must be a whole number and a unit"),
            ("ticket=5,hold=0s", "hold must be from 1ms to 366d"),
            ("ticket=5,hold=367d", "hold must be from 1ms to 366d"),
            ("ticket=5,limit=-1", "limit must be a whole number from 0"),
            ("ticket=5,limit=4294967296", "limit must be a whole number from 0"),
            ("ticket=5,quantity=0", "quantity must be a whole number from 1"),
            ("ticket=5,splits=0", "splits must be a whole number from 1 to 32"),
            ("ticket=5,splits=33", "splits must be a whole number from 1 to 32"),
            ("ticket=5,limits=1", "did you mean limit?"),
            ("ticket=5,limit=1,limit=2", "limit is given twice"),
            ("ticket=5,opens=tomorrow", "opens must be a time with its offset"),
            ("ticket=5,opens=2030-01-01T10:00:00", "opens must be a time with its offset"),
            ("ticket=5,opens=2030-01-01 10:00:00Z", "opens must be a time with its offset"),
            ("ticket=5,opens=2030-01-01T10:00:00+08", "opens must be a time with its offset"),
            ("ticket=5,opens=2030-06-15T12:30:60Z", "opens must be a time with its offset"),
            ("ticket=5,opens=1969-12-31T00:00:00Z", "from 1970"),
            ("ticket=5,opens=2030-13-01T00:00:00Z", "opens must be a time"),
            ("ticket=5,opens=2030-01-01T00:00:00Z,closes=2030-01-01T00:00:00Z", "before closes"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
