//! How purchases and TechEmpower's two paths are answered, byte by byte.

use std::borrow::Cow;

use serde::Serialize;

use crate::clock::Rfc3339;
use crate::code::Code;
use crate::engine::http::{
    Canned, Envelope, JSON, Problem, Remedy, Response, Status, json_bytes, shown,
};
use crate::sale::{Reservation, SaleId};
use crate::views::ReservationJson;

/// Appends what `/buy/ticket` says to a purchase that was granted. Allocates nothing.
pub fn write_buy_granted(sale: &str, id: &[u8], envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    // A sale id and a reservation id have no character that JSON escapes.
    Response::new(Status::Ok, JSON).write(
        envelope,
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

/// Appends what `/buy/ticket` says to a purchase that was not granted. Allocates nothing, unless
/// the code is none of a purchase's: then it is the problem.
pub fn write_buy_refused(code: Code, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    write_buy_answer(code, &[], code.kind().retry_after_s, envelope, out);
}

/// The same with another time to come back.
pub fn write_buy_refused_until(
    code: Code,
    retry_after_s: u32,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    write_buy_answer(code, &[], Some(retry_after_s), envelope, out);
}

/// The same with a member of `data` that says more, such as `opens_at`. What is given as its value
/// is escaped already, as far as JSON needs it.
pub fn write_buy_refused_with(
    code: Code,
    (name, value): (&'static str, &str),
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    debug_assert!(serde_json::from_str::<String>(&format!("\"{value}\"")).is_ok(), "{value}");
    let data = [br#","data":{""#, name.as_bytes(), br#"":""#, value.as_bytes(), br#""}"#];
    write_buy_answer(code, &data, code.kind().retry_after_s, envelope, out);
}

/// Appends what `/buy/ticket` says to a header or parameter that is wrong. Its name may be a client's.
pub fn write_buy_invalid(field: Cow<'_, str>, envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let field = shown(field);
    let member = ("field", &*json_text(&field));
    write_buy_refused_with(Code::Invalid, member, envelope, out);
}

fn write_buy_answer(
    code: Code,
    data: &[&[u8]],
    retry_after_s: Option<u32>,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let Some(answer) = code.buy() else { return Problem::of(code).write(envelope, out) };
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
    response.write(envelope, &body, out);
}

/// Appends a 201 that shows a new reservation, as `ReservationJson` does, and where it is found.
/// Allocates nothing, unless the name of its user needs escapes or it has details.
pub fn write_created(
    sale: &SaleId,
    reservation: &Reservation,
    envelope: &Envelope<'_>,
    out: &mut Vec<u8>,
) {
    let (id, time) = (reservation.id.to_text(), Rfc3339::new(reservation.expires_at_ms));
    let id = str::from_utf8(&id).unwrap_or_default();
    let location = ["/v1/reservations/", sale.as_str(), "~", id];
    let response = Response { location: Some(&location), ..Response::new(Status::Created, JSON) };
    if reservation.details.is_some() {
        let json = json_bytes(&ReservationJson::of(sale, reservation));
        return response.write(envelope, &[&json], out);
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
    response.write(envelope, &body.map(str::as_bytes), out);
}

/// A text as it stands between the quotes of JSON.
fn json_text(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let json = serde_json::to_string(text).unwrap_or_default();
    let escaped = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    Cow::Owned(escaped.unwrap_or_default().to_owned())
}

/// Appends TechEmpower's plaintext answer. Its rules allow a text that is kept, but no response that
/// is, with its headers: so it has no [`Canned`].
pub fn write_plaintext(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
    let response = Response { no_store: false, ..Response::new(Status::Ok, "text/plain") };
    response.write(envelope, &[b"Hello, World!"], out);
}

/// Appends TechEmpower's JSON answer. Its rules ask for an object that is made and serialized for
/// each request, so it is.
pub fn write_techempower_json(envelope: &Envelope<'_>, out: &mut Vec<u8>) {
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
    response.write(envelope, &[body], out);
}

/// What `/buy/ticket` says for this code, encoded once.
pub fn canned_buy_refused(code: Code) -> Canned {
    Canned::new(|envelope, out| write_buy_refused(code, envelope, out))
}

/// The same with more, as [`write_buy_refused_with`] takes it.
pub fn canned_buy_refused_with(code: Code, member: (&'static str, &str)) -> Canned {
    Canned::new(|envelope, out| write_buy_refused_with(code, member, envelope, out))
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
