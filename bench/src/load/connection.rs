//! A connection: its socket, its unanswered requests and its unparsed input.

use super::line::Line;

/// The state of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Without a socket.
    #[default]
    Closed,
    /// Its socket connects, or its handshake is under way.
    Connecting,
    /// Requests may be sent.
    Open,
    /// Its last answer was read, and the server must close it.
    Closing,
}

/// A connection. All connections share one ring of unanswered requests: see [`Asked`].
#[derive(Default)]
pub struct Connection {
    /// Its state.
    pub state: State,
    /// Its socket, unless it is closed.
    pub socket: Option<Line>,
    /// Unanswered requests.
    pub in_flight: u32,
    /// Answers on this socket.
    pub served: u32,
    /// Time of the last progress: connected, requested or answered.
    pub moved_ns: u64,
    /// The beginning of a partial answer, nearly always empty.
    pub unread: Vec<u8>,
    /// The bytes of requests that the socket did not take, nearly always empty.
    pub unsent: Vec<u8>,
    oldest: u32,
}

impl Connection {
    /// Drops the socket and its state. Take its unanswered requests before.
    pub fn close(&mut self) {
        debug_assert_eq!(self.in_flight, 0);
        *self = Self::default();
    }
}

/// Start times of the unanswered requests: one ring per connection, in one allocation.
pub struct Asked {
    since_ns: Vec<u64>,
    pipeline: u32,
}

impl Asked {
    /// Room for this number of requests per connection.
    pub fn new(connections: u32, pipeline: u32) -> Self {
        Self { since_ns: vec![0; connections as usize * pipeline as usize], pipeline }
    }

    /// Adds a request on this connection, with its start time.
    pub fn push(&mut self, number: u32, connection: &mut Connection, since_ns: u64) {
        debug_assert!(connection.in_flight < self.pipeline);
        let at = (connection.oldest + connection.in_flight) % self.pipeline;
        self.since_ns[number as usize * self.pipeline as usize + at as usize] = since_ns;
        connection.in_flight += 1;
    }

    /// Takes the start time of the oldest request. `None`: there is none.
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
