//! The text of the `Date` header, made once per second.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use crate::limits::TIME_MS_MAX;

/// Bytes of an IMF-fixdate (RFC 9110, section 5.6.7).
pub const DATE_BYTES: usize = 29;

/// The current date as an IMF-fixdate, `Sun, 06 Nov 1994 08:49:37 GMT`, recomputed only when the
/// second changes.
#[derive(Debug, Clone)]
pub struct HttpDate {
    unix_s: u64,
    text: [u8; DATE_BYTES],
}

impl HttpDate {
    /// The date at this second since 1970.
    pub fn new(unix_s: u64) -> Self {
        Self { unix_s, text: format(unix_s) }
    }

    /// Moves to this second since 1970.
    #[inline]
    pub fn update(&mut self, unix_s: u64) {
        if unix_s != self.unix_s {
            *self = Self::new(unix_s);
        }
    }

    /// The text, 29 bytes of ASCII.
    #[inline]
    pub fn text(&self) -> &[u8; DATE_BYTES] {
        &self.text
    }
}

/// A clock set past the year 9999 gets that year's last second: the format has four digits.
fn format(unix_s: u64) -> [u8; DATE_BYTES] {
    let time = UNIX_EPOCH + Duration::from_secs(unix_s.min(TIME_MS_MAX / 1000));
    let mut text = [b' '; DATE_BYTES];
    let written = write!(&mut text[..], "{}", httpdate::HttpDate::from(time));
    debug_assert!(written.is_ok(), "an IMF-fixdate has 29 bytes");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_formatted_and_follows_the_second() {
        let mut date = HttpDate::new(784_111_777);
        assert_eq!(date.text(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        date.update(784_111_777);
        assert_eq!(date.text(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        date.update(784_111_778);
        assert_eq!(date.text(), b"Sun, 06 Nov 1994 08:49:38 GMT");
        date.update(0);
        assert_eq!(date.text(), b"Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn an_extreme_clock_does_not_panic() {
        assert_eq!(HttpDate::new(u64::MAX).text(), b"Fri, 31 Dec 9999 23:59:59 GMT");
        assert_eq!(HttpDate::new(1_709_164_800).text(), b"Thu, 29 Feb 2024 00:00:00 GMT");
    }
}
