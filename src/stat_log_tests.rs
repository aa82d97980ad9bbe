//! The stat log with real files: a good one, a full disk, one that nobody reads.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use super::*;
use crate::limits::REQUEST_ID_BYTES_MAX;

const SECOND: Duration = Duration::from_secs(1);

/// Far more lines than one core's buffers hold.
const MANY: u64 = (2 * STAT_LOG_BUFFERS_PER_CORE * STAT_LOG_BUFFER_BYTES / 21) as u64;

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + 10 * SECOND;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        thread::sleep(Duration::from_millis(1));
    }
}

fn fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn lines_have_the_format_of_the_article_and_are_appended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    fs::write(&path, "before\n").unwrap();
    let log = StatLog::open(&path).unwrap();
    let mut buffer = log.buffer();
    buffer.record(true, 1, None);
    buffer.flush();
    buffer.record(true, u64::MAX, None);
    buffer.record(false, 2, None);
    drop(buffer);
    let counts = log.close(SECOND).unwrap();
    assert_eq!(counts, StatLogCounts { written: 3, dropped: 0, failed: 0 });
    let expected = "before\nresult:1,localSales:1\nresult:1,localSales:18446744073709551615\n\
                    result:0,localSales:2\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    assert!("result:1,localSales:18446744073709551615\n".len() <= STAT_LOG_LINE_BYTES_MAX);
}

#[test]
fn the_longest_line_is_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    let log = StatLog::open(&path).unwrap();
    let mut buffer = log.buffer();
    let id = "x".repeat(REQUEST_ID_BYTES_MAX);
    let parent = format!("00-{}-{}-01", "1".repeat(32), "2".repeat(16));
    let trace = Trace::from_texts(&id, &parent).unwrap();
    buffer.record(true, u64::MAX, Some(&trace));
    drop(buffer);
    log.close(SECOND).unwrap();
    let told = fs::read_to_string(&path).unwrap();
    let line = format!("result:1,localSales:{},requestId:{id},traceparent:{parent}\n", u64::MAX);
    assert_eq!(told, line);
    assert!(told.len() <= STAT_LOG_LINE_BYTES_MAX);
}

#[test]
fn a_new_file_is_readable_by_everyone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    StatLog::open(&path).unwrap().close(SECOND).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
    assert_eq!(mode & 0o133, 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("no/such/folder")] {
        let error = StatLog::open(&path).err().unwrap().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn several_cores_lose_nothing_and_tear_no_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    let log = StatLog::open(&path).unwrap();
    let each = 40_000;
    thread::scope(|scope| {
        for core in 0..4u64 {
            let mut buffer = log.buffer();
            scope.spawn(move || {
                for i in 0..each {
                    buffer.record(i % 2 == 0, core * each + i, None);
                    if i % 5_000 == 0 {
                        buffer.flush();
                        thread::sleep(Duration::from_millis(2));
                    }
                }
            });
        }
    });
    let counts = log.close(10 * SECOND).unwrap();
    assert_eq!(counts.written + counts.lost(), 4 * each);
    let text = fs::read_to_string(&path).unwrap();
    let mut last = [None; 4];
    for line in text.lines() {
        let (result, sales) = line.split_once(",localSales:").unwrap();
        let sales: u64 = sales.parse().unwrap();
        assert_eq!(result, if sales.is_multiple_of(2) { "result:1" } else { "result:0" });
        let core = (sales / each) as usize;
        assert!(last[core] < Some(sales), "the lines of one core stay in order");
        last[core] = Some(sales);
    }
    assert_eq!(text.lines().count() as u64, counts.written);
    assert_eq!(counts.lost(), 0, "a disk that keeps up loses nothing");
}

#[test]
fn a_rotation_by_copy_and_truncate_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    let log = StatLog::open(&path).unwrap();
    let mut buffer = log.buffer();
    buffer.record(true, 1, None);
    buffer.flush();
    wait_until(|| log.counters().counts().written == 1);
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    buffer.record(false, 1, None);
    drop(buffer);
    log.close(SECOND).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "result:0,localSales:1\n");
}

/// Collects the log lines of the threads that use it.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_loses_lines_and_nothing_else() {
    let log = StatLog::open(Path::new("/dev/full")).unwrap();
    let mut buffer = log.buffer();
    for i in 0..10 {
        buffer.record(true, i, None);
        buffer.flush();
    }
    drop(buffer);
    let counts = log.close(SECOND).unwrap();
    assert_eq!(counts, StatLogCounts { written: 0, dropped: 0, failed: 10 });
}

#[test]
fn a_failure_and_its_end_are_each_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stat.log");
    let full = || OpenOptions::new().append(true).open("/dev/full").unwrap();
    let good = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let counters = Arc::new(StatLogCounters::default());
    let mut writer = Writer {
        file: full(),
        path: path.clone(),
        counters: counters.clone(),
        torn: Vec::new(),
        failing: None,
    };
    let heard = Heard::default();
    let sink = heard.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || sink.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        for _ in 0..2 {
            writer.file = full();
            writer.write(b"a\nb\n", 2);
            writer.write(b"c\n", 1);
            writer.file = good();
            writer.write(b"d\n", 1);
            writer.write(b"e\n", 1);
        }
    });
    let heard = String::from_utf8(heard.0.lock().unwrap().clone()).unwrap();
    assert_eq!(heard.matches("can't be written").count(), 2, "{heard}");
    assert_eq!(heard.matches("lines_lost=3").count(), 2, "{heard}");
    assert_eq!(heard.lines().count(), 4, "{heard}");
    assert_eq!(counters.counts(), StatLogCounts { written: 4, dropped: 0, failed: 6 });
    assert_eq!(fs::read_to_string(&path).unwrap(), "d\ne\nd\ne\n");
}

#[test]
fn a_line_cut_by_a_full_disk_is_finished_later() {
    // A non-blocking FIFO accepts what it has room for and then refuses, like a full disk.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    fifo(&path);
    let mut pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    let counters = Arc::new(StatLogCounters::default());
    let mut writer = Writer {
        file: pipe.try_clone().unwrap(),
        path,
        counters: counters.clone(),
        torn: Vec::new(),
        failing: None,
    };
    let line = b"result:1,localSales:1234567\n";
    let lines = line.repeat(40_000);
    writer.write(&lines, 40_000);
    let counts = counters.counts();
    assert!(counts.written > 0 && counts.failed > 0 && !writer.torn.is_empty(), "{counts:?}");

    let mut text = Vec::new();
    let mut drain = || {
        let mut part = [0; 64 * 1024];
        while let Ok(count) = io::Read::read(&mut pipe, &mut part) {
            text.extend_from_slice(&part[..count]);
        }
    };
    drain();
    writer.write(line, 1);
    drain();
    assert_eq!(counters.counts().written, counts.written + 1);
    assert_eq!(text, line.repeat(counters.counts().written as usize), "no line is torn");
}

#[test]
fn a_stalled_file_drops_lines_without_blocking() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    fifo(&path);
    let log = StatLog::open(&path).unwrap();
    let mut buffer = log.buffer();
    let started = Instant::now();
    for i in 0..MANY {
        buffer.record(false, i, None);
    }
    buffer.flush();
    assert!(started.elapsed() < 5 * SECOND);
    assert!(buffer.made <= STAT_LOG_BUFFERS_PER_CORE);
    assert!(log.counters().counts().dropped > 0);
    drop(buffer);
    let before = Instant::now();
    let error = log.close(Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("stayed behind"), "{error}");
    assert!(before.elapsed() < SECOND);
}

#[test]
fn after_a_stall_the_next_line_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fifo");
    fifo(&path);
    let mut options = OpenOptions::new();
    let mut reader =
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let log = StatLog::open(&path).unwrap();
    let mut buffer = log.buffer();
    for i in 0..MANY {
        buffer.record(false, i, None);
    }
    buffer.flush();
    let dropped = log.counters().counts().dropped;
    assert!(dropped > 0);
    let total = MANY - dropped + 1;
    let reading = thread::spawn(move || {
        let (mut lines, mut part) = (0, [0; 64 * 1024]);
        let mut last = Vec::new();
        wait_until(|| {
            while let Ok(count) = io::Read::read(&mut reader, &mut part) {
                lines += memchr::memchr_iter(b'\n', &part[..count]).count() as u64;
                last.extend_from_slice(&part[..count]);
                last.drain(..last.len().saturating_sub(STAT_LOG_LINE_BYTES_MAX));
            }
            lines == total
        });
        last
    });
    wait_until(|| {
        buffer.flush();
        buffer.lines.is_empty()
    });
    buffer.record(true, 7, None);
    drop(buffer);
    assert!(reading.join().unwrap().ends_with(b"result:1,localSales:7\n"));
    let counts = log.close(10 * SECOND).unwrap();
    assert_eq!(counts, StatLogCounts { written: total, dropped, failed: 0 });
}

#[test]
fn a_buffer_that_outlives_its_log_counts_what_it_drops() {
    let folder = tempfile::tempdir().unwrap();
    let log = StatLog::open(&folder.path().join("stat.log")).unwrap();
    let mut buffer = log.buffer();
    let counters = log.counters.clone();
    log.close(SECOND).unwrap();
    buffer.record(true, 1, None);
    buffer.flush();
    drop(buffer);
    assert_eq!(counters.counts().dropped, 1);
}
