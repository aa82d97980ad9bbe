//! Reads and prints the sales of `sale show` and `sale list`: one sale, or all.

use std::io::{self, Write};

use serde_json::Value;

use super::failure::Failure;
use super::table;
use super::transport::{Transport, json_of};
use crate::control::request::Request;
use crate::engine::http::Method;
use crate::limits::CONTROL_PAGE_MAX;

/// Which sales are shown.
pub(super) enum Listing<'a> {
    /// The sale of this id.
    One(&'a str),
    /// All sales of the ledger.
    All,
}

/// The result of a request for the sales.
pub(super) enum Fetched {
    /// The sales.
    Sales(Vec<Value>),
    /// The server or the ledger is away. The text gives the reason.
    Away(String),
}

impl<'a> Listing<'a> {
    /// The id, if it is one sale.
    pub(super) fn id(&self) -> Option<&'a str> {
        match self {
            Self::One(id) => Some(id),
            Self::All => None,
        }
    }

    /// Requests the sales. Fails if a later request can't succeed either: no such sale, or no right.
    pub(super) fn fetch(&self, transport: &mut Transport) -> Result<Fetched, Failure> {
        if let Self::One(id) = self {
            return Ok(match get(transport, format!("/v1/sales/{id}"))? {
                Ok(sale) => Fetched::Sales(vec![sale]),
                Err(reason) => Fetched::Away(reason),
            });
        }
        let mut sales = Vec::new();
        let mut target = format!("/v1/sales?limit={CONTROL_PAGE_MAX}");
        loop {
            let mut page = match get(transport, target)? {
                Ok(page) => page,
                Err(reason) => return Ok(Fetched::Away(reason)),
            };
            if let Value::Array(found) = page["sales"].take() {
                sales.extend(found);
            }
            let Some(next) = page["next"].as_str() else { break };
            target = format!("/v1/sales?limit={CONTROL_PAGE_MAX}&after={next}");
        }
        Ok(Fetched::Sales(sales))
    }

    /// Writes the sales as people read them.
    pub(super) fn print(&self, out: &mut dyn Write, sales: &[Value]) -> io::Result<()> {
        match self {
            Self::One(_) => sales.iter().try_for_each(|sale| table::members(out, sale)),
            Self::All => table::sales(out, sales),
        }
    }
}

/// Requests a value. The inner error gives the reason why the server or the ledger is away.
fn get(transport: &mut Transport, target: String) -> Result<Result<Value, String>, Failure> {
    let response = match transport.send(&Request::new(Method::Get, target)) {
        Err(Failure::Failed(reason)) => return Ok(Err(reason)),
        sent => sent?,
    };
    let is_away = response.status >= 500;
    match json_of(response) {
        Err(failure) if is_away => Ok(Err(failure.to_string())),
        value => value.map(Ok),
    }
}
