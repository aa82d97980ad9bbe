//! What the service manager is told (sd_notify(3)): systemd with `Type=notify`. Where nobody listens,
//! nothing happens.

use sd_notify::NotifyState;

/// The server sells.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Settings are being read again.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// They have been.
pub(super) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The server is about to end.
pub(super) fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// How it stands.
pub(super) fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The process that took over is the one to look after from now on.
pub(super) fn successor(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager can't be told");
    }
}

/// The cores run: for the service manager's watchdog (`WatchdogSec=`). To be said each second.
pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}
