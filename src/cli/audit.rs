//! The options of `stampede audit`.

use clap::Args;

use super::operator::OperatorOptions;

/// The options of audit, unjudged. URLs can hold passwords, so there is no `Debug`.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
pub struct AuditOptions {
    /// Compare the reservations with the orders in this database, too
    ///
    /// postgres://user:password@host:port/database or sqlite:FILE, with --ledger or --direct; a
    /// server that is asked compares with the database of its own --orders. What the workers have
    /// not been told yet is counted as on its way, and is no difference. An order that is newer than
    /// the ledger was written by a state of the ledger that is lost, and is one.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub orders: Option<String>,

    /// Look at this sale only (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub sale: Vec<String>,

    /// Repair what can be repaired without taking units from anybody who may have them
    ///
    /// Counts become what the reservations come to, claims and deadlines that are missing are made
    /// anew, what the stream no longer tells is told once more, and rows of the database become what
    /// the ledger says. Works while the sale goes on. A count is lowered, or a claim removed, only if
    /// no claim, entry of the stream, order or place of a split sale tells of somebody who has the
    /// units; the report says what was left as it is, and why. A total that is below what is sold,
    /// and a row without a reservation, are told and left alone.
    #[arg(long)]
    pub repair: bool,

    /// With --repair: put units up for sale although something tells that somebody has them
    ///
    /// Counts become what the reservations come to, whatever claims, stream or orders tell of more;
    /// claims of reservations that are not there are removed, so that their keys buy again; orders
    /// become what the ledger says, paid ones too; the places of a split sale keep the units that
    /// they have together. Who bought what the ledger has lost may then lose it to another buyer:
    /// only for when that is decided.
    #[arg(long, requires = "repair")]
    pub release_units: bool,

    /// Print nothing if everything agrees, for cron
    #[arg(long)]
    pub quiet: bool,

    /// Give up after this time, such as 30s or 10m [default: 2m for a server's answer, else none]
    ///
    /// Exit code 3. What was repaired before stays repaired.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,

    /// Where to look.
    #[command(flatten)]
    pub operator: OperatorOptions,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  What a running server's ledger says of itself, and its orders, if it writes them:
      stampede audit
  Everything in Redis and PostgreSQL, while servers and workers run:
      stampede audit --ledger redis://10.0.0.5:6379 --orders postgres://stampede@10.0.0.6/shop
  Every hour, with a mail from cron only if something differs or could not be looked at:
      stampede audit --direct --config /etc/stampede.toml --quiet --timeout 10m
  Repair one sale:
      stampede audit --ledger redis://10.0.0.5:6379 --sale ticket --repair

Exit codes:
  0  everything that was looked at agrees, if need be after a repair
  1  something differs and was not repaired, or a sale that was named is not there
  2  usage: an option is wrong
  3  it could not look: no server answers, the ledger or the database is away or refuses, or
     --timeout is over";
