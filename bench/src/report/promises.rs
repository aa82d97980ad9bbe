//! What is promised, and the verdicts.

use std::fmt::Write;

use super::noise::ROUNDS_MIN;
use super::spread::{Place, Spread, median, ratios, values};
use crate::rows::Row;

/// What is promised of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// It may not be more.
    AtMost(f64),
    /// It may not be less.
    AtLeast(f64),
    /// It may not happen in any round: the worst one decides.
    Never,
    /// Shown for its own sake.
    None,
}

/// What a figure is divided by, within each round.
#[derive(Debug, Clone, Copy)]
enum To {
    /// Nothing: the figure itself is promised.
    Nothing,
    /// Another figure.
    Figure(Place),
    /// Of these, the one whose median is the least.
    Cheapest(&'static [Place]),
    /// As the first of these three, and the whole by the ratio of the other two.
    Ratio(Place, Place, Place),
}

/// A figure, or a ratio, and what is promised of it.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    text: &'static str,
    limit: Limit,
    of: Place,
    to: To,
    note: Option<&'static str>,
}

impl Promise {
    /// Of a figure as it is. `text` says what it is, for the table.
    pub const fn new(text: &'static str, limit: Limit, of: Place) -> Self {
        Self { text, limit, of, to: To::Nothing, note: None }
    }

    /// Of its ratio to another figure.
    #[must_use]
    pub const fn to(self, other: Place) -> Self {
        Self { to: To::Figure(other), ..self }
    }

    /// Of its ratio to the cheapest of these, which the table then names: a limit of 1 says "below
    /// every peer".
    #[must_use]
    pub const fn to_cheapest(self, peers: &'static [Place]) -> Self {
        Self { to: To::Cheapest(peers), ..self }
    }

    /// Of its ratio to `own`, divided by the ratio of `other` to `base`: how much better or worse we
    /// bear something than another does.
    #[must_use]
    pub const fn to_ratio(self, own: Place, (other, base): (Place, Place)) -> Self {
        Self { to: To::Ratio(own, other, base), ..self }
    }

    /// What was tried and where the time goes: said unless the promise is met.
    #[must_use]
    pub const fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Its values by round, and the peer that was the cheapest if it is compared to that.
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

    /// Whether anything of it was measured.
    pub fn measured(&self, rows: &[Row]) -> bool {
        !self.values(rows).0.is_empty()
    }
}

fn cheapest(rows: &[Row], peers: &'static [Place]) -> Option<Place> {
    let medians = peers.iter().filter_map(|&peer| Some((peer, median(rows, peer)?)));
    medians.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(peer, _)| peer)
}

/// The table of promises and verdicts, and what there is to say about those that are not met.
pub fn promises(promised: &[Promise], rows: &[Row]) -> String {
    if promised.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "## What is promised\n\n\
         Each ratio is taken within a round; then the median of the rounds, their quartiles and \
         their range. \"Met\" and \"not met\": both quartiles are on that side of the limit. \
         \"No verdict\": the limit lies between the quartiles, so other rounds could have said \
         otherwise. Of what may not happen at all the worst round decides.\n\n\
         | of what | limit | median | p25–p75 | min–max | rounds | verdict |\n\
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
        let verdict = promise.limit.verdict(&spread);
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
        out.push_str("\nOf what is not met, or has no verdict:\n\n");
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

    /// Whether the quartile that is nearer to breaking it holds it too.
    fn is_met(self, spread: &Spread) -> bool {
        if self == Self::Never {
            return self.met(spread.max);
        }
        self.met(spread.p25) && self.met(spread.p75)
    }

    /// The quartiles decide. Where the limit lies between them, nothing is claimed.
    fn verdict(self, spread: &Spread) -> String {
        match self {
            Self::None => return String::new(),
            Self::Never if self.is_met(spread) => return "met".into(),
            Self::Never => return "**not met**".into(),
            Self::AtMost(_) | Self::AtLeast(_) => {}
        }
        let broken = !self.met(spread.p25) && !self.met(spread.p75);
        let verdict = match (self.is_met(spread), broken) {
            (true, _) => "met",
            (_, true) => "**not met**",
            _ => "no verdict",
        };
        let doubt = if spread.count < ROUNDS_MIN { " (few rounds)" } else { "" };
        format!("{verdict}{doubt}")
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
    use crate::rows::figure::SERVER_CPU_US;

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
    fn ratios_are_taken_within_a_round_and_judged_by_their_median() {
        // The machine is twice as slow in the second round; the third lacks the floor.
        let to_floor = Promise::new("to the floor", Limit::AtMost(1.15), OURS).to(FLOOR);
        let promised = [to_floor.note("tried"), Promise::new("lacking", Limit::AtMost(1.0), AXUM)];
        let met =
            promises(&promised, &rows(&[(OURS, &[11.0, 22.0, 99.0]), (FLOOR, &[10.0, 20.0])]));
        assert!(met.contains(
            "| to the floor | ≤ 1.150 | 1.100 | 1.100–1.100 | 1.100–1.100 | 2 | met (few rounds) |"
        ));
        assert!(met.contains("| lacking | ≤ 1.000 | – | – | – | 0 | not measured |"));
        assert!(!met.contains("tried"));
        let not = promises(&promised, &rows(&[(OURS, &[12.0, 24.0]), (FLOOR, &[10.0, 20.0])]));
        assert!(not.contains("| **not met** (few rounds) |"));
        assert!(not.contains("- to the floor: tried\n"));
    }

    #[test]
    fn both_quartiles_must_agree_for_a_verdict() {
        let verdict =
            |limit: Limit, values: [f64; 4]| limit.verdict(&Spread::of(values).expect("values"));
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
    fn a_ratio_of_ratios_compares_what_two_can_bear() {
        let many = |server| ("many", server, SERVER_CPU_US);
        let (ours, theirs) = (many("stampede"), many("floor"));
        let rows = rows(&[(ours, &[12.0]), (OURS, &[10.0]), (theirs, &[9.0]), (FLOOR, &[6.0])]);
        let promise = Promise::new("growth", Limit::None, ours).to_ratio(OURS, (theirs, FLOOR));
        assert!(promises(&[promise], &rows).contains("| growth | – | 0.800 |"));
        assert!(promise.measured(&rows) && !promise.measured(&rows[1..]));
    }
}
