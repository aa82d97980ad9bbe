//! The PROXY protocol, version 2: how a balancer that passes bytes on says whose they are
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>, section 2.2).
//!
//! Architecture invariant: it knows no socket; bytes go in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::PROXY_HEADER_BYTES_MAX;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length of the rest.
const FIXED_BYTES: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// What the beginning of a connection says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    /// Whose connection it is, and how many bytes say so. No client: the balancer's own, as to see
    /// whether we live, or one whose address it does not know.
    By { client: Option<IpAddr>, bytes: usize },
    /// It is not whole.
    Incomplete,
    /// It is none of version 2, or longer than any that says only this.
    Wrong,
}

/// Reads the beginning of a connection.
pub(super) fn read(start: &[u8]) -> Proxied {
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
    fn whose_connection_it_is() {
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
            assert_eq!(read(&whole), Proxied::By { client, bytes });
            assert_eq!(read(&[&whole[..], b"GET / "].concat()), Proxied::By { client, bytes });
            for cut in 0..bytes {
                assert_eq!(read(&whole[..cut]), Proxied::Incomplete, "{cut} bytes");
            }
        }
    }

    #[test]
    fn what_is_none() {
        for wrong in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n".to_vec(),
            header(0x22, TCP_OVER_IPV4, &[0; 12]),
            header(0x11, TCP_OVER_IPV4, &[0; 12]),
            header(PROXY, TCP_OVER_IPV4, &[0; 11]),
            header(PROXY, TCP_OVER_IPV6, &[0; 35]),
            header(PROXY, TCP_OVER_IPV4, &[0; PROXY_HEADER_BYTES_MAX]),
        ] {
            assert_eq!(read(&wrong), Proxied::Wrong, "{wrong:?}");
        }
    }
}
