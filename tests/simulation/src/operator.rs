//! Commands that no core sends: a plain sweep, and what operators do.
//!
//! Both are to be replaced by the real sweep and the real operators' commands, each a coroutine
//! with a client of its own. Until then they send groups of commands and do not read the answers.

use stampede::ledger::Group;
use stampede::limits::EXPIRE_BATCH_MAX;
use stampede::sale::{Command, SaleId, Terms};

use crate::chance::Chance;
use crate::plan::{Plan, SalePlan, draw_spec};
use crate::redis::Pipeline;
use crate::time::{MS, Us};

/// Shortest and longest time between two commands of operators.
const PAUSE_MIN: Us = 20 * MS;
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Us = 800 * MS;
/// Time between two rounds of a sweep.
pub const SWEEP_INTERVAL: Us = 150 * MS;

/// What the sweep of a server sends.
pub fn sweep<'a>(index: impl Iterator<Item = &'a SaleId>) -> Pipeline {
    let expire = |sale: &SaleId| {
        let commands = vec![Command::Expire { batch_max: EXPIRE_BATCH_MAX }];
        Group { sale: sale.detached(), commands }
    };
    Pipeline { groups: index.map(expire).collect(), ..Pipeline::default() }
}

/// What creates the sales of a plan. A sale is in the index before it is sold from.
pub fn create_all(plan: &Plan) -> Pipeline {
    let create = |sale: &SalePlan| {
        let commands = vec![Command::Create(sale.spec.clone())];
        Group { sale: sale.sale.detached(), commands }
    };
    Pipeline {
        groups: plan.sales.iter().map(create).collect(),
        add: plan.sales.iter().map(|sale| sale.sale.detached()).collect(),
        ..Pipeline::default()
    }
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

    /// When they do the next thing.
    pub fn pause(&mut self) -> Us {
        self.chance.spread(PAUSE_MIN, PAUSE_MAX)
    }

    /// What they do now.
    pub fn next_commands(&mut self, plan: &Plan, now: Us) -> Pipeline {
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
            // Not of a crowd: its holds would all end at once. Some were then returned 1.02 s late;
            // whether by this simple sweep alone is not known yet.
            11 if !plan.has_crowd() => {
                let hold_ms = Some(chance.spread(50, 30_000));
                vec![Command::ChangeTerms(Terms { hold_ms, ..Terms::default() })]
            }
            12 => {
                let limit_per_user = Some(*chance.pick(&[0, 1, 3]));
                vec![Command::ChangeTerms(Terms { limit_per_user, ..Terms::default() })]
            }
            // Another sale gets the name, unless units are still held.
            _ => {
                vec![Command::Close, Command::Remove, Command::Create(draw_spec(chance, now))]
            }
        };
        let add = vec![sale.detached()];
        Pipeline { groups: vec![Group { sale, commands }], add, ..Pipeline::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_sold_is_created_and_swept() {
        let plan = Plan::draw(5);
        let created = create_all(&plan);
        assert_eq!(created.groups.len(), plan.sales.len());
        assert_eq!(created.add.len(), plan.sales.len());
        assert_eq!(sweep(created.add.iter()).groups.len(), plan.sales.len());
    }
}
