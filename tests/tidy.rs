//! The rules of the house that a compiler doesn't hold: what a layer must not know, how large a file
//! may grow, which features must stay off.

#[path = "tidy/imports.rs"]
mod imports;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

/// The part of a file that is no test.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn layers_do_not_know_what_they_must_not() {
    let io = ["std::net", "std::fs", "std::io", "rustix", "may::", "SystemTime", "Instant::now"];
    let rules: &[(&str, &[&str])] = &[
        ("src/sale", &["crate::http", "crate::ledger", "crate::stock", "crate::core", "getrandom"]),
        ("src/stock", &["crate::http", "crate::ledger", "crate::core"]),
        ("src/http", &["crate::ledger", "crate::stock", "crate::core", "crate::purchase"]),
        ("src/route", &["crate::ledger", "crate::stock", "crate::core", "crate::purchase"]),
        (
            "src/control",
            &["crate::connection", "crate::stock", "crate::purchase", "crate::handler"],
        ),
        (
            "src/operator",
            &["crate::connection", "crate::stock", "crate::purchase", "crate::server"],
        ),
        ("src/orders", &["crate::http", "crate::core", "crate::connection", "crate::stock"]),
        ("src/ledger", &["crate::http", "crate::connection", "crate::stock", "crate::purchase"]),
    ];
    for (folder, forbidden) in rules {
        let pure = !["src/ledger", "src/control", "src/operator", "src/orders"].contains(folder);
        for (path, text) in sources(folder) {
            if path.to_string_lossy().ends_with("_tests.rs") {
                continue;
            }
            let forbidden = forbidden.iter().chain(if pure { &io[..] } else { &[] });
            for word in forbidden {
                // Writing into memory is no I/O, though the trait lives there.
                let line = code(&text)
                    .lines()
                    .filter(|line| *line != "use std::io::Write;")
                    .find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert_eq!(line, None, "{} must not know {word}", path.display());
            }
        }
    }
}

/// Files of `src` that are in a circle still: around the core, which is being taken apart. Without
/// them imports point one way. Only ever shorter.
const KNOTS: [&str; 0] = [];

/// The arrows between the files of a crate, without these files. Programs beside a library are left
/// out: nothing can import them.
fn arrows_within(folder: &str, without: &[&str]) -> imports::Arrows {
    let files = sources(folder);
    let root = root().join(folder);
    let files = files.iter().filter_map(|(path, text)| {
        let path = path.strip_prefix(&root).ok()?.to_str()?;
        let beside =
            root.join("lib.rs").exists() && (path == "main.rs" || path.starts_with("bin/"));
        (!beside && !without.contains(&path)).then_some((path, text.as_str()))
    });
    imports::arrows(&files.collect::<Vec<_>>())
}

#[test]
fn imports_point_one_way() {
    for (folder, knots) in
        [("src", &KNOTS[..]), ("bench/src", &[]), ("bench/src/bin/floor_sales", &[])]
    {
        let circles = imports::circles(arrows_within(folder, knots));
        let listed = imports::listed(&circles);
        assert!(circles.is_empty(), "files of {folder} import each other in a circle:\n{listed}");
    }
}

#[test]
fn no_file_is_excused_that_is_in_no_circle() {
    let all = arrows_within("src", &[]);
    for knot in KNOTS {
        let others = |file: &String| KNOTS.contains(&file.as_str()) && file != knot;
        let mut left = all.clone();
        left.retain(|(from, to), _| !others(from) && !others(to));
        assert!(!imports::circles(left).is_empty(), "{knot} is in no circle: strike it from KNOTS");
    }
}

#[test]
fn nothing_is_printed_past_the_log() {
    // They panic where nothing can be written, and wait where nobody reads.
    for (path, text) in sources("src") {
        let macros = ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("];
        let line = code(&text)
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .find(|line| macros.iter().any(|name| line.contains(name)));
        assert_eq!(line, None, "{} prints", path.display());
    }
}

#[test]
fn files_stay_small() {
    for (path, text) in sources("src") {
        if path.to_string_lossy().ends_with("_tests.rs") {
            continue;
        }
        let lines = code(&text).lines().count();
        assert!(lines <= 520, "{} has {lines} lines: split it", path.display());
    }
}

#[test]
fn work_stealing_stays_off() {
    // With it, a coroutine may wake on any core, and every core's state would be shared unawares.
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--edges", "features", "--invert", "may", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.contains("may v"), "cargo tree says nothing of may:\n{tree}");
    for feature in ["work_steal", "\"default\"", "crossbeam_queue_steal", "io_cancel"] {
        let line = tree.lines().find(|line| line.contains("may feature") && line.contains(feature));
        assert_eq!(line, None, "may must be built without {feature}");
    }
}
