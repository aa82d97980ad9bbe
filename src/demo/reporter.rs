//! Prints what happens: a banner, a line per second, and a summary with the verdict of the audit.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

use super::crowd::Crowd;
use super::http_client::HttpClient;
use super::plan::{Plan, SALE};
use super::shared::{Shared, State};
use super::tally::Units;
use super::text;
use crate::clock::wall_ms;
use crate::config::local_address;
use crate::operator::audit_report;
use crate::server::Ready;
use crate::sync::lock;

/// Time between two requests for the sale's units.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Longest time to wait until the orders have all changes.
const ORDERS_PATIENCE: Duration = Duration::from_secs(10);
/// Seconds before the opening at which a line is printed.
const COUNTDOWN_S: [u64; 9] = [3600, 600, 60, 30, 10, 5, 3, 2, 1];

/// See the module's header.
pub struct Reporter {
    plan: Plan,
    shared: Arc<Shared>,
    /// The public port, as this machine reaches it.
    public: SocketAddr,
    control: SocketAddr,
    folder: PathBuf,
    out: Box<dyn Write + Send>,
    client: HttpClient,
}

impl Reporter {
    /// For a server that is ready. `None`: the server lacks a TCP port.
    pub fn new(
        plan: Plan,
        shared: Arc<Shared>,
        ready: &Ready,
        folder: PathBuf,
        out: Box<dyn Write + Send>,
    ) -> Option<Self> {
        let public = local_address(ready.addresses.first()?.address()?);
        let control = ready.control?;
        let client = HttpClient::new(public);
        Some(Self { plan, shared, public, control, folder, out, client })
    }

    /// Starts the crowd and prints until the demonstration is stopped.
    pub fn run(mut self) {
        let (public, control) = (self.public, self.control);
        self.print(&text::banner(&self.plan, public, control, &self.folder));
        let until_open_ms = self.plan.opens_at_ms.saturating_sub(wall_ms());
        let opens = Instant::now() + Duration::from_millis(until_open_ms);
        let crowd = match Crowd::start(&self.plan, public, opens, &self.shared) {
            Ok(crowd) => crowd,
            Err(error) => {
                self.print(&format!("there is no crowd: {error}\n"));
                return;
            }
        };
        self.count_down(opens);
        self.watch(opens, &crowd);
    }

    /// Prints. An error is ignored: a closed pipe must not stop the sale.
    fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn count_down(&mut self, opens: Instant) {
        let mut left_s =
            opens.saturating_duration_since(Instant::now()).as_millis().div_ceil(1_000) as u64;
        while left_s > 0 && !self.shared.state().stopped {
            self.print(&format!("  opens in {left_s} s\n"));
            left_s = COUNTDOWN_S.into_iter().find(|next_s| *next_s < left_s).unwrap_or(0);
            let next = opens.checked_sub(Duration::from_secs(left_s)).unwrap_or(opens);
            self.shared.sleep_until(next, State::default());
        }
    }

    /// Prints a line when the numbers change, at most one per second, and the summary at the end.
    fn watch(&mut self, opens: Instant, crowd: &Crowd) {
        let (mut shown, mut said_at, mut is_over) = (None, None, false);
        let mut look_at = Instant::now();
        // At the look before: units are a little old, and those of this look are from after the crowd.
        let mut crowd_was_over = false;
        loop {
            let state = self.shared.state();
            if state.stopped {
                break;
            }
            let units = self.client.get(&format!("/v1/sales/{SALE}")).ok().as_ref().and_then(units);
            if let Some(units) = units {
                if units.paid == self.plan.tickets {
                    self.shared.note_all_paid();
                }
                let tally = lock(&self.shared.tally).clone();
                let line = text::progress(units, &tally);
                let now_s = opens.elapsed().as_secs();
                let ends = !is_over && crowd_was_over && self.plan.is_over(units);
                if shown.as_ref() != Some(&line) && (ends || said_at != Some(now_s)) {
                    let heading = if shown.is_none() { text::HEADING } else { "" };
                    self.print(&format!("{heading}{now_s:>5} s{line}\n"));
                    (shown, said_at) = (Some(line), Some(now_s));
                }
                if ends {
                    is_over = true;
                    self.print(&text::summary(&self.plan, units, &tally));
                    self.audit();
                    self.end();
                }
            }
            crowd_was_over = crowd.is_over();
            look_at += LOOK_INTERVAL;
            self.shared.sleep_until(look_at, self.shared.state());
        }
        if !is_over {
            let tally = lock(&self.shared.tally).clone();
            self.print(&text::stopped(&tally));
        }
    }

    /// Runs the audit of `stampede audit`, once the orders have all changes.
    fn audit(&mut self) {
        let until = Instant::now() + ORDERS_PATIENCE;
        let verdict = loop {
            let verdict = audit_report(self.control).map_err(|failure| failure.to_string());
            let waits = verdict.as_ref().is_ok_and(|report| report.on_their_way > 0);
            let state = self.shared.state();
            if !waits || state.stopped || Instant::now() >= until {
                break verdict;
            }
            self.shared.sleep_until(Instant::now() + LOOK_INTERVAL, state);
        };
        self.print(&text::verdict(&verdict));
        *lock(&self.shared.verdict) = Some(verdict);
    }

    /// With `--exit-when-over`, ends the server as Ctrl-C does.
    fn end(&mut self) {
        if !self.plan.exit_when_over {
            self.print("\nThe server goes on; Ctrl-C ends it.\n");
        } else if let Err(error) = kill_process(getpid(), Signal::TERM) {
            self.print(&format!("Ctrl-C ends it: {error}\n"));
        }
    }
}

fn units(sale: &Value) -> Option<Units> {
    let units = |name: &str| sale[name].as_u64();
    Some(Units { free: units("free")?, held: units("held")?, paid: units("confirmed")? })
}
