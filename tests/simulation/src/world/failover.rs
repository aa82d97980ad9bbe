//! Failovers of a world, and who hears of them.

use super::{Phase, World};
use crate::names::{Line, Route, Sender};
use crate::schedule::Event;

impl World {
    /// A sender opens a connection to what it takes for the primary. Returns its term, if there are
    /// Sentinels.
    pub(super) fn open_line(&mut self, line: Line) -> Option<u64> {
        let term = self.fleet.as_mut()?.open(line);
        if let Sender::Link(id) = line.sender
            && let Some(core) = self.core(id)
        {
            core.link.opened(line.session, term);
        }
        Some(term)
    }

    /// A sender has closed its connection, or hears that it has ended.
    pub(super) fn close_line(&mut self, line: Line) {
        self.net.close(Route::Line(line));
    }

    pub(super) fn fail_over(&mut self) {
        let now = self.now();
        let Some(fleet) = self.fleet.as_mut().filter(|_| self.phase == Phase::Busy) else { return };
        fleet.fail_over(now, &mut self.node, &mut self.oracle);
        let heard = fleet.schedule(now, &mut self.schedule);
        // Who has not heard of it sweeps elsewhere, and the others may be down.
        self.oracle.excuse_sweep(None, heard);
        let epoch = fleet.term(None);
        self.trace.note(now, || format!("the replica is the primary from epoch {epoch} on"));
        self.note_fault("failover");
    }

    pub(super) fn demote(&mut self, epoch: u64) {
        let ended = self.fleet.as_mut().map(|fleet| fleet.demote(epoch)).unwrap_or_default();
        for line in ended {
            self.schedule.after(1, Event::LineEnded(line));
        }
    }

    pub(super) fn hear_of(&mut self, server: usize, epoch: u64) {
        let now = self.now();
        if !self.fleet.as_mut().is_some_and(|fleet| fleet.hear(server, epoch)) {
            return;
        }
        self.trace.note(now, || format!("server {server} hears of epoch {epoch}"));
        let cores = self.servers[server].cores.iter();
        let ended = cores.filter(|core| core.link.term_ended()).map(|core| core.id);
        let ended: Vec<_> = ended.collect();
        ended.into_iter().for_each(|id| self.want_round(id));
    }

    /// There are no more failovers, and everybody hears of the last one.
    pub(super) fn end_failovers(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        let epoch = fleet.term(None);
        self.demote(epoch);
        (0..self.servers.len()).for_each(|server| self.hear_of(server, epoch));
    }
}
