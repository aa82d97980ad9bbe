//! A clock for the programs of a test that isn't this machine's: `libfaketime` sets it for one process,
//! and for nothing else.

use std::fs;
use std::path::{Path, PathBuf};

/// The clock of a process, as an offset in a file that `libfaketime` reads at every question.
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

    /// Sets the offset: whole at once, as a step of NTP or an operator does.
    pub fn set(&self, offset: &str) {
        let whole = self.folder.path().join("next");
        fs::write(&whole, offset).expect("write the offset");
        fs::rename(whole, self.file()).expect("set the offset");
    }

    /// The environment of a program that lives by this clock.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"]
            .map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
        let library = library.iter().find(|library| library.exists());
        let library = library.expect("this test needs libfaketime: apt-get install libfaketime");
        [
            // Redis' allocator asks for the time when it starts, and libfaketime for memory when it
            // is asked for the first time: that must come from the C library.
            ("LD_PRELOAD", format!("{}:libc.so.6", library.display())),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".into()),
            // The monotonic clock is what can't be set.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}
