//! A core's table of connections. A place is used again, so a connection is named by its place and
//! by how often that was used before.

use std::mem;

use super::wheel::Wheel;
use super::{Connection, NOT_FILED};
use crate::gate::{Readiness, Token};
use crate::limits::TICK_INTERVAL_MS;

enum Place {
    Free,
    /// Between two events.
    Waiting(Box<Connection>),
    /// With a worker. What happened meanwhile.
    Served(Readiness),
}

struct Slot {
    generation: u32,
    /// Its connection is one of those that the server may have.
    admitted: bool,
    place: Place,
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
    drain_began_ms: Option<u64>,
}

impl Connections {
    /// Connections open on this core.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
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
                // It has its deadline when the worker puts it back.
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
    pub(super) fn begin_drain(&mut self, now_ms: u64) {
        self.drain_began_ms = Some(now_ms);
        for (index, slot) in (0..).zip(&mut self.slots) {
            if let Place::Waiting(connection) = &mut slot.place {
                connection.hurry(now_ms);
                file(&mut self.wheel, index, connection);
            }
        }
    }

    /// Puts a connection back that was taken, unless it was closed meanwhile.
    pub(super) fn put_back(&mut self, token: Token, mut connection: Box<Connection>) {
        if let Some(began_ms) = self.drain_began_ms {
            connection.hurry(began_ms);
        }
        let slot = self.slots.get_mut(token.index as usize);
        if let Some(slot) = slot.filter(|slot| slot.generation == token.generation) {
            file(&mut self.wheel, token.index, &mut connection);
            slot.place = Place::Waiting(connection);
        }
    }

    /// Takes what happened to a connection since a worker took it.
    pub(super) fn take_noted(&mut self, token: Token) -> Readiness {
        match self.slot(token) {
            Some(Slot { place: Place::Served(noted), .. }) => mem::take(noted),
            _ => Readiness::default(),
        }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(token.index as usize)?;
        (slot.generation == token.generation).then_some(slot)
    }

    /// Gives a connection a place.
    pub(super) fn insert(&mut self, connection: Box<Connection>, admitted: bool) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, admitted, place: Place::Free });
            self.wheel.add_place();
            self.slots.len() as u32 - 1
        });
        let slot = &mut self.slots[index as usize];
        slot.admitted = admitted;
        slot.place = Place::Waiting(connection);
        Token { index, generation: slot.generation }
    }

    /// Takes a connection to serve it. `None`: it is gone, or a worker has it, who is told.
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

    /// Frees the place of a connection. Returns whether it was admitted.
    pub(super) fn remove(&mut self, token: Token) -> Option<bool> {
        let slot = self.slot(token)?;
        slot.place = Place::Free;
        slot.generation = (slot.generation + 1) & 0x7fff_ffff;
        let admitted = slot.admitted;
        self.wheel.forget(token.index);
        self.free.push(token.index);
        Some(admitted)
    }
}

/// Sees to it that a connection is looked at once its deadline has passed.
#[inline]
fn file(wheel: &mut Wheel, index: u32, connection: &mut Connection) {
    // After seven years every step is the last one: each tick then looks at each connection.
    let step = connection.deadline_ms.div_ceil(TICK_INTERVAL_MS).min(u64::from(NOT_FILED) - 1);
    if u64::from(connection.filed_step) > step {
        connection.filed_step = wheel.file(index, step) as u32;
    }
}
