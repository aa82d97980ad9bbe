//! The result of a scenario: how much was done, and what was wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::record::{Call, Record, Told};

/// Findings that are printed. All are counted.
const PRINTED_MAX: usize = 20;

/// See the module's header.
#[derive(Default)]
pub struct Tally {
    /// Where the histories of findings are written.
    pub evidence: PathBuf,
    /// The program that the scenario is about, if it has several.
    pub version: String,
    /// Processes killed, by kind.
    pub kills: BTreeMap<&'static str, usize>,
    /// Faults that kill nothing: a full disk, a cut link, a process that stands still.
    pub starvations: BTreeMap<&'static str, usize>,
    /// Requests.
    pub operations: usize,
    /// Reservations made, as buyers were told.
    pub granted: usize,
    /// Answers that left the outcome open.
    pub unknown: usize,
    /// Sales and reservations whose history was found to be linearizable.
    pub linearized: usize,
    /// Histories that the checkers could not decide, or that are too long for them.
    pub undecided: usize,
    /// The longest time from the beginning of a fault until every server sold again.
    pub outage_max: Duration,
    /// Acknowledged and not there, or not as it was acknowledged.
    pub lost: usize,
    /// Units that were promised twice, and counts that do not add up.
    pub oversold: usize,
    /// Units that nobody has and nobody can buy, and requests that are never answered.
    pub stranded: usize,
    /// Answers that were not true.
    pub wrong: usize,
    findings: Vec<String>,
    is_quiet: bool,
}

impl Tally {
    /// Nothing done yet. Histories of findings go into this folder.
    pub fn new(evidence: &Path) -> Self {
        Self { evidence: evidence.to_owned(), ..Self::default() }
    }

    /// One that prints nothing, for findings that are wanted.
    pub fn quiet() -> Self {
        Self { is_quiet: true, ..Self::default() }
    }

    /// Adds the numbers of another one.
    pub fn add(&mut self, other: Self) {
        for (what, count) in other.kills {
            *self.kills.entry(what).or_default() += count;
        }
        for (what, count) in other.starvations {
            *self.starvations.entry(what).or_default() += count;
        }
        self.operations += other.operations;
        self.granted += other.granted;
        self.unknown += other.unknown;
        self.linearized += other.linearized;
        self.undecided += other.undecided;
        self.outage_max = self.outage_max.max(other.outage_max);
        self.lost += other.lost;
        self.oversold += other.oversold;
        self.stranded += other.stranded;
        self.wrong += other.wrong;
    }

    /// Counts the requests of a history, and finds answers that the API does not have.
    pub fn count(&mut self, records: &[Record]) {
        self.operations += records.len();
        for record in records {
            match (&record.told, &record.call) {
                (Told::Unknown, _) => self.unknown += 1,
                (Told::Reservation { is_new: true, .. }, Call::Buy { .. }) => self.granted += 1,
                (Told::Strange(answer), call) => self.wrong(format!("{call:?}: {answer}")),
                (Told::Refused(code), call) if code == "internal" => {
                    self.wrong(format!("{call:?}: {code}"));
                }
                _ => {}
            }
        }
    }

    /// Something acknowledged is not there.
    pub fn lost(&mut self, what: String) {
        self.lost += 1;
        self.find("lost", what);
    }

    /// There is more than there may be.
    pub fn oversold(&mut self, what: String) {
        self.oversold += 1;
        self.find("oversold", what);
    }

    /// Something is missing for ever.
    pub fn stranded(&mut self, what: String) {
        self.stranded += 1;
        self.find("stranded", what);
    }

    /// An answer was not true.
    pub fn wrong(&mut self, what: String) {
        self.wrong += 1;
        self.find("wrong", what);
    }

    fn find(&mut self, kind: &str, what: String) {
        if self.findings.len() < PRINTED_MAX && !self.is_quiet {
            println!("   {kind}: {what}");
        }
        self.findings.push(format!("{kind}: {what}"));
    }

    /// Findings of all kinds.
    pub fn found(&self) -> usize {
        self.lost + self.oversold + self.stranded + self.wrong
    }

    /// Kills of all kinds.
    pub fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// Keeps a history, if there was a finding since `before`. Prints where it is.
    pub fn keep(&self, before: usize, name: &str, records: &[Record]) {
        if self.found() == before {
            return;
        }
        let mut lines: Vec<String> =
            self.findings.iter().map(|finding| format!("{finding}\n")).collect();
        lines.extend(records.iter().map(|record| format!("{record:?}\n")));
        let file = self.evidence.join(name);
        let _ = fs::create_dir_all(&self.evidence);
        match fs::write(&file, lines.concat()) {
            Ok(()) => println!("   history: {}", file.display()),
            Err(error) => println!("   no history: {}: {error}", file.display()),
        }
    }
}
