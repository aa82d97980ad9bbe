//! Counts and latencies of the crowd's requests.

use std::time::Duration;

use super::buyer::{Answer, Status, Step};

/// The units of the sale, as its public port shows them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    /// For sale.
    pub free: u64,
    /// Held.
    pub held: u64,
    /// Paid for.
    pub paid: u64,
}

/// See the module's header.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Buyers who have arrived.
    pub buyers: u64,
    /// Requests for a ticket.
    pub asked: u64,
    /// Requests that got a ticket.
    pub sold: u64,
    /// Requests that were refused as sold out.
    pub refused: u64,
    /// Requests that came before the opening.
    pub not_open: u64,
    /// Requests of any kind that were repeated, because the outcome was unknown or the server busy.
    pub again: u64,
    /// Tickets paid for.
    pub paid: u64,
    /// Tickets given back.
    pub given_back: u64,
    /// Tickets that expired.
    pub expired: u64,
    /// Unexpected answers.
    pub unexpected: u64,
    /// An example of the unexpected answers.
    pub unexpected_example: Option<String>,
    /// Latencies of the answers with a ticket.
    pub sold_latencies: Latencies,
    /// Latencies of the answers `sold_out`.
    pub refused_latencies: Latencies,
}

impl Tally {
    /// Counts the answer to a step, which took this time.
    pub fn note(&mut self, step: &Step, answer: &Answer, time: Duration) {
        if let Step::Ask { .. } = step {
            self.asked += 1;
        }
        match (step, answer) {
            (Step::Ask { .. }, Answer::Held { .. }) => {
                self.sold += 1;
                self.sold_latencies.note(time);
            }
            (Step::Ask { .. }, Answer::SoldOut) => {
                self.refused += 1;
                self.refused_latencies.note(time);
            }
            (_, Answer::NotOpen) => self.not_open += 1,
            (_, Answer::Again { .. }) => self.again += 1,
            (_, Answer::Is(Status::Confirmed)) => self.paid += 1,
            (_, Answer::Is(Status::GivenBack)) => self.given_back += 1,
            (_, Answer::Is(Status::Expired)) => self.expired += 1,
            (Step::Look { .. }, Answer::Is(Status::Held)) => {}
            (_, Answer::Is(Status::Held) | Answer::Held { .. } | Answer::SoldOut) => {
                self.note_unexpected(&format!("{answer:?} to {step:?}"));
            }
            (_, Answer::Unexpected(what)) => self.note_unexpected(what),
        }
    }

    fn note_unexpected(&mut self, what: &str) {
        self.unexpected += 1;
        self.unexpected_example.get_or_insert_with(|| what.to_owned());
    }
}

/// Buckets per doubling of the time. The first bucket begins at 1 us, the last one ends at about half an hour.
const PER_DOUBLING: usize = 8;
const BUCKETS: usize = 31 * PER_DOUBLING;

/// A histogram of latencies. Its buckets are about 9 % wide.
#[derive(Debug, Clone)]
pub struct Latencies {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]), count: 0, longest: Duration::ZERO }
    }
}

impl Latencies {
    fn note(&mut self, time: Duration) {
        let micros = time.as_secs_f64() * 1e6;
        let bucket = (micros.max(1.0).log2() * PER_DOUBLING as f64) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.longest = self.longest.max(time);
    }

    /// The latency that this share of the answers did not exceed. `None`: there are no answers.
    pub fn within(&self, share: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let end = (bucket.unwrap_or(BUCKETS - 1) + 1) as f64 / PER_DOUBLING as f64;
        Some(Duration::from_secs_f64(end.exp2() / 1e6).min(self.longest))
    }

    /// The longest latency.
    pub fn longest(&self) -> Duration {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_tenth_of_the_times() {
        let mut times = Latencies::default();
        assert_eq!(times.within(0.5), None);
        for ms in 1..=1_000 {
            times.note(Duration::from_millis(ms));
        }
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let reporting = times.within(share).unwrap().as_secs_f64() * 1e3;
            assert!(
                (ms..=ms * 1.1).contains(&reporting) || reporting == 1_000.0,
                "{share}: {reporting}"
            );
        }
        assert_eq!(times.longest(), Duration::from_secs(1));
        times.note(Duration::from_secs(1 << 40));
        times.note(Duration::ZERO);
        assert_eq!(times.count, 1_002);
    }

    #[test]
    fn answers_are_counted_once() {
        let (ask, id) = (Step::Ask { buyer: 1, attempt: 1 }, "ticket~1".to_owned());
        let pay = Step::Pay { buyer: 1, id: id.clone() };
        let mut tally = Tally::default();
        let time = Duration::from_millis(1);
        for (step, answer) in [
            (&ask, Answer::NotOpen),
            (&ask, Answer::Again { after_ms: 1 }),
            (&ask, Answer::SoldOut),
            (&ask, Answer::Held { id }),
            (&pay, Answer::Again { after_ms: 1 }),
            (&pay, Answer::Is(Status::Confirmed)),
            (&pay, Answer::Unexpected("what?".to_owned())),
        ] {
            tally.note(step, &answer, time);
        }
        assert_eq!((tally.asked, tally.sold, tally.refused), (4, 1, 1));
        assert_eq!((tally.not_open, tally.again, tally.paid, tally.unexpected), (1, 2, 1, 1));
        assert_eq!(tally.unexpected_example.as_deref(), Some("what?"));
    }
}
