//! Counts the outcomes of purchases by sale. Each core writes its own counters; a reader sums them.
//!
//! The number of labels must stay small: the busiest sales are reported by name, all others
//! together. A sale keeps its name while requests use it. What was counted under one name is never
//! counted under another, so a number only falls when its name is given up.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::outcome::{LinesReason, PurchaseOutcome, RejectReason};
use crate::count::{Counter, Histogram};
use crate::ledger::Failure;
use crate::ledger::counts::LedgerCounts;
use crate::limits::{NAMED_SALES_IDLE_S, NAMED_SALES_MAX};
use crate::sale::SaleId;
use crate::stock::LatchReason;
use crate::sync::{Mutex, lock};

/// The outcome of a purchase, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A new reservation.
    Granted,
    /// The key had this reservation already.
    Replayed,
    /// See [`RejectReason`] for this and the following.
    SoldOut,
    /// The sale has units left, but too few of a ticket type.
    TypeSoldOut,
    /// The request names ticket types in a sale without any, names none in a sale with types, or
    /// names an unknown one.
    WrongLines,
    /// The sale was not open yet.
    NotOpen,
    /// The sale was closed.
    Closed,
    /// The user has reached the limit.
    LimitReached,
    /// The request does not name the user.
    UserRequired,
    /// Above the maximum per reservation.
    QuantityTooLarge,
    /// Below the minimum per reservation.
    QuantityTooSmall,
    /// The maximum number of reservations was reached.
    ReservationsExhausted,
    /// Its key was used for another request.
    KeyReused,
    /// The ledger's data about the sale contradicts itself.
    Damaged,
    /// This instance's `--stock` is used up.
    AllowanceExhausted,
    /// No such sale.
    UnknownSale,
    /// See [`Failure`] for this and what follows.
    Busy,
    /// The ledger is not reachable.
    Unavailable,
    /// The ledger's answer was lost.
    Unknown,
    /// The client was gone before there was an answer, and nothing was sold.
    Abandoned,
    /// The core's latch rejected it as sold out.
    SoldOutKnown,
    /// The core's latch rejected it as not open.
    NotOpenKnown,
    /// The core's latch rejected it as closed.
    ClosedKnown,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Granted,
        Self::Replayed,
        Self::SoldOut,
        Self::TypeSoldOut,
        Self::WrongLines,
        Self::NotOpen,
        Self::Closed,
        Self::LimitReached,
        Self::UserRequired,
        Self::QuantityTooLarge,
        Self::QuantityTooSmall,
        Self::ReservationsExhausted,
        Self::KeyReused,
        Self::Damaged,
        Self::AllowanceExhausted,
        Self::UnknownSale,
        Self::Busy,
        Self::Unavailable,
        Self::Unknown,
        Self::Abandoned,
        Self::SoldOutKnown,
        Self::NotOpenKnown,
        Self::ClosedKnown,
    ];

    /// Its name in metrics: the code of the response, if there is one.
    pub fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Replayed => "replayed",
            Self::SoldOut | Self::SoldOutKnown => "sold_out",
            Self::TypeSoldOut => "type_sold_out",
            Self::WrongLines => "wrong_lines",
            Self::NotOpen | Self::NotOpenKnown => "not_open",
            Self::Closed | Self::ClosedKnown => "closed",
            Self::LimitReached => "limit_reached",
            Self::UserRequired => "user_required",
            Self::QuantityTooLarge => "quantity_too_large",
            Self::QuantityTooSmall => "quantity_too_small",
            Self::ReservationsExhausted => "reservations_exhausted",
            Self::KeyReused => "key_reused",
            Self::Damaged => "damaged",
            Self::AllowanceExhausted => "allowance_exhausted",
            Self::UnknownSale => "unknown_sale",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Abandoned => "abandoned",
        }
    }

    /// Whether the core decided without the ledger.
    pub fn is_known(self) -> bool {
        matches!(self, Self::SoldOutKnown | Self::NotOpenKnown | Self::ClosedKnown)
    }

    /// A rejection by a latch.
    #[inline]
    pub(super) fn known(reason: &LatchReason) -> Self {
        match reason {
            LatchReason::SoldOut => Self::SoldOutKnown,
            LatchReason::NotOpen { .. } => Self::NotOpenKnown,
            LatchReason::Closed => Self::ClosedKnown,
        }
    }

    /// An outcome of the ledger.
    pub(super) fn of(outcome: &PurchaseOutcome) -> Self {
        match outcome {
            PurchaseOutcome::Granted(_) => Self::Granted,
            PurchaseOutcome::Replayed(_) => Self::Replayed,
            PurchaseOutcome::Rejected(refused) => match refused {
                RejectReason::SoldOut { .. } => Self::SoldOut,
                RejectReason::NotOpen { .. } => Self::NotOpen,
                RejectReason::Closed => Self::Closed,
                RejectReason::LimitReached { .. } => Self::LimitReached,
                RejectReason::UserRequired => Self::UserRequired,
                RejectReason::QuantityTooLarge { .. } => Self::QuantityTooLarge,
                RejectReason::QuantityTooSmall { .. } => Self::QuantityTooSmall,
                RejectReason::ReservationsExhausted { .. }
                | RejectReason::UserReservationsExhausted { .. } => Self::ReservationsExhausted,
                RejectReason::KeyReused => Self::KeyReused,
                RejectReason::Damaged => Self::Damaged,
                RejectReason::AllowanceExhausted => Self::AllowanceExhausted,
                RejectReason::UnknownSale => Self::UnknownSale,
            },
            PurchaseOutcome::Lines(LinesReason::SoldOut { .. }) => Self::TypeSoldOut,
            PurchaseOutcome::Lines(_) => Self::WrongLines,
            PurchaseOutcome::NoSeats(refusal) if refusal.is_of_stock() => Self::SoldOut,
            PurchaseOutcome::NoSeats(_) => Self::WrongLines,
            PurchaseOutcome::Failed(Failure::Busy) => Self::Busy,
            PurchaseOutcome::Failed(Failure::Unavailable) => Self::Unavailable,
            PurchaseOutcome::Failed(Failure::Unknown) => Self::Unknown,
        }
    }
}

/// Numbers by outcome.
pub type Sums = [u64; Counted::ALL.len()];

/// What one core counts of one sale, or of all sales that it does not know.
#[derive(Debug, Default)]
pub struct Outcomes([Counter; Counted::ALL.len()]);

impl Outcomes {
    #[inline]
    pub(super) fn add(&self, counted: Counted) {
        self.0[counted as usize].add(1);
    }

    fn sums(&self) -> Sums {
        std::array::from_fn(|at| self.0[at].get())
    }
}

/// What one core counts, apart from the outcomes by sale.
#[derive(Debug, Default)]
pub struct CoreCounts {
    /// Grants, for `stat.log`.
    pub(super) grants: Counter,
    /// Outcomes of purchases of sales that the core does not know.
    pub(super) unknown_sales: Outcomes,
    /// Requests of all kinds that were answered `busy`.
    pub busy: Counter,
    /// Microseconds from the arrival of a purchase to its answer, for purchases that waited for the
    /// ledger.
    pub purchases_us: Histogram,
    /// Queries about sales, apart from purchases.
    pub queries: ViewQueries,
    /// Counters of its queues, set when the queues exist.
    pub ledger: OnceLock<Arc<LedgerCounts>>,
}

/// What one core queries about sales so that buyers need not: the number of queries does not depend
/// on the number of waiting requests.
#[derive(Debug, Default)]
pub struct ViewQueries {
    /// Queries that a request waited for when they were sent.
    pub awaited: Counter,
    /// Queries sent by a tick, for which no request waited.
    pub background: Counter,
    /// Requests that waited for the answer to a query, including those that joined a query of
    /// another request.
    pub waiters: Counter,
    /// Queries for the reservation of a key.
    pub claims: Counter,
    /// Milliseconds since the ledger confirmed a closed latch: recorded at each tick for each latch
    /// in use.
    pub latch_age_ms: Histogram,
    /// The same for cached views.
    pub view_age_ms: Histogram,
}

impl CoreCounts {
    /// The outcomes of purchases of sales that the core does not know.
    pub fn unknown_sales_sums(&self) -> Sums {
        self.unknown_sales.sums()
    }
}

/// The counters of all sales that the process knows.
#[derive(Default)]
pub struct SaleCounts {
    of_sales: Mutex<CountsBySale>,
}

#[derive(Default)]
struct CountsBySale {
    sales: HashMap<SaleId, CountsOfSale>,
    /// What was counted of sales while they had no name.
    others: Sums,
    named: usize,
    /// What each core has counted of sales that it has forgotten.
    left_by_core: Vec<Sums>,
}

/// The counters of one sale.
#[derive(Default)]
struct CountsOfSale {
    /// One entry per core that knows the sale, with the core's number.
    cores: Vec<(usize, Arc<Outcomes>)>,
    /// The sums of cores that have forgotten the sale.
    past: Sums,
    /// The part of these sums that was read already.
    seen: Sums,
    named: Option<Named>,
}

struct Named {
    sums: Sums,
    /// When the last increase was seen.
    grew: Instant,
}

impl CountsOfSale {
    /// Returns the increase since the last call.
    fn take_new(&mut self) -> Sums {
        let mut all = self.past;
        self.cores.iter().for_each(|(_, core)| add(&mut all, &core.sums()));
        let new = std::array::from_fn(|at| all[at].wrapping_sub(self.seen[at]));
        self.seen = all;
        new
    }
}

fn add(sums: &mut Sums, more: &Sums) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
}

/// Returns the sums of a core in a list that has one place per core.
fn sums_of_core(by_core: &mut Vec<Sums>, core: usize) -> &mut Sums {
    if by_core.len() <= core {
        by_core.resize(core + 1, Sums::default());
    }
    &mut by_core[core]
}

impl SaleCounts {
    /// Registers a core that has learned that the sale exists. Returns the core's counters of it.
    pub(super) fn enter(self: &Arc<Self>, core: usize, sale: &SaleId) -> SaleCounter {
        let outcomes = Arc::new(Outcomes::default());
        let mut all = lock(&self.of_sales);
        match all.sales.get_mut(sale) {
            Some(of_sale) => of_sale.cores.push((core, outcomes.clone())),
            None => {
                let cores = vec![(core, outcomes.clone())];
                let of_sale = CountsOfSale { cores, ..CountsOfSale::default() };
                all.sales.insert(sale.detached(), of_sale);
            }
        }
        drop(all);
        SaleCounter { outcomes, sale: sale.detached(), counts: self.clone() }
    }

    fn leave(&self, sale: &SaleId, outcomes: &Arc<Outcomes>) {
        let mut all = lock(&self.of_sales);
        let CountsBySale { sales, others, left_by_core, .. } = &mut *all;
        let Some(of_sale) = sales.get_mut(sale) else { return };
        let is_it = |(_, core): &mut (usize, Arc<Outcomes>)| Arc::ptr_eq(core, outcomes);
        for (core, outcomes) in of_sale.cores.extract_if(.., is_it) {
            add(sums_of_core(left_by_core, core), &outcomes.sums());
        }
        add(&mut of_sale.past, &outcomes.sums());
        if of_sale.cores.is_empty() && of_sale.named.is_none() {
            add(others, &of_sale.take_new());
            sales.remove(sale);
        }
    }

    /// The counts so far of each core, over all sales that it has known. Reads one list of numbers per
    /// core and sale.
    pub fn by_core(&self, cores: usize) -> Vec<Sums> {
        let all = lock(&self.of_sales);
        let mut by_core = all.left_by_core.clone();
        for (core, outcomes) in all.sales.values().flat_map(|sale| &sale.cores) {
            add(sums_of_core(&mut by_core, *core), &outcomes.sums());
        }
        by_core.resize(cores, Sums::default());
        by_core
    }

    /// The counts so far: of each sale that has a name, and of all others together.
    pub fn read(&self, now: Instant) -> (Vec<(SaleId, Sums)>, Sums) {
        let mut all = lock(&self.of_sales);
        let CountsBySale { sales, others, named, .. } = &mut *all;
        let idle = Duration::from_secs(NAMED_SALES_IDLE_S);
        let mut newcomers = Vec::new();
        for (id, sale) in sales.iter_mut() {
            let new = sale.take_new();
            let grown: u64 = new.iter().sum();
            match &mut sale.named {
                Some(named) if grown > 0 => {
                    add(&mut named.sums, &new);
                    named.grew = now;
                }
                None if grown > 0 => newcomers.push((grown, id.clone(), new)),
                _ => {}
            }
        }
        newcomers.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        if *named + newcomers.len() > NAMED_SALES_MAX {
            // Sales without recent purchases make room.
            for sale in sales.values_mut() {
                if sale.named.as_ref().is_some_and(|named| now - named.grew >= idle) {
                    sale.named = None;
                    *named -= 1;
                }
            }
        }
        for (_, id, new) in newcomers {
            match sales.get_mut(&id) {
                Some(sale) if *named < NAMED_SALES_MAX => {
                    sale.named = Some(Named { sums: new, grew: now });
                    *named += 1;
                }
                _ => add(others, &new),
            }
        }
        sales.retain(|_, sale| sale.named.is_some() || !sale.cores.is_empty());
        let of = |(id, sale): (&SaleId, &CountsOfSale)| {
            sale.named.as_ref().map(|named| (id.detached(), named.sums))
        };
        let mut told: Vec<_> = sales.iter().filter_map(of).collect();
        told.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (told, *others)
    }
}

/// A core's counters of a sale, for as long as the core knows the sale.
pub(super) struct SaleCounter {
    pub(super) outcomes: Arc<Outcomes>,
    sale: SaleId,
    counts: Arc<SaleCounts>,
}

impl Drop for SaleCounter {
    fn drop(&mut self) {
        self.counts.leave(&self.sale, &self.outcomes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(name: &str) -> SaleId {
        SaleId::new(name).expect("a name")
    }

    fn count(entered: &SaleCounter, counted: Counted, times: u64) {
        (0..times).for_each(|_| entered.outcomes.add(counted));
    }

    fn total(told: &(Vec<(SaleId, Sums)>, Sums)) -> u64 {
        told.0.iter().flat_map(|(_, sums)| sums).chain(&told.1).sum()
    }

    #[test]
    fn counts_of_all_cores_add_up_and_survive_a_forgotten_sale() {
        let counts = Arc::new(SaleCounts::default());
        let now = Instant::now();
        let (one, two) = (counts.enter(0, &sale("a")), counts.enter(1, &sale("a")));
        count(&one, Counted::Granted, 3);
        count(&two, Counted::SoldOutKnown, 2);
        let told = counts.read(now);
        assert_eq!(told.0.len(), 1);
        let sums = told.0[0].1;
        assert_eq!(sums[Counted::Granted as usize], 3);
        assert_eq!(sums[Counted::SoldOutKnown as usize], 2);
        count(&one, Counted::Granted, 1);
        drop((one, two));
        let told = counts.read(now);
        assert_eq!((total(&told), told.0[0].1[Counted::Granted as usize]), (6, 4));
    }

    #[test]
    fn counts_per_core_survive_a_forgotten_sale() {
        let counts = Arc::new(SaleCounts::default());
        let (one, other) = (counts.enter(0, &sale("a")), counts.enter(2, &sale("a")));
        let another = counts.enter(2, &sale("b"));
        count(&one, Counted::Granted, 3);
        count(&other, Counted::SoldOutKnown, 5);
        count(&another, Counted::SoldOutKnown, 7);
        let told = |counts: &SaleCounts| {
            let by_core = counts.by_core(4);
            let number = |core: usize, counted: Counted| by_core[core][counted as usize];
            assert_eq!(by_core.len(), 4);
            assert_eq!((by_core[1], by_core[3]), (Sums::default(), Sums::default()));
            [number(0, Counted::Granted), number(2, Counted::SoldOutKnown)]
        };
        assert_eq!(told(&counts), [3, 12]);
        drop((one, other));
        assert_eq!(told(&counts), [3, 12]);
        let again = counts.enter(2, &sale("a"));
        count(&again, Counted::SoldOutKnown, 1);
        drop((again, another));
        counts.read(Instant::now());
        assert_eq!(told(&counts), [3, 13]);
    }

    #[test]
    fn the_busiest_sales_are_named_and_no_counter_decreases() {
        let counts = Arc::new(SaleCounts::default());
        let mut now = Instant::now();
        let all: Vec<_> = (0..NAMED_SALES_MAX + 20)
            .map(|number| counts.enter(0, &sale(&format!("sale-{number:04}"))))
            .collect();
        all.iter().enumerate().for_each(|(n, sale)| count(sale, Counted::Granted, n as u64 + 1));
        let mut before = counts.read(now);
        assert_eq!(before.0.len(), NAMED_SALES_MAX);
        assert_eq!(before.1[0], (1..=20).sum::<u64>(), "the 20 least busy");
        for round in 0..50 {
            now += Duration::from_secs(1);
            all.iter().skip(round % 7).for_each(|sale| count(sale, Counted::Granted, 5));
            let told = counts.read(now);
            assert_eq!(told.0.len(), NAMED_SALES_MAX);
            for ((id, sums), (id_before, sums_before)) in told.0.iter().zip(&before.0) {
                assert_eq!(id, id_before);
                assert!(sums[0] >= sums_before[0]);
            }
            assert!(told.1[0] >= before.1[0]);
            before = told;
        }
        let granted: u64 = all.iter().map(|sale| sale.outcomes.sums()[0]).sum();
        assert_eq!(total(&before), granted);
        // Idle sales make room once another sale needs it.
        now += Duration::from_secs(NAMED_SALES_IDLE_S);
        count(&all[0], Counted::Granted, 1);
        let told = counts.read(now);
        assert_eq!(told.0.len(), 1);
        assert_eq!((told.0[0].0.as_str(), told.0[0].1[0]), ("sale-0000", 1));
        assert_eq!(told.1, before.1);
    }

    #[test]
    fn forgotten_sales_free_their_memory_without_a_read() {
        let counts = Arc::new(SaleCounts::default());
        for number in 0..1_000 {
            count(&counts.enter(0, &sale(&format!("gone-{number}"))), Counted::Closed, 1);
        }
        assert!(lock(&counts.of_sales).sales.is_empty());
        let told = counts.read(Instant::now());
        assert_eq!((told.0.len(), told.1[Counted::Closed as usize]), (0, 1_000));
    }
}
