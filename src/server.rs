//! The server: starts the cores, tells when it sells, drains, stops.
//!
//! The main thread owns nothing of a core. It hears from the cores and of signals through one
//! channel of [`Event`]s and speaks to the cores through their mailboxes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGXFSZ;

use crate::config::{Config, Listen};
use crate::control::Control;
use crate::engine;
use crate::engine::core::{Engine, Settings};
use crate::ledger::link::LinkState;
use crate::ledger::refused::RefusedSales;
use crate::limits::{REFUSED_CONNECTIONS_MAX, STARTUP_WAIT_MS};
use crate::members::Instance;
use crate::purchase::Selling;
use crate::sale::{SaleId, SaleView};
use crate::signals;
use crate::stat_log::StatLog;
use crate::status::Status;

mod boot;
mod drain;
mod error;
mod event;
mod ledger;
mod listening;
mod members;
mod orders;
mod tls;
mod watchdog;

pub use error::RunError;
pub use event::{Event, SaleStart};

use boot::start_core;
use ledger::Ledger;
use listening::{Listening, listen_all, tcp_hint};
use watchdog::{WATCHDOG_INTERVAL, Watchdog};

/// Time to write the rest of `stat.log` at the end.
const STAT_LOG_CLOSE: Duration = Duration::from_secs(2);

/// What the server says when it is ready to sell.
pub struct Ready {
    /// What it listens on.
    pub addresses: Vec<Listen>,
    /// The address of the control port, if there is one.
    pub control: Option<SocketAddr>,
    /// What became of the sales. Empty while the ledger is away.
    pub sales: Vec<(SaleId, SaleStart)>,
    /// Why the ledger can't be reached, if it can't. It will be tried again.
    pub ledger_away: Option<String>,
    /// Connections that may be open.
    pub connections_max: usize,
}

/// Runs the server until it is told to stop. `ready` is called once, when it listens.
pub fn run(config: Config, ready: impl FnOnce(&Config, &Ready)) -> Result<(), RunError> {
    let cores = config.cores.len();
    let Listening { listeners, addresses, files } = listen_all(&config.listen, cores)?;
    let stat_log = match &config.stat_log {
        Some(path) => Some(StatLog::open(path).map_err(RunError::StatLog)?),
        None => None,
    };
    let ledger = Ledger::open(&config)?;
    let (events, heard) = mpsc::channel();
    watch_signals(events.clone())?;

    let refused = ledger.refused_sales(&config);
    let status = make_status(config, events.clone(), refused)?;
    tls::start(&status)?;
    // Before anything is sold: the orders may know of more than the ledger does.
    let orders = ledger.orders(&status.config)?;
    // One more, for operators.
    engine::configure(cores + usize::from(status.config.control.is_some()));
    for index in 0..cores {
        let link = ledger.link();
        let stat_log = stat_log.as_ref().map(StatLog::buffer);
        start_core(index, status.clone(), events.clone(), link, stat_log);
    }
    let sweep = ledger.sweep()?;
    let connections_max = status.engine.settings.connections_max;
    let instance = members::instance(&status, &addresses);
    let control = start_control(&status, &ledger, &instance, events)?;
    let mut server = Server { status, heard, links: vec![None; cores] };
    let Some(started) = server.wait_for_sales()? else {
        tracing::info!("told to end before it was ready");
        return Ok(());
    };
    server.status.engine.accept(listeners);
    let members = ledger.members(&instance)?;
    ready(
        &server.status.config,
        &Ready {
            addresses,
            control: control.as_ref().map(Control::address),
            sales: started,
            ledger_away: server.away(),
            connections_max,
        },
    );

    let mut watchdog = Watchdog::new(cores);
    let left = server.serve(&ledger, &mut watchdog).and_then(|()| {
        if let Some(members) = &members {
            members.drain();
        }
        server.leave(&ledger, &mut watchdog)
    });
    if let Err(error) = &left
        && error.is_beyond_repair()
    {
        std::mem::forget((server, control, members, sweep, orders, ledger, stat_log, files));
        return left;
    }
    // While we still listen: what is there afterwards is another server's.
    drop(files);
    let drained = left.and_then(|()| server.drain());
    if let Some(control) = control {
        control.stop();
    }
    drop(members);
    drop(sweep);
    drop(orders);
    ledger.close();
    if let Some(log) = stat_log {
        match log.close(STAT_LOG_CLOSE) {
            Ok(counts) if counts.lost() == 0 => {}
            Ok(counts) => tracing::warn!(lines = counts.lost(), "lines of stat.log are lost"),
            Err(error) => tracing::error!(%error, "stat.log is incomplete"),
        }
    }
    drained
}

fn start_control(
    status: &Arc<Status>,
    ledger: &Ledger,
    instance: &Arc<Instance>,
    events: Sender<Event>,
) -> Result<Option<Control>, RunError> {
    let Some(setting) = &status.config.control else { return Ok(None) };
    let address = setting.address;
    let client = || ledger.client();
    let failed = move |error| _ = events.send(Event::Failed(error));
    let control = Control::start(setting, status.clone(), client, instance, failed);
    let control = control.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another server has this port: choose another, or --control off"
            }
            _ => tcp_hint(&error),
        };
        RunError::Control { address, error, hint }
    })?;
    Ok(Some(control))
}

fn make_status(
    config: Config,
    events: Sender<Event>,
    refused_sales: Arc<RefusedSales>,
) -> io::Result<Arc<Status>> {
    let cores = config.cores.len();
    let settings = Settings {
        first_worker: 0,
        connections_max: connections_max(&config),
        refused_max: REFUSED_CONNECTIONS_MAX,
        connections_per_address: config.connections_per_address,
        proxy_protocol: config.proxy_protocol,
        trusted: config.trusted_proxies.clone(),
        idle_timeout_ms: config.idle_timeout_ms,
        head_timeout_ms: config.head_timeout_ms,
        body_timeout_ms: config.body_timeout_ms,
        write_timeout_ms: config.write_timeout_ms,
    };
    let report = move |event| _ = events.send(Event::from(event));
    let selling = Selling::new(cores, config.stock, config.stock_buffer_percent, refused_sales);
    Ok(Arc::new(Status {
        engine: Arc::new(Engine::new(cores, settings, report)?),
        selling: Arc::new(selling),
        ledger_up: (0..cores).map(|_| AtomicBool::new(false)).collect(),
        config,
    }))
}

fn connections_max(config: &Config) -> usize {
    usize::try_from(config.connections_max).unwrap_or(usize::MAX)
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    // With a handler, a file that reaches its size limit is an error of the write that did so.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    signals::on_end(move || _ = events.send(Event::Signal))
}

/// The main thread's view.
struct Server {
    status: Arc<Status>,
    heard: Receiver<Event>,
    /// One a core. `None`: not heard of yet.
    links: Vec<Option<LinkState>>,
}

impl Server {
    fn away(&self) -> Option<String> {
        self.links.iter().flatten().find_map(|link| link.away()).map(str::to_owned)
    }

    /// Waits until every core has its ledger and the sales are looked after, or the ledger has been
    /// away for a while. `None`: told to end.
    fn wait_for_sales(&mut self) -> Result<Option<Vec<(SaleId, SaleStart)>>, RunError> {
        let wanted = self.status.config.sales.len().max(1);
        let until = Instant::now() + Duration::from_millis(STARTUP_WAIT_MS);
        let mut sales = Vec::new();
        while sales.len() < wanted || self.links.iter().any(|link| *link != Some(LinkState::Up)) {
            match self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Sale(id, start)) => {
                    // One that was refused at first may have been repaired.
                    sales.retain(|(sale, _)| *sale != id);
                    sales.push((id, start));
                }
                Ok(Event::Failed(error)) => return Err(error.into()),
                Ok(Event::Signal) => return Ok(None),
                Ok(Event::Link(core, state)) => self.note_link(core, state, true)?,
                Ok(Event::Drained) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(Some(sales))
    }

    /// Logs what the links go through, once for all cores. At the start, a ledger that refuses us
    /// ends the server: it would never get better by itself.
    fn note_link(&mut self, core: usize, state: LinkState, starting: bool) -> Result<(), RunError> {
        let known = self.links.iter().flatten().any(|link| *link == state);
        let was_away = self.away().is_some();
        self.links[core] = Some(state.clone());
        match &state {
            LinkState::Up if starting || !was_away || self.away().is_some() => {}
            LinkState::Up => tracing::info!("the ledger can be reached again"),
            LinkState::Away { .. } if known => {}
            LinkState::Away { reason, fatal: true } if starting => {
                let url = self.status.config.ledger.to_string();
                return Err(RunError::Redis { url, reason: reason.clone() });
            }
            LinkState::Away { reason, .. } => {
                tracing::warn!(%reason, "the ledger can't be reached; purchases are unavailable");
            }
        }
        Ok(())
    }

    /// Until the first signal.
    fn serve(&mut self, ledger: &Ledger, watchdog: &mut Watchdog) -> Result<(), RunError> {
        while !self.hear(ledger, watchdog, WATCHDOG_INTERVAL)? {}
        Ok(())
    }

    /// Hears one thing, or nothing for so long. Looks at the cores when it is time to, however much
    /// there is to hear. `true`: it was a signal.
    fn hear(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        time: Duration,
    ) -> Result<bool, RunError> {
        if watchdog.look(Instant::now(), &self.status.engine.ticks)? && ledger.has_failed() {
            // It would refuse everything until a restart: better started anew at once.
            return Err(RunError::LedgerFailed);
        }
        match self.heard.recv_timeout(time.min(watchdog.time_left(Instant::now()))) {
            Ok(Event::Signal) | Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Ok(Event::Failed(error)) => return Err(RunError::Failed(error)),
            Ok(Event::Link(core, state)) => self.note_link(core, state, false)?,
            Ok(Event::Sale(id, start)) => log_sale(&self.status.config, &id, &start),
            Ok(Event::Drained) => {}
            Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(false)
    }
}

/// Says what became of a sale after the start.
fn log_sale(config: &Config, id: &SaleId, start: &SaleStart) {
    match start {
        SaleStart::Created(view) => tracing::info!(sale = %id, total = view.spec.total, "created"),
        SaleStart::Existing(view) => {
            tracing::info!(sale = %id, total = view.spec.total, free = view.free(), "exists");
            if let Some(difference) = difference(config, id, view) {
                tracing::warn!(sale = %id, "{difference}");
            }
        }
        SaleStart::Missing => tracing::warn!(sale = %id, "does not exist"),
        // Whoever was refused has logged it.
        SaleStart::Refused(_) => {}
    }
}

/// How a sale that exists differs from what the configuration asks for. It is left as it is.
pub fn difference(config: &Config, id: &SaleId, view: &SaleView) -> Option<String> {
    let (_, asked) = config.sales.iter().find(|(sale, _)| sale == id)?;
    let said = view.spec.differences_from_set(asked).join(", ");
    (!said.is_empty()).then(|| format!("the sale exists and is left as it is: {said}"))
}
