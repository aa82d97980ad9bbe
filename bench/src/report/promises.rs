//! Promises and their verdicts.

use std::fmt::Write;

use super::noise::objection;
use super::spread::{Place, Spread, median, ratios, values};
use crate::rows::Row;

/// A promise: the limit of a figure or of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// It may not be more.
    AtMost(f64),
    /// It may not be less.
    AtLeast(f64),
    /// It may not happen in any round: the worst one decides.
    Never,
    /// No limit: the figure is only shown.
    None,
}

/// What a figure is divided by, within each round.
#[derive(Debug, Clone, Copy)]
enum To {
    /// Nothing: the figure itself is promised.
    Nothing,
    /// Another figure.
    Figure(Place),
    /// The figure with the least median of these.
    Cheapest(&'static [Place]),
    /// The ratio to the first, divided by the ratio of the second to the third.
    Ratio(Place, Place, Place),
}

/// A figure or a ratio, and its limit.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    text: &'static str,
    limit: Limit,
    of: Place,
    to: To,
    note: Option<&'static str>,
}

impl Promise {
    /// A promise on a figure. `text` is its name in the table.
    pub const fn new(text: &'static str, limit: Limit, of: Place) -> Self {
        Self { text, limit, of, to: To::Nothing, note: None }
    }

    /// A promise on the ratio to another figure.
    #[must_use]
    pub const fn to(self, other: Place) -> Self {
        Self { to: To::Figure(other), ..self }
    }

    /// A promise on the ratio to the cheapest of these, which the table names. A limit of 1 means
    /// "below every peer".
    #[must_use]
    pub const fn to_cheapest(self, peers: &'static [Place]) -> Self {
        Self { to: To::Cheapest(peers), ..self }
    }

    /// A promise on the ratio to `own`, divided by the ratio of `other` to `base`: the relative change
    /// of stampede, compared with that of another server.
    #[must_use]
    pub const fn to_ratio(self, own: Place, (other, base): (Place, Place)) -> Self {
        Self { to: To::Ratio(own, other, base), ..self }
    }

    /// An explanation, shown unless the promise is met.
    #[must_use]
    pub const fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Its values by round, and the cheapest peer if it compares with that.
    fn values<'a>(&self, rows: &'a [Row]) -> (Vec<(u32, f64)>, Option<&'a str>)
    where
        Self: 'a,
    {
        let of = values(rows, self.of);
        let to = |place| ratios(&of, &values(rows, place));
        match self.to {
            To::Nothing => (of, None),
            To::Figure(place) => (to(place), None),
            To::Cheapest(peers) => match cheapest(rows, peers) {
                Some(peer) => (to(peer), Some(peer.1)),
                None => (Vec::new(), None),
            },
            To::Ratio(own, other, base) => {
                let theirs = ratios(&values(rows, other), &values(rows, base));
                (ratios(&to(own), &theirs), None)
            }
        }
    }

    /// The scenarios of its figures.
    fn scenarios(&self) -> Vec<&'static str> {
        let others: &[Place] = match &self.to {
            To::Nothing => &[],
            To::Figure(place) => &[*place],
            To::Cheapest(peers) => peers,
            To::Ratio(own, other, base) => &[*own, *other, *base],
        };
        std::iter::once(&self.of).chain(others).map(|(scenario, ..)| *scenario).collect()
    }

    /// Its text and its limit, as the table shows them. `None`: it has no limit.
    #[cfg(test)]
    pub fn limited(&self) -> Option<(&'static str, String)> {
        (self.limit != Limit::None).then(|| (self.text, self.limit.shown()))
    }

    /// Whether any of its figures was measured.
    pub fn measured(&self, rows: &[Row]) -> bool {
        !self.values(rows).0.is_empty()
    }
}

fn cheapest(rows: &[Row], peers: &'static [Place]) -> Option<Place> {
    let medians = peers.iter().filter_map(|&peer| Some((peer, median(rows, peer)?)));
    medians.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(peer, _)| peer)
}

/// The table of promises and verdicts, and the notes on promises that are not met.
pub fn promises(promised: &[Promise], rows: &[Row]) -> String {
    if promised.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "## Promises\n\n\
         Each ratio divides two figures of the same round. The table has the median of the rounds, \
         their quartiles and their range. \"Met\" and \"not met\": both quartiles are on that side of \
         the limit. \"No verdict\": the limit lies between the quartiles, fewer than 4 rounds measured \
         the promise, or other programs used 10 % or more of the processors' time. The worst round \
         decides on events that must never happen.\n\n\
         | promise | limit | median | p25–p75 | min–max | rounds | verdict |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let mut notes = String::new();
    for promise in promised {
        let (values, peer) = promise.values(rows);
        let limit = promise.limit.shown();
        let text = match peer {
            Some(peer) => format!("{} ({peer})", promise.text),
            None => promise.text.to_owned(),
        };
        // Writing to a String can't fail.
        let Some(spread) = Spread::of(values.into_iter().map(|(_, value)| value)) else {
            let verdict = if promise.limit == Limit::None { "" } else { "not measured" };
            let _ = writeln!(out, "| {text} | {limit} | – | – | – | 0 | {verdict} |");
            continue;
        };
        let Spread { median, p25, p75, min, max, count } = spread;
        let objection = objection(rows, &promise.scenarios(), count);
        let verdict = promise.limit.verdict(&spread, objection);
        let _ = writeln!(
            out,
            "| {text} | {limit} | {median:.3} | {p25:.3}–{p75:.3} | {min:.3}–{max:.3} | {count} | \
             {verdict} |",
        );
        if let (false, Some(note)) = (promise.limit.is_met(&spread), promise.note) {
            let _ = writeln!(notes, "- {text}: {note}");
        }
    }
    if !notes.is_empty() {
        out.push_str("\nNotes on promises that are not met or have no verdict:\n\n");
        out.push_str(&notes);
    }
    out
}

impl Limit {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
            Self::Never => value <= 0.0,
            Self::None => true,
        }
    }

    /// Whether the worse quartile holds the limit, too.
    fn is_met(self, spread: &Spread) -> bool {
        if self == Self::Never {
            return self.met(spread.max);
        }
        self.met(spread.p25) && self.met(spread.p75)
    }

    /// The verdict by the quartiles, unless there is an `objection` to the run. A limit between the
    /// quartiles gives no verdict.
    fn verdict(self, spread: &Spread, objection: Option<String>) -> String {
        match self {
            Self::None => return String::new(),
            Self::Never if self.is_met(spread) => return "met".into(),
            Self::Never => return "**not met**".into(),
            Self::AtMost(_) | Self::AtLeast(_) => {}
        }
        if let Some(objection) = objection {
            return objection;
        }
        let broken = !self.met(spread.p25) && !self.met(spread.p75);
        match (self.is_met(spread), broken) {
            (true, _) => "met".into(),
            (_, true) => "**not met**".into(),
            _ => "no verdict".into(),
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {limit:.3}"),
            Self::AtLeast(limit) => format!("≥ {limit:.3}"),
            Self::Never => "none".into(),
            Self::None => "–".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::figure::{CORES_MS, OTHER_CPU_MS, SERVER_CPU_US};

    const OURS: Place = ("rejections", "stampede", SERVER_CPU_US);
    const FLOOR: Place = ("rejections", "floor", SERVER_CPU_US);
    const NGINX: Place = ("rejections", "nginx", SERVER_CPU_US);
    const AXUM: Place = ("rejections", "axum", SERVER_CPU_US);

    fn rows(values: &[(Place, &[f64])]) -> Vec<Row> {
        let mut rows = Vec::new();
        for &((scenario, server, figure), values) in values {
            for (&value, round) in values.iter().zip(1..) {
                let (scenario, server, figure) = (scenario.into(), server.into(), figure.into());
                rows.push(Row { round, scenario, server, figure, value });
            }
        }
        rows
    }

    #[test]
    fn promises_are_judged_by_the_median_ratio_per_round() {
        // The machine is twice as slow in every other round; the fifth lacks the floor.
        let to_floor = Promise::new("to the floor", Limit::AtMost(1.15), OURS).to(FLOOR);
        let promised = [to_floor.note("tried"), Promise::new("lacking", Limit::AtMost(1.0), AXUM)];
        let floor = [10.0, 20.0, 10.0, 20.0];
        let met =
            promises(&promised, &rows(&[(OURS, &[11.0, 22.0, 11.0, 22.0, 99.0]), (FLOOR, &floor)]));
        assert!(
            met.contains(
                "| to the floor | ≤ 1.150 | 1.100 | 1.100–1.100 | 1.100–1.100 | 4 | met |"
            )
        );
        assert!(met.contains("| lacking | ≤ 1.000 | – | – | – | 0 | not measured |"));
        assert!(!met.contains("tried"));
        let not = promises(&promised, &rows(&[(OURS, &[12.0, 24.0, 12.0, 24.0]), (FLOOR, &floor)]));
        assert!(not.contains("| **not met** |"));
        assert!(not.contains("- to the floor: tried\n"));
    }

    #[test]
    fn few_rounds_or_a_busy_machine_give_no_verdict() {
        let to_floor = [Promise::new("to the floor", Limit::AtMost(1.15), OURS).to(FLOOR)];
        let few = rows(&[(OURS, &[9.0; 3]), (FLOOR, &[10.0; 3])]);
        assert!(promises(&to_floor, &few).contains("| 3 | no verdict: 3 of 4 rounds |"));
        let machine = |figure| ("rejections", "floor", figure);
        let busy = rows(&[
            (OURS, &[9.0; 4]),
            (FLOOR, &[10.0; 4]),
            (machine(OTHER_CPU_MS), &[500.0; 4]),
            (machine(CORES_MS), &[2_000.0; 4]),
        ]);
        assert!(promises(&to_floor, &busy).contains("| 4 | no verdict: 25 % foreign CPU |"));
        // A lost sale is a lost sale on any machine.
        let never = [Promise::new("lost", Limit::Never, OURS)];
        assert!(promises(&never, &busy).contains("| **not met** |"));
    }

    #[test]
    fn both_quartiles_must_agree_for_a_verdict() {
        let verdict = |limit: Limit, values: [f64; 4]| {
            limit.verdict(&Spread::of(values).expect("values"), None)
        };
        assert_eq!(verdict(Limit::AtMost(1.1), [0.9, 1.0, 1.0, 1.05]), "met");
        // The median says yes, then no: neither is enough.
        assert_eq!(verdict(Limit::AtMost(1.1), [0.9, 1.0, 1.15, 1.3]), "no verdict");
        assert_eq!(verdict(Limit::AtMost(1.0), [0.8, 0.9, 1.15, 1.3]), "no verdict");
        assert_eq!(verdict(Limit::AtMost(1.0), [1.1, 1.2, 1.3, 1.4]), "**not met**");
        assert_eq!(verdict(Limit::AtLeast(2.0), [1.0, 1.1, 1.2, 1.3]), "**not met**");
        assert_eq!(verdict(Limit::AtLeast(1.0), [1.0, 1.1, 1.2, 1.3]), "met");
        assert_eq!(verdict(Limit::AtLeast(1.1), [1.0, 1.05, 1.2, 1.3]), "no verdict");
        assert_eq!(verdict(Limit::Never, [0.0; 4]), "met");
        // Once is too often.
        assert_eq!(verdict(Limit::Never, [0.0, 0.0, 0.0, 1.0]), "**not met**");
        assert_eq!(verdict(Limit::None, [1.0; 4]), "");
    }

    #[test]
    fn the_cheapest_peer_is_named() {
        let rows = rows(&[(OURS, &[9.0, 9.0]), (NGINX, &[10.0, 10.0]), (AXUM, &[12.0, 8.5])]);
        let below = Promise::new("to the cheapest peer", Limit::AtMost(1.0), OURS)
            .to_cheapest(&[AXUM, FLOOR, NGINX]);
        let table = promises(&[below], &rows);
        assert!(table.contains("| to the cheapest peer (nginx) | ≤ 1.000 | 0.900 |"), "{table}");
    }

    #[test]
    fn a_ratio_of_ratios_compares_the_growth_of_two_servers() {
        let many = |server| ("many", server, SERVER_CPU_US);
        let (ours, theirs) = (many("stampede"), many("floor"));
        let rows = rows(&[(ours, &[12.0]), (OURS, &[10.0]), (theirs, &[9.0]), (FLOOR, &[6.0])]);
        let promise = Promise::new("growth", Limit::None, ours).to_ratio(OURS, (theirs, FLOOR));
        assert!(promises(&[promise], &rows).contains("| growth | – | 0.800 |"));
        assert!(promise.measured(&rows) && !promise.measured(&rows[1..]));
    }
}
