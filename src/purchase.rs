//! A purchase: the core's own knowledge first (latch, allowance), then the ledger, then what became
//! of it. Also what a core remembers of each sale, kept true by every answer of the ledger.
//!
//! Architecture invariant: this layer knows no HTTP and no kind of ledger. It never says `sold_out`
//! unless the ledger did.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;

use crate::core::{Core, lock};
use crate::ledger::GroupReply;
use crate::ledger::batch::{Answer, Entry, Failure, Settle, Ticket};
use crate::limits::{SALES_MAX, VIEW_AGE_MS_MAX};
use crate::sale::{
    Command, ID_PREFIX_BITS, Key, Outcome, Reservation, ReservationId, Reserve, SaleId, SaleView,
    User,
};
use crate::stock::{Latch, Refusal, Shards};

/// What one core knows of one sale.
pub struct SaleSlot {
    id: SaleId,
    /// The ledger has said so.
    exists: Cell<bool>,
    shards: Arc<Shards>,
    latch: RefCell<Latch>,
    view: RefCell<Option<SeenView>>,
    view_asked_ms: Cell<Option<u64>>,
    view_waiters: RefCell<Vec<usize>>,
}

struct SeenView {
    asked_at_ms: u64,
    view: Rc<SaleView>,
}

impl SaleSlot {
    /// The sale.
    pub fn id(&self) -> &SaleId {
        &self.id
    }
}

/// The sales a core knows, by id.
#[derive(Default)]
pub struct Sales(RefCell<HashMap<SaleId, Rc<SaleSlot>>>);

impl Sales {
    /// The core's slot of a sale, made when it is first asked for. A sale that turns out not to
    /// exist is forgotten again, so that what a client invents does not stay.
    pub fn slot(&self, core: &Core, id: &str) -> Result<Rc<SaleSlot>, Verdict> {
        if let Some(slot) = self.0.borrow().get(&LookUp(id)) {
            return Ok(slot.clone());
        }
        let id = SaleId::new(id).map_err(|_| Verdict::Refused(Refused::UnknownSale))?;
        if !core.batcher.is_available() {
            return Err(Verdict::Failed(Failure::Unavailable));
        }
        let mut sales = self.0.borrow_mut();
        if sales.len() >= SALES_MAX {
            return Err(Verdict::Failed(Failure::Busy));
        }
        let slot = Rc::new(SaleSlot {
            shards: shards(core, &id),
            id: id.clone(),
            exists: Cell::new(false),
            latch: RefCell::default(),
            view: RefCell::default(),
            view_asked_ms: Cell::default(),
            view_waiters: RefCell::default(),
        });
        sales.insert(id, slot.clone());
        Ok(slot)
    }

    /// Asks the ledger in the background about sales whose latch is closed and being met.
    pub fn refresh(&self, core: &Core) {
        let now_ms = core.clock.now_ms();
        for slot in self.0.borrow().values() {
            if slot.latch.borrow_mut().wants_refresh(now_ms) {
                slot.ask_view(core);
            }
        }
    }

    fn known(&self, id: &SaleId) -> Option<Rc<SaleSlot>> {
        self.0.borrow().get(id).cloned()
    }

    fn forget(&self, core: &Core, id: &SaleId) {
        self.0.borrow_mut().remove(id);
        let mut allowances = lock(&core.shared.allowances);
        // Ours was the last: no other core has the sale either.
        if allowances.get(id.as_str()).is_some_and(|shards| Arc::strong_count(shards) <= 2) {
            allowances.remove(id.as_str());
        }
    }
}

/// Finds a [`SaleId`] by its text without making one.
#[derive(Hash)]
struct LookUp<'a>(&'a str);

impl hashbrown::Equivalent<SaleId> for LookUp<'_> {
    fn equivalent(&self, id: &SaleId) -> bool {
        self.0 == id.as_str()
    }
}

/// The instance's allowance of a sale, shared by its cores.
fn shards(core: &Core, id: &SaleId) -> Arc<Shards> {
    let shared = &core.shared;
    let make = || Arc::new(Shards::new(shared.config.stock, shared.cores()));
    lock(&shared.allowances).entry_ref(id.as_str()).or_insert_with(make).clone()
}

/// What a user asks for.
pub struct Ask {
    /// Units, at least 1.
    pub quantity: u32,
    /// For whom. `None`: anonymous.
    pub user: Option<User>,
    /// Idempotency key.
    pub key: Option<Key>,
}

/// What a purchase comes to.
#[derive(Debug)]
pub enum Verdict {
    /// The units are held.
    Granted {
        /// The new reservation.
        id: ReservationId,
        /// The end of its hold time, in ms since 1970.
        expires_at_ms: u64,
    },
    /// This user and key have this one already.
    Replayed(Box<Reservation>),
    /// The ledger, or what it told this core before, says no.
    Refused(Refused),
    /// There is no answer of the ledger.
    Failed(Failure),
}

/// Why a purchase is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Fewer units are left than were asked for.
    SoldOut {
        /// Units left.
        free: u64,
    },
    /// The sale opens then, in ms since 1970.
    NotOpen {
        /// In ms since 1970.
        opens_at_ms: u64,
    },
    /// The sale is over.
    Closed,
    /// The user would have more than this many units.
    LimitReached {
        /// The sale's limit a user.
        limit_per_user: u32,
    },
    /// The sale has a limit a user, so it must be told who the user is.
    UserRequired,
    /// One reservation may have this many units at the most.
    QuantityTooLarge {
        /// The sale's maximum.
        quantity_max: u32,
    },
    /// This instance's `--stock` is used up. Another may sell.
    AllowanceExhausted,
    /// There is no such sale.
    UnknownSale,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SoldOut => Self::SoldOut { free: 0 },
            Refusal::NotOpen { opens_at_ms } => Self::NotOpen { opens_at_ms },
            Refusal::Closed => Self::Closed,
        }
    }
}

/// A purchase after the local step.
pub enum Begun {
    /// It needs nothing more.
    Decided(Verdict),
    /// It is in the ledger's queue.
    Asked(Asked),
}

/// A purchase that waits for the ledger.
#[must_use]
pub struct Asked {
    id: ReservationId,
    ticket: Ticket,
}

/// The local step of a purchase: latch, allowance, queue. Does not suspend.
pub fn begin(core: &Core, slot: &SaleSlot, ask: Ask) -> Begun {
    let now_ms = core.clock.now_ms();
    // A repeated key must find its reservation whatever the core knows of the sale.
    if ask.key.is_none()
        && let Some(refusal) = slot.latch.borrow_mut().check(now_ms)
    {
        return decided(core, Verdict::Refused(refusal.into()));
    }
    let units = u64::from(ask.quantity);
    let allowed = slot.shards.take(core.index, units);
    if !allowed && ask.key.is_none() {
        return decided(core, Verdict::Refused(Refused::AllowanceExhausted));
    }
    let allowance = if allowed { ask.quantity } else { 0 };
    let id = core.ids.borrow_mut().next_id(core.batcher.batches_taken());
    let Ask { quantity, user, key } = ask;
    let reserve = Command::Reserve(Reserve { id, quantity, user, key, claim_only: !allowed });
    match core.batcher.submit(now_ms, &slot.id, reserve, allowance) {
        Ok(ticket) => Begun::Asked(Asked { id, ticket }),
        Err(failure) => {
            slot.shards.give_back(core.index, u64::from(allowance));
            decided(core, Verdict::Failed(failure))
        }
    }
}

impl Asked {
    /// Suspends until the ledger has answered.
    pub fn wait(self, core: &Core) -> Verdict {
        let id = self.id;
        let verdict = match core.batcher.wait(self.ticket) {
            Ok(outcome) => verdict(id, outcome),
            Err(failure) => Verdict::Failed(failure),
        };
        core.assert_here();
        record(core, &verdict);
        verdict
    }
}

fn verdict(id: ReservationId, outcome: Outcome) -> Verdict {
    Verdict::Refused(match outcome {
        Outcome::Granted { expires_at_ms } => return Verdict::Granted { id, expires_at_ms },
        Outcome::Replayed(reservation) => return Verdict::Replayed(reservation),
        Outcome::SoldOut { free } => Refused::SoldOut { free },
        Outcome::NotOpen { opens_at_ms } => Refused::NotOpen { opens_at_ms },
        Outcome::Closed => Refused::Closed,
        Outcome::LimitReached { limit_per_user } => Refused::LimitReached { limit_per_user },
        Outcome::UserRequired => Refused::UserRequired,
        Outcome::QuantityTooLarge { quantity_max } => Refused::QuantityTooLarge { quantity_max },
        Outcome::NotClaimed => Refused::AllowanceExhausted,
        Outcome::UnknownSale => Refused::UnknownSale,
        outcome => {
            tracing::error!(?outcome, "the ledger answered a purchase with something else");
            return Verdict::Failed(Failure::Unknown);
        }
    })
}

fn decided(core: &Core, verdict: Verdict) -> Begun {
    record(core, &verdict);
    Begun::Decided(verdict)
}

/// One line of `stat.log` for each attempt.
fn record(core: &Core, verdict: &Verdict) {
    let granted = matches!(verdict, Verdict::Granted { .. });
    if granted {
        core.shared.grants[core.index].fetch_add(1, Ordering::Relaxed);
    }
    if let Some(log) = core.stat_log.borrow_mut().as_mut() {
        log.record(granted, core.shared.grants_total());
    }
}

/// A look at a sale after the local step.
pub enum Look {
    /// Seen recently enough.
    Seen(Rc<SaleView>),
    /// The ledger has been asked.
    Asked(Ticket),
    /// It can't be asked.
    Failed(Failure),
}

/// Shows a sale from memory if what is there is young enough, else asks the ledger; those who ask
/// meanwhile share the question.
pub fn look(core: &Core, slot: &SaleSlot) -> Look {
    let now_ms = core.clock.now_ms();
    if let Some(seen) = &*slot.view.borrow()
        && now_ms <= seen.asked_at_ms + VIEW_AGE_MS_MAX
    {
        return Look::Seen(seen.view.clone());
    }
    if !core.batcher.is_available() {
        return Look::Failed(Failure::Unavailable);
    }
    match core.batcher.new_ticket() {
        Ok(ticket) => {
            slot.view_waiters.borrow_mut().push(core.batcher.number(&ticket));
            slot.ask_view(core);
            Look::Asked(ticket)
        }
        Err(failure) => Look::Failed(failure),
    }
}

impl SaleSlot {
    fn ask_view(&self, core: &Core) {
        if self.view_asked_ms.get().is_none() {
            let now_ms = core.clock.now_ms();
            if core.batcher.submit_unattended(now_ms, &self.id, Command::Show) {
                self.view_asked_ms.set(Some(now_ms));
            } else {
                self.answer_view(core, &Err(Failure::Busy));
            }
        }
    }

    fn answer_view(&self, core: &Core, answer: &Answer) {
        for ticket in self.view_waiters.take() {
            core.batcher.deliver(ticket, answer.clone());
        }
    }

    fn see(&self, core: &Core, view: &SaleView) {
        let now_ms = core.clock.now_ms();
        self.shards.note_free(view.free());
        self.latch.borrow_mut().shown(view, now_ms);
        if let Some(asked_at_ms) = self.view_asked_ms.take() {
            *self.view.borrow_mut() = Some(SeenView { asked_at_ms, view: Rc::new(view.clone()) });
        }
    }

    fn learn(&self, core: &Core, entry: &Entry, outcome: &Outcome, reply: &GroupReply) {
        let now_ms = core.clock.now_ms();
        let close = |refusal| self.latch.borrow_mut().close(refusal, now_ms, reply.now_ms);
        match outcome {
            Outcome::Granted { .. } => {
                self.latch.borrow_mut().open();
                return;
            }
            Outcome::SoldOut { free: 0 } => close(Refusal::SoldOut),
            Outcome::NotOpen { opens_at_ms } => {
                close(Refusal::NotOpen { opens_at_ms: *opens_at_ms })
            }
            Outcome::Closed => close(Refusal::Closed),
            Outcome::Sale(view) | Outcome::Created(view) => {
                self.see(core, view);
                self.answer_view(core, &Ok(outcome.clone()));
            }
            Outcome::UnknownSale => {
                self.view_asked_ms.set(None);
                self.answer_view(core, &Ok(Outcome::UnknownSale));
            }
            _ => {}
        }
        self.shards.give_back(core.index, u64::from(entry.allowance));
    }
}

/// Keeps a core's knowledge true: told of every answer of the ledger.
pub struct Settler(pub &'static Core);

impl Settle for Settler {
    fn settle(&self, sale: &SaleId, entries: &[Entry], result: Result<&GroupReply, Failure>) {
        let core = self.0;
        let Some(slot) = core.sales.known(sale) else { return };
        match result {
            Ok(reply) => {
                for (entry, outcome) in entries.iter().zip(&reply.outcomes) {
                    slot.learn(core, entry, outcome, reply);
                }
                match reply.free {
                    Some(free) => {
                        slot.exists.set(true);
                        slot.shards.note_free(free);
                        if free > 0 {
                            slot.latch.borrow_mut().stock_is_back();
                        }
                    }
                    None => core.sales.forget(core, sale),
                }
            }
            Err(failure) => {
                if failure != Failure::Unknown {
                    let units = entries.iter().map(|entry| u64::from(entry.allowance)).sum();
                    slot.shards.give_back(core.index, units);
                }
                slot.view_asked_ms.set(None);
                slot.answer_view(core, &Err(failure));
                if !slot.exists.get() {
                    core.sales.forget(core, sale);
                }
            }
        }
    }
}

/// Random reservation ids, drawn from the kernel some hundreds at a time. Those that are made for
/// the same batch begin alike, so that a ledger may keep them together.
#[derive(Default)]
pub struct IdSource {
    drawn: Vec<u128>,
    prefix: u128,
    batch: Option<u64>,
}

/// The bits of an id that are its own.
const OWN_BITS: u128 = u128::MAX >> ID_PREFIX_BITS;

impl IdSource {
    /// An id that nobody can guess and nobody else draws, for the batch of this number.
    pub fn next_id(&mut self, batch: u64) -> ReservationId {
        if self.drawn.is_empty() {
            let mut random = [0; 4096];
            getrandom::fill(&mut random).expect("the kernel gives random numbers");
            let ids = random.chunks_exact(16).map(|id| u128::from_le_bytes(id.try_into().unwrap()));
            self.drawn.extend(ids);
        }
        let drawn = self.drawn.pop().expect("just drawn");
        if self.batch.replace(batch) != Some(batch) {
            self.prefix = drawn & !OWN_BITS;
        }
        ReservationId(self.prefix | drawn & OWN_BITS)
    }
}
