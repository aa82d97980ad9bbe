//! The command line of the bench. `bench/run` builds the programs that are measured, then starts it.

use std::process::ExitCode;

use bench::process::interruptible;
use bench::report::again;
use bench::{
    admission, against, drain, full, hand_over, httparena, idle, instructions, memory, orders,
    queues, quick, reopen, sales, strategies, techempower, tls,
};
use clap::{Parser, Subcommand};

/// Measures stampede, its floors and its peers on one machine, in interleaved rounds.
///
/// Without a command, runs `full`. Every command stops the servers that it started, also after Ctrl-C.
#[derive(Parser)]
#[command(name = "bench/run", bin_name = "bench/run")]
struct CommandLine {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Measure every scenario against every peer: about 65 minutes. The default command.
    ///
    /// Scenarios: rejections (kept connections, pipelined, one connection per request); TechEmpower's
    /// plaintext and JSON; sales from every ledger; purchases and refusals of users with keys; hot
    /// sales; a mix of rejections and purchases; the headline; stock that returns to 15,000
    /// connections; 64 to 15,000 connections; one core and two; open loops at 50, 70 and 90 % of the
    /// capacity; Unix sockets; idle connections; strangers.
    ///
    /// Writes commands.txt, versions.txt, raw.csv, summary.md and pictures, prints which promises are
    /// met, and updates the table in the README. Exits with 1 if a measured answer is not what it
    /// claims to be. A promise that is not met is a result and no failure.
    Full(full::Settings),
    /// Send 1,000,000 requests for 10,000 tickets over 15,000 connections: 8 minutes.
    ///
    /// Uses default settings. Sells from Redis and from the embedded ledger, with the server on one core
    /// and on all cores. Repeats the sale with a user and a key per request, also with the sale split
    /// into four parts. Then stops Redis for a second under 15,000 connections, and measures one buyer
    /// beside 4,000 buyers of another sale.
    ///
    /// Exits with 1 if an answer is neither a ticket nor `sold_out`, or if the ledger has not sold
    /// exactly 10,000 tickets.
    Headline(full::HeadlineSettings),
    /// Compare stampede with the floor and may_minihttp, by wrk and ab: about 7 minutes.
    ///
    /// Measures the CPU and the throughput of rejections and sales, the Redis CPU per sale, and the
    /// memory per idle connection. `floor` is a bare epoll loop.
    ///
    /// Writes commands.txt, versions.txt, raw.csv and summary.md, and prints which promises are met.
    /// Exits with 1 if a server gives an unexpected answer. A promise that is not met is a result and no
    /// failure.
    Quick(quick::Settings),
    /// Compare this stampede with another commit under the same load: 10 minutes and a build.
    ///
    /// Builds the stampede of the commit in a git worktree. The first build takes some minutes; its
    /// target folder, target/against/COMMIT, is kept. Then measures both builds in turn: rejections over
    /// 64 kept connections, pipelined, and with one connection per request; sales from Redis and from
    /// the embedded ledger.
    ///
    /// Prints the ratio new/old of CPU, requests/s, p50 and p99, each taken within a round, and a
    /// verdict. "more" or "less": both quartiles of the ratios lie on that side of 1. "no difference":
    /// both lie within 1 % of 1. "within noise": anything else.
    Against(against::Settings),
    /// Count user-space instructions per rejection and per sale, by valgrind: 2 minutes.
    ///
    /// Instructions hardly depend on other programs of the machine: rounds agree to within 1 %. They
    /// leave out the kernel, which is most of a request, and show neither cache misses nor waiting.
    /// Uses one connection, and one core for the server. --against also counts another build and prints
    /// the ratios.
    Instructions(instructions::Settings),
    /// Compare three strategies: deduct stock at the order, at the payment, or hold it before both.
    ///
    /// Runs the article's three strategies on a real PostgreSQL, with buyers who never pay. Takes about
    /// 3 minutes. Also draws strategies.svg.
    Strategies(strategies::Settings),
    /// Compare `stampede orders` with PostgreSQL's COPY of the same rows.
    Orders(orders::Settings),
    /// Stop PostgreSQL while sales go on, and measure how soon the database has caught up.
    Drain(drain::Settings),
    /// Return stock to a sold-out sale on two servers, and measure how soon every connection can buy.
    Reopen(reopen::Settings),
    /// Measure the CPU per rejection and per sale with 1, 100 and 10,000 sales defined.
    Sales(sales::Settings),
    /// Measure the memory and the disk space per reservation.
    Memory(memory::Settings),
    /// Measure the CPU of a server without buyers, with and without scrapes of its metrics: 55 minutes.
    ///
    /// The server runs on both cores with a sale that is sold out: once with the embedded ledger and
    /// orders, once with Redis. Requests its metrics once per second, as Prometheus does, for --seconds,
    /// and reads the server's CPU from /proc. Exits with 1 if an answer is no metrics or lacks one that
    /// must be there.
    Idle(idle::Settings),
    /// Measure what buyers notice when a new process takes over from a server (SIGUSR2): 6 minutes.
    ///
    /// Sends 2,000 purchases per second over kept and new connections, while a new process takes over
    /// 20 times with each ledger: an empty embedded ledger, an embedded ledger with 1,000,000
    /// reservations, and Redis.
    ///
    /// Prints how long no process had the embedded ledger, the longest time that a buyer waited, and
    /// when the old process ended. Exits with 1 if a connection is refused or reset, if a buyer gets
    /// anything but a ticket, or if the ledger's tickets differ from the buyers'.
    HandOver(hand_over::Settings),
    /// Measure the cost of a token's check, and buyers beside a flood of forged tokens: 2 minutes.
    ///
    /// Measures the CPU per check of an HS256 token and of an EdDSA token. Then sends 400 purchases per
    /// second from Redis, each with a new token: alone, and beside clients that show 10,000 forged EdDSA
    /// tokens per second from one address and from 200 addresses.
    Admission(admission::Settings),
    /// Measure the CPU per command in a core's queue, by the length of the queue. Starts no server.
    Queues(queues::Settings),
    /// Measure buyers over TLS, beside the TLS floor, nginx, axum, and nginx in front of stampede.
    ///
    /// Scenarios: rejections over kept connections and pipelined; purchases by POST with a user and a
    /// key; one connection per request with full and with resumed handshakes; memory of idle
    /// connections; latency of kept connections beside floods of handshakes; the load generator beside
    /// wrk. 15 rounds of a second take about 40 minutes.
    Tls(tls::Settings),
    /// Check the rules of TechEmpower's JSON and plaintext tests: about 10 seconds. Measures nothing.
    ///
    /// Prints each rule with its finding. Exits with 1 if a rule does not hold.
    Techempower(techempower::Settings),
    /// Check HttpArena's rules on the engine, then measure its profiles: 13 minutes.
    ///
    /// Starts stampede's engine without a sale (bench/httparena) and checks the rules over raw sockets:
    /// sums of random numbers by GET and POST, with a length and in chunks, in pieces and cut at every
    /// byte, pipelined in order, on kept and on short connections. Exits with 1 if a rule does not hold.
    ///
    /// Then measures the board's profiles at 512 and 4,096 connections, beside floors and may_minihttp:
    /// baseline (GET, POST, POST in a chunk), its GET alone, 16 pipelined, and a new connection after 10
    /// requests. --check stops after the rules, in 10 seconds.
    Httparena(httparena::Settings),
    /// Write a run's summary and pictures again from its raw.csv. Measures nothing.
    ///
    /// Writes summary.md and the pictures into the run's folder, and prints the noise and the verdicts.
    /// Keeps the lines before the first section of an older summary.md. --readme also writes the table
    /// in README.md, between the lines <!-- bench:begin --> and <!-- bench:end -->.
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
