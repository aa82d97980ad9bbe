//! The server: starts the cores, reports when it is ready to sell, drains, stops.
//!
//! The main thread owns nothing of a core. It receives [`Event`]s from the cores and from signals
//! through one channel, and reaches the cores through their mailboxes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use signal_hook::consts::SIGXFSZ;

use crate::config::{Config, Listen};
use crate::control::Control;
use crate::control::threads::ControlThreads;
use crate::engine;
use crate::engine::core::Engine;
use crate::engine::listener::SocketFile;
use crate::gatekeeper::SharedGatekeeper;
use crate::handler::Storefront;
use crate::ledger::link::LinkState;
use crate::limits::STARTUP_WAIT_MS;
use crate::purchase::Selling;
use crate::queue_limits::QueueLimits;
use crate::reloadable::Reloadable;
use crate::sale::{SaleId, SaleView};
use crate::signals;
use crate::stat_log::StatLog;
use crate::status::Status;
use crate::trust::Trust;

mod boot;
mod drain;
mod error;
mod event;
mod hand_over;
mod ledger;
mod listening;
mod members;
mod notify;
mod orders;
mod inherited_sockets;
mod reload;
mod overload_log;
mod succession;

mod watchdog;

pub use error::RunError;
pub use event::{DrainTimes, Event, SaleStart};
pub use reload::Reader;
pub use succession::Predecessor;

use boot::{Parts, buyers_settings, start_core};
use inherited_sockets::InheritedSockets;
use ledger::Ledger;
use listening::{Listening, Socket, listen_all};
use overload_log::OverloadLog;
use reload::Reload;
use succession::Successor;
use watchdog::{WATCHDOG_INTERVAL, Watchdog};

/// Time to write the rest of `stat.log` at the end.
const STAT_LOG_CLOSE: Duration = Duration::from_secs(2);

/// What a server that is ready to sell reports.
pub struct Ready {
    /// The addresses it listens on.
    pub addresses: Vec<Listen>,
    /// The address of the control port, if there is one.
    pub control: Option<SocketAddr>,
    /// The state of the configured sales. Empty while the ledger is unreachable.
    pub sales: Vec<(SaleId, SaleStart)>,
    /// Why the ledger is unreachable, if it is. The server keeps trying.
    pub ledger_away: Option<String>,
    /// Maximum number of open connections.
    pub connections_max: usize,
}

/// The origin of a server.
pub struct Startup {
    /// Reads the configuration again.
    pub read: Reader,
    /// Receives each SIGHUP, after which the configuration is read again.
    pub hang_ups: Receiver<()>,
    /// The process that it takes over from, if there is one.
    pub predecessor: Option<Predecessor>,
    /// The page and payments of a demonstration, at the public port.
    pub storefront: Option<&'static Storefront>,
}

/// Runs the server until it is stopped. `ready` is called once, when the server listens.
pub fn run(
    config: Config,
    startup: Startup,
    ready: impl FnOnce(&Config, &Ready),
) -> Result<(), RunError> {
    let Startup { read, hang_ups, predecessor, storefront } = startup;
    let cores = config.cores.len();
    let passed = match &predecessor {
        Some(predecessor) => predecessor.sockets(),
        None => InheritedSockets::by_systemd(),
    };
    let Listening { listeners, addresses, files, control: control_listener, sockets } =
        listen_all(&config, passed.map_err(RunError::InheritedSockets)?)?;
    let stat_log = match &config.stat_log {
        Some(path) => Some(StatLog::open(path).map_err(RunError::StatLog)?),
        None => None,
    };
    let (events, events_rx) = mpsc::channel();
    let ledger = Ledger::open(&config, predecessor.as_ref().map(|_| events.clone()))?;
    watch_signals(events.clone())?;

    let status = make_status(config, events.clone(), &ledger, stat_log.as_ref())?;
    let reload = Reload::new(read, status.clone(), events.clone())?;
    let waits_for_ledger = predecessor.is_some() && ledger.has_one_owner();
    // Before the first sale: the orders may contain more than the ledger.
    let mut orders = match waits_for_ledger {
        true => None,
        false => ledger.orders(&status)?,
    };
    // One more worker, for the control port.
    engine::configure(cores + usize::from(status.config.control.is_some()));
    let instance = members::instance(&status, &addresses);
    let control_threads =
        ControlThreads::start(|| ledger.client(), status.config.orders.as_ref(), &instance)?;
    let control_threads = Arc::new(control_threads);
    for index in 0..cores {
        let link = ledger.link();
        let stat_log = stat_log.as_ref().map(StatLog::buffer);
        let parts = Parts { link, stat_log, storefront };
        start_core(index, status.clone(), control_threads.clone(), events.clone(), parts);
    }
    let sweep = ledger.sweep(&status)?;
    let connections_max = status.engine.limits.connections_max();
    let (control, control_listeners) = match control_listener {
        Some((address, listeners)) => {
            (Some(start_control(&status, address, control_threads, events.clone())?), listeners)
        }
        None => (None, Vec::new()),
    };
    reload.start(control.as_ref().map(Control::change), hang_ups)?;
    let drain_times = DrainTimes::from(&status.config);
    let links = vec![None; cores];
    let overload_log = OverloadLog::default();
    let mut server =
        Server { status, events, events_rx, drain_times, links, overload_log, hands_over: false };
    let accept_operators = || {
        if let Some(control) = &control {
            control.accept(control_listeners);
        }
    };
    let status = server.status.clone();
    // In this order: see `Members::start`.
    let join_and_listen = || {
        let members = ledger.members(&instance)?;
        status.engine.accept(listeners);
        io::Result::Ok(members)
    };
    let mut members = None;
    let started = if let Some(predecessor) = predecessor {
        let started = server.take_over(&predecessor, waits_for_ledger)?;
        members = join_and_listen()?;
        accept_operators();
        match started {
            Some(started) => Some(started),
            None => {
                server.await_ledger()?;
                orders = ledger.orders(&server.status)?;
                server.wait_for_sales()?
            }
        }
    } else {
        accept_operators();
        let started = server.wait_for_sales()?;
        if started.is_some() {
            members = join_and_listen()?;
        }
        started
    };
    let Some(started) = started else {
        tracing::info!("shutdown requested before it was ready");
        return Ok(());
    };
    warn_if_users_are_unverified(&server.status.config, &started);
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
    notify::ready("selling");
    let mut watchdog = Watchdog::new(cores);
    let left = server.serve(&ledger, &mut watchdog, &sockets).and_then(|successor| {
        if let Some(members) = &members {
            members.drain();
        }
        match successor {
            None => server.leave(&ledger, &mut watchdog).map(|()| None),
            Some(successor) => {
                if let Some(orders) = &orders {
                    orders.stop_soon();
                }
                server
                    .prepare_hand_over(&ledger, &mut watchdog, &successor)
                    .map(|()| Some(successor))
            }
        }
    });
    if let Err(error) = &left
        && error.is_beyond_repair()
    {
        std::mem::forget((server, control, members, sweep, orders, ledger, stat_log, files));
        return left.map(drop);
    }
    let drained = left.and_then(|successor| match successor {
        Some(successor) => {
            // The successor needs the files.
            files.into_iter().for_each(SocketFile::leave);
            drop(sockets);
            if let Some(control) = &control {
                control.give_up_listening();
            }
            server.hand_over(&ledger, &mut watchdog, &successor)
        }
        None => {
            // While the sockets are still open: a file that is there afterwards is another
            // server's.
            drop(files);
            drop(sockets);
            Ok(())
        }
    });
    let drained = drained.and_then(|()| server.drain());
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
            Ok(counts) => tracing::warn!(lines = counts.lost(), "stat.log lines lost"),
            Err(error) => tracing::error!(%error, "stat.log is incomplete"),
        }
    }
    drained
}

fn start_control(
    status: &Arc<Status>,
    address: SocketAddr,
    control_threads: Arc<ControlThreads>,
    events: Sender<Event>,
) -> Result<Control, RunError> {
    let setting = status.config.control.as_ref().expect("who listens for it has its setting");
    let buyers = buyers_settings(&status.config);
    let failed = move |error| _ = events.send(Event::Failed(error));
    Ok(Control::start(setting, address, &buyers, status.clone(), control_threads, failed)?)
}

fn make_status(
    config: Config,
    events: Sender<Event>,
    ledger: &Ledger,
    stat_log: Option<&StatLog>,
) -> io::Result<Arc<Status>> {
    let cores = config.cores.len();
    let settings = buyers_settings(&config);
    let queue_limits = Arc::new(QueueLimits::new(config.waiting_max, config.ledger_timeout_ms));
    let report = move |event| _ = events.send(Event::from(event));
    let (stock, percent) = (config.stock, config.stock_buffer_percent);
    let selling = Selling::new(cores, stock, percent, ledger.refused_sales(&config));
    Ok(Arc::new(Status {
        engine: Arc::new(Engine::new(cores, settings, report)?),
        trust: Arc::new(Reloadable::new(Trust::of(&config))),
        gatekeeper: Arc::new(SharedGatekeeper::of(&config)),
        selling: Arc::new(selling),
        queue_limits,
        hands_over: AtomicBool::new(false),
        ledger_up: (0..cores).map(|_| AtomicBool::new(false)).collect(),
        store: ledger.store_counts(),
        background: Arc::default(),
        stat_log: stat_log.map(StatLog::counters),
        config,
    }))
}

/// Warns that a limit per user is ineffective if no trusted source names the user.
fn warn_if_users_are_unverified(config: &Config, sales: &[(SaleId, SaleStart)]) {
    let is_limited = |start: &SaleStart| match start {
        SaleStart::Created(view) | SaleStart::Existing(view) => view.spec.needs_user(),
        SaleStart::Missing | SaleStart::Refused(_) => false,
    };
    let limited: Vec<_> = sales.iter().filter(|(_, start)| is_limited(start)).collect();
    if let Some((sale, _)) = limited.first()
        && !config.trusts_user_names()
    {
        let sales = limited.len();
        tracing::warn!(
            %sale,
            sales,
            "limit per user can be bypassed: clients name their own user"
        );
    }
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    // With a handler, a file that reaches its size limit causes an error of that write only.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let theirs = events.clone();
    signals::at_hand_over(move || _ = theirs.send(Event::HandOver));
    signals::on_end(move || _ = events.send(Event::Signal))
}

/// The state of the main thread.
struct Server {
    status: Arc<Status>,
    /// For threads that report to it.
    events: Sender<Event>,
    events_rx: Receiver<Event>,
    /// A process that is to take over has been started.
    hands_over: bool,
    drain_times: DrainTimes,
    /// Per core; `None`: not reported yet.
    links: Vec<Option<LinkState>>,
    /// Logs load that is turned away.
    overload_log: OverloadLog,
}

impl Server {
    fn away(&self) -> Option<String> {
        self.links.iter().flatten().find_map(|link| link.away()).map(str::to_owned)
    }

    /// Waits until every core has its ledger and the sales are created, or the ledger has been
    /// unreachable for a while. `None`: shutdown was requested.
    fn wait_for_sales(&mut self) -> Result<Option<Vec<(SaleId, SaleStart)>>, RunError> {
        let wanted = self.status.config.sales.len().max(1);
        let until = Instant::now() + Duration::from_millis(STARTUP_WAIT_MS);
        let mut sales = Vec::new();
        while sales.len() < wanted || self.links.iter().any(|link| *link != Some(LinkState::Up)) {
            match self.events_rx.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Event::Sale(id, start)) => {
                    // A sale that was refused at first may have been repaired.
                    sales.retain(|(sale, _)| *sale != id);
                    sales.push((id, start));
                }
                Ok(Event::Failed(error)) => return Err(error.into()),
                Ok(Event::Signal) => return Ok(None),
                Ok(Event::Link(core, state)) => self.note_link(core, state, true)?,
                Ok(Event::DrainTimes(times)) => self.drain_times = times,
                Ok(Event::LedgerOpen(opened)) => opened?,
                Ok(Event::Drained | Event::HandOver | Event::Successor(_)) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(Some(sales))
    }

    /// Logs changes of the links, once for all cores. At the start, a ledger that refuses the
    /// server ends it, since the ledger would not recover by itself.
    fn note_link(&mut self, core: usize, state: LinkState, starting: bool) -> Result<(), RunError> {
        let known = self.links.iter().flatten().any(|link| *link == state);
        let was_away = self.away().is_some();
        self.links[core] = Some(state.clone());
        match &state {
            LinkState::Up if starting || !was_away || self.away().is_some() => {}
            LinkState::Up => tracing::info!("ledger reachable again"),
            LinkState::Away { .. } if known => {}
            LinkState::Away { reason, fatal: true } if starting => {
                let url = self.status.config.ledger.to_string();
                return Err(RunError::Redis { url, reason: reason.clone() });
            }
            LinkState::Away { reason, .. } => {
                tracing::warn!(%reason, "ledger unreachable; purchases are unavailable");
            }
        }
        Ok(())
    }

    /// Runs until the first signal, or until another process is ready to take over.
    fn serve(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        sockets: &[Socket],
    ) -> Result<Option<Successor>, RunError> {
        loop {
            match self.next_step(ledger, watchdog, WATCHDOG_INTERVAL)? {
                Step::Nothing => {}
                Step::End => return Ok(None),
                Step::HandOver => self.bring_up_successor(sockets),
                Step::Successor(successor) => return Ok(Some(successor)),
            }
        }
    }

    /// Handles one event, or waits for one up to this time. Checks the cores when that is due,
    /// however many events there are.
    fn next_step(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        time: Duration,
    ) -> Result<Step, RunError> {
        if watchdog.check(Instant::now(), &self.status.engine.ticks)? {
            if ledger.has_failed() {
                // It would refuse everything until a restart, so restart at once.
                return Err(RunError::LedgerFailed);
            }
            self.overload_log.check(Instant::now(), &self.status);
            notify::alive();
        }
        match self.events_rx.recv_timeout(time.min(watchdog.time_left(Instant::now()))) {
            Ok(Event::Signal) | Err(RecvTimeoutError::Disconnected) => return Ok(Step::End),
            Ok(Event::HandOver) => return Ok(Step::HandOver),
            Ok(Event::Successor(Ok(successor))) => return Ok(Step::Successor(successor)),
            Ok(Event::Successor(Err(error))) => {
                self.hands_over = false;
                tracing::error!(%error, "hand-over failed; this process goes on");
                notify::status("selling; a new process could not take over");
            }
            Ok(Event::Failed(error)) => return Err(RunError::Failed(error)),
            Ok(Event::Link(core, state)) => self.note_link(core, state, false)?,
            Ok(Event::Sale(id, start)) => log_sale(&self.status.config, &id, &start),
            Ok(Event::DrainTimes(times)) => self.drain_times = times,
            Ok(Event::LedgerOpen(opened)) => opened?,
            Ok(Event::Drained) | Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(Step::Nothing)
    }
}

/// What the main thread must act on.
enum Step {
    Nothing,
    /// Shutdown was requested.
    End,
    /// A hand-over to a new process was requested.
    HandOver,
    /// The new process is ready to take over.
    Successor(Successor),
}

/// Logs the state of a sale after the start.
fn log_sale(config: &Config, id: &SaleId, start: &SaleStart) {
    match start {
        SaleStart::Created(view) => {
            tracing::info!(sale = %id, total = view.spec.total, "sale created")
        }
        SaleStart::Existing(view) => {
            tracing::info!(sale = %id, total = view.spec.total, free = view.free(), "sale exists");
            if let Some(difference) = difference(config, id, view) {
                tracing::warn!(sale = %id, difference, "sale differs from --sale");
            }
        }
        SaleStart::Missing => tracing::warn!(sale = %id, "sale does not exist"),
        // The refusal is logged already.
        SaleStart::Refused(_) => {}
    }
}

/// How an existing sale differs from the configuration. The sale is not changed.
pub fn difference(config: &Config, id: &SaleId, view: &SaleView) -> Option<String> {
    let (_, asked) = config.sales.iter().find(|(sale, _)| sale == id)?;
    let said = view.spec.differences_from_set(asked).join(", ");
    (!said.is_empty()).then(|| format!("the sale exists and is left as it is: {said}"))
}
