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
use crate::control::desk::Desk;
use crate::engine;
use crate::engine::core::Engine;
use crate::engine::listener::SocketFile;
use crate::ledger::link::LinkState;
use crate::limits::STARTUP_WAIT_MS;
use crate::patience::Patience;
use crate::purchase::Selling;
use crate::renewed::Renewed;
use crate::sale::{SaleId, SaleView};
use crate::signals;
use crate::stat_log::StatLog;
use crate::status::Status;
use crate::trust::Trust;
use crate::turnstile::SharedTurnstile;

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
mod passed;
mod reload;
mod strain;
mod succession;

mod watchdog;

pub use error::RunError;
pub use event::{DrainTimes, Event, SaleStart};
pub use reload::Reader;
pub use succession::Predecessor;

use boot::{buyers_settings, start_core};
use ledger::Ledger;
use listening::{Listening, Socket, listen_all};
use passed::Passed;
use reload::Reload;
use strain::Strain;
use succession::Successor;
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

/// Where a server comes from.
pub struct Beginning {
    /// Reads its configuration again.
    pub read: Reader,
    /// SIGHUP came: it is to be read again.
    pub hang_ups: Receiver<()>,
    /// The process that it takes over from, if there is one.
    pub predecessor: Option<Predecessor>,
}

/// Runs the server until it is told to stop. `ready` is called once, when it listens.
pub fn run(
    config: Config,
    beginning: Beginning,
    ready: impl FnOnce(&Config, &Ready),
) -> Result<(), RunError> {
    let Beginning { read, hang_ups, predecessor } = beginning;
    let cores = config.cores.len();
    let passed = match &predecessor {
        Some(predecessor) => predecessor.sockets(),
        None => Passed::by_systemd(),
    };
    let Listening { listeners, addresses, files, control: control_listener, sockets } =
        listen_all(&config, passed.map_err(RunError::Passed)?)?;
    let stat_log = match &config.stat_log {
        Some(path) => Some(StatLog::open(path).map_err(RunError::StatLog)?),
        None => None,
    };
    let (events, heard) = mpsc::channel();
    let ledger = Ledger::open(&config, predecessor.as_ref().map(|_| events.clone()))?;
    watch_signals(events.clone())?;

    let status = make_status(config, events.clone(), &ledger, stat_log.as_ref())?;
    let reload = Reload::new(read, status.clone(), events.clone())?;
    let waits_for_ledger = predecessor.is_some() && ledger.has_one_owner();
    // Before anything is sold: the orders may know of more than the ledger does.
    let mut orders = match waits_for_ledger {
        true => None,
        false => ledger.orders(&status)?,
    };
    // One more, for operators.
    engine::configure(cores + usize::from(status.config.control.is_some()));
    let instance = members::instance(&status, &addresses);
    let desk = Desk::start(|| ledger.client(), status.config.orders.as_ref(), &instance)?;
    let desk = Arc::new(desk);
    for index in 0..cores {
        let link = ledger.link();
        let stat_log = stat_log.as_ref().map(StatLog::buffer);
        start_core(index, status.clone(), desk.clone(), events.clone(), link, stat_log);
    }
    let sweep = ledger.sweep(&status)?;
    let connections_max = status.engine.limits.connections_max();
    let (control, control_listeners) = match control_listener {
        Some((address, listeners)) => {
            (Some(start_control(&status, address, desk, events.clone())?), listeners)
        }
        None => (None, Vec::new()),
    };
    reload.start(control.as_ref().map(Control::change), hang_ups)?;
    let drain_times = DrainTimes::from(&status.config);
    let links = vec![None; cores];
    let strain = Strain::default();
    let mut server =
        Server { status, events, heard, drain_times, links, strain, hands_over: false };
    let accept_operators = || {
        if let Some(control) = &control {
            control.accept(control_listeners);
        }
    };
    let started = if let Some(predecessor) = predecessor {
        let started = server.take_over(&predecessor, waits_for_ledger)?;
        server.status.engine.accept(listeners);
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
            server.status.engine.accept(listeners);
        }
        started
    };
    let Some(started) = started else {
        tracing::info!("told to end before it was ready");
        return Ok(());
    };
    warn_of_users_who_name_themselves(&server.status.config, &started);
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
                    .prepare_to_give_way(&ledger, &mut watchdog, &successor)
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
            // They are the successor's.
            files.into_iter().for_each(SocketFile::leave);
            drop(sockets);
            if let Some(control) = &control {
                control.give_up_listening();
            }
            server.give_way(&ledger, &mut watchdog, &successor)
        }
        None => {
            // While we still listen: what is there afterwards is another server's.
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
            Ok(counts) => tracing::warn!(lines = counts.lost(), "lines of stat.log are lost"),
            Err(error) => tracing::error!(%error, "stat.log is incomplete"),
        }
    }
    drained
}

fn start_control(
    status: &Arc<Status>,
    address: SocketAddr,
    desk: Arc<Desk>,
    events: Sender<Event>,
) -> Result<Control, RunError> {
    let setting = status.config.control.as_ref().expect("who listens for it has its setting");
    let buyers = buyers_settings(&status.config);
    let failed = move |error| _ = events.send(Event::Failed(error));
    Ok(Control::start(setting, address, &buyers, status.clone(), desk, failed)?)
}

fn make_status(
    config: Config,
    events: Sender<Event>,
    ledger: &Ledger,
    stat_log: Option<&StatLog>,
) -> io::Result<Arc<Status>> {
    let cores = config.cores.len();
    let settings = buyers_settings(&config);
    let patience = Arc::new(Patience::new(config.waiting_max, config.ledger_timeout_ms));
    let report = move |event| _ = events.send(Event::from(event));
    let (stock, percent) = (config.stock, config.stock_buffer_percent);
    let selling = Selling::new(cores, stock, percent, ledger.refused_sales(&config));
    Ok(Arc::new(Status {
        engine: Arc::new(Engine::new(cores, settings, report)?),
        trust: Arc::new(Renewed::new(Trust::of(&config))),
        turnstile: Arc::new(SharedTurnstile::of(&config)),
        selling: Arc::new(selling),
        patience,
        hands_over: AtomicBool::new(false),
        ledger_up: (0..cores).map(|_| AtomicBool::new(false)).collect(),
        store: ledger.store_counts(),
        upkeep: Arc::default(),
        stat_log: stat_log.map(StatLog::counters),
        config,
    }))
}

/// A bound per user holds only if somebody is trusted to say who a user is.
fn warn_of_users_who_name_themselves(config: &Config, sales: &[(SaleId, SaleStart)]) {
    let is_limited = |start: &SaleStart| match start {
        SaleStart::Created(view) | SaleStart::Existing(view) => view.spec.needs_user(),
        SaleStart::Missing | SaleStart::Refused(_) => false,
    };
    let limited: Vec<_> = sales.iter().filter(|(_, start)| is_limited(start)).collect();
    if let Some((sale, _)) = limited.first()
        && !config.has_namers()
    {
        let sales = limited.len();
        tracing::warn!(
            %sale,
            sales,
            "users name themselves, so a limit per user holds only honest ones"
        );
    }
}

fn watch_signals(events: Sender<Event>) -> io::Result<()> {
    // With a handler, a file that reaches its size limit is an error of the write that did so.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let theirs = events.clone();
    signals::at_hand_over(move || _ = theirs.send(Event::HandOver));
    signals::on_end(move || _ = events.send(Event::Signal))
}

/// The main thread's view.
struct Server {
    status: Arc<Status>,
    /// For whoever is to tell it something.
    events: Sender<Event>,
    heard: Receiver<Event>,
    /// A process that is to take over has been started.
    hands_over: bool,
    drain_times: DrainTimes,
    /// One a core. `None`: not heard of yet.
    links: Vec<Option<LinkState>>,
    /// What was logged of load that was turned away.
    strain: Strain,
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
                Ok(Event::DrainTimes(times)) => self.drain_times = times,
                Ok(Event::LedgerOpen(opened)) => opened?,
                Ok(Event::Drained | Event::HandOver | Event::Successor(_)) => {}
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

    /// Until the first signal, or until another process could take over.
    fn serve(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        sockets: &[Socket],
    ) -> Result<Option<Successor>, RunError> {
        loop {
            match self.hear(ledger, watchdog, WATCHDOG_INTERVAL)? {
                Heard::Nothing => {}
                Heard::End => return Ok(None),
                Heard::HandOver => self.bring_up_successor(sockets),
                Heard::Successor(successor) => return Ok(Some(successor)),
            }
        }
    }

    /// Hears one thing, or nothing for so long. Looks at the cores when it is time to, however much
    /// there is to hear.
    fn hear(
        &mut self,
        ledger: &Ledger,
        watchdog: &mut Watchdog,
        time: Duration,
    ) -> Result<Heard, RunError> {
        if watchdog.look(Instant::now(), &self.status.engine.ticks)? {
            if ledger.has_failed() {
                // It would refuse everything until a restart: better started anew at once.
                return Err(RunError::LedgerFailed);
            }
            self.strain.look(Instant::now(), &self.status);
            notify::alive();
        }
        match self.heard.recv_timeout(time.min(watchdog.time_left(Instant::now()))) {
            Ok(Event::Signal) | Err(RecvTimeoutError::Disconnected) => return Ok(Heard::End),
            Ok(Event::HandOver) => return Ok(Heard::HandOver),
            Ok(Event::Successor(Ok(successor))) => return Ok(Heard::Successor(successor)),
            Ok(Event::Successor(Err(error))) => {
                self.hands_over = false;
                tracing::error!(%error, "no new process took over; this one goes on");
                notify::status("selling; a new process could not take over");
            }
            Ok(Event::Failed(error)) => return Err(RunError::Failed(error)),
            Ok(Event::Link(core, state)) => self.note_link(core, state, false)?,
            Ok(Event::Sale(id, start)) => log_sale(&self.status.config, &id, &start),
            Ok(Event::DrainTimes(times)) => self.drain_times = times,
            Ok(Event::LedgerOpen(opened)) => opened?,
            Ok(Event::Drained) | Err(RecvTimeoutError::Timeout) => {}
        }
        Ok(Heard::Nothing)
    }
}

/// What the main thread has to do something about.
enum Heard {
    Nothing,
    /// It is told to end.
    End,
    /// A new process is to take over.
    HandOver,
    /// It could.
    Successor(Successor),
}

/// Says what became of a sale after the start.
fn log_sale(config: &Config, id: &SaleId, start: &SaleStart) {
    match start {
        SaleStart::Created(view) => {
            tracing::info!(sale = %id, total = view.spec.total, "sale created")
        }
        SaleStart::Existing(view) => {
            tracing::info!(sale = %id, total = view.spec.total, free = view.free(), "sale exists");
            if let Some(difference) = difference(config, id, view) {
                tracing::warn!(sale = %id, difference, "sale is not as asked");
            }
        }
        SaleStart::Missing => tracing::warn!(sale = %id, "sale does not exist"),
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
