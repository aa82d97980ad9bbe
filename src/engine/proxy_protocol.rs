//! The PROXY protocol: how a load balancer that forwards bytes names the client
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>, sections 2.1 and 2.2).
//!
//! Version 1 is a line of text, version 2 is binary. Both are accepted: nginx' `stream` sends only
//! version 1 before nginx 1.31.4. The first byte distinguishes them.
//!
//! Architecture invariant: it knows no socket; bytes go in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// The first bytes of version 1.
const LINE_START: [u8; 6] = *b"PROXY ";
/// Longest line of version 1, its end included (section 2.1).
const LINE_BYTES_MAX: usize = 107;
const _: () = assert!(LINE_BYTES_MAX <= PROXY_HEADER_BYTES_MAX);

/// The first bytes of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length of the rest.
const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The result of parsing the beginning of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    /// The client, and the length of the header. No client: the balancer's own connection, such as
    /// a health check, or a client whose address it does not know.
    By { client: Option<IpAddr>, bytes: usize },
    /// The header is incomplete.
    Incomplete,
    /// It is of neither version, or longer than any header that names only a client.
    Wrong,
}

/// Parses the beginning of a connection.
pub(super) fn parse(start: &[u8]) -> Proxied {
    match start.first() {
        Some(first) if *first == LINE_START[0] => read_line(start),
        _ => read_binary(start),
    }
}

/// Parses version 1.
fn read_line(start: &[u8]) -> Proxied {
    let known = start.len().min(LINE_START.len());
    if start[..known] != LINE_START[..known] {
        return Proxied::Wrong;
    }
    let start = &start[..start.len().min(LINE_BYTES_MAX)];
    let Some(end) = start.iter().position(|&byte| byte == b'\n') else {
        return if start.len() < LINE_BYTES_MAX { Proxied::Incomplete } else { Proxied::Wrong };
    };
    let line = start[LINE_START.len()..end].strip_suffix(b"\r");
    match line.and_then(|line| std::str::from_utf8(line).ok()).map(client_of_line) {
        Some(Some(client)) => Proxied::By { client, bytes: end + 1 },
        _ => Proxied::Wrong,
    }
}

/// The client in a line of version 1, given without its prefix and line end. Outer `None`: the line
/// is malformed.
fn client_of_line(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ');
    let client = match words.next()? {
        // The rest of the line is ignored.
        "UNKNOWN" => return Some(None),
        "TCP4" => addresses::<Ipv4Addr>(words.next()?, words.next()?)?.into(),
        "TCP6" => addresses::<Ipv6Addr>(words.next()?, words.next()?)?.into(),
        _ => return None,
    };
    let whole = is_port(words.next()?) && is_port(words.next()?) && words.next().is_none();
    whole.then_some(Some(client))
}

/// The first of two addresses, if both are of this family.
fn addresses<Address: FromStr>(source: &str, destination: &str) -> Option<Address> {
    destination.parse::<Address>().ok()?;
    source.parse().ok()
}

/// A decimal number without a sign or leading zeros.
fn is_port(word: &str) -> bool {
    word.parse().is_ok_and(|port: u16| port.to_string() == word)
}

/// Parses version 2.
fn read_binary(start: &[u8]) -> Proxied {
    let known = start.len().min(SIGNATURE.len());
    if start[..known] != SIGNATURE[..known] {
        return Proxied::Wrong;
    }
    let Some(fixed) = start.first_chunk::<FIXED_BYTES>() else { return Proxied::Incomplete };
    let [.., command, family, high, low] = *fixed;
    let bytes = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, LOCAL | PROXY) || bytes > PROXY_HEADER_BYTES_MAX {
        return Proxied::Wrong;
    }
    let Some(rest) = start.get(FIXED_BYTES..bytes) else { return Proxied::Incomplete };
    let client = match (command, family) {
        (PROXY, TCP_OVER_IPV4) => match rest.first_chunk::<12>() {
            Some([a, b, c, d, ..]) => Some(IpAddr::V4(Ipv4Addr::new(*a, *b, *c, *d))),
            None => return Proxied::Wrong,
        },
        (PROXY, TCP_OVER_IPV6) => match rest.first_chunk::<36>() {
            Some(rest) => {
                rest.first_chunk().map(|client| IpAddr::V6(Ipv6Addr::from_octets(*client)))
            }
            None => return Proxied::Wrong,
        },
        _ => None,
    };
    Proxied::By { client, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_2_headers_name_the_client() {
        let four = [192, 0, 2, 7, 10, 0, 0, 1, 0xd4, 0x31, 0x01, 0xbb];
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[9], &[0; 16], &[1, 2, 3, 4]].concat();
        let with_more = [&four[..], &[0x20, 0, 3, 1, 2, 3]].concat();
        let ip = |text: &str| Some(text.parse().expect("an address"));
        for (command, family, rest, client) in [
            (PROXY, TCP_OVER_IPV4, &four[..], ip("192.0.2.7")),
            (PROXY, TCP_OVER_IPV4, &with_more, ip("192.0.2.7")),
            (PROXY, TCP_OVER_IPV6, &six, ip("2001:db8::9")),
            (LOCAL, 0, &[], None),
            (LOCAL, TCP_OVER_IPV4, &four, None),
            (PROXY, 0, &[], None),
            (PROXY, 0x31, &[0; 216], None),
        ] {
            let whole = header(command, family, rest);
            let bytes = whole.len();
            assert_eq!(parse(&whole), Proxied::By { client, bytes });
            assert_eq!(parse(&[&whole[..], b"GET / "].concat()), Proxied::By { client, bytes });
            for cut in 0..bytes {
                assert_eq!(parse(&whole[..cut]), Proxied::Incomplete, "{cut} bytes");
            }
        }
    }

    #[test]
    fn version_1_lines_name_the_client() {
        let ip = |text: &str| Some(text.parse().expect("an address"));
        let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
        assert_eq!(unknown.len(), LINE_BYTES_MAX);
        let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let longest = format!("PROXY TCP6 {full} {full} 65535 65535\r\n");
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 54321 443\r\n", ip("192.0.2.7")),
            ("PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n", ip("255.255.255.255")),
            ("PROXY TCP6 2001:db8::9 ::1 54321 443\r\n", ip("2001:db8::9")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 1 2\r\n", ip("::ffff:192.0.2.7")),
            (&longest, ip(full)),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN any thing  at all\r\n", None),
            (&unknown, None),
        ] {
            let bytes = line.len();
            for after in ["", "GET / ", "\r\n", "\x16\x03\x01"] {
                let whole = [line, after].concat();
                assert_eq!(parse(whole.as_bytes()), Proxied::By { client, bytes }, "{whole}");
            }
            for cut in 0..bytes {
                assert_eq!(parse(&line.as_bytes()[..cut]), Proxied::Incomplete, "{line}: {cut}");
            }
        }
    }

    #[test]
    fn malformed_version_1_lines_are_refused() {
        for wrong in [
            "POST /buy/ticket HTTP/1.1\r\n",
            "PROXX",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY  TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1\r 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 ::1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            "PROXY tcp4 192.0.2.7 10.0.0.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            " PROXY UNKNOWN\r\n",
        ] {
            assert_eq!(parse(wrong.as_bytes()), Proxied::Wrong, "{wrong:?}");
        }
        assert_eq!(parse(b"PROXY TCP4 192.0.2.7\xff 10.0.0.1 1 2\r\n"), Proxied::Wrong);
        // Too long: with its line end beyond the bound, and without a line end.
        let long = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX - 15));
        assert_eq!(parse(format!("{long}\r\n").as_bytes()), Proxied::Wrong);
        assert_eq!(long.len(), LINE_BYTES_MAX - 1);
        assert_eq!(parse(long.as_bytes()), Proxied::Incomplete);
        assert_eq!(parse(format!("{long}x").as_bytes()), Proxied::Wrong);
    }

    #[test]
    fn malformed_version_2_headers_are_refused() {
        for wrong in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"\r\nPROXY UNKNOWN\r\n".to_vec(),
            header(0x22, TCP_OVER_IPV4, &[0; 12]),
            header(0x11, TCP_OVER_IPV4, &[0; 12]),
            header(PROXY, TCP_OVER_IPV4, &[0; 11]),
            header(PROXY, TCP_OVER_IPV6, &[0; 35]),
            header(PROXY, TCP_OVER_IPV4, &[0; PROXY_HEADER_BYTES_MAX]),
        ] {
            assert_eq!(parse(&wrong), Proxied::Wrong, "{wrong:?}");
        }
    }
}
