//! The place of a scenario: network namespaces with links between them, and programs in them. All
//! of it is removed on drop, however the scenario ends.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;
use tempfile::TempDir;

/// Folders with programs, also those that are in no user's PATH.
fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin", "/usr/lib/frr"].map(PathBuf::from));
    folders
}

/// The path of this program.
pub fn find(program: &str) -> Option<PathBuf> {
    program_folders().iter().map(|folder| folder.join(program)).find(|path| path.exists())
}

/// The Debian packages of missing programs.
pub fn lacking(needs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let folders = program_folders();
    let missing = |program: &str| !folders.iter().any(|folder| folder.join(program).exists());
    needs.iter().filter(|(program, _)| missing(program)).map(|(_, package)| *package).collect()
}

/// Waits until `is_so`. If that takes too long, panics with what was waited for.
pub fn until(what: &str, time: Duration, mut is_so: impl FnMut() -> bool) -> Duration {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < time, "not within {time:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    since.elapsed()
}

/// Runs a command to its end and returns its output. If it fails, panics with all its output.
pub fn output(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().expect("run a program");
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{out}{err}", done.status);
    out.into_owned()
}

/// The result of `stampede audit` for this ledger: number of differences, and the report.
pub fn audit(ledger: &str, sale: &str, orders: Option<&str>) -> (u64, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["audit", "--ledger", ledger, "--sale", sale, "--json"]);
    command.args(orders.iter().flat_map(|orders| ["--orders", orders]));
    let done = command.output().expect("run the audit");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&done.stderr));
    });
    let differences = report["differences"].as_u64().expect("a number");
    assert_eq!(done.status.code(), Some(i32::from(differences > 0)), "{report}");
    (differences, report)
}

/// A worker of the orders.
pub fn orders(from: &str, to: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["orders", "--from", from, "--to", to, "--consumer", "one"]);
    command
}

/// A duration as the table shows it.
pub fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// Holds everything of one scenario.
pub struct Lab {
    folder: TempDir,
    nets: Vec<Net>,
}

/// A network namespace. A copy names the same one.
#[derive(Debug, Clone)]
pub struct Net {
    name: String,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// An empty lab.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Programs that give up root must be able to enter: FRR, nginx.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
        LABS.fetch_add(1, Ordering::Relaxed);
        Self { folder, nets: Vec::new() }
    }

    /// A folder that is removed with the lab.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into its folder and returns its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder().join(name);
        fs::write(&path, text).expect("write a file");
        path
    }

    /// A new namespace, with its loopback up. Needs root.
    pub fn net(&mut self, name: &str) -> Net {
        let lab = LABS.load(Ordering::Relaxed);
        let net = Net { name: format!("stampede-{}-{lab}-{name}", std::process::id()) };
        output(Command::new("ip").args(["netns", "add", &net.name]));
        self.nets.push(net.clone());
        net.run(&["ip", "link", "set", "lo", "up"]);
        net
    }

    /// Connects two namespaces by a cable: each end has a name and an address with its prefix.
    pub fn join(&mut self, one: (&Net, &str, &str), other: (&Net, &str, &str)) {
        // Created where it belongs, so it never has a name in this namespace.
        let end = |(net, name, _): (&Net, &str, &str)| format!("name {name} netns {}", net.name);
        let cable = format!("link add {} type veth peer {}", end(one), end(other));
        output(Command::new("ip").args(cable.split(' ')));
        for (net, name, address) in [one, other] {
            if !address.is_empty() {
                net.run(&["ip", "address", "add", address, "dev", name]);
            }
            net.run(&["ip", "link", "set", name, "up"]);
        }
    }

    /// A new namespace that is an Ethernet switch: all namespaces on it reach each other.
    pub fn switch(&mut self, name: &str) -> Net {
        let net = self.net(name);
        net.run(&["ip", "link", "add", "switch", "type", "bridge"]);
        net.run(&["ip", "link", "set", "switch", "up"]);
        net
    }

    /// Connects a namespace to a port of a switch. The namespace's end has a name and an address
    /// with its prefix. `ip link set PORT nomaster` on the switch then loses every packet while the
    /// link stays up.
    pub fn plug(&mut self, (switch, port): (&Net, &str), end: (&Net, &str, &str)) {
        self.join((switch, port, ""), end);
        switch.run(&["ip", "link", "set", port, "master", "switch"]);
    }

    /// Starts a program whose output goes to `NAME.log` in the folder.
    pub fn start(&self, name: &str, command: &mut Command) -> Program {
        let log = self.folder().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log");
        let err = file.try_clone().expect("a log");
        let command = command.stdin(Stdio::null()).stdout(file).stderr(err);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Program { name: name.to_owned(), log, child: Some(child) }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for net in &self.nets {
            // A program of that name that still runs ends first.
            if let Ok(done) = Command::new("ip").args(["netns", "pids", &net.name]).output() {
                let pids = String::from_utf8_lossy(&done.stdout).into_owned();
                let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
                pids.filter_map(Pid::from_raw).for_each(|pid| {
                    let _ = kill_process(pid, Signal::KILL);
                });
            }
            let _ = Command::new("ip").args(["netns", "delete", &net.name]).status();
        }
    }
}

impl Net {
    /// A program in this namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        let path = std::env::join_paths(program_folders()).expect("folders of PATH");
        command.env("PATH", path).args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs this on a thread in the namespace. Sockets that it opens stay there, and threads that
    /// it starts begin there.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace");
        let enter = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(file.as_fd(), kind).expect("enter the namespace");
            work()
        };
        thread::scope(|scope| match scope.spawn(enter).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Runs a command in it to its end and returns its output. Panics if it fails.
    pub fn run(&self, command: &[&str]) -> String {
        match command {
            // The thread enters by itself, without the mounts that `ip netns exec` would set up.
            ["ip", arguments @ ..] => {
                output(Command::new("ip").args(["-netns", &self.name]).args(arguments))
            }
            [program, arguments @ ..] => output(self.command(program).args(arguments)),
            [] => panic!("no command"),
        }
    }

    /// Runs this on a thread in this namespace; threads that it starts are in it too.
    pub fn spawn<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let door = File::open(Path::new("/run/netns").join(&self.name)).expect("a namespace");
        thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(door.as_fd(), kind).expect("enter a namespace");
            run()
        })
    }

    /// Starts `stampede serve` in it, on this address (port 3005; operators on 3006 of loopback),
    /// with these additional options.
    pub fn serve(&self, address: Ipv4Addr, options: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_stampede"));
        command.args(["serve", "--listen", &format!("{address}:3005")]).args(options);
        command
    }
}

/// A started program. On drop it ends like `kill -9`.
pub struct Program {
    name: String,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    /// Its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its output has this text.
    pub fn says(&mut self, text: &str, time: Duration) {
        let since = Instant::now();
        while !self.log().contains(text) {
            let runs = self.is_running();
            assert!(
                runs && since.elapsed() < time,
                "{} does not say {text:?}: {}",
                self.name,
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Its process. `ip netns exec` replaces itself by the program, so this is the program.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill_process(Pid::from_child(child), signal).expect("send a signal");
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ends it like an operator, by SIGTERM. Returns its exit code; -1 for a signal.
    pub fn terminate(&mut self, time: Duration) -> i32 {
        self.signal(Signal::TERM);
        self.wait(time)
    }

    /// Waits until it has ended. Returns its exit code; -1 for a signal.
    pub fn wait(&mut self, time: Duration) -> i32 {
        let name = self.name.clone();
        until(&format!("{name} ends"), time, || !self.is_running());
        let status = self.child.take().expect("it ran").wait().expect("its status");
        status.code().unwrap_or(-1)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("-- {}:\n{}", self.name, self.log());
        }
    }
}
