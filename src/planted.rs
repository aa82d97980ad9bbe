//! Bugs that are planted one at a time, to see whether the simulator finds them.
//!
//! Without the feature `planted` [`is`] is the constant `false`, and no bug is in the program.
//! `tests/tidy/features.rs` holds every build but the simulator's to that.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// A sale is sold out while it has exactly the units that are asked for: `>=` for `>`.
    GreaterOrEqual = 1,
    /// A cancelled or expired reservation gives its units back twice.
    GivenBackTwice,
    /// The embedded ledger answers a batch before it writes the record.
    AnsweredBeforeCommit,
    /// A latch stays closed when units come back.
    LatchStaysClosed,
    /// Now and then two reservations of a core get one id.
    IdUsedTwice,
    /// A request with a key is refused by a closed latch.
    ClaimNotLookedUp,
    /// Commands do not carry the epoch of their connection.
    FenceOff,
    /// The embedded ledger does not sync its records.
    SyncLeftOut,
    /// A part that has sold begins anew for another creation of its sale.
    PartAdoptedTwice,
    /// The sweep takes a new sale for the earlier one of its name.
    SweepKeyedByName,
    /// The rest of a sale's queue is first in turn again.
    RestPutFirst,
    /// An answer counts as true at the time when it arrives.
    LateAnswerDatedNow,
}

/// Whether this bug is planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use chosen::{is, plant};

#[cfg(feature = "planted")]
mod chosen {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Bug;

    impl Bug {
        /// All of them.
        pub const ALL: [Self; 12] = [
            Self::GreaterOrEqual,
            Self::GivenBackTwice,
            Self::AnsweredBeforeCommit,
            Self::LatchStaysClosed,
            Self::IdUsedTwice,
            Self::ClaimNotLookedUp,
            Self::FenceOff,
            Self::SyncLeftOut,
            Self::PartAdoptedTwice,
            Self::SweepKeyedByName,
            Self::RestPutFirst,
            Self::LateAnswerDatedNow,
        ];
    }

    struct Chosen {
        /// By this text a test recognises a program that has the bugs.
        #[allow(dead_code, reason = "only its bytes in the program count")]
        mark: [u8; 21],
        /// The number of the planted bug. 0: none.
        bug: AtomicU8,
    }

    #[used]
    static CHOSEN: Chosen = Chosen { mark: *b"stampede-planted-bugs", bug: AtomicU8::new(0) };

    /// Whether this bug is planted.
    pub fn is(bug: Bug) -> bool {
        CHOSEN.bug.load(Ordering::Relaxed) == bug as u8
    }

    /// Plants this bug, in place of the one before.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.bug.store(bug.map_or(0, |bug| bug as u8), Ordering::Relaxed);
    }
}
