//! What was carried out by a ledger, in order.

use stampede::ledger::Group;
use stampede::sale::{Command, Outcome, SaleId};

use crate::redis::Now;

/// Commands that are sent at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The time of the ledger.
    pub now: Now,
    /// The epoch of the sender, if there are Sentinels.
    pub epoch: Option<u64>,
    /// The commands, each sale's together.
    pub groups: Vec<Group>,
    /// The connection ends before anybody reads the answer.
    pub is_unread: bool,
}

/// Whether a sale may begin with this command, by the clock of Redis.
pub fn begins_sale(command: &Command) -> bool {
    matches!(command, Command::Create(_) | Command::Reset { .. })
}

/// Something that happens to Redis, or to the connection to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is killed and starts again, with everything that it has answered.
    Killed,
    /// It writes everything to a file and reads it.
    Reloaded,
    /// It forgets the scripts.
    ScriptsFlushed,
    /// The connection ends within the next command.
    HalfSent,
    /// It is as it was before the step of this number, as after a failover.
    Forgot(u32),
    /// Everything of this sale is gone.
    Evicted(SaleId),
    /// The last commands of a sale are lost: so many. A failover has forgotten them, or a restart.
    Lost(SaleId, u32),
}

impl Fault {
    /// Its name, for counts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Reloaded => "reloaded",
            Self::ScriptsFlushed => "scripts flushed",
            Self::HalfSent => "half sent",
            Self::Forgot(_) => "forgot",
            Self::Evicted(_) => "evicted",
            Self::Lost(..) => "lost",
        }
    }
}

/// What happens in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Commands are carried out.
    Call(Call),
    /// Something goes wrong.
    Fault(Fault),
}

/// A step of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number, which it keeps when others are dropped.
    pub number: u32,
    /// What happens.
    pub what: What,
}

/// Everything that happened to the sales of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The seed of the run.
    pub seed: u64,
    /// What happened, in order.
    pub steps: Vec<Step>,
}

impl History {
    /// Whether Redis is killed in it.
    pub fn has_kill(&self) -> bool {
        self.steps.iter().any(|step| step.what == What::Fault(Fault::Killed))
    }

    /// Numbers these steps.
    pub fn new(seed: u64, steps: impl IntoIterator<Item = What>) -> Self {
        let steps = (0..).zip(steps).map(|(number, what)| Step { number, what });
        Self { seed, steps: steps.collect() }
    }
}

/// A call, and its outcomes in the simulation, by group.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The call.
    pub call: Call,
    /// The outcomes.
    pub outcomes: Vec<Vec<Outcome>>,
}

/// Something that the ledger of a simulation has done.
#[derive(Debug, Clone)]
pub enum Event {
    /// It has carried out a call.
    Call(Recorded),
    /// Something has happened to a sale.
    Fault(Fault),
}

/// What the ledger of a simulation has done.
#[derive(Debug, Clone, Default)]
pub struct Recording(Vec<Event>);

impl Recording {
    /// The ledger has carried out a command, at its own time for this sale: clocks go back, the
    /// time of a sale does not.
    pub fn executed(
        &mut self,
        now: Now,
        epoch: Option<u64>,
        sale: &SaleId,
        command: &Command,
        outcome: &Outcome,
    ) {
        if !self.is_open(now, epoch, sale) {
            let call = Call { now, epoch, groups: Vec::new(), is_unread: false };
            self.0.push(Event::Call(Recorded { call, outcomes: Vec::new() }));
        }
        let Some(Event::Call(Recorded { call, outcomes })) = self.0.last_mut() else { return };
        if call.groups.last().is_none_or(|group| group.sale != *sale) {
            call.groups.push(Group { sale: sale.detached(), commands: Vec::new() });
            outcomes.push(Vec::new());
        }
        if let (Some(group), Some(outcomes)) = (call.groups.last_mut(), outcomes.last_mut()) {
            group.commands.push(command.clone());
            outcomes.push(outcome.clone());
        }
    }

    /// Whether the command belongs to the last call.
    fn is_open(&self, now: Now, epoch: Option<u64>, sale: &SaleId) -> bool {
        let Some(Event::Call(Recorded { call, .. })) = self.0.last() else { return false };
        let mut earlier = call.groups.iter().rev().skip(1);
        call.now == now && call.epoch == epoch && earlier.all(|group| group.sale != *sale)
    }

    /// Everything of a sale is gone.
    pub fn evicted(&mut self, sale: &SaleId) {
        self.0.push(Event::Fault(Fault::Evicted(sale.detached())));
    }

    /// The last commands of a sale are lost: so many.
    pub fn lost(&mut self, sale: &SaleId, commands: u64) {
        if commands > 0 {
            let commands = u32::try_from(commands).unwrap_or(u32::MAX);
            self.0.push(Event::Fault(Fault::Lost(sale.detached(), commands)));
        }
    }

    /// All of it, in order.
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// The calls, in order.
    pub fn calls(&self) -> impl Iterator<Item = &Recorded> {
        self.0.iter().filter_map(|event| match event {
            Event::Call(recorded) => Some(recorded),
            Event::Fault(_) => None,
        })
    }
}
