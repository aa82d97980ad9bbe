//! Versions, resumption, bytes that come one by one, and other clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};

use crate::client::Client;
use crate::secure::{Files, Secure, text};
use crate::server::{ANSWER_DEADLINE, Server};
use crate::{BUY, start};

#[test]
fn buyers_may_use_tls_1_2_or_1_3() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &[]);
    for (version, is) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut config = Arc::unwrap_or_clone(files.client_with(&[version]));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = Secure::connect(server.secure(), &Arc::new(config), "localhost");
        let stream = stream.expect("a handshake");
        assert_eq!(stream.tls().protocol_version(), Some(is));
        assert_eq!(stream.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut client = Client::over(stream);
        for _ in 0..3 {
            assert_eq!(client.ask(BUY).json()["code"], 1);
        }
        client.finish();
        client.assert_end();
    }
}

#[test]
fn an_unknown_alpn_protocol_is_refused() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &[]);
    let mut config = Arc::unwrap_or_clone(files.client());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let error = Secure::connect(server.secure(), &Arc::new(config), "localhost");
    let error = error.map(drop).expect_err("nothing in common").to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

/// The kind of handshake of the second of two connections.
fn second(config: &Arc<ClientConfig>, first: &Server, second: &Server) -> HandshakeKind {
    let connect = |server: &Server| {
        let stream = Secure::connect(server.secure(), config, "localhost").expect("a handshake");
        let mut client = Client::over(stream);
        assert_eq!(client.ask(BUY).json()["code"], 1);
        client.stream.tls().handshake_kind().expect("it is over")
    };
    assert_eq!(connect(first), HandshakeKind::Full);
    connect(second)
}

#[test]
fn sessions_resume_elsewhere_only_with_shared_ticket_keys() {
    let files = Files::make(&["localhost"], 30);
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    std::fs::write(&keys, format!("{}\n{}\n", "a1".repeat(32), "b2".repeat(32))).expect("write");
    let shared = ["--tls-ticket-keys", text(&keys)];
    let [one, two] = [(); 2].map(|()| start(&files, &shared));
    let [alone, apart] = [(); 2].map(|()| start(&files, &[]));
    for version in [&TLS12, &TLS13] {
        let config = || files.client_with(&[version]);
        assert_eq!(second(&config(), &alone, &alone), HandshakeKind::Resumed);
        assert_eq!(second(&config(), &alone, &apart), HandshakeKind::Full);
        assert_eq!(second(&config(), &one, &two), HandshakeKind::Resumed);
        assert_eq!(second(&config(), &one, &alone), HandshakeKind::Full);
    }
}

/// Sends each byte by itself.
struct Trickle(TcpStream);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn tls_records_may_be_split_anywhere() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &["--cores", "0"]);
    for version in [&TLS12, &TLS13] {
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(files.client_with(&[version]), name).expect("TLS");
        let stream = TcpStream::connect(server.secure()).expect("connect");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        stream.set_nodelay(true).expect("no delay");
        let mut stream = Trickle(stream);
        let mut answers = String::new();
        let mut secure = rustls::Stream::new(&mut client, &mut stream);
        for _ in 0..3 {
            secure.write_all(BUY.as_bytes()).expect("send");
            let mut piece = [0; 4096];
            let count = secure.read(&mut piece).expect("an answer");
            answers += &String::from_utf8_lossy(&piece[..count]);
        }
        assert_eq!(answers.matches(r#"{"code":1,"#).count(), 3, "{answers}");
    }
}

#[test]
fn traffic_keys_may_change_during_a_connection() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &[]);
    let config = files.client_with(&[&TLS13]);
    let stream = Secure::connect(server.secure(), &config, "localhost").expect("a handshake");
    let mut client = Client::over(stream);
    for _ in 0..20 {
        client.stream.tls().refresh_traffic_keys().expect("new keys");
        assert_eq!(client.ask(BUY).json()["code"], 1);
    }
}

#[test]
fn curl_and_openssl_buy() {
    let files = Files::make(&["localhost"], 30);
    let server = start(&files, &[]);
    let port = server.secure().port();
    let curl = Command::new("curl")
        .args(["-sS", "--max-time", "20", "--cacert", text(&files.certificate)])
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
        .arg(format!("https://localhost:{port}/buy/ticket"))
        .output()
        .expect("this test needs curl: apt-get install curl");
    let answer = String::from_utf8_lossy(&curl.stdout);
    assert!(answer.contains(r#"{"code":1,"#), "{answer}{}", String::from_utf8_lossy(&curl.stderr));
    for version in ["-tls1_2", "-tls1_3"] {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-verify_return_error", version])
            .args(["-connect", &server.secure().to_string(), "-servername", "localhost"])
            .args(["-CAfile", text(&files.certificate)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs openssl: apt-get install openssl");
        let last = BUY.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let mut input = openssl.stdin.take().expect("its input");
        input.write_all(last.as_bytes()).expect("send");
        let output = openssl.wait_with_output().expect("it ends");
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(answer.contains(r#"{"code":1,"#), "{version}: {output:?}");
    }
}
