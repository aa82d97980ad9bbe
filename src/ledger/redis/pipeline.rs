//! Commands that a blocking client sends in one round trip, each with its slot in a Cluster.

use super::hash_slot::{key_of, slot_of};
use super::resp::{bulk, command};

/// Commands that go out in one round trip.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    bytes: Vec<u8>,
    commands: Vec<CommandSpan>,
}

/// Where a command ends in a pipeline, and its slot.
#[derive(Debug, Clone, Copy)]
struct CommandSpan {
    end: usize,
    /// Its slot in a Cluster. `None`: any node will do.
    slot: Option<u16>,
}

impl Pipeline {
    /// A pipeline without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command: its name and its arguments.
    pub fn add(&mut self, arguments: &[&[u8]]) -> &mut Self {
        command(&mut self.bytes, arguments.len());
        arguments.iter().for_each(|argument| bulk(&mut self.bytes, argument));
        self.end(key_of(arguments).map(slot_of))
    }

    /// Adds a command for the node of this slot.
    pub(super) fn add_for(&mut self, slot: u16, arguments: &[&[u8]]) -> &mut Self {
        self.write(slot, |out| {
            command(out, arguments.len());
            arguments.iter().for_each(|argument| bulk(out, argument));
        })
    }

    /// Adds a command for this slot, written by `write`.
    pub(super) fn write(&mut self, slot: u16, write: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        write(&mut self.bytes);
        self.end(Some(slot))
    }

    fn end(&mut self, slot: Option<u16>) -> &mut Self {
        self.commands.push(CommandSpan { end: self.bytes.len(), slot });
        self
    }

    /// The number of commands.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether it has no commands.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The slot of one command in a Cluster. `None`: any node will do.
    pub(super) fn slot(&self, at: usize) -> Option<u16> {
        self.commands[at].slot
    }

    /// The bytes of all commands.
    pub(super) fn all(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of one command.
    pub(super) fn bytes(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.commands[before].end);
        &self.bytes[begin..self.commands[at].end]
    }
}
