//! Attacks of strangers on a server, and the measurement of their effect. The program is
//! `src/bin/stranger.rs`, with a command per file:
//!
//! [`flood`] sends endlessly and never reads; [`silent`] holds connections without a byte; [`hold`]
//! are honest clients that connected before; [`handshakes`] start TLS; [`tokens`] forge tokens;
//! [`sink`] is an attacked program that only reads; [`probe`] sends a request at fixed times.
//! [`target`] has the shared settings.
//!
//! Each runs on one thread, holds at most the given number of connections, and prints its figures as a
//! line of JSON.

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

/// An attack or a measurement.
#[derive(Debug, Subcommand)]
pub enum Deed {
    /// Send endless request heads as fast as possible, and reconnect when the server closes.
    ///
    /// Reads no answer. Prints the number of opened connections and of accepted bytes.
    Heads(flood::Settings),
    /// Pipeline whole requests as fast as possible without reading answers, and reconnect.
    ///
    /// Prints the number of opened connections and of accepted bytes.
    Pipeline(flood::Settings),
    /// Hold as many silent connections as the server leaves open.
    ///
    /// The connections come from one loopback address and send nothing. Reopens each connection that
    /// the server closes. Prints the number of attempts and of held connections.
    Silent(silent::Settings),
    /// Start TLS handshakes and complete them, stop half-way, or send bytes that are no TLS.
    ///
    /// Sends no request. Prints the number of complete handshakes and of connections that the server
    /// closed.
    Handshakes(handshakes::Settings),
    /// Send forged tokens at a rate, one at a time per connection.
    ///
    /// Prints the number of tokens that the server checked and refused, and of those that it did not
    /// check for lack of time.
    Tokens(tokens::Settings),
    /// Hold honest connections from several loopback addresses, and count the survivors.
    ///
    /// Sends one request per connection and prints "held N". Waits for a line or the end of standard
    /// input, then sends a second request per connection. Prints the number of connections with two
    /// answers.
    Hold(hold::Settings),
    /// Accept every connection, discard the input, and never answer.
    ///
    /// Shows what an attack costs the machine itself, without a real server.
    Sink(sink::Settings),
    /// Request a path at fixed times over new connections, and print the latency of the answers.
    ///
    /// Open loop: latency counts from the time at which a request was due. A failed request, or one
    /// whose answer is not 200, counts as the deadline.
    Probe(probe::Settings),
}

impl Deed {
    /// Runs until it is done or interrupted. Returns its figures as a line of JSON.
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
