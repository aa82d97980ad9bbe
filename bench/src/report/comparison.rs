//! An old and a new build: the ratios within rounds, and a verdict on each.

use std::fmt::Write;

use super::noise::{is_enough, objection};
use super::spread::{Spread, ratios, scenarios, spread, values};
use super::tables::shown;
use crate::rows::{Row, figure};

/// Name of the older build in `raw.csv`.
pub const OLD: &str = "old";
/// Name of the newer build in `raw.csv`.
pub const NEW: &str = "new";

/// A ratio this close to 1 counts as no difference.
const NEAR: f64 = 0.01;

/// The verdict on the ratios of the rounds, by their quartiles.
fn verdict(ratios: &Spread) -> &'static str {
    let Spread { p25, p75, count, .. } = *ratios;
    if !is_enough(count) {
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

/// The table of ratios: a line per scenario and figure (name in the table, name in `raw.csv`) with
/// rows of both builds.
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
            // Other programs take CPU time from a build, but add no instructions.
            let objection = (figure != figure::INSTRUCTIONS)
                .then(|| objection(rows, &[scenario], count))
                .flatten();
            let verdict = objection.unwrap_or_else(|| verdict(&ratios).to_owned());
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

    fn of(ratios: &[f64]) -> &'static str {
        verdict(&Spread::of(ratios.iter().copied()).expect("ratios"))
    }

    #[test]
    fn a_difference_needs_both_quartiles_on_one_side_of_1() {
        assert_eq!(of(&[1.1, 1.2, 1.1]), "too few rounds");
        assert_eq!(of(&[0.99, 1.02, 1.1, 1.2, 1.3]), "more");
        assert_eq!(of(&[0.7, 0.8, 0.9, 0.98, 1.4]), "less");
        assert_eq!(of(&[0.9, 0.95, 1.1, 1.2, 1.3]), "within noise");
        // Both quartiles are on one side of 1, but too near to it.
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

        // Half of the cores' time went to other programs.
        let (mut other, mut cores) = (row(1, NEW, 500.0), row(1, NEW, 1_000.0));
        (other.figure, cores.figure) = (figure::OTHER_CPU_MS.into(), figure::CORES_MS.into());
        rows.extend([other, cores]);
        assert!(comparison(&rows, &figures).contains("| 4 | no verdict: 50 % foreign CPU |"));
    }
}
