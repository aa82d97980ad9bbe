//! The control threads, which have blocking clients of the ledger. They carry out operators'
//! requests at the control port, and the shop's requests at the public port except purchases.

use std::io;
use std::sync::Arc;

use super::api::Api;
use super::catalogue::Catalogues;
use super::request::{Reply, Request};
use super::worker::Worker;
use crate::engine::http::Problem;
use crate::engine::oneshot::Sender;
use crate::ledger::client::Client;
use crate::members::Instance;
use crate::orders::Destination;

/// The control threads.
pub struct ControlThreads {
    /// Reads, and changes that take a moment.
    quick: Worker,
    /// Requests that may take long.
    slow: Worker,
    /// The public list of sales.
    pub catalogues: Arc<Catalogues>,
    /// The server that they are part of.
    pub instance: Arc<Instance>,
}

impl ControlThreads {
    /// Starts the threads, each with its own `client`.
    ///
    /// # Errors
    /// A thread can't be started.
    pub fn start(
        client: impl Fn() -> Box<dyn Client>,
        orders: Option<&Destination>,
        instance: &Arc<Instance>,
    ) -> io::Result<Self> {
        let api =
            || Api::new(client()).with_orders(orders.cloned()).with_instance(instance.clone());
        Ok(Self {
            quick: Worker::start("control", api())?,
            slow: Worker::start("control-slow", api())?,
            catalogues: Arc::new(Catalogues::start(api())?),
            instance: instance.clone(),
        })
    }

    /// Submits a request to a thread, which sends the reply. An error: it can't be submitted.
    pub fn ask(&self, request: Request, reply: Sender<Reply>) -> Result<(), Problem> {
        let worker = if request.may_take_long() { &self.slow } else { &self.quick };
        worker.ask(request, reply)
    }
}
