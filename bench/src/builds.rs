//! Another build of stampede to compare with: a program that is there, or a commit of this repository
//! that is built first.
//!
//! A commit is checked out into a git worktree for as long as its build takes. Its target folder is
//! `target/against/COMMIT` and stays: a second run starts at once, unless the compiler or its flags
//! have changed since.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Because, Result, fail};
use crate::machine;
use crate::process::{CommandLine, Interrupted, Running};

const POLL: Duration = Duration::from_millis(100);
/// How often a build says how far it is.
const PROGRESS: Duration = Duration::from_secs(15);
/// The options that a stampede is measured with, whatever its age.
const OPTIONS: [&str; 5] = ["--cores", "--listen", "--control", "--ledger", "--sale"];

/// A stampede that can be started.
#[derive(Debug, Clone)]
pub struct Build {
    /// The program.
    pub program: PathBuf,
    /// What it is, for people: its path, or its commit.
    pub what: String,
}

impl Build {
    /// The program at this path, or a build of this commit.
    ///
    /// # Errors
    /// It is neither; the build fails; the program does not know an option that it is measured with.
    pub fn of(text: &str, interrupted: &Interrupted) -> Result<Self> {
        if Path::new(text).is_file() {
            return Self { program: text.into(), what: text.into() }.checked();
        }
        let commit = commit_of(text)?;
        let program = build(&commit, &machine::target_folder()?, interrupted)?;
        Self { program, what: format!("{text}, commit {commit}") }.checked()
    }

    /// The stampede that a run measures unless it is told otherwise.
    pub fn of_this_run(program: &Path) -> Result<Self> {
        let program = program.to_owned();
        Self { what: program.display().to_string(), program }.checked()
    }

    /// `Err` unless the program knows all options that it is measured with.
    fn checked(self) -> Result<Self> {
        let help = printed(Command::new(&self.program).args(["serve", "--help"]))
            .because(|| format!("asking {} for its options", self.program.display()))?;
        match unknown_options(&help) {
            options if options.is_empty() => Ok(self),
            options => fail(format!(
                "the stampede of {} can't be compared: it does not know {}",
                self.what,
                options.join(", ")
            )),
        }
    }
}

fn unknown_options(help: &str) -> Vec<&'static str> {
    OPTIONS.into_iter().filter(|option| !help.contains(&format!("{option} <"))).collect()
}

/// The full hash of a tag, a branch or a hash.
fn commit_of(text: &str) -> Result<String> {
    if let Err(failure) = git(&["rev-parse", "--git-dir"]) {
        return fail(format!(
            "{text} is not a program, and no commit can be built: this is not a git checkout \
             ({failure})"
        ));
    }
    let commit = git(&["rev-parse", "--verify", "--quiet", &format!("{text}^{{commit}}")]);
    commit.or_else(|_| {
        fail(format!(
            "{text} is neither a program nor a commit of this repository (a shallow clone lacks old \
             ones: git fetch --unshallow)"
        ))
    })
}

/// The stampede of a commit, in release mode.
fn build(commit: &str, target: &Path, interrupted: &Interrupted) -> Result<PathBuf> {
    let folder = target.join("against").join(commit);
    let program = folder.join("release/stampede");
    let built_by = folder.join("built-by.txt");
    let compiler = compiler()?;
    if program.is_file() && fs::read_to_string(&built_by).is_ok_and(|text| text == compiler) {
        return Ok(program);
    }
    println!("building the stampede of {commit} in {}: some minutes", folder.display());
    fs::create_dir_all(&folder).because(|| format!("creating {}", folder.display()))?;
    let source = Worktree::add(folder.join("source"), commit)?;
    let mut words = ["cargo", "build", "--release", "--locked"].map(str::to_owned).to_vec();
    words.extend(["--package=stampede", "--bin=stampede"].map(str::to_owned));
    words.push(format!("--manifest-path={}", source.0.join("Cargo.toml").display()));
    words.push(format!("--target-dir={}", folder.display()));
    let log = folder.join("build.log");
    let name = format!("the build of {commit}");
    let mut cargo = Running::start(&name, &CommandLine(words), &log)?;
    let (started, mut shown) = (Instant::now(), Duration::ZERO);
    while !cargo.has_succeeded()? {
        if interrupted.load(Ordering::Relaxed) {
            return fail("interrupted");
        }
        let elapsed = started.elapsed();
        if elapsed >= shown + PROGRESS {
            shown = elapsed;
            let text = fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().next_back().unwrap_or_default().trim();
            println!("{:>4} s  {last}", elapsed.as_secs());
        }
        std::thread::sleep(POLL);
    }
    fs::write(&built_by, compiler).because(|| format!("writing {}", built_by.display()))?;
    println!("built after {} s", started.elapsed().as_secs());
    Ok(program)
}

/// What, beside the source, decides how fast a program is.
fn compiler() -> Result<String> {
    let version = printed(Command::new("rustc").arg("-vV")).because(|| "asking rustc".into())?;
    let flags = std::env::var_os("RUSTFLAGS").unwrap_or_default();
    Ok(format!("{version}\nRUSTFLAGS={}\n", flags.to_string_lossy()))
}

/// A checkout of a commit that is removed when it is dropped.
struct Worktree(PathBuf);

impl Worktree {
    fn add(path: PathBuf, commit: &str) -> Result<Self> {
        let worktree = Self(path);
        // One that a killed run left behind; git knows of it even if its folder is gone.
        worktree.remove();
        let path = worktree.0.to_string_lossy();
        git(&["worktree", "add", "--quiet", "--force", "--detach", &path, commit])?;
        Ok(worktree)
    }

    fn remove(&self) {
        // Fails if there is none; what is left lies under target/ and is removed by the next run.
        let _ = git(&["worktree", "remove", "--force", &self.0.to_string_lossy()]);
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        self.remove();
    }
}

fn git(arguments: &[&str]) -> Result<String> {
    printed(Command::new("git").args(arguments)).because(|| format!("git {}", arguments[0]))
}

/// What a command that succeeds prints, without blanks around it.
fn printed(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return fail(format!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_a_help_lacks_are_named() {
        let help =
            "  --cores <LIST>\n  --listen <ADDR>\n  --ledger-timeout <MS>\n  --sale <ID=N>\n";
        assert_eq!(unknown_options(help), ["--control", "--ledger"]);
    }

    #[test]
    fn what_is_neither_a_program_nor_a_commit_is_refused() {
        let failure = Build::of("no-such-branch", &Interrupted::default()).expect_err("neither");
        assert!(failure.to_string().contains("no-such-branch is n"), "{failure}");
        // A program that is no stampede.
        let failure = Build::of("/bin/true", &Interrupted::default()).expect_err("no stampede");
        assert!(failure.to_string().contains("it does not know --cores, --listen"), "{failure}");
    }
}
