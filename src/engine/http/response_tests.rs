use super::*;
use crate::engine::http::{Kind, parse_head};
use crate::test_answers::{CLOSE, DATE, GET, HEAD, OLD, OLD_KEEP_ALIVE, SECOND, written};

fn write_plaintext(context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    let response = Response { no_store: false, ..Response::new(Status::Ok, "text/plain") };
    response.write(context, &[b"Hello, World!"], out);
}

#[test]
fn the_request_decides_connection_header_and_body() {
    assert!(
        written(write_plaintext, CLOSE).ends_with("\r\nConnection: close\r\n\r\nHello, World!")
    );
    assert!(written(write_plaintext, OLD).ends_with("\r\nConnection: close\r\n\r\nHello, World!"));
    let kept = written(write_plaintext, OLD_KEEP_ALIVE);
    assert!(kept.ends_with("\r\nConnection: keep-alive\r\n\r\nHello, World!"));
    let head = written(write_plaintext, HEAD);
    assert!(head.ends_with("\r\nContent-Length: 13\r\n\r\n"), "{head}");
    let closed = written(|context, out| write_plaintext(&context.and_close(), out), GET);
    assert!(closed.contains("\r\nConnection: close\r\n"));
}

#[test]
fn options_has_no_body_and_no_length() {
    assert_eq!(
        written(|context, out| write_options("GET, OPTIONS", context, out), GET),
        format!("HTTP/1.1 204 No Content\r\nServer: stampede\r\n{DATE}Allow: GET, OPTIONS\r\n\r\n")
    );
}

#[test]
fn problems_carry_their_headers() {
    let problem = Problem::method_not_allowed("GET, HEAD");
    let text = written(|context, out| problem.write(context, out), GET);
    assert!(text.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"));
    assert!(text.contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(text.contains("\r\nContent-Type: application/problem+json\r\n"));
    let later = Problem { retry_after_s: Some(30), ..Problem::of(Kind::BUSY) };
    let text = written(|context, out| later.write(context, out), GET);
    assert!(text.contains("\r\nRetry-After: 30\r\n"));

    let mut out = Vec::new();
    let reject = parse_head(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    reject.write(b"GET /", &HttpDate::new(SECOND), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(text.contains("\r\nConnection: close\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"code\":\"bad_request\",\"detail\":\"HTTP/1.1 needs a Host header\"}"));
}

#[test]
fn a_created_response_has_a_location() {
    let location = ["/v1/reservations/", "ticket~1"];
    let created = Response { location: Some(&location), ..Response::new(Status::Created, JSON) };
    let body = [&br#"{"id":"#[..], br#""ticket~1"}"#];
    let text = written(|context, out| created.write(context, &body, out), GET);
    assert!(text.starts_with("HTTP/1.1 201 Created\r\n"));
    assert!(text.contains("\r\nLocation: /v1/reservations/ticket~1\r\n"));
    assert!(text.ends_with("\r\n\r\n{\"id\":\"ticket~1\"}"));
}

#[test]
#[should_panic = "no header is ever split"]
fn a_location_that_splits_a_header_panics() {
    let split = ["/a", "\r\nX: y"];
    let created = Response { location: Some(&split), ..Response::new(Status::Created, JSON) };
    written(|context, out| created.write(context, &[b"{}"], out), GET);
}

#[test]
fn canned_responses_equal_fresh_ones() {
    for request in [GET, HEAD, CLOSE, OLD, OLD_KEEP_ALIVE] {
        let problem = Problem::of(Kind::BUSY);
        let canned = Preencoded::problem(&problem);
        let fresh = written(|context, out| problem.write(context, out), request);
        assert_eq!(written(|context, out| canned.write(context, out), request), fresh);
        let canned = Preencoded::new(write_plaintext);
        let fresh = written(write_plaintext, request);
        assert_eq!(written(|context, out| canned.write(context, out), request), fresh);
    }
}

#[test]
fn an_unauthorized_problem_names_the_scheme() {
    let problem = Problem::of(Kind::UNAUTHORIZED).with_remedy(Remedy::Authenticate("Bearer"));
    let text = written(|context, out| problem.write(context, out), GET);
    assert!(text.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{text}");
    assert!(text.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{text}");
}

#[test]
fn a_request_id_is_added_only_to_its_own_answer() {
    let plain = written(write_plaintext, GET);
    let mut out = [plain.as_bytes(), plain.as_bytes()].concat();
    assert_eq!(write_request_id(Some("a-1"), plain.len(), &mut out), Some(200));
    let named = plain.replacen("\r\n", "\r\nX-Request-Id: a-1\r\n", 1);
    assert_eq!(String::from_utf8(out).unwrap(), format!("{plain}{named}"));
    let mut out = plain.clone().into_bytes();
    assert_eq!(write_request_id(None, 0, &mut out), Some(200));
    assert_eq!(out, plain.as_bytes());
    for start in [plain.len(), plain.len() + 1] {
        assert_eq!(write_request_id(Some("a"), start, &mut out), None);
    }
}
