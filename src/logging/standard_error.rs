//! Replaces standard error by a pipe, so that no writer waits or fails.
//!
//! Descriptor 2 may lead to a full disk, a pipe whose reader has ended, or a pipe whose reader
//! hangs. A thread that writes there itself would fail (`eprintln!` panics) or wait for ever, and
//! its core with it. Our own lines go through the queue, but libraries write too: `may` and the
//! standard library before they abort, and perhaps others. So the real standard error is kept under
//! another descriptor that only the writer knows. Descriptor 2 becomes a pipe, which a thread reads
//! into the same queue.
//!
//! The pipe is blocking on purpose. Its reader only copies, and waits for nothing outside this
//! process, so a write ends as soon as that thread has run. A non-blocking write would fail when
//! the pipe is full, and `eprintln!` would panic again. Lines are dropped, and counted, only after
//! the pipe.
//!
//! The message of an abort (out of memory, a panic during a panic) is in the pipe when the process
//! dies. So the handler of SIGABRT gives the two threads a short, bounded time before it kills the
//! process.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::dup2_stderr;
use signal_hook::consts::SIGABRT;
use signal_hook::low_level;

use super::queue::{Queue, Writer};
use crate::limits::{LAST_WORDS_MS, LOG_WRITE_BYTES};

/// The real standard error, once it was replaced.
static REAL: OnceLock<OwnedFd> = OnceLock::new();
/// Time for the last output of a dying thread to reach the queue.
const ABORT_PAUSE: Duration = Duration::from_millis(20);

/// The real standard error, if descriptor 2 is our pipe.
pub fn real() -> Option<BorrowedFd<'static>> {
    REAL.get().map(OwnedFd::as_fd)
}

/// Puts the queue in front of standard error. Call it once. Output of other writers goes through
/// `prepare`. `report` logs lost lines.
pub(super) fn take(
    queue: &'static Queue,
    prepare: fn(&[u8]) -> Vec<u8>,
    report: impl FnMut(u64) + Send + 'static,
) -> io::Result<()> {
    let real = fcntl_dupfd_cloexec(io::stderr(), 3)?;
    let sink = Sink(File::from(real.try_clone()?));
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let write = move || Writer::new(queue, sink, report).run();
    thread::Builder::new().name("log".into()).spawn(write)?;
    let read = move || forward(File::from(reader), queue, prepare);
    thread::Builder::new().name("stderr".into()).spawn(read)?;
    dup2_stderr(&writer)?;
    let _ = REAL.set(real);
    let on_abort = || {
        let until = Instant::now() + Duration::from_millis(LAST_WORDS_MS);
        thread::sleep(ABORT_PAUSE);
        while !queue.is_idle() && Instant::now() < until {
            thread::sleep(ABORT_PAUSE);
        }
        let _ = low_level::emulate_default_handler(SIGABRT);
    };
    // SAFETY: the handler reads atomics and the clock and sleeps; it takes no lock and allocates
    // nothing. The other threads run on meanwhile.
    unsafe { low_level::register(SIGABRT, on_abort) }.map(drop)
}

/// Copies the pipe's output to the queue, line by line.
fn forward(mut pipe: File, queue: &Queue, prepare: fn(&[u8]) -> Vec<u8>) {
    let mut text = Vec::with_capacity(2 * LOG_WRITE_BYTES);
    let mut buffer = [0; LOG_WRITE_BYTES];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(_) => continue,
        }
        // A line may come in several writes; one that is too long, or has no end, is copied as it
        // is.
        if let Some(end) = memchr::memrchr(b'\n', &text) {
            queue.push(&prepare(&text[..=end]));
            text.drain(..=end);
        } else if text.len() >= LOG_WRITE_BYTES {
            text.push(b'\n');
            queue.push(&prepare(&text));
            text.clear();
        }
    }
}

/// The real standard error. If another process has made it non-blocking, writing polls.
struct Sink(File);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut ready = [PollFd::new(&self.0, PollFlags::OUT)];
                    poll(&mut ready, None)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
