//! The certificates of the buyers' port: read at the start, read again at SIGHUP, and looked at each day
//! whether one is about to expire.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use super::error::RunError;
use crate::signals;
use crate::status::Status;
use crate::tls::{Loaded, Tickets, TlsProblem, TlsSetting};

/// Time between two looks at when certificates expire.
const LOOK_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// Has the cores speak TLS with those who come from now on, if anybody is to.
pub(super) fn start(status: &Arc<Status>) -> Result<(), RunError> {
    let Some(setting) = status.config.tls.clone() else { return Ok(()) };
    let tickets = Tickets::new().map_err(io::Error::other)?;
    let loaded = setting.load(SystemTime::now(), &tickets).map_err(RunError::Tls)?;
    status.engine.set_tls(&loaded.config);
    let (hang_up, heard) = channel();
    signals::at_hang_up(move || _ = hang_up.send(()));
    let status = status.clone();
    thread::Builder::new().name("tls".into()).spawn(move || {
        loop {
            match heard.recv_timeout(LOOK_INTERVAL) {
                Ok(()) => read_again(&status, &setting, &tickets),
                Err(RecvTimeoutError::Timeout) => drop(look(&setting, &tickets)),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(())
}

/// New connections are shown what the files hold now. What can't be used changes nothing.
fn read_again(status: &Status, setting: &TlsSetting, tickets: &Tickets) {
    if let Some(loaded) = look(setting, tickets) {
        status.engine.set_tls(&loaded.config);
        tracing::info!(certificates = setting.pairs.len(), "TLS files reloaded");
    }
}

/// What the files hold now, and what is to be said of it. `None`: they can't be used.
fn look(setting: &TlsSetting, tickets: &Tickets) -> Option<Loaded> {
    match setting.load(SystemTime::now(), tickets) {
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
