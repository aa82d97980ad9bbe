//! `stampede audit`.

use std::io::Write;

use super::{Failure, Way, check_sale, value};
use crate::audit::Report;
use crate::cli::AuditOptions;
use crate::control::request::Request;
use crate::orders::DatabaseUrl;

/// Compares, mends if that is asked, and prints the report. What differs and was not mended is a
/// failure.
pub fn audit(options: &AuditOptions, out: &mut dyn Write) -> Result<(), Failure> {
    options.sale.iter().try_for_each(|id| check_sale(id))?;
    let parse = |text: &String| {
        DatabaseUrl::parse(text).map_err(|problem| Failure::Usage(format!("--orders {problem}")))
    };
    let orders = options.orders.as_ref().map(parse).transpose()?;
    let mut way = match (Way::open(&options.operator)?, orders) {
        (Way::Direct(api), orders) => Way::Direct(Box::new(api.with_orders(orders))),
        (way, None) => way,
        (Way::Remote(_), Some(_)) => {
            return Err(Failure::Usage(
                "--orders goes with --ledger or --direct: a server compares with the database of \
                 its own --orders"
                    .into(),
            ));
        }
    };
    let sales: Vec<String> = options.sale.iter().map(|id| format!("sale={id}")).collect();
    let query = if sales.is_empty() { String::new() } else { format!("?{}", sales.join("&")) };
    let method = if options.repair { "POST" } else { "GET" };
    let told = value(way.ask(&Request::new(method, format!("/v1/audit{query}")))?)?;
    let report: Report = serde_json::from_value(told)
        .map_err(|error| Failure::Failed(format!("the report can't be read: {error}")))?;
    if options.operator.json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let mut text = String::new();
        let _ = report.write(&mut text);
        out.write_all(text.as_bytes())?;
    }
    let left = format!("{} differences are left", report.differences);
    match report.differences {
        0 => Ok(()),
        _ if options.repair => Err(Failure::Failed(format!("{left} that can't be mended"))),
        _ => Err(Failure::Failed(format!("{left}; --repair mends what can be mended"))),
    }
}
