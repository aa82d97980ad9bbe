//! `memory`: measures the memory per reservation: in Redis, by batch size and by the buyer's data;
//! with the embedded ledger, memory and disk.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use crate::answer::number_field;
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::fill::{Filler, Kind};
use crate::lab::{Lab, Served};
use crate::process::Interrupted;
use crate::report::median;
use crate::rows::{Row, figure};
use crate::scenarios::{Figures, WARM_UP_SECONDS};
use crate::session::{Common, Session};
use crate::tools::{read_wrk, wrk_with_script};

const EMBEDDED: &str = "embedded";
const BATCHES: [(usize, &str); 4] = [
    (1, "redis_batch_1"),
    (16, "redis_batch_16"),
    (64, "redis_batch_64"),
    (256, "redis_batch_256"),
];
const KINDS: [(Kind, &str); 3] =
    [(Kind::Anonymous, "anonymous"), (Kind::User, "user"), (Kind::UserAndKey, "user_and_key")];
const HOLD_MS: u64 = 3_600_000;
const CONNECTIONS: u32 = 64;
/// Maximum age of the sale's counts in memory.
const SETTLE: Duration = Duration::from_millis(300);
const STOP_DEADLINE: Duration = Duration::from_secs(60);

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Reservations in Redis.
    #[arg(long, default_value_t = 100_000)]
    pub reservations: usize,
    /// Seconds of purchases from the embedded ledger.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["wrk", "taskset", "redis-server"];
    let mut session =
        Session::open(&settings.common, "memory", settings.rounds, &tools, interrupted)?;
    for round in 1..=settings.rounds {
        for (kind, name) in KINDS {
            for (batch, scenario) in BATCHES {
                session.measure(round, scenario, name, |lab| {
                    in_redis(lab, settings.reservations, batch, kind)
                })?;
            }
            session.measure(round, EMBEDDED, name, |lab| embedded(lab, settings.seconds, kind))?;
        }
    }
    let text = table(session.rows());
    session.finish("Memory per reservation", &text, &[])
}

fn in_redis(lab: &mut Lab, reservations: usize, batch: usize, kind: Kind) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let mut filler = Filler::open(redis.address, "ticket")?;
    filler.create(reservations as u64, HOLD_MS)?;
    let before = redis.used_memory()?;
    filler.reserve(reservations, batch, kind)?;
    let growth = redis.used_memory()?.saturating_sub(before);
    Ok(vec![(figure::MEMORY_BYTES, growth as f64 / reservations as f64)])
}

fn embedded(lab: &mut Lab, seconds: u64, kind: Kind) -> Result<Figures> {
    let folder = lab.fresh_folder("ledger");
    let ledger = format!("embedded:{}", folder.display());
    let options = ["--sale", "ticket=10000000,hold=1h", "--sale", "none=0"];
    let served = lab.stampede(&[lab.server_core], &ledger, &options)?;
    let path = lab.data().join("memory.lua");
    let load = |lab: &mut Lab, script: String, seconds: u64| {
        fs::write(&path, script).because(|| "writing a script for wrk".into())?;
        let line = wrk_with_script(lab.load_core, CONNECTIONS, seconds, served.address, &path);
        lab.load(&line, seconds)
    };

    // With a key, each request of a sold-out sale goes to the ledger. The server then has the memory
    // for its connections and waiting requests.
    load(lab, script_for("none", Kind::UserAndKey), WARM_UP_SECONDS)?;
    held(lab, &served)?;
    let before = served.process.memory()?.anonymous_kib;
    read_wrk(&load(lab, script_for("ticket", kind), seconds)?)?;
    let made = held(lab, &served)? as f64;
    let memory = served.process.memory()?.anonymous_kib.saturating_sub(before);
    // A journal has preallocated space until the server ends.
    served.process.end(libc::SIGTERM, STOP_DEADLINE)?;
    Ok(vec![
        (figure::SALES, made),
        (figure::MEMORY_BYTES, memory as f64 * 1024.0 / made),
        (figure::DISK_BYTES, disk(&folder)? as f64 / made),
    ])
}

/// Units held now. The first request makes the server read its ledger.
pub fn held(lab: &Lab, served: &Served) -> Result<u64> {
    lab.settle(SETTLE)?;
    let mut client = Client::connect(served.address)?;
    client.get("/v1/sales/ticket")?;
    lab.settle(SETTLE)?;
    let response = client.get("/v1/sales/ticket")?;
    match number_field(&response.body, "held") {
        Some(held) => Ok(held),
        None => {
            fail(format!("the server answered {} for the sale: {}", response.status, response.body))
        }
    }
}

/// Bytes of all files in a folder.
fn disk(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).because(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { disk(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Users and keys of the same length as those in Redis.
fn script_for(sale: &str, kind: Kind) -> String {
    let key = match kind {
        Kind::Anonymous => {
            return "function request() return wrk.format('GET', '/buy/ticket') end\n".into();
        }
        Kind::User => "",
        Kind::UserAndKey => {
            "headers['Idempotency-Key'] = string.format('5d3c1e0a-77aa-4c1e-9f00-%012d', n)\n  "
        }
    };
    format!(
        "local n, headers = 0, {{['Content-Type'] = 'application/json'}}\n\
         function request()\n  n = n + 1\n  {key}\
         local body = string.format('{{\"user\":\"user-%08d\"}}', n)\n  \
         return wrk.format('POST', '/v1/sales/{sale}/reservations', headers, body)\nend\n"
    )
}

/// The medians as a table.
fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "\nBytes per reservation, with one user and one idempotency key per reservation (13 and 36 \
         characters). Redis: growth of `used_memory`. Embedded ledger: growth of the server's \
         anonymous memory and of its folder. Tables grow by doubling, so memory is exact to some ten \
         percent.\n\n| | anonymous | user | user, key |\n|---|---|---|---|\n",
    );
    let mut line = |name: &str, scenario, figure| {
        let cells = KINDS.map(|(_, kind)| {
            let bytes = median(rows, (scenario, kind, figure));
            bytes.map_or_else(|| "–".into(), |bytes| format!("{bytes:.0}"))
        });
        // Writing to a String can't fail.
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    };
    for (batch, scenario) in BATCHES {
        let name = format!("Redis, batches of {batch}");
        line(&name, scenario, figure::MEMORY_BYTES);
    }
    line("embedded, in memory", EMBEDDED, figure::MEMORY_BYTES);
    line("embedded, on disk", EMBEDDED, figure::DISK_BYTES);
    out
}
