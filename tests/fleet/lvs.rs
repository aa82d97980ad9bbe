//! LVS in front of four servers, by address translation and by direct routing, as `tuning/lvs` sets
//! it up. This kernel has no ip_vs, and no other can be loaded. So all of it, the servers too, runs
//! in a guest with Debian's kernel: [`image`] creates what it boots, [`guest`] is what it runs. The
//! guest has no network card; its results come over its serial console.

pub mod guest;
mod image;

use std::process::Command;
use std::time::Duration;

use crate::Scenario;
use crate::lab::{Lab, until};
use crate::table::Line;

/// With Debian's kernel, in a guest.
pub const SCENARIO: Scenario = Scenario {
    name: "lvs",
    shows: "LVS, NAT and direct routing: weights; dead, silent and draining servers; a dead director",
    // A hundred megabytes to download, and two minutes of an emulated processor.
    in_ci: false,
    needs: &[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("keepalived", "keepalived"),
        ("ip", "iproute2"),
        ("busybox", "busybox-static"),
        ("dash", "dash"),
        ("cpio", "cpio"),
        ("strip", "binutils"),
    ],
    run,
};

/// The first argument of this program in the guest.
pub const GUEST: &str = "lvs-guest";
/// The prefix of each line for the table, on the console.
const SHOWN: &str = "shown: ";
/// The last line after success.
const ENDED: &str = "all shown";
/// Time for the guest: several times its time on an idle machine.
const GUEST_TIME: Duration = Duration::from_secs(420);

fn run() -> Vec<Line> {
    let lab = Lab::new();
    let image = image::build(lab.folder());
    let mut command = Command::new("qemu-system-x86_64");
    command
        // Emulated, since not every machine may run virtual machines. This processor model is a
        // quarter faster than the others.
        .args(["-machine", "q35", "-accel", "tcg", "-cpu", "Nehalem"])
        .args(["-smp", "2", "-m", "1024", "-nic", "none", "-display", "none"])
        .args(["-serial", "stdio", "-monitor", "none", "-no-reboot"])
        .args(["-append", "console=ttyS0 quiet panic=-1"]);
    command.arg("-kernel").arg(image.kernel).arg("-initrd").arg(image.files);
    let mut guest = lab.start("guest", &mut command);
    until("the guest ends", GUEST_TIME, || !guest.is_running());
    let log = guest.log();
    assert!(log.lines().any(|line| line.trim() == ENDED), "the guest failed");
    log.lines().filter_map(|line| shown(line.trim())).collect()
}

/// A line for the table, from the console.
fn shown(line: &str) -> Option<Line> {
    let mut parts = line.strip_prefix(SHOWN)?.split('\t');
    Some(Line::new(parts.next()?, parts.next()?, parts.next()?))
}
