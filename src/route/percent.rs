//! Percent-decoding (RFC 3986, section 2.1).

use std::borrow::Cow;

/// The text with every `%xx` decoded; borrowed if there is none. A `+` is a plus. `None`: a `%`
/// without two hexadecimal digits, or not UTF-8.
#[inline]
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('%') { decode_owned(text).map(Cow::Owned) } else { Some(Cow::Borrowed(text)) }
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
