//! The `stampede` program: reads the command line, does what it says and prints what came of it.
//! The only module that prints.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use stampede::cli::{Cli, Command, ServeOptions};
use stampede::config::{Config, ConfigError};
use stampede::logging;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a failure that is not the command line's or the configuration's.
const FAILURE: u8 = 1;
/// Exit code of a wrong option or setting. clap uses the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Serve(options) => serve(&options),
        Command::CheckConfig(options) => check_config(&options),
    }
}

fn serve(options: &ServeOptions) -> ExitCode {
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    if let Err(error) = logging::init(&config.log_filter, config.log_format) {
        return failure(&error);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    failure(&"serving is not wired up yet")
}

fn check_config(options: &ServeOptions) -> ExitCode {
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    match io::stdout().lock().write_all(config.to_toml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn usage(error: &ConfigError) -> ExitCode {
    for problem in &error.problems {
        eprintln!("error: {problem}");
    }
    eprintln!("\nFor more information, try 'stampede --help'.");
    ExitCode::from(USAGE)
}

fn failure(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(FAILURE)
}
