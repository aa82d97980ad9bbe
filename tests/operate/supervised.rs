//! Under a service manager: notifications to it, sockets from it, limits by it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::Client;
use crate::server::{ANSWER_DEADLINE, Server};

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server's notifications to its service manager.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        Self { folder, socket }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").display().to_string()
    }

    /// Waits for something other than a heartbeat.
    #[track_caller]
    fn told(&self) -> String {
        loop {
            let told = self.next();
            if told != "WATCHDOG=1\n" {
                return told;
            }
        }
    }

    #[track_caller]
    fn next(&self) -> String {
        let mut text = [0; 4096];
        let count = self.socket.recv(&mut text).expect("it is told something");
        String::from_utf8_lossy(&text[..count]).into_owned()
    }
}

#[test]
fn the_service_manager_is_notified_of_every_state() {
    let manager = Manager::new();
    let environment = [("NOTIFY_SOCKET", manager.path())];
    let mut server = Server::start_with(&environment, &["--sale", "ticket=10"]);
    assert_eq!(manager.told(), "READY=1\nSTATUS=selling\n");
    while manager.next() != "WATCHDOG=1\n" {}
    server.signal(Signal::HUP);
    let told = manager.told();
    assert!(told.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{told}");
    assert_eq!(manager.told(), "READY=1\n");
    server.hand_over();
    assert_eq!(manager.told(), format!("MAINPID={}\n", server.pid()));
    assert_eq!(manager.told(), "READY=1\nSTATUS=selling\n");
    assert_eq!(server.terminate(), 0);
    assert_eq!(manager.told(), "STOPPING=1\nSTATUS=draining\n");
}

/// A server whose sockets another process has bound, as systemd does.
struct Activated {
    folder: TempDir,
    child: Option<Child>,
}

impl Activated {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), child: None }
    }

    /// Starts it with these sockets, of which the first is to be descriptor 3.
    fn start(&mut self, sockets: &[OwnedFd], options: &[&str]) {
        // A shell arranges the descriptors as systemd would.
        assert!(sockets.len() <= 2);
        let script = "exec 3<&0; [ $# -eq 0 ] || exec 4<&1; LISTEN_PID=$$ exec \"$0\" \"$@\"";
        let script = match sockets.len() {
            1 => script.replace("[ $# -eq 0 ] || exec 4<&1; ", ""),
            _ => script.replace("[ $# -eq 0 ] || ", ""),
        };
        let script = script.replace("LISTEN_PID", "exec 0</dev/null 1>&2; LISTEN_PID");
        let log = fs::File::options().create(true).append(true).open(self.log_path());
        let ledger = format!("embedded:{}", self.folder.path().join("data").display());
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_stampede"), "serve"]);
        command.args(["--ledger", &ledger]).args(options);
        command.env("LISTEN_FDS", sockets.len().to_string());
        let copy = |socket: &OwnedFd| Stdio::from(socket.try_clone().expect("a descriptor"));
        command.stdin(copy(&sockets[0]));
        command.stdout(sockets.get(1).map_or_else(Stdio::null, copy));
        command.stderr(log.expect("a log"));
        self.child = Some(command.spawn().expect("start the server"));
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Epoll instances that watch at least this number of descriptors: a core has one for its
    /// connections.
    fn cores_with(&self, connections: usize) -> usize {
        let pid = self.child.as_ref().expect("it runs").id();
        let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors");
        let texts = infos.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        let watched = |text: &String| text.lines().filter(|line| line.starts_with("tfd:")).count();
        texts.filter(|text| watched(text) >= connections).count()
    }

    /// Ends it in order.
    fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).expect("send a signal");
        let status = child.wait().expect("its end");
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Activated {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// A socket that systemd holds is served, and the next server serves clients that come while none
/// runs.
#[test]
fn inherited_sockets_accept_clients_while_the_server_restarts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("its address");
    let control = TcpListener::bind("127.0.0.1:0").expect("bind");
    let operators = control.local_addr().expect("its address");
    let sockets = [OwnedFd::from(listener), OwnedFd::from(control)];
    let listen = address.to_string();
    let control = operators.to_string();
    let options = ["--sale", "ticket=1000", "--listen", &listen, "--control", &control];
    let mut server = Activated::new();
    let mut bought = 0;
    for cores in ["0-1", "0"] {
        // Before there is a server.
        let mut early: Vec<_> =
            (0..20).map(|_| Client::over(Server::connect_to(address))).collect();
        early.iter_mut().for_each(|client| client.send(BUY));
        server.start(&sockets, &[&options[..], &["--cores", cores]].concat());
        for client in &mut early {
            assert_eq!(client.response().json()["code"], 1);
        }
        // The one socket's connections are given to all cores in turn.
        for client in &mut early {
            assert_eq!(client.ask(BUY).json()["code"], 1);
        }
        bought += 40;
        let ready = "GET /v1/sales/ticket HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let view = Client::over(Server::connect_to(operators)).ask(ready).json();
        assert_eq!(view["held"], bought, "{view}");
        // A connection is watched once it is answered, maybe a moment after its answer is here.
        let wanted = if cores == "0-1" { 2 } else { 1 };
        let until = Instant::now() + ANSWER_DEADLINE;
        while server.cores_with(20 / wanted) != wanted {
            assert!(Instant::now() < until, "{} cores", server.cores_with(20 / wanted));
        }
        server.stop();
    }
    TcpStream::connect(address).expect("the socket is the service manager's");
}

/// `ListenStream=3005` is one socket for both families.
#[test]
fn an_inherited_dual_stack_socket_serves_the_default_address() {
    let listener = TcpListener::bind("[::]:0").expect("bind");
    let port = listener.local_addr().expect("its address").port();
    let mut server = Activated::new();
    let listen = format!("0.0.0.0:{port}");
    server.start(&[listener.into()], &["--listen", &listen, "--control", "off"]);
    for host in ["127.0.0.1", "::1"] {
        let address = (host, port);
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        assert_eq!(Client::over(stream).ask(BUY).json()["code"], 1, "{host}");
    }
    server.stop();
}

#[test]
fn an_inherited_unix_socket_is_not_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("bind");
    let stranger = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut server = Activated::new();
    let listen = format!("unix:{}", path.display());
    let sockets = [listener.into(), OwnedFd::from(stranger)];
    server.start(&sockets, &["--listen", &listen, "--control", "off"]);
    let stream = UnixStream::connect(&path).expect("connect");
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
    let mut client = Client::over(stream);
    assert_eq!(client.ask(BUY).json()["code"], 1);
    drop(client);
    server.stop();
    assert!(path.exists(), "it is not ours to remove");
    assert!(server.log().contains("no setting names it"), "{}", server.log());
}

#[test]
fn an_inherited_socket_that_does_not_listen_is_an_error() {
    let (one, _other) = UnixStream::pair().expect("sockets");
    let mut server = Activated::new();
    server.start(&[one.into()], &["--listen", "127.0.0.1:0", "--control", "off"]);
    let status = server.child.take().expect("a child").wait().expect("its end");
    assert_eq!(status.code(), Some(1));
    assert!(server.log().contains("no socket that listens"), "{}", server.log());
}

/// Starts the server with systemd's own tool, which needs no running systemd.
#[test]
fn systemd_socket_activate_starts_the_server() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.local_addr().expect("its address").port()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (listen, ledger) =
        (format!("127.0.0.1:{port}"), format!("embedded:{}", folder.path().join("data").display()));
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &listen, env!("CARGO_BIN_EXE_stampede"), "serve"]);
    command.args(["--listen", &listen, "--ledger", &ledger, "--control", "off"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child =
        command.spawn().expect("this test needs systemd-socket-activate: apt-get install systemd");
    let mut server = Activated { folder, child: Some(child) };
    let until = Instant::now() + ANSWER_DEADLINE;
    let stream = loop {
        match TcpStream::connect(&listen) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
    assert_eq!(Client::over(stream).ask(BUY).json()["code"], 1);
    server.stop();
}

#[test]
fn the_ipv6_wildcard_serves_ipv4_unless_that_port_is_taken() {
    let server = Server::start(&["--listen", "[::]:0", "--connections-per-address", "1"]);
    let port = server.address().port();
    let ask = |host: &str| {
        let mut stream = TcpStream::connect((host, port)).expect("connect");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        stream.write_all(BUY.as_bytes()).expect("send");
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..count]).contains(" 200 ")
    };
    assert!(ask("127.0.0.1") && ask("::1"));
    drop(server);
    // Each has its own.
    let four = format!("127.0.0.1:{port}");
    let six = format!("[::]:{port}");
    let server = Server::start(&["--listen", &six, "--listen", &four]);
    assert!(ask("127.0.0.1") && ask("::1"));
    drop(server);
    let server = Server::start(&["--listen", &six, "--control", &four]);
    assert_eq!(server.control().to_string(), four);
    assert!(ask("::1"));
}

/// A control group's quota, as a kernel of either version shows it, decides the number of cores.
#[test]
fn a_cpu_quota_limits_the_number_of_cores() {
    let cores = |prepare: &str, options: &[&str]| {
        let script = format!("set -e\n{prepare}\nexec \"$@\"");
        let output = Command::new("unshare")
            .args(["-m", "sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_stampede")])
            .arg("check-config")
            .args(options)
            .output()
            .expect("this test needs unshare: apt-get install util-linux");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let config = text(&output.stdout);
        let line = config.lines().find(|line| line.starts_with("cores")).expect("cores");
        (line.split('#').next().unwrap().trim().to_owned(), text(&output.stderr))
    };
    let (all, _) = cores("", &[]);
    let own = |line: &str| {
        format!(
            "echo '{line}' >/tmp/cgroup.$$; mount --bind /tmp/cgroup.$$ /proc/$$/cgroup; rm /tmp/cgroup.$$"
        )
    };
    let two = |quota: &str| {
        let group = "mount -t tmpfs none /sys/fs/cgroup; mkdir -p /sys/fs/cgroup/shop/server";
        let files = format!(
            "echo cpu >/sys/fs/cgroup/shop/cgroup.controllers; echo cpu >/sys/fs/cgroup/cgroup.controllers; \
             echo cpu >/sys/fs/cgroup/shop/server/cgroup.controllers; \
             echo max 100000 >/sys/fs/cgroup/shop/server/cpu.max; \
             echo {quota} >/sys/fs/cgroup/shop/cpu.max"
        );
        [own("0::/shop/server"), group.to_owned(), files].join("\n")
    };
    let one = |quota: &str| {
        let group = "mount -t tmpfs none /sys/fs/cgroup; mkdir -p /sys/fs/cgroup/cpu/shop";
        let files = format!(
            "echo {quota} >/sys/fs/cgroup/cpu/shop/cpu.cfs_quota_us; \
             echo 100000 >/sys/fs/cgroup/cpu/shop/cpu.cfs_period_us"
        );
        [own("4:cpu:/shop"), group.to_owned(), files].join("\n")
    };
    for quota in [two("50000 100000"), two("150000 100000"), one("50000"), one("150000")] {
        let (first, told) = cores(&quota, &[]);
        assert_eq!((&*first, &*told), ("cores = \"0\"", ""));
        let (as_asked, told) = cores(&quota, &["--cores", "0-1"]);
        assert_eq!(as_asked, "cores = \"0-1\"");
        assert!(told.contains("CPU quota allows 1"), "{told}");
    }
    for none in [two("max 100000"), one("-1")] {
        assert_eq!(cores(&none, &[]), (all.clone(), String::new()));
    }
}
