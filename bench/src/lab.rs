//! The lab: starts servers, Redis and load, each on its core, records every command line, and stops
//! everything at the end.

use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::answer::{self, Answer};
use crate::client::{Client, Response};
use crate::error::{Because, Result, fail};
use crate::process::{CommandLine, Interrupted, Running, run};
use crate::resp::{Connection, Reply};
use crate::servers::Programs;
use crate::tools;

const START_DEADLINE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// Everything that a scenario needs to run something.
pub struct Lab {
    /// Core of the servers under test.
    pub server_core: usize,
    /// Core of the load and of Redis.
    pub load_core: usize,
    /// The programs.
    pub programs: Programs,
    data: Folder,
    commands: File,
    interrupted: Interrupted,
    started: u32,
}

/// A running server.
pub struct Served {
    /// The process.
    pub process: Running,
    /// The address.
    pub address: SocketAddr,
    /// Whether the address takes TLS.
    pub secure: bool,
}

/// A running Redis.
pub struct Redis {
    /// The process.
    pub process: Running,
    /// The address.
    pub address: SocketAddr,
    connection: Connection,
}

impl Lab {
    /// Creates `data` and removes it at the end. Appends every command line to `commands`.
    pub fn open(
        cores: (usize, usize),
        programs: Programs,
        data: PathBuf,
        commands: &Path,
        interrupted: Interrupted,
    ) -> Result<Self> {
        let data = Folder::create(data)?;
        let commands =
            File::create(commands).because(|| format!("creating {}", commands.display()))?;
        let (server_core, load_core) = cores;
        Ok(Self { server_core, load_core, programs, data, commands, interrupted, started: 0 })
    }

    /// Folder of the ledgers.
    pub fn data(&self) -> &Path {
        &self.data.0
    }

    /// Writes a remark between the command lines.
    pub fn remark(&mut self, text: &str) -> Result<()> {
        writeln!(self.commands, "# {text}").because(|| "writing commands.txt".into())
    }

    /// A new embedded ledger, in the form of `--ledger`.
    pub fn fresh_ledger(&self) -> String {
        format!("embedded:{}", self.fresh_folder("ledger").display())
    }

    /// Path of a new folder, which does not exist yet.
    pub fn fresh_folder(&self, name: &str) -> PathBuf {
        self.data.0.join(format!("{name}-{}", self.started))
    }

    /// Starts a stampede on these cores with this ledger and only the sales of the options.
    pub fn stampede(&mut self, cores: &[usize], ledger: &str, options: &[&str]) -> Result<Served> {
        let address = free_address()?;
        let line = self.programs.stampede_serve(cores, &address.to_string(), ledger, options);
        self.serve_line("stampede", &line, address)
    }

    /// Starts a server by its command line and waits until it listens.
    pub fn serve_line(
        &mut self,
        name: &str,
        line: &CommandLine,
        address: SocketAddr,
    ) -> Result<Served> {
        let mut process = self.start(name, line)?;
        self.await_listening(&mut process, address)?;
        Ok(Served { process, address, secure: false })
    }

    /// Starts a Redis on the load's core, without persistence.
    pub fn redis(&mut self) -> Result<Redis> {
        self.redis_on(self.load_core, &["--appendonly", "no"])
    }

    /// Starts a Redis on a core with these options.
    pub fn redis_on(&mut self, core: usize, options: &[&str]) -> Result<Redis> {
        let address = free_address()?;
        let folder = self.fresh_folder("redis");
        fs::create_dir_all(&folder).because(|| format!("creating {}", folder.display()))?;
        let line = self.programs.redis(core, address, &folder, options);
        let mut process = self.start("redis-server", &line)?;
        self.await_listening(&mut process, address)?;
        let mut connection = Connection::open(address)?;
        match connection.ask(&["PING"])? {
            Reply::Text(pong) if pong == "PONG" => Ok(Redis { process, address, connection }),
            other => fail(format!("Redis answered PING with {other:?}")),
        }
    }

    /// Starts a background process.
    pub fn background(&mut self, name: &str, line: &CommandLine) -> Result<Running> {
        self.start(name, line)
    }

    /// Starts a background process with a standard input.
    pub fn background_with_input(&mut self, name: &str, line: &CommandLine) -> Result<Running> {
        writeln!(self.commands, "{line} &").because(|| "writing commands.txt".into())?;
        let log = self.next_log(name);
        Running::start_with_input(name, line, &log)
    }

    /// Runs a load generator to its end and returns what it printed.
    pub fn load(&mut self, line: &CommandLine, seconds: u64) -> Result<String> {
        writeln!(self.commands, "{line}").because(|| "writing commands.txt".into())?;
        run(line, Duration::from_secs(seconds) + tools::GRACE, &self.interrupted)
    }

    /// Waits, unless the run is interrupted.
    pub fn settle(&self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.check_interrupted()?;
            std::thread::sleep(POLL.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// `Err` if the run was interrupted.
    pub fn check_interrupted(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) { fail("interrupted") } else { Ok(()) }
    }

    pub(crate) fn start(&mut self, name: &str, line: &CommandLine) -> Result<Running> {
        writeln!(self.commands, "{line} &").because(|| "writing commands.txt".into())?;
        let log = self.next_log(name);
        Running::start(name, line, &log)
    }

    fn next_log(&mut self, name: &str) -> PathBuf {
        self.started += 1;
        self.data.0.join(format!("{name}-{}.log", self.started - 1))
    }

    pub(crate) fn await_listening(&self, process: &mut Running, address: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while TcpStream::connect(address).is_err() {
            process.check_alive()?;
            self.check_interrupted()?;
            if Instant::now() > deadline {
                return fail(format!("nothing listens on {address} after {START_DEADLINE:?}"));
            }
            std::thread::sleep(POLL);
        }
        // The listening process must be the started one.
        process.check_alive()
    }
}

impl Served {
    /// Connects to the server.
    pub fn client(&self) -> Result<Client> {
        if self.secure {
            Client::connect_secure(self.address)
        } else {
            Client::connect(self.address)
        }
    }

    /// The target of load generators.
    pub fn to(&self) -> String {
        let scheme = if self.secure { "https://" } else { "" };
        format!("{scheme}{}", self.address)
    }

    /// Sends requests until the answer is `wanted`. Before it, accepts only `Granted` and 503 (a
    /// ledger that is not ready), a few times. Anything else is an `Err`.
    pub fn expect(&self, wanted: Answer) -> Result<()> {
        let mut client = self.client()?;
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let response = client.get(answer::TARGET)?;
            match answer::read(&response) {
                Some(answer) if answer == wanted => return Ok(()),
                Some(Answer::Granted) => {}
                None if response.status == 503 => std::thread::sleep(POLL),
                _ => return fail(unexpected(wanted, &response)),
            }
            if Instant::now() > deadline {
                return fail(unexpected(wanted, &response));
            }
        }
    }
}

/// An error about an unexpected answer.
pub fn unexpected(wanted: Answer, response: &Response) -> String {
    let Response { status, content_type, body, .. } = response;
    format!("expected {wanted:?}, but the server answered {status} ({content_type}): {body}")
}

impl Redis {
    /// The URL.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address)
    }

    /// One command and its reply.
    pub fn ask(&mut self, command: &[&str]) -> Result<Reply> {
        self.connection.ask(command)
    }

    /// Bytes of memory in use.
    pub fn used_memory(&mut self) -> Result<u64> {
        let Reply::Text(info) = self.ask(&["INFO", "memory"])? else {
            return fail("Redis answered INFO memory without text");
        };
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.and_then(|bytes| bytes.trim().parse().ok())
            .map_or_else(|| fail("Redis answered INFO memory without used_memory"), Ok)
    }

    /// Tickets sold of the sale `ticket`, from the ledger.
    pub fn sold(&mut self) -> Result<u64> {
        self.sold_of("ticket")
    }

    /// Tickets sold of a sale, from the ledger.
    pub fn sold_of(&mut self, sale: &str) -> Result<u64> {
        let (key, field) = (format!("{sale}_hash_key"), format!("{sale}_sold_nums"));
        match self.connection.ask(&["HGET", &key, &field])? {
            Reply::Text(sold) => sold.parse().because(|| format!("{field} is {sold}")),
            other => fail(format!("Redis answered HGET {key} {field} with {other:?}")),
        }
    }
}

/// A free port. Another program may take it before the server does, which the start then detects.
pub fn free_address() -> Result<SocketAddr> {
    free_address_on(Ipv4Addr::LOCALHOST)
}

/// A free port of another loopback address.
pub fn free_address_on(ip: Ipv4Addr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0));
    Ok(listener.because(|| "looking for a free port".into())?.local_addr()?)
}

/// A folder that is removed with its content.
struct Folder(PathBuf);

impl Folder {
    fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).because(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover lies under target/ and does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}
