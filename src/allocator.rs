//! What the allocator has of the system's memory.

use std::ptr::null_mut;

/// Memory that the allocator may use without asking the system, what is in use and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Now.
    pub now_bytes: u64,
    /// The most that it was.
    pub max_bytes: u64,
}

/// As of now. All 0 in a program that has another allocator.
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
    // Another thread may have more by now, and not have noted yet that it is the most.
    Committed { now_bytes: now as u64, max_bytes: max.max(now) as u64 }
}
