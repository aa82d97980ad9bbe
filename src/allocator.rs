//! The allocator's memory.

use std::ptr::null_mut;

/// Memory that the allocator may use without a system call, whether in use or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Now.
    pub now_bytes: u64,
    /// The maximum so far.
    pub max_bytes: u64,
}

/// The current values. All 0 in a program with another allocator.
pub fn committed() -> Committed {
    let (mut now, mut max) = (0usize, 0usize);
    // SAFETY: each pointer is null, which is allowed, or points to a `usize` of this stack that lives
    // until the call returns. The call keeps none of them and may be made by any thread.
    unsafe {
        libmimalloc_sys::mi_process_info(
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            null_mut(),
            &raw mut now,
            &raw mut max,
            null_mut(),
        );
    }
    // Another thread may have added to it, and not have updated the maximum yet.
    Committed { now_bytes: now as u64, max_bytes: max.max(now) as u64 }
}
