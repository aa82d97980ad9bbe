//! Servers as the control port shows them.

use serde::Serialize;

use crate::clock::rfc3339;
use crate::ledger::format::FORMAT_0_1_0;
use crate::ledger::members::{Lease, Member, MemberId};
use crate::members::Instance;

/// A server that shares a ledger.
#[derive(Serialize)]
pub(super) struct InstanceJson {
    id: String,
    name: String,
    addresses: Vec<String>,
    cores: u64,
    version: String,
    /// The latest format of a sale that it reads.
    reads: u32,
    state: &'static str,
    allowance: u64,
    since: String,
    /// What is left of its lease. `None`: it needs none.
    lease_ms: Option<u64>,
}

/// A member of a fleet.
pub(super) fn leased(lease: &Lease) -> InstanceJson {
    shown(lease.id, lease.member.clone(), lease.since_ms, Some(lease.left_ms))
}

/// This server, which has its ledger for itself.
pub(super) fn alone(instance: &Instance) -> InstanceJson {
    shown(instance.id(), instance.member(), instance.started_ms(), None)
}

fn shown(id: MemberId, member: Member, since_ms: u64, lease_ms: Option<u64>) -> InstanceJson {
    let Member { name, addresses, cores, version, reads, state, allowance } = member;
    InstanceJson {
        id: id.to_string(),
        name,
        addresses,
        cores,
        version,
        reads: reads.max(FORMAT_0_1_0),
        state: state.as_str(),
        allowance,
        since: rfc3339(since_ms),
        lease_ms,
    }
}
