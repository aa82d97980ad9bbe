//! Starts the cores: each on its own worker, with everything that lives on it but its listeners.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use super::event::{Event, SaleStart};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::threads::ControlThreads;
use crate::engine::core::Core;
use crate::engine::reactor::Token;
use crate::engine::settings::{Settings, TrustedProxies};
use crate::engine::{self, no_memory_for_a_coroutine};
use crate::gatekeeper::Gatekeeper;
use crate::handler::{BUY_SALE, Buyers, Storefront};
use crate::ledger::Failure;
use crate::ledger::batch::{Batcher, WaiterId, Waker};
use crate::ledger::embedded;
use crate::ledger::link::{LinkState, Site};
use crate::ledger::redis::{self, RedisLedger};
use crate::limits::{HANDSHAKE_STACK_BYTES, REFUSED_CONNECTIONS_MAX, STACK_BYTES, START_SALES_MAX};
use crate::purchase::{SaleCacheUpdater, Seller, view_or_create_parts};
use crate::reloadable::Cached;
use crate::sale::{Command, Outcome, SaleId, SaleView, Split};
use crate::stat_log::StatLogBuffer;
use crate::status::Status;

/// What a core's link needs.
pub(super) enum LinkTo {
    Embedded(embedded::Handle),
    Redis(Arc<RedisLedger>),
}

/// The parts of one core, besides the shared state.
pub(super) struct Parts {
    /// What its link to the ledger needs.
    pub(super) link: LinkTo,
    pub(super) stat_log: Option<StatLogBuffer>,
    pub(super) storefront: Option<&'static Storefront>,
}

/// The settings of the engine for the public port.
pub(super) fn buyers_settings(config: &Config) -> Settings {
    Settings {
        first_worker: 0,
        connections_max: usize::try_from(config.connections_max).unwrap_or(usize::MAX),
        refused_max: REFUSED_CONNECTIONS_MAX,
        connections_per_address: config.connections_per_address,
        proxies: TrustedProxies {
            networks: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
        },
        idle_timeout_ms: config.idle_timeout_ms,
        head_timeout_ms: config.head_timeout_ms,
        body_timeout_ms: config.body_timeout_ms,
        write_timeout_ms: config.write_timeout_ms,
    }
}

/// Starts a core on worker `index`.
pub(super) fn start_core(
    index: usize,
    status: Arc<Status>,
    control_threads: Arc<ControlThreads>,
    events: Sender<Event>,
    parts: Parts,
) {
    let engine = status.engine.clone();
    let boot = move || boot_core(index, status, control_threads, events, parts);
    engine::boot_core(&engine, index, boot);
}

/// Runs on the core's own worker: pins it and starts everything that lives on it.
fn boot_core(
    index: usize,
    status: Arc<Status>,
    control_threads: Arc<ControlThreads>,
    events: Sender<Event>,
    parts: Parts,
) -> io::Result<()> {
    let Parts { link, stat_log, storefront } = parts;
    let config = &status.config;
    let processor = config.cores[index];
    if !core_affinity::set_for_current(core_affinity::CoreId { id: processor }) {
        tracing::warn!(core = index, processor, "core not pinned to its processor");
    }
    let clock = Rc::new(Clock::default());
    let batcher = Batcher::new(status.queue_limits.clone());
    let selling = status.selling.clone();
    let seller = Seller::new(index, selling, clock.clone(), batcher, stat_log);
    let seller: &'static Seller = Box::leak(Box::new(seller));
    seller.batcher.set_observer(Box::new(SaleCacheUpdater(seller)));
    let trust = Cached::of(status.trust.clone());
    let catalogue = control_threads.catalogues.clone().of_core();
    let control_threads = Box::new(move |request, sender| control_threads.ask(request, sender));
    let gatekeeper = Gatekeeper::new(index, status.gatekeeper.clone());
    let service =
        Buyers::new(seller, config.public_confirm, trust, gatekeeper, control_threads, catalogue)
            .with_storefront(storefront);
    let core = engine::start_core(index, status.engine.clone(), clock, service)?;
    seller.batcher.set_waker(Box::new(CoreWaker(core)));
    seller.flows.set_spawn(Box::new(|flow| core.spawn_here("flow", STACK_BYTES, |_| flow())));
    let (told, theirs) = (events.clone(), status.clone());
    let report = Box::new(move |state: LinkState| {
        theirs.ledger_up[index].store(state == LinkState::Up, Ordering::Relaxed);
        let _ = told.send(Event::Link(index, state));
    });
    let site: &'static Site = Box::leak(Box::new(Site { core, batcher: &seller.batcher, report }));
    let mut started = core.spawn_here("link", HANDSHAKE_STACK_BYTES, move |_| match link {
        LinkTo::Embedded(handle) => embedded::run_link(site, &handle),
        LinkTo::Redis(ledger) => redis::run_link(site, &ledger),
    });
    if index == 0 {
        let look = move |core| ensure_sales(core, seller, &status.config, &events);
        started = started && core.spawn_here("sales", STACK_BYTES, look);
    }
    started.then_some(()).ok_or_else(no_memory_for_a_coroutine)
}

/// Wakes connections whose answers are there.
struct CoreWaker(&'static Core);

impl Waker for CoreWaker {
    fn wake(&self, asker: WaiterId, first: bool) {
        self.0.wake(Token::from_number(asker.0), first);
    }

    fn pending(&self) -> usize {
        self.0.woken_count()
    }
}

/// The outcome with the view of all parts. Creates the parts if the sale was to be created.
fn with_parts(
    seller: &Seller,
    id: &SaleId,
    command: &Command,
    outcome: Outcome,
) -> Result<Outcome, Failure> {
    let make = matches!(command, Command::Create(_));
    let all = |view: &SaleView| match view.spec.split {
        Split::Head { parts } => view_or_create_parts(seller, id, parts, make).map(Box::new),
        Split::Whole | Split::Part { .. } => Ok(Box::new(view.clone())),
    };
    Ok(match outcome {
        Outcome::Created(view) => Outcome::Created(all(&view)?),
        Outcome::Sale(view) => Outcome::Sale(all(&view)?),
        outcome => outcome,
    })
}

/// Creates the missing sales of the configuration as soon as the ledger is reachable.
fn ensure_sales(
    core: &'static Core,
    seller: &'static Seller,
    config: &Config,
    events: &Sender<Event>,
) {
    let mut wanted: Vec<(SaleId, Command)> = config
        .sales
        .iter()
        .map(|(id, spec)| (id.detached(), Command::Create(spec.clone())))
        .collect();
    if wanted.is_empty()
        && let Ok(id) = SaleId::new(BUY_SALE)
    {
        wanted.push((id, Command::Show));
    }
    let pause = core.reactor.new_notify();
    let mut wanted = VecDeque::from(wanted);
    let mut under_way = VecDeque::new();
    let mut refused = HashSet::new();
    while !(wanted.is_empty() && under_way.is_empty()) {
        // Many at a time: commands that are pending together are sent together.
        while under_way.len() < START_SALES_MAX
            && let Some((id, command)) = wanted.pop_front()
        {
            match seller.batcher.submit_step(core.clock.now_ms(), &id, command.clone()) {
                Ok(ticket) => under_way.push_back((id, command, ticket)),
                Err(_) => {
                    wanted.push_front((id, command));
                    break;
                }
            }
        }
        seller.batcher.wake_link();
        let answer = under_way.pop_front().map(|(id, command, ticket)| {
            let answer = seller.batcher.wait(ticket);
            (id, command, answer)
        });
        // Also for the parts of a split sale, which may be missing even if the sale exists.
        let answer = answer.map(|(id, command, answer)| {
            let answer = answer.and_then(|outcome| with_parts(seller, &id, &command, outcome));
            (id, command, answer)
        });
        let (id, start) = match answer {
            Some((id, _, Ok(Outcome::Created(view)))) => (id, SaleStart::Created(*view)),
            Some((id, _, Ok(Outcome::Sale(view)))) => (id, SaleStart::Existing(*view)),
            Some((id, _, Ok(_))) => {
                // A sale that was moved to another ledger is not created here.
                let reason = seller.selling.refused_sales.reason(&id);
                (id, reason.map_or(SaleStart::Missing, SaleStart::Refused))
            }
            failed => {
                if let Some((id, _, Err(Failure::Unavailable))) = &failed
                    && let Some(reason) = seller.selling.refused_sales.reason(id)
                    && refused.insert(id.clone())
                {
                    let start = SaleStart::Refused(reason);
                    let _ = events.send(Event::Sale(id.detached(), start));
                }
                // Creating is idempotent, so it may be repeated even after an unknown outcome.
                wanted.extend(failed.map(|(id, command, _)| (id, command)));
                if under_way.is_empty() {
                    _ = pause.wait(|| core.clock.now_ms(), core.clock.now_ms() + 100);
                }
                continue;
            }
        };
        let _ = events.send(Event::Sale(id.detached(), start));
    }
    core.reactor.forget(&pause);
}
