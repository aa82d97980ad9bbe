//! nginx in front of a server, by the files of `tuning/nginx`: what it passes on, resends and
//! refuses, and the rights behind it. Also TLS that nginx or HAProxy passes through.

#[allow(dead_code)] // Each test program takes what it needs.
#[path = "../support/client.rs"]
mod client;
#[path = "../support/port.rs"]
mod port;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
#[path = "../support/tuning.rs"]
mod tuning;

mod debian;
mod front;
mod login;
mod passed_on;
mod retries;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use server::Server;
use tempfile::TempDir;
use tuning::{Running, connect, program, text};

/// Buyers of a test have no rate limit, unless the test is about it.
const NO_LIMIT: &str = "100000r/s";

/// A text with parts replaced, each of which occurs exactly once.
fn changed(mut text: String, changes: &[(&str, &str)]) -> String {
    for (there, here) in changes {
        assert_eq!(text.matches(there).count(), 1, "{there}");
        text = text.replace(there, here);
    }
    text
}

/// `tuning/nginx/stampede.conf` on a Unix socket in a folder, in front of these servers.
fn ours(at: &Path, servers: &[SocketAddr], rate: &str) -> String {
    let line = |server| format!("server {server} max_fails=1 fail_timeout=2s;");
    let servers: String = servers.iter().map(line).collect();
    let listen = format!("listen unix:{}/socket default_server backlog=65535;", at.display());
    let changes = [
        ("listen 80 default_server backlog=65535;", listen.as_str()),
        ("server 127.0.0.1:3005 max_fails=1 fail_timeout=2s;", &servers),
        ("rate=10r/s", &format!("rate={rate}")),
    ];
    changed(text("nginx/stampede.conf"), &changes)
}

/// Paths where nginx may write.
fn temporary(at: &Path) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let line = |kind| format!("{kind}_temp_path {}/{kind}; ", at.display());
    kinds.map(line).concat()
}

/// A real nginx, as one process.
struct Nginx {
    folder: TempDir,
    _running: Running,
}

impl Nginx {
    /// With our configuration, in front of a server.
    fn start(server: &Server) -> Self {
        Self::before(&[server.address()], NO_LIMIT)
    }

    /// The same in front of several.
    fn before(servers: &[SocketAddr], rate: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let site = ours(folder.path(), servers, rate);
        Self::with_site(folder, &site)
    }

    /// With this site, whose socket is in the folder, and nothing else.
    fn with_site(folder: TempDir, site: &str) -> Self {
        let at = folder.path();
        fs::write(at.join("stampede.conf"), site).expect("write a file");
        let around = format!(
            "pid {0}/pid; error_log stderr; events {{ worker_connections 1024; }}
             http {{ access_log off; {1} include {0}/stampede.conf; }}",
            at.display(),
            temporary(at)
        );
        let file = at.join("nginx.conf");
        fs::write(&file, around).expect("write a file");
        Self::run(folder, &file)
    }

    /// With this configuration, which nginx must accept.
    fn run(folder: TempDir, file: &Path) -> Self {
        let (well, said) = Self::check(file);
        assert!(well && !said.contains("[warn]"), "{said}");
        let child = Self::command(file).stderr(Stdio::null()).spawn();
        let running = Running(child.expect("start nginx"));
        connect(&folder.path().join("socket"));
        Self { folder, _running: running }
    }

    /// Whether nginx accepts a configuration, and its output.
    fn check(file: &Path) -> (bool, String) {
        let output = Self::command(file).arg("-t").output().expect("run nginx");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(file: &Path) -> Command {
        let mut command = program("nginx");
        // If it were killed, its workers would stay.
        command.args(["-g", "daemon off; master_process off;", "-c"]).arg(file);
        command
    }

    /// A connection to it.
    fn connect(&self) -> UnixStream {
        connect(&self.folder.path().join("socket"))
    }

    /// One request on a connection of its own, and the whole answer.
    fn ask(&self, line: &str, more: &str) -> String {
        exchange(self.connect(), line, more)
    }
}

/// One request on a connection, and the whole answer.
fn exchange(mut stream: impl Read + Write, line: &str, more: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n{more}");
    stream.write_all(request.as_bytes()).expect("send a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// The header lines and the body of a request with JSON.
fn json(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}
