//! Settings: the configuration file, the environment, the command line, and their values.
//!
//! Values that name hosts or files are not interpreted as a whole: that would ask the network, and
//! open what the input names.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use stampede::cli::Cli;
use stampede::config::{self, TlsOptions};
use stampede::duration::{format_duration, parse_duration};
use stampede::ledger::embedded::LedgerId;
use stampede::limits::TIME_MS_MAX;
use stampede::orders::DatabaseUrl;
use stampede::sale::{Lines, Split};
use tempfile::NamedTempFile;

use crate::bounds::bounded;
use crate::choices::Choices;

/// `toml` keeps each value with its place, and a problem quotes at most 200 characters of a value,
/// but there may be one for each name of the file.
const FILE_MEMORY_MIN: usize = 512 * 1024;
const FILE_MEMORY_PER_BYTE: usize = 1024;
/// A value is short, and an error has some sentences about it.
const VALUE_MEMORY_MIN: usize = 64 * 1024;
const VALUE_MEMORY_PER_BYTE: usize = 256;
/// Between the lines of the environment and the file.
const SEPARATOR: &[u8] = b"\n---\n";
/// The secrets of the corpus begin with it.
const SECRET: &str = "secret-0";

/// A folder in memory, if the machine has one.
fn folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Variables of the environment, one per line, and a configuration file.
pub fn file(input: &[u8]) {
    let at = input.windows(SEPARATOR.len()).position(|bytes| bytes == SEPARATOR);
    let (environment, text) = match at {
        Some(at) => (&input[..at], &input[at + SEPARATOR.len()..]),
        None => (&b""[..], input),
    };
    let environment = String::from_utf8_lossy(environment);
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    let variables: Vec<(OsString, OsString)> =
        variables.map(|(name, value)| (name.into(), value.into())).collect();
    let file = NamedTempFile::new_in(folder()).expect("a file");
    fs::write(file.path(), text).expect("the file is written");
    let bytes_max = FILE_MEMORY_MIN + FILE_MEMORY_PER_BYTE * input.len();
    let given = bounded(bytes_max, || config::fuzzing::given_settings(file.path(), variables));
    let secrets = ["control-token", "read-token", "redis-sentinel-password"];
    let text = String::from_utf8_lossy(text);
    for (name, _, values) in &given.settings {
        assert!(config::SETTINGS.iter().any(|setting| setting.name == *name));
        let secret = values.iter().find(|value| value.starts_with(SECRET));
        let Some(secret) = secret.filter(|_| secrets.contains(name)) else { continue };
        // A problem may quote what is no secret, and that may have the same text.
        let repeated = environment.matches(secret).count() + text.matches(secret).count() > 1;
        let mut others = given.settings.iter().filter(|(other, ..)| other != name);
        if repeated || others.any(|(_, _, values)| values.iter().any(|it| it.contains(secret))) {
            continue;
        }
        let mut told = given.problems.iter().chain(&given.warnings);
        assert!(!told.any(|text| text.contains(secret)), "{name} is quoted");
    }
    assert!(given.problems.iter().all(|problem| !problem.is_empty()));
}

/// The kind of a value, and its text; or the words of a command line, one per line.
pub fn value(input: &[u8]) {
    let mut choices = Choices::new(input);
    let kind = choices.byte() % 9;
    let Ok(text) = str::from_utf8(choices.rest()) else { return };
    if kind == 0 {
        return command_line(text);
    }
    bounded(VALUE_MEMORY_MIN + VALUE_MEMORY_PER_BYTE * text.len(), || match kind {
        1 => {
            if let Ok((_, spec)) = config::parse_sale(text, Split::Whole) {
                assert!(spec.check().is_ok(), "{spec:?}");
            }
        }
        2 => {
            if let Some(lines) = config::parse_lines(text).ok().filter(|lines| !lines.is_empty()) {
                assert_eq!(Lines::from_text(&lines.to_text()), Some(lines));
            }
        }
        3 => {
            if let Ok(time_ms) = config::parse_time(text) {
                assert!(time_ms <= TIME_MS_MAX);
            }
        }
        4 => {
            if let Ok(duration_ms) = parse_duration(text) {
                assert_eq!(parse_duration(&format_duration(duration_ms)), Ok(duration_ms));
            }
        }
        5 => {
            if let Ok(number) = config::whole_number(text, 1, 1_000) {
                assert!((1..=1_000).contains(&number));
            }
        }
        6 => _ = config::redis_setting(text, TlsOptions::default(), None),
        7 => _ = DatabaseUrl::parse(text),
        _ => {
            if let Ok(id) = text.parse::<LedgerId>() {
                assert_eq!(id.to_string(), text.to_ascii_lowercase());
            }
        }
    });
}

/// The words of a command line. Not bounded: `clap` builds all commands for each.
fn command_line(words: &str) {
    let words = ["stampede"].into_iter().chain(words.lines());
    if let Ok(cli) = Cli::try_parse_from(words) {
        let _ = cli.into_command();
    }
}
