//! Failovers of a world, and who hears of them.

use stampede::limits::RECONNECT_BACKOFF_MS_MAX;

use super::{Phase, World};
use crate::names::{Line, Route, Sender};
use crate::schedule::Event;
use crate::time::MS;

impl World {
    /// A sender opens a connection to what it takes for the primary.
    pub(super) fn open_line(&mut self, line: Line) {
        let Some(fleet) = &mut self.fleet else { return };
        let term = fleet.open(line);
        if let Sender::Link(id) = line.sender {
            if let Some(core) = self.core(id) {
                core.link.opened(line.session, term);
            }
        } else if let Some(running) = self.ledger_clients.get(&line.sender) {
            running.client.wire().opened(line.session, term);
        }
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
        let epoch = fleet.term(None);
        // Who has not heard of it sweeps elsewhere, or waits to connect again.
        self.hinder_sweeps(heard + RECONNECT_BACKOFF_MS_MAX * MS);
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
        let sweep = Sender::Sweep { server, start: self.servers[server].start };
        if let Some(running) = self.ledger_clients.get(&sweep)
            && running.client.wire().term_ended()
        {
            self.run_client(sweep);
        }
    }

    /// There are no more failovers, and everybody hears of the last one.
    pub(super) fn end_failovers(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        let epoch = fleet.term(None);
        self.demote(epoch);
        (0..self.servers.len()).for_each(|server| self.hear_of(server, epoch));
    }
}
