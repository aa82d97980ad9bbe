//! The benchmark's command line. Start it with `bench/run`, which builds what is measured.

use std::process::ExitCode;

use bench::process::interruptible;
use bench::report::again;
use bench::{
    admission, against, drain, full, hand_over, httparena, idle, instructions, memory, orders,
    queues, quick, reopen, sales, strategies, techempower, tls,
};
use clap::{Parser, Subcommand};

/// Measures stampede beside its floor and its peers, on one machine, in interleaved rounds.
#[derive(Parser)]
#[command(name = "bench/run", bin_name = "bench/run")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Everything, against every peer: about 65 minutes. What `bench/run` does by itself.
    ///
    /// Rejections (kept connections, pipelined, a connection each), TechEmpower's plaintext and JSON,
    /// sales from every ledger, purchases and refusals of users with keys, hot sales, a mix, the headline
    /// (1,000,000 requests for 10,000 tickets from 15,000 connections), stock that returns to such a crowd, 64 to 15,000 connections, one core
    /// and two, open loops at 50, 70 and 90 %, Unix sockets, idle connections. Writes commands.txt,
    /// versions.txt, raw.csv, summary.md and pictures, says which promises are met, and writes the
    /// README's table. Fails if anything that is measured is not what it claims to be; a promise
    /// that is not met is a result, not a failure.
    Full(full::Settings),
    /// 1,000,000 requests for 10,000 tickets from 15,000 connections, at default settings: 6 minutes.
    ///
    /// From Redis and from the embedded ledger, with the server on one core and on all; the same with
    /// a user and a key in each request, also with the sale in four parts; then a second in which Redis stands still under such a crowd, and one buyer beside 4,000 of another
    /// sale. Fails if one answer is neither a ticket nor `sold_out`, or if not exactly 10,000 are sold.
    Headline(full::HeadlineSettings),
    /// stampede beside the floor and may_minihttp, with wrk and ab: about 7 minutes.
    ///
    /// Compares the bare epoll loop (floor), may_minihttp and stampede: CPU and throughput of
    /// rejections and of sales, Redis CPU per sale, memory per idle connection. Writes commands.txt,
    /// versions.txt, raw.csv and summary.md, and prints which promises are met. Fails if a server
    /// answers anything but what it should; a promise that is not met is a result, not a failure.
    Quick(quick::Settings),
    /// This stampede beside an older one, under the same load: did a change cost anything? 10 minutes.
    ///
    /// Builds the stampede of a commit in a git worktree (some minutes the first time; its target
    /// folder target/against/COMMIT is kept) and measures it and the one of this checkout in turn:
    /// rejections over 64 kept connections, pipelined, and on a connection each; sales from Redis and
    /// from the embedded ledger. Prints for CPU, requests/s, p50 and p99 the ratio new/old, taken
    /// within rounds, and a verdict: "more" or "less" if the quartiles of the ratios lie on one side
    /// of 1, "no difference" if both are within 1 % of it, else "within noise".
    Against(against::Settings),
    /// Instructions in user space per rejection and per sale, counted by valgrind: 2 minutes.
    ///
    /// Unlike CPU time they hardly depend on what else the machine does: rounds agree to within 1 %.
    /// They leave out the kernel, which is most of a request, and say nothing of caches and waiting.
    /// One connection; the server on one core. With --against also those of another build, and the
    /// ratios.
    Instructions(instructions::Settings),
    /// When a unit is taken off the stock: with the order, with the payment, or held before both.
    ///
    /// The article's three strategies side by side on a real PostgreSQL, with buyers who never pay.
    /// About 3 minutes. Also draws strategies.svg.
    Strategies(strategies::Settings),
    /// How fast orders get into PostgreSQL, to COPY of the same rows.
    Orders(orders::Settings),
    /// PostgreSQL is away for a minute while sales go on: how long until it has them all.
    Drain(drain::Settings),
    /// How soon every connection of two servers can buy when stock returns to a sold-out sale.
    Reopen(reopen::Settings),
    /// What a rejection and a sale cost with 1, 100 and 10,000 sales defined.
    Sales(sales::Settings),
    /// Memory and disk that a reservation takes.
    Memory(memory::Settings),
    /// What a server takes that nobody buys from, scraped each second and left alone: 25 minutes.
    ///
    /// With the embedded ledger, orders and a sale that is sold out, and on Redis; on both cores. Its
    /// metrics are asked for as Prometheus does, once a second for --seconds; what the server used is
    /// read from /proc. Fails if an answer is not one, or lacks what it should tell.
    Idle(idle::Settings),
    /// What buyers notice when a new process takes over from a server (SIGUSR2): 6 minutes.
    ///
    /// 2,000 purchases per second, on kept connections and on new ones, while a new process takes over
    /// 20 times: with an embedded ledger that is new, with one that has 1,000,000 reservations, and on
    /// Redis. Tells for how long the embedded ledger was nobody's, the longest time that a buyer
    /// waited, and when the old process had ended. Fails if a connection is refused or reset, if a
    /// buyer gets anything but a ticket, or if the ledger has sold others than buyers were told of.
    HandOver(hand_over::Settings),
    /// What it costs to check a token, and what buyers notice of a flood of forged ones: 2 minutes.
    ///
    /// CPU of a check of an HS256 and of an EdDSA token. Then 400 purchases per second from Redis, each
    /// with a token that was never seen before, beside nobody, and beside clients from one address and
    /// from 200 who show 10,000 forged EdDSA tokens per second.
    Admission(admission::Settings),
    /// CPU of a command that waits in a core's queue, by how many wait beside it. No server.
    Queues(queues::Settings),
    /// Buyers who come over TLS: beside the floor of TLS, nginx, axum, and nginx before stampede.
    ///
    /// Rejections over kept connections and pipelined, purchases by POST with a user and a key, a
    /// connection each with full handshakes and with such that resume, memory of idle connections, the
    /// latency of kept connections beside floods of handshakes, and the load generator against wrk.
    /// 15 rounds of a second: about 50 minutes.
    Tls(tls::Settings),
    /// Whether the rules of TechEmpower's JSON and plaintext tests hold. Measures nothing.
    ///
    /// Prints each rule with what was found; fails if one does not hold. About 10 seconds.
    Techempower(techempower::Settings),
    /// The engine's entry for HttpArena: its rules, then its profiles beside floors and may_minihttp.
    ///
    /// Starts stampede's engine without a sale (bench/httparena) and checks over raw sockets what the
    /// board's verifier asks and what HTTP asks beside: sums of random numbers by GET and POST, with
    /// a length and in chunks, in pieces and cut at every byte, pipelined in order, on kept and on
    /// short connections. Fails if a rule does not hold. Then measures the board's profiles at 512
    /// and 4,096 connections: baseline (GET, POST, POST in a chunk), its GET alone, 16 pipelined, a
    /// new connection after 10 requests. 13 minutes; with --check, 10 seconds.
    Httparena(httparena::Settings),
    /// A run's summary and pictures, made anew from its raw.csv. Measures nothing.
    ///
    /// Writes summary.md and the pictures into the run's folder, and prints how noisy the machine was
    /// and which promises are met. What stands before the first section of an older summary.md is
    /// kept. With --readme it also writes the table in README.md between its markers
    /// <!-- bench:begin --> and <!-- bench:end -->.
    Report(again::Settings),
}

impl Command {
    /// `full`, with all defaults.
    fn everything() -> Self {
        let full = CommandLine::parse_from(["bench/run", "full"]).command;
        full.unwrap_or_else(|| unreachable!("there is a command"))
    }
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command.unwrap_or_else(Command::everything);
    let run = |interrupted| match &command {
        Command::Full(settings) => full::run(settings, interrupted),
        Command::Headline(settings) => full::headline(settings, interrupted),
        Command::Quick(settings) => quick::run(settings, interrupted),
        Command::Against(settings) => against::run(settings, interrupted),
        Command::Instructions(settings) => instructions::run(settings, interrupted),
        Command::Strategies(settings) => strategies::run(settings, interrupted),
        Command::Orders(settings) => orders::run(settings, interrupted),
        Command::Drain(settings) => drain::run(settings, interrupted),
        Command::Reopen(settings) => reopen::run(settings, interrupted),
        Command::Sales(settings) => sales::run(settings, interrupted),
        Command::Memory(settings) => memory::run(settings, interrupted),
        Command::Idle(settings) => idle::run(settings, interrupted),
        Command::HandOver(settings) => hand_over::run(settings, interrupted),
        Command::Admission(settings) => admission::run(settings, interrupted),
        Command::Queues(settings) => queues::run(settings, interrupted),
        Command::Tls(settings) => tls::run(settings, interrupted),
        Command::Techempower(settings) => techempower::run(settings, interrupted),
        Command::Httparena(settings) => httparena::run(settings, interrupted),
        Command::Report(settings) => again::run(settings),
    };
    match interruptible().and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
