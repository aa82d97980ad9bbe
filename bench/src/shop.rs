//! A purchase in the form of a shop's pages: an order with a user and an idempotency key, posted to a
//! sale with one ticket per user. Reads and checks the answers.

use std::net::SocketAddr;

use crate::answer::text_field;
use crate::client::{Client, Response};
use crate::error::{Result, fail};

/// Target of orders of `ticket`.
pub const PATH: &str = "/v1/sales/ticket/reservations";
/// Target of orders of `ticket`, in the load generator's form.
pub const TARGET: &str = "POST /v1/sales/ticket/reservations";
/// The type of a refusal's content (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A new reservation.
    Granted(String),
    /// The reservation of an earlier request with its key.
    Repeated(String),
    /// No ticket is left.
    SoldOut,
    /// The user has a ticket by another key.
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
        _ => fail(format!("an order got an unexpected answer, {status} ({content_type}): {body}")),
    }
}

/// Buys a ticket. Checks that its key finds it again, and that another key of the user gets none.
pub fn check(address: SocketAddr) -> Result<()> {
    let mut client = Client::connect(address)?;
    // A user that the load generator does not name.
    let mut ask = |key| order(&mut client, PATH, "checking-user", Some(key));
    let told = [ask("first")?, ask("first")?, ask("second")?];
    match &told {
        [Told::Granted(id), Told::Repeated(same), Told::LimitReached] if id == same => Ok(()),
        told => fail(format!("a purchase, its repetition and a second purchase got {told:?}")),
    }
}

/// The body of a peer's grant. `id` names the reservation within its sale.
pub fn held(id: &str, user: &str) -> String {
    let user = serde_json::Value::from(user);
    format!(r#"{{"id":"ticket~{id}","sale":"ticket","user":{user},"quantity":1,"status":"held"}}"#)
}

/// The body of a peer's refusal.
pub fn problem(status: u16, code: &str) -> String {
    format!(r#"{{"type":"about:blank","status":{status},"code":"{code}"}}"#)
}
