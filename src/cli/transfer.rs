//! The options of `stampede backup`, `restore` and `move`.

use clap::Args;

/// The options of backup, as text.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_BACKUP_HELP, max_term_width = 100)]
pub struct BackupOptions {
    /// Write the backup to this folder, which must not exist
    ///
    /// The folder appears when the backup is complete, and only its owner can read it.
    #[arg(long, value_name = "FOLDER")]
    pub to: String,

    /// Back up this ledger, embedded:DIR; a server may use it [default: the ledger of the settings]
    #[arg(long, value_name = "URL", help_heading = "Where")]
    pub ledger: Option<String>,

    /// Configuration file for the settings
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub config: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of restore, as text. A URL can hold a password, so there is no `Debug`.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_RESTORE_HELP, max_term_width = 100)]
pub struct RestoreOptions {
    /// Restore this backup, a folder written by `stampede backup`
    #[arg(long, value_name = "FOLDER")]
    pub from: String,

    /// Restore to embedded:DIR, a missing or empty folder [default: the ledger of the settings]
    #[arg(long, value_name = "URL", help_heading = "Where")]
    pub ledger: Option<String>,

    /// Configuration file for the settings
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub config: Option<String>,

    /// Compare the restored ledger with the orders in this database
    ///
    /// postgres://user:password@host:port/database or sqlite:FILE. Changes after the backup are in
    /// the orders and not in the ledger: the command lists them, and exits with 1.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub orders: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of move, as text. A URL can hold a password, so there is no `Debug`.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_MOVE_HELP, max_term_width = 100)]
pub struct MoveOptions {
    /// Move sales from this ledger, embedded:DIR; no server may use it
    #[arg(long, value_name = "URL")]
    pub from: String,

    /// Move sales to this ledger: redis://…, redis-sentinel://…, redis-cluster://… or rediss://…
    #[arg(long, value_name = "URL")]
    pub to: String,

    /// Move only this sale (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub sale: Vec<String>,

    /// Cancel a move that was interrupted
    ///
    /// Only if the other ledger has none of its sales yet. Otherwise finish the move.
    #[arg(long, conflicts_with = "sale")]
    pub abandon: bool,

    /// Configuration file for the settings of both ledgers (names of keys, certificates)
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const AFTER_BACKUP_HELP: &str = "\
A backup is the ledger at one record: everything that was acknowledged before the command started. A
server that uses the folder continues to sell. The command checks every record.

Examples:
  Back up the folder of a server while it sells:
      stampede backup --ledger embedded:/var/lib/stampede --to /backup/stampede-monday
  Pack a backup into one file, to copy it to another machine:
      tar -C /backup -czf stampede-monday.tgz stampede-monday

Exit codes:
  0  the backup is complete and durable
  1  failure: the ledger can't be read or the backup can't be written; nothing of it is left
  2  usage: an option is wrong";

const AFTER_RESTORE_HELP: &str = "\
The command reads and checks the whole backup before it writes anything. The folder becomes a ledger
only when it is complete: after a crash, run the command again. Then the command audits the ledger.

The ledger keeps its id. Its record numbers continue above every number that its orders can have.
Sales after the backup are lost from the ledger, and may be paid: a server with --orders that finds
such orders does not start, and says what to do.

Examples:
  Restore to a new machine, and compare with the orders that the old machine wrote:
      stampede restore --from stampede-monday --ledger embedded:/var/lib/stampede \\
          --orders postgres://stampede@10.0.0.6/shop

Exit codes:
  0  the ledger is restored, and everything that was compared agrees
  1  failure: the ledger is not restored; or it is, and the orders have changes that the backup
     lacks (the message says which)
  2  usage: an option is wrong
  3  the ledger is restored, and could not be compared with the orders";

const AFTER_MOVE_HELP: &str = "\
Close the sales first: stop the traffic, run `stampede sale close` for each sale, and stop the server.
Counts, reservations, per-user limits, idempotency keys, deadlines and times move too. Make a backup
before, because the command removes the sales from the folder.

Each sale appears in the other ledger in one step. Until all sales are there and removed here, no
server can sell from the folder. After a crash, run the command again: it resumes.

Examples:
  Move all sales to a Redis, to run more than one server:
      stampede move --from embedded:/var/lib/stampede --to redis://10.0.0.5:6379
  Move one sale:
      stampede move --from embedded:/var/lib/stampede --to redis://10.0.0.5:6379 --sale ticket

Exit codes:
  0  the sales are in the other ledger, removed here, and their counts agree
  1  failure: a sale can't move, or the move was interrupted; the message says what to do
  2  usage: an option is wrong";
