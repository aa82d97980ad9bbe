//! The header `Idempotency-Key` (IETF httpapi draft -07, section 2.1): a string of RFC 9651 in quotes,
//! or, as many clients send it, the same without quotes. Both name the same key.

use std::borrow::Cow;

use crate::engine::http::{Head, Problem};
use crate::sale::{IdError, Key};

const FIELD: &str = "Idempotency-Key";

/// The request's `Idempotency-Key`, or 422 naming it.
#[inline]
pub fn idempotency_key(head: &Head<'_>) -> Result<Option<Key>, Problem> {
    head.idempotency_key.map(key).transpose()
}

fn key(bytes: &[u8]) -> Result<Key, Problem> {
    let invalid = |error: IdError| Problem::invalid(FIELD, error.to_string());
    let text = str::from_utf8(bytes).map_err(|_| invalid(IdError::Key))?;
    let text = match text.strip_prefix('"') {
        None => Cow::Borrowed(text),
        Some(rest) => unquoted(rest).ok_or_else(|| {
            Problem::invalid(
                FIELD,
                "a key in quotes is one string of RFC 9651: visible ASCII and blanks, with \\\" for a \
                 quote and \\\\ for a backslash",
            )
        })?,
    };
    Key::new(&text).map_err(invalid)
}

/// The text in quotes (RFC 9651, section 4.2.5), from the byte after the first quote to the end of
/// the header.
fn unquoted(rest: &str) -> Option<Cow<'_, str>> {
    let inner = rest.strip_suffix('"')?;
    let is_legal = |byte: u8| (b' '..=b'~').contains(&byte);
    if !inner.bytes().all(is_legal) {
        return None;
    }
    if !inner.bytes().any(|byte| matches!(byte, b'"' | b'\\')) {
        return Some(Cow::Borrowed(inner));
    }
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '"' => return None,
            '\\' => characters.next().filter(|next| matches!(next, '"' | '\\'))?,
            other => other,
        });
    }
    Some(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    fn read(value: &[u8]) -> Result<Option<Key>, Problem> {
        let input = [b"GET / HTTP/1.0\r\nIdempotency-Key: ", value, b"\r\n\r\n"].concat();
        idempotency_key(&parse_head(&input).unwrap().unwrap())
    }

    #[test]
    fn keys_are_checked() {
        assert_eq!(read(b"k-1").unwrap().unwrap().as_str(), "k-1");
        for bad in [&b""[..], b"\xff", "k".repeat(256).as_bytes(), b"a\tb", b"\"\""] {
            assert_eq!(read(bad).unwrap_err().field.as_deref(), Some("Idempotency-Key"));
        }
        let none = parse_head(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert_eq!(idempotency_key(&none), Ok(None));
    }

    #[test]
    fn a_quoted_key_equals_the_bare_key() {
        for (sent, key) in [
            (r#""k-1""#, "k-1"),
            (r#"k"1"#, r#"k"1"#),
            (r#""a b""#, "a b"),
            (r#""a\"b\\""#, r#"a"b\"#),
            (r#"a\"b"#, r#"a\"b"#),
        ] {
            assert_eq!(read(sent.as_bytes()).unwrap().unwrap().as_str(), key, "{sent}");
        }
        let long = format!("\"{}\"", "k".repeat(255));
        assert_eq!(read(long.as_bytes()).unwrap().unwrap().as_str().len(), 255);
    }

    #[test]
    fn a_malformed_quoted_key_is_refused() {
        for bad in [
            "\"",
            "\"k",
            "\"k\"l",
            "\"k\"l\"",
            "\"k\"; a=1",
            "\"k\\\"",
            "\"\\k\"",
            "\"键\"",
            "\"k\\",
            "\"a\tb\"",
        ] {
            let problem = read(bad.as_bytes()).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some("Idempotency-Key"), "{bad}");
            assert_eq!(problem.kind.status.code(), 422, "{bad}");
        }
    }
}
