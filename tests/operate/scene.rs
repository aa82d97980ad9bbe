//! Servers with everything that they can report, and buyers who come all the time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::client::{Client, Response, get, reserve_from};
use crate::redis::RedisServer;
use crate::secure::{Files, Secure};
use crate::server::Server;

pub const OPERATES: &str = "0123456789abcdef-operates";
pub const LOOKS: &str = "0123456789abcdef-looks";

/// One server on each ledger, and one that sends webhooks to a receiver that is away. All sell
/// `ticket` and `other`, and require tokens.
pub struct Scene {
    pub embedded: Server,
    pub on_redis: Server,
    pub webhooks: Server,
    pub files: Files,
    _redis: RedisServer,
    _folder: TempDir,
}

impl Scene {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| format!("{}", folder.path().join(name).display());
        let (orders, stat_log) = (format!("sqlite:{}", path("orders.db")), path("stat.log"));
        let files = Files::make(&["localhost"], 90);
        let redis = RedisServer::start(&[]);
        let tokens = [("STAMPEDE_CONTROL_TOKEN", OPERATES), ("STAMPEDE_READ_TOKEN", LOOKS)];
        let sales = ["--sale", "ticket=20", "--sale", "other=1000000"];
        let listen = ["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0"];
        let more = ["--orders", &orders, "--stat-log", &stat_log];
        let tls = files.options();
        let embedded =
            Server::start_with(&tokens, &[&sales[..], &listen, &more, &tls[..]].concat());
        let url = redis.url();
        let on_redis = Server::start_with(&tokens, &[&sales[..], &["--ledger", &url]].concat());
        let (state, secret) = (path("webhooks.db"), path("secret"));
        fs::write(&secret, format!("whsec_{}\n", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
            .expect("a secret");
        // Nothing listens at port 1.
        let receiver = ["--orders", "http://127.0.0.1:1/hooks", "--webhook-state", &state];
        let signed = ["--webhook-secret-file", &secret];
        let webhooks = Server::start_with(&tokens, &[&sales[..], &receiver, &signed].concat());
        Self { embedded, on_redis, webhooks, files, _redis: redis, _folder: folder }
    }

    /// All of them.
    pub fn servers(&self) -> [&Server; 3] {
        [&self.embedded, &self.on_redis, &self.webhooks]
    }

    /// Each kind of buyer's request, once; more for `ticket` than there are.
    pub fn buy(&self) {
        for server in self.servers() {
            let mut client = Client::new(server);
            for number in 0..30 {
                client.ask("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
                client.ask("GET /v1/sales/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
                let key = format!("Idempotency-Key: key-{number}\r\n");
                client.ask(reserve_from("ticket", &key, r#"{"user":"ann"}"#));
                client.ask(reserve_from("other", "", r#"{"user":"bob"}"#));
                client.ask(reserve_from("none", "", r#"{"user":"bob"}"#));
            }
            get(server, "/buy/ticket");
        }
        let stream = Secure::connect(self.embedded.secure(), &self.files.client(), "localhost");
        let mut client = Client::over(stream.expect("a handshake"));
        client.ask("GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    /// Has each server audited.
    pub fn audit(&self) {
        for server in self.servers() {
            assert_eq!(ask(server, "/v1/audit", OPERATES, "").status(), 200);
        }
    }
}

/// Asks a control port.
pub fn ask(server: &Server, path: &str, token: &str, headers: &str) -> Response {
    Client::control(server).ask(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
    ))
}

/// An action that is repeated until this is dropped.
pub struct Meanwhile {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meanwhile {
    pub fn start(what: impl Fn() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                what();
                thread::sleep(Duration::from_millis(100));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking(), "it panicked");
    }
}
