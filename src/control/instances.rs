//! The JSON of servers at the control port.

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
    /// The latest sale format that it reads.
    reads: u32,
    state: &'static str,
    allowance: u64,
    since: String,
    /// Time left of its lease. `None`: it needs none.
    lease_ms: Option<u64>,
}

/// A member of a fleet.
pub(super) fn leased(lease: &Lease) -> InstanceJson {
    shown(lease.id, lease.member.clone(), lease.since_ms, Some(lease.left_ms))
}

/// The servers that share the ledger as of the last renewal of this server's lease, from memory, at
/// most `most`; or this one alone.
pub(super) fn known(instance: &Instance, most: usize) -> Vec<InstanceJson> {
    match instance.members() {
        Some((members, age)) => {
            let age_ms = age.as_millis() as u64;
            let left_ms = |lease: &Lease| lease.left_ms.saturating_sub(age_ms);
            let of =
                |lease: &Lease| InstanceJson { lease_ms: Some(left_ms(lease)), ..leased(lease) };
            members.leases.iter().take(most).map(of).collect()
        }
        None => vec![alone(instance)],
    }
}

/// This server, which does not share its ledger.
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
