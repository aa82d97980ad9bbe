//! A real PostgreSQL: a new cluster in a temporary folder, with its durability on.
//!
//! PostgreSQL refuses to run as root, so root starts it as the user `postgres` or `nobody`.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use tempfile::TempDir;

use crate::error::{Because, Result, fail};
use crate::lab::{Lab, free_address};
use crate::process::{CommandLine, Cpu, Running};

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const INITDB_SECONDS: u64 = 60;
const POLL: Duration = Duration::from_millis(20);
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";

/// A cluster, running or stopped.
pub struct Postgres {
    process: Option<Running>,
    address: SocketAddr,
    core: usize,
    programs: PathBuf,
    user: Option<Account>,
    folder: TempDir,
}

/// Writes of a database since its creation.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// Rows inserted, updated and deleted.
    pub rows: u64,
    /// Waits of the whole cluster for its write-ahead log on disk.
    pub wal_syncs: u64,
    /// Bytes of write-ahead log of the whole cluster.
    pub wal_bytes: u64,
}

struct Account {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Creates a cluster and starts it on a core.
    pub fn start(lab: &mut Lab, core: usize) -> Result<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().because(|| "creating a temporary folder".into())?;
        let user = account(folder.path())?;
        if let Some(Account { uid, gid }) = user {
            chown(folder.path(), Some(uid), Some(gid))
                .because(|| format!("giving {} away", folder.path().display()))?;
        }
        let address = free_address()?;
        let mut this = Self { process: None, address, core, programs, user, folder };
        let data = this.data();
        let initdb = ["--no-sync", "-A", "trust", "-U", "bench", "-E", "UTF8", "-D", &data];
        lab.load(&this.command("initdb", &initdb), INITDB_SECONDS)?;
        this.resume(lab)?;
        Ok(this)
    }

    /// Starts the cluster again after [`stop`](Self::stop).
    pub fn resume(&mut self, lab: &mut Lab) -> Result<()> {
        let (data, port) = (self.data(), self.address.port().to_string());
        let folder = self.folder.path().to_string_lossy().into_owned();
        let network = ["-c", "listen_addresses=127.0.0.1", "-p", &port, "-k", &folder];
        let size = ["-c", "max_connections=200", "-c", "shared_buffers=256MB"];
        let words: Vec<&str> = ["-D", &data].into_iter().chain(network).chain(size).collect();
        let mut process = lab.start("postgres", &self.command("postgres", &words))?;
        let deadline = Instant::now() + START_DEADLINE;
        while self.connect("postgres").is_err() {
            process.check_alive()?;
            lab.check_interrupted()?;
            if Instant::now() > deadline {
                return fail(format!("PostgreSQL is not ready after {START_DEADLINE:?}"));
            }
            std::thread::sleep(POLL);
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops the cluster as an operator does: connections are cut, nothing is lost.
    pub fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.end(libc::SIGINT, STOP_DEADLINE),
            None => Ok(()),
        }
    }

    /// CPU of its processes so far; nothing while it is stopped.
    pub fn cpu(&self) -> Result<Cpu> {
        self.process.as_ref().map_or_else(|| Ok(Cpu::default()), Running::cpu)
    }

    /// Creates an empty database and returns its URL.
    pub fn database(&self, name: &str) -> Result<String> {
        let mut client = self.connect("postgres")?;
        let sql = format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}");
        for statement in sql.split("; ") {
            client.batch_execute(statement).because(|| statement.to_owned())?;
        }
        Ok(self.url(name))
    }

    /// The URL of a database.
    pub fn url(&self, name: &str) -> String {
        format!("postgres://bench@{}/{name}", self.address)
    }

    /// A connection to a database.
    pub fn connect(&self, name: &str) -> Result<Client> {
        connect(&self.url(name))
    }

    /// Writes of a database so far. A connection reports its writes when it ends, so close all others
    /// before.
    pub fn written(&self, name: &str) -> Result<Written> {
        let mut client = self.connect("postgres")?;
        let sql = "SELECT tup_inserted + tup_updated + tup_deleted, wal_sync, \
                   pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint \
                   FROM pg_stat_database, pg_stat_wal WHERE datname = $1";
        let row = client.query_one(sql, &[&name]).because(|| "asking for statistics".into())?;
        let count = |at: usize| row.get::<_, i64>(at).unsigned_abs();
        Ok(Written { rows: count(0), wal_syncs: count(1), wal_bytes: count(2) })
    }

    /// Writes the dirty pages, so that no measurement has to.
    pub fn checkpoint(&self) -> Result<()> {
        self.connect("postgres")?.batch_execute("CHECKPOINT").because(|| "a checkpoint".into())
    }

    fn data(&self) -> String {
        self.folder.path().join("data").to_string_lossy().into_owned()
    }

    fn command(&self, program: &str, words: &[&str]) -> CommandLine {
        let program = self.programs.join(program).to_string_lossy().into_owned();
        let mut line = Vec::new();
        if let Some(Account { uid, gid }) = self.user {
            // A change of user clears the parent-death signal, so set it again.
            let signal = ["--clear-groups".into(), "--pdeathsig".into(), "INT".into()];
            line.extend(["setpriv".into(), format!("--reuid={uid}"), format!("--regid={gid}")]);
            line.extend(signal);
        }
        line.push(program);
        line.extend(words.iter().map(|&word| word.to_owned()));
        CommandLine::on_core(self.core, line)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Dropping the process kills it if it is still running.
        let _ = self.stop();
    }
}

/// A connection to the database of a URL.
pub fn connect(url: &str) -> Result<Client> {
    Client::connect(url, NoTls).because(|| format!("connecting to {url}"))
}

/// The folder of `initdb` and `postgres`: Debian's newest version, or the one on the path.
fn programs() -> Result<PathBuf> {
    let has = |folder: &PathBuf| folder.join("initdb").is_file();
    let versions = fs::read_dir(DEBIAN_FOLDER).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        versions.map(|version| version.path().join("bin")).filter(has).collect();
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    match folders.pop().or_else(|| std::env::split_paths(&path).find(has)) {
        Some(folder) => Ok(folder),
        None => fail("not installed: PostgreSQL. On Debian or Ubuntu: apt-get install postgresql"),
    }
}

/// The account to run it. `None`: this process's own, which is not root.
fn account(ours: &Path) -> Result<Option<Account>> {
    if fs::metadata(ours)?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").because(|| "reading /etc/passwd".into())?;
    let find = |name: &str| {
        let mut fields = users.lines().find_map(|line| line.strip_prefix(name))?.split(':');
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Account { uid, gid })
    };
    match find("postgres:").or_else(|| find("nobody:")) {
        Some(account) => Ok(Some(account)),
        None => fail("PostgreSQL can't run as root, and there is no user postgres or nobody"),
    }
}
