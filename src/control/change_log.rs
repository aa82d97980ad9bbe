//! The log line of each operator's change.
//!
//! Each request that may change something gives one line, whatever its outcome. The line is written
//! in one place for all of them, so a new request has it too. It is written after the request was
//! carried out and before it is answered.

use std::net::SocketAddr;

use serde_json::Value;

use super::caller::Caller;
use super::request::{Reply, Request};
use crate::engine::http::Head;
use crate::limits::REQUEST_ASKED_BYTES_MAX;
use crate::log_throttle::LogThrottle;
use crate::logging::AUDIT;
use crate::sale::SaleId;
use crate::trace::Trace;

/// Logs a change, or an attempt.
pub fn log_change(request: &Request, reply: &Reply) {
    if !request.may_change() {
        return;
    }
    let told: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let Caller { credential, operator, from, trace } = &request.caller;
    let sale = sale_of(request);
    let asked = asked(request);
    tracing::info!(
        target: AUDIT,
        credential,
        operator,
        from = from.map(tracing::field::display),
        request_id = trace.as_ref().and_then(Trace::request_id),
        traceparent = trace.as_ref().and_then(Trace::parent),
        method = request.method.as_str(),
        path = request.target,
        sale,
        asked,
        status = reply.status().code(),
        code = told["code"].as_str(),
        "operator's change"
    );
}

/// Logs a refused caller, throttled.
pub(super) fn log_refusal(head: &Head<'_>, from: Option<SocketAddr>, code: &str) {
    static REFUSED: LogThrottle = LogThrottle::new();
    if let Some(left_out) = REFUSED.now() {
        let from = from.map(tracing::field::display);
        tracing::warn!(from, path = head.path, code, left_out, "control port refused a caller");
    }
}

/// The sale that a request names.
fn sale_of(request: &Request) -> Option<String> {
    let mut parts = request.path().split('/').skip(2);
    let named = match (parts.next()?, parts.next()) {
        ("sales", Some(sale)) => sale.to_owned(),
        ("sales", None) => {
            serde_json::from_slice::<Value>(&request.body).ok()?["id"].as_str()?.into()
        }
        ("reservations", Some(id)) => id.split('~').next().unwrap_or_default().to_owned(),
        _ => return None,
    };
    SaleId::new(&named).ok().map(|sale| sale.as_str().to_owned())
}

/// The body, if it is short and a text.
fn asked(request: &Request) -> Option<&str> {
    let is_short = (1..=REQUEST_ASKED_BYTES_MAX).contains(&request.body.len());
    str::from_utf8(&request.body).ok().filter(|_| is_short)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::http::Method;

    #[test]
    fn the_sale_is_found_in_path_reservation_id_or_body() {
        let sale = |request: Request| sale_of(&request);
        for (method, target) in [
            (Method::Post, "/v1/sales/a/open"),
            (Method::Delete, "/v1/sales/a"),
            (Method::Post, "/v1/reservations/a~01234567890123456789abcdef/cancel"),
        ] {
            assert_eq!(sale(Request::new(method, target)).as_deref(), Some("a"), "{target}");
        }
        let create =
            Request::new(Method::Post, "/v1/sales").with_json(&json!({ "id": "a", "total": 3 }));
        assert_eq!(asked(&create), Some(r#"{"id":"a","total":3}"#));
        assert_eq!(sale(create).as_deref(), Some("a"));
        for target in ["/v1/audit", "/v1/sales/A~/open", "/v1/sales", "/", ""] {
            assert_eq!(sale(Request::new(Method::Post, target)), None, "{target}");
        }
    }
}
