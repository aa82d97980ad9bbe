//! Which server is the primary: what the Sentinels say, put together, and for how long it holds.
//!
//! Each change of the primary begins a *term*. A connection holds the term in which it was made, and
//! is of no use when that is over: whoever has one asks before he sends and while he waits, so that
//! a primary that was replaced is sent nothing more, and what it answers late is not believed.
//!
//! The Sentinels' *epoch* grows with each failover and says whose knowledge is newer. It only ever
//! rises here: neither a Sentinel that missed a failover nor one that was set up anew leads back.
//!
//! Architecture invariant: no I/O. [`sentinel`](super::sentinel) asks, this judges.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::HandshakeError;
use super::settings::Endpoint;
use crate::core::lock;
use crate::limits::SENTINEL_MAJORITY_WAIT_MS;

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

#[derive(Default)]
struct State {
    /// By Sentinel. `None`: nothing heard yet.
    reports: Vec<Option<Report>>,
    /// When the first one said anything of use.
    heard: Option<Instant>,
    seat: Option<Seat>,
    /// No epoch below this one is believed any more.
    epoch_min: u64,
    watchers: Vec<Box<dyn Fn() + Send>>,
}

impl Primary {
    /// Nothing is known yet of the primary that so many Sentinels call `name`.
    pub(super) fn new(name: &str, sentinels: usize) -> Self {
        let state = State { reports: vec![None; sentinels], ..State::default() };
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

    /// Notes what a Sentinel said, by its number.
    pub(super) fn note(&self, sentinel: usize, report: Report, now: Instant) {
        let mut state = lock(&self.state);
        if matches!(report, Report::Seat(_)) {
            state.heard.get_or_insert(now);
        }
        state.reports[sentinel] = Some(report);
        if let Some(seat) = state.better(self.sentinels, now) {
            tracing::info!(primary = self.name, address = %seat.endpoint, epoch = seat.epoch,
                "the Sentinels name the primary");
            state.epoch_min = seat.epoch;
            state.seat = Some(seat);
            self.begin_term(&state);
        } else {
            // Who waits may have to be told another reason.
            self.changed.notify_all();
        }
    }

    /// Notes that a sale was written in this epoch: who knows only older ones is wrong.
    pub(super) fn saw(&self, epoch: u64) {
        let mut state = lock(&self.state);
        if epoch <= state.epoch_min {
            return;
        }
        state.epoch_min = epoch;
        if state.seat.take_if(|seat| seat.epoch < epoch).is_some() {
            self.begin_term(&state);
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
            if let Some(Seat { endpoint, epoch }) = &state.seat {
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
        let seats = || {
            self.reports.iter().filter_map(|report| match report {
                Some(Report::Seat(seat)) => Some(seat),
                _ => None,
            })
        };
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
                Report::Seat(seat) if seat.epoch < self.epoch_min => {
                    fatal = false;
                    told.push(format!(
                        "epoch {} is known, but a sale was written in epoch {}",
                        seat.epoch, self.epoch_min
                    ));
                }
                Report::Seat(_) => fatal = false,
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

    /// Notes that a sale was written in this epoch.
    pub(super) fn saw(&self, epoch: u64) {
        self.primary.saw(epoch);
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
        term.saw(3);
        assert!(term.check().is_ok());
        term.saw(5);
        assert!(term.check().is_err());
        primary.note(0, seat(1, 3), now);
        let text = found(&primary).err().unwrap().to_string();
        assert!(text.contains("epoch 3") && text.contains("epoch 5"), "{text}");
        primary.note(0, seat(2, 5), now);
        assert_eq!(found(&primary).ok().unwrap().0, 2);
        assert_eq!(calls.load(Ordering::Relaxed), 3);
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
