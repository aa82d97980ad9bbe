//! What each operation takes and answers.

use serde_json::{Value, json};

use super::schemas;
use crate::code::Code;
use crate::code::control::{
    DRAINING, EXISTS, FOREIGN_PARTS, HAS_SOLD, NOT_CLOSED, NOT_CONFIRMED, STILL_HELD, TOO_FEW_FREE,
    TOO_MANY_TO_COUNT,
};
use crate::engine::http::Kind;
use crate::route::table::{Operation, Port};

/// What HTTP itself may answer to any request.
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
    Code::Busy.kind(),
    Code::Unavailable.kind(),
    Code::Unknown.kind(),
];

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A body that a request has.
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

/// An operation in words.
pub(super) struct Description {
    pub(super) summary: &'static str,
    pub(super) detail: &'static str,
    pub(super) body: Option<Body>,
    pub(super) answers: Vec<Answer>,
    /// What it may say beside [`PROTOCOL`].
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

    /// What only the buyers' port may say.
    fn or_at_public(mut self, port: Port, code: Code) -> Self {
        self.problems.extend((port == Port::Public).then(|| code.kind()));
        self
    }

    /// What the buyers' port says to a token that admits nobody, where it asks for one.
    fn or_denied_at_public(mut self, port: Port) -> Self {
        let of_tokens = |code: &Code| code.challenge().is_some() && *code != Code::ShopOnly;
        let denied = Code::ALL.into_iter().filter(of_tokens).map(Code::kind);
        self.problems.extend(denied.filter(|_| port == Port::Public));
        self
    }

    fn or(mut self, problems: &[&'static Kind]) -> Self {
        self.problems.extend(problems);
        self
    }
}

/// What is said of a reservation that is no longer held.
const OVER: [&Kind; 4] = [
    Code::Expired.kind(),
    Code::AlreadyConfirmed.kind(),
    Code::AlreadyCancelled.kind(),
    Code::AlreadyRefunded.kind(),
];

const RESERVATION: &str = "The reservation as it stands.";
const SALE: &str = "The sale as it stands.";

/// What an operation takes and answers at a port that has it.
pub(super) fn describe(port: Port, operation: Operation) -> Description {
    match operation {
        Operation::BuyTicket => Description::new(
            "Buy one unit of the sale `ticket`",
            "The article's way to buy: `code` in the body says what became of it, 1 or a negative \
             number. Any method buys. Without a user the purchase is anonymous.",
        ),
        Operation::Plaintext => {
            Description::new("TechEmpower's plaintext test", "").says_in(200, "A greeting.", "text/plain", "Text")
        }
        Operation::Json => {
            Description::new("TechEmpower's JSON test", "").says(200, "A greeting.", "Greeting")
        }
        Operation::Reserve => Description::new(
            "Reserve units of a sale",
            "Holds the units until `expires_at`, of all ticket types that `lines` names or of none. The \
             same Idempotency-Key with the same request finds the reservation again, whatever became of \
             the first answer.",
        )
        .takes("ReservationRequest")
        .says(201, "The new reservation.", "Reservation")
        .says(200, "The reservation that this user and key have already.", "Reservation")
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
            Description::new("Show a reservation", "With admission only to its user, and the shop.")
                .says(200, RESERVATION, "Reservation")
                .or_denied_at_public(port)
        }
        Operation::Confirm => Description::new(
            "Confirm a reservation: it is paid",
            "As often as it is sent. One that has expired takes its units again if they are left.",
        )
        .says(200, RESERVATION, "Reservation")
        .or(&[
            Code::Expired.kind(),
            Code::AlreadyCancelled.kind(),
            Code::AlreadyRefunded.kind(),
            Code::LimitReached.kind(),
            Code::UserRequired.kind(),
        ])
        .or_at_public(port, Code::ConfirmNotPublic),
        Operation::Extend => Description::new(
            "Hold a reservation for longer",
            "Until so long from now, by default the sale's hold time, and never for less than it is \
             held already. The sale bounds how much longer in all it may become.",
        )
        .may_take("Extension")
        .says(200, RESERVATION, "Reservation")
        .or(&OVER)
        .or(&[Code::ExtensionLimitReached.kind()])
        .or_at_public(port, Code::ShopOnly),
        Operation::Cancel => Description::new(
            "Give a reservation back, or a part of it",
            "Its units are for sale again. With `remaining` it keeps so many, or so many of each ticket \
             type.",
        )
        .may_take("Remaining")
        .says(200, RESERVATION, "Reservation")
        .or(&OVER)
        .or(&[Code::RemainingTooLarge.kind()])
        .or_denied_at_public(port),
        Operation::Refund => Description::new(
            "Pay a confirmed reservation back, or a part of it",
            "Its units are for sale again. As often as it is sent. With `remaining` it keeps so many, or so \
             many of each ticket type.",
        )
        .may_take("Remaining")
        .says(200, RESERVATION, "Reservation")
        .or(&[
            Code::Expired.kind(),
            Code::AlreadyCancelled.kind(),
            Code::AlreadyRefunded.kind(),
            Code::RemainingTooLarge.kind(),
            NOT_CONFIRMED,
        ])
        .or_at_public(port, Code::ShopOnly),
        Operation::ListSales => {
            Description::new("List sales, in the order of their ids", list_detail(port))
                .says(200, "A page.", "SalePage")
        }
        Operation::CreateSale => Description::new(
            "Create a sale",
            "One that exists and is as asked stays as it is: 200.",
        )
        .takes("SaleDefinition")
        .says(201, "The new sale.", "Sale")
        .says(200, "The sale, which existed.", "Sale")
        .or(&[EXISTS, FOREIGN_PARTS]),
        Operation::ChangeSale => Description::new(
            "Change what a sale sells by from now on",
            "All that is named, in one step. Nobody loses what he has.",
        )
        .takes("Terms")
        .says(200, SALE, "Sale")
        .or(&[TOO_MANY_TO_COUNT]),
        Operation::RemoveSale => Description::new(
            "Forget a sale and its reservations",
            "Only one that is closed and holds nothing.",
        )
        .says(200, "It is gone.", "Removed")
        .or(&[NOT_CLOSED, STILL_HELD]),
        Operation::ListReservations => Description::new(
            "List the reservations of a user, or of a sale that is over",
            "Page by page, in the order of their ids. Without `user` only when the sale is closed and \
             holds nothing.",
        )
        .says(200, "A page.", "ReservationPage")
        .or(&[NOT_CLOSED, STILL_HELD])
        .or_at_public(port, Code::ShopOnly),
        Operation::OpenSale => Description::new("Sell from now on", "").says(200, SALE, "Sale"),
        Operation::CloseSale => Description::new("Stop selling now", "").says(200, SALE, "Sale"),
        Operation::ResetSale => Description::new("Begin a sale anew", "It forgets all that was sold.")
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
        Operation::Audit => Description::new("Compare what must agree", "Changes nothing.")
            .says(200, "What was found.", "Audit"),
        Operation::Repair => Description::new("Compare what must agree, and repair it", "")
            .says(200, "What was found and repaired.", "Audit"),
        Operation::Livez => {
            Description::new("Whether the process answers", "").says_in(200, "It does.", TEXT, "Text")
        }
        Operation::Readyz => Description::new("Whether it sells", "")
            .says_in(200, "It does, with the sales that the ledger refuses.", TEXT, "Text")
            .or(&[DRAINING]),
        Operation::Metrics => Description::new("Metrics for Prometheus", "")
            .says_in(200, "All metrics.", "text/plain; version=0.0.4; charset=utf-8", "Text")
            .says_in(
                200,
                "All metrics.",
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                "Text",
            ),
        Operation::Describe => Description::new("This document", "")
            .says(200, "OpenAPI 3.1.", "Document"),
    }
}

/// What a purchase may be told.
fn of_purchases() -> Vec<&'static Kind> {
    let of_others = [
        Code::ConfirmNotPublic,
        Code::ShopOnly,
        Code::Expired,
        Code::AlreadyConfirmed,
        Code::AlreadyCancelled,
        Code::AlreadyRefunded,
        Code::ExtensionLimitReached,
        Code::RemainingTooLarge,
    ];
    Code::ALL.into_iter().filter(|code| !of_others.contains(code)).map(Code::kind).collect()
}

fn list_detail(port: Port) -> &'static str {
    match port {
        Port::Public => "Page by page. About a second old; with many sales a little older.",
        Port::Control => "Page by page, as the ledger has them.",
    }
}

/// A parameter of a query.
pub(super) fn parameter(operation: Operation, name: &str) -> Value {
    let (description, schema) = match name {
        "after" => (
            "Begin after this id.",
            schemas::reference(match operation {
                Operation::ListSales => "SaleId",
                _ => "ReservationId",
            }),
        ),
        "limit" => (
            "Most items of the page.",
            json!({ "type": "integer", "minimum": 1, "maximum": schemas::page_max(operation) }),
        ),
        "user" => ("For whom.", schemas::reference("User")),
        "sale" => (
            "A sale to look at; several may be named. Without: all.",
            json!({ "type": "array", "items": schemas::reference("SaleId") }),
        ),
        _ => ("Also repair what may sell units again.", json!({ "type": "boolean" })),
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
