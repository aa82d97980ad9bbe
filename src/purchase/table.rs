//! The sales that a core knows, and those that it queries at the next tick.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use hashbrown::HashMap;

use super::slot::{PartOf, SaleSlot};
use crate::limits::{SALE_IDLE_MS, SALES_MAX, TICK_INTERVAL_MS};
use crate::sale::SaleId;

/// See the module's header.
#[derive(Default)]
pub struct Sales {
    slots: RefCell<HashMap<SaleId, Rc<SaleSlot>>>,
    /// The sale that was found last, which mostly is the next one too. It is one of `slots`.
    last: RefCell<Option<Rc<SaleSlot>>>,
    /// Sales to query at the next tick: refused or shown from memory since the last one, or kept.
    pub(super) wanted: RefCell<Vec<Rc<SaleSlot>>>,
    made_room_ms: Cell<u64>,
}

impl Sales {
    /// Finds a sale by the id in a request.
    #[inline(always)]
    pub(super) fn find(&self, id: &str, now_ms: u64) -> Option<Rc<SaleSlot>> {
        if let Some(slot) = self.last.borrow().as_ref().filter(|slot| slot.id.as_str() == id) {
            slot.used_at_ms.set(now_ms);
            return Some(slot.clone());
        }
        let slots = self.slots.borrow();
        let slot = slots.get(&IdText(id)).filter(|slot| slot.part_of.is_none())?;
        slot.used_at_ms.set(now_ms);
        self.last.replace(Some(slot.clone()));
        Some(slot.clone())
    }

    /// Adds a sale.
    pub(super) fn add(&self, slot: &Rc<SaleSlot>, now_ms: u64) {
        slot.used_at_ms.set(now_ms);
        self.slots.borrow_mut().insert(slot.id.clone(), slot.clone());
    }

    /// Adds the parts of a known sale, so that answers about them find their slots.
    pub(super) fn add_parts(&self, parts: &[Rc<SaleSlot>]) {
        let parts = parts.iter().map(|part| (part.id.clone(), part.clone()));
        self.slots.borrow_mut().extend(parts);
    }

    /// Whether there is room for one more sale. Forgets sales without recent requests if needed.
    pub(super) fn has_room(&self, now_ms: u64) -> bool {
        self.slots.borrow().len() < SALES_MAX || self.make_room(now_ms)
    }

    fn make_room(&self, now_ms: u64) -> bool {
        // It visits all sales, which is expensive: at most once per tick.
        if now_ms < self.made_room_ms.get() + TICK_INTERVAL_MS {
            return false;
        }
        self.made_room_ms.set(now_ms);
        self.last.take();
        let mut slots = self.slots.borrow_mut();
        slots.retain(|_, slot| {
            let recent = slot.exists() && now_ms < slot.used_at_ms.get() + SALE_IDLE_MS;
            let needed = Rc::strong_count(slot) > 1 || !slot.view_waiters.borrow().is_empty();
            slot.forgotten.set(!(recent || needed));
            recent || needed
        });
        slots.len() < SALES_MAX
    }

    /// Queries this sale at the next tick.
    #[inline]
    pub(super) fn want(&self, slot: &Rc<SaleSlot>) {
        if !slot.wanted.replace(true) {
            self.wanted.borrow_mut().push(slot.clone());
        }
    }

    /// Whether the ledger has confirmed to this core that there is such a sale, or such a part.
    pub fn exists(&self, id: &SaleId) -> bool {
        let slot = self.known(id).and_then(PartOf::resolve);
        slot.is_some_and(|(slot, _)| slot.exists())
    }

    /// Finds a sale or a part.
    pub(super) fn known(&self, id: &SaleId) -> Option<Rc<SaleSlot>> {
        self.slots.borrow().get(id).cloned()
    }

    /// Removes a sale with its parts. Returns `false` if it was removed before, and perhaps added
    /// anew.
    pub(super) fn remove(&self, slot: &Rc<SaleSlot>) -> bool {
        let mut slots = self.slots.borrow_mut();
        if !slots.get(&slot.id).is_some_and(|known| Rc::ptr_eq(known, slot)) {
            return false;
        }
        self.last.take();
        slot.forgotten.set(true);
        slots.remove(&slot.id);
        let parts = slot.parts.get().map_or(&[][..], |parts| parts.slots());
        parts.iter().for_each(|part| _ = slots.remove(&part.id));
        true
    }
}

/// Finds a [`SaleId`] by its text without creating one.
struct IdText<'a>(&'a str);

impl Hash for IdText<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(SaleId::hash_of(self.0));
    }
}

impl hashbrown::Equivalent<SaleId> for IdText<'_> {
    fn equivalent(&self, id: &SaleId) -> bool {
        self.0 == id.as_str()
    }
}
