//! What strangers do to a server, and what is needed to see what it costs. The program is
//! `src/bin/stranger.rs`, with a command for each file here:
//!
//! [`flood`] sends without end and never reads; [`silent`] takes places and says nothing; [`hold`] are
//! the honest ones who were there before; [`handshakes`] begin TLS; [`tokens`] forge tokens; [`sink`] is a program that only reads and drops, to which the
//! same can be done; [`probe`] asks one thing at fixed times. [`target`] is what all of them are told.
//!
//! Each runs on one thread, holds as many connections as it was told and no more, and sums up what it
//! did in a line of JSON.

pub mod flood;
pub mod handshakes;
pub mod hold;
pub mod probe;
pub mod silent;
pub mod sink;
pub mod target;
pub mod tokens;

use clap::Subcommand;
use serde::Serialize;

use crate::error::{Because, Result};
use crate::process::Interrupted;

/// One of the things that a stranger does.
#[derive(Debug, Subcommand)]
pub enum Deed {
    /// Send request heads that never end, as fast as they go, and connect again when closed.
    ///
    /// Answers are never read. Prints how many connections it opened and how many bytes were taken.
    Heads(flood::Settings),
    /// Pipeline whole requests as fast as they go, never read an answer, and connect again when closed.
    ///
    /// Prints how many connections it opened and how many bytes were taken.
    Pipeline(flood::Settings),
    /// Hold as many silent connections as the server leaves open.
    ///
    /// They come from one loopback address and send nothing. One that the server closes is opened
    /// again. Prints how often it tried and how many it held.
    Silent(silent::Settings),
    /// Shake hands by TLS on one connection after the other, stop half-way, or send what is no TLS.
    ///
    /// No connection asks for anything. Prints how many handshakes came to an end, and how many
    /// connections the server closed.
    Handshakes(handshakes::Settings),
    /// Show forged tokens, so many per second, one at a time on each connection.
    ///
    /// Prints how many were checked and refused, and how many the server had no time for.
    Tokens(tokens::Settings),
    /// Hold connections from several loopback addresses, and see whether they survive.
    ///
    /// Asks once on each, prints "held N", waits for a line on its standard input (or its end), and
    /// asks once more on each. Prints how many were answered both times.
    Hold(hold::Settings),
    /// Accept every connection, read and drop what comes, and never answer.
    ///
    /// What an attack costs a machine whose server does nothing with it.
    Sink(sink::Settings),
    /// Ask for a path at fixed times, on a new connection each time, and say how long answers took.
    ///
    /// Open loop: a request is waited for since it was due. One that fails, or is not answered with
    /// 200, counts with the time after which a request is given up.
    Probe(probe::Settings),
}

impl Deed {
    /// Does it until it is done or interrupted. Returns what it did, as a line of JSON.
    pub fn run(&self, interrupted: &Interrupted) -> Result<String> {
        match self {
            Self::Heads(settings) => json(&flood::run(settings, flood::Flood::heads, interrupted)?),
            Self::Pipeline(settings) => {
                json(&flood::run(settings, flood::Flood::requests, interrupted)?)
            }
            Self::Silent(settings) => json(&silent::run(settings, interrupted)?),
            Self::Handshakes(settings) => json(&handshakes::run(settings, interrupted)?),
            Self::Tokens(settings) => json(&tokens::run(settings, interrupted)?),
            Self::Hold(settings) => json(&hold::run(settings, interrupted)?),
            Self::Sink(settings) => json(&sink::run(settings, interrupted)?),
            Self::Probe(settings) => json(&probe::run(settings, interrupted)?),
        }
    }
}

fn json(report: &impl Serialize) -> Result<String> {
    serde_json::to_string(report).because(|| "writing JSON".into())
}
