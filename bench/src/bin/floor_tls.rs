//! The floor of TLS: the floor's loop, with the least that rustls can do between socket and answer.
//!
//! As in `floor`, a thread and an epoll per core, one `read` and one `write` per wake-up. Records are
//! opened and sealed by rustls' unbuffered interface in buffers of the thread, which is what stampede
//! does; what it has no part of is parsing, bounds, deadlines and turns.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use bench::answer::Content;
use bench::error::{Because, Result};
use bench::floor::{Answers, Epoll, Place, Scanner};
use clap::Parser;
use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;

const EVENTS_MAX: usize = 512;
/// Connections accepted and answered before those that wait have their turn.
const ACCEPT_MAX: usize = 64;
const BUFFER_BYTES: usize = 64 * 1024;
/// Room for the records of one flight of a handshake, or of the answers to one read.
const OUTPUT_BYTES: usize = 256 * 1024;

/// A bare epoll loop that gives everyone the same answer over TLS: the floor that stampede's TLS is
/// measured against.
#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    place: Place,
    /// What everyone is told, whatever is asked.
    #[arg(long, value_enum, default_value = "sold_out")]
    answer: Content,
    /// The certificate, PEM.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
}

fn main() {
    let CommandLine { place, answer, tls_cert, tls_key } = CommandLine::parse();
    let run = || {
        let config = config(&tls_cert, &tls_key)?;
        place.run(move |listener| serve(&listener, answer, config.clone()))
    };
    if let Err(failure) = run() {
        eprintln!("floor_tls: {failure}");
        std::process::exit(1);
    }
}

fn config(certificate: &PathBuf, key: &PathBuf) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .because(|| format!("--tls-cert {}", certificate.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(key).because(|| format!("--tls-key {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, key))
        .because(|| "TLS".into())?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new().because(|| "keys for tickets".into())?;
    Ok(Arc::new(config))
}

/// One core's loop.
fn serve(listener: &TcpListener, content: Content, config: Arc<ServerConfig>) -> Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd())?;
    let mut floor = Floor {
        epoll,
        connections: Vec::new(),
        config,
        shared: Shared {
            answers: Answers::new(content),
            scanner: Scanner::of(content),
            input: vec![0; BUFFER_BYTES],
            plain: Vec::with_capacity(BUFFER_BYTES),
            output: vec![0; OUTPUT_BYTES],
        },
    };
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
    loop {
        let ready = floor.epoll.wait(&mut events)?;
        floor.shared.answers.refresh();
        for event in &events[..ready] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                floor.accept(fd);
            } else {
                floor.turn(fd);
            }
        }
    }
}

struct Floor {
    epoll: Epoll,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    config: Arc<ServerConfig>,
    shared: Shared,
}

/// What all connections of a thread use in turn.
struct Shared {
    answers: Answers,
    scanner: Scanner,
    input: Vec<u8>,
    plain: Vec<u8>,
    output: Vec<u8>,
}

/// The buffers hold what one read or one write left over, which is nearly always nothing.
struct Connection {
    socket: File,
    tls: UnbufferedServerConnection,
    unopened: Vec<u8>,
    unparsed: Vec<u8>,
    unsent: Vec<u8>,
    closing: bool,
    /// What the epoll tells of it.
    watched: Option<libc::c_int>,
}

impl Floor {
    fn accept(&mut self, listener: RawFd) {
        for _ in 0..ACCEPT_MAX {
            // SAFETY: no address is asked for, so both pointers may be null.
            let fd = unsafe {
                libc::accept4(
                    listener,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
                )
            };
            if fd < 0 {
                // None left, or no descriptor left: either way, what is open goes on.
                return;
            }
            // SAFETY: the kernel has just given us this descriptor; nothing else owns it.
            let socket = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
            let Ok(tls) = UnbufferedServerConnection::new(self.config.clone()) else { return };
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            self.connections[fd as usize] = Some(Connection {
                socket,
                tls,
                unopened: Vec::new(),
                unparsed: Vec::new(),
                unsent: Vec::new(),
                closing: false,
                watched: None,
            });
            self.turn(fd);
        }
    }

    /// What a connection is ready for, and what it waits for then. One that is over is closed, by
    /// which it leaves the epoll.
    fn turn(&mut self, fd: RawFd) {
        let Some(connection) = &mut self.connections[fd as usize] else { return };
        let served = match connection.unsent.is_empty() {
            true => connection.read(&mut self.shared),
            false => connection.send_on(),
        };
        let watched = served.and_then(|()| {
            let interest =
                if connection.unsent.is_empty() { libc::EPOLLIN } else { libc::EPOLLOUT };
            if connection.watched.is_none() {
                self.epoll.add(fd)?;
                connection.watched = Some(libc::EPOLLIN);
            }
            match connection.watched.replace(interest) {
                Some(before) if before == interest => Ok(()),
                _ => self.epoll.watch(fd, interest),
            }
        });
        if watched.is_err() {
            self.connections[fd as usize] = None;
        }
    }
}

impl Connection {
    /// Reads once and answers what has become whole. `Err`: it is over.
    fn read(&mut self, shared: &mut Shared) -> io::Result<()> {
        let kept = self.unopened.len();
        shared.input[..kept].copy_from_slice(&self.unopened);
        let len = match self.socket.read(&mut shared.input[kept..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => kept + len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        shared.plain.clear();
        shared.plain.append(&mut self.unparsed);
        let (mut opened, mut written) = (0, 0);
        loop {
            let status = self.tls.process_tls_records(&mut shared.input[opened..len]);
            let mut discard = status.discard;
            let mut waits = false;
            match status.state.map_err(io::Error::other)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        shared.plain.extend_from_slice(record.payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let room = &mut shared.output[written..];
                    written += data.encode(room).map_err(io::Error::other)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    let scan = shared.scanner.scan(&shared.plain);
                    self.unparsed.extend_from_slice(&shared.plain[scan.used..]);
                    self.closing = scan.closing;
                    if scan.requests > 0 {
                        let (block, len) = shared.answers.first(scan.requests);
                        let room = &mut shared.output[written..];
                        written +=
                            traffic.encrypt(&block[..len], room).map_err(io::Error::other)?;
                    }
                    if self.closing {
                        let room = &mut shared.output[written..];
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
        self.unopened.extend_from_slice(&shared.input[opened..len]);
        if written > 0 {
            let sent = send(&mut self.socket, &shared.output[..written])?;
            self.unsent.extend_from_slice(&shared.output[sent..written]);
        }
        self.end_if_done()
    }

    /// Sends what an earlier answer left over. `Err`: it is over.
    fn send_on(&mut self) -> io::Result<()> {
        let sent = send(&mut self.socket, &self.unsent)?;
        self.unsent.drain(..sent);
        self.end_if_done()
    }

    fn end_if_done(&self) -> io::Result<()> {
        let done = self.closing && self.unsent.is_empty();
        if done { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// Bytes that the socket took; 0 when it is full.
fn send(socket: &mut File, bytes: &[u8]) -> io::Result<usize> {
    match socket.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}
