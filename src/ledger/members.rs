//! The members of a fleet: the servers that share a ledger, each with a lease in it.
//!
//! A member that does not renew its lease is gone. Nothing of the stock waits for that: what a
//! server holds for its buyers is in the ledger, and an allowance is only a permission to ask.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::format::FORMAT_0_1_0;
use crate::limits::MEMBER_CORES_MAX;

/// Tells a member from every other: drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(u128);

impl MemberId {
    /// An id that nobody else draws.
    pub fn random() -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the kernel gives random numbers");
        Self(u128::from_le_bytes(random))
    }

    /// Reads what [`Display`](fmt::Display) has written.
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

/// What a server says of itself. Members of other versions may say less or more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// What people know it by. Two have the same by mistake only.
    pub name: String,
    /// What it listens on.
    pub addresses: Vec<String>,
    /// How many cores it runs on.
    pub cores: u64,
    /// Its version of stampede.
    pub version: String,
    /// The latest [format](super::format) that it reads. 0: it is of a version that did not say so.
    pub reads: u32,
    /// What it does.
    pub state: MemberState,
    /// What it may still ask for, over all sales that it was asked for.
    pub allowance: u64,
}

/// What a member does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It serves.
    Ready,
    /// It was told to end: nobody should be sent to it.
    Draining,
    /// Something that this version has no word for.
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
    /// Which one.
    pub id: MemberId,
    /// What it says of itself.
    pub member: Member,
    /// When it came, in ms since 1970 by the ledger's clock.
    pub since_ms: u64,
    /// How long its lease is still good.
    pub left_ms: u64,
}

/// The members at one point in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roll {
    /// The ledger's time, in ms since 1970.
    pub now_ms: u64,
    /// The lease that was renewed had not been there: it is new, or had ended.
    pub is_new: bool,
    /// In the order of their names.
    pub leases: Vec<Lease>,
}

impl Roll {
    /// Why nothing of this format may be written: a member does not read it.
    pub fn in_the_way(&self, format: u32) -> Option<String> {
        let reads = |member: &Member| member.reads.max(FORMAT_0_1_0);
        let mut members = self.leases.iter().map(|lease| &lease.member);
        let Member { name, version, .. } = members.find(|member| reads(member) < format)?;
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

    /// The cores of all members together. One that claims more than any machine has is not believed:
    /// it would leave the others without a share.
    pub fn cores(&self) -> u64 {
        self.leases.iter().map(|lease| lease.member.cores.clamp(1, MEMBER_CORES_MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        for id in [MemberId(0), MemberId(0xabc), MemberId(u128::MAX), MemberId::random()] {
            assert_eq!(MemberId::from_text(&id.to_string()), Some(id));
        }
        for bad in ["", "1", "+0000000000000000000000000000000", &"g".repeat(32), &"0".repeat(33)] {
            assert_eq!(MemberId::from_text(bad), None, "{bad}");
        }
    }

    #[test]
    fn nobody_has_so_many_cores_that_the_others_have_no_share() {
        let lease = |cores| Lease {
            id: MemberId(1),
            member: Member { cores, ..Member::default() },
            since_ms: 1,
            left_ms: 1,
        };
        let leases = vec![lease(u64::MAX), lease(0), lease(2)];
        assert_eq!(Roll { leases, ..Roll::default() }.cores(), MEMBER_CORES_MAX + 3);
    }

    #[test]
    fn what_other_versions_say_is_read_as_far_as_it_is_known() {
        let text = r#"{"name":"a","cores":3,"state":"dancing","shoes":["red"]}"#;
        let member: Member = serde_json::from_str(text).unwrap();
        assert_eq!((member.name.as_str(), member.cores, member.allowance), ("a", 3, 0));
        assert_eq!(member.state, MemberState::Unknown);
    }

    #[test]
    fn who_says_nothing_of_formats_reads_the_first() {
        let lease = |name: &str, reads| Lease {
            id: MemberId(1),
            member: Member { name: name.to_owned(), reads, ..Member::default() },
            since_ms: 1,
            left_ms: 1,
        };
        let roll = |leases| Roll { leases, ..Roll::default() };
        let old = roll(vec![lease("new", 2), lease("old", 0)]);
        assert!(old.in_the_way(2).expect("one").contains("server old"));
        assert_eq!((old.in_the_way(1), old.reads()), (None, 1));
        assert_eq!(roll(vec![lease("new", 2), lease("newer", 3)]).reads(), 2);
        assert_eq!(roll(vec![lease("new", 2), lease("newer", 3)]).in_the_way(2), None);
    }
}
