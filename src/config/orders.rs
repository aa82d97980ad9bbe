//! The settings of `stampede orders`: all that is set by its options, and the login at Sentinels by
//! the environment.

use std::time::Duration;

use super::error::ConfigError;
use super::ledger::{RedisSetting, TlsOptions, redis_setting, sentinel_login};
use super::value::{LOG_FILTER_DEFAULT, duration_within, log_filter, log_format, whole_number};
use crate::cli::OrdersOptions;
use crate::limits::{
    CLAIM_AFTER_MS, CLAIM_AFTER_MS_MAX, CLAIM_AFTER_MS_MIN, CONSUMER_GONE_MS, GROUP_BYTES_MAX,
    ORDERS_AWAY_MS_MAX, ORDERS_AWAY_MS_MIN, ORDERS_BATCH, ORDERS_BATCH_MAX, ORDERS_ONCE_AWAY_MS,
};
use crate::logging::LogFormat;
use crate::orders::{DatabaseUrl, StreamOptions, WorkerOptions};

/// The group that makes the orders, unless told otherwise.
pub const ORDERS_GROUP_DEFAULT: &str = "orders";

/// What `stampede orders` is to do.
pub struct OrdersCommand {
    /// The Redis with the streams.
    pub from: RedisSetting,
    /// What to do with them.
    pub action: OrdersAction,
    /// What to log, as a `tracing` filter.
    pub log_filter: String,
    /// How to log.
    pub log_format: LogFormat,
}

/// One of the things that `stampede orders` does.
pub enum OrdersAction {
    /// Write orders.
    Work(Box<OrdersWork>),
    /// List the groups.
    Groups,
    /// End this group.
    DropGroup(String),
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
        let mut wrong = Vec::new();
        let mut name = |flag: &str, value: &Option<String>, default: String| {
            let value = value.clone().unwrap_or(default);
            let length = 1..=GROUP_BYTES_MAX;
            if !length.contains(&value.len()) || !value.chars().all(|c| c.is_ascii_graphic()) {
                let right = format!("1 to {GROUP_BYTES_MAX} visible ASCII characters, no spaces");
                wrong.push(format!("--{flag} {value:?}: must be {right}"));
            }
            value
        };
        let group = name("group", &options.group, ORDERS_GROUP_DEFAULT.into());
        let consumer = name("consumer", &options.consumer, host_and_pid());
        let mut take = Take { wrong };
        let whole = |text: &str| whole_number(text, 1, ORDERS_BATCH_MAX as u64);
        let batch = take.or("batch", &options.batch, ORDERS_BATCH as u64, whole) as usize;
        let time = |text: &str| duration_within(text, (CLAIM_AFTER_MS_MIN, CLAIM_AFTER_MS_MAX));
        let claim_after_ms = take.or("claim-after", &options.claim_after, CLAIM_AFTER_MS, time);
        let log_filter = take.or("log", &options.log, LOG_FILTER_DEFAULT.into(), log_filter);
        let log_format =
            take.or("log-format", &options.log_format, LogFormat::of_standard_error(), log_format);
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
                from.map_err(|e| take.wrong.push(format!("--from {e}"))).ok()
            }
        };
        let away_max = match &options.timeout {
            None => options.once.then_some(ORDERS_ONCE_AWAY_MS),
            given => {
                let time =
                    |text: &str| duration_within(text, (ORDERS_AWAY_MS_MIN, ORDERS_AWAY_MS_MAX));
                Some(take.or("timeout", given, ORDERS_ONCE_AWAY_MS, time))
            }
        };
        let to = match options.to.as_deref() {
            _ if options.groups || options.drop_group.is_some() => None,
            None => {
                take.missing("--to is missing: it names a database, postgres://… or sqlite:FILE")
            }
            Some(url) => {
                DatabaseUrl::parse(url).map_err(|e| take.wrong.push(format!("--to {e}"))).ok()
            }
        };
        let (Some(from), true) = (from, take.wrong.is_empty()) else {
            return Err(ConfigError { problems: take.wrong });
        };
        let action = match (options.drop_group.clone(), to) {
            (Some(group), _) => OrdersAction::DropGroup(group),
            (None, None) => OrdersAction::Groups,
            (None, Some(to)) => OrdersAction::Work(Box::new(OrdersWork {
                to,
                stream: StreamOptions {
                    group,
                    consumer,
                    claim_after: Duration::from_millis(claim_after_ms),
                    gone_after: Duration::from_millis(CONSUMER_GONE_MS),
                },
                worker: WorkerOptions {
                    batch,
                    once: options.once,
                    away_max: away_max.map(Duration::from_millis),
                },
            })),
        };
        Ok(Self { from, action, log_filter, log_format })
    }
}

/// Takes options, and notes what is wrong with them.
struct Take {
    wrong: Vec<String>,
}

impl Take {
    fn or<T>(
        &mut self,
        flag: &str,
        value: &Option<String>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = value else { return default };
        parse(text).unwrap_or_else(|problem| {
            self.wrong.push(format!("--{flag} {text:?}: {problem}"));
            default
        })
    }

    fn missing<T>(&mut self, told: &str) -> Option<T> {
        self.wrong.push(told.to_owned());
        None
    }
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
