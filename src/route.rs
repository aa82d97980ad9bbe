//! From a head (and a body) to what is asked: paths, methods, parameters and the JSON of a request.
//!
//! Architecture invariant: decides, and does nothing. It does no I/O and knows no ledger. Sales and
//! reservations are named as the client wrote them: whether such a thing exists is not known here.

mod json;
mod key;
pub mod percent;
mod user;

pub use json::{ReservationRequest, parse_reservation_request};
pub use key::idempotency_key;
pub use user::{USER_FIELD, USER_HEADER};

use std::borrow::Cow;

use crate::engine::http::{Head, Method};
use user::buyer;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route<'a> {
    /// TechEmpower's plaintext test.
    Plaintext,
    /// TechEmpower's JSON test.
    Json,
    /// Buy one unit of the sale `ticket`.
    BuyTicket {
        /// For whom, decoded and still to be checked by [`User::new`](crate::sale::User::new);
        /// `Ok(None)` is anonymous. `Err`: the header or parameter that names nobody, or two users, or
        /// that is not known.
        user: Result<Option<Cow<'a, str>>, Cow<'a, str>>,
    },
    /// A sale as it stands.
    ShowSale {
        /// Its id, as the client wrote it.
        sale: Cow<'a, str>,
    },
    /// Reserve units of a sale. The body goes to [`parse_reservation_request`].
    CreateReservation {
        /// Its id, as the client wrote it.
        sale: Cow<'a, str>,
    },
    /// A reservation as it stands.
    ShowReservation {
        /// Its public id, as the client wrote it.
        id: Cow<'a, str>,
    },
    /// Pay for a reservation.
    ConfirmReservation {
        /// Its public id, as the client wrote it.
        id: Cow<'a, str>,
    },
    /// Pay for a reservation, where only the shop may: 403, whatever the id.
    ConfirmNotPublic,
    /// Give a reservation back.
    CancelReservation {
        /// Its public id, as the client wrote it.
        id: Cow<'a, str>,
    },
    /// What may be asked: 204.
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
    /// A parameter where there must be none: `quantity` in a query would be passed over in silence.
    /// TechEmpower's two paths take whatever comes.
    pub fn stray_parameter(&self, query: &'a str) -> Option<Cow<'a, str>> {
        match self {
            Self::ShowSale { .. }
            | Self::CreateReservation { .. }
            | Self::ShowReservation { .. }
            | Self::ConfirmReservation { .. }
            | Self::CancelReservation { .. } => {
                percent::parameters(query).next().map(|(name, _)| name)
            }
            _ => None,
        }
    }

    /// There is something to be shown, whoever asks for it and as often as he likes. A purchase has
    /// nothing before it is made.
    pub fn has_representation(&self) -> bool {
        !matches!(
            self,
            Self::BuyTicket { .. }
                | Self::CreateReservation { .. }
                | Self::ConfirmReservation { .. }
                | Self::CancelReservation { .. }
        )
    }
}

const ALLOW_ALL: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const ALLOW_READ: &str = "GET, HEAD, OPTIONS";
const ALLOW_POST: &str = "POST, OPTIONS";
const ALLOW_NOTHING: &str = "OPTIONS";

/// Says what the head asks for, if its path is in its normal form ([`percent::normalized`]).
/// `public_confirm`: buyers may confirm their own reservations.
#[inline]
pub fn route<'a>(head: &Head<'a>, public_confirm: bool) -> Route<'a> {
    match head.path {
        "/buy/ticket" => match head.method {
            Method::Options => Route::Options { allow: ALLOW_ALL },
            Method::Trace => Route::MethodNotAllowed { allow: ALLOW_ALL },
            _ => Route::BuyTicket { user: buyer(head) },
        },
        "/plaintext" => read(head.method, Route::Plaintext),
        "/json" => read(head.method, Route::Json),
        "*" => Route::Options { allow: ALLOW_ALL },
        path => route_v1(head.method, path, public_confirm),
    }
}

fn route_v1(method: Method, path: &str, public_confirm: bool) -> Route<'_> {
    let Some(path) = path.strip_prefix("/v1/") else { return Route::NotFound };
    // What is asked most. No separator and no escape stands in a name that is the id of a sale.
    if let Some(sale) = path.strip_prefix("sales/").and_then(|p| p.strip_suffix("/reservations"))
        && !sale.is_empty()
        && !sale.bytes().any(|byte| matches!(byte, b'/' | b'%'))
    {
        return post(method, Route::CreateReservation { sale: Cow::Borrowed(sale) });
    }
    let mut segments = path.split('/');
    let (collection, name) = (segments.next(), segments.next().and_then(percent::decode));
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Route::NotFound };
    match (collection, segments.next(), segments.next()) {
        (Some("sales"), None, _) => read(method, Route::ShowSale { sale: name }),
        (Some("sales"), Some("reservations"), None) => {
            post(method, Route::CreateReservation { sale: name })
        }
        (Some("reservations"), None, _) => read(method, Route::ShowReservation { id: name }),
        (Some("reservations"), Some("confirm"), None) if public_confirm => {
            post(method, Route::ConfirmReservation { id: name })
        }
        (Some("reservations"), Some("confirm"), None) => not_public(method),
        (Some("reservations"), Some("cancel"), None) => {
            post(method, Route::CancelReservation { id: name })
        }
        _ => Route::NotFound,
    }
}

fn post(method: Method, route: Route<'_>) -> Route<'_> {
    match method {
        Method::Post => route,
        Method::Options => Route::Options { allow: ALLOW_POST },
        _ => Route::MethodNotAllowed { allow: ALLOW_POST },
    }
}

fn not_public(method: Method) -> Route<'static> {
    match method {
        Method::Post => Route::ConfirmNotPublic,
        Method::Options => Route::Options { allow: ALLOW_NOTHING },
        _ => Route::MethodNotAllowed { allow: ALLOW_NOTHING },
    }
}

#[inline]
fn read(method: Method, route: Route<'_>) -> Route<'_> {
    match method {
        Method::Get | Method::Head => route,
        Method::Options => Route::Options { allow: ALLOW_READ },
        _ => Route::MethodNotAllowed { allow: ALLOW_READ },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    fn ask(line: &str, headers: &str) -> String {
        let input = format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let head = parse_head(input.as_bytes()).unwrap().unwrap();
        format!("{:?}", route(&head, true))
    }

    #[test]
    fn routes() {
        let read = r#"{ allow: "GET, HEAD, OPTIONS" }"#;
        let create = r#"{ allow: "POST, OPTIONS" }"#;
        let all = r#"{ allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" }"#;
        let anonymous = "BuyTicket { user: Ok(None) }";
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
            ("GET /v1/sales", "NotFound"),
            ("GET /v1/sales/", "NotFound"),
            ("GET /v1/sales/ticket/", "NotFound"),
            ("POST /v1/sales/ticket/reservations", r#"CreateReservation { sale: "ticket" }"#),
            ("GET /v1/sales/ticket/reservations", &format!("MethodNotAllowed {create}")),
            ("OPTIONS /v1/sales/ticket/reservations", &format!("Options {create}")),
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
            ("POST /v1/reservations/ticket~0/refund", "NotFound"),
            ("POST /v1/reservations//confirm", "NotFound"),
            ("GET /v1/orders/1", "NotFound"),
            ("GET /v2/sales/1", "NotFound"),
        ] {
            assert_eq!(ask(line, ""), want, "{line}");
        }
    }

    #[test]
    fn the_buyer_is_named_by_header_or_parameter() {
        let user = |name: &str| format!("BuyTicket {{ user: Ok(Some({name:?})) }}");
        let nobody = &"BuyTicket { user: Ok(None) }".to_owned();
        let unknown = |name: &str| format!("BuyTicket {{ user: Err({name:?}) }}");
        let bad = &unknown("user");
        for (query, header, want) in [
            ("", "X-User-Id: u1\r\n", &user("u1")),
            ("?user=u1", "X-User-Id: u1\r\n", &user("u1")),
            ("?&user=%E5%BC%A0%e4%b8%89&", "x-user-id: 张三\r\n", &user("张三")),
            ("", "X-User-Id:\r\n", &user("")),
            // Nobody can be somebody else.
            ("?user=u2", "X-User-Id: u1\r\n", bad),
            ("?user=U1", "X-User-Id: u1\r\n", bad),
            ("?user=", "X-User-Id: u1\r\n", bad),
            ("?user", "X-User-Id: u1\r\n", bad),
            ("?user=%zz", "X-User-Id: u1\r\n", bad),
            ("?user=u1&user=u2", "X-User-Id: u1\r\n", bad),
            ("?user=u2", "X-User-Id:\r\n", bad),
            ("?user=u2", "", &user("u2")),
            ("?us%65r=u2", "", &user("u2")),
            ("?%75%73%65%72", "", &user("")),
            ("?user=%E5%BC%A0%e4%b8%89", "", &user("张三")),
            ("?user=张三", "", &user("张三")),
            ("?user=a%20b+c", "", &user("a b+c")),
            ("?user=a=b", "", &user("a=b")),
            ("?user=", "", &user("")),
            ("?user", "", &user("")),
            ("?user=%ff", "", bad),
            ("?user=%4", "", bad),
            ("?user=%", "", bad),
            ("?user=a&user=a", "", bad),
            ("?user=a&us%65r=a", "", bad),
            ("?", "", nobody),
            ("?&", "", nobody),
            // A name that is not known is not passed over.
            ("?users=a", "", &unknown("users")),
            ("?USER=a", "", &unknown("USER")),
            ("?user%3Da", "", &unknown("user=a")),
            ("?user=a&x", "", &unknown("x")),
            ("?a=b&user=u1", "X-User-Id: u1\r\n", &unknown("a")),
            ("?%zz=1", "", &unknown("%zz")),
            ("?=1", "", &unknown("")),
        ] {
            assert_eq!(ask(&format!("GET /buy/ticket{query}"), header), *want, "{query} {header}");
        }
        let head = b"GET /buy/ticket HTTP/1.0\r\nX-User-Id: \xff\r\n\r\n";
        let head = parse_head(head).unwrap().unwrap();
        assert_eq!(route(&head, false), Route::BuyTicket { user: Err(USER_HEADER.into()) });
    }

    #[test]
    fn only_the_shop_confirms() {
        let ask = |line: &str| {
            let input = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
            let head = parse_head(input.as_bytes()).unwrap().unwrap();
            format!("{:?}", route(&head, false))
        };
        let nothing = r#"{ allow: "OPTIONS" }"#;
        for (line, want) in [
            ("POST /v1/reservations/ticket~0/confirm", "ConfirmNotPublic"),
            ("POST /v1/reservations/ticket%7e0/confirm?x", "ConfirmNotPublic"),
            // Whether there is such a reservation can't be told from it.
            ("POST /v1/reservations/x/confirm", "ConfirmNotPublic"),
            ("GET /v1/reservations/ticket~0/confirm", &format!("MethodNotAllowed {nothing}")),
            ("OPTIONS /v1/reservations/ticket~0/confirm", &format!("Options {nothing}")),
            ("POST /v1/reservations/ticket~0/confirm/", "NotFound"),
            ("POST /v1/reservations/ticket~0/Confirm", "NotFound"),
            ("POST /v1/reservations/ticket~0/confirm;x", "NotFound"),
            ("POST /v1/reservations/ticket~0/c%6fnfirm", "NotFound"),
            ("POST /v1/reservations//ticket~0/confirm", "NotFound"),
            ("POST /v1/reservations/x/../ticket~0/confirm", "NotFound"),
            ("POST /v1/reservations/ticket~0/cancel", r#"CancelReservation { id: "ticket~0" }"#),
        ] {
            assert_eq!(ask(line), want, "{line}");
        }
    }
}
