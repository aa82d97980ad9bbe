//! The ledger's part of a world: messages to it and from it.

use super::{Phase, World};
use crate::names::{Line, Route, Sender};
use crate::net::Way;
use crate::redis::{Ask, Reply, Turn};
use crate::schedule::Event;
use crate::server::Incoming;
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
        self.excuse_for(line, &sent);
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
        self.excuse_for(line, &sent);
        self.schedule_ends(sent, Event::LineEnded(line), None);
    }

    pub(super) fn at_sender(&mut self, line: Line, incoming: Incoming) {
        if let Sender::Link(id) = line.sender {
            if let Some(core) = self.core(id) {
                core.link.receive(line.session, incoming);
            }
            self.want_round(id);
        } else if let Some(running) = self.ledger_clients.get(&line.sender) {
            running.client.wire().push(line.session, incoming);
            self.run_client(line.sender);
        }
    }

    pub(super) fn operate(&mut self, now: Us) {
        if self.phase != Phase::Busy {
            return;
        }
        let group = self.operators.next_group(&self.plan, now);
        self.trace.note(now, || format!("an operator sends {group:?}"));
        match self.embedded {
            Some(_) => self.send_to_ledger(vec![group]),
            None => self.start_operators(&group),
        }
        let pause = self.operators.pause();
        self.schedule.after(pause, Event::Operate);
    }
}
