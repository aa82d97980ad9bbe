//! The cores' part of a world: when they run, and what they send.

use std::hash::Hasher;

use super::{Phase, World};
use crate::names::{CoreId, Line, Route, Sender};
use crate::net::{Path, Way};
use crate::schedule::{Answer, Event};
use crate::server::{Core, Outgoing, Step};
use crate::time::Us;

/// Shortest and longest time until a core that has something to do begins a round.
const ROUND_DELAY_MIN: Us = 1;
/// See [`ROUND_DELAY_MIN`].
const ROUND_DELAY_MAX: Us = 60;

impl World {
    pub(super) fn core(&mut self, id: CoreId) -> Option<&mut Core> {
        self.servers[id.server].core(id)
    }

    /// Until when a core gets no processor, if it gets none now.
    pub(super) fn stalled_until(&mut self, id: CoreId) -> Option<Us> {
        let now = self.now();
        self.core(id).map(|core| core.stalled_until).filter(|until| *until > now)
    }

    /// A core has something to do: it begins a round soon.
    pub(super) fn want_round(&mut self, id: CoreId) {
        let after = self.delays.between(ROUND_DELAY_MIN, ROUND_DELAY_MAX);
        let now = self.now();
        let Some(core) = self.core(id).filter(|core| !core.round_is_due) else { return };
        core.round_is_due = true;
        let at = (now + after).max(core.stalled_until);
        self.schedule.at(at, Event::Round(id));
    }

    /// Lets a core do something. `run` returns whether a round begins at once. Returns `false` if
    /// there is no such core any more.
    pub(super) fn on_core(
        &mut self,
        id: CoreId,
        run: impl FnOnce(&mut Core, &mut Step<'_>) -> bool,
    ) -> bool {
        let now = self.now();
        let server = &mut self.servers[id.server];
        if id.start != server.start {
            return false;
        }
        let Some(core) = server.cores.get_mut(id.core) else { return false };
        let mut answers = Vec::new();
        let mut step = Step {
            now,
            clocks: &server.clocks,
            turns: &self.turns,
            oracle: &mut self.oracle,
            trace: &mut self.trace,
            answers: &mut answers,
            long_rounds: self.phase == Phase::Busy && self.plan.faults.long_rounds,
        };
        let at_once = run(core, &mut step);
        if at_once {
            self.want_round(id);
        }
        self.send_for_link(id);
        for answer in answers {
            self.send_answer(id, answer);
        }
        true
    }

    pub(super) fn send_answer(&mut self, core: CoreId, answer: Answer) {
        let (now, call) = (self.now(), answer.call);
        self.digest.write_u64(call.0);
        let sent = self.net.send(now, Route::Call(call), Way::Back);
        if let Some(at) = sent.arrives {
            self.schedule.at(at, Event::Answer(Box::new(answer)));
        }
        self.schedule_ends(sent, Event::Disconnected(call), Some(Event::Reset(core, call)));
    }

    /// Sends what the link of a core has written.
    pub(super) fn send_for_link(&mut self, id: CoreId) {
        if self.core(id).is_some_and(|core| core.link.take_sent()) {
            self.ledger_has_mail();
        }
        while let Some(outgoing) = self.core(id).and_then(|core| core.link.take_outgoing()) {
            let line = |session| Line { sender: Sender::Link(id), session };
            match outgoing {
                Outgoing::Open(session) => {
                    let line = line(session);
                    self.net.open(Route::Line(line), Path::Link(id.server, id.core));
                    self.lines.insert(id, line);
                    self.open_line(line);
                }
                Outgoing::Send(session, ask) => self.send_to_node(line(session), ask),
                Outgoing::Close(session) => {
                    self.close_line(line(session));
                    self.lines.remove(&id);
                }
            }
        }
    }
}
