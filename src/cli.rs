//! The command line: which options there are and what `--help` says about them.
//!
//! Every value is taken as text and judged by [`crate::config`], so that a flag, an environment
//! variable and the configuration file are held to the same rules and answered in the same words.
//! What clap itself can judge (an option that doesn't exist, one without its value) ends with
//! exit code 2, as do the errors of the configuration.
//!
//! Architecture invariant: no default and no bound stands here as a number of its own; help texts
//! that name one are held to `limits.rs` by a test.

mod orders;

use clap::{Args, Parser, Subcommand};

pub use orders::{OrdersCommand, OrdersOptions};

/// The command line of `stampede`.
#[derive(Parser)]
#[command(
    name = "stampede",
    version,
    about = "A flash-sale reservation server: sells exactly what there is, and tells everyone else at once",
    long_about = "A flash-sale reservation server. A million people ask for ten thousand tickets in the same \
                  second: it sells exactly ten thousand, tells everyone else the truth at once and loses nothing.\n\n\
                  Without a command it serves. Without any option it serves a sale `ticket` of 10000 from an \
                  embedded ledger in ./stampede-data, on port 3005.",
    after_help = "See `stampede --help` for what each option does, the configuration file and examples.",
    after_long_help = AFTER_LONG_HELP,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// What to do. `None`: serve, with [`Cli::options`].
    #[command(subcommand)]
    command: Option<CliCommand>,
    /// The options of serve, given without the word.
    #[command(flatten)]
    options: ServeOptions,
}

/// The commands as they stand on the command line.
#[derive(Subcommand)]
enum CliCommand {
    /// Serve (the default: the word may be left out)
    #[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
    Serve(Box<ServeOptions>),
    /// Check every setting as serve would, print them all with where each comes from, and exit
    ///
    /// Prints the effective configuration in the format of the configuration file, a comment on
    /// each line saying where the value comes from: flag, environment, file or default. Passwords
    /// are not shown. Exit code 0; or 2 with every error found.
    #[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
    CheckConfig(Box<ServeOptions>),
    /// Write an order for each reservation in a Redis to a database, as long as it runs
    ///
    /// Reads the sales' streams as a worker of a consumer group and keeps one row a reservation,
    /// with its latest status, in the table `orders`. As many workers as you like: they share the
    /// work, and take over that of one that dies. What is not yet in the database is not yet taken
    /// off the stream, so nothing is lost while either of the two is away.
    #[command(after_long_help = orders::AFTER_LONG_HELP, max_term_width = 100)]
    Orders(Box<OrdersOptions>),
}

/// What the command line asks for.
pub enum Command {
    /// Serve until told to stop.
    Serve(Box<ServeOptions>),
    /// Check the configuration and show it.
    CheckConfig(Box<ServeOptions>),
    /// Write orders from a Redis to a database.
    Orders(Box<OrdersOptions>),
}

impl Cli {
    /// What is asked for, with `serve` filled in where no command is named.
    pub fn into_command(self) -> Command {
        match self.command {
            Some(CliCommand::Serve(options)) => Command::Serve(options),
            Some(CliCommand::CheckConfig(options)) => Command::CheckConfig(options),
            Some(CliCommand::Orders(options)) => Command::Orders(options),
            None => Command::Serve(Box::new(self.options)),
        }
    }
}

/// The options of serve and check-config, unjudged. It can hold a password (in the ledger's URL),
/// so there is no `Debug`.
#[derive(Args, Default)]
#[command(next_line_help = true)]
pub struct ServeOptions {
    /// Read settings from this TOML file
    ///
    /// Flags and the environment take precedence over it. A name in it that is not a setting is
    /// an error.
    #[arg(long, value_name = "FILE")]
    pub config: Option<String>,

    /// Serve buyers on this address (repeatable) [default: 0.0.0.0:3005]
    ///
    /// HOST:PORT, where HOST is an IPv4 address, an IPv6 address in brackets (`[::]:3005`) or a
    /// name; a name with several addresses listens on each that this machine has. Port 0 takes
    /// a free one.
    #[arg(long, value_name = "ADDR", help_heading = "Network")]
    pub listen: Vec<String>,

    /// Run one worker on each of these processor cores, e.g. 0-3,6 [default: all it may use]
    ///
    /// The default is the affinity mask that the process was started with, so `taskset`, a
    /// container's cpuset and systemd's CPUAffinity are kept to.
    #[arg(long, value_name = "LIST", help_heading = "Network")]
    pub cores: Option<String>,

    /// Most connections at a time [default: from the file limit]
    ///
    /// Beyond it a new connection is answered with 503 and closed. The default is the hard limit
    /// on open files, less a reserve for the server itself.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "Network")]
    pub connections_max: Option<String>,

    /// Where stock and reservations are kept [default: embedded:./stampede-data]
    ///
    /// embedded:DIR keeps them in a folder of this machine, for one instance. redis://… and
    /// rediss://… (TLS), as in redis://user:password@host:6379/0, share them between instances.
    /// To keep a password from other users of the machine, who can see the command line, set it
    /// by the environment or the file.
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub ledger: Option<String>,

    /// Trust the certificate authorities in this PEM file for rediss:// [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub redis_ca: Option<String>,

    /// Key of the hash with a sale's counters in Redis [default: {sale}_hash_key]
    ///
    /// {sale} stands for the sale's id, and must occur.
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_counters_key: Option<String>,

    /// Field of that hash with the sale's total [default: {sale}_total_nums]
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_total_field: Option<String>,

    /// Field of that hash with the number sold, held or confirmed [default: {sale}_sold_nums]
    #[arg(long, value_name = "NAME", help_heading = "Ledger")]
    pub redis_sold_field: Option<String>,

    /// Write an order for each reservation to this database [default: none]
    ///
    /// Only with an embedded ledger; with a Redis, run `stampede orders`. sqlite:FILE, or
    /// postgres://user:password@host:5432/database, with ?sslmode=require for TLS.
    #[arg(long, value_name = "URL", help_heading = "Ledger")]
    pub orders: Option<String>,

    /// Create this sale if it is missing (repeatable) [default: ticket=10000 if embedded]
    ///
    /// ID=TOTAL, and as needed: hold=30s, how long a reservation is held for payment (5m if not
    /// given); limit=1, units that one user may have (0, no limit); quantity=4, most units in one
    /// reservation (10); opens= and closes=, times such as 2030-01-01T10:00:00+08:00. A sale that
    /// exists is never changed.
    #[arg(
        long,
        value_name = "ID=TOTAL[,hold=30s][,limit=1][,quantity=4][,opens=TIME][,closes=TIME]",
        help_heading = "Sales"
    )]
    pub sale: Vec<String>,

    /// Sell at most this many from this instance, or `auto` [default: auto]
    ///
    /// N is the instance's local stock, its buffer included: it asks the ledger for no more than
    /// that, of each sale. auto sizes it by what is left and tops it up, so that nothing is
    /// refused while the ledger has stock.
    #[arg(long, value_name = "auto|N", allow_negative_numbers = true, help_heading = "Sales")]
    pub stock: Option<String>,

    /// Append a line for each purchase attempt to this file [default: none]
    ///
    /// `result:1,localSales:N` if it was granted, `result:0,localSales:N` if not; N is what this
    /// instance has granted so far. Rotate it by copy and truncate. If the disk can't keep up,
    /// lines are dropped and counted; purchases never wait for it.
    #[arg(long, value_name = "FILE", help_heading = "Logs")]
    pub stat_log: Option<String>,

    /// How much to log to standard error [default: info]
    ///
    /// error, warn, info, debug, trace or off; or a filter such as info,stampede::ledger=debug.
    #[arg(long, value_name = "LEVEL", help_heading = "Logs")]
    pub log: Option<String>,

    /// How to log: text or json, one object a line [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    pub log_format: Option<String>,

    /// Longest time to finish what is under way when told to stop [default: 30s]
    ///
    /// 0s to 1h. Durations are a whole number and a unit: 500ms, 30s, 5m, 2h, 1d.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub drain_timeout: Option<String>,

    /// Close a connection that is silent between requests for this long [default: 75s]
    ///
    /// 500ms to 1h, as for the next three.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub idle_timeout: Option<String>,

    /// Answer 408 if a request's head is not there after this time [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub head_timeout: Option<String>,

    /// Answer 408 if a request's body is not there after this time [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub body_timeout: Option<String>,

    /// Close a connection whose client takes no answer for this long [default: 10s]
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub write_timeout: Option<String>,

    /// Answer `unknown` if the ledger has not answered after this time [default: 2s]
    ///
    /// 100ms to 1m. Whether the purchase was made, the same idempotency key finds out.
    #[arg(
        long,
        value_name = "TIME",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub ledger_timeout: Option<String>,

    /// Purchases of one core that may wait for the ledger [default: 4096]
    ///
    /// 1 to 65536. Beyond it the answer is 503 `busy`.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        help_heading = "Deadlines and bounds"
    )]
    pub waiting_max: Option<String>,
}

impl ServeOptions {
    /// The values given for a setting, by its name; none if the flag isn't there.
    pub fn given(&self, name: &str) -> Vec<&str> {
        let one = match name {
            "listen" => return self.listen.iter().map(String::as_str).collect(),
            "sale" => return self.sale.iter().map(String::as_str).collect(),
            "config" => &self.config,
            "cores" => &self.cores,
            "connections-max" => &self.connections_max,
            "ledger" => &self.ledger,
            "redis-ca" => &self.redis_ca,
            "redis-counters-key" => &self.redis_counters_key,
            "redis-total-field" => &self.redis_total_field,
            "redis-sold-field" => &self.redis_sold_field,
            "orders" => &self.orders,
            "stock" => &self.stock,
            "stat-log" => &self.stat_log,
            "log" => &self.log,
            "log-format" => &self.log_format,
            "drain-timeout" => &self.drain_timeout,
            "idle-timeout" => &self.idle_timeout,
            "head-timeout" => &self.head_timeout,
            "body-timeout" => &self.body_timeout,
            "write-timeout" => &self.write_timeout,
            "ledger-timeout" => &self.ledger_timeout,
            "waiting-max" => &self.waiting_max,
            _ => unreachable!("{name} is not a setting"),
        };
        one.as_deref().into_iter().collect()
    }
}

const AFTER_LONG_HELP: &str = "\
Settings:
  Each option can also be set by the environment and by the file of --config. A flag goes before
  the environment, the environment before the file, the file before the default; a list is
  replaced as a whole, never merged.

  Environment: STAMPEDE_ and the option's name, as in STAMPEDE_LISTEN or STAMPEDE_IDLE_TIMEOUT.
  Several addresses are separated by commas, several sales by semicolons:
      STAMPEDE_LISTEN='0.0.0.0:3005,[::1]:3006'
      STAMPEDE_SALE='ticket=10000,hold=30s;poster=500'

  File: TOML, with the options' names:
      listen = [\"0.0.0.0:3005\"]
      ledger = \"redis://127.0.0.1:6379\"
      idle-timeout = \"75s\"

      [[sale]]
      id = \"ticket\"
      total = 10000
      hold = \"30s\"
      opens = 2030-01-01T10:00:00+08:00

Examples:
  Sell 10000 tickets from a folder on this machine, with every default:
      stampede
  Sell 500, one a user, paid within ten minutes:
      stampede --sale poster=500,limit=1,hold=10m
  One of several instances that share a Redis, on four cores:
      stampede --cores 0-3 --ledger redis://10.0.0.5:6379 --sale ticket=10000
  See what would be used, and from where:
      stampede check-config --config /etc/stampede.toml

Exit codes:
  0  success, a drain that was asked for included
  1  failure: it could not start or go on
  2  usage: an option or a setting is wrong; the message says which, and what would be right";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::{SETTINGS, format_duration};
    use crate::limits;

    #[test]
    fn the_command_is_sound_and_every_flag_is_a_setting() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut flags: Vec<String> = command
            .get_arguments()
            .filter_map(|a| a.get_long())
            .map(str::to_owned)
            .filter(|name| name != "help" && name != "version")
            .collect();
        let mut settings: Vec<String> = SETTINGS.iter().map(|s| s.name.to_owned()).collect();
        flags.sort();
        settings.sort();
        assert_eq!(flags, settings);
        for name in &settings {
            assert!(ServeOptions::default().given(name).is_empty());
        }
    }

    #[test]
    fn the_help_tells_the_defaults_and_bounds_that_hold() {
        let mut command = Cli::command();
        let help = command.render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let option = |name: &str| {
            let from = help.find(&format!(" --{name} <")).expect(name);
            help[from..].split("]").find(|part| part.contains("[default:")).unwrap().to_owned()
        };
        for (name, default_ms) in [
            ("drain-timeout", limits::DRAIN_DEADLINE_MS),
            ("idle-timeout", limits::IDLE_DEADLINE_MS),
            ("head-timeout", limits::HEAD_DEADLINE_MS),
            ("body-timeout", limits::BODY_DEADLINE_MS),
            ("write-timeout", limits::WRITE_STALL_DEADLINE_MS),
            ("ledger-timeout", limits::LEDGER_ANSWER_DEADLINE_MS),
        ] {
            let text = option(name);
            let default = format_duration(default_ms);
            assert!(text.ends_with(&format!("[default: {default}")), "{name}: {text}");
        }
        let range = |low, high| format!("{} to {}", format_duration(low), format_duration(high));
        for told in [
            range(limits::CONNECTION_DEADLINE_MS_MIN, limits::CONNECTION_DEADLINE_MS_MAX),
            range(limits::LEDGER_DEADLINE_MS_MIN, limits::LEDGER_DEADLINE_MS_MAX),
            format!("0s to {}", format_duration(limits::DRAIN_DEADLINE_MS_MAX)),
            format!("1 to {}", limits::WAITING_SETTING_MAX),
            format!("[default: {}]", limits::WAITING_MAX),
            format!("({} if not given)", format_duration(limits::HOLD_MS_DEFAULT)),
            format!("reservation ({})", limits::QUANTITY_MAX_DEFAULT),
        ] {
            assert!(help.contains(&told), "{told}");
        }
    }
}
