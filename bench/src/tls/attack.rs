//! Kept connections beside strangers that start TLS handshakes.

use std::time::{Duration, Instant};

use super::measure::{Subject, sold_out};
use super::scenario;
use crate::answer::Content;
use crate::error::{Result, fail};
use crate::full::measure::warm_up;
use crate::full::strangers::{begin_idle, end_idle, make_idle};
use crate::lab::{Lab, Served};
use crate::pin;
use crate::process::Running;
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::secure::Certificate;
use crate::strangers::handshakes;
use crate::tools::LoadPlan;

/// Requests per second of the honest clients.
const HONEST_RATE: f64 = 5_000.0;
/// Seconds for which each honest connection is served before the measurement. The first request of a
/// new connection waits with other new ones.
const HONEST_WARM_UP: u64 = 1;
/// Handshakes per second of the strangers.
const RATE: u32 = 5_000;
/// Open connections of the strangers. Half-finished handshakes hold all of them.
const CONNECTIONS: u32 = 2_000;
/// Number of addresses, if they come from many.
const ADDRESSES: u32 = 200;
/// Connections of the idle crowd.
const CROWD: u32 = 19_000;
const HOLD_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Time between the start of the attack and the load.
const LEAD: Duration = Duration::from_millis(500);
const NAME: &str = "handshakes";

/// The load beside the honest clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Nobody.
    None,
    /// Full handshakes from one address.
    One,
    /// Full handshakes from many.
    Many,
    /// Handshakes that stop half-way.
    Half,
    /// Bytes that are no TLS record.
    Garbage,
    /// Records beyond the limit of TLS.
    Oversized,
    /// A crowd that has completed its handshakes and is idle.
    Idle,
}

impl Attack {
    /// All attacks of a round.
    pub const ALL: [Self; 6] =
        [Self::None, Self::One, Self::Many, Self::Half, Self::Garbage, Self::Oversized];

    /// The attack's scenario.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::None => scenario::NOBODY,
            Self::One => scenario::ONE,
            Self::Many => scenario::MANY,
            Self::Half => scenario::HALF,
            Self::Garbage => scenario::GARBAGE,
            Self::Oversized => scenario::OVERSIZED,
            Self::Idle => scenario::CROWD,
        }
    }

    fn manner(self) -> &'static str {
        match self {
            Self::None | Self::One | Self::Many => "full",
            Self::Half => "half",
            Self::Garbage => "garbage",
            Self::Oversized => "oversized",
            Self::Idle => "idle",
        }
    }
}

/// Measures rejections at a modest rate over kept connections beside this attack.
pub fn beside(
    lab: &mut Lab,
    subject: Subject,
    certificate: &Certificate,
    attack: Attack,
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let chain = sold_out(lab, subject, certificate)?;
    let expect = Content::SoldOut.name();
    let plan = LoadPlan { rate: Some(HONEST_RATE), expect, ..*plan };
    warm_up(lab, &chain.front, &plan)?;
    let strangers = match attack {
        Attack::None => None,
        Attack::Idle => Some(hold(lab, &chain.front)?),
        _ => Some(begin(lab, &chain.front, attack)?),
    };
    lab.settle(LEAD)?;
    let plan = LoadPlan { warm_up: HONEST_WARM_UP, ..plan };
    let mut figures = chain.under_load(lab, &plan)?.figures();
    if let Some(strangers) = strangers {
        let report: handshakes::Report = end_idle(lab, NAME, strangers)?;
        figures.extend([
            (figure::STRANGERS_ATTEMPTS, report.attempts as f64),
            (figure::STRANGERS_OPEN, report.open_max as f64),
            (figure::HANDSHAKES_PER_S, report.completed as f64 / report.seconds),
        ]);
    }
    Ok(figures)
}

fn begin(lab: &mut Lab, served: &Served, attack: Attack) -> Result<Running> {
    let addresses = if attack == Attack::One { 1 } else { ADDRESSES };
    let words = words(served, attack, addresses, CONNECTIONS);
    begin_idle(lab, NAME, &words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Opens the crowd. All handshakes are complete when this returns. Connections that the server closes
/// are reopened.
fn hold(lab: &mut Lab, served: &Served) -> Result<Running> {
    let connections = pin::connections(CROWD)?;
    let line = words(served, Attack::Idle, ADDRESSES, connections);
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    let line = lab.programs.stranger(&[lab.load_core], &line);
    let mut crowd = lab.background("stranger-handshakes", &line)?;
    let began = Instant::now();
    while crowd.output()?.is_empty() {
        crowd.check_alive()?;
        if began.elapsed() > HOLD_DEADLINE {
            return fail(format!("{connections} handshakes did not complete"));
        }
        lab.settle(POLL)?;
    }
    make_idle(lab, &crowd)?;
    Ok(crowd)
}

fn words(served: &Served, attack: Attack, addresses: u32, connections: u32) -> Vec<String> {
    let mut words = vec![NAME.into(), "--to".into(), served.address.to_string()];
    words.extend(["--manner".into(), attack.manner().into()]);
    for (name, number) in
        [("--rate", RATE), ("--connections", connections), ("--addresses", addresses)]
    {
        words.extend([name.into(), number.to_string()]);
    }
    words
}
