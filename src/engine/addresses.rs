//! Number of connections per client address, over all cores. When connections run out, those of the
//! address with most are closed first.
//!
//! Cores update the counts only when they accept and close. The counts are in shards with a lock
//! each, so two cores seldom contend for one.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_utils::CachePadded;
use hashbrown::HashMap;

use crate::sync::lock;

/// The unit in which connections are counted: an IPv4 address, or the /64 network of an IPv6
/// address, since one client can have any number of addresses in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(NonZeroU64);

/// Set in the number of an IPv4 address. As the beginning of an IPv6 address it would be reserved
/// (RFC 4291, section 4).
const IPV4: u64 = 1 << 32;
/// The number of ::/64, that of ::1.
const IPV6_ZERO: u64 = 1 << 33;

impl Address {
    /// The unit of this client's address.
    pub fn of(ip: IpAddr) -> Self {
        let number = match ip.to_canonical() {
            IpAddr::V4(ip) => IPV4 | u64::from(u32::from(ip)),
            IpAddr::V6(ip) => match (u128::from(ip) >> 64) as u64 {
                0 => IPV6_ZERO,
                network => network,
            },
        };
        Self(NonZeroU64::new(number).expect("no number is 0"))
    }
}

impl Address {
    /// A number that is unique to this address.
    pub fn number(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

const SHARDS: usize = 32;

/// The counts. See the module's header.
pub struct Addresses {
    hasher: RandomState,
    shards: Box<[CachePadded<Shard>]>,
}

#[derive(Default)]
struct Shard {
    /// The highest count of the shard's addresses.
    most: AtomicU32,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    of: HashMap<Address, u32>,
    /// Number of addresses that have n connections, indexed by n.
    having: Vec<u32>,
    /// An address with the highest count, if it is known.
    top: Option<Address>,
}

impl Default for Addresses {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| CachePadded::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }
}

impl Addresses {
    fn shard(&self, address: Address) -> &Shard {
        &self.shards[self.hasher.hash_one(address) as usize % SHARDS]
    }

    /// Counts one more connection. Returns the new count of the address.
    pub fn add(&self, address: Address) -> u32 {
        let shard = self.shard(address);
        let mut counts = lock(&shard.counts);
        let count = counts.add(address);
        if count > shard.most.load(Ordering::Relaxed) {
            counts.top = Some(address);
            shard.most.store(count, Ordering::Relaxed);
        }
        count
    }

    /// Counts one less.
    pub fn remove(&self, address: Address) {
        let shard = self.shard(address);
        let mut counts = lock(&shard.counts);
        let Some(count) = counts.take(address) else { return };
        if count == shard.most.load(Ordering::Relaxed) {
            if counts.having[count as usize] == 0 {
                // The address may still have the highest count, with others.
                shard.most.store(count - 1, Ordering::Relaxed);
            } else if counts.top == Some(address) {
                counts.top = None;
            }
        }
    }

    /// The count of this address.
    pub fn count(&self, address: Address) -> u32 {
        lock(&self.shard(address).counts).of.get(&address).copied().unwrap_or(0)
    }

    /// The address with the highest count, and that count.
    pub fn top(&self) -> Option<(Address, u32)> {
        let most = |shard: &&CachePadded<Shard>| shard.most.load(Ordering::Relaxed);
        let shard = self.shards.iter().max_by_key(most)?;
        let mut counts = lock(&shard.counts);
        let most = shard.most.load(Ordering::Relaxed);
        let known = counts.top.filter(|top| counts.of.get(top) == Some(&most));
        let found =
            known.or_else(|| counts.of.iter().find(|(_, count)| **count == most).map(|(a, _)| *a));
        counts.top = found;
        found.map(|address| (address, most))
    }
}

impl Counts {
    fn add(&mut self, address: Address) -> u32 {
        let count = self.of.entry(address).or_insert(0);
        let before = *count as usize;
        *count += 1;
        if self.having.len() < before + 2 {
            self.having.resize(before + 2, 0);
        }
        self.having[before] = self.having[before].saturating_sub(1);
        self.having[before + 1] += 1;
        before as u32 + 1
    }

    /// Returns the count before. `None`: the address had no connection.
    fn take(&mut self, address: Address) -> Option<u32> {
        let count = self.of.get_mut(&address)?;
        let before = *count;
        *count -= 1;
        if before == 1 {
            self.of.remove(&address);
        } else {
            self.having[before as usize - 1] += 1;
        }
        self.having[before as usize] -= 1;
        if self.of.is_empty() {
            // Frees the memory that a crowd took.
            *self = Self::default();
            self.having.resize(before as usize + 1, 0);
        }
        Some(before)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        Address::of(text.parse().unwrap())
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::9"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
        assert_ne!(address("::1"), address("0.0.0.0"));
    }

    proptest! {
        /// Counts equal those of a plain map, and `top` is an address with the highest count.
        #[test]
        fn counts_agree_with_a_plain_map(turns in prop::collection::vec((0u8..12, prop::bool::weighted(0.6)), 1..400)) {
            let addresses = Addresses::default();
            let mut plain = BTreeMap::<u8, u32>::new();
            let of = |number: u8| Address::of(IpAddr::from([10, 0, 0, number]));
            for (number, enters) in turns {
                if enters {
                    *plain.entry(number).or_default() += 1;
                    prop_assert_eq!(addresses.add(of(number)), plain[&number]);
                } else if plain.get(&number).is_some_and(|count| *count > 0) {
                    *plain.get_mut(&number).unwrap() -= 1;
                    addresses.remove(of(number));
                }
                plain.retain(|_, count| *count > 0);
                prop_assert_eq!(addresses.count(of(number)), plain.get(&number).copied().unwrap_or(0));
                let most = plain.values().max().copied();
                let top = addresses.top();
                prop_assert_eq!(top.map(|(_, count)| count), most);
                if let Some((top, count)) = top {
                    prop_assert_eq!(addresses.count(top), count);
                }
            }
        }
    }
}
