//! JSON bodies: of buyers, who may send anything, and of the control port.

use serde_json::Value;
use stampede::control::fuzzing as control_body;
use stampede::control::request::Request;
use stampede::engine::http::{Media, Method};
use stampede::limits::QUANTITY_MAX;
use stampede::route::{
    ReservationRequest, UserSources, parse_admitted_request, parse_remaining,
    parse_reservation_request, whole_number,
};
use stampede::sale::{Lines, Remaining, User};

use crate::bounds::bounded;

/// Per byte of a body: `serde_json` keeps 32 bytes and more for a value of two.
const MEMORY_PER_BYTE: usize = 128;
const MEMORY_MIN: usize = 16 * 1024;

fn memory(body: &[u8]) -> usize {
    MEMORY_MIN + MEMORY_PER_BYTE * body.len()
}

/// The body of a purchase, and that of a cancellation.
pub fn purchase(body: &[u8]) {
    let anyone = UserSources::ANYONE;
    let parse = |header| parse_reservation_request(body, Media::Json, header, anyone);
    let [parsed, with_header] =
        [None, Some(&b"ann"[..])].map(|header| bounded(memory(body), || parse(header)));
    if let Ok(request) = &parsed {
        check_request(request, body);
        assert_eq!(read_again(request), *request, "the same request in its plainest form");
    }
    if let Ok(request) = &with_header {
        assert_eq!(request.user.as_str(), "ann", "the header decides");
        check_request(request, body);
    }
    let ann = User::new("ann").expect("a user");
    let admitted = bounded(memory(body), || parse_admitted_request(body, Media::Json, &ann));
    if let Ok(request) = &admitted {
        assert_eq!(request.user, ann, "the token decides");
        assert_eq!(with_header.as_ref(), Ok(request));
    }
    let remaining = bounded(memory(body), || parse_remaining(body, Media::Json));
    match remaining {
        Err(_) => {}
        Ok(None) => assert!(body.is_empty() || member(body, "remaining").is_none()),
        Ok(Some(Remaining::Units(units))) => {
            assert_eq!(member(body, "remaining").as_ref().and_then(whole), Some(units.into()));
        }
        Ok(Some(Remaining::Lines(lines))) => {
            check_lines(&lines, &member(body, "remaining").expect("a member"));
        }
        Ok(Some(Remaining::Seats(_))) => unreachable!("no body names seats"),
    }
}

/// A member of a body that was accepted.
fn member(body: &[u8], name: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(body).expect("what is accepted is JSON");
    value.as_object().expect("an object").get(name).cloned()
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().and_then(whole_number))
}

/// Checks a request against the body, as `serde_json` reads it.
fn check_request(request: &ReservationRequest, body: &[u8]) {
    if let Some(user) = member(body, "user") {
        assert_eq!(user.as_str(), Some(request.user.as_str()));
    }
    assert!((1..=QUANTITY_MAX).contains(&request.quantity));
    let lines = request.details.as_ref().and_then(|details| details.lines.as_ref());
    match (member(body, "lines"), lines) {
        (None, None) => {
            let asked = member(body, "quantity").map_or(Some(1), |quantity| whole(&quantity));
            assert_eq!(asked, Some(request.quantity.into()));
        }
        (Some(value), Some(lines)) => {
            check_lines(lines, &value);
            assert_eq!(lines.units(), request.quantity);
        }
        (value, lines) => panic!("{value:?} was read as {lines:?}"),
    }
    let note = request.details.as_ref().and_then(|details| details.note.as_ref());
    let sent = member(body, "note");
    assert_eq!(sent.as_ref().and_then(Value::as_str), note.map(|note| note.as_str()));
}

fn check_lines(lines: &Lines, value: &Value) {
    let object = value.as_object().expect("an object of numbers");
    let sent: u64 = object.values().map(|number| whole(number).expect("a whole number")).sum();
    assert_eq!(sent, u64::from(lines.units()));
    for (name, units) in lines.iter() {
        assert_eq!(object.get(name.as_str()).and_then(whole), Some(units.into()), "{name}");
    }
}

/// The request in its plainest form, parsed.
fn read_again(request: &ReservationRequest) -> ReservationRequest {
    let mut body = serde_json::json!({ "user": request.user.as_str() });
    let details = request.details.as_deref();
    match details.and_then(|details| details.lines.as_ref()) {
        None => body["quantity"] = request.quantity.into(),
        Some(lines) => {
            for (name, units) in lines.iter() {
                body["lines"][name.as_str()] = units.into();
            }
        }
    }
    if let Some(note) = details.and_then(|details| details.note.as_ref()) {
        body["note"] = note.as_str().into();
    }
    let body = body.to_string();
    parse_reservation_request(body.as_bytes(), Media::Json, None, UserSources::ANYONE)
        .expect("a request")
}

/// Every body of the control port.
pub fn control(body: &[u8]) {
    let request = Request {
        media: Media::Json,
        body: body.to_vec(),
        ..Request::new(Method::Post, "/v1/sales")
    };
    bounded(2 * memory(body), || {
        if let Ok((_, spec)) = control_body::sale(&request) {
            assert!(spec.check().is_ok(), "{spec:?}");
        }
        if let Ok(terms) = control_body::terms(&request) {
            assert!(terms.check().is_ok(), "{terms:?}");
        }
        let _ = (control_body::reset(&request), control_body::extension(&request));
        let _ = (control_body::units(&request), control_body::units_to_take(&request));
        let _ = control_body::remaining(&request);
    });
}
