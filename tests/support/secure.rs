//! Certificates that a test creates, and clients that speak TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

use crate::client::Stream;
use crate::server::ANSWER_DEADLINE;

/// A certificate and its key, in a folder of their own.
pub struct Files {
    _folder: TempDir,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Files {
    /// A self-signed certificate for these hosts and this number of days from now.
    pub fn make(hosts: &[&str], days: u32) -> Self {
        Self::make_with(hosts, days, &[])
    }

    /// The same by another clock.
    pub fn make_with(hosts: &[&str], days: u32, environment: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let (certificate, key) = (path("certificate.pem"), path("key.pem"));
        let names: Vec<_> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-nodes", "-days", &days.to_string(), "-subj", &format!("/CN={}", hosts[0])]);
        openssl.args(["-addext", &format!("subjectAltName={}", names.join(","))]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        openssl.envs(environment.iter().map(|(name, value)| (name, value)));
        openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
        let made = openssl.output().expect("this test needs openssl: apt-get install openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { _folder: folder, certificate, key }
    }

    /// The options that name the files.
    pub fn options(&self) -> [&str; 4] {
        ["--tls-cert", text(&self.certificate), "--tls-key", text(&self.key)]
    }

    /// Replaces the files, in one step each as an operator's tool does.
    pub fn replace_by(&self, others: &Self) {
        for (from, to) in [(&others.key, &self.key), (&others.certificate, &self.certificate)] {
            let new = to.with_extension("new");
            fs::copy(from, &new).expect("copy");
            fs::rename(&new, to).expect("rename");
        }
    }

    /// A client that trusts this certificate alone.
    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_with(&[&rustls::version::TLS13, &rustls::version::TLS12])
    }

    /// The same with these versions of TLS alone.
    pub fn client_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(&self.certificate).expect("a certificate");
        roots.add(certificate).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

/// A path as an option.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The first record that a client sends.
pub fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = ClientConnection::new(config.clone(), name).expect("TLS");
    let mut record = Vec::new();
    client.write_tls(&mut record).expect("into memory");
    record
}

/// A TLS connection. A second handle may read while this one writes.
pub struct Secure {
    tls: Arc<Mutex<ClientConnection>>,
    /// Its socket.
    pub socket: TcpStream,
    /// Records that the socket has not taken yet.
    unsent: Vec<u8>,
}

impl Secure {
    /// Connects and completes the handshake, asking for this host.
    pub fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        host: &str,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?, config, host)
    }

    /// Completes the handshake over this socket.
    pub fn over(socket: TcpStream, config: &Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        Self::over_with(socket, config, host, b"")
    }

    /// The same. These bytes go along with the end of the handshake.
    pub fn over_with(
        mut socket: TcpStream,
        config: &Arc<ClientConfig>,
        host: &str,
        first: &[u8],
    ) -> io::Result<Self> {
        socket.set_read_timeout(Some(ANSWER_DEADLINE))?;
        socket.set_write_timeout(Some(ANSWER_DEADLINE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        tls.writer().write_all(first)?;
        while tls.is_handshaking() || tls.wants_write() {
            tls.complete_io(&mut socket)?;
        }
        Ok(Self { tls: Arc::new(Mutex::new(tls)), socket, unsent: Vec::new() })
    }

    /// The state of rustls.
    pub fn tls(&self) -> MutexGuard<'_, ClientConnection> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A second handle. Only one of them may write.
    pub fn try_clone(&self) -> io::Result<Self> {
        let (tls, socket) = (self.tls.clone(), self.socket.try_clone()?);
        Ok(Self { tls, socket, unsent: Vec::new() })
    }

    /// Makes records of these bytes and of everything else that rustls has to send. The caller
    /// sends them.
    pub fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        let mut tls = self.tls();
        tls.writer().write_all(bytes).expect("into memory");
        while tls.wants_write() {
            tls.write_tls(&mut records).expect("into memory");
        }
        records
    }
}

impl Read for Secure {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // rustls takes this much at once.
        let mut piece = [0; 4096];
        loop {
            match self.tls().reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The end is an error too, unless the server has announced it.
                read => return read,
            }
            let count = self.socket.read(&mut piece)?;
            let mut records = &piece[..count];
            let mut tls = self.tls();
            loop {
                tls.read_tls(&mut records)?;
                tls.process_new_packets().map_err(io::Error::other)?;
                if records.is_empty() {
                    break;
                }
            }
        }
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let bytes = &bytes[..bytes.len().min(16 * 1024)];
        self.unsent = self.seal(bytes);
        match self.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(bytes.len()),
            flushed => flushed.map(|()| bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let count = self.socket.write(&self.unsent)?;
            self.unsent.drain(..count);
        }
        Ok(())
    }
}

impl Stream for Secure {
    fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.tls().send_close_notify();
        self.unsent = self.seal(b"");
        self.flush()
    }

    fn patience(&self) -> io::Result<Option<Duration>> {
        self.socket.read_timeout()
    }

    fn set_patience(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(time)
    }
}
