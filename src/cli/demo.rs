//! The options of `stampede demo`.

use clap::Args;

/// The options of demo, before they are checked.
#[derive(Args, Default)]
#[command(
    long_about = "Shows what this is. Starts a server on this machine with one sale, which opens in 20 seconds, \
                  a crowd that buys, a live page and a page on which you buy.\n\n\
                  The server is the one of `stampede serve`, with an embedded ledger and a database of \
                  orders in a temporary folder. The demonstration takes no settings from the \
                  environment or from a file, and changes nothing but that folder.",
    after_long_help = AFTER_LONG_HELP,
    max_term_width = 100,
    next_line_help = true
)]
pub struct DemoOptions {
    /// Serve the page for buyers on this address [default: 127.0.0.1:3005]
    ///
    /// Port 0 takes a free port.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Network")]
    pub listen: Option<String>,

    /// Serve the live page and the control port on this address [default: 127.0.0.1:3006]
    ///
    /// Always a loopback address: the control port of a demonstration asks for no token.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Network")]
    pub control: Option<String>,

    /// Let --listen be an address that other machines reach
    ///
    /// Everybody who reaches the address can buy, in anybody's name, and pays with the stand-in.
    #[arg(long, help_heading = "Network")]
    pub force_public: bool,

    /// Open the sale after this time [default: 20s]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "The sale")]
    pub opens_in: Option<String>,

    /// Tickets for sale, one per buyer [default: 10000]
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "The sale")]
    pub tickets: Option<String>,

    /// Hold a ticket for this time until it is paid for [default: 30s]
    ///
    /// 1s to 366d. A ticket that nobody pays for in this time is for sale again.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "The sale")]
    pub hold: Option<String>,

    /// Buyers in the crowd [default: 30000]
    ///
    /// 0 to 1000000. With 0 you are alone with the sale.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "The crowd")]
    pub buyers: Option<String>,

    /// Time from the opening until the last buyer of the crowd has come [default: 30s]
    ///
    /// 0s to 1h. A real crowd comes within a second or two. This crowd is slower, so that there is
    /// something to see and you have a fair chance; `--over 1s` is as fast as a real crowd.
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "The crowd")]
    pub over: Option<String>,

    /// Connections that the buyers of the crowd share [default: 32]
    ///
    /// 1 to 256. Each has one request in flight at a time.
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "The crowd")]
    pub connections: Option<String>,

    /// Keep ledger and orders in this folder, which is new or empty [default: removed at the end]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<String>,

    /// End when the sale is over, instead of serving until Ctrl-C
    #[arg(long)]
    pub exit_when_over: bool,

    /// How much the server logs to standard error: error, warn, info, debug or off [default: error]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
}

const AFTER_LONG_HELP: &str = "\
What you see:
  Every buyer of the crowd sends POST /v1/sales/ticket/reservations with a user and an
  Idempotency-Key. Of those who get a ticket, 75 % pay after some seconds, 10 % give it back, and
  15 % let the hold end. A refused buyer comes again, and then pays: at the end every ticket is paid
  for. An answer that leaves something open (busy, unavailable, unknown, none at all) is asked
  again with the same key.
  To pay is POST /demo/reservations/ID/pay. The path stands for the payment provider of a shop and
  its back end, and exists in a demonstration only: elsewhere the shop confirms, with its token.
  Crowd and server share the processors of this machine, so the latencies are no benchmark.

Examples:
  Everything with defaults; open the two pages that it prints:
      stampede demo
  The real thing, a crowd of 100,000 within one second:
      stampede demo --buyers 100000 --over 1s --connections 256
  Alone with the sale, at once, with time to look around:
      stampede demo --opens-in 1s --buyers 0 --hold 10m
  For a script: no waiting for Ctrl-C, any free ports:
      stampede demo --opens-in 1s --listen 127.0.0.1:0 --control 127.0.0.1:0 --exit-when-over
  Look at the orders while it runs, or afterwards with --keep DIR:
      sqlite3 DIR/orders.sqlite 'SELECT status, count(*) FROM orders GROUP BY status'

Exit codes:
  0  Ctrl-C, or with --exit-when-over the end of the sale
  1  failure: a port is taken, the server failed, or the audit found differences
  2  usage: an option is wrong; the message says which, and what would be right
  3  the audit could not read the ledger";

#[cfg(test)]
mod tests {
    use clap::{Args, Command};

    use super::*;
    use crate::config::CONTROL_DEFAULT;
    use crate::duration::format_duration;
    use crate::limits;

    #[test]
    fn the_help_states_the_actual_defaults_and_bounds() {
        let help = DemoOptions::augment_args(Command::new("demo")).render_long_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let default = |value: String| format!("[default: {value}]");
        let range = |low: String, high: String| format!("{low} to {high}");
        for text in [
            default(CONTROL_DEFAULT.to_owned()),
            default(format_duration(limits::DEMO_OPENS_IN_MS)),
            default(limits::DEMO_TICKETS.to_string()),
            default(format_duration(limits::DEMO_HOLD_MS)),
            default(limits::DEMO_BUYERS.to_string()),
            default(format_duration(limits::DEMO_OVER_MS)),
            default(limits::DEMO_CONNECTIONS.to_string()),
            range(format_duration(limits::DEMO_HOLD_MS_MIN), format_duration(limits::HOLD_MS_MAX)),
            range("0".to_owned(), limits::DEMO_BUYERS_MAX.to_string()),
            range("0s".to_owned(), format_duration(limits::DEMO_OVER_MS_MAX)),
            range("1".to_owned(), limits::DEMO_CONNECTIONS_MAX.to_string()),
        ] {
            assert!(help.contains(&text), "{text}: {help}");
        }
    }
}
