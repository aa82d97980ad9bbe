//! `queues`: measures the CPU per command in a core's queue, by the number of waiting commands:
//! enqueue, take with a batch, answer, and take the answer. Without server and ledger.

use std::cell::RefCell;
use std::rc::Rc;

use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use stampede::ledger::GroupReply;
use stampede::ledger::batch::{Batcher, Ticket, WaiterId, Waker};
use stampede::queue_limits::QueueLimits;
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, User};

use crate::error::{Because, Result, fail};
use crate::process::Interrupted;
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::session::{Common, Session};

/// Numbers of waiting commands.
const WAITING: [(usize, &str); 4] =
    [(1_000, "1000"), (19_000, "19000"), (100_000, "100000"), (1_000_000, "1000000")];
const SCENARIO: &str = "queues";
/// Measured commands, at least as many as wait.
const COMMANDS: usize = 1_000_000;
const DEADLINE_MS: u64 = 2_000;

/// Promises about commands that wait.
pub const PROMISES: [Promise; 1] = [Promise::new(
    "CPU per command among 1,000,000 waiting, relative to one among 1,000",
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
    /// Settings of every command.
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
    let text = "\nCPU per command of a buyer with a user and a key (13 and 36 characters), from when \
                it enters its core's queue until its answer is taken, by the number of waiting commands.\n";
    session.finish("Waiting commands", text, &PROMISES)
}

/// Numbers of the answered commands.
#[derive(Clone, Default)]
struct Told(Rc<RefCell<Vec<u64>>>);

impl Waker for Told {
    fn wake(&self, asker: WaiterId, _: bool) {
        self.0.borrow_mut().push(asker.0);
    }

    fn pending(&self) -> usize {
        0
    }
}

fn measure(waiting: usize) -> Result<Figures> {
    let batcher = Batcher::new(QueueLimits::new(None, DEADLINE_MS).into());
    let told = Told::default();
    batcher.set_waker(Box::new(told.clone()));
    batcher.set_available();
    let sale = SaleId::new("ticket").because(|| "an id".into())?;
    let submit = |asker: usize| {
        let user = User::new(&format!("user-{asker:08}")).ok();
        let key = Key::new(&format!("5d3c1e0a-77aa-4c1e-9f00-{asker:012}")).ok();
        let reserve =
            Reserve { id: ReservationId(0), quantity: 1, user, key, trace: None, details: None };
        let asker = Some(WaiterId(asker as u64));
        let ticket = batcher.submit(0, &sale, true, Command::Reserve(reserve), 1, asker);
        ticket.or_else(|failure| fail(format!("the queue rejected a command: {failure:?}")))
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
                    other => return fail(format!("{asker} got {other:?}")),
                }
                tickets[asker] = Some(submit(asker)?);
                left = left.saturating_sub(1);
            }
        }
        Ok(())
    };
    // Run all of them once, so that the memory is allocated.
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
    fn commands_are_answered_with_thousands_waiting() {
        for waiting in [1_000, 5_000] {
            let figures = measure(waiting).expect("figures");
            assert!(figures.iter().all(|(_, value)| *value > 0.0), "{figures:?}");
        }
    }
}
