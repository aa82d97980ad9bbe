//! Which lines are logged: levels, and levels of targets, as in `info,stampede::ledger=debug`.
//!
//! `tracing`'s larger filter also knows spans and fields. Nothing here opens a span, and that filter
//! compiles two crates for regular expressions.

use tracing_subscriber::filter::{ParseError, Targets};

/// Returns the filter that `text` describes, or why `text` is no filter.
pub(super) fn parse(text: &str) -> Result<Targets, String> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    // `Targets` would take it for a part of the target's name, and so never log it.
    if let Some(part) = parts.iter().find(|part| part.contains(['[', '{', ']', '}'])) {
        return Err(format!("{part}: spans and fields can't be filtered"));
    }
    parts.join(",").parse().map_err(|error: ParseError| error.to_string())
}

/// Checks that `text` is a filter.
///
/// # Errors
/// Says why it is none.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_part_sets_one_target_or_the_default_level() {
        let filter = parse("may=warn, stampede::ledger=debug,INFO").expect("a filter");
        for (target, level, logged) in [
            ("stampede::ledger::redis", Level::DEBUG, true),
            ("stampede::ledger", Level::TRACE, false),
            ("stampede::orders", Level::INFO, true),
            ("stampede::orders", Level::DEBUG, false),
            ("may::net", Level::INFO, false),
        ] {
            assert_eq!(filter.would_enable(target, &level), logged, "{target} {level}");
        }
    }

    #[test]
    fn the_last_part_for_a_target_wins() {
        let filter = parse("may=warn,info,may=debug").expect("a filter");
        assert!(filter.would_enable("may", &Level::DEBUG));
    }

    #[test]
    fn malformed_filters_are_refused() {
        for (text, why) in [
            ("stampede=loud", "level"),
            ("a=b=c", "="),
            ("stampede[purchase]=debug", "spans"),
            ("stampede[{user=ann}]=debug", "spans"),
            ("[{user}]", "spans"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
