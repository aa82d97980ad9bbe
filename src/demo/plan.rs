//! The checked options of a demonstration.

use std::path::{Path, PathBuf};

use super::tally::Units;
use crate::cli::{DemoOptions, ServeOptions};
use crate::clock::{rfc3339, wall_ms};
use crate::config::{CONTROL_DEFAULT, Config, ConfigError, Listen, duration_within, whole_number};
use crate::limits::{
    DEMO_BUYERS, DEMO_BUYERS_MAX, DEMO_CONNECTIONS, DEMO_CONNECTIONS_MAX, DEMO_HOLD_MS,
    DEMO_HOLD_MS_MIN, DEMO_OPENS_IN_MS, DEMO_OPENS_IN_MS_MAX, DEMO_OVER_MS, DEMO_OVER_MS_MAX,
    DEMO_TICKETS, HOLD_MS_MAX, TOTAL_MAX,
};

/// The sale. `/buy/ticket` sells it too.
pub const SALE: &str = "ticket";
/// The default of `--listen`.
const LISTEN: &str = "127.0.0.1:3005";
const LOG: &str = "error";

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    listen: String,
    control: String,
    log: String,
    /// `--listen` may be an address that other machines reach.
    pub force_public: bool,
    /// Units for sale.
    pub tickets: u64,
    /// Time for which a ticket is held.
    pub hold_ms: u64,
    /// When the sale opens, in ms since 1970.
    pub opens_at_ms: u64,
    /// Number of buyers in the crowd.
    pub buyers: u64,
    /// Number of connections of the crowd.
    pub connections: usize,
    /// Time from the opening until the last buyer arrives.
    pub over_ms: u64,
    /// The folder that is kept at the end.
    pub keep: Option<PathBuf>,
    /// The end of the sale ends the demonstration.
    pub exit_when_over: bool,
}

impl Plan {
    /// Checks the options. The time until the opening starts now.
    pub fn of(options: &DemoOptions) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut take = |name, given: &Option<String>, default, check: &dyn Fn(&str) -> _| {
            let Some(text) = given else { return default };
            let judged: Result<u64, String> = check(text);
            judged.unwrap_or_else(|problem| {
                problems.push(format!("--{name} {text}: {problem}"));
                default
            })
        };
        let number = |min, max| move |text: &str| whole_number(text, min, max);
        let time = |min, max| move |text: &str| duration_within(text, (min, max));
        let opens_in_ms =
            take("opens-in", &options.opens_in, DEMO_OPENS_IN_MS, &time(0, DEMO_OPENS_IN_MS_MAX));
        let hold_ms =
            take("hold", &options.hold, DEMO_HOLD_MS, &time(DEMO_HOLD_MS_MIN, HOLD_MS_MAX));
        let over_ms = take("over", &options.over, DEMO_OVER_MS, &time(0, DEMO_OVER_MS_MAX));
        let tickets = take("tickets", &options.tickets, DEMO_TICKETS, &number(1, TOTAL_MAX));
        let buyers = take("buyers", &options.buyers, DEMO_BUYERS, &number(0, DEMO_BUYERS_MAX));
        let connections = take(
            "connections",
            &options.connections,
            DEMO_CONNECTIONS,
            &number(1, DEMO_CONNECTIONS_MAX),
        );
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let text = |given: &Option<String>, default: &str| {
            given.clone().unwrap_or_else(|| default.to_owned())
        };
        Ok(Self {
            listen: text(&options.listen, LISTEN),
            control: text(&options.control, CONTROL_DEFAULT),
            log: text(&options.log, LOG),
            force_public: options.force_public,
            tickets,
            hold_ms,
            opens_at_ms: wall_ms() + opens_in_ms,
            buyers,
            connections: connections as usize,
            over_ms,
            keep: options.keep.as_ref().map(PathBuf::from),
            exit_when_over: options.exit_when_over,
        })
    }

    /// The settings of the server, as `stampede serve` takes them.
    pub fn settings(&self, folder: &Path) -> ServeOptions {
        let (hold_ms, tickets) = (self.hold_ms, self.tickets);
        let opens = rfc3339(self.opens_at_ms);
        let sale = format!("{SALE}={tickets},hold={hold_ms}ms,limit=1,quantity=1,opens={opens}");
        ServeOptions {
            listen: vec![self.listen.clone()],
            control: Some(self.control.clone()),
            ledger: Some(format!("embedded:{}", ledger_in(folder).display())),
            orders: Some(format!("sqlite:{}", orders_in(folder).display())),
            sale: vec![sale],
            log: Some(self.log.clone()),
            ..ServeOptions::default()
        }
    }

    /// Whether the sale is over, once the crowd is done: no ticket is held. Without a crowd, every ticket must
    /// be sold too.
    pub fn is_over(&self, units: Units) -> bool {
        units.held == 0 && (units.free == 0 || self.buyers > 0)
    }

    /// Refuses addresses that other machines reach, unless `--force-public` allows them.
    pub fn check(&self, config: &Config) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        for listen in &config.listen {
            let problem = match listen {
                Listen::Tcp(address) if address.ip().is_loopback() || self.force_public => continue,
                Listen::Tcp(_) => {
                    "everybody who reaches this address could buy in anybody's name and pay with \
                     the stand-in: use a loopback address, or add --force-public"
                }
                Listen::Tls(_) | Listen::Unix(_) => {
                    "a demonstration listens on HOST:PORT, such as 127.0.0.1:3005"
                }
            };
            problems.push(format!("--listen {}: {problem}", self.listen));
        }
        if config.control.is_none() {
            let problem = "a demonstration needs its control port: the live page is there";
            problems.push(format!("--control {}: {problem}", self.control));
        }
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}

/// The folder of the ledger.
pub fn ledger_in(folder: &Path) -> PathBuf {
    folder.join("ledger")
}

/// The file of the orders.
pub fn orders_in(folder: &Path) -> PathBuf {
    folder.join("orders.sqlite")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::Host;

    fn judged(listen: &str, force_public: bool) -> Result<(), String> {
        let options =
            DemoOptions { listen: Some(listen.to_owned()), force_public, ..DemoOptions::default() };
        let plan = Plan::of(&options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings = plan.settings(folder.path());
        let nothing = std::iter::empty::<(OsString, OsString)>();
        let config = Config::load_from(&settings, nothing, &Host::of_process()).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        plan.check(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn only_loopback_addresses_are_allowed_unless_forced() {
        for listen in ["127.0.0.1:0", "[::1]:0", "127.8.9.10:3005"] {
            assert_eq!(judged(listen, false), Ok(()), "{listen}");
        }
        for listen in ["0.0.0.0:3005", "[::]:3005", "192.0.2.1:3005"] {
            assert!(judged(listen, false).unwrap_err().contains("--force-public"), "{listen}");
            assert_eq!(judged(listen, true), Ok(()), "{listen}");
        }
        assert!(judged("unix:/tmp/demo.sock", true).unwrap_err().contains("HOST:PORT"));
    }

    #[test]
    fn every_option_is_checked() {
        let bad = || Some("-1".to_owned());
        let options = DemoOptions {
            opens_in: bad(),
            hold: bad(),
            over: bad(),
            tickets: bad(),
            buyers: bad(),
            connections: bad(),
            ..DemoOptions::default()
        };
        let problems = Plan::of(&options).unwrap_err().problems;
        let names = ["opens-in", "hold", "over", "tickets", "buyers", "connections"];
        assert_eq!(problems.len(), names.len());
        for (name, problem) in names.iter().zip(&problems) {
            assert!(problem.starts_with(&format!("--{name} -1: must be")), "{problem}");
        }
    }
}
