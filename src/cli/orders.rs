//! The options of `stampede orders`, and what they mean.

use std::time::Duration;

use clap::Args;

use crate::config::{
    LOG_FILTER_DEFAULT, LogFormat, RedisSetting, TlsOptions, duration_within, log_filter,
    log_format, redis_setting, sentinel_login, whole_number,
};
use crate::limits::{
    CLAIM_AFTER_MS, CLAIM_AFTER_MS_MAX, CLAIM_AFTER_MS_MIN, CONSUMER_GONE_MS, GROUP_BYTES_MAX,
    ORDERS_AWAY_MS_MAX, ORDERS_AWAY_MS_MIN, ORDERS_BATCH, ORDERS_BATCH_MAX, ORDERS_ONCE_AWAY_MS,
};
use crate::orders::{DatabaseUrl, StreamOptions, WorkerOptions};

/// The group that makes the orders, unless told otherwise.
const GROUP: &str = "orders";

/// The options of `stampede orders`, unjudged. They can hold passwords, so there is no `Debug`.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct OrdersOptions {
    /// The Redis with the reservations, as serve's --ledger
    ///
    /// redis://user:password@host:6379/0, redis-sentinel://host:26379,host:26379/MASTERNAME/0 or
    /// redis-cluster://host,host; rediss:// and so on for TLS. To keep a password from other users of
    /// the machine, set it by the environment. A login at Sentinels is serve's:
    /// STAMPEDE_REDIS_SENTINEL_USER and STAMPEDE_REDIS_SENTINEL_PASSWORD.
    #[arg(long, value_name = "URL", env = "STAMPEDE_LEDGER", hide_env_values = true)]
    from: Option<String>,

    /// The database to write orders to
    ///
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS (and
    /// &sslrootcert=FILE for an authority that the system doesn't know); or sqlite:FILE. The
    /// tables are made, and brought up to date, by themselves. PostgreSQL's database must be UTF8,
    /// and may be behind PgBouncer, by session or by transaction.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    to: Option<String>,

    /// The consumer group: workers of one group share the work [default: orders]
    ///
    /// Each group gets every reservation, so a second database takes a second group.
    #[arg(long, value_name = "NAME")]
    group: Option<String>,

    /// This worker's name within the group [default: HOST-PID]
    ///
    /// Two workers with one name would take each other's work. A worker that starts again under
    /// its old name goes on at once with what it had; under another name, after --claim-after.
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// Changes to write in one transaction, about [default: 10000]
    ///
    /// 1 to 100000. One transaction is no larger than what is there, so it needs no tuning for
    /// quiet times.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch: Option<String>,

    /// Take over what another worker has had for so long without finishing it [default: 30s]
    ///
    /// 100ms to 1d. Longer than a transaction takes, else work is done twice (which does no harm).
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    claim_after: Option<String>,

    /// End when everything is written, instead of waiting for more
    #[arg(long)]
    once: bool,

    /// End when Redis or the database was away for this long [default: wait for ever; 1m with --once]
    ///
    /// 1s to 1d. What is not written stays in Redis.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    timeout: Option<String>,

    /// List the consumer groups and how far each is, and exit
    #[arg(long, conflicts_with_all = ["group", "consumer", "batch", "claim_after", "once", "timeout"])]
    groups: bool,

    /// End a consumer group that is no longer used, and exit
    ///
    /// What it has yet to read is no longer kept for it. Stop its workers first: nothing is done if
    /// one was heard of within 10s, or, if the group has entries to finish, within 1h.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["group", "consumer", "batch", "claim_after", "once", "timeout", "groups"])]
    drop_group: Option<String>,

    /// Trust the certificate authorities in this PEM file for rediss:// [default: the system's]
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_CA")]
    redis_ca: Option<String>,

    /// Show Redis the certificate in this PEM file, for rediss:// [default: none]
    ///
    /// Redis with TLS wants one unless it has `tls-auth-clients no`. With --redis-key.
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_CERT")]
    redis_cert: Option<String>,

    /// The private key of that certificate, a PEM file without a password [default: none]
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_KEY")]
    redis_key: Option<String>,

    /// Key of the hash with a sale's counters in Redis, as for serve [default: {sale}_hash_key]
    #[arg(long, value_name = "NAME", env = "STAMPEDE_REDIS_COUNTERS_KEY")]
    redis_counters_key: Option<String>,

    /// How much to log to standard error [default: info]
    #[arg(long, value_name = "LEVEL", env = "STAMPEDE_LOG")]
    log: Option<String>,

    /// How to log: text or json, one object a line [default: text]
    #[arg(long, value_name = "FORMAT", env = "STAMPEDE_LOG_FORMAT")]
    log_format: Option<String>,
}

pub(super) const AFTER_LONG_HELP: &str = "\
Examples:
  Orders in PostgreSQL, one worker:
      stampede orders --from redis://10.0.0.5:6379 --to postgres://stampede@10.0.0.6/shop
  A second worker of the same group, on any machine: the same line once more.
  A second database takes a group of its own, from the first sale on: what every known group has
  read is trimmed, so one that comes later lacks what came before (`stampede audit --repair` with
  its --orders writes that):
      stampede orders --from redis://10.0.0.5:6379 --to sqlite:./report.db --group report
  One that is given up holds up the trimming until it is ended:
      stampede orders --from redis://10.0.0.5:6379 --groups
      stampede orders --from redis://10.0.0.5:6379 --drop-group report
  From a timer, every minute:
      stampede orders --from redis://10.0.0.5:6379 --to sqlite:./report.db --once --timeout 30s

Exit codes:
  0  told to stop (SIGTERM, SIGINT), or with --once everything is written
  1  the database or Redis needs its operator, or was away for longer than --timeout; or with --once,
     entries could not be read
  2  usage: an option is wrong; the message says which, and what would be right";

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

impl OrdersOptions {
    /// Judges every option.
    ///
    /// # Errors
    /// Everything that is wrong, one text each. None quotes a password.
    pub fn judge(&self) -> Result<OrdersCommand, Vec<String>> {
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
        let group = name("group", &self.group, GROUP.into());
        let consumer = name("consumer", &self.consumer, host_and_pid());
        let mut take = Take { wrong };
        let whole = |text: &str| whole_number(text, 1, ORDERS_BATCH_MAX as u64);
        let batch = take.or("batch", &self.batch, ORDERS_BATCH as u64, whole) as usize;
        let time = |text: &str| duration_within(text, (CLAIM_AFTER_MS_MIN, CLAIM_AFTER_MS_MAX));
        let claim_after_ms = take.or("claim-after", &self.claim_after, CLAIM_AFTER_MS, time);
        let log_filter = take.or("log", &self.log, LOG_FILTER_DEFAULT.into(), log_filter);
        let log_format = take.or("log-format", &self.log_format, LogFormat::Text, log_format);
        let from = match self.from.as_deref() {
            None => take.missing("--from is missing: it names a Redis, redis://HOST[:PORT][/DB]"),
            Some(url) => {
                let tls = TlsOptions {
                    ca: self.redis_ca.as_deref(),
                    certificate: self.redis_cert.as_deref(),
                    key: self.redis_key.as_deref(),
                };
                let key = self.redis_counters_key.as_deref();
                // Never quoted: there may be a password in it.
                let from = redis_setting(url, tls, key).and_then(with_sentinel_login);
                from.map_err(|e| take.wrong.push(format!("--from {e}"))).ok()
            }
        };
        let away_max = match &self.timeout {
            None => self.once.then_some(ORDERS_ONCE_AWAY_MS),
            given => {
                let time =
                    |text: &str| duration_within(text, (ORDERS_AWAY_MS_MIN, ORDERS_AWAY_MS_MAX));
                Some(take.or("timeout", given, ORDERS_ONCE_AWAY_MS, time))
            }
        };
        let to = match self.to.as_deref() {
            _ if self.groups || self.drop_group.is_some() => None,
            None => {
                take.missing("--to is missing: it names a database, postgres://… or sqlite:FILE")
            }
            Some(url) => {
                DatabaseUrl::parse(url).map_err(|e| take.wrong.push(format!("--to {e}"))).ok()
            }
        };
        let (Some(from), true) = (from, take.wrong.is_empty()) else { return Err(take.wrong) };
        let action = match (self.drop_group.clone(), to) {
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
                    once: self.once,
                    away_max: away_max.map(Duration::from_millis),
                },
            })),
        };
        Ok(OrdersCommand { from, action, log_filter, log_format })
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;
    use crate::config::format_duration;
    use crate::limits::CONSUMER_ALIVE_MS;

    #[test]
    fn the_help_tells_the_defaults_and_bounds_that_hold() {
        let help = OrdersOptions::augment_args(Command::new("orders")).render_long_help();
        let help = help.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let time = format_duration;
        for told in [
            format!("[default: {ORDERS_BATCH}] 1 to {ORDERS_BATCH_MAX}"),
            format!("[default: {}]", time(CLAIM_AFTER_MS)),
            format!("{} to {}", time(CLAIM_AFTER_MS_MIN), time(CLAIM_AFTER_MS_MAX)),
            format!("[default: {GROUP}]"),
            format!("for ever; {} with --once]", time(ORDERS_ONCE_AWAY_MS)),
            format!("{} to {}", time(ORDERS_AWAY_MS_MIN), time(ORDERS_AWAY_MS_MAX)),
            format!("heard of within {}", time(CONSUMER_ALIVE_MS)),
            format!("entries to finish, within {}", time(CONSUMER_GONE_MS)),
        ] {
            assert!(help.contains(&told), "{told}");
        }
    }
}
