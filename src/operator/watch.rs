//! `--watch` of `sale show` and `sale list`: refreshes the output until Ctrl-C.
//!
//! A terminal shows the latest state in place. A pipe gets a line per change, so that a log of a quiet
//! sale stays short. A server that is away for a moment ends nothing: the output says that it is
//! away, and goes on when it is back.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::arguments::quoted;
use super::failure::Failure;
use super::list::{Fetched, Listing};
use super::table;
use super::transport::Transport;
use crate::cli::OperatorOptions;
use crate::clock::{rfc3339, wall_ms};
use crate::config::duration_within;
use crate::duration::format_duration;
use crate::limits::{WATCH_INTERVAL_MS_MAX, WATCH_INTERVAL_MS_MIN};

/// Time between two looks at whether Ctrl-C was pressed.
const PAUSE: Duration = Duration::from_millis(50);
/// A server that takes longer to answer is away.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(5);
/// Size of a terminal that does not say its own: lines and columns.
const TERMINAL_SIZE: (usize, usize) = (24, 80);

/// The time between two refreshes that `--watch` names.
pub(super) fn interval(text: &str) -> Result<Duration, Failure> {
    duration_within(text, (WATCH_INTERVAL_MS_MIN, WATCH_INTERVAL_MS_MAX))
        .map(Duration::from_millis)
        .map_err(|problem| Failure::Usage(format!("--watch {}: {problem}", quoted(text))))
}

/// Shows the sales of a listing until SIGINT or SIGTERM. Fails if the first look fails, or if the
/// server says that there is no such sale.
pub(super) fn watch(
    listing: &Listing<'_>,
    interval: Duration,
    options: &OperatorOptions,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let transport = Transport::open(options)?;
    let mut transport = transport.with_response_deadline(Some(RESPONSE_DEADLINE.max(interval)));
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends a command that waits for a server.
        flag::register_conditional_shutdown(signal, 0, is_over.clone())?;
        flag::register(signal, is_over.clone())?;
    }
    let mut rates = Rates::default();
    let mut output: Box<dyn Output> = match io::stdout().is_terminal() && !options.json {
        true => Box::new(Screen::new(interval)),
        false => Box::new(Lines::new(options.json)),
    };
    let mut is_first = true;
    while !is_over.load(Ordering::Relaxed) {
        let started = Instant::now();
        match listing.fetch(&mut transport)? {
            Fetched::Sales(sales) => {
                let sales = sales.into_iter().map(|sale| rates.add_to(sale)).collect();
                output.sales(listing, sales, out)?;
            }
            Fetched::Away(reason) if is_first => return Err(Failure::Failed(reason)),
            Fetched::Away(reason) => output.away(listing, &reason, out)?,
        }
        out.flush()?;
        is_first = false;
        while started.elapsed() < interval && !is_over.load(Ordering::Relaxed) {
            thread::sleep(PAUSE.min(interval.saturating_sub(started.elapsed())));
        }
    }
    output.end(out)?;
    Ok(out.flush()?)
}

/// Units sold per second, by sale: how `held + confirmed` changed since the last look.
#[derive(Default)]
struct Rates {
    last: HashMap<String, (Instant, f64)>,
}

impl Rates {
    fn add_to(&mut self, mut sale: Value) -> Value {
        let units = |name: &str| sale[name].as_f64().unwrap_or_default();
        let (now, sold) = (Instant::now(), units("held") + units("confirmed"));
        let last = self.last.insert(table::text(&sale["id"]), (now, sold));
        let per_s = last.map(|(then, before)| {
            let seconds = now.duration_since(then).as_secs_f64().max(0.001);
            (10.0 * (sold - before) / seconds).round() / 10.0
        });
        sale["sold_per_s"] = json!(per_s);
        sale
    }
}

/// Where sales are shown.
trait Output {
    fn sales(
        &mut self,
        listing: &Listing<'_>,
        sales: Vec<Value>,
        out: &mut dyn Write,
    ) -> io::Result<()>;
    fn away(&mut self, listing: &Listing<'_>, reason: &str, out: &mut dyn Write) -> io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> io::Result<()>;
}

/// A line per change, as text or as JSON.
struct Lines {
    json: bool,
    last: HashMap<String, Value>,
    away: Option<String>,
}

impl Lines {
    fn new(json: bool) -> Self {
        Self { json, last: HashMap::new(), away: None }
    }
}

/// Whether nothing about a sale has changed since the last line.
fn is_same(sale: &Value, last: &Value) -> bool {
    let without_rate = |sale: &Value| {
        let mut sale = sale.clone();
        let is_quiet = sale["sold_per_s"].as_f64().unwrap_or_default() == 0.0;
        sale["sold_per_s"] = Value::Null;
        (sale, is_quiet)
    };
    let ((sale, is_quiet), (last, was_quiet)) = (without_rate(sale), without_rate(last));
    sale == last && is_quiet && was_quiet
}

impl Output for Lines {
    fn sales(&mut self, _: &Listing<'_>, sales: Vec<Value>, out: &mut dyn Write) -> io::Result<()> {
        let was_away = self.away.take().is_some();
        let at = rfc3339(wall_ms());
        for mut sale in sales {
            let id = table::text(&sale["id"]);
            if !was_away && self.last.get(&id).is_some_and(|last| is_same(&sale, last)) {
                continue;
            }
            self.last.insert(id.clone(), sale.clone());
            if self.json {
                sale["at"] = json!(at);
                writeln!(out, "{sale}")?;
                continue;
            }
            let [state, free, held, confirmed, rate] =
                ["state", "free", "held", "confirmed", "sold_per_s"]
                    .map(|of| table::text(&sale[of]));
            writeln!(
                out,
                "{at} {id} {state} free={free} held={held} confirmed={confirmed} sold_per_s={rate}"
            )?;
        }
        Ok(())
    }

    fn away(&mut self, listing: &Listing<'_>, reason: &str, out: &mut dyn Write) -> io::Result<()> {
        if self.away.as_deref() == Some(reason) {
            return Ok(());
        }
        self.away = Some(reason.to_owned());
        let at = rfc3339(wall_ms());
        match self.json {
            true => writeln!(out, "{}", json!({ "at": at, "id": listing.id(), "away": reason })),
            false => writeln!(out, "{at} away: {reason}"),
        }
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// A terminal: the latest state, drawn over the one before.
struct Screen {
    interval: Duration,
    /// Lines of the last drawing.
    lines: usize,
    sales: Vec<Value>,
    away_since: Option<String>,
}

impl Screen {
    fn new(interval: Duration) -> Self {
        Self { interval, lines: 0, sales: Vec::new(), away_since: None }
    }

    fn draw(&mut self, listing: &Listing<'_>, status: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut text = Vec::new();
        listing.print(&mut text, &self.sales)?;
        let text = String::from_utf8_lossy(&text);
        let (height, width) = terminal_size();
        // The status and the line of the cursor need room too.
        let room = height.saturating_sub(2).max(1);
        let mut lines: Vec<&str> = text.lines().collect();
        let more;
        if lines.len() > room {
            more = format!("and {} more lines: the terminal is too low", lines.len() - room + 1);
            lines.truncate(room - 1);
            lines.push(&more);
        }
        lines.push(status);
        if self.lines > 0 {
            // Up to the first line, and clear from there.
            write!(out, "\x1b[{}A\r\x1b[J", self.lines)?;
        }
        for line in &lines {
            // A line that wraps would be two.
            writeln!(out, "{}", line.chars().take(width).collect::<String>())?;
        }
        self.lines = lines.len();
        Ok(())
    }
}

impl Output for Screen {
    fn sales(
        &mut self,
        listing: &Listing<'_>,
        sales: Vec<Value>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.sales = sales;
        self.away_since = None;
        let every = format_duration(self.interval.as_millis() as u64);
        self.draw(listing, &format!("{}, every {every}; Ctrl-C ends", rfc3339(wall_ms())), out)
    }

    fn away(&mut self, listing: &Listing<'_>, reason: &str, out: &mut dyn Write) -> io::Result<()> {
        let since = self.away_since.get_or_insert_with(|| rfc3339(wall_ms())).clone();
        self.draw(listing, &format!("away since {since}: {reason}"), out)
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        // The shell's prompt stands on a line of its own, after `^C`.
        writeln!(out)
    }
}

/// Lines and columns.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => TERMINAL_SIZE,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn an_interval_is_bounded() {
        assert_eq!(interval("100ms").unwrap(), Duration::from_millis(100));
        for wrong in ["99ms", "0s", "2h", "1", "often"] {
            assert!(interval(wrong).unwrap_err().to_string().contains("--watch"), "{wrong}");
        }
    }

    #[test]
    fn the_help_names_the_bounds_of_the_interval() {
        let mut command = crate::cli::Cli::command();
        let sale = command.find_subcommand_mut("sale").unwrap();
        let help = sale.find_subcommand_mut("show").unwrap().render_long_help().to_string();
        let (min, max) = (WATCH_INTERVAL_MS_MIN, WATCH_INTERVAL_MS_MAX);
        let bounds = format!("{} to {}.", format_duration(min), format_duration(max));
        assert!(help.contains(&bounds), "{help}");
    }

    #[test]
    fn a_sale_is_the_same_while_nothing_is_sold() {
        let sale = |held: u64, per_s: Option<f64>| json!({ "held": held, "sold_per_s": per_s });
        assert!(is_same(&sale(1, Some(0.0)), &sale(1, None)));
        assert!(!is_same(&sale(2, Some(1.0)), &sale(1, Some(0.0))));
        assert!(!is_same(&sale(2, Some(0.0)), &sale(2, Some(1.0))), "the rate falls to 0");
    }
}
