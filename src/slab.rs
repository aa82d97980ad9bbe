//! A paged slab: values that come and go in any order, each named by a unique [`Key`].
//!
//! Access takes constant time, and nothing is moved when the slab grows. Pages that a burst has
//! added are freed when the slab is empty.

/// Slots per page.
const PAGE: usize = 256;
/// Pages that are never freed.
const PAGES_KEPT: usize = 16;
/// No slot.
const NONE: u32 = u32::MAX;

/// Names one value: its slot, and the generation of the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The slot, which is reused.
    pub index: u32,
    generation: u32,
}

enum Content<T> {
    /// The next free slot.
    Free(u32),
    Used(T),
}

struct Slot<T> {
    generation: u32,
    content: Content<T>,
}

/// See the module's header.
pub struct Slab<T> {
    pages: Vec<Box<[Slot<T>]>>,
    /// The first free slot.
    free: u32,
    count: usize,
    /// Generation of a new slot: later than any that was freed.
    generation: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: NONE, count: 0, generation: 0 }
    }
}

impl<T> Slab<T> {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a value.
    pub fn insert(&mut self, thing: T) -> Key {
        if self.free == NONE {
            self.add_page();
        }
        let index = self.free;
        let slot = &mut self.pages[index as usize / PAGE][index as usize % PAGE];
        let before = std::mem::replace(&mut slot.content, Content::Used(thing));
        let generation = slot.generation;
        let Content::Free(next) = before else { unreachable!("a free slot has nothing") };
        self.free = next;
        self.count += 1;
        Key { index, generation }
    }

    /// The value. `None`: it was removed.
    pub fn get(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slot(key.index)?;
        match &mut slot.content {
            Content::Used(thing) if slot.generation == key.generation => Some(thing),
            _ => None,
        }
    }

    /// The value that is in this slot now.
    pub fn at(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.slot(index)?.content {
            Content::Used(thing) => Some(thing),
            Content::Free(_) => None,
        }
    }

    /// The key of the value that is in this slot now.
    pub fn key_at(&mut self, index: u32) -> Option<Key> {
        match self.slot(index)? {
            Slot { generation, content: Content::Used(_) } => {
                Some(Key { index, generation: *generation })
            }
            _ => None,
        }
    }

    /// Removes a value. `None`: it was removed before.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.remove_at(key.index)
    }

    /// Removes the value that is in this slot now.
    pub fn remove_at(&mut self, index: u32) -> Option<T> {
        let free = self.free;
        let slot = self.slot(index)?;
        if matches!(slot.content, Content::Free(_)) {
            return None;
        }
        let before = std::mem::replace(&mut slot.content, Content::Free(free));
        slot.generation = slot.generation.wrapping_add(1);
        let generation = slot.generation;
        self.free = index;
        self.count -= 1;
        self.generation = self.generation.max(generation);
        if self.count == 0 && self.pages.len() > PAGES_KEPT {
            self.give_back();
        }
        match before {
            Content::Used(thing) => Some(thing),
            Content::Free(_) => None,
        }
    }

    fn slot(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }

    #[cold]
    fn add_page(&mut self) {
        let (first, generation) = (self.pages.len() * PAGE, self.generation);
        debug_assert!(first + PAGE < NONE as usize, "more places than numbers for them");
        let slot = |_| Slot { generation, content: Content::Free(NONE) };
        self.pages.push((0..PAGE).map(slot).collect());
        self.link_free(first);
    }

    /// The slab is empty: frees the pages of a burst.
    #[cold]
    fn give_back(&mut self) {
        self.pages.truncate(PAGES_KEPT);
        self.free = NONE;
        self.link_free(0);
    }

    /// Links all slots from this one on into the free list, in their order.
    fn link_free(&mut self, first: usize) {
        for index in (first..self.pages.len() * PAGE).rev() {
            self.pages[index / PAGE][index % PAGE].content = Content::Free(self.free);
            self.free = index as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reused_slot_has_a_new_key() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.index, second.index);
        assert!(slab.get(first).is_none() && slab.remove(first).is_none());
        assert_eq!(slab.at(second.index), Some(&mut "second"));
        assert_eq!(slab.remove(second), Some("second"));
        assert!(slab.remove_at(second.index).is_none() && slab.at(second.index).is_none());
    }

    #[test]
    fn a_burst_leaves_few_pages_and_no_key_is_reused() {
        let mut slab = Slab::default();
        let burst = 3 * PAGES_KEPT * PAGE;
        let names: Vec<Key> = (0..burst).map(|thing| slab.insert(thing)).collect();
        let mut seen: Vec<Key> = names.clone();
        for (thing, name) in names.into_iter().enumerate() {
            assert_eq!(slab.remove(name), Some(thing));
        }
        assert_eq!(slab.pages.len(), PAGES_KEPT);
        let names: Vec<Key> = (0..burst).map(|thing| slab.insert(thing)).collect();
        assert!(seen.iter().all(|name| slab.get(*name).is_none()));
        assert!(names.iter().map(|name| name.index as usize).eq(0..burst), "in their order");
        seen.extend(names);
        assert_eq!(slab.len(), burst);
    }

    proptest! {
        #[test]
        fn the_slab_agrees_with_a_map(turns in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 1..600)) {
            let (mut slab, mut map, mut names) = (Slab::default(), HashMap::new(), Vec::new());
            for (number, (insert, which)) in turns.into_iter().enumerate() {
                if insert || names.is_empty() {
                    let name = slab.insert(number);
                    map.insert(names.len(), number);
                    names.push(name);
                } else {
                    let at = which.index(names.len());
                    let (name, thing) = (names[at], map.remove(&at));
                    prop_assert_eq!(slab.get(name).copied(), thing);
                    prop_assert_eq!(slab.remove(name), thing);
                }
                prop_assert_eq!((slab.len(), slab.is_empty()), (map.len(), map.is_empty()));
            }
        }
    }
}
