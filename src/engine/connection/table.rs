//! A core's table of connections. Slots are reused, so a connection is named by its slot and by the
//! number of earlier uses of that slot.

use std::cmp::Reverse;
use std::mem;

use super::state::{Connection, Drain, UNSCHEDULED};
use super::wheel::{self, Wheel};
use crate::engine::addresses::{Address, Addresses};
use crate::engine::http::Kind;
use crate::engine::reactor::{Readiness, Token};
use crate::limits::{IDLE_CONNECTION_BYTES, TICK_INTERVAL_MS};

/// Connections to close that are collected per search: a search scans the whole table.
const EVICTIONS_FOUND_MAX: usize = 256;

enum SlotState {
    Free,
    /// Between two events.
    Parked(Box<Connection>),
    /// The leader has it. Collects the events that come meanwhile.
    Served(Readiness),
}

struct Slot {
    generation: u32,
    acceptance: Acceptance,
    state: SlotState,
}

/// Memory per slot: here, in the wheel, and in the list of free slots.
const SLOT_BYTES: usize = size_of::<Slot>() + wheel::SLOT_BYTES + size_of::<u32>();
// While the table grows it exists twice, once with double the room.
const _: () = assert!(size_of::<Connection>() + 3 * SLOT_BYTES <= IDLE_CONNECTION_BYTES);

/// Whether a connection was admitted.
#[derive(Debug, Clone, Copy)]
pub enum Acceptance {
    /// It counts against the maximum, and against that of this address.
    Admitted(Option<Address>),
    /// It was refused, and is open only to receive its answer.
    Refused(&'static Kind),
}

impl Slot {
    /// The rank for being closed to make room, if its connection is one of this address.
    fn rank(&self, address: Address, fresh_from_ms: u64) -> Option<(u8, u64)> {
        match (&self.acceptance, &self.state) {
            (Acceptance::Admitted(Some(from)), SlotState::Parked(connection))
                if *from == address =>
            {
                connection.rank(fresh_from_ms)
            }
            _ => None,
        }
    }
}

/// A core's connections.
#[derive(Default)]
pub struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When to check which connection. A deadline that moves away, as with each request, changes
    /// nothing here: the connection is checked too early once, and scheduled again.
    wheel: Wheel,
    /// The drain, once it has begun.
    drain: Option<Drain>,
    evictions: EvictionQueue,
}

/// Connections that are closed next, when connections run out.
#[derive(Default)]
struct EvictionQueue {
    /// Their address.
    address: Option<Address>,
    /// All of one rank. The next one is at the end.
    tokens: Vec<Token>,
    /// They are silent.
    silent: bool,
    /// The tick of the search that found them.
    found_at_step: Option<u64>,
    /// The tick of the last search that found none.
    none_at_step: Option<u64>,
}

impl Connections {
    /// Number of open connections of this core.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of input and answers that are kept with all connections.
    #[cfg(test)]
    pub(in crate::engine) fn kept_bytes(&self) -> usize {
        let kept = |slot: &Slot| match &slot.state {
            SlotState::Parked(connection) => {
                connection.input.capacity() + connection.output.capacity()
            }
            SlotState::Free | SlotState::Served(_) => 0,
        };
        self.slots.iter().map(kept).sum()
    }

    /// The next connection that is between two events and past its deadline. `looks` bounds the
    /// number of connections to check, and is counted down.
    pub(super) fn next_overdue(&mut self, now_ms: u64, looks: &mut usize) -> Option<Token> {
        let step = now_ms / TICK_INTERVAL_MS;
        while *looks > 0 {
            *looks -= 1;
            let index = self.wheel.take_due(step)?;
            let Slot { generation, state, .. } = &mut self.slots[index as usize];
            match state {
                SlotState::Free => debug_assert!(false, "a free slot is scheduled"),
                // It gets its deadline when the leader puts it back.
                SlotState::Served(_) => _ = self.wheel.schedule(index, step + 1),
                SlotState::Parked(connection) => {
                    connection.scheduled_step = UNSCHEDULED;
                    if connection.deadline_ms <= now_ms {
                        return Some(Token { index, generation: *generation });
                    }
                    schedule(&mut self.wheel, index, connection);
                }
            }
        }
        None
    }

    /// Limits the remaining time of all clients to that of the drain.
    pub(super) fn begin_drain(&mut self, drain: Drain) {
        self.drain = Some(drain);
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let SlotState::Parked(connection) = &mut slot.state {
                connection.hurry(drain);
                schedule(&mut self.wheel, index, connection);
            }
        }
    }

    /// Puts a connection back that was taken, unless it was closed meanwhile.
    pub(super) fn put_back(&mut self, token: Token, mut connection: Box<Connection>) {
        if let Some(drain) = self.drain {
            connection.hurry(drain);
        }
        let slot = self.slots.get_mut(token.index as usize);
        if let Some(slot) = slot.filter(|slot| slot.generation == token.generation) {
            schedule(&mut self.wheel, token.index, &mut connection);
            slot.state = SlotState::Parked(connection);
        }
    }

    /// Takes the events of a connection that came since the leader took it.
    pub(super) fn take_noted(&mut self, token: Token) -> Readiness {
        match self.slot(token) {
            Some(Slot { state: SlotState::Served(noted), .. }) => mem::take(noted),
            _ => Readiness::default(),
        }
    }

    /// The address whose connections are closed to make room: the one with most. It stays the same
    /// until it has a sixteenth less than another address. So among addresses with about as many,
    /// the search is not repeated for each in turn.
    pub(super) fn address_to_evict(&self, addresses: &Addresses) -> Option<Address> {
        let (top, most) = addresses.top().filter(|(_, most)| *most > 1)?;
        let enough = (most - most / 16).max(2);
        let stays = |address: &Address| addresses.count(*address) >= enough;
        Some(self.evictions.address.filter(stays).unwrap_or(top))
    }

    /// The next connection of this address to be closed to make room.
    ///
    /// The order: silent ones; idle ones between two requests; those with a request begun; those
    /// that don't read their answers; and last those that have just come. Within each rank, the one
    /// that has been so for longest. Connections that are being served, that wait for their turn or
    /// that were never read are left out. A silent connection with a deadline later than
    /// `fresh_from_ms` counts as just come.
    pub(super) fn next_to_evict(
        &mut self,
        address: Address,
        now_ms: u64,
        fresh_from_ms: u64,
    ) -> Option<Token> {
        if self.evictions.address != Some(address) {
            self.evictions = EvictionQueue { address: Some(address), ..EvictionQueue::default() };
        }
        let step = now_ms / TICK_INTERVAL_MS;
        if !self.evictions.silent && self.evictions.found_at_step != Some(step) {
            // By now there may be silent ones.
            self.evictions.tokens.clear();
        }
        loop {
            while let Some(token) = self.evictions.tokens.pop() {
                if self.slot(token).is_some_and(|slot| slot.rank(address, fresh_from_ms).is_some())
                {
                    return Some(token);
                }
            }
            if self.evictions.none_at_step == Some(step) {
                return None;
            }
            self.find_evictions(address, fresh_from_ms);
            self.evictions.found_at_step = Some(step);
            if self.evictions.tokens.is_empty() {
                self.evictions.none_at_step = Some(step);
            }
        }
    }

    fn find_evictions(&mut self, address: Address, fresh_from_ms: u64) {
        let mut found: Vec<_> = (0..)
            .zip(&self.slots)
            .filter_map(|(index, slot)| {
                Some((
                    slot.rank(address, fresh_from_ms)?,
                    Token { index, generation: slot.generation },
                ))
            })
            .collect();
        let kind = found.iter().map(|((kind, _), _)| *kind).min();
        found.retain(|((of, _), _)| Some(*of) == kind);
        self.evictions.silent = kind == Some(0);
        if found.len() > EVICTIONS_FOUND_MAX {
            found.select_nth_unstable_by_key(EVICTIONS_FOUND_MAX, |(rank, _)| *rank);
            found.truncate(EVICTIONS_FOUND_MAX);
        }
        found.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        self.evictions.tokens = found.into_iter().map(|(_, token)| token).collect();
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.index as usize)?;
        (slot.generation == token.generation).then_some(slot)
    }

    /// Whether a connection was admitted.
    pub(in crate::engine) fn acceptance_mut(&mut self, token: Token) -> Option<&mut Acceptance> {
        self.slot(token).map(|slot| &mut slot.acceptance)
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, connection: Box<Connection>, acceptance: Acceptance) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, acceptance, state: SlotState::Free });
            self.wheel.add_slot();
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.acceptance = acceptance;
        slot.state = SlotState::Parked(connection);
        Token { index, generation: slot.generation }
    }

    /// Takes a connection to serve it. `None`: it is gone, or the leader has it; then the event is
    /// noted.
    pub(super) fn take(&mut self, token: Token, readiness: Readiness) -> Option<Box<Connection>> {
        let slot = self.slot(token)?;
        match &mut slot.state {
            SlotState::Free => None,
            SlotState::Served(noted) => {
                noted.readable |= readiness.readable;
                noted.hung_up |= readiness.hung_up;
                noted.broken |= readiness.broken;
                None
            }
            SlotState::Parked(_) => {
                match mem::replace(&mut slot.state, SlotState::Served(Readiness::default())) {
                    SlotState::Parked(connection) => Some(connection),
                    _ => None,
                }
            }
        }
    }

    /// Removes a connection. Returns whether it was admitted.
    pub(super) fn remove(&mut self, token: Token) -> Option<Acceptance> {
        let slot = self.slot(token)?;
        slot.state = SlotState::Free;
        slot.generation = (slot.generation + 1) & 0x7fff_ffff;
        let acceptance = slot.acceptance;
        self.wheel.unschedule(token.index);
        self.free.push(token.index);
        Some(acceptance)
    }
}

/// Schedules the check of a connection for its deadline.
#[inline]
fn schedule(wheel: &mut Wheel, index: u32, connection: &mut Connection) {
    // The common case: it is checked earlier, and then scheduled again.
    if u64::from(connection.scheduled_step) * TICK_INTERVAL_MS <= connection.deadline_ms {
        return;
    }
    // After seven years every step is the last one: each tick then checks each connection.
    let step = connection.deadline_ms.div_ceil(TICK_INTERVAL_MS).min(u64::from(UNSCHEDULED) - 1);
    if u64::from(connection.scheduled_step) > step {
        connection.scheduled_step = wheel.schedule(index, step) as u32;
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::engine::connection::state::{Phase, Preamble, TurnState};
    use crate::limits::{DRAIN_CLIENT_MS, DRAIN_NEWCOMER_MS};

    const IDLE_MS: u64 = 75_000;
    const OURS: Acceptance = Acceptance::Admitted(None);

    fn connection(phase: Phase, deadline_ms: u64) -> Box<Connection> {
        let socket = eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor");
        let mut connection = Box::new(Connection::new(socket, Preamble::default(), deadline_ms));
        connection.phase = phase;
        connection
    }

    /// Connections in these phases, between two events.
    fn table(phases: &[Phase]) -> (Connections, Vec<Token>) {
        let mut table = Connections::default();
        let add = |phase: &Phase| {
            let token = table.insert(connection(*phase, IDLE_MS), OURS);
            let taken = table.take(token, Readiness::default()).expect("it is there");
            table.put_back(token, taken);
            token
        };
        let tokens = phases.iter().map(add).collect();
        (table, tokens)
    }

    /// The leader serves a connection, which has this deadline afterwards.
    fn serve(table: &mut Connections, token: Token, phase: Phase, deadline_ms: u64) {
        let mut taken = table.take(token, Readiness::default()).expect("it is there");
        (taken.phase, taken.deadline_ms) = (phase, deadline_ms);
        table.put_back(token, taken);
    }

    /// Connections that are past their deadline, and how many were checked.
    fn overdue(table: &mut Connections, now_ms: u64) -> (Vec<Token>, usize) {
        let mut looks = 1_000_000;
        let found: Vec<Token> =
            std::iter::from_fn(|| table.next_overdue(now_ms, &mut looks)).collect();
        found.iter().for_each(|token| _ = table.remove(*token));
        // The last check finds none.
        (found, 999_999 - looks)
    }

    #[test]
    fn only_due_connections_are_checked() {
        let (mut table, tokens) = table(&[Phase::Idle; 100]);
        serve(&mut table, tokens[7], Phase::Head, 10_000);
        serve(&mut table, tokens[8], Phase::Head, 10_020);
        assert_eq!(overdue(&mut table, 9_999), (vec![], 0));
        assert_eq!(overdue(&mut table, 10_000), (vec![tokens[7]], 1));
        assert_eq!(overdue(&mut table, 10_050), (vec![tokens[8]], 1));
        assert_eq!(overdue(&mut table, IDLE_MS - 1), (vec![], 0));
        assert_eq!(overdue(&mut table, IDLE_MS).0.len(), 98);
        assert_eq!(table.count(), 0);
    }

    #[test]
    fn a_deadline_moved_by_each_request_is_checked_once() {
        let (mut table, tokens) = table(&[Phase::Idle; 2]);
        for now_ms in (0..70_000).step_by(100) {
            serve(&mut table, tokens[0], Phase::Idle, now_ms + IDLE_MS);
            assert_eq!(overdue(&mut table, now_ms), (vec![], 0));
        }
        assert_eq!(overdue(&mut table, IDLE_MS), (vec![tokens[1]], 2));
        assert_eq!(overdue(&mut table, 69_900 + IDLE_MS), (vec![tokens[0]], 1));
    }

    #[test]
    fn checks_are_bounded_and_the_rest_follow_next_time() {
        let (mut table, _) = table(&[Phase::Idle; 10]);
        let mut looks = 4;
        let found: Vec<Token> =
            std::iter::from_fn(|| table.next_overdue(IDLE_MS, &mut looks)).collect();
        assert_eq!((found.len(), looks), (4, 0));
        assert_eq!(overdue(&mut table, IDLE_MS).0.len(), 6);
    }

    #[test]
    fn a_taken_connection_is_checked_when_put_back() {
        let (mut table, tokens) = table(&[Phase::Idle]);
        let taken = table.take(tokens[0], Readiness::default()).expect("it is there");
        assert_eq!(overdue(&mut table, IDLE_MS), (vec![], 1));
        table.put_back(tokens[0], taken);
        assert_eq!(overdue(&mut table, IDLE_MS + TICK_INTERVAL_MS), (tokens.clone(), 1));
        // Its successor is not checked early.
        let successor = table.insert(connection(Phase::Idle, 2 * IDLE_MS), OURS);
        assert_eq!(successor.index, tokens[0].index);
        assert_eq!(overdue(&mut table, 3 * IDLE_MS), (vec![], 0));
    }

    #[test]
    fn a_drain_shortens_the_time_of_clients() {
        let phases =
            [Phase::Idle, Phase::Head, Phase::Body, Phase::Write, Phase::Linger, Phase::Waiting];
        let (mut table, tokens) = table(&phases);
        let late = table.insert(connection(Phase::Idle, IDLE_MS), OURS);
        let taken = table.take(late, Readiness::default()).expect("it is there");
        let new = table.insert(connection(Phase::Idle, 700 + IDLE_MS), OURS);
        overdue(&mut table, 1_000);
        let drain = Drain { began_ms: 1_000, idle_timeout_ms: IDLE_MS };
        table.begin_drain(drain);
        assert_eq!(overdue(&mut table, 1_050).0, [tokens[0]]);
        table.put_back(late, taken);
        assert_eq!(overdue(&mut table, 1_100).0, [late]);
        assert!(overdue(&mut table, 700 + DRAIN_NEWCOMER_MS - 1).0.is_empty());
        assert_eq!(overdue(&mut table, 700 + DRAIN_NEWCOMER_MS).0, [new]);
        assert!(overdue(&mut table, 1_000 + DRAIN_CLIENT_MS - 1).0.is_empty());
        let mut hurried = overdue(&mut table, 1_000 + DRAIN_CLIENT_MS).0;
        hurried.sort_by_key(|token| token.index);
        assert_eq!(hurried, tokens[1..4]);
        // Connections in these phases keep their own deadlines.
        let mut last = overdue(&mut table, IDLE_MS).0;
        last.sort_by_key(|token| token.index);
        assert_eq!(last, tokens[4..]);
    }

    /// Connections of an address in these states, and their tokens.
    fn eviction_candidates(kinds: &[(Phase, bool, u64)]) -> (Connections, Vec<Token>, Address) {
        let address = Address::of([10, 0, 0, 1].into());
        let mut table = Connections::default();
        let mut add = |(phase, silent, deadline_ms): &(Phase, bool, u64), address| {
            let mut connection = connection(*phase, *deadline_ms);
            (connection.silent, connection.watched) = (*silent, true);
            table.insert(connection, Acceptance::Admitted(address))
        };
        add(&(Phase::Idle, true, 0), Some(Address::of([10, 0, 0, 2].into())));
        add(&(Phase::Idle, true, 0), None);
        let tokens = kinds.iter().map(|kind| add(kind, Some(address))).collect();
        (table, tokens, address)
    }

    #[test]
    fn silent_connections_are_evicted_first_the_oldest_first() {
        let (mut table, tokens, address) = eviction_candidates(&[
            (Phase::Write, false, 1),
            (Phase::Idle, true, 51),
            (Phase::Idle, false, 20),
            (Phase::Idle, true, 31),
            (Phase::Body, false, 3),
            (Phase::Idle, false, 10),
            (Phase::Idle, true, 30),
            (Phase::Head, false, 4),
        ]);
        let mut found = Vec::new();
        while let Some(token) = table.next_to_evict(address, 0, 50) {
            found.push(tokens.iter().position(|of| *of == token).expect("of this address"));
            table.remove(token);
        }
        assert_eq!(found, [6, 3, 5, 2, 4, 7, 0, 1]);
        // After a search without a result, the next search is in the next tick.
        let late = table.insert(connection(Phase::Idle, 5), Acceptance::Admitted(Some(address)));
        if let Some(mut taken) = table.take(late, Readiness::default()) {
            taken.watched = true;
            table.put_back(late, taken);
        }
        assert_eq!(table.next_to_evict(address, TICK_INTERVAL_MS - 1, 50), None);
        assert_eq!(table.next_to_evict(address, TICK_INTERVAL_MS, 50), Some(late));
    }

    #[test]
    fn served_or_unwatched_connections_are_not_evicted() {
        let (mut table, tokens, address) =
            eviction_candidates(&[(Phase::Idle, true, 1), (Phase::Idle, true, 2)]);
        table.insert(connection(Phase::Idle, 0), Acceptance::Admitted(Some(address)));
        let served = table.take(tokens[0], Readiness::default()).expect("it is there");
        assert_eq!(table.next_to_evict(address, 0, 50), Some(tokens[1]));
        table.remove(tokens[1]);
        assert_eq!(table.next_to_evict(address, 0, 50), None);
        table.put_back(tokens[0], served);
        let mut asked = table.take(tokens[0], Readiness::default()).expect("it is there");
        asked.turn_state = TurnState::Waiting;
        table.put_back(tokens[0], asked);
        assert_eq!(table.next_to_evict(address, 1_000, 50), None, "it waits for its turn");
        let mut answered = table.take(tokens[0], Readiness::default()).expect("it is there");
        answered.phase = Phase::Linger;
        table.put_back(tokens[0], answered);
        assert_eq!(table.next_to_evict(address, 2_000, 50), Some(tokens[0]), "it has its answer");
    }

    #[test]
    fn an_address_is_evicted_until_clearly_below_another() {
        let addresses = Addresses::default();
        let [large, small] = [1, 2].map(|number| Address::of([10, 0, 0, number].into()));
        (0..100).for_each(|_| _ = addresses.add(large));
        (0..98).for_each(|_| _ = addresses.add(small));
        let (mut table, ..) = eviction_candidates(&[]);
        assert_eq!(table.address_to_evict(&addresses), Some(large));
        table.evictions.address = Some(large);
        (0..8).for_each(|_| addresses.remove(large));
        assert_eq!(table.address_to_evict(&addresses), Some(large), "92 to 98");
        addresses.remove(large);
        assert_eq!(table.address_to_evict(&addresses), Some(small), "91 to 98");
        let alone = Addresses::default();
        alone.add(small);
        assert_eq!(table.address_to_evict(&alone), None, "who has one keeps it");
    }
}
