//! The counters of a thread: answers by kind, latencies, failures, and every reservation id, so that
//! the report can find duplicates.

use std::hash::Hasher;

use hdrhistogram::Histogram;

use super::kind::{Expected, KINDS, Kind};
use super::reader::Answer;

/// Latencies have three digits, from 64 ns to ten minutes. A longer one counts as ten minutes.
const LATENCY_NS: (u64, u64) = (64, 600_000_000_000);
const LATENCY_DIGITS: u8 = 3;
/// Failures per kind that are described in full.
const SAMPLES_MAX: u64 = 2;
/// Most bytes of an answer in a description.
const SHOWN_BYTES_MAX: usize = 400;
/// Most ids kept for comparison, of all threads: 16 bytes each.
pub const IDS_MAX: u64 = 20_000_000;

/// The failures of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Each one is said in words in `FAILURES`.
pub enum Failure {
    Connect,
    Reset,
    ClosedEarly,
    TimedOut,
    KeptOpen,
    Broken,
    NotUnderstood,
    Unexpected,
    Unasked,
    Unanswered,
}

/// The names of the failures, in the order of [`Failure`].
pub const FAILURES: [&str; 10] = [
    "connect_failed",
    "reset",
    "closed_early",
    "timed_out",
    "kept_open",
    "no_http",
    "not_understood",
    "unexpected_answer",
    "unasked_answer",
    "unanswered",
];

/// A histogram of nanoseconds.
pub type Latencies = Histogram<u64>;

/// An empty histogram.
pub fn latencies() -> Latencies {
    let (low, high) = LATENCY_NS;
    Histogram::new_with_bounds(low, high, LATENCY_DIGITS).expect("the constants are legal bounds")
}

/// The counters of a thread.
pub struct Tally {
    expected: Expected,
    ids_max: usize,
    /// Answers counted, by kind.
    pub kinds: [u64; KINDS],
    /// Latencies of grants.
    pub granted: Latencies,
    /// Latencies of refusals.
    pub refused: Latencies,
    /// Latencies of other answers.
    pub other: Latencies,
    /// Waiting times of unanswered requests. Their latency is at least that.
    pub waited: Latencies,
    /// Delay between the due time and the sending of a request with a free connection.
    pub late: Latencies,
    /// Grants of the whole run with the warm-up.
    pub grants: u64,
    /// Grants without a reservation id.
    pub grants_without_id: u64,
    /// 128 bits of each reservation's id.
    pub ids: Vec<u128>,
    /// Failures by kind.
    pub failures: [u64; FAILURES.len()],
    /// Descriptions of the first failures of each kind.
    pub samples: Vec<String>,
    /// Requests without an answer, for any reason.
    pub lost: u64,
    /// Requests sent, with the warm-up.
    pub sent: u64,
    /// Answers to requests of the warm-up.
    pub warm_up: u64,
    /// Connections that the server closed in order and that were reopened.
    pub reopened: u64,
    /// Connections closed after their last answer and reopened.
    pub renewed: u64,
    /// TLS: complete handshakes.
    pub handshakes: u64,
    /// TLS: handshakes that resumed a session.
    pub resumed: u64,
    /// Time of the first counted request.
    pub first_ns: Option<u64>,
    /// Time of the first grant.
    pub first_grant_ns: Option<u64>,
    /// Time of the last grant.
    pub last_grant_ns: Option<u64>,
    /// Time of the last answer.
    pub last_answer_ns: u64,
}

impl Tally {
    /// `ids_max`: most ids that this thread keeps.
    pub fn new(expected: Expected, ids_max: usize) -> Self {
        Self {
            expected,
            ids_max,
            kinds: [0; KINDS],
            granted: latencies(),
            refused: latencies(),
            other: latencies(),
            waited: latencies(),
            late: latencies(),
            grants: 0,
            grants_without_id: 0,
            ids: Vec::new(),
            failures: [0; FAILURES.len()],
            samples: Vec::new(),
            lost: 0,
            sent: 0,
            warm_up: 0,
            reopened: 0,
            renewed: 0,
            handshakes: 0,
            resumed: 0,
            first_ns: None,
            first_grant_ns: None,
            last_grant_ns: None,
            last_answer_ns: 0,
        }
    }

    /// Records an answer: its bytes, its content, its start time, and whether it counts. An answer of
    /// the warm-up is checked but not counted.
    pub fn answer(
        &mut self,
        bytes: &[u8],
        answer: Answer<'_>,
        since_ns: u64,
        now_ns: u64,
        counts: bool,
    ) {
        let Some(kind) = answer.kind else {
            return self.fail(Failure::NotUnderstood, || shown(bytes));
        };
        if !self.expected.has(kind) {
            self.fail(Failure::Unexpected, || format!("{}: {}", kind.name(), shown(bytes)));
        }
        let granted = kind == Kind::GRANTED;
        if granted {
            self.grants += 1;
            match answer.id {
                Some(id) if self.ids.len() < self.ids_max => self.ids.push(fingerprint(id)),
                Some(_) => {}
                None => self.grants_without_id += 1,
            }
        }
        if !counts {
            self.warm_up += 1;
            return;
        }
        self.kinds[kind.index()] += 1;
        self.last_answer_ns = now_ns;
        if granted {
            self.first_grant_ns.get_or_insert(now_ns);
            self.last_grant_ns = Some(now_ns);
        }
        let latencies = match kind {
            _ if granted => &mut self.granted,
            kind if kind.is_refusal() => &mut self.refused,
            _ => &mut self.other,
        };
        latencies.saturating_record(now_ns.saturating_sub(since_ns));
    }

    /// Records a failure.
    pub fn fail(&mut self, failure: Failure, what: impl FnOnce() -> String) {
        self.failures[failure as usize] += 1;
        if self.failures[failure as usize] <= SAMPLES_MAX {
            self.samples.push(format!("{}: {}", FAILURES[failure as usize], what()));
        }
    }

    /// Records a request that will get no answer.
    pub fn lose(&mut self, since_ns: u64, now_ns: u64) {
        self.lost += 1;
        self.waited.saturating_record(now_ns.saturating_sub(since_ns));
    }

    /// Counted answers.
    pub fn answered(&self) -> u64 {
        self.kinds.iter().sum()
    }

    /// All failures.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Adds the counters of another thread.
    pub fn add(&mut self, other: Self) {
        let sums = self.kinds.iter_mut().zip(other.kinds);
        sums.chain(self.failures.iter_mut().zip(other.failures))
            .for_each(|(sum, more)| *sum += more);
        for (sum, more) in [
            (&mut self.granted, &other.granted),
            (&mut self.refused, &other.refused),
            (&mut self.other, &other.other),
            (&mut self.waited, &other.waited),
            (&mut self.late, &other.late),
        ] {
            // All histograms have the same bounds, so adding can't fail.
            let added = sum.add(more);
            debug_assert!(added.is_ok(), "{added:?}");
        }
        self.grants += other.grants;
        self.grants_without_id += other.grants_without_id;
        self.ids.extend_from_slice(&other.ids);
        self.samples.extend(other.samples);
        self.lost += other.lost;
        self.sent += other.sent;
        self.warm_up += other.warm_up;
        self.reopened += other.reopened;
        self.renewed += other.renewed;
        self.handshakes += other.handshakes;
        self.resumed += other.resumed;
        self.first_ns = self.first_ns.into_iter().chain(other.first_ns).min();
        self.first_grant_ns = self.first_grant_ns.into_iter().chain(other.first_grant_ns).min();
        self.last_grant_ns = self.last_grant_ns.max(other.last_grant_ns);
        self.last_answer_ns = self.last_answer_ns.max(other.last_answer_ns);
    }

    /// The rules that the run broke, as sentences. `total`: the tickets of the sale.
    pub fn check(&mut self, total: Option<u64>) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(total) = total.filter(|total| self.grants > *total) {
            broken.push(format!("oversold: {} tickets were granted of {total}", self.grants));
        }
        self.ids.sort_unstable();
        let equal = self.ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if equal > 0 {
            broken.push(format!(
                "given twice: {equal} grants have the reservation id of another grant"
            ));
        }
        broken
    }
}

/// A 128-bit hash of an id. Among 20 million ids, a collision has a probability below 1e-23.
fn fingerprint(id: &[u8]) -> u128 {
    let half = |salt: u8| {
        #[allow(deprecated)] // The hash with the least code; it must be the same for one run only.
        let mut hasher = std::hash::SipHasher::new_with_keys(u64::from(salt), 0x7469_636b_6574);
        hasher.write(id);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// The beginning of some bytes, in printable form.
pub fn shown(bytes: &[u8]) -> String {
    let cut = bytes.len().min(SHOWN_BYTES_MAX);
    let more = if cut < bytes.len() { "…" } else { "" };
    // UTF-8 text stays readable, because most messages are Chinese.
    match std::str::from_utf8(&bytes[..cut]) {
        Ok(text) => format!("{text:?}{more}"),
        Err(_) => format!("\"{}\"{more}", bytes[..cut].escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(expected: &str) -> Tally {
        Tally::new(Expected::read(expected).expect("kinds"), 1_000)
    }

    fn grant(id: &str) -> Answer<'_> {
        Answer { bytes: 0, kind: Some(Kind::GRANTED), id: Some(id.as_bytes()), closes: false }
    }

    #[test]
    fn duplicate_ids_and_overselling_are_found_across_threads() {
        let (mut one, mut other) = (tally("any"), tally("any"));
        one.answer(b"", grant("ticket~1"), 1_000, 3_000, true);
        one.answer(b"", grant("ticket~2"), 1_000, 4_000, true);
        other.answer(b"", grant("ticket~3"), 1_000, 5_000, false);
        assert_eq!(one.check(Some(2)), Vec::<String>::new());
        one.add(other);
        assert_eq!((one.grants, one.answered(), one.warm_up), (3, 2, 1));
        assert_eq!(one.check(None), Vec::<String>::new());
        assert!(one.check(Some(2))[0].contains("oversold: 3 tickets were granted of 2"));

        let mut again = tally("any");
        again.answer(b"", grant("ticket~1"), 0, 1, true);
        one.add(again);
        let broken = one.check(Some(4));
        assert!(broken.len() == 1 && broken[0].starts_with("given twice: 1 "), "{broken:?}");
    }

    #[test]
    fn every_answer_is_counted_once_by_kind() {
        let mut tally = tally("sold_out");
        let of = |kind| Answer { bytes: 0, kind, id: None, closes: false };
        tally.answer(b"", of(Kind::of_number(-1)), 0, 2_000_000, true);
        assert_eq!((tally.failed(), tally.refused.len(), tally.last_grant_ns), (0, 1, None));
        tally.answer(b"", of(Some(Kind::GRANTED)), 0, 5, true);
        assert_eq!((tally.failed(), tally.granted.len(), tally.grants_without_id), (1, 1, 1));
        tally.answer(b"what\xff", of(None), 0, 5, true);
        assert_eq!((tally.failed(), tally.answered()), (2, 2));
        assert_eq!(tally.samples[1], r#"not_understood: "what\xff""#);
        tally.lose(1_000, 601_000);
        assert_eq!((tally.lost, tally.waited.max() / 1_000), (1, 600));
    }

    #[test]
    fn only_the_first_failures_are_shown_and_shortened() {
        let mut tally = tally("any");
        for _ in 0..100 {
            tally.fail(Failure::Broken, || shown(&[b'x'; 5_000]));
        }
        tally.fail(Failure::Reset, || "another".into());
        assert_eq!((tally.failed(), tally.samples.len()), (101, 3));
        assert!(tally.samples.iter().all(|sample| sample.len() < SHOWN_BYTES_MAX + 50));
    }
}
