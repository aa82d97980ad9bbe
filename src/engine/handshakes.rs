//! Who of a core's connections has yet to begin his handshake.
//!
//! Architecture invariant: it knows no socket and no TLS.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::gate::Token;
use crate::limits::HANDSHAKES_WAITING_MAX;

/// A queue of which one has his turn between two rounds.
#[derive(Default)]
pub(super) struct Handshakes {
    waiting: RefCell<VecDeque<Token>>,
    /// One has had it since the last round.
    begun: Cell<bool>,
}

impl Handshakes {
    /// Puts one behind the others. `false`: there are too many, and he would be late in any case.
    pub(super) fn push(&self, token: Token) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.begun.set(false);
        }
        let has_room = waiting.len() < HANDSHAKES_WAITING_MAX;
        if has_room {
            waiting.push_back(token);
        }
        has_room
    }

    /// Whose turn it is. `None`, after one: the next round may begin.
    #[cold]
    pub(super) fn turn(&self) -> Option<Token> {
        if self.begun.take() {
            return None;
        }
        let token = self.waiting.borrow_mut().pop_front()?;
        self.begun.set(true);
        Some(token)
    }

    /// Whether anybody waits.
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_his_turn_between_two_rounds_and_there_are_never_too_many() {
        let token = |index| Token { index, generation: 0 };
        let handshakes = Handshakes::default();
        assert_eq!((handshakes.turn(), handshakes.any()), (None, false));
        assert!((0..HANDSHAKES_WAITING_MAX as u32).all(|index| handshakes.push(token(index))));
        assert!(!handshakes.push(token(9_999)));
        for index in 0..HANDSHAKES_WAITING_MAX as u32 {
            assert!(handshakes.any());
            assert_eq!(handshakes.turn(), Some(token(index)));
            assert!(!handshakes.any() || handshakes.turn().is_none());
        }
        assert!(!handshakes.any());
        assert!(handshakes.push(token(7)));
        assert_eq!(handshakes.turn(), Some(token(7)));
    }
}
