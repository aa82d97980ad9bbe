//! The control port: how operators and the machinery around a server look at it and change sales.
//!
//! It is a service on an engine of its own, with one core that no buyer has: the same HTTP, bounds and
//! deadlines as at the public port. That core takes a request apart (`service`); what it asks is done
//! by a control thread (`desk`, `job`), which has a blocking client of the ledger. The shop's requests at
//! the buyers' port that are no purchases come to the same threads. The same [`Api`](api::Api) serves
//! commands that go straight to a ledger, so that both ways give the same answers.
//!
//! Architecture invariant: knows no connection of a buyer and nothing that a core of theirs owns. It
//! learns of the cores through atomics in `status::Status`; they learn of what it changes from the
//! ledger.

pub mod access;
pub mod api;
mod body;
pub mod catalogue;
pub mod caller;
pub mod change_log;
pub mod desk;
mod instances;
mod job;
mod page;
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
use self::desk::Desk;
use self::service::Operators;
use crate::clock::Clock;
use crate::config::{ControlSetting, Token};
use crate::engine;
use crate::engine::core::{Engine, Event};
use crate::engine::listener::Listener;
use crate::engine::settings::{Front, Settings};
use crate::limits::{CONTROL_CONNECTIONS_MAX, CONTROL_REFUSED_MAX, CONTROL_STOP_MS};
use crate::metrics::Metrics;
use crate::status::Status;

/// A running control port.
pub struct Control {
    address: SocketAddr,
    engine: Arc<Engine>,
    access: Arc<Access>,
    drained: Receiver<()>,
}

impl Control {
    /// Starts its core on the worker after those of the buyers' cores. `failed` hears if the core can't
    /// go on. Nobody is accepted yet.
    ///
    /// # Errors
    /// A thread can't be had.
    pub fn start(
        setting: &ControlSetting,
        address: SocketAddr,
        buyers: &Settings,
        status: Arc<Status>,
        desk: Arc<Desk>,
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
        let operators = Operators {
            access: access.clone(),
            desk,
            metrics: Metrics::new(status.clone()),
            status,
        };
        let theirs = engine.clone();
        engine::boot_core(&engine, 0, move || {
            let clock = Rc::new(Clock::default());
            engine::start_core(0, theirs, clock, operators).map(drop)
        });
        Ok(Self { address, engine, access, drained })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to accept. Those who came before have been waiting.
    pub fn accept(&self, listeners: Vec<Listener>) {
        self.engine.accept(vec![listeners]);
    }

    /// Accepts nobody any more, since another process does; those that are here end with their next
    /// answer.
    pub fn give_up_listening(&self) {
        self.engine.give_up_listening();
    }

    /// A way to change it while it runs.
    pub fn change(&self) -> Change {
        Change { engine: self.engine.clone(), access: self.access.clone() }
    }

    /// Takes no more requests and waits, for a moment, until those before are answered.
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
    /// It goes by this from now on, but stays where it is. `buyers`: the settings of the buyers' port.
    pub fn apply(&self, setting: &ControlSetting, shop: &[Token], buyers: &Settings) {
        self.access.change(setting.tokens.clone(), shop.to_vec());
        self.engine.change(&settings(buyers, self.engine.first_worker));
    }
}

/// Those of the buyers' engine, with the port's own bounds.
fn settings(buyers: &Settings, first_worker: usize) -> Settings {
    Settings {
        first_worker,
        connections_max: CONTROL_CONNECTIONS_MAX,
        refused_max: CONTROL_REFUSED_MAX,
        connections_per_address: 0,
        front: Front::default(),
        ..buyers.clone()
    }
}
