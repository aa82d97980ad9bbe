//! An old and a new build side by side: the ratios within rounds, and what they say.

use std::fmt::Write;

use super::noise::ROUNDS_MIN;
use super::spread::{Spread, ratios, scenarios, spread, values};
use super::tables::shown;
use crate::rows::Row;

/// Names of the two builds, as they stand in `raw.csv`.
pub const OLD: &str = "old";
/// The one that is compared to it.
pub const NEW: &str = "new";

/// A ratio this close to 1 is no difference that anyone cares for.
const NEAR: f64 = 0.01;

/// What the ratios of the rounds say.
pub fn verdict(ratios: &Spread) -> &'static str {
    let Spread { p25, p75, count, .. } = *ratios;
    if count < ROUNDS_MIN {
        "too few rounds"
    } else if p25 >= 1.0 - NEAR && p75 <= 1.0 + NEAR {
        "no difference"
    } else if p25 > 1.0 {
        "more"
    } else if p75 < 1.0 {
        "less"
    } else {
        "within noise"
    }
}

/// The table of ratios: a line for each scenario and each of these figures (name in the table, name
/// in `raw.csv`) that was measured of both builds.
pub fn comparison(rows: &[Row], figures: &[(&str, &str)]) -> String {
    let mut out = String::from(
        "| scenario | figure | old | new | new/old | p25–p75 | min–max | rounds | verdict |\n\
         |---|---|---:|---:|---:|---|---|---:|---|\n",
    );
    for scenario in scenarios(rows) {
        for &(name, figure) in figures {
            let (old, new) = ((scenario, OLD, figure), (scenario, NEW, figure));
            let ratios = ratios(&values(rows, new), &values(rows, old));
            let (Some(ratios), Some(old), Some(new)) = (
                Spread::of(ratios.into_iter().map(|(_, ratio)| ratio)),
                spread(rows, old),
                spread(rows, new),
            ) else {
                continue;
            };
            let (old, new) = (shown(old.median), shown(new.median));
            let Spread { median, p25, p75, min, max, count } = ratios;
            let verdict = verdict(&ratios);
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "| {scenario} | {name} | {old} | {new} | {median:.3} | {p25:.3}–{p75:.3} | \
                 {min:.3}–{max:.3} | {count} | {verdict} |"
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::figure;

    fn of(ratios: &[f64]) -> &'static str {
        verdict(&Spread::of(ratios.iter().copied()).expect("ratios"))
    }

    #[test]
    fn only_quartiles_on_one_side_of_1_are_a_difference() {
        assert_eq!(of(&[1.1, 1.2, 1.1]), "too few rounds");
        assert_eq!(of(&[0.99, 1.02, 1.1, 1.2, 1.3]), "more");
        assert_eq!(of(&[0.7, 0.8, 0.9, 0.98, 1.4]), "less");
        assert_eq!(of(&[0.9, 0.95, 1.1, 1.2, 1.3]), "within noise");
        // The quartiles are told from each other and from 1, but hardly.
        assert_eq!(of(&[0.9, 0.995, 0.998, 0.999, 1.2]), "no difference");
        assert_eq!(of(&[1.001, 1.002, 1.003, 1.004, 1.02]), "no difference");
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let row = |round, server: &'static str, value| {
            let figure = figure::SERVER_CPU_US.into();
            Row { round, scenario: "rejections".into(), server: server.into(), figure, value }
        };
        // The machine became twice as slow in each round; the builds did not.
        let rounds = (1..=4).flat_map(|round| {
            let slow = f64::from(1 << round);
            [row(round, OLD, 5.0 * slow), row(round, NEW, 6.0 * slow)]
        });
        let mut rows: Vec<Row> = rounds.collect();
        let figures = [("CPU us", figure::SERVER_CPU_US), ("p50 us", figure::LATENCY_P50_US)];
        let wanted = "| rejections | CPU us | 30.0 | 36.0 | 1.200 | 1.200–1.200 | 1.200–1.200 | 4 | more |\n";
        let table = comparison(&rows, &figures);
        assert!(table.ends_with(wanted), "{table}");
        // A round that only one of the two has.
        rows.push(row(5, NEW, 1.0));
        assert!(comparison(&rows, &figures).contains("| 1.200–1.200 | 4 | more |"));
        assert!(comparison(&rows[..1], &figures).ends_with("---|\n"), "no line without both");
    }
}
