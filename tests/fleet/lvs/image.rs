//! What the guest boots: one of Debian's kernels with ip_vs in it, and a file system in memory with
//! this machine's keepalived and ip, our server, this program, and all their libraries.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::{find, output};

/// In the order in which they can be loaded.
const MODULES: &[&str] = &[
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "libcrc32c",
    "nf_conntrack",
    "ip_vs",
    "ip_vs_wrr",
    "veth",
    "llc",
    "stp",
    "bridge",
];

/// The package that depends on the newest kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// A kernel and its file system.
pub struct Image {
    pub kernel: PathBuf,
    pub files: PathBuf,
}

/// Creates it in this folder. The kernel is downloaded once and kept beside the build.
pub fn build(folder: &Path) -> Image {
    let package = kernel_package();
    let root = folder.join("root");
    for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(root.join(name)).expect("make a folder");
    }
    let modules = files_below(&package.join("lib/modules"));
    for (number, name) in MODULES.iter().enumerate() {
        let file = format!("{name}.ko");
        let module = modules.iter().find(|path| path.ends_with(&file));
        let module = module.unwrap_or_else(|| panic!("no {file} in {}", package.display()));
        copy(module, &root.join(format!("modules/{number:02}-{file}")));
    }

    let mut libraries = BTreeSet::new();
    let mut add = |program: &Path, to: &str| {
        libraries.extend(libraries_of(program));
        copy(program, &root.join(to));
    };
    for name in ["keepalived", "ip"] {
        add(&program(name), &format!("usr/sbin/{name}"));
    }
    // A shell that takes its programs from PATH: busybox's prefers its own.
    add(&program("dash"), "bin/sh");
    let server = Path::new(env!("CARGO_BIN_EXE_stampede"));
    add(&stripped(server, folder), relative(server));
    let this = std::env::current_exe().expect("this program's path");
    add(&stripped(&this, folder), "fleet");
    copy(&program("busybox"), &root.join("bin/busybox"));
    for library in libraries {
        copy(&library, &root.join(relative(&library)));
    }
    for file in files_below(&guest_tuning()) {
        copy(&file, &root.join(relative(&file)));
    }
    let init = root.join("init");
    fs::write(&init, include_str!("init")).expect("write a file");
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).expect("its mode");

    let files = folder.join("files");
    let pack = "cd \"$0\" && find . | cpio --quiet --create --format=newc >\"$1\"";
    output(Command::new("sh").args(["-c", pack]).arg(&root).arg(&files));
    let boot = files_below(&package.join("boot"));
    let is_kernel = |path: &&PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
    };
    let kernel = boot.iter().find(is_kernel).expect("a kernel in its package").clone();
    Image { kernel, files }
}

/// The files that an operator would copy, at the same path here and in the guest.
pub fn guest_tuning() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/lvs")
}

/// The kernel's package, unpacked and not installed.
fn kernel_package() -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("fleet");
    fs::create_dir_all(&cache).expect("make a folder");
    let name = kernel_name().or_else(|| {
        output(Command::new("apt-get").args(["update", "--quiet=2"]));
        kernel_name()
    });
    let name = name.unwrap_or_else(|| panic!("apt-get knows no package {KERNEL}"));
    let unpacked = cache.join(&name);
    if unpacked.exists() {
        return unpacked;
    }
    println!("fetching {name}");
    let fetched = tempfile::tempdir_in(&cache).expect("a temporary folder");
    let fetch = || {
        let mut command = Command::new("apt-get");
        command.args(["download", "--quiet=2", "--option", "APT::Sandbox::User=root", &name]);
        command.current_dir(fetched.path());
        command.status().is_ok_and(|status| status.success())
    };
    // An old list of packages names files that are gone.
    if !fetch() {
        output(Command::new("apt-get").args(["update", "--quiet=2"]));
        assert!(fetch(), "apt-get download {name} failed");
    }
    let package = files_below(fetched.path()).pop().expect("a package");
    let whole = fetched.path().join("whole");
    output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&whole));
    fs::rename(&whole, &unpacked).expect("keep the package");
    unpacked
}

fn kernel_name() -> Option<String> {
    let told = output(Command::new("apt-cache").args(["depends", KERNEL]));
    let name = told.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))?;
    Some(format!("linux-image-{name}"))
}

fn program(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("no program {name}"))
}

/// A copy without debugging information: the guest has it in memory.
fn stripped(program: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join(program.file_name().expect("a program's name"));
    output(Command::new("strip").arg("-o").arg(&copy).arg(program));
    copy
}

/// The libraries of a program, its loader too.
fn libraries_of(program: &Path) -> Vec<PathBuf> {
    let told = output(Command::new("ldd").arg(program));
    let words =
        told.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    words.map(PathBuf::from).collect()
}

/// A path below another root.
fn relative(path: &Path) -> &str {
    path.strip_prefix("/").ok().and_then(Path::to_str).expect("an absolute path")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a folder")).expect("make a folder");
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}
