//! The `stampede` program: parses the command line, runs the command and prints its result. The only
//! module that prints.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use stampede::cli::{Cli, Command, DemoOptions, OrdersOptions, ServeOptions};
use stampede::clock::{rfc3339, wall_ms};
use stampede::config::{
    Config, ConfigError, DeadLettersAction, LedgerAction, Listen, OrdersAction, OrdersCommand,
    RedisSetting, avoid_stalls, local_address, raise_file_limit,
};
use stampede::demo::{Demo, DemoError};
use stampede::handler::BUY_SALE;
use stampede::limits::LAST_WORDS_MS;
use stampede::logging::{self, LogFormat};
use stampede::operator::{self, Failure};
use stampede::orders::webhooks::{self, LettersError};
use stampede::orders::{self, OrdersError};
use stampede::output::Detached;
use stampede::sale::{SaleId, SaleState, SaleView};
use stampede::server::{self, Predecessor, Ready, SaleStart};
use stampede::signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a failure that is no usage error.
const FAILURE: u8 = 1;
/// Exit code of a wrong option or setting. clap uses the same.
const USAGE: u8 = 2;
/// Exit code of an audit that could not be carried out.
const AUDIT_INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| explain(&error));
    match cli.into_command() {
        Command::Serve(options) => serve(options),
        Command::CheckConfig(options) => check_config(&options),
        Command::Demo(options) => demo(&options),
        Command::Orders(options) => write_orders(&options),
        Command::Audit(options) => operate(|out| operator::audit(*options, out)),
        Command::Backup(options) => operate(|out| operator::backup(&options, out)),
        Command::Restore(options) => operate(|out| operator::restore(&options, out)),
        Command::Move(options) => operate(|out| operator::move_sales(&options, out)),
        Command::Token(options) => operate(|out| operator::token(&options, out)),
        Command::TokenKeys(action) => operate(|out| operator::token_keys(&action, out)),
        Command::Instances(options) => operate(|out| operator::instances(&options, out)),
        Command::Completions(options) => operate(|out| operator::completions(&options, out)),
        Command::Man(options) => operate(|out| operator::man(&options, out)),
        Command::Sale(action, options) => operate(|out| operator::sale(&action, &options, out)),
        Command::Reservation(action, options) => {
            operate(|out| operator::reservation(&action, &options, out))
        }
    }
}

/// Prints the help, the version or the error of clap, and exits.
fn explain(error: &clap::Error) -> ! {
    if error.use_stderr() {
        let text = error.render();
        let colours = logging::has_colours();
        let mut text = if colours { text.ansi().to_string() } else { text.to_string() };
        // `stampede ticket=100` looks like a command to clap.
        if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
            && word.contains('=')
        {
            text += &format!("\n  tip: to sell, write '--sale {word}'\n");
        }
        logging::end(USAGE, &text)
    }
    error.exit()
}

fn serve(options: Box<ServeOptions>) -> ExitCode {
    let config = Config::load(&options).unwrap_or_else(|error| usage(&error));
    start_logging(&config);
    let predecessor = Predecessor::find().unwrap_or_else(|error| failure(&error));
    let hang_ups = prepare_process(&config);
    let mut printed = None;
    let read = Box::new(move || Config::load(&options));
    let startup = server::Startup { read, hang_ups, predecessor, storefront: None };
    let ended = server::run(config, startup, |config, ready| {
        let text = announcement(config, ready);
        // Standard output may be closed, or nobody may read it. The server sells all the same.
        printed = Some(Detached::start(move || _ = io::stdout().lock().write_all(text.as_bytes())));
    });
    if let Some(printed) = printed {
        printed.wait(Duration::from_millis(LAST_WORDS_MS));
    }
    match ended {
        Ok(()) => logging::end(0, ""),
        Err(error) => failure(&error),
    }
}

fn start_logging(config: &Config) {
    logging::start(&config.log_filter, config.log_format).unwrap_or_else(|error| failure(&error));
    for warning in &config.warnings {
        tracing::warn!(%warning, "configuration needs attention");
    }
}

/// Sets up signals and limits for a server. Returns the receiver of SIGHUP.
fn prepare_process(config: &Config) -> Receiver<()> {
    let (hang_up, hang_ups) = channel();
    signals::at_hang_up(move || _ = hang_up.send(()));
    signals::ignore_others().unwrap_or_else(|error| failure(&error));
    if let Err(error) = raise_file_limit() {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
    if let Err(error) = avoid_stalls(config.connections_max) {
        tracing::warn!(%error, "cores may stall while many connections arrive");
    }
    hang_ups
}

fn demo(options: &DemoOptions) -> ExitCode {
    let demo = Demo::prepare(options).unwrap_or_else(|error| end_demo(&error));
    start_logging(demo.config());
    let hang_ups = prepare_process(demo.config());
    // As with `serve`, another thread writes to stdout: nobody may read it.
    match demo.run(hang_ups, Box::new(io::stdout())) {
        Ok(()) => logging::end(0, ""),
        Err(error) => end_demo(&error),
    }
}

fn end_demo(error: &DemoError) -> ! {
    match error {
        DemoError::Usage(error) => usage(error),
        DemoError::NotAudited(_) => end_with(AUDIT_INCOMPLETE, error),
        _ => failure(error),
    }
}

/// The addresses of the server, its sales, and a command that buys a unit.
fn announcement(config: &Config, ready: &Ready) -> String {
    let mut text = format!("stampede {}\n", env!("CARGO_PKG_VERSION"));
    let cores: Vec<String> = config.cores.iter().map(usize::to_string).collect();
    let addresses: Vec<String> = ready
        .addresses
        .iter()
        .map(|listen| match listen {
            Listen::Tcp(address) => format!("http://{address}"),
            Listen::Tls(address) => format!("https://{address}"),
            Listen::Unix(_) => listen.to_string(),
        })
        .collect();
    text += &format!("  listening  {}\n", addresses.join(" "));
    if let Some(address) = ready.control {
        text += &format!("  control    http://{address}\n");
    }
    text += &format!(
        "  cores      {} (up to {} connections)\n",
        cores.join(","),
        ready.connections_max
    );
    text += &format!("  ledger     {}\n", config.ledger);
    if let Some(url) = &config.orders {
        text += &format!("  orders     {url}\n");
    }
    if let Some(reason) = &ready.ledger_away {
        text += &format!("             away: {reason}\n");
    }
    for (id, start) in &ready.sales {
        text += &match start {
            SaleStart::Created(view) => {
                format!("  sale       {id}: {} for sale{}\n", view.free(), conditions(view))
            }
            SaleStart::Existing(view) => {
                let (free, total) = (view.free(), view.spec.total);
                format!("  sale       {id}: {free} of {total} left{}\n", conditions(view))
            }
            SaleStart::Refused(reason) => {
                format!("  sale       {id}: refused, nobody can buy\n             {reason}\n")
            }
            SaleStart::Missing => {
                format!("  sale       {id}: missing; --sale {id}=10000 creates it\n")
            }
        };
        if let SaleStart::Existing(view) = start
            && let Some(difference) = server::difference(config, id, view)
        {
            text += &format!("             {difference}\n");
        }
    }
    let is_tcp = |listen: &&Listen| matches!(listen, Listen::Tcp(_));
    if let Some(listen) = ready.addresses.iter().find(is_tcp).or(ready.addresses.first()) {
        let is_away = ready.ledger_away.is_some();
        text += &how_to_buy(&curl_base(listen), &ready.sales, is_away, config.admission.is_some());
    }
    text
}

/// The conditions of a sale that has units left.
fn conditions(view: &SaleView) -> String {
    let mut conditions = match view.state() {
        SaleState::Scheduled => format!(", opens {}", rfc3339(view.spec.opens_at_ms)),
        SaleState::Open => String::new(),
        SaleState::Closed => ", closed".to_owned(),
    };
    if view.spec.limit_per_user > 0 {
        conditions += &format!(", at most {} per user", view.spec.limit_per_user);
    }
    conditions
}

/// A command that buys a unit as soon as the sale is open. It buys from the sale of `/buy/ticket`, or from
/// the first sale if that one is missing.
fn how_to_buy<'a>(
    base: &str,
    sales: &'a [(SaleId, SaleStart)],
    is_away: bool,
    needs_token: bool,
) -> String {
    let there = |(id, start): &'a (SaleId, SaleStart)| match start {
        SaleStart::Created(view) | SaleStart::Existing(view) => Some((id.as_str(), view)),
        SaleStart::Refused(_) | SaleStart::Missing => None,
    };
    let mut found = sales.iter().filter_map(there);
    let first = found.clone().next();
    let sale = found.find(|(id, _)| *id == BUY_SALE).or(first);
    let when = match sale {
        Some((_, view)) if view.state() == SaleState::Scheduled => {
            format!(", from {} on", rfc3339(view.spec.opens_at_ms))
        }
        Some((_, view)) if view.state() == SaleState::Closed => {
            ", once the sale is open".to_owned()
        }
        None if is_away => ", once the ledger is back".to_owned(),
        None if !sales.is_empty() => ", once a sale is open".to_owned(),
        _ => String::new(),
    };
    let key = match needs_token {
        false => "curl -i -H 'Idempotency-Key: my-first'",
        true => "curl -i -H \"Authorization: Bearer $TOKEN\" -H 'Idempotency-Key: my-first'",
    };
    let command = match sale {
        Some((id, view)) if id != BUY_SALE || !view.spec.types.is_empty() => {
            let user = (!needs_token).then(|| "\"user\":\"ann\"".to_owned());
            let mut types = view.spec.types.iter();
            let lines = types.next().map(|(name, _)| format!("\"lines\":{{\"{name}\":1}}"));
            let body = user.into_iter().chain(lines).collect::<Vec<_>>().join(",");
            let json = format!("-H 'Content-Type: application/json' -d '{{{body}}}'");
            format!("{key} {json} {base}/v1/sales/{id}/reservations")
        }
        Some((_, view)) if view.spec.needs_user() && !needs_token => {
            format!("{key} -H 'X-User-Id: ann' {base}/buy/ticket")
        }
        _ => format!("{key} {base}/buy/ticket"),
    };
    format!("\nbuy one{when}:\n  {command}\n")
}

/// The arguments of curl for this address, up to the path.
fn curl_base(listen: &Listen) -> String {
    let (scheme, address) = match listen {
        Listen::Tcp(address) => ("http", address),
        Listen::Tls(address) => ("https", address),
        Listen::Unix(path) => {
            let path = path.display().to_string().replace('\'', r"'\''");
            return format!("--unix-socket '{path}' http://localhost");
        }
    };
    format!("{scheme}://{}", local_address(*address))
}

fn write_orders(options: &OrdersOptions) -> ExitCode {
    let command = OrdersCommand::load(options).unwrap_or_else(|error| usage(&error));
    logging::start(&command.log_filter, command.log_format).unwrap_or_else(|error| failure(&error));
    signals::ignore_others().unwrap_or_else(|error| failure(&error));
    let out = &mut io::stdout().lock();
    let done = match command.action {
        OrdersAction::DeadLetters(file, action) => change_dead_letters(&file, action, out),
        OrdersAction::Ledger(from, action) => with_streams(&from, action, out),
    };
    match done {
        Ok(()) => logging::end(0, ""),
        Err(error) => failure(&*error),
    }
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn with_streams(from: &RedisSetting, action: LedgerAction, out: &mut dyn Write) -> Done {
    let url = &from.url;
    let ledger = from.ledger().map_err(|why| OrdersError::From(url.to_string(), why))?;
    match action {
        LedgerAction::Work(work) => {
            orders::work(url, ledger, &work.to, &work.stream, work.worker)?;
        }
        LedgerAction::Webhooks(work) => webhooks::deliver(url, ledger, &work.options, work.worker)?,
        LedgerAction::Groups => orders::print_groups(ledger, out)?,
        LedgerAction::DropGroup(name) => orders::end_group(ledger, &name, out)?,
    }
    Ok(())
}

fn change_dead_letters(file: &Path, action: DeadLettersAction, out: &mut dyn Write) -> Done {
    match action {
        DeadLettersAction::List { json } => {
            let mut out = io::BufWriter::new(out);
            match webhooks::list(file, json, &mut out).and_then(|()| Ok(out.flush()?)) {
                // `stampede orders --dead-letters … | head`
                Err(LettersError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
                done => done?,
            }
        }
        DeadLettersAction::Status { json } => webhooks::status(file, json, wall_ms(), out)?,
        DeadLettersAction::Replay(which) => {
            let count = webhooks::replay(file, which, wall_ms())?;
            writeln!(out, "{count} dead letters will be sent again")?;
        }
        DeadLettersAction::Discard(which) => {
            let count = webhooks::discard(file, which)?;
            writeln!(out, "{count} dead letters deleted")?;
        }
    }
    Ok(())
}

fn check_config(options: &ServeOptions) -> ExitCode {
    let config = Config::load(options).unwrap_or_else(|error| usage(&error));
    let printed = io::stdout().lock().write_all(config.to_toml().as_bytes());
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failure(&error),
        _ if config.warnings.is_empty() => ExitCode::SUCCESS,
        _ => {
            let line = |warning: &String| format!("warning: {warning}\n");
            logging::end(0, &config.warnings.iter().map(line).collect::<String>())
        }
    }
}

/// Runs an operator's command with standard output.
///
/// A command has no log: standard error is for messages to its user. Under systemd, standard error is
/// the journal. A command that changes a ledger directly then logs the change as a server does.
fn operate(command: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> ExitCode {
    let logs = LogFormat::of_standard_error() == LogFormat::Journal;
    if logs {
        logging::start("error", LogFormat::Journal).unwrap_or_else(|error| failure(&error));
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = command(&mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) if logs => logging::end(0, ""),
        Ok(()) => ExitCode::SUCCESS,
        // `stampede sale list | head`
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error @ Failure::Usage(_)) => {
            // Print the results before the failure.
            let _ = out.flush();
            usage(&ConfigError { problems: vec![error.to_string()] })
        }
        Err(error) => {
            let _ = out.flush();
            match error {
                Failure::AuditIncomplete(_) => end_with(AUDIT_INCOMPLETE, &error),
                _ => failure(&error),
            }
        }
    }
}

fn usage(error: &ConfigError) -> ! {
    let line = |problem: &String| format!("error: {problem}\n");
    let problems: String = error.problems.iter().map(line).collect();
    logging::end(USAGE, &format!("{problems}\nFor more information, try 'stampede --help'.\n"))
}

fn failure(error: &dyn std::fmt::Display) -> ! {
    end_with(FAILURE, error)
}

fn end_with(code: u8, error: &dyn std::fmt::Display) -> ! {
    logging::end(code, &format!("error: {error}\n"))
}
