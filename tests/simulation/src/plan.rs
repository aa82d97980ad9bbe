//! What a run is like: how large, what is sold, by whom, and which faults it has. The plan is drawn
//! first, and everything else follows from it and from the seed.
//!
//! Not here yet: a Cluster, ticket types.

use std::fmt;

use stampede::limits::TIME_MS_MAX;
use stampede::sale::{SaleId, SaleSpec, Split};
use stampede::stock::StockSetting;

use crate::chance::Chance;
use crate::embedded::EmbeddedPlan;
use crate::faults::Faults;
use crate::redis::Failovers;
use crate::time::{Clocks, MS, SECOND, Us};

/// Most servers, and most cores of each.
const SERVERS_MAX: u64 = 3;
/// See [`SERVERS_MAX`].
const CORES_MAX: u64 = 4;
/// Most sales.
const SALES_MAX: u64 = 12;
/// Most clients.
const CLIENTS_MAX: u64 = 200;

/// One sale in so many is in parts, if it may be.
const SPLIT_ONE_IN: u64 = 3;
/// Most parts of a sale.
const PARTS_MAX: u64 = 4;
/// One run in so many on Redis has a crowd that fills the queues of one core beyond the largest
/// batch.
const CROWD_ONE_IN: u64 = 12;
/// Fewest and most clients of a crowd.
const CROWD: (u64, u64) = (1_500, 2_500);
/// Sales of a run with a crowd, at least and at most.
const CROWD_SALES: (u64, u64) = (2, 5);

/// A sale of a plan.
#[derive(Debug, Clone)]
pub struct SalePlan {
    /// Its id.
    pub sale: SaleId,
    /// Its definition.
    pub spec: SaleSpec,
    /// How many clients want it, compared with the other sales.
    pub weight: u64,
}

/// See the module's header.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Servers.
    pub servers: usize,
    /// Cores of each.
    pub cores: usize,
    /// What is sold.
    pub sales: Vec<SalePlan>,
    /// Clients.
    pub clients: usize,
    /// Shortest and longest time in which a client does nothing.
    pub think: (Us, Us),
    /// `--stock` of each server.
    pub stock: StockSetting,
    /// Time for an answer of the ledger, in ms.
    pub deadline_ms: u64,
    /// Requests that may wait per core, if there is a bound.
    pub waiting_max: Option<usize>,
    /// How long there are faults, and new purchases.
    pub busy: Us,
    /// The faults.
    pub faults: Faults,
    /// The embedded ledger. `None`: Redis.
    pub embedded: Option<EmbeddedPlan>,
    /// Sentinels, and failovers to a replica. `None`: there is one Redis.
    pub failovers: Option<Failovers>,
}

impl Plan {
    /// Draws a plan.
    pub fn draw(seed: u64) -> Self {
        let chance = &mut Chance::of(seed, "plan");
        let sales = chance.between(1, SALES_MAX);
        let think = match chance.below(3) {
            0 => (100, 5 * MS),
            1 => (MS, 50 * MS),
            _ => (5 * MS, 500 * MS),
        };
        let mut plan = Self {
            servers: chance.between(1, SERVERS_MAX) as usize,
            cores: chance.between(1, CORES_MAX) as usize,
            sales: (0..sales).map(|number| draw_sale(chance, number)).collect(),
            clients: chance.spread(4, CLIENTS_MAX) as usize,
            think,
            stock: match chance.below(4) {
                0 => StockSetting::Fixed(chance.between(1, 60)),
                _ => StockSetting::Auto,
            },
            deadline_ms: *chance.pick(&[200, 500, 2_000]),
            waiting_max: *chance.pick(&[None, None, Some(4), Some(40)]),
            busy: chance.between(2, 6) * SECOND,
            faults: Faults::draw(chance),
            embedded: EmbeddedPlan::draw(seed),
            failovers: Failovers::draw(seed),
        };
        if plan.embedded.is_some() {
            // It has one server, and no network.
            (plan.servers, plan.faults.cuts, plan.failovers) = (1, false, None);
        } else {
            plan.gather(&mut Chance::of(seed, "crowd"));
        }
        let chance = &mut Chance::of(seed, "splits");
        let mut sales = std::mem::take(&mut plan.sales);
        sales.iter_mut().for_each(|sale| plan.split(chance, &mut sale.spec));
        Self { sales, ..plan }
    }

    /// Keeps a sale in parts, or not. Not with failovers: by design, one that forgets may leave
    /// units for sale twice then.
    pub fn split(&self, chance: &mut Chance, spec: &mut SaleSpec) {
        let may = self.embedded.is_none() && self.failovers.is_none();
        if may && chance.one_in(SPLIT_ONE_IN) {
            spec.split = Split::Head { parts: chance.between(2, PARTS_MAX) as u32 };
        }
    }

    /// Whether it has a crowd that fills the queues of one core.
    pub fn has_crowd(&self) -> bool {
        self.clients > CLIENTS_MAX as usize
    }

    /// Gathers a crowd on one core, if this seed has one.
    fn gather(&mut self, chance: &mut Chance) {
        if !chance.one_in(CROWD_ONE_IN) {
            return;
        }
        (self.servers, self.cores, self.waiting_max) = (1, 1, None);
        self.failovers = None;
        self.clients = chance.between(CROWD.0, CROWD.1) as usize;
        self.think = (MS, 10 * MS);
        self.busy = SECOND;
        let sales = chance.between(CROWD_SALES.0, CROWD_SALES.1);
        self.sales = (0..sales)
            .map(|number| {
                let plan = draw_sale(chance, number);
                // So much that the cores do not refuse by themselves.
                let total = chance.between(5_000, 20_000);
                SalePlan {
                    spec: SaleSpec { limit_per_user: 0, ..SaleSpec::with_total(total) },
                    ..plan
                }
            })
            .collect();
    }

    /// One of the sales, the hot ones more often.
    pub fn pick_sale(&self, chance: &mut Chance) -> &SalePlan {
        let all: u64 = self.sales.iter().map(|sale| sale.weight).sum();
        let mut drawn = chance.below(all);
        for sale in &self.sales {
            match drawn.checked_sub(sale.weight) {
                Some(left) => drawn = left,
                None => return sale,
            }
        }
        unreachable!("the weights are counted")
    }
}

fn draw_sale(chance: &mut Chance, number: u64) -> SalePlan {
    let sale = SaleId::new(&format!("s{number}")).expect("a name");
    // The first one is hot.
    let weight = if number == 0 { 20 } else { chance.between(1, 3) };
    SalePlan { sale, spec: draw_spec(chance, 0), weight }
}

/// Draws the definition of a sale that is created at this time.
pub fn draw_spec(chance: &mut Chance, now: Us) -> SaleSpec {
    let now_ms = Clocks::new(0).wall_ms(now);
    let opens_at_ms = match chance.below(4) {
        0 => now_ms + chance.between(1, 1_500),
        _ => 0,
    };
    let closes_at_ms = match chance.below(6) {
        0 => now_ms + chance.between(1_501, 6_000),
        _ => TIME_MS_MAX,
    };
    SaleSpec {
        opens_at_ms,
        closes_at_ms,
        limit_per_user: *chance.pick(&[0, 0, 1, 2, 5]),
        hold_ms: chance.spread(50, 30_000),
        quantity_max: *chance.pick(&[1, 3, 10]),
        ..SaleSpec::with_total(chance.spread(1, 60))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { servers, cores, clients, deadline_ms, faults, .. } = self;
        let sales = self.sales.len();
        let ledger = match (&self.embedded, &self.failovers) {
            (None, None) => "Redis".to_owned(),
            (None, Some(failovers)) => format!("Redis ({failovers})"),
            (Some(embedded), _) => format!("embedded ({embedded})"),
        };
        let stock = match self.stock {
            StockSetting::Auto => "auto".to_owned(),
            StockSetting::Fixed(units) => units.to_string(),
        };
        write!(
            f,
            "{ledger}, {servers}x{cores} cores, {sales} sales, {clients} clients, stock {stock}, \
             deadline {deadline_ms} ms, faults: {faults}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_legal_and_differ() {
        let plans: Vec<_> = (0..200).map(Plan::draw).collect();
        for plan in &plans {
            assert!((1..=SERVERS_MAX as usize).contains(&plan.servers));
            assert!(plan.sales.iter().all(|sale| sale.spec.check().is_ok()), "{plan:?}");
        }
        let texts: std::collections::BTreeSet<_> = plans.iter().map(Plan::to_string).collect();
        assert!(texts.len() > 190);
    }

    #[test]
    fn hot_sales_are_picked_more_often() {
        let plan = (0..).map(Plan::draw).find(|plan| plan.sales.len() > 3).unwrap();
        let chance = &mut Chance::of(1, "picks");
        let hot = (0..1_000).filter(|_| plan.pick_sale(chance).sale == plan.sales[0].sale);
        assert!(hot.count() > 300);
    }
}
