//! Another build of stampede to compare with: an existing program, or a commit of this repository,
//! which is built first.
//!
//! The commit is checked out into a git worktree for the duration of its build. Its target folder,
//! `target/against/COMMIT`, is kept. A second run starts at once unless the compiler or its flags have
//! changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{Because, Result, fail};
use crate::machine;
use crate::process::{CommandLine, Interrupted, Running};

const POLL: Duration = Duration::from_millis(100);
/// How often a build prints its progress.
const PROGRESS: Duration = Duration::from_secs(15);
/// The options that every measured stampede must have, whatever its age.
const OPTIONS: [&str; 5] = ["--cores", "--listen", "--control", "--ledger", "--sale"];

/// A built stampede.
#[derive(Debug, Clone)]
pub struct Build {
    /// The program.
    pub program: PathBuf,
    /// Its description for people: a path or a commit.
    pub what: String,
}

impl Build {
    /// Opens the program at this path, or builds this commit.
    ///
    /// # Errors
    ///
    /// The text is neither; the build fails; the program lacks a required option.
    pub fn of(text: &str, interrupted: &Interrupted) -> Result<Self> {
        if Path::new(text).is_file() {
            return Self { program: text.into(), what: text.into() }.checked();
        }
        let commit = commit_of(text)?;
        let program = build(&commit, &machine::target_folder()?, interrupted)?;
        Self { program, what: format!("{text}, commit {commit}") }.checked()
    }

    /// The stampede that a run measures by default.
    pub fn of_this_run(program: &Path) -> Result<Self> {
        let program = program.to_owned();
        Self { what: program.display().to_string(), program }.checked()
    }

    /// `Err` unless the program has all required options.
    fn checked(self) -> Result<Self> {
        let help = printed(Command::new(&self.program).args(["serve", "--help"]))
            .because(|| format!("asking {} for its options", self.program.display()))?;
        match unknown_options(&help) {
            options if options.is_empty() => Ok(self),
            options => fail(format!(
                "the stampede of {} can't be compared: it lacks the options {}",
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

/// Builds the stampede of a commit by the profile that shipped it then.
fn build(commit: &str, target: &Path, interrupted: &Interrupted) -> Result<PathBuf> {
    let folder = target.join("against").join(commit);
    let manifest = git(&["show", &format!("{commit}:Cargo.toml")])?;
    let profile = shipped_profile(&manifest);
    let program = folder.join(profile).join("stampede");
    let built_by = folder.join("built-by.txt");
    let compiler = compiler()?;
    if program.is_file() && fs::read_to_string(&built_by).is_ok_and(|text| text == compiler) {
        return Ok(program);
    }
    println!("building the stampede of {commit} in {}, which takes some minutes", folder.display());
    fs::create_dir_all(&folder).because(|| format!("creating {}", folder.display()))?;
    let source = Worktree::add(folder.join("source"), commit)?;
    let mut words =
        ["cargo", "build", "--profile", profile, "--locked"].map(str::to_owned).to_vec();
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

/// The profile of a shipped build. A commit without `shipped` shipped its `release` build.
fn shipped_profile(manifest: &str) -> &'static str {
    match manifest.lines().any(|line| line.trim() == "[profile.shipped]") {
        true => "shipped",
        false => "release",
    }
}

/// The compiler and its flags, which decide the speed beside the source.
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
        // Remove the worktree of a killed run. git lists it even if its folder is gone.
        worktree.remove();
        let path = worktree.0.to_string_lossy();
        git(&["worktree", "add", "--quiet", "--force", "--detach", &path, commit])?;
        Ok(worktree)
    }

    fn remove(&self) {
        // Fails if there is none. A leftover lies under target/, and the next run removes it.
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

/// The trimmed output of a command that succeeds.
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
    fn options_missing_from_the_help_are_named() {
        let help =
            "  --cores <LIST>\n  --listen <ADDR>\n  --ledger-timeout <MS>\n  --sale <ID=N>\n";
        assert_eq!(unknown_options(help), ["--control", "--ledger"]);
    }

    #[test]
    fn a_commit_is_built_with_the_profile_that_it_ships() {
        let before = "[profile.release]\nlto = \"thin\"\n";
        assert_eq!(shipped_profile(before), "release");
        let today = include_str!("../../Cargo.toml");
        assert_eq!(shipped_profile(today), "shipped");
    }

    #[test]
    fn packages_optimised_for_release_are_also_when_shipped() {
        let manifest = include_str!("../../Cargo.toml");
        let mut packages = 0;
        for (_, rest) in manifest
            .match_indices("[profile.release.package.")
            .map(|(at, found)| manifest.split_at(at + found.len()))
        {
            let (name, _) = rest.split_once(']').expect("a table");
            let wanted = format!("[profile.shipped.package.{name}]\nopt-level = 3\n");
            assert!(manifest.contains(&wanted), "{wanted}");
            packages += 1;
        }
        assert_ne!(packages, 0);
    }

    #[test]
    fn a_build_must_be_a_commit_or_a_stampede_program() {
        let failure = Build::of("no-such-branch", &Interrupted::default()).expect_err("neither");
        assert!(failure.to_string().contains("no-such-branch is n"), "{failure}");
        // A program that is not stampede.
        let failure = Build::of("/bin/true", &Interrupted::default()).expect_err("no stampede");
        assert!(
            failure.to_string().contains("it lacks the options --cores, --listen"),
            "{failure}"
        );
    }
}
