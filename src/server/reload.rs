//! SIGHUP: settings are read again, with the files that they name. What can change, changes; what can't
//! is named. What is wrong with them is told, and changes nothing.
//!
//! This has a thread of its own, since a disk that stands still must not hold up the main thread, which
//! looks after the cores.

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
use crate::config::{Config, ConfigError};
use crate::control::Change;
use crate::logging;
use crate::status::Status;
use crate::tls::{Loaded, Tickets, TlsProblem};
use crate::trust::Trust;
use crate::upkeep::Certificate;

/// Time between two looks at when certificates expire.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Reads the configuration again.
pub type Reader = Box<dyn Fn() -> Result<Config, ConfigError> + Send>;

/// What is changed in a running server.
pub(super) struct Reload {
    read: Reader,
    /// What the server goes by now.
    current: Config,
    status: Arc<Status>,
    control: Option<Change>,
    tickets: Tickets,
    events: Sender<Event>,
}

impl Reload {
    /// Has the cores speak TLS with those who come from now on, if anybody is to.
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

    /// Begins to listen for SIGHUP.
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
        self.current = self.current.taking_over(&new);
        self.take_over();
        if !changes.need_restart.is_empty() {
            let settings = changes.need_restart.join(", ");
            tracing::warn!(settings, "changed settings that take a restart; kept the old ones");
        }
        tracing::info!(changed = changes.taken_over.join(", "), "settings reloaded");
    }

    /// Has everything go by the current settings.
    fn take_over(&self) {
        let config = &self.current;
        let settings = buyers_settings(config);
        self.status.engine.change(&settings);
        self.status.trust.set(Trust::of(config));
        self.status.turnstile.change(config);
        self.status.patience.change(config.waiting_max, config.ledger_timeout_ms);
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

    /// What the files of TLS hold now, and what is to be said of it. `None`: they can't be used, or
    /// nobody speaks TLS.
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

/// New connections are shown these certificates.
fn show(status: &Status, loaded: Loaded) {
    status.engine.set_tls(&loaded.config);
    let certificate =
        |(file, expires): (PathBuf, _)| Certificate { file: file.display().to_string(), expires };
    status.upkeep.set_certificates(loaded.expiries.into_iter().map(certificate).collect());
}
