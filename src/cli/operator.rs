//! The options of an operator's commands: sale, reservation and instances.

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

/// What to do with sales.
#[derive(Subcommand)]
pub enum SaleAction {
    /// Create sales, as --sale of serve does
    ///
    /// A sale that exists as asked is left as it is; one that exists and differs is an error.
    Create {
        /// The sales: TOTAL units each, and what else they need
        #[arg(
            required = true,
            value_name = "ID=TOTAL[,hold=30s][,limit=1][,quantity=4][,opens=TIME][,closes=TIME][,splits=4][,min=2][,extend=10m][,reservations=N][,reservations_per_user=N][,types=NAME:CAP+…]"
        )]
        sales: Vec<String>,
        /// Keep those that don't say splits= in this many parts, in Redis, as --splits of serve does
        #[arg(long, value_name = "PARTS", allow_negative_numbers = true)]
        splits: Option<String>,
    },
    /// Sell from now on: opens a sale that was to open later, or that is closed
    Open {
        /// The sale
        id: String,
    },
    /// Stop selling now
    ///
    /// What is held can still be confirmed and cancelled.
    Close {
        /// The sale
        id: String,
    },
    /// Add units to a sale's total
    AddStock {
        /// The sale
        id: String,
        /// How many units
        #[arg(allow_negative_numbers = true)]
        units: String,
    },
    /// Take free units back, out of a sale's total
    ///
    /// Never what is held or confirmed: if fewer units are free, none is taken, and the error says how
    /// many are.
    TakeStock {
        /// The sale
        id: String,
        /// How many units
        #[arg(allow_negative_numbers = true)]
        units: String,
        /// If fewer are free, take as many as are
        #[arg(long)]
        at_most: bool,
    },
    /// Change when a sale closes and what it sells by from now on
    ///
    /// What is not named stays as it is. Nobody loses what he has: a reservation keeps its deadline, and
    /// a user who has more than a new limit keeps that.
    Change {
        /// The sale
        id: String,
        /// What is to change
        #[command(flatten)]
        terms: TermsOptions,
    },
    /// Show a sale as it stands
    Show {
        /// The sale
        id: String,
    },
    /// List all sales
    List,
    /// Write a sale that is over, and all its reservations, to a file
    ///
    /// JSON lines: first the sale, then a line for each reservation, last how many these are and a
    /// checksum. The file is there whole or not at all, for its owner only. The sale must be closed and hold nothing, so that what is written is final.
    Archive {
        /// The sale
        id: String,
        /// The file, which must not exist
        #[arg(long, value_name = "FILE")]
        to: String,
    },
    /// Take a sale in from the file that `sale archive` has written, with all its reservations
    ///
    /// Straight to a ledger: with --ledger redis://… at any time, with --ledger embedded:DIR while no
    /// server uses the folder (or --direct). There must be no sale of this name. It is closed, as it
    /// was; its idempotency keys find its reservations again, and what the orders are told of it is
    /// newer than what they have. After a crash, ask for the same again.
    Restore {
        /// The archive
        #[arg(long, value_name = "FILE")]
        from: String,
    },
    /// Begin a sale anew: all units for sale, as if it had just been created
    ///
    /// Forgets what is held and confirmed, with every reservation, idempotency key and user's count
    /// of the sale. Times, hold time and limits stay as they are. Meant for the time after a test
    /// run, and for a sale whose counts were set by hand. What the orders' tables have of it stays
    /// there: remove those rows yourself.
    Reset {
        /// The sale
        id: String,
        /// Units for sale [default: the total that the sale has]
        #[arg(long, value_name = "N", allow_negative_numbers = true)]
        total: Option<String>,
        /// Also if units are held or confirmed, or changes are not yet in the orders
        ///
        /// A sale of the embedded ledger must hold nothing, and have all its orders written, all the
        /// same.
        #[arg(long)]
        force: bool,
    },
    /// Forget a sale and all its reservations
    ///
    /// Only one that is closed and holds nothing. There is no way back: archive it before.
    Remove {
        /// The sale
        id: String,
    },
}

/// What to change of a sale: at least one.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct TermsOptions {
    /// When it stops selling, as in 2030-01-01T10:00:00+08:00; never: it sells until it is closed
    ///
    /// A sale that was over sells again if the time is still to come.
    #[arg(long, value_name = "TIME")]
    pub closes_at: Option<String>,
    /// How long reservations made from now on are held, as in 30s or 5m
    #[arg(long, value_name = "DURATION")]
    pub hold: Option<String>,
    /// Units that one user may have from now on; 0: no limit
    ///
    /// A sale that has had no limit counts what each user has when it gets one, as long as no more than
    /// 10,000 units are held or confirmed.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub limit: Option<String>,
    /// Most units in one purchase
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub quantity_max: Option<String>,
    /// Fewest units in one purchase
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub quantity_min: Option<String>,
    /// How much longer in all the shop may extend a hold, as in 10m; 0: not at all
    #[arg(long, value_name = "DURATION")]
    pub extend: Option<String>,
    /// Most reservations ever made, those from before included; 0: no bound; default: the sale ends when
    /// 1,000,000 have come back, or 100 per unit if that is more
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub reservations: Option<String>,
    /// Most reservations ever made for one user, those from before included; 0: no bound
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub reservations_per_user: Option<String>,
}

/// What to do with a reservation.
#[derive(Subcommand)]
pub enum ReservationAction {
    /// Show a reservation as it stands
    Show {
        /// The reservation, SALE~…
        id: String,
    },
    /// Confirm a reservation: it is paid
    Confirm {
        /// The reservation, SALE~…
        id: String,
    },
    /// Hold a reservation for longer, while its buyer pays
    ///
    /// Never for less than it is held already, and no longer in all than the sale allows.
    Extend {
        /// The reservation, SALE~…
        id: String,
        /// For how long from now, as in 30s or 5m [default: the sale's hold time]
        #[arg(long, value_name = "DURATION")]
        hold: Option<String>,
    },
    /// Cancel a reservation that is held: its units are for sale again
    Cancel {
        /// The reservation, SALE~…
        id: String,
        /// Only a part of it: so many units remain
        ///
        /// In a sale with ticket types so many of each, as in adult:1+child:2. If it has as many or fewer
        /// already, nothing changes.
        #[arg(long, value_name = "N|TYPE:N+…", allow_negative_numbers = true)]
        remaining: Option<String>,
    },
    /// Refund a reservation that is confirmed: its units are for sale again
    ///
    /// There is no way back. The money is the shop's to return. To refund again changes nothing.
    Refund {
        /// The reservation, SALE~…
        id: String,
        /// Only a part of it: so many units remain
        ///
        /// In a sale with ticket types so many of each, as in adult:1+child:2. If it has as many or fewer
        /// already, nothing changes.
        #[arg(long, value_name = "N|TYPE:N+…", allow_negative_numbers = true)]
        remaining: Option<String>,
    },
}

/// Where to, and how to print. It can hold a password (in the ledger's URL), so there is no `Debug`.
#[derive(Args, Default)]
pub struct OperatorOptions {
    /// Control port of the server to ask [default: http://127.0.0.1:3006]
    #[arg(long, value_name = "URL", global = true, help_heading = "Where", conflicts_with_all = ["ledger", "direct"])]
    pub control: Option<String>,

    /// File with the control port's token, if it wants one
    ///
    /// Or set STAMPEDE_CONTROL_TOKEN.
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where")]
    pub token_file: Option<String>,

    /// Ask no server, but go straight to this ledger
    ///
    /// redis://… at any time; embedded:DIR only while no server uses the folder.
    #[arg(long, value_name = "URL", global = true, help_heading = "Where")]
    pub ledger: Option<String>,

    /// Ask no server, but go straight to the ledger of the settings
    ///
    /// Those of --config and the environment, as serve would take them. So a password need not
    /// stand on the command line.
    #[arg(long, global = true, help_heading = "Where")]
    pub direct: bool,

    /// Configuration file for --ledger and --direct
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where")]
    pub config: Option<String>,

    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  What sells?
      stampede sale list
  Two sales, one of them from tomorrow on:
      stampede sale create ticket=10000,hold=5m poster=500,opens=2030-01-01T10:00:00+08:00
  A hundred tickets, at most 60 of them for adults and 50 for children:
      stampede sale create fair=100,types=adult:60+child:50
  A hundred more, at once for sale on every server:
      stampede sale add-stock ticket 100
  An hour more, held for a minute, at most four in one purchase:
      stampede sale change ticket --closes-at 2030-01-01T12:00:00+08:00 --hold 1m --quantity-max 4
  A hundred back for the box office, or as many as are left:
      stampede sale take-stock ticket 100 --at-most
  All of it once more, after a test run, on a server and in Redis:
      stampede sale reset ticket --force
      stampede sale reset ticket --total 10000 --force --ledger redis://127.0.0.1:6379
  On a server elsewhere:
      stampede sale list --control http://10.0.0.7:3006 --token-file /etc/stampede/token
  In Redis, without a server:
      stampede sale show ticket --ledger redis://127.0.0.1:6379

Exit codes:
  0  done
  1  failure: no server answers, or it can't be done; the message says why
  2  usage: an option or a value is wrong";

const AFTER_RESERVATION_HELP: &str = "\
Examples:
  Who has it, until when, and is it paid for?
      stampede reservation show ticket~0029vvg3r4fv5e9depdxtq4mv5
  It is paid for:
      stampede reservation confirm ticket~0029vvg3r4fv5e9depdxtq4mv5
  It is given back, and for sale again:
      stampede reservation cancel ticket~0029vvg3r4fv5e9depdxtq4mv5
  Of a sale with ticket types, two adults and a child remain:
      stampede reservation cancel fair~0029vvg3r4fv5e9depdxtq4mv5 --remaining adult:2+child:1
  It was paid, and is paid back:
      stampede reservation refund ticket~0029vvg3r4fv5e9depdxtq4mv5
  On a server elsewhere:
      stampede reservation show ticket~0029vvg3r4fv5e9depdxtq4mv5 \\
          --control http://10.0.0.7:3006 --token-file /etc/stampede/token

Exit codes:
  0  done
  1  failure: no server answers, there is no such reservation, or it can't be done any more
  2  usage: an option or a value is wrong";

pub(super) const AFTER_INSTANCES_HELP: &str = "\
Examples:
  Who sells?
      stampede instances
  As one of the servers on another machine knows it:
      stampede instances --control http://10.0.0.7:3006 --token-file /etc/stampede/token
  As Redis knows it, without a server:
      stampede instances --ledger redis://127.0.0.1:6379

Exit codes:
  0  done
  1  failure: no server answers, or the ledger does not
  2  usage: an option is wrong";
