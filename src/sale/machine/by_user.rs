//! A number for each user.

use hashbrown::DefaultHashBuilder;
use std::hash::BuildHasher;

use crate::sale::rows::Table;

/// A number per user, without users whose number is 0.
#[derive(Default)]
#[cfg_attr(feature = "simulation", derive(Clone))]
pub(super) struct ByUser(Table<(Box<str>, u32)>);

impl ByUser {
    /// The number of a user, or 0.
    pub(super) fn get(&self, hasher: &DefaultHashBuilder, user: &str) -> u32 {
        let found = self.0.find(hasher.hash_one(user), |(found, _)| **found == *user);
        found.map_or(0, |&(_, number)| number)
    }

    /// Adds to the number of a user.
    pub(super) fn add(&mut self, hasher: &DefaultHashBuilder, user: &str, more: u32) {
        let hash = hasher.hash_one(user);
        match self.0.find_mut(hash, |(found, _)| **found == *user) {
            Some((_, number)) => *number += more,
            None => {
                let rehash = |(user, _): &(Box<str>, u32)| hasher.hash_one(&**user);
                self.0.insert(hash, (user.into(), more), rehash);
            }
        }
    }

    /// Subtracts from the number of a user. A user whose number becomes 0 is dropped.
    pub(super) fn take(&mut self, hasher: &DefaultHashBuilder, user: &str, fewer: u32) {
        let hash = hasher.hash_one(user);
        let is_it = |(found, _): &(Box<str>, u32)| **found == *user;
        if let Some((_, number)) = self.0.find_mut(hash, is_it) {
            *number -= fewer;
            if *number == 0 {
                self.0.remove(hash, is_it);
            }
        }
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(user, number)| (&**user, *number))
    }
}
