//! The live page, and the numbers that it polls. The port's core answers both from memory.
//!
//! The server's numbers are collected at most twice per second, however many pages poll. Sales come
//! from the catalogue, which its own thread reads from the ledger. A page never waits for the
//! ledger: it gets the last copy, with its age.

mod excerpt;
mod page;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::access::Changes;
use super::catalogue::CoreCatalogue;
use super::instances;
use super::request::Reply;
use crate::engine::http::{JSON, Problem, json_bytes};
use crate::limits::{LIVE_AGE_MS, LIVE_SERVERS_MAX};
use crate::members::Instance;
use crate::metrics::LiveServer;
use crate::status::Status;

use excerpt::Asked;
pub(super) use page::write_page;

/// Age up to which collected numbers are reused.
const AGE: Duration = Duration::from_millis(LIVE_AGE_MS);

/// The state from which the core answers live pages.
pub(super) struct Live {
    status: Arc<Status>,
    instance: Arc<Instance>,
    catalogue: CoreCatalogue,
    began: Instant,
    /// The last collected numbers, and when they were collected.
    server: RefCell<Option<(Instant, Rc<[u8]>)>>,
}

impl Live {
    /// Of this server.
    pub(super) fn new(
        status: Arc<Status>,
        instance: Arc<Instance>,
        catalogue: CoreCatalogue,
    ) -> Self {
        let (began, server) = (Instant::now(), RefCell::default());
        Self { status, instance, catalogue, began, server }
    }

    /// The numbers, with the sales that a query selects. `changes`: what the page may change.
    pub(super) fn answer(&self, query: &str, changes: Changes) -> Result<Reply, Problem> {
        let asked = Asked::read(query)?;
        let server = self.server(Instant::now());
        let mut body = Vec::with_capacity(server.len() + 8 * 1024);
        body.extend_from_slice(b"{\"changes\":");
        body.extend_from_slice(&json_bytes(&changes.name()));
        body.extend_from_slice(&server);
        body.extend_from_slice(b",\"sales\":");
        let problem = self.catalogue.keep_fresh();
        excerpt::write(&self.catalogue.newest(), problem.as_deref(), &asked, &mut body);
        body.extend_from_slice(b"}\n");
        Ok(Reply::media(JSON, body))
    }

    /// The members that are the same for every page.
    fn server(&self, now: Instant) -> Rc<[u8]> {
        let mut kept = self.server.borrow_mut();
        if let Some((at, server)) = &*kept
            && now.saturating_duration_since(*at) < AGE
        {
            return server.clone();
        }
        let mut text = Vec::from(&b",\"server\":"[..]);
        text.extend_from_slice(&json_bytes(&LiveServer::of(&self.status, self.began)));
        text.extend_from_slice(b",\"instances\":");
        text.extend_from_slice(&json_bytes(&instances::known(&self.instance, LIVE_SERVERS_MAX)));
        let server: Rc<[u8]> = text.into();
        *kept = Some((now, server.clone()));
        server
    }
}
