//! Certificates that a test makes, and clients that speak TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
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
    /// One that signs itself, for these hosts, for so many days from now.
    pub fn make(hosts: &[&str], days: u32) -> Self {
        Self::make_with(hosts, days, &[])
    }

    /// The same by a clock of its own.
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

    /// The options that name them.
    pub fn options(&self) -> [&str; 4] {
        ["--tls-cert", text(&self.certificate), "--tls-key", text(&self.key)]
    }

    /// Puts others in their place, in one step each as an operator's tool does.
    pub fn replace_by(&self, others: &Self) {
        for (from, to) in [(&others.key, &self.key), (&others.certificate, &self.certificate)] {
            let new = to.with_extension("new");
            fs::copy(from, &new).expect("copy");
            fs::rename(&new, to).expect("rename");
        }
    }

    /// A client that trusts nobody else.
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

/// A connection over TLS.
pub struct Secure(pub StreamOwned<ClientConnection, TcpStream>);

impl Secure {
    /// Connects and shakes hands, as somebody who wants this host.
    pub fn connect(
        address: SocketAddr,
        config: &Arc<ClientConfig>,
        host: &str,
    ) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?, config, host)
    }

    /// Shakes hands over a connection that is there.
    pub fn over(stream: TcpStream, config: &Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned()).expect("a host");
        let client = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        let mut secure = Self(StreamOwned::new(client, stream));
        while secure.0.conn.is_handshaking() {
            let (conn, stream) = (&mut secure.0.conn, &mut secure.0.sock);
            conn.complete_io(stream)?;
        }
        Ok(secure)
    }
}

impl Read for Secure {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Stream for Secure {
    fn finish(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }

    fn patience(&self) -> io::Result<Option<Duration>> {
        self.0.sock.read_timeout()
    }

    fn set_patience(&self, time: Option<Duration>) -> io::Result<()> {
        self.0.sock.set_read_timeout(time)
    }
}
