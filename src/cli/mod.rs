//! The command line: which options there are and what `--help` says about them.
//!
//! Every value is taken as text and judged by [`crate::config`], so that a flag, an environment
//! variable and the configuration file are held to the same rules and answered in the same words.
//! What clap itself can judge (an option that doesn't exist, one without its value) ends with
//! exit code 2, as do the errors of the configuration.
//!
//! Architecture invariant: no default and no bound stands here as a number of its own; help texts
//! that name one are held to `limits.rs` by a test.

mod admission;
mod callers;
mod audit;
mod moving;
mod operator;
mod orders;
mod serve;
mod webhooks;
mod token;

use clap::{Parser, Subcommand};

pub use admission::AdmissionOptions;
pub use audit::AuditOptions;
pub use callers::CallerOptions;
pub use moving::{BackupOptions, MoveOptions, RestoreOptions};
pub use operator::{OperatorOptions, ReservationAction, SaleAction, TermsOptions};
pub use orders::OrdersOptions;
pub use serve::ServeOptions;
pub use token::{TokenAction, TokenOptions};
pub use webhooks::WebhookFiles;

use operator::{ReservationCommand, SaleCommand};
use serve::AFTER_LONG_HELP;
use token::TokenCommand;

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
    /// Write an order for each reservation in a Redis to a database, or send webhooks, as long as it runs
    ///
    /// Reads the sales' streams as a worker of a consumer group and keeps one row per reservation,
    /// with its latest status, in the table `orders`. As many workers as you like: they share the
    /// work, and take over that of one that dies. What is not yet in the database is not yet taken
    /// off the stream, so nothing is lost while either of the two is away.
    ///
    /// With --to https://… it sends each change of a reservation as a signed webhook, in order, at
    /// least once, for more than three days if need be.
    #[command(after_long_help = orders::AFTER_LONG_HELP, max_term_width = 100)]
    Orders(Box<OrdersOptions>),
    /// Create, open, close, show, list, archive and remove sales, and add stock to them
    Sale(Box<SaleCommand>),
    /// Show, confirm and cancel reservations
    Reservation(Box<ReservationCommand>),
    /// Show the servers that share a ledger
    ///
    /// Each has a lease in Redis, good for 5s and renewed every 1s: one that vanishes is gone from
    /// the list when its lease is over, one that is stopped at once. Nothing of the stock
    /// waits for either. An embedded ledger has one server, the one that is asked.
    #[command(after_long_help = operator::AFTER_INSTANCES_HELP, max_term_width = 100)]
    Instances(Box<OperatorOptions>),
    /// Compare counts, reservations, the order stream and the orders, and repair what differs
    ///
    /// Prints a table of what was compared. Exact while the sales go on, and stops none of them.
    Audit(Box<AuditOptions>),
    /// Copy an embedded ledger as it stands at one record, while a server sells from it
    Backup(Box<BackupOptions>),
    /// Make a ledger of a backup, in a folder that has none
    Restore(Box<RestoreOptions>),
    /// Move closed sales from an embedded ledger to a Redis
    Move(Box<MoveOptions>),
    /// Mint a token with which a user may buy, or make a key for tokens
    Token(Box<TokenCommand>),
}

/// What the command line asks for.
pub enum Command {
    /// Serve until told to stop.
    Serve(Box<ServeOptions>),
    /// Check the configuration and show it.
    CheckConfig(Box<ServeOptions>),
    /// Write orders from a Redis to a database.
    Orders(Box<OrdersOptions>),
    /// Do something with sales.
    Sale(SaleAction, Box<OperatorOptions>),
    /// Do something with a reservation.
    Reservation(ReservationAction, Box<OperatorOptions>),
    /// Show the servers that share a ledger.
    Instances(Box<OperatorOptions>),
    /// Compare what must agree.
    Audit(Box<AuditOptions>),
    /// Copy a ledger.
    Backup(Box<BackupOptions>),
    /// Make a ledger of a copy.
    Restore(Box<RestoreOptions>),
    /// Move sales to another ledger.
    Move(Box<MoveOptions>),
    /// Mint a token.
    Token(Box<TokenOptions>),
    /// Do something about the keys of tokens.
    TokenKeys(TokenAction),
}

impl Cli {
    /// What is asked for, with `serve` filled in where no command is named.
    pub fn into_command(self) -> Command {
        match self.command {
            Some(CliCommand::Serve(options)) => Command::Serve(options),
            Some(CliCommand::CheckConfig(options)) => Command::CheckConfig(options),
            Some(CliCommand::Orders(options)) => Command::Orders(options),
            Some(CliCommand::Sale(command)) => {
                Command::Sale(command.action, Box::new(command.options))
            }
            Some(CliCommand::Reservation(command)) => {
                Command::Reservation(command.action, Box::new(command.options))
            }
            Some(CliCommand::Instances(options)) => Command::Instances(options),
            Some(CliCommand::Audit(options)) => Command::Audit(options),
            Some(CliCommand::Backup(options)) => Command::Backup(options),
            Some(CliCommand::Restore(options)) => Command::Restore(options),
            Some(CliCommand::Move(options)) => Command::Move(options),
            Some(CliCommand::Token(command)) => match command.keys {
                Some(action) => Command::TokenKeys(action),
                None => Command::Token(Box::new(command.options)),
            },
            None => Command::Serve(Box::new(self.options)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::{CONTROL_DEFAULT, SETTINGS};
    use crate::duration::format_duration;
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
        let mut settings: Vec<String> =
            SETTINGS.iter().filter(|s| !s.secret).map(|s| s.name.to_owned()).collect();
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
            ("drain-delay", limits::DRAIN_DELAY_MS),
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
            format!("0s to {}", format_duration(limits::DRAIN_DELAY_MS_MAX)),
            format!("0s to {}", format_duration(limits::DRAIN_DEADLINE_MS_MAX)),
            format!("1 to {}; each", limits::CONNECTIONS_MAX),
            format!("[default: {}%]", limits::STOCK_BUFFER_PERCENT),
            format!("0% to {}%", limits::STOCK_BUFFER_PERCENT_MAX),
            format!("[default: {CONTROL_DEFAULT}]"),
            format!("{} to {}", limits::CONTROL_TOKEN_BYTES_MIN, limits::CONTROL_TOKEN_BYTES_MAX),
            format!("({} if not given)", format_duration(limits::HOLD_MS_DEFAULT)),
            format!("reservation ({})", limits::QUANTITY_MAX_DEFAULT),
        ] {
            assert!(help.contains(&told), "{told}");
        }
        let instances = command.find_subcommand_mut("instances").unwrap().render_long_help();
        let (good, renewed) = (limits::LEASE_MS, limits::LEASE_RENEW_INTERVAL_MS);
        let told = format!(
            "good for {} and renewed every {}",
            format_duration(good),
            format_duration(renewed)
        );
        assert!(instances.to_string().contains(&told), "{told}");
    }
}
