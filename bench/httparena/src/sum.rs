//! Adds the values of a query and a body that is one number.

/// Why a request has no sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    NoQuery,
    Value,
    Body,
    TooLarge,
}

impl Wrong {
    /// The error as a sentence for the client.
    pub fn why(self) -> &'static str {
        match self {
            Self::NoQuery => "there is no query: /baseline11?a=1&b=2",
            Self::Value => "a value of the query is not a whole number of 64 bits",
            Self::Body => "the body is not a whole number of 64 bits",
            Self::TooLarge => "the sum does not fit into 64 bits",
        }
    }
}

/// Returns the sum of all values of the query (`a=1&b=2`) and of the body, if there is one.
pub fn sum(query: Option<&str>, body: &[u8]) -> Result<i64, Wrong> {
    let mut sum = 0_i64;
    for parameter in query.ok_or(Wrong::NoQuery)?.split('&') {
        let value = parameter.split_once('=').and_then(|(_, value)| number(value.as_bytes()));
        sum = sum.checked_add(value.ok_or(Wrong::Value)?).ok_or(Wrong::TooLarge)?;
    }
    match body {
        [] => Ok(sum),
        body => {
            let number = number(body.trim_ascii()).ok_or(Wrong::Body)?;
            sum.checked_add(number).ok_or(Wrong::TooLarge)
        }
    }
}

/// Parses digits with an optional minus.
fn number(text: &[u8]) -> Option<i64> {
    // `parse` would accept a plus, which means a space in a query.
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_are_added() {
        assert_eq!(sum(Some("a=13&b=42"), b""), Ok(55));
        assert_eq!(sum(Some("a=13&b=42"), b"20"), Ok(75));
        assert_eq!(sum(Some("b=-1&a=007&c=0"), b" -8\r\n"), Ok(-2));
        assert_eq!(sum(Some("a=9223372036854775807&b=-1"), b"1"), Ok(i64::MAX));
    }

    #[test]
    fn malformed_numbers_are_rejected() {
        assert_eq!(sum(None, b"1"), Err(Wrong::NoQuery));
        for query in ["", "a", "a=", "a=x&b=1", "a=1&&b=1", "a=+1", "a=1.5", "a=%31", "a=- 1"] {
            assert_eq!(sum(Some(query), b"1"), Err(Wrong::Value), "{query}");
        }
        assert_eq!(sum(Some("a=9223372036854775808"), b""), Err(Wrong::Value));
        for body in [&b"x"[..], b"1 2", b" ", b"\xff", b"+1", b"1\n2"] {
            assert_eq!(sum(Some("a=1"), body), Err(Wrong::Body), "{body:?}");
        }
        assert_eq!(sum(Some("a=9223372036854775807&b=1"), b""), Err(Wrong::TooLarge));
        assert_eq!(sum(Some("a=-9223372036854775808"), b"-1"), Err(Wrong::TooLarge));
    }
}
