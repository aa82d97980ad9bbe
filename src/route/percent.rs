//! Percent-decoding (RFC 3986, section 2.1) of paths and queries.

use std::borrow::Cow;

/// The text with every `%xx` decoded; borrowed if there is none. A `+` is a plus. `None`: a `%`
/// without two hexadecimal digits, or not UTF-8.
#[inline]
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('%') { decode_owned(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
}

/// The normal form of a path, if the path is not in it: no unreserved character is encoded (RFC
/// 3986, section 6.2.2.2). An encoded `/` is not a separator and stays encoded.
pub fn normalized(path: &str) -> Option<String> {
    if !path.contains('%') {
        return None;
    }
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        normal += &rest[..at];
        let encoded = rest.get(at..at + 3)?;
        let digits = &encoded[1..];
        let byte = u8::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            normal.push(byte as char);
        } else {
            normal += encoded;
        }
        rest = &rest[at + 3..];
    }
    normal += rest;
    (normal != path).then_some(normal)
}

/// The parameters of a query: names, decoded where possible, and values as sent. Empty ones, as in
/// `a&&b`, are skipped.
pub fn parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name).unwrap_or(Cow::Borrowed(name)), value)
    })
}

fn decode_owned(text: &str) -> Option<String> {
    let digit = |b: Option<&u8>| b.and_then(|&b| (b as char).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let byte = digit(after.first())? * 16 + digit(after.get(1))?;
                rest = &after[2..];
                byte as u8
            }
            &other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreserved_characters_are_decoded_exactly_once() {
        for (path, normal) in [
            ("/buy/%74icket", Some("/buy/ticket")),
            ("/%62uy/ticke%74", Some("/buy/ticket")),
            ("/%7e%2D%2e%5f%41", Some("/~-._A")),
            ("/buy%2F%74icket", Some("/buy%2Fticket")),
            ("/%25%37%34icket", Some("/%2574icket")),
            ("/票%74", Some("/票t")),
            ("/buy/ticket", None),
            ("/buy%2fticket", None),
            ("/%2574icket", None),
            ("/%", None),
            ("/%7", None),
            ("/%zz%74", None),
            ("/%%37%34", None),
            ("/%+4", None),
            ("/%7票", None),
        ] {
            assert_eq!(normalized(path).as_deref(), normal, "{path}");
            assert_eq!(normal.and_then(normalized), None, "once is enough");
        }
    }

    #[test]
    fn parameter_names_are_decoded() {
        let names = |query| -> Vec<_> { parameters(query).collect() };
        let one = |name: &'static str, value: &'static str| vec![(Cow::from(name), value)];
        assert_eq!(names("us%65r=a%20b"), one("user", "a%20b"));
        assert_eq!(names("user%3Da"), one("user=a", ""));
        assert_eq!(names("&&%zz=1&"), one("%zz", "1"));
        assert_eq!(names("=x"), one("", "x"));
        assert_eq!(names(""), []);
    }
}
