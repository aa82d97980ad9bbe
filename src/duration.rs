//! Parses and formats durations: a whole number and a unit, as in 30s.

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a duration, in ms.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
    let value_ms =
        number.parse::<u64>().ok().zip(unit_ms).and_then(|(number, ms)| number.checked_mul(ms));
    value_ms.ok_or_else(|| {
        let problem = match unit {
            "" if digits > 0 => "; the unit is missing".to_owned(),
            _ if digits > 0 && unit_ms.is_none() && unit.chars().all(char::is_alphabetic) => {
                format!("; {unit} is not a unit")
            }
            _ => String::new(),
        };
        format!("must be a whole number and a unit: 500ms, 30s, 5m, 2h or 1d{problem}")
    })
}

/// Formats a duration for a setting, in the largest exact unit.
pub fn format_duration(ms: u64) -> String {
    let exact = |(_, unit_ms): &&(&str, u64)| ms.is_multiple_of(*unit_ms);
    match UNITS.iter().rev().find(exact) {
        Some((unit, unit_ms)) if ms != 0 => format!("{}{unit}", ms / unit_ms),
        _ => "0s".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ms));
            assert_eq!(format_duration(ms), text);
        }
        assert_eq!(format_duration(0), "0s");
        for bad in ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "5sec", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("213503982335d").is_err(), "overflow");
        assert!(parse_duration("5").unwrap_err().ends_with("or 1d; the unit is missing"));
        assert!(parse_duration("1y").unwrap_err().ends_with("or 1d; y is not a unit"));
        assert!(parse_duration("1.5s").unwrap_err().ends_with("or 1d"));
    }
}
