//! A real PgBouncer for a test, in front of a
//! [`PostgresServer`](super::postgres_server::PostgresServer): its own process, port and folder,
//! removed on drop.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use tempfile::TempDir;

use super::postgres_server::port::Port;
use super::postgres_server::{PostgresServer, account};

/// Where Debian's package puts it, which is not in every user's PATH.
const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// Time for the start.
const DEADLINE: Duration = Duration::from_secs(20);

/// A running PgBouncer with one database, `postgres`.
pub struct PgBouncer {
    folder: TempDir,
    port: Port,
    child: Option<Child>,
}

impl PgBouncer {
    /// Starts one in this `pool_mode`, with this many connections to PostgreSQL.
    pub fn start(server: &PostgresServer, pool_mode: &str, connections: usize) -> Self {
        // Another process may take the port between our choice and the start: choose again.
        for _ in 0..10 {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut pooler = Self { folder, port: Port::free(), child: None };
            if pooler.spawn(server, pool_mode, connections) {
                return pooler;
            }
        }
        panic!("PgBouncer did not start in ten attempts");
    }

    /// The URL of the database through PgBouncer.
    pub fn url(&self) -> String {
        format!("postgres://stampede@127.0.0.1:{}/postgres", self.port.number())
    }

    /// Whether it started.
    fn spawn(&mut self, server: &PostgresServer, pool_mode: &str, connections: usize) -> bool {
        let (folder, port) = (self.folder.path(), self.port.number());
        let settings = format!(
            "[databases]\n\
             postgres = host=127.0.0.1 port={} user=stampede\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\ndefault_pool_size = {connections}\n\
             logfile = {}\n",
            server.port(),
            folder.join("log").display()
        );
        let file = folder.join("pgbouncer.ini");
        fs::write(&file, settings).expect("its settings");
        let mut command = Command::new(PROGRAM);
        // Like PostgreSQL, it refuses to run as root.
        if rustix::process::geteuid().is_root() {
            let (uid, gid) = account();
            chown(folder, Some(uid), Some(gid)).expect("chown");
            command.uid(uid).gid(gid);
        }
        command.arg("--quiet").arg(&file).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("this test needs PgBouncer ({error}): apt-get install pgbouncer")
        });
        self.child = Some(child);
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

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
