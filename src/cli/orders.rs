//! The options of `stampede orders`.

use clap::Args;

/// What only a worker is told, and not somebody who lists or changes things.
const WORK: [&str; 6] = ["group", "consumer", "batch", "claim_after", "once", "timeout"];

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

    /// The database to write orders to, or the receiver of webhooks
    ///
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS (and
    /// &sslrootcert=FILE for an authority that the system doesn't know); or sqlite:FILE. The
    /// tables are made, and brought up to date, by themselves. PostgreSQL's database must be UTF8,
    /// and may be behind PgBouncer, by session or by transaction.
    ///
    /// https://host/path sends each change of a reservation as a webhook instead (http:// to this
    /// machine only): docs/webhooks.md says what is sent, and how the receiver verifies it.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub(crate) to: Option<String>,

    /// The consumer group: workers of one group share the work [default: orders, or webhooks]
    ///
    /// Each group gets every reservation, so a second database takes a second group, and so does each
    /// receiver of webhooks. A group of webhooks has one worker, and a name that begins with webhooks.
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,

    /// This worker's name within the group [default: HOST-PID]
    ///
    /// Two workers with one name would take each other's work. A worker that starts again under
    /// its old name goes on at once with what it had; under another name, after --claim-after. Not
    /// with webhooks: the file of --state has the name.
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
    /// 100ms to 1d. Longer than a transaction takes, else work is done twice (which does no harm). Not
    /// with webhooks: a group of theirs has one worker.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) claim_after: Option<String>,

    /// End when everything is written, or sent that is due, instead of waiting for more
    #[arg(long)]
    pub(crate) once: bool,

    /// End when Redis or the database was away for this long [default: wait for ever; 1m with --once]
    ///
    /// 1s to 1d. What is not written stays in Redis.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) timeout: Option<String>,

    /// The file with what is still to be delivered
    ///
    /// A SQLite file, made if it is missing, of this worker only. It has every event until the
    /// receiver has it, and the dead letters: keep it where it survives a restart.
    #[arg(long, help_heading = "Webhooks", value_name = "FILE", env = "STAMPEDE_WEBHOOK_STATE")]
    pub(crate) state: Option<String>,

    /// The file with the secrets that sign, one whsec_… per line
    ///
    /// `echo whsec_$(openssl rand -base64 32)` makes one. Every line signs (up to 8), so a receiver
    /// changes from one to the other without losing a webhook. The file is read again when it changes.
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

    /// Send them in the clear also to other machines
    ///
    /// Anybody on the way can read them, and keep them from you. The signature still shows what was
    /// changed.
    #[arg(long, help_heading = "Webhooks")]
    pub(crate) plain_http: bool,

    /// How many are under way at the same time [default: 16]
    ///
    /// 1 to 256. Of one reservation it is never more than one.
    #[arg(long, help_heading = "Webhooks", value_name = "N", allow_negative_numbers = true)]
    pub(crate) webhook_parallel: Option<String>,

    /// Time for one attempt, all included [default: 15s]
    ///
    /// 100ms to 1m.
    #[arg(long, help_heading = "Webhooks", value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) webhook_deadline: Option<String>,

    /// Pause after the first failed attempt [default: 5s]
    ///
    /// 10ms to 1h. Each further one is 3 times as long, up to 12h, give or take 10%.
    #[arg(long, help_heading = "Webhooks", value_name = "TIME", allow_negative_numbers = true)]
    pub(crate) webhook_retry: Option<String>,

    /// Attempts after which one is a dead letter [default: 15]
    ///
    /// 1 to 100. With the defaults that is after more than 3 days.
    #[arg(long, help_heading = "Webhooks", value_name = "N", allow_negative_numbers = true)]
    pub(crate) webhook_attempts: Option<String>,

    /// How many may wait, dead letters among them [default: 1000000]
    ///
    /// 10 to 100000000. As soon as there are that many, the stream is not read until a tenth is gone:
    /// what comes after them waits in Redis. Each takes about half a KiB of the file.
    #[arg(long, help_heading = "Webhooks", value_name = "N", allow_negative_numbers = true)]
    pub(crate) webhook_backlog: Option<String>,

    /// Tell how the worker with the file of --state stands, and exit
    ///
    /// What waits and for how long, what was delivered, attempts that failed, dead letters. The worker
    /// need not be stopped for it.
    #[arg(long, help_heading = "Webhooks", requires = "state", group = "look", conflicts_with_all = WORK)]
    pub(crate) status: bool,

    /// List the dead letters in the file of --state, and exit
    #[arg(long, help_heading = "Webhooks", requires = "state", group = "look", conflicts_with_all = WORK)]
    pub(crate) dead_letters: bool,

    /// With --status, one JSON object; with --dead-letters, one per line, with the webhook as it is sent
    #[arg(long, help_heading = "Webhooks", requires = "look")]
    pub(crate) json: bool,

    /// Put a dead letter back, or all, and exit: it is tried anew
    ///
    /// The worker need not be stopped for it. ID is the webhook-id as --dead-letters lists it.
    #[arg(long, help_heading = "Webhooks", value_name = "ID|all", requires = "state", conflicts_with_all = WORK, conflicts_with = "look")]
    pub(crate) replay: Option<String>,

    /// Give a dead letter up for good, or all, and exit
    #[arg(long, help_heading = "Webhooks", value_name = "ID|all", requires = "state", conflicts_with_all = WORK, conflicts_with_all = ["look", "replay"])]
    pub(crate) discard: Option<String>,

    /// List the consumer groups and how far each is, and exit
    #[arg(long, conflicts_with_all = WORK)]
    pub(crate) groups: bool,

    /// End a consumer group that is no longer used, and exit
    ///
    /// What it has yet to read is no longer kept for it. Stop its workers first: nothing is done if
    /// one was heard of within 10s, or, if the group has entries to finish, within 1h.
    #[arg(long, value_name = "NAME", conflicts_with_all = WORK, conflicts_with = "groups")]
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
  Webhooks to a receiver, from one worker, how it stands, and what could not be delivered:
      stampede orders --from redis://10.0.0.5:6379 --to https://shop.example/hooks \\
          --state webhooks.db --webhook-secret-file webhooks.secret
      stampede orders --state webhooks.db --status
      stampede orders --state webhooks.db --dead-letters
      stampede orders --state webhooks.db --replay all
  From a timer, every minute:
      stampede orders --from redis://10.0.0.5:6379 --to sqlite:./report.db --once --timeout 30s

Exit codes:
  0  told to stop (SIGTERM, SIGINT), or with --once everything is written, or sent that is due
  1  the database, the file or Redis needs its operator, or was away for longer than --timeout; or with
     --once, entries could not be read; or there is no such dead letter
  2  usage: an option is wrong; the message says which, and what would be right";

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
    fn the_help_tells_the_defaults_and_bounds_that_hold() {
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
            format!("all included [default: {}]", time(WEBHOOK_DEADLINE_MS)),
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
            format!("heard of within {}", time(CONSUMER_ALIVE_MS)),
            format!("entries to finish, within {}", time(CONSUMER_GONE_MS)),
        ] {
            assert!(help.contains(&told), "{told}");
        }
    }
}
