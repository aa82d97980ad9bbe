//! What a core remembers of one sale, and of the parts of one that is split.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::counts::{Entered, SaleCounts};
use super::verdict::Ask;
use crate::ledger::batch::TicketNumber;
use crate::sale::{Key, Places, SaleId, SaleView, home_part};
use crate::stock::{Latch, Shards, TypeLatches};

/// What one core knows of one sale.
pub struct SaleSlot {
    pub(super) id: SaleId,
    /// Its parts, once the ledger has said that it is split.
    pub(super) parts: OnceCell<Box<Parts>>,
    /// Of a part: of which sale.
    pub(super) part_of: Option<Box<PartOf>>,
    pub(super) used_at_ms: Cell<u64>,
    pub(super) shards: Arc<Shards>,
    pub(super) latch: RefCell<Latch>,
    /// The same of its ticket types.
    pub(super) types: RefCell<TypeLatches>,
    pub(super) view: RefCell<Option<Rc<SeenView>>>,
    /// When the question was asked that the ledger has still to answer.
    pub(super) view_asked_ms: Cell<Option<u64>>,
    pub(super) view_waiters: RefCell<Vec<TicketNumber>>,
    /// How often it was asked, and the number of the question that was answered last.
    pub(super) views_asked: Cell<u64>,
    pub(super) views_seen: Cell<u64>,
    /// What became of purchases, from when the ledger has said that it exists.
    pub(super) counted: OnceCell<Entered>,
    /// Whether [`Sales::wanted`] has it.
    pub(super) wanted: Cell<bool>,
    pub(super) refused_at_ms: Cell<u64>,
    /// It took the place of one whose parts were gone, and has not been seen whole since.
    pub(super) renewed: Cell<bool>,
    /// The core knows it no longer: what the ledger answers is for the slot that has its name now.
    pub(super) forgotten: Cell<bool>,
}

/// A sale as the ledger last showed it.
pub struct SeenView {
    pub(super) asked_at_ms: u64,
    /// The sale.
    pub view: SaleView,
    /// The view as whoever shows it has written it, kept for the next who asks.
    pub written: OnceCell<Box<[u8]>>,
}

impl SaleSlot {
    /// A sale, or a part of one, of which nothing is known yet.
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
            renewed: Cell::default(),
            forgotten: Cell::default(),
        }
    }

    /// The sale.
    pub fn id(&self) -> &SaleId {
        &self.id
    }

    /// The ledger says that it exists. `false`: it has said so before.
    pub(super) fn note_exists(&self, counts: &Arc<SaleCounts>) -> bool {
        let is_new = !self.exists();
        if is_new {
            let _ = self.counted.set(counts.enter(&self.id));
        }
        is_new
    }

    /// Whether the ledger has said that it exists.
    pub(super) fn exists(&self) -> bool {
        self.counted.get().is_some()
    }

    /// The view that came last, however old.
    pub fn last_view(&self) -> Option<Rc<SeenView>> {
        self.view.borrow().clone()
    }

    /// Whether the last that the ledger said refuses some purchases.
    pub(super) fn is_closed(&self) -> bool {
        self.latch.borrow().is_closed() || self.types.borrow().are_closed()
    }

    /// Where a purchase is to be asked.
    pub(super) fn home<'a>(self: &'a Rc<Self>, ask: &Ask) -> &'a Rc<SaleSlot> {
        self.parts.get().map_or(self, |parts| parts.home(ask))
    }
}

/// What a core knows of the parts of a sale.
pub struct Parts {
    pub(super) slots: Vec<Rc<SaleSlot>>,
    /// What was seen of the head and the parts since they were asked about last. Empty: they have not
    /// been.
    pub(super) views: RefCell<Vec<Option<SaleView>>>,
    /// Whose turn it is that belong to no part.
    pub(super) turn: Cell<usize>,
    /// When it was logged last that parts are missing.
    pub(super) missing_told_ms: Cell<u64>,
}

/// To which sale a part belongs.
pub struct PartOf {
    pub(super) whole: Weak<SaleSlot>,
    pub(super) number: usize,
    /// While somebody fetches units for this part: who waits for it.
    pub(super) waiters: RefCell<Option<Vec<TicketNumber>>>,
}

impl PartOf {
    /// What keeps what is known of a place, and the place's number. `None`: the sale is forgotten.
    pub(super) fn resolve(slot: Rc<SaleSlot>) -> Option<(Rc<SaleSlot>, usize)> {
        match &slot.part_of {
            None => Some((slot, 0)),
            Some(part_of) => Some((part_of.whole.upgrade()?, part_of.number)),
        }
    }
}

impl Parts {
    /// The parts, in their order.
    pub(super) fn slots(&self) -> &[Rc<SaleSlot>] {
        &self.slots
    }

    /// They are about to be asked how they stand.
    pub(super) fn forget_views(&self) {
        let mut views = self.views.borrow_mut();
        views.clear();
        views.resize(self.slots.len() + 1, None);
    }

    /// Whether they have been asked. If not, it was the head alone, before it was known to be one.
    pub(super) fn are_asked(&self) -> bool {
        !self.views.borrow().is_empty()
    }

    /// One place was seen. If it was the last one: the view of the whole, unless what was seen is no
    /// split sale together.
    pub(super) fn seen(&self, number: usize, view: &SaleView) -> Option<Option<SaleView>> {
        let mut views = self.views.borrow_mut();
        *views.get_mut(number)? = Some(view.clone());
        if views.iter().any(Option::is_none) {
            return None;
        }
        let mut views = views.iter_mut().map(Option::take);
        let places = Places::new(views.next()??, views.collect());
        Some(places.map(|places| places.view()))
    }

    /// Where this is to be asked: at the part of the user, or of the key of one who is anonymous, since
    /// only there it is known what they have. Without either, at all parts in turn.
    pub(super) fn home(&self, ask: &Ask) -> &Rc<SaleSlot> {
        let owner = match (&ask.user, &ask.key) {
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
