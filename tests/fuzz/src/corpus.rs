//! The inputs in the tree, and what README.md says of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Fewest inputs of a target, so that an empty folder does not pass.
const INPUTS_MIN: usize = 3;
/// Longest input of the corpus: longer ones make the repository grow and the engine slow.
const INPUT_BYTES_MAX: usize = 16 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target, in the order of their names.
fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = folder().join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut inputs: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    inputs.sort();
    inputs
}

/// Runs a check with every input of a target. A failure names the inputs.
pub fn replay(target: &str, check: fn(&[u8])) {
    let inputs = inputs(target);
    assert!(inputs.len() >= INPUTS_MIN, "{target} has {} inputs", inputs.len());
    let mut failed = Vec::new();
    for path in inputs {
        let input = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(input.len() <= INPUT_BYTES_MAX, "{} is too long", path.display());
        if std::panic::catch_unwind(|| check(&input)).is_err() {
            failed.push(path.display().to_string());
        }
    }
    assert!(failed.is_empty(), "these inputs failed:\n{}", failed.join("\n"));
}

/// Checks that the corpus has the folders of these targets, and no others.
pub fn check_folders(targets: &[&str]) {
    let entries = fs::read_dir(folder()).expect("the corpus");
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().expect("a plain name")).collect();
    names.sort();
    let mut targets: Vec<_> = targets.iter().map(|&target| target.to_owned()).collect();
    targets.sort();
    assert_eq!(names, targets);
}

/// The processor time of each target in seconds, of all runs that are kept.
fn seconds_of_runs() -> BTreeMap<String, u64> {
    let runs = fs::read_to_string(folder().with_file_name("runs.csv")).expect("the kept runs");
    let mut seconds = BTreeMap::new();
    for row in runs.lines().skip(1) {
        let mut cells = row.split(',');
        let (target, took) = (cells.nth(2), cells.nth(1).and_then(|cell| cell.parse::<u64>().ok()));
        let (target, took) = target.zip(took).unwrap_or_else(|| panic!("not a row: {row}"));
        *seconds.entry(target.to_owned()).or_default() += took;
    }
    seconds
}

/// Checks the table of targets in README.md: each one, with the minutes of all kept runs.
pub fn check_readme(targets: &[&str]) {
    let readme = fs::read_to_string(folder().with_file_name("README.md")).expect("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let listed: BTreeMap<_, _> = rows.collect();
    let seconds = seconds_of_runs();
    let known = seconds.keys().filter(|&target| !targets.contains(&target.as_str()));
    assert_eq!(known.count(), 0, "runs.csv names a target that there is not");
    let total = format!("In total, {} minutes", seconds.values().sum::<u64>() / 60);
    assert!(readme.contains(&total), "README.md does not say: {total}");
    for target in targets {
        let row = listed.get(target).unwrap_or_else(|| panic!("README.md does not list {target}"));
        let minutes = seconds.get(*target).copied().unwrap_or_default() / 60;
        let told = row.trim_end_matches('|').rsplit('|').next().map(str::trim);
        assert_eq!(told, Some(&*minutes.to_string()), "minutes of {target} in README.md");
    }
    assert_eq!(listed.len(), targets.len(), "README.md lists a target that there is not");
}
