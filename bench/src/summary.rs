//! From raw figures to `summary.md`: medians with their range, and a verdict on every promise.
//!
//! A ratio is taken within a round, where both sides were measured within seconds of each other,
//! and only then is the median taken: the machine's mood mostly cancels out.

use std::fmt::Write;

use crate::rows::Row;

/// Where a figure stands: scenario, server, figure.
pub type Place = (&'static str, &'static str, &'static str);

/// What is promised of a figure.
pub enum Limit {
    /// It may not be more.
    AtMost(f64),
    /// It may not be less.
    AtLeast(f64),
    /// Shown for its own sake.
    None,
}

/// A figure, or the ratio of two, and what is promised of it.
pub struct Promise {
    /// What it is, for the table.
    pub text: &'static str,
    /// What is promised.
    pub limit: Limit,
    /// The figure.
    pub of: Place,
    /// What it is divided by, if by anything.
    pub to: Option<Place>,
}

/// The whole of `summary.md`. `heading` says what was run on what.
pub fn write(heading: &str, promised: &[Promise], rows: &[Row]) -> String {
    format!("{heading}\n{}\n{}", promises(promised, rows), figures(rows))
}

/// The table of ratios and verdicts.
pub fn promises(promised: &[Promise], rows: &[Row]) -> String {
    if promised.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "## What is promised\n\n\
         Each ratio is taken within a round; then the median of the rounds, and their range.\n\n\
         | ratio | limit | median | min–max | rounds | verdict |\n|---|---|---|---|---|---|\n",
    );
    for promise in promised {
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

/// The median of a figure over the rounds in which it was measured.
pub fn median(rows: &[Row], place: Place) -> Option<f64> {
    let values = rounds(rows).filter_map(|round| at(rows, round, place));
    Spread::of(values.collect()).map(|spread| spread.median)
}

/// Median and range of the rounds.
#[derive(Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or between the middle two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of these values. `None`: there are none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
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
    use crate::quick::PROMISES;
    use crate::rows::figure;
    use crate::scenarios::REJECTIONS;

    const OURS: &str = "stampede";

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
        let table = promises(&PROMISES, &rows);
        assert!(table.contains("to the floor's | ≤ 1.150 | 1.100 | 1.100–1.100 | 2 | met |"));
        assert!(table.contains("to may_minihttp's | ≤ 1.000 | – | – | 0 | not measured |"));
        rows[1].value = 12.0;
        rows[3].value = 24.0;
        assert!(promises(&PROMISES, &rows).contains("| **not met** |"));
    }
}
