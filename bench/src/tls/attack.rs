//! What kept connections notice of strangers that shake hands.

use std::time::Duration;

use super::measure::{Subject, sold_out};
use crate::answer::Content;
use crate::error::{Because, Result};
use crate::full::measure::warm_up;
use crate::lab::{Lab, Served};
use crate::process::Running;
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::secure::Certificate;
use crate::strangers::handshakes;
use crate::tools::LoadPlan;

/// Requests per second of the honest.
const HONEST_RATE: f64 = 5_000.0;
/// Handshakes per second that strangers begin.
const RATE: u32 = 5_000;
/// Connections that strangers have at a time; those that stay half-way hold so many.
const CONNECTIONS: u32 = 2_000;
/// Addresses of strangers that come from many.
const ADDRESSES: u32 = 200;
/// Before the load begins beside an attack.
const LEAD: Duration = Duration::from_millis(500);
const END_DEADLINE: Duration = Duration::from_secs(30);

/// Who else is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Nobody.
    None,
    /// Full handshakes from one address.
    One,
    /// Full handshakes from many.
    Many,
    /// Handshakes that stop half-way, from many.
    Half,
}

impl Attack {
    /// All.
    pub const ALL: [Self; 4] = [Self::None, Self::One, Self::Many, Self::Half];

    /// Its scenario.
    pub fn scenario(self) -> &'static str {
        match self {
            Self::None => "tls_beside_nobody",
            Self::One => "tls_beside_one_address",
            Self::Many => "tls_beside_many_addresses",
            Self::Half => "tls_beside_half_handshakes",
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
    let plan = LoadPlan { rate: Some(HONEST_RATE), expect: Content::SoldOut.name(), ..*plan };
    warm_up(lab, &chain.front, &plan)?;
    let strangers = match attack {
        Attack::None => None,
        _ => Some(begin(lab, &chain.front, attack)?),
    };
    lab.settle(LEAD)?;
    let mut figures = chain.under_load(lab, &plan)?.figures();
    if let Some(strangers) = strangers {
        strangers.signal(libc::SIGTERM)?;
        let said = strangers.finish(END_DEADLINE)?;
        let line = said.lines().last().unwrap_or_default();
        let report: handshakes::Report = serde_json::from_str(line)
            .because(|| format!("stranger handshakes printed {line}"))?;
        figures.extend([
            (figure::STRANGERS_ATTEMPTS, report.attempts as f64),
            (figure::STRANGERS_OPEN, report.open_max as f64),
            (figure::HANDSHAKES_PER_S, report.completed as f64 / report.seconds),
        ]);
    }
    Ok(figures)
}

/// They share the honest ones' core, and run when these don't: what is measured is how the server
/// shares its core.
fn begin(lab: &mut Lab, served: &Served, attack: Attack) -> Result<Running> {
    let addresses = if attack == Attack::One { 1 } else { ADDRESSES };
    let numbers = [("--rate", RATE), ("--connections", CONNECTIONS), ("--addresses", addresses)];
    let numbers = numbers.map(|(name, number)| (name, number.to_string()));
    let to = served.address.to_string();
    let mut words = vec!["handshakes", "--to", &*to];
    words.extend(numbers.iter().flat_map(|(name, number)| [*name, &**number]));
    words.extend((attack == Attack::Half).then_some("--half"));
    let line = lab.programs.stranger(&[lab.load_core], &words);
    // Above idle, or Linux would not run them for long while the load polls.
    let line = line.through(["nice", "-n", "10"].map(str::to_owned));
    lab.background("stranger-handshakes", &line)
}
