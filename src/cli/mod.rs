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
mod demo;
mod generate;
mod man;
mod transfer;
mod operator;
mod orders;
mod serve;
mod webhooks;
mod token;

use clap::{CommandFactory, Parser, Subcommand};

pub use admission::AdmissionOptions;
pub use audit::AuditOptions;
pub use callers::CallerOptions;
pub use demo::DemoOptions;
pub use generate::{CompletionsOptions, ManOptions};
pub use man::ManPage;
pub use operator::{OperatorOptions, ReservationAction, SaleAction, TermsOptions};
pub use orders::OrdersOptions;
pub use serve::ServeOptions;
pub use token::{TokenAction, TokenOptions};
pub use transfer::{BackupOptions, MoveOptions, RestoreOptions};
pub use webhooks::WebhookFiles;

use operator::{ReservationCommand, SaleCommand};
use serve::AFTER_LONG_HELP;
use token::TokenCommand;

/// The command line of `stampede`.
#[derive(Parser)]
#[command(
    name = "stampede",
    version,
    about = "A flash-sale reservation server that never sells more than it has",
    long_about = "A flash-sale reservation server. A million people ask for ten thousand tickets in the same \
                  second: stampede sells exactly ten thousand, rejects everybody else at once, and loses no \
                  acknowledged reservation.\n\n\
                  Without a command, stampede runs `serve`. Without any option, serve sells 10000 units of a \
                  sale `ticket` from an embedded ledger in ./stampede-data, on port 3005.",
    after_help = "See `stampede --help` for a description of each option, the configuration file and examples.",
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
    /// Run the server (the default: the word may be left out)
    #[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
    Serve(Box<ServeOptions>),
    /// Check every setting, print them all with their sources, and exit
    ///
    /// Prints the effective configuration in the format of the configuration file. A comment on
    /// each line gives the source of the value: flag, environment, file or default. Passwords are
    /// masked. The exit code is 0, or 2 with a list of all errors.
    #[command(after_long_help = AFTER_LONG_HELP, max_term_width = 100)]
    CheckConfig(Box<ServeOptions>),
    /// Demonstrate stampede: a sale, a crowd, a live page and a page for buyers
    Demo(Box<DemoOptions>),
    /// Write an order per reservation from Redis to a database, or send webhooks
    ///
    /// Reads the streams of the sales as a worker of a consumer group. Keeps one row per
    /// reservation, with its latest status, in the table `orders`. Several workers share the work,
    /// and take over the entries of a worker that died. A change stays in the stream until it is in
    /// the database, so nothing is lost while Redis or the database is unreachable.
    ///
    /// With --to https://…, the command sends each change of a reservation as a signed webhook, in
    /// order, at least once, and retries for more than three days.
    #[command(after_long_help = orders::AFTER_LONG_HELP, max_term_width = 100)]
    Orders(Box<OrdersOptions>),
    /// Create, open, close, change, show, list, archive and remove sales
    Sale(Box<SaleCommand>),
    /// Show, confirm, extend, cancel and refund reservations
    Reservation(Box<ReservationCommand>),
    /// List the servers that share a ledger
    ///
    /// Each server has a lease in Redis, which lasts 5s and is renewed every 1s. A server that
    /// stops leaves the list at once. A server that dies leaves it when its lease expires. Selling
    /// does not depend on leases. An embedded ledger has one server, which lists itself.
    #[command(after_long_help = operator::AFTER_INSTANCES_HELP, max_term_width = 100)]
    Instances(Box<OperatorOptions>),
    /// Compare counts, reservations, order stream and orders, and repair differences
    ///
    /// Prints a table of the comparisons. The audit is exact while sales are open, and stops none
    /// of them.
    Audit(Box<AuditOptions>),
    /// Back up an embedded ledger while a server sells from it
    Backup(Box<BackupOptions>),
    /// Restore an embedded ledger from a backup
    Restore(Box<RestoreOptions>),
    /// Move closed sales from an embedded ledger to Redis
    Move(Box<MoveOptions>),
    /// Create a token that lets a user buy, or a key for tokens
    Token(Box<TokenCommand>),
    /// Print the completions of this command line for a shell
    Completions(CompletionsOptions),
    /// Write the man pages to a folder
    Man(ManOptions),
}

/// What the command line asks for.
pub enum Command {
    /// Serve until told to stop.
    Serve(Box<ServeOptions>),
    /// Check the configuration and show it.
    CheckConfig(Box<ServeOptions>),
    /// Show what this is.
    Demo(Box<DemoOptions>),
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
    /// Print the completions for a shell.
    Completions(CompletionsOptions),
    /// Write the man pages.
    Man(ManOptions),
}

/// The script that completes the command line in a shell.
pub fn completions(shell: clap_complete::Shell) -> Vec<u8> {
    generate::completions(&mut Cli::command(), shell)
}

/// The man pages of the program and of each of its commands.
pub fn man_pages() -> Vec<ManPage> {
    man::man_pages(Cli::command())
}

impl Cli {
    /// What is asked for, with `serve` filled in where no command is named.
    pub fn into_command(self) -> Command {
        match self.command {
            Some(CliCommand::Serve(options)) => Command::Serve(options),
            Some(CliCommand::CheckConfig(options)) => Command::CheckConfig(options),
            Some(CliCommand::Demo(options)) => Command::Demo(options),
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
            Some(CliCommand::Completions(options)) => Command::Completions(options),
            Some(CliCommand::Man(options)) => Command::Man(options),
            None => Command::Serve(Box::new(self.options)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CONTROL_DEFAULT, SETTINGS};
    use crate::duration::format_duration;
    use crate::limits;

    #[test]
    fn the_command_is_valid_and_every_flag_is_a_setting() {
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
    fn the_help_states_the_actual_defaults_and_bounds() {
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
        let lease = format!(
            "lasts {} and is renewed every {}",
            format_duration(limits::LEASE_MS),
            format_duration(limits::LEASE_RENEW_INTERVAL_MS)
        );
        assert!(instances.to_string().contains(&lease), "{lease}");
    }
}
