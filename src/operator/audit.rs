//! `stampede audit`.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use super::arguments::{check_sale, shown};
use super::failure::Failure;
use super::way::{Way, value};
use crate::audit::Report;
use crate::cli::AuditOptions;
use crate::config::duration_within;
use crate::control::request::Request;
use crate::duration::format_duration;
use crate::engine::http::Method;
use crate::limits::AUDIT_TIMEOUT_MS_MAX;
use crate::orders::{DatabaseUrl, Destination};

/// Compares, repairs if that is asked, and prints the report. What differs and was not repaired is a
/// failure; that nothing could be looked at is another.
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
            "{left}; of these, {withheld} were left as they are, since something tells of units that \
             would be sold again: look at each, and see --release-units in --help"
        ),
    }))
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    let ms = duration_within(text, (1, AUDIT_TIMEOUT_MS_MAX));
    ms.map(Duration::from_millis)
        .map_err(|problem| Failure::Usage(format!("--timeout {}: {problem}", shown(text))))
}

/// Has something done within a time, or for as long as it takes. What does not end then ends with the
/// process.
fn within(
    time: Option<Duration>,
    work: impl FnOnce() -> Result<Report, Failure> + Send + 'static,
) -> Result<Report, Failure> {
    let Some(time) = time else { return work() };
    let (sender, receiver) = channel();
    // Nobody may wait for it any more.
    let worker = thread::Builder::new().name("audit".into());
    worker.spawn(move || _ = sender.send(work()))?;
    receiver.recv_timeout(time).unwrap_or_else(|error| {
        Err(Failure::NotLooked(match error {
            RecvTimeoutError::Timeout => {
                let time = format_duration(time.as_millis() as u64);
                format!("the audit did not end within {time}: give it more with --timeout")
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
    let mut way = match (Way::open(&options.operator).map_err(not_looked)?, orders) {
        (Way::Direct(api), orders) => {
            Way::Direct(Box::new(api.with_orders(orders.map(Destination::Database))))
        }
        (Way::Remote(remote), None) => Way::Remote(remote.with_answer_time(time)),
        (Way::Remote(_), Some(_)) => {
            return Err(Failure::Usage(
                "--orders goes with --ledger or --direct: a server compares with the database of \
                 its own --orders"
                    .into(),
            ));
        }
    };
    let mut query: Vec<String> = options.sale.iter().map(|id| format!("sale={id}")).collect();
    query.extend(options.release_units.then(|| "release_units=true".to_owned()));
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let method = if options.repair { Method::Post } else { Method::Get };
    let reply = way.ask(&Request::new(method, format!("/v1/audit{query}"))).map_err(not_looked)?;
    // A sale that was named and is not there was looked for.
    let unknown_sale = reply.status == 404 && !options.sale.is_empty();
    let told = value(reply).map_err(|failure| match unknown_sale {
        true => failure,
        false => not_looked(failure),
    })?;
    serde_json::from_value(told)
        .map_err(|error| Failure::NotLooked(format!("the report can't be read: {error}")))
}

/// A failure to look is none to agree.
fn not_looked(failure: Failure) -> Failure {
    match failure {
        Failure::Failed(text) => Failure::NotLooked(text),
        other => other,
    }
}
