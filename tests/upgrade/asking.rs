//! Requests of buyers and operators to a server of any build.

use serde_json::Value;

use crate::buyer::{Answer, Bought, Buyer};
use crate::known::{Reservation, time};
use crate::server::Server;

fn buyer(server: &Server) -> Buyer {
    Buyer::connect(server.address()).expect("connect to the server")
}

/// A request to the control port.
pub fn control(server: &Server, method: &str, path: &str) -> Answer {
    let mut operator = Buyer::connect(server.control()).expect("connect to the control port");
    operator.request(method, path, &[], "").expect("an answer")
}

/// A sale as it stands.
pub fn show(server: &Server, sale: &str) -> Value {
    let answer = control(server, "GET", &format!("/v1/sales/{sale}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// A reservation as buyers are shown it.
pub fn reservation(server: &Server, id: &str) -> Value {
    let answer = buyer(server).reservation(id).expect("an answer");
    assert_eq!(answer.status, 200, "{id}: {answer:?}");
    answer.json()
}

/// A purchase; without a user at `/buy/ticket`.
pub fn reserve(
    server: &Server,
    sale: &str,
    user: Option<&str>,
    quantity: u64,
    key: Option<&str>,
) -> Answer {
    let mut buyer = buyer(server);
    let Some(user) = user else {
        assert_eq!((sale, quantity), ("ticket", 1), "what /buy/ticket sells");
        let key = key.map(|key| ("Idempotency-Key", key));
        let headers: Vec<_> = key.into_iter().collect();
        return buyer.request("GET", "/buy/ticket", &headers, "").expect("an answer");
    };
    let quantity = u32::try_from(quantity).expect("a quantity");
    buyer.reserve(sale, user, quantity, key.unwrap_or_default()).expect("an answer")
}

/// The same purchase again.
pub fn again(server: &Server, sale: &str, reservation: &Reservation) -> Answer {
    let (user, key) = (reservation.user.as_deref(), reservation.key.as_deref());
    reserve(server, sale, user, reservation.quantity, key)
}

/// The reservation that an answer to a purchase names, whatever the outcome.
pub fn reservation_of(answer: &Answer) -> Option<String> {
    let json = answer.json();
    let named = [&json["id"], &json["data"]["reservation"]];
    named.into_iter().find_map(Value::as_str).map(str::to_owned)
}

/// Changes the hold time of a sale.
pub fn hold_for(server: &Server, sale: &str, hold_ms: u64) {
    let mut operator = Buyer::connect(server.control()).expect("connect to the control port");
    let body = format!("{{\"hold_ms\":{hold_ms}}}");
    let path = format!("/v1/sales/{sale}");
    let answer = operator.request("PATCH", &path, &[], &body).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Confirms, cancels or refunds, as the shop does.
pub fn settle(server: &Server, id: &str, verb: &str) -> Answer {
    control(server, "POST", &format!("/v1/reservations/{id}/{verb}"))
}

/// Buys one unit with a key.
pub fn buy_one(server: &Server, sale: &str, user: &str, key: &str) -> Bought {
    reserve(server, sale, Some(user), 1, Some(key)).bought()
}

/// Panics unless a reservation is shown as it is known.
#[track_caller]
pub fn assert_shown(known: &Reservation, shown: &Value) {
    let same = shown["id"] == known.id.as_str()
        && shown["user"].as_str() == known.user.as_deref()
        && shown["quantity"] == known.quantity
        && shown["status"] == known.status.as_str()
        && shown["expires_at"].as_str().map(time) == Some(time(&known.expires_at));
    assert!(same, "known as {known:?}, shown as {shown}");
}
