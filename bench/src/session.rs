//! Shared steps of every command: check the tools, create the results' folder, keep the figures of
//! each measurement, and write the summary.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::builds::Build;
use crate::error::{Because, Result, fail};
use crate::lab::Lab;
use crate::machine::CpuSample;
use crate::process::Interrupted;
use crate::report::comparison::{NEW, OLD};
use crate::report::{self, Layout, Promise};
use crate::rows::{Row, Rows, figure};
use crate::scenarios::Figures;
use crate::servers::Programs;
use crate::{machine, pin};

/// Programs that a command may start, beside stampede.
const OUR_PROGRAMS: [&str; 14] = [
    "axum",
    "axum_postgres",
    "bare_append",
    "bare_redis",
    "floor",
    "floor_sales",
    "floor_uring",
    "httparena",
    "load",
    "many_evalsha",
    "may_minihttp",
    "no_auxv",
    "one_evalsha",
    "stranger",
];

/// Failed measurements after which a run gives up.
const FAILURES_MAX: usize = 10;

/// Settings of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Folder for the results [default: bench/runs/DATE-CPU-COMMAND; of full, bench/runs/DATE-CPU].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// The stampede to measure [default: the build beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub stampede: Option<PathBuf>,
    /// Core of the servers.
    #[arg(long, default_value_t = 0, value_name = "CORE")]
    pub server_core: usize,
    /// Core of the load generators.
    #[arg(long, default_value_t = 1, value_name = "CORE")]
    pub load_core: usize,
}

/// One run of a command.
pub struct Session {
    /// The lab.
    pub lab: Lab,
    /// Folder of the results.
    pub out: PathBuf,
    /// The pictures. The default has those of every command.
    pub layout: Layout,
    rows: Rows,
    rounds: u32,
    started: Instant,
    /// Failed measurements with their reasons.
    failed: Vec<String>,
}

impl Session {
    /// Checks the tools and creates the folders. `name` is the command's, or empty for `full`.
    ///
    /// This process is a load generator itself, so it is pinned to the load's core.
    pub fn open(
        common: &Common,
        name: &str,
        rounds: u32,
        tools: &[&str],
        interrupted: Interrupted,
    ) -> Result<Self> {
        machine::check_tools(tools)?;
        if common.server_core == common.load_core {
            return fail(
                "--server-core and --load-core must differ, because the server's CPU time would otherwise \
                         depend on the load generator's",
            );
        }
        let programs = programs(common)?;
        pin::to_core(common.load_core)?;
        let out = common.out.clone().map_or_else(|| new_run_folder(name), Ok)?;
        fs::create_dir_all(&out).because(|| format!("creating {}", out.display()))?;
        let cores = (common.server_core, common.load_core);
        let data = machine::target_folder()?.join(format!("bench-data-{}", std::process::id()));
        let lab = Lab::open(cores, programs, data, &out.join("commands.txt"), interrupted)?;
        fs::write(out.join("versions.txt"), machine::versions(lab.data())?)
            .because(|| "writing versions.txt".into())?;
        let rows = Rows::create(&out.join("raw.csv"))?;
        let layout = Layout::default();
        let (started, failed) = (Instant::now(), Vec::new());
        Ok(Self { lab, out, layout, rows, rounds, started, failed })
    }

    /// Runs one measurement, keeps its figures and the machine's, and prints a line. Notes a failed
    /// measurement and continues. The run fails at its end, or after too many failures.
    pub fn measure(
        &mut self,
        round: u32,
        scenario: &'static str,
        server: &'static str,
        of: impl FnOnce(&mut Lab) -> Result<Figures>,
    ) -> Result<()> {
        self.lab.check_interrupted()?;
        self.lab.remark(&format!("round {round}: {scenario}, {server}"))?;
        let before = CpuSample::now()?;
        let figures = match of(&mut self.lab) {
            Ok(figures) => figures,
            Err(failure) => {
                return self
                    .note_failure(format!("round {round}, {scenario}, {server}: {failure}"));
            }
        };
        let machine = CpuSample::now()?.figures_since(&before);
        self.rows.add(round, scenario, server, &figures)?;
        self.rows.add(round, scenario, server, &machine)?;
        let rounds = self.rounds;
        println!("round {round}/{rounds}  {scenario:<31} {server:<13} {}", shown(&figures));
        Ok(())
    }

    /// Keeps more figures of a measurement.
    pub fn keep(
        &mut self,
        round: u32,
        scenario: &'static str,
        server: &'static str,
        figures: &Figures,
    ) -> Result<()> {
        self.rows.add(round, scenario, server, figures)
    }

    /// Notes a measurement that is not what it claims to be. The run continues, unless there are too
    /// many, and fails at its end.
    pub fn note_failure(&mut self, failure: String) -> Result<()> {
        self.lab.check_interrupted()?;
        eprintln!("failed: {failure}");
        self.lab.remark("failed: see failed.txt")?;
        self.failed.push(failure);
        let path = self.out.join("failed.txt");
        fs::write(&path, self.failed.join("\n\n"))
            .because(|| format!("writing {}", path.display()))?;
        if self.failed.len() > FAILURES_MAX {
            return self.check_failures();
        }
        Ok(())
    }

    fn check_failures(&self) -> Result<()> {
        match self.failed.len() {
            0 => Ok(()),
            count => fail(format!("measurements that failed: {count}, see failed.txt")),
        }
    }

    /// Writes the compared builds into `versions.txt` and before all command lines.
    pub fn add_builds(&mut self, new: &Build, old: &Build) -> Result<()> {
        let path = self.out.join("versions.txt");
        let mut versions =
            fs::read_to_string(&path).because(|| format!("reading {}", path.display()))?;
        for (name, build) in [(OLD, old), (NEW, new)] {
            let line = format!("{name} stampede: {} ({})", build.what, build.program.display());
            self.lab.remark(&line)?;
            versions.push_str(&format!("{line}\n"));
        }
        fs::write(&path, versions).because(|| format!("writing {}", path.display()))
    }

    /// Every figure so far.
    pub fn rows(&self) -> &[Row] {
        self.rows.all()
    }

    /// Writes `summary.md` and the pictures, and prints the verdicts and `text`, which is between the
    /// heading and the tables. Fails if a measurement did.
    pub fn finish(&self, what: &str, text: &str, promised: &[Promise]) -> Result<()> {
        let what_failed = |failure: &String| {
            format!("\nFailed (see `failed.txt`): {}\n", failure.lines().next().unwrap_or_default())
        };
        let failed: String = self.failed.iter().map(what_failed).collect();
        let heading = format!(
            "# {what}, {}\n\nMeasured over loopback. See `commands.txt`, `versions.txt`, `raw.csv`, and \
             `bench/README.md` for the meaning of each figure.\n{text}{failed}",
            machine::cpu_model(),
        );
        let judged = report::write(&self.out, &heading, promised, &self.layout, self.rows())?;
        println!("{text}\n{judged}");
        let path = self.out.join("summary.md");
        println!("{} s. All of it: {}", self.started.elapsed().as_secs(), path.display());
        self.check_failures()
    }
}

/// The figures of the progress line.
fn shown(figures: &Figures) -> String {
    let units = [
        (figure::REQUESTS_PER_S, "requests/s"),
        (figure::SALES_PER_S, "sales/s"),
        (figure::SERVER_CPU_US, "us CPU"),
        (figure::INSTRUCTIONS, "instructions"),
        (figure::REDIS_CPU_US, "us Redis CPU"),
        (figure::GENERATOR_CPU_US, "us generator CPU"),
        (figure::LATENCY_P999_US, "us p99.9"),
        (figure::LAST_GRANT_S, "s to the last ticket"),
        (figure::LAST_ANSWER_S, "s to the last answer"),
        (figure::RESOLD_MS, "ms to sell again"),
        (figure::BATCH_MEAN, "a batch"),
        (figure::CONNECTION_KIB, "KiB per connection"),
        (figure::GRANTED_P50_US, "us p50"),
        (figure::GRANTED_P99_US, "us p99"),
        (figure::LIVEZ_P99_US, "us p99 of /livez"),
        (figure::HANDSHAKES_PER_S, "handshakes/s"),
        (figure::FORGED_PER_S, "forged/s"),
        (figure::CHECKED_PER_S, "checked/s"),
        (figure::SURVIVED, "survived"),
        (figure::GROWN_KIB, "KiB grown"),
        (figure::PAID, "paid"),
        (figure::REFUNDED, "refunded"),
        (figure::UNSOLD, "unsold"),
        (figure::ROWS_PER_S, "rows/s"),
        (figure::REOPEN_P50_MS, "ms p50"),
        (figure::REOPEN_P99_MS, "ms p99"),
        (figure::REOPEN_MAX_MS, "ms most"),
        (figure::MEMORY_BYTES, "bytes of memory"),
        (figure::DISK_BYTES, "bytes on disk"),
        (figure::BACKLOG_ROWS, "rows behind"),
        (figure::DRAINED_S, "s to drain"),
        (figure::CORE_PERCENT, "% of a core"),
        (figure::SCRAPE_BYTES, "bytes per scrape"),
        (figure::HAND_OVERS, "hand-overs"),
        (figure::REFUSED_CONNECTIONS, "refused"),
        (figure::RESET_CONNECTIONS, "reset"),
        (figure::OTHER_ANSWERS, "without a ticket"),
        (figure::LOST_SALES, "lost"),
    ];
    let find = |name| figures.iter().find(|(figure, _)| *figure == name);
    let texts = units.iter().filter_map(|(name, unit)| {
        let (_, value) = find(*name)?;
        let digits = usize::from(*value < 1_000.0) * 2;
        Some(format!("{value:>9.digits$} {unit}"))
    });
    texts.collect::<Vec<_>>().join("  ")
}

/// The bench's programs, relative to the working folder if they are in it.
fn programs(common: &Common) -> Result<Programs> {
    let folder = machine::our_folder()?;
    let stampede = common.stampede.clone().unwrap_or_else(|| folder.join("stampede"));
    let ours = OUR_PROGRAMS.map(|name| folder.join(name));
    for program in ours.into_iter().chain([stampede.clone()]) {
        if !program.is_file() {
            return fail(format!(
                "{} is missing: start this with bench/run, which builds it",
                program.display()
            ));
        }
    }
    Ok(Programs { folder, stampede })
}

/// `bench/runs/<date>-<cpu>[-<command>]`, with a number if it exists.
fn new_run_folder(command: &str) -> Result<PathBuf> {
    let parts = [&*machine::today(), &machine::slug(&machine::cpu_model()), command];
    let name = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    let runs = Path::new("bench/runs");
    let mut numbered = (2..).map(|number| runs.join(format!("{name}-{number}")));
    let first = runs.join(&name);
    if !first.exists() {
        return Ok(first);
    }
    match numbered.find(|path| !path.exists()) {
        Some(path) => Ok(path),
        None => fail(format!("no unused folder name in {}", runs.display())),
    }
}
