//! `quick`: every scenario, in interleaved rounds, into a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};

use crate::error::{Because, Result, fail};
use crate::lab::Lab;
use crate::process::Interrupted;
use crate::rows::{Rows, figure};
use crate::scenarios::{self, Figures};
use crate::servers::{Programs, Server};
use crate::{machine, pin, summary};

const IDLE_CONNECTIONS: u32 = 15_000;
/// Descriptors that a process needs beside its connections.
const DESCRIPTORS_RESERVE: u64 = 200;

/// A group of measurements that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Rejections over kept connections (wrk).
    Rejections,
    /// Rejections, a connection each (ab).
    Connections,
    /// Sales from Redis, for 64 and for 256 connections (wrk).
    Redis,
    /// Sales from the embedded ledger (wrk).
    Embedded,
    /// Redis CPU a sale with one EVALSHA a ticket.
    Baseline,
    /// Memory of 15,000 idle connections.
    Memory,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server once in every scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load in a measurement, after a second of warm-up.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Folder for the results [default: `bench/runs/DATE-CPU`].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Servers to compare.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "floor,may_minihttp,stampede"
    )]
    pub servers: Vec<Server>,
    /// Scenarios to run.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "LIST",
        default_value = "rejections,connections,redis,embedded,baseline,memory"
    )]
    pub scenarios: Vec<Scenario>,
    /// The stampede to measure [default: the one built beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub stampede: Option<PathBuf>,
    /// Core of the servers.
    #[arg(long, default_value_t = 0, value_name = "CORE")]
    pub server_core: usize,
    /// Core of the load generators and of Redis.
    #[arg(long, default_value_t = 1, value_name = "CORE")]
    pub load_core: usize,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let started = Instant::now();
    let mut quick = Quick::prepare(settings, interrupted)?;
    for round in 1..=settings.rounds {
        quick.round(round)?;
    }
    let heading = format!(
        "# {} rounds of {} s, {}\n\nServers on core {}; load generators and Redis on core {}. \
         Loopback. See `commands.txt`, `versions.txt`, `raw.csv`, and `bench/README.md` for what \
         each figure means.\n",
        settings.rounds,
        settings.seconds,
        machine::cpu_model(),
        settings.server_core,
        settings.load_core,
    );
    let path = quick.out.join("summary.md");
    fs::write(&path, summary::write(&heading, quick.rows.all()))
        .because(|| format!("writing {}", path.display()))?;
    println!("\n{}", summary::promises(quick.rows.all()));
    println!("{} s. All of it: {}", started.elapsed().as_secs(), path.display());
    Ok(())
}

struct Quick<'a> {
    settings: &'a Settings,
    lab: Lab,
    rows: Rows,
    out: PathBuf,
    idle_connections: u32,
}

impl<'a> Quick<'a> {
    fn prepare(settings: &'a Settings, interrupted: Interrupted) -> Result<Self> {
        machine::check_tools()?;
        if settings.server_core == settings.load_core {
            return fail(
                "--server-core and --load-core must differ: the server's CPU time would \
                         depend on the load generator's",
            );
        }
        let (programs, target) = programs(settings)?;
        let descriptors = pin::raise_descriptor_limit()?.saturating_sub(DESCRIPTORS_RESERVE);
        let idle_connections = u32::try_from(descriptors).unwrap_or(u32::MAX).min(IDLE_CONNECTIONS);
        if idle_connections < IDLE_CONNECTIONS {
            println!("ulimit -Hn allows only {idle_connections} idle connections");
        }
        // The idle connections are opened by this process itself: it is a load generator too.
        pin::to_core(settings.load_core)?;

        let out = settings.out.clone().map_or_else(new_run_folder, Ok)?;
        fs::create_dir_all(&out).because(|| format!("creating {}", out.display()))?;
        let cores = (settings.server_core, settings.load_core);
        let data = target.join(format!("bench-data-{}", std::process::id()));
        let lab = Lab::open(cores, programs, data, &out.join("commands.txt"), interrupted)?;
        fs::write(out.join("versions.txt"), machine::versions(lab.data())?)
            .because(|| "writing versions.txt".into())?;
        let rows = Rows::create(&out.join("raw.csv"))?;
        Ok(Self { settings, lab, rows, out, idle_connections })
    }

    fn round(&mut self, round: u32) -> Result<()> {
        let &Settings { seconds, ref servers, ref scenarios, .. } = self.settings;
        // Each round starts with another server, so that none always comes after the same one.
        let mut order = servers.clone();
        order.rotate_left((round as usize - 1) % servers.len());
        let ours = order.contains(&Server::Stampede);
        let wanted = |scenario| scenarios.contains(&scenario);

        if wanted(Scenario::Rejections) {
            for &server in &order {
                self.measure(round, scenarios::REJECTIONS, server.name(), |quick| {
                    scenarios::rejections(&mut quick.lab, server, seconds)
                })?;
            }
        }
        if wanted(Scenario::Redis) && ours {
            for (name, connections) in
                [(scenarios::SALES_REDIS_64, 64), (scenarios::SALES_REDIS_256, 256)]
            {
                self.measure(round, name, Server::Stampede.name(), |quick| {
                    scenarios::sales_redis(&mut quick.lab, Server::Stampede, connections, seconds)
                })?;
            }
        }
        if wanted(Scenario::Baseline) {
            self.measure(round, scenarios::ONE_EVALSHA, scenarios::BASELINE, |quick| {
                scenarios::one_evalsha(&mut quick.lab, seconds)
            })?;
        }
        if wanted(Scenario::Embedded) && ours {
            self.measure(round, scenarios::SALES_EMBEDDED, Server::Stampede.name(), |quick| {
                scenarios::sales_embedded(&mut quick.lab, Server::Stampede, seconds)
            })?;
        }
        if wanted(Scenario::Connections) {
            // `may_minihttp` closes neither HTTP/1.0 nor `Connection: close`: `ab` never finishes.
            for &server in order.iter().filter(|&&server| server != Server::MayMinihttp) {
                self.measure(round, scenarios::CONNECTIONS, server.name(), |quick| {
                    scenarios::connection_each(&mut quick.lab, server)
                })?;
            }
        }
        if wanted(Scenario::Memory) {
            for &server in &order {
                self.measure(round, scenarios::IDLE, server.name(), |quick| {
                    scenarios::idle_connections(&mut quick.lab, server, quick.idle_connections)
                })?;
            }
        }
        Ok(())
    }

    /// Runs one measurement, keeps its figures and says how it went.
    fn measure(
        &mut self,
        round: u32,
        scenario: &'static str,
        server: &'static str,
        scenario_of: impl FnOnce(&mut Self) -> Result<Figures>,
    ) -> Result<()> {
        self.lab.check_interrupted()?;
        self.lab.remark(&format!("round {round}: {scenario}, {server}"))?;
        let figures = scenario_of(self).because(|| format!("{scenario}, {server}"))?;
        self.rows.add(round, scenario, server, &figures)?;
        println!(
            "round {round}/{}  {scenario:<31} {server:<13} {}",
            self.settings.rounds,
            shown(&figures)
        );
        Ok(())
    }
}

/// The figures worth watching while it runs.
fn shown(figures: &Figures) -> String {
    let units = [
        (figure::REQUESTS_PER_S, "requests/s"),
        (figure::SALES_PER_S, "sales/s"),
        (figure::SERVER_CPU_US, "us CPU"),
        (figure::REDIS_CPU_US, "us Redis CPU"),
        (figure::CONNECTION_KIB, "KiB a connection"),
    ];
    let find = |name| figures.iter().find(|(figure, _)| *figure == name);
    let texts = units.iter().filter_map(|(name, unit)| {
        let (_, value) = find(*name)?;
        let digits = usize::from(*value < 1_000.0) * 2;
        Some(format!("{value:>9.digits$} {unit}"))
    });
    texts.collect::<Vec<_>>().join("  ")
}

/// Our programs and the target folder, both relative to the working folder where they lie in it.
fn programs(settings: &Settings) -> Result<(Programs, PathBuf)> {
    let this = std::env::current_exe().because(|| "looking for our own programs".into())?;
    let here = std::env::current_dir().because(|| "looking for the working folder".into())?;
    let folder = this.parent().unwrap_or(Path::new("."));
    let folder = folder.strip_prefix(&here).unwrap_or(folder).to_path_buf();
    let target = folder.parent().unwrap_or(Path::new(".")).to_path_buf();
    let stampede = settings.stampede.clone().unwrap_or_else(|| folder.join("stampede"));
    let needed = [folder.join("floor"), folder.join("may_minihttp"), folder.join("one_evalsha")];
    let ours = settings.servers.contains(&Server::Stampede).then(|| stampede.clone());
    for program in needed.into_iter().chain(ours) {
        if !program.is_file() {
            return fail(format!(
                "{} is missing: start this with bench/run, which builds it",
                program.display()
            ));
        }
    }
    Ok((Programs { folder, stampede }, target))
}

/// `bench/runs/<date>-<cpu>`, with a number if there is one of today.
fn new_run_folder() -> Result<PathBuf> {
    let name = format!("{}-{}", machine::today(), machine::slug(&machine::cpu_model()));
    let runs = Path::new("bench/runs");
    let mut numbered = (2..).map(|number| runs.join(format!("{name}-{number}")));
    let first = runs.join(&name);
    if !first.exists() {
        return Ok(first);
    }
    match numbered.find(|path| !path.exists()) {
        Some(path) => Ok(path),
        None => fail(format!("no free name for a folder in {}", runs.display())),
    }
}
