//! The settings of `stampede orders`: all that is set by its options, and the login at Sentinels by
//! the environment.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::ledger::{RedisSetting, TlsOptions, redis_setting, sentinel_login};
use super::take::Take;
use super::value::{LOG_FILTER_DEFAULT, duration_within, log_filter, log_format, whole_number};
use super::webhooks::{LettersAction, is_receiver, letters, refuse, webhooks};
use crate::cli::OrdersOptions;
use crate::ledger::redis::{WEBHOOKS_GROUP, is_of_webhooks};
use crate::limits::{
    CLAIM_AFTER_MS, CLAIM_AFTER_MS_MAX, CLAIM_AFTER_MS_MIN, CONSUMER_GONE_MS, GROUP_BYTES_MAX,
    ORDERS_AWAY_MS_MAX, ORDERS_AWAY_MS_MIN, ORDERS_BATCH, ORDERS_BATCH_MAX, ORDERS_ONCE_AWAY_MS,
};
use crate::logging::LogFormat;
use crate::orders::webhooks::WebhookOptions;
use crate::orders::{DatabaseUrl, StreamOptions, WorkerOptions};

/// The group that makes the orders, unless told otherwise.
pub const ORDERS_GROUP_DEFAULT: &str = "orders";

/// What `stampede orders` is to do.
pub struct OrdersCommand {
    /// The thing itself.
    pub action: OrdersAction,
    /// What to log, as a `tracing` filter.
    pub log_filter: String,
    /// How to log.
    pub log_format: LogFormat,
}

/// One of the things that `stampede orders` does.
pub enum OrdersAction {
    /// Something with the streams of a Redis.
    Ledger(RedisSetting, LedgerAction),
    /// Something with the file of a worker that sends webhooks.
    Letters(PathBuf, LettersAction),
}

/// Something with the streams of a Redis.
pub enum LedgerAction {
    /// Write orders.
    Work(Box<OrdersWork>),
    /// Send webhooks.
    Webhooks(Box<WebhooksWork>),
    /// List the groups.
    Groups,
    /// End this group.
    DropGroup(String),
}

/// How webhooks are sent.
pub struct WebhooksWork {
    /// To whom, and how.
    pub options: WebhookOptions,
    /// How changes are taken over.
    pub worker: WorkerOptions,
}

/// Which worker of the orders this is.
pub struct OrdersWork {
    /// The database.
    pub to: DatabaseUrl,
    /// Which worker this is.
    pub stream: StreamOptions,
    /// How it works.
    pub worker: WorkerOptions,
}

impl OrdersCommand {
    /// What these options and the environment say.
    ///
    /// # Errors
    /// Everything that is wrong, one text each. None quotes a password.
    pub fn load(options: &OrdersOptions) -> Result<Self, ConfigError> {
        let mut take = Take::default();
        let log_filter = take.or("log", &options.log, LOG_FILTER_DEFAULT.into(), log_filter);
        let log_format =
            take.or("log-format", &options.log_format, LogFormat::of_standard_error(), log_format);
        let action = match letters(options, &mut take) {
            Some((file, action)) => Some(OrdersAction::Letters(file, action)),
            None => with_ledger(options, &mut take),
        };
        match action {
            Some(action) if take.wrong.is_empty() => Ok(Self { action, log_filter, log_format }),
            _ => Err(ConfigError { problems: take.wrong }),
        }
    }
}

/// What is to be done with a Redis. `None`: something is wrong, and noted.
fn with_ledger(options: &OrdersOptions, take: &mut Take) -> Option<OrdersAction> {
    let to = options.to.as_deref();
    let sends = to.filter(|to| is_receiver(to));
    let default = if sends.is_some() { WEBHOOKS_GROUP } else { ORDERS_GROUP_DEFAULT };
    let group = take.name("group", &options.group, default.into());
    let from = match options.from.as_deref() {
        None => take.missing("--from is missing: it names a Redis, redis://HOST[:PORT][/DB]"),
        Some(url) => {
            let tls = TlsOptions {
                ca: options.redis_ca.as_deref(),
                certificate: options.redis_cert.as_deref(),
                key: options.redis_key.as_deref(),
            };
            let key = options.redis_counters_key.as_deref();
            // Never quoted: there may be a password in it.
            let from = redis_setting(url, tls, key).and_then(with_sentinel_login);
            from.map_err(|e| take.wrong(&format!("--from {e}"))).ok()
        }
    };
    if options.groups {
        return Some(OrdersAction::Ledger(from?, LedgerAction::Groups));
    }
    if let Some(group) = options.drop_group.clone() {
        return Some(OrdersAction::Ledger(from?, LedgerAction::DropGroup(group)));
    }
    let worker = worker(options, take);
    let action = match (sends, to) {
        (Some(to), _) => {
            let options = webhooks(options, to, group, take)?;
            LedgerAction::Webhooks(Box::new(WebhooksWork { options, worker }))
        }
        (None, to) => LedgerAction::Work(Box::new(work(options, to, group, worker, take)?)),
    };
    Some(OrdersAction::Ledger(from?, action))
}

/// How changes are taken over.
fn worker(options: &OrdersOptions, take: &mut Take) -> WorkerOptions {
    let whole = |text: &str| whole_number(text, 1, ORDERS_BATCH_MAX as u64);
    let batch = take.or("batch", &options.batch, ORDERS_BATCH as u64, whole) as usize;
    let away_max_ms = match &options.timeout {
        None => options.once.then_some(ORDERS_ONCE_AWAY_MS),
        given => {
            let time = |text: &str| duration_within(text, (ORDERS_AWAY_MS_MIN, ORDERS_AWAY_MS_MAX));
            Some(take.or("timeout", given, ORDERS_ONCE_AWAY_MS, time))
        }
    };
    WorkerOptions { batch, once: options.once, away_max: away_max_ms.map(Duration::from_millis) }
}

/// Which worker of the orders this is.
fn work(
    options: &OrdersOptions,
    to: Option<&str>,
    group: String,
    worker: WorkerOptions,
    take: &mut Take,
) -> Option<OrdersWork> {
    refuse(options, take);
    if is_of_webhooks(&group) {
        take.wrong(&format!(
            "--group {group:?}: what begins with {WEBHOOKS_GROUP} is for webhooks, and an audit \
             passes over it"
        ));
    }
    let consumer = take.name("consumer", &options.consumer, host_and_pid());
    let time = |text: &str| duration_within(text, (CLAIM_AFTER_MS_MIN, CLAIM_AFTER_MS_MAX));
    let claim_after_ms = take.or("claim-after", &options.claim_after, CLAIM_AFTER_MS, time);
    let to = match to {
        None => take.missing(
            "--to is missing: it names a database, postgres://… or sqlite:FILE, or who is sent \
             webhooks, https://…",
        ),
        Some(url) => DatabaseUrl::parse(url).map_err(|e| take.wrong(&format!("--to {e}"))).ok(),
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

/// With the login at Sentinels that the environment has.
fn with_sentinel_login(from: RedisSetting) -> Result<RedisSetting, String> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("STAMPEDE_REDIS_SENTINEL_USER");
    let login = sentinel_login(user, variable("STAMPEDE_REDIS_SENTINEL_PASSWORD"))
        .map_err(|problem| format!("STAMPEDE_REDIS_SENTINEL_USER {problem}"))?;
    Ok(RedisSetting { sentinel_login: login, ..from })
}

/// A name that no other worker has at the same time.
fn host_and_pid() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String =
        host.chars().filter(|c| c.is_ascii_graphic()).take(GROUP_BYTES_MAX / 2).collect();
    format!("{host}-{}", std::process::id())
}
