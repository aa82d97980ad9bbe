//! The data that this server publishes to the others that share its ledger, and what it learns of
//! them.
//!
//! On Redis every server has a lease, renewed each second by a thread with its own blocking
//! connection: not that of the sweep, which may be busy for longer than a lease lasts. Leases end
//! by the ledger's clock, and times here are of the ledger too, so no machine's clock matters. The
//! number of cores of all members is an atomic that the cores read ([`Fleet`]). Only a server that
//! starts waits here, for a moment; one that can't renew its lease sells as before.
//!
//! Architecture invariant: decides nothing about stock. Knows no HTTP and no connection.
//!
//! [`Fleet`]: crate::stock::Fleet

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::background::BackgroundStats;
use crate::clock::wall_ms;
use crate::ledger::LedgerError;
use crate::ledger::format::{FORMAT, FORMAT_0_1_0};
use crate::ledger::members::{Lease, Member, MemberId, MemberList, MemberState};
use crate::ledger::redis::{RedisClient, RedisLedger};
use crate::limits::{
    LEASE_ANSWER_DEADLINE_MS, LEASE_END_DEADLINE_MS, LEASE_MS, LEASE_RENEW_INTERVAL_MS,
};
use crate::status::Status;
use crate::sync::{Mutex, lock};

/// This server as a member, whether or not there are others.
pub struct Instance {
    status: Arc<Status>,
    id: MemberId,
    name: String,
    addresses: Vec<String>,
    /// By this machine's clock.
    started_ms: u64,
    /// Who shares the ledger as of the last renewal of the lease, and when that was. `None`: nobody has
    /// said, or the ledger is not shared.
    members: Mutex<Option<(Arc<MemberList>, Instant)>>,
}

impl Instance {
    /// For a server with this status and name, listening on these addresses.
    pub fn new(status: Arc<Status>, name: String, addresses: Vec<String>) -> Self {
        let (id, started_ms) = (MemberId::random(), wall_ms());
        Self { status, id, name, addresses, started_ms, members: Mutex::default() }
    }

    /// Its id as a member.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// When it started, in ms since 1970 by this machine's clock.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// The counters of the background threads.
    pub fn background(&self) -> &BackgroundStats {
        &self.status.background
    }

    /// The members that share the ledger, and the age of this list. `None`: the ledger has not
    /// returned them yet, or is not shared.
    pub fn members(&self) -> Option<(Arc<MemberList>, Duration)> {
        lock(&self.members).as_ref().map(|(members, at)| (members.clone(), at.elapsed()))
    }

    /// The data that it publishes now.
    pub fn member(&self) -> Member {
        let engine = &self.status.engine;
        let draining = engine.is_leaving() || engine.handover.is_draining();
        Member {
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            cores: self.status.engine.cores() as u64,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            reads: FORMAT,
            state: if draining { MemberState::Draining } else { MemberState::Ready },
            allowance: self.status.selling.allowance_left(),
        }
    }
}

/// The thread that renews the lease. Dropping it ends the lease, and waits a moment for that.
pub struct Members {
    commands: Option<Sender<Drain>>,
    ended: Receiver<()>,
}

/// The command to publish that this server drains.
struct Drain;

impl Members {
    /// Starts the thread, and waits a moment for its first renewal: until the other members are
    /// known, nothing is written that they might not read. Only the thread waits for a Redis that
    /// is away.
    pub fn start(ledger: Arc<RedisLedger>, instance: Arc<Instance>) -> io::Result<Self> {
        // Until the members are known.
        instance.status.selling.fleet.set_reads(FORMAT_0_1_0);
        let (commands, received) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let (renews, renewed) = mpsc::channel();
        thread::Builder::new().name("members".into()).spawn(move || {
            LeaseKeeper::new(ledger, instance).run(&received, renews);
            drop(ends);
        })?;
        // Whether it has failed is logged there.
        let _ = renewed.recv_timeout(Duration::from_millis(LEASE_ANSWER_DEADLINE_MS));
        Ok(Self { commands: Some(commands), ended })
    }

    /// Publishes at once that this server drains.
    pub fn drain(&self) {
        // A thread that has panicked was logged, and its lease expires.
        let _ = self.commands.as_ref().map(|commands| commands.send(Drain));
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.commands = None;
        let deadline = Duration::from_millis(LEASE_END_DEADLINE_MS);
        if self.ended.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            tracing::info!("own lease left to expire");
        }
    }
}

struct LeaseKeeper {
    ledger: Arc<RedisLedger>,
    client: RedisClient,
    instance: Arc<Instance>,
    drains: bool,
    /// When it joined, once the ledger has said so.
    since_ms: Option<u64>,
    peers: PeerTracker,
    /// The last renewal failed, which was logged.
    failing: bool,
}

impl LeaseKeeper {
    fn new(ledger: Arc<RedisLedger>, instance: Arc<Instance>) -> Self {
        Self {
            client: client(&ledger),
            ledger,
            peers: PeerTracker::new(instance.id, instance.name.clone()),
            instance,
            drains: false,
            since_ms: None,
            failing: false,
        }
    }

    /// Renews the lease until the commands end. Drops `first` after the first renewal.
    fn run(mut self, received: &Receiver<Drain>, first: Sender<()>) {
        let mut first = Some(first);
        let interval = Duration::from_millis(LEASE_RENEW_INTERVAL_MS);
        loop {
            let next = Instant::now() + interval;
            let renewed = self.renew();
            self.note(renewed);
            drop(first.take());
            match received.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Drain) => self.drains = true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.since_ms.is_some()
            && let Err(error) = self.client.end_lease(self.instance.id)
        {
            tracing::info!(%error, "own lease left to expire");
        }
    }

    fn renew(&mut self) -> Result<(), LedgerError> {
        let mut member = self.instance.member();
        if self.drains {
            member.state = MemberState::Draining;
        }
        let sent = Instant::now();
        let list = self.client.renew_lease(self.instance.id, self.since_ms, &member)?;
        let fleet = &self.instance.status.selling.fleet;
        fleet.set_cores(list.cores());
        fleet.set_reads(list.reads());
        let counts = &self.instance.background().lease;
        // No later than the ledger has begun to count.
        counts.renewed.set(sent);
        counts.members.set(list.leases.len() as u64);
        counts.cores.set(list.cores());
        let own = list.leases.iter().find(|lease| lease.id == self.instance.id);
        let came = self.since_ms.is_none();
        self.since_ms = own.map(|lease| lease.since_ms);
        if came {
            tracing::info!(name = %self.instance.name, members = list.leases.len(), "joined");
        } else if list.is_new {
            tracing::info!("own lease had expired; joined again");
        }
        self.peers.compare(&list).iter().for_each(PeerChange::log);
        *lock(&self.instance.members) = Some((Arc::new(list), sent));
        Ok(())
    }

    /// Logs once that renewals fail, and once that they succeed again.
    fn note(&mut self, renewed: Result<(), LedgerError>) {
        let failed = std::mem::replace(&mut self.failing, renewed.is_err());
        match renewed {
            Ok(()) if failed => tracing::info!("own lease renewed again"),
            Err(error) => {
                self.instance.background().lease.failures.add(1);
                if !failed {
                    tracing::warn!(%error, "own lease can't be renewed");
                }
                if error.to_string().contains("READONLY") {
                    // It is a replica now: a new connection finds the primary, or fails.
                    self.client = client(&self.ledger);
                }
            }
            Ok(()) => {}
        }
    }
}

fn client(ledger: &Arc<RedisLedger>) -> RedisClient {
    let mut client = RedisClient::new(ledger.clone(), "stampede-members");
    client.set_answer_time(Duration::from_millis(LEASE_ANSWER_DEADLINE_MS));
    client
}

/// The other members, so that each joining and leaving is logged once.
struct PeerTracker {
    id: MemberId,
    name: String,
    /// By id. `None`: the list was not read yet.
    known: Option<HashMap<MemberId, Peer>>,
    /// Until then, by the ledger's clock, missing members may only have been lost by the ledger,
    /// like our own lease.
    uncertain_until_ms: u64,
}

struct Peer {
    member: Member,
    /// The end of its lease, by the ledger's clock.
    ends_ms: u64,
    /// It has our name, and that was logged.
    duplicate_name: bool,
}

/// A difference from the last list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PeerChange {
    Joined(Member),
    /// Before its lease expired: it left by itself.
    Left(Member),
    /// Its lease expired.
    Expired(Member),
    /// It has the name of this server.
    DuplicateName(Member),
}

impl PeerChange {
    fn log(&self) {
        let (Self::Joined(one) | Self::Left(one) | Self::Expired(one) | Self::DuplicateName(one)) =
            self;
        let (name, addresses) = (&one.name, one.addresses.join(" "));
        match self {
            Self::Joined(_) => tracing::info!(%name, %addresses, "member joined"),
            Self::Left(_) => tracing::info!(%name, %addresses, "member left"),
            Self::Expired(_) => tracing::warn!(%name, %addresses, "member lease expired"),
            Self::DuplicateName(_) => {
                tracing::warn!(%name, %addresses, "member has the name of this server")
            }
        }
    }
}

impl PeerTracker {
    fn new(id: MemberId, name: String) -> Self {
        Self { id, name, known: None, uncertain_until_ms: 0 }
    }

    /// Compares the list with the last one.
    fn compare(&mut self, list: &MemberList) -> Vec<PeerChange> {
        let mut changes = Vec::new();
        let first = self.known.is_none();
        let known = self.known.get_or_insert_default();
        if list.is_new && !first {
            self.uncertain_until_ms = list.now_ms + LEASE_MS;
        }
        let since_ms = list.leases.iter().find(|lease| lease.id == self.id).map(|l| l.since_ms);
        for lease in list.leases.iter().filter(|lease| lease.id != self.id) {
            let Lease { id, member, left_ms, .. } = lease;
            let ends_ms = list.now_ms + left_ms;
            let one = known.entry(*id).or_insert_with(|| {
                if !first {
                    changes.push(PeerChange::Joined(member.clone()));
                }
                Peer { member: member.clone(), ends_ms, duplicate_name: false }
            });
            one.member.clone_from(member);
            one.ends_ms = ends_ms;
            // A member that was here before us under our name is this server before a restart,
            // unless it still renews its lease.
            let renewed_ms = ends_ms.saturating_sub(LEASE_MS);
            let beside_us = since_ms.is_some_and(|since_ms| renewed_ms > since_ms);
            if member.name == self.name && beside_us && !one.duplicate_name {
                one.duplicate_name = true;
                changes.push(PeerChange::DuplicateName(member.clone()));
            }
        }
        if list.now_ms >= self.uncertain_until_ms {
            let there = |id: &MemberId| list.leases.iter().any(|lease| lease.id == *id);
            for (_, one) in known.extract_if(|id, _| !there(id)) {
                let left = list.now_ms < one.ends_ms;
                changes.push(if left {
                    PeerChange::Left(one.member)
                } else {
                    PeerChange::Expired(one.member)
                });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member { name: name.to_owned(), cores: 2, ..Member::default() }
    }

    fn ids() -> [MemberId; 4] {
        [(); 4].map(|()| MemberId::random())
    }

    /// The member list at this time: id, name, time of joining, rest of the lease.
    fn list(now_ms: u64, members: &[(MemberId, &str, u64, u64)]) -> MemberList {
        let lease = |&(id, name, since_ms, left_ms): &(MemberId, &str, u64, u64)| Lease {
            id,
            member: member(name),
            since_ms,
            left_ms,
        };
        MemberList { now_ms, is_new: false, leases: members.iter().map(lease).collect() }
    }

    #[test]
    fn each_join_and_leave_is_reported_once() {
        let [own, b, c, _] = ids();
        let mut others = PeerTracker::new(own, "a".to_owned());
        let new = MemberList { is_new: true, ..list(0, &[(own, "a", 0, 5000), (b, "b", 0, 4000)]) };
        assert_eq!(others.compare(&new), []);
        let all = [(own, "a", 0, 5000), (b, "b", 0, 5000), (c, "c", 6000, 5000)];
        assert_eq!(others.compare(&list(6000, &all)), [PeerChange::Joined(member("c"))]);
        assert_eq!(others.compare(&list(7000, &all)), []);
        // Both are missing before their leases are over: they have left.
        let mut left = others.compare(&list(8000, &all[..1]));
        left.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(left, [PeerChange::Left(member("b")), PeerChange::Left(member("c"))]);
        assert_eq!(others.compare(&list(9000, &all[..1])), []);
        assert_eq!(others.compare(&list(10_000, &all[..2])), [PeerChange::Joined(member("b"))]);
        let late = [(own, "a", 0, 5000), (b, "b", 0, 1)];
        assert_eq!(others.compare(&list(14_999, &late)), []);
        assert_eq!(others.compare(&list(15_500, &late[..1])), [PeerChange::Expired(member("b"))]);
    }

    #[test]
    fn a_ledger_that_lost_its_members_expires_nobody_at_once() {
        let [own, b, c, _] = ids();
        let mut others = PeerTracker::new(own, "a".to_owned());
        let all = [(own, "a", 0, 5000), (b, "b", 0, 5000), (c, "c", 0, 5000)];
        others.compare(&MemberList { is_new: true, ..list(0, &all) });
        assert_eq!(others.compare(&MemberList { is_new: true, ..list(9000, &all[..1]) }), []);
        assert_eq!(others.compare(&list(10_000, &all[..2])), []);
        // A member that has not returned by then has expired.
        assert_eq!(others.compare(&list(14_000, &all[..2])), [PeerChange::Expired(member("c"))]);
    }

    #[test]
    fn a_duplicate_name_is_reported_unless_it_is_our_predecessor() {
        let [own, before, twin, _] = ids();
        let mut others = PeerTracker::new(own, "a".to_owned());
        let first = [(own, "a", 1000, 5000), (before, "a", 0, 4500), (twin, "a", 500, 4990)];
        assert_eq!(others.compare(&MemberList { is_new: true, ..list(1000, &first) }), []);
        let then = [(own, "a", 1000, 5000), (before, "a", 0, 3500), (twin, "a", 500, 4990)];
        assert_eq!(others.compare(&list(2000, &then)), [PeerChange::DuplicateName(member("a"))]);
        let last = [(own, "a", 1000, 5000), (before, "a", 0, 2500), (twin, "a", 500, 4990)];
        assert_eq!(others.compare(&list(3000, &last)), []);
    }
}
