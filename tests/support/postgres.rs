//! A real PostgreSQL for a test: its own cluster in a temporary folder, with its own port and
//! socket, removed on drop.
//!
//! PostgreSQL refuses to run as root, so root runs it as `postgres` (a user that the package
//! creates) or `nobody`. `STAMPEDE_TEST_POSTGRES_BIN` names the folder of its programs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use port::Port;

#[path = "port.rs"]
#[allow(clippy::duplicate_mod, reason = "both kinds of servers bring it along")]
pub mod port;

/// Time for the start (after a crash the journal is replayed first), and for the end.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running PostgreSQL (or a stopped one that can start again) with the superuser `stampede`, the
/// database `postgres`, no passwords, and PostgreSQL's default durability.
pub struct PostgresServer {
    folder: TempDir,
    port: Port,
    account: Option<(u32, u32)>,
    child: Option<Child>,
}

impl PostgresServer {
    /// Creates a cluster and starts it.
    pub fn start() -> Self {
        let account = rustix::process::geteuid().is_root().then(account);
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("chmod");
        if let Some((uid, gid)) = account {
            chown(folder.path(), Some(uid), Some(gid)).expect("chown");
        }
        let mut server = Self { folder, port: Port::free(), account, child: None };
        let mut initdb = server.program("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=stampede", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "--pgdata"]).arg(server.data());
        let made = initdb.output().unwrap_or_else(|error| {
            panic!("this test needs PostgreSQL ({error}): apt-get install postgresql")
        });
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        // Another process may take the port between our choice and the start: choose again.
        for _ in 0..10 {
            server.port = Port::free();
            if server.spawn() {
                return server;
            }
        }
        panic!("PostgreSQL did not start in ten attempts:\n{}", server.log());
    }

    /// The URL of its database, over TCP.
    pub fn url(&self) -> String {
        self.url_of("stampede")
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The URL of another of its databases.
    pub fn url_of_database(&self, name: &str) -> String {
        format!("postgres://stampede@127.0.0.1:{}/{name}", self.port())
    }

    /// The same for another user.
    pub fn url_of(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port())
    }

    /// The URL over the Unix socket.
    pub fn socket_url(&self) -> String {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        format!("postgres://stampede@{folder}:{}/postgres", self.port())
    }

    /// A connection for a test's own queries.
    pub fn connect(&self) -> Client {
        Client::connect(&self.url(), NoTls).expect("a connection to PostgreSQL")
    }

    /// Offers TLS from now on. Returns the file with its self-signed certificate.
    pub fn with_tls(&self) -> PathBuf {
        self.with_certificate("basicConstraints=critical,CA:FALSE")
    }

    /// The same with a certificate of an authority, as PostgreSQL's manual has it.
    pub fn with_tls_of_an_authority(&self) -> PathBuf {
        self.with_certificate("basicConstraints=critical,CA:TRUE")
    }

    fn with_certificate(&self, constraints: &str) -> PathBuf {
        let (certificate, key) = (self.data().join("server.crt"), self.data().join("server.key"));
        let mut openssl = self.program("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-addext", constraints]);
        let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate).output();
        assert!(made.expect("openssl").status.success());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
        let mut client = self.connect();
        client.batch_execute("ALTER SYSTEM SET ssl = on").expect("ssl");
        client.batch_execute("SELECT pg_reload_conf()").expect("reload");
        certificate
    }

    /// Stops it in order, without waiting for its clients.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Stops it like a crash: nothing more is written.
    pub fn crash(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Starts it again, on the same port and folder.
    pub fn restart(&mut self) {
        self.stop();
        assert!(self.spawn(), "PostgreSQL did not come back:\n{}", self.log());
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// One of PostgreSQL's programs, run as its owner.
    pub fn program(&self, name: &str) -> Command {
        let path = programs().join(name);
        let mut command = Command::new(if path.exists() { path } else { name.into() });
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid).env("HOME", self.folder.path());
        }
        command
    }

    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.child.take() else { return };
        kill_process(Pid::from_child(&child), signal).expect("a signal to PostgreSQL");
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if child.try_wait().expect("wait for PostgreSQL").is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().expect("kill PostgreSQL");
        child.wait().expect("wait for PostgreSQL");
    }

    /// Whether it started. It has not if its port was taken.
    fn spawn(&mut self) -> bool {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log file");
        let mut command = self.program("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.folder.path());
        command.args(["-p", &self.port().to_string(), "-h", "127.0.0.1"]);
        command.stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("PostgreSQL starts"));
        let until = Instant::now() + DEADLINE;
        while Instant::now() < until {
            if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
                self.child = None;
                return false;
            }
            if Client::connect(&self.url(), NoTls).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.crash();
    }
}

/// The folder of the programs: the newest of Debian's packages.
fn programs() -> PathBuf {
    if let Some(folder) = std::env::var_os("STAMPEDE_TEST_POSTGRES_BIN") {
        return folder.into();
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folders = versions.map(|version| version.path().join("bin"));
    let newest = folders.filter(|folder| folder.join("initdb").exists()).max_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    newest.unwrap_or_default()
}

/// The user and group that run it if we are root.
pub fn account() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres").or_else(|| find("nobody")).expect("a user postgres or nobody")
}
