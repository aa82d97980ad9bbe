//! The requests and answers of each operation.

use serde_json::{Value, json};

use super::schemas;
use crate::code::ErrorCode;
use crate::code::control::{
    DRAINING, EXISTS, FOREIGN_PARTS, HAS_SOLD, NOT_CLOSED, NOT_CONFIRMED, STILL_HELD, TOO_FEW_FREE,
    TOO_MANY_TO_COUNT,
};
use crate::engine::http::Kind;
use crate::limits::SALE_ID_BYTES_MAX;
use crate::route::table::{Operation, Port};

/// Problems that HTTP itself may give to any request.
pub(super) const PROTOCOL: &[&Kind] = &[
    Kind::BAD_REQUEST,
    Kind::NOT_FOUND,
    Kind::METHOD_NOT_ALLOWED,
    Kind::REQUEST_TIMEOUT,
    Kind::PRECONDITION_FAILED,
    Kind::CONTENT_TOO_LARGE,
    Kind::URI_TOO_LONG,
    Kind::UNSUPPORTED_MEDIA_TYPE,
    Kind::EXPECTATION_FAILED,
    Kind::MISDIRECTED_REQUEST,
    Kind::INVALID,
    Kind::HEAD_TOO_LARGE,
    Kind::INTERNAL,
    Kind::NOT_IMPLEMENTED,
    Kind::VERSION_NOT_SUPPORTED,
    ErrorCode::Busy.kind(),
    ErrorCode::Unavailable.kind(),
    ErrorCode::Unknown.kind(),
];

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// The body of a request.
pub(super) struct Body {
    pub(super) schema: &'static str,
    pub(super) required: bool,
}

/// A success.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    /// Its media type and schema.
    pub(super) content: Option<(&'static str, &'static str)>,
}

/// The description of an operation.
pub(super) struct Description {
    pub(super) summary: &'static str,
    pub(super) detail: &'static str,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// Its problems besides [`PROTOCOL`].
    pub(super) problems: Vec<&'static Kind>,
}

impl Description {
    fn new(summary: &'static str, detail: &'static str) -> Self {
        Self { summary, detail, body: None, answers: Vec::new(), problems: Vec::new() }
    }

    fn takes(mut self, schema: &'static str) -> Self {
        self.body = Some(Body { schema, required: true });
        self
    }

    fn may_take(mut self, schema: &'static str) -> Self {
        self.body = Some(Body { schema, required: false });
        self
    }

    fn says(self, status: u16, description: &'static str, schema: &'static str) -> Self {
        self.says_in(status, description, JSON, schema)
    }

    fn says_in(
        mut self,
        status: u16,
        description: &'static str,
        media: &'static str,
        schema: &'static str,
    ) -> Self {
        self.answers.push(Answer { status, description, content: Some((media, schema)) });
        self
    }

    /// A problem of the public port only.
    fn or_at_public(mut self, port: Port, code: ErrorCode) -> Self {
        self.problems.extend((port == Port::Public).then(|| code.kind()));
        self
    }

    /// The problems of denied tokens, at the public port.
    fn or_denied_at_public(mut self, port: Port) -> Self {
        let of_tokens =
            |code: &ErrorCode| code.challenge().is_some() && *code != ErrorCode::ShopOnly;
        let denied = ErrorCode::ALL.into_iter().filter(of_tokens).map(ErrorCode::kind);
        self.problems.extend(denied.filter(|_| port == Port::Public));
        self
    }

    fn or(mut self, problems: &[&'static Kind]) -> Self {
        self.problems.extend(problems);
        self
    }
}

/// The problems of a reservation that is no longer held.
const OVER: [&Kind; 4] = [
    ErrorCode::Expired.kind(),
    ErrorCode::AlreadyConfirmed.kind(),
    ErrorCode::AlreadyCancelled.kind(),
    ErrorCode::AlreadyRefunded.kind(),
];

const RESERVATION: &str = "The reservation as it stands.";
const SALE: &str = "The sale as it stands.";

/// The requests and answers of an operation at a port that has it.
pub(super) fn describe(port: Port, operation: Operation) -> Description {
    match operation {
        Operation::BuyTicket => Description::new(
            "Buy one unit of the sale `ticket`",
            "The article's way to buy: `code` in the body is the outcome, 1 or a negative number. Any \
             method buys. Without a user the purchase is anonymous.",
        ),
        Operation::Plaintext => {
            Description::new("TechEmpower's plaintext test", "").says_in(200, "A greeting.", "text/plain", "Text")
        }
        Operation::Json => {
            Description::new("TechEmpower's JSON test", "").says(200, "A greeting.", "Greeting")
        }
        Operation::Reserve => Description::new(
            "Reserve units of a sale",
            "Holds the units until `expires_at`; with `lines` either all of them or none. A request with \
             the same Idempotency-Key returns the same reservation, even if the first answer was lost.",
        )
        .takes("ReservationRequest")
        .says(201, "The new reservation.", "Reservation")
        .says(200, "The reservation that an earlier request of this user and key made.", "Reservation")
        .or(&of_purchases()),
        Operation::ShowSale => Description::new(
            "Show a sale",
            match port {
                Port::Public => "At most 100 ms old.",
                Port::Control => "As the ledger has it.",
            },
        )
        .says(200, SALE, "Sale"),
        Operation::ShowReservation => {
            Description::new("Show a reservation", "With admission, only to its user and the shop.")
                .says(200, RESERVATION, "Reservation")
                .or_denied_at_public(port)
        }
        Operation::Confirm => Description::new(
            "Confirm a reservation: it is paid",
            "Idempotent. An expired reservation takes its units again if enough are left.",
        )
        .says(200, RESERVATION, "Reservation")
        .or(&[
            ErrorCode::Expired.kind(),
            ErrorCode::AlreadyCancelled.kind(),
            ErrorCode::AlreadyRefunded.kind(),
            ErrorCode::LimitReached.kind(),
            ErrorCode::UserRequired.kind(),
        ])
        .or_at_public(port, ErrorCode::ConfirmNotPublic),
        Operation::Extend => Description::new(
            "Hold a reservation for longer",
            "The new deadline is `hold_ms` from now, by default the sale's hold time; it is never earlier \
             than the old one. The sale bounds all extensions of a reservation together.",
        )
        .may_take("Extension")
        .says(200, RESERVATION, "Reservation")
        .or(&OVER)
        .or(&[ErrorCode::ExtensionLimitReached.kind()])
        .or_at_public(port, ErrorCode::ShopOnly),
        Operation::Cancel => Description::new(
            "Cancel a reservation, or a part of it",
            "Its units are for sale again. With `remaining` it keeps that number, in total or per ticket \
             type.",
        )
        .may_take("Remaining")
        .says(200, RESERVATION, "Reservation")
        .or(&OVER)
        .or(&[ErrorCode::RemainingTooLarge.kind()])
        .or_denied_at_public(port),
        Operation::Refund => Description::new(
            "Refund a confirmed reservation, or a part of it",
            "Its units are for sale again. Idempotent. With `remaining` it keeps that number, in total or \
             per ticket type.",
        )
        .may_take("Remaining")
        .says(200, RESERVATION, "Reservation")
        .or(&[
            ErrorCode::Expired.kind(),
            ErrorCode::AlreadyCancelled.kind(),
            ErrorCode::AlreadyRefunded.kind(),
            ErrorCode::RemainingTooLarge.kind(),
            NOT_CONFIRMED,
        ])
        .or_at_public(port, ErrorCode::ShopOnly),
        Operation::ListSales => {
            Description::new("List sales, ordered by id", list_detail(port))
                .says(200, "A page.", "SalePage")
        }
        Operation::CreateSale => Description::new(
            "Create a sale",
            "A sale that exists with the same terms is not changed: 200.",
        )
        .takes("SaleDefinition")
        .says(201, "The new sale.", "Sale")
        .says(200, "The sale, which existed already.", "Sale")
        .or(&[EXISTS, FOREIGN_PARTS]),
        Operation::ChangeSale => Description::new(
            "Change the terms of a sale",
            "Changes all given members in one step. Existing reservations stay.",
        )
        .takes("Terms")
        .says(200, SALE, "Sale")
        .or(&[TOO_MANY_TO_COUNT]),
        Operation::RemoveSale => Description::new(
            "Remove a sale and its reservations",
            "The sale must be closed and hold nothing.",
        )
        .says(200, "The sale is removed.", "Removed")
        .or(&[NOT_CLOSED, STILL_HELD]),
        Operation::ListReservations => Description::new(
            "List the reservations of a user, or of a sale that is over",
            "Page by page, ordered by id. Without `user` the sale must be closed and hold nothing.",
        )
        .says(200, "A page.", "ReservationPage")
        .or(&[NOT_CLOSED, STILL_HELD])
        .or_at_public(port, ErrorCode::ShopOnly),
        Operation::OpenSale => Description::new("Open a sale now", "").says(200, SALE, "Sale"),
        Operation::CloseSale => Description::new("Close a sale now", "").says(200, SALE, "Sale"),
        Operation::ResetSale => Description::new("Reset a sale", "All its reservations are forgotten.")
            .may_take("Reset")
            .says(200, SALE, "Sale")
            .or(&[HAS_SOLD, STILL_HELD]),
        Operation::AddStock => {
            Description::new("Add units to a sale", "").takes("Units").says(200, SALE, "Sale")
        }
        Operation::TakeStock => Description::new("Take free units out of a sale", "")
            .takes("UnitsToTake")
            .says(200, SALE, "StockTaken")
            .or(&[TOO_FEW_FREE]),
        Operation::ListInstances => {
            Description::new("List the servers that share the ledger", "")
                .says(200, "All of them.", "Instances")
        }
        Operation::Audit => Description::new("Audit sales", "Changes nothing.")
            .says(200, "The findings.", "Audit"),
        Operation::Repair => Description::new("Audit sales, and repair differences", "")
            .says(200, "The findings, and the repairs.", "Audit"),
        Operation::Livez => {
            Description::new("Liveness probe", "").says_in(200, "The process answers.", TEXT, "Text")
        }
        Operation::Readyz => Description::new("Readiness probe", "")
            .says_in(200, "The server sells. Names the sales that the ledger refuses.", TEXT, "Text")
            .or(&[DRAINING]),
        Operation::Metrics => Description::new("Metrics for Prometheus", "")
            .says_in(200, "All metrics.", "text/plain; version=0.0.4; charset=utf-8", "Text")
            .says_in(
                200,
                "All metrics.",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                "Text",
            ),
        Operation::LivePage => Description::new(
            "The live page",
            "A page for people, which polls `/v1/live`. It has no data in it, so it needs no token.",
        )
        .says_in(200, "The page.", "text/html; charset=utf-8", "Text"),
        Operation::Live => Description::new(
            "What the live page shows",
            "From memory: it asks no ledger. Numbers that grow are totals; a rate is the difference of two \
             answers by the difference of their `at_ms`. Sales are as old as `age_ms` says.",
        )
        .says(200, "The server and a page of its sales.", "Live"),
        Operation::Describe => Description::new("This document", "")
            .says(200, "OpenAPI 3.1.", "Document"),
    }
}

/// The problems of a purchase.
fn of_purchases() -> Vec<&'static Kind> {
    let of_others = [
        ErrorCode::ConfirmNotPublic,
        ErrorCode::ShopOnly,
        ErrorCode::Expired,
        ErrorCode::AlreadyConfirmed,
        ErrorCode::AlreadyCancelled,
        ErrorCode::AlreadyRefunded,
        ErrorCode::ExtensionLimitReached,
        ErrorCode::RemainingTooLarge,
    ];
    ErrorCode::ALL
        .into_iter()
        .filter(|code| !of_others.contains(code))
        .map(ErrorCode::kind)
        .collect()
}

fn list_detail(port: Port) -> &'static str {
    match port {
        Port::Public => "Page by page. About one second old; with many sales a little older.",
        Port::Control => "Page by page, as the ledger has them.",
    }
}

/// A parameter of a query.
pub(super) fn parameter(operation: Operation, name: &str) -> Value {
    let (description, schema) = match name {
        "after" => (
            "Start after this id.",
            schemas::reference(match operation {
                Operation::ListSales | Operation::Live => "SaleId",
                _ => "ReservationId",
            }),
        ),
        "limit" => (
            "Maximum number of items.",
            json!({ "type": "integer", "minimum": 1, "maximum": schemas::page_max(operation) }),
        ),
        "user" => ("Only reservations of this user.", schemas::reference("User")),
        "search" => (
            "Only sales whose id has this text in it.",
            json!({ "type": "string", "maxLength": SALE_ID_BYTES_MAX }),
        ),
        "sale" if operation == Operation::Live => {
            ("A sale to show beside those of the page.", schemas::reference("SaleId"))
        }
        "sale" => (
            "A sale to audit; may be repeated. Default: all sales.",
            json!({ "type": "array", "items": schemas::reference("SaleId") }),
        ),
        _ => ("Also make repairs that may return units to stock.", json!({ "type": "boolean" })),
    };
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// The header of a purchase. X-User-Id is for proxies and not for clients.
pub(super) fn purchase_header() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Names the request: with the same key it is made once. In quotes (RFC 9651) or \
                        without.",
        "schema": schemas::reference("Key"),
    })
}
