//! The queue of a core's connections whose TLS handshake has not begun.
//!
//! Architecture invariant: it knows no socket and no TLS.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use super::reactor::Token;
use crate::limits::HANDSHAKES_WAITING_MAX;

/// A queue that releases one connection between two rounds.
#[derive(Default)]
pub(super) struct Handshakes {
    waiting: RefCell<VecDeque<Token>>,
    /// One was released since the last round.
    begun: Cell<bool>,
}

impl Handshakes {
    /// Queues a connection. `false`: the queue is full, and the connection would be too late in any
    /// case.
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

    /// The connection whose handshake begins now. `None` after each one: the next round may begin.
    #[cold]
    pub(super) fn turn(&self) -> Option<Token> {
        if self.begun.take() {
            return None;
        }
        let token = self.waiting.borrow_mut().pop_front()?;
        self.begun.set(true);
        Some(token)
    }

    /// Whether the queue has connections.
    #[inline]
    pub(super) fn any(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_handshake_runs_per_round_and_the_queue_is_bounded() {
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
