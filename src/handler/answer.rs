//! The answers to purchases and to TechEmpower's two paths, byte by byte.

use std::borrow::Cow;

use serde::Serialize;

use crate::api_json::ReservationJson;
use crate::clock::Rfc3339;
use crate::code::ErrorCode;
use crate::engine::http::{
    JSON, Preencoded, Problem, Remedy, Response, ResponseContext, Status, json_bytes, truncated,
};
use crate::sale::{Reservation, SaleId};

/// Appends the answer of `/buy/ticket` to a granted purchase. Allocates nothing.
pub fn write_buy_granted(sale: &str, id: &[u8], context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    // Sale ids and reservation ids have no characters that JSON escapes.
    Response::new(Status::Ok, JSON).write(
        context,
        &[
            r#"{"code":1,"msg":"抢票成功","data":{"reservation":""#.as_bytes(),
            sale.as_bytes(),
            b"~",
            id,
            br#""}}"#,
        ],
        out,
    );
}

/// Appends the answer of `/buy/ticket` to a purchase that was not granted. Allocates nothing,
/// unless the code has no such answer; then the problem is written.
pub fn write_buy_refused(code: ErrorCode, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    write_buy_answer(code, &[], code.kind().retry_after_s, context, out);
}

/// The same with another `Retry-After`.
pub fn write_buy_refused_until(
    code: ErrorCode,
    retry_after_s: u32,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    write_buy_answer(code, &[], Some(retry_after_s), context, out);
}

/// The same with a member in `data`, such as `opens_at`. The value must be escaped for JSON
/// already.
pub fn write_buy_refused_with(
    code: ErrorCode,
    (name, value): (&'static str, &str),
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    debug_assert!(serde_json::from_str::<String>(&format!("\"{value}\"")).is_ok(), "{value}");
    let data = [br#","data":{""#, name.as_bytes(), br#"":""#, value.as_bytes(), br#""}"#];
    write_buy_answer(code, &data, code.kind().retry_after_s, context, out);
}

/// Appends the answer of `/buy/ticket` to a wrong header or parameter. The name may be a client's.
pub fn write_buy_invalid(field: Cow<'_, str>, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let field = truncated(field);
    let member = ("field", &*json_text(&field));
    write_buy_refused_with(ErrorCode::Invalid, member, context, out);
}

fn write_buy_answer(
    code: ErrorCode,
    data: &[&[u8]],
    retry_after_s: Option<u32>,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    let Some(answer) = code.buy() else { return Problem::of(code).write(context, out) };
    let remedy = code.challenge().map(Remedy::Authenticate);
    let response = Response { retry_after_s, remedy, ..Response::new(answer.status, JSON) };
    let mut number = itoa::Buffer::new();
    let number = number.format(answer.code).as_bytes();
    let mut body: [&[u8]; 11] = [b""; 11];
    body[..5].copy_from_slice(&[
        br#"{"code":"#,
        number,
        br#","msg":""#,
        answer.msg.as_bytes(),
        b"\"",
    ]);
    body[5..5 + data.len()].copy_from_slice(data);
    body[5 + data.len()] = b"}";
    response.write(context, &body, out);
}

/// Appends a 201 with the new reservation, as `ReservationJson` has it, and its `Location`.
/// Allocates nothing, unless the user's name needs escapes or the reservation has details.
pub fn write_created(
    sale: &SaleId,
    reservation: &Reservation,
    context: &ResponseContext<'_>,
    out: &mut Vec<u8>,
) {
    let (id, time) = (reservation.id.to_text(), Rfc3339::new(reservation.expires_at_ms));
    let id = str::from_utf8(&id).unwrap_or_default();
    let location = ["/v1/reservations/", sale.as_str(), "~", id];
    let response = Response { location: Some(&location), ..Response::new(Status::Created, JSON) };
    if reservation.details.is_some() {
        let json = json_bytes(&ReservationJson::of(sale, reservation));
        return response.write(context, &[&json], out);
    }
    let user = match &reservation.user {
        None => Cow::Borrowed("null"),
        Some(user) => json_text(user.as_str()),
    };
    let quote = if reservation.user.is_some() { "\"" } else { "" };
    let mut quantity = itoa::Buffer::new();
    let body = [
        r#"{"id":""#,
        sale.as_str(),
        "~",
        id,
        r#"","sale":""#,
        sale.whole_str(),
        r#"","user":"#,
        quote,
        &user,
        quote,
        r#","quantity":"#,
        quantity.format(reservation.quantity),
        r#","status":""#,
        reservation.status.as_str(),
        r#"","expires_at":""#,
        time.as_str(),
        r#""}"#,
    ];
    response.write(context, &body.map(str::as_bytes), out);
}

/// A text as it is written between the quotes of JSON.
fn json_text(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let json = serde_json::to_string(text).unwrap_or_default();
    let escaped = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    Cow::Owned(escaped.unwrap_or_default().to_owned())
}

/// Appends TechEmpower's plaintext answer. Its rules allow to keep the text, but not a whole
/// response with headers, so it is not a [`Preencoded`].
pub fn write_plaintext(context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let response = Response { no_store: false, ..Response::new(Status::Ok, "text/plain") };
    response.write(context, &[b"Hello, World!"], out);
}

/// Appends TechEmpower's JSON answer. Its rules require an object that is created and serialized
/// for each request.
pub fn write_techempower_json(context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Message<'a> {
        message: &'a str,
    }
    let mut room = [0; 64];
    let mut rest = &mut room[..];
    let written = serde_json::to_writer(&mut rest, &Message { message: "Hello, World!" });
    debug_assert!(written.is_ok(), "{written:?}");
    let free_bytes = rest.len();
    let body = &room[..room.len() - free_bytes];
    let response = Response { no_store: false, ..Response::new(Status::Ok, JSON) };
    response.write(context, &[body], out);
}

/// The answer of `/buy/ticket` for this code, encoded once.
pub fn preencoded_buy_refused(code: ErrorCode) -> Preencoded {
    Preencoded::new(|context, out| write_buy_refused(code, context, out))
}

/// The same with a member in `data`: see [`write_buy_refused_with`].
pub fn preencoded_buy_refused_with(code: ErrorCode, member: (&'static str, &str)) -> Preencoded {
    Preencoded::new(|context, out| write_buy_refused_with(code, member, context, out))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
