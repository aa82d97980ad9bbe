//! Time as a core sees it: read once per round of events, not once per request.
//!
//! Deadlines use a monotonic clock in milliseconds since the process began. Dates and the ledger's
//! times are wall-clock milliseconds since 1970. The embedded ledger has its own time,
//! [`SteadyClock`], so that a deadline does not come early when the machine's clock is set.

use std::cell::Cell;
use std::io::Write;
use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::limits::TIME_MS_MAX;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time on the monotonic clock.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub fn now() -> Instant {
    Instant::now()
}

/// The time that this thread was set to.
#[cfg(feature = "simulation")]
pub fn now() -> Instant {
    *START + std::time::Duration::from_micros(SIMULATED_US.get())
}

#[cfg(feature = "simulation")]
thread_local! {
    /// See [`set_now_us`].
    static SIMULATED_US: Cell<u64> = const { Cell::new(0) };
}

/// Sets the time of [`now`] on this thread, in microseconds.
#[cfg(feature = "simulation")]
pub fn set_now_us(us: u64) {
    SIMULATED_US.set(us);
}

/// Milliseconds on the monotonic clock since the process began.
pub fn monotonic_ms() -> u64 {
    START.elapsed().as_millis() as u64
}

/// Milliseconds since 1970, UTC. 0 for a clock set before it.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A time in ms since 1970 as RFC 3339 in UTC, with milliseconds. Times after the year 9999, which
/// RFC 3339 can't express, are shown as its end.
pub fn rfc3339(ms: u64) -> String {
    Rfc3339::new(ms).as_str().to_owned()
}

/// The same in an array.
#[derive(Clone, Copy)]
pub struct Rfc3339([u8; TIME_BYTES]);

const TIME_BYTES: usize = "2030-01-01T10:00:00.000Z".len();
/// Position of the milliseconds.
const MILLIS_AT: usize = "2030-01-01T10:00:00.".len();

impl Rfc3339 {
    /// Formats a time in ms since 1970.
    pub fn new(ms: u64) -> Self {
        thread_local! {
            /// The last formatted second: most consecutive times are in the same one.
            static LAST: Cell<(u64, [u8; TIME_BYTES])> = const { Cell::new((u64::MAX, [0; TIME_BYTES])) };
        }
        let ms = ms.min(TIME_MS_MAX);
        let (second, millis) = (ms / 1000, ms % 1000);
        let (last, mut text) = LAST.get();
        if last != second {
            let time = EPOCH.saturating_add(SignedDuration::from_secs(second as i64));
            write!(&mut text[..], "{time:.3}Z").expect("as long as every time up to 9999");
            LAST.set((second, text));
        }
        for (at, tens) in [(0, 100), (1, 10), (2, 1)] {
            text[MILLIS_AT + at] = b'0' + (millis / tens % 10) as u8;
        }
        Self(text)
    }

    /// The time as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Parses RFC 3339 to ms since 1970; `None` if it is not a time from 1970 to the end of 9999 (in
/// UTC). A leap second is accepted at the end of a June or December in UTC, and equals the second
/// after it, as in Unix time.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    // Only the forms of the RFC: jiff would accept more, such as a space for the `T`, `+08` or
    // `+24:00`.
    let (time, zone) = text.split_at_checked("2030-01-01T10:00:00".len())?;
    let shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(&b'T'),
                other => byte == other,
            })
    };
    let fraction = match zone.strip_prefix('.') {
        Some(rest) => 1 + rest.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let (fraction, zone) = zone.split_at_checked(fraction)?;
    if !shape(time, "0000-00-00T00:00:00") || fraction.len() == 1 {
        return None;
    }
    let (to_minute, second) = time.split_at("2030-01-01T10:00:".len());
    let leap = second == "60";
    let number = |text: &str| text.parse::<i64>().ok();
    let offset_min = match zone {
        "Z" | "z" => 0,
        _ if shape(zone, "+00:00") || shape(zone, "-00:00") => {
            let (hours, minutes) = (number(&zone[1..3])?, number(&zone[4..])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if zone.starts_with('-') { -1 } else { 1 }
        }
        _ => return None,
    };
    let second = if leap { "59" } else { second };
    let local: DateTime = format!("{to_minute}{second}").parse().ok()?;
    let offset = SignedDuration::from_mins(offset_min);
    let since = local.duration_since(EPOCH).checked_sub(offset)?;
    let mut ms = u64::try_from(since.as_millis()).ok()?;
    if leap {
        let end = EPOCH.checked_add(SignedDuration::from_millis(ms as i64)).ok()?;
        let clock = (end.hour(), end.minute(), end.second());
        let ends_half_year = matches!((end.month(), end.day()), (6, 30) | (12, 31));
        if !ends_half_year || clock != (23, 59, 59) {
            return None;
        }
        ms += 1000;
    }
    // Digits beyond milliseconds are truncated.
    let digits = fraction.bytes().skip(1).chain(std::iter::repeat(b'0')).take(3);
    ms += digits.fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    (ms <= TIME_MS_MAX).then_some(ms)
}

/// Difference between the machine's clock and a [`SteadyClock`] that is logged.
const DRIFT_LOG_MS: i64 = 1000;

/// Milliseconds since 1970 that advance evenly, even if the machine's clock is set. They begin with
/// that clock, or later if the predecessor was ahead, and add the time that has passed since
/// (`CLOCK_BOOTTIME`, which also runs while the machine sleeps).
pub struct SteadyClock {
    wall_ms: Box<dyn FnMut() -> u64 + Send>,
    boot_ms: Box<dyn FnMut() -> u64 + Send>,
    start_ms: u64,
    start_boot_ms: u64,
    /// How far it was ahead of the machine's clock when that was last logged.
    logged_ahead_ms: i64,
}

impl SteadyClock {
    /// A clock that continues one which had reached `last_ms`. `wall_ms` reads the machine's clock.
    pub fn new(last_ms: u64, wall_ms: impl FnMut() -> u64 + Send + 'static) -> Self {
        Self::with(last_ms, wall_ms, boot_ms)
    }

    /// The same with another clock that nobody sets: `boot_ms` returns the milliseconds since the
    /// machine started.
    pub fn with(
        last_ms: u64,
        mut wall_ms: impl FnMut() -> u64 + Send + 'static,
        mut boot_ms: impl FnMut() -> u64 + Send + 'static,
    ) -> Self {
        let (start_ms, start_boot_ms) = (last_ms.max(wall_ms()), boot_ms());
        let (wall_ms, boot_ms) = (Box::new(wall_ms), Box::new(boot_ms));
        Self { wall_ms, boot_ms, start_ms, start_boot_ms, logged_ahead_ms: 0 }
    }

    /// The time. Logs when the difference to the machine's clock changes.
    pub fn now_ms(&mut self) -> u64 {
        let wall_ms = (self.wall_ms)();
        let boot_ms = (self.boot_ms)();
        self.at(boot_ms.saturating_sub(self.start_boot_ms), wall_ms)
    }

    fn at(&mut self, passed_ms: u64, wall_ms: u64) -> u64 {
        let now_ms = self.start_ms.saturating_add(passed_ms);
        let ahead_ms = now_ms.wrapping_sub(wall_ms) as i64;
        if (ahead_ms - self.logged_ahead_ms).abs() > DRIFT_LOG_MS {
            self.logged_ahead_ms = ahead_ms;
            if ahead_ms.abs() > DRIFT_LOG_MS {
                tracing::warn!(ahead_ms, "ledger's time differs from the machine's clock");
            } else {
                tracing::info!(ahead_ms, "ledger's time agrees with the machine's clock again");
            }
        }
        now_ms
    }
}

/// Milliseconds since the machine started.
fn boot_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// A core's reading of both clocks, as old as its current round of events.
#[derive(Default)]
pub struct Clock {
    monotonic_ms: Cell<u64>,
    wall_ms: Cell<u64>,
    /// Whether a test has set the time.
    #[cfg(test)]
    is_set: Cell<bool>,
}

impl Clock {
    /// Reads both clocks.
    pub fn refresh(&self) {
        #[cfg(test)]
        if self.is_set.get() {
            return;
        }
        self.monotonic_ms.set(monotonic_ms());
        self.wall_ms.set(wall_ms());
    }

    /// Sets the time, for tests.
    #[cfg(test)]
    pub fn set(&self, now_ms: u64) {
        self.is_set.set(true);
        self.monotonic_ms.set(now_ms);
        self.wall_ms.set(now_ms);
    }

    /// Sets both times. [`refresh`](Self::refresh) would overwrite them.
    #[cfg(feature = "simulation")]
    pub fn set_times(&self, monotonic_ms: u64, wall_ms: u64) {
        self.monotonic_ms.set(monotonic_ms);
        self.wall_ms.set(wall_ms);
    }

    /// Milliseconds for deadlines.
    pub fn now_ms(&self) -> u64 {
        self.monotonic_ms.get()
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self) -> u64 {
        self.wall_ms.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn times_are_read_and_written_as_rfc_3339() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2030-01-01T10:00:00+08:00", 1_893_463_200_000),
            ("2030-01-01t02:00:00.5z", 1_893_463_200_500),
            ("2030-01-01T02:00:00.0009999999999Z", 1_893_463_200_000),
            ("2030-01-01T02:00:00-00:00", 1_893_463_200_000),
            ("2028-02-29T23:59:00-23:59", 1_835_567_880_000),
            // A leap second, as in the RFC's own examples.
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("1990-12-31T15:59:60-08:00", 662_688_000_000),
            ("2015-06-30T23:59:60.250Z", 1_435_708_800_250),
            ("9999-12-31T23:59:59Z", TIME_MS_MAX - 999),
            ("9999-12-31T23:59:59.999999Z", TIME_MS_MAX),
            ("9999-12-30T22:00:01Z", TIME_MS_MAX - 93_598_999),
        ] {
            assert_eq!(parse_rfc3339(text), Some(ms), "{text}");
            let shown = rfc3339(ms);
            assert_eq!(parse_rfc3339(&shown), Some(ms), "{shown}");
        }
        for bad in [
            "",
            "2030-01-01",
            "2030-01-01T02:00:00",
            "2030-01-01 02:00:00Z",
            "2030-01-01T02:00Z",
            "2030-01-01T02:00:00.Z",
            "2030-01-01T02:00:00,5Z",
            "2030-01-01T02:00:00+08",
            "2030-01-01T02:00:00+0800",
            "2030-01-01T02:00:00+24:00",
            "2030-01-01T02:00:00+08:60",
            "2030-01-01T02:00:00+08:00:00",
            "2030-01-01T02:00:00Z[UTC]",
            "2030-01-01T24:00:00Z",
            "2030-02-29T00:00:00Z",
            "2030-13-01T00:00:00Z",
            "2030-06-15T12:30:60Z",
            "2030-06-30T23:58:60Z",
            "2030-06-30T23:59:60+08:00",
            "2030-03-31T23:59:60Z",
            "2030-06-30T23:59:61Z",
            "-2030-01-01T02:00:00Z",
            "+02030-01-01T02:00:00Z",
            "2030-01-01T02:00:0\u{0660}Z",
            "2030-01-01T02:0\u{0660}:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:60Z",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(TIME_MS_MAX), "9999-12-31T23:59:59.999Z");
        // An operator may have set this value in Redis by hand.
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn the_steady_clock_ignores_wall_clock_jumps() {
        let mut clock = SteadyClock::new(0, || 10 * HOUR_MS);
        for (passed_ms, wall_ms) in
            [(0, 10 * HOUR_MS), (5, 11 * HOUR_MS), (6, 9 * HOUR_MS), (7, 0), (8, u64::MAX)]
        {
            assert_eq!(clock.at(passed_ms, wall_ms), 10 * HOUR_MS + passed_ms);
        }
    }

    #[test]
    fn the_steady_clock_continues_from_the_last_time() {
        // The wall clock went back while no server ran: time neither goes back nor stops.
        let mut clock = SteadyClock::new(10 * HOUR_MS, || 9 * HOUR_MS);
        assert_eq!(clock.at(0, 9 * HOUR_MS), 10 * HOUR_MS);
        assert_eq!(clock.at(250, 9 * HOUR_MS + 250), 10 * HOUR_MS + 250);
        let start_ms = clock.now_ms();
        while clock.now_ms() == start_ms {
            std::thread::yield_now();
        }
    }
}
