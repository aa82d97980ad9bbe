//! From a head (and a body) to a route: paths, methods, parameters and the JSON of a request.
//!
//! Architecture invariant: decides, and does nothing. It does no I/O and knows no ledger. Sales and
//! reservations are named as the client wrote them; whether they exist is not known here.

mod json;
pub mod forwarded;
mod key;
pub mod percent;
mod seats;
pub mod table;
mod user;

pub use json::{
    ReservationRequest, parse_admitted_request, parse_remaining, parse_reservation_request,
    whole_number, wrong_remaining,
};
pub use key::idempotency_key;
pub use seats::seats_problem;
pub use user::{USER_FIELD, USER_HEADER, UserFieldError, UserSources, buyer, user_not_trusted};

use std::borrow::Cow;

use crate::engine::http::{Head, Method};
use table::{Endpoint, Found, Operation, Port};

/// What is requested.
#[derive(Debug, Clone)]
pub enum Route<'a> {
    /// TechEmpower's plaintext test.
    Plaintext,
    /// TechEmpower's JSON test.
    Json,
    /// Buy one unit of the sale `ticket`, for the user that [`buyer`] returns.
    BuyTicket,
    /// Show a sale.
    ShowSale {
        /// Its id, as the client wrote it.
        sale: Cow<'a, str>,
    },
    /// Reserve units of a sale. The body goes to [`parse_reservation_request`].
    CreateReservation {
        /// Its id, as the client wrote it.
        sale: Cow<'a, str>,
    },
    /// Show a reservation.
    ShowReservation {
        /// Its public id, as the client wrote it.
        id: Cow<'a, str>,
    },
    /// Confirm a reservation: it is paid.
    ConfirmReservation {
        /// Its public id, as the client wrote it.
        id: Cow<'a, str>,
    },
    /// Cancel a reservation, or a part of it. The body goes to [`parse_remaining`].
    CancelReservation {
        /// Its public id, as the client wrote it.
        id: Cow<'a, str>,
    },
    /// A request that only the shop may make, carried out by a control thread.
    ControlThread {
        /// The row of the table.
        endpoint: &'static Endpoint,
        /// The name in its path, as it was sent. Empty: the path has none.
        name: &'a str,
    },
    /// List all sales, page by page.
    ListSales {
        /// The row of the table, which names the parameters.
        endpoint: &'static Endpoint,
    },
    /// The OpenAPI document.
    Describe,
    /// OPTIONS: 204 with the allowed methods.
    Options {
        /// The methods, as in the header `Allow`.
        allow: &'static str,
    },
    /// The path exists, but not for this method: 405.
    MethodNotAllowed {
        /// The methods, as in the header `Allow`.
        allow: &'static str,
    },
    /// There is no such path: 404.
    NotFound,
}

impl<'a> Route<'a> {
    /// A parameter on a path that has none, which is an error: `quantity` in a query would silently
    /// be ignored. TechEmpower's two paths accept any parameter.
    pub fn unexpected_parameter(&self, query: &'a str) -> Option<Cow<'a, str>> {
        match self {
            Self::Describe
            | Self::ShowSale { .. }
            | Self::CreateReservation { .. }
            | Self::ShowReservation { .. }
            | Self::ConfirmReservation { .. }
            | Self::CancelReservation { .. } => {
                percent::parameters(query).next().map(|(name, _)| name)
            }
            _ => None,
        }
    }

    /// Whether the resource exists independently of the request. A purchase does not, before it is
    /// made.
    pub fn has_representation(&self) -> bool {
        match self {
            Self::BuyTicket
            | Self::CreateReservation { .. }
            | Self::ConfirmReservation { .. }
            | Self::CancelReservation { .. } => false,
            Self::ControlThread { endpoint, .. } => endpoint.methods.contains(&Method::Get),
            _ => true,
        }
    }
}

/// `Allow` in the answer to OPTIONS of the whole server.
const ALLOW_ALL: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The route of a head whose path is in its normal form ([`percent::normalized`]).
#[inline]
pub fn route<'a>(head: &Head<'a>) -> Route<'a> {
    match (head.path, head.method) {
        // The most frequent requests.
        ("/buy/ticket", Method::Get | Method::Head | Method::Post) => Route::BuyTicket,
        ("/plaintext", Method::Get) => Route::Plaintext,
        ("/json", Method::Get) => Route::Json,
        (path, method) => route_by_table(method, path),
    }
}

fn route_by_table(method: Method, path: &str) -> Route<'_> {
    // A name that is the id of a sale contains no separator and no escape.
    if method == Method::Post
        && let Some(sale) =
            path.strip_prefix("/v1/sales/").and_then(|p| p.strip_suffix("/reservations"))
        && !sale.is_empty()
        && !sale.bytes().any(|byte| matches!(byte, b'/' | b'%'))
    {
        return Route::CreateReservation { sale: Cow::Borrowed(sale) };
    }
    let (endpoint, name) = match table::find(Port::Public, method, path) {
        Found::Endpoint(endpoint, name) => (endpoint, name),
        Found::Path(methods) if method == Method::Options => {
            return Route::Options { allow: &methods.allow };
        }
        Found::Path(methods) => return Route::MethodNotAllowed { allow: &methods.allow },
        Found::Nothing if path == "*" => return Route::Options { allow: ALLOW_ALL },
        Found::Nothing => return Route::NotFound,
    };
    let sent = name;
    let Some(name) = percent::decode(sent) else { return Route::NotFound };
    match endpoint.operation {
        Operation::BuyTicket => Route::BuyTicket,
        Operation::Plaintext => Route::Plaintext,
        Operation::Json => Route::Json,
        Operation::Reserve => Route::CreateReservation { sale: name },
        Operation::ShowSale => Route::ShowSale { sale: name },
        Operation::ShowReservation => Route::ShowReservation { id: name },
        Operation::Confirm => Route::ConfirmReservation { id: name },
        Operation::Cancel => Route::CancelReservation { id: name },
        Operation::Describe => Route::Describe,
        Operation::ListSales => Route::ListSales { endpoint },
        // The shop's requests, which a control thread carries out.
        _ => Route::ControlThread { endpoint, name: sent },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    fn ask(line: &str, headers: &str) -> String {
        let input = format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let head = parse_head(input.as_bytes()).unwrap().unwrap();
        format!("{:?}", route(&head))
    }

    #[test]
    fn requests_are_routed() {
        let read = r#"{ allow: "GET, HEAD, OPTIONS" }"#;
        let create = r#"{ allow: "POST, OPTIONS" }"#;
        let both = r#"{ allow: "GET, HEAD, POST, OPTIONS" }"#;
        let all = r#"{ allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" }"#;
        let anonymous = "BuyTicket";
        for (line, want) in [
            ("GET /plaintext", "Plaintext"),
            ("HEAD /plaintext", "Plaintext"),
            ("GET /plaintext?x=1", "Plaintext"),
            ("GET /json", "Json"),
            ("POST /json", &format!("MethodNotAllowed {read}")),
            ("OPTIONS /json", &format!("Options {read}")),
            ("OPTIONS *", &format!("Options {all}")),
            ("OPTIONS http://a", &format!("Options {all}")),
            ("GET /json/", "NotFound"),
            ("GET /", "NotFound"),
            ("GET //json", "NotFound"),
            ("GET /Json", "NotFound"),
            ("OPTIONS /nothing", "NotFound"),
            ("GET /buy/ticket", anonymous),
            ("GET http://a/buy/ticket", anonymous),
            ("HEAD /buy/ticket", anonymous),
            ("POST /buy/ticket", anonymous),
            ("PUT /buy/ticket", anonymous),
            ("PATCH /buy/ticket", anonymous),
            ("DELETE /buy/ticket", anonymous),
            ("OPTIONS /buy/ticket", &format!("Options {all}")),
            ("TRACE /buy/ticket", &format!("MethodNotAllowed {all}")),
            ("GET /buy/ticket/", "NotFound"),
            ("GET /buy/ticket2", "NotFound"),
            ("GET /buy", "NotFound"),
            ("GET /v1/sales/ticket", r#"ShowSale { sale: "ticket" }"#),
            ("HEAD /v1/sales/%74icket", r#"ShowSale { sale: "ticket" }"#),
            ("GET /v1/sales/%2f", r#"ShowSale { sale: "/" }"#),
            ("GET /v1/sales/%zz", "NotFound"),
            ("POST /v1/sales/ticket", &format!("MethodNotAllowed {read}")),
            ("GET /v1/sales/", "NotFound"),
            ("GET /v1/sales/ticket/", "NotFound"),
            ("POST /v1/sales/ticket/reservations", r#"CreateReservation { sale: "ticket" }"#),
            ("PUT /v1/sales/ticket/reservations", &format!("MethodNotAllowed {both}")),
            ("OPTIONS /v1/sales/ticket/reservations", &format!("Options {both}")),
            ("POST /v1/sales/ticket/reservations/", "NotFound"),
            ("POST /v1/sales//reservations", "NotFound"),
            ("POST /v1/reservations/a/reservations", "NotFound"),
            ("GET /v1/reservations/ticket~0", r#"ShowReservation { id: "ticket~0" }"#),
            ("GET /v1/reservations/ticket%7E0", r#"ShowReservation { id: "ticket~0" }"#),
            ("DELETE /v1/reservations/ticket~0", &format!("MethodNotAllowed {read}")),
            ("POST /v1/reservations/ticket~0/confirm", r#"ConfirmReservation { id: "ticket~0" }"#),
            ("POST /v1/reservations/ticket%7e0/cancel", r#"CancelReservation { id: "ticket~0" }"#),
            ("GET /v1/reservations/ticket~0/confirm", &format!("MethodNotAllowed {create}")),
            ("HEAD /v1/reservations/ticket~0/cancel", &format!("MethodNotAllowed {create}")),
            ("OPTIONS /v1/reservations/ticket~0/cancel", &format!("Options {create}")),
            ("POST /v1/reservations/ticket~0/confirm/", "NotFound"),
            ("POST /v1/reservations//confirm", "NotFound"),
            ("GET /v1/orders/1", "NotFound"),
            ("GET /v2/sales/1", "NotFound"),
        ] {
            assert_eq!(ask(line, ""), want, "{line}");
        }
    }

    #[test]
    fn shop_requests_run_on_a_control_thread() {
        let asked = ask("POST /v1/reservations/ticket~0/refund", "");
        assert!(asked.starts_with("ControlThread") && asked.contains("Refund"), "{asked}");
        let asked = ask("GET /v1/sales", "");
        assert!(asked.starts_with("ListSales") && asked.contains("limit"), "{asked}");
        for (line, want) in [
            ("POST /v1/reservations/ticket~0/Refund", "NotFound"),
            ("POST /v1/reservations/ticket~0/refund/", "NotFound"),
            ("POST /v1/reservations/ticket~0/refund;x", "NotFound"),
            ("POST /v1/reservations/ticket~0/r%65fund", "NotFound"),
            ("POST /v1/reservations/x/../ticket~0/refund", "NotFound"),
        ] {
            assert_eq!(ask(line, ""), want, "{line}");
        }
    }
}
