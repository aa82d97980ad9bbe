//! The network: when a message arrives, and whether it does.
//!
//! A connection is a stream: nothing in it is overtaken, doubled or lost as long as it lives. So
//! what is injected are delays, and ends of connections, of which the message that is under way is
//! or is not delivered, and of which either end does or does not hear. Messages of different
//! connections overtake each other. While a server is cut off from the ledger, messages between the
//! two arrive after the cut.

use std::collections::BTreeMap;

use crate::chance::Chance;
use crate::names::Route;
use crate::time::{MS, SECOND, Us};

/// Shortest and longest time of a message on a network without faults.
const DELAY_US_MIN: Us = 20;
/// See [`DELAY_US_MIN`].
const DELAY_US_MAX: Us = 400;
/// Shortest and longest additional time of a late message.
const LATE_MIN: Us = MS;
/// See [`LATE_MIN`].
const LATE_MAX: Us = 3 * SECOND;

/// How often the network is at fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetFaults {
    /// One message in so many is late. 0: none is.
    pub late_one_in: u64,
    /// One message in so many ends its connection. 0: none does.
    pub end_one_in: u64,
}

/// Between which machines a connection is, and who at each end: connections of the same path share
/// a stream of chances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// From this client to any server.
    Client(usize),
    /// From this core of this server to the ledger.
    Link(usize, usize),
    /// From the sweep of this server to the ledger.
    Sweep(usize),
    /// From an operator to the ledger.
    Operator,
}

impl Path {
    /// The server that a cut would cut off.
    fn server(self) -> Option<usize> {
        match self {
            Self::Link(server, _) | Self::Sweep(server) => Some(server),
            Self::Client(_) | Self::Operator => None,
        }
    }
}

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the end that has opened the connection.
    There,
    /// To that end.
    Back,
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// When it arrives. `None`: never.
    pub arrives: Option<Us>,
    /// The connection ends with it.
    pub ends: bool,
    /// When the end that has opened the connection hears that it has ended.
    pub opener_hears: Option<Us>,
    /// When the other end does.
    pub other_hears: Option<Us>,
}

struct Connection {
    path: Path,
    /// When the last message in each direction arrives.
    last_there: Us,
    last_back: Us,
}

/// See the module's header.
pub struct Net {
    seed: u64,
    faults: NetFaults,
    streams: BTreeMap<Path, Chance>,
    /// The connections that are open.
    open: BTreeMap<Route, Connection>,
    /// Per server: until when it is cut off from the ledger.
    cut_until: Vec<Us>,
    late: u64,
    ended: u64,
}

impl Net {
    /// A network between this many servers, their clients and the ledger.
    pub fn new(seed: u64, servers: usize, faults: NetFaults) -> Self {
        Self {
            seed,
            faults,
            streams: BTreeMap::new(),
            open: BTreeMap::new(),
            cut_until: vec![0; servers],
            late: 0,
            ended: 0,
        }
    }

    /// Opens a connection. The first message in it opens it at the other end.
    pub fn open(&mut self, route: Route, path: Path) {
        self.open.insert(route, Connection { path, last_there: 0, last_back: 0 });
    }

    /// Closes a connection: nothing is sent in it any more. What is under way arrives.
    pub fn close(&mut self, route: Route) {
        self.open.remove(&route);
    }

    /// Cuts a server off from the ledger until this time.
    pub fn cut(&mut self, server: usize, until: Us) {
        self.cut_until[server] = self.cut_until[server].max(until);
    }

    /// From now on there are no faults, and no server is cut off.
    pub fn heal(&mut self) {
        self.faults = NetFaults::default();
        self.cut_until.fill(0);
    }

    /// Messages that were late, and connections that have ended by a fault.
    pub fn counts(&self) -> (u64, u64) {
        (self.late, self.ended)
    }

    /// Sends a message in a connection.
    pub fn send(&mut self, now: Us, route: Route, way: Way) -> Sent {
        let Some(connection) = self.open.get_mut(&route) else { return Sent::default() };
        let path = connection.path;
        let stream = || Chance::of(self.seed, &format!("net {path:?}"));
        let chance = self.streams.entry(path).or_insert_with(stream);
        let mut hits = |one_in: u64| one_in > 0 && chance.one_in(one_in);
        let (is_late, ends) = (hits(self.faults.late_one_in), hits(self.faults.end_one_in));
        let mut delay = chance.spread(DELAY_US_MIN, DELAY_US_MAX);
        if is_late {
            self.late += 1;
            delay += chance.spread(LATE_MIN, LATE_MAX);
        }
        let mut at = now + delay;
        if let Some(server) = path.server() {
            let until = self.cut_until[server];
            at = if until > now { at.max(until + delay) } else { at };
        }
        let last = match way {
            Way::There => &mut connection.last_there,
            Way::Back => &mut connection.last_back,
        };
        at = at.max(*last + 1);
        *last = at;
        if !ends {
            return Sent { arrives: Some(at), ..Sent::default() };
        }
        self.ended += 1;
        // In half of the cases the message is lost. Nobody is told in a few: only time tells.
        let arrives = chance.one_in(2).then_some(at);
        let mut hears = || (!chance.one_in(4)).then(|| at + chance.spread(1, 100 * MS));
        let (opener_hears, other_hears) = (hears(), hears());
        self.open.remove(&route);
        Sent { arrives, ends, opener_hears, other_hears }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallId;

    const ROUTE: Route = Route::Call(CallId(1));

    #[test]
    fn messages_of_a_connection_arrive_in_order() {
        let faults = NetFaults { late_one_in: 3, end_one_in: 0 };
        let mut net = Net::new(1, 1, faults);
        net.open(ROUTE, Path::Client(0));
        let mut last = 0;
        for now in 0..500 {
            let at = net.send(now, ROUTE, Way::There).arrives.expect("it arrives");
            assert!(at > now && at > last);
            last = at;
        }
        assert!(net.counts().0 > 50, "some are late");
    }

    #[test]
    fn nothing_arrives_in_a_connection_that_has_ended() {
        let mut net = Net::new(1, 1, NetFaults { late_one_in: 0, end_one_in: 1 });
        net.open(ROUTE, Path::Client(0));
        assert!(net.send(5, ROUTE, Way::There).ends);
        assert_eq!(net.send(6, ROUTE, Way::Back), Sent::default());
        net.open(ROUTE, Path::Client(0));
        net.close(ROUTE);
        assert_eq!(net.send(7, ROUTE, Way::There), Sent::default());
    }

    #[test]
    fn a_cut_delays_what_is_sent_meanwhile() {
        let mut net = Net::new(1, 2, NetFaults::default());
        let at = |net: &mut Net, server| {
            net.open(ROUTE, Path::Link(server, 0));
            net.send(10, ROUTE, Way::There).arrives.expect("it arrives")
        };
        net.cut(1, SECOND);
        assert!(at(&mut net, 0) < SECOND);
        assert!(at(&mut net, 1) > SECOND);
        net.heal();
        assert!(at(&mut net, 1) < SECOND);
    }
}
