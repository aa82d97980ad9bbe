use super::*;
use crate::api_json::ReservationJson;
use crate::sale::{ReservationId, Status as Standing, User};
use crate::test_answers::{CLOSE, DATE, GET, HEAD, OLD, OLD_KEEP_ALIVE, written};

#[test]
fn plaintext_and_json_responses_match_byte_for_byte() {
    let plain = format!(
        "HTTP/1.1 200 OK\r\nServer: stampede\r\n{DATE}Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!"
    );
    assert_eq!(written(write_plaintext, GET), plain);
    let json = format!(
        "HTTP/1.1 200 OK\r\nServer: stampede\r\n{DATE}Content-Type: application/json\r\nContent-Length: 27\r\n\r\n{{\"message\":\"Hello, World!\"}}"
    );
    assert_eq!(written(write_techempower_json, GET), json);
}

#[test]
fn a_created_reservation_has_the_same_body_as_a_shown_one() {
    for (sale, user, quantity) in [
        ("ticket", Some("ann"), 1),
        ("ticket", Some(r#"a "quoted" \ 李雷"#), 1_000_000),
        ("ticket~2of4", None, 7),
    ] {
        let sale = SaleId::from_ledger(sale).unwrap();
        let user = user.map(|user| User::new(user).unwrap());
        let (id, status, expires_at_ms) = (ReservationId(42), Standing::Held, 1_700_000_000_123);
        let reservation = Reservation { id, user, quantity, status, expires_at_ms, details: None };
        let made = written(|context, out| write_created(&sale, &reservation, context, out), GET);
        let (head, body) = made.split_once("\r\n\r\n").unwrap();
        let shown = serde_json::to_string(&ReservationJson::of(&sale, &reservation)).unwrap();
        assert_eq!(body, shown);
        assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
        assert!(
            head.contains(&format!("\r\nLocation: /v1/reservations/{sale}~{id}\r\n")),
            "{head}"
        );
    }
}

#[test]
fn buy_responses_match_the_article() {
    let sale = SaleId::new("ticket").unwrap();
    let granted = written(
        |context, out| write_buy_granted(sale.as_str(), &ReservationId(42).to_text(), context, out),
        GET,
    );
    let (head, body) = granted.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        r#"{"code":1,"msg":"抢票成功","data":{"reservation":"ticket~0000000000000000000000001a"}}"#
    );
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())));
    assert!(head.contains("\r\nContent-Type: application/json\r\n"));
    assert!(head.ends_with("\r\nCache-Control: no-store"));

    let sold_out = written(|context, out| write_buy_refused(ErrorCode::SoldOut, context, out), GET);
    assert!(sold_out.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(sold_out.ends_with("\r\n\r\n{\"code\":-1,\"msg\":\"已售罄\"}"));
    let busy = written(|context, out| write_buy_refused(ErrorCode::Busy, context, out), GET);
    assert!(busy.starts_with("HTTP/1.1 503 ") && busy.contains("\r\nRetry-After: 1\r\n"));
    let member = ("opens_at", "2030-01-01T02:00:00.000Z");
    let not_open = written(
        |context, out| write_buy_refused_with(ErrorCode::NotOpen, member, context, out),
        GET,
    );
    assert!(not_open.starts_with("HTTP/1.1 409 "));
    let body = r#"{"code":-3,"msg":"尚未开售","data":{"opens_at":"2030-01-01T02:00:00.000Z"}}"#;
    assert_eq!(not_open.split_once("\r\n\r\n").unwrap().1, body);
    assert!(not_open.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    let canned = preencoded_buy_refused_with(ErrorCode::NotOpen, member);
    assert_eq!(written(|context, out| canned.write(context, out), GET), not_open);
}

#[test]
fn every_refusal_is_json_with_its_length_and_within_bounds() {
    for code in ErrorCode::ALL {
        let problem = Problem::invalid("\u{1}".repeat(9999), code.kind().detail);
        let problem = Problem { kind: code.kind(), ..problem };
        for text in [
            written(|context, out| write_buy_refused(code, context, out), GET),
            written(|context, out| problem.write(context, out), GET),
        ] {
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{text}");
            serde_json::from_str::<serde_json::Value>(body).unwrap();
            assert!(text.len() <= crate::limits::RESPONSE_BYTES_MAX);
        }
    }
}

#[test]
fn preencoded_responses_equal_fresh_ones() {
    for request in [GET, HEAD, CLOSE, OLD, OLD_KEEP_ALIVE] {
        for code in ErrorCode::ALL {
            let canned = preencoded_buy_refused(code);
            let fresh = written(|context, out| write_buy_refused(code, context, out), request);
            assert_eq!(written(|context, out| canned.write(context, out), request), fresh);
        }
        let canned = Preencoded::new(write_plaintext);
        let fresh = written(write_plaintext, request);
        assert_eq!(written(|context, out| canned.write(context, out), request), fresh);
    }
}
