//! The ledger of an instance, of either kind.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::boot::LinkTo;
use super::error::RunError;
use super::event::Event;
use super::orders::{OrdersStartError, OrdersThread};
use crate::clock::wall_ms;
use crate::config::{Config, LedgerSetting};
use crate::ledger::client::Client;
use crate::ledger::counts::StoreCounts;
use crate::ledger::embedded::{self, Embedded, LedgerId};
use crate::ledger::redis::{Purpose, RedisLedger};
use crate::ledger::refused::RefusedSales;
use crate::limits::HAND_OVER_CLOSE_MS;
use crate::operator;
use crate::status::Status;
use crate::sweep::Sweep;

/// The ledger of this instance.
pub(super) enum Ledger {
    Embedded(Embedded),
    Redis(Arc<RedisLedger>),
}

impl Ledger {
    /// Opens the ledger. `events`: another process is about to close an embedded ledger; it is
    /// opened then, and reported here.
    pub(super) fn open(config: &Config, events: Option<Sender<Event>>) -> Result<Self, RunError> {
        match &config.ledger {
            LedgerSetting::Embedded(folder) => {
                let options = embedded::Options::default();
                if let Some(events) = events {
                    let patience_ms = config.drain_timeout_ms + HAND_OVER_CLOSE_MS;
                    let ledger = Embedded::start_when_closed(
                        folder,
                        options,
                        wall_ms,
                        Duration::from_millis(patience_ms),
                        move |opened| _ = events.send(Event::LedgerOpen(opened)),
                    );
                    return Ok(Self::Embedded(ledger?));
                }
                if let Some(LedgerId(id)) = config.restored_ledger {
                    embedded::renew_id(folder, id)?;
                }
                Ok(Self::Embedded(Embedded::start(folder, options, wall_ms)?))
            }
            LedgerSetting::Redis(setting) => {
                let refuse = |reason| RunError::Redis { url: setting.url.to_string(), reason };
                let sales = config.sales.iter().map(|(sale, _)| sale);
                let ledger = setting.ledger().map_err(refuse)?;
                let ledger = ledger.with_purpose(Purpose::Serve, sales);
                ledger.follow();
                Ok(Self::Redis(Arc::new(ledger)))
            }
        }
    }

    /// The sales that the ledger refuses because of their stored data; for an embedded ledger, also
    /// configured sales that were moved away.
    pub(super) fn refused_sales(&self, config: &Config) -> Arc<RefusedSales> {
        match self {
            Self::Embedded(ledger) => {
                let refused = RefusedSales::default();
                for (sale, _) in &config.sales {
                    if let Some(to) = ledger.moved_to(sale) {
                        refused.note(sale, &format!("it was moved to {to} and is sold from there"));
                    }
                }
                Arc::new(refused)
            }
            Self::Redis(ledger) => ledger.refused_sales().clone(),
        }
    }

    /// Counters of the embedded ledger's thread.
    pub(super) fn store_counts(&self) -> Option<Arc<StoreCounts>> {
        match self {
            Self::Embedded(ledger) => Some(ledger.handle().counts().clone()),
            Self::Redis(_) => None,
        }
    }

    pub(super) fn link(&self) -> LinkTo {
        match self {
            Self::Embedded(ledger) => LinkTo::Embedded(ledger.handle()),
            Self::Redis(ledger) => LinkTo::Redis(ledger.clone()),
        }
    }

    /// A blocking client for a control thread.
    pub(super) fn client(&self) -> Box<dyn Client> {
        match self {
            Self::Embedded(ledger) => operator::embedded_client(ledger.handle()),
            Self::Redis(ledger) => operator::redis_client(ledger.clone(), "stampede-control"),
        }
    }

    /// Starts the sweep that returns expired reservations to stock. The embedded ledger does so
    /// itself.
    pub(super) fn sweep(&self, status: &Status) -> io::Result<Option<Sweep>> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Redis(ledger) => {
                Sweep::start(ledger.clone(), status.background.clone()).map(Some)
            }
        }
    }

    /// Starts the worker that writes the orders of an embedded ledger, if it is configured.
    pub(super) fn orders(&self, status: &Status) -> Result<Option<OrdersThread>, RunError> {
        match (self, &status.config.orders) {
            (Self::Embedded(ledger), Some(to)) => {
                let started =
                    OrdersThread::start(ledger.handle(), to.clone(), status.background.clone());
                started.map(Some).map_err(|error| match error {
                    OrdersStartError::Thread(error) => error.into(),
                    OrdersStartError::Behind(reason) => RunError::Orders(reason),
                })
            }
            _ => Ok(None),
        }
    }

    /// Whether only one process at a time can use it.
    pub(super) fn has_one_owner(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    pub(super) fn has_failed(&self) -> bool {
        match self {
            Self::Embedded(ledger) => ledger.has_failed(),
            Self::Redis(_) => false,
        }
    }

    pub(super) fn close(self) {
        if let Self::Embedded(ledger) = self {
            ledger.stop();
        }
    }
}
