//! The control port: operators, and the systems around a server, read its state and change sales
//! here.
//!
//! It is a service on an engine of its own, with one core: the same HTTP, bounds and deadlines as
//! at the public port. That core parses a request (`service`), and a control thread with a blocking
//! client of the ledger carries it out (`threads`, `worker`). The shop's requests at the public
//! port, except purchases, use the same threads. Commands that access a ledger directly use the
//! same [`Api`](api::Api), so that both ways give the same answers.
//!
//! Architecture invariant: knows no buyer's connection and no state of the buyers' cores. It reads
//! their atomics in `status::Status`; they learn of its changes from the ledger.

pub mod access;
pub mod api;
mod body;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod catalogue;
pub mod caller;
pub mod change_log;
pub mod threads;
mod instances;
mod live;
mod worker;
mod pagination;
pub mod problem;
mod refusal;
pub mod request;
mod service;
mod snapshot;
mod split;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use self::access::Access;
use self::live::Live;
use self::service::Operators;
use self::threads::ControlThreads;
use crate::clock::Clock;
use crate::config::{ControlSetting, Token};
use crate::engine;
use crate::engine::core::{Engine, Event};
use crate::engine::listener::Listener;
use crate::engine::settings::{Settings, TrustedProxies};
use crate::limits::{CONTROL_CONNECTIONS_MAX, CONTROL_REFUSED_MAX, CONTROL_STOP_MS};
use crate::metrics::Metrics;
use crate::status::Status;

#[cfg(feature = "simulation")]
pub use self::split::apply as apply_to_sale;

/// A running control port.
pub struct Control {
    address: SocketAddr,
    engine: Arc<Engine>,
    access: Arc<Access>,
    drained: Receiver<()>,
}

impl Control {
    /// Starts its core on the worker after those of the buyers' cores, without accepting
    /// connections. `failed` is called if the core can't continue.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn start(
        setting: &ControlSetting,
        address: SocketAddr,
        buyers: &Settings,
        status: Arc<Status>,
        control_threads: Arc<ControlThreads>,
        failed: impl Fn(io::Error) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (told, drained) = sync_channel(1);
        let settings = settings(buyers, status.engine.cores());
        let engine = Arc::new(Engine::new(1, settings, move |event| match event {
            Event::Failed(error) => failed(error),
            Event::Drained => _ = told.try_send(()),
        })?);
        let shop = status.config.shop_tokens.clone();
        let access = Arc::new(Access::new(setting.tokens.clone(), shop));
        let (theirs, their_access) = (engine.clone(), access.clone());
        engine::boot_core(&engine, 0, move || {
            let clock = Rc::new(Clock::default());
            let catalogue = control_threads.catalogues.clone().of_core();
            let operators = Operators {
                access: their_access,
                live: Live::new(status.clone(), control_threads.instance.clone(), catalogue),
                control_threads,
                metrics: Metrics::new(status.clone()),
                status,
            };
            engine::start_core(0, theirs, clock, operators).map(drop)
        });
        Ok(Self { address, engine, access, drained })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts accepting. Earlier connections have been waiting in the backlog.
    pub fn accept(&self, listeners: Vec<Listener>) {
        self.engine.accept(vec![listeners]);
    }

    /// Stops accepting, since another process does. Open connections end with their next answer.
    pub fn give_up_listening(&self) {
        self.engine.give_up_listening();
    }

    /// A handle for changing it while it runs.
    pub fn change(&self) -> Change {
        Change { engine: self.engine.clone(), access: self.access.clone() }
    }

    /// Stops taking requests, and waits a short time for answers to earlier ones.
    pub fn stop(self) {
        self.engine.leave();
        self.engine.drain();
        let _ = self.drained.recv_timeout(Duration::from_millis(CONTROL_STOP_MS));
    }
}

/// Changes a control port while it runs.
pub struct Change {
    engine: Arc<Engine>,
    access: Arc<Access>,
}

impl Change {
    /// Applies new settings, except the address. `buyers`: the settings of the public port.
    pub fn apply(&self, setting: &ControlSetting, shop: &[Token], buyers: &Settings) {
        self.access.change(setting.tokens.clone(), shop.to_vec());
        self.engine.change(&settings(buyers, self.engine.first_worker));
    }
}

/// The settings of the public port, with the control port's own bounds.
fn settings(buyers: &Settings, first_worker: usize) -> Settings {
    Settings {
        first_worker,
        connections_max: CONTROL_CONNECTIONS_MAX,
        refused_max: CONTROL_REFUSED_MAX,
        connections_per_address: 0,
        proxies: TrustedProxies::default(),
        ..buyers.clone()
    }
}
