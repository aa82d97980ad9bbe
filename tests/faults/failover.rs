//! Two servers on a Redis that is replaced when it dies: by Sentinels, or by the other primaries of
//! a Cluster. Each change is on a replica before it is acknowledged, so nothing may be lost.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::chance::Chance;
use crate::lab::{Lab, until};
use crate::process::{Around, PATIENCE, Seller};
use crate::rows::{Rows, of_redis};
use crate::run::{Fault, Place};
use crate::six::Six;
use crate::tally::Tally;
use crate::trio::Trio;

/// A primary refuses what no replica would get.
const ONE_REPLICA: [&str; 4] = ["--min-replicas-to-write", "1", "--min-replicas-max-lag", "2"];
/// Slots of a Cluster.
const SLOTS: usize = 16_384;

fn sellers(lab: &Arc<Lab>, url: &str) -> [Seller; 2] {
    let options = ["--ledger", url, "--redis-wait", "1"];
    ["server0", "server1"].map(|name| Seller::start(lab, name, &Around::Here, &options))
}

fn doors(sellers: &[Seller]) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let publics = sellers.iter().map(Seller::public).collect();
    (publics, sellers.iter().map(Seller::control).collect())
}

fn end(sellers: &mut [Seller]) {
    for seller in sellers {
        assert_eq!(seller.member.terminate(), 0, "a server did not end in order");
    }
}

fn faults(sellers: &[Seller]) -> Vec<String> {
    sellers.iter().flat_map(|seller| seller.member.faults()).cloned().collect()
}

/// A primary, two replicas and three Sentinels.
pub struct OfSentinels {
    sellers: [Seller; 2],
    trio: Trio,
}

impl OfSentinels {
    /// Starts all of it.
    pub fn start(lab: &Arc<Lab>) -> Self {
        let trio = Trio::start(lab, &ONE_REPLICA);
        Self { sellers: sellers(lab, &trio.url("stampede")), trio }
    }
}

impl Place for OfSentinels {
    fn doors(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        doors(&self.sellers)
    }

    /// The primary is killed. It comes back when there is another: it has kept nothing, so one that
    /// came back before would be an empty primary.
    fn disturb(&mut self, _chance: &mut Chance) -> Fault {
        let (number, _) = self.trio.primary();
        self.trio.redis[number].kill();
        until("another primary", PATIENCE, || self.trio.primary().0 != number);
        self.trio.redis[number].restart();
        self.trio.follows(number);
        Fault::killed("primary")
    }

    fn rows(&mut self, sales: &BTreeSet<String>) -> Rows {
        end(&mut self.sellers);
        let mut redis = self.trio.primary().1.connect();
        sales.iter().flat_map(|sale| of_redis(&mut redis, sale)).collect()
    }

    fn check_more(&mut self, _rows: &Rows, _sales: &BTreeSet<String>, tally: &mut Tally) {
        tally.version = "Sentinel, wait 1".to_owned();
    }

    fn faults(&self) -> Vec<String> {
        faults(&self.sellers)
    }
}

/// Three primaries with a replica each.
pub struct OfCluster {
    sellers: [Seller; 2],
    six: Six,
}

impl OfCluster {
    /// Starts all of it.
    pub fn start(lab: &Arc<Lab>) -> Self {
        let six = Six::start(&ONE_REPLICA);
        Self { sellers: sellers(lab, &six.url()), six }
    }
}

impl Place for OfCluster {
    fn doors(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        doors(&self.sellers)
    }

    /// A primary is killed, and comes back as its replica's replica.
    fn disturb(&mut self, chance: &mut Chance) -> Fault {
        let slot = chance.below(SLOTS) as u16;
        let old = self.six.settled(slot);
        let victim = self.six.place(old.port);
        let witness = (victim + 1) % self.six.nodes.len();
        self.six.nodes[victim].kill();
        until("another primary", PATIENCE, || {
            self.six.primary_of(slot, witness).is_some_and(|node| node.port != old.port)
        });
        self.six.nodes[victim].restart();
        until("the Cluster is whole", PATIENCE, || self.six.is_whole());
        Fault::killed("primary")
    }

    fn rows(&mut self, sales: &BTreeSet<String>) -> Rows {
        end(&mut self.sellers);
        let of_sale = |sale: &String| {
            let primary = self.six.settled(self.six.slot(sale));
            of_redis(&mut self.six.connect(&primary), sale)
        };
        sales.iter().flat_map(of_sale).collect()
    }

    fn check_more(&mut self, _rows: &Rows, _sales: &BTreeSet<String>, tally: &mut Tally) {
        tally.version = "Cluster, wait 1".to_owned();
    }

    fn faults(&self) -> Vec<String> {
        faults(&self.sellers)
    }
}
