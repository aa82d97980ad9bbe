//! A process that is an engine and nothing else: the same service on each core, on one address,
//! until a signal ends it.
//!
//! It has those bounds of the server that concern the engine. The server does not use it, since the
//! server also has a ledger, a control port and sales to wait for.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::core::{Engine, Event, Service};
use super::listener::{Families, bind_all};
use super::settings::{Settings, TrustedProxies};
use super::{boot_core, configure, start_core};
use crate::host::{Host, avoid_stalls, raise_file_limit};
use crate::{limits, signals};

/// See the module's header. A process can have one.
pub struct Program {
    engine: Arc<Engine>,
    address: SocketAddr,
    messages: Receiver<Message>,
}

enum Message {
    Engine(Event),
    /// SIGTERM or SIGINT.
    End,
}

impl Program {
    /// Listens, and starts a core per processor, each with a service that `service` creates there.
    /// With no processors given: those that this process may use.
    ///
    /// # Errors
    /// The address can't be listened on, there are no descriptors, or signals can't be watched. A
    /// failure of a core is an error of [`Program::run`].
    pub fn start<S: Service>(
        listen: SocketAddr,
        processors: &[usize],
        service: impl Fn() -> S + Send + Sync + 'static,
    ) -> io::Result<Self> {
        raise_file_limit()?;
        let host = Host::of_process();
        let processors = if processors.is_empty() { host.default_cores() } else { processors };
        let cores = processors.len();
        let settings = settings(&host, cores);
        avoid_stalls(settings.connections_max as u64)?;
        let (address, listeners) = bind_all(listen, Families::Both, cores)?;

        let (events, messages) = channel();
        let reports = events.clone();
        let report = move |event| _ = reports.send(Message::Engine(event));
        let engine = Arc::new(Engine::new(cores, settings, report)?);
        signals::on_end(move || _ = events.send(Message::End))?;

        configure(cores);
        let service = Arc::new(service);
        for (index, &processor) in processors.iter().enumerate() {
            let (own, service) = (engine.clone(), service.clone());
            boot_core(&engine, index, move || {
                if !core_affinity::set_for_current(core_affinity::CoreId { id: processor }) {
                    tracing::warn!(core = index, processor, "core not pinned to its processor");
                }
                start_core(index, own, Rc::default(), service()).map(drop)
            });
        }
        engine.accept(listeners.into_iter().map(|listener| vec![listener]).collect());
        Ok(Self { engine, address, messages })
    }

    /// The address it listens on, with the actual port if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Number of its cores.
    pub fn cores(&self) -> usize {
        self.engine.cores()
    }

    /// Serves until SIGTERM or SIGINT, then drains.
    ///
    /// # Errors
    /// A core failed, or a second signal came before the end of the drain.
    pub fn run(self) -> io::Result<()> {
        let mut left = self.cores();
        while left > 0 {
            match self.messages.recv() {
                Ok(Message::Engine(Event::Drained)) => left -= 1,
                Ok(Message::Engine(Event::Failed(error))) => return Err(error),
                Ok(Message::End) if self.engine.leave() => {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                // No sender is left.
                Ok(Message::End) | Err(_) => self.engine.drain(),
            }
        }
        Ok(())
    }
}

fn settings(host: &Host, cores: usize) -> Settings {
    let connections_max = host.connections_max(cores, false);
    Settings {
        first_worker: 0,
        refused_max: limits::REFUSED_CONNECTIONS_MAX,
        connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
        connections_per_address: 0,
        proxies: TrustedProxies::default(),
        idle_timeout_ms: limits::IDLE_DEADLINE_MS,
        head_timeout_ms: limits::HEAD_DEADLINE_MS,
        body_timeout_ms: limits::BODY_DEADLINE_MS,
        write_timeout_ms: limits::WRITE_STALL_DEADLINE_MS,
    }
}
