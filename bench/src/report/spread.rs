//! The place of a figure, and the spread of its rounds.

use crate::rows::Row;

/// The place of a figure: scenario, server, figure.
pub type Place = PlaceIn<'static>;

/// A [`Place`] with borrowed names, such as from a file.
pub type PlaceIn<'a> = (&'a str, &'a str, &'a str);

/// Median, quartiles and range of the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub p25: f64,
    /// The upper quartile.
    pub p75: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// Number of values.
    pub count: usize,
}

impl Spread {
    /// The spread of these values. `None`: there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        let count = values.len();
        // Interpolates between two values, so the quartiles of few rounds do not jump.
        let quantile = |share: f64| {
            let at = share * (count - 1) as f64;
            let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
            below + (above - below) * at.fract()
        };
        let (p25, median, p75) = (quantile(0.25), quantile(0.5), quantile(0.75));
        Some(Self { median, p25, p75, min, max, count })
    }
}

/// A figure's values by round, in the order in which they were measured.
pub fn values(rows: &[Row], (scenario, server, figure): PlaceIn) -> Vec<(u32, f64)> {
    let is = |row: &&Row| row.figure == figure && row.server == server && row.scenario == scenario;
    rows.iter().filter(is).map(|row| (row.round, row.value)).collect()
}

/// The ratios of two figures within each round that measured both. This cancels most of the machine's
/// variation.
pub fn ratios(of: &[(u32, f64)], to: &[(u32, f64)]) -> Vec<(u32, f64)> {
    let ratio = |&(round, value): &(u32, f64)| {
        let (_, to) = to.iter().find(|(other, _)| *other == round)?;
        Some((round, value / to)).filter(|(_, ratio)| ratio.is_finite())
    };
    of.iter().filter_map(ratio).collect()
}

/// The spread of a figure over its rounds.
pub fn spread(rows: &[Row], place: PlaceIn) -> Option<Spread> {
    Spread::of(values(rows, place).into_iter().map(|(_, value)| value))
}

/// The median of a figure over its rounds.
pub fn median(rows: &[Row], place: PlaceIn) -> Option<f64> {
    spread(rows, place).map(|spread| spread.median)
}

/// The servers that have a figure in a scenario, the least median first.
pub fn servers<'a>(rows: &'a [Row], scenario: &str, figure: &str) -> Vec<(&'a str, Spread)> {
    let mut found: Vec<(&str, Spread)> = Vec::new();
    for row in rows.iter().filter(|row| row.scenario == scenario && row.figure == figure) {
        if found.iter().any(|(server, _)| *server == row.server) {
            continue;
        }
        if let Some(spread) = spread(rows, (scenario, &row.server, figure)) {
            found.push((&row.server, spread));
        }
    }
    found.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    found
}

/// The scenarios, in the order in which they were first measured.
pub fn scenarios(rows: &[Row]) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for row in rows {
        if !found.contains(&&*row.scenario) {
            found.push(&row.scenario);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_interpolated() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).expect("values");
        let wanted = Spread { median: 2.5, p25: 1.75, p75: 3.25, min: 1.0, max: 4.0, count: 4 };
        assert_eq!(spread, wanted);
        assert_eq!(Spread::of([]), None);
        let one = Spread::of([7.0]).expect("a value");
        assert_eq!((one.p25, one.median, one.p75), (7.0, 7.0, 7.0));
    }

    #[test]
    fn a_ratio_needs_both_values_of_a_round() {
        let ratios = ratios(&[(1, 4.0), (2, 6.0), (3, 1.0)], &[(1, 2.0), (3, 0.0)]);
        assert_eq!(ratios, [(1, 2.0)]);
    }
}
