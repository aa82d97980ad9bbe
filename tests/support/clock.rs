//! A clock for a test's programs that differs from the machine's: `libfaketime` sets it for one
//! process and no other.

use std::fs;
use std::path::{Path, PathBuf};

/// The clock of a process, as an offset in a file that `libfaketime` reads at every call.
pub struct Clock {
    folder: tempfile::TempDir,
}

impl Clock {
    /// This machine's time.
    pub fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets the offset in one step, as an NTP step or an operator does.
    pub fn set(&self, offset: &str) {
        let whole = self.folder.path().join("next");
        fs::write(&whole, offset).expect("write the offset");
        fs::rename(whole, self.file()).expect("set the offset");
    }

    /// The environment of a program with this clock.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
            .map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
        let library = library.iter().find(|library| library.exists());
        let library = library.expect("this test needs libfaketime: apt-get install libfaketime");
        [
            // Redis' allocator asks for the time when it starts, and libfaketime asks for memory at
            // its first call: that memory must come from the C library.
            ("LD_PRELOAD", format!("{}:libc.so.6", library.display())),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // Nobody can set the monotonic clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}
