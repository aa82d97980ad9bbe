//! What runs must have reached before they count: a run in which nothing happens finds nothing.

use std::collections::BTreeMap;

use crate::embedded;
use crate::schedule::Event;

/// Counts of a run or of several: steps, events, faults, outcomes and answers by name.
pub type Counts = BTreeMap<String, u64>;

/// The key of the seeds.
pub const SEEDS: &str = "seeds";
/// The key of the steps.
pub const STEPS: &str = "steps";

/// What is reached in two minutes on one core, at least. The names of outcomes and answers are
/// those of the oracle.
const MINIMA: [(&str, u64); 41] = [
    (STEPS, 1_000_000),
    ("granted", 50_000),
    ("sold_out", 1_000),
    ("replayed", 1_000),
    ("released", 1_000),
    ("told_sold_out", 1_000),
    ("told_replayed", 1_000),
    ("told_unknown", 500),
    ("told_unavailable", 1_000),
    ("told_busy", 100),
    ("told_nothing", 1_000),
    ("told_limit_reached", 1_000),
    ("told_key_reused", 100),
    ("told_not_open", 1_000),
    ("told_closed", 1_000),
    ("told_expired", 100),
    ("told_reservation", 1_000),
    ("told_sale", 1_000),
    ("fault crash", 50),
    ("fault stall", 100),
    ("fault cut", 50),
    ("fault clock jump", 50),
    ("fault late message", 1_000),
    ("fault ended connection", 100),
    ("fault power loss", 50),
    ("fault power loss at a call", 50),
    ("fault death at a call", 50),
    ("fault restart", 50),
    ("fault full disk", 25),
    ("fault no space", 100),
    ("fault disk error", 50),
    ("fault failed sync", 15),
    ("fault short write", 150),
    ("fault torn write", 10),
    ("compaction", 50),
    ("fault failover", 50),
    ("refused earlier epoch", 50),
    ("recovered", 150),
    ("recovered_with_unanswered", 50),
    ("recovered_without_unanswered", 50),
    ("overfull_batch", 15),
];

/// Adds the counts of another run.
pub fn add(counts: &mut Counts, more: &Counts) {
    for (name, count) in more {
        *counts.entry(name.clone()).or_default() += count;
    }
}

/// What was not reached in this time, by that much.
pub fn missing(counts: &Counts, seconds: u64) -> Vec<String> {
    let count = |name: &str| counts.get(name).copied().unwrap_or(0);
    let few = MINIMA.into_iter().filter_map(|(name, minimum)| {
        let minimum = (minimum * seconds / 120).max(1);
        (count(name) < minimum).then(|| format!("{name}: {} of {minimum}", count(name)))
    });
    let unseen = Event::NAMES.into_iter().filter_map(|name| {
        let name = event_key(name);
        (count(&name) == 0).then(|| format!("{name}: none"))
    });
    let uncalled = embedded::CALLS.into_iter().filter(|name| count(name) == 0);
    few.chain(unseen).chain(uncalled.map(|name| format!("{name}: none"))).collect()
}

/// The key of an event.
pub fn event_key(name: &str) -> String {
    format!("event {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_run_does_not_pass() {
        let missed = missing(&Counts::new(), 120);
        assert_eq!(missed.len(), MINIMA.len() + Event::NAMES.len() + embedded::CALLS.len());
        assert!(missed.contains(&"granted: 0 of 50000".to_owned()), "{missed:?}");
    }

    #[test]
    fn a_shorter_time_asks_for_less() {
        let mut counts = Counts::new();
        add(&mut counts, &Counts::from([("granted".to_owned(), 20_000)]));
        add(&mut counts, &Counts::from([("granted".to_owned(), 6_000)]));
        let misses_grants =
            |seconds| missing(&counts, seconds).iter().any(|text| text.starts_with("granted"));
        assert!(!misses_grants(60) && misses_grants(120));
    }
}
