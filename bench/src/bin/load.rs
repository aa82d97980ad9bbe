//! The load generator's program: see `bench::load`.

use std::path::Path;
use std::process::ExitCode;

use bench::error::{Because, Result};
use bench::load::report::LoadReport;
use bench::load::settings::Settings;
use bench::{load, process};
use clap::Parser;

const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let settings = Settings::parse();
    let run = || {
        let report = load::run(&settings, process::interruptible()?)?;
        print(&settings, &report)?;
        Ok::<_, bench::error::Failure>(report)
    };
    let report = match run() {
        Ok(report) => report,
        Err(failure) => {
            eprintln!("load: {failure}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(complaint) = report.complaint() {
        eprintln!("load: {complaint}");
        return ExitCode::FAILURE;
    }
    if report.interrupted { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS }
}

fn print(settings: &Settings, report: &LoadReport) -> Result<()> {
    let json = || serde_json::to_string_pretty(report).because(|| "writing JSON".into());
    match settings.json.as_deref() {
        Some(path) if path == Path::new("-") => {
            println!("{}", json()?);
            eprint!("{}", report.page());
        }
        Some(path) => {
            std::fs::write(path, json()? + "\n")
                .because(|| format!("--json {}", path.display()))?;
            print!("{}", report.page());
        }
        None => print!("{}", report.page()),
    }
    Ok(())
}
