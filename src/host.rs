//! What the machine and whoever started the process allow: cores, open files, memory maps.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// What the process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The processor cores of its affinity mask, ascending; at least one.
    pub cores: Vec<usize>,
    /// Files it may have open once [`raise_file_limit`] is done.
    pub file_limit: u64,
    /// Memory maps it may have: `vm.max_map_count`.
    pub maps_max: usize,
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
        let maps_max = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(limits::MAPS_MAX_DEFAULT);
        Self { cores, file_limit, maps_max }
    }

    /// Requests of each of so many cores that may wait for the ledger, each with a stack of its own:
    /// three quarters of the memory maps are for stacks, and the allocator must not find them used up.
    pub fn waiting_max(&self, cores: usize) -> usize {
        // One more stack is the leader's.
        let stacks = self.maps_max / 4 * 3 / limits::MAPS_PER_STACK / cores.max(1);
        stacks.saturating_sub(1).clamp(1, limits::WAITING_SETTING_MAX)
    }

    /// The memory maps with which so many may wait on each of so many cores.
    pub fn maps_for_waiting(&self, waiting: usize, cores: usize) -> usize {
        ((waiting + 1) * cores * limits::MAPS_PER_STACK).div_ceil(3) * 4
    }

    /// Connections that the file limit leaves room for on this many cores, with a ledger of many
    /// nodes or of one. 0: none.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_has_cores_and_files() {
        let host = Host::of_process();
        assert!(!host.cores.is_empty() && host.cores.is_sorted());
        assert!(raise_file_limit().unwrap() <= host.file_limit);
    }

    #[test]
    fn connections_leave_a_reserve() {
        let host = |file_limit| Host { cores: vec![0], file_limit, maps_max: 65_530 };
        assert_eq!(host(64).connections_max(1, false), 0);
        assert_eq!(host(1024).connections_max(2, false), 1024 - 64 - 16);
        assert_eq!(host(1024).connections_max(2, true), 1024 - 64 - 16 - (2 + 4) * 16);
        assert_eq!(host(u64::MAX).connections_max(1, true), limits::CONNECTIONS_MAX);
    }

    #[test]
    fn the_kernels_default_lets_a_crowd_wait_on_any_number_of_cores() {
        let host = |maps_max| Host { cores: vec![0], file_limit: 1024, maps_max };
        for cores in [1, 2, 16, 64] {
            let waiting = host(limits::MAPS_MAX_DEFAULT).waiting_max(cores);
            // All but what the busiest sale leaves to others.
            let one_sale = waiting * limits::WAITING_SHARE / (limits::WAITING_SHARE + 1);
            assert!(cores * one_sale > 20_000, "{cores} cores: {waiting} each");
        }
        let maps_max = host(0).maps_for_waiting(30_000, 3);
        assert!(host(maps_max).waiting_max(3) >= 30_000);
        assert_eq!(host(0).waiting_max(1), 1);
        assert_eq!(host(usize::MAX).waiting_max(1), limits::WAITING_SETTING_MAX);
    }
}
