//! `report`: writes a run's summary and pictures again from its `raw.csv`.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::{Layout, Promise, readme, write};
use crate::error::{Because, Result, fail};
use crate::full;
use crate::rows::{Row, Rows};
use crate::{admission, hand_over, httparena, idle, orders, queues, quick, reopen, sales, tls};

/// Settings of a report.
#[derive(Debug, Args)]
pub struct Settings {
    /// Folder of the run, which has its raw.csv.
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Also write the table of results into this file, between its markers [default: README.md].
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "README.md")]
    pub readme: Option<PathBuf>,
}

/// The promises of each command.
const PROMISED: [&[Promise]; 11] = [
    &full::PROMISES,
    &quick::PROMISES,
    &sales::PROMISES,
    &orders::PROMISES,
    &reopen::PROMISES,
    &httparena::PROMISES,
    &tls::PROMISES,
    &idle::PROMISES,
    &hand_over::PROMISES,
    &admission::PROMISES,
    &queues::PROMISES,
];

/// Writes everything that follows from the rows, and prints the verdicts.
pub fn run(settings: &Settings) -> Result<()> {
    let folder = &settings.from;
    let rows = Rows::read(&folder.join("raw.csv"))?;
    if rows.is_empty() {
        return fail(format!("{} has no measurements", folder.join("raw.csv").display()));
    }
    let path = folder.join("summary.md");
    // The command's own text precedes the first section and is not in the rows.
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

/// The promises of the command that measured these rows, also those without figures. Commands may
/// share a scenario, so the command with the most promises that have figures is taken.
fn promised(rows: &[Row]) -> &'static [Promise] {
    let measured = |set: &&[Promise]| set.iter().filter(|promise| promise.measured(rows)).count();
    let sets = PROMISED.into_iter().filter(|set| measured(set) > 0);
    sets.max_by_key(measured).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_command_with_promises_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let sources = [folder.clone(), folder.join("tls")].into_iter().flat_map(|folder| {
            fs::read_dir(folder).expect("the sources").map(|entry| entry.expect("a file").path())
        });
        let own = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.contains("const PROMISES: [Promise; ")
        };
        // The promises of `full` come from two files.
        assert_eq!(PROMISED.len(), 1 + sources.filter(own).count());
    }

    /// The cells of a numbered row of PROMISES.md, without its number.
    fn numbered(line: &str) -> Option<Vec<&str>> {
        let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let is_numbered = row.starts_with(|c: char| c.is_ascii_digit());
        is_numbered.then(|| row.split(" | ").skip(1).collect())
    }

    /// The text of a promise without the peer that a summary names.
    fn without_peer(text: &str) -> &str {
        let is_peer =
            |name: &&str| ["may_minihttp", "axum", "nginx", "nginx_lua", "article"].contains(name);
        let named = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
        named.filter(|(_, peer)| is_peer(peer)).map_or(text, |(text, _)| text)
    }

    #[test]
    fn the_page_of_promises_has_each_limit_and_the_figures_of_the_kept_runs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the project");
        let page = fs::read_to_string(root.join("PROMISES.md")).expect("the page of promises");
        let mut stated = Vec::new();
        // The summary of the run that the section names.
        let mut summary = None;
        for line in page.lines() {
            if line.starts_with("## ") {
                summary = None;
            } else if let Some((_, link)) = line.split_once("](bench/runs/") {
                let path = link.split(')').next().expect("the end of a link");
                let path = root.join("bench/runs").join(path);
                summary = Some(fs::read_to_string(path).expect("the summary of a kept run"));
            } else if let Some(cells) = numbered(line) {
                stated.push((without_peer(cells[0]), cells[1]));
                let Some(summary) = &summary else { continue };
                let (figures, verdict) = (cells[..4].join(" | "), cells[4]);
                let is_same = |line: &str| {
                    line.starts_with(&format!("| {figures} | "))
                        && line.ends_with(&format!(" | {verdict} |"))
                };
                assert!(summary.lines().any(is_same), "not in the summary of its run: {line}");
            }
        }
        for (text, limit) in PROMISED.into_iter().flatten().filter_map(Promise::limited) {
            let is_stated = stated.contains(&(text, limit.as_str()));
            assert!(is_stated, "not in PROMISES.md: {text}, {limit}");
        }
    }

    #[test]
    fn a_regenerated_report_keeps_the_text_of_the_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut rows = Rows::create(&folder.path().join("raw.csv")).expect("created");
        rows.add(1, crate::scenarios::IDLE, "stampede", &[("connection_kib", 0.2)]).expect("added");
        fs::write(folder.path().join("summary.md"), "# Title\n\nCores.\n\n## Old\n\nOld\n")
            .expect("a file");
        let settings = Settings { from: folder.path().into(), readme: None };
        run(&settings).expect("a report");
        let first = fs::read_to_string(folder.path().join("summary.md")).expect("a summary");
        assert!(first.starts_with("# Title\n\nCores.\n\n## Promises\n"), "{first}");
        assert!(first.contains("| Memory per idle connection, KiB | ≤ 12.000 | 0.200 |"));
        assert!(first.contains("(memory.svg)") && !first.contains("Old"));
        run(&settings).expect("another");
        assert_eq!(fs::read_to_string(folder.path().join("summary.md")).expect("a summary"), first);
        folder.close().expect("removed");
        let failure = run(&settings).expect_err("no folder").to_string();
        assert!(failure.contains("raw.csv"), "{failure}");
    }
}
