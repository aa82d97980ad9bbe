//! `stampede demo`: one command that shows a newcomer a whole sale.
//!
//! A demonstration is a composition. `plan` judges the options, `folder` holds ledger and orders,
//! `server::run` is the server of `stampede serve` with the `page` for buyers as its storefront,
//! `crowd` buys over HTTP, and `reporter` prints progress, and audits the ledger at the end.
//!
//! Architecture invariant: crowd and reporter use the two ports of the server. Nothing here imports a
//! ledger, a core or a sale.

mod buyer;
mod crowd;
mod folder;
mod reporter;
mod page;
mod plan;
mod shared;
mod tally;
mod text;
mod http_client;

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crate::cli::DemoOptions;
use crate::config::{Config, ConfigError, Host};
use crate::limits::LAST_WORDS_MS;
use crate::output::Detached;
use crate::server::{self, Predecessor, RunError};
use crate::sync::lock;
use folder::Folder;
use page::STOREFRONT;
use plan::Plan;
use reporter::Reporter;
use shared::Shared;

/// Why a demonstration did not start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(#[from] ConfigError),
    /// The folder can't be created.
    #[error("{0}")]
    Folder(String),
    /// The server failed.
    #[error("{0}")]
    Server(#[from] RunError),
    /// A server that hands over has started this process.
    #[error("a demonstration can't take over from a running server: start a new one")]
    TakesOver,
    /// The audit found this number of differences.
    #[error("the audit found {0} differences")]
    Differs(u64),
    /// The audit is incomplete, for this reason.
    #[error("the audit is incomplete: {0}")]
    NotAudited(String),
}

/// A demonstration that is ready to run.
pub struct Demo {
    plan: Plan,
    folder: Folder,
    config: Config,
}

impl Demo {
    /// Checks the options and creates the folder. After an error the folder is removed.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub fn prepare(options: &DemoOptions) -> Result<Self, DemoError> {
        if Predecessor::is_there() {
            return Err(DemoError::TakesOver);
        }
        let plan = Plan::of(options)?;
        let folder = Folder::create(plan.keep.as_deref()).map_err(DemoError::Folder)?;
        let settings = plan.settings(folder.path());
        let environment = std::iter::empty::<(OsString, OsString)>();
        let loaded = Config::load_from(&settings, environment, &Host::of_process());
        let judged = loaded.and_then(|config| plan.check(&config).map(|()| config));
        match judged {
            Ok(config) => Ok(Self { plan, folder, config }),
            Err(error) => {
                folder.remove();
                Err(error.into())
            }
        }
    }

    /// The configuration of its server.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs until a signal, or until the end of the sale with `--exit-when-over`. Prints to `out`.
    ///
    /// # Errors
    /// See [`DemoError`].
    pub fn run(self, hang_ups: Receiver<()>, out: Box<dyn Write + Send>) -> Result<(), DemoError> {
        let Self { plan, folder, config } = self;
        let again = config.clone();
        let startup = server::Startup {
            read: Box::new(move || Ok(again.clone())),
            hang_ups,
            predecessor: None,
            storefront: Some(&*STOREFRONT),
        };
        let shared = Arc::new(Shared::default());
        let (stage, place, is_kept) =
            (shared.clone(), folder.path().to_owned(), plan.keep.is_some());
        let mut reporting = None;
        let ended = server::run(config, startup, |_, ready| {
            if let Some(reporter) = Reporter::new(plan, stage, ready, place, out) {
                reporting = Some(Detached::start(move || reporter.run()));
            }
        });
        shared.stop();
        if let Some(reporting) = reporting {
            reporting.wait(Duration::from_millis(LAST_WORDS_MS));
        }
        if !is_kept {
            folder.remove();
        }
        ended?;
        match lock(&shared.verdict).take() {
            Some(Ok(report)) if !report.agrees() => Err(DemoError::Differs(report.differences)),
            Some(Err(reason)) => Err(DemoError::NotAudited(reason)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}
