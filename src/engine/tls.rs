//! TLS of one connection: decrypts the records that come, encrypts what is sent.
//!
//! It uses rustls' unbuffered interface. All bytes are in buffers of the core, and an idle
//! connection keeps none. Only the beginning of an incomplete record is kept.
//!
//! Kernel TLS would replace [`Tls::open`] and [`Tls::seal`] after the handshake;
//! docs/decisions/0012-no-kernel-tls.md says how, and what it would save.
//!
//! Architecture invariant: it knows no socket, no HTTP and no clock.

use std::mem;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
};

use crate::limits::TLS_RECEIVED_BYTES_MAX;

/// The TLS state of a connection.
pub(super) struct Tls {
    session: UnbufferedServerConnection,
    /// The received part of an incomplete record, or of a message that spans several records.
    received: Vec<u8>,
    /// Bytes at the start of the output that are records already. Plain text follows them.
    sealed: usize,
    /// The client has sent `close_notify`: it sends no more.
    ended: bool,
    /// A record could not be decrypted, and an alert may give the reason. Nothing follows it.
    failed: bool,
    /// `close_notify` has been written.
    closed: bool,
    /// The session tickets are not sent yet. The first request came together with the end of the
    /// handshake, so they are sent with its answer.
    pub(super) tickets_wait: bool,
}

/// Maximum plain text in a record (RFC 8446, section 5.1).
const RECORD_PLAIN_BYTES_MAX: usize = 1 << 14;
/// Overhead of a record: its header of 5 bytes, with TLS 1.2 a nonce of 8, with 1.3 a byte for its
/// type, and a tag of 16; rounded up.
const RECORD_MORE_BYTES: usize = 64;

/// The connection can't continue.
#[derive(Debug)]
pub(super) struct Broken;

impl Tls {
    /// Creates the state of a new connection. `None`: the settings are not usable.
    pub(super) fn new(config: Arc<ServerConfig>) -> Option<Box<Self>> {
        let session = UnbufferedServerConnection::new(config).ok()?;
        let tls = Self {
            session,
            received: Vec::new(),
            sealed: 0,
            ended: false,
            failed: false,
            closed: false,
            tickets_wait: false,
        };
        Some(Box::new(tls))
    }

    /// Whether the handshake is not over.
    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether the client has sent `close_notify`.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Takes the received bytes that were kept.
    pub(super) fn take_received(&mut self) -> Vec<u8> {
        mem::take(&mut self.received)
    }

    /// Puts them back: nothing more was received.
    pub(super) fn put_back_received(&mut self, received: Vec<u8>) {
        self.received = received;
    }

    /// Decrypts the records, appends their plain text to the input, and keeps an incomplete rest.
    /// Replies (handshake messages, tickets, an alert) are appended to the output, which must have
    /// no plain text. After an error nothing more is decrypted or encrypted.
    pub(super) fn open(
        &mut self,
        records: &mut [u8],
        input: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        debug_assert_eq!(output.len(), self.sealed, "plain text would come before records");
        let opened = self.open_all(records, input, output);
        self.sealed = output.len();
        match opened {
            Ok(opened) if records.len() - opened <= TLS_RECEIVED_BYTES_MAX => {
                self.received = records[opened..].to_vec();
                Ok(())
            }
            _ => {
                self.failed = true;
                Err(Broken)
            }
        }
    }

    /// The same; returns the number of bytes of the records that are done with.
    fn open_all(
        &mut self,
        records: &mut [u8],
        input: &mut Vec<u8>,
        output: &mut Vec<u8>,
    ) -> Result<usize, Broken> {
        let mut opened = 0;
        loop {
            let status = self.session.process_tls_records(&mut records[opened..]);
            let mut discard = status.discard;
            let mut waits = false;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        input.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, output)?,
                // It is in the output, which is sent before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(
                    ConnectionState::BlockedHandshake
                    | ConnectionState::WriteTraffic(_)
                    | ConnectionState::Closed,
                ) => waits = true,
                // Early data is not accepted, so none is offered.
                Ok(_) => return Err(Broken),
                Err(_) => {
                    self.say_why(output);
                    return Err(Broken);
                }
            }
            opened += discard;
            if waits {
                return Ok(opened);
            }
        }
    }

    /// Appends the alert with the reason of the failure.
    fn say_why(&mut self, output: &mut Vec<u8>) {
        // While there is something to write, rustls does not process the received bytes again.
        while self.session.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.session.process_tls_records(&mut []).state
            else {
                break;
            };
            if encode(&mut data, output).is_err() {
                break;
            }
        }
    }

    /// Encrypts the plain text in the output into records. `last`: also appends `close_notify`.
    /// `spare`, an empty buffer, replaces the output's buffer, which is returned.
    pub(super) fn seal(
        &mut self,
        output: &mut Vec<u8>,
        last: bool,
        mut spare: Vec<u8>,
    ) -> Result<Vec<u8>, Broken> {
        let plain = &output[self.sealed..];
        let close = last && !self.closed && !self.failed;
        if plain.is_empty() && !close {
            return Ok(spare);
        }
        if self.failed {
            // Plain text must not be sent unencrypted.
            return Err(Broken);
        }
        spare.extend_from_slice(&output[..self.sealed]);
        loop {
            // With the kept part of a message that spans several records, to which rustls has
            // references.
            match self.session.process_tls_records(&mut self.received).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, &mut spare)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if !plain.is_empty() {
                        let room = sealed_bytes(plain.len());
                        append(&mut spare, room, |room| traffic.encrypt(plain, room))?;
                    }
                    if close {
                        let room = sealed_bytes(0);
                        append(&mut spare, room, |room| traffic.queue_close_notify(room))?;
                        self.closed = true;
                    }
                    break;
                }
                _ => return Err(Broken),
            }
        }
        mem::swap(output, &mut spare);
        self.sealed = output.len();
        Ok(spare)
    }

    /// This many bytes were sent from the start of the output.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sealed -= bytes;
    }
}

fn encode<Data>(data: &mut EncodeTlsData<'_, Data>, output: &mut Vec<u8>) -> Result<(), Broken> {
    let at = output.len();
    let required_size = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        Err(EncodeError::AlreadyEncoded) => return Err(Broken),
    };
    output.resize(at + required_size, 0);
    data.encode(&mut output[at..]).map(drop).map_err(|_| Broken)
}

/// Room for this much plain text once it is encrypted, unless a protocol message goes before it.
const fn sealed_bytes(plain_bytes: usize) -> usize {
    plain_bytes + (plain_bytes / RECORD_PLAIN_BYTES_MAX + 1) * RECORD_MORE_BYTES
}

/// Writes records to the end of the output, which grows as needed.
fn append(
    output: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), Broken> {
    let at = output.len();
    output.resize(at + room, 0);
    let mut written = write(&mut output[at..]);
    if let Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) = written {
        output.resize(at + required_size, 0);
        written = write(&mut output[at..]);
    }
    let written = written.map_err(|_| Broken)?;
    output.truncate(at + written);
    Ok(())
}
