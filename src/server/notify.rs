//! Notifications for the service manager (sd_notify(3)): systemd with `Type=notify`. Without a
//! service manager they have no effect.

use sd_notify::NotifyState;

/// The server is ready to sell.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reloading of the settings begins.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Reloading has ended.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The server is about to end.
pub(super) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// The status text.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The new process is the main process from now on.
pub(super) fn successor(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "can't notify the service manager");
    }
}

/// The cores run: for the service manager's watchdog (`WatchdogSec=`). Must be sent every second.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}
