//! Which file of a crate imports which, and where imports run in a circle.
//!
//! Files are read line by line, as `rustfmt` leaves them: the `use` lines, and the paths within code.
//! Tests may import anything and are left out.

use std::collections::{BTreeMap, BTreeSet};

/// The names that the first file takes from the second.
pub type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// The arrows between the files of one crate, which are given as their paths from the folder of its
/// root, and their text.
///
/// An arrow ends at the last file that a path names. So a name that a parent re-exports by
/// `pub use child::Name` is imported from the parent, and the parent imports it from the child.
pub fn arrows(files: &[(&str, &str)]) -> Arrows {
    let files: Vec<_> = files.iter().filter(|(path, _)| !is_test(path)).collect();
    let modules: BTreeMap<_, _> = files.iter().map(|(path, _)| (module(path), *path)).collect();
    let mut arrows = Arrows::new();
    for (path, text) in files {
        for used in paths(&without_tests(text)) {
            let Some(used) = from_root(&used, &module(path), &modules) else { continue };
            let named = (0..=used.len()).rev().find(|&n| modules.contains_key(&used[..n]));
            let Some(named) = named else { continue };
            let target = modules[&used[..named]];
            if target != *path {
                let name = used.get(named).or(used.last()).unwrap_or(&"crate").to_string();
                arrows.entry((path.to_string(), target.to_string())).or_default().insert(name);
            }
        }
    }
    arrows
}

/// The arrows that are part of a circle, or lead from one circle to another. None: imports point one
/// way.
pub fn circles(mut arrows: Arrows) -> Arrows {
    loop {
        let before = arrows.len();
        let importing: BTreeSet<_> = arrows.keys().map(|(from, _)| from.clone()).collect();
        let imported: BTreeSet<_> = arrows.keys().map(|(_, to)| to.clone()).collect();
        // A file that is not imported is in no circle, nor is a file that imports none.
        arrows.retain(|(from, to), _| imported.contains(from) && importing.contains(to));
        if arrows.len() == before {
            return arrows;
        }
    }
}

/// Arrows as text, one per line.
pub fn listed(arrows: &Arrows) -> String {
    let mut lines = String::new();
    for ((from, to), names) in arrows {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        lines += &format!("{from} -> {to}: {}\n", names.join(", "));
    }
    lines
}

/// Whether a file is compiled for tests alone.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.starts_with("test_")
}

/// The names from the crate's root to the module that a file is.
fn module(path: &str) -> Vec<&str> {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    if matches!(path, "lib" | "main") { Vec::new() } else { path.split('/').collect() }
}

/// A path within this crate, from the crate's root on.
fn from_root<'a>(
    path: &'a str,
    here: &[&'a str],
    modules: &BTreeMap<Vec<&str>, &str>,
) -> Option<Vec<&'a str>> {
    let mut names = path.split("::").filter(|name| !name.is_empty()).peekable();
    let mut full = here.to_vec();
    match names.next()? {
        "crate" => full.clear(),
        "self" => {}
        "super" => {
            full.pop();
            while names.next_if_eq(&"super").is_some() {
                full.pop();
            }
        }
        child => {
            full.push(child);
            modules.contains_key(&full).then_some(())?;
        }
    }
    full.extend(names.filter(|name| *name != "self"));
    Some(full)
}

/// The paths in a text: those of its `use` trees, and those within code.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let item = line.trim_start();
        // The visibility of an item is no import.
        let visible = item.strip_prefix("pub(").and_then(|rest| rest.split_once(") "));
        let item = visible.map_or(item, |(_, item)| item);
        if let Some(start) = item.trim_start_matches("pub ").strip_prefix("use ") {
            let mut tree = start.to_owned();
            while !tree.ends_with(';') {
                tree += lines.next().expect("a `use` ends with a semicolon").trim_start();
            }
            expand("", tree.trim_end_matches(';'), &mut paths);
        } else {
            let in_code = item.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
            paths.extend(in_code.filter(|word| word.contains("::")).map(str::to_owned));
        }
    }
    paths
}

/// The paths of a tree such as `a::{b, c::{d, e}}`, each with the prefix of the tree.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((stem, branches)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or(tree).trim();
        return paths.extend((!name.is_empty()).then(|| format!("{before}{name}")));
    };
    let branches = branches.strip_suffix('}').expect("a tree closes its braces");
    let mut depth = 0;
    let between = |c: char| {
        depth += (c == '{') as i32 - (c == '}') as i32;
        c == ',' && depth == 0
    };
    for branch in branches.split(between) {
        expand(&format!("{before}{}", stem.trim()), branch.trim(), paths);
    }
}

/// The lines of a text, without comments and without items for tests alone.
fn without_tests(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(indent) = line.strip_suffix("#[cfg(test)]") {
            // The item after it ends with the first line of the same indent that closes something.
            lines.find(|line| {
                let rest = line.strip_prefix(indent).unwrap_or(line);
                !rest.starts_with([' ', '/', '#']) && rest.ends_with([';', '}', ','])
            });
        } else if !line.trim_start().starts_with("//") {
            code += line.split(" // ").next().unwrap_or(line);
            code.push('\n');
        }
    }
    code
}

const IN_A_CIRCLE: [(&str, &str); 5] = [
    ("lib.rs", "pub mod sale;\nmod shop;\nmod till;\n"),
    (
        "sale/mod.rs",
        "mod id;\nmod spec;\n\npub use id::{Id, IdError as Error};\npub use spec::Spec;\n",
    ),
    ("sale/id.rs", "use std::fmt;\n\npub struct Id;\n"),
    (
        "sale/spec.rs",
        "//! Not [`crate::till`].\nuse super::{Error, id};\n\npub struct Spec(id::Id);\n",
    ),
    (
        "shop.rs",
        "use crate::{\n    sale::{Id, Spec},\n    till,\n};\n\npub fn open(_: Id) -> Spec {\n    till::count()\n}\n",
    ),
];

#[test]
fn a_circle_is_found_with_its_imported_names() {
    let till =
        ("till.rs", "pub fn count() {}\n\nfn shut() {\n    crate::shop::open(0); // Really.\n}\n");
    let found = arrows(&[&IN_A_CIRCLE[..], &[till]].concat());
    assert_eq!(
        listed(&found),
        "sale/mod.rs -> sale/id.rs: Id, IdError\n\
         sale/mod.rs -> sale/spec.rs: Spec\n\
         sale/spec.rs -> sale/id.rs: id\n\
         sale/spec.rs -> sale/mod.rs: Error\n\
         shop.rs -> sale/mod.rs: Id, Spec\n\
         shop.rs -> till.rs: till\n\
         till.rs -> shop.rs: open\n"
    );
    assert_eq!(
        listed(&circles(found)),
        "sale/mod.rs -> sale/spec.rs: Spec\n\
         sale/spec.rs -> sale/mod.rs: Error\n\
         shop.rs -> sale/mod.rs: Id, Spec\n\
         shop.rs -> till.rs: till\n\
         till.rs -> shop.rs: open\n"
    );
}

#[test]
fn tests_and_comments_count_as_no_imports() {
    let till = (
        "till.rs",
        "pub fn count() {}\n\n// As crate::shop::open does.\n#[cfg(test)]\nfn shut() {\n    \
         crate::shop::open(0);\n}\n\npub fn full(_: crate::sale::Id) {}\n\n\
         #[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::shop;\n}\n",
    );
    let spec = ("sale/spec.rs", "use super::id::IdError;\n\npub struct Spec(super::id::Id);\n");
    let tests = ("shop_tests.rs", "use crate::shop::open;\n");
    let [root, sale, id, _, shop] = IN_A_CIRCLE;
    let found = arrows(&[root, sale, id, spec, shop, till, tests]);
    assert_eq!(listed(&circles(found.clone())), "");
    assert!(listed(&found).contains("till.rs -> sale/mod.rs: Id\n"));
    assert!(!listed(&found).contains("-> shop.rs"));
}
