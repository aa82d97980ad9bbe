//! Which server is the primary: what the Sentinels say, put together, and for how long it holds.
//!
//! Each change of the primary begins a *term*. A connection holds the term in which it was made, and
//! is of no use when that is over: whoever has one asks before he sends and while he waits, so that
//! a primary that was replaced is sent nothing more, and what it answers late is not believed.
//!
//! The Sentinels' *epoch* grows with each failover and says whose knowledge is newer: neither a
//! Sentinel that missed a failover nor one that was set up anew leads back. If *most* of them come to
//! name another primary in an earlier epoch (who led the failover died before it told them, or all
//! were set up anew), ours is sent nothing any more after some seconds, and theirs is taken once ours
//! says itself that it is none.
//!
//! A sale that was written in a later epoch makes the Sentinels be asked once more. If most of them
//! stay with what they said, the sale was brought from elsewhere: it stays fenced, alone.
//!
//! Architecture invariant: no I/O. [`sentinel`](super::sentinel) asks, this judges.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::decode_error::DecodeError;
use super::handshake_error::HandshakeError;
use super::settings::Endpoint;
use crate::limits::{SENTINEL_DISSENT_MS, SENTINEL_MAJORITY_WAIT_MS};
use crate::sync::lock;

/// A primary's place, and the epoch in which it became one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) endpoint: Endpoint,
    pub(super) epoch: u64,
}

/// What one Sentinel last said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// The primary is there.
    Seat(Seat),
    /// It can't be asked, or does not know. Fatal: until somebody changes something.
    Failed { reason: String, fatal: bool },
}

/// See the module's header. What every connection of a ledger shares.
pub(super) struct Primary {
    /// The primary's name.
    name: String,
    sentinels: usize,
    state: Mutex<State>,
    changed: Condvar,
    term: AtomicU64,
}

struct Written {
    epoch: u64,
    seen: Instant,
    /// What the refusal says, the name of the sale's key among it.
    told: String,
}

struct Dissent {
    seat: Seat,
    since: Instant,
    /// It has stood for so long that our seat is sent nothing.
    holds: bool,
}

/// So many epochs of sales are kept in mind of which no Sentinel knows; a further one takes the place
/// of the first, which costs a moment when it is met again.
const FOREIGN_MAX: usize = 64;

#[derive(Default)]
struct State {
    /// By Sentinel. `None`: nothing heard yet.
    reports: Vec<Option<Report>>,
    /// When each was asked for that.
    asked: Vec<Option<Instant>>,
    /// When the first one said anything of use.
    heard: Option<Instant>,
    seat: Option<Seat>,
    /// No Sentinel is believed in an epoch below this one, that of the seat.
    epoch_min: u64,
    /// A sale that was written later than the seat, until the Sentinels have been asked again.
    written: Option<Written>,
    /// Epochs in which sales were written of which most Sentinels know nothing.
    foreign: Vec<u64>,
    /// What most Sentinels name in place of the seat, in an earlier epoch.
    dissent: Option<Dissent>,
    watchers: Vec<Box<dyn Fn() + Send>>,
}

impl Primary {
    /// Nothing is known yet of the primary that so many Sentinels call `name`.
    pub(super) fn new(name: &str, sentinels: usize) -> Self {
        let state = State {
            reports: vec![None; sentinels],
            asked: vec![None; sentinels],
            ..State::default()
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Self { name: name.to_owned(), sentinels, state, changed, term: AtomicU64::new(0) }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has this called after each change of the primary, on another thread.
    pub(super) fn on_change(&self, watcher: Box<dyn Fn() + Send>) {
        lock(&self.state).watchers.push(watcher);
    }

    /// Notes what a Sentinel said, by its number, which was asked at this time.
    pub(super) fn note(&self, sentinel: usize, report: Report, now: Instant) {
        let mut state = lock(&self.state);
        if matches!(report, Report::Seat(_)) {
            state.heard.get_or_insert(now);
        }
        state.reports[sentinel] = Some(report);
        state.asked[sentinel] = Some(now);
        if let Some(seat) = state.better(self.sentinels, now) {
            tracing::info!(primary = self.name, address = %seat.endpoint, epoch = seat.epoch,
                "the Sentinels name the primary");
            self.take(&mut state, seat);
        }
        let (doubted, kept) = (state.dissents(self.sentinels, now), state.confirm(self.sentinels));
        if doubted || kept {
            self.begin_term(&state);
        } else {
            // Who waits may have to be told another reason.
            self.changed.notify_all();
        }
    }

    fn take(&self, state: &mut State, seat: Seat) {
        state.epoch_min = seat.epoch;
        state.written.take_if(|written| written.epoch <= seat.epoch);
        state.dissent = None;
        state.seat = Some(seat);
        self.begin_term(state);
    }

    /// Notes that a sale was written in this epoch, as this refusal says: who knows only older ones
    /// may be wrong, and the Sentinels are asked again.
    fn saw(&self, epoch: u64, told: String) {
        let mut state = lock(&self.state);
        let is_known = state.foreign.contains(&epoch)
            || state.written.as_ref().is_some_and(|written| written.epoch >= epoch);
        if epoch <= state.epoch_min || is_known {
            return;
        }
        state.written = Some(Written { epoch, seen: Instant::now(), told });
        self.begin_term(&state);
    }

    /// Notes that the seat of this term says that it is no primary.
    fn left(&self, term: u64) {
        let mut state = lock(&self.state);
        if self.term.load(Ordering::Acquire) != term {
            return;
        }
        if let Some(Dissent { seat, .. }) = state.dissent.take() {
            tracing::warn!(primary = self.name, address = %seat.endpoint, epoch = seat.epoch,
                "known primary is none any more");
            self.take(&mut state, seat);
        }
    }

    fn begin_term(&self, state: &State) {
        self.term.fetch_add(1, Ordering::Release);
        self.changed.notify_all();
        state.watchers.iter().for_each(|watcher| watcher());
    }

    /// The primary, and the term that begins with it; waits so long until it is known.
    ///
    /// # Errors
    /// It isn't known, and why.
    pub(super) fn find(
        self: &Arc<Self>,
        time: Duration,
    ) -> Result<(Endpoint, Term), HandshakeError> {
        let until = Instant::now() + time;
        let mut state = lock(&self.state);
        loop {
            let asks = state.written.is_some() && !state.doubts();
            if let Some(Seat { endpoint, epoch }) = state.seat.as_ref().filter(|_| !asks) {
                let number = self.term.load(Ordering::Acquire);
                return Ok((
                    endpoint.clone(),
                    Term { primary: self.clone(), number, epoch: *epoch },
                ));
            }
            let left = until.saturating_duration_since(Instant::now());
            let trouble = state.trouble(&self.name);
            if left.is_zero() || trouble.is_fatal() {
                return Err(trouble);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// The seat to take in place of the one that is known, if there is one: that of the greatest
    /// epoch, and of several in one epoch the one that most name. At the beginning a majority is
    /// waited for, but not for ever: if the others are away, who answers is believed.
    fn better(&self, sentinels: usize, now: Instant) -> Option<Seat> {
        let majority = sentinels / 2 + 1;
        let seats = || self.reports.iter().filter_map(named_by);
        let named = |seat: &Seat| seats().filter(|other| *other == seat).count();
        let best = seats().max_by_key(|seat| (seat.epoch, named(seat)))?;
        if best.epoch < self.epoch_min {
            return None;
        }
        let take = match &self.seat {
            Some(seat) if best.epoch == seat.epoch => {
                best.endpoint != seat.endpoint && named(best) >= majority
            }
            Some(seat) => best.epoch > seat.epoch,
            None => {
                let wait = Duration::from_millis(SENTINEL_MAJORITY_WAIT_MS);
                let waited = self.heard.is_some_and(|heard| now.duration_since(heard) >= wait);
                seats().count() >= majority || waited
            }
        };
        take.then(|| best.clone())
    }

    /// Whether another seat has been named by most for so long, in an earlier epoch, that from now on
    /// ours is doubted.
    fn dissents(&mut self, sentinels: usize, now: Instant) -> bool {
        let Some(ours) = &self.seat else { return false };
        let seats = || self.reports.iter().filter_map(named_by);
        let most = |seat: &&Seat| seats().filter(|other| other == seat).count() > sentinels / 2;
        let other = |seat: &&Seat| seat.epoch < ours.epoch && seat.endpoint != ours.endpoint;
        let Some(seat) = seats().filter(other).find(most).cloned() else {
            self.dissent = None;
            return false;
        };
        match &mut self.dissent {
            Some(dissent) if dissent.seat == seat => {
                let time = now.saturating_duration_since(dissent.since);
                let begins = !dissent.holds && time >= Duration::from_millis(SENTINEL_DISSENT_MS);
                dissent.holds |= begins;
                if begins {
                    tracing::warn!(ours = %ours.endpoint, epoch = ours.epoch,
                        theirs = %seat.endpoint, their_epoch = seat.epoch,
                        "most Sentinels name another primary; ours is sent nothing");
                }
                begins
            }
            dissent => {
                // For a moment it is so in every failover: only its leader knows of it yet.
                tracing::info!(ours = %ours.endpoint, epoch = ours.epoch, theirs = %seat.endpoint,
                    their_epoch = seat.epoch,
                    "most Sentinels name another primary, in an earlier epoch than ours");
                *dissent = Some(Dissent { seat, since: now, holds: false });
                false
            }
        }
    }

    /// Whether the seat is asked who it is, and nothing else.
    fn doubts(&self) -> bool {
        self.dissent.as_ref().is_some_and(|dissent| dissent.holds)
    }

    /// Keeps the seat that a sale speaks against, if most Sentinels name it still. Whether that is so.
    fn confirm(&mut self, sentinels: usize) -> bool {
        let (Some(seat), Some(written)) = (&self.seat, &self.written) else { return false };
        let later = |asked: &Option<Instant>| asked.is_some_and(|asked| asked > written.seen);
        let both = self.reports.iter().zip(&self.asked);
        let named = both.filter(|(report, asked)| later(asked) && named_by(report) == Some(seat));
        if named.count() <= sentinels / 2 {
            return false;
        }
        tracing::warn!(address = %seat.endpoint, epoch = seat.epoch, refusal = written.told,
            "sale was written in an epoch that most Sentinels don't know");
        if self.foreign.len() == FOREIGN_MAX {
            self.foreign.remove(0);
        }
        self.foreign.push(written.epoch);
        self.written = None;
        true
    }

    /// Why the primary isn't known. Fatal if every Sentinel has a reason that is.
    fn trouble(&self, name: &str) -> HandshakeError {
        let mut told = Vec::new();
        let mut fatal = true;
        for report in self.reports.iter().flatten() {
            match report {
                Report::Failed { reason, fatal: this } => {
                    fatal &= this;
                    told.push(reason.clone());
                }
                Report::Seat(seat) => {
                    fatal = false;
                    let written = self.written.as_ref().map_or(0, |written| written.epoch);
                    if seat.epoch < written {
                        told.push(format!(
                            "epoch {} is known, but a sale was written in epoch {written}",
                            seat.epoch
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

/// The time in which one server is the primary.
#[derive(Clone)]
pub(super) struct Term {
    primary: Arc<Primary>,
    number: u64,
    epoch: u64,
}

impl Term {
    /// The epoch in which it began.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// An error if it is over.
    pub(super) fn check(&self) -> io::Result<()> {
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
    pub(super) fn may_begin(&self, failed: Option<&HandshakeError>) -> Result<(), HandshakeError> {
        match failed {
            Some(HandshakeError::NoPrimary(_)) => self.primary.left(self.number),
            None if lock(&self.primary.state).doubts() => {
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

/// Whether a refusal says that its connection leads to no primary, or to an old one. Tells the others
/// of the epoch that it names.
pub(super) fn ends_connection(error: &DecodeError, term: Option<&Term>) -> bool {
    if let (Some(term), Some(epoch)) = (term, error.fenced_by()) {
        term.primary.saw(epoch, error.to_string());
        return term.check().is_err();
    }
    error.is_demotion()
}

fn named_by(report: &Option<Report>) -> Option<&Seat> {
    match report {
        Some(Report::Seat(seat)) => Some(seat),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    fn seat(port: u16, epoch: u64) -> Report {
        let endpoint = Endpoint { host: "redis".to_owned(), port };
        Report::Seat(Seat { endpoint, epoch })
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
        primary.note(0, seat(1, 3), now);
        assert!(found(&primary).is_err(), "one of three");
        primary.note(1, seat(1, 3), now);
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch(), term.check().is_ok()), (1, 3, true));
        // One that has seen a failover is believed, two that have not aren't.
        primary.note(2, seat(2, 4), now);
        assert!(term.check().is_err());
        assert_eq!(found(&primary).ok().unwrap().0, 2);
        primary.note(2, failed(false), now);
        primary.note(0, seat(1, 3), now);
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch(), term.check().is_ok()), (2, 4, true));
    }

    #[test]
    fn a_majority_is_waited_for_but_not_for_ever() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        primary.note(0, seat(1, 0), now);
        primary.note(1, failed(true), now);
        assert!(!found(&primary).err().unwrap().is_fatal());
        let later = now + Duration::from_millis(SENTINEL_MAJORITY_WAIT_MS);
        primary.note(0, seat(1, 0), later);
        assert_eq!(found(&primary).ok().unwrap().0, 1);
        // In one epoch, what most say; a tie changes nothing.
        primary.note(1, seat(2, 0), later);
        assert_eq!(found(&primary).ok().unwrap().0, 1);
        primary.note(2, seat(2, 0), later);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
    }

    #[test]
    fn what_a_sale_shows_is_believed_too() {
        let (primary, now) = (Arc::new(Primary::new("m", 1)), Instant::now());
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        primary.on_change(Box::new(move || _ = counted.fetch_add(1, Ordering::Relaxed)));
        primary.note(0, seat(1, 3), now);
        let (_, term) = found(&primary).ok().unwrap();
        let saw = |epoch| primary.saw(epoch, "FENCED".to_owned());
        saw(3);
        assert!(term.check().is_ok());
        saw(5);
        assert!(term.check().is_err());
        primary.note(0, seat(1, 3), now);
        let text = found(&primary).err().unwrap().to_string();
        assert!(text.contains("epoch 3") && text.contains("epoch 5"), "{text}");
        primary.note(0, seat(2, 5), now);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    /// It was restored from another site.
    #[test]
    fn a_sale_of_an_epoch_that_most_do_not_know_stays_refused_alone() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        let all = 0..3;
        all.for_each(|sentinel| primary.note(sentinel, seat(1, 3), now));
        let (_, term) = found(&primary).ok().unwrap();
        let fenced = DecodeError::Refused("FENCED 12 is the epoch of k".to_owned());
        assert!(ends_connection(&fenced, Some(&term)));
        assert!(found(&primary).is_err());
        // What they said before does not count, nor what one of three says.
        primary.note(0, seat(1, 3), now);
        let later = Instant::now() + Duration::from_secs(1);
        primary.note(1, seat(1, 3), later);
        assert!(found(&primary).is_err());
        primary.note(2, seat(1, 3), later);
        let (port, term) = found(&primary).ok().unwrap();
        assert_eq!((port, term.epoch()), (1, 3));
        assert!(!ends_connection(&fenced, Some(&term)) && term.check().is_ok());
        // Another epoch is asked about again, and a failover is followed.
        let fenced = DecodeError::Refused("FENCED 4 is the epoch of k".to_owned());
        assert!(ends_connection(&fenced, Some(&term)));
        primary.note(2, seat(2, 4), later);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
    }

    #[test]
    fn what_most_name_in_an_earlier_epoch_ends_the_term_and_wins_if_ours_is_none() {
        let (primary, now) = (Arc::new(Primary::new("m", 3)), Instant::now());
        [0, 1].into_iter().for_each(|sentinel| primary.note(sentinel, seat(1, 3), now));
        primary.note(2, seat(2, 4), now);
        let (_, term) = found(&primary).ok().unwrap();
        assert!(term.may_begin(None).is_ok());
        primary.note(2, failed(false), now);
        primary.note(0, seat(1, 3), now + Duration::from_millis(SENTINEL_DISSENT_MS - 1));
        assert!(term.check().is_ok());
        primary.note(1, seat(1, 3), now + Duration::from_millis(SENTINEL_DISSENT_MS));
        assert!(term.check().is_err());
        // It is asked who it is, and carries nothing.
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
    fn trouble_is_fatal_only_if_all_say_so() {
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
