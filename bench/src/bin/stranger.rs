//! The program of the attackers: see `bench::strangers`.

use std::process::ExitCode;

use bench::process;
use bench::strangers::Deed;
use clap::Parser;

/// Attacks a server as strangers on the network do, and measures what honest clients notice.
///
/// Each command runs until it is done or gets SIGTERM or Ctrl-C. It then prints its figures as one line
/// of JSON. It uses one thread and at most --connections or --attempts connections. Pin it with
/// taskset. Use it only against your own servers.
///
/// Exits with 1 if it can't do its work, for example if it lacks descriptors (ulimit -Hn).
#[derive(Debug, Parser)]
#[command(name = "stranger")]
struct CommandLine {
    #[command(subcommand)]
    deed: Deed,
}

fn main() -> ExitCode {
    let CommandLine { deed } = CommandLine::parse();
    match process::interruptible().and_then(|interrupted| deed.run(&interrupted)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("stranger: {failure}");
            ExitCode::FAILURE
        }
    }
}
