//! Who of a core's connections has yet to begin his handshake.
//!
//! Architecture invariant: it knows no socket and no TLS.

use std::collections::VecDeque;
use std::mem;

use super::gate::Token;
use crate::limits::HANDSHAKES_WAITING_MAX;

/// A queue of which one has his turn between two rounds.
#[derive(Default)]
pub(super) struct Handshakes {
    waiting: VecDeque<Token>,
    /// One has had it since the last round.
    begun: bool,
}

impl Handshakes {
    /// Puts one behind the others. `false`: there are too many, and he would be late in any case.
    pub(super) fn push(&mut self, token: Token) -> bool {
        let has_room = self.waiting.len() < HANDSHAKES_WAITING_MAX;
        if has_room {
            self.waiting.push_back(token);
        }
        has_room
    }

    /// Whose turn it is. `None`, after one: the next round may begin.
    pub(super) fn next(&mut self) -> Option<Token> {
        if mem::take(&mut self.begun) {
            return None;
        }
        let token = self.waiting.pop_front()?;
        self.begun = true;
        Some(token)
    }

    /// How many wait.
    pub(super) fn count(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_his_turn_between_two_rounds_and_there_are_never_too_many() {
        let token = |index| Token { index, generation: 0 };
        let mut handshakes = Handshakes::default();
        assert_eq!(handshakes.next(), None);
        assert!((0..HANDSHAKES_WAITING_MAX as u32).all(|index| handshakes.push(token(index))));
        assert!(!handshakes.push(token(9_999)));
        for index in 0..HANDSHAKES_WAITING_MAX as u32 {
            assert_eq!(handshakes.next(), Some(token(index)));
            assert_eq!(handshakes.next(), None);
        }
        assert_eq!((handshakes.next(), handshakes.count()), (None, 0));
        assert!(handshakes.push(token(7)));
        assert_eq!(handshakes.next(), Some(token(7)));
    }
}
