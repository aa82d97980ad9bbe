//! A standard error that accepts nothing: its reader stands still, then is gone; its disk is full.
//! A log never stops a sale, nor the end of a sale.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{Buyer, buyer, cores, eventually, own_address};

/// Seconds of sales with a standard error that stands still, and as many with one that is gone:
/// `STAMPEDE_TEST_SECONDS=30` for a longer test.
fn seconds() -> u64 {
    let text = std::env::var("STAMPEDE_TEST_SECONDS").unwrap_or_default();
    text.parse().unwrap_or(2)
}

/// A full pipe. A writer waits until it is read.
fn stuck() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl_setpipe_size(&writer, 4096).expect("a small pipe");
    let flags = fcntl_getfl(&writer).expect("its flags");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("not to wait");
    while writer.write(&[b'.'; 512]).is_ok() {}
    fcntl_setfl(&writer, flags).expect("to wait again");
    (reader, writer)
}

fn file(writer: PipeWriter) -> File {
    File::from(std::os::fd::OwnedFd::from(writer))
}

/// Makes the server log: bytes at the control port that are no request, and signals that it ignores
/// or that have it read its settings again.
fn have_it_log(server: &Server) {
    for _ in 0..200 {
        let mut stranger = server.connect_control();
        stranger.write_all(b"\x01\x02 is no HTTP\r\n\r\n").expect("write");
        let _ = stranger.read(&mut [0; 100]);
    }
    for signal in [Signal::HUP, Signal::USR1] {
        server.signal(signal);
    }
}

fn is_live(server: &Server) -> bool {
    let control = &mut Buyer::connect(server.control()).expect("connect");
    control.request("GET", "/livez", &[], "").is_ok_and(|answer| answer.status == 200)
}

/// Sells all the time while standard error stands still and then is gone, and lines are logged.
fn sell_on(server: &Server, reader: PipeReader, trouble: &mut dyn FnMut()) -> u64 {
    let (stop, granted) = (AtomicBool::new(false), AtomicU64::new(0));
    let sell = || {
        let mut buyer = buyer(server);
        while !stop.load(Ordering::Relaxed) {
            if buyer.buy().expect("an answer").granted().is_some() {
                granted.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let mut watch = |phase: &str| {
        for _ in 0..seconds() {
            trouble();
            have_it_log(server);
            assert!(is_live(server), "{phase}");
            let before = granted.load(Ordering::Relaxed);
            eventually("it sells", 10, || granted.load(Ordering::Relaxed) > before + 10);
            thread::sleep(Duration::from_secs(1));
        }
    };
    thread::scope(|scope| {
        let buyers: Vec<_> = (0..2).map(|_| scope.spawn(sell)).collect();
        let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            watch("while it stands still");
            drop(reader);
            watch("while it is gone");
        }));
        stop.store(true, Ordering::Relaxed);
        buyers.into_iter().for_each(|buyer| buyer.join().expect("a buyer"));
        watched.expect("it serves");
    });
    granted.into_inner()
}

#[test]
fn a_blocked_stderr_stops_neither_sales_nor_a_drain() {
    let mut redis = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let url = redis.url();
    for on_ledger in [&[][..], &["--ledger", &url]] {
        let options = ["--sale", "ticket=100000000", "--cores", &cores(1)];
        let start = |writer, more: &[&str]| {
            Server::start_to(file(writer), "", &[on_ledger, &options, more].concat())
        };

        let (reader, writer) = stuck();
        let mut server = start(writer, &[]);
        let mut round = 0;
        let granted = sell_on(&server, reader, &mut || {
            round += 1;
            match on_ledger {
                [] => {}
                // Every batch is refused, which the core logs.
                _ if round % 2 == 1 => {
                    redis.connect().text("CONFIG SET maxmemory 1mb");
                    let mut buyer = buyer(&server);
                    let refused = || buyer.buy().expect("an answer").is("unavailable");
                    eventually("it is refused", 10, refused);
                    redis.connect().text("CONFIG SET maxmemory 0");
                }
                _ => redis.restart(),
            }
        });
        assert_eq!(server.terminate(), 0);
        server.restart();
        let sale = buyer(&server).sale("ticket").expect("an answer");
        assert!(sale["held"].as_u64().expect("a number") >= granted, "{sale}: {granted}");
        drop(server);

        // It serves on for five minutes, unless a second signal comes.
        for is_gone in [false, true] {
            let (reader, writer) = stuck();
            let mut server = start(writer, &["--drain-delay", "5m"]);
            let _reader = (!is_gone).then_some(reader);
            server.signal(Signal::TERM);
            eventually("it is told", 10, || {
                let control = &mut Buyer::connect(server.control()).expect("connect");
                control.request("GET", "/readyz", &[], "").expect("an answer").status == 503
            });
            assert!(buyer(&server).buy().expect("an answer").granted().is_some());
            assert_eq!(server.terminate(), 1);
        }
    }
}

/// The program, without this process' environment.
fn stampede() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().contains("STAMPEDE")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// Waits for its exit code; -1 if a signal ended it.
fn code(mut child: Child) -> Option<i32> {
    let mut ended = None;
    eventually("it has ended", 30, || {
        ended = child.try_wait().expect("wait");
        ended.is_some()
    });
    ended.expect("it has").code()
}

#[test]
fn blocked_stdout_and_stderr_stop_neither_start_nor_exit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_reader, writer) = stuck();
    let [public, control] = [21_001, 21_002].map(|port| own_address(port).to_string());
    let ledger = format!("embedded:{}", folder.path().join("data").display());
    let mut command = stampede();
    command.args(["--listen", &public, "--control", &control, "--ledger", &ledger]);
    command.stdout(writer.try_clone().expect("a descriptor")).stderr(writer);
    let child = command.spawn().expect("start the server");
    let mut buyer = None;
    eventually("it listens", 20, || {
        buyer = Buyer::connect(public.parse().expect("an address")).ok();
        buyer.is_some()
    });
    let bought = buyer.as_mut().expect("a buyer").buy().expect("an answer");
    assert!(bought.granted().is_some());
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    assert_eq!(code(child), Some(0));
}

#[test]
fn a_full_stderr_stops_no_server_worker_or_command() {
    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let redis = RedisServer::start(&[]);
    let mut server =
        Server::start_to(full(), "", &["--ledger", &redis.url(), "--sale", "ticket=100"]);
    have_it_log(&server);
    assert!(buyer(&server).buy().expect("an answer").granted().is_some());
    assert!(is_live(&server));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let orders = format!("sqlite:{}", folder.path().join("orders.db").display());
    let mut worker = stampede();
    worker.args(["orders", "--once", "--from", &redis.url(), "--to", &orders]).stderr(full());
    assert_eq!(code(worker.spawn().expect("start a worker")), Some(0));
    let (_reader, writer) = stuck();
    let second = folder.path().join("second.db");
    let mut worker = stampede();
    let to = format!("sqlite:{}", second.display());
    worker.args(["orders", "--group", "second", "--from", &redis.url(), "--to", &to]);
    let worker = worker.stderr(file(writer)).spawn().expect("start a worker");
    eventually("it works", 20, || second.exists());
    kill_process(Pid::from_child(&worker), Signal::TERM).expect("a signal");
    assert_eq!(code(worker), Some(0));
    assert_eq!(server.terminate(), 0);

    // A command gives its reader, which may be a pager, some seconds in all.
    let mut commands = Vec::new();
    for (arguments, expected) in [
        (&["--sale", "wrong"][..], 2),
        (&["--wrong"], 2),
        (&["check-config", "--log", "loud"], 2),
        (&["sale", "list", "--control", "127.0.0.1:1"], 1),
        (&["serve", "--ledger", "embedded:/dev/null/x"], 2),
    ] {
        let (reader, writer) = stuck();
        for stderr in [full(), file(writer)] {
            let child = stampede().args(arguments).stderr(stderr).spawn().expect("start it");
            commands.push((arguments, expected, child, reader.try_clone().expect("a reader")));
        }
    }
    for (arguments, expected, child, _reader) in commands {
        assert_eq!(code(child), Some(expected), "{arguments:?}");
    }
}

#[test]
fn dropped_log_lines_are_reported_once_stderr_recovers() {
    let redis = RedisServer::start(&[]);
    let log = tempfile::NamedTempFile::new().expect("a file");
    let append = File::options().append(true).open(log.path()).expect("open it");
    // No file may grow beyond 512 bytes.
    let server =
        Server::start_to(append, "-f 1", &["--ledger", &redis.url(), "--sale", "ticket=9"]);
    let text = || std::fs::read_to_string(log.path()).expect("the log");
    eventually("the log is full", 10, || {
        server.signal(Signal::HUP);
        text().len() == 512
    });
    // Room again: the log has been rotated.
    log.as_file().set_len(0).expect("cut it off");
    eventually("it is reported", 10, || {
        server.signal(Signal::HUP);
        text().contains("log lines dropped")
    });
    let text = text();
    assert!(text.lines().all(|line| line.is_empty() || line.contains("stampede::")), "{text}");
}

/// The thread of a core: pinned to the processor, as no other thread of the server is.
fn core_thread(pid: u32, processor: &str) -> Pid {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    let pinned = format!("Cpus_allowed_list:\t{processor}\n");
    tasks
        .map(|task| task.expect("a thread"))
        .find(|task| {
            std::fs::read_to_string(task.path().join("status")).expect("it").contains(&pinned)
        })
        .and_then(|task| Pid::from_raw(task.file_name().to_str()?.parse().ok()?))
        .expect("the thread of a core")
}

/// Stops a thread for as long as its process lives, while it waits for events: there it holds
/// nothing that others need.
fn stop_thread(process: u32, thread: Pid) {
    let id = thread.as_raw_nonzero().get();
    eventually("the core waits", 20, || {
        let status = std::fs::read_to_string(format!("/proc/{process}/task/{id}/status"));
        status.expect("its status").contains("S (sleeping)")
    });
    for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
        let none = std::ptr::null_mut::<libc::c_void>();
        // SAFETY: neither request reads or writes memory of ours.
        let done = unsafe { libc::ptrace(request, id, none, none) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// Whether a stopped thread has ended. A tracer has to ask before the thread's process can be
/// waited for.
fn has_ended(thread: Pid) -> bool {
    let options = WaitOptions::NOHANG | WaitOptions::from_bits_retain(libc::__WALL as u32);
    let status = waitpid(Some(thread), options).expect("wait");
    status.is_some_and(|(_, status)| status.exited() || status.signaled())
}

#[test]
fn a_stuck_core_ends_the_server_even_if_stderr_is_blocked() {
    let core = cores(1);
    let (_reader, writer) = stuck();
    let options = ["--sale", "ticket=100", "--cores", &core];
    let mut told = Server::start(&options);
    let mut untold = Server::start_to(file(writer), "", &options);
    let stopped = [&told, &untold].map(|server| {
        let thread = core_thread(server.pid(), &core);
        stop_thread(server.pid(), thread);
        (server, thread)
    });
    for (server, thread) in stopped {
        let until = Instant::now() + Duration::from_secs(60);
        while !has_ended(thread) {
            if Instant::now() > until {
                server.signal(Signal::KILL);
                eventually("it is dead", 10, || has_ended(thread));
                panic!("the watchdog has not ended it");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!((told.wait(), untold.wait()), (1, 1));
    let log = told.log();
    assert!(log.contains("error: core 0 is stuck"), "{log}");
    assert!(!log.contains("can't start"), "{log}");
}
