//! What several commands need to know before they begin, and what they look at when they are done.

use super::failure::Failure;
use crate::audit::{AuditError, Mode, Report, audit};
use crate::cli::ServeOptions;
use crate::config::{Config, LedgerSetting};
use crate::ledger::client::Client;
use crate::orders::DatabaseUrl;
use crate::sale::SaleId;

/// The ledger that is named, or that of the settings.
pub(super) fn setting_of(
    ledger: Option<&str>,
    config: Option<&str>,
) -> Result<LedgerSetting, Failure> {
    let serve = ServeOptions {
        config: config.map(str::to_owned),
        ledger: ledger.map(str::to_owned),
        ..ServeOptions::default()
    };
    let config = Config::load(&serve).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(config.ledger)
}

/// The database of orders that is named.
pub(super) fn orders_of(url: Option<&str>) -> Result<Option<DatabaseUrl>, Failure> {
    let parse = |text: &str| {
        DatabaseUrl::parse(text).map_err(|problem| Failure::Usage(format!("--orders {problem}")))
    };
    url.map(parse).transpose()
}

/// What an audit of these sales finds, or of all, before any server has written the orders.
pub(super) fn compared(
    client: &mut dyn Client,
    orders: Option<&DatabaseUrl>,
    sales: &[SaleId],
) -> Result<Report, AuditError> {
    let mut orders = orders.map(DatabaseUrl::open).transpose()?;
    if let (Some(database), Some(source)) = (&mut orders, client.orders_source()) {
        // A database that has none of its orders yet is given all of them by the next server.
        client.orders_have(database.position(&source)?.unwrap_or(0))?;
    }
    let orders = orders.as_mut().map(|orders| &mut **orders as _);
    audit(client, orders, sales, Mode::Look)
}
