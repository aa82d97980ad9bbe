//! The tokens that a core has verified: a buyer's second request needs no second check.
//!
//! A token is found by its whole text, so that no other one is ever taken for it; its hash, which is
//! keyed by a secret of the process, only says where to look. Only verified tokens come in, so who
//! forges pushes nobody out. A new one takes the place of one that has expired, or else of the one that
//! ends first of the few places that it may have.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use super::pass::Pass;
use crate::limits::{ADMISSION_CACHE_WAYS, ADMISSION_CACHED_MAX};

struct Kept {
    hash: u64,
    token: Box<[u8]>,
    pass: Rc<Pass>,
}

/// See the module's header.
pub(super) struct Cache {
    hasher: RandomState,
    /// Empty until the first token comes.
    places: Vec<Option<Kept>>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), places: Vec::new() }
    }

    /// Where to look for a token.
    pub(super) fn hash(&self, token: &[u8]) -> u64 {
        self.hasher.hash_one(token)
    }

    fn first_place(hash: u64) -> usize {
        hash as usize % (ADMISSION_CACHED_MAX / ADMISSION_CACHE_WAYS) * ADMISSION_CACHE_WAYS
    }

    /// What this token allows, if it was verified before. Whether it still is good is to be asked again.
    pub(super) fn find(&self, hash: u64, token: &[u8]) -> Option<Rc<Pass>> {
        let first = Self::first_place(hash);
        let places = self.places.get(first..first + ADMISSION_CACHE_WAYS)?;
        let kept = places.iter().flatten().find(|kept| kept.hash == hash && *kept.token == *token);
        kept.map(|kept| kept.pass.clone())
    }

    /// Keeps a token that was verified.
    pub(super) fn keep(&mut self, hash: u64, token: &[u8], pass: &Rc<Pass>) {
        if self.places.is_empty() {
            self.places.resize_with(ADMISSION_CACHED_MAX, || None);
        }
        let first = Self::first_place(hash);
        let places = &mut self.places[first..first + ADMISSION_CACHE_WAYS];
        let ends = |place: &&mut Option<Kept>| place.as_ref().map_or(0, |kept| kept.pass.until_ms);
        if let Some(place) = places.iter_mut().min_by_key(ends) {
            *place = Some(Kept { hash, token: token.into(), pass: pass.clone() });
        }
    }

    /// Forgets all of them, and gives their memory back.
    pub(super) fn clear(&mut self) {
        self.places = Vec::new();
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.places.iter().flatten().count()
    }
}
