//! The machine and the tools of a run: tools, versions, processor, disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::{Because, Result, fail};
use crate::servers::{NGINX_LUA, NGINX_NDK, NGINX_STREAM};

mod cpu;

pub use cpu::CpuSample;

/// Each tool that a command may need, with its package in Debian and Ubuntu. A tool is a program on
/// the path, or a file.
const TOOLS: [(&str, &str); 12] = [
    ("wrk", "wrk"),
    ("ab", "apache2-utils"),
    ("taskset", "util-linux"),
    ("setpriv", "util-linux"),
    ("redis-server", "redis-server"),
    ("nginx", "nginx"),
    (NGINX_LUA, "libnginx-mod-http-lua"),
    (NGINX_NDK, "libnginx-mod-http-ndk"),
    (NGINX_STREAM, "libnginx-mod-stream"),
    ("go", "golang-go"),
    ("git", "git"),
    ("valgrind", "valgrind"),
];

/// Fails unless every tool is installed. Names the missing ones and their packages.
pub fn check_tools(needed: &[&str]) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Joining an absolute path to a folder keeps the path.
    let installed = |tool: &str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing = TOOLS.iter().filter(|(tool, _)| needed.contains(tool) && !installed(tool));
    let (missing, packages): (Vec<&str>, Vec<&str>) = missing.copied().unzip();
    if missing.is_empty() {
        return Ok(());
    }
    fail(format!(
        "not installed: {}. On Debian or Ubuntu: apt-get install {}",
        missing.join(", "),
        packages.join(" ")
    ))
}

/// The processor's name from the kernel.
pub fn cpu_model() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown-cpu".into(), |(_, name)| name.trim().to_owned())
}

/// A name fit for a folder: `AMD EPYC 7763` becomes `amd-epyc-7763`.
pub fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// Today in UTC: `2026-01-31`.
pub fn today() -> String {
    first_line("date", &["-u", "+%F"])
}

/// Versions of all parts, one per line. `data` is the folder of the ledgers, whose fdatasync rate is
/// measured, because it bounds the embedded ledger.
pub fn versions(data: &Path) -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // `available_parallelism` would count only the cores of this process's affinity.
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let changed = !first_line("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
    let commit = first_line("git", &["rev-parse", "HEAD"]);
    let lines = [
        ("date", first_line("date", &["-u", "+%F %T UTC"])),
        ("commit", format!("{commit}{}", if changed { " with changes" } else { "" })),
        ("kernel", first_line("uname", &["-srm"])),
        ("cpu", format!("{}, {cores} cores", cpu_model())),
        ("load average before", load.trim().to_owned()),
        ("rustc", first_line("rustc", &["--version"])),
        ("redis-server", first_line("redis-server", &["--version"])),
        ("nginx", nginx_version()),
        ("go", first_line("go", &["version"])),
        ("valgrind", first_line("valgrind", &["--version"])),
        ("psql", first_line("psql", &["--version"])),
        // wrk prints its version with its usage, and fails.
        ("wrk", first_line("wrk", &["-v"])),
        ("ab", first_line("ab", &["-V"])),
        ("file system", first_line("stat", &["-f", "-c", "%T", &data.to_string_lossy()])),
        ("fdatasync", format!("{:.0}/s after appends of 4 KiB", fdatasyncs_per_s(data)?)),
    ];
    Ok(lines.iter().map(|(name, value)| format!("{name}: {value}\n")).collect())
}

fn fdatasyncs_per_s(folder: &Path) -> Result<f64> {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path).because(|| format!("creating {}", path.display()))?;
    let (started, mut synced) = (Instant::now(), 0);
    while started.elapsed() < Duration::from_millis(500) {
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        synced += 1;
    }
    let per_s = f64::from(synced) / started.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(per_s)
}

/// nginx prints its version as an error.
fn nginx_version() -> String {
    let output = Command::new("nginx").arg("-v").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let text = text.unwrap_or_default();
    text.trim().strip_prefix("nginx version: ").unwrap_or_default().to_owned()
}

/// The first line of a command's output, or nothing: an unknown version must not end a run.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
}

/// The folder of the bench's programs.
pub fn our_folder() -> Result<PathBuf> {
    let this = std::env::current_exe().because(|| "finding the bench's programs".into())?;
    let here = std::env::current_dir().because(|| "finding the working folder".into())?;
    let folder = this.parent().unwrap_or(Path::new("."));
    Ok(folder.strip_prefix(&here).unwrap_or(folder).to_path_buf())
}

/// The target folder.
pub fn target_folder() -> Result<PathBuf> {
    Ok(our_folder()?.parent().unwrap_or(Path::new(".")).to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_a_valid_folder_name() {
        assert_eq!(slug("Intel(R) Xeon(R) CPU @ 2.20GHz"), "intel-r-xeon-r-cpu-2-20ghz");
    }
}
