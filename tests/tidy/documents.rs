//! What the documents about the inside name must be there: files, dependencies, the places of `unsafe`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{LAYERS, root, sources};

/// ARCHITECTURE.md at most, so that it stays a map.
const ARCHITECTURE_LINES_MAX: usize = 250;

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn architecture() -> String {
    read(&root().join("ARCHITECTURE.md"))
}

/// The pages that people read, each with its text: those of the root and of the folders beside `src/`,
/// and every page below docs/.
fn documents() -> Vec<(PathBuf, String)> {
    let pages = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        entries.map(|entry| entry.expect("an entry of the folder").path()).collect::<Vec<_>>()
    };
    let mut folders = vec![root().join("docs")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let (below, files): (Vec<_>, _) =
            pages(&folder).into_iter().partition(|path| path.is_dir());
        folders.extend(below);
        found.extend(files);
    }
    for folder in [
        "",
        "bench",
        "examples",
        "tests/faults",
        "tests/fuzz",
        "tests/simulation",
        "tests/upgrade",
        "tuning",
    ] {
        found.extend(pages(&root().join(folder)));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// The texts between backticks outside of blocks of code.
fn quoted(text: &str) -> Vec<&str> {
    let mut is_block = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if !is_block {
            lines.push(line);
        }
    }
    lines.iter().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Paths of this repository that a document names: below the folders whose files have lasting names.
fn named_paths(text: &str) -> Vec<&str> {
    let is_path = |word: &&str| {
        let below = ["src/", "tests/", "tuning/"].iter().any(|folder| word.starts_with(folder));
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        below && word.chars().all(plain)
    };
    quoted(text).into_iter().filter_map(|quote| quote.split(' ').next()).filter(is_path).collect()
}

/// Where the links of a document lead that stay within this repository, without anchors.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let within = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    within.filter_map(|target| target.split('#').next()).filter(|path| !path.is_empty()).collect()
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    heading.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_architecture_page_stays_short() {
    let lines = architecture().lines().count();
    assert!(
        lines <= ARCHITECTURE_LINES_MAX,
        "ARCHITECTURE.md has {lines} lines: move some to docs/"
    );
}

#[test]
fn every_file_that_a_document_names_exists() {
    let mut lost = Vec::new();
    for (path, text) in documents() {
        let document = path.strip_prefix(root()).expect("below the root").display().to_string();
        let folder = path.parent().expect("a file is in a folder");
        let is_there = |name: &str| root().join(name).exists() || folder.join(name).exists();
        let named = named_paths(&text).into_iter().filter(|name| !is_there(name));
        let linked = links(&text).into_iter().filter(|link| !folder.join(link).exists());
        lost.extend(named.chain(linked).map(|name| format!("{document}: {name}")));
    }
    assert!(lost.is_empty(), "these are not there:\n{}", lost.join("\n"));
}

#[test]
fn every_anchor_that_a_document_links_to_exists() {
    let mut lost = Vec::new();
    for (path, text) in documents() {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let Some((file, wanted)) = target.split_once('#') else { continue };
            if file.contains("://") {
                continue;
            }
            let folder = path.parent().expect("a file is in a folder");
            let page = if file.is_empty() { path.clone() } else { folder.join(file) };
            let page = read(&page);
            let mut headings = page.lines().filter(|line| line.starts_with('#'));
            if !headings.any(|line| anchor(line.trim_start_matches('#').trim()) == wanted) {
                lost.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(lost.is_empty(), "these are not there:\n{}", lost.join("\n"));
}

/// The names of code in a document: types, paths with `::`, bounds.
fn named_code(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names_code = |word: &&str| {
        let is_type = word.starts_with(|c: char| c.is_ascii_uppercase())
            && word.contains(|c: char| c.is_ascii_lowercase())
            && word.chars().all(is_word);
        let is_path = word.contains("::") && word.chars().all(|c| is_word(c) || c == ':');
        let is_bound = word.ends_with("_MAX") && word.chars().all(is_word);
        is_type || is_path || is_bound
    };
    let words = quoted(text).into_iter().filter(names_code);
    words.flat_map(|word| word.split("::")).collect()
}

#[test]
fn every_code_name_in_internal_docs_exists() {
    let words: BTreeSet<String> = sources("src")
        .iter()
        .flat_map(|(_, text)| text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')))
        .map(str::to_owned)
        .collect();
    let inside = [root().join("ARCHITECTURE.md"), root().join("docs/internals")];
    let mut lost = Vec::new();
    for (path, text) in documents() {
        if inside.iter().any(|place| path.starts_with(place)) {
            let missing = named_code(&text).into_iter().filter(|name| !words.contains(*name));
            lost.extend(missing.map(|name| format!("{}: {name}", path.display())));
        }
    }
    assert!(lost.is_empty(), "no such name in src/:\n{}", lost.join("\n"));
}

/// The cells of a numbered row of PROMISES.md.
fn numbered(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |"))?;
    row.starts_with(|c: char| c.is_ascii_digit()).then(|| row.split(" | ").collect())
}

#[test]
fn promises_are_numbered_and_their_tests_exist() {
    let all: Vec<_> = ["src", "tests", "bench"].into_iter().flat_map(sources).collect();
    let functions: BTreeSet<_> = all
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split(['(', '<']).next())
        .collect();
    let is_test = |quote: &&str| {
        quote.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let page = read(&root().join("PROMISES.md"));
    let (mut section, mut row) = (0, 0);
    let mut lost = Vec::new();
    for line in page.lines() {
        let title = line.strip_prefix("## ").and_then(|title| title.split_once(". "));
        if let Some((number, _)) = title {
            (section, row) = (section + 1, 0);
            assert_eq!(number, section.to_string(), "{line}");
        } else if let Some(cells) = numbered(line) {
            row += 1;
            assert_eq!(cells[0], format!("{section}.{row}"), "{line}");
            assert!(cells.iter().all(|cell| !cell.trim().is_empty()), "an empty cell: {line}");
            let shown_by = cells.last().map_or_else(Vec::new, |cell| quoted(cell));
            let unknown = shown_by.into_iter().filter(is_test).filter(|n| !functions.contains(n));
            lost.extend(unknown.map(|name| format!("{section}.{row}: {name}")));
        }
    }
    assert!(section > 0 && row > 0, "PROMISES.md has no numbered rows");
    assert!(lost.is_empty(), "these tests are not there:\n{}", lost.join("\n"));
}

#[test]
fn exactly_the_dependencies_are_documented() {
    let dependencies = |manifest: &str| {
        let mut names = BTreeSet::new();
        let mut is_list = false;
        for line in read(&root().join(manifest)).lines() {
            if line.starts_with('[') {
                is_list = line.ends_with("dependencies]");
            } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_list) {
                names.insert(name.to_owned());
            }
        }
        names.remove("stampede");
        names
    };
    let all = architecture();
    let (_, section) = all.split_once("\n## Dependencies\n").expect("a section of dependencies");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(" | ").next()).flat_map(|cell| cell.split('`'));
    let is_name = |name: &&str| name.contains(|c: char| c.is_ascii_alphanumeric());
    let told: BTreeSet<_> = names.filter(is_name).map(str::to_owned).collect();
    let server = dependencies("Cargo.toml");
    assert_eq!(told, server, "the table of dependencies, and Cargo.toml");
    for folder in ["bench/", "tests/fuzz/"] {
        let begins =
            |paragraph: &&str| paragraph.trim_start().starts_with(&format!("`{folder}` has"));
        let paragraph = section.split("\n\n").find(begins);
        let paragraph = paragraph.unwrap_or_else(|| panic!("no paragraph about {folder}"));
        let is_crate = |quote: &&str| !quote.contains('/');
        let told = quoted(paragraph).into_iter().filter(is_crate).map(str::to_owned);
        let manifest = format!("{folder}Cargo.toml");
        let more = dependencies(&manifest).difference(&server).cloned().collect::<BTreeSet<_>>();
        assert_eq!(told.collect::<BTreeSet<_>>(), more, "the dependencies, and {manifest}");
    }
}

#[test]
fn exactly_the_layers_are_in_the_code_map() {
    let all = architecture();
    let (_, section) = all.split_once("\n## Code map\n").expect("a map of the code");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split(" | ").next()).flat_map(|cell| cell.split('`'));
    let is_name = |name: &&str| name.contains(|c: char| c.is_ascii_alphanumeric());
    let told: BTreeSet<_> = names.filter(is_name).collect();
    let layers: BTreeSet<_> = LAYERS.iter().map(|(layer, _)| *layer).collect();
    assert_eq!(told, layers, "the code map of ARCHITECTURE.md, and LAYERS of tests/tidy.rs");
}

#[test]
fn unsafe_is_only_where_the_architecture_page_says() {
    let all = architecture();
    let (_, told) = all.split_once("**Unsafe**").expect("a paragraph about unsafe");
    let (told, _) = told.split_once("\n\n").expect("a paragraph after it");
    let told: BTreeSet<_> = named_paths(told).into_iter().map(str::to_owned).collect();
    let is_unsafe = |line: &str| {
        let line = line.trim_start();
        !line.starts_with("//") && (line.contains("unsafe {") || line.contains("unsafe impl"))
    };
    let found: BTreeSet<_> = sources("src")
        .into_iter()
        .filter(|(_, text)| text.lines().any(is_unsafe))
        .map(|(path, _)| path.strip_prefix(root()).expect("below the root").display().to_string())
        .collect();
    assert_eq!(told, found);
}
