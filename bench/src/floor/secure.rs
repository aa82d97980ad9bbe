//! The least work of rustls between a socket and an answer: its unbuffered interface opens and seals
//! records in buffers that a thread allocates once.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;

use super::answers::{Answers, BLOCK_ANSWERS};
use super::scan::Scanner;

/// Room for the records of one flight of a handshake, or of the answers to one read.
const OUTPUT_BYTES: usize = 512 * 1024;

/// Buffers that all connections of a thread use in turn.
pub struct Room {
    plain: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Room {
    fn default() -> Self {
        Self { plain: Vec::new(), output: vec![0; OUTPUT_BYTES] }
    }
}

/// A connection's TLS.
pub struct Secure {
    session: UnbufferedServerConnection,
    /// The start of a record, nearly always none.
    pub unopened: Vec<u8>,
    /// The start of a request, nearly always none.
    unparsed: Vec<u8>,
}

impl Secure {
    /// The TLS of a new connection.
    pub fn new(config: &Arc<ServerConfig>) -> io::Result<Box<Self>> {
        let session = UnbufferedServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Ok(Box::new(Self { session, unopened: Vec::new(), unparsed: Vec::new() }))
    }

    /// Opens records and answers every whole request. Returns the bytes to send, and whether they are
    /// the last. `Err`: the connection has ended.
    pub fn answer<'a>(
        &mut self,
        records: &mut [u8],
        scanner: &Scanner,
        answers: &Answers,
        room: &'a mut Room,
    ) -> io::Result<(&'a [u8], bool)> {
        let Room { plain, output } = room;
        plain.clear();
        plain.append(&mut self.unparsed);
        let (mut opened, mut written, mut closing) = (0, 0, false);
        loop {
            let status = self.session.process_tls_records(&mut records[opened..]);
            let mut discard = status.discard;
            let mut waits = false;
            match status.state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    written += data.encode(&mut output[written..]).map_err(io::Error::other)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let scan = scanner.scan(plain);
                    self.unparsed.extend_from_slice(&plain[scan.used..]);
                    closing = scan.closing;
                    let mut count = scan.requests;
                    while count > 0 {
                        let (block, len) = answers.first(count);
                        count -= count.min(BLOCK_ANSWERS);
                        let room = &mut output[written..];
                        written +=
                            traffic.encrypt(&block[..len], room).map_err(io::Error::other)?;
                    }
                    if closing {
                        let room = &mut output[written..];
                        written += traffic.queue_close_notify(room).map_err(io::Error::other)?;
                    }
                    waits = true;
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                _ => waits = true,
            }
            opened += discard;
            if waits {
                break;
            }
        }
        self.unopened.clear();
        self.unopened.extend_from_slice(&records[opened..]);
        Ok((&output[..written], closing))
    }
}
