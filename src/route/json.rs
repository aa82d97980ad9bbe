//! The JSON body of `POST /v1/sales/{sale}/reservations`.
//!
//! The parser is strict: an unknown or repeated member is rejected, not ignored, since `quantitty:
//! 2` would otherwise silently reserve one unit.
//!
//! Nothing here recurses into nested values of the client: a coroutine's stack is small, and an
//! overflow would end the core's worker.

mod members;
mod fast_path;

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use self::members::{Members, Numbers, Scalar};
use super::user::{USER_FIELD, USER_HEADER, UserSources, user_not_trusted};
use crate::engine::http::{Kind, Media, Problem};
use crate::limits::{QUANTITY_MAX, TYPES_MAX};
use crate::sale::{Details, IdError, Lines, Note, Remaining, TypeName, TypesError, User};

/// A request for a reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRequest {
    /// The user.
    pub user: User,
    /// Units, 1 to [`QUANTITY_MAX`]; the ledger checks the sale's own maximum.
    pub quantity: u32,
    /// Rare parts: units by ticket type, and the note.
    pub details: Option<Box<Details>>,
}

/// Parses `{"user": "…", "quantity": 1, "note": "…"}`. Quantity and note may be left out, and
/// `"lines": {"adult": 2}` may replace the quantity. If there is a header `X-User-Id`, it names the
/// user; then the member `user` may be left out, and must not name another one.
///
/// Errors: 415 for a body that is not declared as JSON, 400 for a body that is not JSON, 403 for a
/// user that no trusted source names, 422 with the field for anything else.
pub fn parse_reservation_request(
    body: &[u8],
    media: Media,
    user_header: Option<&[u8]>,
    user_sources: UserSources,
) -> Result<ReservationRequest, Problem> {
    // A caller who may not name users learns nothing about missing members.
    if user_header.is_some() && !user_sources.header {
        return Err(user_not_trusted(USER_HEADER));
    }
    members(body, media)?.check(user_header, user_sources)
}

/// The same if a token names the user: the body needs no user, and another user in it is rejected.
pub fn parse_admitted_request(
    body: &[u8],
    media: Media,
    user: &User,
) -> Result<ReservationRequest, Problem> {
    members(body, media)?.check_admitted(user)
}

#[inline(always)] // Nearly every body is read in the first way.
fn members(body: &[u8], media: Media) -> Result<Members<'_>, Problem> {
    media.check_json()?;
    match fast_path::members(body) {
        Some(members) => {
            debug_assert!(read(body).is_ok_and(|other| other == members), "read in two ways");
            Ok(members)
        }
        None => read(body),
    }
}

/// Parses `{"remaining": 1}`, or `{"remaining": {"adult": 1}}`: the part of a reservation that is
/// to remain. `None`: the member or the body is missing. Errors as for
/// [`parse_reservation_request`].
pub fn parse_remaining(body: &[u8], media: Media) -> Result<Option<Remaining>, Problem> {
    if body.is_empty() {
        return Ok(None);
    }
    media.check_json()?;
    let members = read(body)?;
    members.check_stray()?;
    let more = members.more.unwrap_or_default();
    let others = [
        (USER_FIELD, members.user.is_some()),
        (QUANTITY_FIELD, members.quantity.is_some()),
        (LINES_FIELD, more.lines.is_some()),
        (NOTE_FIELD, more.note.is_some()),
    ];
    if let Some((name, _)) = others.into_iter().find(|(_, is_there)| *is_there) {
        return Err(Problem::invalid(name, NO_SUCH_MEMBER));
    }
    match more.remaining {
        None => Ok(None),
        Some(Scalar::Whole(n)) if n <= u64::from(QUANTITY_MAX) => {
            Ok(Some(Remaining::Units(n as u32)))
        }
        Some(Scalar::Numbers(numbers)) => {
            lines(REMAINING_FIELD, *numbers).map(|lines| Some(Remaining::Lines(lines)))
        }
        Some(_) => {
            let detail = format!(
                "remaining must be a whole number, 0 to {QUANTITY_MAX}, or an object of such by \
                 ticket type"
            );
            Err(Problem::invalid(REMAINING_FIELD, detail))
        }
    }
}

/// The problem for `remaining` in the wrong form: a number for a sale with ticket types, or the
/// other way round.
pub fn wrong_remaining(has_types: bool) -> Problem {
    let detail = match has_types {
        true => "The sale has ticket types: remaining must say how many units of each, or 0.",
        false => "The sale has no ticket types: remaining must be a number.",
    };
    Problem::invalid(REMAINING_FIELD, detail)
}

/// The units per ticket type in a member.
fn lines(field: &'static str, numbers: Numbers<'_>) -> Result<Lines, Problem> {
    let invalid = |error: TypesError| Problem::invalid(field, error.to_string());
    let mut list = Vec::with_capacity(numbers.len());
    for (name, number) in numbers {
        let name = TypeName::new(&name).map_err(invalid)?;
        let Some(number) = number.filter(|number| *number <= u64::from(QUANTITY_MAX)) else {
            let detail = format!("{field}: {name} must be a whole number, 0 to {QUANTITY_MAX}");
            return Err(Problem::invalid(field, detail));
        };
        list.push((name, number as u32));
    }
    Lines::new(list).map_err(invalid)
}

/// Parses any body.
fn read(body: &[u8]) -> Result<Members<'_>, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let members = json.deserialize_any(MembersVisitor).and_then(|members| {
        json.end()?;
        Ok(members)
    });
    members.map_err(not_an_object)
}

fn not_an_object(error: serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::invalid("body", "the body is not a JSON object"),
        Category::Syntax | Category::Eof | Category::Io => {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is not JSON: line {line}, column {column}");
            Problem::new(Kind::BAD_REQUEST, detail)
        }
    }
}

impl Members<'_> {
    fn check(
        mut self,
        user_header: Option<&[u8]>,
        user_sources: UserSources,
    ) -> Result<ReservationRequest, Problem> {
        self.check_stray()?;
        if user_header.is_none() && self.user.is_some() && !user_sources.client {
            return Err(user_not_trusted(USER_FIELD));
        }
        let user = buyer(self.user.as_ref(), user_header)?;
        let (quantity, details) = self.units_and_details()?;
        Ok(ReservationRequest { user, quantity, details })
    }

    fn check_admitted(mut self, user: &User) -> Result<ReservationRequest, Problem> {
        self.check_stray()?;
        match &self.user {
            None => {}
            Some(Scalar::Text(named)) if *named == user.as_str() => {}
            Some(Scalar::Text(_)) => return Err(user_not_trusted(USER_FIELD)),
            Some(_) => return Err(Problem::invalid(USER_FIELD, "user must be a string")),
        }
        let (quantity, details) = self.units_and_details()?;
        Ok(ReservationRequest { user: user.clone(), quantity, details })
    }

    /// The number of units, and the rare parts.
    #[inline(always)]
    fn units_and_details(&mut self) -> Result<(u32, Option<Box<Details>>), Problem> {
        let Some(more) = self.more.take() else {
            return self.quantity().map(|quantity| (quantity, None));
        };
        if more.remaining.is_some() {
            return Err(Problem::invalid(REMAINING_FIELD, NO_SUCH_MEMBER));
        }
        let ((quantity, lines), note) = (self.units(more.lines)?, note(more.note)?);
        Ok((quantity, Details { lines, note, ..Details::default() }.boxed()))
    }

    /// The number of units, and their ticket types if they are named.
    fn units(&self, named: Option<Scalar<'_>>) -> Result<(u32, Option<Lines>), Problem> {
        let lines = match named {
            None => return self.quantity().map(|quantity| (quantity, None)),
            Some(Scalar::Numbers(numbers)) => lines(LINES_FIELD, *numbers)?,
            Some(_) => {
                let detail = "lines must be an object of whole numbers by ticket type";
                return Err(Problem::invalid(LINES_FIELD, detail));
            }
        };
        if self.quantity.is_some() {
            return Err(Problem::invalid(QUANTITY_FIELD, "give quantity or lines, not both"));
        }
        if lines.is_empty() {
            return Err(Problem::invalid(LINES_FIELD, "lines must have at least one unit"));
        }
        Ok((lines.units(), Some(lines)))
    }

    fn quantity(&self) -> Result<u32, Problem> {
        match &self.quantity {
            None => Ok(1),
            Some(Scalar::Whole(n)) if (1..=u64::from(QUANTITY_MAX)).contains(n) => Ok(*n as u32),
            Some(_) => {
                let detail = format!("quantity must be a whole number, 1 to {QUANTITY_MAX}");
                Err(Problem::invalid(QUANTITY_FIELD, detail))
            }
        }
    }

    /// An error if there is an unknown or a repeated member.
    fn check_stray(&self) -> Result<(), Problem> {
        match &self.stray {
            Some(stray) => Err(Problem::invalid(stray.0.clone(), stray.1)),
            None => Ok(()),
        }
    }
}

fn note(named: Option<Scalar<'_>>) -> Result<Option<Note>, Problem> {
    match named {
        None => Ok(None),
        Some(Scalar::Text(text)) => Note::new(&text).map(Some).map_err(invalid_note),
        Some(_) => Err(invalid_note(IdError::Note)),
    }
}

fn invalid_note(error: IdError) -> Problem {
    Problem::invalid(NOTE_FIELD, error.to_string())
}

/// The user, from the member of the body and the header.
fn buyer(member: Option<&Scalar<'_>>, header: Option<&[u8]>) -> Result<User, Problem> {
    let user = |text: &str, field| {
        User::new(text).map_err(|error| Problem::invalid(field, error.to_string()))
    };
    let decided = match header {
        Some(header) => {
            let text = str::from_utf8(header).map_err(|_| IdError::User);
            let text = text.map_err(|error| Problem::invalid(USER_HEADER, error.to_string()))?;
            Some(user(text, USER_HEADER)?)
        }
        None => None,
    };
    match (member, decided) {
        (None, None) => Err(Problem::invalid(USER_FIELD, "user is required")),
        (None, Some(decided)) => Ok(decided),
        (Some(Scalar::Text(named)), None) => user(named, USER_FIELD),
        (Some(Scalar::Text(named)), Some(decided)) if named == decided.as_str() => Ok(decided),
        (Some(Scalar::Text(_)), Some(_)) => {
            Err(Problem::invalid(USER_FIELD, "user is not the one that X-User-Id names"))
        }
        (Some(_), _) => Err(Problem::invalid(USER_FIELD, "user must be a string")),
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Whole(n))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    /// `2.0` is the same number as `2` (RFC 8259, section 6), and a whole one.
    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(whole_number(number).map_or(Scalar::Other, Scalar::Whole))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        let mut numbers = Vec::new();
        while let Some((name, number)) = map.next_entry::<Text<'de>, Number>()? {
            // One more than allowed is enough to reject the list.
            if numbers.len() <= TYPES_MAX {
                numbers.push((name.0, number.0));
            }
        }
        Ok(Scalar::Numbers(Box::new(numbers)))
    }
}

/// A text that is copied only if it has escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A whole number, or `None` for any other value, which is not parsed further.
struct Number(Option<u64>);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, _: &str) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Number, E> {
        Ok(Number(Some(n)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Number, E> {
        Ok(Number(whole_number(number)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_unit<E>(self) -> Result<Number, E> {
        Ok(Number(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Number, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Number(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Number(None))
    }
}

/// A number without a fraction, if a double represents it exactly.
pub fn whole_number(number: f64) -> Option<u64> {
    const EXACT_MAX: f64 = (1u64 << f64::MANTISSA_DIGITS) as f64;
    ((0.0..=EXACT_MAX).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

/// The name of a member.
enum Name {
    User,
    Quantity,
    Lines,
    Note,
    Remaining,
    Other(String),
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Name, E> {
        Ok(match text {
            USER_FIELD => Name::User,
            QUANTITY_FIELD => Name::Quantity,
            LINES_FIELD => Name::Lines,
            NOTE_FIELD => Name::Note,
            REMAINING_FIELD => Name::Remaining,
            other => Name::Other(other.to_owned()),
        })
    }
}

const QUANTITY_FIELD: &str = "quantity";
const LINES_FIELD: &str = "lines";
const NOTE_FIELD: &str = "note";
const REMAINING_FIELD: &str = "remaining";
const NO_SUCH_MEMBER: &str = "there is no such member";

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// Accepts all members: syntax errors are reported before wrong values.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<Name>()? {
            let (member, name) = match name {
                Name::User => (&mut members.user, USER_FIELD),
                Name::Quantity => (&mut members.quantity, QUANTITY_FIELD),
                Name::Lines => (&mut members.more.get_or_insert_default().lines, LINES_FIELD),
                Name::Note => (&mut members.more.get_or_insert_default().note, NOTE_FIELD),
                Name::Remaining => {
                    (&mut members.more.get_or_insert_default().remaining, REMAINING_FIELD)
                }
                Name::Other(name) => {
                    map.next_value::<IgnoredAny>()?;
                    members.stray.get_or_insert_with(|| Box::new((name, NO_SUCH_MEMBER)));
                    continue;
                }
            };
            if member.is_none() {
                *member = Some(map.next_value()?);
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            members
                .stray
                .get_or_insert_with(|| Box::new((name.to_owned(), "the member is there twice")));
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(body: &str) -> Result<ReservationRequest, Problem> {
        parse_reservation_request(body.as_bytes(), Media::Json, None, UserSources::ANYONE)
    }

    #[test]
    fn valid_bodies_are_parsed() {
        for (body, user, quantity) in [
            (r#"{"user":"u"}"#, "u", 1),
            (r#" {"quantity": 3 , "user": "张三"} "#, "张三", 3),
            (r#"{"user":"u","quantity":3.0}"#, "u", 3),
            (r#"{"user":"u","quantity":1e2}"#, "u", 100),
            (r#"{"us\u0065r":"\u5f20","quantity":1000000}"#, "张", 1_000_000),
        ] {
            let request =
                ReservationRequest { user: User::new(user).unwrap(), quantity, details: None };
            assert_eq!(parse(body), Ok(request), "{body}");
        }
    }

    #[test]
    fn wrong_values_name_the_field() {
        for quantity in [
            "0",
            "-1",
            "9223372036854775808",
            "1000001",
            "\"1\"",
            "1.5",
            "null",
            "[]",
            "{}",
            "true",
        ] {
            let problem = parse(&format!(r#"{{"user":"u","quantity":{quantity}}}"#)).unwrap_err();
            assert_eq!(problem.kind, Kind::INVALID, "{quantity}");
            assert_eq!(problem.field.as_deref(), Some("quantity"), "{quantity}");
        }
        let long = format!(r#"{{"user":"{}"}}"#, "u".repeat(129));
        for (body, field) in [
            ("{}", "user"),
            (r#"{"user":null}"#, "user"),
            (r#"{"user":1}"#, "user"),
            (r#"{"user":""}"#, "user"),
            (r#"{"user":"a\nb"}"#, "user"),
            (r#"{"user":"\u0000"}"#, "user"),
            (&long, "user"),
            (r#"{"user":"u","quantitty":2}"#, "quantitty"),
            (r#"{"user":"u","user":"u"}"#, "user"),
            (r#"{"user":"u","quantity":1,"quantit\u0079":2}"#, "quantity"),
            (r#"{"__proto__":{},"user":"u"}"#, "__proto__"),
            ("[]", "body"),
            ("\"user\"", "body"),
            ("null", "body"),
        ] {
            let problem = parse(body).unwrap_err();
            assert_eq!(problem.kind, Kind::INVALID, "{body}");
            assert_eq!(problem.field.as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn a_note_is_accepted_within_its_bounds() {
        let read = |note: &str| parse(&format!(r#"{{"user":"u","note":{note}}}"#));
        let note =
            |text: &str| read(text).unwrap().details.unwrap().note.unwrap().as_str().to_owned();
        assert_eq!(note(r#""row 7""#), "row 7");
        assert_eq!(note(r#""\u5f20""#), "张");
        let long = format!("\"{}\"", "n".repeat(201));
        for bad in ["1", "null", "\"\"", "[]", r#""a\nb""#, &long] {
            assert_eq!(read(bad).unwrap_err().field.as_deref(), Some("note"), "{bad}");
        }
        let both = parse(r#"{"user":"u","remaining":1}"#).unwrap_err();
        assert_eq!(both.field.as_deref(), Some("remaining"));
    }

    #[test]
    fn lines_replace_a_quantity() {
        let read = |members: &str| parse(&format!(r#"{{"user":"u",{members}}}"#));
        let taken = read(r#""lines":{"child":1.0,"adult":2,"d\u006fg":0}"#).unwrap();
        let lines = taken.details.unwrap().lines.unwrap();
        assert_eq!((taken.quantity, lines.to_text().as_str()), (3, "adult:2,child:1"));
        let many = (0..=TYPES_MAX).map(|n| format!(r#""t{n}":1"#)).collect::<Vec<_>>().join(",");
        let many = format!(r#""lines":{{{many}}}"#);
        for (bad, field) in [
            (r#""lines":{}"#, "lines"),
            (r#""lines":{"adult":0}"#, "lines"),
            (r#""lines":{"adult":1.5}"#, "lines"),
            (r#""lines":{"adult":null}"#, "lines"),
            (r#""lines":{"adult":{"adult":1}}"#, "lines"),
            (r#""lines":{"adult":1,"adult":1}"#, "lines"),
            (r#""lines":{"":1}"#, "lines"),
            (r#""lines":{"adult":600000,"child":600000}"#, "lines"),
            (r#""lines":[{"adult":1}]"#, "lines"),
            (r#""lines":null"#, "lines"),
            (&many, "lines"),
            (r#""lines":{"adult":1},"quantity":1"#, "quantity"),
            (r#""quantity":{"adult":1}"#, "quantity"),
        ] {
            assert_eq!(read(bad).unwrap_err().field.as_deref(), Some(field), "{bad}");
        }
        let deep = format!(r#""lines":{{"adult":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
        assert_eq!(read(&deep).unwrap_err().field.as_deref(), Some("lines"));
    }

    #[test]
    fn remaining_is_a_whole_number() {
        let read = |body: &str| parse_remaining(body.as_bytes(), Media::Json);
        let none = parse_remaining(b"", Media::Other);
        assert_eq!(
            (none, read("{}"), read(r#"{"remaining":0}"#)),
            (Ok(None), Ok(None), Ok(Some(Remaining::Units(0))))
        );
        for (body, field) in [
            (r#"{"remaining":null}"#, "remaining"),
            (r#"{"remaining":-1}"#, "remaining"),
            (r#"{"remaining":1.5}"#, "remaining"),
            (r#"{"remaining":{"adult":-1}}"#, "remaining"),
            (r#"{"remaining":{"Adult":1}}"#, "remaining"),
            (r#"{"remaining":1,"lines":{"adult":1}}"#, "lines"),
            (r#"{"remaining":1000001}"#, "remaining"),
            (r#"{"remaining":1,"remaining":0}"#, "remaining"),
            (r#"{"remainning":1}"#, "remainning"),
            (r#"{"user":"ann","remaining":1}"#, "user"),
        ] {
            assert_eq!(read(body).unwrap_err().field.as_deref(), Some(field), "{body}");
        }
        assert_eq!(read("{").unwrap_err().kind, Kind::BAD_REQUEST);
        let problem = parse_remaining(b"remaining=1", Media::Other).unwrap_err();
        assert_eq!(problem.kind, Kind::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn the_header_names_the_buyer() {
        let parse = |body: &str, header: &[u8]| {
            parse_reservation_request(
                body.as_bytes(),
                Media::Json,
                Some(header),
                UserSources::ANYONE,
            )
        };
        let user = User::new("张三").unwrap();
        for body in ["{}", r#"{"quantity":1}"#, r#"{"user":"张三"}"#, r#"{"user":"\u5f20三"}"#] {
            let request = ReservationRequest { user: user.clone(), quantity: 1, details: None };
            assert_eq!(parse(body, "张三".as_bytes()), Ok(request), "{body}");
        }
        let long = "u".repeat(129);
        for (body, header, field) in [
            (r#"{"user":"bob"}"#, &b"ann"[..], "user"),
            (r#"{"user":"Ann"}"#, b"ann", "user"),
            (r#"{"user":""}"#, b"ann", "user"),
            (r#"{"user":null}"#, b"ann", "user"),
            (r#"{"user":1}"#, b"1", "user"),
            (r#"{"user":"ann","user":"bob"}"#, b"ann", "user"),
            (r#"{"user":"ann"}"#, b"", "X-User-Id"),
            ("{}", b"\xff", "X-User-Id"),
            ("{}", b"a\tb", "X-User-Id"),
            ("{}", long.as_bytes(), "X-User-Id"),
        ] {
            let problem = parse(body, header).unwrap_err();
            assert_eq!(problem.kind, Kind::INVALID, "{body}");
            assert_eq!(problem.field.as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn malformed_json_is_a_bad_request() {
        let deep = format!(r#"{{"user":{}"#, "[".repeat(10_000));
        for body in [
            "",
            " ",
            "{",
            r#"{"user":"u"}x"#,
            r#"{"user":"u"}{}"#,
            r#"{"user":"u",}"#,
            r#"{'user':'u'}"#,
            r#"{user:"u"}"#,
            r#"{"user":"\ud800"}"#,
            r#"{"user":"u","x":1"#,
            "\u{feff}{}",
            "{\"user\":\"a\nb\"}",
            r#"{"quantity":01}"#,
            &deep,
        ] {
            assert_eq!(parse(body).unwrap_err().kind, Kind::BAD_REQUEST, "{body}");
        }
        let not_utf8 = parse_reservation_request(
            b"{\"user\":\"\xff\"}",
            Media::Json,
            None,
            UserSources::ANYONE,
        );
        assert_eq!(not_utf8.unwrap_err().kind, Kind::BAD_REQUEST);
    }

    #[test]
    fn only_json_content_types_are_read() {
        for media in [Media::Other, Media::Encoded] {
            let problem =
                parse_reservation_request(br#"{"user":"u"}"#, media, None, UserSources::ANYONE)
                    .unwrap_err();
            assert_eq!(problem.kind, Kind::UNSUPPORTED_MEDIA_TYPE);
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_reservation_request(&body, Media::Json, None, UserSources::ANYONE);
        }
    }
}
