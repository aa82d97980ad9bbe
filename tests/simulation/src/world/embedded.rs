//! The embedded ledger's part of a world: the turns of its thread, the calls to its disk, and how
//! its machine ends and starts.

use stampede::ledger::Group;
use stampede::ledger::embedded::OpenError;
use stampede::random;

use super::{Phase, World};
use crate::embedded::{DOWN_MAX, DOWN_MIN, Death, Deed, Embedded, Opened, unread};
use crate::names::CoreId;
use crate::operator;
use crate::schedule::Event;
use crate::task::Turns;
use crate::time::{MS, Us};

/// Shortest and longest time until the ledger's thread runs that has something to do.
const TURN_DELAY_MIN: Us = 2;
/// See [`TURN_DELAY_MIN`].
const TURN_DELAY_MAX: Us = 60;
/// While a call to the disk takes longer than this, nothing is expected of the ledger.
const SLOW: Us = 50 * MS;

impl World {
    /// Whether a server runs, or its ledger at least.
    pub(super) fn is_alive(&self, server: usize) -> bool {
        match &self.embedded {
            Some(embedded) => embedded.process.is_some(),
            None => self.servers[server].is_up(),
        }
    }

    /// Begins to open the ledger's folder.
    pub(super) fn open_ledger(&mut self) {
        self.run_ledger(|embedded, turns| embedded.start(turns));
    }

    /// Lets the ledger do something, and then whatever follows.
    fn run_ledger(&mut self, run: impl FnOnce(&mut Embedded, &Turns)) {
        let now = self.now();
        let Some(embedded) = &mut self.embedded else { return };
        embedded.times.set(now, &self.servers[0].clocks);
        let others = random::set_stream(embedded.stream);
        run(embedded, &self.turns);
        self.turns.settle();
        embedded.stream = random::set_stream(others);
        self.after_ledger(now);
    }

    fn after_ledger(&mut self, now: Us) {
        self.hear_ledger();
        let Some(embedded) = &mut self.embedded else { return };
        let Some(process) = &mut embedded.process else { return };
        for timer in process.calls().take_timers() {
            self.schedule.after(timer.takes, Event::DiskDone(embedded.life, timer.ticket));
            if timer.takes > SLOW {
                self.oracle.excuse_sweep(None, now + timer.takes);
            }
        }
        if let Some(death) = process.calls().take_death() {
            return self.die(death);
        }
        if let Some(opened) = process.take_opened() {
            match opened {
                Ok(opened) => self.ledger_opened(opened),
                Err(error) => return self.ledger_not_opened(&error),
            }
        }
        let Some(embedded) = &mut self.embedded else { return };
        let Some(process) = &mut embedded.process else { return };
        if process.has_ended() {
            embedded.process = None;
            self.trace.note(now, || "the ledger is closed".to_owned());
            return self.start_soon();
        }
        let answered = process.way.as_ref().map(|way| way.take_answered()).unwrap_or_default();
        if process.has_failed() && !embedded.is_doomed && !process.is_closing() {
            embedded.is_doomed = true;
            self.trace.note(now, || "the ledger has failed".to_owned());
            *self.faults.entry("failed ledger").or_default() += 1;
            self.oracle.sweeping(now, false);
            let after = self.delays.spread(DOWN_MIN, DOWN_MAX);
            self.schedule.after(after, Event::Stop(0));
        }
        let start = self.servers[0].start;
        for core in answered {
            self.want_round(CoreId { server: 0, start, core });
        }
        self.plan_turn();
    }

    /// The oracle hears what the ledger did.
    fn hear_ledger(&mut self) {
        let now = self.now();
        let process = self.embedded.as_ref().and_then(|embedded| embedded.process.as_ref());
        let deeds = process.map(|process| process.take_deeds()).unwrap_or_default();
        for deed in deeds {
            match deed {
                Deed::Committed(deed) => {
                    self.trace.note(now, || format!("the ledger: {deed:?}"));
                    self.oracle.committed(now, &deed);
                }
                Deed::Returned(deed) => {
                    if deed.record.is_some() {
                        self.trace.note(now, || format!("the ledger: {deed:?}"));
                    }
                    self.oracle.returned(now, &deed);
                }
            }
        }
    }

    /// Schedules the next turn of the ledger, if it waits for one.
    fn plan_turn(&mut self) {
        let now = self.now();
        let Some(embedded) = &mut self.embedded else { return };
        let Some(waits) = embedded.process.as_ref().and_then(|process| process.waits()) else {
            return;
        };
        let after = match embedded.has_mail {
            true => self.delays.between(TURN_DELAY_MIN, TURN_DELAY_MAX),
            false => waits.max(1),
        };
        let at = now + after;
        if at < embedded.next_turn {
            embedded.next_turn = at;
            self.schedule.at(at, Event::LedgerTurn(embedded.life, at));
        }
    }

    /// Whether this turn was scheduled and is not needed any more.
    pub(super) fn is_stale_turn(&self, life: u32, at: Us) -> bool {
        let embedded = self.embedded.as_ref();
        embedded.is_none_or(|embedded| embedded.life != life || embedded.next_turn != at)
    }

    pub(super) fn ledger_turn(&mut self) {
        self.run_ledger(|embedded, _| {
            embedded.next_turn = Us::MAX;
            if embedded.process.as_ref().is_some_and(|process| process.take_turn()) {
                embedded.has_mail = false;
            }
        });
    }

    pub(super) fn disk_done(&mut self, life: u32, ticket: u64) {
        self.run_ledger(|embedded, _| {
            let process = embedded.process.as_ref().filter(|_| embedded.life == life);
            process.into_iter().for_each(|process| process.calls().time_is_over(ticket));
        });
    }

    /// Something was sent to the ledger.
    pub(super) fn ledger_has_mail(&mut self) {
        if let Some(embedded) = &mut self.embedded {
            embedded.has_mail = true;
        }
        self.plan_turn();
    }

    /// Sends commands to the ledger, and does not wait for the answer.
    pub(super) fn send_to_ledger(&mut self, groups: Vec<Group>) {
        let process = self.embedded.as_ref().and_then(|embedded| embedded.process.as_ref());
        if let Some(way) = process.and_then(|process| process.way.as_ref()) {
            way.handle.send(unread(groups));
            self.ledger_has_mail();
        }
    }

    fn ledger_opened(&mut self, opened: Opened) {
        let now = self.now();
        let Opened { version, sales, way } = opened;
        self.trace.note(now, || format!("the ledger is open, after record {version}"));
        self.oracle.reopened(now, version, &sales);
        self.oracle.sweeping(now, true);
        if let Some(process) = self.embedded.as_mut().and_then(|one| one.process.as_mut()) {
            process.way = Some(way.clone());
        }
        self.start_cores(0, Some(way));
        let groups = self.plan.sales.iter().map(operator::create).collect();
        self.send_to_ledger(groups);
    }

    fn ledger_not_opened(&mut self, error: &OpenError) {
        let now = self.now();
        self.trace.note(now, || format!("the ledger cannot be opened: {error}"));
        let Some(embedded) = &mut self.embedded else { return };
        let has_erred = embedded.machine.errors() > embedded.errors_before;
        embedded.process = None;
        *self.faults.entry("failed opening").or_default() += 1;
        let is_legal = !matches!(
            error,
            OpenError::Corrupt { .. } | OpenError::FileMissing { .. } | OpenError::Foreign(..)
        );
        if !has_erred || !is_legal {
            self.find(format!("S single file: the ledger cannot be opened: {error}"));
        }
        self.start_soon();
    }

    fn start_soon(&mut self) {
        let after = self.delays.spread(DOWN_MIN, DOWN_MAX);
        self.schedule.after(after, Event::Start(0));
    }

    /// The machine dies at a call to its disk.
    fn die(&mut self, death: Death) {
        match death {
            Death::Process => {
                self.note_fault("death at a call");
                self.crash(0);
            }
            Death::Machine => {
                self.note_fault("power loss at a call");
                self.lose_power();
            }
        }
        self.start_soon();
    }

    /// The machine loses power.
    pub(super) fn lose_power(&mut self) {
        if self.is_alive(0) {
            self.crash(0);
        }
        if let Some(embedded) = &self.embedded {
            let lost = embedded.machine.disk.borrow_mut().lose_power();
            lost.expect("the folder of the simulated disk");
        }
    }

    /// Somebody stops the server, and starts it again.
    pub(super) fn stop(&mut self, number: usize) {
        let now = self.now();
        let process = self.embedded.as_ref().and_then(|embedded| embedded.process.as_ref());
        let is_open = process.is_some_and(|process| process.way.is_some() && !process.is_closing());
        if !is_open || matches!(self.phase, Phase::Probe | Phase::Over) {
            return;
        }
        self.note_fault("restart");
        self.trace.note(now, || format!("server {number} is stopped"));
        self.oracle.sweeping(now, false);
        self.end_cores(number);
        self.disconnect_all(number);
        self.oracle.closes();
        self.run_ledger(|embedded, _| {
            embedded.process.as_ref().into_iter().for_each(|process| process.close());
        });
    }

    pub(super) fn disk_full(&mut self, until: Us) {
        let now = self.now();
        let Some(embedded) = &self.embedded else { return };
        let is_full = now < until && self.phase == Phase::Busy;
        embedded.machine.is_full.set(is_full);
        if is_full {
            self.note_fault("full disk");
            self.schedule.at(until, Event::DiskFull(until));
        }
    }

    /// Ends the ledger: its process has crashed.
    pub(super) fn end_ledger(&mut self) {
        let Some(process) = self.embedded.as_ref().and_then(|one| one.process.as_ref()) else {
            return;
        };
        let has_ended = process.kill();
        self.hear_ledger();
        if !has_ended {
            self.find("the coroutine of a crashed ledger does not end".to_owned());
        }
        if let Some(embedded) = &mut self.embedded {
            embedded.process = None;
        }
    }

    /// Removes the ledger's disk.
    pub fn leave_disk(&mut self) {
        use stampede::ledger::embedded::simulation::{set_background, set_hook};
        set_hook(None);
        set_background(None);
        if let Some(embedded) = &self.embedded {
            embedded.machine.disk.borrow().remove();
        }
    }
}
