//! Places in memory that are used again, in pages: things that come and go in any order, each named
//! by a [`Key`] that no other ever has.
//!
//! A place costs the same however many there are, and nothing is moved when there are more. Pages
//! that a burst has made are given back when nothing is left in any.

/// Places of a page.
const PAGE: usize = 256;
/// Pages that are kept for good.
const PAGES_KEPT: usize = 16;
/// No place.
const NONE: u32 = u32::MAX;

/// Names one thing: its place, and how often that was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Its place, which others have before and after it.
    pub index: u32,
    generation: u32,
}

enum Content<T> {
    /// The next place that is free.
    Free(u32),
    Used(T),
}

struct Place<T> {
    generation: u32,
    content: Content<T>,
}

/// See the module's header.
pub struct Slab<T> {
    pages: Vec<Box<[Place<T>]>>,
    /// The first place that is free.
    free: u32,
    count: usize,
    /// Generation of a new place: later than any that was given back.
    generation: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), free: NONE, count: 0, generation: 0 }
    }
}

impl<T> Slab<T> {
    /// How many things there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a thing in.
    pub fn insert(&mut self, thing: T) -> Key {
        if self.free == NONE {
            self.add_page();
        }
        let index = self.free;
        let place = &mut self.pages[index as usize / PAGE][index as usize % PAGE];
        let before = std::mem::replace(&mut place.content, Content::Used(thing));
        let generation = place.generation;
        let Content::Free(next) = before else { unreachable!("a free place has nothing") };
        self.free = next;
        self.count += 1;
        Key { index, generation }
    }

    /// A thing. `None`: it was taken out.
    pub fn get(&mut self, key: Key) -> Option<&mut T> {
        let place = self.place(key.index)?;
        match &mut place.content {
            Content::Used(thing) if place.generation == key.generation => Some(thing),
            _ => None,
        }
    }

    /// The thing that has this place now.
    pub fn at(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.place(index)?.content {
            Content::Used(thing) => Some(thing),
            Content::Free(_) => None,
        }
    }

    /// The name of what has this place now.
    pub fn key_at(&mut self, index: u32) -> Option<Key> {
        match self.place(index)? {
            Place { generation, content: Content::Used(_) } => {
                Some(Key { index, generation: *generation })
            }
            _ => None,
        }
    }

    /// Takes a thing out. `None`: it was taken out before.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.remove_at(key.index)
    }

    /// Takes out what has this place now.
    pub fn remove_at(&mut self, index: u32) -> Option<T> {
        let free = self.free;
        let place = self.place(index)?;
        if matches!(place.content, Content::Free(_)) {
            return None;
        }
        let before = std::mem::replace(&mut place.content, Content::Free(free));
        place.generation = place.generation.wrapping_add(1);
        let generation = place.generation;
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

    fn place(&mut self, index: u32) -> Option<&mut Place<T>> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }

    #[cold]
    fn add_page(&mut self) {
        let (first, generation) = (self.pages.len() * PAGE, self.generation);
        debug_assert!(first + PAGE < NONE as usize, "more places than numbers for them");
        let place = |_| Place { generation, content: Content::Free(NONE) };
        self.pages.push((0..PAGE).map(place).collect());
        self.link_free(first);
    }

    /// Nothing is there: gives back what a burst has made.
    #[cold]
    fn give_back(&mut self) {
        self.pages.truncate(PAGES_KEPT);
        self.free = NONE;
        self.link_free(0);
    }

    /// All places from this one on are free, and the next to be used, in their order.
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
    fn a_place_that_is_used_again_has_another_name() {
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
    fn a_burst_leaves_a_few_pages_and_no_name_that_is_given_again() {
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
        fn it_agrees_with_a_map(turns in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 1..600)) {
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
