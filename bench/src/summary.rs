//! From raw figures to `summary.md`: medians with their range, and a verdict on every promise.
//!
//! A ratio is taken within a round, where both sides were measured within seconds of each other,
//! and only then is the median taken: the machine's mood mostly cancels out.

use std::fmt::Write;

use crate::rows::{Row, figure};
use crate::scenarios::*;

/// Where a figure stands: scenario, server, figure.
type Place = (&'static str, &'static str, &'static str);

enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// Shown for its own sake.
    None,
}

struct Promise {
    text: &'static str,
    limit: Limit,
    of: Place,
    to: Option<Place>,
}

const OURS: &str = "stampede";
const REJECTION_CPU: Place = (REJECTIONS, OURS, figure::SERVER_CPU_US);
const REJECTIONS_PER_S: Place = (REJECTIONS, OURS, figure::REQUESTS_PER_S);
const BASELINE_CPU: Place = (ONE_EVALSHA, BASELINE, figure::REDIS_CPU_US);

const PROMISES: [Promise; 13] = [
    Promise {
        text: "CPU a rejection, to the floor's",
        limit: Limit::AtMost(1.15),
        of: REJECTION_CPU,
        to: Some((REJECTIONS, "floor", figure::SERVER_CPU_US)),
    },
    Promise {
        text: "CPU a rejection, to may_minihttp's",
        limit: Limit::AtMost(1.0),
        of: REJECTION_CPU,
        to: Some((REJECTIONS, "may_minihttp", figure::SERVER_CPU_US)),
    },
    Promise {
        text: "CPU a sale (server, Redis ledger, 64 connections), to its own a rejection",
        limit: Limit::AtMost(1.4),
        of: (SALES_REDIS_64, OURS, figure::SERVER_CPU_US),
        to: Some(REJECTION_CPU),
    },
    Promise {
        text: "Sales/s from Redis (64 connections), to its own rejections/s",
        limit: Limit::AtLeast(0.5),
        of: (SALES_REDIS_64, OURS, figure::SALES_PER_S),
        to: Some(REJECTIONS_PER_S),
    },
    Promise {
        text: "Redis CPU a sale (64 connections), to one EVALSHA a ticket",
        limit: Limit::AtMost(1.0 / 3.0),
        of: (SALES_REDIS_64, OURS, figure::REDIS_CPU_US),
        to: Some(BASELINE_CPU),
    },
    Promise {
        text: "Memory an idle connection, KiB",
        limit: Limit::AtMost(12.0),
        of: (IDLE, OURS, figure::CONNECTION_KIB),
        to: None,
    },
    Promise {
        text: "CPU a rejection with a connection each, to the floor's",
        limit: Limit::None,
        of: (CONNECTIONS, OURS, figure::SERVER_CPU_US),
        to: Some((CONNECTIONS, "floor", figure::SERVER_CPU_US)),
    },
    Promise {
        text: "CPU a sale (server, Redis ledger, 256 connections), to its own a rejection",
        limit: Limit::None,
        of: (SALES_REDIS_256, OURS, figure::SERVER_CPU_US),
        to: Some(REJECTION_CPU),
    },
    Promise {
        text: "CPU a sale (server, embedded ledger, 64 connections), to its own a rejection",
        limit: Limit::None,
        of: (SALES_EMBEDDED, OURS, figure::SERVER_CPU_US),
        to: Some(REJECTION_CPU),
    },
    Promise {
        text: "Sales/s from Redis (256 connections), to its own rejections/s",
        limit: Limit::None,
        of: (SALES_REDIS_256, OURS, figure::SALES_PER_S),
        to: Some(REJECTIONS_PER_S),
    },
    Promise {
        text: "Sales/s from the embedded ledger, to its own rejections/s",
        limit: Limit::None,
        of: (SALES_EMBEDDED, OURS, figure::SALES_PER_S),
        to: Some(REJECTIONS_PER_S),
    },
    Promise {
        text: "Redis CPU a sale (256 connections), to one EVALSHA a ticket",
        limit: Limit::None,
        of: (SALES_REDIS_256, OURS, figure::REDIS_CPU_US),
        to: Some(BASELINE_CPU),
    },
    Promise {
        text: "CPU a rejection: may_minihttp's, to the floor's",
        limit: Limit::None,
        of: (REJECTIONS, "may_minihttp", figure::SERVER_CPU_US),
        to: Some((REJECTIONS, "floor", figure::SERVER_CPU_US)),
    },
];

/// The whole of `summary.md`. `heading` says what was run on what.
pub fn write(heading: &str, rows: &[Row]) -> String {
    format!("{heading}\n{}\n{}", promises(rows), figures(rows))
}

/// The table of ratios and verdicts.
pub fn promises(rows: &[Row]) -> String {
    let mut out = String::from(
        "## What is promised\n\n\
         Each ratio is taken within a round; then the median of the rounds, and their range.\n\n\
         | ratio | limit | median | min–max | rounds | verdict |\n|---|---|---|---|---|---|\n",
    );
    for promise in &PROMISES {
        let spread = Spread::of(promise.values(rows));
        let (limit, verdict) = match (&promise.limit, &spread) {
            (Limit::None, _) => ("–".into(), ""),
            (limit, None) => (limit.shown(), "not measured"),
            (limit, Some(spread)) => {
                (limit.shown(), if limit.met(spread.median) { "met" } else { "**not met**" })
            }
        };
        // Writing to a String can't fail.
        let _ = match spread {
            None => writeln!(out, "| {} | {limit} | – | – | 0 | {verdict} |", promise.text),
            Some(Spread { median, min, max, count }) => writeln!(
                out,
                "| {} | {limit} | {median:.3} | {min:.3}–{max:.3} | {count} | {verdict} |",
                promise.text
            ),
        };
    }
    out
}

/// The table of every figure, in the order in which it was first measured.
fn figures(rows: &[Row]) -> String {
    let mut out = String::from(
        "## What was measured\n\n\
         | scenario | server | figure | median | min–max |\n|---|---|---|---|---|\n",
    );
    let mut places: Vec<Place> = Vec::new();
    for row in rows {
        let place = (row.scenario, row.server, row.figure);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    // By scenario, then by server: rounds rotate the order in which servers come first.
    places.sort_by_key(|place| {
        let first = rows.iter().position(|row| row.scenario == place.0);
        (first, place.1)
    });
    for place in places {
        let values = rounds(rows).filter_map(|round| at(rows, round, place));
        let Some(Spread { median, min, max, .. }) = Spread::of(values.collect()) else { continue };
        let (scenario, server, figure) = place;
        let digits = usize::from(max < 1_000.0) * 2;
        let _ = writeln!(
            out,
            "| {scenario} | {server} | {figure} | {median:.digits$} | {min:.digits$}–{max:.digits$} |"
        );
    }
    out
}

impl Promise {
    /// One value a round in which both sides were measured.
    fn values(&self, rows: &[Row]) -> Vec<f64> {
        let one = |round| {
            let of = at(rows, round, self.of)?;
            match self.to {
                None => Some(of),
                Some(to) => Some(of / at(rows, round, to)?),
            }
        };
        rounds(rows).filter_map(one).collect()
    }
}

impl Limit {
    fn met(&self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= *limit,
            Self::AtLeast(limit) => value >= *limit,
            Self::None => true,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit:.3}"),
            Self::AtLeast(limit) => format!("≥ {limit:.3}"),
            Self::None => "–".into(),
        }
    }
}

fn rounds(rows: &[Row]) -> impl Iterator<Item = u32> {
    1..=rows.iter().map(|row| row.round).max().unwrap_or(0)
}

fn at(rows: &[Row], round: u32, (scenario, server, figure): Place) -> Option<f64> {
    let is = |row: &&Row| {
        row.round == round
            && row.scenario == scenario
            && row.server == server
            && row.figure == figure
    };
    rows.iter().find(is).map(|row| row.value)
}

/// Median and range of the rounds.
#[derive(Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
    count: usize,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let count = values.len();
        let median = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
        Some(Self { median, min, max, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, server: &'static str, value: f64) -> Row {
        Row { round, scenario: REJECTIONS, server, figure: figure::SERVER_CPU_US, value }
    }

    #[test]
    fn the_median_of_an_even_count_lies_between() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 3.0]).expect("values");
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0, count: 4 });
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_judged_by_their_median() {
        // The machine is twice as slow in the second round; the third lacks the floor.
        let mut rows = vec![row(1, "floor", 10.0), row(1, OURS, 11.0), row(2, "floor", 20.0)];
        rows.extend([row(2, OURS, 22.0), row(3, OURS, 99.0)]);
        let table = promises(&rows);
        assert!(table.contains("to the floor's | ≤ 1.150 | 1.100 | 1.100–1.100 | 2 | met |"));
        assert!(table.contains("to may_minihttp's | ≤ 1.000 | – | – | 0 | not measured |"));
        rows[1].value = 12.0;
        rows[3].value = 24.0;
        assert!(promises(&rows).contains("| **not met** |"));
    }
}
