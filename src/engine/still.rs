//! For unit tests of services: a core on which nothing happens by itself.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::core::{Action, Core, Engine, Service, Settings, Worker};
use super::http::Head;
use super::workers;
use crate::clock::Clock;

/// Settings with which nothing is scarce.
pub fn settings() -> Settings {
    Settings {
        first_worker: 0,
        connections_max: 100,
        refused_max: 10,
        workers_max: 100,
        connections_per_address: 0,
        trusted: Vec::new(),
        idle_timeout_ms: 60_000,
        head_timeout_ms: 10_000,
        body_timeout_ms: 10_000,
        write_timeout_ms: 10_000,
    }
}

/// Whoever tests a service calls it without the core.
struct Nobody;

impl Service for Nobody {
    fn serve(&self, _: &'static Core, _: &Head<'_>, _: &[u8], _: &mut Vec<u8>) -> Action {
        unreachable!("there are no connections")
    }
}

/// Makes a core of the calling coroutine's worker: without a tick, a mailbox or a leader, and with the
/// time of the test.
pub fn core(settings: Settings, clock: Rc<Clock>) -> io::Result<&'static Core> {
    let engine = Arc::new(Engine::new(1, settings, |_| {})?);
    let life = |core, number| workers::live(&Worker { core, service: &Nobody, number });
    let core = Core::new(0, engine, clock, Box::new(life))?;
    Ok(Box::leak(Box::new(core)))
}
