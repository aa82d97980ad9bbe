//! What follows an attempt: the event is delivered, is tried again at some time, or has failed for
//! good.
//!
//! Architecture invariant: no I/O, and no clock or random number of its own.

use std::time::{Duration, UNIX_EPOCH};

use crate::limits::{
    WEBHOOK_JITTER_PERCENT, WEBHOOK_PAUSE_MS_MAX, WEBHOOK_RETRY_AFTER_MS_MAX, WEBHOOK_RETRY_FACTOR,
};

/// How often an event is tried, and with which pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Pause after the first failed attempt. Each further one is three times as long, up to 12 h.
    pub first_pause_ms: u64,
    /// Attempts after which an event is a dead letter.
    pub attempts: u32,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The receiver has responded.
    Status {
        /// The status code.
        status: u16,
        /// The pause that it asks for.
        retry_after_ms: Option<u64>,
    },
    /// It has not responded; why.
    Failed(String),
}

/// What happens to the event next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// The receiver has it.
    Delivered,
    /// It is tried again, not before this time.
    Again {
        /// The time, in ms since 1970.
        at_ms: u64,
    },
    /// It is not tried any more.
    Dead,
}

impl Schedule {
    /// The pause after the attempt of this number, from 1, with a random deviation.
    fn pause_ms(&self, attempt: u32, chance: u64) -> u64 {
        let longer = WEBHOOK_RETRY_FACTOR.checked_pow(attempt.saturating_sub(1));
        let pause_ms = longer
            .and_then(|longer| self.first_pause_ms.checked_mul(longer))
            .map_or(WEBHOOK_PAUSE_MS_MAX, |pause_ms| pause_ms.min(WEBHOOK_PAUSE_MS_MAX));
        let jitter_ms = pause_ms * WEBHOOK_JITTER_PERCENT / 100;
        pause_ms - jitter_ms + chance % (2 * jitter_ms + 1)
    }

    /// What follows the attempt of this number, from 1. `chance`: any random number.
    pub fn judge(&self, attempt: u32, answer: &Answer, now_ms: u64, chance: u64) -> NextStep {
        let asked_ms = match answer {
            Answer::Status { status: 200..=299, .. } => return NextStep::Delivered,
            // The receiver wants no more webhooks (Standard Webhooks).
            Answer::Status { status: 410, .. } => return NextStep::Dead,
            Answer::Status { retry_after_ms, .. } => retry_after_ms.unwrap_or(0),
            Answer::Failed(_) => 0,
        };
        if attempt >= self.attempts {
            return NextStep::Dead;
        }
        NextStep::Again { at_ms: now_ms + self.pause_ms(attempt, chance).max(asked_ms) }
    }
}

impl Answer {
    /// The pause that the receiver asks for: 429 and 503 concern all requests (RFC 6585, section 4;
    /// RFC 9110, section 15.6.4).
    pub fn quiet_ms(&self) -> u64 {
        match self {
            Self::Status { status: 429 | 503, retry_after_ms } => retry_after_ms.unwrap_or(0),
            _ => 0,
        }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status { status: status @ 300..=399, .. } => {
                write!(f, "status {status}, and redirects are not followed")
            }
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// The time in a `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. At most
/// [`WEBHOOK_RETRY_AFTER_MS_MAX`]; a value that can't be parsed is ignored.
pub fn retry_after_ms(value: &str, now_ms: u64) -> Option<u64> {
    let value = value.trim();
    let is_number = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let ms = if is_number {
        value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1_000)
    } else {
        let at = httpdate::parse_http_date(value).ok()?;
        let now = UNIX_EPOCH + Duration::from_millis(now_ms);
        at.duration_since(now).map_or(0, |ahead| ahead.as_millis() as u64)
    };
    Some(ms.min(WEBHOOK_RETRY_AFTER_MS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{WEBHOOK_ATTEMPTS, WEBHOOK_RETRY_MS};

    const NOW_MS: u64 = 1_893_456_000_000;
    const DEFAULT: Schedule =
        Schedule { first_pause_ms: WEBHOOK_RETRY_MS, attempts: WEBHOOK_ATTEMPTS };

    fn status(status: u16) -> Answer {
        Answer::Status { status, retry_after_ms: None }
    }

    /// The pause without chance: the middle of what it may be.
    fn middle(attempt: u32) -> u64 {
        let (least, most) = (DEFAULT.pause_ms(attempt, 0), {
            let jitter = DEFAULT.pause_ms(attempt, 0) * WEBHOOK_JITTER_PERCENT
                / (100 - WEBHOOK_JITTER_PERCENT);
            DEFAULT.pause_ms(attempt, 2 * jitter)
        });
        least.midpoint(most)
    }

    #[test]
    fn pauses_match_the_documentation() {
        let pauses_s: Vec<_> = (1..WEBHOOK_ATTEMPTS).map(|n| middle(n) / 1_000).collect();
        let first = [5, 15, 45, 135, 405, 1_215, 3_645, 10_935, 32_805];
        assert_eq!(pauses_s[..9], first);
        assert!(pauses_s[9..].iter().all(|&pause| pause == 12 * 3_600), "{pauses_s:?}");
        let page = include_str!("../../../docs/webhooks.md");
        for told in ["5 s, 15 s, 45 s, 2 min 15 s, 6 min 45 s, 20 min 15 s", "12 h"] {
            assert!(page.contains(told), "{told}");
        }
    }

    #[test]
    fn jitter_changes_a_pause_by_at_most_a_tenth() {
        for attempt in 1..2_000 {
            for chance in [0, 1, 17, u64::MAX / 3, u64::MAX] {
                let pause_ms = DEFAULT.pause_ms(attempt, chance);
                assert!(pause_ms <= WEBHOOK_PAUSE_MS_MAX * 11 / 10, "{attempt}: {pause_ms}");
                assert!(pause_ms >= WEBHOOK_RETRY_MS * 9 / 10, "{attempt}: {pause_ms}");
            }
        }
        let all: std::collections::BTreeSet<_> =
            (0..1_001).map(|c| DEFAULT.pause_ms(1, c)).collect();
        assert_eq!((all.len(), all.first(), all.last()), (1_001, Some(&4_500), Some(&5_500)));
    }

    #[test]
    fn the_answer_decides_the_next_step() {
        let judge = |attempt, answer: &Answer| DEFAULT.judge(attempt, answer, NOW_MS, 500);
        for fine in [200, 201, 202, 204, 299] {
            assert_eq!(judge(1, &status(fine)), NextStep::Delivered);
            assert_eq!(judge(WEBHOOK_ATTEMPTS, &status(fine)), NextStep::Delivered);
        }
        let again = NextStep::Again { at_ms: NOW_MS + 5_000 };
        for bad in [100, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503, 599] {
            assert_eq!(judge(1, &status(bad)), again, "{bad}");
            assert_eq!(judge(WEBHOOK_ATTEMPTS, &status(bad)), NextStep::Dead, "{bad}");
        }
        assert_eq!(judge(1, &Answer::Failed("reset".into())), again);
        assert_eq!(judge(1, &status(410)), NextStep::Dead);
    }

    #[test]
    fn retry_after_can_only_lengthen_a_pause() {
        let asks = |status, ms| Answer::Status { status, retry_after_ms: Some(ms) };
        let at = |answer: &Answer| DEFAULT.judge(1, answer, NOW_MS, 500);
        assert_eq!(at(&asks(503, 60_000)), NextStep::Again { at_ms: NOW_MS + 60_000 });
        assert_eq!(at(&asks(503, 1_000)), NextStep::Again { at_ms: NOW_MS + 5_000 });
        assert_eq!(asks(503, 60_000).quiet_ms(), 60_000);
        assert_eq!(asks(429, 60_000).quiet_ms(), 60_000);
        assert_eq!(asks(500, 60_000).quiet_ms(), 0);
        assert_eq!(status(503).quiet_ms(), 0);
        for (text, ms) in [
            ("0", Some(0)),
            (" 120 ", Some(120_000)),
            ("99999999999999999999999", Some(WEBHOOK_RETRY_AFTER_MS_MAX)),
            ("7200", Some(WEBHOOK_RETRY_AFTER_MS_MAX)),
            ("Tue, 01 Jan 2030 00:02:00 GMT", Some(120_000)),
            ("Tue, 01 Jan 2019 00:00:00 GMT", Some(0)),
            ("", None),
            ("-5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after_ms(text, NOW_MS), ms, "{text:?}");
        }
    }
}
