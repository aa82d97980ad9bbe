//! Those in a world who are no core and have a connection to a node: sweeps and operators. And what
//! is not expected of a sweep, since a fault hinders it.

use stampede::ledger::Group;
use stampede::limits::{
    CLIENT_ANSWER_DEADLINE_MS, CLIENT_CONNECT_DEADLINE_MS, RECONNECT_BACKOFF_MS_MAX,
};
use stampede::sale::SaleId;

use super::{FOR_EVER, Phase, World};
use crate::names::{Line, Route, Sender};
use crate::net::{Path, Sent};
use crate::schedule::Event;
use crate::server::{Client, Outgoing};
use crate::time::{Clocks, MS, Us};

/// A message that takes longer than this hinders its sender.
const LATE: Us = 2 * MS;
/// Time until a client gives up a connection that does not answer, and connects again.
const NO_ANSWER: Us =
    (CLIENT_CONNECT_DEADLINE_MS + CLIENT_ANSWER_DEADLINE_MS + RECONNECT_BACKOFF_MS_MAX) * MS;
/// Time from its start in which a sweep gets to know the sales.
const BEGINNING: Us = 1_500 * MS;

/// A client that runs, and what the world must know of it.
pub(super) struct Running {
    pub(super) client: Client,
    /// When it is to be woken.
    wake_at: Us,
    /// Its connection.
    line: Option<Line>,
    /// The sale that an operator changes.
    sale: Option<SaleId>,
}

impl World {
    /// Starts the sweep of a server.
    pub(super) fn start_sweep(&mut self, server: usize) {
        let sender = Sender::Sweep { server, start: self.servers[server].start };
        let notified = self.servers[server].notified.clone();
        let client = Client::sweep(&self.turns, self.time_of(sender), notified);
        self.add_client(sender, client, None);
        self.hinder_sweep(server, self.now() + BEGINNING);
    }

    /// An operator begins with these commands, or two do.
    pub(super) fn start_operators(&mut self, group: &Group) {
        for _ in 0..1 + usize::from(self.operators.are_two()) {
            self.start_operator(group.clone());
        }
    }

    fn start_operator(&mut self, group: Group) {
        self.sessions += 1;
        let sender = Sender::Operator(self.sessions);
        let sale = Some(group.sale.detached());
        let now_ms = self.time_of(sender);
        let client = Client::operator(&self.turns, now_ms, self.sessions, group);
        self.add_client(sender, client, sale);
    }

    fn add_client(&mut self, sender: Sender, client: Client, sale: Option<SaleId>) {
        let running = Running { client, wake_at: 0, line: None, sale };
        self.ledger_clients.insert(sender, running);
        self.turns.settle();
        self.send_for_client(sender);
    }

    /// Lets a client do something: a message has come, or it has waited long enough.
    pub(super) fn run_client(&mut self, sender: Sender) {
        let now_ms = self.time_of(sender);
        let Some(running) = self.ledger_clients.get(&sender) else { return };
        running.client.wake(now_ms);
        self.turns.settle();
        self.send_for_client(sender);
        if matches!(sender, Sender::Sweep { .. }) {
            self.look_at_deadlines();
        }
    }

    /// Whether a client does not wait for this time any more.
    pub(super) fn is_stale_wake(&self, sender: Sender) -> bool {
        self.ledger_clients.get(&sender).is_none_or(|running| running.wake_at != self.now())
    }

    /// Ends a client at once. Returns whether it has ended.
    pub(super) fn end_client(&mut self, sender: Sender) -> bool {
        let Some(running) = self.ledger_clients.remove(&sender) else { return true };
        running.client.end();
        self.turns.settle();
        running.line.into_iter().for_each(|line| self.close_line(line));
        running.client.has_ended()
    }

    /// Ends all clients.
    pub(super) fn end_clients(&mut self) {
        let all: Vec<Sender> = self.ledger_clients.keys().copied().collect();
        for sender in all {
            if !self.end_client(sender) {
                self.find(format!("the {sender} does not end"));
            }
        }
    }

    /// What its clock shows.
    fn time_of(&self, sender: Sender) -> u64 {
        self.clocks_of(sender).monotonic_ms(self.now())
    }

    fn clocks_of(&self, sender: Sender) -> Clocks {
        match sender.server() {
            Some(server) => self.servers[server].clocks.clone(),
            None => Clocks::new(0),
        }
    }

    /// Sends what a client has written, and wakes it when it wants to be woken.
    fn send_for_client(&mut self, sender: Sender) {
        let path = match sender.server() {
            Some(server) => Path::Sweep(server),
            None => Path::Operator,
        };
        while let Some(running) = self.ledger_clients.get_mut(&sender)
            && let Some(outgoing) = running.client.wire().take_outgoing()
        {
            let line = |session| Line { sender, session };
            match outgoing {
                Outgoing::Open(session) => {
                    running.line = Some(line(session));
                    self.net.open(Route::Line(line(session)), path);
                    self.open_line(line(session));
                }
                Outgoing::Send(session, ask) => self.send_to_node(line(session), ask),
                Outgoing::Close(session) => {
                    running.line = None;
                    self.close_line(line(session));
                }
            }
        }
        let clocks = self.clocks_of(sender);
        let Some(running) = self.ledger_clients.get_mut(&sender) else { return };
        if running.client.has_ended() {
            self.ledger_clients.remove(&sender);
            return;
        }
        let deadline_ms = running.client.wire().deadline_ms();
        let wake_at = clocks.true_time_of(deadline_ms);
        if deadline_ms > 0 && wake_at != running.wake_at {
            running.wake_at = wake_at;
            self.schedule.at(wake_at, Event::Wake(sender));
        }
    }

    /// Time has passed at all sales: who is still held?
    fn look_at_deadlines(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        let now = self.now();
        let wall_ms = self.node.clocks.wall_ms(now);
        for (sale, place) in self.node.places() {
            self.oracle.passed(now, sale, wall_ms.max(place.now_ms));
        }
    }

    /// What has become of a message in a connection excuses its sender.
    pub(super) fn excuse_for(&mut self, line: Line, sent: &Sent) {
        let now = self.now();
        let until = match (sent.ends, sent.opener_hears, sent.arrives) {
            (false, _, Some(at)) if at > now + LATE => at,
            (false, ..) => return,
            (true, Some(at), _) => at + RECONNECT_BACKOFF_MS_MAX * MS,
            (true, None, _) => now + NO_ANSWER,
        };
        match line.sender {
            Sender::Link(_) => {}
            Sender::Sweep { server, .. } => self.hinder_sweep(server, until),
            Sender::Operator(_) => {
                // Nobody may hear that the sale has changed: the sweeps know what they knew.
                let until = if sent.ends { now + FOR_EVER } else { until };
                let running = self.ledger_clients.get(&line.sender);
                if let Some(sale) = running.and_then(|running| running.sale.as_ref()) {
                    self.oracle.excuse_sweep(Some(sale), until);
                }
            }
        }
    }

    /// Nothing is expected of the sweep of a server before this time. Each sweep looks at all sales,
    /// so one that works is enough.
    pub(super) fn hinder_sweep(&mut self, server: usize, until: Us) {
        let hindered = &mut self.hindered_until[server];
        *hindered = until.max(*hindered);
        self.excuse_sweeps();
    }

    /// The same for all of them.
    pub(super) fn hinder_sweeps(&mut self, until: Us) {
        (0..self.servers.len()).for_each(|server| self.hinder_sweep(server, until));
    }

    /// Tells the oracle until when nothing is expected of any sweep.
    pub(super) fn excuse_sweeps(&mut self) {
        let up = self.servers.iter().zip(&self.hindered_until).filter(|(server, _)| server.is_up());
        if let Some(until) = up.map(|(_, until)| *until).min() {
            self.oracle.excuse_sweep(None, until);
        }
    }
}
