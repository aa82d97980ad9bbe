//! A core's table of connections. A place is used again, so a connection is named by its place and
//! by how often that was used before.

use std::mem;

use super::Connection;
use crate::gate::{Readiness, Token};

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
}

impl Connections {
    /// Connections open on this core.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Places there are, taken or not.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// The connection at a place, if it is between two events and is one that is wanted.
    pub(super) fn waiting(
        &self,
        index: usize,
        wanted: impl Fn(&Connection) -> bool,
    ) -> Option<Token> {
        let Slot { generation, place, .. } = &self.slots[index];
        match place {
            Place::Waiting(connection) if wanted(connection) => {
                Some(Token { index: index as u32, generation: *generation })
            }
            _ => None,
        }
    }

    /// Puts a connection back that was taken, unless it was closed meanwhile.
    pub(super) fn put_back(&mut self, token: Token, connection: Box<Connection>) {
        if let Some(slot) = self.slot(token) {
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
        self.free.push(token.index);
        Some(admitted)
    }
}
