//! The options of `stampede orders`.

use clap::Args;

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
    pub(crate) from: Option<String>,

    /// The database to write orders to
    ///
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS (and
    /// &sslrootcert=FILE for an authority that the system doesn't know); or sqlite:FILE. The
    /// tables are made, and brought up to date, by themselves. PostgreSQL's database must be UTF8,
    /// and may be behind PgBouncer, by session or by transaction.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub(crate) to: Option<String>,

    /// The consumer group: workers of one group share the work [default: orders]
    ///
    /// Each group gets every reservation, so a second database takes a second group.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    /// This worker's name within the group [default: HOST-PID]
    ///
    /// Two workers with one name would take each other's work. A worker that starts again under
    /// its old name goes on at once with what it had; under another name, after --claim-after.
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,

    /// Changes to write in one transaction, about [default: 10000]
    ///
    /// 1 to 100000. One transaction is no larger than what is there, so it needs no tuning for
    /// quiet times.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) batch: Option<String>,

    /// Take over what another worker has had for so long without finishing it [default: 30s]
    ///
    /// 100ms to 1d. Longer than a transaction takes, else work is done twice (which does no harm).
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) claim_after: Option<String>,

    /// End when everything is written, instead of waiting for more
    #[arg(long)]
    pub(crate) once: bool,

    /// End when Redis or the database was away for this long [default: wait for ever; 1m with --once]
    ///
    /// 1s to 1d. What is not written stays in Redis.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) timeout: Option<String>,

    /// List the consumer groups and how far each is, and exit
    #[arg(long, conflicts_with_all = ["group", "consumer", "batch", "claim_after", "once", "timeout"])]
    pub(crate) groups: bool,

    /// End a consumer group that is no longer used, and exit
    ///
    /// What it has yet to read is no longer kept for it. Stop its workers first: nothing is done if
    /// one was heard of within 10s, or, if the group has entries to finish, within 1h.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["group", "consumer", "batch", "claim_after", "once", "timeout", "groups"])]
    pub(crate) drop_group: Option<String>,

    /// Trust the certificate authorities in this PEM file for rediss:// [default: the system's]
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_CA")]
    pub(crate) redis_ca: Option<String>,

    /// Show Redis the certificate in this PEM file, for rediss:// [default: none]
    ///
    /// Redis with TLS wants one unless it has `tls-auth-clients no`. With --redis-key.
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_CERT")]
    pub(crate) redis_cert: Option<String>,

    /// The private key of that certificate, a PEM file without a password [default: none]
    #[arg(long, value_name = "FILE", env = "STAMPEDE_REDIS_KEY")]
    pub(crate) redis_key: Option<String>,

    /// Key of the hash with a sale's counters in Redis, as for serve [default: {sale}_hash_key]
    #[arg(long, value_name = "NAME", env = "STAMPEDE_REDIS_COUNTERS_KEY")]
    pub(crate) redis_counters_key: Option<String>,

    /// How much to log to standard error [default: info]
    #[arg(long, value_name = "LEVEL", env = "STAMPEDE_LOG")]
    pub(crate) log: Option<String>,

    /// How to log: text, json or journal [default: text, or journal under systemd]
    #[arg(long, value_name = "FORMAT", env = "STAMPEDE_LOG_FORMAT")]
    pub(crate) log_format: Option<String>,
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

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command};

    use super::*;
    use crate::config::ORDERS_GROUP_DEFAULT;
    use crate::duration::format_duration;
    use crate::limits::{
        CLAIM_AFTER_MS, CLAIM_AFTER_MS_MAX, CLAIM_AFTER_MS_MIN, CONSUMER_ALIVE_MS,
        CONSUMER_GONE_MS, ORDERS_AWAY_MS_MAX, ORDERS_AWAY_MS_MIN, ORDERS_BATCH, ORDERS_BATCH_MAX,
        ORDERS_ONCE_AWAY_MS,
    };

    #[test]
    fn the_help_tells_the_defaults_and_bounds_that_hold() {
        let help = OrdersOptions::augment_args(Command::new("orders")).render_long_help();
        let help = help.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let time = format_duration;
        for told in [
            format!("[default: {ORDERS_BATCH}] 1 to {ORDERS_BATCH_MAX}"),
            format!("[default: {}]", time(CLAIM_AFTER_MS)),
            format!("{} to {}", time(CLAIM_AFTER_MS_MIN), time(CLAIM_AFTER_MS_MAX)),
            format!("[default: {ORDERS_GROUP_DEFAULT}]"),
            format!("for ever; {} with --once]", time(ORDERS_ONCE_AWAY_MS)),
            format!("{} to {}", time(ORDERS_AWAY_MS_MIN), time(ORDERS_AWAY_MS_MAX)),
            format!("heard of within {}", time(CONSUMER_ALIVE_MS)),
            format!("entries to finish, within {}", time(CONSUMER_GONE_MS)),
        ] {
            assert!(help.contains(&told), "{told}");
        }
    }
}
