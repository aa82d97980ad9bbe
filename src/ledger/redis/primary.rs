//! Which server is the primary: combines the reports of the Sentinels.
//!
//! Each change of the primary begins a *term*. A connection belongs to the term in which it was
//! made. Its owner checks the term before sending and while waiting, so a primary that was replaced
//! is sent nothing more, and its late answers are not used.
//!
//! The Sentinels' *epoch* grows with each failover, so the report of the greater epoch is newer. A
//! Sentinel that missed a failover, or was set up anew, therefore does not lead back to an old
//! primary. If *most* Sentinels come to name another primary in an earlier epoch (the leader of the
//! failover died before it told them, or all were set up anew), the current primary is sent nothing
//! any more after some seconds. The other one is adopted once the current one itself reports that
//! it is no primary.
//!
//! If a sale was written in a later epoch, the Sentinels are asked once more. If most of them
//! repeat their report, the sale was brought from elsewhere: it alone stays fenced.
//!
//! Architecture invariant: no I/O. [`sentinel`](super::sentinel) asks, this module decides.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::decode_error::DecodeError;
use super::handshake_error::HandshakeError;
use super::settings::Endpoint;
use crate::clock;
use crate::limits::{SENTINEL_DISSENT_MS, SENTINEL_MAJORITY_WAIT_MS};
use crate::sync::lock;

/// The address of a primary, and the epoch in which it became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryAddr {
    /// The address.
    pub endpoint: Endpoint,
    /// The epoch.
    pub epoch: u64,
}

/// The last report of one Sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// It names the primary.
    Primary(PrimaryAddr),
    /// It can't be asked, or does not know. Fatal: retrying does not help until an operator acts.
    Failed {
        /// Why.
        reason: String,
        /// Retrying does not help.
        fatal: bool,
    },
}

/// The state that every connection of a ledger shares. See the module's header.
pub struct Primary {
    /// The primary's name.
    name: String,
    sentinels: usize,
    state: Mutex<PrimaryState>,
    changed: Condvar,
    term: AtomicU64,
}

struct NewerEpochSeen {
    epoch: u64,
    seen: Instant,
    /// The text of the refusal, which names the key of the sale.
    refusal: String,
}

struct ConflictingMajority {
    addr: PrimaryAddr,
    since: Instant,
    /// It has lasted so long that the current primary is sent nothing.
    holds: bool,
}

/// The maximum number of epochs that are remembered though no Sentinel knows them. A further one
/// replaces the first, which then costs one more question to the Sentinels.
const FOREIGN_MAX: usize = 64;

#[derive(Default)]
struct PrimaryState {
    /// By Sentinel. `None`: no report yet.
    reports: Vec<Option<Report>>,
    /// When each was asked for its report.
    asked: Vec<Option<Instant>>,
    /// When the first Sentinel named a primary.
    first_report: Option<Instant>,
    current: Option<PrimaryAddr>,
    /// Reports of an epoch below this one, that of `current`, are ignored.
    epoch_min: u64,
    /// A sale that was written in a later epoch, until the Sentinels have been asked again.
    newer_epoch: Option<NewerEpochSeen>,
    /// Epochs in which sales were written and which most Sentinels do not know.
    foreign_epochs: Vec<u64>,
    /// The primary that most Sentinels name in place of `current`, in an earlier epoch.
    conflict: Option<ConflictingMajority>,
    watchers: Vec<Box<dyn Fn() + Send>>,
}

impl Primary {
    /// Without a report yet, for the primary that this many Sentinels call `name`.
    pub fn new(name: &str, sentinels: usize) -> Self {
        let state = PrimaryState {
            reports: vec![None; sentinels],
            asked: vec![None; sentinels],
            ..PrimaryState::default()
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { name: name.to_owned(), sentinels, state, changed, term: AtomicU64::new(0) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `watcher` after each change of the primary, on another thread.
    pub fn on_change(&self, watcher: Box<dyn Fn() + Send>) {
        lock(&self.state).watchers.push(watcher);
    }

    /// Notes the report of a Sentinel, by its number, which was asked at this time.
    pub fn note(&self, sentinel: usize, report: Report, now: Instant) {
        let mut state = lock(&self.state);
        if matches!(report, Report::Primary(_)) {
            state.first_report.get_or_insert(now);
        }
        state.reports[sentinel] = Some(report);
        state.asked[sentinel] = Some(now);
        if let Some(addr) = state.better_candidate(self.sentinels, now) {
            tracing::info!(primary = self.name, address = %addr.endpoint, epoch = addr.epoch,
                "the Sentinels name the primary");
            self.adopt(&mut state, addr);
        }
        let (doubted, kept) =
            (state.update_conflict(self.sentinels, now), state.confirm_current(self.sentinels));
        if doubted || kept {
            self.begin_term(&state);
        } else {
            // The reason for waiting callers may have changed.
            self.changed.notify_all();
        }
    }

    fn adopt(&self, state: &mut PrimaryState, addr: PrimaryAddr) {
        state.epoch_min = addr.epoch;
        state.newer_epoch.take_if(|newer| newer.epoch <= addr.epoch);
        state.conflict = None;
        state.current = Some(addr);
        self.begin_term(state);
    }

    /// Notes that a sale was written in this epoch, according to this refusal. If the known primary
    /// is older, the Sentinels are asked again.
    fn observe_epoch(&self, epoch: u64, told: String) {
        let mut state = lock(&self.state);
        let is_known = state.foreign_epochs.contains(&epoch)
            || state.newer_epoch.as_ref().is_some_and(|newer| newer.epoch >= epoch);
        if epoch <= state.epoch_min || is_known {
            return;
        }
        state.newer_epoch = Some(NewerEpochSeen { epoch, seen: clock::now(), refusal: told });
        self.begin_term(&state);
    }

    /// Notes that the primary of this term reports that it is no primary.
    fn on_demoted(&self, term: u64) {
        let mut state = lock(&self.state);
        if self.term.load(Ordering::Acquire) != term {
            return;
        }
        if let Some(ConflictingMajority { addr, .. }) = state.conflict.take() {
            tracing::warn!(primary = self.name, address = %addr.endpoint, epoch = addr.epoch,
                "known primary was demoted");
            self.adopt(&mut state, addr);
        }
    }

    fn begin_term(&self, state: &PrimaryState) {
        self.term.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
        state.watchers.iter().for_each(|watcher| watcher());
    }

    /// The primary, and the term that began with it. Waits up to `time` until it is known.
    ///
    /// # Errors
    /// It isn't known; the error says why.
    pub fn find(self: &Arc<Self>, time: Duration) -> Result<(Endpoint, Term), HandshakeError> {
        let until = clock::now() + time;
        let mut state = lock(&self.state);
        loop {
            let asks = state.newer_epoch.is_some() && !state.is_suspended();
            if let Some(PrimaryAddr { endpoint, epoch }) = state.current.as_ref().filter(|_| !asks)
            {
                let number = self.term.load(Ordering::Acquire);
                return Ok((
                    endpoint.clone(),
                    Term { primary: self.clone(), number, epoch: *epoch },
                ));
            }
            let left = until.saturating_duration_since(clock::now());
            let trouble = state.unknown_reason(&self.name);
            if left.is_zero() || trouble.is_fatal() {
                return Err(trouble);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl PrimaryState {
    /// The primary to adopt in place of the current one, if any: that of the greatest epoch, and
    /// among several of one epoch the one that most Sentinels name. At the beginning it waits for a
    /// majority, but not for ever: if the other Sentinels are away, those that answer are believed.
    fn better_candidate(&self, sentinels: usize, now: Instant) -> Option<PrimaryAddr> {
        let majority = sentinels / 2 + 1;
        let addrs = || self.reports.iter().filter_map(named_by);
        let named = |addr: &PrimaryAddr| addrs().filter(|other| *other == addr).count();
        let best = addrs().max_by_key(|addr| (addr.epoch, named(addr)))?;
        if best.epoch < self.epoch_min {
            return None;
        }
        let take = match &self.current {
            Some(addr) if best.epoch == addr.epoch => {
                best.endpoint != addr.endpoint && named(best) >= majority
            }
            Some(addr) => best.epoch > addr.epoch,
            None => {
                let wait = Duration::from_millis(SENTINEL_MAJORITY_WAIT_MS);
                let waited =
                    self.first_report.is_some_and(|heard| now.duration_since(heard) >= wait);
                addrs().count() >= majority || waited
            }
        };
        take.then(|| best.clone())
    }

    /// Updates the conflict with a majority that names another primary in an earlier epoch. Returns
    /// whether the current primary is suspended from now on.
    fn update_conflict(&mut self, sentinels: usize, now: Instant) -> bool {
        let Some(ours) = &self.current else { return false };
        let addrs = || self.reports.iter().filter_map(named_by);
        let most =
            |addr: &&PrimaryAddr| addrs().filter(|other| other == addr).count() > sentinels / 2;
        let other = |addr: &&PrimaryAddr| addr.epoch < ours.epoch && addr.endpoint != ours.endpoint;
        let Some(addr) = addrs().filter(other).find(most).cloned() else {
            self.conflict = None;
            return false;
        };
        match &mut self.conflict {
            Some(conflict) if conflict.addr == addr => {
                let time = now.saturating_duration_since(conflict.since);
                let begins = !conflict.holds && time >= Duration::from_millis(SENTINEL_DISSENT_MS);
                conflict.holds |= begins;
                if begins {
                    tracing::warn!(ours = %ours.endpoint, epoch = ours.epoch,
                        theirs = %addr.endpoint, their_epoch = addr.epoch,
                        "most Sentinels name another primary; nothing is sent to ours");
                }
                begins
            }
            conflict => {
                // A short conflict is part of every failover: at first only its leader knows of it.
                tracing::info!(ours = %ours.endpoint, epoch = ours.epoch, theirs = %addr.endpoint,
                    their_epoch = addr.epoch,
                    "most Sentinels name another primary, in an earlier epoch than ours");
                *conflict = Some(ConflictingMajority { addr, since: now, holds: false });
                false
            }
        }
    }

    /// Whether the current primary is sent nothing but the handshake.
    fn is_suspended(&self) -> bool {
        self.conflict.as_ref().is_some_and(|conflict| conflict.holds)
    }

    /// Keeps the current primary, despite a sale of a later epoch, if most Sentinels still name it.
    /// Returns whether it did.
    fn confirm_current(&mut self, sentinels: usize) -> bool {
        let (Some(addr), Some(newer)) = (&self.current, &self.newer_epoch) else { return false };
        let later = |asked: &Option<Instant>| asked.is_some_and(|asked| asked > newer.seen);
        let both = self.reports.iter().zip(&self.asked);
        let named = both.filter(|(report, asked)| later(asked) && named_by(report) == Some(addr));
        if named.count() <= sentinels / 2 {
            return false;
        }
        tracing::warn!(address = %addr.endpoint, epoch = addr.epoch, refusal = newer.refusal,
            "sale was written in an epoch that most Sentinels don't know");
        if self.foreign_epochs.len() == FOREIGN_MAX {
            self.foreign_epochs.remove(0);
        }
        self.foreign_epochs.push(newer.epoch);
        self.newer_epoch = None;
        true
    }

    /// Why the primary isn't known. Fatal if the reasons of all Sentinels are.
    fn unknown_reason(&self, name: &str) -> HandshakeError {
        let mut told = Vec::new();
        let mut fatal = true;
        for report in self.reports.iter().flatten() {
            match report {
                Report::Failed { reason, fatal: this } => {
                    fatal &= this;
                    told.push(reason.clone());
                }
                Report::Primary(addr) => {
                    fatal = false;
                    let newer = self.newer_epoch.as_ref().map_or(0, |newer| newer.epoch);
                    if addr.epoch < newer {
                        told.push(format!(
                            "epoch {} is known, but a sale was written in epoch {newer}",
                            addr.epoch
                        ));
                    }
                }
            }
        }
        told.dedup();
        if told.is_empty() {
            told.push("no Sentinel has answered yet".to_owned());
        }
        let text = format!("the Sentinels don't say where {name} is: {}", told.join("; "));
        match fatal && self.reports.iter().all(Option::is_some) {
            true => HandshakeError::Fatal(text),
            false => HandshakeError::NotReady(text),
        }
    }
}

/// The period in which one server is the primary.
#[derive(Clone)]
pub struct Term {
    primary: Arc<Primary>,
    number: u64,
    epoch: u64,
}

impl Term {
    /// The epoch in which it began.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns an error if it is over.
    pub fn check(&self) -> io::Result<()> {
        if self.primary.term.load(Ordering::Acquire) == self.number {
            return Ok(());
        }
        let text = "the Sentinels have another primary";
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, text))
    }

    /// Whether a connection of this term may carry batches, after a handshake with this result.
    ///
    /// # Errors
    /// Most Sentinels name another primary.
    pub fn may_begin(&self, failed: Option<&HandshakeError>) -> Result<(), HandshakeError> {
        match failed {
            Some(HandshakeError::NoPrimary(_)) => self.primary.on_demoted(self.number),
            None if lock(&self.primary.state).is_suspended() => {
                let text = "most Sentinels name another primary, in an earlier epoch, and this one \
                            says that it is one: let them fail over, or restart this server to \
                            believe them";
                return Err(HandshakeError::NotReady(text.to_owned()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a refusal shows that its connection leads to no primary, or to an old one. Passes on the
/// epoch that the refusal names.
pub fn ends_connection(error: &DecodeError, term: Option<&Term>) -> bool {
    if let (Some(term), Some(epoch)) = (term, error.fenced_by()) {
        term.primary.observe_epoch(epoch, error.to_string());
        return term.check().is_err();
    }
    error.is_demotion()
}

fn named_by(report: &Option<Report>) -> Option<&PrimaryAddr> {
    match report {
        Some(Report::Primary(addr)) => Some(addr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn addr(port: u16, epoch: u64) -> Report {
        let endpoint = Endpoint { host: "redis".to_owned(), port };
        Report::Primary(PrimaryAddr { endpoint, epoch })
    }

    fn failed(fatal: bool) -> Report {
        Report::Failed { reason: "it is away".to_owned(), fatal }
    }

    fn found(primary: &Arc<Primary>) -> Result<(u16, Term), HandshakeError> {
        primary.find(Duration::ZERO).map(|(endpoint, term)| (endpoint.port, term))
    }

    #[test]
    fn the_greatest_epoch_wins_and_never_falls() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        primary.note(0, addr(1, 3), now);
        assert!(found(&primary).is_err(), "one of three");
        primary.note(1, addr(1, 3), now);
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch(), term.check().is_ok()), (1, 3, true));
        // One sentinel that has seen a failover outweighs two that have not.
        primary.note(2, addr(2, 4), now);
        assert!(term.check().is_err());
        assert_eq!(found(&primary).ok().unwrap().0, 2);
        primary.note(2, failed(false), now);
        primary.note(0, addr(1, 3), now);
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch(), term.check().is_ok()), (2, 4, true));
    }

    #[test]
    fn the_wait_for_a_majority_is_bounded() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        primary.note(0, addr(1, 0), now);
        primary.note(1, failed(true), now);
        assert!(!found(&primary).err().unwrap().is_fatal());
        let later = now + Duration::from_millis(SENTINEL_MAJORITY_WAIT_MS);
        primary.note(0, addr(1, 0), later);
        assert_eq!(found(&primary).ok().unwrap().0, 1);
        // Within one epoch the majority decides; a tie changes nothing.
        primary.note(1, addr(2, 0), later);
        assert_eq!(found(&primary).ok().unwrap().0, 1);
        primary.note(2, addr(2, 0), later);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
    }

    #[test]
    fn an_epoch_seen_in_a_sale_ends_the_term() {
        let (primary, now) = (Arc::new(Primary::new("m", 1)), Instant::now());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        primary.on_change(Box::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)));
        primary.note(0, addr(1, 3), now);
        let (_, term) = found(&primary).ok().unwrap();
        let saw = |epoch| primary.observe_epoch(epoch, "FENCED".to_owned());
        saw(3);
        assert!(term.check().is_ok());
        saw(5);
        assert!(term.check().is_err());
        primary.note(0, addr(1, 3), now);
        let text = found(&primary).err().unwrap().to_string();
        assert!(text.contains("epoch 3") && text.contains("epoch 5"), "{text}");
        primary.note(0, addr(2, 5), now);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    /// The sale was restored from another site.
    #[test]
    fn only_a_sale_with_an_epoch_unknown_to_most_stays_refused() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        let all = 0..3;
        all.for_each(|sentinel| primary.note(sentinel, addr(1, 3), now));
        let (_, term) = found(&primary).ok().unwrap();
        let fenced = DecodeError::Refused("FENCED 12 is the epoch of k".to_owned());
        assert!(ends_connection(&fenced, Some(&term)));
        assert!(found(&primary).is_err());
        // Earlier reports do not count, and one sentinel of three is no majority.
        primary.note(0, addr(1, 3), now);
        let later = Instant::now() + Duration::from_secs(1);
        primary.note(1, addr(1, 3), later);
        assert!(found(&primary).is_err());
        primary.note(2, addr(1, 3), later);
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch()), (1, 3));
        assert!(!ends_connection(&fenced, Some(&term)) && term.check().is_ok());
        // Another epoch is asked about again, and a failover is followed.
        let fenced = DecodeError::Refused("FENCED 4 is the epoch of k".to_owned());
        assert!(ends_connection(&fenced, Some(&term)));
        primary.note(2, addr(2, 4), later);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
    }

    #[test]
    fn a_majority_in_an_earlier_epoch_wins_if_ours_is_no_primary() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        [0, 1].into_iter().for_each(|sentinel| primary.note(sentinel, addr(1, 3), now));
        primary.note(2, addr(2, 4), now);
        let (_, term) = found(&primary).ok().unwrap();
        assert!(term.may_begin(None).is_ok());
        primary.note(2, failed(false), now);
        primary.note(0, addr(1, 3), now + Duration::from_millis(SENTINEL_DISSENT_MS - 1));
        assert!(term.check().is_ok());
        primary.note(1, addr(1, 3), now + Duration::from_millis(SENTINEL_DISSENT_MS));
        assert!(term.check().is_err());
        // The connection asks the node for its role, and carries nothing else.
        let (port, asks) = found(&primary).ok().unwrap();
        assert!(port == 2 && asks.may_begin(None).is_err());
        let slave = HandshakeError::NoPrimary("slave".to_owned());
        assert!(term.may_begin(Some(&slave)).is_ok());
        assert_eq!(found(&primary).ok().unwrap().0, 2, "an old term says nothing of this one");
        assert!(asks.may_begin(Some(&slave)).is_ok());
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch(), term.may_begin(None).is_ok()), (1, 3, true));
    }

    #[test]
    fn a_failure_is_fatal_only_if_every_sentinel_reports_it() {
        let (primary, now) = (Arc::new(Primary::new("m", 2)), Instant::now());
        assert!(!found(&primary).err().unwrap().is_fatal());
        primary.note(0, failed(true), now);
        assert!(!found(&primary).err().unwrap().is_fatal());
        primary.note(1, failed(false), now);
        assert!(!found(&primary).err().unwrap().is_fatal());
        primary.note(1, failed(true), now);
        let error = found(&primary).err().unwrap();
        assert!(error.is_fatal() && error.to_string().matches("it is away").count() == 1);
    }
}
