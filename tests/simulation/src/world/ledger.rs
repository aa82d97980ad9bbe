//! The ledger's part of a world: messages to it and from it, and the commands that no core sends.

use stampede::ledger::redis::{Codec, KeyTemplates};

use super::{Phase, World};
use crate::names::{Line, Route, Sender};
use crate::net::{Path, Way};
use crate::operator::{self, SWEEP_INTERVAL};
use crate::redis::{Ask, Pipeline, Reply, Turn};
use crate::schedule::Event;
use crate::time::{MS, Us};

/// Time until a sender hears that it has reached no primary.
const REFUSAL: Us = MS;

impl World {
    pub(super) fn send_to_node(&mut self, line: Line, ask: Ask) {
        let now = self.now();
        let sent = self.net.send(now, Route::Line(line), Way::There);
        if let Some(at) = sent.arrives {
            self.schedule.at(at, Event::AtNode(line, Box::new(ask)));
        }
        self.schedule_ends(sent, Event::LineEnded(line), None);
    }

    pub(super) fn at_node(&mut self, now: Us, line: Line, ask: Ask) {
        let found = match &mut self.fleet {
            None => Some(&mut self.node),
            Some(fleet) => fleet.node(&mut self.node, line).map(|(_, node)| node),
        };
        match found.map(|node| node.receive(now, line, ask)) {
            Some(Some(at)) => self.schedule.at(at, Event::NodeTurn(line)),
            Some(None) => {}
            // It is a replica, or was started again.
            None => self.schedule.after(REFUSAL, Event::LineEnded(line)),
        }
    }

    pub(super) fn node_turn(&mut self, now: Us, line: Line) {
        let found = match &mut self.fleet {
            None => Some((None, &mut self.node)),
            Some(fleet) => {
                fleet.replicate(&mut self.node);
                fleet.node(&mut self.node, line).map(|(term, node)| (Some(term), node))
            }
        };
        let Some((term, node)) = found else { return };
        let turn = node.turn(now, line, term, &mut self.oracle);
        let next = matches!(turn, Turn::Again | Turn::Answer { more: true, .. })
            .then(|| node.next_turn(now));
        if let Turn::Answer { reply, .. } = turn {
            self.send_reply(now, line, reply);
        }
        if let Some(at) = next {
            self.schedule.at(at, Event::NodeTurn(line));
        }
    }

    pub(super) fn send_reply(&mut self, now: Us, line: Line, mut reply: Reply) {
        self.trace.note(now, || format!("the ledger answers the {line}: {reply:?}"));
        let sent = self.net.send(now, Route::Line(line), Way::Back);
        if sent.ends
            && let Reply::Pipeline(answer) = &mut reply
        {
            // The connection ends within the answer.
            let kept = self.delays.below(answer.groups.len() as u64 + 1) as usize;
            answer.groups.truncate(kept);
            answer.is_cut = true;
        }
        if let Some(at) = sent.arrives {
            self.schedule.at(at, Event::AtSender(line, Box::new(reply)));
        }
        self.schedule_ends(sent, Event::LineEnded(line), None);
    }

    pub(super) fn at_sender(&mut self, line: Line, reply: Reply) {
        match line.sender {
            Sender::Link(id) => {
                if let Some(core) = self.core(id) {
                    core.link.receive(line.session, reply);
                }
                self.want_round(id);
            }
            Sender::Sweep { .. } | Sender::Operator => self.close_line(line),
        }
    }

    /// Sends commands in a connection of their own, without waiting for the answer.
    pub(super) fn send_once(&mut self, sender: Sender, path: Path, mut pipeline: Pipeline) {
        if pipeline.is_empty() {
            return;
        }
        self.sessions += 1;
        let line = Line { sender, session: self.sessions };
        self.net.open(Route::Line(line), path);
        if let Some(term) = self.open_line(line) {
            pipeline.epoch = Codec::new(KeyTemplates::default()).in_epoch(Some(term)).epoch();
        }
        self.send_to_node(line, Ask::Pipeline(pipeline));
    }

    pub(super) fn sweep(&mut self, server: usize, start: u32) {
        let is_running = self.servers[server].is_up() && self.servers[server].start == start;
        if !is_running || matches!(self.phase, Phase::Probe | Phase::Over) {
            return;
        }
        let pipeline = operator::sweep(self.node.index());
        self.send_once(Sender::Sweep { server }, Path::Sweep(server), pipeline);
        self.schedule.after(SWEEP_INTERVAL, Event::Sweep(server, start));
    }

    pub(super) fn operate(&mut self, now: Us) {
        if self.phase != Phase::Busy {
            return;
        }
        let pipeline = self.operators.next_commands(&self.plan, now);
        self.trace.note(now, || format!("an operator sends {:?}", pipeline.groups));
        match self.embedded {
            Some(_) => self.send_to_ledger(pipeline.groups),
            None => self.send_once(Sender::Operator, Path::Operator, pipeline),
        }
        let pause = self.operators.pause();
        self.schedule.after(pause, Event::Operate);
    }
}
