//! `stampede audit`: has the ledger, and the orders, looked at and prints what was found.

use std::io::Write;

use super::http::Remote;
use super::{Failure, check_sale, direct_client, value};
use crate::audit::{self, AuditError, Report};
use crate::cli::AuditOptions;
use crate::control::request::Request;
use crate::sale::SaleId;

/// Prints a report. An error if something differs.
pub fn audit(options: &AuditOptions, out: &mut dyn Write) -> Result<(), Failure> {
    options.sale.iter().try_for_each(|id| check_sale(id))?;
    let report = match direct_client(&options.operator)? {
        Some(mut client) => {
            let failed = |error: AuditError| Failure::Failed(error.to_string());
            let sales: Vec<SaleId> =
                options.sale.iter().filter_map(|id| SaleId::new(id).ok()).collect();
            match &options.orders {
                None => audit::audit(&mut *client, None, &sales, options.repair),
                Some(url) => {
                    let mut orders = crate::orders::open(url)
                        .map_err(|error| Failure::Failed(format!("--orders: {error}")))?;
                    audit::audit(&mut *client, Some(&mut *orders), &sales, options.repair)
                }
            }
            .map_err(failed)?
        }
        None => ask(options)?,
    };
    if options.operator.json {
        writeln!(out, "{}", serde_json::to_string(&report).unwrap_or_default())?;
    } else {
        let mut text = String::new();
        let _ = report.write(&mut text);
        out.write_all(text.as_bytes())?;
    }
    if report.agrees() {
        return Ok(());
    }
    Err(Failure::Failed(format!("{} differences are left", report.differences)))
}

/// What a running server finds of its ledger.
fn ask(options: &AuditOptions) -> Result<Report, Failure> {
    if options.orders.is_some() {
        let told = "--orders needs the ledger itself: --ledger URL, or --direct";
        return Err(Failure::Usage(told.into()));
    }
    let sales: Vec<String> = options.sale.iter().map(|id| format!("sale={id}")).collect();
    let target = match sales.is_empty() {
        true => "/v1/audit".to_owned(),
        false => format!("/v1/audit?{}", sales.join("&")),
    };
    let method = if options.repair { "POST" } else { "GET" };
    let remote = Remote::from_options(&options.operator)?;
    let reply = value(remote.ask(&Request::new(method, target))?)?;
    serde_json::from_value(reply)
        .map_err(|error| Failure::Failed(format!("the server's report can't be read: {error}")))
}
