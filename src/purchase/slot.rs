//! What a core remembers of one sale, and of the parts of a split sale.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::counts::{SaleCounter, SaleCounts};
use super::outcome::PurchaseRequest;
use crate::ledger::batch::TicketNumber;
use crate::limits::VIEW_AGE_MS_MAX;
use crate::sale::{Key, Places, SaleId, SaleView, home_part};
#[cfg(feature = "simulation")]
use crate::stock::LatchReason;
use crate::stock::{Latch, Shards, TypeLatches};

/// What one core knows of one sale.
pub struct SaleSlot {
    pub(super) id: SaleId,
    /// The parts, once the ledger has said that the sale is split.
    pub(super) parts: OnceCell<Box<Parts>>,
    /// For a part: its sale.
    pub(super) part_of: Option<Box<PartOf>>,
    pub(super) used_at_ms: Cell<u64>,
    pub(super) shards: Arc<Shards>,
    pub(super) latch: RefCell<Latch>,
    /// The latches of its ticket types.
    pub(super) types: RefCell<TypeLatches>,
    pub(super) view: RefCell<Option<Rc<CachedView>>>,
    /// When the view query was sent that is still unanswered.
    pub(super) view_asked_ms: Cell<Option<u64>>,
    pub(super) view_waiters: RefCell<Vec<TicketNumber>>,
    /// The number of view queries so far, and the number of the last answered one.
    pub(super) views_asked: Cell<u64>,
    pub(super) views_seen: Cell<u64>,
    /// The counters of purchases, from the moment that the ledger confirms the sale.
    pub(super) counted: OnceCell<SaleCounter>,
    /// Whether [`Sales::wanted`](super::table::Sales) contains it.
    pub(super) wanted: Cell<bool>,
    pub(super) refused_at_ms: Cell<u64>,
    /// It replaced a slot whose parts were gone, and has had no complete view since.
    pub(super) replaced_broken: Cell<bool>,
    /// The core has dropped it: answers of the ledger go to the slot that has this name now.
    pub(super) forgotten: Cell<bool>,
}

/// A view of the sale from the ledger.
pub struct CachedView {
    pub(super) asked_at_ms: u64,
    /// The sale.
    pub view: SaleView,
    /// The view as its reader has encoded it, kept for the next request.
    pub encoded: OnceCell<Box<[u8]>>,
}

impl CachedView {
    /// Whether it is recent enough for a request of this time of the core's clock.
    pub(super) fn is_recent(&self, ms: u64) -> bool {
        self.asked_at_ms + VIEW_AGE_MS_MAX >= ms
    }
}

impl SaleSlot {
    /// A sale or a part of which nothing is known yet.
    pub(super) fn new(id: SaleId, shards: Arc<Shards>, part_of: Option<Box<PartOf>>) -> Self {
        Self {
            shards,
            id,
            parts: OnceCell::new(),
            part_of,
            used_at_ms: Cell::new(0),
            latch: RefCell::default(),
            types: RefCell::default(),
            view: RefCell::default(),
            view_asked_ms: Cell::default(),
            view_waiters: RefCell::default(),
            views_asked: Cell::default(),
            views_seen: Cell::default(),
            counted: OnceCell::new(),
            wanted: Cell::default(),
            refused_at_ms: Cell::default(),
            replaced_broken: Cell::default(),
            forgotten: Cell::default(),
        }
    }

    /// The id of the sale.
    pub fn id(&self) -> &SaleId {
        &self.id
    }

    /// Notes that the ledger has confirmed the sale. Returns `false` if it had done so before.
    pub(super) fn note_exists(&self, core: usize, counts: &Arc<SaleCounts>) -> bool {
        let is_new = !self.exists();
        if is_new {
            let _ = self.counted.set(counts.enter(core, &self.id));
        }
        is_new
    }

    /// Whether the ledger has confirmed the sale.
    pub(super) fn exists(&self) -> bool {
        self.counted.get().is_some()
    }

    /// The last view, however old.
    pub(super) fn last_view(&self) -> Option<Rc<CachedView>> {
        self.view.borrow().clone()
    }

    /// Why the last answer of the ledger refuses, if it does.
    #[cfg(feature = "simulation")]
    pub fn latch_reason(&self) -> Option<LatchReason> {
        self.latch.borrow().reason()
    }

    /// Whether the last answers of the ledger refuse some purchases.
    pub(super) fn is_closed(&self) -> bool {
        self.latch.borrow().is_closed() || self.types.borrow().are_closed()
    }

    /// Where to send a purchase: the sale itself, or the buyer's part.
    pub(super) fn part_for<'a>(self: &'a Rc<Self>, request: &PurchaseRequest) -> &'a Rc<SaleSlot> {
        self.parts.get().map_or(self, |parts| parts.part_for(request))
    }
}

/// A view, and the time of the core's clock at which it was asked: it was true no earlier.
pub(super) type DatedView = (SaleView, u64);

/// What a core knows of the parts of a sale.
pub struct Parts {
    pub(super) slots: Vec<Rc<SaleSlot>>,
    /// The views of head and parts since the last query, or since they were last complete. Empty:
    /// there was no query yet.
    pub(super) views: RefCell<Vec<Option<DatedView>>>,
    /// The next part for purchases that belong to no part.
    pub(super) turn: Cell<usize>,
    /// When missing parts were last logged.
    pub(super) missing_logged_ms: Cell<u64>,
}

/// The sale to which a part belongs.
pub struct PartOf {
    pub(super) whole: Weak<SaleSlot>,
    pub(super) number: usize,
    /// While a flow fetches units for this part: the requests that wait for it.
    pub(super) waiters: RefCell<Option<Vec<TicketNumber>>>,
    /// The time of the core's clock at which the last flow that found too few units asked all
    /// parts: its result was true no earlier.
    pub(super) searched_ms: Cell<u64>,
}

impl PartOf {
    /// The slot of the whole sale, and the number of the part (0: the sale itself). `None`: the
    /// sale was forgotten.
    pub(super) fn resolve(slot: Rc<SaleSlot>) -> Option<(Rc<SaleSlot>, usize)> {
        match &slot.part_of {
            None => Some((slot, 0)),
            Some(part_of) => Some((part_of.whole.upgrade()?, part_of.number)),
        }
    }
}

impl Parts {
    /// The parts, in order.
    pub(super) fn slots(&self) -> &[Rc<SaleSlot>] {
        &self.slots
    }

    /// Clears the views before a new query.
    pub(super) fn forget_views(&self) {
        let mut views = self.views.borrow_mut();
        views.clear();
        views.resize(self.slots.len() + 1, None);
    }

    /// Whether a query of all parts is under way. If not, only the head was queried, before it was
    /// known to be one.
    pub(super) fn are_asked(&self) -> bool {
        !self.views.borrow().is_empty()
    }

    /// Notes the view of one place. After the last one, returns the view of the whole sale, which
    /// was true no earlier than the oldest of them, or `Some(None)` if the views do not belong to
    /// one split sale.
    pub(super) fn on_view(
        &self,
        number: usize,
        view: &SaleView,
        asked_ms: u64,
    ) -> Option<Option<DatedView>> {
        let mut views = self.views.borrow_mut();
        *views.get_mut(number)? = Some((view.clone(), asked_ms));
        if views.iter().any(Option::is_none) {
            return None;
        }
        let asked_ms = views.iter().flatten().map(|(_, asked_ms)| *asked_ms).min()?;
        let mut views = views.iter_mut().map(|view| view.take().map(|(view, _)| view));
        let places = Places::new(views.next()??, views.collect());
        Some(places.map(|places| (places.view(), asked_ms)))
    }

    /// The part to which the purchase belongs: by the user, or for anonymous buyers by the key,
    /// since only that part knows their reservations. Without either, the parts take turns.
    pub(super) fn part_for(&self, request: &PurchaseRequest) -> &Rc<SaleSlot> {
        let owner = match (&request.user, &request.key) {
            (Some(user), _) => Some(user.as_str()),
            (None, key) => key.as_ref().map(Key::as_str),
        };
        let number = match owner {
            Some(owner) => home_part(owner, self.slots.len() as u32) as usize - 1,
            None => self.turn.replace((self.turn.get() + 1) % self.slots.len()),
        };
        &self.slots[number]
    }
}
