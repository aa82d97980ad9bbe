//! Settings of `stampede orders`: its options, and the login at Sentinels from the environment.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::ledger::{RedisSetting, TlsOptions, redis_setting, sentinel_login};
use super::option_parser::OptionParser;
use super::value::{LOG_FILTER_DEFAULT, duration_within, log_filter, log_format, whole_number};
use super::webhooks::{
    DeadLettersAction, dead_letters, is_receiver, reject_webhook_options, webhooks,
};
use crate::cli::OrdersOptions;
use crate::ledger::redis::{WEBHOOKS_GROUP, is_of_webhooks};
use crate::limits::{
    CLAIM_AFTER_MS, CLAIM_AFTER_MS_MAX, CLAIM_AFTER_MS_MIN, CONSUMER_GONE_MS, GROUP_BYTES_MAX,
    ORDERS_AWAY_MS_MAX, ORDERS_AWAY_MS_MIN, ORDERS_BATCH, ORDERS_BATCH_MAX, ORDERS_ONCE_AWAY_MS,
};
use crate::logging::LogFormat;
use crate::orders::webhooks::WebhookOptions;
use crate::orders::{DatabaseUrl, StreamOptions, WorkerOptions};

/// Default consumer group of orders.
pub const ORDERS_GROUP_DEFAULT: &str = "orders";

/// A parsed `stampede orders`.
pub struct OrdersCommand {
    /// The action.
    pub action: OrdersAction,
    /// The log filter, in the syntax of `tracing`.
    pub log_filter: String,
    /// The log format.
    pub log_format: LogFormat,
}

/// An action of `stampede orders`.
pub enum OrdersAction {
    /// An action on the streams of a Redis.
    Ledger(RedisSetting, LedgerAction),
    /// An action on the file of a worker that sends webhooks.
    DeadLetters(PathBuf, DeadLettersAction),
}

/// An action on the streams of a Redis.
pub enum LedgerAction {
    /// Write orders.
    Work(Box<OrdersWork>),
    /// Send webhooks.
    Webhooks(Box<WebhooksWork>),
    /// List the groups.
    Groups,
    /// Delete this group.
    DropGroup(String),
}

/// A worker that sends webhooks.
pub struct WebhooksWork {
    /// Receiver, secrets and schedule.
    pub options: WebhookOptions,
    /// Batches and time limits.
    pub worker: WorkerOptions,
}

/// A worker that writes orders.
pub struct OrdersWork {
    /// The database.
    pub to: DatabaseUrl,
    /// Group and consumer.
    pub stream: StreamOptions,
    /// Batches and time limits.
    pub worker: WorkerOptions,
}

impl OrdersCommand {
    /// Parses the options and the environment.
    ///
    /// # Errors
    /// All problems, one text each. No text quotes a password.
    pub fn load(options: &OrdersOptions) -> Result<Self, ConfigError> {
        let mut parser = OptionParser::default();
        let log_filter =
            parser.value_or("log", &options.log, LOG_FILTER_DEFAULT.into(), log_filter);
        let log_format = parser.value_or(
            "log-format",
            &options.log_format,
            LogFormat::of_standard_error(),
            log_format,
        );
        let action = match dead_letters(options, &mut parser) {
            Some((file, action)) => Some(OrdersAction::DeadLetters(file, action)),
            None => with_ledger(options, &mut parser),
        };
        match action {
            Some(action) if parser.problems.is_empty() => {
                Ok(Self { action, log_filter, log_format })
            }
            _ => Err(ConfigError { problems: parser.problems }),
        }
    }
}

/// The action on a Redis. `None`: the parser has the problem.
fn with_ledger(options: &OrdersOptions, parser: &mut OptionParser) -> Option<OrdersAction> {
    let to = options.to.as_deref();
    let sends = to.filter(|to| is_receiver(to));
    let default = if sends.is_some() { WEBHOOKS_GROUP } else { ORDERS_GROUP_DEFAULT };
    let group = parser.name_or("group", &options.group, default.into());
    let from = match options.from.as_deref() {
        None => parser.missing("--from is missing: it names a Redis, redis://HOST[:PORT][/DB]"),
        Some(url) => {
            let tls = TlsOptions {
                ca: options.redis_ca.as_deref(),
                certificate: options.redis_cert.as_deref(),
                key: options.redis_key.as_deref(),
            };
            let key = options.redis_counters_key.as_deref();
            // Never quoted: there may be a password in it.
            let from = redis_setting(url, tls, key).and_then(with_sentinel_login);
            from.map_err(|e| parser.reject(&format!("--from {e}"))).ok()
        }
    };
    if options.groups {
        return Some(OrdersAction::Ledger(from?, LedgerAction::Groups));
    }
    if let Some(group) = options.drop_group.clone() {
        return Some(OrdersAction::Ledger(from?, LedgerAction::DropGroup(group)));
    }
    let worker = worker(options, parser);
    let action = match (sends, to) {
        (Some(to), _) => {
            let options = webhooks(options, to, group, parser)?;
            LedgerAction::Webhooks(Box::new(WebhooksWork { options, worker }))
        }
        (None, to) => LedgerAction::Work(Box::new(work(options, to, group, worker, parser)?)),
    };
    Some(OrdersAction::Ledger(from?, action))
}

/// Batches and time limits of a worker.
fn worker(options: &OrdersOptions, parser: &mut OptionParser) -> WorkerOptions {
    let whole = |text: &str| whole_number(text, 1, ORDERS_BATCH_MAX as u64);
    let batch = parser.value_or("batch", &options.batch, ORDERS_BATCH as u64, whole) as usize;
    let away_max_ms = match &options.timeout {
        None => options.once.then_some(ORDERS_ONCE_AWAY_MS),
        given => {
            let time = |text: &str| duration_within(text, (ORDERS_AWAY_MS_MIN, ORDERS_AWAY_MS_MAX));
            Some(parser.value_or("timeout", given, ORDERS_ONCE_AWAY_MS, time))
        }
    };
    WorkerOptions { batch, once: options.once, away_max: away_max_ms.map(Duration::from_millis) }
}

/// A worker that writes orders.
fn work(
    options: &OrdersOptions,
    to: Option<&str>,
    group: String,
    worker: WorkerOptions,
    parser: &mut OptionParser,
) -> Option<OrdersWork> {
    reject_webhook_options(options, parser);
    if is_of_webhooks(&group) {
        parser.reject(&format!(
            "--group {group:?}: names that begin with {WEBHOOKS_GROUP} are for webhooks, and an audit \
             ignores them"
        ));
    }
    let consumer = parser.name_or("consumer", &options.consumer, host_and_pid());
    let time = |text: &str| duration_within(text, (CLAIM_AFTER_MS_MIN, CLAIM_AFTER_MS_MAX));
    let claim_after_ms = parser.value_or("claim-after", &options.claim_after, CLAIM_AFTER_MS, time);
    let to = match to {
        None => parser.missing(
            "--to is missing: it names a database, postgres://… or sqlite:FILE, or a receiver \
             of webhooks, https://…",
        ),
        Some(url) => DatabaseUrl::parse(url).map_err(|e| parser.reject(&format!("--to {e}"))).ok(),
    };
    let stream = StreamOptions {
        group,
        consumer,
        claim_after: Duration::from_millis(claim_after_ms),
        gone_after: Duration::from_millis(CONSUMER_GONE_MS),
        alone: false,
    };
    Some(OrdersWork { to: to?, stream, worker })
}

/// Adds the login at Sentinels from the environment.
fn with_sentinel_login(from: RedisSetting) -> Result<RedisSetting, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("STAMPEDE_REDIS_SENTINEL_USER");
    let login = sentinel_login(user, variable("STAMPEDE_REDIS_SENTINEL_PASSWORD"))
        .map_err(|problem| format!("STAMPEDE_REDIS_SENTINEL_USER {problem}"))?;
    Ok(RedisSetting { sentinel_login: login, ..from })
}

/// A name that no other running worker has.
fn host_and_pid() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.chars().filter(|c| c.is_ascii_graphic()).take(GROUP_BYTES_MAX / 2).collect();
    format!("{host}-{}", std::process::id())
}
