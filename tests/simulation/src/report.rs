//! What a run of one seed has brought, as text and for another process.

use std::fmt;

use serde_json::{Value, json};

use crate::gates::{Counts, STEPS};

/// The result of the run of one seed.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What the run was like.
    pub plan: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The digest of all that happened.
    pub digest: u64,
    /// What it has counted.
    pub counts: Counts,
    /// What was found: promises that were broken.
    pub findings: Vec<String>,
    /// The last lines of its story, if it was kept.
    pub story: Vec<String>,
}

impl Report {
    /// Its count of this name.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, plan, seconds, digest, .. } = self;
        let steps = self.count(STEPS);
        let per_second = steps as f64 / seconds.max(1e-6);
        writeln!(f, "seed {seed}  {plan}")?;
        write!(f, "  {steps} steps in {seconds:.2} s ({per_second:.0}/s)")?;
        for name in ["granted", "sold_out", "replayed", "told_unknown", "fault crash"] {
            write!(f, "  {name} {}", self.count(name))?;
        }
        writeln!(f, "  digest {digest:016x}")?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "  FOUND {finding}"))
    }
}

/// The result of the runs of several seeds in one process.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// What they have counted, together.
    pub counts: Counts,
    /// How long they took, in seconds.
    pub seconds: f64,
    /// The seed that has found something, if one has.
    pub failed: Option<u64>,
    /// What it has found.
    pub findings: Vec<String>,
}

impl Batch {
    /// As one line, for the process that has started this one.
    pub fn to_line(&self) -> String {
        let Self { counts, seconds, failed, findings } = self;
        json!({ "counts": counts, "seconds": seconds, "failed": failed, "findings": findings })
            .to_string()
    }

    /// Reads such a line. `None`: it is another one.
    pub fn from_line(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let counts = value["counts"].as_object()?.iter();
        let counts = counts.map(|(name, count)| Some((name.clone(), count.as_u64()?)));
        let findings = value["findings"].as_array()?.iter();
        Some(Self {
            counts: counts.collect::<Option<Counts>>()?,
            seconds: value["seconds"].as_f64()?,
            failed: value["failed"].as_u64(),
            findings: findings.filter_map(|text| text.as_str().map(str::to_owned)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        for failed in [None, Some(u64::MAX)] {
            let batch = Batch {
                counts: Counts::from([(STEPS.to_owned(), 5)]),
                seconds: 1.5,
                failed,
                findings: vec!["I1 \"oversold\"".to_owned()],
            };
            assert_eq!(Batch::from_line(&batch.to_line()), Some(batch));
        }
        assert_eq!(Batch::from_line("{}"), None);
        assert_eq!(Batch::from_line("seed 1"), None);
    }
}
