//! What the machine and the process' limits allow: cores and open files.

use std::io;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;

use crate::limits;

/// What the process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The processor cores of its affinity mask, ascending; at least one.
    pub cores: Vec<usize>,
    /// Number of cores that the quota of its control group allows (`cpu.max`, or `cpu.cfs_quota_us`
    /// of version 1), rounded down, at least one; all cores without a quota. With more workers, all
    /// of them would be stopped for the rest of each period.
    pub cores_paid: usize,
    /// Maximum number of open files after [`raise_file_limit`].
    pub file_limit: u64,
}

impl Host {
    /// What this process may use.
    pub fn of_process() -> Self {
        let mut cores: Vec<usize> = core_affinity::get_core_ids()
            .map(|ids| ids.into_iter().map(|id| id.id).collect())
            .unwrap_or_default();
        cores.sort_unstable();
        if cores.is_empty() {
            cores.extend(0..num_cpus::get());
        }
        let file_limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        // It reads the quota of the control group and of its parents, of both versions.
        let paid = std::thread::available_parallelism().map_or(cores.len(), usize::from);
        Self { cores_paid: paid.min(cores.len()), cores, file_limit }
    }

    /// The cores that a server uses by default.
    pub fn default_cores(&self) -> &[usize] {
        &self.cores[..self.cores_paid.clamp(1, self.cores.len())]
    }

    /// Number of connections that the file limit leaves room for on this many cores, with a ledger
    /// of many nodes or of one. 0: none.
    pub fn connections_max(&self, cores: usize, many_nodes: bool) -> u64 {
        let nodes = if many_nodes { limits::DESCRIPTORS_RESERVE_CLUSTER } else { 0 };
        let per_core = limits::DESCRIPTORS_RESERVE_PER_CORE + nodes;
        let reserve = limits::DESCRIPTORS_RESERVE
            .saturating_add(limits::CLUSTER_CLIENTS * nodes)
            .saturating_add(per_core.saturating_mul(cores as u64));
        self.file_limit.saturating_sub(reserve).min(limits::CONNECTIONS_MAX)
    }
}

/// Raises the process' soft limit on open files to its hard limit, and returns it.
pub fn raise_file_limit() -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum.unwrap_or(u64::MAX))
}

/// Does the work at the start that would otherwise stall a core while it serves, for a process with
/// up to this many connections.
///
/// # Errors
/// The system refuses it. The process can continue.
pub fn avoid_stalls(connections_max: u64) -> io::Result<()> {
    // Clearing a huge page at its first touch takes milliseconds, for which all requests of the
    // core wait.
    disable_transparent_huge_pages(true)?;
    // The table of descriptors doubles when it is full, and the thread that opens the next
    // descriptor waits until every processor has noticed. Opening one high descriptor gives the
    // table its final size.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let last = connections_max.saturating_mul(2).min(limit).saturating_sub(1);
    let descriptor = eventfd(0, EventfdFlags::CLOEXEC)?;
    fcntl_dupfd_cloexec(&descriptor, i32::try_from(last).unwrap_or(i32::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_cores_and_files() {
        let host = Host::of_process();
        assert!(!host.cores.is_empty() && host.cores.is_sorted());
        assert!((1..=host.cores.len()).contains(&host.cores_paid));
        assert_eq!(host.default_cores().len(), host.cores_paid);
        assert!(raise_file_limit().unwrap() <= host.file_limit);
    }

    #[test]
    fn connections_leave_a_reserve_of_descriptors() {
        let host = |file_limit| Host { cores: vec![0], cores_paid: 1, file_limit };
        assert_eq!(host(64).connections_max(1, false), 0);
        assert_eq!(host(1024).connections_max(2, false), 1024 - 64 - 16);
        assert_eq!(host(1024).connections_max(2, true), 1024 - 64 - 16 - (2 + 4) * 16);
        assert_eq!(host(u64::MAX).connections_max(1, true), limits::CONNECTIONS_MAX);
    }
}
