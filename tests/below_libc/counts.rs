//! The library sees every call that the kernel sees: its counts are compared with strace's, over
//! all threads of a server's first start, its second one, and a backup.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::buyer::Buyer;
use crate::library::{Plan, program};
use crate::server::Server;

/// Time for a tracer to write its last line.
const DEADLINE: Duration = Duration::from_secs(20);
const PURCHASES: usize = 20;

/// System calls as strace names them, with the symbols of the C library that make them.
#[cfg(not(target_arch = "aarch64"))]
const CALLS: &[(&str, &[&str])] = &[
    ("write", &["write"]),
    ("writev", &["writev"]),
    ("pwrite64", &["pwrite", "pwrite64"]),
    ("fdatasync", &["fdatasync"]),
    ("fsync", &["fsync"]),
    ("rename", &["rename"]),
    ("renameat", &["renameat"]),
    ("renameat2", &["renameat2"]),
    ("unlink", &["unlink"]),
    ("unlinkat", &["unlinkat"]),
    ("rmdir", &["rmdir"]),
    ("ftruncate", &["ftruncate", "ftruncate64"]),
    ("fallocate", &["fallocate", "fallocate64"]),
    ("mkdir", &["mkdir"]),
    ("mkdirat", &["mkdirat"]),
    ("chmod", &["chmod"]),
];
/// The same on a machine whose kernel has only the calls that take a folder.
#[cfg(target_arch = "aarch64")]
const CALLS: &[(&str, &[&str])] = &[
    ("write", &["write"]),
    ("writev", &["writev"]),
    ("pwrite64", &["pwrite", "pwrite64"]),
    ("fdatasync", &["fdatasync"]),
    ("fsync", &["fsync"]),
    ("renameat", &["rename", "renameat"]),
    ("renameat2", &["renameat2"]),
    ("unlinkat", &["unlink", "unlinkat", "rmdir"]),
    ("ftruncate", &["ftruncate", "ftruncate64"]),
    ("fallocate", &["fallocate", "fallocate64"]),
    ("mkdirat", &["mkdir", "mkdirat"]),
    ("fchmodat", &["chmod"]),
];

/// Symbols of which there must be calls about files in the folder: the ledger makes each of them,
/// and the purchase log makes `write`.
const NEEDED: [&str; 12] = [
    "write",
    "pwrite64",
    "fdatasync",
    "fsync",
    "rename",
    "renameat2",
    "unlink",
    "rmdir",
    "ftruncate64",
    "fallocate64",
    "mkdir",
    "chmod",
];

/// A program that runs under strace and the library.
struct Traced {
    folder: TempDir,
    plan: Plan,
    /// Runs it, with the arguments that it is given.
    script: PathBuf,
}

impl Traced {
    fn new(program: &str) -> Self {
        let traced = Command::new("strace").arg("-V").output();
        traced.unwrap_or_else(|error| {
            panic!("this test needs strace ({error}): apt-get install strace")
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("below")).expect("a folder");
        let plan = Plan::new(0);
        let at = folder.path().display();
        let environment = plan.environment(&folder.path().join("below"));
        let environment: Vec<String> =
            environment.iter().map(|(name, value)| format!("-E {name}={value}")).collect();
        let calls: Vec<String> = CALLS.iter().map(|(call, _)| format!("?{call}")).collect();
        // With -D the program has the process of this script, and the tracer another one: so a
        // signal goes to the program. -E sets a variable for the program and not for the tracer.
        let text = format!(
            "#!/bin/sh\nexec strace -D -f -q -o {at}/trace.$$ -e trace={} {} {program} \"$@\"\n",
            calls.join(","),
            environment.join(" ")
        );
        let script = folder.path().join("traced");
        fs::write(&script, text).expect("write a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self { folder, plan, script }
    }

    fn script(&self) -> &str {
        self.script.to_str().expect("a path in UTF-8")
    }

    /// A file below the folder whose calls are counted as inside.
    fn below(&self, name: &str) -> String {
        self.folder.path().join("below").join(name).display().to_string()
    }

    fn serve(&self) -> Server {
        let ledger = format!("embedded:{}", self.below("data"));
        let (orders, log) = (format!("sqlite:{}", self.below("orders.db")), self.below("stat.log"));
        let options = ["--ledger", &ledger, "--orders", &orders, "--stat-log", &log];
        let sale = ["--sale", "ticket=1000", "--cores", "0"];
        let none: &[(&str, &str)] = &[];
        Server::start_program(self.script(), none, &[&options[..], &sale].concat())
    }

    /// Ends a server in order, and waits for the end of its trace.
    fn end(&self, server: &mut Server) {
        let pid = server.pid();
        assert_eq!(server.terminate(), 0, "{}", server.log());
        self.await_trace(pid);
    }

    /// The trace of a process, which has ended or is about to.
    fn await_trace(&self, pid: u32) {
        let trace = self.folder.path().join(format!("trace.{pid}"));
        let end = format!("{pid} +++ exited with");
        let until = Instant::now() + DEADLINE;
        loop {
            let text = fs::read_to_string(&trace).unwrap_or_default();
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            if text.lines().any(|line| words(line).starts_with(&end)) {
                return;
            }
            assert!(Instant::now() < until, "strace does not say {end:?}: {text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a command to its end.
    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.script);
        let child = command.args(arguments).spawn().expect("run the script");
        let pid = child.id();
        let done = child.wait_with_output().expect("its end");
        assert!(done.status.success(), "{arguments:?}: {}", done.status);
        self.await_trace(pid);
    }

    /// The system calls in all traces, by name. A call that another thread interrupts in the trace
    /// has two lines, of which the second does not begin with its name.
    fn traced(&self) -> BTreeMap<String, u64> {
        let mut calls = BTreeMap::new();
        for entry in fs::read_dir(self.folder.path()).expect("the traces") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with("trace.") {
                continue;
            }
            let text = fs::read(&path).expect("a trace");
            for line in String::from_utf8_lossy(&text).lines() {
                let word = line.split_whitespace().nth(1).unwrap_or_default();
                if let Some((call, _)) = word.split_once('(') {
                    *calls.entry(call.to_owned()).or_default() += 1;
                }
            }
        }
        calls
    }
}

fn buy(server: &Server) {
    let mut buyer = Buyer::connect(server.address()).expect("a server");
    for _ in 0..PURCHASES {
        assert!(buyer.buy().expect("an answer").granted().is_some());
    }
}

#[test]
fn the_library_sees_every_call_that_the_kernel_sees() {
    let traced = Traced::new(program());
    let mut server = traced.serve();
    buy(&server);
    traced.end(&mut server);

    // A second start finds what a crash may leave, and a folder that others can read.
    let data = PathBuf::from(traced.below("data"));
    fs::write(data.join("snapshot-0000000009.tmp"), "half").expect("write a file");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).expect("its mode");
    server.restart();
    buy(&server);
    traced.end(&mut server);
    let ledger = format!("embedded:{}", data.display());
    traced.run(&["backup", "--ledger", &ledger, "--to", &traced.below("backup")]);

    traced.plan.print();
    let (kernel, library) = (traced.traced(), traced.plan.counts());
    println!("{kernel:?}");
    let mut wrong = Vec::new();
    for (call, symbols) in CALLS {
        let there = kernel.get(*call).copied().unwrap_or(0);
        let seen: u64 = symbols.iter().map(|symbol| library[*symbol].calls).sum();
        if there != seen {
            wrong.push(format!("{call}: the kernel {there}, the library {seen}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for symbol in NEEDED {
        assert!(library[symbol].inside > 0, "no {symbol} below the folder: it can't fail");
    }
}

/// The comparison is worth something: it notices a program that goes around the C library, as the
/// ordinary build does.
#[test]
fn the_comparison_notices_calls_around_the_library() {
    let traced = Traced::new(env!("CARGO_BIN_EXE_stampede"));
    let mut server = traced.serve();
    buy(&server);
    traced.end(&mut server);
    let (kernel, library) = (traced.traced(), traced.plan.counts());
    assert!(kernel["fallocate"] > 0, "{kernel:?}");
    assert_eq!(library["fallocate"].calls + library["fallocate64"].calls, 0);
    assert!(kernel["write"] > library["write"].calls, "{kernel:?} {library:?}");
    // Those of the standard library are seen there too.
    assert_eq!(kernel["fdatasync"], library["fdatasync"].calls);
}
