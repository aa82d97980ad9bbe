//! The result of a run of the fleet: one line per thing that was shown.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

/// One thing that a scenario has shown.
pub struct Line {
    /// What was checked: "nginx, 4 workers: requests per server".
    pub what: String,
    /// What was wanted: "100/200/300/400".
    pub wanted: String,
    /// What was seen. If that is not what was wanted, the scenario panics.
    pub seen: String,
}

impl Line {
    /// A line of the table.
    pub fn new(
        what: impl Into<String>,
        wanted: impl Into<String>,
        seen: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), wanted: wanted.into(), seen: seen.into() }
    }
}

/// Every line so far.
#[derive(Default)]
pub struct Table {
    rows: Vec<[String; 5]>,
    failed: usize,
}

impl Table {
    /// Adds the result of a scenario: its lines, or why there are none.
    pub fn add(&mut self, scenario: &str, took: Duration, done: Result<Vec<Line>, String>) {
        let time = format!("{:.1} s", took.as_secs_f64());
        let row =
            |line: Line| [scenario.to_owned(), line.what, line.wanted, line.seen, time.clone()];
        match done {
            Ok(lines) => self.rows.extend(lines.into_iter().map(row)),
            Err(why) => {
                self.failed += 1;
                self.rows.push(row(Line::new("FAILED", "", why)));
            }
        }
    }

    /// 0 if everything was as wanted.
    pub fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| scenario | what | wanted | seen | took |\n|---|---|---|---|---|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "| {} |", row.join(" | ")))
    }
}
