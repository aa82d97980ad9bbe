//! FRR in a namespace: zebra, ospfd and bfdd as its own start script runs them, but with their
//! sockets and files in a folder of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::lab::{Lab, Net, Program, output, until};

/// In the order of their start: the others connect to zebra.
const DAEMONS: [&str; 3] = ["zebra", "ospfd", "bfdd"];

/// Time for a daemon to start listening.
const START_DEADLINE: Duration = Duration::from_secs(20);

/// The three daemons, configured.
pub struct Frr {
    net: Net,
    name: String,
    folder: PathBuf,
    daemons: Vec<(&'static str, Program)>,
}

impl Frr {
    /// Starts all three and configures them as in this `frr.conf`.
    pub fn start(lab: &Lab, net: &Net, name: &str, config: &str) -> Self {
        let folder = lab.folder().join(format!("{name}-frr"));
        let owner = ["-d", "-o", "frr", "-g", "frr"];
        output(Command::new("install").args(owner).arg(&folder));
        // A daemon's own file, if it is not empty, would be read in place of `frr.conf`.
        for (file, text) in [("frr.conf", config), ("vtysh.conf", ""), ("daemon.conf", "")] {
            fs::write(folder.join(file), text).expect("write a file");
        }
        let name = name.to_owned();
        let mut frr = Self { net: net.clone(), name, folder, daemons: Vec::new() };
        frr.start_missing(lab);
        frr
    }

    /// Starts the daemons that do not run, as watchfrr does, and configures all.
    pub fn start_missing(&mut self, lab: &Lab) {
        for daemon in DAEMONS {
            if self.daemons.iter().any(|(name, _)| *name == daemon) {
                continue;
            }
            let file = |name: &str| self.folder.join(name);
            // As in Debian's unit: BFD waits for 300 ms and no longer.
            let mut command = self.net.command("nice");
            command.args(["-n", "-5", &format!("/usr/lib/frr/{daemon}")]);
            command.arg("-f").arg(file("daemon.conf")).arg("-z").arg(file("zserv.api"));
            command.arg("-i").arg(file(&format!("{daemon}.pid")));
            // No TCP port for vty, only the socket.
            command.arg("--vty_socket").arg(&self.folder).args(["-P", "0", "--log", "stdout"]);
            if daemon == "bfdd" {
                command.arg("--bfdctl").arg(file("bfdd.sock"));
            }
            // A killed daemon has left its socket.
            let vty = file(&format!("{daemon}.vty"));
            let _ = fs::remove_file(&vty);
            let program = lab.start(&format!("{}-{daemon}", self.name), &mut command);
            until(&format!("{daemon} listens"), START_DEADLINE, || vty.exists());
            self.daemons.push((daemon, program));
        }
        let said = output(self.vtysh().arg("-b"));
        assert!(!said.contains('%'), "FRR does not take frr.conf: {said}");
    }

    /// The output of a command of its shell.
    pub fn show(&self, command: &str) -> String {
        output(self.vtysh().args(["-c", command]))
    }

    /// Sends one daemon a signal.
    pub fn signal(&self, daemon: &str, signal: Signal) {
        let found = self.daemons.iter().find(|(name, _)| *name == daemon);
        found.expect("it runs").1.signal(signal);
    }

    /// Ends one daemon like `kill -9`.
    pub fn kill(&mut self, daemon: &str) {
        self.daemons.retain(|(name, _)| *name != daemon);
    }

    /// Ends all of them like `kill -9`.
    pub fn kill_all(&mut self) {
        self.daemons.clear();
    }

    fn vtysh(&self) -> Command {
        let mut command = Command::new("vtysh");
        command.arg("--vty_socket").arg(&self.folder).arg("--config_dir").arg(&self.folder);
        command
    }
}
