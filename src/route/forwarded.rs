//! The client's address behind proxies, from the list to which each proxy appends the hop before
//! it.
//!
//! Each proxy appends at the end, so the list is read backwards: past the trusted proxies, to the
//! first hop that is not trusted. The client may have written everything before that. Two headers
//! have such a list: `X-Forwarded-For` (addresses) and `Forwarded` (RFC 7239).

use core::net::{IpAddr, SocketAddr};
use std::borrow::Cow;

/// A hop of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// A hop with this address.
    Address(IpAddr),
    /// A hop whose address is missing or not readable.
    Unknown,
}

/// The last hop that is not a proxy, of header lines in their order. `None`: there is none.
pub fn client<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    read: impl Fn(&[u8]) -> Hop,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Option<Hop> {
    let lines: Vec<&[u8]> = lines.collect();
    let mut last = None;
    for line in lines.iter().rev() {
        for element in elements(line).into_iter().rev() {
            let hop = read(element);
            last = Some(hop);
            match hop {
                Hop::Address(ip) if is_proxy(ip) => {}
                _ => return last,
            }
        }
    }
    // All are proxies: the first of them sent the request itself.
    last
}

/// The elements of a list, separated by commas outside of quotes, without empty ones (RFC 9110,
/// section 5.6.1.2).
fn elements(line: &[u8]) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = line.split(|&byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty()).collect()
}

/// An element of `X-Forwarded-For`: an address, with or without a port.
pub fn listed(element: &[u8]) -> Hop {
    str::from_utf8(element).ok().and_then(address).map_or(Hop::Unknown, Hop::Address)
}

/// An element of `Forwarded`: pairs separated by semicolons, of which `for` has the address.
pub fn element(element: &[u8]) -> Hop {
    let Ok(text) = str::from_utf8(element) else { return Hop::Unknown };
    let mut named = text.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    match (named.next(), named.next()) {
        (Some(value), None) => address(&unquoted(value)).map_or(Hop::Unknown, Hop::Address),
        _ => Hop::Unknown,
    }
}

/// The text in quotes.
fn unquoted(value: &str) -> Cow<'_, str> {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        // No address needs an escape: an escaped text is not one.
        Some(inner) => Cow::Borrowed(inner),
        None => Cow::Borrowed(value),
    }
}

/// `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = text
        .parse()
        .ok()
        .or_else(|| bracketed.and_then(|text| text.parse().ok()))
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_proxy(ip: IpAddr) -> bool {
        ip.to_string().starts_with("10.")
    }

    fn by_list(lines: &[&str]) -> String {
        shown(client(lines.iter().map(|line| line.as_bytes()), listed, is_proxy))
    }

    fn by_forwarded(lines: &[&str]) -> String {
        shown(client(lines.iter().map(|line| line.as_bytes()), element, is_proxy))
    }

    fn shown(hop: Option<Hop>) -> String {
        match hop {
            Some(Hop::Address(ip)) => ip.to_string(),
            Some(Hop::Unknown) => "unknown".to_owned(),
            None => "none".to_owned(),
        }
    }

    #[test]
    fn the_last_address_that_is_no_proxy_is_the_client() {
        for (lines, wanted) in [
            (&[][..], "none"),
            (&[""], "none"),
            (&[" , "], "none"),
            (&["1.2.3.4"], "1.2.3.4"),
            (&["1.2.3.4:5"], "1.2.3.4"),
            (&["[2001:db8::1]:5"], "2001:db8::1"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            // The client has written the address before it.
            (&["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4, 10.0.0.1"], "1.2.3.4"),
            (&["6.6.6.6", "1.2.3.4, 10.0.0.1", "10.0.0.2"], "1.2.3.4"),
            (&["6.6.6.6, nonsense, 10.0.0.1"], "unknown"),
            (&["6.6.6.6, \"1.2.3.4, 10.0.0.1"], "unknown"),
            (&["10.0.0.3, 10.0.0.1"], "10.0.0.3"),
        ] {
            assert_eq!(by_list(lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn the_forwarded_header_names_the_client_likewise() {
        for (lines, wanted) in [
            (&["for=1.2.3.4"][..], "1.2.3.4"),
            (&["For=\"[2001:db8::1]:47\";proto=https"], "2001:db8::1"),
            (&["proto=https; for = 1.2.3.4"], "1.2.3.4"),
            (&["for=6.6.6.6, for=1.2.3.4, for=10.0.0.1"], "1.2.3.4"),
            (&["for=\"6.6.6.6, for=7.7.7.7\", for=1.2.3.4"], "1.2.3.4"),
            (&["for=6.6.6.6, for=_hidden"], "unknown"),
            (&["for=6.6.6.6, for=unknown, for=10.0.0.1"], "unknown"),
            (&["for=6.6.6.6, by=1.2.3.4"], "unknown"),
            (&["for=1.2.3.4;for=5.6.7.8"], "unknown"),
            (&["1.2.3.4"], "unknown"),
        ] {
            assert_eq!(by_forwarded(lines), wanted, "{lines:?}");
        }
    }
}
