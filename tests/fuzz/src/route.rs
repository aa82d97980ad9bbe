//! From a head to a route, and the parts of a request that name somebody.

use std::net::IpAddr;

use stampede::engine::http::{Head, parse_head};
use stampede::route::forwarded::{self, Hop};
use stampede::route::table::{Port, Right};
use stampede::route::{Route, UserSources, buyer, idempotency_key, percent, route as find};
use stampede::sale::ReservationId;

use crate::bounds::bounded;

/// A path, a query and a user, decoded, and 16 bytes for each address of a list, several times.
const MEMORY: usize = 512 * 1024;

/// A request head.
pub fn route(input: &[u8]) {
    let Ok(Some(head)) = parse_head(input) else { return };
    bounded(MEMORY, || {
        check_path(&head);
        check_user(&head);
        check_addresses(&head);
        let _ = idempotency_key(&head);
    });
}

fn check_path(head: &Head<'_>) {
    let normal = percent::normalized(head.path);
    if let Some(normal) = &normal {
        assert_eq!(percent::normalized(normal), None, "once is enough");
        let decoded = |path: &str| percent::decode(path).map(|path| path.into_owned());
        assert_eq!(decoded(head.path), decoded(normal), "the same path");
    }
    assert_eq!(percent::decode(head.path).as_deref(), decode_simply(head.path).as_deref());
    check_spelling(head.path);
    let head = Head { path: normal.as_deref().unwrap_or(head.path), ..*head };
    let route = find(&head);
    match &route {
        Route::ControlThread { endpoint, .. } | Route::ListSales { endpoint } => {
            let right = endpoint.right(Port::Public).expect("an endpoint of the public port");
            assert!(!matches!(right, Right::Operate | Right::SeeServer), "{endpoint:?}");
        }
        Route::ShowReservation { id }
        | Route::ConfirmReservation { id }
        | Route::CancelReservation { id } => {
            assert!(!id.is_empty());
            if let Ok((sale, _)) = ReservationId::from_public(id) {
                assert!(!sale.as_str().contains(['/', '%']));
            }
        }
        Route::ShowSale { sale } | Route::CreateReservation { sale } => assert!(!sale.is_empty()),
        _ => {}
    }
    let _ = (route.has_representation(), head.query.map(|q| route.unexpected_parameter(q)));
}

/// Percent-decoding, byte by byte.
fn decode_simply(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (high, low) = (char::from(*rest.first()?), char::from(*rest.get(1)?));
        bytes.push((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

/// Another spelling of a path, with an encoded letter, is the same path.
fn check_spelling(path: &str) {
    if path.contains('%') {
        return;
    }
    let Some(at) = path.rfind(|c: char| c.is_ascii_alphanumeric()) else { return };
    let letter = path.as_bytes()[at];
    for encoded in [format!("%{letter:02x}"), format!("%{letter:02X}")] {
        let spelled = [&path[..at], &encoded, &path[at + 1..]].concat();
        assert_eq!(percent::normalized(&spelled).as_deref(), Some(path));
    }
}

fn check_user(head: &Head<'_>) {
    let nobody = UserSources { header: false, client: false };
    assert!(matches!(buyer(head, nobody), Ok(None) | Err(_)), "nobody may name a user");
    let proxy = UserSources { header: true, client: false };
    if let Ok(Some(user)) = buyer(head, proxy) {
        assert_eq!(head.user, Some(user.as_bytes()), "only the header names a user");
    }
    if let (Ok(Some(user)), Some(named)) = (buyer(head, UserSources::ANYONE), head.user) {
        assert_eq!(user.as_bytes(), named, "the header takes precedence");
    }
}

fn check_addresses(head: &Head<'_>) {
    let is_proxy = |ip: IpAddr| ip.is_loopback();
    let lines: Vec<&[u8]> = head.values("x-forwarded-for").collect();
    let found = forwarded::client(lines.iter().copied(), forwarded::listed, is_proxy);
    // One header with a list is the same as several (RFC 9110, section 5.3).
    if !lines.iter().any(|line| line.contains(&b'"')) {
        let joined = lines.join(&b", "[..]);
        let one = forwarded::client([&joined[..]].into_iter(), forwarded::listed, is_proxy);
        assert_eq!(found, one, "{lines:?}");
    }
    if let Some(Hop::Address(ip)) = found {
        assert_eq!(ip, ip.to_canonical());
    }
    let _ = forwarded::client(head.values("forwarded"), forwarded::element, is_proxy);
}
