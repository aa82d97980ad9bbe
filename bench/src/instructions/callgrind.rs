//! valgrind's callgrind: starts a server under it, and reads the total of its profile.

use std::path::Path;

use crate::error::{Failure, Result};
use crate::process::CommandLine;
use crate::servers::Programs;

impl Programs {
    /// Wraps a server's command in callgrind, which writes `profile` when the server ends.
    ///
    /// Coroutines with their own stacks work under callgrind, which keeps no shadow of the stack. It
    /// runs without a gdb server, which would poll. `bin/no_auxv.rs` explains its own purpose.
    pub fn under_callgrind(&self, server: CommandLine, profile: &Path) -> CommandLine {
        let words = [
            self.folder.join("no_auxv").to_string_lossy().into_owned(),
            "valgrind".into(),
            "--tool=callgrind".into(),
            "--vgdb=no".into(),
            format!("--callgrind-out-file={}", profile.display()),
        ];
        server.through(words)
    }
}

/// All instructions of a profile: the first number after `totals:`. Instructions read (`Ir`) are the
/// first event, and the only one unless caches are simulated.
pub fn total(profile: &str) -> Result<u64> {
    let after = |name: &str| profile.lines().find_map(|line| line.strip_prefix(name));
    let first = |name: &str| after(name).and_then(|rest| rest.split_whitespace().next());
    let total = match first("events:") {
        Some("Ir") => first("totals:").and_then(|number| number.parse().ok()),
        _ => None,
    };
    total.ok_or_else(|| Failure("callgrind's profile has no total of instructions (Ir)".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instruction_total_is_read() {
        let profile = "# callgrind format\nversion: 1\ncmd:  stampede serve\nevents: Ir\n\
                       fl=(1) totals.rs\nfn=(1) main\n12 9\ntotals: 36357318\n";
        assert_eq!(total(profile).expect("a total"), 36_357_318);
        let caches =
            profile.replace("events: Ir", "events: Ir Dr Dw").replace("318\n", "318 7 5\n");
        assert_eq!(total(&caches).expect("a total"), 36_357_318);
        for broken in ["", "events: Ir\n", "events: Cy\ntotals: 1\n", "events: Ir\ntotals: x\n"] {
            assert!(total(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn callgrind_keeps_the_core_and_options_of_the_server() {
        let programs = Programs { folder: "release".into(), stampede: "stampede".into() };
        let server = CommandLine::on_core(3, ["stampede", "serve"]);
        let line = programs.under_callgrind(server, Path::new("data/profile")).to_string();
        let wanted = "taskset -c 3 release/no_auxv valgrind --tool=callgrind --vgdb=no \
                      --callgrind-out-file=data/profile stampede serve";
        assert_eq!(line, wanted);
    }
}
