//! One connection: its socket, what it asked and what it has not yet understood.

use super::line::Line;

/// How far a connection is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// It has no socket.
    #[default]
    Closed,
    /// Its socket is on its way, or its handshake.
    Connecting,
    /// Requests may be sent.
    Open,
    /// Its last answer was read: it is the server's to close.
    Closing,
}

/// One connection. What it asked stands in a ring that all connections share: see [`Asked`].
#[derive(Default)]
pub struct Connection {
    /// How far it is.
    pub state: State,
    /// Its socket, unless it is closed.
    pub socket: Option<Line>,
    /// Requests that were sent and not answered.
    pub in_flight: u32,
    /// Answers that came on this socket.
    pub served: u32,
    /// When something last moved: it connected, was asked or answered.
    pub moved_ns: u64,
    /// The beginning of an answer that came in pieces: nearly always nothing.
    pub unread: Vec<u8>,
    /// The rest of requests that the socket did not take: nearly always nothing.
    pub unsent: Vec<u8>,
    oldest: u32,
}

impl Connection {
    /// Forgets its socket and what belonged to it. What was asked must have been taken before.
    pub fn close(&mut self) {
        debug_assert_eq!(self.in_flight, 0);
        *self = Self::default();
    }
}

/// Since when each request on its way is waited for: a ring for each connection, all in one piece.
pub struct Asked {
    since_ns: Vec<u64>,
    pipeline: u32,
}

impl Asked {
    /// Room for so many requests on each connection.
    pub fn new(connections: u32, pipeline: u32) -> Self {
        Self { since_ns: vec![0; connections as usize * pipeline as usize], pipeline }
    }

    /// A request more on this connection, waited for since then.
    pub fn push(&mut self, number: u32, connection: &mut Connection, since_ns: u64) {
        debug_assert!(connection.in_flight < self.pipeline);
        let at = (connection.oldest + connection.in_flight) % self.pipeline;
        self.since_ns[number as usize * self.pipeline as usize + at as usize] = since_ns;
        connection.in_flight += 1;
    }

    /// Takes the oldest request: since when it was waited for. `None`: there is none.
    pub fn pop(&mut self, number: u32, connection: &mut Connection) -> Option<u64> {
        if connection.in_flight == 0 {
            return None;
        }
        let at = connection.oldest;
        connection.oldest = (at + 1) % self.pipeline;
        connection.in_flight -= 1;
        Some(self.since_ns[number as usize * self.pipeline as usize + at as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_in_order_around_the_ring() {
        let mut asked = Asked::new(2, 3);
        let (mut one, mut other) = (Connection::default(), Connection::default());
        asked.push(1, &mut other, 99);
        for since in 0..10 {
            asked.push(0, &mut one, since);
            asked.push(0, &mut one, since + 100);
            assert_eq!(asked.pop(0, &mut one), Some(since));
            assert_eq!(asked.pop(0, &mut one), Some(since + 100));
            assert_eq!(asked.pop(0, &mut one), None);
        }
        assert_eq!(asked.pop(1, &mut other), Some(99));
    }
}
