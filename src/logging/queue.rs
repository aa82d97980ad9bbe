//! The queue of log lines for standard error: any thread appends, one thread writes. The sink may
//! fail or hang.
//!
//! The queue is bounded in bytes. Lines that do not fit are dropped and counted; the oldest stay,
//! since they show how the trouble began. The mutex is held only to copy bytes, never during a
//! write.

use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::limits::{LOG_QUEUE_BYTES_MAX, LOG_WRITE_BYTES};
use crate::output::write_all_counted;

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Bytes in the queue or being written.
    pending_bytes: AtomicUsize,
    /// Lines that were dropped or could not be written, since the start.
    lost: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Lines dropped for lack of room since the writer took the last ones.
    dropped: u64,
}

impl Queue {
    /// Appends whole lines, or drops them. Never waits for the writer.
    pub fn push(&self, lines: &[u8]) {
        self.append(lines, LOG_QUEUE_BYTES_MAX);
    }

    /// Appends the last words of a process, even beyond the bound.
    pub fn push_last(&self, words: &[u8]) {
        self.append(words, usize::MAX);
    }

    fn append(&self, lines: &[u8], bytes_max: usize) {
        let mut waiting = self.lock();
        if waiting.lines.len().saturating_add(lines.len()) > bytes_max {
            waiting.dropped += count(lines);
            self.lost.fetch_add(count(lines), Ordering::Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(lines);
        self.pending_bytes.fetch_add(lines.len(), Ordering::SeqCst);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Lines that standard error did not take, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything is written or lost, at most for this time. False: something is left.
    pub fn flush(&self, time: Duration) -> bool {
        let busy = |_: &mut Waiting| !self.is_idle();
        let waited = self.changed.wait_timeout_while(self.lock(), time, busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Whether nothing is pending. Takes no lock, so a signal handler may call it.
    pub fn is_idle(&self) -> bool {
        self.pending_bytes.load(Ordering::SeqCst) == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for lines and swaps them with the empty buffer. Returns the number of dropped lines.
    fn take(&self, empty: &mut Vec<u8>) -> u64 {
        let none = |waiting: &mut Waiting| waiting.lines.is_empty();
        let waited = self.changed.wait_while(self.lock(), none);
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut waiting.lines, empty);
        std::mem::take(&mut waiting.dropped)
    }

    fn wrote(&self, bytes: usize) {
        let guard = self.lock();
        self.pending_bytes.fetch_sub(bytes, Ordering::SeqCst);
        drop(guard);
        self.changed.notify_all();
    }
}

/// The writing thread: the only one that waits for the sink.
pub(super) struct Writer<'a, W, R> {
    queue: &'a Queue,
    sink: W,
    /// Logs how many lines were lost.
    report: R,
    /// Lines lost since the last report.
    lost: u64,
    /// Lost lines in a report that may still be lost itself.
    reported: u64,
    /// The sink has the beginning of a line: a full disk cuts anywhere.
    torn: bool,
}

impl<'a, W: Write, R: FnMut(u64)> Writer<'a, W, R> {
    pub fn new(queue: &'a Queue, sink: W, report: R) -> Self {
        Self { queue, sink, report, lost: 0, reported: 0, torn: false }
    }

    /// Writes lines for ever.
    pub fn run(mut self) -> ! {
        let mut lines = Vec::new();
        loop {
            self.step(&mut lines);
        }
    }

    /// Waits for lines, and writes or loses them.
    fn step(&mut self, lines: &mut Vec<u8>) {
        lines.clear();
        self.lost += self.queue.take(lines);
        let failed = pieces(lines).filter(|piece| !self.write(piece)).count();
        if failed == 0 {
            self.reported = 0;
            if self.lost != 0 {
                self.reported = std::mem::take(&mut self.lost);
                (self.report)(self.reported);
            }
        } else {
            self.lost += std::mem::take(&mut self.reported);
        }
        self.queue.wrote(lines.len());
    }

    fn write(&mut self, piece: &[u8]) -> bool {
        if self.torn {
            self.torn = write_all_counted(&mut self.sink, b"\n").1.is_err();
        }
        if self.torn {
            self.lose(piece);
            return false;
        }
        let (done, result) = write_all_counted(&mut self.sink, piece);
        self.lose(&piece[done..]);
        self.torn = result.is_err() && piece[..done].last().is_some_and(|&byte| byte != b'\n');
        result.is_ok()
    }

    fn lose(&mut self, lines: &[u8]) {
        let lost = count(lines);
        self.lost += lost;
        self.queue.lost.fetch_add(lost, Ordering::Relaxed);
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Splits into groups of whole lines that one write to a pipe keeps together, whatever others write
/// to it.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let window = &lines[..lines.len().min(LOG_WRITE_BYTES)];
        let end = memchr::memrchr(b'\n', window).or_else(|| memchr::memchr(b'\n', lines));
        let (piece, rest) = lines.split_at(end.map_or(lines.len(), |end| end + 1));
        lines = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io;

    use super::*;

    /// A disk with this much room.
    struct Disk<'a>(&'a RefCell<Vec<u8>>, &'a Cell<usize>);

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.1.get());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.borrow_mut().extend_from_slice(&bytes[..fits]);
            self.1.set(self.1.get() - fits);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_and_reported() {
        let (queue, disk, room) = (Queue::default(), RefCell::default(), Cell::new(8));
        let report = |lost| queue.push(format!("lost {lost}\n").as_bytes());
        let mut writer = Writer::new(&queue, Disk(&disk, &room), report);
        let mut lines = Vec::new();
        queue.push(b"first\n");
        queue.push(b"second\nthird\n");
        writer.step(&mut lines);
        assert!(queue.is_idle());
        assert_eq!(*disk.borrow(), b"first\nse");
        queue.push(b"fourth\n");
        writer.step(&mut lines);
        // The report itself does not fit.
        room.set("\nfifth\n".len());
        queue.push(b"fifth\n");
        writer.step(&mut lines);
        writer.step(&mut lines);
        room.set(1000);
        queue.push(b"sixth\n");
        writer.step(&mut lines);
        writer.step(&mut lines);
        assert!(queue.is_idle() && queue.flush(Duration::ZERO));
        assert_eq!(queue.lost(), 4);
        // Three lines, and the report of them.
        let written = String::from_utf8(disk.take()).expect("text");
        assert_eq!(written, "first\nse\nfifth\nsixth\nlost 4\n");
    }

    #[test]
    fn a_stalled_sink_costs_bounded_memory_and_the_newest_lines() {
        let queue = Queue::default();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let fit = LOG_QUEUE_BYTES_MAX / line.len();
        for _ in 0..fit + 7 {
            queue.push(&line);
        }
        queue.push_last(b"error: the end\n");
        assert!(!queue.flush(Duration::ZERO), "it waits for the writer, and not for ever");
        let (disk, room) = (RefCell::default(), Cell::new(usize::MAX));
        let reported = Cell::new(0);
        let mut writer = Writer::new(&queue, Disk(&disk, &room), |lost| reported.set(lost));
        writer.step(&mut Vec::new());
        assert_eq!(disk.borrow().len(), fit * line.len() + "error: the end\n".len());
        assert_eq!((reported.get(), queue.lost()), (7, 7));
        assert!(queue.flush(Duration::ZERO));
    }

    #[test]
    fn lines_are_written_whole() {
        let long = [b"y".repeat(2 * LOG_WRITE_BYTES), b"\n".to_vec()].concat();
        let lines = [&b"a\nb\n"[..], &long, b"c\n", b"no end"].concat();
        let pieces: Vec<&[u8]> = pieces(&lines).collect();
        assert_eq!(pieces, [&b"a\nb\n"[..], &long, b"c\n", b"no end"]);
    }
}
