//! A process's cores and descriptors.

use std::io;

use crate::error::{Because, Result, fail};

/// Descriptors of a process beside its connections.
const DESCRIPTORS_RESERVE: u64 = 200;
/// Descriptors of a program that only holds connections, beside them.
const DESCRIPTORS_FEW: u64 = 64;

/// Pins the calling thread, and so every thread and child it starts from now on, to one core.
pub fn to_core(core: usize) -> Result<()> {
    to_cores(&[core])
}

/// Lets the calling thread, and so every thread and child it starts from now on, run on these cores
/// only.
pub fn to_cores(cores: &[usize]) -> Result<()> {
    // SAFETY: a `cpu_set_t` is a plain array of integers, for which all zeros is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            return fail(format!("core {core}: beyond the largest core number"));
        }
        // SAFETY: `core` was checked against the size of the set just above.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set outlives the call, and its true size is passed; 0 is the calling thread.
    let done = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    check(done).because(|| format!("pinning to {cores:?}"))
}

/// Raises the limit on descriptors to the hard limit, for this process and its children, and returns
/// it.
pub fn raise_descriptor_limit() -> Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one `rlimit` to a place that is one.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the call reads one `rlimit`, which outlives it.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })
        .because(|| "raising the limit on descriptors".into())?;
    Ok(limit.rlim_cur)
}

/// Fails unless this process may hold this number of connections.
pub fn demand_connections(wanted: u32) -> Result<()> {
    let limit = raise_descriptor_limit()?;
    if u64::from(wanted) + DESCRIPTORS_FEW > limit {
        return fail(format!(
            "{wanted} connections exceed ulimit -Hn ({limit}) minus {DESCRIPTORS_FEW}"
        ));
    }
    Ok(())
}

/// The number of connections that this process may hold, at most `most`. Prints a line if it is fewer.
pub fn connections(most: u32) -> Result<u32> {
    let descriptors = raise_descriptor_limit()?.saturating_sub(DESCRIPTORS_RESERVE);
    let connections = u32::try_from(descriptors).unwrap_or(u32::MAX).min(most);
    if connections < most {
        println!("ulimit -Hn allows only {connections} of {most} connections");
    }
    Ok(connections)
}

fn check(returned: libc::c_int) -> io::Result<()> {
    if returned == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
