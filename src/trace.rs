//! The id and trace of a request: `X-Request-Id`, and `traceparent` of W3C Trace Context, level 1
//! (<https://www.w3.org/TR/trace-context-1/>).
//!
//! They never cause an error: a value that is malformed or repeated counts as not sent. A kept
//! value has no control character and no blank, so it can be written into a header, a log line and
//! a line of the ledger as it is. They do not authenticate a client: any client may send any id.
//!
//! Architecture invariant: below all layers, and knows none of them.

use std::fmt;

use crate::limits::REQUEST_ID_BYTES_MAX;

/// Bytes of a `traceparent` of version 00.
pub const TRACEPARENT_BYTES: usize = 55;

/// The id and trace of one request: at least one of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    request_id: Option<Box<str>>,
    parent: Option<TraceParent>,
}

impl Trace {
    /// From all values of the two headers. `None`: none of them is valid.
    pub fn read<'a>(
        ids: impl Iterator<Item = &'a [u8]>,
        parents: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let request_id = only(ids).and_then(request_id);
        let parent = only(parents).and_then(TraceParent::parse);
        Self::of(request_id, parent)
    }

    /// From the texts of [`request_id`](Self::request_id) and [`parent`](Self::parent); empty:
    /// none.
    pub fn from_texts(id: &str, parent: &str) -> Option<Self> {
        Self::of(request_id(id.as_bytes()), TraceParent::parse(parent.as_bytes()))
    }

    fn of(request_id: Option<&str>, parent: Option<TraceParent>) -> Option<Self> {
        let is_any = request_id.is_some() || parent.is_some();
        is_any.then(|| Self { request_id: request_id.map(Box::from), parent })
    }

    /// The request's id: 1 to [`REQUEST_ID_BYTES_MAX`] bytes of visible ASCII.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// The `traceparent`, as one of version 00.
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_ref().map(TraceParent::as_str)
    }
}

/// The value of a header that was sent once.
fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    values.next().filter(|_| values.next().is_none())
}

fn request_id(value: &[u8]) -> Option<&str> {
    let sound =
        (1..=REQUEST_ID_BYTES_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    str::from_utf8(value).ok().filter(|_| sound)
}

/// A valid `traceparent`, as one of version 00.
#[derive(Clone, Copy, PartialEq, Eq)]
struct TraceParent([u8; TRACEPARENT_BYTES]);

impl TraceParent {
    /// Parses `version-trace_id-parent_id-flags` (section 3.2). A version above 00 may have more
    /// after a dash; that, and flags that version 00 does not define, are dropped (section 3.2.4).
    fn parse(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_first_chunk::<TRACEPARENT_BYTES>()?;
        let hex = |from: usize, to: usize| {
            let text = &head[from..to];
            text.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')).then_some(text)
        };
        let is_zero = |text: &[u8]| text.iter().all(|&b| b == b'0');
        let (version, trace, parent) = (hex(0, 2)?, hex(3, 35)?, hex(36, 52)?);
        hex(53, 55)?;
        let is_first = version == b"00";
        let legal = [2, 35, 52].iter().all(|&at| head[at] == b'-')
            && version != b"ff"
            && !is_zero(trace)
            && !is_zero(parent)
            && match rest {
                [] => true,
                [b'-', ..] => !is_first,
                _ => false,
            };
        let mut text = *head;
        if !is_first {
            text[..2].copy_from_slice(b"00");
            let sampled = matches!(head[54], b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f');
            text[53..].copy_from_slice(if sampled { b"01" } else { b"00" });
        }
        legal.then_some(Self(text))
    }

    fn as_str(&self) -> &str {
        // It is ASCII since it was parsed.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parent(text: &str) -> Option<String> {
        TraceParent::parse(text.as_bytes()).map(|parent| parent.as_str().to_owned())
    }

    #[test]
    fn traceparents_are_parsed_strictly() {
        assert_eq!(parent(PARENT).as_deref(), Some(PARENT));
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        for flags in ["00", "01", "ff", "8a"] {
            let text = format!("00-{trace}-00f067aa0ba902b7-{flags}");
            assert_eq!(parent(&text), Some(text));
        }
        let zeros = "0".repeat(32);
        for wrong in [
            "".to_owned(),
            PARENT[..54].to_owned(),
            format!("{PARENT}-"),
            format!("{PARENT}-more"),
            format!("{PARENT}0"),
            PARENT.to_uppercase(),
            PARENT.replacen("00-", "ff-", 1),
            PARENT.replacen("00-", "0g-", 1),
            PARENT.replacen("00-", "00_", 1),
            PARENT.replace("-01", "-0x"),
            PARENT.replace("-01", "_01"),
            PARENT.replace(trace, &zeros),
            PARENT.replace("00f067aa0ba902b7", &zeros[..16]),
            PARENT.replace('4', "é"),
        ] {
            assert_eq!(parent(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn later_versions_are_reduced_to_version_00() {
        for (later, kept) in [
            (PARENT.replacen("00-", "01-", 1), Some("01")),
            (PARENT.replacen("00-", "fe-", 1) + "-what-comes-then", Some("01")),
            (PARENT.replacen("00-", "cc-", 1).replace("-01", "-fe"), Some("00")),
            (PARENT.replacen("00-", "cc-", 1).replace("-01", "-03"), Some("01")),
            (PARENT.replacen("00-", "cc-", 1) + ".more", None),
        ] {
            let want = kept.map(|flags| format!("{}-{flags}", &PARENT[..52]));
            assert_eq!(parent(&later), want, "{later}");
        }
    }

    #[test]
    fn a_request_id_is_visible_bounded_and_sent_once() {
        let read = |ids: &[&str]| {
            let ids = ids.iter().map(|id| id.as_bytes());
            let trace = Trace::read(ids, std::iter::empty())?;
            trace.request_id().map(str::to_owned)
        };
        let longest = "x".repeat(REQUEST_ID_BYTES_MAX);
        for id in ["a", "7f2c-~!", &longest] {
            assert_eq!(read(&[id]).as_deref(), Some(id));
        }
        for wrong in ["", "two words", "tab\there", "é", "\u{7f}", &(longest + "x")] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(read(&["a", "a"]), None);
    }

    #[test]
    fn a_malformed_header_does_not_affect_the_other() {
        let read = |id: &str, parent: &str| {
            Trace::read([id.as_bytes()].into_iter(), [parent.as_bytes()].into_iter())
        };
        assert_eq!(read("", "00-x"), None);
        let both = read("a", PARENT).unwrap();
        assert_eq!((both.request_id(), both.parent()), (Some("a"), Some(PARENT)));
        assert_eq!(Trace::from_texts("a", PARENT), Some(both));
        let one = read("two words", PARENT).unwrap();
        assert_eq!((one.request_id(), one.parent()), (None, Some(PARENT)));
        let other = read("a", "00-x").unwrap();
        assert_eq!((other.request_id(), other.parent()), (Some("a"), None));
        assert_eq!(Trace::from_texts("", ""), None);
    }
}
