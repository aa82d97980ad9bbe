//! The features of stampede are for its tests: no program that is shipped or measured has one. Those of
//! tests/simulation are not in the build of the other tests either.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use memchr::memmem;
use toml::{Table, Value};

use crate::root;

/// Every feature, and the folder that turns it on. Nothing else may.
const FEATURES: [(&str, &str); 3] = [
    ("fuzzing", "tests/fuzz"),
    ("planted", "tests/simulation"),
    ("simulation", "tests/simulation"),
];
/// A program with planted bugs contains this text: src/planted.rs.
const MARK: &str = "stampede-planted-bugs";

/// The line that would turn on one of these features, if there is one.
fn turning_on<'a>(text: &'a str, names: &[&str]) -> Option<&'a str> {
    text.lines().find(|line| {
        let is_named = names.iter().any(|name| line.contains(name));
        let is_list = line.contains("feature") || line.contains("-F");
        line.contains("all-features") || is_named && is_list
    })
}

/// Everything that may say how something is built: no sources, no pages, no data. By the path below
/// the root.
fn build_files() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let within = path.strip_prefix(root()).expect("below the root").to_owned();
            // cargo-deny looks at dependencies alone, and these features have none.
            let skipped = [".git", "Cargo.toml", "deny.toml", "docs", "src"];
            let ours = ["tests/fuzz/corpus", "tests/tidy"];
            if within.ends_with("target")
                || skipped.iter().chain(&ours).any(|s| within == Path::new(s))
            {
                continue;
            }
            let kind = path.extension().unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if !["rs", "md", "lua", "json", "csv"].iter().any(|other| kind == *other)
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push((within, text));
            }
        }
    }
    found
}

#[test]
fn a_feature_that_is_turned_on_is_found() {
    for bad in [
        "cargo build --all-features",
        "x\ncargo build --release --features planted",
        "cargo run -Fsimulation",
        "stampede = { path = \"..\", features = [\"simulation\"] }",
    ] {
        assert!(turning_on(bad, &["planted", "simulation"]).is_some(), "{bad}");
    }
    let names = ["fuzzing", "simulation"];
    assert_eq!(turning_on("step \"simulation\"\ntests/simulation/run --minutes 2\n", &names), None);
    assert_eq!(turning_on("cargo test --package fuzz --features libfuzzer\n", &names), None);
}

#[test]
fn only_the_tests_of_a_feature_turn_it_on() {
    let files = build_files();
    for known in ["bench/Cargo.toml", "tests/run", ".ci/run", "tuning/container/Dockerfile"] {
        assert!(files.iter().any(|(path, _)| path == Path::new(known)), "{known} was not read");
    }
    for (path, text) in files {
        let others = FEATURES.iter().filter(|(_, folder)| !path.starts_with(folder));
        let others: Vec<&str> = others.map(|(name, _)| *name).collect();
        assert_eq!(turning_on(&text, &others), None, "{}", path.display());
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: Table = manifest.parse().unwrap();
    let features = manifest["features"].as_table().expect("a table");
    let mut names: Vec<&str> = features.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, FEATURES.map(|(name, _)| name), "a default would turn them on");
    assert!(features.values().all(|on| on.as_array().is_some_and(Vec::is_empty)));
    let excluded = &manifest["workspace"]["exclude"];
    assert_eq!(*excluded, Value::Array(vec!["tests/simulation".into()]));
}

/// The features of stampede that are on in the workspace, with these options of `cargo tree`.
fn features_of(options: &[&str]) -> Vec<&'static str> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--invert", "stampede", "--offline"])
        .args(options)
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.contains("bench v"), "cargo tree says nothing of the bench:\n{tree}");
    let is_on = |name: &&str| tree.contains(&format!("stampede feature \"{name}\""));
    FEATURES.iter().map(|(name, _)| *name).filter(is_on).collect()
}

#[test]
fn no_package_of_the_workspace_has_a_feature_but_the_fuzz_targets() {
    assert_eq!(features_of(&["--edges", "features,no-dev"]), [""; 0], "in a program");
    assert_eq!(
        features_of(&["--edges", "features", "--exclude", "fuzz"]),
        [""; 0],
        "in other tests"
    );
    assert_eq!(features_of(&["--edges", "features"]), ["fuzzing"]);
}

#[test]
fn the_program_has_no_planted_bugs() {
    let program = fs::read(env!("CARGO_BIN_EXE_stampede")).unwrap();
    let has = |text: &str| memmem::find(&program, text.as_bytes()).is_some();
    assert!(has("the ledger's answer was lost"), "a text that every program has");
    assert!(!has(MARK), "the program was built with planted bugs");
    let planted = fs::read_to_string(root().join("src/planted.rs")).unwrap();
    assert!(planted.contains(&format!("*b\"{MARK}\"")), "the mark is another one");
}
