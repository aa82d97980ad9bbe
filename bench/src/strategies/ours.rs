//! stampede: holds a unit in Redis, and the order follows through `stampede orders`. Buyers use HTTP.

use std::net::SocketAddr;
use std::process::Command;

use super::in_sql::confirmed;
use super::load::{Desk, Helper, Payment, Strategy};
use crate::answer::text_field;
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::lab::{Lab, Redis, Served};
use crate::process::Running;

/// A server with its orders' worker.
pub struct Ours {
    served: Served,
    database: String,
    _orders: Running,
}

impl Ours {
    /// Starts both on the servers' core. Waits for a first answer and for the worker's tables.
    pub fn start(lab: &mut Lab, redis: &Redis, database: String, sale: &str) -> Result<Self> {
        check_orders(lab)?;
        let core = lab.server_core;
        let options = ["--sale", sale, "--public-confirm"];
        let served = lab.stampede(&[core], &redis.url(), &options)?;
        let line = lab.programs.orders(core, &redis.url(), &database, false);
        let mut orders = lab.background("stampede-orders", &line)?;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while confirmed(&database).is_err() || !is_up(served.address) {
            orders.check_alive()?;
            if std::time::Instant::now() > deadline {
                return fail("no server or no table of orders after 10 s");
            }
            lab.settle(std::time::Duration::from_millis(50))?;
        }
        Ok(Self { served, database, _orders: orders })
    }
}

/// Fails if this stampede has no `orders` yet.
pub fn check_orders(lab: &Lab) -> Result<()> {
    let program = &lab.programs.stampede;
    let output = Command::new(program).args(["orders", "--help"]).output();
    match output.because(|| format!("starting {}", program.display()))?.status.success() {
        true => Ok(()),
        false => fail(format!("{} has no command `orders`", program.display())),
    }
}

fn is_up(address: SocketAddr) -> bool {
    let shown = Client::connect(address).and_then(|mut client| client.get("/v1/sales/ticket"));
    shown.is_ok_and(|response| response.status == 200)
}

impl Strategy for Ours {
    fn desk(&self) -> Result<Box<dyn Desk>> {
        Ok(Box::new(HttpDesk(Client::connect(self.served.address)?)))
    }

    fn helpers(&self) -> Result<Vec<Helper>> {
        Ok(Vec::new())
    }

    fn confirmed(&self) -> Result<u64> {
        confirmed(&self.database)
    }
}

struct HttpDesk(Client);

impl Desk for HttpDesk {
    fn order(&mut self, buyer: u32) -> Result<Option<String>> {
        let body = format!("{{\"user\":\"user-{buyer:08}\"}}");
        let response = self.0.post("/v1/sales/ticket/reservations", &body)?;
        match (response.status, text_field(&response.body, "id")) {
            (201, Some(id)) => Ok(Some(id.to_owned())),
            (409, _) if text_field(&response.body, "code") == Some("sold_out") => Ok(None),
            (status, _) => {
                fail(format!("a purchase got an unexpected answer, {status}: {}", response.body))
            }
        }
    }

    fn pay(&mut self, order: &str) -> Result<Payment> {
        let response = self.0.post(&format!("/v1/reservations/{order}/confirm"), "")?;
        match response.status {
            200 => Ok(Payment::Done),
            409 if text_field(&response.body, "code") == Some("expired") => Ok(Payment::Refunded),
            status => {
                fail(format!("a payment got an unexpected answer, {status}: {}", response.body))
            }
        }
    }
}
