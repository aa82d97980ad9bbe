//! A core's table of connections. A place is used again, so a connection is named by its place and
//! by how often that was used before.

use std::cmp::Reverse;
use std::mem;

use super::state::{Connection, Drain, NOT_FILED};
use super::wheel::{self, Wheel};
use crate::engine::addresses::{Address, Addresses};
use crate::engine::gate::{Readiness, Token};
use crate::engine::http::Kind;
use crate::limits::{IDLE_CONNECTION_BYTES, TICK_INTERVAL_MS};

/// Connections that are found at a time to give way: to look for them takes a look at all.
const GIVE_WAY_FOUND_MAX: usize = 256;

enum Place {
    Free,
    /// Between two events.
    Waiting(Box<Connection>),
    /// With the leader. What happened meanwhile.
    Served(Readiness),
}

struct Slot {
    generation: u32,
    entry: Entry,
    place: Place,
}

/// A place: here, in the wheel, and among those that are free.
const PLACE_BYTES: usize = size_of::<Slot>() + wheel::PLACE_BYTES + size_of::<u32>();
// While a table grows it is there twice, once with double the room.
const _: () = assert!(size_of::<Connection>() + 3 * PLACE_BYTES <= IDLE_CONNECTION_BYTES);

/// How a connection has come in.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    /// It is one of those that the server may have. With the address that it is counted with.
    Admitted(Option<Address>),
    /// It is not, and is told so.
    Refused(&'static Kind),
}

impl Slot {
    /// In which order it gives way to others, if its connection is one of this address.
    fn rank(&self, address: Address, fresh_from_ms: u64) -> Option<(u8, u64)> {
        match (&self.entry, &self.place) {
            (Entry::Admitted(Some(from)), Place::Waiting(connection)) if *from == address => {
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
    /// When to look at which. A deadline that moves away, as with each request, moves nothing here:
    /// the connection is looked at too early, once, and filed again.
    wheel: Wheel,
    /// Since when clients are hurried.
    drain: Option<Drain>,
    giving: Giving,
}

/// Who gives way next, when places run out.
#[derive(Default)]
struct Giving {
    /// Whose connections they are.
    address: Option<Address>,
    /// The next one is the last. All of one kind.
    tokens: Vec<Token>,
    /// They are silent.
    silent: bool,
    /// The tick at which they were found.
    found_at_step: Option<u64>,
    /// The tick at which nobody was.
    none_at_step: Option<u64>,
}

impl Connections {
    /// Connections open on this core.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Bytes of input and answers that are kept with all connections.
    #[cfg(test)]
    pub(in crate::engine) fn kept_bytes(&self) -> usize {
        let kept = |slot: &Slot| match &slot.place {
            Place::Waiting(connection) => {
                connection.input.capacity() + connection.output.capacity()
            }
            Place::Free | Place::Served(_) => 0,
        };
        self.slots.iter().map(kept).sum()
    }

    /// The next connection that is between two events and past its deadline. Looks at so many at
    /// the most, and counts them down.
    pub(super) fn next_overdue(&mut self, now_ms: u64, looks: &mut usize) -> Option<Token> {
        let step = now_ms / TICK_INTERVAL_MS;
        while *looks > 0 {
            *looks -= 1;
            let index = self.wheel.take_due(step)?;
            let Slot { generation, place, .. } = &mut self.slots[index as usize];
            match place {
                Place::Free => debug_assert!(false, "a free place is filed"),
                // It has its deadline when the leader puts it back.
                Place::Served(_) => _ = self.wheel.file(index, step + 1),
                Place::Waiting(connection) => {
                    connection.filed_step = NOT_FILED;
                    if connection.deadline_ms <= now_ms {
                        return Some(Token { index, generation: *generation });
                    }
                    file(&mut self.wheel, index, connection);
                }
            }
        }
        None
    }

    /// From now on no client has more time than a drain leaves it.
    pub(super) fn begin_drain(&mut self, drain: Drain) {
        self.drain = Some(drain);
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let Place::Waiting(connection) = &mut slot.place {
                connection.hurry(drain);
                file(&mut self.wheel, index, connection);
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
            file(&mut self.wheel, token.index, &mut connection);
            slot.place = Place::Waiting(connection);
        }
    }

    /// Takes what happened to a connection since the leader took it.
    pub(super) fn take_noted(&mut self, token: Token) -> Readiness {
        match self.slot(token) {
            Some(Slot { place: Place::Served(noted), .. }) => mem::take(noted),
            _ => Readiness::default(),
        }
    }

    /// Whose connections give way: those of the address that has most. It goes on to be that one
    /// until it has a sixteenth less than another, so that of several with about as many not each
    /// in turn is looked for.
    pub(super) fn who_gives_way(&self, addresses: &Addresses) -> Option<Address> {
        let (top, most) = addresses.top().filter(|(_, most)| *most > 1)?;
        let enough = (most - most / 16).max(2);
        let stays = |address: &Address| addresses.count(*address) >= enough;
        Some(self.giving.address.filter(stays).unwrap_or(top))
    }

    /// The connection of this address that gives way next. Silent ones do first, then those that are
    /// between two requests, then those that have begun one, then those that don't take their
    /// answers, and last those that have only just come; of each kind those first that have been so
    /// for longest. One that is being served is none of them, nor is one that waits for its turn or
    /// has not been looked at yet. Silent ones whose deadline is later than `fresh_from_ms` have only
    /// just come.
    pub(super) fn next_to_give_way(
        &mut self,
        address: Address,
        now_ms: u64,
        fresh_from_ms: u64,
    ) -> Option<Token> {
        if self.giving.address != Some(address) {
            self.giving = Giving { address: Some(address), ..Giving::default() };
        }
        let step = now_ms / TICK_INTERVAL_MS;
        if !self.giving.silent && self.giving.found_at_step != Some(step) {
            // By now there may be silent ones.
            self.giving.tokens.clear();
        }
        loop {
            while let Some(token) = self.giving.tokens.pop() {
                if self.slot(token).is_some_and(|slot| slot.rank(address, fresh_from_ms).is_some())
                {
                    return Some(token);
                }
            }
            if self.giving.none_at_step == Some(step) {
                return None;
            }
            self.find_who_gives_way(address, fresh_from_ms);
            self.giving.found_at_step = Some(step);
            if self.giving.tokens.is_empty() {
                self.giving.none_at_step = Some(step);
            }
        }
    }

    fn find_who_gives_way(&mut self, address: Address, fresh_from_ms: u64) {
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
        self.giving.silent = kind == Some(0);
        if found.len() > GIVE_WAY_FOUND_MAX {
            found.select_nth_unstable_by_key(GIVE_WAY_FOUND_MAX, |(rank, _)| *rank);
            found.truncate(GIVE_WAY_FOUND_MAX);
        }
        found.sort_unstable_by_key(|(rank, _)| Reverse(*rank));
        self.giving.tokens = found.into_iter().map(|(_, token)| token).collect();
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.index as usize)?;
        (slot.generation == token.generation).then_some(slot)
    }

    /// How a connection has come in.
    pub(in crate::engine) fn entry_mut(&mut self, token: Token) -> Option<&mut Entry> {
        self.slot(token).map(|slot| &mut slot.entry)
    }

    /// Gives a connection a place.
    pub(super) fn insert(&mut self, connection: Box<Connection>, entry: Entry) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry, place: Place::Free });
            self.wheel.add_place();
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.entry = entry;
        slot.place = Place::Waiting(connection);
        Token { index, generation: slot.generation }
    }

    /// Takes a connection to serve it. `None`: it is gone, or the leader has it, who is told.
    pub(super) fn take(&mut self, token: Token, readiness: Readiness) -> Option<Box<Connection>> {
        let slot = self.slot(token)?;
        match &mut slot.place {
            Place::Free => None,
            Place::Served(noted) => {
                noted.readable |= readiness.readable;
                noted.hung_up |= readiness.hung_up;
                noted.broken |= readiness.broken;
                None
            }
            Place::Waiting(_) => {
                match mem::replace(&mut slot.place, Place::Served(Readiness::default())) {
                    Place::Waiting(connection) => Some(connection),
                    _ => None,
                }
            }
        }
    }

    /// Frees the place of a connection. Returns how it had come in.
    pub(super) fn remove(&mut self, token: Token) -> Option<Entry> {
        let slot = self.slot(token)?;
        slot.place = Place::Free;
        slot.generation = (slot.generation + 1) & 0x7fff_ffff;
        let entry = slot.entry;
        self.wheel.forget(token.index);
        self.free.push(token.index);
        Some(entry)
    }
}

/// Sees to it that a connection is looked at once its deadline has passed.
#[inline]
fn file(wheel: &mut Wheel, index: u32, connection: &mut Connection) {
    // The common case: it will be looked at before, and then filed again.
    if u64::from(connection.filed_step) * TICK_INTERVAL_MS <= connection.deadline_ms {
        return;
    }
    // After seven years every step is the last one: each tick then looks at each connection.
    let step = connection.deadline_ms.div_ceil(TICK_INTERVAL_MS).min(u64::from(NOT_FILED) - 1);
    if u64::from(connection.filed_step) > step {
        connection.filed_step = wheel.file(index, step) as u32;
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::engine::connection::state::{Beginning, Phase, Turns};
    use crate::limits::{DRAIN_CLIENT_MS, DRAIN_NEWCOMER_MS};

    const IDLE_MS: u64 = 75_000;
    const OURS: Entry = Entry::Admitted(None);

    fn connection(phase: Phase, deadline_ms: u64) -> Box<Connection> {
        let socket = eventfd(0, EventfdFlags::CLOEXEC).expect("a descriptor");
        let mut connection = Box::new(Connection::new(socket, Beginning::default(), deadline_ms));
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

    /// Those that are past their deadline, and how many were looked at.
    fn overdue(table: &mut Connections, now_ms: u64) -> (Vec<Token>, usize) {
        let mut looks = 1_000_000;
        let found: Vec<Token> =
            std::iter::from_fn(|| table.next_overdue(now_ms, &mut looks)).collect();
        found.iter().for_each(|token| _ = table.remove(*token));
        // The last look finds nobody.
        (found, 999_999 - looks)
    }

    #[test]
    fn only_what_is_due_is_looked_at() {
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
    fn a_deadline_that_moves_away_with_each_request_costs_one_look() {
        let (mut table, tokens) = table(&[Phase::Idle; 2]);
        for now_ms in (0..70_000).step_by(100) {
            serve(&mut table, tokens[0], Phase::Idle, now_ms + IDLE_MS);
            assert_eq!(overdue(&mut table, now_ms), (vec![], 0));
        }
        assert_eq!(overdue(&mut table, IDLE_MS), (vec![tokens[1]], 2));
        assert_eq!(overdue(&mut table, 69_900 + IDLE_MS), (vec![tokens[0]], 1));
    }

    #[test]
    fn looks_are_counted_down_and_the_rest_is_looked_at_next_time() {
        let (mut table, _) = table(&[Phase::Idle; 10]);
        let mut looks = 4;
        let found: Vec<Token> =
            std::iter::from_fn(|| table.next_overdue(IDLE_MS, &mut looks)).collect();
        assert_eq!((found.len(), looks), (4, 0));
        assert_eq!(overdue(&mut table, IDLE_MS).0.len(), 6);
    }

    #[test]
    fn one_that_a_worker_has_is_looked_at_when_it_is_back() {
        let (mut table, tokens) = table(&[Phase::Idle]);
        let taken = table.take(tokens[0], Readiness::default()).expect("it is there");
        assert_eq!(overdue(&mut table, IDLE_MS), (vec![], 1));
        table.put_back(tokens[0], taken);
        assert_eq!(overdue(&mut table, IDLE_MS + TICK_INTERVAL_MS), (tokens.clone(), 1));
        // Nobody else gets its look.
        let successor = table.insert(connection(Phase::Idle, 2 * IDLE_MS), OURS);
        assert_eq!(successor.index, tokens[0].index);
        assert_eq!(overdue(&mut table, 3 * IDLE_MS), (vec![], 0));
    }

    #[test]
    fn a_drain_leaves_clients_little_time() {
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
        // These have their own time.
        let mut last = overdue(&mut table, IDLE_MS).0;
        last.sort_by_key(|token| token.index);
        assert_eq!(last, tokens[4..]);
    }

    /// Connections of an address with how each is, and what is found of them.
    fn giving(kinds: &[(Phase, bool, u64)]) -> (Connections, Vec<Token>, Address) {
        let address = Address::of([10, 0, 0, 1].into());
        let mut table = Connections::default();
        let mut add = |(phase, silent, deadline_ms): &(Phase, bool, u64), address| {
            let mut connection = connection(*phase, *deadline_ms);
            (connection.silent, connection.watched) = (*silent, true);
            table.insert(connection, Entry::Admitted(address))
        };
        add(&(Phase::Idle, true, 0), Some(Address::of([10, 0, 0, 2].into())));
        add(&(Phase::Idle, true, 0), None);
        let tokens = kinds.iter().map(|kind| add(kind, Some(address))).collect();
        (table, tokens, address)
    }

    #[test]
    fn silent_ones_give_way_first_and_of_each_kind_the_oldest() {
        let (mut table, tokens, address) = giving(&[
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
        while let Some(token) = table.next_to_give_way(address, 0, 50) {
            found.push(tokens.iter().position(|of| *of == token).expect("of this address"));
            table.remove(token);
        }
        assert_eq!(found, [6, 3, 5, 2, 4, 7, 0, 1]);
        // Until the next tick nobody is looked for in vain again.
        let late = table.insert(connection(Phase::Idle, 5), Entry::Admitted(Some(address)));
        if let Some(mut taken) = table.take(late, Readiness::default()) {
            taken.watched = true;
            table.put_back(late, taken);
        }
        assert_eq!(table.next_to_give_way(address, TICK_INTERVAL_MS - 1, 50), None);
        assert_eq!(table.next_to_give_way(address, TICK_INTERVAL_MS, 50), Some(late));
    }

    #[test]
    fn who_is_served_or_was_never_looked_at_does_not_give_way() {
        let (mut table, tokens, address) =
            giving(&[(Phase::Idle, true, 1), (Phase::Idle, true, 2)]);
        table.insert(connection(Phase::Idle, 0), Entry::Admitted(Some(address)));
        let served = table.take(tokens[0], Readiness::default()).expect("it is there");
        assert_eq!(table.next_to_give_way(address, 0, 50), Some(tokens[1]));
        table.remove(tokens[1]);
        assert_eq!(table.next_to_give_way(address, 0, 50), None);
        table.put_back(tokens[0], served);
        let mut asked = table.take(tokens[0], Readiness::default()).expect("it is there");
        asked.turns = Turns::Waiting;
        table.put_back(tokens[0], asked);
        assert_eq!(table.next_to_give_way(address, 1_000, 50), None, "it waits for its turn");
        let mut answered = table.take(tokens[0], Readiness::default()).expect("it is there");
        answered.phase = Phase::Linger;
        table.put_back(tokens[0], answered);
        assert_eq!(
            table.next_to_give_way(address, 2_000, 50),
            Some(tokens[0]),
            "it has its answer"
        );
    }

    #[test]
    fn one_address_gives_way_until_it_has_clearly_less_than_another() {
        let addresses = Addresses::default();
        let [large, small] = [1, 2].map(|number| Address::of([10, 0, 0, number].into()));
        (0..100).for_each(|_| _ = addresses.enter(large));
        (0..98).for_each(|_| _ = addresses.enter(small));
        let (mut table, ..) = giving(&[]);
        assert_eq!(table.who_gives_way(&addresses), Some(large));
        table.giving.address = Some(large);
        (0..8).for_each(|_| addresses.leave(large));
        assert_eq!(table.who_gives_way(&addresses), Some(large), "92 to 98");
        addresses.leave(large);
        assert_eq!(table.who_gives_way(&addresses), Some(small), "91 to 98");
        let alone = Addresses::default();
        alone.enter(small);
        assert_eq!(table.who_gives_way(&alone), None, "who has one keeps it");
    }
}
