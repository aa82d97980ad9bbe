//! What operators do.

use stampede::ledger::Group;
use stampede::sale::{Command, Terms};

use crate::chance::Chance;
use crate::plan::{Plan, SalePlan, draw_spec};
use crate::time::{MS, Us};

/// In one of so many cases two operators do the same, as two servers do that start with the same
/// sale.
const TWO_ONE_IN: u64 = 4;
/// Shortest and longest time between two commands of operators.
const PAUSE_MIN: Us = 20 * MS;
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Us = 800 * MS;

/// What creates a sale of a plan.
pub fn create(sale: &SalePlan) -> Group {
    Group { sale: sale.sale.detached(), commands: vec![Command::Create(sale.spec.clone())] }
}

/// The operators of a run.
pub struct Operators {
    chance: Chance,
}

impl Operators {
    /// For the run of this seed.
    pub fn new(seed: u64) -> Self {
        Self { chance: Chance::of(seed, "operators") }
    }

    /// Whether two of them do the same at the same time.
    pub fn are_two(&mut self) -> bool {
        self.chance.one_in(TWO_ONE_IN)
    }

    /// When they do the next thing.
    pub fn pause(&mut self) -> Us {
        self.chance.spread(PAUSE_MIN, PAUSE_MAX)
    }

    /// What they do now.
    pub fn next_group(&mut self, plan: &Plan, now: Us) -> Group {
        let chance = &mut self.chance;
        let sale = plan.pick_sale(chance).sale.detached();
        let commands = match chance.below(16) {
            0..=5 => vec![Command::AddStock(chance.between(1, 20))],
            6 => {
                let (units, at_most) = (chance.between(1, 10), chance.one_in(2));
                vec![Command::TakeStock { units, at_most }]
            }
            7 => vec![Command::Close],
            8..=10 => vec![Command::Open],
            11 => {
                let hold_ms = Some(chance.spread(50, 30_000));
                vec![Command::ChangeTerms(Terms { hold_ms, ..Terms::default() })]
            }
            12 => {
                let limit_per_user = Some(*chance.pick(&[0, 1, 3]));
                vec![Command::ChangeTerms(Terms { limit_per_user, ..Terms::default() })]
            }
            // Another sale gets the name, unless units are still held.
            _ => {
                let mut spec = draw_spec(chance, now);
                plan.split(chance, &mut spec);
                vec![Command::Close, Command::Remove, Command::Create(spec)]
            }
        };
        Group { sale, commands }
    }
}
