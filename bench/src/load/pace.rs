//! The due times of an open loop, independent of the server.
//!
//! This module does not wait and reads no clock: the caller passes the time. A schedule computes the
//! times in order. The backlog is therefore two positions in it, and takes no memory at any length.

use super::random::Random;

/// Spacing of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Equal intervals.
    Even,
    /// Random intervals, as of independent people.
    Poisson,
}

/// The due times of requests, ascending, in nanoseconds since the start.
#[derive(Debug, Clone)]
struct Schedule {
    arrivals: Arrivals,
    first_ns: f64,
    gap_ns: f64,
    /// Number of returned due times.
    told: u64,
    next_ns: f64,
    random: Random,
}

impl Schedule {
    fn advance(&mut self) {
        self.told += 1;
        self.next_ns = match self.arrivals {
            // Multiply, because adding would accumulate rounding errors.
            Arrivals::Even => self.first_ns + self.told as f64 * self.gap_ns,
            Arrivals::Poisson => self.next_ns - self.gap_ns * self.fraction().ln(),
        };
    }

    /// A random number above 0 and at most 1.
    fn fraction(&mut self) -> f64 {
        ((self.random.draw() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// The due requests and the sent ones.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Position of the oldest unsent request.
    sent: Schedule,
    /// Position of the first request that is not due.
    due: Schedule,
    /// End of the due times.
    end_ns: u64,
    backlog_max: u64,
}

impl Pace {
    /// One of `threads` equal parts of `rate` requests per second. The parts start one after the
    /// other, so that together they are even.
    pub fn new(arrivals: Arrivals, rate: f64, thread: usize, threads: usize, end_ns: u64) -> Self {
        let gap_ns = 1e9 * threads as f64 / rate;
        let first_ns = gap_ns * thread as f64 / threads as f64;
        let random = Random::new(0x5eed + thread as u64);
        let mut sent = Schedule { arrivals, first_ns, gap_ns, told: 0, next_ns: first_ns, random };
        if arrivals == Arrivals::Poisson {
            sent.next_ns = -gap_ns * sent.fraction().ln();
        }
        Self { due: sent.clone(), sent, end_ns, backlog_max: 0 }
    }

    /// Marks all requests due at this time.
    pub fn advance_to(&mut self, now_ns: u64) {
        let until = now_ns.min(self.end_ns) as f64;
        while self.due.next_ns <= until {
            self.due.advance();
        }
    }

    /// Records the backlog. Call it when all sendable requests have been sent.
    pub fn note_backlog(&mut self) {
        self.backlog_max = self.backlog_max.max(self.backlog());
    }

    /// Takes the due time of the oldest unsent request.
    pub fn take(&mut self) -> Option<u64> {
        if self.backlog() == 0 {
            return None;
        }
        let due_ns = self.sent.next_ns as u64;
        self.sent.advance();
        Some(due_ns)
    }

    /// Number of due, unsent requests.
    pub fn backlog(&self) -> u64 {
        self.due.told - self.sent.told
    }

    /// Largest number of requests that waited for a free connection.
    pub fn backlog_max(&self) -> u64 {
        self.backlog_max
    }

    /// Due time of the next request. `None`: there is none.
    pub fn next_ns(&self) -> Option<u64> {
        let next = self.due.next_ns as u64;
        (next <= self.end_ns).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn take_all(pace: &mut Pace) -> Vec<u64> {
        std::iter::from_fn(|| pace.take()).collect()
    }

    #[test]
    fn even_arrivals_are_equally_spaced_until_the_end() {
        let mut pace = Pace::new(Arrivals::Even, 1_000.0, 0, 1, 5 * MS);
        pace.advance_to(0);
        assert_eq!(take_all(&mut pace), [0]);
        assert_eq!(pace.next_ns(), Some(MS));
        pace.advance_to(3 * MS + MS / 2);
        assert_eq!((pace.backlog(), take_all(&mut pace)), (3, vec![MS, 2 * MS, 3 * MS]));
        pace.advance_to(50 * MS);
        assert_eq!(take_all(&mut pace), [4 * MS, 5 * MS]);
        assert_eq!((pace.next_ns(), pace.take()), (None, None));
    }

    #[test]
    fn threads_share_the_arrivals_in_turn() {
        let mut due = Vec::new();
        for thread in 0..4 {
            let mut pace = Pace::new(Arrivals::Even, 1_000.0, thread, 4, 7 * MS);
            pace.advance_to(7 * MS);
            due.extend(take_all(&mut pace));
        }
        due.sort_unstable();
        assert_eq!(due, (0..8).map(|at| at * MS).collect::<Vec<_>>());
    }

    #[test]
    fn delayed_requests_keep_their_due_time() {
        // A server that stalls for 200 ms: nothing can be sent, but requests become due.
        let mut pace = Pace::new(Arrivals::Even, 1_000.0, 0, 1, 1_000 * MS);
        pace.advance_to(200 * MS);
        pace.note_backlog();
        assert_eq!(pace.backlog_max(), 201);
        let waited: Vec<_> = take_all(&mut pace).iter().map(|due| 200 * MS - due).collect();
        assert_eq!((waited[0], waited[100], waited[200]), (200 * MS, 100 * MS, 0));
        pace.note_backlog();
        assert_eq!((pace.backlog(), pace.backlog_max()), (0, 201));
    }

    #[test]
    fn random_arrivals_follow_a_poisson_process() {
        let mut pace = Pace::new(Arrivals::Poisson, 100_000.0, 0, 1, 1_000 * MS);
        pace.advance_to(1_000 * MS);
        let due = take_all(&mut pace);
        assert!((99_000..101_000).contains(&due.len()), "{}", due.len());
        assert!(due.is_sorted());
        // Of exponential distances, 1/e are longer than the mean.
        let long = due.windows(2).filter(|pair| pair[1] - pair[0] > 10_000).count();
        assert!((36_000..38_000).contains(&long), "{long}");
    }
}
