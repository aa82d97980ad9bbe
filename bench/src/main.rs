//! The benchmark's command line. Start it with `bench/run`, which builds what is measured.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bench::error::{Because, Result};
use bench::process::Interrupted;
use bench::quick;
use clap::{Parser, Subcommand};

/// Measures stampede beside its floor and its peers, on one machine, in interleaved rounds.
#[derive(Parser)]
#[command(name = "bench/run", bin_name = "bench/run")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every scenario in interleaved rounds: about 7 minutes with the defaults.
    ///
    /// Compares the bare epoll loop (floor), may_minihttp and stampede: CPU and throughput of
    /// rejections and of sales, Redis CPU a sale, memory an idle connection. Writes commands.txt,
    /// versions.txt, raw.csv and summary.md, and prints which promises are met. Fails if a server
    /// answers anything but what it should; a promise that is not met is a result, not a failure.
    Quick(quick::Settings),
}

fn main() -> ExitCode {
    let CommandLine { command: Command::Quick(settings) } = CommandLine::parse();
    match interruptible().and_then(|interrupted| quick::run(&settings, interrupted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The first SIGINT or SIGTERM asks everything to stop; a second one ends us at once, and the
/// kernel our children with us.
fn interruptible() -> Result<Interrupted> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone())
            .and_then(|_| signal_hook::flag::register(signal, interrupted.clone()))
            .because(|| "listening for Ctrl-C".into())?;
    }
    Ok(interrupted)
}
