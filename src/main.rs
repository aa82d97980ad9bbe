//! The `stampede` program: reads the command line, does what it says and prints what came of it.
//! The only module that prints.

use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use clap::Parser;
use stampede::cli::{Cli, Command, OrdersOptions, ServeOptions};
use stampede::config::{Config, ConfigError, Listen, raise_file_limit};
use stampede::logging;
use stampede::operator::{self, Failure};
use stampede::orders;
use stampede::server::{self, Ready, SaleStart};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code of a failure that is not the command line's or the configuration's.
const FAILURE: u8 = 1;
/// Exit code of a wrong option or setting. clap uses the same.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().into_command() {
        Command::Serve(options) => serve(&options),
        Command::CheckConfig(options) => check_config(&options),
        Command::Orders(options) => write_orders(&options),
        Command::Audit(options) => operate(|out| operator::audit(&options, out)),
        Command::Instances(options) => operate(|out| operator::instances(&options, out)),
        Command::Sale(action, options) => operate(|out| operator::sale(&action, &options, out)),
        Command::Reservation(action, options) => {
            operate(|out| operator::reservation(&action, &options, out))
        }
    }
}

fn serve(options: &ServeOptions) -> ExitCode {
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    if let Err(error) = logging::init(&config.log_filter, config.log_format) {
        return failure(&error);
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    logging::log_panics();
    if let Err(error) = raise_file_limit() {
        tracing::warn!(%error, "the limit on open files can't be raised");
    }
    match server::run(config, announce) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Says that the server listens, what it sells and how to buy one.
fn announce(config: &Config, ready: &Ready) {
    let mut text = format!("stampede {}\n", env!("CARGO_PKG_VERSION"));
    let cores: Vec<String> = config.cores.iter().map(usize::to_string).collect();
    let addresses: Vec<String> = ready
        .addresses
        .iter()
        .map(|listen| match listen {
            Listen::Tcp(address) => format!("http://{address}"),
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
            SaleStart::Created(view) => format!("  sale       {id}: {} for sale\n", view.free()),
            SaleStart::Existing(view) => {
                format!("  sale       {id}: {} of {} left\n", view.free(), view.spec.total)
            }
            SaleStart::Refused(reason) => {
                format!("  sale       {id}: refused, nobody can buy\n             {reason}\n")
            }
            SaleStart::Missing => {
                format!("  sale       {id}: there is none; --sale {id}=10000 makes one\n")
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
        let base = curl_base(listen);
        text += "\nbuy one:\n";
        text += &format!("  curl -i -H 'Idempotency-Key: my-first' {base}/buy/ticket\n");
    }
    // Nobody may be there to read it, which is no reason not to sell.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// What curl must be told to reach it from this machine, up to the path.
fn curl_base(listen: &Listen) -> String {
    let address = match listen {
        Listen::Tcp(address) => address,
        Listen::Unix(path) => {
            let path = path.display().to_string().replace('\'', r"'\''");
            return format!("--unix-socket '{path}' http://localhost");
        }
    };
    let host = match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
        ip if ip.is_unspecified() => "[::1]".to_owned(),
        IpAddr::V6(ip) => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    format!("http://{host}:{}", address.port())
}

fn write_orders(options: &OrdersOptions) -> ExitCode {
    let command = match options.judge() {
        Ok(command) => command,
        Err(problems) => return usage(&ConfigError { problems }),
    };
    if let Err(error) = logging::init(&command.log_filter, command.log_format) {
        return failure(&error);
    }
    logging::log_panics();
    match orders::work(&command.from, &command.to, &command.stream, command.worker) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn check_config(options: &ServeOptions) -> ExitCode {
    let config = match Config::load(options) {
        Ok(config) => config,
        Err(error) => return usage(&error),
    };
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    match io::stdout().lock().write_all(config.to_toml().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Runs an operator's command on the standard output.
fn operate(command: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = command(&mut out).and_then(|()| Ok(out.flush()?));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // `stampede sale list | head`
        Err(Failure::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error @ Failure::Usage(_)) => {
            // What was done before it went wrong has been said.
            let _ = out.flush();
            usage(&ConfigError { problems: vec![error.to_string()] })
        }
        Err(error) => {
            let _ = out.flush();
            failure(&error)
        }
    }
}

fn usage(error: &ConfigError) -> ExitCode {
    for problem in &error.problems {
        eprintln!("error: {problem}");
    }
    eprintln!("\nFor more information, try 'stampede --help'.");
    ExitCode::from(USAGE)
}

fn failure(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(FAILURE)
}
