//! `no_auxv PROGRAM ARGUMENTS…`: runs a program for which the kernel refuses `prctl(PR_GET_AUXV)`.
//!
//! valgrind unmaps the vDSO and removes it from the auxiliary vector, on the stack and in
//! `/proc/self/auxv`. Linux 6.4 added `PR_GET_AUXV`, which valgrind 3.19 passes to the kernel. rustix
//! gets the vDSO's address from this call, reads there, and gets SIGSEGV. If the call is refused, as
//! by an older kernel, rustix reads the file instead.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter, sock_fprog};

/// From `linux/prctl.h`.
const PR_GET_AUXV: u32 = 0x4155_5856;
/// Places in `seccomp_data`: the number of the call, and the lower half of its first argument.
const CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") { 16 } else { 20 };

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: no_auxv PROGRAM ARGUMENTS...");
        return ExitCode::FAILURE;
    };
    let failure = match refuse_auxv() {
        Ok(()) => Command::new(&program).args(arguments).exec(),
        Err(failure) => failure,
    };
    eprintln!("no_auxv: {}: {failure}", program.to_string_lossy());
    ExitCode::FAILURE
}

/// Makes `prctl(PR_GET_AUXV)` fail with EINVAL from here on, also after an exec.
fn refuse_auxv() -> std::io::Result<()> {
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32;
    // Jumps are counted from the next line: to "allow", which is the last one, unless equal.
    let mut filter = [
        line(BPF_LD | BPF_W | BPF_ABS, 0, CALL),
        line(BPF_JMP | BPF_JEQ | BPF_K, 3, libc::SYS_prctl as u32),
        line(BPF_LD | BPF_W | BPF_ABS, 0, FIRST_ARGUMENT),
        line(BPF_JMP | BPF_JEQ | BPF_K, 1, PR_GET_AUXV),
        line(BPF_RET | BPF_K, 0, refuse),
        line(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no pointer.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: `program` and the filter that it points to live until the call returns, and the kernel
    // keeps a copy.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// A line of the filter. `skip`: the number of lines to skip if the comparison fails.
fn line(code: u32, skip: u8, value: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: skip, k: value }
}
