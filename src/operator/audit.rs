//! `stampede audit`.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::arguments::{check_sale, quoted};
use super::failure::Failure;
use super::transport::{Transport, json_of};
use crate::audit::Report;
use crate::cli::{AuditOptions, OperatorOptions};
use crate::config::duration_within;
use crate::control::request::Request;
use crate::duration::format_duration;
use crate::engine::http::Method;
use crate::limits::AUDIT_TIMEOUT_MS_MAX;
use crate::orders::{DatabaseUrl, Destination};

/// Compares, repairs with --repair, and prints the report. Fails if a difference is left, or if the audit
/// itself failed.
pub fn audit(options: AuditOptions, out: &mut dyn Write) -> Result<(), Failure> {
    options.sale.iter().try_for_each(|id| check_sale(id))?;
    let parse = |text: &String| {
        DatabaseUrl::parse(text).map_err(|problem| Failure::Usage(format!("--orders {problem}")))
    };
    let orders = options.orders.as_ref().map(parse).transpose()?;
    let time = options.timeout.as_deref().map(timeout).transpose()?;
    let (repair, json, quiet) = (options.repair, options.operator.json, options.quiet);
    let report = within(time, move || look(&options, orders, time))?;
    let agrees = report.agrees();
    if quiet && agrees {
        return Ok(());
    }
    if json {
        serde_json::to_writer(&mut *out, &report).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    if agrees {
        return Ok(());
    }
    let left = format!("{} differences are left", report.differences);
    Err(Failure::Failed(match (repair, report.withheld()) {
        (false, _) => format!("{left}; --repair repairs what can be repaired"),
        (true, 0) => format!("{left} that can't be repaired"),
        (true, withheld) => format!(
            "{left}; {withheld} of them were not repaired, because there are signs that somebody has the \
             units: look at each, and see --release-units in --help"
        ),
    }))
}

/// The report of the server whose control port is at this address. Repairs nothing.
///
/// # Errors
/// The server could not look.
pub fn audit_report(control: SocketAddr) -> Result<Report, Failure> {
    let operator = OperatorOptions { control: Some(control.to_string()), ..Default::default() };
    look(&AuditOptions { operator, ..Default::default() }, None, None)
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    let ms = duration_within(text, (1, AUDIT_TIMEOUT_MS_MAX));
    ms.map(Duration::from_millis)
        .map_err(|problem| Failure::Usage(format!("--timeout {}: {problem}", quoted(text))))
}

/// Runs `work` with a time limit, if there is one. Work that is not done in time ends with the process.
fn within(
    time: Option<Duration>,
    work: impl FnOnce() -> Result<Report, Failure> + Send + 'static,
) -> Result<Report, Failure> {
    let Some(time) = time else { return work() };
    let (sender, receiver) = channel();
    // The receiver may be gone.
    let worker = thread::Builder::new().name("audit".into());
    worker.spawn(move || _ = sender.send(work()))?;
    receiver.recv_timeout(time).unwrap_or_else(|error| {
        Err(Failure::AuditIncomplete(match error {
            RecvTimeoutError::Timeout => {
                let time = format_duration(time.as_millis() as u64);
                format!("the audit did not end within {time}: set a longer --timeout")
            }
            RecvTimeoutError::Disconnected => "the audit ended without a report".into(),
        }))
    })
}

/// Asks for the report.
fn look(
    options: &AuditOptions,
    orders: Option<DatabaseUrl>,
    time: Option<Duration>,
) -> Result<Report, Failure> {
    let mut transport =
        match (Transport::open(&options.operator).map_err(audit_incomplete)?, orders) {
            (Transport::Direct(api), orders) => {
                Transport::Direct(Box::new(api.with_orders(orders.map(Destination::Database))))
            }
            (Transport::Http(client), None) => Transport::Http(client.with_response_deadline(time)),
            (Transport::Http(_), Some(_)) => {
                return Err(Failure::Usage(
                "--orders needs --ledger or --direct: a server compares with the database of its \
                 own --orders"
                    .into(),
            ));
            }
        };
    let mut query: Vec<String> = options.sale.iter().map(|id| format!("sale={id}")).collect();
    query.extend(options.release_units.then(|| "release_units=true".to_owned()));
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let method = if options.repair { Method::Post } else { Method::Get };
    let reply = transport
        .send(&Request::new(method, format!("/v1/audit{query}")))
        .map_err(audit_incomplete)?;
    // A missing sale of --sale is a finding, not a failed audit.
    let unknown_sale = reply.status == 404 && !options.sale.is_empty();
    let report = json_of(reply).map_err(|failure| match unknown_sale {
        true => failure,
        false => audit_incomplete(failure),
    })?;
    serde_json::from_value(report)
        .map_err(|error| Failure::AuditIncomplete(format!("the report can't be read: {error}")))
}

/// Turns a failed request into a failed audit.
fn audit_incomplete(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(text) => Failure::AuditIncomplete(text),
        other => other,
    }
}
