//! The options of `stampede audit`.

use clap::Args;

use super::operator::OperatorOptions;

/// The options of audit, as text. URLs can hold passwords, so there is no `Debug`.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
pub struct AuditOptions {
    /// Compare the reservations with the orders in this database too
    ///
    /// postgres://user:password@host:port/database or sqlite:FILE. Needs --ledger or --direct; a
    /// server compares with the database of its own --orders. Changes that the workers have not
    /// read yet count as on their way, not as differences. An order that is newer than the ledger
    /// is a difference: the ledger has lost the state that wrote the order.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub orders: Option<String>,

    /// Audit only this sale (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub sale: Vec<String>,

    /// Repair differences, but take no units from anybody who may have them
    ///
    /// Counts are set to the sum of the reservations, missing claims and deadlines are created,
    /// changes that are missing in the stream are added, and rows of the database are set to the
    /// state in the ledger. Repair works while the sale is open. It lowers a count or removes a
    /// claim only if no claim, stream entry, order or part of a split sale shows a holder of the
    /// units. The report lists what was not repaired, and why. A total below the units sold, and a
    /// row without a reservation, are reported and not changed.
    #[arg(long)]
    pub repair: bool,

    /// With --repair: release units even if there are signs that somebody has them
    ///
    /// Counts are set to the sum of the reservations, even if claims, stream or orders show more
    /// units. Claims of missing reservations are removed, so their idempotency keys can buy again.
    /// Orders are set to the state in the ledger, paid orders too. The parts of a split sale keep
    /// the sum of their units. A buyer whose reservation the ledger has lost can then lose the
    /// units to another buyer. Use it only after you have decided to accept this.
    #[arg(long, requires = "repair")]
    pub release_units: bool,

    /// Print nothing if everything agrees, for cron
    #[arg(long)]
    pub quiet: bool,

    /// Give up after this time, such as 30s or 10m [default: 2m if a server is asked, else none]
    ///
    /// The exit code is then 3. Finished repairs stay.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,

    /// The server or ledger to audit.
    #[command(flatten)]
    pub operator: OperatorOptions,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  Audit the ledger of a running server, and its orders if it writes them:
      stampede audit
  Audit Redis and PostgreSQL while servers and workers run:
      stampede audit --ledger redis://10.0.0.5:6379 --orders postgres://stampede@10.0.0.6/shop
  Audit every hour from cron, with a mail only if something differs or the audit failed:
      stampede audit --direct --config /etc/stampede/stampede.toml --quiet --timeout 10m
  Repair one sale:
      stampede audit --ledger redis://10.0.0.5:6379 --sale ticket --repair

Exit codes:
  0  everything agrees, if need be after a repair
  1  something differs and was not repaired, or a sale of --sale is missing
  2  usage: an option is wrong
  3  the audit failed: no server answered, the ledger or the database is down or refused, or
     --timeout is over";
