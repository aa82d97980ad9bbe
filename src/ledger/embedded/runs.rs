//! The runs of a ledger: each opening of its folder begins one.
//!
//! Records are only numbered, so two histories that part after record 20 both have a record 52. The
//! run in which a record was made distinguishes them: a folder that was restored to record 20
//! begins a run that the other history doesn't have, and the run that made record 52 ends, in the
//! folder, before it. The orders' database keeps the run beside its position; [`Runs::check`]
//! compares.

/// The number of runs that are kept. Of earlier ones only the last record is known.
const RUNS_MAX: usize = 256;
/// The highest number of a run: its id fits into the 63 bits of a database's number.
const NUMBER_MAX: u32 = i32::MAX as u32;

/// One opening of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Counts the runs.
    pub number: u32,
    /// Drawn at random: distinguishes runs of the same number.
    pub salt: u32,
    /// Its first record.
    pub first: u64,
}

impl Run {
    /// Number and salt in one: later runs of one history have greater ones.
    pub(super) fn id(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.salt)
    }
}

/// The latest runs, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    /// Adds a run. Returns `false` if it can't follow the others.
    pub(super) fn push(&mut self, run: Run) -> bool {
        let follows = |last: &Run| run.number > last.number && run.first >= last.first;
        if run.number > NUMBER_MAX || !self.0.last().is_none_or(follows) {
            return false;
        }
        if self.0.len() == RUNS_MAX {
            self.0.remove(0);
        }
        self.0.push(run);
        true
    }

    /// Begins a run whose first record has this number.
    pub(super) fn begin(&mut self, first: u64, salt: u32) {
        let number = self.0.last().map_or(1, |last| last.number + 1);
        self.push(Run { number, salt, first });
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.0.iter()
    }

    /// The current one.
    pub(super) fn current(&self) -> Option<Run> {
        self.0.last().copied()
    }

    /// Checks that a database with the changes up to `position`, last written in the run with this
    /// id, has nothing that this history lacks. `version` is the last record. A build without runs
    /// wrote before the first run.
    pub(super) fn check(
        &self,
        version: u64,
        position: u64,
        run: Option<u64>,
    ) -> Result<(), Diverged> {
        let first_kept = self.0.first();
        let before_all = first_kept.map_or(version, |first| first.first.saturating_sub(1));
        let last = match run {
            None => before_all,
            Some(id) => match self.0.iter().position(|run| run.id() == id) {
                Some(index) => self.0.get(index + 1).map_or(version, |next| next.first - 1),
                None if first_kept.is_some_and(|first| id >> 32 < first.number.into()) => {
                    before_all
                }
                None => return Err(Diverged::Run { position, version }),
            },
        };
        if position <= last { Ok(()) } else { Err(Diverged::Beyond { position, last, version }) }
    }
}

/// What a database has and the ledger never did, or no longer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Diverged {
    /// The run that wrote it is not in this folder.
    #[error(
        "it was written up to record {position} by a run of this ledger that the folder, now at \
         record {version}, knows nothing of"
    )]
    Run {
        /// The database has everything up to this version.
        position: u64,
        /// The ledger's last record.
        version: u64,
    },
    /// The run that wrote it ends earlier in this folder.
    #[error(
        "it has the changes up to record {position} of a history of which this folder, now at \
         record {version}, has those up to {last}"
    )]
    Beyond {
        /// The database has everything up to this version.
        position: u64,
        /// The last common record.
        last: u64,
        /// The ledger's last record.
        version: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(firsts: &[u64]) -> Runs {
        let mut runs = Runs::default();
        for (salt, &first) in (7..).zip(firsts) {
            runs.begin(first, salt);
        }
        runs
    }

    fn id(runs: &Runs, index: usize) -> Option<u64> {
        Some(runs.0[index].id())
    }

    #[test]
    fn a_database_that_is_behind_or_up_to_date_is_accepted() {
        let runs = runs(&[1, 10, 10, 30]);
        for (run, position) in [(0, 0), (0, 9), (1, 9), (2, 5), (2, 29), (3, 29), (3, 50)] {
            assert_eq!(runs.check(50, position, id(&runs, run)), Ok(()), "{run} {position}");
        }
        assert_eq!(runs.check(50, 0, None), Ok(()));
    }

    #[test]
    fn a_rolled_back_folder_is_noticed_at_any_later_version() {
        // Rolled back to record 20 in the second run, and started again.
        let mut lost = runs(&[1, 10]);
        let mut restored = lost.clone();
        restored.begin(21, 99);
        for version in [21, 52, 80, 1000] {
            let found = restored.check(version, 52, id(&lost, 1));
            assert_eq!(found, Err(Diverged::Beyond { position: 52, last: 20, version }));
        }
        assert_eq!(restored.check(80, 20, id(&lost, 1)), Ok(()));
        // The other history went on into another run, which this one doesn't have.
        lost.begin(40, 98);
        let found = restored.check(80, 52, id(&lost, 2));
        assert_eq!(found, Err(Diverged::Run { position: 52, version: 80 }));
        lost.begin(41, 97);
        assert!(restored.check(80, 45, id(&lost, 3)).is_err());
    }

    #[test]
    fn a_database_without_runs_ends_before_the_first_run() {
        let runs = runs(&[31, 40]);
        assert_eq!(runs.check(90, 30, None), Ok(()));
        assert!(runs.check(90, 31, None).is_err());
    }

    #[test]
    fn the_run_list_is_bounded_and_forgotten_runs_end_before_it() {
        let firsts: Vec<u64> = (0..RUNS_MAX as u64 + 10).map(|n| 1 + n * 10).collect();
        let all = runs(&firsts);
        assert_eq!(all.0.len(), RUNS_MAX);
        let first = all.0[0];
        let forgotten = u64::from(first.number - 1) << 32;
        assert_eq!(all.check(1 << 30, first.first - 1, Some(forgotten)), Ok(()));
        assert!(all.check(1 << 30, first.first, Some(forgotten)).is_err());
    }

    #[test]
    fn a_run_that_does_not_follow_the_last_is_rejected() {
        let mut runs = runs(&[5]);
        assert!(!runs.push(Run { number: 1, salt: 0, first: 6 }));
        assert!(!runs.push(Run { number: 2, salt: 0, first: 4 }));
        assert!(!runs.push(Run { number: NUMBER_MAX + 1, salt: 0, first: 5 }));
        assert!(runs.push(Run { number: 2, salt: 0, first: 5 }));
    }
}
