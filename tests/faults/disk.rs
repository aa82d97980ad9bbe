//! A small disk: a file system in memory in a mount namespace of its own, which goes with its
//! process.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use crate::lab::{Lab, Program};
use crate::process::{Around, PATIENCE};

/// See the module's header.
pub struct Disk {
    /// Holds the namespace.
    holder: Program,
    folder: PathBuf,
}

impl Disk {
    /// A disk of this size, mounted at a folder of the lab. Needs root.
    pub fn mount(lab: &Arc<Lab>, name: &str, size: &str) -> Self {
        let folder = lab.folder().join(name);
        fs::create_dir(&folder).expect("a folder");
        let script = format!(
            "mount -t tmpfs -o size={size} none {} && echo mounted && exec sleep 100000",
            folder.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let mut holder = lab.start(name, &mut command);
        holder.says("mounted", PATIENCE);
        Self { holder, folder }
    }

    /// For programs that use it.
    pub fn around(&self) -> Around {
        Around::Mounts(self.holder.pid())
    }

    /// Its folder, for these programs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its folder, for this program.
    pub fn seen_from_here(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.pid()));
        root.join(self.folder.strip_prefix("/").expect("an absolute path"))
    }

    fn ballast(&self) -> PathBuf {
        self.seen_from_here().join("ballast")
    }

    /// Leaves no space.
    pub fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("a file on the disk");
        for bytes in [64 << 10, 4 << 10] {
            let piece = vec![1; bytes];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Makes space again.
    pub fn clear(&self) {
        fs::remove_file(self.ballast()).expect("the file on the disk");
    }
}
