//! A receiver of webhooks, plain or over TLS, that keeps what it gets, verifies each signature, and
//! answers as a test says: also not at all, or half.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key, verify};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::secure::Files;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// Time after which a silent client is dropped.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Got {
    pub path: String,
    pub id: String,
    pub body: Value,
    pub signatures: Vec<String>,
}

impl Got {
    fn data(&self, name: &str) -> &str {
        self.body["data"][name].as_str().unwrap_or_default()
    }

    pub fn reservation(&self) -> &str {
        self.data("reservation")
    }

    pub fn status(&self) -> &str {
        self.data("status")
    }

    pub fn version(&self) -> u64 {
        self.data("version").parse().expect("a version")
    }
}

/// The answer to a request.
pub enum Reply {
    Status(u16),
    /// With a header.
    With(u16, &'static str),
    /// The connection is reset.
    Reset,
    /// Nothing, until the client gives up.
    Hang,
    /// A head without its end.
    Half,
    /// 200, when the gate is open.
    Behind(Arc<Gate>),
}

/// Closed until a test opens it.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub fn open(&self) {
        *lock(&self.open) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let open = self.opened.wait_while(lock(&self.open), |open| !*open);
        drop(open.unwrap_or_else(PoisonError::into_inner));
    }
}

type Decide = dyn FnMut(&Got) -> Reply + Send;

struct Shared {
    got: Mutex<Vec<Got>>,
    /// Faults of requests.
    bad: Mutex<Vec<String>>,
    decide: Mutex<Box<Decide>>,
    secret: Mutex<String>,
    tls: Option<Arc<ServerConfig>>,
    stopped: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    files: Option<Files>,
    accepting: Option<JoinHandle<()>>,
}

pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    /// Without TLS.
    pub fn plain(decide: impl FnMut(&Got) -> Reply + Send + 'static) -> Self {
        Self::new(None, Box::new(decide))
    }

    /// Over TLS, as `localhost`.
    pub fn secure(decide: impl FnMut(&Got) -> Reply + Send + 'static) -> Self {
        Self::new(Some(Files::make(&["localhost"], 30)), Box::new(decide))
    }

    fn new(files: Option<Files>, decide: Box<Decide>) -> Self {
        let tls = files.as_ref().map(|files| {
            let chain = vec![CertificateDer::from_pem_file(&files.certificate).expect("one")];
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_no_client_auth()
                .with_single_cert(chain, key);
            Arc::new(config.expect("a certificate"))
        });
        let shared = Arc::new(Shared {
            got: Mutex::default(),
            bad: Mutex::default(),
            decide: Mutex::new(decide),
            secret: Mutex::new(SECRET.into()),
            tls,
            stopped: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut receiver = Self { address, shared, files, accepting: None };
        receiver.accept(listener);
        receiver
    }

    fn accept(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        self.accepting = Some(thread::spawn(move || {
            for connection in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let Ok(other) = connection.try_clone() else { continue };
                lock(&shared.connections).push(other);
                let shared = shared.clone();
                thread::spawn(move || shared.serve(connection));
            }
        }));
    }

    pub fn url(&self) -> String {
        let port = self.address.port();
        match self.files {
            Some(_) => format!("https://localhost:{port}/hooks"),
            None => format!("http://127.0.0.1:{port}/hooks"),
        }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &str {
        super::secure::text(&self.files.as_ref().expect("TLS").certificate)
    }

    /// Cuts every connection, and stops listening.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("it accepts no more");
        }
        for connection in lock(&self.shared.connections).drain(..) {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Listens again at the same address.
    pub fn start_again(&mut self) {
        self.shared.stopped.store(false, Ordering::SeqCst);
        let until = std::time::Instant::now() + PATIENCE;
        let listener = loop {
            match TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                // A client that looks for it may have the port as its own for a moment.
                Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
            }
            thread::yield_now();
        };
        self.accept(listener);
    }

    /// Answers differently from now on.
    pub fn decide(&self, decide: impl FnMut(&Got) -> Reply + Send + 'static) {
        *lock(&self.shared.decide) = Box::new(decide);
    }

    /// Verifies by another secret from now on.
    pub fn verify_by(&self, secret: &str) {
        *lock(&self.shared.secret) = secret.into();
    }

    /// All requests so far. Panics if one of them had a fault.
    pub fn got(&self) -> Vec<Got> {
        let bad = lock(&self.shared.bad).clone();
        assert!(bad.is_empty(), "{bad:#?}");
        lock(&self.shared.got).clone()
    }

    /// The faults of requests.
    pub fn bad(&self) -> Vec<String> {
        lock(&self.shared.bad).clone()
    }

    /// The events of each reservation, each at its first arrival: version and status. Panics unless
    /// they came in the order of their versions.
    pub fn in_order(&self) -> BTreeMap<String, Vec<(u64, String)>> {
        let mut events: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for got in self.got() {
            let of_one = events.entry(got.reservation().to_owned()).or_default();
            if of_one.iter().all(|(version, _)| *version != got.version()) {
                of_one.push((got.version(), got.status().to_owned()));
            }
        }
        for (reservation, of_one) in &events {
            assert!(of_one.is_sorted_by(|a, b| a.0 < b.0), "{reservation}: {of_one:?}");
        }
        events
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn serve(&self, connection: TcpStream) {
        let _ = connection.set_read_timeout(Some(PATIENCE));
        let raw = connection.try_clone();
        match &self.tls {
            None => self.requests(connection, raw),
            Some(config) => {
                let tls = ServerConnection::new(config.clone()).expect("TLS");
                self.requests(StreamOwned::new(tls, connection), raw);
            }
        }
    }

    /// Answers requests until the connection ends.
    fn requests(&self, mut line: impl Read + Write, raw: io::Result<TcpStream>) {
        while let Ok(Some(got)) = self.read(&mut line) {
            lock(&self.got).push(got.clone());
            let reply = lock(&self.decide)(&got);
            let answered = match reply {
                Reply::Status(status) => answer(&mut line, status, ""),
                Reply::With(status, header) => answer(&mut line, status, header),
                Reply::Behind(gate) => {
                    gate.pass();
                    answer(&mut line, 200, "")
                }
                Reply::Half => {
                    let _ = line.write_all(b"HTTP/1.1 200 OK\r\nContent-Len");
                    let _ = line.flush();
                    break;
                }
                Reply::Hang => {
                    // Ends when the client closes.
                    while matches!(line.read(&mut [0; 256]), Ok(1..)) {}
                    break;
                }
                Reply::Reset => {
                    if let Ok(raw) = &raw {
                        let now = Some(Duration::ZERO);
                        let _ = rustix::net::sockopt::set_socket_linger(raw, now);
                    }
                    break;
                }
            };
            if answered.is_err() {
                break;
            }
        }
        if let Ok(raw) = raw {
            lock(&self.connections).retain(|other| other.peer_addr().ok() != raw.peer_addr().ok());
        }
    }

    /// One request. `None`: there is no further one.
    fn read(&self, line: &mut impl Read) -> io::Result<Option<Got>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if line.read(&mut byte)? == 0 {
                return Ok(None);
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
        let mut body = vec![0; header("content-length").parse().unwrap_or(0)];
        line.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
        let signatures: Vec<String> =
            header("webhook-signature").split(' ').map(str::to_owned).collect();
        let signed = format!("{id}.{timestamp}.{body}");
        let key = STANDARD.decode(lock(&self.secret).trim_start_matches("whsec_")).expect("base64");
        let key = Key::new(HMAC_SHA256, &key);
        let is_ours = |signature: &String| {
            let tag = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
            tag.is_some_and(|tag| verify(&key, signed.as_bytes(), &tag).is_ok())
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = timestamp.parse::<u64>().map(|at| now.expect("now").as_secs().abs_diff(at));
        let sound = method == "POST"
            && header("content-type") == "application/json"
            && header("user-agent").starts_with("stampede/")
            && signatures.iter().any(is_ours)
            && age.is_ok_and(|age| age < 300);
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let got = Got { path: path.to_owned(), id, body, signatures };
        let own = got.reservation().rsplit('~').next().unwrap_or_default();
        let id_of = format!("msg_{own}_{}", got.data("version"));
        if !sound || got.id != id_of {
            lock(&self.bad).push(format!("{head}{}", got.body));
        }
        Ok(Some(got))
    }
}

fn answer(line: &mut impl Write, status: u16, header: &str) -> io::Result<()> {
    let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    let text = format!("HTTP/1.1 {status} X\r\n{header}Content-Length: 2\r\n\r\nok");
    line.write_all(text.as_bytes())?;
    line.flush()
}
