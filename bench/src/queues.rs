//! `queues`: what a command costs that waits in a core's queue, by how many wait beside it: put in,
//! taken with its batch, answered, and its answer taken. No server and no ledger.

use std::cell::RefCell;
use std::rc::Rc;

use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use stampede::ledger::GroupReply;
use stampede::ledger::batch::{Asker, Batcher, Tell, Ticket};
use stampede::patience::Patience;
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, User};

use crate::error::{Because, Result, fail};
use crate::process::Interrupted;
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::session::{Common, Session};

/// How many wait at a time.
const WAITING: [(usize, &str); 4] =
    [(1_000, "1000"), (19_000, "19000"), (100_000, "100000"), (1_000_000, "1000000")];
const SCENARIO: &str = "queues";
/// Commands that are measured, at least as many as wait.
const COMMANDS: usize = 1_000_000;
const DEADLINE_MS: u64 = 2_000;

const PROMISES: [Promise; 1] = [Promise::new(
    "a command among 1,000,000 that wait, to one among 1,000",
    Limit::AtMost(1.5),
    (SCENARIO, "1000000", figure::SERVER_CPU_US),
)
.to((SCENARIO, "1000", figure::SERVER_CPU_US))];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let mut session = Session::open(&settings.common, SCENARIO, settings.rounds, &[], interrupted)?;
    for round in 1..=settings.rounds {
        for turn in 0..WAITING.len() {
            let (waiting, name) = WAITING[(turn + round as usize) % WAITING.len()];
            session.measure(round, SCENARIO, name, |_| measure(waiting))?;
        }
    }
    let text = "\nCPU of a command of a buyer with a user and a key (13 and 36 characters) from when \
                it is put into its core's queue until its answer is taken, while so many wait.\n";
    session.finish("Commands that wait", text, &PROMISES)
}

/// Whose answers are there.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<u64>>>);

impl Tell for Told {
    fn tell(&self, asker: Asker, _: bool) {
        self.0.borrow_mut().push(asker.0);
    }

    fn untold(&self) -> usize {
        0
    }
}

fn measure(waiting: usize) -> Result<Figures> {
    let batcher = Batcher::new(Patience::new(None, DEADLINE_MS).into());
    let told = Told::default();
    batcher.set_tell(Box::new(told.clone()));
    batcher.set_available();
    let sale = SaleId::new("ticket").because(|| "an id".into())?;
    let submit = |asker: usize| {
        let user = User::new(&format!("user-{asker:08}")).ok();
        let key = Key::new(&format!("5d3c1e0a-77aa-4c1e-9f00-{asker:012}")).ok();
        let reserve =
            Reserve { id: ReservationId(0), quantity: 1, user, key, trace: None, details: None };
        let asker = Some(Asker(asker as u64));
        let ticket = batcher.submit(0, &sale, true, Command::Reserve(reserve), 1, asker);
        ticket.or_else(|failure| fail(format!("a command can't wait: {failure:?}")))
    };
    let mut tickets: Vec<Option<Ticket>> = Vec::with_capacity(waiting);
    for asker in 0..waiting {
        tickets.push(Some(submit(asker)?));
    }
    let mut turn = |commands: usize| {
        let mut left = commands;
        while left > 0 {
            let flight = batcher.take_batch(0);
            let answer = |commands: usize| GroupReply {
                outcomes: vec![Outcome::Granted { expires_at_ms: 1 }; commands],
                free: Some(1),
                now_ms: 1,
            };
            let groups = flight.groups().iter();
            let replies = groups.map(|group| Ok(answer(group.commands.len()))).collect();
            batcher.complete(flight, replies);
            for asker in told.0.take() {
                let asker = asker as usize;
                match tickets[asker].take().map(|ticket| batcher.take(ticket)) {
                    Some(Ok((Ok(Outcome::Granted { .. }), Some(_)))) => {}
                    other => return fail(format!("{asker} was answered with {other:?}")),
                }
                tickets[asker] = Some(submit(asker)?);
                left = left.saturating_sub(1);
            }
        }
        Ok(())
    };
    // All of them once, so that the memory is there.
    turn(waiting)?;
    let commands = COMMANDS.max(waiting);
    let before = thread_ns();
    turn(commands)?;
    let spent = thread_ns() - before;
    Ok(vec![
        (figure::REQUESTS, commands as f64),
        (figure::SERVER_CPU_US, spent as f64 / 1_000.0 / commands as f64),
    ])
}

/// CPU of this thread, in nanoseconds.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_answered_however_many_wait() {
        for waiting in [1_000, 5_000] {
            let figures = measure(waiting).expect("figures");
            assert!(figures.iter().all(|(_, value)| *value > 0.0), "{figures:?}");
        }
    }
}
