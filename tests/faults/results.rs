//! The table of a run, and the file to which it is appended.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::tally::Tally;

/// The columns of the file.
const COLUMNS: [&str; 19] = [
    "time",
    "commit",
    "seed",
    "scenario",
    "version",
    "kills",
    "starvations",
    "requests",
    "granted",
    "unknown",
    "linearized",
    "undecided",
    "outage_ms_max",
    "lost",
    "oversold",
    "stranded",
    "wrong",
    "failure",
    "seconds",
];
/// Of these, the ones that are the same in each row of a run.
const OF_RUN: usize = 3;

/// The results so far.
pub struct Results {
    time: String,
    commit: String,
    seed: u64,
    rows: Vec<Vec<String>>,
    sum: Tally,
    seconds: Duration,
    failed: usize,
}

impl Results {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        // To the second.
        let time: String = jiff::Timestamp::now().to_string().chars().take(19).collect();
        Self {
            time: time + "Z",
            commit: commit(),
            seed,
            rows: Vec::new(),
            sum: Tally::default(),
            seconds: Duration::ZERO,
            failed: 0,
        }
    }

    /// Adds the result of a scenario, or why there is none.
    pub fn add(&mut self, scenario: &str, took: Duration, done: Result<Tally, String>) {
        self.seconds += took;
        let (tally, failure) = match done {
            Ok(tally) => (tally, String::new()),
            Err(why) => (Tally::default(), why),
        };
        if !failure.is_empty() || tally.found() > 0 {
            self.failed += 1;
        }
        self.rows.push(row(scenario, &tally, &failure, took));
        self.sum.add(tally);
    }

    fn all(&self) -> Vec<String> {
        row("all", &self.sum, "", self.seconds)
    }

    /// Appends the rows to a file, which begins with the names of the columns.
    pub fn append(&self, file: &Path) {
        let of_run = [self.time.clone(), self.commit.clone(), self.seed.to_string()];
        let all = [self.all()];
        let lines = self.rows.iter().chain(&all).map(|row| {
            let cells = of_run.iter().chain(row).map(|cell| cell.replace([',', '\n'], ";"));
            cells.collect::<Vec<_>>().join(",") + "\n"
        });
        let mut text = lines.collect::<String>();
        if std::fs::metadata(file).map_or(0, |there| there.len()) == 0 {
            text.insert_str(0, &(COLUMNS.join(",") + "\n"));
        }
        let opened = File::options().create(true).append(true).open(file);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    /// 0 if nothing was found and nothing failed.
    pub fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = &COLUMNS[OF_RUN..];
        writeln!(f, "seed {}, commit {}, {}\n", self.seed, self.commit, self.time)?;
        writeln!(f, "| {} |", columns.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(columns.len()))?;
        for row in self.rows.iter().chain([&self.all()]) {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        for (what, count) in &self.sum.kills {
            writeln!(f, "{count:>6} x {what} killed")?;
        }
        for (what, count) in &self.sum.starvations {
            writeln!(f, "{count:>6} x {what}")?;
        }
        Ok(())
    }
}

/// The cells of a scenario, in the order of the columns.
fn row(scenario: &str, tally: &Tally, failure: &str, took: Duration) -> Vec<String> {
    let starved: usize = tally.starvations.values().sum();
    let numbers = [
        tally.killed(),
        starved,
        tally.operations,
        tally.granted,
        tally.unknown,
        tally.linearized,
        tally.undecided,
        tally.outage_max.as_millis() as usize,
        tally.lost,
        tally.oversold,
        tally.stranded,
        tally.wrong,
    ];
    let mut cells = vec![scenario.to_owned(), tally.version.clone()];
    cells.extend(numbers.iter().map(usize::to_string));
    cells.extend([failure.to_owned(), format!("{:.1}", took.as_secs_f64())]);
    cells
}

/// The commit under test, with a plus sign if files were changed.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        let done = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]).unwrap_or_default();
    // The results of the runs before are no change.
    let is_changed = changes.lines().any(|line| !line.ends_with("tests/faults/results.csv"));
    if is_changed { commit + "+" } else { commit }
}
