//! A purchase as a shop's pages send it: an order with a user and an idempotency key, posted to a sale
//! that gives each user one ticket. What those that can be asked so answer, and whether they mean it.

use std::net::SocketAddr;

use crate::answer::text_field;
use crate::client::{Client, Response};
use crate::error::{Result, fail};

/// Where orders of `ticket` are posted to.
pub const PATH: &str = "/v1/sales/ticket/reservations";
/// The same as the load generator has it.
pub const TARGET: &str = "POST /v1/sales/ticket/reservations";
/// The type of a refusal's content (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// What an order was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It has a ticket: the reservation.
    Granted(String),
    /// It had one already, by an earlier request with its key.
    Repeated(String),
    /// No ticket is left.
    SoldOut,
    /// The user has one, by another key.
    LimitReached,
}

/// Posts an order of one ticket.
pub fn order(client: &mut Client, path: &str, user: &str, key: Option<&str>) -> Result<Told> {
    let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let order = format!(r#"{{"user":"{user}","quantity":1}}"#);
    let response = client.post_with(path, &key, &order)?;
    let Response { status, content_type, body, .. } = &response;
    let id = || text_field(body, "id").filter(|_| body.contains(&format!(r#""user":"{user}""#)));
    match (status, &**content_type, id(), text_field(body, "code")) {
        (201, "application/json", Some(id), _) => Ok(Told::Granted(id.to_owned())),
        (200, "application/json", Some(id), _) => Ok(Told::Repeated(id.to_owned())),
        (409, PROBLEM, _, Some("sold_out")) => Ok(Told::SoldOut),
        (409, PROBLEM, _, Some("limit_reached")) => Ok(Told::LimitReached),
        _ => fail(format!("an order was answered {status} ({content_type}): {body}")),
    }
}

/// Buys a ticket and sees that its key finds it again, and that another key of its user gets none.
pub fn check(address: SocketAddr) -> Result<()> {
    let mut client = Client::connect(address)?;
    // A user whom the load generator does not name.
    let mut ask = |key| order(&mut client, PATH, "checking-user", Some(key));
    let told = [ask("first")?, ask("first")?, ask("second")?];
    match &told {
        [Told::Granted(id), Told::Repeated(same), Told::LimitReached] if id == same => Ok(()),
        told => fail(format!("a purchase, the same and another one were told {told:?}")),
    }
}

/// The body that a peer answers a granted order with. `id` is the reservation's within its sale.
pub fn held(id: &str, user: &str) -> String {
    let user = serde_json::Value::from(user);
    format!(r#"{{"id":"ticket~{id}","sale":"ticket","user":{user},"quantity":1,"status":"held"}}"#)
}

/// The body of a peer's refusal.
pub fn problem(status: u16, code: &str) -> String {
    format!(r#"{{"type":"about:blank","status":{status},"code":"{code}"}}"#)
}
