//! The stat log: the article's line for each purchase attempt, `result:1,localSales:N` if it was
//! granted and `result:0,localSales:N` if not, where N is the number that this instance has granted
//! so far. If the request has an id or trace, `,requestId:…,traceparent:…` follows.
//!
//! A purchase must never wait for a disk. So each core formats lines into its own buffer and hands
//! full buffers to one writer thread through a bounded channel. Empty buffers come back for reuse.
//! If the file can't keep up and all buffers of a core are on their way, lines are dropped and
//! counted. Lines of different cores may be out of order.
//!
//! Architecture invariant: nothing here knows what a purchase is, and nothing blocks but the writer
//! thread and [`StatLog::close`].

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::limits::{
    STAT_LOG_BUFFER_BYTES, STAT_LOG_BUFFERS_PER_CORE, STAT_LOG_LINE_BYTES_MAX, STAT_LOG_QUEUE_MAX,
};
use crate::logging::real_standard_error;
use crate::output::write_all_counted;
use crate::trace::Trace;

/// Lines since the start, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatLogCounts {
    /// Lines that are in the file.
    pub written: u64,
    /// Lines dropped because the file couldn't keep up.
    pub dropped: u64,
    /// Lines lost because writing failed.
    pub failed: u64,
}

impl StatLogCounts {
    /// Lines that will never be in the file.
    pub fn lost(&self) -> u64 {
        self.dropped + self.failed
    }
}

/// Counts of lines, readable while they are written.
#[derive(Default)]
pub struct StatLogCounters {
    queued: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// A message to the writer thread.
enum Message {
    /// Whole lines, and the channel for returning their buffer.
    Lines { lines: Vec<u8>, count: u64, back: SyncSender<Vec<u8>> },
    /// Everything before this is the last.
    Close,
}

/// An open stat log and its writer thread.
pub struct StatLog {
    path: PathBuf,
    queue: SyncSender<Message>,
    counters: Arc<StatLogCounters>,
    writer: JoinHandle<()>,
}

impl StatLog {
    /// Opens the file to append to it, creates it (mode 0644) if it is missing, and starts the
    /// writer thread. The error names the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let told = |error: io::Error| {
            let text = format!("can't open the stat log {}: {error}", path.display());
            io::Error::new(error.kind(), text)
        };
        let file = open_file(path).map_err(told)?;

        let (queue, messages) = mpsc::sync_channel(STAT_LOG_QUEUE_MAX);
        let counters = Arc::new(StatLogCounters::default());
        let writer = Writer {
            file,
            path: path.to_owned(),
            counters: counters.clone(),
            torn: Vec::new(),
            failing: None,
        };
        let writer =
            thread::Builder::new().name("stat-log".into()).spawn(move || writer.run(messages))?;
        Ok(Self { path: path.to_owned(), queue, counters, writer })
    }

    /// A buffer for one core.
    pub fn buffer(&self) -> StatLogBuffer {
        let (back, returned) = mpsc::sync_channel(STAT_LOG_BUFFERS_PER_CORE);
        StatLogBuffer {
            lines: Vec::with_capacity(STAT_LOG_BUFFER_BYTES),
            count: 0,
            dropped: 0,
            spare: Vec::with_capacity(STAT_LOG_BUFFERS_PER_CORE),
            made: 1,
            queue: self.queue.clone(),
            back,
            returned,
            counters: self.counters.clone(),
        }
    }

    /// The counters of its lines.
    pub fn counters(&self) -> Arc<StatLogCounters> {
        self.counters.clone()
    }

    /// Writes what the cores have flushed and stops, in `time` at the most. Buffers that are
    /// still in use drop their lines from then on. An error says how many lines stayed behind.
    pub fn close(self, time: Duration) -> io::Result<StatLogCounts> {
        let deadline = Instant::now() + time;
        let pause = Duration::from_millis(2);
        let mut message = Some(Message::Close);
        while Instant::now() < deadline && !self.writer.is_finished() {
            if let Some(Err(TrySendError::Full(again))) =
                message.take().map(|close| self.queue.try_send(close))
            {
                message = Some(again);
            }
            thread::sleep(pause);
        }
        let counts = self.counters.counts();
        if self.writer.is_finished() {
            return match self.writer.join() {
                Ok(()) => Ok(counts),
                Err(_) => Err(io::Error::other("the stat log's writer panicked")),
            };
        }
        let behind =
            self.counters.queued.load(Relaxed).saturating_sub(counts.written + counts.failed);
        let text = format!(
            "the stat log {} took no more lines in time: {behind} stayed behind",
            self.path.display()
        );
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

/// One of our own standard descriptors that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Standard {
    /// By their names in Linux. Symbolic links to them are not followed.
    pub fn named(path: &Path) -> Option<Self> {
        match path.to_str()? {
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Self::Output),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Self::Error),
            _ => None,
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let kind = path.metadata().map(|m| m.file_type());
    let is_socket = kind.as_ref().is_ok_and(FileTypeExt::is_socket);
    // A standard output that is a socket, as under systemd and in containers, can't be opened by
    // name. Once logging has begun, standard error by name is our own pipe.
    match Standard::named(path) {
        Some(Standard::Error) if let Some(real) = real_standard_error() => {
            return Ok(real.try_clone_to_owned()?.into());
        }
        Some(Standard::Error) if is_socket => {
            return Ok(io::stderr().as_fd().try_clone_to_owned()?.into());
        }
        Some(Standard::Output) if is_socket => {
            return Ok(io::stdout().as_fd().try_clone_to_owned()?.into());
        }
        _ => {}
    }
    // Opening a FIFO for writing only would block until it has a reader.
    let is_fifo = kind.is_ok_and(|kind| kind.is_fifo());
    OpenOptions::new().append(true).create(true).read(is_fifo).mode(0o644).open(path)
}

impl StatLogCounters {
    /// Lines written and lost. Lines that a core has not flushed are in neither.
    pub fn counts(&self) -> StatLogCounts {
        StatLogCounts {
            written: self.written.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            failed: self.failed.load(Relaxed),
        }
    }
}

/// One core's buffer of lines. Not to be shared between threads.
pub struct StatLogBuffer {
    lines: Vec<u8>,
    count: u64,
    dropped: u64,
    /// Empty buffers.
    spare: Vec<Vec<u8>>,
    /// Number of its buffers: this one, the spare ones, and those on their way.
    made: usize,
    queue: SyncSender<Message>,
    back: SyncSender<Vec<u8>>,
    returned: Receiver<Vec<u8>>,
    counters: Arc<StatLogCounters>,
}

impl StatLogBuffer {
    /// Records a purchase attempt: whether it was granted, and the number that this instance has
    /// granted so far, including this one.
    pub fn record(&mut self, granted: bool, local_sales: u64, trace: Option<&Trace>) {
        if self.lines.len() + STAT_LOG_LINE_BYTES_MAX > STAT_LOG_BUFFER_BYTES && !self.hand_over() {
            self.dropped += 1;
            return;
        }
        let start: &[u8] = if granted { b"result:1,localSales:" } else { b"result:0,localSales:" };
        self.lines.extend_from_slice(start);
        self.lines.extend_from_slice(itoa::Buffer::new().format(local_sales).as_bytes());
        if let Some(trace) = trace {
            let pieces = [(",requestId:", trace.request_id()), (",traceparent:", trace.parent())];
            for (name, value) in pieces {
                let Some(value) = value else { continue };
                self.lines.extend_from_slice(name.as_bytes());
                self.lines.extend_from_slice(value.as_bytes());
            }
        }
        self.lines.push(b'\n');
        self.count += 1;
    }

    /// Hands pending lines to the writer, if it has room. Must be called a few times per second.
    pub fn flush(&mut self) {
        if !self.lines.is_empty() {
            self.hand_over();
        }
        if self.dropped != 0 {
            self.counters.dropped.fetch_add(std::mem::take(&mut self.dropped), Relaxed);
        }
    }

    /// Sends the buffer off and takes an empty one. False: the buffer stays.
    fn hand_over(&mut self) -> bool {
        debug_assert!(!self.lines.is_empty());
        match self.empty_buffer() {
            Some(empty) => self.hand_over_for(empty),
            None => false,
        }
    }

    fn hand_over_for(&mut self, empty: Vec<u8>) -> bool {
        let lines = std::mem::replace(&mut self.lines, empty);
        let message = Message::Lines { lines, count: self.count, back: self.back.clone() };
        // Counted before sending, so that it is never less than the number written.
        self.counters.queued.fetch_add(self.count, Relaxed);
        let refused = match self.queue.try_send(message) {
            Ok(()) => {
                self.count = 0;
                return true;
            }
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
        };
        self.counters.queued.fetch_sub(self.count, Relaxed);
        if let Message::Lines { lines, .. } = refused {
            let empty = std::mem::replace(&mut self.lines, lines);
            self.spare.push(empty);
        }
        false
    }

    fn empty_buffer(&mut self) -> Option<Vec<u8>> {
        while let Ok(buffer) = self.returned.try_recv() {
            debug_assert!(buffer.is_empty());
            self.spare.push(buffer);
        }
        if self.spare.is_empty() && self.made < STAT_LOG_BUFFERS_PER_CORE {
            self.made += 1;
            return Some(Vec::with_capacity(STAT_LOG_BUFFER_BYTES));
        }
        self.spare.pop()
    }
}

impl Drop for StatLogBuffer {
    fn drop(&mut self) {
        // The last buffer needs no replacement; lines that the queue has no room for are lost.
        if !self.lines.is_empty() && !self.hand_over_for(Vec::new()) {
            self.dropped += self.count;
        }
        self.counters.dropped.fetch_add(self.dropped, Relaxed);
    }
}

/// The writer thread.
struct Writer {
    file: File,
    path: PathBuf,
    counters: Arc<StatLogCounters>,
    /// The rest of a line whose beginning is in the file: a full disk cuts anywhere.
    torn: Vec<u8>,
    /// Lines lost in the present run of failures.
    failing: Option<u64>,
}

impl Writer {
    fn run(mut self, messages: Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Lines { mut lines, count, back } => {
                    self.write(&lines, count);
                    lines.clear();
                    // The core may be gone, and its channel closed.
                    let _ = back.try_send(lines);
                }
                Message::Close => break,
            }
        }
        if !self.torn.is_empty() {
            let torn = std::mem::take(&mut self.torn);
            if write_all_counted(&mut self.file, &torn).1.is_err() {
                tracing::warn!(file = %self.path.display(), "the stat log ends within a line");
            }
        }
    }

    fn write(&mut self, lines: &[u8], count: u64) {
        let torn = std::mem::take(&mut self.torn);
        let (done, mut result) = write_all_counted(&mut self.file, &torn);
        self.torn.extend_from_slice(&torn[done..]);
        let mut written = 0;
        if result.is_ok() {
            let (done, lines_result) = write_all_counted(&mut self.file, lines);
            result = lines_result;
            written = memchr::memchr_iter(b'\n', &lines[..done]).count() as u64;
            if done > 0 && lines[done - 1] != b'\n' {
                let end =
                    memchr::memchr(b'\n', &lines[done..]).map_or(lines.len(), |n| done + n + 1);
                self.torn.extend_from_slice(&lines[done..end]);
                // It counts as written: only its end is missing, and is written first.
                written += 1;
            }
        }
        let failed = count - written;
        self.counters.written.fetch_add(written, Relaxed);
        self.counters.failed.fetch_add(failed, Relaxed);
        self.report(result, failed);
    }

    /// Logs a failure once, and its end once.
    fn report(&mut self, result: io::Result<()>, failed: u64) {
        let file = self.path.display();
        match (result, &mut self.failing) {
            (Ok(()), None) => {}
            (Err(_), Some(lost)) => *lost += failed,
            (Err(error), None) => {
                tracing::error!(%file, %error, "the stat log can't be written; lines are lost");
                self.failing = Some(failed);
            }
            (Ok(()), Some(lost)) => {
                tracing::warn!(%file, lines_lost = *lost, "the stat log is written again");
                self.failing = None;
            }
        }
    }
}

#[cfg(test)]
#[path = "stat_log_tests.rs"]
mod tests;
