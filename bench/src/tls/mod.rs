//! `tls`: measures a server whose buyers use TLS, beside the TLS floor, nginx, axum, and nginx in
//! front of stampede.
//!
//! All use one certificate per run, with a key on P-256, and TLS 1.3 with AES-128-GCM. `measure` is
//! one measurement, `attack` those beside strangers, `scenario` has the names and `promises` the
//! promises.

mod attack;
mod measure;
mod promises;
mod scenario;

use std::slice;

use clap::{Args, ValueEnum};

use crate::error::Result;
use crate::pin;
use crate::process::Interrupted;
use crate::report::ROUNDS_MIN;
use crate::secure::Certificate;
use crate::servers::{NGINX_STREAM, Server};
use crate::session::{Common, Session};
use crate::tools::LoadPlan;
pub use promises::PROMISES;

use attack::Attack;
use measure::Subject;
use scenario::{FULL, GENERATORS, IDLE, PIPELINED, REJECTIONS, RESUMED, SALES};

const CONNECTIONS: u32 = 64;
const PIPELINE: u32 = 16;
/// Idle connections: the number that known machines allow per process.
const CROWD: u32 = 15_000;
/// Rounds with the scenarios that take long and hardly vary.
const LONG_ROUNDS: u32 = ROUNDS_MIN;

/// A group of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Rejections over 64 kept connections.
    Rejections,
    /// Rejections, 16 requests pipelined per connection.
    Pipelined,
    /// Purchases by POST with a user and a key, from Redis in memory.
    Sales,
    /// Rejections, one connection per request, with full and with resumed handshakes.
    Connections,
    /// Memory of 15,000 idle connections (the first four rounds).
    Idle,
    /// Latency of kept connections beside floods of handshakes.
    Attacks,
    /// The load generator beside wrk.
    Generators,
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every server once per scenario.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of load per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Run only these groups.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub only: Vec<Group>,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let common = &settings.common;
    let mut tools = vec!["wrk", "taskset", "chrt", "redis-server", "openssl", NGINX_STREAM];
    tools.extend(Server::Nginx.tools());
    let session = Session::open(common, "tls", settings.rounds, &tools, interrupted)?;
    let certificate = Certificate::make(session.lab.data())?;
    let crowd = pin::connections(CROWD)?;
    let mut run = Run { settings, session, certificate, crowd };
    for round in 1..=settings.rounds {
        run.round(round)?;
    }
    let text = format!(
        "\nServers ran on core {}, also nginx in front of stampede; the load generator, \
         Redis and strangers ran on core {}. TLS 1.3, a key on P-256.\n",
        common.server_core, common.load_core
    );
    let what = format!("TLS, {} rounds of {} s", settings.rounds, settings.seconds);
    run.session.finish(&what, &text, &PROMISES)
}

struct Run<'a> {
    settings: &'a Settings,
    session: Session,
    certificate: Certificate,
    crowd: u32,
}

impl Run<'_> {
    fn round(&mut self, round: u32) -> Result<()> {
        let wanted = self.settings.only.clone();
        let wanted = |group: &Group| wanted.is_empty() || wanted.contains(group);
        let long = round <= LONG_ROUNDS;
        for group in Group::value_variants().iter().filter(|group| wanted(group)) {
            match group {
                Group::Rejections => {
                    self.each(round, REJECTIONS, &Subject::ALL, &LoadPlan::default())?;
                }
                Group::Pipelined => {
                    let load = LoadPlan { pipeline: PIPELINE, ..LoadPlan::default() };
                    self.each(round, PIPELINED, &Subject::ALL, &load)?;
                }
                Group::Sales => self.sales(round)?,
                Group::Connections => {
                    let full = LoadPlan { connection_each: true, ..LoadPlan::default() };
                    self.each(round, FULL, &Subject::ENDS_TLS, &full)?;
                    let resumed = LoadPlan { resume: true, ..full };
                    self.each(round, RESUMED, &Subject::ENDS_TLS, &resumed)?;
                }
                Group::Idle if long => self.idle(round)?,
                Group::Idle => {}
                Group::Attacks => self.attacks(round)?,
                Group::Generators => self.generators(round)?,
            }
        }
        Ok(())
    }

    /// Measures rejections by each of these.
    fn each(
        &mut self,
        round: u32,
        scenario: &'static str,
        subjects: &[Subject],
        load: &LoadPlan<'_>,
    ) -> Result<()> {
        let Self { session, certificate, settings, .. } = self;
        for subject in order(round, subjects) {
            session.measure(round, scenario, subject.name(), |lab| {
                let core = lab.load_core;
                let plan = on(&core, settings, load);
                measure::rejections(lab, subject, certificate, &plan)
            })?;
        }
        Ok(())
    }

    fn sales(&mut self, round: u32) -> Result<()> {
        let Self { session, certificate, settings, .. } = self;
        for subject in order(round, &Subject::SELLING) {
            session.measure(round, SALES, subject.name(), |lab| {
                let core = lab.load_core;
                measure::sales(
                    lab,
                    subject,
                    certificate,
                    &on(&core, settings, &LoadPlan::default()),
                )
            })?;
        }
        Ok(())
    }

    fn idle(&mut self, round: u32) -> Result<()> {
        let Self { session, certificate, crowd, .. } = self;
        for subject in order(round, &Subject::ENDS_TLS) {
            session.measure(round, IDLE, subject.name(), |lab| {
                measure::idle(lab, subject, certificate, *crowd)
            })?;
        }
        Ok(())
    }

    fn attacks(&mut self, round: u32) -> Result<()> {
        let Self { session, certificate, settings, .. } = self;
        for subject in order(round, &[Subject::Stampede, Subject::Nginx]) {
            let mut attacks = order(round, &Attack::ALL);
            attacks.extend((round <= LONG_ROUNDS).then_some(Attack::Idle));
            for attack in attacks {
                session.measure(round, attack.scenario(), subject.name(), |lab| {
                    let core = lab.load_core;
                    let plan = on(&core, settings, &LoadPlan::default());
                    attack::beside(lab, subject, certificate, attack, &plan)
                })?;
            }
        }
        Ok(())
    }

    fn generators(&mut self, round: u32) -> Result<()> {
        let Self { session, certificate, settings, .. } = self;
        session.measure(round, GENERATORS, "load", |lab| {
            let core = lab.load_core;
            let plan = on(&core, settings, &LoadPlan::default());
            measure::rejections(lab, Subject::Floor, certificate, &plan)
        })?;
        session.measure(round, GENERATORS, "wrk", |lab| {
            let core = lab.load_core;
            let plan = on(&core, settings, &LoadPlan::default());
            measure::rejections_by_wrk(lab, certificate, &plan)
        })
    }
}

/// A load as the settings have it, on this core.
fn on<'a>(load_core: &'a usize, settings: &Settings, load: &LoadPlan<'a>) -> LoadPlan<'a> {
    LoadPlan {
        cores: slice::from_ref(load_core),
        connections: CONNECTIONS,
        seconds: settings.seconds,
        ..*load
    }
}

/// Rounds rotate the order, so none always follows the same one.
fn order<T: Copy>(round: u32, all: &[T]) -> Vec<T> {
    let mut order = all.to_vec();
    order.rotate_left((round as usize - 1) % all.len());
    order
}
