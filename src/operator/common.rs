//! Shared by several commands: the ledger and the database that they name, and the audit at their end.

use super::failure::Failure;
use crate::audit::{AuditError, Mode, Report, audit};
use crate::cli::ServeOptions;
use crate::config::{Config, LedgerSetting};
use crate::ledger::client::Client;
use crate::orders::DatabaseUrl;
use crate::sale::SaleId;

/// The ledger of --ledger, or that of the settings.
pub(super) fn ledger_setting(
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

/// The database of --orders.
pub(super) fn orders_database(url: Option<&str>) -> Result<Option<DatabaseUrl>, Failure> {
    let parse = |text: &str| {
        DatabaseUrl::parse(text).map_err(|problem| Failure::Usage(format!("--orders {problem}")))
    };
    url.map(parse).transpose()
}

/// Audits these sales, or all, before a server has written their orders.
pub(super) fn audit_offline(
    client: &mut dyn Client,
    orders: Option<&DatabaseUrl>,
    sales: &[SaleId],
) -> Result<Report, AuditError> {
    let mut orders = orders.map(DatabaseUrl::open).transpose()?;
    if let (Some(database), Some(source)) = (&mut orders, client.orders_source()) {
        // The next server writes all orders to a database that has none yet.
        client.orders_have(database.position(&source)?.unwrap_or(0))?;
    }
    let orders = orders.as_mut().map(|orders| &mut **orders as _);
    audit(client, orders, sales, Mode::Look)
}
