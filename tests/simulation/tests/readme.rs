//! The README explains each line that a run prints.

use std::collections::BTreeSet;

use simulation::gates::{SEEDS, STEPS, event_key};
use simulation::schedule::Event;
use simulation::trace::Telling;
use simulation::{run, task};

/// Enough for most faults.
const SEEDS_RUN: u64 = 24;

/// The names of the outcomes and answers that a run may count, by the source.
fn names_of_kinds() -> impl Iterator<Item = String> {
    let source = include_str!("../src/oracle/kinds.rs");
    let names = source.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\","));
    names.filter(|name| !name.contains(' ') && *name != "rules").map(str::to_owned)
}

#[test]
fn every_printed_name_is_explained() {
    task::configure();
    let readme = include_str!("../README.md");
    let (_, section) = readme.split_once("## What it prints").expect("the section");
    let (section, _) = section.split_once("\n## ").expect("its end");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let names = rows.filter_map(|row| row.split('|').nth(1));
    let explained: BTreeSet<&str> =
        names.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();

    let mut printed: BTreeSet<String> = names_of_kinds().collect();
    assert!(printed.len() > 60, "{printed:?}");
    printed.extend(Event::NAMES.into_iter().map(event_key));
    for seed in 1..=SEEDS_RUN {
        printed.extend(run::run_seed(seed, Telling::Silent).counts.into_keys());
    }
    // These have a line of another form.
    printed.retain(|name| ![SEEDS, STEPS].contains(&name.as_str()));
    let printed: BTreeSet<&str> = printed.iter().map(String::as_str).collect();
    let missing: Vec<_> = printed.difference(&explained).collect();
    assert!(missing.is_empty(), "README.md does not explain {missing:?}");
    let is_known = |name: &&&str| name.starts_with("event ") || name.starts_with("told_");
    let stale: Vec<_> = explained.difference(&printed).filter(is_known).collect();
    assert!(stale.is_empty(), "nothing prints {stale:?}");
}
