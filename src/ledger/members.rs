//! The members of a fleet: the servers that share a ledger, each with a lease in it.
//!
//! A member that does not renew its lease is gone. No stock depends on that: the ledger has
//! everything that a server holds for its buyers, and an allowance is only a permission to ask.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format::FORMAT_0_1_0;
use crate::limits::MEMBER_CORES_MAX;
use crate::random;

/// The random id of a member, drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u128);

impl MemberId {
    /// An id that nobody else draws.
    pub fn random() -> Self {
        let mut random = [0; 16];
        random::fill(&mut random).expect("the kernel gives random numbers");
        Self(u128::from_le_bytes(random))
    }

    /// Reads the output of [`Display`](fmt::Display).
    pub fn from_text(text: &str) -> Option<Self> {
        let is_ours = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| is_ours).map(Self)
    }
}

impl fmt::Display for MemberId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a server publishes about itself. Members of other versions may publish less or more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// The name by which people know it. Two members share a name only by mistake.
    pub name: String,
    /// The addresses that it listens on.
    pub addresses: Vec<String>,
    /// The number of its cores.
    pub cores: u64,
    /// Its version of stampede.
    pub version: String,
    /// The latest [format](super::format) that it reads. 0: its version did not publish this.
    pub reads: u32,
    /// What it does.
    pub state: MemberState,
    /// The allowance that it has left, over all sales that it knows.
    pub allowance: u64,
}

/// What a member does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It serves.
    Ready,
    /// It is shutting down: send it no new clients.
    Draining,
    /// A state that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl MemberState {
    /// Its public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Unknown => "unknown",
        }
    }
}

/// A member with its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: MemberId,
    /// What it publishes.
    pub member: Member,
    /// When it joined, in ms since 1970 by the ledger's clock.
    pub since_ms: u64,
    /// How long its lease is still valid.
    pub left_ms: u64,
}

/// The members at one point in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberList {
    /// The ledger's time, in ms since 1970.
    pub now_ms: u64,
    /// The renewed lease did not exist: it is new, or had expired.
    pub is_new: bool,
    /// In the order of their names.
    pub leases: Vec<Lease>,
}

impl MemberList {
    /// Why this format may not be written: a member does not read it.
    pub fn format_blocker(&self, format: u32) -> Option<String> {
        let reads = |member: &Member| member.reads.max(FORMAT_0_1_0);
        let Lease { id, member: Member { name, version, .. }, .. } =
            self.leases.iter().find(|lease| reads(&lease.member) < format)?;
        if name.is_empty() {
            return Some(format!(
                "The member {id} shares the ledger and does not publish what it reads, so this \
                 (format {format}) is not written: wait until its lease ends. Nothing changed."
            ));
        }
        Some(format!(
            "The server {name} shares the ledger, and its version {version} does not read what this \
             would write (format {format}): upgrade it, or wait until it is gone. Nothing changed."
        ))
    }

    /// The latest format that all members read.
    pub fn reads(&self) -> u32 {
        let reads = self.leases.iter().map(|lease| lease.member.reads.max(FORMAT_0_1_0));
        reads.min().unwrap_or(FORMAT_0_1_0)
    }

    /// The number of cores of all members together. The number of one member is bounded, so that a
    /// wrong one does not leave the others without a share.
    pub fn cores(&self) -> u64 {
        self.leases.iter().map(|lease| lease.member.cores.clamp(1, MEMBER_CORES_MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_ids_round_trip() {
        for id in [MemberId(0), MemberId(0xabc), MemberId(u128::MAX), MemberId::random()] {
            assert_eq!(MemberId::from_text(&id.to_string()), Some(id));
        }
        for bad in ["", "1", "+0000000000000000000000000000000", &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(MemberId::from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_member_that_blocks_a_format_is_named() {
        let blocker = |name: &str, reads| {
            let member =
                Member { name: name.into(), version: "0.1.9".into(), reads, ..Member::default() };
            let lease = Lease { id: MemberId(0xabc), member, since_ms: 0, left_ms: 1 };
            MemberList { now_ms: 0, is_new: false, leases: vec![lease] }.format_blocker(2)
        };
        assert_eq!(blocker("web2", 2), None);
        let named = blocker("web2", 0).expect("a blocker");
        assert!(named.contains("server web2") && named.contains("version 0.1.9"), "{named}");
        // Its text is missing or unreadable.
        let unnamed = blocker("", 0).expect("a blocker");
        assert!(unnamed.contains(&MemberId(0xabc).to_string()), "{unnamed}");
    }

    #[test]
    fn the_core_count_of_a_member_is_capped() {
        let lease = |cores| Lease {
            id: MemberId(1),
            member: Member { cores, ..Member::default() },
            since_ms: 1,
            left_ms: 1,
        };
        let leases = vec![lease(u64::MAX), lease(0), lease(2)];
        assert_eq!(MemberList { leases, ..MemberList::default() }.cores(), MEMBER_CORES_MAX + 3);
    }

    #[test]
    fn unknown_fields_and_states_of_a_member_are_tolerated() {
        let text = r#"{"name":"a","cores":3,"state":"dancing","shoes":["red"]}"#;
        let member: Member = serde_json::from_str(text).unwrap();
        assert_eq!((member.name.as_str(), member.cores, member.allowance), ("a", 3, 0));
        assert_eq!(member.state, MemberState::Unknown);
    }

    #[test]
    fn a_member_that_names_no_format_reads_the_first() {
        let lease = |name: &str, reads| Lease {
            id: MemberId(1),
            member: Member { name: name.to_owned(), reads, ..Member::default() },
            since_ms: 1,
            left_ms: 1,
        };
        let roll = |leases| MemberList { leases, ..MemberList::default() };
        let old = roll(vec![lease("new", 2), lease("old", 0)]);
        assert!(old.format_blocker(2).expect("one").contains("server old"));
        assert_eq!((old.format_blocker(1), old.reads()), (None, 1));
        assert_eq!(roll(vec![lease("new", 2), lease("newer", 3)]).reads(), 2);
        assert_eq!(roll(vec![lease("new", 2), lease("newer", 3)]).format_blocker(2), None);
    }
}
