//! SIGHUP: reloads the settings and the files that they name. Settings that can change at run time
//! are applied; the others are logged. If anything is wrong, it is logged and nothing changes.
//!
//! This has its own thread, since a disk that hangs must not block the main thread, which watches
//! the cores.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use super::boot::buyers_settings;
use super::error::RunError;
use super::event::Event;
use super::notify;
use crate::background::Certificate;
use crate::config::{Config, ConfigError};
use crate::control::Change;
use crate::logging;
use crate::status::Status;
use crate::tls::{Loaded, Tickets, TlsProblem};
use crate::trust::Trust;

/// Interval of the check for certificates that expire.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Reads the configuration again.
pub type Reader = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// The state of reloading.
pub(super) struct Reload {
    read: Reader,
    /// The settings in effect.
    current: Config,
    status: Arc<Status>,
    control: Option<Change>,
    tickets: Tickets,
    events: Sender<Event>,
}

impl Reload {
    /// Applies the TLS settings, if there are any.
    pub(super) fn new(
        read: Reader,
        status: Arc<Status>,
        events: Sender<Event>,
    ) -> Result<Self, RunError> {
        let tickets = Tickets::new().map_err(io::Error::other)?;
        if let Some(setting) = &status.config.tls {
            let loaded = setting.load(SystemTime::now(), &tickets).map_err(RunError::Tls)?;
            show(&status, loaded);
        }
        let current = status.config.clone();
        Ok(Self { read, current, status, control: None, tickets, events })
    }

    /// Starts waiting for SIGHUP.
    pub(super) fn start(
        mut self,
        control: Option<Change>,
        hang_ups: Receiver<()>,
    ) -> io::Result<()> {
        self.control = control;
        thread::Builder::new().name("reload".into()).spawn(move || {
            loop {
                match hang_ups.recv_timeout(CERTIFICATES_INTERVAL) {
                    Ok(()) => {
                        notify::reloading();
                        self.reload();
                        notify::reloaded();
                    }
                    Err(RecvTimeoutError::Timeout) => drop(self.look_at_certificates()),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        })?;
        Ok(())
    }

    fn reload(&mut self) {
        let new = match (self.read)() {
            Ok(new) => new,
            Err(error) => {
                for problem in &error.problems {
                    tracing::error!(problem, "settings not usable; kept the old ones");
                }
                return;
            }
        };
        for warning in new.warnings.iter().filter(|told| !self.current.warnings.contains(told)) {
            tracing::warn!(%warning, "configuration needs attention");
        }
        let changes = self.current.changes(&new);
        self.current = self.current.with_applied(&new);
        self.take_over();
        if !changes.need_restart.is_empty() {
            let settings = changes.need_restart.join(", ");
            tracing::warn!(settings, "changed settings need a restart; kept the old ones");
        }
        tracing::info!(changed = changes.applied.join(", "), "settings reloaded");
    }

    /// Applies the current settings.
    fn take_over(&self) {
        let config = &self.current;
        let settings = buyers_settings(config);
        self.status.engine.change(&settings);
        self.status.trust.set(Trust::of(config));
        self.status.gatekeeper.change(config);
        self.status.queue_limits.set(config.waiting_max, config.ledger_timeout_ms);
        if let (Some(change), Some(setting)) = (&self.control, &config.control) {
            change.apply(setting, &config.shop_tokens, &settings);
        }
        if let Err(error) = logging::change_filter(&config.log_filter) {
            tracing::error!(%error, "log filter not usable; kept the old one");
        }
        let _ = self.events.send(Event::DrainTimes(config.into()));
        if let Some(loaded) = self.look_at_certificates() {
            show(&self.status, loaded);
            let certificates = config.tls.as_ref().map_or(0, |setting| setting.pairs.len());
            tracing::info!(certificates, "TLS files reloaded");
        }
    }

    /// Loads the TLS files and logs warnings about them. `None`: they are not usable, or TLS is
    /// off.
    fn look_at_certificates(&self) -> Option<Loaded> {
        let setting = self.current.tls.as_ref()?;
        match setting.load(SystemTime::now(), &self.tickets) {
            Ok(loaded) => {
                let warnings = loaded.warnings.iter();
                warnings.for_each(|warning| tracing::warn!(%warning, "TLS files need attention"));
                Some(loaded)
            }
            Err(TlsProblem { setting, file, problem }) => {
                let file = file.display();
                tracing::error!(setting, %file, problem, "TLS files not usable; kept the old ones");
                None
            }
        }
    }
}

/// Applies loaded TLS files to new connections, and reports when the certificates expire.
fn show(status: &Status, loaded: Loaded) {
    status.engine.set_tls(&loaded.config);
    let certificate =
        |(file, expires): (PathBuf, _)| Certificate { file: file.display().to_string(), expires };
    status.background.set_certificates(loaded.expiries.into_iter().map(certificate).collect());
}
