//! The sales a core knows, and which of them it asks about.

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
    /// The one that was asked for last: mostly the next one too. It is one of `slots`.
    last: RefCell<Option<Rc<SaleSlot>>>,
    /// Those to be asked about at the next tick: refused or shown from memory since the last one, or
    /// kept.
    pub(super) wanted: RefCell<Vec<Rc<SaleSlot>>>,
    made_room_ms: Cell<u64>,
}

impl Sales {
    /// A sale that somebody asks for, if it is known.
    #[inline(always)]
    pub(super) fn find(&self, id: &str, now_ms: u64) -> Option<Rc<SaleSlot>> {
        if let Some(slot) = self.last.borrow().as_ref().filter(|slot| slot.id.as_str() == id) {
            slot.used_at_ms.set(now_ms);
            return Some(slot.clone());
        }
        let slots = self.slots.borrow();
        let slot = slots.get(&LookUp(id)).filter(|slot| slot.part_of.is_none())?;
        slot.used_at_ms.set(now_ms);
        self.last.replace(Some(slot.clone()));
        Some(slot.clone())
    }

    /// Takes in a sale that somebody asks for.
    pub(super) fn add(&self, slot: &Rc<SaleSlot>, now_ms: u64) {
        slot.used_at_ms.set(now_ms);
        self.slots.borrow_mut().insert(slot.id.clone(), slot.clone());
    }

    /// Takes in the parts of a sale that it has, so that the ledger's answers about them find them.
    pub(super) fn add_parts(&self, parts: &[Rc<SaleSlot>]) {
        let parts = parts.iter().map(|part| (part.id.clone(), part.clone()));
        self.slots.borrow_mut().extend(parts);
    }

    /// Whether there is room for one more. Forgets sales that nobody has asked for in a while.
    pub(super) fn has_room(&self, now_ms: u64) -> bool {
        self.slots.borrow().len() < SALES_MAX || self.make_room(now_ms)
    }

    fn make_room(&self, now_ms: u64) -> bool {
        // To look at all of them is dear: not more often than once a tick.
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

    /// Has a sale asked about at the next tick.
    #[inline]
    pub(super) fn want(&self, slot: &Rc<SaleSlot>) {
        if !slot.wanted.replace(true) {
            self.wanted.borrow_mut().push(slot.clone());
        }
    }

    /// Whether the ledger has told this core that there is such a sale, or such a part of one.
    pub fn exists(&self, id: &SaleId) -> bool {
        let slot = self.known(id).and_then(PartOf::resolve);
        slot.is_some_and(|(slot, _)| slot.exists())
    }

    /// A sale, or a part of one.
    pub(super) fn known(&self, id: &SaleId) -> Option<Rc<SaleSlot>> {
        self.slots.borrow().get(id).cloned()
    }

    /// Takes out a sale with its parts. `false`: it was taken out before, and perhaps met anew.
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

/// Finds a [`SaleId`] by its text without making one.
struct LookUp<'a>(&'a str);

impl Hash for LookUp<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(SaleId::hash_of(self.0));
    }
}

impl hashbrown::Equivalent<SaleId> for LookUp<'_> {
    fn equivalent(&self, id: &SaleId) -> bool {
        self.0 == id.as_str()
    }
}
