//! What becomes of purchases, counted by sale: each core in numbers of its own, which are put together
//! when somebody looks.
//!
//! What is told by sale must stay few: those that are busiest have a name, and the rest are told
//! together. A sale keeps its name while it is asked for, and what was counted under one name is never
//! counted under another, so that no number falls but by a name that is given up.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::verdict::{LinesRefused, Refused, Verdict};
use crate::count::{Counter, Histogram};
use crate::ledger::Failure;
use crate::ledger::counts::LedgerCounts;
use crate::limits::{NAMED_SALES_IDLE_S, NAMED_SALES_MAX};
use crate::sale::SaleId;
use crate::stock::Refusal;
use crate::sync::{Mutex, lock};

/// What a purchase came to, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// A new reservation.
    Granted,
    /// The one that its key had already.
    Replayed,
    /// See [`Refused`] for this and what follows.
    SoldOut,
    /// The sale has units left, but too few of a ticket type.
    TypeSoldOut,
    /// It names ticket types where there are none, or the other way round, or one that is none.
    WrongLines,
    /// Before its time.
    NotOpen,
    /// After it.
    Closed,
    /// The user has enough.
    LimitReached,
    /// The user is not told.
    UserRequired,
    /// More than one reservation may have.
    QuantityTooLarge,
    /// Fewer than one reservation must have.
    QuantityTooSmall,
    /// As many were made as ever may be.
    ReservationsExhausted,
    /// Its key was used for another request.
    KeyReused,
    /// What is stored of the sale contradicts itself.
    Damaged,
    /// This instance's `--stock` is used up.
    AllowanceExhausted,
    /// No such sale.
    UnknownSale,
    /// See [`Failure`] for this and what follows.
    Busy,
    /// The ledger is away.
    Unavailable,
    /// Its answer is lost.
    Unknown,
    /// The client was gone before there was an answer, and nothing was sold.
    Abandoned,
    /// The core knew by itself that it is sold out.
    SoldOutKnown,
    /// The same of one that is not open.
    NotOpenKnown,
    /// The same of one that is closed.
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

    /// Its name in metrics: what clients are told, where they are told something.
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

    /// Whether the core knew it by itself.
    pub fn is_known(self) -> bool {
        matches!(self, Self::SoldOutKnown | Self::NotOpenKnown | Self::ClosedKnown)
    }

    /// A refusal from a latch.
    #[inline]
    pub(super) fn known(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::SoldOut => Self::SoldOutKnown,
            Refusal::NotOpen { .. } => Self::NotOpenKnown,
            Refusal::Closed => Self::ClosedKnown,
        }
    }

    /// What was asked of the ledger.
    pub(super) fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Granted(_) => Self::Granted,
            Verdict::Replayed(_) => Self::Replayed,
            Verdict::Refused(refused) => match refused {
                Refused::SoldOut { .. } => Self::SoldOut,
                Refused::NotOpen { .. } => Self::NotOpen,
                Refused::Closed => Self::Closed,
                Refused::LimitReached { .. } => Self::LimitReached,
                Refused::UserRequired => Self::UserRequired,
                Refused::QuantityTooLarge { .. } => Self::QuantityTooLarge,
                Refused::QuantityTooSmall { .. } => Self::QuantityTooSmall,
                Refused::ReservationsExhausted { .. }
                | Refused::UserReservationsExhausted { .. } => Self::ReservationsExhausted,
                Refused::KeyReused => Self::KeyReused,
                Refused::Damaged => Self::Damaged,
                Refused::AllowanceExhausted => Self::AllowanceExhausted,
                Refused::UnknownSale => Self::UnknownSale,
            },
            Verdict::Lines(LinesRefused::SoldOut { .. }) => Self::TypeSoldOut,
            Verdict::Lines(_) => Self::WrongLines,
            Verdict::Failed(Failure::Busy) => Self::Busy,
            Verdict::Failed(Failure::Unavailable) => Self::Unavailable,
            Verdict::Failed(Failure::Unknown) => Self::Unknown,
        }
    }
}

/// Numbers by what became of purchases.
pub type Sums = [u64; Counted::ALL.len()];

/// What one core counts of purchases of one sale, or of none that it knows.
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

/// What one core counts of what it asks the ledger.
#[derive(Debug, Default)]
pub struct CoreCounts {
    /// Grants, for `stat.log`.
    pub(super) grants: Counter,
    /// Purchases of sales that it does not know.
    pub(super) strangers: Outcomes,
    /// Requests of all kinds that were answered `busy`.
    pub busy: Counter,
    /// From when a purchase came until its answer was written, in microseconds: of those that waited for
    /// the ledger.
    pub purchases_us: Histogram,
    /// What the core asks about sales beside purchases.
    pub questions: Questions,
    /// Of its queues, from when it has them.
    pub ledger: OnceLock<Arc<LedgerCounts>>,
}

/// What one core asks the ledger about sales so that buyers need not: how many wait for an answer does
/// not change how many questions there are.
#[derive(Debug, Default)]
pub struct Questions {
    /// Questions that somebody waited for when they were asked.
    pub awaited: Counter,
    /// Questions at a tick, for which nobody waited.
    pub background: Counter,
    /// Requests that waited for the answer to one, whoever's it was.
    pub waiters: Counter,
    /// Looks for the reservation that a key may have already.
    pub claims: Counter,
    /// For how long what a closed latch says has not been confirmed, in ms: of each that was in use, at
    /// each tick.
    pub latch_age_ms: Histogram,
    /// The same of views that are shown.
    pub view_age_ms: Histogram,
}

impl CoreCounts {
    /// What became of purchases of sales that it does not know.
    pub fn strangers_sums(&self) -> Sums {
        self.strangers.sums()
    }
}

/// The sales that a process knows, with what its cores count of each.
#[derive(Default)]
pub struct SaleCounts {
    of_sales: Mutex<OfSales>,
}

#[derive(Default)]
struct OfSales {
    sales: HashMap<SaleId, OfSale>,
    /// What was counted of sales while they had no name.
    others: Sums,
    named: usize,
}

/// What is counted of one sale.
#[derive(Default)]
struct OfSale {
    /// By the cores that know it.
    cores: Vec<Arc<Outcomes>>,
    /// By cores that have forgotten it.
    past: Sums,
    /// How much of all that has been taken over.
    seen: Sums,
    named: Option<Named>,
}

struct Named {
    sums: Sums,
    /// When more was counted last.
    grew: Instant,
}

impl OfSale {
    /// Takes over what is new.
    fn take_new(&mut self) -> Sums {
        let mut all = self.past;
        self.cores.iter().for_each(|core| add(&mut all, &core.sums()));
        let new = std::array::from_fn(|at| all[at].wrapping_sub(self.seen[at]));
        self.seen = all;
        new
    }
}

fn add(sums: &mut Sums, more: &Sums) {
    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.wrapping_add(*more));
}

impl SaleCounts {
    /// A core has heard that there is such a sale: what it counts of it from now on.
    pub(super) fn enter(self: &Arc<Self>, sale: &SaleId) -> Entered {
        let outcomes = Arc::new(Outcomes::default());
        let mut all = lock(&self.of_sales);
        match all.sales.get_mut(sale) {
            Some(of_sale) => of_sale.cores.push(outcomes.clone()),
            None => {
                let of_sale = OfSale { cores: vec![outcomes.clone()], ..OfSale::default() };
                all.sales.insert(sale.detached(), of_sale);
            }
        }
        drop(all);
        Entered { outcomes, sale: sale.detached(), counts: self.clone() }
    }

    fn leave(&self, sale: &SaleId, outcomes: &Arc<Outcomes>) {
        let mut all = lock(&self.of_sales);
        let OfSales { sales, others, .. } = &mut *all;
        let Some(of_sale) = sales.get_mut(sale) else { return };
        of_sale.cores.retain(|core| !Arc::ptr_eq(core, outcomes));
        add(&mut of_sale.past, &outcomes.sums());
        if of_sale.cores.is_empty() && of_sale.named.is_none() {
            add(others, &of_sale.take_new());
            sales.remove(sale);
        }
    }

    /// What has been counted by now, of each sale that has a name, and of all others together.
    pub fn read(&self, now: Instant) -> (Vec<(SaleId, Sums)>, Sums) {
        let mut all = lock(&self.of_sales);
        let OfSales { sales, others, named } = &mut *all;
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
            // Who is not asked for any more makes room.
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
        let of = |(id, sale): (&SaleId, &OfSale)| {
            sale.named.as_ref().map(|named| (id.detached(), named.sums))
        };
        let mut told: Vec<_> = sales.iter().filter_map(of).collect();
        told.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (told, *others)
    }
}

/// What a core counts of a sale, for as long as it knows the sale.
pub(super) struct Entered {
    pub(super) outcomes: Arc<Outcomes>,
    sale: SaleId,
    counts: Arc<SaleCounts>,
}

impl Drop for Entered {
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

    fn count(entered: &Entered, counted: Counted, times: u64) {
        (0..times).for_each(|_| entered.outcomes.add(counted));
    }

    fn total(told: &(Vec<(SaleId, Sums)>, Sums)) -> u64 {
        told.0.iter().flat_map(|(_, sums)| sums).chain(&told.1).sum()
    }

    #[test]
    fn cores_count_together_and_what_one_has_counted_stays_when_it_forgets_the_sale() {
        let counts = Arc::new(SaleCounts::default());
        let now = Instant::now();
        let (one, two) = (counts.enter(&sale("a")), counts.enter(&sale("a")));
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
    fn the_busiest_have_names_and_no_number_falls() {
        let counts = Arc::new(SaleCounts::default());
        let mut now = Instant::now();
        let all: Vec<_> = (0..NAMED_SALES_MAX + 20)
            .map(|number| counts.enter(&sale(&format!("sale-{number:04}"))))
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
        // Those that nobody asks for make room, once somebody needs it.
        now += Duration::from_secs(NAMED_SALES_IDLE_S);
        count(&all[0], Counted::Granted, 1);
        let told = counts.read(now);
        assert_eq!(told.0.len(), 1);
        assert_eq!((told.0[0].0.as_str(), told.0[0].1[0]), ("sale-0000", 1));
        assert_eq!(told.1, before.1);
    }

    #[test]
    fn what_nobody_reads_takes_no_memory_for_ever() {
        let counts = Arc::new(SaleCounts::default());
        for number in 0..1_000 {
            count(&counts.enter(&sale(&format!("gone-{number}"))), Counted::Closed, 1);
        }
        assert!(lock(&counts.of_sales).sales.is_empty());
        let told = counts.read(Instant::now());
        assert_eq!((told.0.len(), told.1[Counted::Closed as usize]), (0, 1_000));
    }
}
