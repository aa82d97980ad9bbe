//! Bounds what a parser may use: memory, counted by the allocator of the tests, and processor time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Far more than any target takes, also in a debug build: it finds work that grows too fast. The time
/// of the thread, so that a busy machine fails nothing.
const TIME_MAX: Duration = Duration::from_secs(20);

thread_local! {
    /// Bytes that this thread has allocated and not freed. Negative: it has freed those of others.
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    /// The maximum of it since a check began.
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn add(bytes: usize) {
        let live = LIVE_BYTES.get() + bytes as isize;
        LIVE_BYTES.set(live);
        PEAK_BYTES.set(PEAK_BYTES.get().max(live));
    }

    fn remove(bytes: usize) {
        LIVE_BYTES.set(LIVE_BYTES.get() - bytes as isize);
    }
}

// SAFETY: passes everything to the system's allocator unchanged. Counting touches only thread-locals
// that need neither room nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Self::add(bytes);
        Self::remove(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(memory, layout, bytes) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        Self::remove(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The time that a processor has spent on this thread.
fn processor_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Runs a parser, which may allocate this many bytes at a time. Bounds must not be nested.
pub fn bounded<T>(bytes_max: usize, parse: impl FnOnce() -> T) -> T {
    let (before, began) = (LIVE_BYTES.get(), processor_time());
    PEAK_BYTES.set(before);
    let parsed = parse();
    let (used, took) = (PEAK_BYTES.get() - before, processor_time() - began);
    assert!(used <= bytes_max as isize, "{used} bytes allocated, more than {bytes_max}");
    assert!(took <= TIME_MAX, "it took {took:?}");
    parsed
}

#[test]
fn a_parser_that_allocates_too_much_is_found() {
    let fill = |bytes: usize| std::hint::black_box(vec![0u8; bytes]).len();
    assert_eq!(bounded(100, || fill(100)), 100);
    assert!(std::panic::catch_unwind(|| bounded(100, || fill(101))).is_err());
    let grow = || (0..101u8).for_each(|byte| std::hint::black_box(vec![byte]).push(byte));
    bounded(100, grow);
}
