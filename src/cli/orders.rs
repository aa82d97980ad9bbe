//! The options of `stampede orders`.

use clap::Args;

/// Options of a worker, which the options that list or change something exclude.
const WORK: [&str; 6] = ["group", "consumer", "batch", "claim_after", "once", "timeout"];

/// The options of `stampede orders`, as text. URLs can hold passwords, so there is no `Debug`.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct OrdersOptions {
    /// Read reservations from this Redis, the --ledger of the servers
    ///
    /// redis://user:password@host:6379/0, redis-sentinel://host:26379,host:26379/MASTERNAME/0 or
    /// redis-cluster://host,host; rediss://, rediss-sentinel:// and rediss-cluster:// use TLS.
    /// Other users of this machine can read the command line: set a URL with a password in the
    /// environment. For Sentinels with users, set STAMPEDE_REDIS_SENTINEL_USER and
    /// STAMPEDE_REDIS_SENTINEL_PASSWORD, as for serve.
    #[arg(long, value_name = "URL", env = "STAMPEDE_LEDGER", hide_env_values = true)]
    pub(crate) from: Option<String>,

    /// Write orders to this database, or send webhooks to this receiver
    ///
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS, and
    /// &sslrootcert=FILE for an authority that the system does not trust; or sqlite:FILE. The
    /// worker creates and upgrades its tables. A PostgreSQL database must have the encoding UTF8.
    /// PgBouncer works in session and in transaction mode.
    ///
    /// https://host/path sends each change of a reservation as a webhook instead (http:// to this
    /// machine only). docs/webhooks.md describes the webhooks and how the receiver verifies them.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub(crate) to: Option<String>,

    /// Work in this consumer group [default: orders, or webhooks]
    ///
    /// Workers of one group share the work. Each group gets every reservation, so each further
    /// database or receiver needs its own group. A group of webhooks has one worker, and its name
    /// begins with webhooks.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    /// Name of this worker in its group [default: HOST-PID]
    ///
    /// Every worker needs its own name: workers with the same name take each other's entries. A
    /// worker that restarts under its old name resumes its entries at once. Under a new name, its
    /// old entries are taken over only after the time of --claim-after. Refused with webhooks,
    /// because the --state file holds the name.
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,

    /// Write about this many changes per transaction [default: 10000]
    ///
    /// 1 to 100000. A transaction contains only changes that are waiting, so quiet times need no
    /// other value.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) batch: Option<String>,

    /// Take over entries that another worker has held for this long [default: 30s]
    ///
    /// 100ms to 1d. Set it longer than a transaction takes; otherwise two workers do the same work.
    /// The orders stay correct. Refused with webhooks, because their group has one worker.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) claim_after: Option<String>,

    /// Exit when nothing is left to write or send
    #[arg(long)]
    pub(crate) once: bool,

    /// Exit if Redis or the database is down for this long [default: wait for ever; 1m with --once]
    ///
    /// 1s to 1d. Unwritten changes stay in Redis.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) timeout: Option<String>,

    /// Keep undelivered webhooks in this file
    ///
    /// A SQLite file of this worker only, created if it is missing. It holds every event until the
    /// receiver has accepted it, and the dead letters. Keep it on a disk that survives a restart.
    #[arg(long, help_heading = "Webhooks", value_name = "FILE", env = "STAMPEDE_WEBHOOK_STATE")]
    pub(crate) state: Option<String>,

    /// Sign with the secrets in this file, one whsec_… per line
    ///
    /// `echo whsec_$(openssl rand -base64 32)` prints a secret. Every line signs (up to 8), so a
    /// receiver can change its secret without losing a webhook. The file is read again when it
    /// changes.
    #[arg(
        long,
        help_heading = "Webhooks",
        value_name = "FILE",
        env = "STAMPEDE_WEBHOOK_SECRET_FILE"
    )]
    pub(crate) webhook_secret_file: Option<String>,

    /// Trust the certificate authorities in this PEM file [default: the system's]
    #[arg(long, help_heading = "Webhooks", value_name = "FILE", env = "STAMPEDE_WEBHOOK_CA")]
    pub(crate) to_ca: Option<String>,

    /// Allow http:// receivers on other machines
    ///
    /// Anybody on the network path can read or drop the webhooks. The signature still detects
    /// changes.
    #[arg(long, help_heading = "Webhooks")]
    pub(crate) plain_http: bool,

    /// Send this many webhooks at the same time [default: 16]
    ///
    /// 1 to 256. Webhooks of the same reservation are sent one after the other.
    #[arg(long, help_heading = "Webhooks", value_name = "N", allow_negative_numbers = true)]
    pub(crate) webhook_parallel: Option<String>,

    /// Time limit of one attempt, from connecting to the response [default: 15s]
    ///
    /// 100ms to 1m.
    #[arg(long, help_heading = "Webhooks", value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) webhook_deadline: Option<String>,

    /// Pause after the first failed attempt [default: 5s]
    ///
    /// 10ms to 1h. Each further pause is 3 times as long, up to 12h, give or take 10%.
    #[arg(long, help_heading = "Webhooks", value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) webhook_retry: Option<String>,

    /// Attempts before a webhook becomes a dead letter [default: 15]
    ///
    /// 1 to 100. With the defaults, the attempts span more than 3 days.
    #[arg(long, help_heading = "Webhooks", value_name = "N", allow_negative_numbers = true)]
    pub(crate) webhook_attempts: Option<String>,

    /// Maximum webhooks in the file, dead letters included [default: 1000000]
    ///
    /// 10 to 100000000. At the maximum, the worker stops reading the stream until a tenth is free
    /// again. Later changes wait in Redis. A webhook takes about half a KiB of the file.
    #[arg(long, help_heading = "Webhooks", value_name = "N", allow_negative_numbers = true)]
    pub(crate) webhook_backlog: Option<String>,

    /// Print the status of the webhook worker from its --state file, and exit
    ///
    /// Waiting webhooks and their age, deliveries, failed attempts, dead letters. The worker may
    /// run.
    #[arg(long, help_heading = "Webhooks", requires = "state", group = "look", conflicts_with_all = WORK)]
    pub(crate) status: bool,

    /// List the dead letters in the --state file, and exit
    #[arg(long, help_heading = "Webhooks", requires = "state", group = "look", conflicts_with_all = WORK)]
    pub(crate) dead_letters: bool,

    /// With --status, print one JSON object; with --dead-letters, one per line, with the webhook as
    /// sent
    #[arg(long, help_heading = "Webhooks", requires = "look")]
    pub(crate) json: bool,

    /// Send a dead letter again, or all, and exit
    ///
    /// The worker may run. ID is the webhook-id that --dead-letters lists.
    #[arg(long, help_heading = "Webhooks", value_name = "ID|all", requires = "state", conflicts_with_all = WORK, conflicts_with = "look")]
    pub(crate) replay: Option<String>,

    /// Delete a dead letter, or all, and exit
    #[arg(long, help_heading = "Webhooks", value_name = "ID|all", requires = "state", conflicts_with_all = WORK, conflicts_with_all = ["look", "replay"])]
    pub(crate) discard: Option<String>,

    /// List the consumer groups and the progress of each, and exit
    #[arg(long, conflicts_with_all = WORK)]
    pub(crate) groups: bool,

    /// Delete a consumer group that is no longer used, and exit
    ///
    /// Redis then keeps nothing for the group. Stop its workers first: the command refuses if a
    /// worker was active within 10s, or, if the group has entries to finish, within 1h.
    #[arg(long, value_name = "NAME", conflicts_with_all = WORK, conflicts_with = "groups")]
    pub(crate) drop_group: Option<String>,

    /// Trust the certificate authorities in this PEM file for rediss:// [default: the system's]
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_CA")]
    pub(crate) redis_ca: Option<String>,

    /// Present the certificate in this PEM file to Redis, for rediss:// [default: none]
    ///
    /// Redis requires a client certificate unless its `tls-auth-clients` is no. Needs --redis-key.
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_CERT")]
    pub(crate) redis_cert: Option<String>,

    /// Private key of --redis-cert, a PEM file without a password [default: none]
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_KEY")]
    pub(crate) redis_key: Option<String>,

    /// Redis key of the hash with a sale's counters, as for serve [default: {sale}_hash_key]
    #[arg(long, value_name = "NAME", env = "STAMPEDE_REDIS_COUNTERS_KEY")]
    pub(crate) redis_counters_key: Option<String>,

    /// Log level of standard error, as for serve [default: info]
    #[arg(long, value_name = "LEVEL", env = "STAMPEDE_LOG")]
    pub(crate) log: Option<String>,

    /// Log format: text, json or journal [default: text, or journal under systemd]
    #[arg(long, value_name = "FORMAT", env = "STAMPEDE_LOG_FORMAT")]
    pub(crate) log_format: Option<String>,
}

pub(super) const AFTER_LONG_HELP: &str = "\
Examples:
  Write orders to PostgreSQL with one worker (run it again on any machine for a second worker):
      stampede orders --from redis://10.0.0.5:6379 --to postgres://stampede@10.0.0.6/shop
  Write orders to a second database, in a group of its own. Start it before the first sale: Redis
  deletes what all known groups have read. `stampede audit --repair --orders` writes what is missing:
      stampede orders --from redis://10.0.0.5:6379 --to sqlite:./report.db --group report
  Delete a group that nobody uses any more, because Redis keeps everything that it has not read:
      stampede orders --from redis://10.0.0.5:6379 --groups
      stampede orders --from redis://10.0.0.5:6379 --drop-group report
  Send webhooks from one worker, look at its status, and send dead letters again:
      stampede orders --from redis://10.0.0.5:6379 --to https://shop.example/hooks \\
          --state webhooks.db --webhook-secret-file webhooks.secret
      stampede orders --state webhooks.db --status
      stampede orders --state webhooks.db --dead-letters
      stampede orders --state webhooks.db --replay all
  Write orders from a timer, every minute:
      stampede orders --from redis://10.0.0.5:6379 --to sqlite:./report.db --once --timeout 30s

Exit codes:
  0  stopped by SIGTERM or SIGINT, or with --once everything is written or sent
  1  failure: the database, the file or Redis needs its operator, or was away for longer than
     --timeout; or with --once, an entry could not be read; or there is no such dead letter
  2  usage: an option is wrong; the message names it and the right form";

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;
    use crate::config::ORDERS_GROUP_DEFAULT;
    use crate::duration::format_duration;
    use crate::ledger::redis::WEBHOOKS_GROUP;
    use crate::limits::{
        CLAIM_AFTER_MS, CLAIM_AFTER_MS_MAX, CLAIM_AFTER_MS_MIN, CONSUMER_ALIVE_MS,
        CONSUMER_GONE_MS, ORDERS_AWAY_MS_MAX, ORDERS_AWAY_MS_MIN, ORDERS_BATCH, ORDERS_BATCH_MAX,
        ORDERS_ONCE_AWAY_MS, WEBHOOK_ATTEMPTS, WEBHOOK_ATTEMPTS_MAX, WEBHOOK_BACKLOG,
        WEBHOOK_BACKLOG_MAX, WEBHOOK_BACKLOG_MIN, WEBHOOK_DEADLINE_MS, WEBHOOK_DEADLINE_MS_MAX,
        WEBHOOK_DEADLINE_MS_MIN, WEBHOOK_JITTER_PERCENT, WEBHOOK_PARALLEL, WEBHOOK_PARALLEL_MAX,
        WEBHOOK_PAUSE_MS_MAX, WEBHOOK_RETRY_FACTOR, WEBHOOK_RETRY_MS, WEBHOOK_RETRY_MS_MAX,
        WEBHOOK_RETRY_MS_MIN, WEBHOOK_SECRETS_MAX,
    };

    #[test]
    fn the_help_states_the_actual_defaults_and_bounds() {
        let help = OrdersOptions::augment_args(Command::new("orders")).render_long_help();
        let help = help.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let time = format_duration;
        for told in [
            format!("[default: {ORDERS_BATCH}] 1 to {ORDERS_BATCH_MAX}"),
            format!("[default: {}]", time(CLAIM_AFTER_MS)),
            format!("{} to {}", time(CLAIM_AFTER_MS_MIN), time(CLAIM_AFTER_MS_MAX)),
            format!("[default: {ORDERS_GROUP_DEFAULT}, or {WEBHOOKS_GROUP}]"),
            format!("[default: {WEBHOOK_PARALLEL}] 1 to {WEBHOOK_PARALLEL_MAX}"),
            format!("[default: {WEBHOOK_ATTEMPTS}] 1 to {WEBHOOK_ATTEMPTS_MAX}"),
            format!("[default: {WEBHOOK_BACKLOG}] {WEBHOOK_BACKLOG_MIN} to {WEBHOOK_BACKLOG_MAX}."),
            format!("to the response [default: {}]", time(WEBHOOK_DEADLINE_MS)),
            format!("{} to {}.", time(WEBHOOK_DEADLINE_MS_MIN), time(WEBHOOK_DEADLINE_MS_MAX)),
            format!("failed attempt [default: {}]", time(WEBHOOK_RETRY_MS)),
            format!("{} to {}.", time(WEBHOOK_RETRY_MS_MIN), time(WEBHOOK_RETRY_MS_MAX)),
            format!(
                "{WEBHOOK_RETRY_FACTOR} times as long, up to {}, give or take \
                 {WEBHOOK_JITTER_PERCENT}%",
                time(WEBHOOK_PAUSE_MS_MAX)
            ),
            format!("signs (up to {WEBHOOK_SECRETS_MAX})"),
            format!("for ever; {} with --once]", time(ORDERS_ONCE_AWAY_MS)),
            format!("{} to {}", time(ORDERS_AWAY_MS_MIN), time(ORDERS_AWAY_MS_MAX)),
            format!("active within {}", time(CONSUMER_ALIVE_MS)),
            format!("entries to finish, within {}", time(CONSUMER_GONE_MS)),
        ] {
            assert!(help.contains(&told), "{told}");
        }
    }
}
