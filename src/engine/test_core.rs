//! A core for unit tests of services. It has no tick, mailbox or leader, so nothing runs by itself.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::core::{Core, Engine};
use super::settings::{Settings, TrustedProxies};
use crate::clock::Clock;

/// Settings with generous limits.
pub fn settings() -> Settings {
    Settings {
        first_worker: 0,
        connections_max: 100,
        refused_max: 10,
        connections_per_address: 0,
        proxies: TrustedProxies::default(),
        idle_timeout_ms: 60_000,
        head_timeout_ms: 10_000,
        body_timeout_ms: 10_000,
        write_timeout_ms: 10_000,
    }
}

/// Creates a core of the calling coroutine's worker, with the clock of the test.
pub fn core(settings: Settings, clock: Rc<Clock>) -> io::Result<&'static Core> {
    let engine = Arc::new(Engine::new(1, settings, |_| {})?);
    Ok(Box::leak(Box::new(Core::new(0, engine, clock)?)))
}
