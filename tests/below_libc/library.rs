//! Builds the library and the server that it is for, and speaks with the library through the file
//! that both have mapped or open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::NamedTempFile;

/// The size of a plan, as in `library.c`.
const PLAN_BYTES: usize = 4096;
/// Its first word.
const MAGIC: &[u8; 8] = b"faults 1";
/// Where its counts begin, and the size of each.
const COUNTS_AT: usize = 128;
const COUNT_BYTES: usize = 64;
const NAME_BYTES: usize = 16;

/// What goes wrong, of a million calls about files of the folder.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Writes and syncs that fail. Half of them have done their work, or a part of it.
    pub failures: u64,
    /// The same of the other calls, which are rare.
    pub failures_of_rare: u64,
    /// Writes that write a part, as far as they do not fail.
    pub shortenings: u64,
    /// Calls that take longer.
    pub delays: u64,
    /// By how much at most.
    pub delay_us_max: u64,
}

/// The calls of one symbol so far, over all processes with the same plan.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// All of them.
    pub calls: u64,
    /// Those about files of the folder. Only they can have faults.
    pub inside: u64,
    /// Failed, with nothing done.
    pub refused: u64,
    /// Failed, with all or a part done.
    pub torn: u64,
    /// Wrote a part.
    pub shortened: u64,
    /// Took longer.
    pub delayed: u64,
}

/// The plan of some processes, with their counts.
pub struct Plan {
    file: NamedTempFile,
}

impl Plan {
    /// A plan by which nothing goes wrong.
    pub fn new(seed: u64) -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        let mut bytes = [0; PLAN_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&seed.to_ne_bytes());
        file.as_file().write_all_at(&bytes, 0).expect("write the plan");
        Self { file }
    }

    /// The environment of a program under this plan, with this folder.
    pub fn environment(&self, folder: &Path) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAULTS_FILE", self.file.path().display().to_string()),
            ("FAULTS_FOLDER", folder.display().to_string()),
        ]
    }

    /// Changes what goes wrong from now on, also in running programs.
    pub fn set(&self, faults: Faults) {
        let Faults { failures, failures_of_rare, shortenings, delays, delay_us_max } = faults;
        let words = [failures, failures_of_rare, shortenings, delays, delay_us_max];
        for (word, at) in words.into_iter().zip((16..).step_by(8)) {
            self.file.as_file().write_all_at(&word.to_ne_bytes(), at).expect("write the plan");
        }
    }

    /// The counts by symbol. Empty if no program has had the library.
    pub fn counts(&self) -> BTreeMap<String, Count> {
        let mut bytes = [0; PLAN_BYTES];
        self.file.as_file().read_exact_at(&mut bytes, 0).expect("read the counts");
        let counts = bytes[COUNTS_AT..].chunks_exact(COUNT_BYTES).map(|entry| {
            let (name, numbers) = entry.split_at(NAME_BYTES);
            let name: Vec<u8> = name.iter().copied().take_while(|byte| *byte != 0).collect();
            let mut numbers = numbers
                .chunks_exact(8)
                .map(|number| u64::from_ne_bytes(number.try_into().expect("eight bytes")));
            let mut next = || numbers.next().expect("six numbers");
            let count = Count {
                calls: next(),
                inside: next(),
                refused: next(),
                torn: next(),
                shortened: next(),
                delayed: next(),
            };
            (String::from_utf8(name).expect("a name"), count)
        });
        counts.take_while(|(name, _)| !name.is_empty()).collect()
    }

    /// Prints the counts, one line per symbol that was called.
    pub fn print(&self) {
        println!(
            "{:<12} {:>9} {:>9} {:>8} {:>6} {:>9} {:>8}",
            "symbol", "calls", "inside", "refused", "torn", "shortened", "delayed"
        );
        for (name, count) in self.counts().iter().filter(|(_, count)| count.calls > 0) {
            println!(
                "{name:<12} {:>9} {:>9} {:>8} {:>6} {:>9} {:>8}",
                count.calls,
                count.inside,
                count.refused,
                count.torn,
                count.shortened,
                count.delayed
            );
        }
    }
}

/// The target folder of the tests.
fn target_folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder within the target folder")
}

/// The folder of what is built here.
fn build_folder() -> PathBuf {
    let folder = target_folder().join("below-libc");
    fs::create_dir_all(&folder).expect("a folder for the build");
    folder
}

/// The library, built once per run.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/below_libc/library.c");
        let library = build_folder().join("faults.so");
        // Another run may have the old one in use: it keeps that file.
        let new = build_folder().join(format!("faults-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]);
        compiler.args(["-U_FORTIFY_SOURCE", "-o"]).arg(&new).arg(source).arg("-ldl");
        let done = compiler.output();
        let done = done.unwrap_or_else(|error| {
            panic!("this test needs a C compiler ({error}): apt-get install gcc")
        });
        assert!(done.status.success(), "cc: {}", String::from_utf8_lossy(&done.stderr));
        fs::rename(&new, &library).expect("name the library");
        library
    })
}

/// The server on rustix's libc backend, built once per run. It shares what cargo has built for the
/// tests: only the program itself goes to a folder of its own, since it has the same name.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = build_folder();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "--locked", "--bin", "stampede"]);
        cargo.args(["--features", "rustix/use-libc", "--target-dir"]).arg(&folder);
        cargo.env("CARGO_BUILD_BUILD_DIR", target_folder());
        let done = cargo.output().expect("run cargo");
        assert!(done.status.success(), "cargo: {}", String::from_utf8_lossy(&done.stderr));
        let program = folder.join("debug/stampede");
        File::open(&program).expect("the built server");
        program.to_str().expect("a path in UTF-8").to_owned()
    })
}
