//! The options of the commands sale, reservation and instances.

use clap::{Args, Subcommand};

/// `stampede sale …`
#[derive(Args)]
#[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
pub(super) struct SaleCommand {
    #[command(subcommand)]
    pub(super) action: SaleAction,
    #[command(flatten)]
    pub(super) options: OperatorOptions,
}

/// `stampede reservation …`
#[derive(Args)]
#[command(after_long_help = AFTER_RESERVATION_HELP, max_term_width = 100)]
pub(super) struct ReservationCommand {
    #[command(subcommand)]
    pub(super) action: ReservationAction,
    #[command(flatten)]
    pub(super) options: OperatorOptions,
}

/// Commands for sales.
#[derive(Subcommand)]
pub enum SaleAction {
    /// Create sales
    ///
    /// If a sale exists with the same definition, the command changes nothing and succeeds. If it
    /// exists with another definition, the command changes nothing and fails.
    Create {
        /// The sales, as for --sale of serve: `stampede serve --help` lists the names
        ///
        /// Separate names and values by commas, as in ticket=10000,hold=5m,limit=4.
        #[arg(required = true, value_name = "ID=TOTAL[,NAME=VALUE...]")]
        sales: Vec<String>,
        /// Keep each sale without splits= in this many parts, in Redis, as --splits of serve does
        #[arg(long, value_name = "PARTS", allow_negative_numbers = true)]
        splits: Option<String>,
    },
    /// Open a sale now, if it is closed or opens later
    Open {
        /// The sale
        id: String,
    },
    /// Close a sale now
    ///
    /// Held reservations can still be confirmed and cancelled.
    Close {
        /// The sale
        id: String,
    },
    /// Add units to the total of a sale
    AddStock {
        /// The sale
        id: String,
        /// How many units
        #[arg(allow_negative_numbers = true)]
        units: String,
    },
    /// Take free units out of the total of a sale
    ///
    /// Held and confirmed units stay. If fewer units are free, the command takes none, and the
    /// error gives the number.
    TakeStock {
        /// The sale
        id: String,
        /// How many units
        #[arg(allow_negative_numbers = true)]
        units: String,
        /// If fewer units are free, take all of them
        #[arg(long)]
        at_most: bool,
    },
    /// Change the closing time, hold time and limits of a sale
    ///
    /// Terms whose option is not given stay as they are. Reservations keep their deadlines, and a
    /// user above a new limit keeps the units.
    Change {
        /// The sale
        id: String,
        /// The new terms
        #[command(flatten)]
        terms: TermsOptions,
    },
    /// Show a sale
    Show {
        /// The sale
        id: String,
        #[allow(missing_docs)]
        #[command(flatten)]
        watch: WatchOptions,
    },
    /// List all sales
    List {
        #[allow(missing_docs)]
        #[command(flatten)]
        watch: WatchOptions,
    },
    /// Write a closed sale and its reservations to a file
    ///
    /// The file has JSON lines: the sale, a line per reservation, and a last line with their number
    /// and a checksum. The file appears when it is complete, and only its owner can read it. The
    /// sale must be closed and hold nothing, so that the archive is final.
    Archive {
        /// The sale
        id: String,
        /// The file, which must not exist
        #[arg(long, value_name = "FILE")]
        to: String,
    },
    /// Restore a sale and its reservations from a file of `sale archive`
    ///
    /// Needs a ledger. --ledger redis://… works at any time. --ledger embedded:DIR and --direct to
    /// an embedded ledger work only while no server uses the folder. A sale of the same name must
    /// not exist. The restored sale is closed. Its idempotency keys work as before. Its rows get
    /// higher version numbers than those in the orders, so they overwrite them. After a crash, run
    /// the command again.
    Restore {
        /// The archive
        #[arg(long, value_name = "FILE")]
        from: String,
    },
    /// Reset a sale: make all units free, as if the sale were new
    ///
    /// Deletes reservations, idempotency keys and per-user counts of the sale. Times, hold time and
    /// limits stay. Use it after a test run, or for a sale whose counts were set by hand. Rows in
    /// the tables of orders stay: delete them yourself.
    Reset {
        /// The sale
        id: String,
        /// New total [default: the current total]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        total: Option<String>,
        /// Reset even if units are held or confirmed, or changes are not yet in the orders
        ///
        /// A sale of an embedded ledger must hold nothing and have all its orders written even with
        /// --force.
        #[arg(long)]
        force: bool,
    },
    /// Remove a closed sale and its reservations
    ///
    /// The sale must hold nothing. You can't undo this command: archive the sale first.
    Remove {
        /// The sale
        id: String,
    },
}

/// Whether a command refreshes its output until it is interrupted.
#[derive(Args)]
pub struct WatchOptions {
    /// Refresh every INTERVAL until Ctrl-C, with units sold per second [default: 1s]
    ///
    /// 100ms to 1h. A terminal shows the latest state in place. A pipe or a file gets a line per
    /// change, with --json a JSON object. If the server is unreachable, the output says so, and
    /// continues when the server is back.
    #[arg(
        long = "watch",
        value_name = "INTERVAL",
        num_args = 0..=1,
        default_missing_value = "1s"
    )]
    pub interval: Option<String>,
}

/// New terms of a sale: at least one.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct TermsOptions {
    /// Closing time, as in 2030-01-01T10:00:00+08:00, or never
    ///
    /// A future time reopens a sale whose closing time has passed.
    #[arg(long, value_name = "TIME")]
    pub closes_at: Option<String>,
    /// Hold time of new reservations, as in 30s or 5m
    #[arg(long, value_name = "DURATION")]
    pub hold: Option<String>,
    /// Maximum units per user; 0: no limit
    ///
    /// Setting the first limit of a sale counts the units of each user. The command is refused if
    /// more than 10,000 units are held or confirmed, or, in Redis, if more than 40,000 reservations
    /// were made.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub limit: Option<String>,
    /// Maximum units per purchase
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub quantity_max: Option<String>,
    /// Minimum units per purchase
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub quantity_min: Option<String>,
    /// Time in total by which the shop may extend a hold, as in 10m; 0: not at all
    #[arg(long, value_name = "DURATION")]
    pub extend: Option<String>,
    /// Maximum reservations ever made, earlier ones included; 0: no maximum; default: end the sale
    /// after 1,000,000 returned reservations, or 100 per unit if that is more
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub reservations: Option<String>,
    /// Maximum reservations ever made per user, earlier ones included; 0: no maximum
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub reservations_per_user: Option<String>,
}

/// Commands for a reservation.
#[derive(Subcommand)]
pub enum ReservationAction {
    /// Show a reservation
    Show {
        /// The reservation, SALE~…
        id: String,
    },
    /// Confirm a reservation, which marks it as paid
    Confirm {
        /// The reservation, SALE~…
        id: String,
    },
    /// Extend the hold of a reservation while its buyer pays
    ///
    /// The new deadline is never earlier than the old one. The sale limits the time in total.
    Extend {
        /// The reservation, SALE~…
        id: String,
        /// New hold time from now, as in 30s or 5m [default: the hold time of the sale]
        #[arg(long, value_name = "DURATION")]
        hold: Option<String>,
    },
    /// Cancel a held reservation: its units become free
    Cancel {
        /// The reservation, SALE~…
        id: String,
        /// Cancel only a part: this many units remain
        ///
        /// For a sale with ticket types, give the units per type, as in adult:1+child:2. If the
        /// reservation has as many or fewer units already, nothing changes.
        #[arg(long, value_name = "N|TYPE:N+…", allow_negative_numbers = true)]
        remaining: Option<String>,
    },
    /// Refund a confirmed reservation: its units become free
    ///
    /// You can't undo this command. Returning the money is up to the shop. Refunding again changes
    /// nothing.
    Refund {
        /// The reservation, SALE~…
        id: String,
        /// Refund only a part: this many units remain
        ///
        /// For a sale with ticket types, give the units per type, as in adult:1+child:2. If the
        /// reservation has as many or fewer units already, nothing changes.
        #[arg(long, value_name = "N|TYPE:N+…", allow_negative_numbers = true)]
        remaining: Option<String>,
    },
}

/// Where commands go, and how they print. The URL of the ledger can hold a password, so there is no
/// `Debug`.
#[derive(Args, Default)]
pub struct OperatorOptions {
    /// Send commands to the control port of this server [default: http://127.0.0.1:3006]
    #[arg(long, value_name = "URL", global = true, help_heading = "Where", conflicts_with_all = ["ledger", "direct"])]
    pub control: Option<String>,

    /// Read the token of the control port from this file
    ///
    /// Or set the token itself as STAMPEDE_CONTROL_TOKEN.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where")]
    pub token_file: Option<String>,

    /// Open this ledger directly, without a server
    ///
    /// redis://… at any time; embedded:DIR only while no server uses the folder.
    #[arg(long, value_name = "URL", global = true, help_heading = "Where")]
    pub ledger: Option<String>,

    /// Open the ledger of the settings directly, without a server
    ///
    /// The settings are those of --config and the environment, as for serve. With --direct, no
    /// password needs to be on the command line.
    #[arg(long, global = true, help_heading = "Where")]
    pub direct: bool,

    /// Configuration file for --ledger and --direct
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where")]
    pub config: Option<String>,

    /// Print JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  List all sales:
      stampede sale list
  Watch how fast a sale sells:
      stampede sale show ticket --watch
  Create two sales, one of which opens later:
      stampede sale create ticket=10000,hold=5m poster=500,opens=2030-01-01T10:00:00+08:00
  Create a sale of a hundred tickets, at most 60 of them for adults and 50 for children:
      stampede sale create fair=100,types=adult:60+child:50
  Add a hundred units, which are for sale on every server at once:
      stampede sale add-stock ticket 100
  Sell until noon, hold for a minute, at most four units per purchase:
      stampede sale change ticket --closes-at 2030-01-01T12:00:00+08:00 --hold 1m --quantity-max 4
  Take a hundred units back for the box office, or as many as are free:
      stampede sale take-stock ticket 100 --at-most
  Close a sale, archive and remove it:
      stampede sale close ticket
      stampede sale archive ticket --to ticket.jsonl
      stampede sale remove ticket
  Reset a sale after a test run, on a server or in Redis:
      stampede sale reset ticket --force
      stampede sale reset ticket --total 10000 --force --ledger redis://127.0.0.1:6379
  Ask a server on another machine:
      stampede sale list --control http://10.0.0.7:3006 --token-file /etc/stampede/token
  Read Redis without a server:
      stampede sale show ticket --ledger redis://127.0.0.1:6379

Environment:
  STAMPEDE_CONTROL             The URL of --control.
  STAMPEDE_CONTROL_TOKEN       The token of the control port.
  STAMPEDE_CONTROL_TOKEN_FILE  The file of the token.

Exit codes:
  0  done
  1  failure: no server answers, or the command is not possible now; the message says why
  2  usage: an option or a value is wrong";

const AFTER_RESERVATION_HELP: &str = "\
Examples:
  Show who holds a reservation, until when, and whether it is paid:
      stampede reservation show ticket~0029vvg3r4fv5e9depdxtq4mv5
  Mark it as paid:
      stampede reservation confirm ticket~0029vvg3r4fv5e9depdxtq4mv5
  Give the buyer ten more minutes to pay:
      stampede reservation extend ticket~0029vvg3r4fv5e9depdxtq4mv5 --hold 10m
  Cancel it and sell its units again:
      stampede reservation cancel ticket~0029vvg3r4fv5e9depdxtq4mv5
  Cancel all but two adults and a child, in a sale with ticket types:
      stampede reservation cancel fair~0029vvg3r4fv5e9depdxtq4mv5 --remaining adult:2+child:1
  Refund a paid reservation and sell its units again:
      stampede reservation refund ticket~0029vvg3r4fv5e9depdxtq4mv5
  Ask a server on another machine:
      stampede reservation show ticket~0029vvg3r4fv5e9depdxtq4mv5 \\
          --control http://10.0.0.7:3006 --token-file /etc/stampede/token

Environment:
  STAMPEDE_CONTROL             The URL of --control.
  STAMPEDE_CONTROL_TOKEN       The token of the control port.
  STAMPEDE_CONTROL_TOKEN_FILE  The file of the token.

Exit codes:
  0  done
  1  failure: no server answers, there is no such reservation, or the command is not possible any
     more
  2  usage: an option or a value is wrong";

pub(super) const AFTER_INSTANCES_HELP: &str = "\
Examples:
  List the servers that share the ledger of the server on this machine:
      stampede instances
  Ask a server on another machine:
      stampede instances --control http://10.0.0.7:3006 --token-file /etc/stampede/token
  Read Redis without a server:
      stampede instances --ledger redis://127.0.0.1:6379

Environment:
  STAMPEDE_CONTROL             The URL of --control.
  STAMPEDE_CONTROL_TOKEN       The token of the control port.
  STAMPEDE_CONTROL_TOKEN_FILE  The file of the token.

Exit codes:
  0  done
  1  failure: no server answers, or the ledger does not answer
  2  usage: an option is wrong";
