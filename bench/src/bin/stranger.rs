//! What strangers do to a server: see `bench::strangers`.

use std::process::ExitCode;

use bench::process;
use bench::strangers::Deed;
use clap::Parser;

/// Does to a server what strangers do, and measures what honest clients notice of it.
///
/// Each command runs until it is done or is told to end (SIGTERM, Ctrl-C), and then prints one line of
/// JSON: what it did. It runs on one thread and holds no more connections than it is told; to pin it,
/// start it with taskset. Use it against servers of your own.
///
/// Exit code 1 if it could not do what it was told, such as for want of descriptors (ulimit -Hn).
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
