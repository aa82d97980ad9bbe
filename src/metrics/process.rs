//! Metrics of the process, under their usual names, and of its allocator.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::writer::MetricsWriter;
use crate::allocator;

/// Metrics of the process, under their usual names.
#[derive(Debug)]
pub(super) struct Process {
    started_s: f64,
}

impl Process {
    /// Of a process that starts now.
    pub(super) fn started_now() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started_s: started.as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metrics = MetricsWriter(encoder);
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let used_s = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
        metrics.counter("process_cpu", "CPU time used.", Some(Unit::Seconds), used_s)?;
        metrics.gauge_of(
            "process_start_time",
            "Start time of the process, since 1970.",
            Some(Unit::Seconds),
            self.started_s,
        )?;
        if let Some(memory) = Memory::now() {
            let bytes = Some(Unit::Bytes);
            let help = "Memory in use.";
            metrics.gauge_of("process_resident_memory", help, bytes.clone(), memory.resident)?;
            let help = "Address space in use.";
            metrics.gauge_of("process_virtual_memory", help, bytes, memory.address_space)?;
        }
        let most = getrlimit(Resource::As).current.unwrap_or(u64::MAX);
        metrics.gauge_of(
            "process_virtual_memory_max",
            "Maximum address space.",
            Some(Unit::Bytes),
            most as f64,
        )?;
        if let Some(open) = open_descriptors() {
            metrics.gauge("process_open_fds", "Open descriptors.", open)?;
        }
        let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        metrics.gauge("process_max_fds", "Maximum number of open descriptors.", most)?;
        let committed = allocator::committed();
        metrics.gauge_of(
            "stampede_allocator_committed",
            "Memory that the allocator has from the system.",
            Some(Unit::Bytes),
            committed.now_bytes as f64,
        )?;
        metrics.gauge_of(
            "stampede_allocator_committed_max",
            "Maximum of the memory that the allocator had from the system.",
            Some(Unit::Bytes),
            committed.max_bytes as f64,
        )
    }
}

/// The memory of a process, in bytes.
struct Memory {
    address_space: f64,
    resident: f64,
}

impl Memory {
    fn now() -> Option<Self> {
        let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
        let mut pages = pages.split_whitespace();
        let page_bytes = rustix::param::page_size() as u64;
        let mut bytes = || Some((pages.next()?.parse::<u64>().ok()? * page_bytes) as f64);
        Some(Self { address_space: bytes()?, resident: bytes()? })
    }
}

/// Linux 6.2 and later report the number. Earlier ones list the descriptors, which takes about a
/// millisecond for 2,000.
fn open_descriptors() -> Option<u64> {
    let told = std::fs::metadata("/proc/self/fd").ok().map(|folder| folder.len());
    if let Some(open @ 1..) = told {
        return Some(open);
    }
    listed_descriptors()
}

fn listed_descriptors() -> Option<u64> {
    let listed = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // The descriptor of the list itself is among them.
    Some(listed.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_counted_alike_by_old_and_new_kernels() {
        // Other tests open and close descriptors meanwhile.
        let file = std::fs::File::open("/proc/self/stat").expect("a descriptor");
        let same = (0..1_000).any(|_| {
            let (told, listed) = (open_descriptors(), listed_descriptors());
            told.is_some_and(|open| open >= 4) && told == listed
        });
        assert!(same);
        drop(file);
    }
}
