//! What this server says of itself to the others that share its ledger, and what it learns of them.
//!
//! On Redis every server has a lease, renewed each second by a thread with a blocking connection of
//! its own: not the sweep's, which may be busy returning stock for longer than a lease lasts. Leases
//! end by the ledger's clock, and times here are told by it too, so that no machine's clock matters.
//! How many cores all members have is an atomic that the cores read ([`Fleet`]); nobody waits for
//! anything here, and a server that can't renew its lease sells as before.
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

use crate::clock::wall_ms;
use crate::ledger::LedgerError;
use crate::ledger::format::{FORMAT, FORMAT_0_1_0};
use crate::ledger::members::{Lease, Member, MemberId, MemberState, Roll};
use crate::ledger::redis::{RedisClient, RedisLedger};
use crate::limits::{
    LEASE_ANSWER_DEADLINE_MS, LEASE_END_DEADLINE_MS, LEASE_MS, LEASE_RENEW_INTERVAL_MS,
};
use crate::status::Status;
use crate::upkeep::Upkeep;

/// This server as a member, whether or not there are others.
pub struct Instance {
    status: Arc<Status>,
    id: MemberId,
    name: String,
    addresses: Vec<String>,
    /// By this machine's clock.
    started_ms: u64,
}

impl Instance {
    /// The server of these cores under this name, listening on these addresses.
    pub fn new(status: Arc<Status>, name: String, addresses: Vec<String>) -> Self {
        Self { status, id: MemberId::random(), name, addresses, started_ms: wall_ms() }
    }

    /// Which member it is.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// When it started, in ms since 1970 by this machine's clock.
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// What the threads beside its cores tell.
    pub fn upkeep(&self) -> &Upkeep {
        &self.status.upkeep
    }

    /// What it says of itself now.
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

/// The thread that keeps the lease. Dropped, it gives the lease up, for which it is waited a moment.
pub struct Members {
    told: Option<Sender<Drain>>,
    ended: Receiver<()>,
}

/// What the thread is told, beside that it is to end.
struct Drain;

impl Members {
    /// Starts it. It waits for a Redis that is away.
    pub fn start(ledger: Arc<RedisLedger>, instance: Arc<Instance>) -> io::Result<Self> {
        // Until it is known who shares the ledger.
        instance.status.selling.fleet.set_reads(FORMAT_0_1_0);
        let (told, heard) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        thread::Builder::new().name("members".into()).spawn(move || {
            Keeper::new(ledger, instance).run(&heard);
            drop(ends);
        })?;
        Ok(Self { told: Some(told), ended })
    }

    /// Says at once that this server drains.
    pub fn drain(&self) {
        // A thread that has panicked has said so, and its lease ends by itself.
        let _ = self.told.as_ref().map(|told| told.send(Drain));
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.told = None;
        let deadline = Duration::from_millis(LEASE_END_DEADLINE_MS);
        if self.ended.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            tracing::info!("own lease left to expire");
        }
    }
}

struct Keeper {
    ledger: Arc<RedisLedger>,
    client: RedisClient,
    instance: Arc<Instance>,
    drains: bool,
    /// When it came, once the ledger has said so.
    since_ms: Option<u64>,
    others: Others,
    /// It could not be renewed the last time, which was told.
    failing: bool,
}

impl Keeper {
    fn new(ledger: Arc<RedisLedger>, instance: Arc<Instance>) -> Self {
        Self {
            client: client(&ledger),
            ledger,
            others: Others::new(instance.id, instance.name.clone()),
            instance,
            drains: false,
            since_ms: None,
            failing: false,
        }
    }

    fn run(mut self, heard: &Receiver<Drain>) {
        let interval = Duration::from_millis(LEASE_RENEW_INTERVAL_MS);
        loop {
            let next = Instant::now() + interval;
            let renewed = self.renew();
            self.note(renewed);
            match heard.recv_timeout(next.saturating_duration_since(Instant::now())) {
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
        let roll = self.client.renew_lease(self.instance.id, self.since_ms, &member)?;
        let fleet = &self.instance.status.selling.fleet;
        fleet.set_cores(roll.cores());
        fleet.set_reads(roll.reads());
        let counts = &self.instance.upkeep().lease;
        // Not later than the ledger has begun to count.
        counts.renewed.set(sent);
        counts.members.set(roll.leases.len() as u64);
        counts.cores.set(roll.cores());
        let own = roll.leases.iter().find(|lease| lease.id == self.instance.id);
        let came = self.since_ms.is_none();
        self.since_ms = own.map(|lease| lease.since_ms);
        if came {
            tracing::info!(name = %self.instance.name, members = roll.leases.len(), "joined");
        } else if roll.is_new {
            tracing::info!("own lease was gone; joined again");
        }
        self.others.compare(&roll).iter().for_each(Change::log);
        Ok(())
    }

    /// Says once that it fails, and that it no longer does.
    fn note(&mut self, renewed: Result<(), LedgerError>) {
        let failed = std::mem::replace(&mut self.failing, renewed.is_err());
        match renewed {
            Ok(()) if failed => tracing::info!("own lease renewed again"),
            Err(error) => {
                self.instance.upkeep().lease.failures.add(1);
                if !failed {
                    tracing::warn!(%error, "own lease can't be renewed");
                }
                if error.to_string().contains("READONLY") {
                    // It is a replica now: a connection made anew finds the primary, or says so.
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

/// Who else was there, so that each coming and going is told once.
struct Others {
    id: MemberId,
    name: String,
    /// By id. `None`: nobody has looked yet.
    known: Option<HashMap<MemberId, Known>>,
    /// Until then, by the ledger's clock, who is missing may only have been forgotten, as we were.
    doubt_until_ms: u64,
}

struct Known {
    member: Member,
    /// The end of its lease, by the ledger's clock.
    ends_ms: u64,
    /// It has our name, and that was told.
    namesake: bool,
}

/// What is different from the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Came(Member),
    /// Before its lease was over: it said so itself.
    Left(Member),
    /// Its lease is over.
    Lapsed(Member),
    /// It has the name of this one.
    Namesake(Member),
}

impl Change {
    fn log(&self) {
        let (Self::Came(one) | Self::Left(one) | Self::Lapsed(one) | Self::Namesake(one)) = self;
        let (name, addresses) = (&one.name, one.addresses.join(" "));
        match self {
            Self::Came(_) => tracing::info!(%name, %addresses, "member joined"),
            Self::Left(_) => tracing::info!(%name, %addresses, "member left"),
            Self::Lapsed(_) => tracing::warn!(%name, %addresses, "member lease expired"),
            Self::Namesake(_) => {
                tracing::warn!(%name, %addresses, "member has the name of this one")
            }
        }
    }
}

impl Others {
    fn new(id: MemberId, name: String) -> Self {
        Self { id, name, known: None, doubt_until_ms: 0 }
    }

    /// Takes in who is there now, this one among them.
    fn compare(&mut self, roll: &Roll) -> Vec<Change> {
        let mut changes = Vec::new();
        let first = self.known.is_none();
        let known = self.known.get_or_insert_default();
        if roll.is_new && !first {
            self.doubt_until_ms = roll.now_ms + LEASE_MS;
        }
        let since_ms = roll.leases.iter().find(|lease| lease.id == self.id).map(|l| l.since_ms);
        for lease in roll.leases.iter().filter(|lease| lease.id != self.id) {
            let Lease { id, member, left_ms, .. } = lease;
            let ends_ms = roll.now_ms + left_ms;
            let one = known.entry(*id).or_insert_with(|| {
                if !first {
                    changes.push(Change::Came(member.clone()));
                }
                Known { member: member.clone(), ends_ms, namesake: false }
            });
            one.member.clone_from(member);
            one.ends_ms = ends_ms;
            // What was here before us under our name is what we were before a restart, unless it
            // still renews its lease.
            let renewed_ms = ends_ms.saturating_sub(LEASE_MS);
            let beside_us = since_ms.is_some_and(|since_ms| renewed_ms > since_ms);
            if member.name == self.name && beside_us && !one.namesake {
                one.namesake = true;
                changes.push(Change::Namesake(member.clone()));
            }
        }
        if roll.now_ms >= self.doubt_until_ms {
            let there = |id: &MemberId| roll.leases.iter().any(|lease| lease.id == *id);
            for (_, one) in known.extract_if(|id, _| !there(id)) {
                let left = roll.now_ms < one.ends_ms;
                changes.push(if left {
                    Change::Left(one.member)
                } else {
                    Change::Lapsed(one.member)
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

    /// A roll at this time, of members that came at some time and have some of their lease left.
    fn roll(now_ms: u64, members: &[(MemberId, &str, u64, u64)]) -> Roll {
        let lease = |&(id, name, since_ms, left_ms): &(MemberId, &str, u64, u64)| Lease {
            id,
            member: member(name),
            since_ms,
            left_ms,
        };
        Roll { now_ms, is_new: false, leases: members.iter().map(lease).collect() }
    }

    #[test]
    fn each_coming_and_going_is_told_once() {
        let [own, b, c, _] = ids();
        let mut others = Others::new(own, "a".to_owned());
        let new = Roll { is_new: true, ..roll(0, &[(own, "a", 0, 5000), (b, "b", 0, 4000)]) };
        assert_eq!(others.compare(&new), []);
        let all = [(own, "a", 0, 5000), (b, "b", 0, 5000), (c, "c", 6000, 5000)];
        assert_eq!(others.compare(&roll(6000, &all)), [Change::Came(member("c"))]);
        assert_eq!(others.compare(&roll(7000, &all)), []);
        // Both are missing before their leases are over: they have left.
        let mut left = others.compare(&roll(8000, &all[..1]));
        left.sort_by_key(|change| format!("{change:?}"));
        assert_eq!(left, [Change::Left(member("b")), Change::Left(member("c"))]);
        assert_eq!(others.compare(&roll(9000, &all[..1])), []);
        assert_eq!(others.compare(&roll(10_000, &all[..2])), [Change::Came(member("b"))]);
        let late = [(own, "a", 0, 5000), (b, "b", 0, 1)];
        assert_eq!(others.compare(&roll(14_999, &late)), []);
        assert_eq!(others.compare(&roll(15_500, &late[..1])), [Change::Lapsed(member("b"))]);
    }

    #[test]
    fn a_ledger_that_forgot_everybody_took_nobody_away() {
        let [own, b, c, _] = ids();
        let mut others = Others::new(own, "a".to_owned());
        let all = [(own, "a", 0, 5000), (b, "b", 0, 5000), (c, "c", 0, 5000)];
        others.compare(&Roll { is_new: true, ..roll(0, &all) });
        assert_eq!(others.compare(&Roll { is_new: true, ..roll(9000, &all[..1]) }), []);
        assert_eq!(others.compare(&roll(10_000, &all[..2])), []);
        // The one that has not come back by then is gone.
        assert_eq!(others.compare(&roll(14_000, &all[..2])), [Change::Lapsed(member("c"))]);
    }

    #[test]
    fn a_namesake_is_told_unless_it_is_what_we_were() {
        let [own, before, twin, _] = ids();
        let mut others = Others::new(own, "a".to_owned());
        let first = [(own, "a", 1000, 5000), (before, "a", 0, 4500), (twin, "a", 500, 4990)];
        assert_eq!(others.compare(&Roll { is_new: true, ..roll(1000, &first) }), []);
        let then = [(own, "a", 1000, 5000), (before, "a", 0, 3500), (twin, "a", 500, 4990)];
        assert_eq!(others.compare(&roll(2000, &then)), [Change::Namesake(member("a"))]);
        let last = [(own, "a", 1000, 5000), (before, "a", 0, 2500), (twin, "a", 500, 4990)];
        assert_eq!(others.compare(&roll(3000, &last)), []);
    }
}
