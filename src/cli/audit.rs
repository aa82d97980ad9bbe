//! The options of `stampede audit`.

use clap::Args;

use super::OperatorOptions;

/// The options of audit, unjudged. URLs can hold passwords, so there is no `Debug`.
#[derive(Args, Default)]
#[command(next_line_help = true, after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
pub struct AuditOptions {
    /// Where to, and how to print.
    #[command(flatten)]
    pub operator: OperatorOptions,

    /// Compare the reservations with the orders in this database, too
    ///
    /// postgres://user:password@host:port/database or sqlite:FILE. What the workers have not been
    /// told yet is counted as on its way, and is no difference. Only with --ledger or --direct.
    #[arg(long, value_name = "URL", env = "STAMPEDE_ORDERS", hide_env_values = true)]
    pub orders: Option<String>,

    /// Look at this sale only (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub sale: Vec<String>,

    /// Mend what can be mended
    ///
    /// Counts become what the reservations come to, claims and deadlines that are missing are made
    /// anew, what the stream no longer tells is told once more, and rows of the database become what
    /// the ledger says. Works while the sale goes on. A total that is below what is sold, and a row
    /// without a reservation, are told and left alone.
    #[arg(long)]
    pub repair: bool,
}

/// What stands below the options in the long help.
pub(super) const AFTER_LONG_HELP: &str = "\
Examples:
  What does the server on this machine say of itself?
      stampede audit
  Compare everything, while servers and workers run:
      stampede audit --ledger redis://10.0.0.5:6379 --orders postgres://stampede@10.0.0.6/orders
  Mend one sale:
      stampede audit --ledger redis://10.0.0.5:6379 --sale ticket --repair

Exit codes:
  0  everything agrees, if need be after a repair
  1  something differs and was not repaired, or could not be looked at
  2  usage: an option is wrong";
