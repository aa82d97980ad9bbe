//! Parses a plain body in one pass. Nearly all bodies are plain.
//!
//! Plain is: an object with `user` and `quantity`, each at most once, in either order; a text of
//! visible ASCII without escapes, and a number of a few digits. Every other body, right or wrong,
//! is left to `serde_json`, which alone decides what is legal.

use std::borrow::Cow;

use super::members::{Members, Scalar};

/// The members of a plain body.
pub(super) fn members(body: &[u8]) -> Option<Members<'_>> {
    let mut members = Members::default();
    let mut rest = blank(body).strip_prefix(b"{")?;
    loop {
        let (member, after) = match blank(rest).strip_prefix(b"\"")? {
            name if name.starts_with(b"user\"") => (&mut members.user, &name[b"user\"".len()..]),
            name => (&mut members.quantity, name.strip_prefix(b"quantity\"")?),
        };
        if member.is_some() {
            return None;
        }
        let value = blank(blank(after).strip_prefix(b":")?);
        let (scalar, after) = match value.strip_prefix(b"\"") {
            Some(text) => text_of(text)?,
            None => number_of(value)?,
        };
        *member = Some(scalar);
        match blank(after) {
            [b',', more @ ..] => rest = more,
            [b'}', end @ ..] if blank(end).is_empty() => return Some(members),
            _ => return None,
        }
    }
}

fn blank(bytes: &[u8]) -> &[u8] {
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    &bytes[bytes.iter().take_while(is_blank).count()..]
}

/// A text, after its opening quote.
fn text_of(bytes: &[u8]) -> Option<(Scalar<'_>, &[u8])> {
    let plain = |byte: &&u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let (text, rest) = bytes.split_at(bytes.iter().take_while(plain).count());
    let rest = rest.strip_prefix(b"\"")?;
    Some((Scalar::Text(Cow::Borrowed(str::from_utf8(text).ok()?)), rest))
}

fn number_of(bytes: &[u8]) -> Option<(Scalar<'_>, &[u8])> {
    let (digits, rest) = bytes.split_at(bytes.iter().take_while(|b| b.is_ascii_digit()).count());
    // A number may not begin with 0, and the following byte might belong to it.
    if !(1..=9).contains(&digits.len()) || digits[0] == b'0' {
        return None;
    }
    if !matches!(rest.first(), Some(b',' | b'}' | b' ' | b'\t' | b'\r' | b'\n')) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some((Scalar::Whole(number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::json::read;

    #[test]
    fn usual_bodies_take_the_fast_path_and_odd_ones_do_not() {
        for plain in [
            r#"{"user":"ann","quantity":1}"#,
            r#" { "quantity" : 12 , "user" : "a b" } "#,
            "{\r\n\t\"user\":\"ann\"\r\n}\n",
            r#"{"quantity":999999999}"#,
        ] {
            let members = members(plain.as_bytes());
            assert!(
                members.is_some_and(|m| read(plain.as_bytes()).is_ok_and(|o| o == m)),
                "{plain}"
            );
        }
        for odd in [
            "",
            "{}",
            "[]",
            r#"{"user":"ann"}x"#,
            r#"{"user":"ann",}"#,
            r#"{"user":"ann","user":"bob"}"#,
            r#"{"user":"a\u0041"}"#,
            r#"{"user":"李雷"}"#,
            r#"{"quantity":01}"#,
            r#"{"quantity":1.0}"#,
            r#"{"quantity":1e1}"#,
            r#"{"quantity":-1}"#,
            r#"{"quantity":1"#,
            r#"{"quantity":1234567890}"#,
            r#"{"user":null}"#,
            r#"{"name":"ann"}"#,
            "{\"user\":\"a\tb\"}",
        ] {
            assert!(members(odd.as_bytes()).is_none(), "{odd}");
        }
    }

    proptest! {
        /// Both parsers agree on every plain body.
        #[test]
        fn the_fast_path_agrees_with_the_full_parser(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "{", "}", "\"user\"", "\"quantity\"", ":", ",", "\"ann\"", "1", "20", " ", "\n",
                "\"", "0", "\\", "x", "\"b c\"",
            ]), 0..12),
        ) {
            for body in [pieces.concat(), format!("{{\"user\":{}}}", pieces.concat())] {
                if let Some(members) = members(body.as_bytes()) {
                    let other = read(body.as_bytes());
                    prop_assert!(other.is_ok_and(|other| other == members), "{}", body);
                }
            }
        }
    }
}
