//! Servers that start and crash.

use stampede::limits::TICK_INTERVAL_MS;

use super::{Caller, NOTICE_MAX, NOTICE_MIN, Phase, World};
use crate::call::CallId;
use crate::embedded::Way;
use crate::names::{CoreId, Route, Sender};
use crate::schedule::Event;
use crate::server::{Server, Step};
use crate::time::MS;

impl World {
    pub(super) fn start(&mut self, number: usize) {
        let now = self.now();
        if self.is_alive(number) || self.phase == Phase::Over {
            return;
        }
        self.trace.note(now, || format!("server {number} starts"));
        match self.embedded {
            Some(_) => self.open_ledger(),
            None => self.start_cores(number, None),
        }
    }

    /// Starts the cores of a server. `way`: to the embedded ledger, if there is one.
    pub(super) fn start_cores(&mut self, number: usize, way: Option<Way>) {
        let now = self.now();
        let is_embedded = way.is_some();
        self.servers[number].start(self.seed, &self.plan, now, &self.turns, way);
        let start = self.servers[number].start;
        for core in 0..self.plan.cores {
            let id = CoreId { server: number, start, core };
            let first_tick = self.delays.between(1, TICK_INTERVAL_MS * MS);
            self.schedule.after(first_tick, Event::Tick(id));
            self.send_for_link(id);
        }
        if is_embedded {
            return;
        }
        self.oracle.sweeping(now, true);
        self.start_sweep(number);
    }

    pub(super) fn crash(&mut self, number: usize) {
        let now = self.now();
        self.trace.note(now, || format!("server {number} crashes"));
        self.end_server(number);
        let is_any_up = self.servers.iter().any(Server::is_up);
        self.oracle.sweeping(now, is_any_up);
        self.excuse_sweeps();
        self.disconnect_all(number);
    }

    /// The clients of a server notice that it has gone.
    pub(super) fn disconnect_all(&mut self, number: usize) {
        let asking = |caller: &Caller| caller.core.server == number;
        let calls = self.callers.iter().filter(|(_, caller)| asking(caller));
        let calls: Vec<CallId> = calls.map(|(call, _)| *call).collect();
        for call in calls {
            self.net.close(Route::Call(call));
            let after = self.delays.spread(NOTICE_MIN, NOTICE_MAX);
            self.schedule.after(after, Event::Disconnected(call));
        }
    }

    pub(super) fn end_server(&mut self, number: usize) {
        self.end_ledger();
        self.end_cores(number);
    }

    pub(super) fn end_cores(&mut self, number: usize) {
        let now = self.now();
        let sweep = Sender::Sweep { server: number, start: self.servers[number].start };
        if !self.end_client(sweep) {
            self.find(format!("the {sweep} does not end"));
        }
        for core in self.servers[number].crash() {
            if let Some(line) = self.lines.remove(&core.id) {
                self.close_line(line);
            }
            let mut step = Step {
                now,
                clocks: &self.servers[number].clocks,
                turns: &self.turns,
                oracle: &mut self.oracle,
                trace: &mut self.trace,
                answers: &mut Vec::new(),
                long_rounds: false,
            };
            if let Some(running) = core.crash(&mut step) {
                self.find(format!("a coroutine of a crashed server does not end: {running}"));
            }
        }
    }
}
