//! `report`: a run's summary and pictures, made anew from its `raw.csv`.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::{Layout, Promise, readme, write};
use crate::error::{Because, Result, fail};
use crate::full;
use crate::rows::{Row, Rows};
use crate::{hand_over, httparena, idle, orders, quick, reopen, sales, tls};

/// Settings of a report.
#[derive(Debug, Args)]
pub struct Settings {
    /// Folder of the run, with its raw.csv.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Also write the README's table of results, between its markers [default file: README.md].
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "README.md")]
    pub readme: Option<PathBuf>,
}

/// What each command promises.
const PROMISED: [&[Promise]; 9] = [
    &full::PROMISES,
    &quick::PROMISES,
    &sales::PROMISES,
    &orders::PROMISES,
    &reopen::PROMISES,
    &httparena::PROMISES,
    &tls::PROMISES,
    &idle::PROMISES,
    &hand_over::PROMISES,
];

/// Writes everything that follows from the rows, and prints the promises.
pub fn run(settings: &Settings) -> Result<()> {
    let folder = &settings.from;
    let rows = Rows::read(&folder.join("raw.csv"))?;
    if rows.is_empty() {
        return fail(format!("{}: nothing was measured", folder.join("raw.csv").display()));
    }
    let path = folder.join("summary.md");
    // What the command wrote of itself stands before the first section, and is not in the rows.
    let heading = match fs::read_to_string(&path) {
        Ok(text) => text.split("\n## ").next().unwrap_or_default().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            "# A run without a summary\n\nSee `raw.csv`.".into()
        }
        Err(error) => return Err(error).because(|| format!("reading {}", path.display())),
    };
    let layout = Layout::default();
    let judged = write(folder, &heading, promised(&rows), &layout, &rows)?;
    println!("{judged}");
    println!("All of it: {}", path.display());
    if let Some(path) = &settings.readme {
        readme::refresh(path, &rows, &layout, folder)?;
        println!("Its table: {}", path.display());
    }
    Ok(())
}

/// The promises of the command that measured these rows, also those it had no figures for. Commands
/// may share a scenario; the one whose promises it is has figures for the most of them.
fn promised(rows: &[Row]) -> &'static [Promise] {
    let measured = |set: &&[Promise]| set.iter().filter(|promise| promise.measured(rows)).count();
    let sets = PROMISED.into_iter().filter(|set| measured(set) > 0);
    sets.max_by_key(measured).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_made_anew_and_keeps_what_the_command_wrote() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut rows = Rows::create(&folder.path().join("raw.csv")).expect("created");
        rows.add(1, crate::scenarios::IDLE, "stampede", &[("connection_kib", 0.2)]).expect("added");
        fs::write(folder.path().join("summary.md"), "# Title\n\nCores.\n\n## Old\n\nOld\n")
            .expect("a file");
        let settings = Settings { from: folder.path().into(), readme: None };
        run(&settings).expect("a report");
        let first = fs::read_to_string(folder.path().join("summary.md")).expect("a summary");
        assert!(first.starts_with("# Title\n\nCores.\n\n## What is promised\n"), "{first}");
        assert!(first.contains("| Memory per idle connection, KiB | ≤ 12.000 | 0.200 |"));
        assert!(first.contains("(memory.svg)") && !first.contains("Old"));
        run(&settings).expect("another");
        assert_eq!(fs::read_to_string(folder.path().join("summary.md")).expect("a summary"), first);
        folder.close().expect("removed");
        let failure = run(&settings).expect_err("no folder").to_string();
        assert!(failure.contains("raw.csv"), "{failure}");
    }
}
