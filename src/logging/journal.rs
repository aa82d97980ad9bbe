//! Lines for systemd's journal: with a priority, see sd-daemon(3), and without the time, which the
//! journal adds. One event is one line, whatever its fields contain, since each line is an entry.

use std::fmt::{self, Write};
use std::os::fd::AsFd;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::target::AUDIT;

/// Whether standard error is the journal: systemd names its device and inode in `JOURNAL_STREAM`
/// (systemd.exec(5)). A child inherits the variable even if its standard error is something else.
pub(super) fn is_standard_error(stream: Option<&str>) -> bool {
    let named = stream.and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let found = rustix::fs::fstat(std::io::stderr().as_fd());
    matches!((named, found), (Some(named), Ok(found)) if named == (found.st_dev, found.st_ino))
}

/// Adds a priority to lines of other writers: libraries write to standard error when something is
/// wrong, and so does the end of the process.
pub(super) fn with_priorities(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    for line in text.split_inclusive(|&b| b == b'\n') {
        let has_one = matches!(line, [b'<', b'0'..=b'7', b'>', ..]);
        if !has_one && !line.trim_ascii().is_empty() {
            let is_warning = line.starts_with(b"warning:");
            out.extend_from_slice(if is_warning { b"<4>" } else { b"<3>" });
        }
        out.extend_from_slice(line);
    }
    out
}

/// Writes events as lines of the journal.
pub(super) struct Journal;

fn priority(level: Level, target: &str) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO if target == AUDIT => 5,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        write!(writer, "<{}>{target}: ", priority(level, target))?;
        context.format_fields(Writer::new(&mut OneLine(&mut writer)), event)?;
        writer.write_char('\n')
    }
}

/// Writes control characters as escapes.
struct OneLine<'a, 'b>(&'a mut Writer<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_control()) {
            self.0.write_str(&rest[..at])?;
            let control = rest[at..].chars().next().unwrap_or_default();
            write!(self.0, "{}", control.escape_default())?;
            rest = &rest[at + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::sync::lock;

    #[test]
    fn foreign_lines_get_a_missing_priority() {
        let text = "a library\n<6>of ours\n\nwarning: odd\n<9>none\nno end";
        let want = "<3>a library\n<6>of ours\n\n<4>warning: odd\n<3><9>none\n<3>no end";
        assert_eq!(String::from_utf8(with_priorities(text.as_bytes())).unwrap(), want);
    }

    #[test]
    fn only_a_matching_journal_stream_is_standard_error() {
        for stream in [None, Some(""), Some("1"), Some("a:b"), Some("0:0"), Some("8:-1")] {
            assert!(!is_standard_error(stream), "{stream:?}");
        }
        let found = rustix::fs::fstat(std::io::stderr().as_fd()).unwrap();
        assert!(is_standard_error(Some(&format!("{}:{}", found.st_dev, found.st_ino))));
    }

    /// The written text.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_becomes_one_line_with_its_priority() {
        let written = Written::default();
        let theirs = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .event_format(Journal)
            .with_writer(move || theirs.clone())
            .finish();
        tracing::subscriber::with_default(lines, || {
            let reason = "one\ntwo\r\u{1b}[31m\u{85}";
            tracing::error!(target: "stampede::a", %reason, "odd");
            tracing::warn!(target: "stampede::a", reason, "odd");
            tracing::info!(target: "stampede::a", "fine");
            tracing::info!(target: AUDIT, "fine");
            tracing::debug!(target: "stampede::a", "fine");
            tracing::trace!(target: "stampede::a", "fine");
        });
        let text = String::from_utf8(lock(&written.0).clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].starts_with("<3>stampede::a: odd reason=one\\ntwo\\r"), "{text}");
        assert!(lines[1].starts_with("<4>stampede::a: odd reason=\"one"), "{text}");
        assert!(!text.contains(['\r', '\u{1b}', '\u{85}']), "{text:?}");
        let rest = ["<6>stampede::a: fine", "<5>stampede::audit: fine"];
        assert_eq!(lines[2..4], rest);
        assert_eq!(lines[4..], ["<7>stampede::a: fine"; 2]);
    }
}
