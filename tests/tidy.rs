//! Rules that the compiler does not check: what a layer must not know, how large a file may grow, which
//! features must stay off, what documents name.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/features.rs"]
mod features;
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

/// The part of a file before its tests.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn pure_layers_do_no_io() {
    let io = ["std::net", "std::fs", "std::io", "rustix", "may::", "SystemTime", "Instant::now"];
    for (folder, more) in [
        ("src/sale", &["getrandom"][..]),
        ("src/stock", &[]),
        ("src/admission", &["getrandom", "SystemRandom"]),
        ("src/limiter", &[]),
        ("src/engine/http", &[]),
        ("src/route", &[]),
    ] {
        // A module's own file may stand beside its folder.
        let beside = root().join(folder).with_extension("rs");
        let beside =
            beside.exists().then(|| (beside.clone(), fs::read_to_string(&beside).unwrap()));
        for (path, text) in sources(folder).into_iter().chain(beside) {
            if path.to_string_lossy().ends_with("_tests.rs") {
                continue;
            }
            for word in io.iter().chain(more) {
                // Writing into memory is no I/O, though the trait is there.
                let line = code(&text)
                    .lines()
                    .filter(|line| *line != "use std::io::Write;")
                    .find(|line| line.contains(word) && !line.trim_start().starts_with("//"));
                assert_eq!(line, None, "{} must not know {word}", path.display());
            }
        }
    }
}

/// The imports between the files of a crate. Programs beside a library are left out: nothing can
/// import them.
fn arrows_within(folder: &str) -> imports::Arrows {
    let files = sources(folder);
    let root = root().join(folder);
    let files = files.iter().filter_map(|(path, text)| {
        let path = path.strip_prefix(&root).ok()?.to_str()?;
        let beside =
            root.join("lib.rs").exists() && (path == "main.rs" || path.starts_with("bin/"));
        (!beside).then_some((path, text.as_str()))
    });
    imports::arrows(&files.collect::<Vec<_>>())
}

#[test]
fn imports_point_one_way() {
    for folder in ["src", "bench/src", "bench/src/bin/floor_sales"] {
        let circles = imports::circles(arrows_within(folder));
        let listed = imports::listed(&circles);
        assert!(circles.is_empty(), "files of {folder} import each other in a circle:\n{listed}");
    }
}

/// The layers of ARCHITECTURE.md, each with the layers that it may import. A module in none of them
/// (`limits`, `clock`, `sync` and the like) stands below all layers and imports none.
const LAYERS: &[(&str, &[&str])] = &[
    ("sale", &[]),
    ("admission", &["sale"]),
    ("limiter", &[]),
    ("stock", &["sale"]),
    ("splits", &["ledger", "sale"]),
    ("engine/http", &[]),
    ("engine", &["engine/http"]),
    ("code", &["engine/http"]),
    ("tls", &[]),
    ("ledger", &["engine", "sale", "tls"]),
    ("orders", &["ledger", "sale", "tls"]),
    ("purchase", &["ledger", "sale", "splits", "stock"]),
    ("route", &["code", "engine/http", "sale"]),
    ("api_json", &["sale"]),
    ("openapi", &["code", "engine/http", "route"]),
    (
        "handler",
        &[
            "admission",
            "code",
            "control",
            "engine",
            "engine/http",
            "ledger",
            "limiter",
            "openapi",
            "purchase",
            "route",
            "sale",
            "trust",
            "gatekeeper",
            "api_json",
        ],
    ),
    ("sweep", &["ledger", "sale", "splits"]),
    ("audit", &["ledger", "orders", "sale", "splits"]),
    ("cli", &[]),
    ("config", &["admission", "cli", "ledger", "limiter", "orders", "sale", "stock", "tls"]),
    ("trust", &["code", "config", "engine", "engine/http", "route"]),
    ("gatekeeper", &["admission", "config", "engine", "limiter", "sale"]),
    ("status", &["config", "engine", "ledger", "purchase", "trust", "gatekeeper"]),
    ("members", &["ledger", "status"]),
    ("metrics", &["admission", "engine", "ledger", "purchase", "sale", "status", "gatekeeper"]),
    (
        "control",
        &[
            "audit",
            "code",
            "config",
            "engine",
            "engine/http",
            "ledger",
            "members",
            "metrics",
            "openapi",
            "orders",
            "route",
            "sale",
            "splits",
            "status",
            "api_json",
        ],
    ),
    (
        "operator",
        &[
            "admission",
            "audit",
            "cli",
            "config",
            "control",
            "engine/http",
            "ledger",
            "orders",
            "sale",
        ],
    ),
    ("demo", &["audit", "cli", "config", "handler", "operator", "server"]),
    (
        "server",
        &[
            "config",
            "control",
            "engine",
            "handler",
            "ledger",
            "members",
            "operator",
            "orders",
            "purchase",
            "sale",
            "status",
            "sweep",
            "tls",
            "trust",
            "gatekeeper",
        ],
    ),
];

/// Imports from one layer into another that are not in the table.
fn forbidden(arrows: &imports::Arrows) -> Vec<String> {
    let layer = |path: &str| {
        let nested = LAYERS.iter().map(|(layer, _)| *layer).filter(|layer| layer.contains('/'));
        let within = |layer: &&str| path.strip_prefix(*layer).is_some_and(|s| s.starts_with('/'));
        let top = || path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
        nested.into_iter().find(within).unwrap_or_else(top).to_owned()
    };
    let is_layer = |name: &str| LAYERS.iter().any(|(layer, _)| *layer == name);
    let may = |from: &str, to: &str| {
        LAYERS.iter().any(|(layer, below)| *layer == from && below.contains(&to))
    };
    arrows
        .keys()
        .filter(|(from, to)| {
            let (from, to) = (layer(from), layer(to));
            from != to && is_layer(&to) && !matches!(&*from, "lib" | "main") && !may(&from, &to)
        })
        .map(|(from, to)| format!("{from} must not import {to}"))
        .collect()
}

#[test]
fn a_layer_imports_only_lower_layers() {
    assert_eq!(forbidden(&arrows_within("src")), Vec::<String>::new());
}

#[test]
fn most_layers_do_not_know_the_kind_of_ledger_or_database() {
    let kinds = ["ledger/redis", "ledger/embedded", "orders/postgres", "orders/sqlite"];
    let blind = ["audit", "control", "handler", "metrics", "purchase", "route", "splits", "views"];
    let arrows = arrows_within("src");
    for (from, to) in arrows.keys() {
        let layer = from.split(['/', '.']).next().unwrap_or(from);
        let knows = kinds.iter().any(|kind| to.starts_with(kind)) && blind.contains(&layer);
        assert!(!knows, "{from} must not import {to}");
    }
}

#[test]
fn the_table_of_layers_has_no_circle() {
    let mut left: Vec<_> = LAYERS.to_vec();
    while !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|(layer, _)| *layer).collect();
        let (tied, free): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|(_, below)| below.iter().any(|to| names.contains(to)));
        assert!(!free.is_empty(), "these import each other: {tied:?}");
        left = tied;
    }
}

#[test]
fn a_forbidden_import_is_found_in_every_layer() {
    let names: Vec<&str> = LAYERS.iter().map(|(layer, _)| *layer).chain(["limits"]).collect();
    for from in &names {
        for (to, _) in LAYERS.iter().filter(|(to, _)| to != from) {
            let file = (
                format!("{from}/any.rs"),
                format!("use crate::{}::thing::Name;\n", to.replace('/', "::")),
            );
            let other = (format!("{to}/thing.rs"), "pub struct Name;\n".to_owned());
            let arrows = imports::arrows(&[(&file.0, &file.1), (&other.0, &other.1)]);
            let allowed = LAYERS.iter().any(|(layer, below)| layer == from && below.contains(to));
            assert_eq!(forbidden(&arrows).is_empty(), allowed, "{from} imports {to}");
        }
    }
}

#[test]
fn nothing_is_printed_outside_the_log() {
    // These macros panic where nothing can be written, and wait where nothing reads.
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
    // With it a coroutine may wake on any core, and each core's state would be shared unnoticed.
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
