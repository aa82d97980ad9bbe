//! Where requests go that need a blocking client of the ledger: the operators' at the control port, and
//! those of the shop at the buyers' port that are no purchase.

use std::io;
use std::sync::Arc;

use super::api::Api;
use super::catalogue::Catalogues;
use super::job::Lane;
use super::request::{Reply, Request};
use crate::engine::http::Problem;
use crate::engine::promise::Promise;
use crate::ledger::client::Client;
use crate::members::Instance;
use crate::orders::Destination;

/// The control threads.
pub struct Desk {
    /// Looks, and changes that take a moment.
    quick: Lane,
    /// What may take long.
    slow: Lane,
    /// The list of sales that everybody may see.
    pub catalogues: Arc<Catalogues>,
}

impl Desk {
    /// Starts the threads, each with a `client` of its own.
    ///
    /// # Errors
    /// A thread can't be had.
    pub fn start(
        client: impl Fn() -> Box<dyn Client>,
        orders: Option<&Destination>,
        instance: &Arc<Instance>,
    ) -> io::Result<Self> {
        let api =
            || Api::new(client()).with_orders(orders.cloned()).with_instance(instance.clone());
        Ok(Self {
            quick: Lane::start("control", api())?,
            slow: Lane::start("control-slow", api())?,
            catalogues: Arc::new(Catalogues::start(api())?),
        })
    }

    /// Leaves a request to a thread, which keeps the promise; or says why that can't be.
    pub fn ask(&self, request: Request, reply: Promise<Reply>) -> Result<(), Problem> {
        let lane = if request.may_take_long() { &self.slow } else { &self.quick };
        lane.ask(request, reply)
    }
}
