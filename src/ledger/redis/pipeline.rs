//! Commands for a blocking client to send in one round trip, and where in a Cluster each belongs.

use super::hash_slot::{key_of, slot_of};
use super::resp::{bulk, command};

/// Commands that go out in one round trip.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    bytes: Vec<u8>,
    commands: Vec<Place>,
}

/// Where a command is in a pipeline, and where it belongs.
#[derive(Debug, Clone, Copy)]
struct Place {
    end: usize,
    /// Its slot in a Cluster. `None`: any will do.
    slot: Option<u16>,
}

impl Pipeline {
    /// One with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command: its name and its arguments.
    pub fn add(&mut self, arguments: &[&[u8]]) -> &mut Self {
        command(&mut self.bytes, arguments.len());
        arguments.iter().for_each(|argument| bulk(&mut self.bytes, argument));
        self.end(key_of(arguments).map(slot_of))
    }

    /// Adds a command for the node of a slot.
    pub(super) fn add_for(&mut self, slot: u16, arguments: &[&[u8]]) -> &mut Self {
        self.write(slot, |out| {
            command(out, arguments.len());
            arguments.iter().for_each(|argument| bulk(out, argument));
        })
    }

    /// Adds a command for a slot, as it is written.
    pub(super) fn write(&mut self, slot: u16, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        write(&mut self.bytes);
        self.end(Some(slot))
    }

    fn end(&mut self, slot: Option<u16>) -> &mut Self {
        self.commands.push(Place { end: self.bytes.len(), slot });
        self
    }

    /// How many commands it has.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// One command's slot in a Cluster. `None`: any will do.
    pub(super) fn slot(&self, at: usize) -> Option<u16> {
        self.commands[at].slot
    }

    /// All of them as they are sent.
    pub(super) fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// One command as it is sent.
    pub(super) fn bytes(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.commands[before].end);
        &self.bytes[begin..self.commands[at].end]
    }
}
