//! The options of `stampede backup`, `restore` and `move`.

use clap::Args;

/// The options of backup, unjudged.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_BACKUP_HELP, max_term_width = 100)]
pub struct BackupOptions {
    /// The folder to write, which must not exist
    ///
    /// It appears when it is whole, and is readable by its owner only. To keep it elsewhere, make one
    /// file of it (tar) and copy that.
    #[arg(long, value_name = "FOLDER")]
    pub to: String,

    /// The ledger, embedded:DIR, whether a server runs on it or not [default: that of the settings]
    #[arg(long, value_name = "URL", help_heading = "Where")]
    pub ledger: Option<String>,

    /// Configuration file for the settings
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub config: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of restore, unjudged. A URL can hold a password, so there is no `Debug`.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_RESTORE_HELP, max_term_width = 100)]
pub struct RestoreOptions {
    /// The backup: a folder that `stampede backup` has written
    #[arg(long, value_name = "FOLDER")]
    pub from: String,

    /// Where to, embedded:DIR: a folder that is missing or empty [default: that of the settings]
    #[arg(long, value_name = "URL", help_heading = "Where")]
    pub ledger: Option<String>,

    /// Configuration file for the settings
    #[arg(long, value_name = "FILE", help_heading = "Where")]
    pub config: Option<String>,

    /// Compare what is restored with the orders in this database
    ///
    /// postgres://user:password@host:port/database or sqlite:FILE. What came after the backup is in
    /// the orders and not in the ledger: it is named, and the exit code is 1.
    #[arg(long, value_name = "URL", env = "STAMPEDE_DATABASE", hide_env_values = true)]
    pub orders: Option<String>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The options of move, unjudged. A URL can hold a password, so there is no `Debug`.
#[derive(Args, Default)]
#[command(after_long_help = AFTER_MOVE_HELP, max_term_width = 100)]
pub struct MoveOptions {
    /// The ledger that has the sales, embedded:DIR, while no server uses it
    #[arg(long, value_name = "URL")]
    pub from: String,

    /// The ledger to move them to, redis://… or the same with -sentinel, -cluster or rediss
    #[arg(long, value_name = "URL")]
    pub to: String,

    /// Move this sale only (repeatable) [default: all]
    #[arg(long, value_name = "ID")]
    pub sale: Vec<String>,

    /// Take back a move that did not come to its end
    ///
    /// Only if none of its sales is in the other ledger yet: else it must be finished.
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
A backup is the ledger as it stood at one record: with everything that was answered before the command
began, and nothing of what is refused later. A server that sells from the folder goes on, and is not
asked. Every record is checked on the way.

Examples:
  Of the server's folder, while it sells:
      stampede backup --ledger embedded:/var/lib/stampede --to /backup/stampede-monday
  As one file:
      tar -C /backup -czf stampede-monday.tgz stampede-monday

Exit codes:
  0  the backup is there, and durable
  1  it is not, and nothing is left of it: the ledger can't be read, or the backup not written
  2  usage: an option is wrong";

const AFTER_RESTORE_HELP: &str = "\
All of the backup is read and checked before anything is written, and the folder is a ledger only when
it is whole: after a crash, ask for the same again. Then it is audited.

The ledger goes on under its id, with record numbers above all that its orders can have. What was sold
after the backup is lost from it, and may be paid for: a server with --orders that finds such orders
does not start, and says what to do.

Examples:
  On a new machine, with the orders that the old one has written:
      stampede restore --from stampede-monday --ledger embedded:/var/lib/stampede \\
          --orders postgres://stampede@10.0.0.6/shop

Exit codes:
  0  the ledger is there, and everything that was looked at agrees
  1  it is not there; or it is, and the orders tell of more than the backup has (the message says which)
  2  usage: an option is wrong
  3  it is there, and could not be compared with the orders";

const AFTER_MOVE_HELP: &str = "\
The sales must be closed: stop the server's traffic, `stampede sale close` each, and stop the server.
Counts, reservations, users' limits, idempotency keys, deadlines and times move along. Take a backup
before: the sales are removed from where they were.

Each sale appears in the other ledger in one step, and until all are there and removed here, nobody
sells from the folder. After a crash, ask for the same again: it goes on where it was.

Examples:
  Everything, for more than one server:
      stampede move --from embedded:/var/lib/stampede --to redis://10.0.0.5:6379
  One sale:
      stampede move --from embedded:/var/lib/stampede --to redis://10.0.0.5:6379 --sale ticket

Exit codes:
  0  the sales are there, are gone here, and agree with themselves
  1  something keeps them from moving, or has ended the move: the message says what to do
  2  usage: an option is wrong";
