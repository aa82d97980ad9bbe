//! The tokens that a core has verified: a buyer's second request needs no second verification.
//!
//! A token is found by its whole text, so it can't be confused with another one. Its hash, keyed by
//! a secret of the process, only selects a bucket. Only verified tokens are added, so forged tokens
//! evict nothing. A new token replaces an expired one of its bucket, or else the one that expires
//! first.

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
    /// Empty until the first token is added.
    places: Vec<Option<Kept>>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), places: Vec::new() }
    }

    /// The hash that selects a token's bucket.
    pub(super) fn hash(&self, token: &[u8]) -> u64 {
        self.hasher.hash_one(token)
    }

    fn first_place(hash: u64) -> usize {
        hash as usize % (ADMISSION_CACHED_MAX / ADMISSION_CACHE_WAYS) * ADMISSION_CACHE_WAYS
    }

    /// The pass of this token, if it was verified before. The caller must check the time again.
    pub(super) fn find(&self, hash: u64, token: &[u8]) -> Option<Rc<Pass>> {
        let first = Self::first_place(hash);
        let places = self.places.get(first..first + ADMISSION_CACHE_WAYS)?;
        let kept = places.iter().flatten().find(|kept| kept.hash == hash && *kept.token == *token);
        kept.map(|kept| kept.pass.clone())
    }

    /// Adds a verified token.
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

    /// Removes all tokens and frees their memory.
    pub(super) fn clear(&mut self) {
        self.places = Vec::new();
    }

    /// Number of tokens.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.places.iter().flatten().count()
    }
}
