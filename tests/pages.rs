//! The pages for users say of codes and settings what the program does.

use std::collections::BTreeSet;
use std::process::Command;

use stampede::code::{ErrorCode, control};
use stampede::engine::http::Kind;

/// Lines of README.md at most, so that a newcomer reads it.
const README_LINES_MAX: usize = 130;

/// The first cells of the rows of tables in a page.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(str::trim).collect()).collect()
}

#[test]
fn every_error_code_is_documented_with_status_and_number() {
    let page = include_str!("../docs/http-api.md");
    let mut listed = BTreeSet::new();
    let mut numbered = BTreeSet::new();
    for row in rows(page) {
        let (Ok(status), [_, code, number, ..]) = (row[0].parse::<u16>(), &row[..]) else {
            continue;
        };
        let Some(code) = code.strip_prefix('`').and_then(|code| code.strip_suffix('`')) else {
            continue;
        };
        listed.insert((code, status));
        if let Some(number) = number.rsplit(' ').next().and_then(|number| number.parse::<i8>().ok())
        {
            numbered.insert((code, number));
        }
    }
    let kinds = ErrorCode::ALL.iter().map(|code| code.kind());
    let all = kinds.chain(control::ALL.iter().copied()).chain(Kind::ALL.iter().copied());
    let said: BTreeSet<_> = all.map(|kind| (kind.code, kind.status.code())).collect();
    assert_eq!(listed, said);
    let answers =
        ErrorCode::ALL.iter().filter_map(|code| Some((code.kind().code, code.buy()?.code)));
    assert_eq!(numbered, answers.collect());
}

#[test]
fn every_setting_is_documented() {
    let mut checked = Command::new(env!("CARGO_BIN_EXE_stampede"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STAMPEDE_") {
            checked.env_remove(name);
        }
    }
    let output = checked.args(["check-config", "--ledger", "redis://127.0.0.1"]).output();
    let output = output.expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let settings = text.lines().take_while(|line| !line.starts_with("[[")).filter_map(|line| {
        let name = line.trim_start_matches("# ").split([' ', ':']).next()?;
        (!name.is_empty() && name != "format").then_some(name)
    });
    let named: BTreeSet<_> = rows(include_str!("../docs/configuration.md"))
        .into_iter()
        .flat_map(|row| row[0].split('`').skip(1).step_by(2).collect::<Vec<_>>())
        .collect();
    let lost: Vec<_> = settings.filter(|name| !named.contains(name)).collect();
    assert!(lost.is_empty(), "not in docs/configuration.md: {lost:?}");
}

#[test]
fn the_readme_stays_short() {
    let lines = include_str!("../README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "README.md has {lines} lines: move some to docs/");
}
