//! Shared by the tests of the folder `tuning/`: its files, and the programs that read them.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// Time for a program to be ready.
pub const START_DEADLINE: Duration = Duration::from_secs(20);

/// The folder.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning")
}

/// The text of one of its files.
pub fn text(path: &str) -> String {
    fs::read_to_string(folder().join(path)).expect("a file of tuning/")
}

/// The path of a program, also in folders that only root has in its PATH.
pub fn program(name: &str) -> Command {
    let mut command = Command::new("env");
    let path = std::env::var("PATH").unwrap_or_default();
    command.arg(format!("PATH={path}:/usr/sbin:/sbin")).arg(name);
    command
}

/// A program of a test, killed on drop.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a program listens.
pub fn connect(socket: &Path) -> UnixStream {
    let until = Instant::now() + START_DEADLINE;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream.set_read_timeout(Some(START_DEADLINE)).expect("a deadline");
                return stream;
            }
            Err(error) => assert!(Instant::now() < until, "{}: {error}", socket.display()),
        }
        thread::sleep(Duration::from_millis(10));
    }
}
