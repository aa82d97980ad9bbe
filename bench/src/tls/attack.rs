//! What kept connections notice of strangers that shake hands.

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

/// Requests per second of the honest.
const HONEST_RATE: f64 = 5_000.0;
/// Seconds in which each of their connections is served before anything is counted: one that has just
/// shaken hands stands behind other newcomers with its first request.
const HONEST_WARM_UP: u64 = 1;
/// Handshakes per second that strangers begin.
const RATE: u32 = 5_000;
/// Connections that strangers have at a time; those that stay half-way hold so many.
const CONNECTIONS: u32 = 2_000;
/// Addresses of strangers that come from many.
const ADDRESSES: u32 = 200;
/// The crowd that does nothing.
const CROWD: u32 = 19_000;
const HOLD_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Before the load begins beside an attack.
const LEAD: Duration = Duration::from_millis(500);
const NAME: &str = "handshakes";

/// Who else is there.
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
    /// Bytes that are no record.
    Garbage,
    /// Records that are longer than any may be.
    Oversized,
    /// A crowd that has shaken hands and does nothing.
    Idle,
}

impl Attack {
    /// All that are measured in each round.
    pub const ALL: [Self; 6] =
        [Self::None, Self::One, Self::Many, Self::Half, Self::Garbage, Self::Oversized];

    /// Its scenario.
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

/// Rejections at a modest rate over kept connections while strangers shake hands.
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

/// Has the crowd come. Each of it has shaken hands when this returns; those who have to give way try to
/// come back.
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
            return fail(format!("{connections} handshakes did not come to an end"));
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
