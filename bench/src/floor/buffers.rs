//! Buffers from which an io_uring takes room for input, and which the program gives back after
//! reading.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

const PAGE_BYTES: usize = 4096;

/// A ring of buffers of one size. It lives as long as the process, like the io_uring.
pub struct BufferRing {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    buffers: u16,
    buffer_bytes: usize,
    tail: u16,
}

impl BufferRing {
    /// Registers `buffers` (a power of two) of `buffer_bytes` each as the group `group`.
    ///
    /// # Errors
    /// The kernel has no such rings (before 5.19) or no memory for this one.
    pub fn register(
        submitter: &Submitter<'_>,
        group: u16,
        buffers: u16,
        buffer_bytes: u32,
    ) -> io::Result<Self> {
        assert!(buffers.is_power_of_two());
        let entries: *mut BufRingEntry =
            zeroed(usize::from(buffers) * size_of::<BufRingEntry>()).cast();
        // SAFETY: the entries are page-aligned, as many as is said, and never freed.
        unsafe {
            submitter.register_buf_ring_with_flags(entries as u64, buffers, group, 0)?;
        }
        let buffer_bytes = buffer_bytes as usize;
        let memory = zeroed(usize::from(buffers) * buffer_bytes);
        let mut ring = Self { entries, memory, buffers, buffer_bytes, tail: 0 };
        (0..buffers).for_each(|id| ring.give_back(id));
        Ok(ring)
    }

    /// The first bytes of a buffer that the kernel has filled.
    pub fn filled(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < self.buffers && len <= self.buffer_bytes);
        // SAFETY: within the memory, as was just checked. The kernel doesn't write to a buffer
        // between its completion and `give_back`, which takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start(id), len) }
    }

    /// Gives the buffer back to the kernel.
    pub fn give_back(&mut self, id: u16) {
        assert!(id < self.buffers);
        let slot = usize::from(self.tail & (self.buffers - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the slot is one of the ring's; the kernel reads it only after the tail has passed
        // it, and the tail lies in the first entry (in a field that no buffer uses), for which an
        // AtomicU16 has the right size and alignment.
        unsafe {
            let entry = &mut *self.entries.add(slot);
            entry.set_addr(self.start(id) as u64);
            entry.set_len(self.buffer_bytes as u32);
            entry.set_bid(id);
            let tail = BufRingEntry::tail(self.entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    fn start(&self, id: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(id) * self.buffer_bytes)
    }
}

/// Pages of zeros that are never freed.
fn zeroed(bytes: usize) -> *mut u8 {
    let layout = Layout::from_size_align(bytes.max(1), PAGE_BYTES).expect("a size that fits");
    // SAFETY: the size is not zero.
    let memory = unsafe { alloc_zeroed(layout) };
    if memory.is_null() { handle_alloc_error(layout) } else { memory }
}
