//! Writes to files and pipes that may block or fail: a full disk, a pipe without a reader.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Work on its own thread, because it may never end.
pub struct Detached(Receiver<()>);

impl Detached {
    /// Starts the work. If the system has no thread left, the work is not done.
    pub fn start(work: impl FnOnce() + Send + 'static) -> Self {
        let (done, ended) = mpsc::channel();
        let run = move || {
            work();
            let _ = done.send(());
        };
        let _ = thread::Builder::new().name("aside".into()).spawn(run);
        Self(ended)
    }

    /// Waits until the work is done, at most for this time. Returns false if it is not.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }
}

/// Writes all bytes. Returns the number of bytes written, and the error if not all were.
pub(crate) fn write_all_counted(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut done = 0;
    while done < bytes.len() {
        match out.write(&bytes[done..]) {
            Ok(0) => return (done, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}
