//! Standard error, taken out of everybody's hands.
//!
//! Behind descriptor 2 there may be a full disk, a pipe whose reader is gone, or one whose reader
//! stands still. Whoever writes there himself fails (`eprintln!` panics) or waits for ever, and with
//! him his core. Our own lines go through the queue. But libraries write too: `may` and the standard
//! library before they abort, and who knows which other. So the real standard error is kept under another descriptor, known to
//! the writer alone, and descriptor 2 is a pipe that a thread reads into the same queue.
//!
//! The pipe blocks on purpose. Its reader only copies, and waits for nothing outside this process,
//! so a write to it ends as soon as that thread has run; one that did not block would fail when the
//! pipe is full, and `eprintln!` would panic again. What is dropped is dropped behind it, and counted.
//!
//! What an abort says (out of memory, a panic while another unwinds) is then in the pipe when the
//! process dies. So SIGABRT gives the two threads a moment, bounded, before it kills.

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

/// The real one, once it is taken.
static REAL: OnceLock<OwnedFd> = OnceLock::new();
/// Time for what a dying thread wrote to reach the queue.
const ABORT_PAUSE: Duration = Duration::from_millis(20);

/// Where standard error really goes, if descriptor 2 is our pipe.
pub fn real() -> Option<BorrowedFd<'static>> {
    REAL.get().map(OwnedFd::as_fd)
}

/// Puts the queue between everybody and standard error. To be called once. What others write there goes
/// through `prepare`. `report` logs lost lines.
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

/// Copies what comes through the pipe to the queue, line by line.
fn forward(mut pipe: File, queue: &Queue, prepare: fn(&[u8]) -> Vec<u8>) {
    let mut text = Vec::with_capacity(2 * LOG_WRITE_BYTES);
    let mut buffer = [0; LOG_WRITE_BYTES];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(_) => continue,
        }
        // A line comes in several writes; one that is too long, or has no end, goes as it is.
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

/// The real standard error. Waits where somebody who shares it has made it one that does not.
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
