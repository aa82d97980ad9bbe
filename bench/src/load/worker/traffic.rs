//! The traffic on a thread's connections: requests, answers, opened and lost sockets.

use std::io;
use std::net::Ipv4Addr;

use super::super::connection::State;
use super::super::line::Line;
use super::super::socket::Socket;
use super::super::tally::{Failure, shown};
use super::{BUFFER_BYTES, Worker};

/// Connections per loopback address. With more, the kernel searches long for a free port.
const SOURCE_CONNECTIONS_MAX: u32 = 8_000;
/// Number of source addresses: 127.0.0.2 to 127.0.0.201.
const SOURCES_MAX: u32 = 200;

impl Worker<'_> {
    /// Closed loop: fills a connection's pipeline while requests are left.
    pub(super) fn begin_closed(&mut self, number: u32, now: u64) {
        if !self.sending || now >= self.end_ns {
            return;
        }
        let room = self.plan.pipeline - self.connections[number as usize].in_flight;
        let count = u64::from(room).min(self.budget) as u32;
        if count > 0 {
            self.begin(number, count, now, now);
        }
    }

    /// Sends requests with this start time, on a new socket if each request has its own.
    pub(super) fn begin(&mut self, number: u32, count: u32, since_ns: u64, now: u64) {
        if self.plan.connection_each
            && let Err(error) = self.open(number)
        {
            self.tally.fail(Failure::Connect, || error.to_string());
            self.tally.lose(since_ns, now);
            self.tally.sent += 1;
            self.budget -= 1;
            return;
        }
        let connection = &mut self.connections[number as usize];
        if connection.socket.is_none() {
            return;
        }
        if connection.in_flight == 0 {
            // Not the due time, which may be long ago.
            connection.moved_ns = now;
        }
        for _ in 0..count {
            self.asked.push(number, connection, since_ns);
        }
        self.in_flight += u64::from(count);
        self.tally.sent += u64::from(count);
        self.budget -= u64::from(count);
        if since_ns >= self.count_from_ns && self.tally.first_ns.is_none() {
            self.tally.first_ns = Some(since_ns);
        }
        let bytes = self.request.take(count);
        let sent = match &mut connection.socket {
            Some(socket) if connection.unsent.is_empty() => socket.send(bytes),
            _ => Ok(0),
        };
        match sent {
            Ok(sent) => connection.unsent.extend_from_slice(&bytes[sent..]),
            Err(error) => self.socket_failed(number, &error),
        }
    }

    pub(super) fn on_event(&mut self, number: u32, events: libc::c_int) {
        let connection = &mut self.connections[number as usize];
        let Some(socket) = &mut connection.socket else { return };
        if connection.state == State::Connecting && events & libc::EPOLLERR != 0 {
            let error = socket.error();
            return self.socket_failed(number, &error);
        }
        if events & libc::EPOLLOUT != 0
            && let Err(error) = socket.flush()
        {
            return self.socket_failed(number, &error);
        }
        if events & libc::EPOLLOUT != 0 {
            self.note_ready(number);
            self.send_rest(number);
        }
        let failed = libc::EPOLLHUP | libc::EPOLLERR;
        if events & (libc::EPOLLIN | libc::EPOLLRDHUP | failed) != 0 {
            let closed = events & libc::EPOLLRDHUP != 0 && events & libc::EPOLLERR == 0;
            self.receive(number, closed, events & failed != 0);
        }
    }

    /// Marks a connection as ready, if its handshake is complete.
    fn note_ready(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        let is_ready = connection.socket.as_ref().is_some_and(Line::is_ready);
        if connection.state == State::Connecting && is_ready {
            connection.state = State::Open;
            self.connecting -= 1;
            if let Some(resumed) = connection.socket.as_ref().and_then(Line::resumed) {
                self.tally.handshakes += 1;
                self.tally.resumed += u64::from(resumed);
            }
            self.opened(number);
        }
    }

    /// Sends the bytes that a socket did not take before.
    fn send_rest(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        let Some(socket) = &mut connection.socket else { return };
        if connection.unsent.is_empty() {
            return;
        }
        match socket.send(&connection.unsent) {
            Ok(sent) => drop(connection.unsent.drain(..sent)),
            Err(error) => self.socket_failed(number, &error),
        }
    }

    /// Handles a new kept connection.
    fn opened(&mut self, number: u32) {
        self.open += 1;
        if !self.running || self.plan.connection_each {
            return;
        }
        let now = self.now_ns();
        match self.pace {
            Some(_) => self.free.push_back(number),
            None => self.begin_closed(number, now),
        }
    }

    /// Reads once, and again if the buffer was filled or the socket has `failed`, when reading returns
    /// the error. If a server has `closed` its side, input that leaves room in the buffer is its last.
    fn receive(&mut self, number: u32, closed: bool, failed: bool) {
        loop {
            let connection = &mut self.connections[number as usize];
            let Some(socket) = &mut connection.socket else { return };
            let received = socket.receive(self.tls.as_mut(), &mut self.buffer);
            if connection.state == State::Connecting {
                self.note_ready(number);
                self.send_rest(number);
            }
            let connection = &self.connections[number as usize];
            let more = connection.socket.as_ref().is_some_and(Line::has_more);
            match received {
                Ok(0) => return self.ended(number),
                Ok(read) => {
                    let last = closed && read < BUFFER_BYTES && !more;
                    self.take_in(number, read, last);
                    if last && self.connections[number as usize].socket.is_some() {
                        return self.ended(number);
                    }
                    let renewed = self.connections[number as usize].state == State::Connecting;
                    if renewed || (read < BUFFER_BYTES && !failed && !more) {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.socket_failed(number, &error),
            }
        }
    }

    /// Parses the input and continues, unless it was the `last`.
    fn take_in(&mut self, number: u32, read: usize, last: bool) {
        let now = self.now_ns();
        let connection = &mut self.connections[number as usize];
        let mut unread = std::mem::take(&mut connection.unread);
        let buffer = std::mem::take(&mut self.buffer);
        let result = if unread.is_empty() {
            let result = self.read_answers(number, &buffer[..read], now);
            if let Ok(used) = result {
                unread.extend_from_slice(&buffer[used..read]);
            }
            result
        } else {
            unread.extend_from_slice(&buffer[..read]);
            let result = self.read_answers(number, &unread, now);
            if let Ok(used) = result {
                unread.drain(..used);
            }
            result
        };
        self.buffer = buffer;
        let connection = &mut self.connections[number as usize];
        connection.unread = unread;
        if let Err((failure, what)) = result {
            return self.broke(number, failure, now, || what);
        }
        let spent = connection.in_flight == 0
            && self.plan.renew_after.is_some_and(|answers| connection.served >= answers);
        match (connection.state, &self.pace) {
            _ if last => {}
            (State::Open, None) if spent => self.renew(number, now),
            (State::Closing, _) => {}
            (_, Some(_)) if connection.in_flight == 0 => self.free.push_back(number),
            (_, Some(_)) => {}
            (_, None) => self.begin_closed(number, now),
        }
    }

    /// Closes a connection after its number of answers and opens another one, while requests are left
    /// for it.
    fn renew(&mut self, number: u32, now: u64) {
        if self.sending && now < self.end_ns && self.budget > 0 {
            self.close(number, now);
            self.tally.renewed += 1;
            self.open_or_retry(number);
        }
    }

    /// Counts every whole answer and returns their bytes.
    fn read_answers(
        &mut self,
        number: u32,
        input: &[u8],
        now: u64,
    ) -> std::result::Result<usize, (Failure, String)> {
        let connection = &mut self.connections[number as usize];
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let answer = match self.reader.read(rest, false) {
                Ok(Some(answer)) => answer,
                Ok(None) => break,
                Err(why) => return Err((Failure::Broken, format!("{why}: {}", shown(rest)))),
            };
            let Some(since) =
                self.asked.pop(number, connection).filter(|_| connection.state != State::Closing)
            else {
                return Err((Failure::Unasked, shown(rest)));
            };
            self.in_flight -= 1;
            let counts = since >= self.count_from_ns;
            self.tally.answer(&rest[..answer.bytes], answer, since, now, counts);
            (connection.served, connection.moved_ns) = (connection.served + 1, now);
            used += answer.bytes;
            if answer.closes || self.plan.connection_each {
                connection.state = State::Closing;
            }
        }
        Ok(used)
    }

    /// Handles the server's close: nothing more will come.
    fn ended(&mut self, number: u32) {
        let now = self.now_ns();
        let connection = &mut self.connections[number as usize];
        let unread = std::mem::take(&mut connection.unread);
        if connection.in_flight > 0
            && let Ok(Some(answer)) = self.reader.read(&unread, true)
            && let Some(since) = self.asked.pop(number, connection)
        {
            // The end of the connection ends this answer.
            self.in_flight -= 1;
            let counts = since >= self.count_from_ns;
            self.tally.answer(&unread, answer, since, now, counts);
            connection.served += 1;
        }
        if connection.in_flight > 0 {
            let what = match connection.unread.len().max(unread.len()) {
                0 => "the server closed instead of answering".to_owned(),
                _ => format!("the server closed within {}", shown(&unread)),
            };
            return self.broke(number, Failure::ClosedEarly, now, || what);
        }
        let served = connection.served;
        self.close(number, now);
        if !self.running {
            self.tally.fail(Failure::ClosedEarly, || "the server closed a new connection".into());
        } else if self.plan.connection_each {
            match self.pace {
                Some(_) => self.free.push_back(number),
                None => self.begin_closed(number, now),
            }
        } else if self.sending {
            self.tally.reopened += 1;
            // Do not reopen a connection that was closed unused, because the server would close it
            // again at once.
            if served > 0 { self.open_or_retry(number) } else { self.retry.push(number) }
        }
    }

    fn socket_failed(&mut self, number: u32, error: &io::Error) {
        let connecting = self.connections[number as usize].state == State::Connecting;
        let failure = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe if !connecting => {
                Failure::Reset
            }
            _ if connecting => Failure::Connect,
            _ => Failure::Reset,
        };
        let now = self.now_ns();
        self.broke(number, failure, now, || error.to_string());
    }

    /// Handles a broken connection: its requests are lost, and the next tick reopens it.
    pub(super) fn broke(
        &mut self,
        number: u32,
        failure: Failure,
        now: u64,
        what: impl FnOnce() -> String,
    ) {
        self.tally.fail(failure, what);
        self.close(number, now);
        self.retry.push(number);
    }

    fn close(&mut self, number: u32, now: u64) {
        let connection = &mut self.connections[number as usize];
        while let Some(since) = self.asked.pop(number, connection) {
            self.in_flight -= 1;
            self.tally.lose(since, now);
        }
        match connection.state {
            State::Connecting => self.connecting -= 1,
            State::Open | State::Closing => self.open -= 1,
            State::Closed => {}
        }
        connection.close();
    }

    pub(super) fn reopen(&mut self, number: u32, now: u64) {
        if !self.plan.connection_each {
            return self.open_or_retry(number);
        }
        match self.pace {
            Some(_) => self.free.push_back(number),
            None => self.begin_closed(number, now),
        }
    }

    /// Opens a kept connection, or later if it is impossible now.
    pub(super) fn open_or_retry(&mut self, number: u32) {
        if let Err(error) = self.open(number) {
            // A Unix socket with a full queue fails at once. TCP would wait.
            if error.kind() != io::ErrorKind::WouldBlock {
                self.tally.fail(Failure::Connect, || error.to_string());
            }
            self.retry.push(number);
        }
    }

    fn open(&mut self, number: u32) -> io::Result<()> {
        // With TLS, the request follows the end of the handshake, which a server may report late.
        let nodelay = !self.plan.connection_each || self.tls.is_some();
        let socket = loop {
            match Socket::connect(&self.plan.peer, self.source(number), nodelay) {
                // All ports of this address are in use or in TIME-WAIT.
                Err(error)
                    if error.kind() == io::ErrorKind::AddrNotAvailable
                        && self.plan.loopback
                        && self.sources_used_up < SOURCES_MAX =>
                {
                    self.sources_used_up += 1;
                }
                done => break done?,
            }
        };
        let socket = match &self.tls {
            Some(tls) => tls.over(socket)?,
            None => Line::Plain(socket),
        };
        self.epoll.add(&socket, number)?;
        let connection = &mut self.connections[number as usize];
        (connection.socket, connection.state) = (Some(socket), State::Connecting);
        connection.moved_ns = self.origin.elapsed().as_nanos() as u64;
        self.connecting += 1;
        Ok(())
    }

    /// The source address, if one address has too few ports. `None`: the kernel chooses.
    fn source(&self, number: u32) -> Option<Ipv4Addr> {
        let source = number / SOURCE_CONNECTIONS_MAX + self.sources_used_up;
        if source == 0 || !self.plan.loopback {
            return None;
        }
        Some(Ipv4Addr::new(127, 0, 0, (1 + source % (SOURCES_MAX + 1)) as u8))
    }
}
